"""Shared subscriptions ($share/GROUP/FILTER, MQTT 5.0 §4.8.2) with both protocol versions."""

import contextlib
import subprocess
import threading
import time

import paho.mqtt.client as paho
import pytest

from conftest import eventually, fresh
from mqtt5_client import Client5
from mqtt_client import PUBACK, Client, Closed, packet, string


def publish(port, topic, payloads, qos=1):
    """Publishes in order and returns when everything is acknowledged."""
    publisher = Client(port, fresh("p"))
    for number, payload in enumerate(payloads, 1):
        publisher.publish(topic, payload, qos, number)
    for number in range(1, len(payloads) + 1):
        if qos:
            publisher.expect(PUBACK, number)
    if not qos:
        # Behind an acknowledged message of the same connection.
        publisher.publish(fresh("barrier"), "", 1, 1)
        publisher.expect(PUBACK, 1)
    publisher.disconnect()


def numbers(count, first=1):
    return [str(number) for number in range(first, first + count)]


def drain(client, seconds=0.5, acknowledge=True):
    """The payloads that come until nothing comes for so long."""
    found = []
    with contextlib.suppress(TimeoutError):
        while True:
            found.append(client.message(seconds, acknowledge)[1].decode())
    return found


def everything(clients):
    return sorted((payload for one in clients for payload in drain(one)), key=int)


@pytest.mark.parametrize("kind", [Client, Client5])
@pytest.mark.parametrize("qos", [0, 1])
def test_each_message_goes_to_one_member(port, kind, qos):
    topic, group = fresh("work"), fresh("g")
    members = [kind(port, fresh("m")) for _ in range(3)]
    for one in members:
        assert one.subscribe(1, (f"$share/{group}/{topic}/+", qos)) == [qos]
    publish(port, f"{topic}/x", numbers(90), qos)
    shares = [drain(one) for one in members]
    assert sorted(sum(shares, []), key=int) == numbers(90)
    # Everybody takes part, and what one gets is in order.
    assert all(shares), shares
    assert all(share == sorted(share, key=int) for share in shares)
    for one in members:
        one.disconnect()


def test_each_group_and_each_other_subscriber_gets_every_message(port):
    topic = fresh("work")
    groups = [fresh("g"), fresh("g")]
    members = {group: [Client(port, fresh("m")) for _ in range(2)] for group in groups}
    for group, clients in members.items():
        for one in clients:
            one.subscribe(1, (f"$share/{group}/{topic}", 1))
    # The same client in both groups, and with a subscription of its own.
    both = Client(port, fresh("both"))
    both.subscribe(1, (f"$share/{groups[0]}/{topic}", 1), (topic, 1))
    plain = Client(port, fresh("plain"))
    plain.subscribe(1, (topic, 1))
    publish(port, topic, numbers(40))
    assert drain(plain) == numbers(40)
    mine = drain(both)
    second = everything(members[groups[1]])
    first = everything(members[groups[0]])
    assert second == numbers(40)
    assert sorted(first + mine, key=int) == sorted(numbers(40) + numbers(40), key=int)
    for one in sum(members.values(), [both, plain]):
        one.disconnect()


@pytest.mark.parametrize("ending", ["close", "disconnect"])
def test_what_a_member_did_not_acknowledge_goes_to_another(port, ending):
    topic, group = fresh("work"), fresh("g")
    lazy, eager = Client(port, fresh("lazy")), Client(port, fresh("eager"))
    lazy.subscribe(1, (f"$share/{group}/{topic}", 1))
    publish(port, topic, numbers(20))
    had = drain(lazy, acknowledge=False)
    assert had == numbers(20)
    eager.subscribe(1, (f"$share/{group}/{topic}", 1))
    eager.is_quiet()
    getattr(lazy, ending)()
    # They are new to it: no DUP.
    kind, flags, _ = eager.receive(10)
    assert kind == 3 and not flags & 8
    assert drain(eager) == numbers(19, 2)
    eager.disconnect()


