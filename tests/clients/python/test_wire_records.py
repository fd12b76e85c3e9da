"""Produce, Fetch and ListOffsets by hand-made requests: the rules that no client breaks for us.

Tests named section_8_NN belong to that line of docs/kafka-behaviours.md.
"""

import struct
import time
import uuid

import pytest
from conftest import eventually, fresh
from wire import (
    ATTRIBUTES, BASE_OFFSET, CONTROL, LAST_OFFSET_DELTA, MAGIC, RECORDS_COUNT, TRANSACTIONAL, Wire,
    batch, changed, is_apache_kafka,
)

EARLIEST, LATEST, MAX_TIMESTAMP = -2, -1, -3
# What the Java consumer takes from a fetch; anything else ends it (FetchCollector).
FETCH_CODES = {0, 1, 2, 3, 6, 9, 29, 56, 74, 75, 76, 78, 100, 103, -1}
NOT_STORED = -1


@pytest.fixture
def wire(bootstrap):
    with Wire(bootstrap) as connection:
        yield connection


@pytest.fixture
def new_topic(wire):
    """Makes a topic and returns its name and id."""

    def create(partitions=1, name=None, **config):
        name = name or fresh("wire")
        configs = [{"name": key.replace("_", "."), "value": str(value)}
                   for key, value in config.items()]
        topic = {"name": name, "num_partitions": partitions, "replication_factor": 1,
                 "assignments": [], "configs": configs}
        (created,) = wire.ask("CreateTopics", 7, topics=[topic], timeout_ms=10_000,
                              validate_only=False).topics
        assert created.error_code == 0, created.error_message
        for index in range(partitions):
            eventually(lambda: list_offset(wire, name, LATEST, partition=index).error_code == 0)
        return name, created.topic_id

    return create


def produce(wire, topic, records, version=9, acks=-1, partition=0, **more):
    name_or_id = {"topic_id": topic} if version >= 13 else {"name": topic}
    data = {**name_or_id, "partition_data": [{"index": partition, "records": records}]}
    request = {"transactional_id": None, "acks": acks, "timeout_ms": 5000, "topic_data": [data]}
    if acks == 0:
        return wire.send("Produce", version, **request)
    return wire.ask("Produce", version, **request | more).responses[0].partition_responses[0]


