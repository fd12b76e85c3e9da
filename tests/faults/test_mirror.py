"""The mirror: every acknowledged record stands at the centre once and in order, whatever crashes."""

import time

import pytest

from broker import Broker
from mirror import (KafkaCentre, judge_mirror, mirror_command, read_centre, status,
                    wait_until_mirrored, write_config)
from workload import Workload, read_all


@pytest.fixture
def pair(tmp_path):
    """Makes a centre and a gateway; both end with the test."""
    started = []

    def make(kind, centre_settings=(), **keys):
        if kind == "kafka":
            centre = KafkaCentre(tmp_path)
            centre.start(*centre_settings)
        else:
            centre = Broker(tmp_path / "centre", tmp_path / "centre.out", ["--shards", "1"])
            centre.start()
        started.append(centre)
        config = write_config(tmp_path, centre.bootstrap, **keys)
        gateway = Broker(tmp_path / "gateway", tmp_path / "gateway.out",
                         ["--config", str(config), "--shards", "1", "--memory", "130M"])
        gateway.start()
        started.append(gateway)
        return gateway, centre

    yield make
    for process in started:
        if process.is_running():
            process.stop()


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_everything_arrives_once_while_the_gateway_is_killed(pair, kind, seeded, request):
    cycles = request.config.getoption("--cycles") or (30 if kind == "sluice" else 10)
    gateway, centre = pair(kind)
    workload = Workload(gateway.bootstrap, "events", sizes=(120, 900, 20_000))
    workload.create_topic()
    workload.start()
    for _ in range(cycles):
        workload.wait_for_acknowledged(len(workload.acknowledged) + seeded.randrange(1, 60))
        time.sleep(seeded.random() * 0.2)
        gateway.kill()
        gateway.start()
    workload.finish()
    wait_until_mirrored(gateway)
    source = read_all(gateway.bootstrap, "events")
    count = judge_mirror(source, read_centre(centre.bootstrap, "events"))
    assert count >= len(workload.acknowledged) > cycles


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_everything_arrives_once_while_the_centre_is_away(pair, kind, seeded):
    gateway, centre = pair(kind)
    workload = Workload(gateway.bootstrap, "events", sizes=(120, 900))
    workload.create_topic()
    workload.start()
    for _ in range(2 if kind == "kafka" else 8):
        workload.wait_for_acknowledged(len(workload.acknowledged) + 100)
        if kind == "sluice":
            centre.kill()
        else:
            centre.stop()
        workload.wait_for_acknowledged(len(workload.acknowledged) + 100)
        centre.start()
    workload.finish()
    wait_until_mirrored(gateway)
    judge_mirror(read_all(gateway.bootstrap, "events"), read_centre(centre.bootstrap, "events"))


def test_a_paused_mirror_stays_paused_over_a_restart_and_goes_on(pair):
    gateway, centre = pair("sluice")
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
    judge_mirror(read_all(gateway.bootstrap, "events"), read_centre(centre.bootstrap, "events"))
    numbers = dict(line.rsplit(" ", 1) for line in gateway.metrics().splitlines()
                   if line.startswith("sluice_mirror"))
    labels = '{shard="0",mirror="hq"}'
    assert numbers["sluice_mirror_lag_records" + labels] == "0"
    assert numbers["sluice_mirror_possible_duplicate_batches_total" + labels] == "0"
    assert int(numbers["sluice_mirror_records_total" + labels]) > 0


def test_a_batch_that_the_centre_refuses_is_put_aside_and_blocks_nothing(pair):
    gateway, centre = pair("kafka", ["message.max.bytes=20000"], compression="none")
    workload = Workload(gateway.bootstrap, "events", sizes=(100, 5_000, 100, 40_000))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(40)
    workload.finish()
    mirrored = wait_until_mirrored(gateway)
    source = read_all(gateway.bootstrap, "events")
    small = {partition: [one for one in records if len(one[1]) < 19_000]
             for partition, records in source.items()}
    judge_mirror(small, read_centre(centre.bootstrap, "events"))
    large = sum(len(records) for records in source.values()) - sum(map(len, small.values()))
    assert mirrored["dead_letters"] == large > 0
