"""Several measurements of one cell, in processes of their own, as one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from slidesparse_bench.spread import t95
from slidesparse_bench.wire import Metrics, ObservedM, Spread


def combined(trials: Sequence[Metrics]) -> Metrics:
    """The numbers of all trials together.

    Counts, times and energies add up. What is counted per second of a step is a harmonic mean
    weighted by the iterations, which keeps each rate the quotient of its sums; power, clock and
    host are means over the time. The interval is Student's over the trials' mean step times, each
    weighted as in the mean, or that within the trials where it is wider: what varies from process to
    process cannot be seen inside one. Two trials make it wide; take at least three.
    """
    if len(trials) == 1:
        return trials[0]
    times = _times(trials)
    tokens = sum(each.total_num_tokens for each in trials)
    energy_j = _over_known(sum, trials, "energy_j")
    changed: dict[str, Any] = {
        "elapsed_time": sum(each.elapsed_time for each in trials),
        "num_requests": sum(each.num_requests for each in trials),
        "total_num_tokens": tokens,
        "energy_j": energy_j,
        "tokens_per_joule": tokens / energy_j if energy_j else None,
        "iterations": sum(each.iterations for each in trials),
        "warmup_iterations": sum(each.warmup_iterations for each in trials),
        "slow_rounds": sum(each.slow_rounds for each in trials),
        "ended_early": any(each.ended_early for each in trials),
        "warmup_steady": _over_known(all, trials, "warmup_steady"),
        "outlier_steps": _over_known(sum, trials, "outlier_steps"),
        "step_time_ms": times,
        "m_observed": _observed(trials),
        "kernel": "+".join(sorted({each.kernel for each in trials})),
        "precision_reached": _is_reached(times, trials),
        "throttled": _union([each.throttled for each in trials]),
        "disturbed": _union([each.disturbed for each in trials]) or [],
        "trials": len(trials),
    }
    changed |= {name: _rate(trials, name) for name in _RATES}
    changed |= {name: _over_time(trials, name) for name in _OVER_TIME}
    changed |= {name: _over_known(max, trials, name) for name in _LARGEST}
    # One trial on which the host hardly waited is not to be hidden by the others.
    changed["host_wait_share"] = _over_known(min, trials, "host_wait_share")
    return replace(trials[0], **changed)


_RATES = (
    "requests_per_second", "tokens_per_second", "prompt_tokens_per_second",
    "output_tokens_per_second", "achieved_tflops", "achieved_tb_per_second", "roofline_fraction",
)  # fmt: skip
_OVER_TIME = ("power_w_mean", "sm_clock_mhz_mean", "host_slowdown")
_LARGEST = ("model_memory_gib", "kv_cache_gib", "peak_memory_gib", "load_time_s", "temperature_c_max")  # fmt: skip


def _rate(trials: Sequence[Metrics], name: str) -> float | None:
    """None as soon as one trial lacks it: a mean of some would be taken for one of all."""
    values = [getattr(each, name) for each in trials]
    if None in values or 0 in values:
        return None
    weights = [each.iterations for each in trials]
    inverse = sum(weight / value for weight, value in zip(weights, values, strict=True))
    return float(sum(weights) / inverse)


def _over_time(trials: Sequence[Metrics], name: str) -> float | None:
    values = [getattr(each, name) for each in trials]
    if None in values:
        return None
    return statistics.fmean(values, weights=[each.elapsed_time for each in trials])


def _over_known(function: Callable[[list[Any]], Any], trials: Sequence[Metrics], name: str) -> Any:
    values = [getattr(each, name) for each in trials]
    return None if None in values else function(values)


def _times(trials: Sequence[Metrics]) -> Spread | None:
    spreads = known_spreads(trials)
    if len(spreads) < len(trials):
        return None
    steps = [each.m_observed.steps for each in trials]
    return Spread(
        mean=statistics.fmean([each.mean for each in spreads], weights=steps),
        median=statistics.median(each.median for each in spreads),
        p05=statistics.fmean([each.p05 for each in spreads], weights=steps),
        p95=statistics.fmean([each.p95 for each in spreads], weights=steps),
        ci95_half_width=_half_width(spreads, steps),
    )


def known_spreads(trials: Iterable[Metrics]) -> list[Spread]:
    """The step times of those trials that timed their steps."""
    return [each.step_time_ms for each in trials if each.step_time_ms is not None]


def _half_width(spreads: Sequence[Spread], steps: Sequence[int]) -> float | None:
    between = half_width_between([each.mean for each in spreads], steps)
    within = half_width_within(spreads)
    return between if within is None else max(between, within)


def half_width_between(means: Sequence[float], weights: Sequence[float]) -> float:
    """Of the weighted mean of two values or more.

    The wider one of two: as if all weighed the same, and with the scatter and the number of values
    that the weights leave (Kish 1965), which alone is too narrow where one of three has all the weight.
    """
    count = len(means)
    shares = [weight / sum(weights) for weight in weights]
    mean = math.fsum(share * value for share, value in zip(shares, means, strict=True))
    parts = [share * (value - mean) for share, value in zip(shares, means, strict=True)]
    error = math.sqrt(math.fsum(part * part for part in parts) * count / (count - 1))
    effective = 1 / math.fsum(share * share for share in shares)
    freedom = max(1.0, effective - 1)
    equal = t95(count - 1) * statistics.stdev(means) / math.sqrt(count)
    return max(equal, t95(freedom) * error)


def half_width_within(spreads: Sequence[Spread]) -> float | None:
    """The interval that the steps of all trials alone would give; None when one has none."""
    widths = [each.ci95_half_width for each in spreads]
    known = [width for width in widths if width is not None]
    return math.hypot(*known) / len(known) if len(known) == len(widths) else None


def _is_reached(times: Spread | None, trials: Sequence[Metrics]) -> bool:
    asked = trials[0].precision
    if asked is None or times is None or times.ci95_half_width is None:
        return all(each.precision_reached for each in trials)
    return times.ci95_half_width <= asked * times.mean


def _observed(trials: Sequence[Metrics]) -> ObservedM:
    seen = [each.m_observed for each in trials]
    return ObservedM(
        min=min(each.min for each in seen),
        max=max(each.max for each in seen),
        steps=sum(each.steps for each in seen),
    )


def _union(lists: Sequence[list[str] | None]) -> list[str] | None:
    known = [each for each in lists if each is not None]
    return sorted({item for each in known for item in each}) if known else None
