#!/usr/bin/env python3
"""Figures of the mirror, and MirrorMaker 2 between the same two clusters. Called by ./tests/bench mirror.

    mirror.py [--cells wan,idle,drain,lag,kill] [--megabytes 100] [--systems sluice,mirror-maker]

The gateway is Sluice (one shard, 130 MB), the centre Apache Kafka. Bytes on the wire are those of a
network device between network namespaces, with the headers of Ethernet, IP and TCP; needs root.
A table on standard output for each cell.
"""

import argparse
import contextlib
import json
import pathlib
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "faults")]

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition  # noqa: E402

from mirror import (Mirrored, create_topic, mirror_command, read_messages, status,  # noqa: E402
                    wait_for)
from router import Router  # noqa: E402
from workload import PARTITIONS  # noqa: E402

TOPIC = "events"
MIRROR_MAKER = TESTS / ".cache/mirror-maker"
# Of the link of the goals: 20 Mbit/s, 100 ms of round trip.
RATE, DELAY = 2_500_000, 0.05
# What MirrorMaker shows of its sources, at their target.
PREFIXED = "gateway." + TOPIC


class Sensors:
    """JSON telemetry as gateways see it: some dozen devices with slowly moving values."""

    def __init__(self, seed=1, devices=50):
        self.random = random.Random(seed)
        self.values = [[20 + self.random.random() * 60, 1 + self.random.random() * 5, 0.0]
                       for _ in range(devices)]
        self.number = 0

    def next(self):
        device = self.number % len(self.values)
        value = self.values[device]
        value[0] += self.random.gauss(0, 0.2)
        value[1] += self.random.gauss(0, 0.01)
        value[2] = abs(self.random.gauss(0, 1.5))
        self.number += 1
        text = json.dumps({
            "device": f"pump-{device:03d}", "site": "plant-7", "sequence": self.number,
            "time": time.time_ns() // 1_000_000,
            "temperature": round(value[0], 2), "pressure": round(value[1], 3),
            "vibration": {"rms": round(value[2], 3), "peak": round(value[2] * 1.41, 3)},
            "state": "running" if self.random.random() < 0.97 else "idle", "firmware": "2.14.1",
        })
        return f"pump-{device:03d}".encode(), text.encode()


def produce(bootstrap, count, rate, make):
    """Sends `count` records, `rate` a second (None: as fast as it goes); returns payload bytes."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 2,
                         "enable.idempotence": True, "queue.buffering.max.messages": 50_000})
    size, started = 0, time.monotonic()
    for number in range(count):
        key, value = make()
        size += len(key or b"") + len(value)
        while True:
            try:
                producer.produce(TOPIC, value, key, number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
        if rate:
            pause = started + (number + 1) / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
    assert producer.flush(60) == 0
    return size


def resident(pid, field="VmHWM"):
    """Resident megabytes of a process, the present (VmRSS) or the greatest so far."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"no {field}")


class MirrorMaker:
    """MirrorMaker 2 from the gateway to the centre, beside the gateway, with zstd on the link."""

    def __init__(self, directory, gateway, centre, **settings):
        self.config = directory / "mirror-maker.properties"
        values = {
            "clusters": "gateway, centre",
            "gateway.bootstrap.servers": gateway.bootstrap,
            "centre.bootstrap.servers": centre.bootstrap,
            "gateway->centre.enabled": "true", "gateway->centre.topics": TOPIC,
            "centre->gateway.enabled": "false",
            # What only costs bytes here.
            "gateway->centre.emit.heartbeats.enabled": "false",
            "gateway->centre.emit.checkpoints.enabled": "false",
            "gateway->centre.sync.topic.acls.enabled": "false",
            "emit.heartbeats.enabled": "false", "emit.checkpoints.enabled": "false",
            "replication.factor": 1, "offset-syncs.topic.replication.factor": 1,
            "config.storage.replication.factor": 1, "offset.storage.replication.factor": 1,
            "status.storage.replication.factor": 1, "tasks.max": 1,
            "refresh.topics.interval.seconds": 5,
            "gateway->centre.consumer.auto.offset.reset": "earliest",
            "centre.producer.compression.type": "zstd",
            "gateway->centre.producer.override.compression.type": "zstd",
            "centre.producer.linger.ms": 500, "centre.producer.batch.size": 1_000_000,
            "offset.flush.interval.ms": 10_000, **settings,
        }
        self.config.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
        self.log = open(directory / "mirror-maker.out", "ab")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["java", "-Xms256M", "-Xmx2G", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
             f"{MIRROR_MAKER}/*", "org.apache.kafka.connect.mirror.MirrorMaker", self.config],
            stdout=self.log, stderr=self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()


