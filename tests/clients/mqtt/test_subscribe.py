"""Subscriptions, retained messages, last wills and sessions that outlive their connection."""

import struct
import subprocess
import threading
import time

import paho.mqtt.client as paho
import pytest

from conftest import eventually, fresh
from mqtt_client import PUBACK, PUBCOMP, PUBREC, Client, packet, string


@pytest.mark.parametrize("filter_, topics", [
    ("{}/+/b", {"{}/x/b": True, "{}/x/c": False, "{}/x/y/b": False}),
    ("{}/#", {"{}": True, "{}/a/b/c": True, "other{}": False}),
    ("+/{}", {"x/{}": True, "/{}": True, "{}": False}),
    ("{}", {"{}": True, "{}/": False}),
])
def test_filters_choose_what_is_delivered(port, filter_, topics):
    name = fresh("filters")
    subscriber, publisher = Client(port, fresh("s")), Client(port, fresh("p"))
    assert subscriber.subscribe(1, (filter_.format(name), 1)) == [1]
    for number, topic in enumerate(topics, 1):
        publisher.publish(topic.format(name), topic, 1, number)
        publisher.expect(PUBACK, number)
    for topic in [topic for topic, matches in topics.items() if matches]:
        assert subscriber.message()[:4] == (topic.format(name), topic.encode(), 1, False)
    subscriber.is_quiet()
    subscriber.disconnect()
    publisher.disconnect()


def test_quality_is_the_smaller_of_both_and_two_becomes_one(port):
    topic = fresh("quality")
    subscribers = [Client(port, fresh("s")) for _ in range(3)]
    for qos, one in enumerate(subscribers):
        assert one.subscribe(1, (topic, qos)) == [min(qos, 1)]
    publisher = Client(port, fresh("p"))
    publisher.publish(topic, "zero", 0)
    publisher.publish(topic, "one", 1, 1)
    publisher.expect(PUBACK, 1)
    for qos, one in enumerate(subscribers):
        got = sorted([one.message()[1:3], one.message()[1:3]])
        assert got == sorted([(b"zero", 0), (b"one", min(qos, 1))])
        one.disconnect()
    publisher.disconnect()


def test_order_and_window(port):
    topic = fresh("order")
    subscriber, publisher = Client(port, fresh("s")), Client(port, fresh("p"))
    subscriber.subscribe(1, (topic, 1))
    for number in range(1, 201):
        publisher.publish(topic, str(number), 1, number)
    for number in range(1, 201):
        publisher.expect(PUBACK, number)
    # Without acknowledgements the window ends what is sent.
    identifiers = []
    for number in range(1, 33):
        _, payload, _, _, identifier = subscriber.message(acknowledge=False)
        assert payload == str(number).encode()
        identifiers.append(identifier)
    subscriber.is_quiet()
    assert len(set(identifiers)) == 32
    for identifier in identifiers:
        subscriber.send(packet(0x40, struct.pack(">H", identifier)))
    assert [subscriber.message()[1] for _ in range(33, 201)] == \
        [str(number).encode() for number in range(33, 201)]
    subscriber.disconnect()
    publisher.disconnect()


def test_unsubscribe_ends_it(port):
    topic = fresh("unsubscribe")
    one = Client(port, fresh("c"))
    one.subscribe(1, (topic, 1))
    one.send(packet(0xA2, struct.pack(">H", 2) + string(topic)))
    assert one.receive()[0] == 11
    one.publish(topic, "x", 1, 3)
    one.expect(PUBACK, 3)
    one.is_quiet()
    one.disconnect()


def test_what_is_retained_comes_first_and_an_empty_payload_deletes_it(port):
    topic = fresh("retained")
    publisher = Client(port, fresh("p"))
    for number, payload in enumerate(["old", "new"], 1):
        publisher.publish(topic, payload, 1, number, retain=True)
        publisher.expect(PUBACK, number)
    early = Client(port, fresh("s"))
    early.subscribe(1, (topic, 1))
    assert early.message()[:4] == (topic, b"new", 1, True)
    publisher.publish(topic, "newer", 1, 3, retain=True)
    publisher.expect(PUBACK, 3)
    assert early.message()[:4] == (topic, b"newer", 1, False)
    publisher.publish(topic, "", 1, 4, retain=True)
    publisher.expect(PUBACK, 4)
    assert early.message()[:2] == (topic, b"")
    late = Client(port, fresh("s"))
    late.subscribe(1, (topic, 1))
    late.is_quiet()
    for one in (early, late, publisher):
        one.disconnect()


