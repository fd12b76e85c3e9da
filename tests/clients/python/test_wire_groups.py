"""Groups, topics and configs by hand-made requests: codes and rules that no client shows.

Tests named section_8_NN belong to that line of docs/kafka-behaviours.md.
"""

import threading
import time
import uuid

import pytest
from conftest import eventually, fresh
from wire import Wire, is_apache_kafka

NOBODY = uuid.UUID(int=0)
TOPIC, BROKER = 2, 4
SET, DELETE, APPEND, SUBTRACT = range(4)
RETRIABLE = {14, 15, 16}


@pytest.fixture
def wire(bootstrap):
    with Wire(bootstrap) as connection:
        # Whoever asks first makes the topic of the groups.
        patiently(lambda: connection.ask("FindCoordinator", 1, key="g", key_type=0),
                  lambda answer: answer.error_code)
        yield connection


@pytest.fixture
def new_topic(wire):
    def create(partitions=1, **config):
        name = fresh("wire")
        (created,) = create_topics(wire, [topic(name, partitions, **config)])
        assert created.error_code == 0, created.error_message
        return name, created.topic_id

    return create


def topic(name, partitions=1, replicas=1, assignments=(), **config):
    configs = [{"name": key.replace("_", "."), "value": str(value)}
               for key, value in config.items()]
    return {"name": name, "num_partitions": partitions, "replication_factor": replicas,
            "assignments": list(assignments), "configs": configs}


def create_topics(wire, topics, validate_only=False):
    return wire.ask("CreateTopics", 7, topics=topics, timeout_ms=10_000,
                    validate_only=validate_only).topics


def metadata(wire, names, version=9, create=False):
    more = {"allow_auto_topic_creation": create} if version >= 4 else {}
    topics = None if names is None else [{"name": name} for name in names]
    return wire.ask("Metadata", version, topics=topics, **more)


def patiently(ask, code):
    """Asks until the coordinator is there; code tells the error of an answer."""
    return eventually(lambda: next((one for one in [ask()] if code(one) not in RETRIABLE), None))


def join(wire, group, version=5, member="", session=10_000, rebalance=10_000, instance=None,
         kind="consumer", protocols=(("range", b"m"),)):
    request = {"group_id": group, "session_timeout_ms": session, "member_id": member,
               "protocol_type": kind,
               "protocols": [{"name": name, "metadata": data} for name, data in protocols]}
    if version >= 1:
        request["rebalance_timeout_ms"] = rebalance
    if version >= 5:
        request["group_instance_id"] = instance
    return patiently(lambda: wire.ask("JoinGroup", version, **request),
                     lambda answer: answer.error_code)


def sync(wire, group, member, generation=1, version=5, instance=None, kind="consumer",
         protocol="range", assignments=()):
    request = {"group_id": group, "generation_id": generation, "member_id": member,
               "assignments": [{"member_id": one, "assignment": data}
                               for one, data in assignments]}
    if version >= 3:
        request["group_instance_id"] = instance
    if version >= 5:
        request |= {"protocol_type": kind, "protocol_name": protocol}
    return wire.ask("SyncGroup", version, **request)


def heartbeat(wire, group, member, generation=1, instance=None):
    return wire.ask("Heartbeat", 4, group_id=group, generation_id=generation, member_id=member,
                    group_instance_id=instance).error_code


def commit(wire, group, name, offset=5, generation=-1, member="", instance=None, text="text",
           partition=0, version=8):
    part = {"partition_index": partition, "committed_offset": offset, "committed_leader_epoch": 3,
            "committed_metadata": text}
    answer = patiently(
        lambda: wire.ask("OffsetCommit", version, group_id=group,
                         generation_id_or_member_epoch=generation, member_id=member,
                         group_instance_id=instance,
                         topics=[{"name": name, "partitions": [part]}]),
        lambda one: one.topics[0].partitions[0].error_code,
    )
    return answer.topics[0].partitions[0].error_code


def stable_member(wire, group, **more):
    joined = join(wire, group, version=3, **more)
    assert joined.error_code == 0
    synced = sync(wire, group, joined.member_id, version=3,
                  assignments=[(joined.member_id, b"mine")])
    assert (synced.error_code, synced.assignment) == (0, b"mine")
    return joined.member_id


