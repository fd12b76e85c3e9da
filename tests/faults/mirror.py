"""A gateway with a mirror to a centre, and the judge that reads the centre."""

import json
import pathlib
import struct
import subprocess
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from broker import free_port, sluice_binary, wait_until_ready
from workload import PARTITIONS

TESTS = pathlib.Path(__file__).resolve().parent.parent


class KafkaCentre:
    """Apache Kafka as the centre; its port and data stay over restarts."""

    def __init__(self, directory):
        self.port = free_port()
        self.directory = pathlib.Path(directory) / "kafka"
        self.process = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self, *settings):
        self.process = subprocess.Popen(
            [TESTS / "kafka-broker", "start", "--port", str(self.port),
             "--data-dir", self.directory, *settings],
            stdout=subprocess.DEVNULL)
        assert wait_until_ready("127.0.0.1", self.port, self.process, 90), "Kafka did not start"

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def is_running(self):
        return self.process is not None and self.process.poll() is None


def write_config(directory, bootstrap, **keys):
    """A configuration with one mirror called hq."""
    values = {"name": "hq", "site": "gateway-1", "bootstrap": bootstrap, "topics": ["events*"],
              "linger.ms": 20, **keys}
    lines = ["[[mirror]]"] + [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    path = pathlib.Path(directory) / "sluice.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def mirror_command(gateway, *arguments):
    """Runs `sluice mirror ...` against the gateway; returns its output."""
    done = subprocess.run(
        [sluice_binary(), "mirror", *arguments, "--admin", f"127.0.0.1:{gateway.admin_port}"],
        capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(gateway):
    return json.loads(mirror_command(gateway, "status", "--output", "json"))["mirrors"][0]


def wait_until_mirrored(gateway, seconds=90):
    deadline = time.monotonic() + seconds
    while True:
        text = mirror_command(gateway, "status", "--output", "json")
        found = json.loads(text)
        # After a start the partitions are there a moment later than the port.
        if len(found["partitions"]) >= PARTITIONS and found["mirrors"][0]["lag_records"] == 0:
            return found["mirrors"][0]
        assert time.monotonic() < deadline, f"not mirrored: {text}\n{gateway.log()}"
        time.sleep(0.2)


def origin(message):
    """Site, partition and offset of the last origin header."""
    values = [value for key, value in message.headers() or [] if key == "_o"]
    assert values, f"no origin header at {message.partition()}/{message.offset()}"
    value = values[-1]
    assert value[0] == 1
    site, rest = value[2:2 + value[1]].decode(), value[2 + value[1]:]
    assert len(rest) == 8 + 16 + 4 + 8
    partition, offset = struct.unpack(">iq", rest[24:])
    return site, partition, offset


def read_centre(bootstrap, topic, seconds=60):
    """Every record of a topic at the centre: [(target partition, offset, origin, value)]."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "judge",
                         "enable.auto.commit": False, "check.crcs": True, "log_level": 0})
    try:
        deadline = time.monotonic() + seconds
        found = None
        while found is None:
            try:
                found = consumer.list_topics(topic, 10).topics[topic].partitions
            except KafkaException:
                assert time.monotonic() < deadline, "the centre does not answer"
        left = {}
        for partition in found:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), 20)
            if high > low:
                left[partition] = high
        records = []
        if left:
            consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in left])
        while left:
            assert time.monotonic() < deadline, f"not read to the end: {left}"
            for message in consumer.consume(500, 1):
                assert message.error() is None, message.error()
                records.append((message.partition(), message.offset(), origin(message),
                                message.value()))
                if message.offset() + 1 >= left.get(message.partition(), 1 << 62):
                    left.pop(message.partition(), None)
        return records
    finally:
        consumer.close()


def judge_mirror(source, centre):
    """`source`: {partition: [(offset, value)]} of the gateway. Everything once and in order."""
    by_source = {}
    for _, _, (site, partition, offset), value in centre:
        assert site == "gateway-1"
        by_source.setdefault(partition, []).append((offset, value))
    for partition, records in source.items():
        got = by_source.get(partition, [])
        offsets = [offset for offset, _ in got]
        assert len(set(offsets)) == len(offsets), f"partition {partition}: a duplicate"
        assert offsets == sorted(offsets), f"partition {partition}: out of order"
        missing = {offset for offset, _ in records} - set(offsets)
        assert not missing, f"partition {partition}: {len(missing)} records are missing"
        assert got == records, f"partition {partition}: other bytes"
    return sum(len(records) for records in source.values())
