"""kafka-python against the broker at BOOTSTRAP: produce, consume, groups, admin."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid

import kafka.errors as errors
import pytest
from conftest import eventually, fresh
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, MemberToRemove
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer import OffsetSpec
from kafka.structs import OffsetAndMetadata

CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture(scope="module")
def admin(bootstrap):
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield client
    client.close()


@pytest.fixture
def new_topic(admin):
    def create(partitions=1, **config):
        name = fresh("python")
        configs = {key.replace("_", "."): str(value) for key, value in config.items()}
        options = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        admin.create_topics({name: options}, wait_for_metadata=True)
        return name

    return create


@pytest.fixture
def new_producer(bootstrap):
    producers = []

    def create(**config):
        producers.append(KafkaProducer(bootstrap_servers=bootstrap, **config))
        return producers[-1]

    yield create
    for producer in producers:
        producer.close(timeout=5)


@pytest.fixture
def new_consumer(bootstrap):
    consumers = []

    def create(*topics, **config):
        config = {
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 300,
        } | config
        consumers.append(KafkaConsumer(*topics, bootstrap_servers=bootstrap, **config))
        return consumers[-1]

    yield create
    for consumer in consumers:
        consumer.close()


def produce(producer, topic, records):
    futures = [producer.send(topic, **record) for record in records]
    producer.flush(20)
    return [future.get(10) for future in futures]


def consume(consumer, count, seconds=15):
    records = []
    deadline = time.monotonic() + seconds
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} within {seconds} s"
        for batch in consumer.poll(timeout_ms=200, max_records=count - len(records)).values():
            records.extend(batch)
    return records


def reader(new_consumer, topic, offset=0, partition=0, **config):
    consumer = new_consumer(**config)
    consumer.assign([TopicPartition(topic, partition)])
    consumer.seek(TopicPartition(topic, partition), offset)
    return consumer


# --- produce and consume -------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_every_codec_come_back_unchanged(
    codec, new_topic, new_producer, new_consumer
):
    topic = new_topic()
    sent = [
        {
            "key": None if i % 5 == 4 and i % 7 != 3 else b"key-%d" % i,
            "value": None if i % 7 == 3 else os.urandom(20) * (i % 20),
            "headers": [("a", b"\x00\xff"), ("same", b"1"), ("same", b"2")] if i % 3 else [],
            "timestamp_ms": 1_700_000_000_000 + i,
        }
        for i in range(300)
    ]
    produce(new_producer(compression_type=codec, linger_ms=20), topic, sent)
    for i, record in enumerate(consume(reader(new_consumer, topic), 300)):
        assert (record.offset, record.key, record.value) == (i, sent[i]["key"], sent[i]["value"])
        assert list(record.headers) == sent[i]["headers"]
        assert (record.timestamp, record.timestamp_type) == (sent[i]["timestamp_ms"], 0)


@pytest.mark.parametrize("codec", [None, "zstd"])
def test_batches_of_nearly_a_megabyte_come_back_unchanged(
    codec, new_topic, new_producer, new_consumer
):
    topic = new_topic()
    values = [os.urandom(9_000) for _ in range(150)] + [os.urandom(900_000)]
    producer = new_producer(compression_type=codec, batch_size=950_000, linger_ms=200)
    produce(producer, topic, [{"value": value} for value in values])
    records = consume(reader(new_consumer, topic), len(values))
    assert [record.value for record in records] == values


@pytest.mark.parametrize("settings", [
    {"acks": 0, "enable_idempotence": False},
    {"acks": 1, "enable_idempotence": False},
    {"acks": "all", "enable_idempotence": False},
    {"acks": "all", "enable_idempotence": True},
])
def test_records_of_every_acks_setting_are_stored(
    settings, new_topic, new_producer, new_consumer
):
    topic = new_topic()
    records = [{"value": b"%d" % i} for i in range(200)]
    produce(new_producer(**settings), topic, records)
    found = consume(reader(new_consumer, topic), 200)
    assert [int(record.value) for record in found] == list(range(200))


# --- where to start reading ----------------------------------------------------------------------


def test_start_end_and_seek_are_where_kafka_has_them(new_topic, new_producer, new_consumer):
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    produce(new_producer(), topic, [{"value": b"%d" % i} for i in range(100)])
    consumer = reader(new_consumer, topic)
    assert consumer.beginning_offsets([partition]) == {partition: 0}
    assert consumer.end_offsets([partition]) == {partition: 100}
    for target in (99, 0, 57):
        consumer.seek(partition, target)
        assert consume(consumer, 1)[0].offset == target
    consumer.seek_to_end(partition)
    assert consumer.position(partition) == 100
    consumer.seek_to_beginning(partition)
    assert consume(consumer, 1)[0].offset == 0


def test_timestamp_search_finds_the_exact_record_inside_a_batch(
    new_topic, new_producer, new_consumer
):
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    base = 1_700_000_000_000
    order = [0, 100, 50, 300, 200, 400]
    producer = new_producer(linger_ms=300, compression_type="gzip")
    produce(producer, topic, [{"value": b"x", "timestamp_ms": base + t} for t in order])
    consumer = reader(new_consumer, topic)
    for target, (offset, timestamp) in {
        -5: (0, 0), 0: (0, 0), 1: (1, 100), 101: (3, 300), 301: (5, 400)
    }.items():
        found = consumer.offsets_for_times({partition: base + target})[partition]
        assert (found.offset, found.timestamp - base) == (offset, timestamp)
    assert consumer.offsets_for_times({partition: base + 401})[partition] is None


def test_offset_out_of_range_is_an_error_without_a_reset_policy(
    new_topic, new_producer, new_consumer
):
    topic = new_topic()
    produce(new_producer(), topic, [{"value": b"x"}])
    consumer = reader(new_consumer, topic, offset=500, auto_offset_reset="none")
    with pytest.raises(errors.OffsetOutOfRangeError):
        consume(consumer, 1)


def test_idle_consumer_is_woken_at_once(new_topic, new_producer, new_consumer):
    topic = new_topic()
    producer = new_producer()
    consumer = reader(new_consumer, topic, fetch_max_wait_ms=2_000)
    assert consumer.poll(timeout_ms=500) == {}
    delays = []
    for _ in range(10):
        sent = time.monotonic()
        produce(producer, topic, [{"value": b"wake"}])
        consume(consumer, 1)
        delays.append(time.monotonic() - sent)
    assert sorted(delays)[5] < 0.2, f"median {sorted(delays)[5]:.3f} s"


# --- groups --------------------------------------------------------------------------------------


class Member:
    """A group member polling in a thread of its own, as applications do.

    (A poll that ends in the middle of a join loses the join in kafka-python 3.0, so polling
    several members in turn with short timeouts does not work.)
    """

    def __init__(self, consumer):
        self.consumer = consumer
        self.seen = []
        self.owned = set()
        self.failure = None
        self.tasks = queue.Queue()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while True:
                for batch in self.consumer.poll(timeout_ms=500).values():
                    self.seen.extend(batch)
                self.owned = {partition.partition for partition in self.consumer.assignment()}
                while not self.tasks.empty():
                    task, answer = self.tasks.get()
                    if task is None:
                        self.owned = set()
                        return self.consumer.close()
                    try:
                        answer.put((task(self.consumer), None))
                    except errors.KafkaError as error:
                        answer.put((None, error))
        except Exception as failure:
            self.failure = failure
            raise

    def ask(self, task):
        """Runs task(consumer) in the member's thread."""
        answer = queue.Queue()
        self.tasks.put((task, answer))
        result, error = answer.get(timeout=15)
        if error:
            raise error
        return result

    def close(self):
        self.tasks.put((None, None))
        self.thread.join(15)
        assert not self.thread.is_alive()