def test_section_8_03_metadata_makes_a_topic_unless_it_is_told_not_to(wire):
    for version in (0, 1, 4, 9, 13):
        name = fresh("auto")
        missing = metadata(wire, [name], max(version, 4)).topics[0]
        assert missing.error_code == 3
        first = metadata(wire, [name], version, create=True).topics[0]
        assert first.error_code in (0, 3, 5)
        made = eventually(lambda: next(
            (one for one in metadata(wire, [name], version, create=True).topics  # noqa: B023
             if one.error_code == 0), None))
        assert len(made.partitions) >= 1
    for bad in ("bad!", "", "x" * 250, ".."):
        assert metadata(wire, [bad], create=True).topics[0].error_code == 17


def test_metadata_of_all_and_of_none(wire, new_topic):
    name, topic_id = new_topic()
    assert name in {one.name for one in metadata(wire, [], 0).topics}
    assert metadata(wire, [], 1).topics == []
    assert name in {one.name for one in metadata(wire, None, 1).topics}
    by_id = wire.ask("Metadata", 12, topics=[{"topic_id": topic_id, "name": None}],
                     allow_auto_topic_creation=False)
    assert [one.name for one in by_id.topics] == [name]
    unknown = wire.ask("Metadata", 12, topics=[{"topic_id": uuid.uuid4(), "name": None}],
                       allow_auto_topic_creation=False)
    assert unknown.topics[0].error_code == 100


def test_section_8_10_every_item_gets_an_answer_of_its_own(wire, new_topic):
    name, _ = new_topic()
    fresh_name = fresh("new")
    wanted = {fresh_name: 0, name: 36, "bad!": 17, fresh("none"): 37}
    partitions = {name: 1, fresh_name: 1, "bad!": 1}
    created = create_topics(wire, [topic(one, partitions.get(one, 0)) for one in wanted])
    assert {one.name: one.error_code for one in created} == wanted
    missing = fresh("missing")
    grown = wire.ask("CreatePartitions", 3, timeout_ms=10_000, validate_only=False, topics=[
        {"name": name, "count": 3, "assignments": None},
        {"name": fresh_name, "count": 1, "assignments": None},
        {"name": missing, "count": 3, "assignments": None}])
    assert {one.name: one.error_code for one in grown.results} == {
        name: 0, fresh_name: 37, missing: 3}
    deleted = wire.ask("DeleteTopics", 6, timeout_ms=10_000, topics=[
        {"name": name, "topic_id": NOBODY}, {"name": missing, "topic_id": NOBODY},
        {"name": None, "topic_id": uuid.UUID(int=77)}])
    assert sorted((one.name or "", one.error_code) for one in deleted.responses) == sorted(
        [(name, 0), (missing, 3), ("", 100)])


def test_what_stands_twice_is_refused_and_answered_once(wire, new_topic):
    name, _ = new_topic()
    twice = fresh("twice")
    created = create_topics(wire, [topic(twice), topic(twice), topic(twice)])
    assert [(one.name, one.error_code) for one in created] == [(twice, 42)]
    grown = wire.ask("CreatePartitions", 3, timeout_ms=10_000, validate_only=False, topics=[
        {"name": name, "count": count, "assignments": None} for count in (3, 4)])
    assert [(one.name, one.error_code) for one in grown.results] == [(name, 42)]
    deleted = wire.ask("DeleteTopics", 6, timeout_ms=10_000, topics=[
        {"name": name, "topic_id": NOBODY} for _ in range(2)])
    assert [(one.name, one.error_code) for one in deleted.responses] == [(name, 42)]


@pytest.mark.parametrize(("change", "code"), [
    ({"partitions": 0}, 37), ({"partitions": -2}, 37), ({"replicas": 2}, 38), ({"replicas": 0}, 38),
    ({"no_such_config": 1}, 40), ({"retention_ms": "soon"}, 40), ({"cleanup_policy": "keep"}, 40),
    ({"assignments": [{"partition_index": 0, "broker_ids": [1]}]}, 42),
    ({"partitions": -1, "replicas": -1,
      "assignments": [{"partition_index": 0, "broker_ids": [7]}]}, 39),
    ({"partitions": -1, "replicas": -1,
      "assignments": [{"partition_index": 1, "broker_ids": [1]}]}, 39),
    ({"partitions": -1, "replicas": -1}, 0),
])
def test_a_new_topic_is_checked_and_only_checked_when_asked(wire, change, code):
    name = fresh("checked")
    for validate_only in (True, False) if code else (True,):
        (answer,) = create_topics(wire, [topic(name, **change)], validate_only)
        assert (answer.error_code, answer.configs is None) == (code, False)
        assert metadata(wire, [name]).topics[0].error_code == 3


