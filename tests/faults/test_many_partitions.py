"""10,000 partitions on one node: the memory limit holds while they are made, written, read and recovered.

The figure is the high-water mark of the resident memory that the kernel keeps (VmHWM); it does not depend
on how fast the machine is.
"""

import pathlib
import shutil

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPICS = 100
PARTITIONS = 100
MEMORY_BYTES = 130_000_000
FLAGS = ("--memory", "130M", "--shards", "1")


def high_water_bytes(broker):
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def names():
    return [f"many-{number:03}" for number in range(TOPICS)]


def create(broker):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    topics = [NewTopic(name, PARTITIONS, 1) for name in names()]
    for future in admin.create_topics(topics, request_timeout=30).values():
        future.result()
    return admin


def produce(broker, rounds):
    producer = Producer({
        "bootstrap.servers": broker.bootstrap, "linger.ms": 50,
        "queue.buffering.max.messages": 200_000,
    })
    failed = []
    for _ in range(rounds):
        for name in names():
            for partition in range(PARTITIONS):
                producer.produce(
                    name, b"x" * 200, partition=partition,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
            producer.poll(0)
        assert producer.flush(60) == 0
    assert failed == []


def consume(broker, expected):
    """Reads every partition from its start and counts the records of each."""
    consumer = Consumer({
        "bootstrap.servers": broker.bootstrap, "group.id": "many", "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    })
    consumer.assign([
        TopicPartition(name, partition, 0) for name in names() for partition in range(PARTITIONS)
    ])
    seen = {}
    for _ in range(600):
        for record in consumer.consume(10_000, 0.5):
            assert record.error() is None, record.error()
            place = (record.topic(), record.partition())
            assert record.offset() == seen.get(place, 0), place
            seen[place] = record.offset() + 1
        if sum(seen.values()) >= expected * TOPICS * PARTITIONS:
            break
    consumer.close()
    assert len(seen) == TOPICS * PARTITIONS and set(seen.values()) == {expected}


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_ten_thousand_partitions_stay_inside_the_memory_limit(start_broker, ending):
    broker = start_broker(flags=FLAGS)
    admin = create(broker)
    # One more topic than the memory holds is refused, and says why.
    refused = admin.create_topics([NewTopic("too-many", PARTITIONS, 1)])["too-many"]
    with pytest.raises(KafkaException) as error:
        refused.result()
    assert error.value.args[0].code() == KafkaError.INVALID_PARTITIONS
    assert "partitions" in error.value.args[0].str()
    produce(broker, 3)
    consume(broker, 3)
    first = high_water_bytes(broker)
    if ending == "stop":
        assert broker.stop() == 0
    else:
        broker.kill()
    broker.start()
    consume(broker, 3)
    produce(broker, 1)
    second = high_water_bytes(broker)
    print(f"high-water mark: {first} and, after the restart, {second} bytes")
    assert max(first, second) <= MEMORY_BYTES
    # Each of the 10,000 segments has reserved room on the disk.
    broker.kill()
    shutil.rmtree(broker.data)
