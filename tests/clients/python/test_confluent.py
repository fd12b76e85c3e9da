"""librdkafka (through confluent-kafka) against the broker at BOOTSTRAP: produce, consume, groups.

The admin calls are in test_confluent_admin.py.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import eventually, fresh

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture(scope="module")
def admin(bootstrap):
    return AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def new_topic(admin):
    """Creates a topic with a fresh name and waits until it can be used."""

    def create(partitions=1, **config):
        name = fresh("confluent")
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        futures = admin.create_topics([NewTopic(name, partitions, 1, config=config)])
        futures[name].result(10)
        eventually(lambda: name in admin.list_topics(timeout=5).topics)
        return name

    return create


@pytest.fixture
def new_producer(bootstrap):
    def create(**config):
        config = {key.replace("_", "."): value for key, value in config.items()}
        return Producer({"bootstrap.servers": bootstrap, "linger.ms": 5} | config)

    return create


@pytest.fixture
def new_consumer(bootstrap):
    """Creates consumers that are closed after the test, if the test has not done so."""
    consumers = []

    def create(group=None, on_statistics=None, **config):
        config = {key.replace("_", "."): value for key, value in config.items()}
        if on_statistics:
            config["stats_cb"] = on_statistics
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group or fresh("group"),
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "check.crcs": True,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 300,
            }
            | config
        )
        consumers.append(consumer)
        return consumer

    yield create
    for consumer in consumers:
        try:
            consumer.close()
        except RuntimeError:
            pass  # the test closed it


def produce(producer, topic, records):
    """Produces dictionaries of produce() arguments; returns the delivered messages in order."""
    delivered, failed = [], []

    def on_delivery(error, message):
        (failed if error else delivered).append(error or message)

    for record in records:
        while True:
            try:
                producer.produce(topic, on_delivery=on_delivery, **record)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(30) == 0
    if failed:
        raise KafkaException(failed[0])
    return delivered


def consume(consumer, count, seconds=15):
    """The next count messages; an error event other than end of partition fails the test."""
    messages = []
    deadline = time.monotonic() + seconds
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{len(messages)} of {count} within {seconds} s"
        for message in consumer.consume(min(count - len(messages), 1000), timeout=0.2):
            assert message.error() is None, message.error()
            messages.append(message)
    return messages


def read_from(new_consumer, topic, offset, count, partition=0, **config):
    consumer = new_consumer(**config)
    consumer.assign([TopicPartition(topic, partition, offset)])
    return consume(consumer, count)


# --- produce and consume -----------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_every_codec_come_back_unchanged(
    codec, new_topic, new_producer, new_consumer
):
    topic = new_topic()
    randomness = random.Random(7)
    records = [
        {
            "key": None if i % 5 == 4 else f"key-{i}".encode(),
            "value": None if i % 7 == 3 else randomness.randbytes(50) * (i % 20),
            "headers": [("trace", b"\x00\xff"), ("same", b"1"), ("same", b"2"), ("null", None)]
            if i % 3 == 0
            else [],
            "timestamp": 1_700_000_000_000 + i,
        }
        for i in range(500)
    ]
    delivered = produce(new_producer(compression_type=codec), topic, records)
    assert [message.offset() for message in delivered] == list(range(500))
    messages = read_from(new_consumer, topic, OFFSET_BEGINNING, 500)
    for i, (sent, message) in enumerate(zip(records, messages)):
        assert message.offset() == i
        assert message.key() == sent["key"]
        assert message.value() == sent["value"]
        assert (message.headers() or []) == sent["headers"]
        assert message.timestamp() == (TIMESTAMP_CREATE_TIME, sent["timestamp"])


@pytest.mark.parametrize("codec", CODECS)
def test_batches_of_nearly_a_megabyte_come_back_unchanged(
    codec, new_topic, new_producer, new_consumer
):
    topic = new_topic()
    values = [os.urandom(9_000) for _ in range(200)] + [os.urandom(900_000)]
    producer = new_producer(compression_type=codec, batch_size=950_000, linger_ms=200)
    produce(producer, topic, [{"value": value} for value in values])
    messages = read_from(new_consumer, topic, OFFSET_BEGINNING, len(values))
    assert [message.value() for message in messages] == values


@pytest.mark.parametrize("acks", [0, 1, -1])
def test_records_of_every_acks_setting_are_stored(acks, new_topic, new_producer, new_consumer):
    topic = new_topic()
    values = [b"%d" % i for i in range(100)]
    produce(new_producer(acks=acks), topic, [{"value": value} for value in values])
    messages = read_from(new_consumer, topic, OFFSET_BEGINNING, 100)
    assert [message.value() for message in messages] == values


def test_idempotent_producer_keeps_order_over_many_small_batches(
    new_topic, new_producer, new_consumer
):
    topic = new_topic(partitions=3)
    producer = new_producer(enable_idempotence=True, linger_ms=0, batch_num_messages=7)
    records = [{"value": b"%d" % i, "partition": i % 3} for i in range(6_000)]
    produce(producer, topic, records)
    for partition in range(3):
        messages = read_from(new_consumer, topic, OFFSET_BEGINNING, 2_000, partition)
        assert [int(message.value()) for message in messages] == list(range(partition, 6_000, 3))
        assert messages[-1].offset() == 1_999


def test_two_idempotent_producers_on_one_partition_lose_nothing(
    new_topic, new_producer, new_consumer
):
    topic = new_topic()
    producers = [new_producer(enable_idempotence=True) for _ in range(2)]
    for i in range(1_000):
        for name, producer in enumerate(producers):
            producer.produce(topic, value=b"%d:%d" % (name, i))
    assert all(producer.flush(20) == 0 for producer in producers)
    values = [m.value() for m in read_from(new_consumer, topic, OFFSET_BEGINNING, 2_000)]
    for name in range(2):
        prefix = b"%d:" % name
        own = [value for value in values if value.startswith(prefix)]
        assert own == [b"%d:%d" % (name, i) for i in range(1_000)]


def test_log_append_time_topic_stamps_records_itself(new_topic, new_producer, new_consumer):
    topic = new_topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    produce(new_producer(), topic, [{"value": b"x", "timestamp": 1_000}])
    kind, timestamp = read_from(new_consumer, topic, OFFSET_BEGINNING, 1)[0].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert before - 1_000 <= timestamp <= time.time() * 1000 + 1_000


def test_keys_go_to_the_same_partition_and_all_partitions_are_read(
    new_topic, new_producer, new_consumer
):
    topic = new_topic(partitions=20)
    records = [{"key": b"%d" % (i % 97), "value": b"%d" % i} for i in range(2_000)]
    produce(new_producer(), topic, records)
    consumer = new_consumer()
    consumer.subscribe([topic])
    messages = consume(consumer, 2_000)
    assert sorted(int(message.value()) for message in messages) == list(range(2_000))
    homes = {}
    for message in messages:
        assert homes.setdefault(message.key(), message.partition()) == message.partition()


# --- where to start reading ----------------------------------------------------------------------


def test_start_end_and_offset_are_where_kafka_has_them(new_topic, new_producer, new_consumer):
    topic = new_topic()
    produce(new_producer(), topic, [{"value": b"%d" % i} for i in range(100)])
    consumer = new_consumer()
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=5) == (0, 100)
    assert read_from(new_consumer, topic, OFFSET_BEGINNING, 1)[0].offset() == 0
    assert [m.offset() for m in read_from(new_consumer, topic, 57, 3)] == [57, 58, 59]
    consumer.assign([TopicPartition(topic, 0, OFFSET_END)])
    assert consumer.poll(0.3) is None
    # The end is resolved asynchronously: produce until a record arrives, none of the old may.
    producer = new_producer()
    message = eventually(
        lambda: produce(producer, topic, [{"value": b"new"}]) and consumer.poll(0.2)
    )
    assert (message.value(), message.offset() >= 100) == (b"new", True)


def test_timestamp_search_finds_the_exact_record_inside_a_batch(
    new_topic, new_producer, new_consumer
):
    topic = new_topic()
    base = 1_700_000_000_000
    # One batch whose timestamps are not in order: the first record at or after the time counts.
    order = [0, 100, 50, 300, 200, 400]
    producer = new_producer(linger_ms=300, compression_type="zstd")
    produce(producer, topic, [{"value": b"x", "timestamp": base + t} for t in order])
    consumer = new_consumer()
    expected = {
        base - 5: 0, base: 0, base + 1: 1, base + 50: 1, base + 101: 3, base + 300: 3,
        base + 301: 5, base + 400: 5, base + 401: OFFSET_END,
    }
    for timestamp, offset in expected.items():
        (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, timestamp)], timeout=5)
        assert (timestamp - base, found.offset) == (timestamp - base, offset)


def test_timestamp_search_works_over_many_batches_and_codecs(
    new_topic, new_producer, new_consumer
):
    topic = new_topic(segment_bytes=1024 * 1024)
    base = 1_700_000_000_000
    number = 0
    for codec in CODECS * 2:
        producer = new_producer(compression_type=codec, linger_ms=20)
        records = [
            {"value": os.urandom(1_000), "timestamp": base + (number + i) * 10}
            for i in range(300)
        ]
        produce(producer, topic, records)
        number += 300
    consumer = new_consumer()
    for offset in [0, 1, 299, 300, 301, 1_234, 1_999, 2_999]:
        for early in (0, 3):
            target = TopicPartition(topic, 0, base + offset * 10 - early)
            (found,) = consumer.offsets_for_times([target], timeout=5)
            assert found.offset == offset


def test_seek_goes_back_and_forward(new_topic, new_producer, new_consumer):
    topic = new_topic()
    produce(new_producer(), topic, [{"value": b"%d" % i} for i in range(1_000)])
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    consume(consumer, 10)
    for target in (500, 3, 999, 0):
        consumer.seek(TopicPartition(topic, 0, target))
        assert consume(consumer, 1)[0].offset() == target


def test_offset_out_of_range_resets_to_the_policy(new_topic, new_producer, new_consumer):
    topic = new_topic()
    produce(new_producer(), topic, [{"value": b"%d" % i} for i in range(10)])
    assert read_from(new_consumer, topic, 5_000, 1)[0].offset() == 0
    consumer = new_consumer(auto_offset_reset="error")
    consumer.assign([TopicPartition(topic, 0, 5_000)])
    message = eventually(lambda: consumer.poll(0.2))
    # librdkafka reports the broker's OFFSET_OUT_OF_RANGE as its own "no offset, reset = error".
    assert message.error().code() == KafkaError._AUTO_OFFSET_RESET


# --- fetch behaviour -----------------------------------------------------------------------------


def fetches_sent(statistics):
    brokers = json.loads(statistics[-1])["brokers"].values() if statistics else []
    return sum(broker["req"].get("Fetch", 0) for broker in brokers)


def test_idle_consumer_waits_in_long_polls_and_wakes_at_once(
    new_topic, new_producer, new_consumer
):
    topic = new_topic()
    producer = new_producer(linger_ms=0)
    produce(producer, topic, [{"value": b"first"}])
    statistics = []
    consumer = new_consumer(
        fetch_wait_max_ms=500, statistics_interval_ms=100, on_statistics=statistics.append
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    consume(consumer, 1)
    eventually(lambda: consumer.poll(0.1) is None and fetches_sent(statistics))
    start, start_count = time.monotonic(), fetches_sent(statistics)
    while time.monotonic() < start + 3:
        assert consumer.poll(0.1) is None
    count = fetches_sent(statistics) - start_count
    assert 3 <= count <= 9, f"{count} fetches in 3 s of nothing to read, 500 ms each"
    delays = []
    for _ in range(20):
        sent = time.monotonic()
        produce(producer, topic, [{"value": b"wake"}])
        consume(consumer, 1)
        delays.append(time.monotonic() - sent)
    assert sorted(delays)[10] < 0.1, f"median {sorted(delays)[10]:.3f} s"


def test_fetch_min_bytes_holds_the_answer_until_enough_or_too_late(
    new_topic, new_producer, new_consumer
):
    topic = new_topic()
    producer = new_producer(linger_ms=0)
    consumer = new_consumer(fetch_wait_max_ms=1_500, fetch_min_bytes=100_000)
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert consumer.poll(0.3) is None
    sent = time.monotonic()
    produce(producer, topic, [{"value": b"small"}])
    consume(consumer, 1)
    small_delay = time.monotonic() - sent
    assert consumer.poll(0.3) is None
    sent = time.monotonic()
    produce(producer, topic, [{"value": os.urandom(120_000)}])
    consume(consumer, 1)
    assert time.monotonic() - sent < 0.7, "enough bytes end the wait"
    assert 0.2 < small_delay < 3, "too few bytes are held until the wait is over"


# --- groups --------------------------------------------------------------------------------------


class Member:
    """A group member that counts its rebalances and knows what it owns."""

    def __init__(self, consumer, topic):
        self.consumer = consumer
        self.owned = set()
        self.assignments = []
        self.revocations = []
        self.seen = []
        consumer.subscribe(
            [topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_revoke
        )

    def on_assign(self, _, partitions):
        self.assignments.append({p.partition for p in partitions})
        self.owned |= self.assignments[-1]

    def on_revoke(self, _, partitions):
        self.revocations.append({p.partition for p in partitions})
        self.owned -= self.revocations[-1]

    def poll(self):
        for message in self.consumer.consume(500, timeout=0.05):
            assert message.error() is None, message.error()
            self.seen.append(message.value())
        return self.owned


def settle(members, partitions, seconds=20):
    """Polls all members until they share the partitions, each with its part."""

    def shared():
        owned = [member.poll() for member in members]
        return all(owned) and sorted(p for part in owned for p in part) == list(
            range(partitions)
        )

    eventually(shared, seconds, "members share the partitions")


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_join_share_and_leave(strategy, new_topic, new_producer, new_consumer):
    topic, group = new_topic(partitions=4), fresh("group")
    first = Member(new_consumer(group, partition_assignment_strategy=strategy), topic)
    settle([first], 4)
    second = Member(new_consumer(group, partition_assignment_strategy=strategy), topic)
    settle([first, second], 4)
    assert (len(first.owned), len(second.owned)) == (2, 2)
    if strategy == "cooperative-sticky":
        assert first.revocations == [second.owned], "only what moves is revoked"
    records = [{"value": b"%d" % i, "partition": i % 4} for i in range(400)]
    produce(new_producer(), topic, records)

    def all_seen():
        first.poll(), second.poll()
        return len(first.seen) + len(second.seen) >= 400

    eventually(all_seen)
    assert sorted(map(int, first.seen + second.seen)) == list(range(400))
    assert len(first.seen) == 200
    second.consumer.close()
    settle([first], 4)


CRASHING_MEMBER = """
import sys
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": sys.argv[2],
                     "session.timeout.ms": 6000, "heartbeat.interval.ms": 300})
