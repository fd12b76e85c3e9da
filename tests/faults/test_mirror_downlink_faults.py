"""The downlink with a full disk, on two shards, over a silent link, behind a
compaction, and with records that the gateway refuses."""

import random
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

import router as routers
from downlink import (KEYS, TOPIC, has_topic, judge, lanes, send, start_commands,
                      wait_until_brought)
from mirror import create_topic, read_messages, wait_for
from test_full_disk import fill
from workload import PARTITIONS

# Longer than the mirror's wait for the acknowledgement of a TCP segment (45 s).
SILENCE_SECONDS = 50


def metric(broker, name):
    """The values of a family of the mirror, one for each shard."""
    return [float(line.rsplit(" ", 1)[1]) for line in broker.metrics().splitlines()
            if line.startswith(f"sluice_mirror_{name}{{")]


def test_a_full_disk_brings_nothing_and_loses_nothing(loop_disk, mirrored, seeded):
    disk = loop_disk(megabytes=256)
    small = ["--log-segment-bytes", str(256 << 10)]
    pair = mirrored("sluice", data=disk.mount / "data", flags=small, **KEYS)
    gateway = pair.gateway
    workload = start_commands(pair, sizes=(120, 900, 20_000), rate_pause=0.002)
    wait_for(lambda: has_topic(gateway) and read_messages(gateway.bootstrap, TOPIC))
    ballast = disk.mount / "ballast"
    fill(ballast, leave_bytes=seeded.randrange(0, 2_000_000))

    # What was fetched waits, and nothing more is.
    def is_waiting():
        before = lanes(gateway)[0][0]
        time.sleep(3)
        after = lanes(gateway)[0][0]
        return after["records"] == before["records"] and after["retries"] == before["retries"]

    wait_for(is_waiting, 60)
    assert gateway.is_running(), "the gateway died of a full disk"
    before = len(workload.acknowledged)
    workload.wait_for_acknowledged(before + 100)
    if seeded.random() < 0.5:
        gateway.kill()
        ballast.unlink()
        gateway.start()
    else:
        ballast.unlink()
    workload.finish()
    judge(gateway, workload)
    (downlink,), _ = lanes(gateway)
    assert downlink["gaps"] == downlink["dead_letters"] == 0


def test_every_command_arrives_once_on_two_shards_though_the_gateway_dies(mirrored, seeded):
    pair = mirrored("kafka", shards=2, **KEYS)
    gateway = pair.gateway
    workload = start_commands(pair, sizes=(120, 900, 20_000), rate_pause=0.002)
    wait_for(lambda: has_topic(gateway))
    for _ in range(8):
        time.sleep(seeded.random() * 0.8)
        gateway.kill()
        gateway.start()
    workload.finish()
    judge(gateway, workload)
    assert sorted(one["partition"] for one in lanes(gateway)[1]) == list(range(PARTITIONS))
    for partition in range(PARTITIONS):
        send(pair.centre, [b"last"], partition=partition)
    wait_until_brought(gateway, len(workload.acknowledged) + PARTITIONS)
    wait_for(lambda: lanes(gateway)[0][0]["lag_records"] == 0)
    of_shards = metric(gateway, "downlink_records_total")
    assert len(of_shards) == 2 and min(of_shards) > 0, of_shards


def test_every_command_arrives_once_after_a_silence_on_the_link(mirrored):
    reason = routers.why_not()
    if reason:
        pytest.skip(reason)
    router = routers.Router()
    try:
        pair = mirrored("sluice", router=router, **KEYS)
        gateway = pair.gateway
        workload = start_commands(pair, sizes=(120, 900), rate_pause=0.01)
        wait_for(lambda: has_topic(gateway) and read_messages(gateway.bootstrap, TOPIC))
        for _ in range(3):
            router.pass_packets(False)
            time.sleep(2)
            router.pass_packets(True)
            time.sleep(1)
        router.pass_packets(False)
        time.sleep(SILENCE_SECONDS)
        router.pass_packets(True)
        workload.finish()
        judge(gateway, workload)
        assert lanes(gateway)[0][0]["gaps"] == 0
    finally:
        router.close()