def test_whoever_subscribes_behind_a_delivery_gets_what_is_retained(port):
    """A retained message is in two logs: between the two commits nobody may miss it."""
    watcher, publisher = Client(port, fresh("w")), Client(port, fresh("p"))
    for number in range(1, 51):
        topic = fresh("gap")
        late = Client(port, fresh("l"))
        watcher.subscribe(number, (topic, 1))
        publisher.publish(topic, "kept", 1, number, retain=True)
        assert watcher.message()[:2] == (topic, b"kept")
        late.subscribe(1, (topic, 1))
        assert late.message(timeout=5)[:2] == (topic, b"kept"), number
        publisher.expect(PUBACK, number)
        late.disconnect()
    watcher.disconnect()
    publisher.disconnect()


def test_a_last_will_follows_a_lost_connection_and_not_a_disconnect(port):
    topic = fresh("will")
    watcher = Client(port, fresh("w"))
    watcher.subscribe(1, (topic, 1))
    polite = Client(port, fresh("c"), will=(topic, "polite", 1, False))
    polite.disconnect()
    lost = Client(port, fresh("c"), will=(topic, "lost", 1, True))
    lost.close()
    assert watcher.message()[:2] == (topic, b"lost")
    late = Client(port, fresh("w"))
    late.subscribe(1, (topic, 0))
    assert late.message()[:4] == (topic, b"lost", 0, True)
    watcher.disconnect()
    late.disconnect()


def test_a_session_gets_what_was_published_while_it_was_away(port):
    name, topic = fresh("away"), fresh("away/t")
    one = Client(port, name, clean=False)
    assert not one.session_present
    one.subscribe(1, (topic, 1))
    one.disconnect()
    publisher = Client(port, fresh("p"))
    publisher.publish(topic, "zero", 0)
    for number in range(1, 101):
        publisher.publish(topic, str(number), 1, number)
    for number in range(1, 101):
        publisher.expect(PUBACK, number)
    one = Client(port, name, clean=False)
    assert one.session_present
    assert [one.message()[1] for _ in range(100)] == [str(n).encode() for n in range(1, 101)]
    one.is_quiet()
    one.disconnect()
    fresh_start = Client(port, name, clean=True)
    assert not fresh_start.session_present
    publisher.publish(topic, "x", 1, 200)
    publisher.expect(PUBACK, 200)
    fresh_start.is_quiet()
    fresh_start.disconnect()
    again = Client(port, name, clean=False)
    assert not again.session_present
    again.disconnect()
    publisher.disconnect()


def test_what_was_not_acknowledged_comes_again_with_its_identifier(port):
    name, topic = fresh("again"), fresh("again/t")
    one = Client(port, name, clean=False)
    one.subscribe(1, (topic, 1))
    publisher = Client(port, fresh("p"))
    for number in (1, 2):
        publisher.publish(topic, str(number), 1, number)
        publisher.expect(PUBACK, number)
    identifiers = [one.message(acknowledge=False)[4] for _ in range(2)]
    one.close()
    one = Client(port, name, clean=False)
    for payload, identifier in zip([b"1", b"2"], identifiers):
        kind, flags, body = one.receive()
        assert kind == 3 and flags & 8, "DUP"
        assert body.endswith(payload)
        start = 2 + len(topic)
        assert struct.unpack(">H", body[start:start + 2])[0] == identifier
    one.disconnect()
    publisher.disconnect()


def test_exactly_once_from_a_session_over_lost_connections(port, records):
    name, topic = fresh("exact"), fresh("exact/t")
    one = Client(port, name, clean=False)
    one.publish(topic, "a", 2, 1)
    one.expect(PUBREC, 1)
    one.publish(topic, "a", 2, 1, dup=True)
    one.expect(PUBREC, 1)
    one.close()
    one = Client(port, name, clean=False)
    one.publish(topic, "a", 2, 1, dup=True)
    one.expect(PUBREC, 1)
    one.release(1)
    one.expect(PUBCOMP, 1)
    one.release(1)
    one.expect(PUBCOMP, 1)
    one.publish(topic, "b", 2, 1)
    one.expect(PUBREC, 1)
    one.release(1)
    one.expect(PUBCOMP, 1)
    one.disconnect()
    assert [value for value, _ in records("mqtt", topic)] == [b"a", b"b"]


