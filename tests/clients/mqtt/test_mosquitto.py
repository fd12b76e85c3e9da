"""mosquitto_pub: every version and quality, many messages, large ones."""

import subprocess

import pytest

from conftest import eventually, fresh


def publish(port, *arguments, data=None):
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=20)


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", ["0", "1"])
def test_a_message_is_a_record(port, records, version, qos):
    topic = fresh("mosquitto/temperature")
    done = publish(port, "-V", version, "-q", qos, "-i", "c1", "-t", topic, "-m", "21.5")
    assert done.returncode == 0, done.stderr
    [(value, headers)] = eventually(lambda: records("mqtt", topic))
    assert value == b"21.5"
    assert headers["mqtt.topic"] == topic.encode()
    assert headers["mqtt.client"] == b"c1"
    assert headers["mqtt.qos"] == qos.encode()


def test_lines_arrive_in_order(port, records):
    topic = fresh("lines")
    lines = "".join(f"{number}\n" for number in range(500))
    done = publish(port, "-q", "1", "-t", topic, "-l", data=lines.encode())
    assert done.returncode == 0, done.stderr
    values = [value for value, _ in records("mqtt", topic)]
    assert values == [str(number).encode() for number in range(500)]


def test_a_large_message_is_whole_and_one_beyond_the_announced_limit_is_not_sent(port, records):
    topic = fresh("large")
    payload = bytes(range(256)) * 900
    done = publish(port, "-q", "1", "-t", topic, "-s", data=payload)
    assert done.returncode == 0, done.stderr
    assert [value for value, _ in records("mqtt", topic)] == [payload]
    publish(port, "-V", "mqttv5", "-q", "1", "-t", topic, "-s", data=payload * 2)
    assert len(records("mqtt", topic)) == 1


def test_properties_become_headers(port, records):
    topic = fresh("properties")
    done = publish(
        port, "-V", "mqttv5", "-q", "1", "-t", topic, "-m", "x",
        "-D", "publish", "user-property", "site", "7",
        "-D", "publish", "content-type", "text/plain",
        "-D", "publish", "response-topic", "back",
        "-D", "publish", "correlation-data", "abc",
        "-D", "publish", "message-expiry-interval", "30",
    )
    assert done.returncode == 0, done.stderr
    [(_, headers)] = records("mqtt", topic)
    assert headers["site"] == b"7"
    assert headers["mqtt.content_type"] == b"text/plain"
    assert headers["mqtt.response_topic"] == b"back"
    assert headers["mqtt.correlation"] == b"abc"
    assert headers["mqtt.expiry"] == b"30"