consumer.subscribe([sys.argv[3]], on_assign=lambda _, p: p and print("joined", flush=True))
while True:
    consumer.poll(0.1)
"""


def test_partitions_of_a_crashed_member_move_after_its_session(
    bootstrap, new_topic, new_consumer
):
    topic, group = new_topic(partitions=4), fresh("group")
    first = Member(new_consumer(group), topic)
    settle([first], 4)
    arguments = [sys.executable, "-c", CRASHING_MEMBER, bootstrap, group, topic]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        eventually(lambda: first.poll() is not None and len(first.owned) == 2)
        assert process.stdout.readline() == b"joined\n"
        killed = time.monotonic()
        process.send_signal(signal.SIGKILL)
        settle([first], 4, seconds=15)
        assert 3 < time.monotonic() - killed < 12


def test_static_member_returns_without_a_rebalance(new_topic, new_consumer):
    topic, group = new_topic(partitions=4), fresh("group")
    first = Member(new_consumer(group, group_instance_id="one"), topic)
    second = Member(new_consumer(group, group_instance_id="two"), topic)
    settle([first, second], 4)
    before = (len(first.assignments), len(first.revocations), set(second.owned))
    second.consumer.close()
    again = Member(new_consumer(group, group_instance_id="two"), topic)
    settle([first, again], 4)
    assert (len(first.assignments), len(first.revocations), again.owned) == before


def test_second_holder_of_an_instance_id_fences_the_first(new_topic, new_consumer):
    topic, group = new_topic(), fresh("group")
    first = Member(new_consumer(group, group_instance_id="only"), topic)
    settle([first], 1)
    second = Member(new_consumer(group, group_instance_id="only"), topic)

    def fenced():
        second.poll()
        try:
            message = first.consumer.poll(0.05)
        except KafkaException as exception:
            return exception.args[0].code() == KafkaError._FATAL
        return message and message.error() and message.error().code() == KafkaError._FATAL

    eventually(fenced, what="the first holder is told that it is fenced")
    settle([second], 1)


def test_commits_keep_metadata_and_leader_epoch(new_topic, new_producer, new_consumer):
    topic, group = new_topic(partitions=2), fresh("group")
    produce(new_producer(), topic, [{"value": b"x", "partition": i % 2} for i in range(20)])
    member = Member(new_consumer(group), topic)
    settle([member], 2)
    member.consumer.commit(
        offsets=[
            TopicPartition(topic, 0, 7, "état 7 ✓", 0),
            TopicPartition(topic, 1, 3),
        ],
        asynchronous=False,
    )
    reader = new_consumer(group)
    asked = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    first, second = reader.committed(asked, timeout=10)
    assert (first.offset, first.metadata, first.leader_epoch) == (7, "état 7 ✓", 0)
    assert (second.offset, second.metadata or "", second.leader_epoch) == (3, "", None)


def test_next_member_continues_at_the_committed_offset(new_topic, new_producer, new_consumer):
    topic, group = new_topic(), fresh("group")
    produce(new_producer(), topic, [{"value": b"%d" % i} for i in range(30)])
    first = new_consumer(group)
    first.subscribe([topic])
    consume(first, 10)
    first.commit(offsets=[TopicPartition(topic, 0, 10)], asynchronous=False)
    first.close()
    second = new_consumer(group)
    second.subscribe([topic])
    assert [int(m.value()) for m in consume(second, 20)] == list(range(10, 30))


def test_auto_commit_happens_on_close(new_topic, new_producer, new_consumer):
    topic, group = new_topic(), fresh("group")
    produce(new_producer(), topic, [{"value": b"%d" % i} for i in range(30)])
    first = new_consumer(group, enable_auto_commit=True)
    first.subscribe([topic])
    consume(first, 30)
    first.close()
    (committed,) = new_consumer(group).committed([TopicPartition(topic, 0)], timeout=10)
    assert committed.offset == 30


def test_uncommitted_group_has_no_offset(new_topic, new_consumer):
    topic = new_topic()
    (committed,) = new_consumer().committed([TopicPartition(topic, 0)], timeout=10)
    assert committed.offset < 0


def test_commit_by_an_outsider_to_a_group_with_members_is_refused(
    new_topic, new_producer, new_consumer
):
    topic, group = new_topic(), fresh("group")
    produce(new_producer(), topic, [{"value": b"x"}])
    member = Member(new_consumer(group), topic)
    settle([member], 1)
    outsider = new_consumer(group)
    outsider.assign([TopicPartition(topic, 0, 0)])
    with pytest.raises(KafkaException) as refused:
        outsider.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    assert refused.value.args[0].code() in (
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
    )


# --- topics that come and go ---------------------------------------------------------------------


def test_produce_to_a_missing_topic_creates_it(new_producer, new_consumer):
    topic = fresh("auto")
    produce(new_producer(), topic, [{"value": b"hello"}])
    assert read_from(new_consumer, topic, OFFSET_BEGINNING, 1)[0].value() == b"hello"


def test_consumer_of_a_missing_topic_gets_an_error_and_later_the_topic(
    admin, new_producer, new_consumer
):
    topic = fresh("later")
    consumer = new_consumer(topic_metadata_refresh_interval_ms=300)
    consumer.subscribe([topic])
    message = eventually(lambda: consumer.poll(0.2))
    assert message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert topic not in admin.list_topics(timeout=5).topics
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    produce(new_producer(), topic, [{"value": b"now"}])

    def record():
        message = consumer.poll(0.2)
        return message and not message.error() and message.value()

    assert eventually(record) == b"now"


def test_topic_is_deleted_and_made_again_under_running_clients(
    admin, new_topic, new_producer, new_consumer
):
    topic = new_topic(partitions=2)
    producer = new_producer(topic_metadata_refresh_interval_ms=300)
    consumer = new_consumer(topic_metadata_refresh_interval_ms=300)
    produce(producer, topic, [{"value": b"old", "partition": 0} for _ in range(50)])
    consumer.subscribe([topic])
    consume(consumer, 50)
    admin.delete_topics([topic])[topic].result(10)
    eventually(lambda: topic not in admin.list_topics(timeout=5).topics)

    def made_again():
        error = admin.create_topics([NewTopic(topic, 2, 1)])[topic].exception(10)
        return error is None

    eventually(made_again)

    def delivered():
        try:
            return produce(producer, topic, [{"value": b"new", "partition": 0}])
        except KafkaException:
            return False  # still the metadata of the old topic

    assert eventually(delivered)[0].offset() == 0, "the new topic starts at 0"

    def record():
        # One more each time: a consumer that asks where its old epoch ends may go on at that end
        # and not at the start, as it may with Kafka.
        produce(producer, topic, [{"value": b"new", "partition": 0}])
        message = consumer.poll(0.5)
        return message and not message.error() and message

    # The old position (50) is out of range or of another topic id: a new record has to arrive.
    assert eventually(record, 30).value() == b"new"


# --- errors --------------------------------------------------------------------------------------


def delivery_error(producer, topic, **record):
    with pytest.raises(KafkaException) as failure:
        produce(producer, topic, [record])
    return failure.value.args[0].code()


def test_too_large_message_is_refused_and_the_next_accepted(new_topic, new_producer):
    topic = new_topic(max_message_bytes=2_000)
    producer = new_producer(linger_ms=0)
    error = delivery_error(producer, topic, value=os.urandom(5_000))
    assert error == KafkaError.MSG_SIZE_TOO_LARGE
    assert produce(producer, topic, [{"value": b"small"}])[0].offset() == 0


def test_null_key_on_a_compacted_topic_is_refused(new_topic, new_producer):
    topic = new_topic(cleanup_policy="compact")
    error = delivery_error(new_producer(), topic, value=b"no key")
    assert error == KafkaError.INVALID_RECORD
    assert produce(new_producer(), topic, [{"key": b"k", "value": b"v"}])[0].offset() == 0


def test_produce_to_a_partition_that_is_not_there_fails(new_topic, new_producer):
    topic = new_topic(partitions=2)
    producer = new_producer(message_timeout_ms=3_000)
    # Known to the client (no such partition) or learnt by waiting in vain: never delivered.
    with pytest.raises(KafkaException) as failure:
        produce(producer, topic, [{"value": b"x", "partition": 5}])
    assert failure.value.args[0].code() in (
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._MSG_TIMED_OUT,
    )


@pytest.mark.skipif(os.environ.get("BROKER") == "kafka", reason="Kafka serves it")
def test_what_is_not_served_is_refused_at_once(bootstrap, new_topic):
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": fresh("transaction")})
    with pytest.raises(KafkaException) as refused:
        producer.init_transactions(15)
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert refused.value.args[0].fatal()

    newer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": fresh("newer"), "group.protocol": "consumer",
    })
    newer.subscribe([new_topic()])
    message = eventually(lambda: newer.poll(0.2), what="the refusal")
    assert message.error().code() == KafkaError._FATAL or message.error().fatal()
    newer.close()


def test_sasl_is_refused_at_once(bootstrap):
    errors = []
    producer = Producer({
        "bootstrap.servers": bootstrap, "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN", "sasl.username": "user", "sasl.password": "secret",
        "error_cb": errors.append,
    })

    def told():
        producer.poll(0.1)
        return errors

    assert eventually(told, what="the refusal")[0].code() == KafkaError._AUTHENTICATION
