"""An idempotent producer that remembers what was acknowledged, and the judge that reads everything back.

The judge's rules, per partition:
1. every acknowledged record is at the offset that was acknowledged, with the same bytes;
2. no value is there twice (idempotence is on);
3. offsets are dense from the log start offset to the end;
4. acknowledged values keep the order in which they were sent.
A record that was sent and not acknowledged may be there once or not at all.
"""

import hashlib
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

# An idempotent producer is told by these that it cannot know; anything else is a refusal.
PARTITIONS = 4


def payload(number, size):
    """A value that names itself and proves its bytes."""
    head = b"%012d " % number
    body = hashlib.sha256(head).hexdigest().encode()
    return (head + body * (size // 64 + 1))[:size]


class Workload:
    """Sends numbered records until stopped; restarts of the broker are librdkafka's to survive."""

    def __init__(self, bootstrap, topic, sizes=(120, 900, 100_000), rate_pause=0.0005,
                 clock=lambda: 0):
        # Timestamps of the records, ms; 0 is the present.
        self.clock = clock
        self.bootstrap = bootstrap
        self.topic = topic
        self.sizes = sizes
        self.rate_pause = rate_pause
        self.acknowledged = {}
        self.sent = 0
        self.failed = []
        self.fatal = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.producer = Producer({
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 1,
            "message.timeout.ms": 600_000,
            "socket.timeout.ms": 5_000,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 20,
            "queue.buffering.max.messages": 2_000,
            "error_cb": self._error,
            "log_level": 0,
        })

    def value_of(self, number):
        """The value of a record that was sent."""
        return payload(number, self.sizes[number % len(self.sizes)])

    def create_topic(self, seconds=30):
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        futures = admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)], operation_timeout=10)
        futures[self.topic].result(seconds)

    def start(self):
        self._thread.start()

    def finish(self, seconds=90):
        """Stops sending and waits until every record was acknowledged or refused."""
        self._stop.set()
        self._thread.join(30)
        left = self.producer.flush(seconds)
        assert left == 0, f"{left} records are neither acknowledged nor refused after {seconds} s"

    def wait_for_acknowledged(self, count, seconds=30):
        deadline = time.monotonic() + seconds
        while len(self.acknowledged) < count:
            assert time.monotonic() < deadline, (
                f"{len(self.acknowledged)} of {count} acknowledged, "
                f"failed {self.failed[:3]}, fatal {self.fatal}"
            )
            time.sleep(0.005)

    def _error(self, error):
        if error.fatal():
            self.fatal = str(error)

    def _delivered(self, number):
        def report(error, message):
            if error is None:
                self.acknowledged[number] = (message.partition(), message.offset())
            else:
                self.failed.append((number, str(error)))
        return report

    def _run(self):
        while not self._stop.is_set():
            number = self.sent
            value = self.value_of(number)
            try:
                self.producer.produce(self.topic, value, partition=number % PARTITIONS,
                                      timestamp=self.clock(),
                                      on_delivery=self._delivered(number))
                self.sent += 1
            except BufferError:
                self.producer.poll(0.05)
            self.producer.poll(0)
            time.sleep(self.rate_pause)


def read_all(bootstrap, topic, seconds=60):
    """Everything in the topic: {partition: [(offset, value), ...]}."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "judge", "enable.auto.commit": False,
        "auto.offset.reset": "error", "check.crcs": True, "log_level": 0,
    })
    try:
        ends, starts = {}, {}
        deadline = time.monotonic() + seconds
        for partition in range(PARTITIONS):
            while partition not in ends:
                try:
                    place = TopicPartition(topic, partition)
                    starts[partition], ends[partition] = consumer.get_watermark_offsets(place, 5)
                except KafkaException:
                    assert time.monotonic() < deadline, "watermarks cannot be read"
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in ends])
        records = {partition: [] for partition in ends}
        left = {partition for partition in ends if ends[partition] > starts[partition]}
        while left:
            assert time.monotonic() < deadline, f"partitions {left} were not read to their end"
            for message in consumer.consume(500, 1):
                assert message.error() is None, message.error()
                partition = message.partition()
                records[partition].append((message.offset(), message.value()))
                if message.offset() + 1 >= ends[partition]:
                    left.discard(partition)
        return records
    finally:
        consumer.close()


def judge(workload, records):
    """Applies the rules; returns figures for the report."""
    assert workload.fatal is None, workload.fatal
    for partition, found in records.items():
        offsets = [offset for offset, _ in found]
        if offsets:
            dense = list(range(offsets[0], offsets[0] + len(offsets)))
            assert offsets == dense, f"offsets of partition {partition} are not dense"
        values = [value for _, value in found]
        assert len(set(values)) == len(values), f"partition {partition} holds a value twice"
    by_place = {
        (partition, offset): value
        for partition, found in records.items() for offset, value in found
    }
    last = {}
    for number in sorted(workload.acknowledged):
        partition, offset = workload.acknowledged[number]
        expected = workload.value_of(number)
        found = by_place.get((partition, offset))
        assert found is not None, f"record {number}: lost at partition {partition}, offset {offset}"
        assert found == expected, f"record {number}: changed at {partition}/{offset}"
        assert offset > last.get(partition, -1), f"record {number}: out of order"
        last[partition] = offset
    return {
        "sent": workload.sent,
        "acknowledged": len(workload.acknowledged),
        "refused": len(workload.failed),
        "stored": len(by_place),
    }
