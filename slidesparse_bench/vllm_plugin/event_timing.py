"""Times of calls on the current CUDA device, by events, without the host's part in them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Collection, Sequence

import torch

PAUSE_MS = 1.5
"""The host queues a batch of calls in less, and a small GEMM takes less than its call."""
CYCLES_PER_MS = 2_000_000
"""About: at 2 GHz, which GPUs reach while they wait."""
BURST_MS, MOST_IN_BURST = 2.0, 8
"""A burst is as many calls as there is time for, at most so many."""
RESTS, LONGEST_REST_MS = 3.0, 60.0
"""Times a burst that the device rests before it, which keeps it away from its power limit."""
HOPELESS = 1.5
"""Times the best of the first bursts: who took longer is out."""
TRIALS, FINALISTS, ROUNDS = 3, 4, 9
"""Bursts of the others, how many of them go on, and bursts of those."""
CLEARLY_FASTER = 0.98

Call = Callable[[], object]


def pause(ms: float = PAUSE_MS) -> None:
    """Let the device wait about so long while the host queues what is to be timed."""
    torch.cuda._sleep(round(ms * CYCLES_PER_MS))  # torch's own tests use it; there is no other


def rest_ms(burst_ms: float) -> float:
    """How long the device has to wait before a burst of so many ms finds it at its highest clock."""
    return max(PAUSE_MS, min(LONGEST_REST_MS, RESTS * burst_ms))


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


def burst_ms(call: Call, calls: int, after_ms: float = PAUSE_MS) -> float:
    """The mean time of so many calls in a row after a pause, in ms, without marks between them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    pause(after_ms)
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / calls


def fastest(calls: Sequence[Call]) -> int:
    """The number of the call that takes the device the least time; the first unless clearly beaten.

    Calls take turns in bursts after rests. Tried one after the other they would drive the device to its
    power limit, where whoever comes later looks slower, and where those that need less time and those
    that need less power take the same.
    """
    one_ms = burst_ms(calls[0], 1)
    calls_in_burst = min(MOST_IN_BURST, math.ceil(BURST_MS / one_ms))
    after_ms = rest_ms(calls_in_burst * one_ms)

    def time_ms(number: int) -> float:
        return burst_ms(calls[number], calls_in_burst, after_ms)

    once_ms = {number: burst_ms(call, calls_in_burst) for number, call in enumerate(calls)}
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
