"""The downlink: every command of the centre stands at the gateway once and in order, whatever crashes."""

import hashlib
import json
import time

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from mirror import (create_topic, delete_topic, mirror_command, read_messages, status, wait_for)
from workload import PARTITIONS, Workload

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


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_every_command_arrives_once_though_the_gateway_dies(mirrored, kind, seeded, request):
    kills = request.config.getoption("--kills") or 20
    pair = mirrored(kind, **KEYS)
    gateway = pair.gateway
    workload = start_commands(pair, sizes=(120, 900, 20_000), rate_pause=0.002)
    wait_for(lambda: has_topic(gateway))
    brought = 0
    for _ in range(kills):
        # Somewhere between the start, the search for the cursor, a fetch and an append.
        time.sleep(seeded.random() * 0.6)
        gateway.kill()
        gateway.start()
        brought = max(brought, len(read_messages(gateway.bootstrap, TOPIC)))
    assert brought > 0, "nothing was brought between the kills"
    workload.finish()
    records = judge(gateway, workload)
    print(f"{kills} kills, {brought} records before the last one, {len(records)} in all")


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_every_command_arrives_once_over_a_link_that_is_cut(mirrored, kind, seeded):
    pair = mirrored(kind, relay=True, **KEYS)
    workload = start_commands(pair, sizes=(120, 900, 20_000))
    wait_for(lambda: has_topic(pair.gateway))
    for _ in range(15):
        pair.relay.cut()
        time.sleep(seeded.random() * 0.3)
        pair.relay.mend()
        time.sleep(seeded.random() * 0.6)
    workload.finish()
    judge(pair.gateway, workload)
    assert pair.relay.connections > 5
    (downlink,), partitions = lanes(pair.gateway)
    assert downlink["link"] == "up" and downlink["gaps"] == 0
    assert len(partitions) == PARTITIONS
    wait_for(lambda: lanes(pair.gateway)[0][0]["lag_records"] == 0)


def test_every_command_arrives_once_while_the_centre_is_killed(mirrored, seeded):
    pair = mirrored("sluice", **KEYS)
    workload = start_commands(pair, sizes=(120, 900))
    for _ in range(8):
        workload.wait_for_acknowledged(len(workload.acknowledged) + seeded.randrange(20, 150))
        pair.centre.kill()
        time.sleep(seeded.random())
        pair.centre.start(*pair.centre_settings)
    workload.finish()
    judge(pair.gateway, workload)


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_a_topic_that_the_centre_makes_anew_is_brought_from_its_start(mirrored, kind):
    pair = mirrored(kind, **KEYS)
    gateway = pair.gateway
    create_topic(pair.centre, TOPIC, {}, partitions=1)
    send(pair.centre, [b"old %d" % number for number in range(30)])
    wait_until_brought(gateway, 30)
    delete_topic(pair.centre, TOPIC)
    wait_for(lambda: not has_topic(pair.centre))
    create_topic(pair.centre, TOPIC, {}, partitions=1)
    gateway.kill()
    send(pair.centre, [b"new %d" % number for number in range(20)])
    gateway.start()
    records = wait_until_brought(gateway, 50)
    values = [message.value() for message in records]
    assert values == ([b"old %d" % number for number in range(30)]
                      + [b"new %d" % number for number in range(20)])
    wait_for(lambda: lanes(gateway)[0][0]["recreations"] == 1)


def test_aborted_transactions_are_not_brought(mirrored):
    pair = mirrored("kafka", **KEYS)
    create_topic(pair.centre, TOPIC, {}, partitions=1)
    producer = Producer({"bootstrap.servers": pair.centre.bootstrap, "transactional.id": "t",
                         "log_level": 0})
    other = Producer({"bootstrap.servers": pair.centre.bootstrap, "log_level": 0})
    producer.init_transactions(60)
    wanted = []
    for turn in range(10):
        producer.begin_transaction()
        for number in range(5):
            value = b"%d in %d" % (number, turn)
            producer.produce(TOPIC, value, partition=0)
            # The next one, without a transaction, stands between the records of this one.
            assert producer.flush(30) == 0
            other.produce(TOPIC, b"plain " + value, partition=0)
            assert other.flush(30) == 0
            wanted += [b"plain " + value] + ([value] if turn % 2 == 0 else [])
        if turn % 2 == 0:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    records = wait_until_brought(pair.gateway, len(wanted))
    assert sorted(message.value() for message in records) == sorted(wanted)
    wait_for(lambda: lanes(pair.gateway)[1][0]["lag_records"] == 0)


def test_nothing_goes_round(mirrored):
    pair = mirrored("sluice", topics=["*"], **KEYS)
    gateway, centre = pair.gateway, pair.centre
    create_topic(centre, TOPIC, {}, partitions=1)
    send(centre, [b"down"])
    wait_until_brought(gateway, 1)
    create_topic(gateway, "events", {}, partitions=1)
    send(gateway, [b"up"], "events")
    wait_for(lambda: status(gateway)["records"] == 1)
    # A record of this gateway comes into the topic of the commands, with its headers.
    (up,) = read_messages(centre.bootstrap, "events")
    producer = Producer({"bootstrap.servers": centre.bootstrap, "log_level": 0})
    producer.produce(TOPIC, up.value(), partition=0, headers=up.headers())
    producer.produce(TOPIC, b"last", partition=0)
    assert producer.flush(30) == 0
    records = wait_until_brought(gateway, 2)
    assert [message.value() for message in records] == [b"down", b"last"]
    assert len(read_messages(centre.bootstrap, TOPIC)) == 3, "commands went up again"
    assert status(gateway)["records"] == 1


def test_what_the_centre_has_removed_is_a_gap_and_the_rest_comes(mirrored):
    pair = mirrored("sluice", **KEYS)
    gateway, centre = pair.gateway, pair.centre
    create_topic(centre, TOPIC, {}, partitions=1)
    send(centre, [b"%d" % number for number in range(10)])
    wait_until_brought(gateway, 10)
    gateway.stop()
    send(centre, [b"%d" % number for number in range(10, 30)])
    admin = AdminClient({"bootstrap.servers": centre.bootstrap, "log_level": 0})
    place = TopicPartition(TOPIC, 0, 25)
    admin.delete_records([place])[place].result(30)
    gateway.start()
    records = wait_until_brought(gateway, 15)
    values = [int(message.value()) for message in records]
    assert values == [*range(10), *range(25, 30)]
    gap = dict(records[10].headers())["_gap"]
    assert (int.from_bytes(gap[:8], "big"), int.from_bytes(gap[8:], "big")) == (10, 25)
    (downlink,), _ = lanes(gateway)
    assert downlink["gaps"] == 1


def send(broker, values, topic=TOPIC):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0
