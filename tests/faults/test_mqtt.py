"""MQTT publishers under kill -9: every acknowledged publish is there, in order per client, and with
QoS 2 once."""

import collections
import threading

import pytest
from confluent_kafka import Consumer, TopicPartition

import broker  # noqa: F401  (puts tests/ on the path)
from mqtt_client import PUBACK, PUBCOMP, PUBREC, Client, Closed


class Publisher(threading.Thread):
    """Publishes numbers in order, a window at a time; sends again what was not acknowledged."""

    def __init__(self, port, number, stop):
        super().__init__()
        self.port, self.name_, self.stop = port, f"sensor-{number}", stop
        self.topic = f"plant/{number}"
        self.acknowledged, self.next_number = 0, 1

    def run(self):
        while not self.stop.is_set():
            try:
                self.session()
            except (Closed, OSError, AssertionError):
                self.stop.wait(0.02)

    def session(self):
        client = Client(self.port, self.name_, clean=False, timeout=5)
        while not self.stop.is_set():
            first = self.acknowledged + 1
            numbers = range(first, first + 8)
            for number in numbers:
                again = number < self.next_number
                client.publish(self.topic, str(number), 1, identifier(number), dup=again)
                self.next_number = max(self.next_number, number + 1)
            for number in numbers:
                client.expect(PUBACK, identifier(number))
                self.acknowledged = number
        client.disconnect()


class ExactPublisher(Publisher):
    """The same with QoS 2: four at a time, each through all of its packets, over any number of
    connections."""

    WINDOW = 4

    def __init__(self, port, number, stop):
        super().__init__(port, number, stop)
        self.open = {}
        self.was_connected = False
        self.lost_sessions = 0

    def session(self):
        client = Client(self.port, self.name_, clean=False, timeout=5)
        if self.was_connected and not client.session_present:
            self.lost_sessions += 1
        self.was_connected = True
        for number, state in self.open.items():
            self.send(client, number, state, dup=True)
        while not self.stop.is_set() or self.open:
            while len(self.open) < self.WINDOW and not self.stop.is_set():
                number = self.next_number
                # Counted before it is sent: a send that fails may have arrived all the same.
                self.next_number += 1
                self.open[number] = "published"
                self.send(client, number, "published", dup=False)
            kind, _, body = client.receive()
            number = next(n for n in self.open if identifier(n) == int.from_bytes(body[:2], "big"))
            if kind == PUBREC:
                self.acknowledged = max(self.acknowledged, number)
                self.open[number] = "received"
                client.release(identifier(number))
            else:
                assert kind == PUBCOMP
                self.open.pop(number)
        client.disconnect()

    def send(self, client, number, state, dup):
        if state == "published":
            client.publish(self.topic, str(number), 2, identifier(number), dup=dup)
        else:
            client.release(identifier(number))

    def run(self):
        while not self.stop.is_set() or self.open:
            try:
                self.session()
            except (Closed, OSError):
                self.stop.wait(0.02)


def identifier(number):
    return (number - 1) % 60000 + 1


def values_by_key(bootstrap, topic):
    """The numbers of each publisher, in the order of the log."""
    values = values_by_topic(bootstrap, topic)
    return collections.defaultdict(list, {
        key: [int(value) for value in found] for key, found in values.items()
    })


