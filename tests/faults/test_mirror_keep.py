"""What was mirrored stays at the gateway for a while, also over a crash, and then goes by retention."""

import time

from mirror import create_topic, judge_mirror, log_starts, wait_for, wait_until_mirrored
from workload import PARTITIONS, Workload

KEEP_SECONDS = 20
SMALL = ["--log-segment-bytes", str(64 << 10), "--log-retention-check-interval-ms", "300"]


def watch_starts(gateway, until):
    """Asserts that nothing goes before a moment of the monotonic clock."""
    while time.monotonic() < until:
        assert set(log_starts(gateway)) == {0}, f"{until - time.monotonic():.1f} s early"
        time.sleep(0.3)


def test_what_was_mirrored_stays_for_its_time_and_then_goes(mirrored):
    pair = mirrored("sluice", relay=True, flags=SMALL,
                    **{"keep.after.mirrored.ms": KEEP_SECONDS * 1000})
    gateway = pair.gateway
    create_topic(gateway, "events", {"retention.ms": "1000"})
    pair.relay.cut()
    workload = Workload(gateway.bootstrap, "events", sizes=(120, 900, 20_000))
    workload.start()
    workload.wait_for_acknowledged(600)
    workload.finish()
    # Expired since long, and held: the centre does not have it.
    watch_starts(gateway, time.monotonic() + 4)
    mended = time.monotonic()
    pair.relay.mend()
    wait_until_mirrored(gateway)
    done = time.monotonic()
    watch_starts(gateway, mended + KEEP_SECONDS * 3 / 4)
    gateway.kill()
    gateway.start()
    watch_starts(gateway, mended + KEEP_SECONDS - 1)

    # The time before the crash counts: with what is left and a third of it everything goes.
    def is_gone():
        return log_starts(gateway) == log_ends(workload)

    wait_for(is_gone, done + KEEP_SECONDS * 4 / 3 + 6 - time.monotonic())
    assert judge_mirror(gateway, pair.centre, workload)["missing"] == 0


def log_ends(workload):
    """Behind the last record of each partition."""
    places = workload.acknowledged.values()
    return [1 + max(offset for one, offset in places if one == partition)
            for partition in range(PARTITIONS)]


def test_nothing_is_kept_for_a_mirror_that_was_told_so(mirrored):
    pair = mirrored("sluice", flags=SMALL, **{"keep.after.mirrored.ms": 0})
    gateway = pair.gateway
    create_topic(gateway, "events", {"retention.ms": "1000"})
    workload = Workload(gateway.bootstrap, "events", sizes=(120, 900, 20_000))
    workload.start()
    workload.wait_for_acknowledged(600)
    workload.finish()
    wait_until_mirrored(gateway)
    wait_for(lambda: log_starts(gateway) == log_ends(workload), KEEP_SECONDS)
    assert judge_mirror(gateway, pair.centre, workload)["missing"] == 0
