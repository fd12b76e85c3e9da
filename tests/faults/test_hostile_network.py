"""Hostile clients: the broker stays alive and inside its memory, and an honest client notices nothing."""

import pathlib
import random
import socket
import struct
import threading
import time

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from workload import Workload, judge, read_all

MEMORY_LIMIT_BYTES = 130_000_000
FRAMES = pathlib.Path(__file__).parents[2] / "kafka-lite" / "testdata" / "frames"
API_VERSIONS_V0 = struct.pack(">ihhih", 10, 18, 0, 7, -1)
NUMBERS = [0, 1, -1, 0x7F, 0x80, 0xFF, 0x7FFF, -0x8000, 0x7FFFFFFF, -0x80000000, 0x10000]


def captured_requests():
    """One request frame of real clients for each key and version, without its length."""
    found = {}
    for path in sorted(FRAMES.glob("*.txt")):
        for line in path.read_text().splitlines():
            words = line.split()
            if words and words[0] == "request":
                found.setdefault((int(words[1]), int(words[2])), []).append(bytes.fromhex(words[3]))
    assert len(found) > 30, "the frames are there"
    return found


def mutated(rng, frame):
    """The frame with one to five faults; key and version mostly stay."""
    bytes_ = bytearray(frame)
    for _ in range(rng.randrange(1, 6)):
        if not bytes_:
            break
        place = rng.randrange(0 if rng.random() < 0.05 else min(8, len(bytes_) - 1), len(bytes_))
        kind = rng.randrange(6)
        if kind == 0:
            bytes_[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            bytes_[place:place + 4] = struct.pack(">i", rng.choice(NUMBERS))
        elif kind == 2:
            bytes_[place:place + 1] = b"\xff\xff\xff\xff\x0f"
        elif kind == 3:
            del bytes_[place:place + rng.randrange(1, 20)]
        elif kind == 4:
            bytes_[place:place] = rng.randbytes(rng.randrange(1, 20))
        else:
            del bytes_[place:]
    return bytes(bytes_)


class Watch:
    """Samples memory and descriptors of the broker while hostile clients are at work."""

    def __init__(self, broker):
        self.broker = broker
        self.process = pathlib.Path(f"/proc/{broker.process.pid}")
        self.descriptors_before = self.descriptors()
        self.resident_most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resident_bytes(self):
        lines = (self.process / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def descriptors(self):
        return len(list((self.process / "fd").iterdir()))

    def _run(self):
        while not self._stop.wait(0.05) and self.broker.is_running():
            self.resident_most = max(self.resident_most, self.resident_bytes())

    def finish(self):
        self._stop.set()
        self._thread.join(5)
        assert self.broker.is_running(), self.broker.log()
        self.resident_most = max(self.resident_most, self.resident_bytes())
        assert self.resident_most <= MEMORY_LIMIT_BYTES, f"{self.resident_most} bytes resident"
        deadline = time.monotonic() + 20
        # The few more are files of logs that were created meanwhile.
        while self.descriptors() > self.descriptors_before + 40:
            assert time.monotonic() < deadline, (
                f"{self.descriptors()} descriptors, {self.descriptors_before} before")
            time.sleep(0.1)


@pytest.fixture
def honest(start_broker):
    """A small broker and an honest client that produces all the time; judged at the end."""
    broker = start_broker(flags=["--memory", "130M"])
    workload = Workload(broker.bootstrap, "honest", sizes=(120, 900, 20_000))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(20)
    watch = Watch(broker)
    yield broker, workload
    watch.finish()
    workload.wait_for_acknowledged(len(workload.acknowledged) + 50)
    workload.finish()
    figures = judge(workload, read_all(broker.bootstrap, "honest"))
    print(f"honest client: {figures}, at most {watch.resident_most} bytes resident")
    assert figures["refused"] == 0, workload.failed[:3]
    assert broker.stop() == 0


def connect(broker, greets=False):
    connection = socket.create_connection(("127.0.0.1", broker.port), timeout=5)
    if greets:
        connection.sendall(API_VERSIONS_V0)
        assert connection.recv(4), "an honest greeting is answered"
    return connection


def is_closed(connection, seconds=5):
    """Whether the broker closes the connection in time; answers before that are let pass."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_mutated_requests_of_every_version(request, seeded, honest):
    broker, _ = honest
    each = request.config.getoption("--frames") or 300
    sent = 0
    for (key, version), frames in captured_requests().items():
        rng = random.Random(seeded.randrange(1 << 62))
        for _ in range(each // 5):
            with connect(broker, greets=rng.random() < 0.8) as connection:
                for _ in range(5):
                    frame = mutated(rng, rng.choice(frames))
                    try:
                        connection.sendall(struct.pack(">i", len(frame)) + frame)
                    except ConnectionError:
                        break
                    sent += 1
        assert broker.is_running(), f"key {key} version {version}: {broker.log()}"
    print(f"{sent} mutated requests")
    assert sent > each * 20


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x40000000, 100 << 20, -1, -0x80000000, 0, 3])
@pytest.mark.parametrize("greets", [False, True])
def test_a_length_that_lies_closes_the_connection(honest, length, greets):
    broker, _ = honest
    with connect(broker, greets) as connection:
        connection.sendall(struct.pack(">i", length) + b"\x00" * 16)
        assert is_closed(connection), f"length {length} keeps the connection"


@pytest.mark.parametrize("greets", [False, True])
def test_counts_and_lengths_inside_a_request_that_lie(honest, greets):
    broker, _ = honest
    bombs = [
        struct.pack(">hhihi", 3, 1, 1, -1, 0x7FFFFFFF),
        struct.pack(">hhihi", 3, 1, 1, -1, -2),
        struct.pack(">hhih", 3, 9, 1, -1) + b"\x00\xff\xff\xff\xff\x0f",
        struct.pack(">hhih", 3, 12, 1, -1) + b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        struct.pack(">hhihhhii", 0, 3, 1, -1, -1, -1, 1000, 0x7FFFFFFF),
        struct.pack(">hhih", 18, 3, 1, 0x7FFF),
        struct.pack(">hhih", 1, 12, 1, -1) + b"\xff\xff\xff\xff\x0f" * 4,
        struct.pack(">hhihi", 19, 2, 1, -1, 0x01000000) + b"\x00" * 1000,
    ]
    for bomb in bombs:
        with connect(broker, greets) as connection:
            connection.sendall(struct.pack(">i", len(bomb)) + bomb)
            assert is_closed(connection), f"{bomb[:24].hex()} keeps the connection"


def test_half_sent_frames_of_many_connections(honest):
    broker, workload = honest
    slow = []
    try:
        for number in range(200):
            connection = connect(broker, greets=number % 2 == 0)
            # Some never finish the length, some never the frame.
            half = b"\x00\x00" if number % 3 == 0 else struct.pack(">i", 30_000) + b"\x00\x03"
            connection.sendall(half)
            slow.append(connection)
        before = len(workload.acknowledged)
        for _ in range(20):
            for connection in slow:
                try:
                    connection.send(b"\x00")
                except ConnectionError:
                    pass
            time.sleep(0.05)
        workload.wait_for_acknowledged(before + 100)
    finally:
        for connection in slow:
            connection.close()


def test_half_sent_large_frames_give_their_memory_back_to_those_who_wait(honest):
    broker, workload = honest
    slow = []
    try:
        # More than all request memory of the broker.
        for _ in range(60):
            connection = connect(broker)
            connection.sendall(API_VERSIONS_V0)
            connection.sendall(struct.pack(">ihhihh", 1_000_000, 0, 9, 1, -1, 0) + b"\x00" * 3000)
            slow.append(connection)
        before = len(workload.acknowledged)
        workload.wait_for_acknowledged(before + 100, seconds=60)
    finally:
        for connection in slow:
            connection.close()


def test_half_sent_largest_frames_keep_small_requests_of_nobody(honest):
    broker, _ = honest
    slow = []
    try:
        # Two of them take all memory of large requests; the next ones queue up behind.
        for _ in range(30):
            connection = connect(broker, greets=True)
            connection.sendall(struct.pack(">ihhihh", 8_000_000, 0, 9, 1, -1, 0) + b"\x00" * 3000)
            slow.append(connection)
        for _ in range(20):
            connect(broker, greets=True).close()
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_decompression_bomb_to_a_compacted_topic(honest, codec):
    broker, _ = honest
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    topic = NewTopic("bombs", 1, 1, config={"cleanup.policy": "compact"})
    admin.create_topics([topic], operation_timeout=10)["bombs"].result(30)
    producer = Producer({
        "bootstrap.servers": broker.bootstrap, "compression.type": codec, "log_level": 0,
        "message.max.bytes": 100_000_000, "message.timeout.ms": 10_000, "retries": 0,
    })
    outcomes = []
    for _ in range(3):
        try:
            producer.produce("bombs", key=b"k", value=b"\x00" * 60_000_000,
                             on_delivery=lambda error, _: outcomes.append(error))
        except (BufferError, KafkaException) as error:
            pytest.fail(f"the client refuses: {error}")
        producer.flush(30)
    print(f"{codec}: {[str(error) for error in outcomes]}")
    assert len(outcomes) == 3 and all(outcomes), "60 MB in one record were taken"
