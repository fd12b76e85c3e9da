"""Reading ahead: a consumer from the start gets the same bytes, and nobody waits for its memory."""

import os
import pathlib
import re
import sys
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "clients" / "python")]

from wire import Wire  # noqa: E402

LARGE, SMALL = 1 << 20, 16 << 10
OFFSET_OUT_OF_RANGE = 1
RECORDS, VALUE_BYTES = 12_000, 1_000


def fetch(wire, offset, bytes_max):
    """The bytes of one fetch, its error and the high watermark."""
    part = {"partition": 0, "partition_max_bytes": bytes_max, "fetch_offset": offset}
    answer = wire.ask(
        "Fetch", 11, replica_id=-1, max_wait_ms=0, min_bytes=1, max_bytes=50 << 20,
        isolation_level=0, session_id=0, session_epoch=-1, rack_id="",
        topics=[{"topic": "t", "partitions": [part]}])
    found = answer.responses[0].partitions[0]
    return bytes(found.records or b""), found.error_code, found.high_watermark


def next_offset(records):
    """The offset after the last of whole batches."""
    at, after = 0, None
    while at < len(records):
        base = int.from_bytes(records[at:at + 8], "big")
        after = base + int.from_bytes(records[at + 23:at + 27], "big") + 1
        at += 12 + int.from_bytes(records[at + 8:at + 12], "big")
    assert at == len(records), "whole batches"
    return after


def read_on(wire, offset, bytes_max, count=None):
    """All bytes from an offset on, or those of some fetches, and the offset after them."""
    found, end = [], None
    while offset != end and count != 0:
        records, error, end = fetch(wire, offset, bytes_max)
        assert error == 0
        found.append(records)
        offset = next_offset(records) or offset
        count = None if count is None else count - 1
    return b"".join(found), offset


def start_filled(start_broker):
    broker = start_broker(flags=("--memory", "130M", "--shards", "1"))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in admin.create_topics([NewTopic("t", 1, 1)]).values():
        future.result()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "batch.size": 12_000, "linger.ms": 5})
    for _ in range(RECORDS):
        producer.produce("t", os.urandom(VALUE_BYTES), partition=0)
        producer.poll(0)
    assert producer.flush(60) == 0
    return broker


def reads_ahead(broker):
    """How many reads ahead were used and were of no use."""
    pattern = r'^sluice_fetch_read_ahead_total\{.*outcome="%s".*\} (\d+)$'
    metrics = broker.metrics()
    return tuple(int(re.search(pattern % outcome, metrics, re.M)[1]) for outcome in ("used", "unused"))


def test_what_was_read_ahead_is_what_the_log_holds(start_broker):
    broker = start_filled(start_broker)
    with Wire(broker.bootstrap) as wire:
        plain, end = read_on(wire, 0, SMALL)
        assert (end, reads_ahead(broker)) == (RECORDS, (0, 0))
        ahead, end = read_on(wire, 0, LARGE)
        assert end == RECORDS
        used, unused = reads_ahead(broker)
        assert (used >= 5, unused) == (True, 0), (used, unused)
        # An answer with less room than what was read ahead is cut between batches.
        first, offset = read_on(wire, 0, LARGE, count=2)
        second, offset = read_on(wire, offset, LARGE // 4, count=9)
        third, end = read_on(wire, offset, LARGE)
        assert end == RECORDS
    assert ahead == plain
    assert first + second + third == plain


def test_deleted_records_are_not_given_because_they_were_read_ahead(start_broker):
    broker = start_filled(start_broker)
    with Wire(broker.bootstrap) as wire:
        _, offset = read_on(wire, 0, LARGE, count=1)
        wire.ask("DeleteRecords", 1, timeout_ms=10_000, topics=[
            {"name": "t", "partitions": [{"partition_index": 0, "offset": RECORDS - 10}]}])
        records, error, _ = fetch(wire, offset, LARGE)
        assert (records, error) == (b"", OFFSET_OUT_OF_RANGE)


def test_readers_that_go_away_leave_the_memory_to_others(start_broker):
    broker = start_filled(start_broker)
    with Wire(broker.bootstrap) as wire:
        # Each goes on from another offset, and none comes back for what was read for it.
        offset = 0
        for _ in range(8):
            _, after = read_on(wire, offset, LARGE, count=1)
            _, offset = read_on(wire, after - 1, SMALL, count=1)
        # An answer of all that answers may take needs what is kept for those.
        all_of_it, end = read_on(wire, 0, 50 << 20)
        assert end == RECORDS and len(all_of_it) > RECORDS * VALUE_BYTES
    deadline = time.monotonic() + 40
    while reads_ahead(broker)[1] == 0:
        assert time.monotonic() < deadline, "what nobody asked for is dropped"
        time.sleep(1)
