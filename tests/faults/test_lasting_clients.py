"""Clients that stay for months: what a request leaves behind in memory, it leaves behind each time.

Each kind of request is sent some thousand times on connections that stay, first to fill caches and
pools, then under a bound: 1 MB for all of them, about 100 bytes for each. RssAnon does not depend on
how fast the machine is.
"""

import pathlib
import sys

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients" / "python"))

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
        repeat(wire, request, WARM_UP)
        before = anonymous_bytes(broker)
        repeat(wire, request, REQUESTS)
        grown = anonymous_bytes(broker) - before
    print(f"{kind}: {grown} bytes for {REQUESTS} requests")
    assert grown <= GROWTH_BYTES_MAX


def test_connections_that_come_and_go_leave_nothing_behind(start_broker):
    broker = start_broker(flags=("--memory", "130M", "--shards", "1"))

    def come_and_go(count):
        for _ in range(count):
            with Wire(broker.bootstrap) as wire:
                wire.ask("ApiVersions", 2)

    come_and_go(1_000)
    before = anonymous_bytes(broker)
    come_and_go(3_000)
    grown = anonymous_bytes(broker) - before
    print(f"{grown} bytes for 3,000 connections")
    assert grown <= GROWTH_BYTES_MAX
