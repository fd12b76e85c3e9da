"""Commands that come from the centre to a gateway, and the judge that reads them there."""

import hashlib
import json
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from mirror import mirror_command, read_messages, wait_for
from workload import Workload

TOPIC = "commands"
# The centre answers a fetch at once when a test has it restarted.
KEYS = {"downlink.topics": ["commands*"], "downlink.metadata.max.age.ms": 500,
        "downlink.fetch.max.wait.ms": 2000}


def start_commands(pair, topic=TOPIC, **options):
    workload = Workload(pair.centre.bootstrap, topic, **options)
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(20)
    return workload


def lanes(gateway):
    """What `sluice mirror status` says of each partition of the downlink."""
    found = json.loads(mirror_command(gateway, "status", "--output", "json"))
    return found["downlinks"], found["downlink_partitions"]


def has_topic(broker, topic=TOPIC):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    return topic in admin.list_topics(timeout=10).topics


def wait_until_brought(gateway, count, topic=TOPIC, seconds=60):
    """Waits until so many records stand at the gateway; returns them all."""
    wait_for(lambda: has_topic(gateway, topic), seconds)
    found = []

    def is_there():
        found[:] = read_messages(gateway.bootstrap, topic)
        return len(found) >= count

    wait_for(is_there, seconds)
    # What comes twice comes a moment later.
    time.sleep(1)
    return read_messages(gateway.bootstrap, topic)


def judge(gateway, workload, topic=TOPIC):
    """Every acknowledged command once, in its partition, in the order of the centre."""
    records = wait_until_brought(gateway, len(workload.acknowledged), topic)
    by_place = {}
    for message in records:
        assert message.headers()[-1][0] == "_o"
        value = message.headers()[-1][1]
        offset = int.from_bytes(value[-8:], "big")
        place = (message.partition(), offset)
        assert int.from_bytes(value[-12:-8], "big") == message.partition()
        assert place not in by_place, f"{place} stands twice"
        last = max((one for one in by_place if one[0] == place[0]), default=(0, -1))
        assert last[1] < offset, f"{place} behind {last}"
        by_place[place] = message
    for number, place in workload.acknowledged.items():
        found = by_place.get(tuple(place))
        assert found is not None, f"{number} at {place} is missing"
        want = hashlib.sha256(workload.value_of(number)).digest()
        assert hashlib.sha256(found.value()).digest() == want, f"{number} at {place}"
    return records


def send(broker, values, topic=TOPIC, partition=0):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(30) == 0
