"""A gateway with a mirror to a centre, and the judge that reads the centre."""

import hashlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from broker import Broker, free_port, sluice_binary, wait_until_ready
from relay import Relay
from workload import PARTITIONS

TESTS = pathlib.Path(__file__).resolve().parent.parent


class KafkaCentre:
    """Apache Kafka as the centre; its port and data stay over restarts."""

    def __init__(self, directory):
        self.host = "127.0.0.1"
        self.prefix = []
        self.port = free_port()
        self.directory = pathlib.Path(directory) / "kafka"
        self.process = None
        # Where clients are told to dial, a relay for one; where it listens if this is empty.
        self.advertised = ""

    @property
    def bootstrap(self):
        return f"{self.host}:{self.port}"

    def start(self, *settings):
        self.process = subprocess.Popen(
            [*self.prefix, TESTS / "kafka-broker", "start", "--port", str(self.port),
             "--listen", self.host, "--advertise", self.advertised or self.bootstrap, "--data-dir", self.directory,
             *settings],
            stdout=subprocess.DEVNULL)
        assert wait_until_ready(self.host, self.port, self.process, 90), "Kafka did not start"

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def kill(self):
        """kill -9 of the JVM; the script around it ends with it."""
        self._signal_java(signal.SIGKILL)
        self.process.wait(60)

    def freeze(self, is_frozen):
        self._signal_java(signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def _signal_java(self, number):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), number)

    def is_running(self):
        return self.process is not None and self.process.poll() is None


class SluiceCentre(Broker):
    """Sluice as the centre."""

    def __init__(self, directory):
        super().__init__(directory / "centre", directory / "centre.out")
        self.advertised = ""

    def start(self, *settings):
        advertised = self.advertised or self.bootstrap
        self.flags = ["--shards", "1", "--advertise", advertised, *settings]
        super().start()

    def freeze(self, is_frozen):
        self.process.send_signal(signal.SIGSTOP if is_frozen else signal.SIGCONT)


class Mirrored:
    """A gateway and its centre, `kafka` or `sluice`; with `relay` a link between them."""

    def __init__(self, directory, kind, relay=False, centre_settings=(), router=None, environment=None,
                 flags=(), data=None, shards=1, **keys):
        directory = pathlib.Path(directory) / kind
        directory.mkdir()
        self.kind = kind
        self.centre = KafkaCentre(directory) if kind == "kafka" else SluiceCentre(directory)
        if router:
            self.centre.host, self.centre.prefix = router.centre_address, router.centre_command
        self.centre_settings = centre_settings
        self.relay = Relay(self.centre.bootstrap) if relay else None
        if relay:
            self.centre.advertised = self.relay.bootstrap
        config = write_config(directory, self.centre.advertised or self.centre.bootstrap, **keys)
        self.flags = ["--config", str(config), "--shards", str(shards), "--memory", "130M",
                      *flags]
        self.gateway = Broker(data or directory / "gateway", directory / "gateway.out", self.flags)
        self.gateway.environment = environment or {}

    def start(self):
        self.centre.start(*self.centre_settings)
        self.gateway.start()

    def end(self):
        for process in (self.gateway, self.centre):
            if process.process is not None and process.is_running():
                process.kill()
        if self.relay:
            self.relay.close()


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


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)


def partitions(gateway):
    """What `sluice mirror status` says of each partition."""
    return json.loads(mirror_command(gateway, "status", "--output", "json"))["partitions"]


def log_starts(broker):
    """First offset of each partition of the topic of the events."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "-", "log_level": 0})
    try:
        places = [TopicPartition("events", partition) for partition in range(PARTITIONS)]
        return [consumer.get_watermark_offsets(place, 20)[0] for place in places]
    finally:
        consumer.close()


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


def create_topic(broker, topic, settings, partitions=PARTITIONS):
    """Creates a topic with these settings, and waits until it is there."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    wanted = NewTopic(topic, partitions, 1, config=settings)
    admin.create_topics([wanted], operation_timeout=20)[topic].result(30)


def delete_topic(broker, topic):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.delete_topics([topic], operation_timeout=20)[topic].result(30)


def origin(message):
    """Site, partition and offset of the last origin header."""
    values = [value for key, value in message.headers() or [] if key == "_o"]
    assert values, f"no origin header at {message.partition()}/{message.offset()}"
    value = values[-1]
    site, rest = value[2:2 + value[1]].decode(), value[2 + value[1]:]
    partition, offset = struct.unpack(">iq", rest[24:])
    return site, partition, offset


def read_centre(bootstrap, topic, seconds=60):
    """Every record of a topic at the centre: [(target partition, offset, origin, value)]."""
    return [(message.partition(), message.offset(), origin(message), message.value())
            for message in read_messages(bootstrap, topic, seconds)]


def read_timestamps(bootstrap, topic):
    """The timestamps of all records at the centre, ms; -1 for none."""
    return [message.timestamp()[1] for message in read_messages(bootstrap, topic)]


def read_messages(bootstrap, topic, seconds=60):
    """Every record of a topic."""
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
                records.append(message)
                if message.offset() + 1 >= left.get(message.partition(), 1 << 62):
                    left.pop(message.partition(), None)
        return records
    finally:
        consumer.close()


def copy_last_record(broker, topic):
    """Writes the last record of some partition once more, with its headers."""
    settings = {"bootstrap.servers": broker.bootstrap, "group.id": "copier", "log_level": 0}
    consumer, producer = Consumer(settings), Producer({"bootstrap.servers": broker.bootstrap})
    try:
        for partition in consumer.list_topics(topic, 10).topics[topic].partitions:
            _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), 20)
            if high == 0:
                continue
            consumer.assign([TopicPartition(topic, partition, high - 1)])
            message = consumer.poll(20)
            assert message is not None and message.error() is None
            producer.produce(topic, message.value(), message.key(), partition,
                             headers=message.headers())
            assert producer.flush(20) == 0
            return
        raise AssertionError(f"{topic} is empty")
    finally:
        consumer.close()


def judge_mirror(gateway, centre, workload, missing=(), site="gateway-1"):
    """Reads the centre with the Java client and applies the rules of MirrorJudge.

    `missing` are ranges (partition, first offset, end offset) that the test knows to be gone.
    Returns what the judge counted: records, gaps, missing, dead-letters.
    """
    lines = [f"{partition} {offset} {hashlib.sha256(workload.value_of(number)).hexdigest()}"
             for number, (partition, offset) in workload.acknowledged.items()]
    lines += ["missing %d %d %d" % one for one in missing]
    cache = TESTS / ".cache"
    done = subprocess.run(
        ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx768m",
         "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp",
         f"{cache}/judge:{cache}/java/libs/*", "MirrorJudge",
         gateway.bootstrap, centre.bootstrap, workload.topic, workload.topic, site],
        input="\n".join(lines), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    words = done.stdout.split()[-8:]
    counts = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    assert counts["records"] > 0, "the judge saw nothing"
    return counts
