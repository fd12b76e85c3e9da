"""5,000 MQTT clients on a gateway: idle ones, slow ones and hostile ones stay inside the memory limit.

The figure is the high-water mark of the resident memory that the kernel keeps (VmHWM).
"""

import pathlib
import resource
import struct

import pytest

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