def test_section_8_11_a_new_topic_and_describe_tell_every_config(wire):
    (created,) = create_topics(wire, [topic(fresh("told"), retention_ms=5000)])
    told = {one.name: (one.value, one.config_source) for one in created.configs}
    assert told["retention.ms"] == ("5000", 1)
    for keys in (None,):
        described = wire.ask(
            "DescribeConfigs", 4, include_synonyms=True, include_documentation=True,
            resources=[{"resource_type": TOPIC, "resource_name": created.name,
                        "configuration_keys": keys}]).results[0]
        assert {one.name for one in described.configs} == set(told) >= {
            "cleanup.policy", "compression.type", "max.message.bytes", "min.insync.replicas",
            "segment.bytes", "message.timestamp.type", "retention.bytes"}
        one = {config.name: config for config in described.configs}["retention.ms"]
        assert one.documentation and one.config_type == 5
        assert (one.synonyms[0].name, one.synonyms[0].source) == ("retention.ms", 1)
    broker = wire.ask("DescribeConfigs", 4, include_synonyms=False, include_documentation=False,
                      resources=[{"resource_type": BROKER, "resource_name": "1",
                                  "configuration_keys": None}]).results[0]
    assert {"num.partitions", "default.replication.factor", "auto.create.topics.enable"} <= {
        one.name for one in broker.configs}


def test_section_8_12_lists_are_appended_to_and_subtracted_from(wire, new_topic):
    name, _ = new_topic()

    def alter(*changes, resource=(TOPIC, name), validate_only=False):
        configs = [{"name": key, "config_operation": operation, "value": value}
                   for key, operation, value in changes]
        return wire.ask("IncrementalAlterConfigs", 1, validate_only=validate_only, resources=[
            {"resource_type": resource[0], "resource_name": resource[1], "configs": configs},
        ]).responses[0].error_code

    def value(key):
        described = wire.ask("DescribeConfigs", 4, include_synonyms=False,
                             include_documentation=False, resources=[{
                                 "resource_type": TOPIC, "resource_name": name,
                                 "configuration_keys": [key]}]).results[0]
        return described.configs[0].value

    def becomes(key, wanted):
        eventually(lambda: value(key) == wanted, what=f"{key}={wanted}")

    assert alter(("cleanup.policy", APPEND, "compact")) == 0
    eventually(lambda: set(value("cleanup.policy").split(",")) == {"compact", "delete"})
    assert alter(("cleanup.policy", SUBTRACT, "delete")) == 0
    becomes("cleanup.policy", "compact")
    assert alter(("retention.ms", SET, "777"), validate_only=True) == 0
    assert alter(("retention.ms", SET, "778")) == 0
    becomes("retention.ms", "778")
    assert alter(("retention.ms", DELETE, None)) == 0
    becomes("retention.ms", "604800000")
    assert alter(("retention.ms", APPEND, "5")) == 40
    assert alter(("no.such.config", SET, "5")) == 40
    assert alter(("retention.ms", SET, "1"), ("retention.ms", SET, "2")) == 42
    assert alter(("retention.ms", SET, "1"), resource=(TOPIC, fresh("missing"))) == 3


def test_section_8_13_commits_come_back_with_text_and_epoch(wire, new_topic):
    name, _ = new_topic(2)
    group = fresh("group")
    assert commit(wire, group, name, text="some text") == 0
    for version in range(1, 8):
        for names in (None, [{"name": name, "partition_indexes": [0]}]):
            if names is None and version < 2:
                continue
            more = {"require_stable": False} if version >= 7 else {}
            (found,) = wire.ask("OffsetFetch", version, group_id=group, topics=names,
                                **more).topics
            (part,) = found.partitions
            assert (part.committed_offset, part.metadata) == (5, "some text")
            assert version < 5 or part.committed_leader_epoch == 3
    both = wire.ask("OffsetFetch", 8, require_stable=False, groups=[
        {"group_id": group, "topics": None},
        {"group_id": fresh("none"), "topics": [{"name": name, "partition_indexes": [1]}]}]).groups
    found = {one.group_id: one.topics[0].partitions[0].committed_offset for one in both}
    assert sorted(found.values()) == [-1, 5]


