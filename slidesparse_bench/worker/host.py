"""The CPUs that the engine's own thread runs on: which ones, and how fast they are just now.

A step of a small model is a few milliseconds of Python before the GPU has work, so it takes as
long as the CPU makes it take. On a rented machine half of the CPUs may run at half speed, because
somebody else computes on the other thread of the same core: on an idle 32-CPU machine with an
H200 the loop below took 0.52 ms on some CPUs and 1.05 ms on others, for seconds on end, with no
steal time in /proc/stat, and one cell measured 46,000 and 72,000 tokens/s with ±1 % each. Which ones are
slow changes within seconds, so a process beside (`scout.py`) goes on looking.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from slidesparse_bench.telemetry import SLOW_HOST

ADDITIONS, LOOPS = 20_000, 5
"""About half a millisecond of pure Python, and how many of them are looked at."""
WAKE_LOOPS = 10
"""Loops on a CPU that may have been asleep: the first of them are as slow as its clock was low."""
MOST_CPUS = 16
"""A look at all of them takes a tenth of a second, in which the device is idle."""
FEWEST_CPUS = 4
"""Fewer would starve the threads that the engine and its libraries start while nobody binds it."""
BEST_OF = 50
"""Tries in a row."""
SEED_GLANCES = 5
"""On each CPU, so that it is known from the start what is fast."""
GLANCE_ADDITIONS = 1_000
"""About 0.02 ms: a few of them in a hundred milliseconds do not show."""
_NODES = Path("/sys/devices/system/node")
SCOUT, SCOUT_LIMIT_S = "slidesparse_bench.worker.scout", 2.0
"""The program, and how long it may take to end."""


class Best:
    """What a fixed piece of work takes a host at its best: a tenth of some tries in a row took less.

    The very fastest are luck. It never rises: a host that becomes slow for good was faster once.
    Of fewer than ten tries it is not known, and nothing is slow.
    """

    def __init__(self, taken_ms: Iterable[float] = ()) -> None:
        self._last_ms: deque[float] = deque(maxlen=BEST_OF)
        self._ms = math.inf
        for each in taken_ms:
            self.note(each)

    def note(self, taken_ms: float) -> None:
        """One more."""
        self._last_ms.append(taken_ms)
        if len(self._last_ms) >= 10:
            self._ms = min(self._ms, sorted(self._last_ms)[len(self._last_ms) // 10])

    def times_slower(self, taken_ms: float) -> float:
        """How many times longer this took."""
        return max(1.0, taken_ms / self._ms)


class Host:
    """Keeps the calling thread on fast CPUs and says how fast it is.

    Only that thread and those it starts are moved, within the CPUs it was allowed (`taskset`) and
    within its NUMA node. A scout binds it to one CPU at a time; without one, nothing is changed where
    all CPUs are equally fast.

    `best_glance` knows what `glance_ms` takes at best, on whichever of its CPUs.

    Args:
        log: where a scout writes what it sees of the thread; without it there is no scout.
    """

    def __init__(self, log: Path | None = None) -> None:
        self._allowed = same_node(os.sched_getaffinity(0))
        self._looked_at = spread_out(sorted(self._allowed), MOST_CPUS)
        self.best_glance = Best()
        self._log = log
        self._scout: subprocess.Popen[bytes] | None = None

    def settle(self) -> None:
        """Leave the slow CPUs; from the first time on the scout sees to it, where there is one."""
        if self._scout is not None and self._scout.poll() is None:
            return
        times = {}
        for cpu in self._looked_at:
            times[cpu] = time_on(cpu, WAKE_LOOPS)
            for _ in range(SEED_GLANCES):
                self.best_glance.note(glance_ms())
        fast = fast_ones(times)
        os.sched_setaffinity(0, fast if len(fast) < len(times) else self._allowed)
        if self._log is not None and self._scout is None:
            cpus = ",".join(map(str, self._looked_at))
            thread = str(threading.get_native_id())
            # Silent: what stands in the log of a worker is taken for what happened to it.
            with contextlib.suppress(OSError):
                self._scout = subprocess.Popen(
                    [sys.executable, "-m", SCOUT, thread, str(self._log), cpus],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )

    def slowdown(self) -> float | None:
        """How many times longer glances take here and now than at the host's best."""
        now_ms = statistics.median(glance_ms() for _ in range(LOOPS))
        self.best_glance.note(now_ms)
        return self.best_glance.times_slower(now_ms)

    def close(self) -> None:
        """End the scout, and set the calling thread free."""
        if self._scout is not None:
            assert self._scout.stdin is not None
            self._scout.stdin.close()
            try:
                self._scout.wait(SCOUT_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._scout.kill()
                self._scout.wait()
            with contextlib.suppress(OSError):  # none of its CPUs is ours any more
                os.sched_setaffinity(0, self._allowed)


class AnyHost(Host):
    """For engines that place their threads themselves, or compute nothing: nothing is looked at."""

    def settle(self) -> None:
        """Leave everything where it is."""

    def slowdown(self) -> float | None:
        """Not known."""
        return None


def fast_ones(times_ms: dict[int, float]) -> set[int]:
    """The CPUs that are about as fast as the fastest, and never fewer than `FEWEST_CPUS`."""
    ranked = sorted(times_ms, key=times_ms.__getitem__)
    best_ms = times_ms[ranked[0]]
    fast = {cpu for cpu in ranked if times_ms[cpu] <= SLOW_HOST * best_ms}
    return fast | set(ranked[:FEWEST_CPUS])


def time_on(cpu: int, loops: int, additions: int = ADDITIONS) -> float:
    """`loop_ms` on a CPU, where the calling thread stays; infinite where it may not be."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:  # taken offline, or out of the container's set by now
        return math.inf
    return loop_ms(loops, additions)


def loop_ms(loops: int, additions: int = ADDITIONS) -> float:
    """Time of a fixed piece of Python, in ms: the median of the last of so many loops."""
    return statistics.median([_once_ms(additions) for _ in range(loops)][-LOOPS:])


def glance_ms() -> float:
    """How fast the calling thread's CPU is just now: time of a short loop, the better of two."""
    return min(_once_ms(GLANCE_ADDITIONS) for _ in range(2))


def _once_ms(additions: int) -> float:
    began = time.perf_counter()
    total = 0
    for i in range(additions):
        total += i
    return (time.perf_counter() - began) * 1e3


def spread_out(cpus: list[int], most: int) -> list[int]:
    """At most so many of them, at even distances."""
    step = max(1, math.ceil(len(cpus) / most))
    return cpus[::step]


def same_node(allowed: Iterable[int], nodes: Path = _NODES) -> set[int]:
    """Those on the NUMA node of most of them; all where the system does not tell."""
    allowed = set(allowed)
    lists = [parse_cpulist(path.read_text()) for path in nodes.glob("node[0-9]*/cpulist")]
    return max((allowed & cpus for cpus in lists), key=len, default=set()) or allowed


def parse_cpulist(text: str) -> set[int]:
    """`0-3,8` as a set; empty for anything else."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        if match := re.fullmatch(r"(\d+)(?:-(\d+))?", part):
            cpus |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return cpus
