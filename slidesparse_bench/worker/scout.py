"""`python -m slidesparse_bench.worker.scout THREAD LOG CPU,CPU,...`: a thread's way off slow CPUs.

The thread is the one that drives an engine, in another process; the CPUs are those it may use. It is
bound to the one that it is on. Ten times a second a few loops run there, for a fifth of a millisecond, and
a line of LOG says how many times longer than at best they took. Where that is much, twice in a row, this
process tries the other CPUs until it is on a fast one, and the thread follows it there. Doing this from
outside costs the thread a few thousandths of its time. A CPU that another scout's thread is bound to is left
to it: while that thread sleeps it looks fast.

A child of lowest priority keeps the thread's CPU busy while the thread sleeps until the device is done. On
a virtual machine a CPU that has nothing to do is given away, and comes back later, and often slower, on
whichever core is free then; on any machine it lowers its clock. The scheduler would move the thread away
from the child, were it not bound. Of a thread that never sleeps the child would take three milliseconds
every second; there it rests.

Ends with its standard input, and says nothing where the system does not tell the CPU of a thread. The
thread is free again then.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from slidesparse_bench.machine_lock import is_locked_by_us, opened_lock
from slidesparse_bench.telemetry import is_slow
from slidesparse_bench.worker.host import Best, parse_cpulist, time_on

PERIOD_S, CALM_LOOKS, TRY_EVERY = 0.1, 10, 5
"""So many looks follow a search for a fast CPU that found none: then none helps. After so many another CPU
is tried, to know what is fast."""
LOOK_ADDITIONS = 2_500
"""About 0.07 ms."""
LOOK_LOOPS, TRY_LOOPS = 3, 60
"""On a CPU that is at work, and on one whose clock may be low because it slept."""
BUSY = 0.98
"""A thread that does not sleep for so much of the time needs nobody to keep its CPU awake: a hypervisor waits for
a moment itself before it gives a CPU away."""
MOST_FILES = 1024
"""More than this process has open."""
_CGROUPS = Path("/sys/fs/cgroup")
_QUOTAS = ("cpu.max", "cpu.cfs_quota_us")
"""Where a control group says how much CPU time it may use (versions 2 and 1)."""


class Reservation:
    """Of one core of this machine at a time, until this process ends; CPUs are its threads."""

    def __init__(self) -> None:
        self._held: int | None = None

    def is_free(self, cpu: int) -> bool:
        """Whether nobody has it at this moment."""
        number = _locked(cpu)
        if number is not None:
            os.close(number)
        return number is not None

    def take(self, cpu: int) -> bool:
        """Have it instead of the one before, unless somebody else does."""
        number = _locked(cpu)
        if number is None:
            return False
        if self._held is not None:
            os.close(self._held)
        self._held = number
        return True


def _locked(cpu: int) -> int | None:
    """A descriptor that holds the core (or nothing, where no lock can be had); None if taken."""
    try:
        number = opened_lock(f"core{core_of(cpu)}")
    except OSError:
        return os.open(os.devnull, os.O_RDONLY)
    if is_locked_by_us(number):
        return number
    os.close(number)
    return None


def core_of(cpu: int, cpus: Path = Path("/sys/devices/system/cpu")) -> int:
    """The least of the CPUs that are threads of one core; the CPU itself where nobody tells."""
    siblings = cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    return min(parse_cpulist(siblings.read_text()) if siblings.exists() else [], default=cpu)


class Scout:
    """Follows one thread, and leads it.

    Args:
        cpus: where the thread may be.
        cpu: where it is now.
        time_on: the time in ms of a loop on a CPU, after so many of them; this process stays there.
        bind: keeps the thread on a CPU.
        reservation: of the CPU that it is on.
    """

    def __init__(
        self,
        cpus: Sequence[int],
        cpu: int,
        *,
        time_on: Callable[[int, int], float],
        bind: Callable[[int], None],
        reservation: Reservation,
    ) -> None:
        self._time_on, self._bind, self._reservation = time_on, bind, reservation
        self._last_ms = {each: time_on(each, TRY_LOOPS) for each in cpus}
        self._best = Best(self._last_ms.values())
        self._looks, self._calm, self._tried = 0, 0, -1
        self.cpu = cpu
        if not reservation.take(cpu):
            self.cpu = next((each for each in cpus if each != cpu and reservation.take(each)), cpu)
        bind(self.cpu)

    def look(self) -> float:
        """How many times slower than the best the thread's CPU is; leads it elsewhere if it is slow."""
        self._looks += 1
        if self._looks % TRY_EVERY == 0:
            self._try_another()
        now_ms = self._time_on(self.cpu, LOOK_LOOPS)
        if is_slow(self._best.times_slower(now_ms)):  # or was interrupted
            now_ms = min(now_ms, self._time_on(self.cpu, LOOK_LOOPS))
        self._last_ms[self.cpu] = now_ms
        self._best.note(now_ms)
        slowdown = self._best.times_slower(now_ms)
        self._calm = max(0, self._calm - 1)
        if is_slow(slowdown) and not self._calm:
            self._leave()
        return slowdown

    def _leave(self) -> None:
        """For the first CPU that is fast; those first that were when last looked at."""
        for other in sorted(self._last_ms, key=self._last_ms.__getitem__):
            if self._is_fast(other) and self._reservation.take(other):
                self._bind(other)
                self.cpu = other
                return
        self._calm = CALM_LOOKS

    def _is_fast(self, other: int) -> bool:
        if other == self.cpu or not self._reservation.is_free(other):
            return False
        return not is_slow(self._try(other))

    def _try_another(self) -> None:
        """The next one in a circle: what is fast should be known also where the thread is slow for good."""
        self._tried = min(self._last_ms, key=lambda cpu: (cpu <= self._tried, cpu))
        self._is_fast(self._tried)

    def _try(self, cpu: int) -> float:
        self._last_ms[cpu] = self._time_on(cpu, TRY_LOOPS)
        self._best.note(self._last_ms[cpu])
        return self._best.times_slower(self._last_ms[cpu])


