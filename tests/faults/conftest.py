"""Fixtures of the fault tests: a place for data, a broker that is always ended, figures at the end."""

import random
import sys
import pathlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from broker import Broker  # noqa: E402
import fault_disk as faulty  # noqa: E402
from mirror import Mirrored  # noqa: E402
from loop_disk import LoopDisk, why_not  # noqa: E402


@pytest.fixture
def seeded(request):
    """The randomness of one test; its seed is in the report of a failure."""
    seed = int(request.config.getoption("--seed") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}")
    return random.Random(seed)


def pytest_addoption(parser):
    parser.addoption("--seed", help="seed of the random moments, printed by each failing test")
    parser.addoption("--cycles", type=int, help="cycles of kill and power cut instead of 100 and 30")
    parser.addoption("--kills", type=int, help="kills of the mirroring gateway instead of 100")
    parser.addoption("--frames", type=int, help="mutated frames of each key and version, not 300")


@pytest.fixture
def start_broker(tmp_path):
    """Makes brokers and kills those that are left when the test ends."""
    made = []

    def prepare(data=None, flags=()):
        broker = Broker(data or tmp_path / "data", tmp_path / f"broker-{len(made)}.log", flags)
        made.append(broker)
        return broker

    def make(data=None, flags=()):
        broker = prepare(data, flags)
        broker.start()
        return broker

    def end():
        for broker in made:
            if broker.process is not None and broker.is_running():
                broker.kill()

    # Disks end the brokers before they are unmounted.
    make.end = end
    make.without_start = prepare
    yield make
    end()
    for broker in made:
        print(broker.log())


@pytest.fixture
def loop_disk(tmp_path, start_broker):
    """Makes small disks and unmounts them after the brokers that the test started are gone."""
    made = []

    def make(megabytes):
        reason = why_not()
        if reason:
            pytest.skip(reason)
        disk = LoopDisk(tmp_path, megabytes)
        made.append(disk)
        return disk

    yield make
    start_broker.end()
    for disk in made:
        disk.detach()


@pytest.fixture
def fault_disk(tmp_path, start_broker):
    """Mounts a disk that fails when told to, and unmounts it after the brokers are gone."""
    made = []

    def make():
        reason = faulty.why_not()
        if reason:
            pytest.skip(reason)
        disk = faulty.FaultDisk(tmp_path)
        made.append(disk)
        return disk

    yield make
    for disk in made:
        # A killed broker does not go before its writes.
        disk.tell("release")
    start_broker.end()
    for disk in made:
        disk.detach()


@pytest.fixture
def mirrored(tmp_path):
    """Makes gateways with their centre and the link between them; all end with the test."""
    made = []

    def make(kind, **options):
        made.append(Mirrored(tmp_path, kind, **options))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.end()
        print(one.gateway.log())
