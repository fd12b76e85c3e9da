"""What the Python suites share: the broker under test, fresh names, waiting with a deadline."""

import itertools
import os
import time

import pytest

_numbers = itertools.count()


def fresh(word):
    """A name that no other test of any run has used."""
    return f"{word}-{os.getpid()}-{time.time_ns() % 10**9}-{next(_numbers)}"


def eventually(look, seconds=15, what="the condition"):
    """Calls look until it gives something true, and returns that; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def bootstrap():
    """host:port of the broker; the suites start none themselves (see tests/with-broker)."""
    address = os.environ.get("BOOTSTRAP")
    assert address, "set BOOTSTRAP=host:port, or use tests/with-broker"
    return address
