"""Warm-up and measurement, the same for every engine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.settings import Measurement
from slidesparse_bench.spread import outlier_count, spread
from slidesparse_bench.wire import Metrics, Round, Spread
from slidesparse_bench.worker.engines import Engine
from slidesparse_bench.worker.host import Host
from slidesparse_bench.worker.proof import stage_steps, verify
from slidesparse_bench.worker.series import (
    Series,
    host_wait_share,
    iterations_of,
    run_round,
    with_slowdown,
)

STEADY = 0.05
"""Warm-up ends when the newest quarter of its samples is this close to the quarter before."""
FEWEST_SAMPLES = 3
WARM_SHARE = 0.1
"""How much of `min_warmup_s` a cell needs that follows another: the device has not been idle."""


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
    """The rounds that count, and what does not.

    `slow_rounds`: of how many a part or all does not because the host was slow; `ended_early`: that is
    why there are no more.
    """

    rounds: list[Round]
    uncounted_iterations: int
    slow_rounds: int
    ended_early: bool


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
        rounds.append(run_round(engine, cell, host, 1, 0))
        samples += _warmup_samples(rounds[-1], cell)
        if sum(each.elapsed_s for each in rounds) >= least_s and is_steady(samples):
            break
    steady = is_steady(samples) if len(samples) >= FEWEST_SAMPLES else None
    return WarmUp(len(rounds), rounds[-1].counted_s, steady)


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

    What ran while the host was slow does not count and is run again (`Series`).
    `iteration_s` is what one iteration took at the end of the warm-up.
    """
    limit = settings.fixed_iterations or cell.workload.max_iterations
    least = settings.fixed_iterations or settings.min_iterations or cell.workload.min_iterations
    series = Series(
        engine,
        cell,
        host,
        lead=math.ceil(settings.lead_in_s / iteration_s),
        precision=settings.precision,
        least=min(least, limit),
    )
    for_time = math.ceil(settings.min_measure_s / iteration_s)
    series.run(min(max(least, for_time), limit))
    while not series.is_over and (done := iterations_of(series.rounds)) < limit:
        missing = max(
            _missing_for_precision(step_spread(series.rounds, cell), done, settings),
            _missing_for_time(series.rounds, done, settings),
        )
        if not missing:
            break
        series.run(min(missing, limit - done))
    rounds = [with_slowdown(each, host) for each in series.rounds]  # by the best seen until now
    uncounted = series.iterations_run - iterations_of(rounds)
    return Measured(rounds, uncounted, series.slow_rounds, ended_early=series.is_over)


def host_slowdown(rounds: Sequence[Round]) -> float | None:
    """Of all rounds together, each weighted with its time; None where nobody looked."""
    known = [
        (each.host_slowdown, each.counted_s) for each in rounds if each.host_slowdown is not None
    ]
    return statistics.harmonic_mean([n for n, _ in known], [s for _, s in known]) if known else None


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
    ended_early: bool = False,
    warmup_steady: bool | None = None,
) -> Metrics:
    """The numbers of a passed cell, from its raw rounds (units: see `wire.Metrics`)."""
    observed = verify(rounds, cell)
    elapsed, workload = _counted_s(rounds), cell.workload
    requests = iterations_of(rounds) * workload.max_num_seqs
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
        iterations=iterations_of(rounds),
        m_requested=cell.m,
        m_observed=observed,
        kernel=kernel,
        precision_reached=precision_reached(times, settings),
        warmup_iterations=warmup_iterations,
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
        ended_early=ended_early,
        emulated=emulated,
    )
