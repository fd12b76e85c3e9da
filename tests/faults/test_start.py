"""What keeps a start from happening: whose files they are, whether the disk has room."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

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
