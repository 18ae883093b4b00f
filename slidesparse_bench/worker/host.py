"""The CPUs that the engine's own thread runs on: which ones, and how fast they are just now.

A step of a small model is a few milliseconds of Python before the GPU has work, so it takes as
long as the CPU makes it take. On a rented machine half of the CPUs may run at half speed, because
somebody else computes on the other thread of the same core: on an idle 32-CPU machine with an
H200 the loop below took 0.52 ms on some CPUs and 1.05 ms on others, for seconds on end, with no
steal time in /proc/stat, and one cell measured 46,000 and 72,000 tokens/s with ±1 % each.
"""

from __future__ import annotations

import math
import os
import re
import statistics
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


class Host:
    """Keeps the calling thread on fast CPUs and says how fast it is.

    Only that thread and those it starts are moved, within the CPUs it was allowed (`taskset`) and
    within its NUMA node. Where all CPUs are equally fast nothing is changed.
    """

    def __init__(self) -> None:
        self._allowed = same_node(os.sched_getaffinity(0))
        self._best_ms = math.inf

    def settle(self) -> None:
        """Leave the slow CPUs."""
        times = {cpu: self._time_on(cpu) for cpu in spread_out(sorted(self._allowed), MOST_CPUS)}
        self._best_ms = min([self._best_ms, *times.values()])
        fast = fast_ones(times)
        os.sched_setaffinity(0, fast if len(fast) < len(times) else self._allowed)

    def slowdown(self) -> float | None:
        """How many times longer the loop takes here and now than at its best."""
        now_ms = loop_ms(LOOPS)
        self._best_ms = min(self._best_ms, now_ms)
        return now_ms / self._best_ms

    def _time_on(self, cpu: int) -> float:
        try:
            os.sched_setaffinity(0, {cpu})
        except OSError:  # taken offline, or out of the container's set by now
            return math.inf
        return loop_ms(WAKE_LOOPS)


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


def loop_ms(loops: int) -> float:
    """Time of a fixed piece of Python, in ms: the median of the last so many."""
    return statistics.median([_once_ms() for _ in range(loops)][-LOOPS:])


def _once_ms() -> float:
    began = time.perf_counter()
    total = 0
    for i in range(ADDITIONS):
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
