"""A bridge to another MQTT broker: what that broker delivered and got acknowledged is in the log."""

import collections
import json
import subprocess
import threading
import time
import urllib.request

import pytest
from confluent_kafka import KafkaException

from broker import free_port, sluice_binary
from mosquitto import Mosquitto
from mqtt_client import PUBACK, Client, Closed
from secure_centre import make_authority, make_certificate
from test_full_disk import GATEWAY, fill
from test_mqtt import values_by_topic


@pytest.fixture
def make_mosquitto(tmp_path):
    """Makes and starts a Mosquitto; all end with the test."""
    made = []

    def make(*settings, **options):
        one = Mosquitto(tmp_path / f"mosquitto-{len(made)}", *settings, **options)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def bridged(tmp_path, start_broker):
    """bridged(address, *lines, rules=, flags=): a gateway with one bridge."""
    def make(address, *lines, rules="", flags=(), **options):
        config = tmp_path / "sluice.toml"
        config.write_text(table(address, *lines, rules=rules))
        return start_broker(flags=["--config", str(config), *flags], **options)
    return make


def table(address, *lines, rules=""):
    rules = f'mqtt.rules = """{rules}"""\n' if rules else ""
    filters = () if any(line.startswith("filters") for line in lines) else (
        'filters = ["plant/#"]',)
    head = ['[[mqtt.bridge]]', 'name = "plant"', f'address = "{address}"']
    return rules + "\n".join([*head, *filters, *lines]) + "\n"


def bridge(broker):
    """What the gateway says of its bridge."""
    with urllib.request.urlopen(f"http://127.0.0.1:{broker.admin_port}/mqtt", timeout=5) as answer:
        return json.load(answer)["bridges"][0]


