"""Warm-up, measurement and proof, the same for every engine."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence

from slidesparse_bench.cell import Cell, Stage, Workload
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.settings import Measurement
from slidesparse_bench.spread import outlier_count, spread
from slidesparse_bench.wire import Metrics, ObservedM, Round, Spread, Step
from slidesparse_bench.worker.engines import Engine

STEADY = 0.05
"""Warm-up ends when the newest quarter of its samples is this close to the quarter before."""


WARM_SHARE = 0.25
"""How much of `min_warmup_s` a cell needs that follows another: the device has not been idle."""


def warm_up(engine: Engine, cell: Cell, settings: Measurement, *, warm: bool = False) -> int:
    """Run single iterations until the step time is steady; returns how many it took.

    `warm`: the same engine has measured another cell just before.
    """
    least_s = settings.min_warmup_s * (WARM_SHARE if warm else 1.0)
    samples: list[float] = []
    elapsed_s = 0.0
    for done in range(1, settings.max_warmup_iterations + 1):
        one = _run(engine, cell, 1)
        elapsed_s += one.elapsed_s
        samples += _warmup_samples(one, cell)
        if elapsed_s >= least_s and is_steady(samples):
            return done
    return settings.max_warmup_iterations


def _run(engine: Engine, cell: Cell, iterations: int) -> Round:
    """Run and prove at once: a wrong batch ends the attempt at its first round."""
    done = engine.run(iterations)
    verify([done], cell)
    return done


def is_steady(samples: Sequence[float]) -> bool:
    """Whether the newest quarter of the samples (their median) repeats the quarter before."""
    if len(samples) < 3:
        return False
    width = max(1, len(samples) // 4)
    newest, before = samples[-width:], samples[-2 * width : -width]
    previous = statistics.median(before)
    return abs(statistics.median(newest) - previous) < STEADY * previous


def _warmup_samples(done: Round, cell: Cell) -> list[float]:
    """Step times to compare: one per prefill iteration, three thirds of a decode iteration."""
    times = [step.time_ms for step in stage_steps([done], cell)[0]]
    if cell.stage is Stage.PREFILL or len(times) < 3:
        return [sum(times)]
    third = len(times) // 3
    return [sum(times[i * third : (i + 1) * third]) for i in range(3)]


def measure(engine: Engine, cell: Cell, settings: Measurement) -> list[Round]:
    """Run rounds until the interval is narrow enough or the method's count is reached."""
    if settings.fixed_iterations is not None:
        return [_run(engine, cell, settings.fixed_iterations)]
    limit = cell.workload.max_iterations
    least = settings.min_iterations if cell.stage is Stage.PREFILL else 1
    rounds = [_run(engine, cell, min(least, limit))]
    while (done := _iterations(rounds)) < limit:
        missing = max(
            _missing_for_precision(step_spread(rounds, cell), done, settings),
            _missing_for_time(rounds, done, settings),
        )
        if not missing:
            break
        rounds.append(_run(engine, cell, min(missing, limit - done)))
    return rounds


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
    elapsed_s = sum(each.elapsed_s for each in rounds)
    return max(0, math.ceil((settings.min_measure_s - elapsed_s) / elapsed_s * done))


def _iterations(rounds: Sequence[Round]) -> int:
    return sum(each.iterations for each in rounds)


