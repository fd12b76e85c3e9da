"""A full disk: errors for what does not fit, nothing lost, and work goes on when room is made."""

import collections
import os
import subprocess
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from workload import PARTITIONS, Workload, judge, read_all

# The sizes of a gateway: the journals of a server alone would fill the disk.
GATEWAY = ["--memory", "130M", "--shards", "1"]


def fill(path, leave_bytes):
    """Takes all free room of the file system but `leave_bytes`."""
    with open(path, "wb") as ballast:
        room = os.statvfs(path.parent)
        size = max(0, room.f_bavail * room.f_frsize - leave_bytes)
        os.posix_fallocate(ballast.fileno(), 0, max(1, size))


def wait_until_refused(broker, workload):
    """Waits until nothing has been acknowledged for three seconds; returns how much was before."""
    stalled_since, last = time.monotonic(), len(workload.acknowledged)
    deadline = time.monotonic() + 60
    while time.monotonic() - stalled_since < 3:
        assert broker.is_running(), "the broker died of a full disk"
        assert time.monotonic() < deadline, "the disk is full and everything is still acknowledged"
        if len(workload.acknowledged) != last:
            stalled_since, last = time.monotonic(), len(workload.acknowledged)
        time.sleep(0.05)
    return last


def wait_until_healthy(broker, seconds=30):
    deadline = time.monotonic() + seconds
    while (health := broker.health())[0] != 200:
        assert time.monotonic() < deadline, health
        time.sleep(0.1)


