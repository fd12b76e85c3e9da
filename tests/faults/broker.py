"""A Sluice process that a fault test starts, kills and starts again."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from broker_process import free_port, wait_until_ready  # noqa: E402


def sluice_binary():
    """The release build, wherever cargo puts it, or what SLUICE names."""
    if "SLUICE" in os.environ:
        return os.environ["SLUICE"]
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"],
        cwd=HERE, check=True, capture_output=True,
    )
    return json.loads(metadata.stdout)["target_directory"] + "/release/sluice"


class Broker:
    """One data directory and the process that serves it; the port stays over restarts."""

    def __init__(self, data, output, flags=()):
        self.data = pathlib.Path(data)
        self.output = pathlib.Path(output)
        self.host = "127.0.0.1"
        # In front of the command, for another network namespace; added to the environment.
        self.prefix = []
        self.environment = {}
        self.port = free_port()
        self.admin_port = free_port()
        self.mqtt_port = free_port()
        self.flags = list(flags)
        self.process = None

    @property
    def bootstrap(self):
        return f"{self.host}:{self.port}"

    def spawn(self):
        """Starts the process without waiting for it."""
        command = [
            *self.prefix, sluice_binary(), "start", "--data-dir", str(self.data),
            "--kafka-listen", self.bootstrap,
            "--admin-listen", f"127.0.0.1:{self.admin_port}",
            "--mqtt-listen", f"127.0.0.1:{self.mqtt_port}", *self.flags,
        ]
        with open(self.output, "ab") as sink:
            self.process = subprocess.Popen(
                command, stdout=sink, stderr=sink, env=dict(os.environ, **self.environment))

    def start(self, seconds=30):
        self.spawn()
        self.wait_until_ready(seconds)

    def wait_until_ready(self, seconds=30):
        """Waits until the process that was spawned answers."""
        if not wait_until_ready(self.host, self.port, self.process, seconds):
            raise AssertionError(f"the broker did not start:\n{self.log()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=15):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def is_running(self):
        return self.process.poll() is None

    def log(self):
        return self.output.read_text(errors="replace")[-8000:]

    def metrics(self):
        """The Prometheus text of /metrics."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()

    def health(self):
        """Status code and text of /readyz."""
        url = f"http://127.0.0.1:{self.admin_port}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
