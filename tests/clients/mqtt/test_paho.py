"""Eclipse Paho for Python: publishing with both protocol versions."""

import threading

import paho.mqtt.client as paho
import pytest

from conftest import eventually, fresh

VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}


def client(port, version, client_id, **options):
    made = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=VERSIONS[version],
                       **options)
    connected = threading.Event()
    made.on_connect = lambda *arguments: connected.set()
    made.connect("127.0.0.1", port)
    made.loop_start()
    assert connected.wait(10)
    return made


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1])
def test_many_messages_in_order(port, records, version, qos):
    topic = fresh("paho")
    one = client(port, version, fresh("c")[:20])
    sent = [one.publish(topic, str(number), qos=qos) for number in range(300)]
    for publish in sent:
        publish.wait_for_publish(10)
        assert publish.is_published()
    one.disconnect()
    one.loop_stop()
    # QoS 0 tells the sender nothing of the log.
    values = eventually(lambda: [v for v, _ in records("mqtt", topic)][299:] and
                        [v for v, _ in records("mqtt", topic)], what="300 records")
    assert values == [str(number).encode() for number in range(300)]
