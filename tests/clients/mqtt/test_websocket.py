"""MQTT over WebSocket: Paho, frames that are cut anywhere, and what is no WebSocket."""

import base64
import hashlib
import os
import random
import socket
import struct
import threading

import paho.mqtt.client as paho
import pytest

from conftest import eventually, fresh
from mqtt_client import CONNACK, PUBACK, Client, Closed, connect_packet, packet, publish_packet, string

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@pytest.fixture(scope="session")
def websocket_port():
    number = os.environ.get("MQTT_WEBSOCKET_PORT")
    assert number, "set MQTT_WEBSOCKET_PORT, or use tests/with-broker"
    return int(number)


def request(**changes):
    """An opening handshake; a header that is None is left out."""
    headers = {"Host": "x", "Upgrade": "websocket", "Connection": "Upgrade",
               "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
               "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mqtt"}
    for name, value in changes.items():
        headers[name.replace("_", "-")] = value
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return ("GET /mqtt HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()


def frame(opcode, payload, final=True, mask=b"\1\2\3\4"):
    """A frame of a client."""
    length = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += b"\xfe" + struct.pack(">H", length)
    else:
        head += b"\xff" + struct.pack(">Q", length)
    masked = bytes(byte ^ mask[place & 3] for place, byte in enumerate(payload))
    return head + mask + masked


class WebSocketClient(Client):
    """The client of mqtt_client in WebSocket frames."""

    def __init__(self, port, client_id="", open_=True, connect=True, **options):
        super().__init__(port, connect=False)
        self.bytes, self.controls = b"", []
        if open_:
            self.send_raw(request())
            self.answer = self.read_answer()
            assert self.answer.startswith("HTTP/1.1 101 "), self.answer
        if connect:
            self.send(connect_packet(client_id, **options))
            kind, _, body = self.receive()
            assert (kind, body[1]) == (CONNACK, 0)

    def send_raw(self, data):
        super().send(data)

    def send(self, data):
        self.send_raw(frame(BINARY, data))

    def read_answer(self):
        while b"\r\n\r\n" not in self.bytes:
            self.read_more()
        head, _, self.bytes = self.bytes.partition(b"\r\n\r\n")
        return head.decode()

    def read_more(self):
        try:
            chunk = self.socket.recv(65536)
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(str(error)) from error
        if not chunk:
            raise Closed("end")
        self.bytes += chunk

    def receive(self, timeout=None):
        if timeout is not None:
            self.socket.settimeout(timeout)
        while True:
            found = self._split()
            if found:
                return found
            self.take_frame()

    def take_frame(self):
        """Reads one whole frame of the server: data is appended, anything else remembered."""
        while True:
            data = self.bytes
            if len(data) >= 2:
                length, start = data[1], 2
                assert not length & 0x80, "a server does not mask"
                if length == 126:
                    length, start = struct.unpack(">H", data[2:4].ljust(2, b"\0"))[0], 4
                elif length == 127:
                    length, start = struct.unpack(">Q", data[2:10].ljust(8, b"\0"))[0], 10
                if len(data) >= start + length:
                    payload, self.bytes = data[start:start + length], data[start + length:]
                    assert data[0] & 0xF0 == 0x80, "whole frames without extensions"
                    if data[0] & 15 == BINARY:
                        self.buffer += payload
                    else:
                        self.controls.append((data[0] & 15, payload))
                    return
            self.read_more()

    def ends_with(self):
        """The close code, behind which the server closes."""
        with pytest.raises(Closed):
            while True:
                self.take_frame()
        opcode, payload = self.controls[-1]
        assert opcode == CLOSE
        return struct.unpack(">H", payload)[0]


@pytest.mark.parametrize("version", [paho.MQTTv31, paho.MQTTv311, paho.MQTTv5])
def test_paho_over_websocket(websocket_port, version):
    topic, got = fresh("paho"), []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, fresh("c")[:20], protocol=version,
                         transport="websockets")
    done = threading.Event()
    client.on_connect = lambda one, *_: one.subscribe(topic, 1)
    client.on_subscribe = lambda *_: done.set()
    client.on_message = lambda one, data, message: got.append(message.payload)
    client.connect("127.0.0.1", websocket_port)
    client.loop_start()
    assert done.wait(10)
    payloads = [str(number).encode() for number in range(100)] + [b"x" * 70_000]
    for payload in payloads:
        client.publish(topic, payload, 1)
    eventually(lambda: len(got) >= len(payloads), what="all messages")
    assert got == payloads
    client.disconnect()
    client.loop_stop()


def test_the_handshake_names_the_subprotocol_and_answers_the_key(websocket_port):
    client = WebSocketClient(websocket_port, connect=False)
    lines = [line.lower() for line in client.answer.split("\r\n")]
    key = base64.b64encode(bytes(16)) + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
    assert f"sec-websocket-accept: {accept}".lower() in lines
    assert "sec-websocket-protocol: mqtt" in lines
    client.close()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_frames_and_packets_are_cut_independently(websocket_port, records, size):
    """[MQTT-6.0.0-2]: a packet may begin and end anywhere in a frame."""
    topic = fresh("cut")
    stream = connect_packet(fresh("c")) + b"".join(
        publish_packet(topic, f"{number}" * 20, 1, number) for number in range(1, 31))
    client = WebSocketClient(websocket_port, connect=False)
    parts = [stream[start:start + size] for start in range(0, len(stream), size)]
    frames = [frame(BINARY if place % 3 == 0 else CONTINUATION, part,
                    final=place % 3 == 2 or place == len(parts) - 1)
              for place, part in enumerate(parts)]
    # A ping may stand between the frames of a message.
    frames.insert(2, frame(PING, b"hello"))
    data = b"".join(frames)
    chooser = random.Random(size)
    while data:
        count = chooser.randrange(1, 5000)
        client.send_raw(data[:count])
        data = data[count:]
    assert client.receive()[0] == CONNACK
    for number in range(1, 31):
        client.expect(PUBACK, number)
    assert client.controls == [(PONG, b"hello")]
    assert [value for value, _ in records("mqtt", topic)] == [
        (f"{number}" * 20).encode() for number in range(1, 31)]
    client.send(packet(0xE0, b""))
    assert client.ends_with() == 1000


