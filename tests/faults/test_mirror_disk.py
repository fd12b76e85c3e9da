"""The mirror and a disk that is full during an outage: appends are refused, and what was acknowledged
arrives while it is still full. What is removed before it arrived is announced."""

import time

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from mirror import judge_mirror, partitions, status, wait_for, wait_until_mirrored
from test_full_disk import fill
from workload import Workload

SMALL = ["--log-segment-bytes", str(256 << 10)]


def start_workload(pair, **options):
    workload = Workload(pair.gateway.bootstrap, "events", **options)
    workload.create_topic()
    workload.start()
    wait_for(lambda: all(one["cursor"] > 0 for one in partitions(pair.gateway)))
    return workload


def test_a_full_disk_during_an_outage_refuses_and_loses_nothing(loop_disk, mirrored, seeded):
    disk = loop_disk(megabytes=256)
    pair = mirrored("sluice", relay=True, data=disk.mount / "data", flags=SMALL,
                    **{"when.full": "reject"})
    gateway = pair.gateway
    workload = start_workload(pair, sizes=(120, 900, 20_000))
    pair.relay.cut()
    ballast = disk.mount / "ballast"
    fill(ballast, leave_bytes=seeded.randrange(0, 2_000_000))
    last, since, deadline = 0, time.monotonic(), time.monotonic() + 60
    while time.monotonic() - since < 3:
        assert gateway.is_running(), "the gateway died of a full disk"
        assert time.monotonic() < deadline, "the disk is full and everything is acknowledged"
        if len(workload.acknowledged) != last:
            last, since = len(workload.acknowledged), time.monotonic()
        time.sleep(0.05)
    # The mirror goes on while the disk is still full: its progress has a place of its own.
    pair.relay.mend()
    wait_for(lambda: status(gateway)["lag_records"] == 0, seconds=90)
    # A start needs some room.
    ballast.unlink()
    gateway.kill()
    gateway.start()
    workload.wait_for_acknowledged(last + 200, seconds=60)
    workload.finish()
    wait_until_mirrored(gateway)
    counts = judge_mirror(gateway, pair.centre, workload)
    assert counts["missing"] == counts["gaps"] == 0


def remove_beginning(gateway, of, count):
    """Removes records behind what was mirrored, of some partitions."""
    ends = {one["partition"]: one["cursor"] + count()
            for one in partitions(gateway) if one["partition"] in of}
    admin = AdminClient({"bootstrap.servers": gateway.bootstrap, "log_level": 0})
    removed = [TopicPartition("events", partition, end) for partition, end in ends.items()]
    for future in admin.delete_records(removed).values():
        future.result(30)


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_records_that_are_removed_during_an_outage_are_a_gap_that_is_announced(
        mirrored, kind, seeded):
    pair = mirrored(kind, relay=True)
    workload = start_workload(pair, sizes=(120, 900))
    pair.relay.cut()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 800)
    remove_beginning(pair.gateway, (1, 3), lambda: seeded.randrange(20, 100))
    pair.gateway.kill()
    pair.gateway.start()
    pair.relay.mend()
    workload.finish()
    mirrored_to = wait_until_mirrored(pair.gateway)
    counts = judge_mirror(pair.gateway, pair.centre, workload)
    assert counts["gaps"] == mirrored_to["gaps"] == 2
    assert counts["missing"] > 0


def test_records_that_are_removed_when_nothing_is_appended_hold_up_nothing(mirrored, seeded):
    pair = mirrored("sluice", relay=True)
    workload = start_workload(pair, sizes=(120, 900))
    pair.relay.cut()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 800)
    workload.finish()
    remove_beginning(pair.gateway, (1, 3), lambda: seeded.randrange(20, 100))
    pair.relay.mend()
    mirrored_to = wait_until_mirrored(pair.gateway, seconds=30)
    counts = judge_mirror(pair.gateway, pair.centre, workload)
    assert counts["gaps"] == mirrored_to["gaps"] == 2
    assert counts["missing"] > 0
