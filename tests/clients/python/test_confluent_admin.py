"""librdkafka's admin client (through confluent-kafka) against the broker at BOOTSTRAP."""

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ElectionType,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from conftest import eventually, fresh


@pytest.fixture(scope="module")
def admin(bootstrap):
    return AdminClient({"bootstrap.servers": bootstrap})


def one(futures):
    (future,) = futures.values()
    return future.result(15)


def error_of(futures):
    with pytest.raises(KafkaException) as failure:
        one(futures)
    return failure.value.args[0].code()


@pytest.fixture
def new_topic(admin):
    def create(partitions=1, **config):
        name = fresh("admin")
        one(admin.create_topics([NewTopic(name, partitions, 1, config=config)]))
        eventually(lambda: name in admin.list_topics(timeout=5).topics)
        return name

    return create


@pytest.fixture
def fill(bootstrap):
    """Produces count records to one partition, one batch per record, timestamps 1000, 2000, …"""

    def produce(topic, count, partition=0):
        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        for i in range(count):
            producer.produce(topic, b"%d" % i, partition=partition, timestamp=1000 * (i + 1))
            assert producer.flush(10) == 0

    return produce


@pytest.fixture
def new_member(bootstrap):
    members = []

    def create(group, topic):
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "client.id": "member-client",
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
            }
        )
        members.append(consumer)
        consumer.subscribe([topic])
        eventually(lambda: [consumer.poll(0.1)] and consumer.assignment())
        return consumer

    yield create
    for consumer in members:
        consumer.close()


# --- topics --------------------------------------------------------------------------------------


def test_created_topic_is_listed_and_described(admin):
    name = fresh("admin")
    one(admin.create_topics([NewTopic(name, 3, 1, config={"retention.ms": "12345"})]))
    listed = eventually(lambda: admin.list_topics(timeout=5).topics.get(name))
    assert sorted(listed.partitions) == [0, 1, 2]
    described = one(admin.describe_topics(TopicCollection([name])))
    assert (described.name, described.is_internal) == (name, False)
    assert str(described.topic_id) != ""
    assert [p.id for p in described.partitions] == [0, 1, 2]
    for partition in described.partitions:
        assert partition.leader.id in [node.id for node in partition.replicas]
        assert [node.id for node in partition.isr] == [partition.leader.id]


def test_validate_only_creates_nothing(admin):
    name = fresh("admin")
    one(admin.create_topics([NewTopic(name, 1, 1)], validate_only=True))
    assert name not in admin.list_topics(timeout=5).topics


def test_default_partitions_and_replication_are_filled_in(admin):
    name = fresh("admin")
    one(admin.create_topics([NewTopic(name)]))
    topic = eventually(lambda: admin.list_topics(timeout=5).topics.get(name))
    assert len(topic.partitions) >= 1
    assert len(topic.partitions[0].replicas) == 1


@pytest.mark.parametrize(
    ("arguments", "config", "error"),
    [
        ((1, 3), {}, KafkaError.INVALID_REPLICATION_FACTOR),
        ((0, 1), {}, KafkaError.INVALID_PARTITIONS),
        ((1, 1), {"retention.ms": "soon"}, KafkaError.INVALID_CONFIG),
        ((1, 1), {"no.such.config": "1"}, KafkaError.INVALID_CONFIG),
        ((1, 1), {"cleanup.policy": "shred"}, KafkaError.INVALID_CONFIG),
    ],
)
def test_bad_new_topic_is_refused(admin, arguments, config, error):
    name = fresh("admin")
    assert error_of(admin.create_topics([NewTopic(name, *arguments, config=config)])) == error
    assert name not in admin.list_topics(timeout=5).topics


@pytest.mark.parametrize("name", ["", ".", "..", "has space", "ümlaut", "x" * 250])
def test_bad_topic_name_is_refused(admin, name):
    with pytest.raises(KafkaException) as failure:
        one(admin.create_topics([NewTopic(name, 1, 1)]))
    assert failure.value.args[0].code() in (
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._INVALID_ARG,
    )