def main(arguments: list[str]) -> int:
    """Follow the thread until standard input ends; 1 where that cannot be done."""
    thread, log, cpus = int(arguments[0]), Path(arguments[1]), _numbers(arguments[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if not _system_tells_cpus(cpus):
        return 1
    with contextlib.ExitStack() as until_the_end:
        lines = until_the_end.enter_context(log.open("w", encoding="utf-8", buffering=1))
        lines.write("time,cpu,slowdown\n")
        awake = until_the_end.enter_context(contextlib.closing(Awake()))
        until_the_end.callback(_bind, thread, cpus)
        scout = Scout(
            cpus,
            cpu_of(thread),
            time_on=_time_on,
            bind=lambda cpu: _bind(thread, [cpu]),
            reservation=Reservation(),
        )
        up_s, looked = time_not_asleep_s(thread), time.monotonic()
        while True:
            _bind(0, [cpu for cpu in cpus if cpu != scout.cpu] or cpus)  # out of its way
            if select.select([sys.stdin], [], [], PERIOD_S)[0]:
                return 0
            before_s, since = up_s, looked
            up_s, looked = time_not_asleep_s(thread), time.monotonic()
            is_busy = up_s - before_s > BUSY * (looked - since)
            cpu, slowdown = scout.cpu, scout.look()
            awake.keep(None if is_busy else scout.cpu)
            if math.isfinite(slowdown):
                lines.write(f"{time.time():.3f},{cpu},{slowdown:.3f}\n")


class Awake:
    """Keeps one CPU awake, by a process of its own; none where CPU time is limited."""

    def __init__(self) -> None:
        self._may = not has_quota()
        self._pid: int | None = None

    def keep(self, cpu: int | None) -> None:
        """This one from now on; none if None."""
        if cpu is None or not self._may:
            self.close()
            return
        if self._pid is None:
            parent = os.getpid()
            self._pid = os.fork()
            if not self._pid:
                _stay_awake(parent)
        _bind(self._pid, [cpu])

    def close(self) -> None:
        """End the process."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = None


def has_quota(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> bool:
    """Whether CPU time is limited, or that cannot be read: busy waiting would use up what is needed.

    Args:
        own: names the groups of this process (cgroups(7)); those that they are in count as well.
    """
    try:
        return any(not quota.startswith(("max", "-1")) for quota in _quotas(cgroups, own))
    except OSError:
        return True


def _quotas(cgroups: Path, own: Path) -> list[str]:
    lines = own.read_text().splitlines() if own.exists() else []
    names = [Path(line.split(":", 2)[2].lstrip("/")) for line in lines]
    groups = {Path(), *names, *(parent for name in names for parent in name.parents)}
    files = [
        cgroups / controller / group / quota
        for controller in ("", "cpu")
        for group in groups
        for quota in _QUOTAS
    ]
    return [path.read_text() for path in files if path.exists()]


def _stay_awake(parent: int) -> None:
    """Compute nothing while nobody else computes, until the parent is gone; never returns."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.closerange(0, MOST_FILES)  # a lock lasts as long as any process has its file
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while os.sched_getscheduler(0) == os.SCHED_IDLE and os.getppid() == parent:
            for _ in range(100_000):
                pass
    os._exit(0)


def time_not_asleep_s(thread: int) -> float:
    """How long a thread has run or waited for a CPU; 0 where the system does not tell (proc(5))."""
    try:
        ran_ns, waited_ns, _ = Path(f"/proc/{thread}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(ran_ns) + int(waited_ns)) / 1e9


def cpu_of(thread: int) -> int:
    """The CPU that a thread of any process runs on, or ran on last (proc(5), field 39)."""
    stat = Path(f"/proc/{thread}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[36])


def _system_tells_cpus(cpus: list[int]) -> bool:
    """Whether the field is true: some sandboxes always say 0."""
    for cpu in cpus[:2]:
        _time_on(cpu, 1)
        if cpu_of(os.getpid()) != cpu:
            return False
    return True


def _bind(process: int, cpus: Sequence[int]) -> None:
    with contextlib.suppress(OSError):  # it has ended, or the CPU is taken from us by now
        os.sched_setaffinity(process, cpus)


def _time_on(cpu: int, loops: int) -> float:
    return time_on(cpu, loops, LOOK_ADDITIONS)


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
