"""MQTT 5 clause by clause, with raw packets: docs/mqtt-behaviours.md names these tests."""

import struct
import time

import pytest

from conftest import fresh
from mqtt5_client import Client5, connect5_packet, properties
from mqtt_client import CONNACK, PUBACK, PUBCOMP, PUBREC, Client, packet, string


def publish(client, topic, payload, packet_id=1, **named):
    client.publish(topic, payload, 1, packet_id, **named)
    assert client.acknowledged(PUBACK, packet_id) == 0


def test_connack_says_what_the_server_takes(port):
    one = Client5(port, "", keep_alive=30)
    found = one.properties
    assert found["receive_maximum"] == [64] and found["topic_alias_maximum"] == [8]
    assert found["maximum_packet_size"] == [262144]
    [name] = found["assigned_client_identifier"]
    one.disconnect()
    again = Client5(port, name.decode())
    assert again.code == 0 and "assigned_client_identifier" not in again.properties
    again.disconnect()


def test_more_than_the_receive_maximum_of_the_server_ends_the_connection(port):
    one = Client5(port, fresh("c"))
    # Received and not released: they count until PUBCOMP.
    for number in range(1, 65):
        one.publish(fresh("t"), "x", 2, number)
    for number in range(1, 65):
        assert one.acknowledged(PUBREC, number) == 0
    one.publish(fresh("t"), "x", 1, 100)
    assert one.ends_with() == 0x93


def test_the_receive_maximum_of_the_client_holds(port):
    topic = fresh("window")
    one, publisher = Client5(port, fresh("c"), receive_maximum=3), Client5(port, fresh("p"))
    one.subscribe(1, (topic, 1))
    for number in range(1, 11):
        publish(publisher, topic, str(number), number)
    first = [one.message(acknowledge=False) for _ in range(3)]
    one.is_quiet()
    one.acknowledge(first[0].packet_id)
    assert one.message(acknowledge=False).payload == b"4"
    one.is_quiet()
    one.disconnect()
    publisher.disconnect()


def test_topic_aliases_of_the_client(port, records):
    topic = fresh("alias")
    one = Client5(port, fresh("c"))
    publish(one, topic, "set", 1, topic_alias=8)
    publish(one, "", "used", 2, topic_alias=8)
    publish(one, topic + "/new", "set again", 3, topic_alias=8)
    publish(one, "", "used again", 4, topic_alias=8)
    assert [value for value, _ in records("mqtt", topic)] == [b"set", b"used"]
    assert [value for value, _ in records("mqtt", topic + "/new")] == [b"set again", b"used again"]
    one.disconnect()
    for alias, reason in ((0, 0x94), (9, 0x94), (7, 0x82)):
        # An alias lives with its connection.
        bad = Client5(port, fresh("c"))
        bad.publish("" if alias == 7 else topic, "x", 1, 1, topic_alias=alias)
        assert bad.ends_with() == reason


def test_a_packet_that_is_too_large_for_the_client_is_passed_over(port):
    topic = fresh("small")
    one, publisher = Client5(port, fresh("c"), maximum_packet_size=100), Client5(port, fresh("p"))
    one.subscribe(1, (topic, 1))
    publish(publisher, topic, "x" * 200, 1)
    publish(publisher, topic, "fits", 2)
    assert one.message().payload == b"fits"
    one.disconnect()
    publisher.disconnect()


def test_a_packet_that_is_too_large_for_the_server_ends_the_connection(port):
    one = Client5(port, fresh("c"))
    one.send(b"\x30\x81\x80\x10")
    assert one.ends_with() == 0x95


@pytest.mark.parametrize("name, value", [("receive_maximum", 0), ("maximum_packet_size", 0)])
def test_a_zero_that_means_nothing_is_no_connect(port, name, value):
    one = Client(port, connect=False)
    one.send(connect5_packet(fresh("c"), **{name: value}))
    assert one.ends() == []


def test_a_session_lives_as_long_as_it_was_said(port):
    for seconds, at_disconnect, stays in ((2, None, False), (100, None, True), (100, 1, False),
                                          (1, 100, True)):
        name = fresh("session")
        one = Client5(port, name, session_expiry=seconds)
        named = {} if at_disconnect is None else {"session_expiry": at_disconnect}
        one.disconnect(**named)
        time.sleep(0.1 if stays and at_disconnect is None else 2.2)
        again = Client5(port, name, clean=False, session_expiry=0)
        assert again.session_present is stays, (seconds, at_disconnect)
        again.disconnect()


def test_what_is_left_of_a_message_expiry_is_told(port):
    name, topic = fresh("expiry"), fresh("expiry/t")
    one = Client5(port, name, session_expiry=60)
    one.subscribe(1, (topic, 1))
    one.disconnect()
    publisher = Client5(port, fresh("p"))
    publish(publisher, topic, "short", 1, message_expiry=1)
    publish(publisher, topic, "long", 2, message_expiry=50)
    time.sleep(2.1)
    one = Client5(port, name, clean=False)
    message = one.message()
    assert message.payload == b"long" and 40 <= message.properties["message_expiry"][0] <= 48
    one.is_quiet()
    one.disconnect()
    publisher.disconnect()


