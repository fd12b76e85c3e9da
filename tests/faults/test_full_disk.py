"""A full disk: errors for what does not fit, nothing lost, and work goes on when room is made."""

import os
import time

import pytest

from workload import Workload, judge, read_all


def fill(path, leave_bytes):
    """Takes all free room of the file system but `leave_bytes`."""
    with open(path, "wb") as ballast:
        room = os.statvfs(path.parent)
        size = max(0, room.f_bavail * room.f_frsize - leave_bytes)
        os.posix_fallocate(ballast.fileno(), 0, max(1, size))


# With small segments there are closed ones, which nobody may take for room that is missing.
@pytest.mark.parametrize("segment_bytes", [16 << 20, 256 << 10])
def test_disk_full_at_a_random_moment_recovers_by_itself_when_room_is_made(
        seeded, start_broker, loop_disk, segment_bytes):
    disk = loop_disk(megabytes=256)
    # The sizes of a gateway: the journals of a server alone would fill the disk.
    flags = ["--memory", "130M", "--shards", "1", "--log-segment-bytes", str(segment_bytes)]
    broker = start_broker(data=disk.mount / "data", flags=flags)
    workload = Workload(broker.bootstrap, "full", sizes=(120, 900, 70_000))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(seeded.randrange(50, 500))
    ballast = disk.mount / "ballast"
    fill(ballast, leave_bytes=seeded.randrange(0, 2_000_000))
    stalled_since, last = time.monotonic(), len(workload.acknowledged)
    deadline = time.monotonic() + 60
    while time.monotonic() - stalled_since < 3:
        assert broker.is_running(), "the broker died of a full disk"
        assert time.monotonic() < deadline, "the disk is full and everything is still acknowledged"
        if len(workload.acknowledged) != last:
            stalled_since, last = time.monotonic(), len(workload.acknowledged)
        time.sleep(0.05)
    status, text = broker.health()
    assert status == 503 and "disk" in text, f"/readyz says {status} {text}"
    ballast.unlink()
    workload.wait_for_acknowledged(last + 200, seconds=60)
    workload.finish()
    figures = judge(workload, read_all(broker.bootstrap, "full"))
    print(f"full disk: {figures}")
    assert broker.health()[0] == 200
    assert broker.stop() == 0
