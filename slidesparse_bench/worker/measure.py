"""Warm-up and measurement, the same for every engine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.settings import Measurement
from slidesparse_bench.spread import outlier_count, spread
from slidesparse_bench.telemetry import is_slow, may_differ, slow_host_matters
from slidesparse_bench.wire import Metrics, Round, Spread
from slidesparse_bench.worker.engines import Engine
from slidesparse_bench.worker.host import Host
from slidesparse_bench.worker.proof import stage_steps, verify

STEADY = 0.05
"""Warm-up ends when the newest quarter of its samples is this close to the quarter before."""
FEWEST_SAMPLES = 3
WARM_SHARE = 0.1
"""How much of `min_warmup_s` a cell needs that follows another: the device has not been idle."""
MOST_SLOW_ROUNDS, MOST_SLOW_S = 5, 30.0
"""How many rounds of a cell may be run again because the host was slow, and for how long altogether;
then all count, marked."""


@dataclass(frozen=True)
class WarmUp:
    """How many iterations it took, how long the last one was, and whether they became steady.

    `steady` is None of fewer than three samples, which cannot tell.
    """

    iterations: int
    iteration_s: float
    steady: bool | None


@dataclass(frozen=True)
class Measured:
    """The rounds that count, and how many did not because the host was slow."""

    rounds: list[Round]
    slow_rounds: int


def warm_up(
    engine: Engine, cell: Cell, settings: Measurement, host: Host, *, warm: bool = False
) -> WarmUp:
    """Run single iterations until the step time is steady.

    `warm`: the same engine has measured another cell just before.
    """
    least_s = settings.min_warmup_s * (WARM_SHARE if warm else 1.0)
    host.settle()
    samples: list[float] = []
    rounds: list[Round] = []
    while len(rounds) < settings.max_warmup_iterations:
        rounds.append(_run(engine, cell, host, 1, 0))
        samples += _warmup_samples(rounds[-1], cell)
        if sum(each.elapsed_s for each in rounds) >= least_s and is_steady(samples):
            break
    steady = is_steady(samples) if len(samples) >= FEWEST_SAMPLES else None
    return WarmUp(len(rounds), rounds[-1].counted_s, steady)


def _run(engine: Engine, cell: Cell, host: Host, iterations: int, lead: int) -> Round:
    """Run and prove at once: a wrong batch ends the attempt at its first round."""
    before = host.slowdown()
    done = engine.run(iterations, lead)
    after = host.slowdown()
    verify([done], cell)
    looks = [before, *host.seen_between(*done.span), after]
    known = [each for each in looks if each is not None]
    return replace(done, host_slowdown=statistics.fmean(known) if known else None)


def is_steady(samples: Sequence[float], within: float = STEADY) -> bool:
    """Whether the newest quarter of the samples (their median) repeats the quarter before.

    `within`: how close it has to come, as a share.
    """
    if len(samples) < FEWEST_SAMPLES:
        return False
    width = max(1, len(samples) // 4)
    newest, before = samples[-width:], samples[-2 * width : -width]
    previous = statistics.median(before)
    return abs(statistics.median(newest) - previous) < within * previous


def _warmup_samples(done: Round, cell: Cell) -> list[float]:
    """Step times to compare: one per prefill iteration, three thirds of a decode iteration."""
    times = [step.time_ms for step in stage_steps([done], cell)[0]]
    if cell.stage is Stage.PREFILL or len(times) < 3:
        return [sum(times)]
    third = len(times) // 3
    return [sum(times[i * third : (i + 1) * third]) for i in range(3)]


def measure(
    engine: Engine, cell: Cell, settings: Measurement, host: Host, iteration_s: float
) -> Measured:
    """Run rounds until the interval is narrow enough or the method's count is reached.

    A round on a slow host is run again in the same process, as another one costs a minute to start
    and finds the same host. It counts where that cannot matter, because the host mostly waited for the
    device, or was seen not to matter (`_Series`).
    `iteration_s` is what one iteration took at the end of the warm-up.
    """
    lead = math.ceil(settings.lead_in_s / iteration_s)
    series = _Series(engine, cell, host, lead, settings.precision)
    if settings.fixed_iterations is not None:
        series.run(settings.fixed_iterations)
        return Measured(series.rounds, series.slow_rounds)
    least = settings.min_iterations or cell.workload.min_iterations
    limit = cell.workload.max_iterations
    for_time = math.ceil(settings.min_measure_s / iteration_s)
    series.run(min(max(least, for_time), limit))
    while (done := _iterations(series.rounds)) < limit:
        missing = max(
            _missing_for_precision(step_spread(series.rounds, cell), done, settings),
            _missing_for_time(series.rounds, done, settings),
        )
        if not missing:
            break
        series.run(min(missing, limit - done))
    return Measured(series.rounds, series.slow_rounds)


class _Series:
    """The rounds of one cell that count.

    `precision` is what is asked for, relative to the mean.
    """

    def __init__(self, engine: Engine, cell: Cell, host: Host, lead: int, precision: float) -> None:
        self._engine, self._cell, self._host, self._lead = engine, cell, host, lead
        self._precision = precision
        self._harmless = 0.0  # up to this slowdown a slow host was seen not to matter
        self.rounds: list[Round] = []
        self.slow_rounds, self._slow_s = 0, 0.0

    def run(self, iterations: int) -> None:
        """Add one round, the first that the host did not slow down as far as can be told.

        That is one on a host that was fast enough. Two that took the same time, though the host was
        much slower in one of them, tell that this cell does not feel it: then they count as well.
        """
        done = self._round(iterations)
        while self._may_be_slowed(done) and self._may_run_again():
            self.slow_rounds += 1
            self._slow_s += done.elapsed_s
            before = done
            self._host.settle()
            done = self._round(iterations)
            self._compare(before, done)
        self.rounds.append(done)

    def _may_run_again(self) -> bool:
        return self.slow_rounds < MOST_SLOW_ROUNDS and self._slow_s < MOST_SLOW_S

    def _compare(self, one: Round, other: Round) -> None:
        slowdowns = sorted(each.host_slowdown or 1.0 for each in (one, other))
        shorter_s, longer_s = sorted(_iteration_s(each) for each in (one, other))
        is_same = longer_s - shorter_s <= may_differ(self._precision) * shorter_s
        if is_same and is_slow(slowdowns[1] / slowdowns[0]):
            self._harmless = max(self._harmless, slowdowns[1])

    def _round(self, iterations: int) -> Round:
        return _run(self._engine, self._cell, self._host, iterations, self._lead)

    def _may_be_slowed(self, done: Round) -> bool:
        slowdown = done.host_slowdown
        return (slowdown or 0.0) > self._harmless and slow_host_matters(
            slowdown, host_wait_share([done], self._cell), self._precision
        )


def _iteration_s(done: Round) -> float:
    return done.counted_s / done.iterations


def host_slowdown(rounds: Sequence[Round]) -> float | None:
    """Of all rounds together, each weighted with its time; None where nobody looked."""
    known = [each.host_slowdown for each in rounds if each.host_slowdown is not None]
    if len(known) < len(rounds):
        return None
    return statistics.fmean(known, weights=[each.counted_s for each in rounds])


def host_wait_share(rounds: Sequence[Round], cell: Cell) -> float | None:
    """Of the time of the stage's steps, what the host waited for the device; None if not known."""
    steps = [step for iteration in stage_steps(rounds, cell) for step in iteration]
    waited = [step.waited_ms for step in steps if step.waited_ms is not None]
    if len(waited) < len(steps):
        return None
    return sum(waited) / sum(step.time_ms for step in steps)


