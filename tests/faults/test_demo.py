"""`sluice demo`: what it shows is true, and nothing of it is left behind."""

import json
import os
import pathlib
import pty
import signal
import subprocess
import time

import pytest

from broker import sluice_binary


@pytest.fixture
def demo(tmp_path):
    """Starts demonstrations whose files are in a directory of the test; kills what is left."""
    started = []
    temporary = tmp_path / "tmp"
    temporary.mkdir()

    def make(*arguments, stdout=subprocess.PIPE):
        # Nothing of the environment may reach its brokers.
        environment = dict(os.environ, TMPDIR=str(temporary), SLUICE_KAFKA_ADVERTISE="nowhere:1")
        process = subprocess.Popen([sluice_binary(), "demo", *arguments], stdout=stdout,
                                   stderr=subprocess.PIPE, text=True, env=environment)
        process.temporary = temporary
        started.append(process)
        return process

    yield make
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def children_of(pid):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids, seconds=15):
    deadline = time.monotonic() + seconds
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, f"still running: {[p for p in pids if is_running(p)]}"
        time.sleep(0.05)


def read_rows(process, until):
    """The rows of a running demonstration up to the first one that fits."""
    for line in process.stdout:
        row = json.loads(line)
        yield row
        if "lag_records" in row and until(row):
            return
    raise AssertionError(f"it ended: {process.stderr.read()}")


def test_everything_arrives_once_though_the_link_is_cut(demo):
    process = demo("--seconds", "9", "--rate", "400", "--output", "json")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    lines = [json.loads(line) for line in output.splitlines()]
    rows = [line for line in lines if "lag_records" in line]
    events = [line["event"] for line in lines if "event" in line]
    assert events == ["the link is cut", "the link is back", "the sensors have stopped"]
    cut = [row for row in rows if row["link"] == "cut"]
    # Nothing passes while it is cut, and the sensors go on.
    assert cut[-1]["at_centre"] == cut[1]["at_centre"] < cut[-1]["records_in"] - 300
    assert cut[-1]["lag_records"] > 300
    last = rows[-1]
    assert last["at_centre"] == last["records_in"] == last["mirrored"] > 2000
    assert {last[name] for name in ("duplicates", "missing", "out_of_order", "unmarked", "gaps",
                                    "lag_records")} == {0}
    assert lines[-1]["kept"] is True
    assert list(process.temporary.iterdir()) == []


def test_an_interrupt_ends_it_cleanly_with_its_brokers(demo):
    process = demo("--output", "json")
    list(read_rows(process, lambda row: row["at_centre"] > 100))
    children = children_of(process.pid)
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert json.loads(output.splitlines()[-1])["kept"] is True
    assert not any(map(is_running, children))
    assert list(process.temporary.iterdir()) == []


def test_its_brokers_do_not_outlive_a_kill(demo):
    process = demo("--output", "json")
    list(read_rows(process, lambda row: row["records_in"] > 0))
    children = children_of(process.pid)
    assert len(children) == 2
    process.kill()
    process.wait()
    wait_until_gone(children)


def test_a_broker_that_dies_ends_it_with_an_error(demo):
    process = demo("--output", "json")
    list(read_rows(process, lambda row: row["records_in"] > 0))
    children = children_of(process.pid)
    os.kill(children[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("sluice: ") and errors.count("\n") == 1, errors
    assert not any(map(is_running, children))
    assert list(process.temporary.iterdir()) == []


def test_a_terminal_shows_one_table_in_place(demo):
    near, far = pty.openpty()
    process = demo("--seconds", "4", stdout=far)
    os.close(far)
    shown = b""
    while True:
        try:
            piece = os.read(near, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(near)
    assert process.wait(60) == 0, process.stderr.read()
    text = shown.decode()
    pictures = text.split("\x1b[J")
    assert len(pictures) >= 4
    for picture in pictures[1:]:
        assert picture.count("RECORDS-IN") == 1
    assert "the link is cut" in pictures[-1] and "each once and in order" in pictures[-1]
