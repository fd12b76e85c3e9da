"""The mirror and a byte budget that an outage uses up: by its policy the oldest records go and are
announced, or appends are refused and nothing that was not mirrored goes."""

import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from mirror import judge_mirror, partitions, status, wait_for, wait_until_mirrored
from workload import PARTITIONS, Workload

BUDGET = ["--storage-bytes-max", "10M"]
# With segments as large as the budget there is none that is closed; batches of a megabyte ask for
# more room than is kept free ahead. Three sizes, so that each partition gets all of them.
SHAPES = {
    "large-segments": (BUDGET, (120, 900, 20_000)),
    "small-segments": ([*BUDGET, "--log-segment-bytes", str(256 << 10)], (120, 900, 20_000)),
    "large-batches": ([*BUDGET, "--log-segment-bytes", str(256 << 10)], (700_000, 900, 20_000)),
}


def start_mirrored(pair, sizes, rate_pause):
    workload = Workload(pair.gateway.bootstrap, "events", sizes=sizes, rate_pause=rate_pause)
    workload.create_topic()
    workload.start()
    wait_for(lambda: all(one["cursor"] > 0 for one in partitions(pair.gateway)))
    pair.relay.cut()
    return workload


def log_starts(broker):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "-", "log_level": 0})
    try:
        places = [TopicPartition("events", partition) for partition in range(PARTITIONS)]
        return [consumer.get_watermark_offsets(place, 20)[0] for place in places]
    finally:
        consumer.close()


def stored_bytes(broker):
    return sum(log.stat().st_size for log in (broker.data / "logs").glob("*/*.log"))


@pytest.mark.parametrize("shape", list(SHAPES))
def test_appends_go_on_when_the_budget_is_used_up_and_what_goes_is_announced(mirrored, shape):
    flags, sizes = SHAPES[shape]
    rate_pause = 0.05 if max(sizes) > 100_000 else 0.002
    pair = mirrored("sluice", relay=True, flags=flags)
    gateway = pair.gateway
    workload = start_mirrored(pair, sizes, rate_pause)
    cursors = {one["partition"]: one["cursor"] for one in partitions(gateway)}
    mean_bytes = sum(sizes) / len(sizes)
    # Four times the budget goes through it, no second without an append.
    wanted = len(workload.acknowledged) + int(40_000_000 / mean_bytes)
    while len(workload.acknowledged) < wanted:
        workload.wait_for_acknowledged(len(workload.acknowledged) + 1, seconds=5)
        time.sleep(0.2)
    wait_for(lambda: all(start > cursors[partition]
                         for partition, start in enumerate(log_starts(gateway))))
    assert stored_bytes(gateway) <= 10_000_000
    told = status(gateway)
    assert told["missing_records"] > 0, "told while the link is down"
    assert told["lag_records"] > 0
    assert 0 < told["lag_bytes"] <= 10_000_000
    gateway.kill()
    gateway.start()
    pair.relay.mend()
    workload.finish()
    assert workload.failed == []
    mirrored_to = wait_until_mirrored(gateway)
    counts = judge_mirror(gateway, pair.centre, workload)
    assert counts["missing"] == mirrored_to["missing_records"] > 0
    assert counts["gaps"] == mirrored_to["gaps"] >= PARTITIONS
    assert mirrored_to["lag_bytes"] == 0


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_appends_are_refused_when_the_budget_is_used_up_and_everything_arrives(mirrored, kind):
    pair = mirrored(kind, relay=True, flags=BUDGET, **{"when.full": "reject"})
    gateway = pair.gateway
    workload = start_mirrored(pair, (120, 900, 20_000), 0.002)
    # Until nothing is acknowledged any more.
    last, since, deadline = 0, time.monotonic(), time.monotonic() + 90
    while time.monotonic() - since < 5:
        assert time.monotonic() < deadline, "the budget is used up and everything is acknowledged"
        if len(workload.acknowledged) != last:
            last, since = len(workload.acknowledged), time.monotonic()
        time.sleep(0.05)
    cursors = {one["partition"]: one["cursor"] for one in partitions(gateway)}
    full_at = log_starts(gateway)
    assert all(start <= cursors[partition] for partition, start in enumerate(full_at)), \
        "what was not mirrored went"
    assert status(gateway)["missing_records"] == 0
    assert stored_bytes(gateway) <= 10_000_000
    # What is mirrored may go: that makes room, and appends go on by themselves.
    pair.relay.mend()
    workload.wait_for_acknowledged(last + 2_000, seconds=90)
    workload.finish()
    assert workload.failed == []
    mirrored_to = wait_until_mirrored(gateway)
    counts = judge_mirror(gateway, pair.centre, workload)
    assert counts["missing"] == counts["gaps"] == mirrored_to["missing_records"] == 0
    assert all(now > start for now, start in zip(log_starts(gateway), full_at, strict=True))