def test_commits_that_are_not_allowed_have_their_codes(wire, new_topic):
    name, _ = new_topic()
    group = fresh("group")
    member = stable_member(wire, group)
    assert commit(wire, group, name, generation=1, member=member) == 0
    assert commit(wire, group, name, generation=2, member=member) == 22
    assert commit(wire, group, name, generation=1, member="other") == 25
    assert commit(wire, group, name) == 25
    assert commit(wire, fresh("none"), name, generation=3, member="x") == 22
    assert commit(wire, group, name, generation=1, member=member, text="x" * 5000) == 12
    assert commit(wire, group, name, generation=1, member=member, partition=9) == 3
    assert commit(wire, group, fresh("missing"), generation=1, member=member) == 3


def test_section_8_14_version_0_rebalances_within_its_session_timeout(bootstrap, wire):
    group = fresh("group")
    first = join(wire, group, version=0, session=6000)
    assert first.error_code == 0
    sync(wire, group, first.member_id, assignments=[(first.member_id, b"")], version=0)
    with Wire(bootstrap) as other:
        # The first does not come back: the second gets the group when 6 s are over, not never.
        started = time.monotonic()
        joined = join(other, group, version=0, session=6000)
        assert joined.error_code == 0 and joined.leader == joined.member_id
        assert time.monotonic() - started < 15


def test_section_8_14_assignments_come_as_they_were_sent_and_empty_where_none_was(wire):
    group = fresh("group")
    joined = join(wire, group, version=3)
    answer = sync(wire, group, joined.member_id, assignments=[])
    assert (answer.error_code, answer.assignment) == (0, b"")
    group = fresh("group")
    stable_member(wire, group, kind="connect", protocols=(("sessioned", b"\x00\xff" * 50_000),))


def test_section_8_14_members_that_join_at_once_all_get_in(bootstrap, wire):
    group, everybody = fresh("group"), 8
    complete = threading.Event()
    codes = []

    def live():
        member = ""
        with Wire(bootstrap, seconds=40) as own:
            while not complete.is_set():
                joined = join(own, group, member=member, session=30_000, rebalance=30_000)
                codes.append(joined.error_code)
                member = joined.member_id
                if joined.error_code != 0:
                    continue
                assignments = [(one.member_id, b"") for one in joined.members]
                sync(own, group, member, joined.generation_id, 3, assignments=assignments)
                if len(joined.members) == everybody:
                    complete.set()
                while heartbeat(own, group, member, joined.generation_id) == 0:
                    if complete.wait(0.02):
                        break

    threads = [threading.Thread(target=live, daemon=True) for _ in range(everybody)]
    for thread in threads:
        thread.start()
    assert complete.wait(45), f"codes {codes}"
    for thread in threads:
        thread.join(10)
    assert set(codes) == {0, 79}, "nobody is unknown"


def test_a_join_that_is_not_allowed_has_its_code(wire):
    group = fresh("group")
    assert join(wire, "").error_code == 24
    assert join(wire, group, member="never-seen").error_code == 25
    assert join(wire, group, session=10).error_code == 26
    assert join(wire, group, session=100_000_000).error_code == 26
    asked = join(wire, group)
    assert (asked.error_code, bool(asked.member_id)) == (79, True)
    group = fresh("group")
    stable_member(wire, group)
    assert join(wire, group, version=3, kind="connect").error_code == 23
    assert join(wire, group, version=3, protocols=(("other", b""),)).error_code == 23


def test_a_member_is_told_what_is_wrong_with_it(wire):
    group = fresh("group")
    member = stable_member(wire, group)
    assert heartbeat(wire, group, member) == 0
    assert heartbeat(wire, group, member, generation=2) == 22
    assert heartbeat(wire, group, "other") == 25
    assert heartbeat(wire, fresh("none"), "x") == 25
    assert sync(wire, group, member, generation=2).error_code == 22
    assert sync(wire, group, member, kind="connect").error_code == 23
    assert sync(wire, group, member, protocol="other").error_code == 23
    again = sync(wire, group, member)
    assert (again.error_code, again.assignment) == (0, b"mine")


def test_a_static_member_takes_its_place_again_and_fences_the_one_before(wire):
    group = fresh("group")
    first = join(wire, group, version=9, instance="i-1")
    assert first.error_code == 0
    sync(wire, group, first.member_id, instance="i-1",
         assignments=[(first.member_id, b"mine")])
    second = join(wire, group, version=9, instance="i-1")
    assert (second.error_code, second.generation_id) == (0, first.generation_id)
    assert second.member_id != first.member_id and second.skip_assignment
    assert heartbeat(wire, group, first.member_id, instance="i-1") == 82
    assert sync(wire, group, first.member_id, instance="i-1").error_code == 82
    assert join(wire, group, version=9, instance="i-1", member=first.member_id).error_code == 82
    answer = sync(wire, group, second.member_id, instance="i-1")
    assert (answer.error_code, answer.assignment) == (0, b"mine")


