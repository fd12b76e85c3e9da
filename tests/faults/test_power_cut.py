"""Power cut of the file system under load: what was acknowledged was on stable storage."""

from workload import Workload, judge, read_all


def test_power_cut_under_load_keeps_every_acknowledged_record_once(
        request, seeded, start_broker, loop_disk):
    cycles = request.config.getoption("--cycles") or 30
    disk = loop_disk(megabytes=1024)
    broker = start_broker(data=disk.mount / "data")
    workload = Workload(broker.bootstrap, "cut", sizes=(120, 900, 70_000))
    workload.create_topic()
    workload.start()
    for _ in range(cycles):
        workload.wait_for_acknowledged(len(workload.acknowledged) + seeded.randrange(1, 200))
        disk.cut_power()
        broker.kill()
        disk.detach()
        disk.attach()
        broker.start()
    workload.finish()
    figures = judge(workload, read_all(broker.bootstrap, "cut"))
    print(f"{cycles} power cuts: {figures}")
    assert figures["refused"] == 0, workload.failed[:3]
    assert broker.stop() == 0
