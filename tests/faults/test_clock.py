"""A gateway without a battery-backed clock: it begins in 1970, and nothing goes when it hears the time."""

import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from test_stored_files import eventually, offsets, segments
from wall_clock import WallClock

DAY = 86_400
FLAGS = ["--shards", "1", "--log-segment-bytes", "65536", "--log-retention-check-interval-ms", "200"]


def create(broker, topic, retention_ms):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    config = {"retention.ms": str(retention_ms)}
    admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(20)


def produce(broker, topic, count, timestamp_ms=0):
    """Records in batches that fill several segments; fails if one is refused."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "batch.num.messages": 20})
    failed = []
    for _ in range(count):
        producer.produce(topic, b"x" * 1_000, timestamp=timestamp_ms,
                         on_delivery=lambda error, _: error and failed.append(error))
        producer.poll(0)
    assert producer.flush(30) == 0 and not failed, failed[:3]


def test_a_clock_that_jumps_from_1970_expires_nothing(start_broker, tmp_path):
    clock = WallClock(tmp_path)
    broker = start_broker.without_start(flags=FLAGS)
    broker.environment = clock.environment
    clock.set(600 - time.time())
    broker.start()
    create(broker, "before", DAY * 1_000)
    create(broker, "across", 2_000)
    for topic in ("before", "across"):
        produce(broker, topic, 300, clock.now_ms())
    # Who has the time is not refused for it.
    produce(broker, "before", 1, int(time.time() * 1_000))
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "readers",
                         "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition("before", 0, 123)], asynchronous=False)
    clock.set(0)
    # Several looks of retention, and a start with the right time.
    time.sleep(2)
    assert offsets(broker, "before") == (0, 301)
    assert offsets(broker, "across") == (0, 300)
    assert broker.stop() == 0
    assert len(segments(broker, "before")) > 3
    broker.start()
    time.sleep(2)
    assert offsets(broker, "before") == (0, 301)
    (committed,) = consumer.committed([TopicPartition("before", 0)], timeout=20)
    assert committed.offset == 123
    consumer.close()
    # What is written from now on takes it along when it is old.
    produce(broker, "across", 100, clock.now_ms())
    eventually(lambda: offsets(broker, "across") == (400, 400), 20, "both go")
    assert offsets(broker, "before") == (0, 301)
