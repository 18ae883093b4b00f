"""`worker/scout.py`: a thread leaves CPUs that become slow, and what was seen of it is kept."""

import contextlib
import csv
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from slidesparse_bench import machine_lock
from slidesparse_bench.worker import host as host_module
from slidesparse_bench.worker import scout as scout_module
from slidesparse_bench.worker.host import Host
from slidesparse_bench.worker.scout import CALM_LOOKS, Awake, Reservation, Scout, cpu_of

TWELVE = range(12)


class Machine:
    """CPUs with speeds that tests change, and a thread that begins on the first of them."""

    def __init__(self, slow=(), taken=()):
        self.slow, self.taken, self.bound, self.tried = set(slow), set(taken), [], []
        self.fast_ms, self.interrupted = 0.07, 0

    def scout(self):
        bind = self.bound.append
        return Scout(TWELVE, 0, time_on=self.time_on, bind=bind, reservation=self)

    def is_free(self, cpu):
        return cpu not in self.taken

    def take(self, cpu):
        return cpu not in self.taken

    def time_on(self, cpu, loops):
        self.tried.append(cpu)
        if self.interrupted:
            self.interrupted -= 1
            return 0.5
        return 0.12 if cpu in self.slow else self.fast_ms


SLOW = pytest.approx(0.12 / 0.07)


def test_a_thread_on_a_fast_cpu_stays():
    machine = Machine(slow=[5])
    scout = machine.scout()
    assert [scout.look() for _ in range(3)] == [1.0] * 3
    assert machine.bound == [0]


def test_a_thread_is_led_to_a_fast_cpu():
    machine = Machine()
    scout = machine.scout()
    scout.look()
    machine.slow = {0, 1, 2}
    assert scout.look() == SLOW
    assert (machine.bound, scout.cpu) == ([0, 3], 3)
    assert machine.tried[-3:] == [1, 2, 3]  # whoever leads is there until the thread is
    assert scout.look() == 1.0


def test_cpus_that_others_are_bound_to_are_left_to_them():
    machine = Machine(slow=[0], taken=[1, 2])
    scout = machine.scout()
    scout.look()
    assert machine.bound == [0, 3]
    machine.tried.clear()
    for _ in range(100):
        scout.look()
    assert set(machine.tried) == set(TWELVE) - {1, 2}


def test_a_thread_that_begins_where_another_is_bound_is_bound_elsewhere():
    machine = Machine(slow=TWELVE, taken=[0, 1])
    assert machine.scout().cpu == 2
    assert machine.bound == [2]


def test_where_there_are_more_threads_than_cpus_they_share():
    machine = Machine(taken=TWELVE)
    assert machine.scout().look() == 1.0
    assert machine.bound == [0]


def test_a_look_that_was_interrupted_is_taken_again():
    machine = Machine()
    scout = machine.scout()
    machine.interrupted = 1
    assert scout.look() == 1.0
    assert machine.bound == [0]


def test_what_becomes_fast_elsewhere_is_noticed_by_a_thread_on_a_host_that_was_always_slow():
    machine = Machine(slow=TWELVE)
    scout = machine.scout()
    assert {scout.look() for _ in range(1000)} == {1.0}
    machine.slow = {0}
    for _ in range(100):
        scout.look()
    assert scout.cpu != 0


def test_cpus_are_tried_first_that_were_fast_when_last_looked_at():
    machine = Machine(slow=[1, 2, 3])
    scout = machine.scout()
    machine.slow = {0}
    scout.look()
    assert machine.bound == [0, 4]


def test_where_all_cpus_are_slow_searches_are_few():
    machine = Machine()
    scout = machine.scout()
    machine.slow = set(TWELVE)
    machine.tried.clear()
    for _ in range(3 * CALM_LOOKS + 1):
        assert scout.look() == SLOW
    assert machine.bound == [0]
    assert 4 <= machine.tried.count(5) <= 5  # four searches, and once in its turn
    machine.slow = set()
    assert scout.look() == 1.0


def test_a_thread_that_begins_on_a_slow_cpu_is_measured_by_the_fast_ones():
    machine = Machine(slow=[0])
    assert machine.scout().look() == SLOW


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


def wait_for_looks(host):
    """The lines of its scout's log, once it has looked."""
    end = time.monotonic() + 30
    while len(lines := host._log.read_text().splitlines() if host._log.exists() else []) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    return lines


def test_a_host_with_a_log_has_a_scout_until_it_is_closed(host):
    host.settle()
    rows = list(csv.DictReader(wait_for_looks(host)))
    assert all(float(row["slowdown"]) >= 1.0 for row in rows)
    assert {int(row["cpu"]) for row in rows} <= host._allowed
    scout = host._scout
    host.settle()
    assert host._scout is scout
    host.close()
    assert scout.poll() is not None
    assert os.sched_getaffinity(0) == host._allowed


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


