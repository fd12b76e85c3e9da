"""Mosquitto as the broker that a bridge dials."""

import pathlib
import socket
import subprocess
import time

from broker import free_port

BASE = """\
allow_anonymous true
persistence_location {directory}/
log_dest none
max_queued_messages 0
max_queued_bytes 0
"""


class Mosquitto:
    """One Mosquitto with its own directory; the port stays over restarts."""

    def __init__(self, directory, *settings, listener="listener {port} 127.0.0.1"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.listener = listener
        self.settings = list(settings)
        self.process = None

    def start(self, seconds=10):
        text = self.listener.format(port=self.port) + "\n"
        text += BASE.format(directory=self.directory) + "\n".join(self.settings) + "\n"
        if not any(line.startswith("user ") for line in self.settings):
            text += "user root\n"
        config = self.directory / "mosquitto.conf"
        config.write_text(text)
        with open(self.directory / "output", "ab") as sink:
            self.process = subprocess.Popen(["mosquitto", "-c", str(config)], stdout=sink,
                                            stderr=sink)
        deadline = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.directory / "output").read_text()
                assert time.monotonic() < deadline, "Mosquitto does not listen"
                time.sleep(0.05)

    def stop(self):
        """Ends it; with `persistence true` it saves its sessions first."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
