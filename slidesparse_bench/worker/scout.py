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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from slidesparse_bench.machine_lock import is_locked_by_us, opened_lock
from slidesparse_bench.telemetry import is_slow
from slidesparse_bench.worker.host import Best, time_on

PERIOD_S, CALM_LOOKS, TRY_LOOKS = 0.1, 10, 5
"""So many looks follow a search for a fast CPU that found none: then none helps. After so many another CPU
is tried, to know what is fast."""
ADDITIONS = 2_500
"""About 0.07 ms."""
LOOPS, WAKE_LOOPS = 3, 60
"""On a CPU that is at work, and on one whose clock may be low because it slept."""
BUSY = 0.98
"""A thread that runs for so much of the time needs nobody to keep its CPU awake: a hypervisor waits for
a moment itself before it gives a CPU away."""
_CGROUPS = Path("/sys/fs/cgroup")
_QUOTAS = ("cpu.max", "cpu.cfs_quota_us")
"""Where a control group says how much CPU time it may use (versions 2 and 1)."""


class Reservation:
    """Of one CPU of this machine at a time, until this process ends."""

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
    """A descriptor that holds the lock of a CPU (or nothing, where no lock can be had); None if taken."""
    try:
        number = opened_lock(f"cpu{cpu}")
    except OSError:
        return os.open(os.devnull, os.O_RDONLY)
    if is_locked_by_us(number):
        return number
    os.close(number)
    return None


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
        self._last_ms = {each: time_on(each, WAKE_LOOPS) for each in cpus}
        self._best = Best(self._last_ms.values())
        self._looks, self._calm, self._tried = 0, 0, -1
        self.cpu = cpu
        if not reservation.take(cpu):
            self.cpu = next((other for other in self._others() if reservation.take(other)), cpu)
        bind(self.cpu)

    def look(self) -> float:
        """How many times slower than the best the thread's CPU is; leads it elsewhere if it is slow."""
        self._looks += 1
        if self._looks % TRY_LOOKS == 0:
            self._try_another()
        now_ms = self._time_on(self.cpu, LOOPS)
        if is_slow(self._best.times_slower(now_ms)):  # or was interrupted
            now_ms = min(now_ms, self._time_on(self.cpu, LOOPS))
        self._last_ms[self.cpu] = now_ms
        self._best.note(now_ms)
        slowdown = self._best.times_slower(now_ms)
        self._calm = max(0, self._calm - 1)
        if is_slow(slowdown) and not self._calm:
            self._leave()
        return slowdown

    def _leave(self) -> None:
        """For the first CPU that is fast; those first that were when last looked at."""
        for other in sorted(self._others(), key=self._last_ms.__getitem__):
            if not is_slow(self._try(other)) and self._reservation.take(other):
                self._bind(other)
                self.cpu = other
                return
        self._calm = CALM_LOOKS

    def _try_another(self) -> None:
        """The next one in a circle: what is fast should be known also where the thread is slow for good."""
        others = self._others()
        if others:
            self._tried = min(others, key=lambda cpu: (cpu <= self._tried, cpu))
            self._try(self._tried)

    def _others(self) -> list[int]:
        return [cpu for cpu in self._last_ms if cpu != self.cpu and self._reservation.is_free(cpu)]

    def _try(self, cpu: int) -> float:
        self._last_ms[cpu] = self._time_on(cpu, WAKE_LOOPS)
        self._best.note(self._last_ms[cpu])
        return self._best.times_slower(self._last_ms[cpu])


def main(arguments: list[str]) -> int:
    """Follow the thread until standard input ends; 1 where that cannot be done."""
    thread, log, cpus = int(arguments[0]), Path(arguments[1]), _numbers(arguments[2])
    if not _system_tells_cpus(cpus):
        return 1
    with contextlib.ExitStack() as until_the_end:
        lines = until_the_end.enter_context(log.open("w", encoding="utf-8", buffering=1))
        lines.write("time,cpu,slowdown\n")
        keep_awake = until_the_end.enter_context(kept_awake())
        until_the_end.callback(_bind, thread, cpus)
        scout = Scout(
            cpus,
            cpu_of(thread),
            time_on=_time_on,
            bind=lambda cpu: _bind(thread, [cpu]),
            reservation=Reservation(),
        )
        ran_s, looked = run_time_s(thread), time.monotonic()
        while True:
            _bind(0, [cpu for cpu in cpus if cpu != scout.cpu] or cpus)  # out of its way
            if select.select([sys.stdin], [], [], PERIOD_S)[0]:
                return 0
            before_s, since = ran_s, looked
            ran_s, looked = run_time_s(thread), time.monotonic()
            is_busy = ran_s - before_s > BUSY * (looked - since)
            cpu, slowdown = scout.cpu, scout.look()
            keep_awake(None if is_busy else scout.cpu)
            if math.isfinite(slowdown):
                lines.write(f"{time.time():.3f},{cpu},{slowdown:.3f}\n")


@contextlib.contextmanager
def kept_awake() -> Iterator[Callable[[int | None], None]]:
    """Says which CPU is not to fall asleep; none is kept awake where CPU time is limited."""
    if has_quota():
        yield lambda _cpu: None
        return
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _stay_awake(parent)

    def keep_awake(cpu: int | None) -> None:
        if cpu is not None:
            _bind(pid, [cpu])
        os.kill(pid, signal.SIGSTOP if cpu is None else signal.SIGCONT)

    try:
        yield keep_awake
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def has_quota(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> bool:
    """Whether CPU time is limited: busy waiting would use up what the engine needs.

    Args:
        own: names the groups of this process (cgroups(7)); those that they are in count as well.
    """
    lines = own.read_text().splitlines() if own.exists() else []
    names = [Path(line.split(":", 2)[2].lstrip("/")) for line in lines]
    groups = {Path(), *names, *(parent for name in names for parent in name.parents)}
    files = [
        cgroups / controller / group / quota
        for controller in ("", "cpu")
        for group in groups
        for quota in _QUOTAS
    ]
    quotas = [path.read_text() for path in files if path.exists()]
    return any(not quota.startswith(("max", "-1")) for quota in quotas)


def _stay_awake(parent: int) -> None:
    """Compute nothing while nobody else computes, until the parent is gone; never returns."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while os.sched_getscheduler(0) == os.SCHED_IDLE and os.getppid() == parent:
            for _ in range(100_000):
                pass
    os._exit(0)


def run_time_s(thread: int) -> float:
    """How long a thread has run on a CPU; 0 where the system does not tell (proc(5), schedstat)."""
    try:
        return int(Path(f"/proc/{thread}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


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
    return time_on(cpu, loops, ADDITIONS)


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
