"""Clients of earlier years against the broker at BOOTSTRAP, in a virtual environment of their own.

kafka-python 2.0 bootstraps with Metadata v0 and v1, and still runs in many places; librdkafka 2.6
stops compressing if the lowest advertised Produce version is above 0.
"""

import os
import time

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import NewTopic as RdkafkaTopic
from conftest import fresh
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic


@pytest.fixture
def admin(bootstrap):
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield client
    client.close()


@pytest.fixture
def topic(admin):
    name = fresh("old")
    admin.create_topics([NewTopic(name, 2, 1)])
    return name


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_kafka_python_records_come_back_unchanged(bootstrap, topic, codec):
    values = [os.urandom(i * 5) for i in range(1, 200)]
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks="all")
    sent = [
        producer.send(topic, value, key=b"k", headers=[("a", b"1"), ("a", b"2")], partition=0)
        for value in values
    ]
    producer.flush(20)
    assert [future.get(10).offset for future in sent] == list(range(len(values)))
    producer.close()
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=15_000
    )
    consumer.assign([TopicPartition(topic, 0)])
    found = [next(consumer) for _ in values]
    assert [record.value for record in found] == values
    assert list(found[0].headers) == [("a", b"1"), ("a", b"2")]
    consumer.close()


def test_kafka_python_group_reads_all_and_continues(bootstrap, topic):
    group = fresh("group")
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for first, end in ((0, 50), (50, 70)):
        for i in range(first, end):
            producer.send(topic, b"%d" % i, partition=i % 2)
        producer.flush(20)
        consumer = KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False, consumer_timeout_ms=15_000,
        )
        found = sorted(int(next(consumer).value) for _ in range(first, end))
        assert found == list(range(first, end))
        consumer.commit()
        consumer.close()
    producer.close()


def test_kafka_python_admin_describes_and_alters(admin, topic):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "123456"})
    admin.alter_configs([resource])
    asked = ConfigResource(ConfigResourceType.TOPIC, topic)
    deadline = time.monotonic() + 10
    while True:
        (answer,) = admin.describe_configs([asked])
        values = {entry[0]: entry[1] for entry in answer.resources[0][4]}
        if values["retention.ms"] == "123456":
            break
        assert time.monotonic() < deadline
    assert topic in admin.list_topics()
    assert admin.describe_cluster()["brokers"]
    admin.list_consumer_groups()
    admin.delete_topics([topic])


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_librdkafka_records_come_back_and_are_compressed(bootstrap, topic, codec):
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 100}
    )
    for i in range(1_000):
        producer.produce(topic, b"%300d" % i, partition=0)
    assert producer.flush(20) == 0
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": fresh("group"), "check.crcs": True,
         "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found = []
    deadline = time.monotonic() + 20
    while len(found) < 1_000:
        assert time.monotonic() < deadline
        for message in consumer.consume(500, 0.2):
            assert message.error() is None, message.error()
            found.append(int(message.value()))
    assert found == list(range(1_000))
    consumer.commit(asynchronous=False)
    consumer.close()


def test_librdkafka_admin_creates_and_deletes(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    name = fresh("old")
    admin.create_topics([RdkafkaTopic(name, 1, 1)])[name].result(10)
    admin.delete_topics([name])[name].result(10)