def fetch(wire, partitions, version=12, wait=0, min_bytes=1, max_bytes=1 << 20, session=(0, -1),
          isolation=0, forgotten=()):
    """partitions: (topic name or id, partition, offset) and from there Fetch's own fields."""
    topics = {}
    for topic, partition, offset, *more in partitions:
        fields = {"partition": partition, "fetch_offset": offset, "partition_max_bytes": 1 << 20,
                  "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1}
        topics.setdefault(topic, []).append(fields | (more[0] if more else {}))
    key = "topic_id" if version >= 13 else "topic"
    return wire.ask(
        "Fetch", version, replica_id=-1, max_wait_ms=wait, min_bytes=min_bytes,
        max_bytes=max_bytes, isolation_level=isolation, session_id=session[0],
        session_epoch=session[1], rack_id="",
        topics=[{key: topic, "partitions": parts} for topic, parts in topics.items()],
        forgotten_topics_data=[{key: topic, "partitions": list(parts)}
                               for topic, parts in forgotten],
    )


def fetched(response):
    return [part for topic in response.responses for part in topic.partitions]


def advertised(wire):
    answer = wire.ask("ApiVersions", 4, client_software_name="wire", client_software_version="1")
    return {one.api_key: one for one in answer.api_keys}


def list_offset(wire, topic, timestamp, version=10, partition=0, epoch=-1, **more):
    part = {"partition_index": partition, "timestamp": timestamp}
    if version >= 4:
        part["current_leader_epoch"] = epoch
    request = {"replica_id": -1, "topics": [{"name": topic, "partitions": [part]}]}
    if version >= 2:
        request["isolation_level"] = 0
    if version >= 10:
        request["timeout_ms"] = 5000
    return wire.ask("ListOffsets", version, **request | more).topics[0].partitions[0]


def leader_epoch(wire, topic):
    return list_offset(wire, topic, LATEST).leader_epoch


@pytest.mark.parametrize("version", range(3))
def test_section_8_02_produce_before_3_is_advertised_and_closes(wire, version):
    frame = struct.pack(">hhih", 0, version, 9, -1) + struct.pack(">hii", 1, 1000, 0)
    assert advertised(wire)[0].min_version == 0
    wire.send_frame(frame)
    assert wire.is_closed()


@pytest.mark.parametrize("version", [3, 5, 7, 8, 9, 10, 11, 12, 13])
def test_records_are_stored_in_every_version(wire, new_topic, version):
    name, topic_id = new_topic()
    answer = produce(wire, topic_id if version >= 13 else name, batch(), version)
    assert (answer.error_code, answer.base_offset) == (0, 0)


@pytest.mark.parametrize(("fault", "code"), [
    pytest.param(lambda: b"", 87, id="no batch"),
    pytest.param(lambda: batch() + batch(), 87, id="two batches"),
    pytest.param(lambda: changed(batch(), [(BASE_OFFSET, ">q", 5)]), 87, id="base offset"),
    pytest.param(lambda: changed(batch(), [(RECORDS_COUNT, ">i", 0)]), 87, id="no record"),
    pytest.param(lambda: changed(batch(), [(RECORDS_COUNT, ">i", -1)]), 87, id="count below 0"),
    pytest.param(lambda: changed(batch(), [(RECORDS_COUNT, ">i", 9)]), 87, id="count above"),
    pytest.param(lambda: changed(batch(), [(LAST_OFFSET_DELTA, ">i", 3)]), 87, id="last delta"),
    pytest.param(lambda: changed(batch(), [(ATTRIBUTES, ">h", CONTROL)]), 87, id="control"),
    pytest.param(lambda: changed(batch(), [(MAGIC, ">b", 1)]), 87, id="magic 1"),
    pytest.param(lambda: batch(producer=(9, 0, -1)), 87, id="no sequence"),
    pytest.param(lambda: batch()[:-1] + b"?", 2, id="crc"),
    pytest.param(lambda: changed(batch(), [(ATTRIBUTES, ">h", TRANSACTIONAL)]), 53, id="txn"),
    pytest.param(
        lambda: changed(batch(producer=(9, 0, 0)), [(ATTRIBUTES, ">h", TRANSACTIONAL)]), 53,
        id="txn of a producer"),
])
def test_a_batch_that_breaks_a_rule_is_refused_and_not_stored(wire, new_topic, fault, code):
    name, _ = new_topic()
    answer = produce(wire, name, fault())
    assert (answer.error_code, answer.base_offset) == (code, NOT_STORED)
    assert list_offset(wire, name, LATEST).offset == 0
    assert produce(wire, name, batch()).base_offset == 0


def test_produce_to_what_does_not_exist_names_it(wire, new_topic):
    name, _ = new_topic()
    assert produce(wire, fresh("missing"), batch()).error_code == 3
    assert produce(wire, name, batch(), partition=9).error_code == 3
    assert produce(wire, uuid.uuid4(), batch(), version=13).error_code == 100
    assert produce(wire, name, batch(), acks=2).error_code == 21


def test_section_8_04_a_fetch_inside_a_batch_gets_the_whole_batch(wire, new_topic):
    name, _ = new_topic()
    produce(wire, name, batch(b"a", b"b", b"c"))
    produce(wire, name, batch(b"d"))
    for offset in range(3):
        (part,) = fetched(fetch(wire, [(name, 0, offset)]))
        assert struct.unpack_from(">q", part.records)[0] == 0
    (part,) = fetched(fetch(wire, [(name, 0, 3)]))
    assert struct.unpack_from(">q", part.records)[0] == 3


def test_section_8_05_a_fetch_answers_only_codes_that_consumers_know(wire, new_topic):
    name, topic_id = new_topic()
    produce(wire, name, batch())
    epoch = leader_epoch(wire, name)
    wanted = [
        (12, (name, 0, 2), 1), (12, (name, 0, -1), 1), (12, (name, 7, 0), 3),
        (12, (fresh("missing"), 0, 0), 3), (13, (uuid.uuid4(), 0, 0), 100),
        (12, (name, 0, 0, {"current_leader_epoch": epoch + 1}), 75),
        (13, (topic_id, 0, 0, {"current_leader_epoch": epoch + 1}), 75),
    ]
    if epoch > 0:
        wanted.append((12, (name, 0, 0, {"current_leader_epoch": epoch - 1}), 74))
    for version, partition, code in wanted:
        response = fetch(wire, [partition], version, wait=5000)
        (part,) = fetched(response)
        assert part.error_code == code and code in FETCH_CODES, partition
        assert not part.records


def test_section_8_06_a_fetch_waits_as_long_as_it_may_and_no_longer(wire, new_topic):
    name, _ = new_topic()
    produce(wire, name, batch(b"x" * 100))
    started = time.monotonic()
    (part,) = fetched(fetch(wire, [(name, 0, 1)], wait=400))
    assert not part.records and time.monotonic() - started >= 0.4
    assert (part.high_watermark, part.last_stable_offset, part.log_start_offset) == (1, 1, 0)
    # Too little, nothing to wait for, and a partition that is wrong.
    (part,) = fetched(fetch(wire, [(name, 0, 0)], wait=400, min_bytes=100_000))
    assert part.records
    started = time.monotonic()
    fetch(wire, [(name, 0, 0)], wait=60_000)
    fetch(wire, [(name, 0, 1)], wait=60_000, min_bytes=0)
    fetch(wire, [(name, 0, 9)], wait=60_000)
    fetch(wire, [], wait=60_000)
    assert time.monotonic() - started < 20


def test_section_8_07_answers_come_in_order_with_acks_0_between(bootstrap, wire, new_topic):
    name, _ = new_topic()
    produce(wire, name, batch())
    with Wire(bootstrap) as other:
        waiting = other.send(
            "Fetch", 12, replica_id=-1, max_wait_ms=500, min_bytes=1, max_bytes=1000,
            isolation_level=0, session_id=0, session_epoch=-1, rack_id="", forgotten_topics_data=[],
            topics=[{"topic": name, "partitions": [{
                "partition": 0, "fetch_offset": 1,
                "partition_max_bytes": 1000, "current_leader_epoch": -1, "last_fetched_epoch": -1,
                "log_start_offset": -1}]}],
        )
        produce(other, name, batch(b"unanswered"), acks=0)
        asked = other.send("ApiVersions", 0)
        assert other.receive("Fetch", 12)[1] == waiting
        assert other.receive("ApiVersions", 0)[1] == asked
    eventually(lambda: list_offset(wire, name, LATEST).offset == 2)


def test_a_fault_of_acks_0_closes_the_connection(bootstrap, new_topic):
    name, _ = new_topic()
    with Wire(bootstrap) as other:
        produce(other, name, batch()[:-1] + b"?", acks=0)
        assert other.is_closed()


def test_section_8_08_a_resent_batch_is_stored_once_and_gaps_are_refused(wire, new_topic):
    name, _ = new_topic()
    producer = 7_000_000_000
    first = produce(wire, name, batch(producer=(producer, 0, 0)))
    for sequence in range(1, 5):
        assert produce(wire, name, batch(producer=(producer, 0, sequence))).error_code == 0
    again = produce(wire, name, batch(producer=(producer, 0, 0)))
    assert (again.error_code, again.base_offset) == (0, first.base_offset)
    assert produce(wire, name, batch(producer=(producer, 0, 6))).error_code == 45
    assert produce(wire, name, batch(producer=(producer, 1, 3))).error_code == 45
    assert produce(wire, name, batch(producer=(producer, 1, 0))).error_code == 0
    assert produce(wire, name, batch(producer=(producer, 0, 5))).error_code == 47
    assert list_offset(wire, name, LATEST).offset == 6


def test_section_8_08_sequences_wrap_to_zero(wire, new_topic):
    name, _ = new_topic()
    answer = produce(wire, name, batch(b"a", b"b", producer=(5_000_000_000, 0, 2**31 - 2)))
    assert answer.error_code == 0
    assert produce(wire, name, batch(producer=(5_000_000_000, 0, 0))).error_code == 0


def test_section_8_08_pipelined_batches_keep_their_order(bootstrap, wire, new_topic):
    name, _ = new_topic(2)
    with Wire(bootstrap) as other:
        request = {"transactional_id": None, "acks": -1, "timeout_ms": 5000}
        sent = [
            other.send("Produce", 9, **request, topic_data=[{"name": name, "partition_data": [
                {"index": index, "records": batch(producer=(6_000_000_000, 0, sequence))}
                for index in range(2)]}])
            for sequence in range(40)
        ]
        for sequence, correlation_id in enumerate(sent):
            response, received = other.receive("Produce", 9)
            assert received == correlation_id
            parts = response.responses[0].partition_responses
            assert [(one.error_code, one.base_offset) for one in parts] == [(0, sequence)] * 2


@pytest.mark.parametrize("compression", range(5))
def test_section_8_09_a_timestamp_finds_the_exact_record(wire, new_topic, compression):
    name, _ = new_topic()
    produce(wire, name, batch(*[b"v%d" % n for n in range(50)], compression=compression))
    found = list_offset(wire, name, 1_700_000_000_033)
    assert (found.error_code, found.offset, found.timestamp) == (0, 33, 1_700_000_000_033)


def test_section_8_09_what_is_not_found_is_minus_one_and_no_error(wire, new_topic):
    name, _ = new_topic()
    produce(wire, name, batch())
    for version in range(1, 11):
        found = list_offset(wire, name, 9_999_999_999_999, version)
        assert (found.error_code, found.offset, found.timestamp) == (0, -1, -1)
    assert advertised(wire)[2].min_version == 1


def test_special_timestamps_come_with_their_versions(wire, new_topic):
    name, _ = new_topic()
    produce(wire, name, batch(b"a", b"b"))
    wanted = [
        (1, EARLIEST, 0, 0), (1, LATEST, 0, 2), (7, MAX_TIMESTAMP, 0, 1), (8, -4, 0, 0),
        (9, -5, 0, -1), (6, MAX_TIMESTAMP, 35, -1), (7, -4, 35, -1), (8, -5, 35, -1),
        (10, -7, 35, -1),
    ]
    for version, timestamp, code, offset in wanted:
        found = list_offset(wire, name, timestamp, version)
        assert (found.error_code, found.offset) == (code, offset), (version, timestamp)
    epoch = leader_epoch(wire, name)
    assert list_offset(wire, name, LATEST, epoch=epoch + 1).error_code == 75
    assert list_offset(wire, name, LATEST, partition=4).error_code == 3


def test_a_leader_epoch_ends_where_the_log_ends_and_an_unknown_one_nowhere(wire, new_topic):
    name, _ = new_topic()
    produce(wire, name, batch(b"a", b"b"))
    epoch = leader_epoch(wire, name)

    def end(wanted, current=-1, partition=0, version=4):
        part = {"partition": partition, "current_leader_epoch": current, "leader_epoch": wanted}
        more = {"replica_id": -1} if version >= 3 else {}
        answer = wire.ask("OffsetForLeaderEpoch", version, **more,
                          topics=[{"topic": name, "partitions": [part]}])
        found = answer.topics[0].partitions[0]
        return found.error_code, found.leader_epoch, found.end_offset

    for version in (2, 3, 4):
        assert end(epoch, version=version) == (0, epoch, 2)
        assert end(epoch + 5, version=version) == (0, -1, -1)
    assert end(epoch, current=epoch + 1)[0] == 75
    assert end(epoch, partition=9)[0] == 3


@pytest.mark.parametrize("key", [b"k", None])
def test_section_8_15_size_and_keys_are_checked_by_the_broker(wire, new_topic, key):
    small, _ = new_topic(max_message_bytes=200)
    assert produce(wire, small, batch(b"x" * 300, key=key)).error_code == 10
    assert produce(wire, small, batch(b"x", key=key)).error_code == 0
    compacted, _ = new_topic(cleanup_policy="compact")
    for compression in range(5):
        answer = produce(wire, compacted, batch(b"1", b"2", key=key, compression=compression))
        assert answer.error_code == (0 if key else 87)
        if not key:
            assert [one.batch_index for one in answer.record_errors] == [0, 1]


def test_section_8_16_without_transactions_all_is_stable_and_nothing_aborted(wire, new_topic):
    name, _ = new_topic()
    produce(wire, name, batch(b"a", b"b"))
    (part,) = fetched(fetch(wire, [(name, 0, 0)], isolation=1))
    assert (part.last_stable_offset, part.aborted_transactions) == (2, [])
    (part,) = fetched(fetch(wire, [(name, 0, 0)], isolation=0))
    assert part.aborted_transactions is None


def test_section_8_19_a_topic_made_again_has_another_id_and_nothing_of_the_old(wire, new_topic):
    name, old_id = new_topic()
    produce(wire, name, batch(producer=(8_000_000_000, 3, 0)))
    session = fetch(wire, [(old_id, 0, 1)], 13, session=(0, 0)).session_id
    assert session != 0
    (deleted,) = wire.ask("DeleteTopics", 6, timeout_ms=10_000,
                          topics=[{"name": name, "topic_id": uuid.UUID(int=0)}]).responses
    assert deleted.error_code == 0

    def made_again():
        topic = {"name": name, "num_partitions": 1, "replication_factor": 1, "assignments": [],
                 "configs": []}
        (created,) = wire.ask("CreateTopics", 7, topics=[topic], timeout_ms=10_000,
                              validate_only=False).topics
        return created if created.error_code == 0 else None

    new_id = eventually(made_again).topic_id
    assert new_id != old_id
    eventually(lambda: list_offset(wire, name, LATEST).error_code == 0)
    assert list_offset(wire, name, LATEST).offset == 0
    # The producer's old epoch and sequence are forgotten, the session's partition is gone.
    assert produce(wire, name, batch(producer=(8_000_000_000, 0, 0))).error_code == 0
    assert produce(wire, old_id, batch(), version=13).error_code == 100
    (part,) = fetched(fetch(wire, [], 13, session=(session, 1), wait=1000))
    assert part.error_code in (100, 103)
    (part,) = fetched(fetch(wire, [(new_id, 0, 0)], 13, wait=1000))
    assert part.error_code == 0 and part.records


@pytest.mark.parametrize(("compression", "blob"), [
    pytest.param(2, "raw", id="snappy-raw"), pytest.param(1, "members", id="gzip-members"),
    pytest.param(3, "sized", id="lz4-with-content-size"),
])
def test_section_8_24_every_framing_of_a_codec_is_read(wire, new_topic, compression, blob):
    import gzip

    import lz4.frame
    import snappy
    name, _ = new_topic(cleanup_policy="compact")
    plain = batch(b"a", b"b", b"c")
    header, records = plain[:61], plain[61:]
    packed = {
        "raw": lambda: snappy.compress(records),
        "members": lambda: gzip.compress(records[:5]) + gzip.compress(records[5:]),
        "sized": lambda: lz4.frame.compress(records, store_size=True, block_linked=True),
    }[blob]()
    sent = changed(header + packed, [
        (8, ">i", len(header) + len(packed) - 12), (ATTRIBUTES, ">h", compression)])
    assert produce(wire, name, sent).error_code == 0
    (part,) = fetched(fetch(wire, [(name, 0, 0)]))
    assert bytes(part.records)[61:] == packed, "the records are as they came"
    assert list_offset(wire, name, 1_700_000_000_002).offset == 2


def test_the_first_batch_comes_whole_and_the_limits_hold_for_the_rest(wire, new_topic):
    name, _ = new_topic(2)
    for index in range(2):
        for _ in range(3):
            produce(wire, name, batch(b"x" * 1000), partition=index)
    (first,) = fetched(fetch(wire, [(name, 0, 0)], max_bytes=1))
    assert first.records
    parts = fetched(fetch(wire, [(name, 0, 0), (name, 1, 0)], max_bytes=1))
    assert [bool(part.records) for part in parts] == [True, False]
    (part,) = fetched(fetch(wire, [(name, 0, 0, {"partition_max_bytes": 2500})]))
    assert 1000 < len(part.records) <= 2500


def test_a_fetch_that_can_hold_no_more_does_not_wait_for_more(wire, new_topic):
    name, _ = new_topic()
    for _ in range(3):
        produce(wire, name, batch(b"x" * 1000))
    # Waiting to the end would outlast the socket's patience.
    (part,) = fetched(fetch(wire, [(name, 0, 0)], wait=60_000, min_bytes=1 << 20, max_bytes=2500))
    assert 1000 < len(part.records) <= 2500


@pytest.mark.parametrize("version", [7, 12, 13])
def test_a_session_answers_only_what_changed(wire, new_topic, version):
    name, topic_id = new_topic(3)
    topic = topic_id if version >= 13 else name
    first = fetch(wire, [(topic, 0, 0), (topic, 1, 0)], version, session=(0, 0))
    session = first.session_id
    assert session != 0 and len(fetched(first)) == 2

    def step(epoch, partitions=(), forgotten=(), wait=0):
        answer = fetch(wire, partitions, version, session=(session, epoch), forgotten=forgotten,
                       wait=wait)
        assert (answer.error_code, answer.session_id) == (0, session)
        return [(part.partition_index, part.error_code, bool(part.records))
                for part in fetched(answer)]

    assert step(1) == []
    produce(wire, name, batch(), partition=1)
    assert step(2, wait=5000) == [(1, 0, True)]
    assert step(3, [(topic, 1, 1)]) == []
    assert step(4, [(topic, 2, 50)]) == [(2, 1, False)]
    assert step(5, forgotten=[(topic, [2])]) == []
    wrong = fetch(wire, [], version, session=(session, 9))
    assert wrong.error_code == 71
    missing = fetch(wire, [], version, session=(session ^ 0x2AAAAAAA, 1))
    assert missing.error_code == 70
    closed = fetch(wire, [], version, session=(session, -1), wait=60_000)
    assert (closed.error_code, closed.session_id) == (0, 0)
    assert fetch(wire, [], version, session=(session, 6)).error_code == 70


def test_a_session_by_name_is_not_continued_by_id(wire, new_topic):
    name, _ = new_topic()
    session = fetch(wire, [(name, 0, 0)], 12, session=(0, 0)).session_id
    assert fetch(wire, [], 13, session=(session, 1)).error_code == 106


def test_deleted_records_move_the_start_and_nothing_else(wire, new_topic):
    name, _ = new_topic(2)
    produce(wire, name, batch(b"a", b"b", b"c"))

    def delete(offset, partition=0, topic=name):
        part = {"partition_index": partition, "offset": offset}
        answer = wire.ask("DeleteRecords", 2, timeout_ms=5000,
                          topics=[{"name": topic, "partitions": [part]}])
        found = answer.topics[0].partitions[0]
        return found.error_code, found.low_watermark

    assert delete(2) == (0, 2)
    assert delete(1) == (0, 2)
    assert delete(9)[0] == 1
    assert delete(-2)[0] == 1
    assert delete(0, partition=7)[0] == 3
    assert delete(0, topic=fresh("missing"))[0] == 3
    assert list_offset(wire, name, EARLIEST).offset == 2
    assert fetched(fetch(wire, [(name, 0, 1)]))[0].error_code == 1
    (part,) = fetched(fetch(wire, [(name, 0, 2)]))
    assert part.records and part.log_start_offset == 2
    assert delete(-1) == (0, 3)
    compacted, _ = new_topic(cleanup_policy="compact")
    assert delete(0, topic=compacted)[0] == 44


def test_section_8_20_a_transactional_producer_is_refused_for_good(wire):
    def init(**values):
        return wire.ask("InitProducerId", 4, transaction_timeout_ms=60_000,
                        **{"producer_id": -1, "producer_epoch": -1} | values)

    plain = eventually(lambda: next(
        (one for one in [init(transactional_id=None)] if one.error_code == 0), None))
    assert plain.producer_id >= 0 and plain.producer_epoch == 0
    assert init(transactional_id=None).producer_id != plain.producer_id
    if is_apache_kafka():
        return
    # Neither unknown (-1) nor an error that a client would repeat for ever.
    assert init(transactional_id="tx").error_code in (35, 53)
