"""Damage on the disk that nobody has read yet: the scrub finds it, under a broker that goes on."""

import re
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "meter"
SEGMENT_BYTES = 64 * 1024
RECORDS = 300
SOUND = "everything that is stored was read and is sound"
FLAGS = ["--shards", "1", "--log-segment-bytes", str(SEGMENT_BYTES),
         "--storage-scrub-interval-ms", "1000"]


def value(number):
    return f"{number} ".ljust(1_000, "x").encode()


def produce(broker, partition, first, count):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "batch.num.messages": 10})
    failed = []
    for number in range(first, first + count):
        producer.produce(TOPIC, value(number), partition=partition,
                         on_delivery=lambda error, _: error and failed.append(error))
    assert producer.flush(30) == 0 and not failed, failed[:3]


def read(broker, partition, offset, count):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader"})
    consumer.assign([TopicPartition(TOPIC, partition, offset)])
    try:
        return [consumer.poll(10) for _ in range(count)]
    finally:
        consumer.close()


def wait_for(broker, holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, broker.log()
        time.sleep(0.1)


def closed_segments(broker, partition):
    return sorted((broker.data / "logs").glob(f"{TOPIC}-{partition}~*/*.log"))[:-1]


def test_the_scrub_finds_a_changed_byte_and_the_rest_goes_on(start_broker):
    broker = start_broker(flags=FLAGS)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(TOPIC, 2, 1)])[TOPIC].result(20)
    for partition in range(2):
        produce(broker, partition, 0, RECORDS)
    wait_for(broker, lambda: all(len(closed_segments(broker, one)) >= 3 for one in range(2)))
    wait_for(broker, lambda: SOUND in broker.log())
    assert re.search(r"^sluice_partitions_stopped.* 0$", broker.metrics(), re.MULTILINE)

    # One bit in the middle of a segment that nobody reads.
    damaged = closed_segments(broker, 0)[1]
    with open(damaged, "r+b") as file:
        file.seek(damaged.stat().st_size >> 1)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0x10]))
    wait_for(broker, lambda: "stored records are damaged" in broker.log())
    told = broker.log()
    line = next(line for line in told.splitlines() if "stored records are damaged" in line)
    assert f"{TOPIC}-0" in line and damaged.name in line, line
    assert re.search(r"^sluice_partitions_stopped.* 1$", broker.metrics(), re.MULTILINE)
    # The pass that found it, and the next ones, do not call everything sound.
    wait_for(broker, lambda: "some partitions were not read whole" in broker.log())
    told = broker.log()
    assert SOUND not in told[told.index(line):]

    error = read(broker, 0, 0, 1)[0]
    assert error is None or error.error() is not None, "the damaged log is served"
    assert error is None or error.error().code() != KafkaError.OFFSET_OUT_OF_RANGE
    produce(broker, 1, RECORDS, 20)
    messages = read(broker, 1, 0, RECORDS + 20)
    assert [message.value() for message in messages] == [value(n) for n in range(RECORDS + 20)]
