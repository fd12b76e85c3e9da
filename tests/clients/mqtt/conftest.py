"""What the MQTT suites share: the broker under test, and Kafka's view of it."""

import itertools
import os
import pathlib
import sys
import time

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

_numbers = itertools.count()


def fresh(word):
    """A name that no other test of any run has used."""
    return f"{word}-{os.getpid()}-{time.time_ns() % 10**9}-{next(_numbers)}"


def eventually(look, seconds=15, what="the condition"):
    """Calls look until it gives something true, and returns that; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def port():
    """The broker's MQTT port (see tests/with-broker)."""
    number = os.environ.get("MQTT_PORT")
    assert number, "set MQTT_PORT, or use tests/with-broker"
    return int(number)


@pytest.fixture(scope="session")
def bootstrap():
    """host:port of the Kafka API."""
    address = os.environ.get("BOOTSTRAP")
    assert address, "set BOOTSTRAP=host:port, or use tests/with-broker"
    return address


def watermarks(consumer, place):
    """First and next offset; None while a topic that was just made has no leader yet."""
    try:
        return consumer.get_watermark_offsets(place, timeout=10)
    except KafkaException:
        # librdkafka remembers a partition without a leader for minutes unless it asks again.
        consumer.list_topics(place.topic, timeout=10)
        return None


@pytest.fixture(scope="session")
def records(bootstrap):
    """records(kafka_topic, key): the values and headers that Kafka's consumers see, in order."""
    def read(topic="mqtt", key=None):
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused",
                             "enable.auto.commit": False})
        found = []
        # A topic that the first message makes is not there before it.
        known = consumer.list_topics(timeout=10).topics
        partitions = known[topic].partitions if topic in known else ()
        for partition in sorted(partitions):
            place = TopicPartition(topic, partition, 0)
            _, end = eventually(lambda: watermarks(consumer, place), what="a leader")
            consumer.assign([place])
            offset = 0
            while offset < end:
                message = consumer.poll(10)
                assert message is not None and message.error() is None, message
                offset = message.offset() + 1
                if key is None or message.key() == key.encode():
                    found.append((message.value(), dict(message.headers() or [])))
        consumer.close()
        return found
    return read
