"""What keeps a start from happening: whose files they are, whether the disk has room."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from broker import sluice_binary

NOBODY = 65534
# Nothing that other tests of this machine could want.
LISTENERS = ("--kafka-listen", "127.0.0.1:0", "--admin-listen", "off", "--mqtt-listen", "off")


@pytest.fixture
def place():
    """A directory that everybody may enter, which pytest's own are not."""
    if os.geteuid() != 0:
        pytest.skip("another user's files need root")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-start-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def start(data, *prefix, binary=None):
    """Starts a broker that is expected to refuse, or is ended after a while; code and lines."""
    command = [*prefix, "timeout", "5", binary or sluice_binary(), "start", "--data-dir", data,
               *LISTENERS, "--log-level", "error"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return ended.returncode, ended.stderr.splitlines()


def test_files_of_another_user_are_one_line_and_code_2(place):
    binary = shutil.copy2(sluice_binary(), place / "sluice")
    data = place / "data"
    assert start(data) == (124, [])
    for path in (data, *data.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    as_nobody = ("setpriv", f"--reuid={NOBODY}", "--clear-groups")
    assert start(data, *as_nobody, binary=binary) == (124, [])
    # As a start by root leaves it.
    os.chown(data / "journal/shard-000/checkpoint", 0, 0)
    code, lines = start(data, *as_nobody, binary=binary)
    assert code == 2, lines
    (line,) = lines
    assert "checkpoint: Permission denied" in line


def test_a_disk_without_room_for_a_new_directory_is_code_1(loop_disk):
    disk = loop_disk(64)
    with open(disk.mount / "fill", "wb") as fill, pytest.raises(OSError):
        while True:
            fill.write(bytes(1 << 20))
    code, lines = start(disk.mount / "data")
    assert code == 1, lines
    (line,) = lines
    assert "no space left on the device" in line or "No space left on device" in line
    os.remove(disk.mount / "fill")
    assert start(disk.mount / "data") == (124, [])


def test_a_disk_that_is_too_small_is_code_2_and_stays_as_it_was(loop_disk):
    disk = loop_disk(20)
    code, lines = start(disk.mount / "sub" / "data")
    assert code == 2, lines
    (line,) = lines
    assert "at least 32 MiB are needed" in line
    assert [path.name for path in disk.mount.iterdir()] == ["lost+found"]


def contents(directory):
    """Names and bytes of all files but the lock."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_records_whose_journal_is_gone_are_one_line_and_code_2(start_broker, tmp_path):
    broker = start_broker(flags=["--shards", "2"])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(1_000):
        producer.produce("kept", b"%d" % number * 100)
    assert producer.flush(30) == 0
    assert broker.stop() == 0
    journal = broker.data / "journal"
    for gone in (journal, journal / "shard-001"):
        away = gone.rename(tmp_path / "away")
        (broker.data / "sluice.clean").unlink(missing_ok=True)
        before = contents(broker.data)
        code, lines = start(broker.data)
        assert code == 2, lines
        (line,) = lines
        named = str(gone.relative_to(broker.data))
        assert f"data directory {broker.data}: {named} is missing" in line
        assert "restore" in line and "logs/" in line
        assert contents(broker.data) == before
        shutil.rmtree(gone, ignore_errors=True)
        away.rename(gone)
    broker.start()
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none"})
    assert consumer.get_watermark_offsets(TopicPartition("kept", 0), timeout=20) == (0, 1_000)
    consumer.close()


def test_a_name_of_ours_that_is_a_fifo_is_one_line_and_code_2(tmp_path):
    data = tmp_path / "data"
    assert start(data) == (124, [])
    for name in ("sluice.lock", "sluice.meta"):
        file = (data / name).rename(tmp_path / "kept")
        os.mkfifo(data / name)
        code, lines = start(data)
        assert code == 2, lines
        (line,) = lines
        assert f"`{name}` is a FIFO" in line
        (data / name).unlink()
        file.rename(data / name)
    assert start(data) == (124, [])


def test_a_limit_of_file_sizes_is_one_line_at_the_start(tmp_path):
    # 64 KiB: the journal does not fit, and the kernel's signal for that ends nobody.
    code, lines = start(tmp_path / "data", "prlimit", "--fsize=65536")
    assert code == 2, lines
    (line,) = lines
    assert "the limit of file sizes is reached (ulimit -f)" in line and "journal/" in line
    assert start(tmp_path / "data") == (124, [])