def stage_steps(rounds: Sequence[Round], cell: Cell) -> list[list[Step]]:
    """The steps that the cell is about, one list per sequence that starts anew.

    Prefill: all steps of a round. Decode: the steps of each iteration after its prefill step.
    """
    if cell.stage is Stage.PREFILL:
        return [list(each.steps) for each in rounds]
    sequences: list[list[Step]] = []
    for each in rounds:
        length = max(1, len(each.steps) // each.iterations)
        starts = range(0, len(each.steps), length)
        sequences += [list(each.steps[start + 1 : start + length]) for start in starts]
    return [sequence for sequence in sequences if sequence]


def step_spread(rounds: Sequence[Round], cell: Cell) -> Spread:
    """Step times of the stage, in ms."""
    return spread(_step_times(rounds, cell))


def _step_times(rounds: Sequence[Round], cell: Cell) -> list[list[float]]:
    return [[step.time_ms for step in steps] for steps in stage_steps(rounds, cell)]


def verify(rounds: Sequence[Round], cell: Cell) -> ObservedM:
    """Prove that every step ran the M that was asked for, and every token was produced.

    Raises:
        HarnessVerdict: `m_mismatch`, with the first step that differs.
    """
    workload = cell.workload
    for each in rounds:
        expected = _expected_steps(cell, each.iterations)
        _compare_steps(each.steps, expected, cell)
        requests = each.iterations * workload.max_num_seqs
        produced = (each.num_requests, each.prompt_tokens, each.output_tokens)
        asked = (requests, requests * workload.prompt_len, requests * workload.output_len)
        if produced != asked:
            raise HarnessVerdict(
                "m_mismatch",
                f"{produced[0]} requests with {produced[1]} prompt and {produced[2]} output tokens "
                f"came back; {asked[0]}, {asked[1]} and {asked[2]} were asked for",
            )
    sizes = [step.tokens for steps in stage_steps(rounds, cell) for step in steps]
    return ObservedM(min=min(sizes), max=max(sizes), steps=len(sizes))


def _expected_steps(cell: Cell, iterations: int) -> list[int]:
    """Tokens of each step of a round."""
    if cell.stage is Stage.PREFILL:
        return [cell.m] * iterations
    first = cell.m * cell.workload.prompt_len
    return [first, *[cell.m] * (cell.workload.output_len - 1)] * iterations


def _compare_steps(steps: Sequence[Step], expected: Sequence[int], cell: Cell) -> None:
    requests = cell.workload.max_num_seqs
    for number, (step, tokens) in enumerate(zip(steps, expected, strict=False), start=1):
        if step.tokens != tokens or step.requests != requests:
            raise HarnessVerdict(
                "m_mismatch",
                f"step {number} ran {step.tokens} tokens of {step.requests} requests; "
                f"{tokens} tokens of {requests} requests were asked for (M = {cell.m})",
            )
    if len(steps) != len(expected):
        raise HarnessVerdict(
            "m_mismatch",
            f"{len(steps)} steps ran where {len(expected)} of M = {cell.m} were asked for",
        )


def check_kernel(kernels: dict[str, int], cell: Cell, kernel_pattern: str) -> str:
    """The kernel classes that ran, as one text; proof that the backend was the one asked for.

    Raises:
        HarnessVerdict: `wrong_kernel`, naming what ran instead.
    """
    if not kernels:
        raise HarnessVerdict("wrong_kernel", "the loaded model has no quantized linear kernel")
    wrong = sorted(name for name in kernels if re.match(kernel_pattern, name) is None)
    if wrong:
        raise HarnessVerdict(
            "wrong_kernel", f"backend {cell.backend} was asked for, {', '.join(wrong)} ran"
        )
    return "+".join(sorted(kernels))


def metrics(
    rounds: Sequence[Round],
    cell: Cell,
    settings: Measurement,
    *,
    kernel: str,
    warmup_iterations: int,
    load_time_s: float,
    memory: dict[str, float | None],
) -> Metrics:
    """The numbers of a passed cell, from its raw rounds (units: see `wire.Metrics`)."""
    elapsed = sum(each.elapsed_s for each in rounds)
    requests = sum(each.num_requests for each in rounds)
    prompt = sum(each.prompt_tokens for each in rounds)
    output = sum(each.output_tokens for each in rounds)
    observed = verify(rounds, cell)
    times = step_spread(rounds, cell)
    prompt_rate, output_rate = prompt / elapsed, output / elapsed
    if cell.stage is Stage.DECODE:
        decode_s = sum(step.time_ms for steps in stage_steps(rounds, cell) for step in steps) / 1e3
        prefill_s = sum(step.time_ms for each in rounds for step in each.steps) / 1e3 - decode_s
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
        warmup_iterations=warmup_iterations,
        load_time_s=load_time_s,
        model_memory_gib=memory.get("model_memory_gib"),
        kv_cache_gib=memory.get("kv_cache_gib"),
        peak_memory_gib=memory.get("peak_memory_gib"),
        precision=settings.precision,
        outlier_steps=outlier_count(_step_times(rounds, cell)),
    )


def kv_capacity_verdict(
    workload: Workload, needed_bytes: float, available_bytes: float
) -> HarnessVerdict:
    """vLLM starts when one sequence fits; a step of exactly M needs room for the whole batch."""
    return HarnessVerdict(
        "kv_cache_insufficient",
        f"needs {needed_bytes / 2**20:.1f} MiB of KV cache for {workload.max_num_seqs} sequences "
        f"of {workload.max_model_len} tokens, {available_bytes / 2**20:.1f} MiB are available",
    )
