"""MQTT sessions on a partition that cannot be read for a while: where they are in it is kept."""

import time

from confluent_kafka import Consumer, TopicPartition

import broker  # noqa: F401  (puts tests/ on the path)
from mqtt_client import PUBACK, Client

SEGMENT_BYTES = 64 * 1024
# Place of the magic byte in a batch.
MAGIC = 16
MESSAGES = 30
FLAGS = ["--shards", "1", "--log-segment-bytes", str(SEGMENT_BYTES)]


def publish(port, first, count):
    publisher = Client(port, "publisher")
    for number in range(first, first + count):
        publisher.publish("damage/a", f"{number} ".ljust(8000, "x"), 1, 1)
        publisher.expect(PUBACK, 1)
    publisher.disconnect()


def numbers(client, count):
    return [int(client.message()[1].split()[0]) for _ in range(count)]


def halt(gateway):
    """Reads the damaged record: then the log stops."""
    consumer = Consumer({"bootstrap.servers": gateway.bootstrap, "group.id": "reader"})
    consumer.assign([TopicPartition("mqtt", 0, 0)])
    deadline = time.monotonic() + 20
    while "log halted topic=mqtt" not in gateway.log():
        assert time.monotonic() < deadline, "the damage is not found"
        consumer.poll(0.2)
    consumer.close()


def test_a_session_keeps_its_place_while_the_partition_cannot_be_read(start_broker):
    gateway = start_broker(flags=FLAGS)
    port = gateway.mqtt_port
    client = Client(port, "watcher", clean=False)
    client.subscribe(1, ("damage/#", 1))
    publish(port, 0, MESSAGES)
    assert numbers(client, MESSAGES) == list(range(MESSAGES))
    # Answered behind the last acknowledgement.
    client.ping()
    client.receive()
    client.disconnect()
    assert gateway.stop() == 0

    logs = sorted((gateway.data / "logs").glob("mqtt-0~*/*.log"))
    assert len(logs) >= 2, logs
    whole = logs[0].read_bytes()
    logs[0].write_bytes(whole[:MAGIC] + b"\x09" + whole[MAGIC + 1:])
    gateway.start()
    halt(gateway)
    for _ in range(2):
        client = Client(port, "watcher", clean=False)
        assert client.session_present
        client.ping()
        client.receive()
        assert client.is_quiet(0.5)
        client.disconnect()
    # A halted log may end the stop with another code than 0.
    gateway.stop()

    logs[0].write_bytes(whole)
    gateway.start()
    publish(port, MESSAGES, 1)
    client = Client(port, "watcher", clean=False)
    assert client.session_present
    assert numbers(client, 1) == [MESSAGES], "what it has came again"
    assert client.is_quiet()
    client.disconnect()
    assert gateway.stop() == 0
