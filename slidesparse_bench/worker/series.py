"""The rounds of one cell that count: what a slow host held up does not, and is run again."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from slidesparse_bench.cell import Cell
from slidesparse_bench.telemetry import is_slow, may_differ, slow_host_matters
from slidesparse_bench.wire import Round, Step
from slidesparse_bench.worker.engines import Engine
from slidesparse_bench.worker.host import Host
from slidesparse_bench.worker.proof import stage_steps, verify

MOST_SLOW_ROUNDS, MOST_SLOW_S = 5, 15.0
"""How many rounds of a cell may be run again because the host was slow, and for how long altogether."""


class Look(NamedTuple):
    """In this step of a round the host was so many times slower than at its best."""

    step: int
    slowdown: float


@dataclass(frozen=True)
class _Iteration:
    """What it took, how much slower the host was, and for which share it only waited for the device."""

    seconds: float
    slowdown: float
    wait_share: float | None


class _Pace:
    """What iterations took on average, give or take a standard error, on how slow a host."""

    def __init__(self, iterations: Sequence[_Iteration]) -> None:
        times = [each.seconds for each in iterations]
        self.seconds = statistics.fmean(times)
        self.error_s = statistics.stdev(times) / math.sqrt(len(times)) if times[1:] else math.inf
        self.slowdown = statistics.harmonic_mean([each.slowdown for each in iterations])

    def is_that_of(self, other: _Pace, within: float) -> bool:
        """Whether they differ by less than a share, errors included."""
        apart_s = abs(self.seconds - other.seconds) + math.hypot(self.error_s, other.error_s)
        return apart_s <= within * min(self.seconds, other.seconds)


class Series:
    """The rounds of one cell that count.

    An iteration counts if the host was fast while it ran, or if a slow one cannot have cost it much
    because it mostly waited for the device, or was seen not to matter: iterations took the same time
    though the host was much slower in some of them. Those that do not count are run again in the same
    process, as another one costs a minute to start and finds the same host.

    Args:
        lead: iterations before each round that never count.
        precision: what is asked for, relative to the mean.
        least: with so many iterations that count the cell has a number.
    """

    def __init__(
        self, engine: Engine, cell: Cell, host: Host, *, lead: int, precision: float, least: int
    ) -> None:
        self._engine, self._cell, self._host, self._lead = engine, cell, host, lead
        self._precision, self._least = precision, least
        self._harmless = 1.0  # up to this slowdown a slow host was seen not to matter
        self._paces: list[_Pace] = []
        self.rounds: list[Round] = []
        self.iterations_run = 0  # whether they count or not, lead-ins included
        self.slow_rounds, self._slow_s = 0, 0.0
        self._has_slow = False  # among the rounds that count
        self.is_over = False

    def run(self, iterations: int) -> None:
        """Add so many iterations.

        Fewer, and none from then on (`is_over`), where the host stays slow and what counts is enough
        for a number; where it is not, slow ones count as well.
        """
        while iterations > 0:
            done = run_round(self._engine, self._cell, self._host, iterations, self._lead)
            self.iterations_run += done.lead + done.iterations
            kept = self._unharmed(done)
            if kept is None:
                self.rounds.append(done)
                return
            count = iterations_of(kept)
            if self.slow_rounds >= MOST_SLOW_ROUNDS or self._slow_s >= MOST_SLOW_S:
                enough = iterations_of(self.rounds) + count >= self._least
                self.is_over = enough and not self._has_slow
                self._has_slow = not self.is_over
                self.rounds += kept if self.is_over else [done]
                return
            self.rounds += kept
            self.slow_rounds += 1
            self._slow_s += done.counted_s - sum(each.counted_s for each in kept)
            iterations -= count
            self._host.settle()

    def _unharmed(self, done: Round) -> list[Round] | None:
        """The parts of a round that count; None where all of it does."""
        iterations = self._iterations(done)
        fast: list[_Iteration] = []
        slow: list[_Iteration] = []
        for each in iterations:
            (fast if self._counts(each) else slow).append(each)
        for group in (fast, slow):
            if len(group) >= self._cell.workload.min_iterations:
                self._learn(_Pace(group))
        counted = [self._counts(each) for each in iterations]
        if all(counted) or _Pace(slow).slowdown <= self._harmless:
            return None
        return parts(done, counted)

    def _iterations(self, done: Round) -> list[_Iteration]:
        """Those after the lead-in."""
        looks = looks_at(done.steps, self._host)
        length = len(done.steps) // (done.lead + done.iterations)
        found = []
        for begin in range(done.lead * length, len(done.steps), length):
            end = begin + length
            alone = replace(done, lead=0, iterations=1, steps=done.steps[begin:end])
            slowdown = slowdown_around(looks, begin, end)
            waited = host_wait_share([alone], self._cell)
            found.append(_Iteration(alone.counted_s, slowdown, waited))
        return found

    def _counts(self, one: _Iteration) -> bool:
        return one.slowdown <= self._harmless or not slow_host_matters(
            one.slowdown, one.wait_share, self._precision
        )

    def _learn(self, pace: _Pace) -> None:
        """Compare with others on a much faster host, or a slower one."""
        for other in self._paces:
            faster, slower = sorted(each.slowdown for each in (pace, other))
            if is_slow(slower / faster) and pace.is_that_of(other, may_differ(self._precision)):
                self._harmless = max(self._harmless, slower)
        self._paces.append(pace)


def run_round(engine: Engine, cell: Cell, host: Host, iterations: int, lead: int) -> Round:
    """Run, and prove at once: a wrong batch ends the attempt at its first round.

    Raises:
        HarnessVerdict: `m_mismatch`.
    """
    done = engine.run(iterations, lead)
    verify([done], cell)
    for step in done.steps:
        if step.loop_ms is not None:
            host.best_glance.note(step.loop_ms)
    return done


def with_slowdown(done: Round, host: Host) -> Round:
    """The round with what was seen of the host during its counted steps."""
    seen = [look.slowdown for look in looks_at(done.counted_steps, host)]
    return replace(done, host_slowdown=statistics.harmonic_mean(seen) if seen else None)


def looks_at(steps: Sequence[Step], host: Host) -> list[Look]:
    """What was seen of the host in these steps; one that was hardly slower than at its best was not.

    Each is the median of three neighbours: a single slow one was interrupted.
    """
    seen = [(n, step.loop_ms) for n, step in enumerate(steps) if step.loop_ms is not None]
    slowdowns = [host.best_glance.times_slower(ms) for _, ms in seen]
    medians = [
        statistics.median_low(slowdowns[max(0, at - 1) : at + 2]) for at in range(len(slowdowns))
    ]
    return [
        Look(n, slowdown if is_slow(slowdown) else 1.0)
        for (n, _), slowdown in zip(seen, medians, strict=True)
    ]


def slowdown_around(looks: Sequence[Look], begin: int, end: int) -> float:
    """From the last look at or before step `begin` to the first one at or after `end`; 1 without any."""
    steps = [look.step for look in looks]
    first = max(0, bisect.bisect_right(steps, begin) - 1)
    last = bisect.bisect_left(steps, end)
    seen = [look.slowdown for look in looks[first : last + 1]]
    return statistics.harmonic_mean(seen) if seen else 1.0


def parts(done: Round, counted: Sequence[bool]) -> list[Round]:
    """Its iterations that are counted, one round without a lead-in for each stretch of them."""
    stretches = [(kind, len(list(numbers))) for kind, numbers in itertools.groupby(counted)]
    ends = itertools.accumulate(length for _, length in stretches)
    return [
        part(done, done.lead + end - length, length)
        for (kind, length), end in zip(stretches, ends, strict=True)
        if kind
    ]


def part(done: Round, begin: int, iterations: int) -> Round:
    """Consecutive iterations of a round as a round of their own, from number `begin`, lead-in included."""
    total = done.lead + done.iterations
    length = len(done.steps) // total
    steps = done.steps[begin * length : (begin + iterations) * length]
    after = done.steps[(begin + iterations) * length :]
    elapsed_s, after_s = (sum(step.time_ms for step in each) / 1e3 for each in (steps, after))
    return replace(
        done,
        iterations=iterations,
        lead=0,
        steps=steps,
        began=done.began and done.began + done.elapsed_s - after_s - elapsed_s,
        elapsed_s=elapsed_s,
        num_requests=done.num_requests * iterations // total,
        prompt_tokens=done.prompt_tokens * iterations // total,
        output_tokens=done.output_tokens * iterations // total,
    )


def host_wait_share(rounds: Sequence[Round], cell: Cell) -> float | None:
    """Of the time of the stage's steps, what the host waited for the device; None if not known."""
    steps = [step for iteration in stage_steps(rounds, cell) for step in iteration]
    waited = [step.waited_ms for step in steps if step.waited_ms is not None]
    if len(waited) < len(steps):
        return None
    return sum(waited) / sum(step.time_ms for step in steps)


def iterations_of(rounds: Sequence[Round]) -> int:
    """Those that count."""
    return sum(each.iterations for each in rounds)
