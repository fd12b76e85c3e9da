"""The downlink: every command of the centre stands at the gateway once and in order, whatever crashes."""

import time

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from downlink import KEYS, TOPIC, has_topic, judge, lanes, send, start_commands, wait_until_brought
from mirror import create_topic, delete_topic, read_messages, status, wait_for
from workload import PARTITIONS


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_every_command_arrives_once_though_the_gateway_dies(mirrored, kind, seeded, request):
    kills = request.config.getoption("--kills") or 20
    pair = mirrored(kind, **KEYS)
    gateway = pair.gateway
    workload = start_commands(pair, sizes=(120, 900, 20_000), rate_pause=0.002)
    wait_for(lambda: has_topic(gateway))
    brought = 0
    for _ in range(kills):
        # Somewhere between the start, the search for the cursor, a fetch and an append.
        time.sleep(seeded.random() * 0.6)
        gateway.kill()
        gateway.start()
        brought = max(brought, len(read_messages(gateway.bootstrap, TOPIC)))
    assert brought > 0, "nothing was brought between the kills"
    workload.finish()
    records = judge(gateway, workload)
    print(f"{kills} kills, {brought} records before the last one, {len(records)} in all")


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_every_command_arrives_once_over_a_link_that_is_cut(mirrored, kind, seeded):
    pair = mirrored(kind, relay=True, **KEYS)
    workload = start_commands(pair, sizes=(120, 900, 20_000))
    wait_for(lambda: has_topic(pair.gateway))
    for _ in range(15):
        pair.relay.cut()
        time.sleep(seeded.random() * 0.3)
        pair.relay.mend()
        time.sleep(seeded.random() * 0.6)
    workload.finish()
    judge(pair.gateway, workload)
    assert pair.relay.connections > 5
    (downlink,), partitions = lanes(pair.gateway)
    assert downlink["link"] == "up" and downlink["gaps"] == 0
    assert len(partitions) == PARTITIONS
    wait_for(lambda: lanes(pair.gateway)[0][0]["lag_records"] == 0)


def test_every_command_arrives_once_while_the_centre_is_killed(mirrored, seeded):
    pair = mirrored("sluice", **KEYS)
    workload = start_commands(pair, sizes=(120, 900))
    for _ in range(8):
        workload.wait_for_acknowledged(len(workload.acknowledged) + seeded.randrange(20, 150))
        pair.centre.kill()
        time.sleep(seeded.random())
        pair.centre.start(*pair.centre_settings)
    workload.finish()
    judge(pair.gateway, workload)


@pytest.mark.parametrize("kind", ["kafka", "sluice"])
def test_a_topic_that_the_centre_makes_anew_is_brought_from_its_start(mirrored, kind):
    pair = mirrored(kind, **KEYS)
    gateway = pair.gateway
    create_topic(pair.centre, TOPIC, {}, partitions=1)
    send(pair.centre, [b"old %d" % number for number in range(30)])
    wait_until_brought(gateway, 30)
    delete_topic(pair.centre, TOPIC)
    wait_for(lambda: not has_topic(pair.centre))
    create_topic(pair.centre, TOPIC, {}, partitions=1)
    gateway.kill()
    send(pair.centre, [b"new %d" % number for number in range(20)])
    gateway.start()
    records = wait_until_brought(gateway, 50)
    values = [message.value() for message in records]
    assert values == ([b"old %d" % number for number in range(30)]
                      + [b"new %d" % number for number in range(20)])
    wait_for(lambda: lanes(gateway)[0][0]["recreations"] == 1)


def test_aborted_transactions_are_not_brought(mirrored):
    pair = mirrored("kafka", **KEYS)
    create_topic(pair.centre, TOPIC, {}, partitions=1)
    producer = Producer({"bootstrap.servers": pair.centre.bootstrap, "transactional.id": "t",
                         "log_level": 0})
    other = Producer({"bootstrap.servers": pair.centre.bootstrap, "log_level": 0})
    producer.init_transactions(60)
    wanted = []
    for turn in range(10):
        producer.begin_transaction()
        for number in range(5):
            value = b"%d in %d" % (number, turn)
            producer.produce(TOPIC, value, partition=0)
            # The next one, without a transaction, stands between the records of this one.
            assert producer.flush(30) == 0
            other.produce(TOPIC, b"plain " + value, partition=0)
            assert other.flush(30) == 0
            wanted += [b"plain " + value] + ([value] if turn % 2 == 0 else [])
        if turn % 2 == 0:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    records = wait_until_brought(pair.gateway, len(wanted))
    assert sorted(message.value() for message in records) == sorted(wanted)
    wait_for(lambda: lanes(pair.gateway)[1][0]["lag_records"] == 0)


def test_nothing_goes_round(mirrored):
    pair = mirrored("sluice", topics=["*"], **KEYS)
    gateway, centre = pair.gateway, pair.centre
    create_topic(centre, TOPIC, {}, partitions=1)
    send(centre, [b"down"])
    wait_until_brought(gateway, 1)
    create_topic(gateway, "events", {}, partitions=1)
    send(gateway, [b"up"], "events")
    wait_for(lambda: status(gateway)["records"] == 1)
    # A record of this gateway comes into the topic of the commands, with its headers.
    (up,) = read_messages(centre.bootstrap, "events")
    producer = Producer({"bootstrap.servers": centre.bootstrap, "log_level": 0})
    producer.produce(TOPIC, up.value(), partition=0, headers=up.headers())
    producer.produce(TOPIC, b"last", partition=0)
    assert producer.flush(30) == 0
    records = wait_until_brought(gateway, 2)
    assert [message.value() for message in records] == [b"down", b"last"]
    assert len(read_messages(centre.bootstrap, TOPIC)) == 3, "commands went up again"
    assert status(gateway)["records"] == 1


def test_what_the_centre_has_removed_is_a_gap_and_the_rest_comes(mirrored):
    pair = mirrored("sluice", **KEYS)
    gateway, centre = pair.gateway, pair.centre
    create_topic(centre, TOPIC, {}, partitions=1)
    send(centre, [b"%d" % number for number in range(10)])
    wait_until_brought(gateway, 10)
    gateway.stop()
    send(centre, [b"%d" % number for number in range(10, 30)])
    admin = AdminClient({"bootstrap.servers": centre.bootstrap, "log_level": 0})
    place = TopicPartition(TOPIC, 0, 25)
    admin.delete_records([place])[place].result(30)
    gateway.start()
    records = wait_until_brought(gateway, 15)
    values = [int(message.value()) for message in records]
    assert values == [*range(10), *range(25, 30)]
    gap = dict(records[10].headers())["_gap"]
    assert (int.from_bytes(gap[:8], "big"), int.from_bytes(gap[8:], "big")) == (10, 25)
    (downlink,), _ = lanes(gateway)
    assert downlink["gaps"] == 1
