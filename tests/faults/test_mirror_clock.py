"""The mirror of a gateway whose clock is wrong: no record is lost, refused or doubled for that."""

import time

import pytest

from mirror import (judge_mirror, partitions, read_timestamps, status, wait_for,
                    wait_until_mirrored)
from wall_clock import WallClock
from workload import Workload

DAY = 86_400


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_a_clock_at_1970_that_is_set_and_runs_ahead_loses_nothing(mirrored, kind, tmp_path):
    clock = WallClock(tmp_path)
    clock.set(600 - time.time())
    pair = mirrored(kind, relay=True, environment=clock.environment)
    gateway, relay = pair.gateway, pair.relay
    workload = Workload(gateway.bootstrap, "events", sizes=(120, 900), clock=clock.now_ms)
    workload.create_topic()
    workload.start()
    # What is sent before the clock is set goes as it is; what waits is corrected.
    workload.wait_for_acknowledged(50)
    wait_for(lambda: any(one["cursor"] > 0 for one in partitions(gateway)))
    relay.cut()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 100)
    assert 0 < uptime_and_clock(gateway) < DAY, "the gateway does not see the clock of the test"
    clock.set(0)
    relay.mend()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 100)
    # Three days ahead, more than a centre takes; and back.
    clock.set(3 * DAY)
    workload.wait_for_acknowledged(len(workload.acknowledged) + 100)
    relay.cut()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 100)
    gateway.kill()
    gateway.start()
    relay.mend()
    time.sleep(1)
    clock.set(0)
    workload.wait_for_acknowledged(len(workload.acknowledged) + 100)
    workload.finish()
    mirrored_to = wait_until_mirrored(gateway)
    counts = judge_mirror(gateway, pair.centre, workload)
    assert counts["missing"] == counts["dead-letters"] == mirrored_to["dead_letters"] == 0
    stamps = read_timestamps(pair.centre.bootstrap, "events")
    assert any(0 < stamp < DAY * 1000 for stamp in stamps), "nothing was sent at 1970"
    if kind == "kafka":
        assert max(stamps) < (time.time() + 3600) * 1000, "Kafka took a future that it refuses"
        assert -1 in stamps, "no timestamp was left out: the clock ahead was not tried"
    assert status(gateway)["lag_records"] == 0


def uptime_and_clock(gateway):
    """Seconds since 1970 when the centre last acknowledged something, by the gateway's clock."""
    for line in gateway.metrics().splitlines():
        if line.startswith("sluice_mirror_last_success_time_seconds{"):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError("no time of a last success")
