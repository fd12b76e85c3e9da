"""Bounds that an operator sets on a mirror hold, also over crashes."""

import time

from mirror import judge_mirror, status, wait_until_mirrored, write_config
from workload import Workload

MONTH_BYTES = 1 << 20


def test_the_bytes_of_a_month_are_a_bound_over_kills(mirrored, tmp_path):
    keys = {"compression": "none", "batch.bytes": 50_000}
    pair = mirrored("sluice", **{"month.bytes.max": MONTH_BYTES}, **keys)
    gateway, centre = pair.gateway, pair.centre
    workload = Workload(gateway.bootstrap, "events", sizes=(20_000,))
    workload.create_topic()
    workload.start()
    workload.wait_for_acknowledged(3 * MONTH_BYTES // 20_000)
    workload.finish()
    deadline = time.monotonic() + 60
    while status(gateway)["link"] != "waiting":
        assert time.monotonic() < deadline, status(gateway)
        time.sleep(0.1)
    # A request that began below the bound may end above it.
    bound = MONTH_BYTES + 300_000
    before = status(gateway)
    assert MONTH_BYTES <= before["month_bytes"] <= bound
    assert before["lag_records"] > 0
    for _ in range(3):
        gateway.kill()
        gateway.start()
        time.sleep(1.5)
        after = status(gateway)
        assert after["link"] == "waiting" and after["records"] == 0, after
        assert MONTH_BYTES <= after["month_bytes"] <= bound
    gateway.kill()
    write_config(tmp_path / "sluice", centre.bootstrap, **{"month.bytes.max": 100 * MONTH_BYTES}, **keys)
    gateway.start()
    assert wait_until_mirrored(gateway)["month_bytes"] > 3 * MONTH_BYTES
    counts = judge_mirror(gateway, centre, workload)
    assert counts["records"] >= len(workload.acknowledged) and counts["missing"] == 0
