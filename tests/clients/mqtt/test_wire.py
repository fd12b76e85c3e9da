"""Packets as such: embedded clients that resend, hostile bytes, take-over, keep-alive."""

import struct
import time

import pytest
from confluent_kafka.admin import AdminClient

from conftest import eventually, fresh
from mqtt5_client import Client5
from mqtt_client import (
    PINGRESP, PUBACK, Client, Closed, connect_packet, packet, publish_packet, string,
)


def test_a_repetition_on_the_same_connection_is_one_record(port, records):
    """esp-mqtt sends an unacknowledged publish again on the same connection, with DUP."""
    topic = fresh("esp")
    one = Client(port, fresh("esp"))
    first = publish_packet(topic, "a", 1, 7)
    again = publish_packet(topic, "a", 1, 7, dup=True)
    one.send(first + again + again)
    one.expect(PUBACK, 7)
    # The acknowledgement has crossed a repetition.
    one.send(again)
    one.expect(PUBACK, 7)
    one.publish(topic, "b", 1, 7)
    one.expect(PUBACK, 7)
    values = [value for value, _ in records("mqtt", topic)]
    assert values == [b"a", b"b"]
    one.disconnect()


def test_acknowledgements_come_in_order(port):
    topic = fresh("order")
    one = Client(port, fresh("c"))
    identifiers = [9, 3, 60000, 1, 44] * 1 + list(range(100, 140))
    one.send(b"".join(publish_packet(topic, str(i), 1, i) for i in identifiers))
    for identifier in identifiers:
        one.expect(PUBACK, identifier)
    one.disconnect()


@pytest.mark.parametrize("kind", [Client, Client5])
def test_a_client_may_send_more_than_the_window(port, records, kind):
    topic = fresh("window")
    one = kind(port, fresh("c"))
    for number in range(1, 1001):
        one.publish(topic, str(number), 1, number)
    for identifier in range(1, 1001):
        one.expect(PUBACK, identifier)
    assert len(records("mqtt", topic)) == 1000
    one.disconnect()


def test_everything_in_one_segment_is_served(port, records):
    """Some clients send CONNECT, PUBLISH and DISCONNECT without waiting."""
    topic = fresh("burst")
    one = Client(port, connect=False)
    one.send(connect_packet(fresh("c")) + publish_packet(topic, "x") + packet(0xE0, b""))
    one.socket.close()
    eventually(lambda: records("mqtt", topic))


def test_the_same_client_identifier_takes_over(port):
    name = fresh("taken")
    first = Client(port, name)
    second = Client(port, name)
    first.ends()
    second.ping()
    assert second.receive()[0] == PINGRESP
    second.disconnect()


def test_many_take_overs_leave_one(port):
    name = fresh("taken")
    clients = [Client(port, connect=False) for _ in range(20)]
    for one in clients:
        one.send(connect_packet(name))
    open_ones = []
    for one in clients:
        try:
            one.receive()
            one.ping()
            one.receive()
            open_ones.append(one)
        except Closed:
            pass
    last = Client(port, name)
    for one in open_ones:
        one.ends()
    last.disconnect()


def test_a_silent_client_is_disconnected_after_one_and_a_half_times(port):
    one = Client(port, fresh("silent"), keep_alive=1)
    begun = time.monotonic()
    one.ends(10)
    assert time.monotonic() - begun > 1.4
    lively = Client(port, fresh("lively"), keep_alive=1)
    for _ in range(4):
        time.sleep(0.6)
        lively.ping()
        assert lively.receive()[0] == PINGRESP
    lively.disconnect()


@pytest.mark.parametrize("first", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", packet(0xC0, b""), packet(0x20, b"\0\0"),
    publish_packet("a", "b"), b"\x10\xff\xff\xff\xff\x7f", b"\x10\xff\xff\xff\x7f",
    packet(0x10, string("MQTT") + b"\4\3\0\0" + string("x")), bytes(64), b"\x10\x00",
])
def test_what_is_no_connect_is_closed_without_a_word(port, first):
    one = Client(port, connect=False)
    one.send(first)
    assert one.ends() == []


@pytest.mark.parametrize("level", [0x84, 0x83, 6])
def test_an_unknown_level_is_told_so(port, level):
    one = Client(port, connect=False)
    one.send(packet(0x10, string("MQTT") + bytes([level, 2, 0, 60]) + string("bridge")))
    assert one.ends() == [(2, 0, b"\0\1")]


@pytest.mark.parametrize("bad", [
    packet(0x36, string("a") + b"\0\1x"), packet(0x32, string("a") + b"\0\0x"),
    packet(0x30, string("") + b"x"), packet(0x30, string("a/#") + b"x"),
    packet(0x30, b"\0\x09a"), packet(0x38, string("a") + b"x"), packet(0x60, b"\0\1"),
    packet(0x82, b"\0\1"), packet(0x82, b"\0\1" + string("a#") + b"\1"), packet(0xF0, b""),
    packet(0x00, b""), packet(0xC0, b"x"), packet(0x30, string("a" * 600) + b"x"),
    packet(0x10, string("MQTT") + b"\4\2\0\0" + string("x")), b"\x30\xff\xff\xff\x7f",
    publish_packet("a", bytes(300_000), 1, 1)[:50_000],
])
def test_a_packet_that_breaks_a_rule_ends_the_connection(port, bad):
    one = Client(port, fresh("bad"))
    one.send(bad)
    one.ends()


def test_a_client_without_a_name_needs_a_clean_session(port):
    one = Client(port, "", clean=False)
    assert one.code == 2
    two = Client(port, "", clean=True)
    assert two.code == 0
    two.disconnect()


def test_a_slow_packet_is_put_together(port, records):
    topic = fresh("slow")
    one = Client(port, fresh("c"))
    for byte in publish_packet(topic, "abc", 1, 1):
        one.send(bytes([byte]))
    one.expect(PUBACK, 1)
    large = publish_packet(topic, b"z" * 100_000, 1, 2)
    for start in range(0, len(large), 7000):
        one.send(large[start:start + 7000])
    one.expect(PUBACK, 2)
    assert [len(value) for value, _ in records("mqtt", topic)] == [3, 100_000]
    one.disconnect()


def test_other_connections_live_beside_hostile_ones(port):
    good = Client(port, fresh("good"))
    hostile = [Client(port, connect=False) for _ in range(50)]
    for number, one in enumerate(hostile):
        one.send(b"\x10" + bytes([0xF0, 0x3F]) + struct.pack(">I", number))
    good.publish(fresh("good"), "x", 1, 1)
    good.expect(PUBACK, 1)
    for one in hostile:
        one.close()
    good.disconnect()


def test_many_clients_at_once_make_one_topic(port, bootstrap, records):
    """Nobody is disconnected because the topic of the first message is being made."""
    topic = fresh("crowd")
    clients = [Client(port, fresh("c")) for _ in range(300)]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.delete_topics(["mqtt"]).values():
        try:
            done.result(10)
        except Exception as error:  # No message has made it yet.
            assert "UNKNOWN_TOPIC" in str(error), error
    for number, one in enumerate(clients):
        one.publish(topic, str(number), 1, 1)
    for one in clients:
        one.expect(PUBACK, 1)
        one.disconnect()
    assert len(records("mqtt", topic)) == 300
