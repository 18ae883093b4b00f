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
from collections.abc import Iterable
from pathlib import Path

from slidesparse_bench.telemetry import SLOW_HOST

LOOPS = 5
ADDITIONS = 20_000
"""About half a millisecond of pure Python, so that a look takes under three."""
WAKE_LOOPS = 10
"""Loops on a CPU that may have been asleep: the first of them are as slow as its clock was low."""
MOST_CPUS = 16
"""A look at all of them takes a tenth of a second, in which the device is idle."""
FEWEST_CPUS = 4
"""Fewer would starve the threads that the engine and its libraries start."""
_NODES = Path("/sys/devices/system/node")
SCOUT, SCOUT_LIMIT_S = "slidesparse_bench.worker.scout", 2.0
"""The program, and how long it may take to end."""
_LOOK = re.compile(r"^([\d.]+),\d+,([\d.]+)\n", re.MULTILINE)
"""A whole line of its log: time and slowdown."""


class Host:
    """Keeps the calling thread on fast CPUs and says how fast it is.

    Only that thread and those it starts are moved, within the CPUs it was allowed (`taskset`) and
    within its NUMA node. Where all CPUs are equally fast nothing is changed.

    Args:
        log: where a scout writes what it sees of the thread; without it there is no scout.
    """

    def __init__(self, log: Path | None = None) -> None:
        self._allowed = same_node(os.sched_getaffinity(0))
        self._looked_at = spread_out(sorted(self._allowed), MOST_CPUS)
        self._best_ms = math.inf
        self._log = log
        self._scout: subprocess.Popen[bytes] | None = None

    def settle(self) -> None:
        """Leave the slow CPUs; from the first time on the scout sees to it, where there is one."""
        if self._scout is not None and self._scout.poll() is None:
            return
        times = {cpu: time_on(cpu, WAKE_LOOPS) for cpu in self._looked_at}
        self._best_ms = min([self._best_ms, *times.values()])
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
        """How many times longer the loop takes here and now than at its best."""
        now_ms = loop_ms(LOOPS)
        self._best_ms = min(self._best_ms, now_ms)
        return now_ms / self._best_ms

    def seen_between(self, began: float, ended: float) -> list[float]:
        """What the scout saw between two moments (Unix time)."""
        if self._log is None or not self._log.exists():
            return []
        looks = _LOOK.findall(self._log.read_text(encoding="utf-8"))
        return [float(slow) for moment, slow in looks if began <= float(moment) <= ended]

    def close(self) -> None:
        """End the scout."""
        if self._scout is not None:
            assert self._scout.stdin is not None
            self._scout.stdin.close()
            try:
                self._scout.wait(SCOUT_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._scout.kill()
                self._scout.wait()


class AnyHost(Host):
    """For engines that place their threads themselves, or compute nothing: nothing is looked at."""

    def settle(self) -> None:
        """Leave everything where it is."""

    def slowdown(self) -> float | None:
        """Not known."""
        return None

    def seen_between(self, began: float, ended: float) -> list[float]:  # noqa: ARG002 - see Host
        """Nothing is."""
        return []


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