def test_members_leave_one_by_one_and_those_unknown_are_named(wire):
    group = fresh("group")
    member = stable_member(wire, group)

    def leave(name, *members, version=4):
        answer = wire.ask("LeaveGroup", version, group_id=name, members=[
            {"member_id": one, "group_instance_id": None} for one in members])
        return answer.error_code, [one.error_code for one in answer.members]

    assert leave(group, member, "other") == (0, [0, 25])
    assert leave(fresh("none"), "x") == (0, [25])
    assert leave("")[0] == 24
    old = wire.ask("LeaveGroup", 0, group_id=fresh("none"), member_id="x")
    assert old.error_code == 25


def test_offsets_are_forgotten_one_by_one(wire, new_topic):
    name, _ = new_topic()
    group = fresh("group")
    assert commit(wire, group, name) == 0

    def delete(group_id, topics):
        answer = wire.ask("OffsetDelete", 0, group_id=group_id, topics=[
            {"name": one, "partitions": [{"partition_index": index} for index in indexes]}
            for one, indexes in topics])
        return answer.error_code, sorted(
            (part.partition_index, part.error_code)
            for one in answer.topics for part in one.partitions)

    assert delete(group, [(name, [0, 9])]) == (0, [(0, 0), (9, 3)])
    assert delete(group, [(fresh("missing"), [0])])[1] in ([(0, 3)], [])
    assert delete(fresh("none"), [(name, [0])]) == (69, [])
    assert delete("", [])[0] == 24


def test_groups_are_described_listed_and_deleted_with_their_codes(wire, new_topic):
    name, _ = new_topic()
    group, empty = fresh("group"), fresh("group")
    stable_member(wire, group)
    assert commit(wire, empty, name) == 0
    none = fresh("none")
    for version in range(7):
        more = {"include_authorized_operations": False} if version >= 3 else {}
        found = wire.ask("DescribeGroups", version, groups=[group, empty, none], **more).groups
        states = {one.group_id: (one.error_code, one.group_state) for one in found}
        assert states == {group: (0, "Stable"), empty: (0, "Empty"),
                          none: (69 if version >= 6 else 0, "Dead")}
    listed = wire.ask("ListGroups", 4, states_filter=["Stable"]).groups
    assert group in {one.group_id for one in listed}
    assert empty not in {one.group_id for one in listed}
    deleted = wire.ask("DeleteGroups", 2, groups_names=[group, empty, none]).results
    assert {one.group_id: one.error_code for one in deleted} == {group: 68, empty: 0, none: 69}


def test_section_8_18_the_broker_names_itself_as_it_was_called(bootstrap, wire):
    host, port = bootstrap.rsplit(":", 1)
    for version in (0, 1, 9, 12):
        answer = metadata(wire, [], version)
        (broker,) = answer.brokers
        assert (broker.host, broker.port) == (host, int(port))
        assert version < 1 or answer.controller_id == broker.node_id >= 0
    cluster = wire.ask("DescribeCluster", 1, include_cluster_authorized_operations=False,
                       endpoint_type=1)
    assert cluster.controller_id == cluster.brokers[0].broker_id >= 0
    wrong = wire.ask("DescribeCluster", 1, include_cluster_authorized_operations=False,
                     endpoint_type=7)
    assert wrong.error_code == 115


@pytest.mark.parametrize("frame", [
    pytest.param("004c0000000000010000", id="unknown-key"),
    pytest.param("7fff000000000001ffff", id="key-of-nobody"),
    pytest.param("00030063000000010000", id="version-too-new"),
    pytest.param("00010003000000010000", id="version-too-old"),
])
def test_section_8_23_unknown_keys_and_versions_close_the_connection(wire, frame):
    wire.send_frame(bytes.fromhex(frame))
    assert wire.is_closed()


@pytest.mark.parametrize("key", [24, 25, 26, 28])
def test_section_8_17_transactions_are_not_half_there(wire, key):
    if is_apache_kafka():
        pytest.skip("Apache Kafka serves transactions")
    answer = wire.ask("ApiVersions", 4, client_software_name="wire", client_software_version="1")
    assert key not in {one.api_key for one in answer.api_keys}
    assert not answer.finalized_features
    wire.send_frame(key.to_bytes(2, "big") + bytes.fromhex("0000000000010000"))
    assert wire.is_closed()