@pytest.fixture
def join(bootstrap):
    """Starts members that leave at the end of the test, if they have not before."""
    members = []

    def create(topic, group, **config):
        config = {
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 200,
        } | config
        consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, **config)
        members.append(Member(consumer))
        return members[-1]

    yield create
    for member in members:
        member.close()
        assert member.failure is None


def settle(members, partitions, seconds=20):
    """Waits until the members share the partitions, each with its part."""

    def shared():
        owned = [member.owned for member in members]
        return all(owned) and sorted(p for part in owned for p in part) == list(
            range(partitions)
        )

    eventually(shared, seconds, "members share the partitions")


@pytest.mark.parametrize("settings", [
    {}, {"partition_assignment_strategy": [CooperativeStickyAssignor]}
], ids=["eager", "cooperative-sticky"])
def test_members_join_share_and_leave(settings, new_topic, new_producer, join):
    topic, group = new_topic(4), fresh("group")
    first = join(topic, group, **settings)
    settle([first], 4)
    second = join(topic, group, **settings)
    settle([first, second], 4)
    assert (len(first.owned), len(second.owned)) == (2, 2)
    records = [{"value": b"%d" % i, "partition": i % 4} for i in range(200)]
    produce(new_producer(), topic, records)
    eventually(lambda: len(first.seen) + len(second.seen) >= 200)
    seen = [int(record.value) for record in first.seen + second.seen]
    assert sorted(seen) == list(range(200))
    second.close()
    settle([first], 4)