def values_by_topic(bootstrap, topic="mqtt"):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "judge",
                         "enable.auto.commit": False})
    found = collections.defaultdict(list)
    for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
        place = TopicPartition(topic, partition, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        offset = 0
        while offset < end:
            message = consumer.poll(10)
            assert message is not None and message.error() is None
            offset = message.offset() + 1
            found[message.key().decode()].append(message.value())
    consumer.close()
    return found


@pytest.mark.parametrize("shards", [1, 2])
def test_kill_keeps_every_exactly_once_publish_once(seeded, start_broker, shards, request):
    cycles = request.config.getoption("--cycles") or 15
    broker = start_broker(flags=["--shards", str(shards)])
    stop = threading.Event()
    publishers = [ExactPublisher(broker.mqtt_port, number, stop) for number in range(4)]
    for one in publishers:
        one.start()
    for _ in range(cycles):
        for one in publishers:
            wanted = one.acknowledged + seeded.randrange(1, 12)
            for _ in range(1500):
                if one.acknowledged >= wanted:
                    break
                stop.wait(0.01)
            assert one.acknowledged >= wanted, "publishing goes on"
        broker.kill()
        broker.start()
    stop.set()
    for one in publishers:
        one.join(30)
        assert not one.is_alive()
    found = values_by_key(broker.bootstrap, "mqtt")
    for one in publishers:
        assert one.lost_sessions == 0
        assert found[one.topic] == list(range(1, one.next_number)), one.topic
    assert broker.stop() == 0


@pytest.mark.parametrize("shards", [1, 2])
def test_kill_keeps_every_acknowledged_publish_in_order(seeded, start_broker, shards, request):
    cycles = request.config.getoption("--cycles") or 15
    broker = start_broker(flags=["--shards", str(shards)])
    stop = threading.Event()
    publishers = [Publisher(broker.mqtt_port, number, stop) for number in range(6)]
    for one in publishers:
        one.start()
    for _ in range(cycles):
        before = [one.acknowledged for one in publishers]
        for one, count in zip(publishers, before):
            for _ in range(1500):
                if one.acknowledged > count + seeded.randrange(1, 20):
                    break
                stop.wait(0.01)
            assert one.acknowledged > count, "publishing goes on"
        broker.kill()
        broker.start()
    stop.set()
    for one in publishers:
        one.join()
    found = values_by_key(broker.bootstrap, "mqtt")
    for one in publishers:
        values = found[one.topic]
        missing = set(range(1, one.acknowledged + 1)) - set(values)
        assert not missing, sorted(missing)[:5]
        # At least once: what was sent again may be there twice; the first ones are in order.
        firsts = list(dict.fromkeys(values))
        assert firsts == sorted(firsts)
    assert broker.stop() == 0


@pytest.mark.parametrize("shards", [1, 2])
def test_kill_keeps_sessions_and_what_is_retained(start_broker, shards):
    broker = start_broker(flags=["--shards", str(shards)])
    reader = Client(broker.mqtt_port, "reader", clean=False)
    reader.subscribe(1, ("plant/#", 1))
    writer = Client(broker.mqtt_port, "writer", clean=False)
    writer.publish("plant/a", "kept", 1, 1, retain=True)
    writer.expect(PUBACK, 1)
    assert reader.message()[:2] == ("plant/a", b"kept")
    writer.publish("plant/b", "exact", 2, 7)
    writer.expect(PUBREC, 7)
    broker.kill()
    broker.start()
    writer = Client(broker.mqtt_port, "writer", clean=False)
    assert writer.session_present
    writer.publish("plant/b", "exact", 2, 7, dup=True)
    writer.expect(PUBREC, 7)
    writer.release(7)
    writer.expect(PUBCOMP, 7)
    reader = Client(broker.mqtt_port, "reader", clean=False)
    assert reader.session_present
    seen = []
    while not seen or seen[-1] != ("plant/b", b"exact"):
        seen.append(reader.message()[:2])
    reader.is_quiet()
    # At least once: what was acknowledged just before the kill may come again.
    assert seen in ([("plant/b", b"exact")], [("plant/a", b"kept"), ("plant/b", b"exact")])
    late = Client(broker.mqtt_port, "late")
    late.subscribe(1, ("plant/a", 0))
    assert late.message()[:4] == ("plant/a", b"kept", 0, True)
    assert values_by_topic(broker.bootstrap)["plant/b"] == [b"exact"]
    for client in (reader, writer, late):
        client.disconnect()
    assert broker.stop() == 0


class Worker(threading.Thread):
    """A member of a shared subscription with a session; it comes back whenever it is cut off."""

    def __init__(self, port, number, stop, found):
        super().__init__()
        self.port, self.name_, self.stop, self.found = port, f"worker-{number}", stop, found

    def run(self):
        while not self.stop.is_set():
            try:
                client = Client(self.port, self.name_, clean=False, timeout=5)
                if not client.session_present:
                    assert client.subscribe(1, ("$share/workers/plant/#", 1)) == [1]
                while not self.stop.is_set():
                    try:
                        topic, payload = client.message(0.2)[:2]
                    except TimeoutError:
                        continue
                    self.found.append((topic, int(payload)))
            except (Closed, OSError, AssertionError):
                self.stop.wait(0.02)


@pytest.mark.parametrize("shards", [1, 2])
def test_kill_keeps_what_a_group_of_subscribers_is_to_get(seeded, start_broker, shards, request):
    """Every acknowledged publish reaches a member of the group, over any number of kills."""
    cycles = request.config.getoption("--cycles") or 8
    broker = start_broker(flags=["--shards", str(shards)])
    stop, enough, found = threading.Event(), threading.Event(), []
    workers = [Worker(broker.mqtt_port, number, stop, found) for number in range(3)]
    for number, one in enumerate(workers):
        client = Client(broker.mqtt_port, one.name_, clean=False)
        assert client.subscribe(1, ("$share/workers/plant/#", 1)) == [1]
        client.disconnect()
    # All are away: the first messages wait for them.
    publishers = [Publisher(broker.mqtt_port, number, enough) for number in range(4)]
    for one in publishers:
        one.start()
    for cycle in range(cycles):
        wanted = [one.acknowledged + seeded.randrange(5, 40) for one in publishers]
        for one, count in zip(publishers, wanted):
            for _ in range(1500):
                if one.acknowledged >= count:
                    break
                stop.wait(0.01)
            assert one.acknowledged >= count, "publishing goes on"
        broker.kill()
        broker.start()
        if cycle == 0:
            for one in workers:
                one.start()
    enough.set()
    for one in publishers:
        one.join()
    wanted = {(one.topic, number) for one in publishers for number in range(1, one.acknowledged + 1)}
    for _ in range(300):
        if wanted <= set(found):
            break
        stop.wait(0.1)
    stop.set()
    for one in workers:
        one.join(10)
    missing = wanted - set(found)
    assert not missing, (len(missing), sorted(missing)[:5])
    print(f"{len(wanted)} messages, {len(found)} deliveries, {cycles} kills")
    assert broker.stop() == 0