def test_every_command_arrives_once_from_a_centre_that_does_not_answer(mirrored, seeded):
    pair = mirrored("kafka", relay=True, **KEYS)
    gateway = pair.gateway
    workload = start_commands(pair, sizes=(120, 900, 20_000), rate_pause=0.005)
    wait_for(lambda: has_topic(gateway) and read_messages(gateway.bootstrap, TOPIC))
    for _ in range(6):
        # Nothing goes through any more; then everything is reset, or goes on.
        pair.relay.stall(True)
        time.sleep(0.5 + seeded.random() * 3)
        if seeded.random() < 0.5:
            pair.relay.cut()
            time.sleep(seeded.random())
        if seeded.random() < 0.3:
            gateway.kill()
            gateway.start()
        pair.relay.stall(False)
        pair.relay.mend()
        time.sleep(seeded.random())
    workload.finish()
    judge(gateway, workload)
    assert lanes(gateway)[0][0]["gaps"] == 0


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_what_a_compaction_left_arrives_once_and_without_a_gap(mirrored, kind):
    settings = ("log.cleaner.backoff.ms=200",) if kind == "kafka" else ()
    pair = mirrored(kind, centre_settings=settings, **KEYS)
    gateway, centre = pair.gateway, pair.centre
    create_topic(centre, TOPIC, {"cleanup.policy": "compact", "segment.ms": "500",
                                 "min.cleanable.dirty.ratio": "0.01", "segment.bytes": "1048576",
                                 "max.compaction.lag.ms": "1000"}, partitions=1)
    send_keyed(centre, range(0, 200))
    wait_until_brought(gateway, 200)
    gateway.kill()
    send_keyed(centre, range(200, 3000))

    def is_compacted():
        # The active segment stays: another record closes the one before it.
        send_keyed(centre, [3000])
        return len(read_messages(centre.bootstrap, TOPIC)) < 1000

    wait_for(is_compacted, 120)
    gateway.start()
    send_keyed(centre, range(3001, 3050))
    last = {}
    for message in read_messages(centre.bootstrap, TOPIC):
        last[message.offset()] = message.value()
    end = max(last)
    wait_for(lambda: lanes(gateway)[1] and lanes(gateway)[1][0]["next_offset"] > end, 60)
    brought = {}
    for message in read_messages(gateway.bootstrap, TOPIC):
        offset = int.from_bytes(message.headers()[-1][1][-8:], "big")
        assert offset not in brought, f"{offset} stands twice"
        brought[offset] = message.value()
    missing = [offset for offset in last if offset not in brought]
    assert missing == [], f"{len(missing)} of {len(last)} are missing"
    assert all(brought[offset] == value for offset, value in last.items())
    (downlink,), _ = lanes(gateway)
    assert downlink["gaps"] == 0, "a compaction is no gap"
    assert metric(gateway, "downlink_missing_records_total") == [0]


def send_keyed(broker, numbers):
    """Records with one of ten keys, a batch of a few each."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0,
                         "batch.num.messages": 7})
    for number in numbers:
        producer.produce(TOPIC, b"%d " % number + bytes(1000), b"key %d" % (number % 10), 0)
    assert producer.flush(30) == 0


def test_what_the_gateway_refuses_goes_to_the_dead_letters_and_the_rest_comes(mirrored):
    pair = mirrored("kafka", centre_settings=("message.max.bytes=8000000",
                                              "replica.fetch.max.bytes=8000000"), **KEYS)
    gateway, centre = pair.gateway, pair.centre
    create_topic(centre, TOPIC, {}, partitions=1)
    send(centre, [b"first"])
    wait_until_brought(gateway, 1)
    limit_messages(gateway, TOPIC, 3000)
    # In one batch with others, alone, and larger than what a topic takes by default.
    source = random.Random(1)
    wanted, refused = [b"first"], []
    for number, size in enumerate([100, 200, 5000, 300, 4000, 400, 2_500_000, 500]):
        value = b"%d " % number + source.randbytes(size)
        (refused if size > 3000 else wanted).append(value)
    producer = Producer({"bootstrap.servers": centre.bootstrap, "log_level": 0, "linger.ms": 200,
                         "message.max.bytes": 8_000_000})
    for value in sorted(wanted[1:] + refused, key=lambda value: int(value.split(b" ")[0])):
        producer.produce(TOPIC, value, partition=0, headers=[("own", b"x")])
    assert producer.flush(60) == 0
    records = wait_until_brought(gateway, len(wanted))
    assert [message.value() for message in records] == wanted
    dead = wait_until_brought(gateway, len(refused), f"{TOPIC}.dead-letter")
    assert [message.value() for message in dead] == refused
    for message in dead:
        headers = message.headers()
        assert [key for key, _ in headers] == ["own", "_o", "_error"]
        assert headers[-1][1] == b"MESSAGE_TOO_LARGE"
    (downlink,), (partition,) = lanes(gateway)
    assert partition["topic"] == TOPIC, "dead letters come from nowhere"
    assert downlink["dead_letters"] == len(refused) and downlink["gaps"] == 0
    assert partition["fault"] is None


def limit_messages(broker, topic, most):
    """Sets max.message.bytes of a topic."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    entry = ConfigEntry("max.message.bytes", str(most),
                        incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(30)
