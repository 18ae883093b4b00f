"""Times of calls on the current CUDA device, by events, without the host's part in them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Collection, Sequence

import torch

PAUSE_CYCLES = 3_000_000
"""About 1.5 ms: the host queues a batch of calls in less, and a small GEMM takes less than its
call."""
BURST_MS, MOST_IN_BURST = 2.0, 8
"""A burst is as many calls as there is time for, at most so many."""
HOPELESS = 1.5
"""Times the best of the first bursts: who took longer is out."""
TRIALS, FINALISTS, ROUNDS = 3, 4, 9
"""Bursts of the others, how many of them go on, and bursts of those."""
CLEARLY_FASTER = 0.98

Call = Callable[[], object]


def pause() -> None:
    """Let the device wait while the host queues what is to be timed."""
    torch.cuda._sleep(PAUSE_CYCLES)  # torch's own tests use it; there is no other


def back_to_back_ms(call: Call, calls: int) -> list[float]:
    """The time of each of so many calls in a row after a pause, in ms; operands stay in the cache."""
    pause()
    return each_ms([call] * calls)


def each_ms(calls: Sequence[Call]) -> list[float]:
    """The time of each of the calls, one after the other, in ms."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(calls) + 1)]
    marks[0].record()
    for call, mark in zip(calls, marks[1:], strict=True):
        call()
        mark.record()
    marks[-1].synchronize()
    return [float(a.elapsed_time(b)) for a, b in itertools.pairwise(marks)]


def burst_ms(call: Call, calls: int) -> float:
    """The mean time of so many calls in a row, in ms, without marks between them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    pause()
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / calls


def fastest(calls: Sequence[Call]) -> int:
    """The number of the call that takes the device the least time; the first unless clearly beaten.

    Calls take turns in bursts after pauses. Tried one after the other they would drive the device to its
    power limit, and whoever comes later would look slower.
    """
    calls_in_burst = min(MOST_IN_BURST, math.ceil(BURST_MS / burst_ms(calls[0], 1)))

    def time_ms(number: int) -> float:
        return burst_ms(calls[number], calls_in_burst)

    once_ms = in_turn(time_ms, range(len(calls)), 1)
    bearable_ms = HOPELESS * min(once_ms.values())
    first_ms = in_turn(time_ms, [n for n in once_ms if once_ms[n] <= bearable_ms], TRIALS)
    best = sorted(first_ms, key=first_ms.__getitem__)[:FINALISTS]
    times_ms = in_turn(time_ms, {0, *best}, ROUNDS)
    winner = min(times_ms, key=times_ms.__getitem__)
    return winner if times_ms[winner] < CLEARLY_FASTER * times_ms[0] else 0


def in_turn(
    time_ms: Callable[[int], float], numbers: Collection[int], rounds: int
) -> dict[int, float]:
    """The median time of each number.

    Who begins changes from round to round, and the direction when everyone has begun: what one leaves
    behind, in heat and power, falls on the next.
    """
    order = list(numbers)
    times_ms: dict[int, list[float]] = {number: [] for number in order}
    for turn in range(rounds):
        cycle, begin = divmod(turn, len(order))
        turned = order[begin:] + order[:begin]
        for number in turned if cycle % 2 == 0 else reversed(turned):
            times_ms[number].append(time_ms(number))
    return {number: statistics.median(times) for number, times in times_ms.items()}
