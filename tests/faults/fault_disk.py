"""A directory on a file system whose writes and flushes fail when told to (tests/faultfs)."""

import os
import pathlib
import socket
import subprocess
import time

from broker import HERE
from loop_disk import run


def why_not():
    """Why a faulty disk cannot be mounted here; None if it can."""
    if os.geteuid() != 0:
        return "FUSE mounts need root"
    if not pathlib.Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    return None


def faultfs_binary():
    """Builds tests/faultfs; returns its path, or what FAULTFS names."""
    if "FAULTFS" in os.environ:
        return os.environ["FAULTFS"]
    root = HERE.parent.parent
    subprocess.run(["cargo", "build", "-q", "-p", "faultfs"], cwd=root, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"],
        cwd=root, check=True, capture_output=True, text=True,
    )
    return metadata.stdout.split('"target_directory":"')[1].split('"')[0] + "/debug/faultfs"


class FaultDisk:
    """The passthrough of `directory`/backing, mounted at `.mount`."""

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        self.mount = directory / "mount"
        self.control = directory / "control"
        backing = directory / "backing"
        for path in (self.mount, backing):
            path.mkdir()
        command = [faultfs_binary(), str(backing), str(self.mount), str(self.control)]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 10
        while not os.path.ismount(self.mount):
            assert self.process.poll() is None, "faultfs ended"
            assert time.monotonic() < deadline, "faultfs does not mount"
            time.sleep(0.02)

    def tell(self, command):
        """Sends one command of tests/faultfs; returns the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.control))
            connection.sendall(command.encode() + b"\n")
            answer = connection.makefile().readline().strip()
        assert answer and not answer.startswith("error"), f"{command}: {answer}"
        return answer

    def figures(self):
        """The counters since the mount."""
        words = self.tell("stats").split()
        return {name: int(value) for name, value in (word.split("=") for word in words)}

    def detach(self):
        if self.process.poll() is not None:
            return
        # Lazily: a broker that a failed test left behind must not keep the mount.
        run("umount", "-l", str(self.mount))
        self.tell("stop")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