def test_a_slow_member_does_not_hold_up_the_others(port):
    topic, group = fresh("work"), fresh("g")
    stuck, quick = Client(port, fresh("stuck")), Client(port, fresh("quick"))
    narrow = Client5(port, fresh("narrow"), receive_maximum=1)
    for one in (stuck, quick, narrow):
        one.subscribe(1, (f"$share/{group}/{topic}", 1))
    got, kept, only, published = [], [], [], 0
    # Whoever asks sooner gets more: on a busy machine the slow one's window fills later.
    while len(kept) < 32 and published < 4000:
        publish(port, topic, numbers(200, published + 1))
        published += 200

        def all_came():
            got.extend(drain(quick))
            kept.extend(drain(stuck, acknowledge=False))
            only.extend(drain(narrow, acknowledge=False))
            return len(got + kept + only) >= published
        eventually(all_came, what="every message with a member")
    assert len(kept) == 32 and len(only) == 1, (kept, only)
    assert sorted(got + kept + only, key=int) == numbers(published)
    stuck.close()
    narrow.close()
    taken_over = []

    def all_again():
        taken_over.extend(drain(quick))
        return len(taken_over) >= 33
    eventually(all_again, what="what the others had")
    assert sorted(taken_over, key=int) == sorted(kept + only, key=int)
    quick.disconnect()


def test_what_is_retained_is_not_sent(port):
    """[MQTT 5.0 §3.3.1.3, §4.8.2]: no retained message for a shared subscription."""
    topic, group = fresh("retained"), fresh("g")
    publisher = Client(port, fresh("p"))
    publisher.publish(topic, "kept", 1, 1, retain=True)
    publisher.expect(PUBACK, 1)
    for retain_handling in (0, 1):
        member = Client5(port, fresh("m"))
        # Retain As Published, so that a retained message would show itself.
        options = 1 | 8 | retain_handling << 4
        assert member.subscribe(1, (f"$share/{group}/{topic}", options)) == [1]
        member.is_quiet()
        publisher.publish(topic, "newer", 1, 2, retain=True)
        publisher.expect(PUBACK, 2)
        message = member.message()
        assert (message.payload, message.retain) == (b"newer", True)
        member.disconnect()
    publisher.disconnect()


def test_no_local_with_a_shared_subscription_is_a_protocol_error(port):
    """[MQTT-3.8.3-4]"""
    one = Client5(port, fresh("c"))
    one.send(packet(0x82, b"\0\1\0" + string("$share/g/a") + bytes([1 | 4])))
    assert one.ends_with() == 0x82


@pytest.mark.parametrize("filter_", ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a",
                                     "$share/g#/a", "$share/g/a#"])
def test_a_malformed_group_is_no_filter(port, filter_):
    new = Client5(port, fresh("c"))
    new.send(packet(0x82, b"\0\1\0" + string(filter_) + b"\1"))
    assert new.ends_with() == 0x81
    old = Client(port, fresh("c"))
    old.send(packet(0x82, b"\0\1" + string(filter_) + b"\1"))
    assert old.ends() == []


def test_unsubscribe_leaves_the_group(port):
    topic, group = fresh("work"), fresh("g")
    one, other = Client5(port, fresh("one")), Client5(port, fresh("other"))
    name = f"$share/{group}/{topic}"
    for member in (one, other):
        member.subscribe(1, (name, 1), subscription_identifier=7)
    publish(port, topic, numbers(1))
    first = [member for member in (one, other) if drain(member, acknowledge=False)]
    [holder] = first
    rest = other if holder is one else one
    assert holder.unsubscribe(2, name, "$share/x/y") == [0, 0x11]
    publish(port, topic, numbers(10, 2))
    found = [rest.message() for _ in range(10)]
    assert [message.payload.decode() for message in found] == numbers(10, 2)
    assert all(message.properties["subscription_identifier"] == [7] for message in found)
    holder.is_quiet()
    # What was on its way when it left stays with it until its connection ends.
    rest.is_quiet()
    holder.close()
    assert rest.message().payload == b"1"
    # It may come back.
    again = Client5(port, fresh("again"))
    assert again.subscribe(1, (name, 1)) == [1]
    rest.disconnect()
    publish(port, topic, numbers(3, 20))
    assert drain(again) == numbers(3, 20)
    again.disconnect()


def test_a_refused_message_goes_to_nobody_else(port):
    """[MQTT-4.8.2-6]: an error in PUBACK discards the message."""
    topic, group = fresh("work"), fresh("g")
    one, other = Client5(port, fresh("one")), Client5(port, fresh("other"))
    one.subscribe(1, (f"$share/{group}/{topic}", 1))
    publish(port, topic, numbers(1))
    message = one.message(acknowledge=False)
    other.subscribe(1, (f"$share/{group}/{topic}", 1))
    one.acknowledge(message.packet_id, 0x83)
    one.ping()
    one.receive()
    one.close()
    other.is_quiet()
    other.disconnect()


