"""5,000 MQTT clients on a gateway: idle ones, slow ones, hostile ones, and subscribers of one topic stay
inside the memory limit.

The figure is the high-water mark of the resident memory that the kernel keeps (VmHWM). Where the machine
lets us make a memory cgroup the kernel enforces the limit, too.
"""

import os
import pathlib
import re
import resource
import struct

import pytest

import memory_cgroup
from broker import free_port
from mqtt_client import PINGRESP, PUBACK, Client, Closed, connect_packet, packet, publish_packet, string

CLIENTS = 5_000
SLOW = 60
MEMORY_BYTES = 130_000_000
FLOOD = bytes(100_000)


@pytest.fixture
def many_files():
    """As many descriptors as the system allows, for the clients and for the broker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= CLIENTS + 1000, "the hard limit of open files is too low"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def high_water_bytes(broker):
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def connect_all(port):
    """Every fourth client has a session that outlives it, every tenth one a subscription; all have
    published."""
    clients = []
    for number in range(CLIENTS):
        client = Client(port, f"sensor-{number:05}", clean=number % 4 != 0, keep_alive=0, timeout=60)
        if number % 10 == 0:
            client.subscribe(1, (f"command/{number}/#", 1))
        client.publish("state", "up", 1, 2)
        client.expect(PUBACK, 2)
        clients.append(client)
    return clients


def hostile_bytes(seeded):
    """A stream that is nearly MQTT: packets with lying lengths, torn, mutated."""
    valid = [
        connect_packet("x", clean=False, will=("w", "x" * 500, 1, True)), packet(0xC0, b""),
        publish_packet("a/b", "x" * 300, 1, 1), publish_packet("a", "x", 2, 2),
        packet(0x82, struct.pack(">H", 9) + string("#") + b"\1"), packet(0x62, b"\0\1"),
    ]
    stream = valid[0] if seeded.random() < 0.5 else b""
    for _ in range(seeded.randrange(1, 20)):
        data = bytearray(seeded.choice(valid))
        for _ in range(seeded.randrange(3)):
            data[seeded.randrange(len(data))] = seeded.randrange(256)
        stream += data
    # The longest packet that is taken, of which a part comes, or a length beyond all limits.
    return stream + seeded.choice([b"\x32\xff\xff\x0f" + bytes(50_000), b"\x30\xff\xff\xff\x7f", b""])


def be_hostile(port, seeded):
    for _ in range(12):
        crowd = [Client(port, connect=False, timeout=10) for _ in range(20)]
        for client in crowd:
            try:
                client.send(hostile_bytes(seeded))
            except Closed:
                pass
        for client in crowd:
            client.close()


IDLE = 3_000
# The goal is 4 KiB of the broker's own memory for a connection that does nothing.
IDLE_BYTES = 4096
UPGRADE = (b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Protocol: mqtt\r\nOrigin: https://plant.example\r\n"
           b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\r\n")


def connect_plain(port, number):
    return Client(port, f"idle-{number:05}", keep_alive=0, timeout=60)


def connect_websocket(port, number):
    client = Client(port, connect=False, timeout=60)
    client.send(UPGRADE)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.socket.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    # A mask of zeros changes nothing.
    body = connect_packet(f"idle-{number:05}", keep_alive=0)
    client.send(bytes([0x82, 0x80 | len(body), 0, 0, 0, 0]) + body)
    assert client.socket.recv(4096) == b"\x82\x04\x20\x02\0\0"
    return client


def resident_bytes(broker):
    pages = pathlib.Path(f"/proc/{broker.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("way", ["TCP", "WebSocket"])
def test_an_idle_connection_takes_little(start_broker, many_files, way):
    websocket_port = free_port()
    broker = start_broker(flags=["--memory", "130M", "--shards", "1", "--mqtt-websocket-listen",
                                 f"127.0.0.1:{websocket_port}"])
    connect = connect_plain if way == "TCP" else connect_websocket
    port = broker.mqtt_port if way == "TCP" else websocket_port
    # What is made once is made by the first ones.
    clients = [connect(port, number) for number in range(500)]
    before = resident_bytes(broker)
    clients += [connect(port, number) for number in range(500, 500 + IDLE)]
    each = (resident_bytes(broker) - before) / IDLE
    print(f"{way}: {each:.0f} bytes for each of {IDLE} idle connections")
    assert each <= IDLE_BYTES
    for client in clients:
        client.close()
    assert broker.stop() == 0


def test_five_thousand_clients_stay_inside_the_memory_limit(start_broker, seeded, many_files):
    broker = start_broker(flags=["--memory", "130M", "--shards", "1"])
    port = broker.mqtt_port
    clients = connect_all(port)
    idle = high_water_bytes(broker)
    slow = clients[:SLOW]
    for client in slow:
        client.subscribe(3, ("flood", 0))
    publisher = clients[-1]
    for number in range(1, 151):
        publisher.publish("flood", FLOOD, 1, number)
        publisher.expect(PUBACK, number)
        if number % 50 == 0:
            be_hostile(port, seeded)
    # Whoever is quiet was kept, and is answered.
    for client in clients[SLOW:]:
        client.ping()
    for client in clients[SLOW:]:
        assert client.receive()[0] == PINGRESP
    # A slow one that reads at last gets its messages from the log, in order.
    assert slow[0].message(timeout=30)[1] == FLOOD
    most = high_water_bytes(broker)
    print(f"high-water mark: {idle} bytes with {CLIENTS} idle clients, {most} at the end")
    assert most <= MEMORY_BYTES
    for client in clients:
        client.close()
    assert broker.stop() == 0


@pytest.fixture
def limited():
    """A memory cgroup of the limit; None where the machine does not let us make one."""
    reason = memory_cgroup.why_not()
    if reason:
        print(f"no memory cgroup ({reason}): only VmHWM is looked at")
        yield None
        return
    cgroup = memory_cgroup.MemoryCgroup(f"sluice-mqtt-{os.getpid()}", MEMORY_BYTES)
    yield cgroup
    cgroup.remove()


NEWS = 40
# Of 5,000 subscribers so many keep all that they get unacknowledged until the others have everything.
LATE = 100


def news(number):
    return f"news {number} ".ljust(200, "x").encode()


def subscribe_all(port):
    """Subscribers of one topic: every fourth with a session that outlives it, every fifth with QoS 0."""
    subscribers = []
    for number in range(CLIENTS):
        client = Client(port, f"reader-{number:05}", clean=number % 4 != 0, keep_alive=0, timeout=60)
        qos = 0 if number % 5 == 4 else 1
        assert client.subscribe(1, ("news", qos)) == [qos]
        subscribers.append((client, qos))
    return subscribers


def take_news(client, qos, count, acknowledge=True):
    """The next messages, each once and in order, with the quality of the subscription."""
    found = [client.message(60, acknowledge) for _ in range(count)]
    assert {(topic, quality, retain) for topic, _, quality, retain, _ in found} == {("news", qos, False)}
    return [payload for _, payload, *_ in found], [packet_id for *_, packet_id in found]


def cpu_seconds(broker):
    fields = pathlib.Path(f"/proc/{broker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counted(broker, name):
    found = re.findall(rf"^{name}(?:{{.*}})? ([0-9.e+]+)$", broker.metrics(), re.M)
    assert found, name
    return sum(map(float, found))


def test_five_thousand_subscribers_of_one_topic_get_each_message_once(
        start_broker, many_files, limited, tmp_path):
    broker = start_broker(flags=["--memory", "130M", "--shards", "1"])
    if limited:
        assert broker.stop() == 0
        broker.prefix = limited.prefix()
        broker.start()
        assert limited.processes() == [broker.process.pid]
    port = broker.mqtt_port
    publisher = Client(port, "publisher", timeout=60)
    subscribers = subscribe_all(port)
    idle, cpu = high_water_bytes(broker), cpu_seconds(broker)
    for number in range(1, NEWS + 1):
        publisher.publish("news", news(number), 1, number)
        publisher.expect(PUBACK, number)
    expected = [news(number) for number in range(1, NEWS + 1)]
    late = [client for client, qos in subscribers if qos == 1][:LATE]
    # Their window is 32 messages: the other ones wait in the log.
    held = {client: take_news(client, 1, 32, acknowledge=False) for client in late}
    for client, qos in subscribers:
        if client not in held:
            assert take_news(client, qos, NEWS)[0] == expected
    assert counted(broker, "sluice_mqtt_deliveries_total") == NEWS * (CLIENTS - LATE) + 32 * LATE
    cpu = cpu_seconds(broker) - cpu
    reads = counted(broker, "sluice_mqtt_subscriber_reads_total")
    for client, (payloads, packet_ids) in held.items():
        for packet_id in packet_ids:
            client.send(packet(0x40, struct.pack(">H", packet_id)))
        assert payloads + take_news(client, 1, NEWS - 32)[0] == expected
    # Nobody gets anything twice.
    for client, _ in subscribers:
        client.ping()
    for client, _ in subscribers:
        assert client.receive()[0] == PINGRESP
    most = high_water_bytes(broker)
    deliveries = counted(broker, "sluice_mqtt_deliveries_total")
    print(f"high-water mark: {idle} bytes with {CLIENTS} subscribers, {most} at the end; "
          f"{cpu / deliveries * 1e6:.1f} µs of CPU and {reads / deliveries:.4f} reads for a delivery")
    assert deliveries == NEWS * CLIENTS
    assert most <= MEMORY_BYTES
    if limited:
        assert limited.oom_kills() == 0
    for client, _ in subscribers:
        client.close()
    assert broker.stop() == 0
