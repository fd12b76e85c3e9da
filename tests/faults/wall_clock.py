"""A wall clock that a test sets, for the processes that start with it."""

import pathlib
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent


class WallClock:
    """The wall clock of a gateway that starts with it, as seconds beside the true one."""

    def __init__(self, directory):
        self.path = directory / "wall_clock"
        library = directory / "wall_clock.so"
        subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library,
                        HERE / "wall_clock.c"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self.path)}
        self.set(0)

    def set(self, shift):
        self.shift = int(shift)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(str(self.shift))
        fresh.rename(self.path)

    def now_ms(self):
        """What a sensor stamps that has its time from the gateway."""
        return max(1, int((time.time() + self.shift) * 1000))