def test_every_topic_of_one_request_gets_its_own_answer(admin, new_topic):
    there, new = new_topic(), fresh("admin")
    bad = fresh("admin")
    answers = admin.create_topics(
        [NewTopic(there, 1, 1), NewTopic(new, 1, 1), NewTopic(bad, 1, 1, config={"x": "y"})]
    )
    assert answers[new].result(10) is None
    assert answers[there].exception(10).args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    assert answers[bad].exception(10).args[0].code() == KafkaError.INVALID_CONFIG
    gone = admin.delete_topics([new, bad])
    assert gone[new].result(10) is None
    assert gone[bad].exception(10).args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_partitions_can_be_added_but_not_taken(admin, new_topic):
    topic = new_topic()
    one(admin.create_partitions([NewPartitions(topic, 4)]))
    eventually(lambda: len(admin.list_topics(topic, timeout=5).topics[topic].partitions) == 4)
    for total in (4, 2):
        error = error_of(admin.create_partitions([NewPartitions(topic, total)]))
        assert error == KafkaError.INVALID_PARTITIONS
    error = error_of(admin.create_partitions([NewPartitions(fresh("none"), 2)]))
    assert error == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_deleted_records_are_gone_and_the_rest_stays(admin, new_topic, fill):
    topic = new_topic()
    fill(topic, 10)
    answer = one(admin.delete_records([TopicPartition(topic, 0, 4)]))
    assert answer.low_watermark == 4
    (earliest,) = admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.earliest()}).values()
    assert earliest.result(10).offset == 4
    error = error_of(admin.delete_records([TopicPartition(topic, 0, 11)]))
    assert error == KafkaError.OFFSET_OUT_OF_RANGE
    assert one(admin.delete_records([TopicPartition(topic, 0, -1)])).low_watermark == 10


def test_offsets_of_every_spec_are_found(admin, new_topic, fill):
    topic = new_topic()
    empty = new_topic()
    fill(topic, 5)

    def offset(name, spec):
        asked = {TopicPartition(name, 0): spec}
        answer = one(admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED))
        return answer.offset, answer.timestamp

    assert offset(topic, OffsetSpec.earliest()) == (0, -1)
    assert offset(topic, OffsetSpec.latest()) == (5, -1)
    assert offset(topic, OffsetSpec.max_timestamp()) == (4, 5000)
    assert offset(topic, OffsetSpec.for_timestamp(2500)) == (2, 3000)
    assert offset(topic, OffsetSpec.for_timestamp(9000)) == (-1, -1)
    assert offset(empty, OffsetSpec.latest()) == (0, -1)
    assert offset(empty, OffsetSpec.max_timestamp()) == (-1, -1)


# --- configs -------------------------------------------------------------------------------------


def describe(admin, kind, name):
    return one(admin.describe_configs([ConfigResource(kind, name)]))


def test_topic_configs_have_kafkas_names_and_defaults(admin, new_topic):
    topic = new_topic(**{"segment.bytes": "1048576"})
    configs = describe(admin, ResourceType.TOPIC, topic)
    expected = {
        "cleanup.policy": "delete", "compression.type": "producer", "retention.bytes": "-1",
        "retention.ms": "604800000", "min.insync.replicas": "1", "segment.bytes": "1048576",
        "message.timestamp.type": "CreateTime", "min.cleanable.dirty.ratio": "0.5",
        "delete.retention.ms": "86400000", "segment.ms": "604800000",
    }
    assert {name: configs[name].value for name in expected} == expected
    assert configs["segment.bytes"].source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    assert configs["retention.ms"].source == ConfigSource.DEFAULT_CONFIG.value
    assert configs["segment.bytes"].is_default is False
    assert configs["retention.ms"].is_default is True


def test_broker_configs_can_be_described(admin):
    broker = next(iter(admin.list_topics(timeout=5).brokers))
    configs = describe(admin, ResourceType.BROKER, str(broker))
    assert int(configs["num.partitions"].value) >= 1
    assert configs["auto.create.topics.enable"].value == "true"
    assert int(configs["message.max.bytes"].value) > 0
    assert "log.retention.ms" in configs or "log.retention.hours" in configs


def alter(admin, kind, name, *operations):
    entries = [
        ConfigEntry(key, value, incremental_operation=operation)
        for key, value, operation in operations
    ]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    return admin.incremental_alter_configs([resource])


def test_topic_configs_are_altered_one_by_one(admin, new_topic):
    topic = new_topic(**{"retention.ms": "1000000"})
    one(alter(
        admin, ResourceType.TOPIC, topic,
        ("segment.ms", "5000000", AlterConfigOpType.SET),
        ("retention.ms", None, AlterConfigOpType.DELETE),
        ("cleanup.policy", "compact", AlterConfigOpType.APPEND),
    ))
    configs = describe(admin, ResourceType.TOPIC, topic)
    assert configs["segment.ms"].value == "5000000"
    assert configs["retention.ms"].value == "604800000"
    assert set(configs["cleanup.policy"].value.split(",")) == {"delete", "compact"}
    one(alter(
        admin, ResourceType.TOPIC, topic, ("cleanup.policy", "delete", AlterConfigOpType.SUBTRACT)
    ))
    assert describe(admin, ResourceType.TOPIC, topic)["cleanup.policy"].value == "compact"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_old_alter_configs_replaces_all(admin, new_topic):
    topic = new_topic(**{"retention.ms": "1000000", "segment.ms": "2000000"})
    one(admin.alter_configs(
        [ConfigResource(ResourceType.TOPIC, topic, set_config={"segment.ms": "3000000"})]
    ))
    configs = describe(admin, ResourceType.TOPIC, topic)
    assert configs["segment.ms"].value == "3000000"
    assert configs["retention.ms"].value == "604800000"


