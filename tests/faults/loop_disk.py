"""A small ext4 file system in a file, whose power can be cut.

The cut is the ext4 shutdown ioctl with NOLOGFLUSH: from that moment nothing more reaches the file, neither
data nor journal, and every later write fails. What the next mount finds is what a power cut would leave.
Needs root and loop devices.
"""

import fcntl
import os
import pathlib
import struct
import subprocess
import time

EXT4_IOC_SHUTDOWN = 0x8004587D
GOING_FLAGS_NOLOGFLUSH = 2
UNMOUNT_ATTEMPTS = 100


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def why_not():
    """Why a loop disk cannot be made here; None if it can."""
    if os.geteuid() != 0:
        return "loop mounts need root"
    if not pathlib.Path("/dev/loop-control").exists():
        return "there is no /dev/loop-control"
    return None


class LoopDisk:
    """A file system of `megabytes` under `directory`, mounted at `.mount`."""

    def __init__(self, directory, megabytes):
        self.image = pathlib.Path(directory) / "disk.img"
        self.mount = pathlib.Path(directory) / "mount"
        self.mount.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(megabytes * 1024 * 1024)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0",
            str(self.image))
        self.is_mounted = False
        self.attach()

    def attach(self):
        run("mount", "-o", "loop", str(self.image), str(self.mount))
        self.is_mounted = True

    def cut_power(self):
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            flags = struct.pack("I", GOING_FLAGS_NOLOGFLUSH)
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, flags)
        finally:
            os.close(descriptor)

    def detach(self):
        """Unmounts. A killed broker's io_uring holds its files for a moment after the process is gone."""
        if not self.is_mounted:
            return
        for attempt in range(UNMOUNT_ATTEMPTS):
            try:
                run("umount", str(self.mount))
                break
            except subprocess.CalledProcessError:
                if attempt + 1 == UNMOUNT_ATTEMPTS:
                    raise
                time.sleep(0.1)
        self.is_mounted = False
