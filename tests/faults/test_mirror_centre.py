"""The mirror and a centre that forgets, loses its topic, or hears two gateways that are one."""

import shutil
import socket
import time

import pytest

from broker import Broker
from mirror import (create_topic, delete_topic, judge_mirror, partitions, read_centre, status,
                    wait_for, wait_until_mirrored)
from workload import Workload

# Kafka forgets an idle producer after this; it looks this often.
FORGETFUL = ("producer.id.expiration.ms=1000", "producer.id.expiration.check.interval.ms=200")


def start_workload(pair, **options):
    workload = Workload(pair.gateway.bootstrap, "events", **options)
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(20)
    return workload


def test_a_centre_that_has_forgotten_the_producer_gets_nothing_twice(mirrored, seeded):
    pair = mirrored("kafka", relay=True, centre_settings=FORGETFUL)
    workload = start_workload(pair, sizes=(120, 900, 20_000), rate_pause=0.005)
    for _ in range(6):
        action = seeded.choice(("hold", "drop", "part"))
        pair.relay.arm(action)
        assert pair.relay.seen.wait(30)
        if action == "hold":
            assert pair.relay.answered.wait(10)
        if seeded.random() < 0.5:
            pair.gateway.kill()
            pair.relay.cut()
            pair.gateway.start()
        else:
            pair.relay.cut()
        time.sleep(1.6)
        pair.relay.mend()
        time.sleep(seeded.random() * 2)
    workload.finish()
    wait_until_mirrored(pair.gateway)
    assert judge_mirror(pair.gateway, pair.centre, workload)["missing"] == 0


def test_a_late_copy_after_the_centre_forgot_is_counted(mirrored):
    pair = mirrored("kafka", relay=True, centre_settings=FORGETFUL)
    workload = start_workload(pair, sizes=(120,), rate_pause=0.01)
    # The centre has had something of every partition, and forgets it.
    workload.finish()
    wait_until_mirrored(pair.gateway)
    assert status(pair.gateway)["possible_duplicates"] == 0
    time.sleep(1.6)
    more = again(workload, pair.gateway)
    pair.relay.arm("late")
    more.start()
    assert pair.relay.seen.wait(20)
    pair.relay.cut()
    pair.relay.mend()
    more.finish()
    wait_until_mirrored(pair.gateway)
    time.sleep(1.6)
    send_frame(pair.centre, pair.relay.late[0])
    landed = [origin for _, _, origin, _ in read_centre(pair.centre.bootstrap, "events")]
    assert len(set(landed)) < len(landed), "the copy did not land: nothing was tried"
    assert status(pair.gateway)["possible_duplicates"] > 0


def send_frame(centre, frame):
    """Sends a request on a connection of its own and waits for the answer."""
    with socket.create_connection((centre.host, centre.port), timeout=20) as connection:
        connection.sendall(frame)
        assert connection.recv(4), "the centre closed the connection"


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_a_target_topic_that_is_deleted_and_made_again_gets_what_was_not_acknowledged(
        mirrored, kind, seeded):
    pair = mirrored(kind, relay=True, **{"create.topics": False})
    create_topic(pair.centre, "events", {})
    workload = start_workload(pair, sizes=(120, 900))
    missing = []
    for _ in range(4):
        time.sleep(seeded.random())
        pair.relay.arm("hold")
        assert pair.relay.seen.wait(20)
        delete_topic(pair.centre, "events")
        pair.relay.cut()
        time.sleep(0.3)
        # What was acknowledged went with the topic.
        missing = [(one["partition"], 0, one["cursor"]) for one in partitions(pair.gateway)]
        if seeded.random() < 0.5:
            pair.gateway.kill()
            pair.gateway.start()
        pair.relay.mend()
        time.sleep(seeded.random())
        create_topic(pair.centre, "events", {})
    workload.finish()
    wait_until_mirrored(pair.gateway)
    counts = judge_mirror(pair.gateway, pair.centre, workload, missing)
    assert counts["missing"] > 0


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_two_gateways_that_are_one_and_the_same_send_nothing_twice(
        mirrored, kind, seeded, tmp_path):
    pair = mirrored(kind, relay=True)
    old, relay = pair.gateway, pair.relay
    workload = start_workload(pair, sizes=(120, 900, 20_000))
    # Every partition has its producer id; without one each of the two would take its own.
    wait_for(lambda: all(one["cursor"] > 0 for one in partitions(old)))
    relay.arm(seeded.choice(("hold", "drop")))
    assert relay.seen.wait(20)
    relay.cut()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 600)
    # The card of the old gateway is copied and goes on in a new one; the old one is not switched off.
    workload.finish()
    old.kill()
    shutil.copytree(old.data, tmp_path / "copy")
    new = Broker(tmp_path / "copy", tmp_path / "copy.out", pair.flags)
    try:
        old.start()
        new.start()
        workload = again(workload, new)
        time.sleep(0.5)
        relay.mend()
        workload.start()
        for _ in range(10):
            time.sleep(0.4 * seeded.random())
            relay.cut()
            time.sleep(0.1)
            relay.mend()
        workload.finish()
        wait_until_mirrored(new)
        wait_until_mirrored(old)
        assert judge_mirror(new, pair.centre, workload)["missing"] == 0
    finally:
        new.kill()
        print(new.log())


def again(workload, gateway):
    """The same workload, from where it stands, at another gateway."""
    after = Workload(gateway.bootstrap, workload.topic, workload.sizes, workload.rate_pause)
    after.sent, after.acknowledged = workload.sent, dict(workload.acknowledged)
    return after
