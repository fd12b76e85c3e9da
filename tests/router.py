"""A link through a router in network namespaces: packets can be dropped without a word, and counted.

    host (here) -- router namespace -- centre namespace

Packets are dropped by the router that stops forwarding: nobody gets a reset or an error, as on a radio
link that is gone. Needs root.
"""

import os
import pathlib
import random
import subprocess


def why_not():
    """Why there can be no namespaces here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"sl-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
        return "ip netns add does not work here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Router:
    """Two namespaces and the way to them; `close` takes all of it away."""

    def __init__(self):
        number = os.getpid() % 100_000
        self.near, self.far = f"sl{number}r", f"sl{number}c"
        self.device = f"sl{number}h"
        # A network of documentation addresses (RFC 5737 has too few): benchmarking, RFC 2544.
        part = random.SystemRandom().randrange(1, 255)
        self.networks = [f"198.18.{part}", f"198.19.{part}"]
        self.centre_address = f"{self.networks[1]}.2"
        self.centre_command = ["ip", "netns", "exec", self.far]
        try:
            self._build(number)
        except subprocess.CalledProcessError as error:
            self.close()
            raise AssertionError(f"{error.cmd}: {error.stderr}") from error

    def _build(self, number):
        first, second = self.networks
        for name in (self.near, self.far):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", self.device, "type", "veth", "peer", "name", "near", "netns", self.near)
        ip("-n", self.near, "link", "add", "far", "type", "veth", "peer", "name", "eth",
           "netns", self.far)
        # The questions of IPv6 would be counted as bytes of the link.
        quiet = "echo 1 > /proc/sys/net/ipv6/conf/%s/disable_ipv6 || true"
        subprocess.run(["sh", "-c", quiet % self.device], check=True)
        subprocess.run(["ip", "netns", "exec", self.near, "sh", "-c", quiet % "all"], check=True)
        ip("addr", "add", f"{first}.1/24", "dev", self.device)
        ip("link", "set", self.device, "up")
        for name, device, address in ((self.near, "near", f"{first}.2/24"),
                                      (self.near, "far", f"{second}.1/24"),
                                      (self.far, "eth", f"{second}.2/24")):
            ip("-n", name, "addr", "add", address, "dev", device)
            ip("-n", name, "link", "set", device, "up")
        ip("route", "add", f"{second}.0/24", "via", f"{first}.2")
        ip("-n", self.far, "route", "add", "default", "via", f"{second}.1")
        self.pass_packets(True)

    def pass_packets(self, is_open):
        """Forwards, or drops everything on its way in silence."""
        subprocess.run(
            ["ip", "netns", "exec", self.near, "sh", "-c",
             f"echo {int(is_open)} > /proc/sys/net/ipv4/ip_forward"], check=True)

    def wire_bytes(self):
        """Bytes to and from the centre since the start, with the headers of every layer."""
        statistics = pathlib.Path(f"/sys/class/net/{self.device}/statistics")
        return tuple(int((statistics / name).read_text()) for name in ("tx_bytes", "rx_bytes"))

    def close(self):
        for name in (self.near, self.far):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", self.device], capture_output=True)
