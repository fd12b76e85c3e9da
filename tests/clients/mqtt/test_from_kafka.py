"""Records of Kafka producers reach MQTT subscribers (mqtt.publish.rules)."""

import threading

import paho.mqtt.client as paho
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import eventually, fresh
from mqtt_client import Client


@pytest.fixture
def produce(bootstrap):
    """produce(topic, key, value, headers): one record, acknowledged."""
    def one(topic, key, value, headers=None):
        producer = Producer({"bootstrap.servers": bootstrap})
        failed = []
        producer.produce(topic, value, key, headers=headers or [], partition=0,
                         on_delivery=lambda error, _: failed.append(error) if error else None)
        assert producer.flush(20) == 0 and failed == []
    return one


@pytest.fixture
def commands(bootstrap):
    """A Kafka topic that tests/with-broker maps to cmd/TOPIC/KEY."""
    name = fresh("outgoing.commands")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    return name


def test_a_record_reaches_the_subscribers_of_its_mqtt_topic(port, commands, produce):
    subscriber = Client(port, fresh("s"))
    subscriber.subscribe(1, (f"cmd/{commands}/pump/+", 1), ("other/#", 1))
    produce(commands, "pump/7", "start")
    produce(commands, "lamp/1", "on")
    produce(commands, "pump/8", None)
    assert subscriber.message()[:4] == (f"cmd/{commands}/pump/7", b"start", 1, False)
    assert subscriber.message()[:4] == (f"cmd/{commands}/pump/8", b"", 1, False)
    subscriber.is_quiet()
    subscriber.disconnect()


def test_a_session_gets_what_was_produced_while_it_was_away(port, commands, produce):
    name = fresh("away")
    subscriber = Client(port, name, clean=False)
    subscriber.subscribe(1, (f"cmd/{commands}/#", 1))
    subscriber.disconnect()
    for number in range(20):
        produce(commands, "valve", str(number))
    subscriber = Client(port, name, clean=False)
    assert subscriber.session_present
    assert [subscriber.message()[1] for _ in range(20)] == [b"%d" % n for n in range(20)]
    subscriber.is_quiet()
    subscriber.disconnect()


def test_headers_become_user_properties(port, commands, produce):
    got, done = [], threading.Event()
    reader = paho.Client(paho.CallbackAPIVersion.VERSION2, fresh("c"), protocol=paho.MQTTv5)
    reader.on_connect = lambda client, *_: client.subscribe(f"cmd/{commands}/#", 1)
    reader.on_subscribe = lambda *_: done.set()
    reader.on_message = lambda client, data, message: got.append(message)
    reader.connect("127.0.0.1", port)
    reader.loop_start()
    assert done.wait(10)
    produce(commands, "a", "x", [("site", "7"), ("site", "8"), ("raw", b"\xff")])
    message = eventually(lambda: got and got[0])
    assert message.properties.UserProperty == [("site", "7"), ("site", "8")]
    reader.disconnect()
    reader.loop_stop()


def test_other_topics_stay_in_kafka(port, bootstrap, produce):
    name = fresh("inside")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    subscriber = Client(port, fresh("s"))
    subscriber.subscribe(1, (f"cmd/{name}/#", 1), (f"{name}/#", 1), (name, 1))
    produce(name, "a", "x")
    subscriber.is_quiet()
    subscriber.disconnect()