def test_a_group_of_sessions_gets_what_was_published_while_it_was_away(port):
    topic, group = fresh("work"), fresh("g")
    names = [fresh("m"), fresh("m")]
    members = [Client(port, name, clean=False) for name in names]
    for one in members:
        assert one.subscribe(1, (f"$share/{group}/{topic}", 1)) == [1]
    publish(port, topic, numbers(10))
    assert everything(members) == numbers(10)
    for one in members:
        one.disconnect()
    publish(port, topic, ["0"], qos=0)
    publish(port, topic, numbers(50, 11))
    members = [Client(port, name, clean=False) for name in names]
    assert all(one.session_present for one in members)
    assert everything(members) == numbers(50, 11)
    for one, name in zip(members, names):
        one.disconnect()
        # The session is over, and with the last one the group.
        Client(port, name).disconnect()
    publish(port, topic, numbers(5, 100))
    late = Client(port, fresh("late"))
    late.subscribe(1, (f"$share/{group}/{topic}", 1))
    late.is_quiet()
    late.disconnect()


def test_while_one_member_is_away_the_others_get_everything(port):
    topic, group = fresh("work"), fresh("g")
    away = Client(port, fresh("away"), clean=False)
    here = Client(port, fresh("here"))
    for one in (away, here):
        one.subscribe(1, (f"$share/{group}/{topic}", 1))
    away.disconnect()
    publish(port, topic, numbers(30))
    assert drain(here) == numbers(30)
    here.disconnect()


def test_members_that_come_and_go_lose_nothing(port):
    """At least once over any number of lost connections; most of it once."""
    topic, group, count = fresh("work"), fresh("g"), 600
    name = f"$share/{group}/{topic}"
    found, stop = [], threading.Event()
    keeper = Client(port, fresh("keeper"), clean=False)
    keeper.subscribe(1, (name, 1))

    def come_and_go(number):
        while not stop.is_set():
            member = Client(port, f"{group}-{number}", clean=False, timeout=5)
            with contextlib.suppress(TimeoutError, Closed):
                if not member.session_present:
                    member.subscribe(1, (name, 1))
                for _ in range(17):
                    found.append(member.message(0.3)[1].decode())
            member.close()

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    publish(port, topic, numbers(count))
    deadline = time.monotonic() + 40
    while len(set(found)) < count and time.monotonic() < deadline:
        found.extend(drain(keeper, 0.2))
    stop.set()
    for one in threads:
        one.join(20)
    assert sorted(set(found), key=int) == numbers(count)
    assert len(found) < 2 * count
    keeper.disconnect()


def test_paho_members_share_the_work(port):
    topic, group, got = fresh("paho"), fresh("g"), {}
    members, subscribed = [], []
    for number, version in enumerate((paho.MQTTv311, paho.MQTTv5, paho.MQTTv5)):
        one = paho.Client(paho.CallbackAPIVersion.VERSION2, fresh("c"), protocol=version)
        done = threading.Event()
        got[number] = []
        one.on_connect = lambda client, *_: client.subscribe(f"$share/{group}/{topic}/#", 1)
        one.on_subscribe = lambda *_, done=done: done.set()
        one.on_message = lambda client, data, message, number=number: \
            got[number].append(int(message.payload))
        one.connect("127.0.0.1", port)
        one.loop_start()
        members.append(one)
        subscribed.append(done)
    assert all(done.wait(10) for done in subscribed)
    publish(port, f"{topic}/a", numbers(150))
    eventually(lambda: sum(map(len, got.values())) >= 150, what="150 messages")
    time.sleep(0.3)
    assert sorted(sum(got.values(), [])) == list(range(1, 151))
    assert all(got.values()), got
    for one in members:
        one.disconnect()
        one.loop_stop()


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto_sub_members_share_the_work(port, version):
    topic, group = fresh("mosquitto"), fresh("g")
    command = ["stdbuf", "-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-V", version, "-q", "1",
               "-t", f"$share/{group}/{topic}", "-W", "5", "-d"]
    members = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for one in members:
        while "Subscribed" not in one.stdout.readline():
            pass
    publish(port, topic, numbers(60))
    shares = []
    for one in members:
        output, _ = one.communicate(timeout=20)
        lines = [line for line in output.splitlines() if line.isdigit()]
        shares.append(lines)
    assert sorted(sum(shares, []), key=int) == numbers(60)
    assert all(share for share in shares), shares