@pytest.mark.parametrize(
    ("key", "value"), [("retention.ms", "soon"), ("no.such", "1"), ("segment.bytes", "-5")]
)
def test_bad_config_is_refused_and_changes_nothing(admin, new_topic, key, value):
    topic = new_topic()
    before = {k: v.value for k, v in describe(admin, ResourceType.TOPIC, topic).items()}
    error = error_of(alter(admin, ResourceType.TOPIC, topic, (key, value, AlterConfigOpType.SET)))
    assert error == KafkaError.INVALID_CONFIG
    after = {k: v.value for k, v in describe(admin, ResourceType.TOPIC, topic).items()}
    assert after == before


def test_configs_of_a_missing_topic_are_an_error(admin):
    with pytest.raises(KafkaException) as failure:
        describe(admin, ResourceType.TOPIC, fresh("none"))
    assert failure.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


# --- groups --------------------------------------------------------------------------------------


def test_group_is_listed_described_and_deleted(admin, new_topic, new_member):
    topic, group = new_topic(2), fresh("group")
    member = new_member(group, topic)
    listed = {g.group_id: g for g in admin.list_consumer_groups().result(10).valid}
    assert listed[group].state == ConsumerGroupState.STABLE
    assert listed[group].is_simple_consumer_group is False
    described = one(admin.describe_consumer_groups([group]))
    assert described.state == ConsumerGroupState.STABLE
    assert described.partition_assignor == "range"
    assert described.coordinator.id >= 0
    (only,) = described.members
    assert (only.client_id, only.host.strip("/")) == ("member-client", "127.0.0.1")
    assert {p.partition for p in only.assignment.topic_partitions} == {0, 1}
    assert error_of(admin.delete_consumer_groups([group])) == KafkaError.NON_EMPTY_GROUP
    member.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    member.close()
    eventually(
        lambda: one(admin.describe_consumer_groups([group])).state == ConsumerGroupState.EMPTY
    )
    assert one(admin.delete_consumer_groups([group])) is None
    listed = [g.group_id for g in admin.list_consumer_groups().result(10).valid]
    assert group not in listed


def test_listing_by_state_leaves_out_the_others(admin, new_topic, new_member):
    topic, group = new_topic(), fresh("group")
    new_member(group, topic)

    def groups(state):
        listed = admin.list_consumer_groups(states={state}).result(10)
        return [g.group_id for g in listed.valid]

    assert group in groups(ConsumerGroupState.STABLE)
    assert group not in groups(ConsumerGroupState.EMPTY)


def test_deleting_a_missing_group_is_an_error(admin):
    error = error_of(admin.delete_consumer_groups([fresh("none")]))
    assert error == KafkaError.GROUP_ID_NOT_FOUND


def test_group_offsets_are_altered_and_listed(admin, new_topic):
    topic, group = new_topic(3), fresh("group")
    wanted = [TopicPartition(topic, 0, 5, "note", 0), TopicPartition(topic, 2, 9)]
    one(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)]))
    listed = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    offsets = {p.partition: (p.offset, p.metadata or "") for p in listed.topic_partitions}
    assert offsets == {0: (5, "note"), 2: (9, "")}
    asked = [TopicPartition(topic, 1), TopicPartition(topic, 2)]
    listed = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)]))
    assert [p.offset < 0 for p in listed.topic_partitions] == [True, False]


def test_offsets_of_a_group_with_members_cannot_be_altered(admin, new_topic, new_member):
    topic, group = new_topic(), fresh("group")
    new_member(group, topic)
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 5)])
    (partition,) = one(admin.alter_consumer_group_offsets([wanted])).topic_partitions
    assert partition.error.code() == KafkaError.UNKNOWN_MEMBER_ID


def test_deleting_a_topic_forgets_its_committed_offsets(admin, new_topic):
    topic, other, group = new_topic(), new_topic(), fresh("group")
    wanted = [TopicPartition(topic, 0, 5), TopicPartition(other, 0, 6)]
    one(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)]))
    one(admin.delete_topics([topic]))

    def remaining():
        listed = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        return [p.topic for p in listed.topic_partitions] == [other]

    eventually(remaining)


# --- cluster -------------------------------------------------------------------------------------


def test_cluster_has_an_id_a_controller_and_this_node(admin, bootstrap):
    cluster = admin.describe_cluster().result(10)
    assert cluster.cluster_id
    assert [f"{node.host}:{node.port}" for node in cluster.nodes] == [bootstrap]
    assert cluster.controller.id == cluster.nodes[0].id


def test_electing_a_leader_that_leads_is_not_needed(admin, new_topic):
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    elected = admin.elect_leaders(ElectionType.PREFERRED, [partition]).result(10)
    assert elected[partition].code() == KafkaError.ELECTION_NOT_NEEDED
