"""What the broker leaves on the disk: Apache Kafka's own tool reads it, and old records go."""

import pathlib
import re
import subprocess
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TESTS = pathlib.Path(__file__).resolve().parent.parent
LIBS = TESTS / ".cache/kafka/libs"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
SEGMENT_BYTES = 64 * 1024


def create(broker, topic, **config):
    client = AdminClient({"bootstrap.servers": broker.bootstrap})
    future = client.create_topics([NewTopic(topic, 1, 1, config=config)])[topic]
    future.result(20)


def produce(broker, topic, count, codec="none", key=None, value_bytes=300, idempotent=False):
    """Sends records in many small batches; fails if one is not acknowledged."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "compression.type": codec,
                         "enable.idempotence": idempotent, "acks": "all", "linger.ms": 0,
                         "batch.num.messages": 20})
    failed = []
    for number in range(count):
        # Random-looking, so that compressed batches fill segments too.
        value = (f"{codec} {number} " + "%x" % (hash((codec, number)) & (1 << 60) - 1)) * 40
        producer.produce(topic, value[:value_bytes], key=key and key(number),
                         on_delivery=lambda error, _: error and failed.append(error))
        producer.poll(0)
        if number % 20 == 19:
            producer.flush(30)
    assert producer.flush(30) == 0 and not failed, failed[:3]


def offsets(broker, topic):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
    finally:
        consumer.close()


def last_offsets(broker, topic):
    """Reads a topic: the last offset of each key, and all offsets."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader",
                         "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    last, found = {}, []
    while (message := consumer.poll(20)) is not None and not message.error():
        last[message.key()] = message.offset()
        found.append(message.offset())
    consumer.close()
    assert found == sorted(set(found))
    return last, found


def segments(broker, topic):
    return sorted((broker.data / "logs").glob(f"{topic}-0~*/*.log"))


def eventually(look, seconds, what):
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)
    return found


def dump_log(*arguments):
    """Runs kafka-dump-log; returns its output, of which nothing may speak of damage."""
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*",
               "org.apache.kafka.tools.DumpLogSegments", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    # "Non-consecutive" it says of every segment but the first; the offsets are checked here.
    bad = [line for line in output.splitlines()
           if re.search(r"(?i)exception|mismatch|corrupt|isvalid: false|found timestamp|bytes after",
                        line)]
    assert not bad, bad[:5]
    return output


def test_kafka_dump_log_reads_every_file_that_a_clean_stop_leaves(start_broker):
    assert LIBS.is_dir(), "run tests/install: kafka-dump-log comes with Apache Kafka"
    broker = start_broker(flags=["--shards", "1", "--log-segment-bytes", str(SEGMENT_BYTES)])
    create(broker, "dumped")
    for codec in CODECS:
        produce(broker, "dumped", 1000, codec, key=lambda number: b"key-%d" % (number % 7))
    produce(broker, "dumped", 100, idempotent=True)
    # Larger than the bound at which batches go straight to the segment.
    produce(broker, "dumped", 40, value_bytes=9_000)
    low, high = offsets(broker, "dumped")
    assert (low, high) == (0, len(CODECS) * 1000 + 140)
    assert broker.stop() == 0

    logs = segments(broker, "dumped")
    assert len(logs) >= 5, logs
    for log in logs:
        assert log.with_suffix(".index").exists() and log.with_suffix(".timeindex").exists()
    output = dump_log("--deep-iteration", "--files", ",".join(map(str, logs)))
    found = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", output, re.M)]
    assert found == list(range(high)), "every record once, in order"
    assert set(re.findall(r"compresscodec: (\w+)", output)) == set(CODECS)
    indexes = [log.with_suffix(kind) for log in logs for kind in (".index", ".timeindex")]
    dump_log("--index-sanity-check", "--files", ",".join(map(str, indexes)))
    dump_log("--verify-index-only", "--files", ",".join(map(str, indexes)))


def test_old_records_go_by_bytes_and_by_time_and_the_broker_starts_again(start_broker):
    flags = ["--shards", "1", "--log-segment-bytes", str(SEGMENT_BYTES),
             "--log-retention-check-interval-ms", "500"]
    broker = start_broker(flags=flags)
    limit = 4 * SEGMENT_BYTES
    create(broker, "by-bytes", **{"retention.bytes": str(limit)})
    create(broker, "by-time", **{"retention.ms": "1000"})
    create(broker, "kept")
    for topic in ("by-bytes", "by-time", "kept"):
        produce(broker, topic, 2000)

    def is_small():
        return sum(log.stat().st_size for log in segments(broker, "by-bytes")) <= 2 * limit

    eventually(is_small, 20, "segments over retention.bytes are removed")
    eventually(lambda: offsets(broker, "by-time") == (2000, 2000), 20, "all records expire")
    low, high = offsets(broker, "by-bytes")
    assert 0 < low < high == 2000
    assert offsets(broker, "kept") == (0, 2000)
    # Each start begins a term; the terms of the removed records are pruned with them.
    for number in range(3):
        assert broker.stop() == 0
        broker.start()
        produce(broker, "by-time", 1000, value_bytes=200)
        end = 3000 + number * 1000
        eventually(lambda: offsets(broker, "by-time") == (end, end), 20, "the new ones too")
    broker.kill()
    broker.start()
    assert offsets(broker, "by-time")[1] == 5000
    assert offsets(broker, "by-bytes") == (low, high)


def test_a_byte_budget_holds_over_all_topics_and_the_oldest_go_first(start_broker):
    budget = 4 << 20
    broker = start_broker(flags=["--shards", "1", "--log-segment-bytes", str(SEGMENT_BYTES),
                                 "--storage-bytes-max", str(budget),
                                 "--log-retention-check-interval-ms", "300"])
    create(broker, "older")
    create(broker, "newer")
    produce(broker, "older", 1000, value_bytes=1500)
    for _ in range(4):
        produce(broker, "newer", 1000, value_bytes=1500)

    def stored():
        return sum(log.stat().st_size for log in (broker.data / "logs").glob("*/*.log"))

    eventually(lambda: offsets(broker, "older")[0] > 0, 20, "the oldest of all records go")
    assert stored() <= budget
    assert offsets(broker, "newer")[1] == 4000
    # Room was made each time within a moment: what goes is told, that anything is refused is not.
    log = broker.output.read_text()
    assert "the byte budget is used up: the oldest records go" in log
    assert "refused" not in log and "disk is full" not in log


def test_a_compacted_topic_keeps_the_last_value_of_each_key(start_broker):
    broker = start_broker(flags=["--shards", "1", "--log-segment-bytes", str(SEGMENT_BYTES)])
    create(broker, "compacted", **{"cleanup.policy": "compact",
                                   "min.cleanable.dirty.ratio": "0.01"})
    produce(broker, "compacted", 3000, key=lambda number: b"key-%d" % (number % 10),
            idempotent=True)
    eventually(lambda: len(last_offsets(broker, "compacted")[1]) < 1000, 60, "compaction")
    broker.kill()
    broker.start()
    last, all_offsets = last_offsets(broker, "compacted")
    assert last == {b"key-%d" % (number % 10): number for number in range(2990, 3000)}
    assert len(all_offsets) < 1000
    if LIBS.is_dir():
        assert broker.stop() == 0
        files = ",".join(map(str, segments(broker, "compacted")))
        dump_log("--deep-iteration", "--files", files)