def committed(consumer, topic):
    """What the group has committed, by partition."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    return {one.partition: one.offset for one in consumer.committed(partitions, timeout=20)}


# With small segments there are closed ones, which nobody may take for room that is missing.
@pytest.mark.parametrize("segment_bytes", [16 << 20, 256 << 10])
def test_disk_full_at_a_random_moment_recovers_by_itself_when_room_is_made(
        seeded, start_broker, loop_disk, segment_bytes):
    disk = loop_disk(megabytes=256)
    flags = [*GATEWAY, "--log-segment-bytes", str(segment_bytes)]
    broker = start_broker(data=disk.mount / "data", flags=flags)
    workload = Workload(broker.bootstrap, "full", sizes=(120, 900, 70_000))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(seeded.randrange(50, 500))
    ballast = disk.mount / "ballast"
    fill(ballast, leave_bytes=seeded.randrange(0, 2_000_000))
    last = wait_until_refused(broker, workload)
    status, text = broker.health()
    assert status == 503 and "disk" in text, f"/readyz says {status} {text}"
    ballast.unlink()
    workload.wait_for_acknowledged(last + 200, seconds=60)
    workload.finish()
    figures = judge(workload, read_all(broker.bootstrap, "full"))
    print(f"full disk: {figures}")
    assert broker.health()[0] == 200
    assert broker.stop() == 0


def test_consumers_go_on_committing_out_of_the_reserve_while_producers_are_refused(
        start_broker, loop_disk):
    disk = loop_disk(megabytes=256)
    broker = start_broker(data=disk.mount / "data", flags=GATEWAY)
    workload = Workload(broker.bootstrap, "reserve", sizes=(120, 900))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(500)
    # Half of the reserve of 64 MiB: nothing is left for data.
    ballast = disk.mount / "ballast"
    fill(ballast, leave_bytes=32 << 20)
    last = wait_until_refused(broker, workload)
    assert broker.health()[0] == 503
    settings = {"bootstrap.servers": broker.bootstrap, "group.id": "readers",
                "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer(settings)
    consumer.subscribe(["reserve"])
    # More than a ring of the journal: 16 MiB, and each commit of offsets takes a block of 4 KiB.
    record = consumer.poll(20)
    assert record is not None and record.error() is None, record
    for _ in range(5_000):
        record = consumer.poll(0) or record
        consumer.commit(record, asynchronous=False)
    wanted = committed(consumer, "reserve")
    assert wanted[record.partition()] == record.offset() + 1
    # Topics are what an operator removes to make room.
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic("short-lived", 1, 1)])["short-lived"].result(20)
    admin.delete_topics(["short-lived"])["short-lived"].result(20)
    assert broker.health()[0] == 503, "producers are still refused"
    broker.kill()
    broker.start()
    assert committed(consumer, "reserve") == wanted
    consumer.close()
    ballast.unlink()
    workload.wait_for_acknowledged(last + 200, seconds=60)
    workload.finish()
    judge(workload, read_all(broker.bootstrap, "reserve"))
    wait_until_healthy(broker)
    assert broker.stop() == 0


@pytest.mark.parametrize("leave_bytes", [0, 32 << 20])
def test_a_disk_that_is_full_at_the_start_is_read_and_recovers_by_itself(
        start_broker, loop_disk, leave_bytes):
    disk = loop_disk(megabytes=256)
    broker = start_broker(data=disk.mount / "data", flags=GATEWAY)
    workload = Workload(broker.bootstrap, "start", sizes=(120, 900, 70_000))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(500)
    ballast = disk.mount / "ballast"
    fill(ballast, leave_bytes)
    last = wait_until_refused(broker, workload)
    broker.kill()
    broker.start()
    # The producer tries again at once, so it is known soon.
    deadline = time.monotonic() + 30
    while broker.health()[0] == 200:
        assert time.monotonic() < deadline, "nobody says that the disk is full"
        time.sleep(0.1)
    assert "disk is full" in broker.health()[1]
    found = read_all(broker.bootstrap, "start")
    assert sum(len(records) for records in found.values()) >= last
    assert broker.stop() == 0, "a full disk is no reason to fail at the stop"
    broker.start()
    ballast.unlink()
    workload.wait_for_acknowledged(last + 200, seconds=60)
    workload.finish()
    judge(workload, read_all(broker.bootstrap, "start"))
    wait_until_healthy(broker)
    assert broker.stop() == 0


def test_bulk_producers_are_answered_while_the_disk_is_full(start_broker, loop_disk):
    """Large batches skip the journal and wait for their segment: without an answer in the time that
    the client gives they would fill the memory for requests, and nobody else would be served.
    """
    disk = loop_disk(megabytes=256)
    broker = start_broker(data=disk.mount / "data", flags=GATEWAY)
    failed, delivered = collections.Counter(), set()

    def handle(error, message):
        if error is not None:
            failed[error.code()] += 1
        else:
            delivered.add(message.value()[:8])

    producer = Producer({
        "bootstrap.servers": broker.bootstrap, "linger.ms": 5, "batch.num.messages": 100_000,
        "request.timeout.ms": 2_000, "message.timeout.ms": 20_000, "enable.idempotence": True,
    })
    sent, ending = 0, time.monotonic() + 40
    while time.monotonic() < ending and len(failed) == 0:
        try:
            producer.produce("bulk", b"%08d" % sent + b"x" * 1_000, on_delivery=handle)
            sent += 1
            producer.poll(0)
        except BufferError:
            producer.poll(0.05)
    assert failed, "the disk never became full"
    assert broker.is_running() and broker.health()[0] == 503
    # Somebody else is served meanwhile: what is stored can be read, small requests are answered.
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "bulk",
                         "enable.auto.commit": False})
    consumer.assign([TopicPartition("bulk", 0, 0)])
    (first,) = consumer.consume(1, timeout=10)
    assert first.error() is None and first.value().startswith(b"00000000")
    consumer.close()
    producer.purge()
    producer.flush(30)
    for name in os.listdir(disk.mount):
        assert name in ("data", "lost+found"), name
    assert broker.stop(seconds=20) == 0
    print(f"{len(delivered)} delivered, failed by code: {dict(failed)}")


def test_a_limit_of_file_sizes_is_a_full_disk_until_it_is_lifted(start_broker):
    """Beyond `ulimit -f` the kernel sends SIGXFSZ, which would end the broker, and then EFBIG."""
    # The ring of the journal stays below the limit, the segment does not.
    broker = start_broker(flags=[*GATEWAY, "--log-segment-bytes", str(64 << 20)])
    workload = Workload(broker.bootstrap, "limited", sizes=(70_000,))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(20)
    subprocess.run(["prlimit", f"--fsize={8 << 20}:", f"--pid={broker.process.pid}"], check=True)
    last = wait_until_refused(broker, workload)
    status, text = broker.health()
    assert status == 503 and "ulimit -f" in text, f"/readyz says {status} {text}"
    told = broker.output.read_text().count("appends are refused")
    assert told == 1, f"told {told} times"
    subprocess.run(["prlimit", "--fsize=unlimited:", f"--pid={broker.process.pid}"], check=True)
    workload.wait_for_acknowledged(last + 200, seconds=60)
    workload.finish()
    judge(workload, read_all(broker.bootstrap, "limited"))
    wait_until_healthy(broker)
    assert broker.stop() == 0