def precision_reached(times: Spread, settings: Measurement) -> bool:
    """Whether the 95 % confidence interval of the mean is within ± the asked share."""
    half_width = times.ci95_half_width
    return half_width is not None and half_width <= settings.precision * times.mean


def _missing_for_precision(times: Spread, done: int, settings: Measurement) -> int:
    """The interval narrows with the square root of the count; never more than double at once."""
    if precision_reached(times, settings):
        return 0
    if times.ci95_half_width is None:
        return done
    needed = done * (times.ci95_half_width / (settings.precision * times.mean)) ** 2
    return max(1, min(math.ceil(needed) - done, done))


def _missing_for_time(rounds: Sequence[Round], done: int, settings: Measurement) -> int:
    counted_s = _counted_s(rounds)
    return max(0, math.ceil((settings.min_measure_s - counted_s) / counted_s * done))


def _iterations(rounds: Sequence[Round]) -> int:
    return sum(each.iterations for each in rounds)


def _counted_s(rounds: Sequence[Round]) -> float:
    return sum(each.counted_s for each in rounds)


def step_spread(rounds: Sequence[Round], cell: Cell) -> Spread:
    """Step times of the stage, in ms."""
    return spread(_step_times(rounds, cell), grows=cell.stage is Stage.DECODE)


def _step_times(rounds: Sequence[Round], cell: Cell) -> list[list[float]]:
    return [[step.time_ms for step in steps] for steps in stage_steps(rounds, cell)]


def metrics(
    rounds: Sequence[Round],
    cell: Cell,
    settings: Measurement,
    *,
    kernel: str,
    warmup_iterations: int,
    load_time_s: float,
    memory: dict[str, float | None],
    emulated: bool,
    slow_rounds: int = 0,
    warmup_steady: bool | None = None,
) -> Metrics:
    """The numbers of a passed cell, from its raw rounds (units: see `wire.Metrics`)."""
    observed = verify(rounds, cell)
    elapsed, workload = _counted_s(rounds), cell.workload
    requests = _iterations(rounds) * workload.max_num_seqs
    prompt, output = requests * workload.prompt_len, requests * workload.output_len
    times = step_spread(rounds, cell)
    prompt_rate, output_rate = prompt / elapsed, output / elapsed
    if cell.stage is Stage.DECODE:
        decode_s = sum(step.time_ms for steps in stage_steps(rounds, cell) for step in steps) / 1e3
        prefill_s = elapsed - decode_s
        output_rate = observed.steps * cell.m / decode_s
        prompt_rate = prompt / prefill_s
    return Metrics(
        elapsed_time=elapsed,
        num_requests=requests,
        total_num_tokens=prompt + output,
        requests_per_second=requests / elapsed,
        tokens_per_second=(prompt + output) / elapsed,
        prompt_tokens_per_second=prompt_rate,
        output_tokens_per_second=output_rate,
        step_time_ms=times,
        iterations=_iterations(rounds),
        m_requested=cell.m,
        m_observed=observed,
        kernel=kernel,
        precision_reached=precision_reached(times, settings),
        warmup_iterations=warmup_iterations + sum(each.lead for each in rounds),
        load_time_s=load_time_s,
        model_memory_gib=memory.get("model_memory_gib"),
        kv_cache_gib=memory.get("kv_cache_gib"),
        peak_memory_gib=memory.get("peak_memory_gib"),
        precision=settings.precision,
        outlier_steps=outlier_count(_step_times(rounds, cell), grows=cell.stage is Stage.DECODE),
        host_slowdown=host_slowdown(rounds),
        host_wait_share=host_wait_share(rounds, cell),
        slow_rounds=slow_rounds,
        warmup_steady=warmup_steady,
        emulated=emulated,
    )