def until(look, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return found


def until_running(broker):
    until(lambda: bridge(broker)["state"] == "running")


def publish(port, topic, *payloads, qos=1, **options):
    client = Client(port, "somebody")
    for number, payload in enumerate(payloads, 1):
        client.publish(topic, payload, qos, number, **options)
        if qos:
            client.expect(PUBACK, number)
    client.disconnect()


def stored(broker, topic="mqtt"):
    """Values by key; nothing while the topic is not there or not led."""
    try:
        return values_by_topic(broker.bootstrap, topic)
    except (KeyError, KafkaException):
        return {}


def acknowledged(broker):
    """Something came and all is acknowledged; what a lost connection brought comes again."""
    counts = bridge(broker)
    return counts["acknowledged"] > 0 and counts["unacknowledged"] == 0


class Load(threading.Thread):
    """Publishes numbers in order at Mosquitto, to one topic of its own."""

    def __init__(self, port, number, stop):
        super().__init__(daemon=True)
        self.port, self.topic, self.stop = port, f"plant/{number}", stop
        self.name_, self.acknowledged, self.sent = f"load-{number}", 0, 0

    def run(self):
        while not self.stop.is_set():
            try:
                self.session()
            except (Closed, OSError, AssertionError):
                self.stop.wait(0.05)

    def session(self):
        client = Client(self.port, self.name_, timeout=5)
        while not self.stop.is_set():
            first = self.acknowledged + 1
            for number in range(first, first + 10):
                client.publish(self.topic, str(number), 1, number % 60000 + 1)
                self.sent = max(self.sent, number)
            for number in range(first, first + 10):
                client.expect(PUBACK, number % 60000 + 1)
                self.acknowledged = number
            self.stop.wait(0.03)
        client.disconnect()


def judge(broker, loads):
    """Everything that Mosquitto had acknowledged is there; the first copies are in order."""
    def complete():
        found = collections.defaultdict(list, {
            key: [int(value) for value in values] for key, values in stored(broker).items()})
        done = [set(found[one.topic]) >= set(range(1, one.acknowledged + 1)) for one in loads]
        return found if all(done) else None

    found = until(complete, seconds=60)
    for one in loads:
        firsts = list(dict.fromkeys(found[one.topic]))
        assert firsts == sorted(firsts), one.topic
    return found


def test_messages_of_the_other_broker_become_records_under_the_mapping(make_mosquitto, bridged):
    mosquitto = make_mosquitto()
    broker = bridged(
        f"mqtt://127.0.0.1:{mosquitto.port}",
        'filters = ["plant/+/telemetry", "other/# qos=0"]', 'client.id = "gateway-7"',
        rules="plant/+/telemetry -> telemetry.{1} key={1} header.site=north")
    until_running(broker)
    reader = Client(broker.mqtt_port, "reader")
    reader.subscribe(1, ("plant/#", 1))
    publish(mosquitto.port, "plant/pump/telemetry", "21.5", "22")
    publish(mosquitto.port, "plant/pump/not-wanted", "x")
    publish(mosquitto.port, "other/a/b", "zero", qos=0)
    until(lambda: stored(broker, "telemetry.pump") == {"pump": [b"21.5", b"22"]})
    until(lambda: stored(broker) == {"other/a/b": [b"zero"]})
    assert reader.message()[:3] == ("plant/pump/telemetry", b"21.5", 1)
    command = [sluice_binary(), "consume", "telemetry.pump", "-b", broker.bootstrap, "-o", "start",
               "-n", "1"]
    record = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for header in ("mqtt.topic", "mqtt.client", "gateway-7", "mqtt.qos", "site", "north"):
        assert header in record, record
    until(lambda: bridge(broker)["acknowledged"] == 2)
    row = bridge(broker)
    assert (row["received"], row["stored"], row["unacknowledged"]) == (3, 3, 0)
    assert row["error"] is None and row["client_id"] == "gateway-7"
    assert 'sluice_mqtt_bridge_acknowledged_total{bridge="plant"} 2' in broker.metrics()
    text = subprocess.run([sluice_binary(), "mqtt", "status", "--admin",
                           f"127.0.0.1:{broker.admin_port}"],
                          check=True, capture_output=True, text=True).stdout
    assert "BRIDGE" in text and "gateway-7" in text and "running" in text
    assert broker.stop() == 0


def test_a_prefix_tells_the_topics_of_one_site_from_those_of_another(make_mosquitto, bridged):
    mosquitto = make_mosquitto()
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}", 'topic.prefix = "north/"',
                     rules="+/plant/+ -> telemetry.{1} key={2}")
    until_running(broker)
    reader = Client(broker.mqtt_port, "reader")
    reader.subscribe(1, ("north/#", 1), ("plant/#", 1))
    publish(mosquitto.port, "plant/pump", "21.5")
    until(lambda: stored(broker, "telemetry.north") == {"pump": [b"21.5"]})
    assert reader.message()[:3] == ("north/plant/pump", b"21.5", 1)
    assert reader.is_quiet()
    until(lambda: bridge(broker)["acknowledged"] == 1)
    assert broker.stop() == 0


@pytest.mark.parametrize("shards", [1, 2])
def test_kill_under_load_loses_nothing_that_was_acknowledged_to_the_other_broker(
        seeded, make_mosquitto, bridged, shards, request):
    cycles = request.config.getoption("--cycles") or 10
    mosquitto = make_mosquitto()
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}", 'client.id = "gateway"',
                     flags=["--shards", str(shards)])
    until_running(broker)
    stop = threading.Event()
    loads = [Load(mosquitto.port, number, stop) for number in range(4)]
    for one in loads:
        one.start()
    kept = 0
    for _ in range(cycles):
        wanted = seeded.randrange(20, 400)
        until(lambda: bridge(broker)["acknowledged"] >= wanted)
        kept += bridge(broker)["acknowledged"]
        broker.kill()
        broker.start()
    stop.set()
    for one in loads:
        one.join()
    found = judge(broker, loads)
    copies = sum(len(values) for values in found.values())
    sent = sum(one.acknowledged for one in loads)
    print(f"bridge: {sent} published, {kept} acknowledged before kills, {copies} stored")
    assert sent > 100
    assert bridge(broker)["sessions_lost"] == 0
    assert broker.stop() == 0


