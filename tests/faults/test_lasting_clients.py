"""Clients that stay for months: what a request leaves behind in memory, it leaves behind each time.

Each kind of request is sent some thousand times on connections that stay, first to fill caches and
pools, then under a bound: 1 MB for all of them, about 100 bytes for each. RssAnon does not depend on
how fast the machine is.
"""

import pathlib
import sys

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "clients" / "python")]

from mqtt_client import (  # noqa: E402
    PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, SUBACK, UNSUBACK, Client, packet, publish_packet, string,
)
from wire import Wire, batch  # noqa: E402

REQUESTS = 10_000
WARM_UP = 4_000
IN_FLIGHT = 20
GROWTH_BYTES_MAX = 1_000_000
PARTITION = {"topic": "t", "partitions": [{"partition": 0, "partition_max_bytes": 4096}]}


def fetch(offset, wait):
    part = PARTITION["partitions"][0] | {"fetch_offset": offset}
    return "Fetch", 11, {
        "replica_id": -1, "max_wait_ms": wait, "min_bytes": 1, "max_bytes": 1 << 20,
        "isolation_level": 0, "session_id": 0, "session_epoch": -1, "rack_id": "",
        "topics": [PARTITION | {"partitions": [part]}],
    }


def commit():
    part = {"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1,
            "committed_metadata": "m"}
    return "OffsetCommit", 7, {
        "group_id": "g", "generation_id_or_member_epoch": -1, "member_id": "",
        "topics": [{"name": "t", "partitions": [part]}],
    }


KINDS = {
    "fetches that wait in vain": fetch(1_000_000_000, 2),
    "fetches of records": fetch(0, 0),
    "produce": ("Produce", 8, {
        "acks": -1, "timeout_ms": 10_000, "transactional_id": None,
        "topic_data": [{"name": "u", "partition_data": [{"index": 0, "records": batch(b"v" * 100)}]}],
    }),
    "metadata": ("Metadata", 8, {"topics": None, "allow_auto_topic_creation": False}),
    "positions": ("ListOffsets", 5, {
        "replica_id": -1, "isolation_level": 0,
        "topics": [{"name": "t", "partitions": [{"partition_index": 0, "timestamp": -1}]}],
    }),
    "commits": commit(),
    "committed offsets": ("OffsetFetch", 7, {"group_id": "g", "topics": None}),
    "groups": ("ListGroups", 4, {"states_filter": []}),
    "heartbeats of nobody": ("Heartbeat", 3, {
        "group_id": "none", "generation_id": 1, "member_id": "m", "group_instance_id": None,
    }),
}


def anonymous_bytes(broker):
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def judge_growth(broker, what, work, warm_up, count):
    """Does the work `count` times after a warm-up and bounds what stays of it."""
    work(warm_up)
    before = anonymous_bytes(broker)
    work(count)
    grown = anonymous_bytes(broker) - before
    print(f"{what}: {grown} bytes for {count}")
    assert grown <= GROWTH_BYTES_MAX


def repeat(wire, request, count):
    """Sends the request `count` times, always some of them in flight."""
    api, version, values = request
    left = count
    while left > 0:
        some = min(left, IN_FLIGHT)
        for _ in range(some):
            wire.send(api, version, **values)
        for _ in range(some):
            assert wire.receive_frame() is not None, api
        left -= some


def end_offset(wire):
    api, version, values = KINDS["positions"]
    return wire.ask(api, version, **values).topics[0].partitions[0].offset


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_leaves_memory_behind(start_broker, kind):
    broker = start_broker(flags=("--memory", "130M", "--shards", "1"))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in admin.create_topics([NewTopic("t", 1, 1), NewTopic("u", 1, 1)]).values():
        future.result()
    with Wire(broker.bootstrap) as wire:
        api, version, values = KINDS["produce"]
        wire.ask(api, version, **values | {
            "topic_data": [{"name": "t", "partition_data": [{"index": 0, "records": batch()}]}]})
        wire.ask(*KINDS["commits"][:2], **KINDS["commits"][2])
        request = KINDS[kind]
        if kind == "fetches that wait in vain":
            request = fetch(end_offset(wire), 2)
        judge_growth(
            broker, kind, lambda count: repeat(wire, request, count), WARM_UP, REQUESTS)


