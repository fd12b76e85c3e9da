"""A flush that fails once under load: nothing acknowledged is lost, changed or doubled, and it is said."""

import time
import urllib.error

import pytest

from workload import Workload, judge, read_all


def watch_the_end(broker, seconds=30):
    """Waits until the broker ends by itself; returns what /readyz and /metrics said before."""
    told, metrics = None, ""
    deadline = time.monotonic() + seconds
    while broker.is_running():
        assert time.monotonic() < deadline, f"the broker goes on, /readyz said {told}"
        try:
            health = broker.health()
            if health[0] != 200 and told is None:
                told, metrics = health, broker.metrics()
        except (OSError, urllib.error.URLError):
            # It is ending.
            pass
        time.sleep(0.05)
    return told, metrics


@pytest.mark.parametrize("fault, path", [
    ("fsync", "journal/"),
    ("fsync", ".log"),
    ("write", "journal/"),
    ("fsync", ""),
])
def test_a_failed_flush_ends_the_broker_and_the_next_start_has_everything(
        seeded, start_broker, fault_disk, fault, path):
    disk = fault_disk()
    broker = start_broker(data=disk.mount / "data")
    workload = Workload(broker.bootstrap, "flush", sizes=(120, 900, 70_000))
    workload.create_topic()
    workload.start()
    for _ in range(3):
        workload.wait_for_acknowledged(len(workload.acknowledged) + seeded.randrange(20, 200))
        disk.tell(f"fail {fault} once {path}")
        told, metrics = watch_the_end(broker)
        figures = disk.figures()
        assert broker.process.returncode == 1, broker.log()
        assert told is not None, "/readyz never said that anything is wrong"
        assert told[0] == 503 and "failed" in told[1], told
        stopped = [line for line in metrics.splitlines()
                   if line.startswith("sluice_partitions_stopped{")]
        assert sum(int(line.split()[-1]) for line in stopped) > 0, stopped
        assert told[1].strip() in broker.log(), "the log does not say why"
        disk.tell("heal")
        broker.start()
    workload.finish()
    result = judge(workload, read_all(broker.bootstrap, "flush"))
    print(f"failing {fault} of {path or 'anything'}: {result}, {figures}")
    assert result["refused"] == 0, workload.failed[:3]
    assert broker.health()[0] == 200
    assert broker.stop() == 0


def test_a_disk_that_keeps_failing_is_said_at_the_start(start_broker, fault_disk):
    disk = fault_disk()
    broker = start_broker(data=disk.mount / "data")
    assert broker.stop() == 0
    disk.tell("fail fsync always")
    disk.tell("fail write always")
    broker.spawn()
    deadline = time.monotonic() + 30
    while broker.is_running():
        assert time.monotonic() < deadline, "the broker runs on a disk that keeps nothing"
        time.sleep(0.05)
    # Not 2: a supervisor starts it again, and the disk may work then.
    assert broker.process.returncode == 1, broker.process.returncode
    assert "Input/output error" in broker.log(), broker.log()
    disk.tell("heal")
    broker.start()
    assert broker.stop() == 0