CRASHING_MEMBER = """
import sys
from kafka import KafkaConsumer
consumer = KafkaConsumer(sys.argv[3], bootstrap_servers=sys.argv[1], group_id=sys.argv[2],
                         session_timeout_ms=6000, heartbeat_interval_ms=300)
while not consumer.assignment():
    consumer.poll(timeout_ms=100)
print("joined", flush=True)
while True:
    consumer.poll(timeout_ms=100)
"""


def test_partitions_of_a_crashed_member_move_after_its_session(bootstrap, new_topic, join):
    topic, group = new_topic(4), fresh("group")
    first = join(topic, group)
    settle([first], 4)
    arguments = [sys.executable, "-c", CRASHING_MEMBER, bootstrap, group, topic]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"joined\n"
        eventually(lambda: len(first.owned) == 2)
        killed = time.monotonic()
        process.send_signal(signal.SIGKILL)
        settle([first], 4, seconds=15)
        assert 3 < time.monotonic() - killed < 12


def test_static_member_returns_to_its_partitions(admin, new_topic, join):
    topic, group = new_topic(4), fresh("group")
    first = join(topic, group, group_instance_id="one")
    second = join(topic, group, group_instance_id="two")
    settle([first, second], 4)

    def generation():
        return first.ask(lambda consumer: consumer.group_metadata().generation_id)

    before, owned = generation(), second.owned
    second.close()
    again = join(topic, group, group_instance_id="two")
    settle([first, again], 4)
    assert (again.owned, generation()) == (owned, before)
    again.close()
    removed = admin.remove_group_members(group, [MemberToRemove(group_instance_id="two")])
    assert list(removed.values()) == [errors.NoError]
    settle([first], 4)


def test_commits_keep_metadata_and_leader_epoch(new_topic, new_producer, join):
    topic, group = new_topic(), fresh("group")
    partition = TopicPartition(topic, 0)
    produce(new_producer(), topic, [{"value": b"%d" % i} for i in range(20)])
    first = join(topic, group)
    settle([first], 1)
    commit = OffsetAndMetadata(7, "état 7 ✓", 0)
    first.ask(lambda consumer: consumer.commit({partition: commit}))
    assert first.ask(lambda consumer: consumer.committed(partition, metadata=True)) == commit
    first.close()
    second = join(topic, group)
    eventually(lambda: len(second.seen) == 13)
    assert [int(record.value) for record in second.seen] == list(range(7, 20))


def test_commit_with_too_long_metadata_is_refused(new_topic, join):
    topic, group = new_topic(), fresh("group")
    member = join(topic, group)
    settle([member], 1)
    commit = {TopicPartition(topic, 0): OffsetAndMetadata(0, "x" * 5_000, -1)}
    with pytest.raises(errors.OffsetMetadataTooLargeError):
        member.ask(lambda consumer: consumer.commit(commit))


def test_uncommitted_group_has_no_offset(new_topic, new_consumer):
    consumer = new_consumer(group_id=fresh("group"))
    assert consumer.committed(TopicPartition(new_topic(), 0)) is None


# --- topics that come and go, errors -------------------------------------------------------------


def test_produce_to_a_missing_topic_creates_it(new_producer, new_consumer):
    topic = fresh("auto")
    produce(new_producer(), topic, [{"value": b"hello"}])
    assert consume(reader(new_consumer, topic), 1)[0].value == b"hello"