def test_the_other_broker_restarts_and_keeps_the_session(make_mosquitto, bridged):
    mosquitto = make_mosquitto("persistence true")
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}")
    until_running(broker)
    stop = threading.Event()
    loads = [Load(mosquitto.port, number, stop) for number in range(3)]
    for one in loads:
        one.start()
    for turn in range(3):
        wanted = bridge(broker)["acknowledged"] + 100
        until(lambda: bridge(broker)["acknowledged"] >= wanted)
        mosquitto.stop()
        until(lambda: bridge(broker)["state"] == "waiting" and bridge(broker)["error"])
        mosquitto.start()
        until_running(broker)
    stop.set()
    for one in loads:
        one.join()
    judge(broker, loads)
    row = bridge(broker)
    assert (row["reconnects"], row["sessions_lost"], row["error"]) == (3, 0, None)
    assert broker.stop() == 0


def test_the_other_broker_forgets_the_session_and_is_subscribed_to_again(make_mosquitto, bridged):
    mosquitto = make_mosquitto()
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}")
    until_running(broker)
    publish(mosquitto.port, "plant/a", "before", retain=True)
    until(lambda: stored(broker).get("plant/a") == [b"before"])
    mosquitto.stop()
    mosquitto.start()
    until(lambda: bridge(broker)["reconnects"] == 1)
    until_running(broker)
    publish(mosquitto.port, "plant/a", "after")
    until(lambda: stored(broker).get("plant/a") == [b"before", b"after"])
    assert bridge(broker)["sessions_lost"] == 1
    assert broker.stop() == 0


def test_retained_messages_come_once_for_each_subscription_not_for_each_connection(
        make_mosquitto, bridged):
    mosquitto = make_mosquitto("persistence true")
    publish(mosquitto.port, "plant/a", "kept", retain=True)
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}")
    until(lambda: stored(broker).get("plant/a") == [b"kept"])
    until(lambda: acknowledged(broker))
    mosquitto.stop()
    mosquitto.start()
    until(lambda: bridge(broker)["reconnects"] == 1)
    publish(mosquitto.port, "plant/a", "next")
    until(lambda: stored(broker).get("plant/a", [])[-1:] == [b"next"])
    assert stored(broker)["plant/a"] == [b"kept", b"next"]
    late = Client(broker.mqtt_port, "late")
    late.subscribe(1, ("plant/a", 0))
    late.is_quiet()
    assert broker.stop() == 0


def test_tls_with_a_certificate_of_the_gateway(tmp_path, make_mosquitto, bridged):
    files = tmp_path / "certificates"
    files.mkdir()
    for name in ("authority", "other"):
        make_authority(files, name)
    make_certificate(files, "authority", "broker", "IP:127.0.0.1,DNS:localhost")
    make_certificate(files, "authority", "gateway", "DNS:gateway")
    mosquitto = make_mosquitto(
        f"cafile {files}/authority.pem", f"certfile {files}/broker.pem",
        f"keyfile {files}/broker.key", "require_certificate true",
        "use_identity_as_username true")
    address = f"mqtts://localhost:{mosquitto.port}"
    authority = f'ssl.ca.location = "{files}/authority.pem"'
    own = (f'ssl.certificate.location = "{files}/gateway.pem"',
           f'ssl.key.location = "{files}/gateway.key"')
    broker = bridged(address, authority, *own)
    until_running(broker)
    subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(mosquitto.port), "-q", "1",
                    "-t", "plant/tls", "-m", "secret", "--cafile", files / "authority.pem",
                    "--cert", files / "gateway.pem", "--key", files / "gateway.key"], check=True)
    until(lambda: stored(broker) == {"plant/tls": [b"secret"]})
    assert broker.stop() == 0
    for lines, word in [
        ((authority,), "ssl.certificate.location"),
        ((f'ssl.ca.location = "{files}/other.pem"', *own), "UnknownIssuer"),
    ]:
        broker = bridged(address, *lines)
        until(lambda: bridge(broker)["error"])
        row = bridge(broker)
        assert row["state"] != "running" and word in row["error"], row
        assert broker.stop() == 0


def test_a_wrong_password_is_told_in_status_and_log(tmp_path, make_mosquitto, bridged):
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "gateway", "s3cret-a"], check=True)
    mosquitto = make_mosquitto("allow_anonymous false", f"password_file {passwords}")
    secret = tmp_path / "secret"
    secret.write_text("s3cret-b\n")
    secret.chmod(0o600)
    lines = ('username = "gateway"', f'password.file = "{secret}"')
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}", *lines)
    until(lambda: bridge(broker)["error"])
    assert "password" in bridge(broker)["error"], bridge(broker)
    assert bridge(broker)["state"] in ("waiting", "connecting")
    log = broker.log()
    assert "password" in log and "s3cret" not in log, log
    assert broker.stop() == 0
    secret.write_text("s3cret-a\n")
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}", *lines)
    until_running(broker)
    assert broker.stop() == 0


