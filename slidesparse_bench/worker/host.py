"""The CPU that the engine's own thread runs on: which one, and how fast it is just now.

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

SLOW = 1.10
"""A host that takes this many times its best is slow enough to move the numbers of small models."""
LOOPS = 5
ADDITIONS = 20_000
"""About half a millisecond of pure Python, so that a look takes under three."""
MOST_CPUS = 32
_NODES = Path("/sys/devices/system/node")


class Host:
    """Keeps the calling thread on a fast CPU and says how fast that is.

    Only that thread is moved, within the CPUs it was allowed (`taskset`) and within its NUMA node;
    the engine's other threads go where they like.
    """

    def __init__(self) -> None:
        self._allowed = same_node(os.sched_getaffinity(0))
        self._best_ms = math.inf

    def settle(self) -> None:
        """Move to the fastest CPU; the one we are on wins when it is as fast."""
        times = {cpu: self._time_on(cpu) for cpu in spread_out(sorted(self._allowed), MOST_CPUS)}
        if times:
            os.sched_setaffinity(0, {min(times, key=lambda cpu: times[cpu])})

    def slowdown(self) -> float | None:
        """How many times longer the loop takes here and now than at its best."""
        now_ms = loop_ms()
        self._best_ms = min(self._best_ms, now_ms)
        return now_ms / self._best_ms

    def _time_on(self, cpu: int) -> float:
        try:
            os.sched_setaffinity(0, {cpu})
        except OSError:  # taken offline, or out of the container's set by now
            return math.inf
        now_ms = loop_ms()
        self._best_ms = min(self._best_ms, now_ms)
        return now_ms


class AnyHost(Host):
    """For engines that place their threads themselves, or compute nothing: nothing is looked at."""

    def settle(self) -> None:
        """Leave everything where it is."""

    def slowdown(self) -> float | None:
        """Not known."""
        return None


def loop_ms() -> float:
    """Median time of a fixed piece of Python, in ms."""
    return statistics.median(_once_ms() for _ in range(LOOPS))


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
