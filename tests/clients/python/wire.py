"""Requests of any API and version over a socket of our own, for what no client can be made to send.

The messages come from kafka-python's schemas, an implementation that is not ours; record batches
are built by kafka-python and then changed byte by byte.
"""

import importlib
import os
import socket
import struct

from kafka.protocol import api_message
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

PACKAGES = ("metadata", "producer", "consumer", "admin")

BASE_OFFSET, MAGIC, CRC, ATTRIBUTES = 0, 16, 17, 21
LAST_OFFSET_DELTA, MAX_TIMESTAMP, RECORDS_COUNT = 23, 35, 57
TRANSACTIONAL, CONTROL = 0x10, 0x20


def message_class(name):
    """The class of a request or response, by its name in Kafka's schemas."""
    for package in PACKAGES:
        found = getattr(importlib.import_module(f"kafka.protocol.{package}"), name, None)
        if found is not None:
            return found
    raise KeyError(name)


def fields_of(struct_, version, values):
    """Dictionaries become the objects that the encoder wants, with the schema's defaults."""
    fields = {}
    for name, value in values.items():
        field = struct_.fields[name]
        if value is not None and field.is_struct_array():
            value = [field.data_class(version=version, **fields_of(field, version, one))
                     for one in value]
        elif value is not None and field.is_struct():
            value = field.data_class(version=version, **fields_of(field, version, value))
        fields[name] = value
    return fields


class Wire:
    """One connection."""

    def __init__(self, bootstrap, seconds=20):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=seconds)
        self._correlation_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send_frame(self, frame):
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def send(self, api, version, **values):
        """Sends a request and returns its correlation id."""
        request_class = message_class(api + "Request")
        fields = fields_of(request_class._struct, version, values)
        request = request_class(version=version, **fields)
        self._correlation_id += 1
        request.with_header(self._correlation_id, "wire")
        self.socket.sendall(api_message.ApiMessage.encode(request, header=True, framed=True))
        return self._correlation_id

    def receive_frame(self):
        """The next frame, or None if the broker has closed the connection."""
        length = self._receive(4)
        return None if length is None else self._receive(struct.unpack(">i", length)[0])

    def _receive(self, count):
        received = b""
        while len(received) < count:
            try:
                chunk = self.socket.recv(count - len(received))
            except ConnectionError:
                return None
            if not chunk:
                return None
            received += chunk
        return received

    def receive(self, api, version):
        """The next response and its correlation id."""
        frame = self.receive_frame()
        assert frame is not None, f"{api} {version}: the connection was closed"
        response = message_class(api + "Response").decode(frame, version=version, header=True)
        return response, struct.unpack(">i", frame[:4])[0]

    def ask(self, api, version, **values):
        """Sends a request and returns its response."""
        sent = self.send(api, version, **values)
        response, correlation_id = self.receive(api, version)
        assert correlation_id == sent
        return response

    def is_closed(self):
        """Whether the broker closes the connection without another answer."""
        return self.receive_frame() is None


def batch(*values, key=b"k", timestamp=1_700_000_000_000, producer=(-1, -1, -1), compression=0,
          changes=()):
    """A record batch; changes are (position, format, value) in its header, under a right CRC."""
    builder = DefaultRecordBatchBuilder(2, compression, False, *producer, 1 << 24)
    for delta, value in enumerate(values or (b"v",)):
        builder.append(delta, timestamp + delta, key, value, [])
    return changed(bytes(builder.build()), changes)


def changed(bytes_, changes=()):
    """The batch with other header fields and the CRC that belongs to them."""
    bytes_ = bytearray(bytes_)
    for position, layout, value in changes:
        struct.pack_into(layout, bytes_, position, value)
    struct.pack_into(">I", bytes_, CRC, calc_crc32c(bytes(bytes_[ATTRIBUTES:])) & 0xFFFFFFFF)
    return bytes(bytes_)


def is_apache_kafka():
    """Whether the suites run against their reference."""
    return os.environ.get("BROKER") == "kafka"
