"""A broker is killed while its disk is stuck: nobody takes its data over before the write has ended."""

import time

import pytest

from broker import Broker
from workload import Workload, judge, read_all


@pytest.mark.parametrize("path", ["journal/shard-000", ".log"])
def test_a_late_write_of_a_killed_broker_damages_nothing(
        seeded, tmp_path, start_broker, fault_disk, path):
    disk = fault_disk()
    broker = start_broker(data=disk.mount / "data", flags=["--shards", "1"])
    workload = Workload(broker.bootstrap, "late", sizes=(120, 900, 70_000))
    workload.create_topic()
    workload.start()
    for attempt in range(3):
        workload.wait_for_acknowledged(len(workload.acknowledged) + seeded.randrange(20, 200))
        before = disk.figures()["held_writes"]
        disk.tell(f"hold write once {path}")
        deadline = time.monotonic() + 30
        while disk.figures()["held_writes"] == before:
            assert time.monotonic() < deadline, "no write was held back"
            time.sleep(0.01)
        broker.process.kill()
        # The process cannot go before its write; an impatient supervisor starts the next one.
        impatient = Broker(broker.data, tmp_path / f"impatient-{attempt}.log", broker.flags)
        impatient.spawn()
        assert impatient.process.wait(40) == 2, impatient.log()
        assert "another broker uses it" in impatient.log(), impatient.log()
        disk.tell("release")
        broker.process.wait(30)
        broker.start()
        workload.wait_for_acknowledged(len(workload.acknowledged) + 50)
    workload.finish()
    result = judge(workload, read_all(broker.bootstrap, "late"))
    print(f"late write of {path}: {result}, {disk.figures()}")
    assert result["refused"] == 0, workload.failed[:3]
    assert broker.stop() == 0