def test_connections_that_come_and_go_leave_nothing_behind(start_broker):
    broker = start_broker(flags=("--memory", "130M", "--shards", "1"))

    def come_and_go(count):
        for _ in range(count):
            with Wire(broker.bootstrap) as wire:
                wire.ask("ApiVersions", 2)

    judge_growth(broker, "connections", come_and_go, 1_000, 3_000)


def await_kinds(client, wanted):
    """Receives until each kind has come as often as wanted; anything else is a failure."""
    wanted = dict(wanted)
    while any(wanted.values()):
        kind, _, body = client.receive()
        assert wanted.get(kind, 0) > 0, (kind, wanted)
        wanted[kind] -= 1
        if kind == PUBREC:
            client.send(packet(0x62, body[:2]))


def publishes(qos, topic="s/1"):
    def run(client, count):
        for _ in range(count // IN_FLIGHT):
            client.send(b"".join(
                publish_packet(topic, b"v" * 100, qos, number) for number in range(1, 1 + IN_FLIGHT)))
            wanted = {1: {PUBACK: IN_FLIGHT}, 2: {PUBREC: IN_FLIGHT, PUBCOMP: IN_FLIGHT}}
            if not qos:
                # On a busy disk what nobody waits for piles up, and what is kept for it stays.
                client.send(publish_packet(topic, b"v", 1, 1))
            await_kinds(client, wanted.get(qos, {PUBACK: 1}))
    return run


def retained(client, count):
    for _ in range(count // IN_FLIGHT):
        client.send(b"".join(
            publish_packet("kept/1", b"v" * 100, 1, number, retain=True)
            for number in range(1, 1 + IN_FLIGHT)))
        await_kinds(client, {PUBACK: IN_FLIGHT})


def ping(client, count):
    for _ in range(count // IN_FLIGHT):
        client.send(bytes([0xC0, 0]) * IN_FLIGHT)
        await_kinds(client, {PINGRESP: IN_FLIGHT})


def subscribe_and_leave(client, count):
    for number in range(count // 4):
        client.send(packet(0x82, b"\0\1" + string(f"other/{number % 7}/+") + b"\1"))
        await_kinds(client, {SUBACK: 1})
        client.send(packet(0xA2, b"\0\2" + string(f"other/{number % 7}/+")))
        await_kinds(client, {UNSUBACK: 1})


def deliveries(client, count):
    """One client hears what it says, and acknowledges it."""
    client.send(packet(0x82, b"\0\1" + string("echo/#") + b"\1"))
    await_kinds(client, {SUBACK: 1})
    for _ in range(count // IN_FLIGHT):
        client.send(b"".join(
            publish_packet("echo/1", b"v", 1, number) for number in range(1, 1 + IN_FLIGHT)))
        left = {PUBACK: IN_FLIGHT, PUBLISH: IN_FLIGHT}
        while any(left.values()):
            kind, _, body = client.receive()
            left[kind] -= 1
            if kind == PUBLISH:
                length = int.from_bytes(body[:2], "big")
                client.send(packet(0x40, body[2 + length:4 + length]))


MQTT_KINDS = {
    "publishes without acknowledgement": publishes(0),
    "publishes acknowledged": publishes(1),
    "publishes exactly once": publishes(2),
    "retained": retained,
    "pings": ping,
    "subscriptions that come and go": subscribe_and_leave,
    "deliveries": deliveries,
}


@pytest.mark.parametrize("kind", MQTT_KINDS)
def test_no_mqtt_packet_leaves_memory_behind(start_broker, kind):
    broker = start_broker(flags=("--memory", "130M", "--shards", "1"))
    client = Client(broker.mqtt_port, "lasting")
    judge_growth(
        broker, kind, lambda count: MQTT_KINDS[kind](client, count), WARM_UP, REQUESTS)


@pytest.mark.parametrize("clean", [True, False])
def test_mqtt_clients_that_come_and_go_leave_nothing_behind(start_broker, clean):
    broker = start_broker(flags=("--memory", "130M", "--shards", "1"))

    def come_and_go(count):
        for number in range(count):
            client = Client(broker.mqtt_port, f"guest-{number % 20}", clean=clean)
            client.subscribe(1, ("guests/#", 1))
            client.socket.close()

    judge_growth(broker, "connections", come_and_go, 1_000, 2_000)