def test_a_broker_that_cannot_be_reached_disturbs_neither_start_nor_stop(bridged):
    port = free_port()
    began = time.monotonic()
    broker = bridged(f"mqtt://127.0.0.1:{port}")
    assert time.monotonic() - began < 5
    until(lambda: bridge(broker)["error"])
    assert "refused" in bridge(broker)["error"]
    assert broker.health()[0] == 200
    client = Client(broker.mqtt_port, "local")
    client.publish("plant/local", "x", 1, 1)
    client.expect(PUBACK, 1)
    client.disconnect()
    began = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("killed", [False, True])
def test_a_full_disk_withholds_acknowledgements_until_there_is_room(
        make_mosquitto, bridged, loop_disk, killed):
    mosquitto = make_mosquitto()
    disk = loop_disk(megabytes=256)
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}", data=disk.mount / "data", flags=GATEWAY)
    until_running(broker)
    ballast = disk.mount / "ballast"
    fill(ballast, leave_bytes=100_000)
    stop = threading.Event()
    loads = [Load(mosquitto.port, number, stop) for number in range(3)]
    for one in loads:
        one.start()
    until(lambda: bridge(broker)["state"] == "paused", seconds=60)
    until(lambda: "disk is full" in (bridge(broker)["error"] or ""))
    before = bridge(broker)["acknowledged"]
    time.sleep(3)
    row = bridge(broker)
    assert row["acknowledged"] - before < 50 and row["unacknowledged"] > 0, row
    stop.set()
    for one in loads:
        one.join()
    # What waits for room was not acknowledged: after a kill the other broker sends it again.
    if killed:
        broker.kill()
    ballast.unlink()
    if killed:
        broker.start()
    judge(broker, loads)
    until(lambda: bridge(broker)["state"] == "running" and acknowledged(broker), seconds=30)
    assert broker.stop() == 0


def test_a_message_that_is_too_large_is_named_and_one_too_large_for_its_topic_is_kept(
        make_mosquitto, bridged):
    mosquitto = make_mosquitto()
    broker = bridged(f"mqtt://127.0.0.1:{mosquitto.port}", rules="plant/small -> small")
    until_running(broker)
    subprocess.run([sluice_binary(), "topic", "create", "small", "-b", broker.bootstrap, "--config",
                    "max.message.bytes=1000"], check=True, capture_output=True)
    publish(mosquitto.port, "plant/small", *["x" * 400] * 10, "y" * 5000, "z")
    until(lambda: stored(broker, "small") == {"plant/small": [b"x" * 400] * 10 + [b"z"]})
    until(lambda: acknowledged(broker))
    assert stored(broker) == {"plant/small": [b"y" * 5000]}
    publish(mosquitto.port, "plant/huge", "h" * 300_000)
    until(lambda: bridge(broker)["error"])
    assert "mqtt.packet.max.bytes" in bridge(broker)["error"]
    assert broker.stop() == 0


@pytest.mark.parametrize("lines, error", [
    (['password.file = "/nowhere"', 'username = "u"'],
     "mqtt.bridge.password.file /nowhere: No such file"),
    (['filters = ["a qos=2"]'], "qos=0 or qos=1 is expected, not `qos=2`"),
    (['ssl.ca.location = "/nowhere"'], "is of no use without mqtts://"),
    (['adress = "x"'], "did you mean `mqtt.bridge.address`?"),
])
def test_a_bridge_that_cannot_be_is_refused_at_the_start(tmp_path, lines, error):
    config = tmp_path / "sluice.toml"
    config.write_text(table("mqtt://127.0.0.1:1", *lines))
    done = subprocess.run([sluice_binary(), "start", "--config", config, "--data-dir",
                           tmp_path / "data", "--kafka-listen", f"127.0.0.1:{free_port()}",
                           "--mqtt-listen", "off", "--admin-listen", "off"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and error in done.stderr, done.stderr
    assert not (tmp_path / "data").exists()
