"""Ports and readiness of a broker that a test starts."""

import random
import socket
import struct
import time

API_VERSIONS_V0 = struct.pack(">ihhih", 10, 18, 0, 7, -1)


# Below those that Linux gives to connections on their way out: a port that is free now is not taken
# by a client before the broker listens on it, nor while the broker is down between two starts.
PORTS = range(12_000, 32_000)


def free_port():
    """A port that nothing listens on at the moment of the call."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as listener:
            # As the broker does it: what lingers from an earlier listener is no obstacle.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def answers(host, port):
    """True if the broker answers an ApiVersions request."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(API_VERSIONS_V0)
            reply = b""
            while len(reply) < 10:
                chunk = connection.recv(10 - len(reply))
                if not chunk:
                    return False
                reply += chunk
            _, correlation_id, error_code = struct.unpack(">iih", reply)
            return (correlation_id, error_code) == (7, 0)
    except OSError:
        return False


def wait_until_ready(host, port, process, seconds):
    """Waits until the broker answers; False if it ends or stays silent."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if answers(host, port):
            return True
        time.sleep(0.02)
    return False
