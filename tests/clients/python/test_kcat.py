"""kcat against the broker at BOOTSTRAP. Debian's is built with librdkafka 2.0, an old client."""

import json
import random
import subprocess
import time

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import eventually, fresh
from kafka import KafkaAdminClient

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
def kcat(bootstrap):
    """Runs kcat to its end and returns what it printed."""

    def run(*arguments, text=None, check=True):
        command = ["kcat", "-b", bootstrap, *map(str, arguments)]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=30, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done

    return run


@pytest.fixture
def new_topic(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def create(partitions=1, **config):
        name = fresh("kcat")
        configs = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin.create_topics([NewTopic(name, partitions, 1, config=configs)])[name].result(10)
        eventually(lambda: name in admin.list_topics(timeout=5).topics)
        return name

    return create


def stored_bytes(bootstrap, topic):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        (broker,) = admin.describe_log_dirs([topic])
        return sum(
            partition["partition_size"]
            for directory in broker["log_dirs"]
            for found in directory["topics"]
            for partition in found["partitions"]
        )
    finally:
        admin.close()


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_every_codec_come_back_and_are_stored_compressed(
    bootstrap, codec, new_topic, kcat
):
    topic = new_topic()
    randomness = random.Random(1)
    words = [f"{randomness.randrange(10):>40}" for _ in range(5_000)]
    kcat("-P", "-t", topic, "-z", codec, "-X", "linger.ms=50", text="\n".join(words) + "\n")
    assert kcat("-C", "-t", topic, "-e", "-q").splitlines() == words
    size = stored_bytes(bootstrap, topic)
    # Older librdkafka stops compressing, silently, if the lowest Produce version is above 0.
    assert (size < 100_000) == (codec != "none"), f"{size} bytes stored"


def test_keys_headers_timestamps_and_null_values_come_back(new_topic, kcat):
    topic = new_topic()
    kcat("-P", "-t", topic, "-K", ":", "-Z", "-H", "a=1", "-H", "a=2", text="k1:v1\nk2:\n")
    records = [json.loads(line) for line in kcat("-C", "-t", topic, "-e", "-q", "-J").splitlines()]
    found = [(r["offset"], r["key"], r["payload"], r["headers"], r["tstype"]) for r in records]
    headers = ["a", "1", "a", "2"]
    assert found == [(0, "k1", "v1", headers, "create"), (1, "k2", None, headers, "create")]
    assert abs(records[0]["ts"] - time.time() * 1000) < 60_000


def test_a_message_of_nine_hundred_kilobytes_comes_back(new_topic, kcat, tmp_path):
    topic = new_topic()
    content = "".join(random.Random(2).choices("abcdefghijklmnop", k=900_000))
    (tmp_path / "message").write_text(content)
    kcat("-P", "-t", topic, tmp_path / "message")
    assert kcat("-C", "-t", topic, "-e", "-q", "-D", "") == content


@pytest.mark.parametrize(("flags", "expected"), [
    (["-o", "beginning"], range(10)),
    (["-o", "end"], []),
    (["-o", "7"], [7, 8, 9]),
    (["-o", "-2"], [8, 9]),
    (["-o", "beginning", "-c", "3"], [0, 1, 2]),
])
def test_reading_starts_where_it_is_told(flags, expected, new_topic, kcat):
    topic = new_topic()
    kcat("-P", "-t", topic, text="".join(f"{i}\n" for i in range(10)))
    found = kcat("-C", "-t", topic, "-p", "0", "-e", "-q", *flags).splitlines()
    assert found == [str(i) for i in expected]


def test_offsets_are_found_by_timestamp(new_topic, kcat):
    topic = new_topic()
    kcat("-P", "-t", topic, text="first\n")
    (first,) = kcat("-C", "-t", topic, "-e", "-q", "-f", "%T\n").splitlines()
    eventually(lambda: time.time() * 1000 > int(first) + 5)
    kcat("-P", "-t", topic, text="second\n")
    time_of_second = int(first) + 1
    assert kcat("-Q", "-t", f"{topic}:0:{time_of_second}").strip() == f"{topic} [0] offset 1"
    assert kcat("-Q", "-t", f"{topic}:0:{first}").strip() == f"{topic} [0] offset 0"
    assert kcat("-C", "-t", topic, "-e", "-q", "-o", f"s@{time_of_second}") == "second\n"


def test_metadata_lists_brokers_topics_and_partitions(bootstrap, new_topic, kcat):
    topic = new_topic(3)
    metadata = json.loads(kcat("-L", "-J", "-t", topic))
    (broker,) = metadata["brokers"]
    assert broker["name"] == bootstrap
    assert metadata["controllerid"] == broker["id"]
    (found,) = metadata["topics"]
    assert [partition["partition"] for partition in found["partitions"]] == [0, 1, 2]
    assert {partition["leader"] for partition in found["partitions"]} == {broker["id"]}


def test_group_consumer_reads_all_and_continues_where_it_was(new_topic, kcat):
    topic, group = new_topic(4), fresh("group")
    settings = ["-X", "auto.offset.reset=earliest", "-e", "-q"]
    lines = [f"{i}" for i in range(100)]
    kcat("-P", "-t", topic, "-K", ":", text="".join(f"k{line}:{line}\n" for line in lines))
    first = kcat("-G", group, *settings, topic).splitlines()
    assert sorted(first, key=int) == lines
    kcat("-P", "-t", topic, text="more\n")
    assert kcat("-G", group, *settings, topic) == "more\n"


def test_produce_to_a_missing_topic_creates_it(kcat):
    topic = fresh("kcat")
    kcat("-P", "-t", topic, text="hello\n")
    assert kcat("-C", "-t", topic, "-e", "-q") == "hello\n"


@pytest.mark.parametrize("settings", [
    ["enable.idempotence=true"], ["acks=0"], ["acks=1", "linger.ms=0"]
])
def test_producer_settings_lose_and_double_nothing(settings, new_topic, kcat):
    topic = new_topic()
    flags = [flag for setting in settings for flag in ("-X", setting)]
    lines = [f"{i}" for i in range(3_000)]
    kcat("-P", "-t", topic, *flags, text="\n".join(lines) + "\n")
    assert kcat("-C", "-t", topic, "-e", "-q").splitlines() == lines


def test_too_large_message_is_reported(new_topic, kcat):
    topic = new_topic(max_message_bytes=2_000)
    failed = kcat("-P", "-t", topic, text="x" * 5_000 + "\n", check=False)
    assert "Message size too large" in failed.stderr


def test_consumer_of_a_missing_topic_is_told(kcat):
    failed = kcat("-C", "-t", fresh("none"), "-e", check=False)
    assert failed.returncode != 0
    assert "Unknown topic or partition" in failed.stderr
