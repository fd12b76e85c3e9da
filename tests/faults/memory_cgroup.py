"""A memory cgroup around one broker, as `tests/benchmark/src/cgroup.rs` has one: the kernel says whether
it fits, page cache and anonymous memory included."""

import pathlib
import time

ROOT = pathlib.Path("/sys/fs/cgroup")


def why_not():
    """Why there can be none here; None if it can."""
    try:
        MemoryCgroup("sluice-probe", 1 << 30).remove()
    except OSError as error:
        return str(error)
    return None


class MemoryCgroup:
    """A cgroup with a limit; version 1 or 2 of the interface."""

    def __init__(self, name, limit_bytes):
        one = ROOT / "memory"
        self.is_version_1 = one.is_dir()
        if not self.is_version_1:
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        self.path = (one if self.is_version_1 else ROOT) / name
        self.path.mkdir()
        limit = "memory.limit_in_bytes" if self.is_version_1 else "memory.max"
        (self.path / limit).write_text(str(limit_bytes))

    def prefix(self):
        """In front of a command: it runs in the cgroup."""
        enter = f'echo $$ > {self.path}/cgroup.procs && exec "$@"'
        return ["sh", "-c", enter, "sh"]

    def oom_kills(self):
        """Processes that the kernel killed for lack of memory."""
        events = "memory.oom_control" if self.is_version_1 else "memory.events"
        lines = (self.path / events).read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def processes(self):
        return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]

    def remove(self):
        # A killed process leaves its cgroup when the kernel has let go of its ring.
        deadline = time.monotonic() + 5
        while True:
            try:
                return self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
