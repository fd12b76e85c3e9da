"""A small MQTT 5 client that does exactly what a test says; the sibling of mqtt_client."""

import collections
import struct

from mqtt_client import CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBLISH, SUBACK, UNSUBACK, Client, \
    Closed, packet, string

# Properties by name: number and form (MQTT 5.0 §2.2.2.2).
PROPERTIES = {
    "payload_format": (1, "B"), "message_expiry": (2, "I"), "content_type": (3, "string"),
    "response_topic": (8, "string"), "correlation_data": (9, "string"),
    "subscription_identifier": (11, "variable"), "session_expiry": (17, "I"),
    "assigned_client_identifier": (18, "string"), "server_keep_alive": (19, "H"),
    "request_problem_information": (23, "B"), "will_delay": (24, "I"),
    "reason_string": (31, "string"), "receive_maximum": (33, "H"), "topic_alias_maximum": (34, "H"),
    "topic_alias": (35, "H"), "maximum_qos": (36, "B"), "retain_available": (37, "B"),
    "user_property": (38, "pair"), "maximum_packet_size": (39, "I"),
    "wildcard_subscription_available": (40, "B"),
    "subscription_identifiers_available": (41, "B"), "shared_subscription_available": (42, "B"),
    "authentication_method": (21, "string"),
}
NAMES = {number: (name, form) for name, (number, form) in PROPERTIES.items()}

Message = collections.namedtuple("Message", "topic payload qos retain packet_id dup properties")


def variable(number):
    data = b""
    while True:
        low, number = number & 0x7F, number >> 7
        data += bytes([low | (0x80 if number else 0)])
        if not number:
            return data


def take_variable(data):
    number = shift = 0
    for place, byte in enumerate(data[:4]):
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number, data[place + 1:]
    raise AssertionError("a variable byte integer ends within four bytes")


def properties(**named):
    """Properties with their length in front."""
    body = b""
    for name, value in named.items():
        number, form = PROPERTIES[name]
        for one in value if isinstance(value, list) else [value]:
            body += bytes([number])
            if form == "string":
                body += string(one)
            elif form == "pair":
                body += string(one[0]) + string(one[1])
            elif form == "variable":
                body += variable(one)
            else:
                body += struct.pack(">" + form, one)
    return variable(len(body)) + body


def take_string(data):
    length = struct.unpack(">H", data[:2])[0]
    return data[2:2 + length], data[2 + length:]


def take_properties(data):
    """Properties, each with the list of its values, and what stands behind them."""
    length, data = take_variable(data)
    body, rest = data[:length], data[length:]
    assert len(body) == length
    found = collections.defaultdict(list)
    while body:
        name, form = NAMES[body[0]]
        body = body[1:]
        if form == "string":
            value, body = take_string(body)
        elif form == "pair":
            one, body = take_string(body)
            two, body = take_string(body)
            value = (one, two)
        elif form == "variable":
            value, body = take_variable(body)
        else:
            size = struct.calcsize(form)
            value, body = struct.unpack(">" + form, body[:size])[0], body[size:]
        found[name].append(value)
    return found, rest


def connect5_packet(client_id, clean=True, keep_alive=60, will=None, **named):
    flags, tail = 2 if clean else 0, b""
    if will is not None:
        topic, payload, qos, will_properties = will
        flags |= 4 | qos << 3
        tail = properties(**will_properties) + string(topic) + string(payload)
    head = string("MQTT") + bytes([5, flags]) + struct.pack(">H", keep_alive) + properties(**named)
    return packet(0x10, head + string(client_id) + tail)


class Client5(Client):
    """One connection with MQTT 5."""

    def __init__(self, port, client_id="", timeout=10, **options):
        super().__init__(port, timeout=timeout, connect=False)
        self.send(connect5_packet(client_id, **options))
        kind, _, body = self.receive()
        assert kind == CONNACK, kind
        self.session_present, self.code = body[0] == 1, body[1]
        self.properties, rest = take_properties(body[2:])
        assert rest == b""

    def publish(self, topic, payload, qos=0, packet_id=0, dup=False, retain=False, **named):
        payload = payload.encode() if isinstance(payload, str) else payload
        first = 0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0)
        identifier = struct.pack(">H", packet_id) if qos else b""
        self.send(packet(first, string(topic) + identifier + properties(**named) + payload))

    def acknowledged(self, kind, packet_id):
        """Waits for one acknowledgement and returns its reason code."""
        found, _, body = self.receive()
        assert (found, struct.unpack(">H", body[:2])[0]) == (kind, packet_id), (found, body)
        return body[2] if len(body) > 2 else 0

    def subscribe(self, packet_id, *filters, **named):
        """Filters are (filter, options byte); returns the reason codes."""
        body = struct.pack(">H", packet_id) + properties(**named)
        self.send(packet(0x82, body + b"".join(string(one) + bytes([o]) for one, o in filters)))
        return self.reasons(SUBACK, packet_id)

    def unsubscribe(self, packet_id, *filters):
        body = struct.pack(">H", packet_id) + properties()
        self.send(packet(0xA2, body + b"".join(string(one) for one in filters)))
        return self.reasons(UNSUBACK, packet_id)

    def reasons(self, wanted, packet_id):
        kind, _, body = self.receive()
        assert kind == wanted and struct.unpack(">H", body[:2])[0] == packet_id, (kind, body)
        return list(take_properties(body[2:])[1])

    def message(self, timeout=10, acknowledge=True):
        while True:
            kind, flags, body = self.receive(timeout)
            if kind == PINGRESP:
                continue
            assert kind == PUBLISH, (kind, body)
            topic, rest = take_string(body)
            qos, packet_id = flags >> 1 & 3, 0
            if qos:
                packet_id, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
                if acknowledge:
                    self.acknowledge(packet_id)
            found, payload = take_properties(rest)
            return Message(topic.decode(), payload, qos, bool(flags & 1), packet_id,
                           bool(flags & 8), found)

    def acknowledge(self, packet_id, reason=0):
        self.send(packet(PUBACK << 4, struct.pack(">HBB", packet_id, reason, 0)))

    def disconnect(self, reason=0, **named):
        self.send(packet(DISCONNECT << 4, bytes([reason]) + properties(**named)))
        self.socket.close()

    def ends_with(self, seconds=10):
        """The reason code of the server's DISCONNECT, behind which it closes."""
        said = self.ends(seconds)
        assert said and said[-1][0] == DISCONNECT, said
        return said[-1][2][0]


__all__ = ["Client5", "Closed", "Message", "connect5_packet", "properties", "take_properties"]