def test_a_close_without_disconnect_publishes_the_will(websocket_port):
    topic = fresh("will")
    watcher = WebSocketClient(websocket_port, fresh("w"))
    watcher.subscribe(1, (topic, 1))
    closing = WebSocketClient(websocket_port, fresh("c"), will=(topic, "closed", 1, False))
    closing.send_raw(frame(CLOSE, struct.pack(">H", 1001)))
    assert closing.ends_with() == 1000
    assert watcher.message()[:2] == (topic, b"closed")
    # A DISCONNECT counts, though the close comes with it.
    polite = WebSocketClient(websocket_port, fresh("c"), will=(topic, "polite", 1, False))
    polite.send_raw(frame(BINARY, packet(0xE0, b"")) + frame(CLOSE, struct.pack(">H", 1000)))
    assert polite.ends_with() == 1000
    watcher.is_quiet()
    watcher.close()


@pytest.mark.parametrize("bad, code", [
    (frame(TEXT, b"text"), 1003), (b"\x82\1x", 1002), (frame(0x40 | BINARY, b"x"), 1002),
    (frame(3, b"x"), 1002), (frame(11, b"x"), 1002), (frame(PING, b"x", final=False), 1002),
    (frame(PING, bytes(126)), 1002), (frame(CONTINUATION, b"x"), 1002),
    (frame(BINARY, b"", final=False) + frame(BINARY, b""), 1002),
    (b"\x82\xff" + b"\xff" * 8 + bytes(4), 1002),
    # Frames are right, MQTT is not.
    (frame(BINARY, b"\xf0\0"), 1000), (frame(BINARY, connect_packet("again")), 1000),
])
def test_a_frame_that_breaks_a_rule_closes(websocket_port, bad, code):
    client = WebSocketClient(websocket_port, fresh("c"))
    client.send_raw(bad)
    assert client.ends_with() == code


@pytest.mark.parametrize("data, status", [
    (request(Sec_WebSocket_Protocol=None), 400), (request(Sec_WebSocket_Protocol="mqtt5"), 400),
    (request(Sec_WebSocket_Key="x"), 400), (request(Sec_WebSocket_Version="8"), 400),
    (request(Upgrade=None), 400), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 400), (connect_packet("plain"), 400),
    (b"GET /" + b"a" * 9000, 431), (bytes(64), 400),
])
def test_what_opens_no_websocket_is_told_so(websocket_port, data, status):
    client = WebSocketClient(websocket_port, open_=False, connect=False)
    client.send_raw(data)
    assert client.read_answer().startswith(f"HTTP/1.1 {status} ")
    with pytest.raises(Closed):
        client.read_more()


def test_a_silent_handshake_and_an_endless_frame_end(websocket_port):
    """Neither holds memory or a place for ever."""
    silent = WebSocketClient(websocket_port, open_=False, connect=False)
    silent.send_raw(b"GET / HTTP/1.1\r\n")
    late = WebSocketClient(websocket_port, connect=False)
    endless = WebSocketClient(websocket_port, fresh("c"))
    # One frame of 2^40 bytes: MQTT's own bounds hold inside it.
    body = publish_packet(fresh("endless"), "x", 1, 1)
    endless.send_raw(b"\x82\xff" + struct.pack(">Q", 1 << 40) + bytes(4) + body)
    endless.expect(PUBACK, 1)
    endless.send_raw(b"\x30\xff\xff\xff\x7f")
    assert endless.ends_with() == 1000
    for one in (silent, late):
        one.socket.settimeout(15)
        with pytest.raises(Closed):
            while True:
                one.read_more()


def test_plain_mqtt_and_websocket_do_not_mix(port, websocket_port):
    one = socket.create_connection(("127.0.0.1", port), timeout=10)
    one.sendall(request())
    assert one.recv(100) == b""
    name = fresh("both")
    first = WebSocketClient(websocket_port, name)
    second = Client(port, name)
    # The same client, whatever it came over.
    with pytest.raises(Closed):
        first.receive(10)
    second.disconnect()


def test_a_subscriber_that_does_not_read_is_given_up_or_waits(websocket_port):
    topic = fresh("lazy")
    lazy = WebSocketClient(websocket_port, fresh("lazy"))
    lazy.subscribe(1, (topic, 0))
    publisher = WebSocketClient(websocket_port, fresh("p"))
    payload = bytes(100_000)
    for number in range(1, 61):
        publisher.send(packet(0x32, string(topic) + struct.pack(">H", number) + payload))
        publisher.expect(PUBACK, number)
    for _ in range(60):
        assert lazy.message(timeout=20)[1] == payload
    # Pings without end are not answered without end.
    lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with pytest.raises(Closed):
        for _ in range(4_000):
            lazy.send_raw(frame(PING, bytes(125)) * 100)
    lazy.close()
    publisher.send(packet(0xC0, b""))
    assert publisher.receive()[0] == 13
    publisher.close()
