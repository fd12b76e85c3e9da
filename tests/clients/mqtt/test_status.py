"""`sluice mqtt status`: what it says of clients, sessions and rules."""

import json
import os
import pathlib
import subprocess

import pytest

from conftest import eventually, fresh
from mqtt_client import PUBACK, Client

ROOT = pathlib.Path(__file__).resolve().parents[3]


def binary():
    if "SLUICE" in os.environ:
        return os.environ["SLUICE"]
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"],
                              cwd=ROOT, check=True, capture_output=True)
    return json.loads(metadata.stdout)["target_directory"] + "/release/sluice"


@pytest.fixture
def status():
    """status(*arguments): what the command prints."""
    admin = os.environ.get("ADMIN")
    assert admin, "set ADMIN=host:port, or use tests/with-broker"

    def ask(*arguments):
        command = [binary(), "mqtt", "status", "--admin", admin, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return ask


def test_clients_sessions_and_rules_are_shown(port, status):
    name = fresh("status")
    client = Client(port, name, clean=False, user="somebody", password="x")
    client.subscribe(1, (fresh("a") + "/+", 1), (fresh("b"), 0))

    def mine():
        answer = json.loads(status("--output", "json"))
        return answer, [one for one in answer["clients"] if one["client_id"] == name]

    before, [row] = mine()
    for _ in range(3):
        client.publish("status", "x", 1, 1)
        client.expect(PUBACK, 1)
    after, _ = mine()
    assert row["user"] == "somebody" and row["version"] == "3.1.1" and row["subscriptions"] == 2
    assert row["session_expiry_seconds"] == 2**32 - 1 and row["waiting_publishes"] == 0
    host, _, number = row["address"].rpartition(":")
    assert (host, int(number)) == client.socket.getsockname()
    assert after["publishes_qos_1"] - before["publishes_qos_1"] == 3
    assert after["rules"][-1]["rule"] == "catch-all"
    assert after["rules"][-1]["messages"] - before["rules"][-1]["messages"] == 3
    assert before["connections"] >= 1 and before["sessions"] >= 1
    text = status()
    assert "CONNECTIONS" in text and name in text and "catch-all" in text
    client.disconnect()
    eventually(lambda: mine()[1] == [], what="the client is gone")
    assert json.loads(status("--output", "json"))["sessions"] >= 1


def test_shared_subscriptions_are_shown_with_their_members(port, status):
    group, topic = fresh("g"), fresh("work")
    kept = Client(port, fresh("kept"), clean=False)
    other = Client(port, fresh("other"))

    def row():
        shares = json.loads(status("--output", "json"))["shared_subscriptions"]
        found = [one for one in shares if one["group"] == group]
        assert len(found) <= 1
        return found[0] if found else None

    assert row() is None
    for client in (kept, other):
        client.subscribe(1, (f"$share/{group}/{topic}/+", 1))
    assert row() == {"group": group, "filter": f"{topic}/+", "connected": 2, "away": 0,
                     "unacknowledged": 0, "returned": 0}
    publisher = Client(port, fresh("publisher"))
    for _ in range(4):
        publisher.publish(f"{topic}/a", "x", 1, 1)
        publisher.expect(PUBACK, 1)
    packet_ids = [client.message(acknowledge=False)[4] for client in (kept, other) for _ in range(2)]
    assert len(packet_ids) == 4 and row()["unacknowledged"] == 4
    other.close()
    # What the lost one had goes to the one that is left; when that one goes too it waits.
    eventually(lambda: row()["connected"] == 1, what="one member has gone")
    assert [kept.message(acknowledge=False) is not None for _ in range(2)] == [True, True]
    kept.disconnect()
    eventually(lambda: row()["away"] == 1, what="the member with a session is away")
    assert (row()["connected"], row()["unacknowledged"], row()["returned"]) == (0, 0, 4)
    text = status()
    assert "SHARED-SUBSCRIPTIONS" in text and group in text
    again = Client(port, fresh("again"))
    again.subscribe(1, (f"$share/{group}/{topic}/+", 1))
    assert {again.message()[1] for _ in range(4)} == {b"x"}
    again.disconnect()


def test_a_crowd_is_counted_and_not_all_shown(port, status):
    crowd = [Client(port, fresh("crowd")) for _ in range(1010)]
    answer = json.loads(status("--output", "json"))
    assert len(answer["clients"]) == 1000
    assert answer["clients_left_out"] == answer["connections"] - 1000 >= 10
    for client in crowd:
        client.disconnect()