awakening = pytest.mark.skipif(
    scout_module.has_quota(), reason="CPU time is limited here: no CPU is kept awake"
)


def awake_child(host):
    """Of its scout: it comes with a look at a thread that sleeps."""
    end = time.monotonic() + 30
    while not (found := children(host._scout.pid)):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found[0]


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


@awakening
def test_the_cpu_of_the_thread_is_kept_awake_by_a_process_of_lowest_priority(host):
    host.settle()
    wait_for_looks(host)
    awake = awake_child(host)
    assert os.sched_getscheduler(awake) == os.SCHED_IDLE
    assert len(os.sched_getaffinity(awake)) == 1
    host.close()
    assert not _is_alive(awake)


@awakening
def test_a_scout_that_is_killed_leaves_nobody_awake(host):
    host.settle()
    wait_for_looks(host)
    awake = awake_child(host)
    host._scout.kill()
    host._scout.wait()
    host.close()
    assert os.sched_getaffinity(0) == host._allowed
    end = time.monotonic() + 20
    while _is_alive(awake):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("files", "is_limited"),
    [
        ({}, False),
        ({"cpu.max": "max 100000"}, False),
        ({"cpu.max": "200000 100000"}, True),
        ({"cpu/cpu.cfs_quota_us": "-1"}, False),
        ({"cpu/cpu.cfs_quota_us": "50000"}, True),
        ({"jobs/cpu.max": "200000 100000", "jobs/mine/cpu.max": "max 100000"}, True),
        ({"jobs/other/cpu.max": "200000 100000"}, False),
        ({"cpu/jobs/mine/cpu.cfs_quota_us": "50000"}, True),
    ],
)
def test_a_limit_of_cpu_time_is_found(tmp_path, files, is_limited):
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    own = tmp_path / "own"
    own.write_text("4:cpu,cpuacct:/jobs/mine\n0::/jobs/mine\n")
    assert scout_module.has_quota(tmp_path / "groups", own) is is_limited


def test_where_cpu_time_is_limited_nobody_is_kept_awake(monkeypatch):
    monkeypatch.setattr(scout_module, "has_quota", lambda: True)
    before = children(os.getpid())
    awake = Awake()
    awake.keep(0)
    assert children(os.getpid()) == before


@awakening
def test_nobody_is_awake_beside_a_thread_that_does_not_sleep():
    before = set(children(os.getpid()))
    with contextlib.closing(Awake()) as awake:
        awake.keep(0)
        [pid] = set(children(os.getpid())) - before
        awake.keep(None)
        assert not _is_alive(pid)
        awake.keep(0)
        [another] = set(children(os.getpid())) - before
    assert not _is_alive(another)


def test_a_quota_that_cannot_be_read_is_a_limit(tmp_path):
    (tmp_path / "cpu.max").mkdir()
    assert scout_module.has_quota(tmp_path, tmp_path / "none")


def test_time_not_asleep_is_that_of_work_and_of_waiting_for_it():
    thread = threading.get_native_id()
    began, before = time.monotonic(), scout_module.time_not_asleep_s(thread)
    while time.monotonic() < began + 0.2:
        pass
    assert scout_module.time_not_asleep_s(thread) - before > 0.1
    time.sleep(0.2)
    not_asleep_s = scout_module.time_not_asleep_s(thread) - before
    assert not_asleep_s < time.monotonic() - began - 0.1
    assert scout_module.time_not_asleep_s(-1) == 0.0


@pytest.fixture
def locks(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_lock, "lock_folder", lambda: tmp_path)
    return tmp_path


def test_a_cpu_is_reserved_until_another_is(locks, monkeypatch):
    monkeypatch.setattr(scout_module, "core_of", lambda cpu: cpu)
    ours, theirs = Reservation(), Reservation()
    assert ours.take(0)
    assert not theirs.take(0)
    assert not theirs.is_free(0)
    assert theirs.take(1)
    assert not ours.take(1)
    assert not theirs.is_free(0)  # what could not be had does not cost what is held
    assert ours.take(2)
    assert theirs.is_free(0)


def test_threads_of_one_core_are_reserved_together(locks, monkeypatch):
    monkeypatch.setattr(scout_module, "core_of", lambda cpu: cpu % 2)
    ours, theirs = Reservation(), Reservation()
    assert ours.take(0)
    assert not theirs.take(2)
    assert theirs.take(3)


def test_without_locks_every_cpu_is_free(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_lock, "lock_folder", lambda: tmp_path / "missing")
    ours, theirs = Reservation(), Reservation()
    assert ours.take(0)
    assert theirs.take(0)


def test_a_core_is_known_by_the_least_of_its_threads(tmp_path):
    topology = tmp_path / "cpu5" / "topology"
    topology.mkdir(parents=True)
    (topology / "thread_siblings_list").write_text("1,5\n")
    assert scout_module.core_of(5, tmp_path) == 1
    assert scout_module.core_of(6, tmp_path) == 6


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
