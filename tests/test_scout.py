"""`worker/scout.py`: a thread leaves CPUs that become slow, and what was seen of it is kept."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from slidesparse_bench.worker import host as host_module
from slidesparse_bench.worker import scout as scout_module
from slidesparse_bench.worker.host import Host
from slidesparse_bench.worker.scout import CALM_LOOKS, Scout, cpu_of

EIGHT = range(8)


class Machine:
    """CPUs with speeds that tests change, and a thread on one of them."""

    def __init__(self, slow=()):
        self.slow, self.cpu, self.moves = set(slow), 0, []

    def scout(self):
        return Scout(EIGHT, cpu_of_thread=lambda: self.cpu, time_on=self.time_on, move=self.move)

    def time_on(self, cpu, loops):
        return 0.12 if cpu in self.slow else 0.07

    def move(self, cpus):
        self.moves.append(cpus)
        self.cpu = min(cpus)


def test_a_thread_on_a_fast_cpu_stays():
    machine = Machine(slow=[5])
    scout = machine.scout()
    assert [scout.look() for _ in range(3)] == [(0, 1.0)] * 3
    assert machine.moves == []


def test_a_thread_leaves_a_cpu_that_becomes_slow():
    machine = Machine()
    scout = machine.scout()
    scout.look()
    machine.slow = {0, 1, 2}
    assert scout.look() == (0, pytest.approx(0.12 / 0.07))
    assert machine.moves == [{3, 4, 5, 6, 7}]
    assert scout.look() == (3, 1.0)


def test_where_all_cpus_are_slow_moves_are_few():
    machine = Machine()
    scout = machine.scout()
    machine.slow = set(EIGHT)
    looks = 3 * CALM_LOOKS + 1
    assert [scout.look()[1] for _ in range(looks)] == [pytest.approx(0.12 / 0.07)] * looks
    assert len(machine.moves) == 4
    machine.slow = set()
    assert scout.look()[1] == 1.0


def test_a_thread_that_begins_on_a_slow_cpu_is_measured_by_the_fast_ones():
    machine = Machine(slow=[0])
    assert machine.scout().look()[1] == pytest.approx(0.12 / 0.07)


def test_the_system_says_where_a_thread_is():
    before = os.sched_getaffinity(0)
    cpu = max(before)
    try:
        os.sched_setaffinity(0, {cpu})
        time.sleep(0.01)
        assert cpu_of(threading.get_native_id()) == cpu
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture
def host(tmp_path):
    before = os.sched_getaffinity(0)
    host = Host(tmp_path / "host.csv")
    yield host
    host.close()
    os.sched_setaffinity(0, before)


def test_a_host_with_a_log_has_a_scout_until_it_is_closed(host):
    began = time.time()
    assert host.seen_between(began, began + 60) == []
    host.settle()
    while not host.seen_between(began, time.time()):
        assert time.time() < began + 30
        time.sleep(0.05)
    assert all(each >= 1.0 for each in host.seen_between(began, time.time()))
    assert host.seen_between(began - 60, began) == []
    scout = host._scout
    host.settle()
    assert host._scout is scout
    host.close()
    assert scout.returncode == 0


def test_a_host_without_a_log_has_none():
    before = os.sched_getaffinity(0)
    host = Host()
    try:
        host.settle()
        assert host._scout is None
        host.close()
    finally:
        os.sched_setaffinity(0, before)


def test_a_scout_ends_with_the_process_that_started_it(tmp_path):
    """As after kill -9: nobody closes it, its standard input ends."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from slidesparse_bench.worker.host import Host\n"
        f"host = Host(Path({str(tmp_path / 'host.csv')!r}))\n"
        "host.settle()\n"
        "print(host._scout.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 20
    while _is_alive(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def test_a_system_that_does_not_tell_the_cpu_has_no_scout(monkeypatch, tmp_path):
    monkeypatch.setattr(scout_module, "cpu_of", lambda thread: 4711)
    before = os.sched_getaffinity(0)
    try:
        cpus = ",".join(map(str, before))
        arguments = [str(os.getpid()), str(tmp_path / "host.csv"), cpus]
        assert scout_module.main(arguments) == 1
    finally:
        os.sched_setaffinity(0, before)
    assert not (tmp_path / "host.csv").exists()


def test_the_program_is_where_the_host_looks_for_it():
    assert scout_module.__name__ == host_module.SCOUT
