"""`python -m slidesparse_bench.worker.scout THREAD LOG CPU,CPU,...`: a thread's way off slow CPUs.

The thread is the one that drives an engine, in another process; the CPUs are those it may use. Four
times a second a few loops run on the CPU that it is on, for a fifth of a millisecond, and a line of LOG
says how many times longer than at best they took. Where that is much, twice in a row, the thread is moved to
CPUs that are fast just then. Doing this from outside costs the thread a few thousandths of its time.

Ends with its standard input, and says nothing where the system does not tell the CPU of a thread.
"""

from __future__ import annotations

import math
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from slidesparse_bench.telemetry import is_slow
from slidesparse_bench.worker.host import fast_ones, time_on

PERIOD_S, CALM_LOOKS = 0.25, 4
"""So many looks follow a move before the next one: where all CPUs are slow none helps."""
ADDITIONS = 2_500
"""About 0.07 ms."""
LOOPS, WAKE_LOOPS = 3, 60
"""On a CPU that is at work, and on one whose clock may be low because it slept."""


class Scout:
    """Follows one thread.

    Args:
        cpus: where the thread may be.
        cpu_of_thread: where it is now.
        time_on: the time in ms of a loop on a CPU, after so many of them.
        move: puts the thread on these CPUs.
    """

    def __init__(
        self,
        cpus: Sequence[int],
        *,
        cpu_of_thread: Callable[[], int],
        time_on: Callable[[int, int], float],
        move: Callable[[set[int]], None],
    ) -> None:
        self._cpus, self._cpu_of_thread = cpus, cpu_of_thread
        self._time_on, self._move = time_on, move
        self._best_ms = min(self._times().values())
        self._calm = 0

    def look(self) -> tuple[int, float]:
        """The thread's CPU and how many times slower than the best it is; leaves it if it is slow."""
        cpu = self._cpu_of_thread()
        now_ms = self._time_on(cpu, LOOPS)
        if is_slow(now_ms / self._best_ms):  # or was interrupted
            now_ms = min(now_ms, self._time_on(cpu, LOOPS))
        self._best_ms = min(self._best_ms, now_ms)
        slowdown = now_ms / self._best_ms
        self._calm = max(0, self._calm - 1)
        if is_slow(slowdown) and not self._calm:
            times = {**self._times(without=cpu), cpu: now_ms}
            self._best_ms = min(self._best_ms, *times.values())
            self._move(fast_ones(times))
            self._calm = CALM_LOOKS
        return cpu, slowdown

    def _times(self, without: int | None = None) -> dict[int, float]:
        return {cpu: self._time_on(cpu, WAKE_LOOPS) for cpu in self._cpus if cpu != without}


def main(arguments: list[str]) -> int:
    """Follow the thread until standard input ends; 1 where that cannot be done."""
    thread, log, cpus = int(arguments[0]), Path(arguments[1]), _numbers(arguments[2])
    if not _system_tells_cpus(cpus):
        return 1
    scout = Scout(
        cpus,
        cpu_of_thread=lambda: cpu_of(thread),
        time_on=_time_on,
        move=lambda chosen: os.sched_setaffinity(thread, chosen),
    )
    with log.open("w", encoding="utf-8", buffering=1) as lines:
        lines.write("time,cpu,slowdown\n")
        while not select.select([sys.stdin], [], [], PERIOD_S)[0]:
            cpu, slowdown = scout.look()
            os.sched_setaffinity(0, set(cpus) - {cpu} or {cpu})  # out of the thread's way
            if math.isfinite(slowdown):
                lines.write(f"{time.time():.3f},{cpu},{slowdown:.3f}\n")
    return 0


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


def _time_on(cpu: int, loops: int) -> float:
    return time_on(cpu, loops, ADDITIONS)


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