def test_topic_is_deleted_and_made_again_under_a_running_producer(
    admin, new_topic, new_producer, new_consumer
):
    topic = new_topic()
    producer = new_producer(metadata_max_age_ms=300)
    produce(producer, topic, [{"value": b"old"} for _ in range(20)])
    admin.delete_topics([topic])
    eventually(lambda: topic not in admin.list_topics())

    def made_again():
        try:
            admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
        except errors.TopicAlreadyExistsError:
            return topic in admin.list_topics()
        return True

    eventually(made_again)
    assert produce(producer, topic, [{"value": b"new"}])[0].offset == 0
    assert consume(reader(new_consumer, topic), 1)[0].value == b"new"


def test_too_large_message_is_refused(new_topic, new_producer):
    topic = new_topic(max_message_bytes=2_000)
    producer = new_producer()
    with pytest.raises(errors.MessageSizeTooLargeError):
        produce(producer, topic, [{"value": os.urandom(5_000)}])
    assert produce(new_producer(), topic, [{"value": b"small"}])[0].offset == 0


def test_null_key_on_a_compacted_topic_is_refused(new_topic, new_producer):
    topic = new_topic(cleanup_policy="compact")
    with pytest.raises(errors.InvalidRecordError):
        produce(new_producer(), topic, [{"value": b"no key"}])


# --- admin ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "error"), [
    ({"num_partitions": 1, "replication_factor": 3}, errors.InvalidReplicationFactorError),
    ({"num_partitions": 0, "replication_factor": 1}, errors.InvalidPartitionsError),
    ({"configs": {"retention.ms": "soon"}}, errors.InvalidConfigurationError),
    ({"configs": {"no.such.config": "1"}}, errors.InvalidConfigurationError),
])
def test_bad_new_topic_is_refused(admin, options, error):
    with pytest.raises(error):
        admin.create_topics({fresh("python"): options})


def test_topics_are_created_described_by_name_and_id_and_deleted(admin, new_topic):
    topic = new_topic(3)
    (described,) = admin.describe_topics([topic])
    assert (described["name"], described["is_internal"]) == (topic, False)
    assert len(described["partitions"]) == 3
    (by_id,) = admin.describe_topics([uuid.UUID(str(described["topic_id"]))])
    assert by_id["name"] == topic
    with pytest.raises(errors.TopicAlreadyExistsError):
        admin.create_topics([topic])
    admin.delete_topics([topic])
    eventually(lambda: topic not in admin.list_topics())
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        admin.delete_topics([topic])


def test_describing_topics_in_pages_walks_through_all_partitions(admin, new_topic):
    names = sorted([new_topic(3), new_topic(4)])
    pages, cursor = [], None
    while True:
        page = admin.describe_topic_partitions(names, response_partition_limit=2, cursor=cursor)
        found = [
            (topic["name"], partition["partition_index"])
            for topic in page["topics"]
            for partition in topic["partitions"]
        ]
        assert 0 < len(found) <= 2
        pages.extend(found)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(pages) == 7 == len(set(pages))
    assert pages == sorted(pages)


def test_partitions_are_added(admin, new_topic):
    topic = new_topic()
    admin.create_partitions({topic: 3})
    eventually(lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 3)
    with pytest.raises(errors.InvalidPartitionsError):
        admin.create_partitions({topic: 2})


def test_configs_are_described_altered_and_reset(admin, new_topic):
    topic = new_topic(retention_ms=1_000_000)

    def configs(which="all"):
        answer = admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter=which)
        return {key: entry["value"] for key, entry in answer["topic"][topic].items()}

    assert configs("modified") == {"retention.ms": "1000000"}
    assert configs()["cleanup.policy"] == "delete"
    admin.alter_configs([ConfigResource("TOPIC", topic, {"segment.ms": "2000000"})])
    eventually(lambda: configs()["segment.ms"] == "2000000")
    assert configs()["retention.ms"] == "1000000"
    append = {"cleanup.policy": (AlterConfigOp.APPEND, "compact")}
    admin.alter_configs([ConfigResource("TOPIC", topic, append)])
    eventually(lambda: set(configs()["cleanup.policy"].split(",")) == {"compact", "delete"})
    admin.reset_configs([ConfigResource("TOPIC", topic, ["segment.ms", "retention.ms"])])
    eventually(lambda: configs()["retention.ms"] == "604800000")
    admin.alter_configs(
        [ConfigResource("TOPIC", topic, {"segment.ms": "3000000"})], incremental=False
    )
    eventually(lambda: configs()["segment.ms"] == "3000000")


