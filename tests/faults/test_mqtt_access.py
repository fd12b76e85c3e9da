"""Who may connect over MQTT: password files of ours and of Mosquitto, changes while the broker runs,
and what a client that is not let in can do."""

import subprocess
import threading

import pytest

from broker import sluice_binary
from mqtt_client import CONNACK, PUBACK, Client, Closed, connect_packet

BAD_PASSWORD, NOT_AUTHORIZED = 4, 5


def set_password(file, user, password, *flags):
    command = [sluice_binary(), "mqtt", "password", str(file), user, "--iterations", "10", *flags]
    return subprocess.run(command, input=password, capture_output=True, text=True, timeout=30)


@pytest.fixture
def passwords(tmp_path):
    """A file with boiler, made by our command, and pump, made by Mosquitto's."""
    file = tmp_path / "passwords"
    done = set_password(file, "boiler", "hot\n")
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    subprocess.run(["mosquitto_passwd", "-b", file, "pump", "wet"], check=True, timeout=30)
    assert "hot" not in file.read_text() and len(file.read_text().splitlines()) == 2
    return file


def code(port, **options):
    client = Client(port, "c", **options)
    client.close()
    return client.code


@pytest.mark.parametrize("shards", [1, 2])
def test_only_who_has_a_password_is_let_in(start_broker, passwords, shards):
    flags = ["--mqtt-password-file", str(passwords), "--shards", str(shards)]
    port = start_broker(flags=flags).mqtt_port
    assert code(port, user="boiler", password="hot") == 0
    assert code(port, user="pump", password="wet") == 0
    # Once more, from memory.
    assert code(port, user="boiler", password="hot") == 0
    for user, password in [("boiler", "wet"), ("boiler", ""), ("boiler", None), ("nobody", "hot"),
                           ("", "hot"), ("boiler", b"\xff\0"), ("boiler", "x" * 5000)]:
        assert code(port, user=user, password=password) == BAD_PASSWORD, (user, password)
    assert code(port) == NOT_AUTHORIZED
    done = subprocess.run(["mosquitto_pub", "-p", str(port), "-V", "mqttv5", "-q", "1", "-t", "a",
                           "-m", "x", "-u", "boiler", "-P", "hot"], capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr


def test_anonymous_clients_may_be_let_in_beside_users(start_broker, passwords):
    flags = ["--mqtt-password-file", str(passwords), "--mqtt-anonymous", "true"]
    port = start_broker(flags=flags).mqtt_port
    assert code(port) == 0
    assert code(port, user="boiler", password="cold") == BAD_PASSWORD


def test_a_client_that_is_not_let_in_takes_nothing_over(start_broker, passwords):
    broker = start_broker(flags=["--mqtt-password-file", str(passwords), "--shards", "1"])
    good = Client(broker.mqtt_port, "boiler-1", user="boiler", password="hot", clean=False)
    for _ in range(3):
        bad = Client(broker.mqtt_port, "boiler-1", user="boiler", password="guess")
        assert bad.code == BAD_PASSWORD
        assert bad.ends() == []
    # What is sent behind a CONNECT that is refused goes nowhere.
    eager = Client(broker.mqtt_port, connect=False)
    eager.send(connect_packet("boiler-1") + b"\x32\x07\x00\x01a\x00\x01xx")
    assert eager.ends() == [(CONNACK, 0, bytes([0, NOT_AUTHORIZED]))]
    good.publish("a", "x", 1, 1)
    good.expect(PUBACK, 1)
    assert "sluice_mqtt_logins_refused_total{shard=\"0\"} 4" in broker.metrics()
    assert 'sluice_mqtt_publishes_total{shard="0",qos="1"} 1' in broker.metrics()


def test_a_changed_file_holds_at_once_and_a_broken_one_never(start_broker, passwords):
    broker = start_broker(flags=["--mqtt-password-file", str(passwords)])
    port = broker.mqtt_port
    assert code(port, user="boiler", password="hot") == 0
    assert set_password(passwords, "boiler", "hotter").returncode == 0
    assert set_password(passwords, "lamp", "bright").returncode == 0
    assert code(port, user="boiler", password="hot") == BAD_PASSWORD
    assert code(port, user="boiler", password="hotter") == 0
    assert code(port, user="lamp", password="bright") == 0
    assert set_password(passwords, "lamp", "", "--delete").returncode == 0
    assert code(port, user="lamp", password="bright") == BAD_PASSWORD
    passwords.write_text("boiler:plain\n")
    assert code(port, user="boiler", password="hotter") == 0
    assert code(port, user="boiler", password="plain") == BAD_PASSWORD
    assert "passwords: line 1: the password is not hashed" in broker.log()


def test_guessing_does_not_keep_others_waiting(start_broker, passwords):
    """Hashes of guesses run beside the shard: who is connected is served meanwhile."""
    slow = subprocess.run(
        [sluice_binary(), "mqtt", "password", str(passwords), "slow", "--iterations", "30000"],
        input="x", capture_output=True, text=True, timeout=60)
    assert slow.returncode == 0, slow.stderr
    broker = start_broker(flags=["--mqtt-password-file", str(passwords), "--shards", "1"])
    good = Client(broker.mqtt_port, "good", user="boiler", password="hot")
    answers = []

    def guess():
        try:
            answers.append(code(broker.mqtt_port, user="slow", password="guess", timeout=60))
        except (Closed, OSError) as error:
            answers.append(error)

    guessers = [threading.Thread(target=guess) for _ in range(12)]
    for one in guessers:
        one.start()
    served_before = 0
    for number in range(1, 200):
        good.publish("a", "x", 1, number)
        good.expect(PUBACK, number)
        served_before = number
        if answers:
            break
    assert served_before > 1
    for one in guessers:
        one.join(60)
    assert answers == [BAD_PASSWORD] * 12


def test_a_start_without_a_usable_file_is_refused(tmp_path, passwords):
    def start(*flags):
        return subprocess.run(
            [sluice_binary(), "start", "--data-dir", str(tmp_path / "data"), "--kafka-listen",
             "127.0.0.1:0", "--admin-listen", "off", *flags],
            capture_output=True, text=True, timeout=30)

    missing = start("--mqtt-listen", "127.0.0.1:0", "--mqtt-password-file", "/nonexistent")
    assert missing.returncode == 2
    assert "mqtt.password.file: /nonexistent: No such file" in missing.stderr
    passwords.chmod(0o644)
    readable = start("--mqtt-listen", "127.0.0.1:0", "--mqtt-password-file", str(passwords))
    assert readable.returncode == 2 and "chmod o=" in readable.stderr
    everywhere = start("--mqtt-listen", "0.0.0.0:0")
    assert everywhere.returncode == 2
    assert everywhere.stderr.count("\n") == 1 and "without a password" in everywhere.stderr
    assert not (tmp_path / "data").exists()


def test_the_command_refuses_what_cannot_stand_in_a_file(passwords):
    before = passwords.read_text()
    for user, password in [("a:b", "x"), ("", "x"), ("good", ""), ("good", "\n")]:
        done = set_password(passwords, user, password)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, (user, done.stderr)
    gone = set_password(passwords, "nobody", "", "--delete")
    assert gone.returncode == 1 and "there is no user nobody" in gone.stderr
    assert passwords.read_text() == before