def count_at(bootstrap, topic):
    """Records in a topic by its offsets; 0 while they are not known."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "counter", "log_level": 0})
    try:
        found = consumer.list_topics(topic, 10).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, one), 10) for one in found]
        return sum(high - low for low, high in ends)
    except KafkaException:
        # It is being created, or its leader is.
        return 0
    finally:
        consumer.close()


@contextlib.contextmanager
def pair(kind="kafka", **options):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-mirror-"))
    made = Mirrored(directory, kind, **options)
    try:
        made.start()
        made.directory = directory
        yield made
    finally:
        made.end()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def routed(**options):
    router = Router()
    try:
        with pair(router=router, **options) as made:
            made.router = router
            yield made
    finally:
        router.close()


def difference(router, before):
    return [after - start for after, start in zip(router.wire_bytes(), before, strict=True)]


def caught_up(gateway):
    found = status(gateway)
    return found["lag_records"] == 0 and found["records"] > 0


def table(title, rows):
    print(f"\n### {title}\n\n| | |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    sys.stdout.flush()


def wan_sluice(rate, count, linger_ms):
    with routed(**{"linger.ms": linger_ms}) as made:
        create_topic(made.gateway, TOPIC, {})
        warm = produce(made.gateway.bootstrap, 400, None, Sensors(seed=2).next)
        wait_for(lambda: caught_up(made.gateway))
        before = made.router.wire_bytes()
        size = produce(made.gateway.bootstrap, count, rate, Sensors().next)
        wait_for(lambda: caught_up(made.gateway), 60)
        out, back = difference(made.router, before)
        assert warm > 0 and count_at(made.centre.bootstrap, TOPIC) == count + 400
        return size, out, back


def wan_mirror_maker(rate, count, linger_ms):
    with routed(topics=["nothing"]) as made:
        create_topic(made.gateway, TOPIC, {})
        produce(made.gateway.bootstrap, 400, None, Sensors(seed=2).next)
        peer = MirrorMaker(made.directory, made.gateway, made.centre,
                           **{"centre.producer.linger.ms": linger_ms})
        peer.start()
        try:
            wait_for(lambda: count_at(made.centre.bootstrap, PREFIXED) == 400, 90)
            # Questions of this script travel the same way: none while it is counted.
            before = made.router.wire_bytes()
            size = produce(made.gateway.bootstrap, count, rate, Sensors().next)
            time.sleep(linger_ms / 1000 + 3)
            out, back = difference(made.router, before)
            assert count_at(made.centre.bootstrap, PREFIXED) == count + 400
            return size, out, back, resident(peer.process.pid)
        finally:
            peer.kill()


def wan(options):
    for rate, count, linger_ms in ((100, 2_000, 500), (100, 2_000, 5_000), (2_000, 40_000, 500)):
        rows = []
        size, out, back = wan_sluice(rate, count, linger_ms)
        rows += [("payload bytes", size),
                 ("Sluice: wire bytes out and back per payload byte",
                  f"{out / size:.3f} + {back / size:.3f} = {(out + back) / size:.3f}")]
        if "mirror-maker" in options.systems:
            size, out, back, memory = wan_mirror_maker(rate, count, linger_ms)
            rows += [("MirrorMaker 2: the same",
                      f"{out / size:.3f} + {back / size:.3f} = {(out + back) / size:.3f}"),
                     ("MirrorMaker 2: greatest resident memory, MB", f"{memory:.0f}")]
        table(f"WAN bytes, JSON telemetry, {rate} records/s, linger {linger_ms} ms", rows)


def idle(options):
    seconds, rows = 120, []
    with routed() as made:
        create_topic(made.gateway, TOPIC, {})
        produce(made.gateway.bootstrap, 400, None, Sensors().next)
        wait_for(lambda: caught_up(made.gateway))
        time.sleep(8)
        before = made.router.wire_bytes()
        time.sleep(seconds)
        total = sum(difference(made.router, before))
        rows.append((f"Sluice: wire bytes in {seconds} s, for a day",
                     f"{total}, {total * 86_400 // seconds}"))
    if "mirror-maker" in options.systems:
        with routed(topics=["nothing"]) as made:
            create_topic(made.gateway, TOPIC, {})
            produce(made.gateway.bootstrap, 400, None, Sensors().next)
            peer = MirrorMaker(made.directory, made.gateway, made.centre)
            peer.start()
            try:
                wait_for(lambda: count_at(made.centre.bootstrap, PREFIXED) == 400, 90)
                time.sleep(8)
                before = made.router.wire_bytes()
                time.sleep(seconds)
                total = sum(difference(made.router, before))
                rows.append((f"MirrorMaker 2: wire bytes in {seconds} s, for a day",
                             f"{total}, {total * 86_400 // seconds}"))
            finally:
                peer.kill()
    table("Idle link", rows)


def drain(options):
    """A backlog that does not compress, so that bytes and not zstd are measured."""
    source = random.Random(3)
    count = options.megabytes * 1_000_000 // 10_000
    rows = []
    with pair(relay=True) as made:
        create_topic(made.gateway, TOPIC, {})
        produce(made.gateway.bootstrap, 20, None, lambda: (None, source.randbytes(100)))
        wait_for(lambda: caught_up(made.gateway))
        mirror_command(made.gateway, "pause", "hq")
        size = produce(made.gateway.bootstrap, count, None,
                       lambda: (None, source.randbytes(10_000)))
        without = resident(made.gateway.process.pid, "VmRSS")
        made.relay.rate, made.relay.delay = RATE, DELAY
        sent, started = made.relay.to_centre_bytes, time.monotonic()
        mirror_command(made.gateway, "resume", "hq")
        most, kept = 0, 0
        while status(made.gateway)["lag_records"] > 0:
            most = max(most, resident(made.gateway.process.pid, "VmRSS"))
            kept = max(kept, metric(made.gateway, "sluice_mirror_kept_bytes"))
            time.sleep(0.2)
        seconds = time.monotonic() - started
        sent = made.relay.to_centre_bytes - sent
        rows += [("backlog, payload bytes", size), ("seconds", f"{seconds:.1f}"),
                 ("share of the link: bytes / (seconds × 2.5 MB/s)",
                  f"{sent / seconds / RATE:.3f}"),
                 ("share of the link: payload bytes", f"{size / seconds / RATE:.3f}"),
                 ("resident MB of the gateway before, greatest while draining",
                  f"{without:.1f}, {most:.1f}"),
                 ("greatest bytes of batches kept", int(kept)),
                 ("resident MB of the gateway at most", f"{resident(made.gateway.process.pid):.1f}")]
    table(f"Drain of {options.megabytes} MB over 20 Mbit/s with 100 ms", rows)


def metric(gateway, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in gateway.metrics().splitlines()
               if line.startswith(name))


def lag(options):
    """From the moment of the send at the gateway to the moment of the append at the centre."""
    for linger_ms, round_trip in ((500, 0.02), (20, 0.02)):
        with pair(relay=True, **{"linger.ms": linger_ms}) as made:
            create_topic(made.gateway, TOPIC, {})
            create_topic(made.centre, TOPIC, {"message.timestamp.type": "LogAppendTime"})
            made.relay.delay = round_trip / 2
            produce(made.gateway.bootstrap, 400, 200, Sensors(seed=2).next)
            produce(made.gateway.bootstrap, options.seconds * 200, 200, Sensors().next)
            wait_for(lambda: caught_up(made.gateway))
            made.relay.delay = 0
            lags = []
            for message in read_messages(made.centre.bootstrap, TOPIC):
                # Until then clients and link found their way.
                if message.offset() < 200:
                    continue
                sent = json.loads(message.value())["time"]
                lags.append(message.timestamp()[1] - sent)
        lags.sort()
        bound = linger_ms + round_trip * 1000 + 50
        table(f"Lag, 200 records/s, linger {linger_ms} ms, round trip {round_trip * 1000:.0f} ms", [
            ("records", len(lags)), ("median ms", statistics.median(lags)),
            ("p99 ms", lags[len(lags) * 99 // 100]), ("greatest ms", lags[-1]),
            ("goal: p99 below linger + round trip + 50 ms", f"{bound:.0f}")])


def kill(options):
    """kill -9 of what mirrors, five times under load; a record is known by its number."""
    rows = []
    for system in options.systems:
        settings = {} if system == "sluice" else {"topics": ["nothing"]}
        with pair(relay=True, **settings) as made:
            create_topic(made.gateway, TOPIC, {})
            peer = MirrorMaker(made.directory, made.gateway, made.centre)
            topic = TOPIC if system == "sluice" else PREFIXED
            if system == "mirror-maker":
                peer.start()
            numbers = iter(range(1 << 30))
            make = lambda: (None, struct.pack(">q", next(numbers)) + bytes(200))  # noqa: E731
            produce(made.gateway.bootstrap, 400, None, make)
            wait_for(lambda: count_at(made.centre.bootstrap, topic) > 0, 90)
            for _ in range(5):
                produce(made.gateway.bootstrap, 4_000, 2_000, make)
                if system == "sluice":
                    made.gateway.kill()
                    made.gateway.start()
                else:
                    peer.kill()
                    peer.start()
            produce(made.gateway.bootstrap, 400, None, make)
            total = next(numbers)
            wait_for(lambda: count_at(made.centre.bootstrap, topic) >= total, 120)
            time.sleep(3)
            values = [struct.unpack(">q", message.value()[:8])[0]
                      for message in read_messages(made.centre.bootstrap, topic)]
            lost = total - len(set(values))
            rows.append((f"{system}: records, duplicates, lost",
                         f"{total}, {len(values) - len(set(values))}, {lost}"))
            if system == "mirror-maker":
                rows.append(("mirror-maker: greatest resident MB",
                             f"{resident(peer.process.pid):.0f}"))
                peer.kill()
    table("Five times kill -9 under load", rows)


CELLS = {"wan": wan, "idle": idle, "drain": drain, "lag": lag, "kill": kill}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--systems", default="sluice,mirror-maker")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=30)
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in options.cells.split(","):
        if name not in CELLS:
            sys.exit(f"no cell is called {name}: {', '.join(CELLS)}")
        CELLS[name](options)


if __name__ == "__main__":
    main()
