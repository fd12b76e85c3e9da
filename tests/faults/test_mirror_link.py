"""The mirror over a link that is cut, flaps, swallows packets and is slow."""

import time

import pytest

import router as routers
from mirror import judge_mirror, status, wait_until_mirrored
from workload import Workload

# Longer than the mirror's wait for the acknowledgement of a TCP segment (45 s).
SILENCE_SECONDS = 50


@pytest.fixture
def router():
    reason = routers.why_not()
    if reason:
        pytest.skip(reason)
    made = routers.Router()
    yield made
    made.close()


def start_workload(pair, **options):
    workload = Workload(pair.gateway.bootstrap, "events", **options)
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(20)
    return workload


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_everything_arrives_once_over_a_link_that_is_cut_and_flaps(mirrored, kind, seeded):
    pair = mirrored(kind, relay=True)
    workload = start_workload(pair, sizes=(120, 900, 20_000))
    for _ in range(30):
        pair.relay.cut()
        time.sleep(seeded.random() * 0.2)
        pair.relay.mend()
        time.sleep(seeded.random() * 0.6)
    pair.relay.cut()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 500)
    workload.finish()
    assert status(pair.gateway)["lag_records"] >= 500
    pair.relay.mend()
    wait_until_mirrored(pair.gateway)
    assert pair.relay.connections > 5
    assert judge_mirror(pair.gateway, pair.centre, workload)["missing"] == 0


def test_everything_arrives_once_after_packets_were_swallowed_without_a_word(
        mirrored, router, seeded):
    # Both centres at once: the silence is long.
    pairs = [mirrored(kind, router=router) for kind in ("sluice", "kafka")]
    workloads = [start_workload(pair, rate_pause=0.02) for pair in pairs]
    for _ in range(3):
        router.pass_packets(False)
        time.sleep(0.2 + 2 * seeded.random())
        router.pass_packets(True)
        time.sleep(seeded.random())
    before = [len(workload.acknowledged) for workload in workloads]
    router.pass_packets(False)
    time.sleep(SILENCE_SECONDS)
    for pair, workload, count in zip(pairs, workloads, before, strict=True):
        assert len(workload.acknowledged) > count, "the gateway waits for its centre"
        assert status(pair.gateway)["link"] in ("down", "connecting")
    router.pass_packets(True)
    for pair, workload in zip(pairs, workloads, strict=True):
        workload.finish()
        wait_until_mirrored(pair.gateway)
        assert judge_mirror(pair.gateway, pair.centre, workload)["missing"] == 0


def test_a_slow_link_is_used_and_not_given_up(mirrored):
    pair = mirrored("kafka", relay=True, compression="none", **{"linger.ms": 200})
    pair.relay.rate, pair.relay.delay = 200_000, 0.3
    workload = start_workload(pair, sizes=(900, 40_000))
    workload.wait_for_acknowledged(60)
    workload.finish()
    mirrored_to = wait_until_mirrored(pair.gateway)
    assert pair.relay.connections <= 2 and mirrored_to["retries"] == 0
    pair.relay.rate, pair.relay.delay = None, 0
    assert judge_mirror(pair.gateway, pair.centre, workload)["missing"] == 0


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_a_centre_that_stops_for_a_while_gets_nothing_twice(mirrored, kind, seeded):
    pair = mirrored(kind)
    workload = start_workload(pair, sizes=(120, 900, 20_000))
    for _ in range(4):
        pair.centre.freeze(True)
        # What waits in the sockets of the dead gateway arrives behind what its successor sends.
        time.sleep(seeded.random())
        pair.gateway.kill()
        pair.gateway.start()
        time.sleep(seeded.random())
        pair.centre.freeze(False)
        time.sleep(seeded.random())
    workload.finish()
    wait_until_mirrored(pair.gateway)
    assert judge_mirror(pair.gateway, pair.centre, workload)["missing"] == 0
