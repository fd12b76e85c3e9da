"""The mirror to a centre with TLS and SASL: what gets in, and what it says when it does not."""

import subprocess
import time

import pytest

from broker import Broker, sluice_binary
from mirror import judge_mirror, status, wait_until_mirrored, write_config
from secure_centre import MECHANISMS, PASSWORD, SecureCentre
from workload import Workload


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    centre = SecureCentre(tmp_path_factory.mktemp("secure"))
    centre.start()
    yield centre
    centre.stop()


@pytest.fixture
def start_gateway(tmp_path):
    started = []

    def make(bootstrap, **keys):
        config = write_config(tmp_path, bootstrap, **keys)
        gateway = Broker(tmp_path / "gateway", tmp_path / "gateway.out",
                         ["--config", str(config), "--shards", "1", "--memory", "130M"])
        gateway.start()
        started.append(gateway)
        return gateway

    yield make
    for gateway in started:
        if gateway.is_running():
            gateway.kill()
        assert PASSWORD not in gateway.output.read_text(), "the password is in the log"


def wait_for_fault(gateway, part, seconds=30):
    """Waits for a fault of the link with this in it, while there is something to send."""
    workload = Workload(gateway.bootstrap, "events")
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(10)
    workload.finish()
    deadline = time.monotonic() + seconds
    while part not in (status(gateway)["link_fault"] or ""):
        assert time.monotonic() < deadline, f"{status(gateway)}\n{gateway.log()}"
        time.sleep(0.1)
    found = status(gateway)
    assert found["link"] in ("down", "connecting") and found["records"] == 0
    assert PASSWORD not in str(found)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_everything_arrives_once_through_tls_and_sasl(centre, start_gateway, mechanism):
    topic = f"events-{mechanism}"
    gateway = start_gateway(centre.secure_bootstrap, **centre.keys(mechanism))
    workload = Workload(gateway.bootstrap, topic, sizes=(120, 900, 200_000), rate_pause=0.02)
    workload.create_topic()
    workload.start()
    # Sessions end after 3 s: the mirror renews them on the connections that it has.
    time.sleep(8)
    workload.finish()
    mirrored = wait_until_mirrored(gateway)
    counts = judge_mirror(gateway, centre, workload)
    assert counts["records"] >= len(workload.acknowledged) > 50 and counts["missing"] == 0
    assert mirrored["retries"] == 0 and mirrored["link_fault"] is None
    connects = [line for line in gateway.metrics().splitlines()
                if line.startswith("sluice_mirror_connects_total")]
    assert int(connects[0].rsplit(" ", 1)[1]) <= 2, connects


@pytest.mark.parametrize("keys,fault", [
    ({"ssl.ca.location": "other.pem"}, "ssl.ca.location names the file"),
    ({"ssl.server.name": "elsewhere.example.com"}, "elsewhere.example.com"),
    ({"ssl.certificate.location": None, "ssl.key.location": None}, "TLS: "),
    ({"sasl.username": "nobody"}, "SASL SCRAM-SHA-256: SASL_AUTHENTICATION_FAILED"),
])
def test_who_does_not_fit_says_why(centre, start_gateway, keys, fault):
    keys = {key: str(centre.files / value) if key == "ssl.ca.location" else value
            for key, value in keys.items()}
    gateway = start_gateway(centre.secure_bootstrap, **centre.keys("SCRAM-SHA-256", **keys))
    wait_for_fault(gateway, fault)


def test_a_wrong_password_is_refused_and_not_told(centre, start_gateway, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not the secret")
    wrong.chmod(0o600)
    keys = centre.keys("SCRAM-SHA-512", **{"sasl.password.file": str(wrong)})
    gateway = start_gateway(centre.secure_bootstrap, **keys)
    wait_for_fault(gateway, "SASL SCRAM-SHA-512: SASL_AUTHENTICATION_FAILED")
    assert "not the secret" not in gateway.output.read_text()


def test_tls_to_a_listener_without_it_is_told(centre, start_gateway):
    gateway = start_gateway(centre.bootstrap, **centre.keys("PLAIN"))
    wait_for_fault(gateway, "is it a listener with TLS?")


def test_a_secret_that_everybody_can_read_is_refused_at_the_start(tmp_path):
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o644)
    config = write_config(tmp_path, "127.0.0.1:1", **{
        "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u",
        "sasl.password.file": str(password)})
    done = subprocess.run([sluice_binary(), "start", "--config", config, "--data-dir",
                           tmp_path / "data"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "mirror.sasl.password.file" in done.stderr
    assert "chmod o=" in done.stderr
    assert not (tmp_path / "data").exists()