def test_config_resources_name_topics_and_brokers(admin, new_topic):
    topic = new_topic()
    node = str(admin.describe_cluster()["brokers"][0]["broker_id"])
    resources = admin.list_config_resources(["TOPIC", "BROKER"])
    names = {str(kind).upper(): found for kind, found in resources.items()}
    assert topic in names["TOPIC"]
    assert node in names["BROKER"]


def test_records_are_deleted_up_to_an_offset(admin, new_topic, new_producer, new_consumer):
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    produce(new_producer(), topic, [{"value": b"%d" % i} for i in range(10)])
    assert admin.delete_records({partition: 4})[partition]["low_watermark"] == 4
    consumer = reader(new_consumer, topic)
    assert consumer.beginning_offsets([partition]) == {partition: 4}
    assert consume(consumer, 1)[0].offset == 4
    with pytest.raises(errors.OffsetOutOfRangeError):
        admin.delete_records({partition: 11})


def test_offsets_of_every_spec_are_found(admin, new_topic, new_producer):
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    producer = new_producer()
    for i in range(5):
        produce(producer, topic, [{"value": b"x", "timestamp_ms": 1000 * (i + 1)}])

    def offset(spec):
        found = admin.list_partition_offsets({partition: spec})[partition]
        return found.offset, found.timestamp

    assert offset(OffsetSpec.EARLIEST) == (0, -1)
    assert offset(OffsetSpec.LATEST) == (5, -1)
    assert offset(OffsetSpec.MAX_TIMESTAMP) == (4, 5000)
    assert offset(OffsetSpec.EARLIEST_LOCAL)[0] == 0
    assert offset(2500) == (2, 3000)


def test_group_offsets_are_altered_listed_and_deleted(admin, new_topic):
    topic, group = new_topic(2), fresh("group")
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    altered = admin.alter_group_offsets(
        group, {first: OffsetAndMetadata(5, "note", 0), second: OffsetAndMetadata(6, "", -1)}
    )
    assert set(altered.values()) == {errors.NoError}
    listed = admin.list_group_offsets(group)[group]
    assert listed[first] == OffsetAndMetadata(5, "note", 0)
    assert listed[second].offset == 6
    deleted = admin.delete_group_offsets(group, [first])
    assert deleted == {first: errors.NoError}
    assert set(admin.list_group_offsets(group)[group]) == {second}
    admin.delete_groups([group])
    assert group not in [found["group_id"] for found in admin.list_groups()]


def test_group_with_members_is_described_and_not_deleted(admin, new_topic, join):
    topic, group = new_topic(), fresh("group")
    settle([join(topic, group, client_id="the-client")], 1)
    described = admin.describe_groups([group])[group]
    assert (described["group_state"], described["protocol_type"]) == ("Stable", "consumer")
    assert described["protocol_data"] == "range"
    (member,) = described["members"]
    assert (member["client_id"], member["client_host"]) == ("the-client", "/127.0.0.1")
    listed = {found["group_id"]: found for found in admin.list_groups(states_filter=["Stable"])}
    assert listed[group]["protocol_type"] == "consumer"
    (answer,) = admin.delete_groups([group]).items()
    assert answer[0] == group
    assert "NonEmpty" in str(answer[1])


def test_cluster_log_dirs_producers_and_leaders_are_described(admin, new_topic, new_producer):
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    produce(new_producer(enable_idempotence=True), topic, [{"value": b"x" * 1000}])
    cluster = admin.describe_cluster()
    assert cluster["cluster_id"]
    assert cluster["controller_id"] == cluster["brokers"][0]["broker_id"]
    (broker,) = admin.describe_log_dirs([topic])
    (found,) = [t for d in broker["log_dirs"] for t in d["topics"] if t["name"] == topic]
    assert found["partitions"][0]["partition_size"] >= 1000
    (producer,) = admin.describe_producers([partition])[partition].active_producers
    assert (producer.producer_id >= 0, producer.last_sequence) == (True, 0)
    elected = admin.elect_leaders(0, {topic: [0]}, raise_errors=False)
    (result,) = elected.replica_election_results
    assert [p.error_code for p in result.partition_result] == [errors.ElectionNotNeededError.errno]
