"""A small MQTT 3.1.1 client that does exactly what a test says, and nothing by itself."""

import socket
import struct
import time

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 11, 12, 13, 14


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">H", len(data)) + data


def packet(first, body):
    """A packet with its fixed header."""
    length, head = len(body), bytes([first])
    while True:
        low, length = length & 0x7F, length >> 7
        head += bytes([low | (0x80 if length else 0)])
        if not length:
            return head + body


def connect_packet(client_id, clean=True, keep_alive=60, user=None, password=None, will=None):
    flags, tail = 2 if clean else 0, b""
    if will is not None:
        topic, payload, qos, retain = will
        flags |= 4 | qos << 3 | (0x20 if retain else 0)
        tail += string(topic) + string(payload)
    if user is not None:
        flags |= 0x80
        tail += string(user)
    if password is not None:
        flags |= 0x40
        tail += string(password)
    head = string("MQTT") + bytes([4, flags]) + struct.pack(">H", keep_alive)
    return packet(0x10, head + string(client_id) + tail)


def publish_packet(topic, payload, qos=0, packet_id=0, dup=False, retain=False):
    payload = payload.encode() if isinstance(payload, str) else payload
    first = 0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    identifier = struct.pack(">H", packet_id) if qos else b""
    return packet(first, string(topic) + identifier + payload)


class Closed(Exception):
    """The server has closed the connection."""


class Client:
    """One connection."""

    def __init__(self, port, client_id="", host="127.0.0.1", timeout=10, connect=True, **options):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.session_present = False
        if connect:
            self.send(connect_packet(client_id, **options))
            kind, _, body = self.receive()
            assert kind == CONNACK, kind
            self.code = body[1]
            self.session_present = body[0] == 1

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def receive(self, timeout=None):
        """The next packet: kind, flags, body."""
        if timeout is not None:
            self.socket.settimeout(timeout)
        while True:
            found = self._split()
            if found:
                return found
            try:
                chunk = self.socket.recv(65536)
            except TimeoutError:
                raise
            except OSError as error:
                raise Closed(str(error)) from error
            if not chunk:
                raise Closed("end")
            self.buffer += chunk

    def _split(self):
        length = shift = 0
        for place, byte in enumerate(self.buffer[1:5]):
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                start = place + 2
                if len(self.buffer) < start + length:
                    return None
                first, body = self.buffer[0], self.buffer[start:start + length]
                self.buffer = self.buffer[start + length:]
                return first >> 4, first & 15, body
        return None

    def publish(self, topic, payload, qos=0, packet_id=0, dup=False, retain=False):
        self.send(publish_packet(topic, payload, qos, packet_id, dup, retain))

    def expect(self, kind, packet_id):
        """Waits for one acknowledgement; anything else is a failure."""
        found, _, body = self.receive()
        got = struct.unpack(">H", body[:2])[0] if len(body) >= 2 else None
        assert (found, got) == (kind, packet_id), (found, got, kind, packet_id)

    def release(self, packet_id):
        self.send(packet(0x62, struct.pack(">H", packet_id)))

    def subscribe(self, packet_id, *filters):
        """Filters are (filter, qos); returns the codes."""
        body = struct.pack(">H", packet_id)
        self.send(packet(0x82, body + b"".join(string(one) + bytes([q]) for one, q in filters)))
        kind, _, body = self.receive()
        assert kind == SUBACK and struct.unpack(">H", body[:2])[0] == packet_id
        return list(body[2:])

    def message(self, timeout=10, acknowledge=True):
        """The next message: topic, payload, qos, retain, packet id."""
        while True:
            kind, flags, body = self.receive(timeout)
            if kind == PINGRESP:
                continue
            assert kind == PUBLISH, kind
            length = struct.unpack(">H", body[:2])[0]
            topic, rest = body[2:2 + length].decode(), body[2 + length:]
            qos, packet_id = flags >> 1 & 3, 0
            if qos:
                packet_id, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
                if acknowledge:
                    self.send(packet(0x40, struct.pack(">H", packet_id)))
            return topic, rest, qos, bool(flags & 1), packet_id

    def ping(self):
        self.send(packet(0xC0, b""))

    def is_quiet(self, seconds=0.3):
        """Nothing comes for so long."""
        try:
            found = self.receive(seconds)
        except TimeoutError:
            return True
        raise AssertionError(f"unexpected: {found}")

    def ends(self, seconds=10):
        """The server closes; returns what it said before."""
        said, deadline = [], time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                said.append(self.receive(seconds))
            except Closed:
                return said
        raise AssertionError("the connection is still open")

    def disconnect(self):
        self.send(packet(0xE0, b""))
        self.socket.close()

    def close(self):
        """Ends without DISCONNECT."""
        self.socket.close()