def test_a_delayed_will_waits_and_a_client_that_comes_back_is_spared(port):
    topic, name = fresh("will"), fresh("c")
    watcher = Client5(port, fresh("w"))
    watcher.subscribe(1, (topic, 1))
    will = (topic, "gone", 1, {"will_delay": 2})
    Client5(port, name, session_expiry=60, will=will).close()
    back = Client5(port, name, clean=False, session_expiry=60)
    watcher.is_quiet(2.5)
    back.disconnect()
    begun = time.monotonic()
    Client5(port, fresh("c"), session_expiry=60, will=will).close()
    assert watcher.message().payload == b"gone" and time.monotonic() - begun > 1.5
    # The end of the session does not wait for the delay.
    begun = time.monotonic()
    Client5(port, fresh("c"), will=will).close()
    assert watcher.message().payload == b"gone" and time.monotonic() - begun < 1.5
    watcher.disconnect()


def test_disconnect_with_will_publishes_it(port):
    topic = fresh("will")
    watcher = Client5(port, fresh("w"))
    watcher.subscribe(1, (topic, 1))
    Client5(port, fresh("c"), will=(topic, "kept back", 1, {})).disconnect(0)
    Client5(port, fresh("c"), will=(topic, "wanted", 1, {})).disconnect(4)
    assert watcher.message().payload == b"wanted"
    watcher.is_quiet()
    watcher.disconnect()


def test_no_local_retain_as_published_and_retain_handling(port):
    topic = fresh("options")
    one, other = Client5(port, fresh("c")), Client5(port, fresh("o"))
    publish(other, topic, "kept", 1, retain=True)
    no_local, as_published = 4, 8
    assert one.subscribe(1, (topic, 1 | no_local | as_published | 0x10)) == [1]
    assert one.message().retain is True
    # It is not new any more.
    assert one.subscribe(2, (topic, 1 | no_local | as_published | 0x10)) == [1]
    one.is_quiet()
    publish(one, topic, "own", 2)
    one.is_quiet()
    publish(other, topic, "newer", 3, retain=True)
    message = one.message()
    assert (message.payload, message.retain) == (b"newer", True)
    assert other.subscribe(1, (topic, 1 | 0x20)) == [1]
    other.is_quiet()
    publish(one, topic, "plain", 4, retain=True)
    assert other.message().retain is False
    for client in (one, other):
        client.disconnect()


def test_subscription_identifiers_come_with_the_message(port):
    topic = fresh("identifier")
    one, publisher = Client5(port, fresh("c")), Client5(port, fresh("p"))
    one.subscribe(1, (topic, 1), subscription_identifier=5)
    one.subscribe(2, (topic + "/#", 0), subscription_identifier=300000)
    publish(publisher, topic, "x")
    message = one.message()
    assert sorted(message.properties["subscription_identifier"]) == [5, 300000]
    assert message.qos == 1
    assert one.unsubscribe(3, topic, "never") == [0, 0x11]
    one.disconnect()
    publisher.disconnect()
    bad = Client5(port, fresh("c"))
    bad.send(packet(0x82, b"\0\1" + properties(subscription_identifier=0) + string(topic) + b"\1"))
    assert bad.ends_with() == 0x82


def test_reason_codes(port):
    one = Client5(port, fresh("c"))
    one.send(packet(0x62, struct.pack(">H", 9)))
    assert one.acknowledged(PUBCOMP, 9) == 0x92
    name = fresh("taken")
    first = Client5(port, name)
    second = Client5(port, name)
    assert first.ends_with() == 0x8E
    second.send(connect5_packet(name))
    assert second.ends_with() == 0x82
    one.send(packet(0x30, string("a/#") + b"\0x"))
    assert one.ends_with() == 0x81


def test_enhanced_authentication_is_refused(port):
    one = Client(port, connect=False)
    one.send(connect5_packet(fresh("c"), authentication_method="SCRAM-SHA-256"))
    said = one.ends()
    assert [(kind, body[:2]) for kind, _, body in said] == [(CONNACK, b"\0\x8c")]


def test_a_silent_client_hears_why(port):
    one = Client5(port, fresh("c"), keep_alive=1)
    assert one.ends_with() == 0x8D


def test_the_response_topic_and_user_properties_go_through(port):
    topic = fresh("request")
    one, publisher = Client5(port, fresh("c")), Client5(port, fresh("p"))
    one.subscribe(1, (topic, 1))
    publish(publisher, topic, "x", response_topic="back", correlation_data=b"\0\1",
            user_property=[("a", "1"), ("a", "2")], payload_format=1, content_type="text/plain")
    found = one.message().properties
    assert found["user_property"] == [(b"a", b"1"), (b"a", b"2")]
    assert found["response_topic"] == [b"back"] and found["correlation_data"] == [b"\0\1"]
    assert found["payload_format"] == [1] and found["content_type"] == [b"text/plain"]
    one.disconnect()
    publisher.disconnect()
    bad = Client5(port, fresh("c"))
    bad.publish(topic, "x", 1, 1, response_topic="back/#")
    assert bad.ends_with() in (0x81, 0x82, 0x90)
