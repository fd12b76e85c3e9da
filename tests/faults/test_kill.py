"""kill -9 under load: nothing acknowledged is lost, changed or doubled."""

import pytest

from workload import Workload, judge, read_all


@pytest.mark.parametrize("shards", [1, 2])
def test_kill_under_load_keeps_every_acknowledged_record_once(
        request, seeded, start_broker, shards):
    cycles = request.config.getoption("--cycles") or 50
    broker = start_broker(flags=["--shards", str(shards)])
    workload = Workload(broker.bootstrap, "killed")
    workload.create_topic()
    workload.start()
    for _ in range(cycles):
        workload.wait_for_acknowledged(len(workload.acknowledged) + seeded.randrange(1, 300))
        broker.kill()
        broker.start()
    workload.finish()
    figures = judge(workload, read_all(broker.bootstrap, "killed"))
    print(f"{cycles} kills on {shards} shards: {figures}")
    assert figures["refused"] == 0, workload.failed[:3]
    assert broker.stop() == 0
