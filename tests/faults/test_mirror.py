"""The mirror: every acknowledged record stands at the centre once and in order, whatever crashes."""

import random
import time

import pytest
from confluent_kafka import Producer

from mirror import (copy_last_record, create_topic, judge_mirror, mirror_command, read_messages,
                    status, wait_until_mirrored)
from workload import Workload


# What the link does to the batch under way when the gateway is killed: see relay.ACTIONS.
AT_THE_KILL = ("hold", "drop", "part", "pass")


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_everything_arrives_once_though_the_gateway_dies_between_send_and_acknowledgement(
        mirrored, kind, seeded, request):
    kills = request.config.getoption("--kills") or 100
    pair = mirrored(kind, relay=True)
    gateway, relay = pair.gateway, pair.relay
    workload = Workload(gateway.bootstrap, "events", sizes=(120, 900, 20_000), rate_pause=0.002)
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(20)
    landed = 0
    for _ in range(kills):
        action = seeded.choice(AT_THE_KILL)
        relay.arm(action)
        assert relay.seen.wait(30), f"nothing was sent: {gateway.log()}"
        if action == "hold" and seeded.random() < 0.7:
            landed += relay.answered.wait(5)
        elif action == "pass":
            time.sleep(seeded.random() * 0.02)
        gateway.kill()
        gateway.start()
    workload.finish()
    mirrored_to = wait_until_mirrored(gateway)
    counts = judge_mirror(gateway, pair.centre, workload)
    assert counts["records"] >= len(workload.acknowledged) > kills and counts["missing"] == 0
    assert kills < 20 or landed > 0, "no kill fell between the centre's write and its answer"
    assert mirrored_to["possible_duplicates"] == 0
    print(f"{kills} kills, {landed} behind the centre's write: {counts}")


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_everything_arrives_once_while_the_centre_is_killed(mirrored, kind, seeded):
    # Kafka acknowledges from the page cache: that survives the process. It takes a broker back when
    # the session of its predecessor is over.
    settings = ["broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=500"]
    pair = mirrored(kind, centre_settings=settings if kind == "kafka" else ())
    workload = Workload(pair.gateway.bootstrap, "events", sizes=(120, 900))
    workload.create_topic()
    workload.start()
    for _ in range(2 if kind == "kafka" else 10):
        workload.wait_for_acknowledged(len(workload.acknowledged) + seeded.randrange(20, 150))
        pair.centre.kill()
        workload.wait_for_acknowledged(len(workload.acknowledged) + 100)
        pair.centre.start(*pair.centre_settings)
    workload.finish()
    wait_until_mirrored(pair.gateway)
    assert judge_mirror(pair.gateway, pair.centre, workload)["missing"] == 0


def test_a_paused_mirror_stays_paused_over_a_restart_and_goes_on(mirrored):
    pair = mirrored("sluice")
    gateway = pair.gateway
    workload = Workload(gateway.bootstrap, "events")
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(50)
    mirror_command(gateway, "pause", "hq")
    gateway.kill()
    gateway.start()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 50)
    workload.finish()
    assert status(gateway)["link"] == "paused"
    assert status(gateway)["lag_records"] > 0
    assert "paused" in mirror_command(gateway, "list")
    mirror_command(gateway, "resume", "hq")
    wait_until_mirrored(gateway)
    judge_mirror(gateway, pair.centre, workload)
    numbers = dict(line.rsplit(" ", 1) for line in gateway.metrics().splitlines()
                   if line.startswith("sluice_mirror"))
    labels = '{shard="0",mirror="hq"}'
    assert numbers["sluice_mirror_lag_records" + labels] == "0"
    assert numbers["sluice_mirror_possible_duplicate_batches_total" + labels] == "0"
    assert int(numbers["sluice_mirror_records_total" + labels]) > 0


@pytest.mark.parametrize("setting", ["message.max.bytes=20000", "max.message.bytes"])
def test_a_batch_that_the_centre_refuses_is_put_aside_and_blocks_nothing(mirrored, setting):
    settings = [setting] if "=" in setting else []
    pair = mirrored("kafka", centre_settings=settings, compression="none")
    workload = Workload(pair.gateway.bootstrap, "events", sizes=(100, 5_000, 100, 40_000))
    if not settings:
        create_topic(pair.centre, "events", {"max.message.bytes": "20000"})
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(40)
    workload.finish()
    mirrored_to = wait_until_mirrored(pair.gateway)
    counts = judge_mirror(pair.gateway, pair.centre, workload)
    large = sum(len(workload.value_of(number)) > 19_000 for number in range(workload.sent))
    assert mirrored_to["dead_letters"] == counts["dead-letters"] == counts["missing"] == large > 0


def test_a_refused_record_is_put_aside_whatever_its_size(mirrored):
    pair = mirrored("kafka")
    create_topic(pair.gateway, "events", {"max.message.bytes": "4000000"})
    large = random.Random(1).randbytes(2_500_000)
    producer = Producer({"bootstrap.servers": pair.gateway.bootstrap, "log_level": 0,
                         "message.max.bytes": 4_000_000})
    for value in (b"before", large, b"behind"):
        producer.produce("events", value, partition=0)
        assert producer.flush(30) == 0
    mirrored_to = wait_until_mirrored(pair.gateway)
    assert mirrored_to["dead_letters"] == 1
    found = [message.value() for message in read_messages(pair.centre.bootstrap, "events")]
    assert found == [b"before", b"behind"]
    (dead,) = read_messages(pair.gateway.bootstrap, "events.dead-letter")
    assert dead.value() == large
    assert dead.headers()[-1][0] == "_error" and b"TOO_LARGE" in dead.headers()[-1][1]


def test_the_judge_sees_a_duplicate_a_loss_and_a_change(mirrored):
    pair = mirrored("sluice")
    workload = Workload(pair.gateway.bootstrap, "events", sizes=(120,))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(30)
    workload.finish()
    wait_until_mirrored(pair.gateway)
    assert judge_mirror(pair.gateway, pair.centre, workload)["missing"] == 0
    last = list(workload.acknowledged)[-1]
    partition, offset = workload.acknowledged[last]
    for place, complaint in (((partition, offset - 1), "another value than was acknowledged"),
                             ((partition, 1_000_000), "missing: ")):
        workload.acknowledged[last] = place
        with pytest.raises(AssertionError, match=complaint):
            judge_mirror(pair.gateway, pair.centre, workload)
    workload.acknowledged[last] = (partition, offset)
    copy_last_record(pair.centre, "events")
    with pytest.raises(AssertionError, match="a duplicate"):
        judge_mirror(pair.gateway, pair.centre, workload)
