"""The command line of sluice against the broker at BOOTSTRAP: any Kafka broker will do.

The binary is SLUICE, or the release build. librdkafka is the second opinion on what was written.
"""

import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
from confluent_kafka import Consumer, Producer

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
ROOT = pathlib.Path(__file__).resolve().parents[3]
_numbers = itertools.count()


def fresh(word):
    """A name that no other test of any run has used."""
    return f"{word}-{os.getpid()}-{time.time_ns() % 10**9}-{next(_numbers)}"


def eventually(look, seconds=15):
    """Calls look until it gives something true, and returns that; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def binary():
    if "SLUICE" in os.environ:
        return os.environ["SLUICE"]
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"],
        cwd=ROOT, check=True, capture_output=True,
    )
    return json.loads(metadata.stdout)["target_directory"] + "/release/sluice"


@pytest.fixture(scope="session")
def bootstrap():
    address = os.environ.get("BOOTSTRAP")
    assert address, "set BOOTSTRAP=host:port, or use tests/with-broker"
    return address


@pytest.fixture
def sluice(binary, bootstrap):
    """Runs a command to its end; fails if it ends with another code than expected."""

    def run(*arguments, text=None, code=0):
        environment = dict(os.environ, SLUICE_BROKERS=bootstrap)
        done = subprocess.run(
            [binary, *map(str, arguments)], input=text, capture_output=True, text=True,
            timeout=50, env=environment, check=False,
        )
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def table(sluice):
    """Runs a command with --output json and returns what it printed."""
    return lambda *arguments: json.loads(sluice(*arguments, "--output", "json").stdout)


@pytest.fixture
def topic(sluice):
    def create(partitions=1, *arguments):
        name = fresh("cli")
        sluice("topic", "create", name, "-p", partitions, *arguments)
        return name

    return create


@pytest.fixture
def records(sluice):
    """All records of a topic, as `consume` prints them."""

    def consume(name, *arguments):
        lines = sluice("consume", name, "-o", ":end", *arguments).stdout.splitlines()
        return [json.loads(line) for line in lines]

    return consume


def test_topics_are_created_listed_and_deleted(sluice, table):
    first, second = fresh("cli"), fresh("cli")
    created = table("topic", "create", first, second, "-p", 3, "-r", 1, "-c", "retention.ms=7200000")
    assert [row["status"] for row in created] == ["created", "created"]
    listed = {row["name"]: row for row in table("topic", "list")}
    assert listed[first] == {"name": first, "partitions": 3, "replicas": 1}
    assert first in sluice("topic", "list").stdout
    again = sluice("topic", "create", first, code=1)
    assert again.stderr.startswith(f"sluice: topic {first}: TOPIC_ALREADY_EXISTS: ")
    assert len(again.stderr.splitlines()) == 1
    assert table("topic", "create", first, "--if-not-exists")[0]["status"] == "exists"
    sluice("topic", "delete", first, second)
    eventually(lambda: not {first, second} & {row["name"] for row in table("topic", "list")})
    gone = sluice("topic", "delete", first, code=1)
    assert f"topic {first}: UNKNOWN_TOPIC_OR_PARTITION" in gone.stderr


def test_a_topic_that_is_named_twice_is_refused_once(sluice):
    name = fresh("cli")
    refused = sluice("topic", "create", name, name, code=1)
    assert refused.stderr == f"sluice: topic {name}: INVALID_REQUEST: Duplicate topic name.\n"


def test_describe_tells_settings_with_source_and_partitions_with_offsets(sluice, table, topic):
    name = topic(2, "-c", "retention.ms=7200000")
    sluice("produce", name, "-p", 1, text="a\nb\n")
    (described,) = table("topic", "describe", name)
    assert (described["name"], described["partition_count"]) == (name, 2)
    configs = {row["name"]: row for row in described["configs"]}
    assert configs["retention.ms"] == {
        "name": "retention.ms", "value": "7200000", "source": "topic",
    }
    assert configs["cleanup.policy"]["source"] == "default"
    zero, one = described["partitions"]
    assert (zero["start"], zero["end"], one["start"], one["end"]) == (0, 0, 0, 2)
    assert zero["leader"] in zero["replicas"] and one["bytes"] > 0
    missing = sluice("topic", "describe", fresh("cli"), code=1)
    assert "UNKNOWN_TOPIC_OR_PARTITION" in missing.stderr


def test_alter_changes_settings_and_partitions(sluice, table, topic):
    name = topic()

    def retention():
        (described,) = table("topic", "describe", name)
        configs = {row["name"]: row for row in described["configs"]}
        return configs["retention.ms"]["value"], configs["retention.ms"]["source"]

    before = retention()
    sluice("topic", "alter", name, "-s", "retention.ms=3600000", "--partitions", 3)
    eventually(lambda: retention() == ("3600000", "topic"))
    eventually(lambda: table("topic", "describe", name)[0]["partition_count"] == 3)
    # As `topic create` has it.
    sluice("topic", "alter", name, "-c", "retention.ms=7200000")
    eventually(lambda: retention() == ("7200000", "topic"))
    sluice("topic", "alter", name, "--delete", "retention.ms")
    eventually(lambda: retention() == before)
    fewer = sluice("topic", "alter", name, "--partitions", 1, code=1)
    assert f"topic {name}: INVALID_PARTITIONS: " in fewer.stderr
    sluice("topic", "alter", name, code=2)


def test_trim_by_offset_by_time_and_to_the_end(sluice, table, topic, records):
    name = topic()
    sluice("produce", name, "-q", text="".join(f"{number}\n" for number in range(10)))
    trimmed = table("topic", "trim", name, "--offset", 4)
    assert trimmed == [{"partition": 0, "status": "trimmed", "start": 4}]
    assert [record["value"] for record in records(name)] == ["4", "5", "6", "7", "8", "9"]
    beyond = sluice("topic", "trim", name, "--offset", 11, code=1)
    assert f"topic {name}, partition 0, offset 11: OFFSET_OUT_OF_RANGE" in beyond.stderr
    assert table("topic", "trim", name, "--before", "@-1h")[0]["start"] == 4
    assert table("topic", "trim", name, "--offset", "end")[0]["start"] == 10
    assert records(name) == []


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_every_codec_go_there_and_back(sluice, topic, records, codec):
    name = topic(3)
    text = "".join(f"key-{number} value {number}\n" for number in range(300))
    shown = sluice(
        "produce", name, "-f", "%k %v\\n", "-H", "a=1", "-H", "b=", "-z", codec, text=text
    ).stdout
    assert shown.count("Produced to partition ") == 300
    found = records(name)
    assert {record["key"]: record["value"] for record in found} == {
        f"key-{number}": f"value {number}" for number in range(300)
    }
    assert len(found) == 300
    expected = [{"key": "a", "value": "1"}, {"key": "b", "value": ""}]
    assert all(record["headers"] == expected for record in found)


def test_keys_go_where_librdkafkas_murmur2_puts_them(sluice, topic, records, bootstrap):
    name = topic(7)
    keys = [f"customer-{number}" for number in range(200)]
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(name, b"theirs", key)
    assert producer.flush(20) == 0
    sluice("produce", name, "-q", "-f", "%k,%v\\n", text="".join(f"{key},ours\n" for key in keys))
    places = {"theirs": {}, "ours": {}}
    for record in records(name):
        places[record["value"]][record["key"]] = record["partition"]
    assert len(places["ours"]) == 200
    assert places["ours"] == places["theirs"]


def test_librdkafka_reads_nulls_headers_and_bytes_that_we_wrote(sluice, topic, bootstrap):
    name = topic()
    sluice("produce", name, "-f", "%k,%v\\n", "-Z", "-H", "h=ü", text="k,\n,v\n")
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": fresh("cli"), "auto.offset.reset": "earliest",
    })
    consumer.subscribe([name])
    try:
        read = eventually(lambda: consumer.consume(2, 10), 30)
    finally:
        consumer.close()
    assert [(one.key(), one.value()) for one in read] == [(b"k", None), (b"", b"v")]
    assert read[0].headers() == [("h", "ü".encode())]


def test_offsets_that_produce_prints_are_those_of_the_records(sluice, topic, records):
    name = topic(2)
    lines = sluice("produce", name, "--output", "json", text="a\nb\nc\n").stdout.splitlines()
    shown = [json.loads(line) for line in lines]
    assert len(shown) == 3
    by_place = {(record["partition"], record["offset"]): record for record in records(name)}
    for place, value in zip(shown, "abc"):
        record = by_place[place["partition"], place["offset"]]
        assert (record["value"], record["timestamp"]) == (value, place["timestamp"])


def test_acks_of_nobody_and_a_record_that_is_too_large(sluice, topic, records):
    name = topic(1, "-c", "max.message.bytes=1000")
    sluice("produce", name, "--acks", 0, text="quick\n")
    eventually(lambda: [record["value"] for record in records(name)] == ["quick"])
    large = sluice("produce", name, text="x" * 2000 + "\n", code=1)
    assert f"topic {name}, partition 0: MESSAGE_TOO_LARGE: " in large.stderr
    sluice("produce", name, "-p", 1, text="x\n", code=2)
    bad = sluice("produce", name, "-f", "%k %v\\n", text="nospace\n", code=1)
    assert "input record 1" in bad.stderr


def test_a_line_is_sent_before_the_input_ends(binary, bootstrap, topic):
    name = topic()
    with subprocess.Popen(
        [binary, "produce", name, "-b", bootstrap], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as process:
        for offset in range(2):
            process.stdin.write("line\n")
            process.stdin.flush()
            assert f"at offset {offset} " in process.stdout.readline()
        process.stdin.close()
        assert process.wait(20) == 0


def test_many_lines_keep_their_order(sluice, topic):
    name = topic()
    text = "".join(f"{number:06}\n" for number in range(200_000))
    sluice("produce", name, "-q", "-z", "lz4", text=text)
    assert sluice("consume", name, "-o", "start:end", "-f", "%v\\n").stdout == text


def test_where_consume_starts_and_stops(sluice, topic):
    name = topic()
    sluice("produce", name, "-q", text="".join(f"{number}\n" for number in range(10)))
    middle = time.time_ns() // 1_000_000 + 1
    time.sleep(0.05)
    sluice("produce", name, "-q", text="10\n11\n")
    rows = [
        ("start:end", range(12)), (":end", range(12)), ("8:end", range(8, 12)),
        ("3:5", range(3, 5)), ("+9:end", range(9, 12)), ("-2:end", range(10, 12)),
        ("-100:3", range(3)), (f"@{middle}:end", [10, 11]), (f"start:@{middle}", range(10)),
        ("@-1h:4", range(4)), ("@2001-02-03T04:05:06Z:2", range(2)), ("end:end", []),
    ]
    for offset, expected in rows:
        shown = sluice("consume", name, "-o", offset, "-f", "%v ").stdout.split()
        assert shown == [str(number) for number in expected], offset
    assert sluice("consume", name, "-e", "-n", 3, "-f", "%o,").stdout == "0,1,2,"
    assert sluice("consume", name, "-e", "-o", "end").stdout == ""
    assert "not an offset" in sluice("consume", name, "-o", "last", code=2).stderr


def test_formats_of_consume(sluice, topic):
    name = topic()
    sluice("produce", name, "-f", "%h|%k|%v\\n", text="a=1,b=2|key|välue\n")
    shown = sluice(
        "consume", name, "-e", "-f", "%t/%p@%o %k=%v %h %K %V %H %k{hex} %v{base64}%%\\t\\n"
    ).stdout
    assert shown == f"{name}/0@0 key=välue a=1,b=2 3 6 2 6b6579 dsOkbHVl%\t\n"
    assert "%x" in sluice("consume", name, "-f", "%x", code=2).stderr


def test_partitions_and_topics_can_be_chosen(sluice, topic):
    first, second = topic(3), topic(1)
    for partition in range(3):
        sluice("produce", first, "-q", "-p", partition, text=f"{partition}\n")
    sluice("produce", second, "-q", text="other\n")
    shown = sluice("consume", first, "-e", "-p", "0,2", "-f", "%v\\n").stdout
    assert sorted(shown.split()) == ["0", "2"]
    both = sluice("consume", first, second, "-e", "-f", "%v\\n").stdout
    assert sorted(both.split()) == ["0", "1", "2", "other"]
    assert "there is no partition 3" in sluice("consume", first, "-p", 3, code=2).stderr


def test_consume_follows_until_it_is_interrupted(binary, bootstrap, sluice, topic):
    name = topic()
    with subprocess.Popen(
        [binary, "consume", name, "-b", bootstrap, "-f", "%v\\n"],
        stdout=subprocess.PIPE, text=True,
    ) as process:
        for value in ("one", "two"):
            sluice("produce", name, "-q", text=f"{value}\n")
            assert process.stdout.readline() == f"{value}\n"
        # A terminal and a wrapper script may both pass the signal on.
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert process.wait(10) == 0


def test_a_reader_that_goes_away_is_no_error(binary, bootstrap, sluice, topic):
    name = topic()
    sluice("produce", name, "-q", text="x" * 99 + "\n" + "y\n" * 300_000)
    command = f"'{binary}' consume {name} -b {bootstrap} -f '%v\\n' | head -c 3; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=50, check=True
    )
    assert (done.stdout, done.stderr) == ("xxx0\n", "")


@pytest.mark.parametrize("more", ["", "--output json"])
def test_records_are_written_to_the_end_when_nobody_reads_the_report(
        binary, bootstrap, sluice, topic, more):
    name, count = topic(), 300_000
    command = (f"seq {count} | '{binary}' produce {name} -b {bootstrap} {more} | head -1 >/dev/null;"
               " echo ${PIPESTATUS[1]}")
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=50, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    last = sluice("consume", name, "-o", "-1", "-e", "-f", "%o %v\\n").stdout
    assert last == f"{count - 1} {count}\n"


def test_what_is_no_broker_is_called_so(sluice):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answer():
            with server.accept()[0] as connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        failed = sluice("topic", "list", "-b", address, code=1)
        thread.join(10)
    assert failed.stderr.count("\n") == 1 and "no Kafka broker" in failed.stderr, failed.stderr


def test_a_group_goes_on_where_it_stopped_and_can_seek(sluice, table, topic):
    name, group = topic(2), fresh("cli")
    sluice("produce", name, "-q", "-p", 0, text="1\n2\n3\n")
    sluice("produce", name, "-q", "-p", 1, text="4\n")
    read = lambda *more: sorted(  # noqa: E731
        sluice("consume", name, "-g", group, "-e", "-f", "%v\\n", *more).stdout.split()
    )
    assert read("-n", 4) == ["1", "2", "3", "4"]
    assert read() == []
    assert group in [row["group"] for row in table("group", "list") if row["state"] == "Empty"]
    (described,) = table("group", "describe", group)
    assert (described["state"], described["total_lag"]) == ("Empty", 0)
    places = {row["partition"]: row for row in described["partitions"]}
    assert (places[0]["committed"], places[0]["end"], places[0]["lag"]) == (3, 3, 0)
    moved = table("group", "seek", group, "--to", "start")
    assert [(row["before"], row["now"]) for row in moved] == [(3, 0), (1, 0)]
    assert table("group", "describe", group)[0]["total_lag"] == 4
    sluice("group", "seek", group, "--to", "end", "--topics", name)
    assert read() == []
    sluice("group", "seek", group, "--to", "@-1h")
    assert read() == ["1", "2", "3", "4"]
    sluice("group", "delete", group)
    assert f"group {group}: GROUP_ID_NOT_FOUND" in sluice(
        "group", "describe", group, code=1
    ).stderr


def test_a_group_seeks_to_the_offsets_of_a_file(sluice, table, topic, tmp_path):
    name, group = topic(2), fresh("cli")
    sluice("produce", name, "-q", "-p", 1, text="a\nb\nc\n")
    offsets = tmp_path / "offsets"
    offsets.write_text(f"{name} 1 2\n\n{name} 0 0\n")
    assert len(table("group", "seek", group, "--to-file", offsets)) == 2
    assert sluice("consume", name, "-g", group, "-e", "-f", "%v").stdout == "c"
    offsets.write_text("nonsense\n")
    assert "line 1" in sluice("group", "seek", group, "--to-file", offsets, code=2).stderr


def test_two_members_share_the_partitions_and_one_takes_over(
    binary, bootstrap, sluice, table, topic, tmp_path
):
    name, group = topic(4), fresh("cli")
    members = []
    for number in range(2):
        output = open(tmp_path / str(number), "w", encoding="utf-8")  # noqa: SIM115
        members.append(subprocess.Popen(
            [binary, "consume", name, "-b", bootstrap, "-g", group, "-f", "%v\\n"], stdout=output
        ))
        output.close()
    shown = lambda: [  # noqa: E731
        (tmp_path / str(number)).read_text().split() for number in range(2)
    ]
    try:
        def shares():
            group_state = sluice_or_none(binary, bootstrap, group)
            return group_state and sorted(row["assigned"] for row in group_state["members"])

        eventually(lambda: shares() == [2, 2], 30)
        busy = sluice("group", "seek", group, "--to", "start", code=1)
        assert f"group {group} is Stable and has 2 members" in busy.stderr
        for partition in range(4):
            sluice("produce", name, "-q", "-p", partition, text=f"{partition}\n")
        eventually(lambda: [len(values) for values in shown()] == [2, 2])
        members[0].send_signal(signal.SIGTERM)
        assert members[0].wait(10) == 0
        eventually(lambda: shares() == [4], 30)
        for partition in range(4):
            sluice("produce", name, "-q", "-p", partition, text=f"{partition + 4}\n")
        eventually(lambda: len(sum(shown(), [])) == 8)
        assert sorted(sum(shown(), [])) == [str(number) for number in range(8)]
        members[1].send_signal(signal.SIGINT)
        assert members[1].wait(10) == 0
        (described,) = table("group", "describe", group)
        assert (described["state"], described["total_lag"]) == ("Empty", 0)
    finally:
        for member in members:
            member.kill()
            member.wait()


def sluice_or_none(binary, bootstrap, group):
    """The group if it can be described now."""
    done = subprocess.run(
        [binary, "group", "describe", group, "-b", bootstrap, "--output", "json"],
        capture_output=True, text=True, timeout=50, check=False,
    )
    return json.loads(done.stdout)[0] if done.returncode == 0 else None


def test_cluster_info_names_the_broker_that_answers(table, sluice, bootstrap, topic):
    topic(2)
    info = table("cluster", "info")
    assert info["cluster_id"]
    assert f"127.0.0.1:{bootstrap.rsplit(':', 1)[1]}" in [
        f"{broker['host']}:{broker['port']}" for broker in info["brokers"]
    ]
    assert info["topics"] >= 1 and info["partitions"] >= 2
    assert "CLUSTER-ID" in sluice("cluster", "info").stdout


def test_wrong_calls_and_absent_brokers_have_their_own_codes(binary, sluice):
    done = subprocess.run(
        [binary, "topic", "list", "--brokers", "127.0.0.1:1"],
        capture_output=True, text=True, timeout=20, check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "sluice: cannot reach 127.0.0.1:1: connection refused; "
        "is the broker running? start it with `sluice start`\n"
    )
    sluice("topic", code=2)
    sluice("topic", "create", code=2)
    sluice("consume", code=2)
    sluice("topic", "list", "--brokers", "a:b", code=2)
    for command in ("topic create", "produce", "consume", "group seek"):
        assert "Examples:" in sluice(*command.split(), "--help").stdout
    missing = fresh("cli")
    assert sluice("consume", missing, "-e", code=1).stderr.startswith(
        f"sluice: topic {missing}: UNKNOWN_TOPIC_OR_PARTITION: "
    )