@pytest.mark.parametrize("clean", [True, False])
def test_many_exactly_once_are_in_order(port, records, clean):
    topic = fresh("exact")
    one = Client(port, fresh("c"), clean=clean)
    for number in range(1, 41):
        one.publish(topic, str(number), 2, number)
    for number in range(1, 41):
        one.expect(PUBREC, number)
    for number in range(1, 41):
        one.release(number)
    for number in range(1, 41):
        one.expect(PUBCOMP, number)
    one.disconnect()
    values = [value for value, _ in records("mqtt", topic)]
    assert values == [str(number).encode() for number in range(1, 41)]


def test_mosquitto_sub_reads_what_mosquitto_pub_writes(port):
    topic = fresh("pair")
    for version in ("mqttv31", "mqttv311", "mqttv5"):
        base = ["-h", "127.0.0.1", "-p", str(port), "-V", version, "-q", "2"]
        subprocess.run(["mosquitto_pub", *base, "-r", "-t", f"{topic}/r", "-m", "kept"],
                       check=True, timeout=10)
        reader = subprocess.Popen(["mosquitto_sub", *base, "-t", f"{topic}/#", "-C", "3", "-v"],
                                  stdout=subprocess.PIPE, text=True)
        assert reader.stdout.readline() == f"{topic}/r kept\n"
        for payload in ("1", "2"):
            subprocess.run(["mosquitto_pub", *base, "-t", f"{topic}/x", "-m", payload],
                           check=True, timeout=10)
        assert reader.stdout.read() == f"{topic}/x 1\n{topic}/x 2\n"
        assert reader.wait(10) == 0


def test_properties_reach_a_subscriber_of_mqtt_5(port):
    topic, got, done = fresh("properties"), [], threading.Event()
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    reader = paho.Client(paho.CallbackAPIVersion.VERSION2, fresh("c"), protocol=paho.MQTTv5)
    reader.on_connect = lambda client, *_: client.subscribe(topic, 1)
    reader.on_subscribe = lambda *_: done.set()
    reader.on_message = lambda client, data, message: got.append(message)
    reader.connect("127.0.0.1", port)
    reader.loop_start()
    assert done.wait(10)
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("site", "7"), ("site", "8")]
    properties.ContentType = "text/plain"
    properties.ResponseTopic = "back"
    properties.CorrelationData = b"\0\1"
    properties.MessageExpiryInterval = 100
    reader.publish(topic, "x", 1, properties=properties).wait_for_publish(10)
    message = eventually(lambda: got and got[0])
    assert message.properties.UserProperty == [("site", "7"), ("site", "8")]
    assert message.properties.ContentType == "text/plain"
    assert message.properties.ResponseTopic == "back"
    assert message.properties.CorrelationData == b"\0\1"
    assert 90 <= message.properties.MessageExpiryInterval <= 100
    reader.disconnect()
    reader.loop_stop()


def test_a_subscriber_that_does_not_read_harms_nobody(port):
    topic = fresh("lazy")
    lazy = Client(port, fresh("lazy"))
    lazy.subscribe(1, (topic, 0))
    eager, publisher = Client(port, fresh("eager")), Client(port, fresh("p"))
    eager.subscribe(1, (topic, 0))
    payload = bytes(100_000)
    for number in range(1, 121):
        publisher.publish(topic, payload, 1, number)
        publisher.expect(PUBACK, number)
    for _ in range(120):
        assert len(eager.message()[1]) == 100_000
    for one in (lazy, eager, publisher):
        one.close()


def test_time_passes(port):
    """A message whose expiry is over is not delivered."""
    name, topic = fresh("expiry"), fresh("expiry/t")
    one = Client(port, name, clean=False)
    one.subscribe(1, (topic, 1))
    one.disconnect()
    for seconds, payload in (("1", "short"), ("100", "long")):
        subprocess.run(
            ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-V", "mqttv5", "-q", "1",
             "-t", topic, "-m", payload, "-D", "publish", "message-expiry-interval", seconds],
            check=True, timeout=10)
    time.sleep(1.2)
    one = Client(port, name, clean=False)
    assert one.message()[1] == b"long"
    one.is_quiet()
    one.disconnect()
