"""MQTT publishers under power cuts: what a PUBACK or PUBREC promised was on stable storage."""

import threading

from test_mqtt import ExactPublisher, Publisher, values_by_key


def cut_power_under(publishers, broker, disk, seeded, cycles):
    """Cuts the power again and again, each time after some more acknowledgements."""
    for _ in range(cycles):
        wanted = [one.acknowledged + seeded.randrange(1, 20) for one in publishers]
        for one, count in zip(publishers, wanted):
            for _ in range(3000):
                if one.acknowledged >= count:
                    break
                one.stop.wait(0.01)
            assert one.acknowledged >= count, "publishing goes on"
        disk.cut_power()
        broker.kill()
        disk.detach()
        disk.attach()
        broker.start()


def test_power_cuts_keep_qos_1_at_least_once_and_qos_2_exactly_once(
        request, seeded, start_broker, loop_disk):
    cycles = request.config.getoption("--cycles") or 10
    disk = loop_disk(megabytes=512)
    broker = start_broker(data=disk.mount / "data")
    stop = threading.Event()
    once = [Publisher(broker.mqtt_port, number, stop) for number in range(3)]
    exact = [ExactPublisher(broker.mqtt_port, number, stop) for number in range(3, 6)]
    for one in once + exact:
        one.start()
    cut_power_under(once + exact, broker, disk, seeded, cycles)
    stop.set()
    for one in once + exact:
        one.join(30)
        assert not one.is_alive()
    found = values_by_key(broker.bootstrap, "mqtt")
    for one in once:
        missing = set(range(1, one.acknowledged + 1)) - set(found[one.topic])
        assert not missing, sorted(missing)[:5]
        firsts = list(dict.fromkeys(found[one.topic]))
        assert firsts == sorted(firsts)
    for one in exact:
        assert one.lost_sessions == 0
        assert found[one.topic] == list(range(1, one.next_number)), one.topic
    print(f"{cycles} power cuts, {sum(map(len, found.values()))} records")
    assert broker.stop() == 0
