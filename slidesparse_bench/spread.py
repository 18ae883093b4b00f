"""Statistics of step times: quantiles, and a confidence interval that does not flatter."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from slidesparse_bench.wire import Spread

_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom."""


def t95(degrees_of_freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t; the error above 30 is below 0.001."""
    if degrees_of_freedom <= len(_T95):
        return _T95[degrees_of_freedom - 1]
    return 1.95996 + 2.3722 / degrees_of_freedom + 2.8 / degrees_of_freedom**2


def spread(series: Sequence[Sequence[float]]) -> Spread:
    """Summarize step times of one or more sequences (one per iteration or round).

    The interval is that of the mean. A decode step grows with its KV cache, the same way in each
    iteration, so a straight line over the position is taken out before the scatter is measured;
    neighbouring steps are not independent, so the lag-1 autocorrelation widens the interval.
    """
    values = [value for sequence in series for value in sequence]
    ordered = sorted(values)
    return Spread(
        mean=statistics.fmean(values),
        median=statistics.median(values),
        p05=_quantile(ordered, 0.05),
        p95=_quantile(ordered, 0.95),
        ci95_half_width=_half_width(series),
    )


FAR = 3.0
"""Tukey's far-out fence: this many interquartile ranges beyond the quartiles."""


def outlier_count(series: Sequence[Sequence[float]]) -> int:
    """How many values are far from the others, a straight line over the position taken out.

    They are counted, never dropped: what happens to one step in a thousand happens to users too.
    """
    ordered = sorted(value for sequence in _residuals(series) for value in sequence)
    low, high = _quantile(ordered, 0.25), _quantile(ordered, 0.75)
    reach = FAR * (high - low)
    return sum(not low - reach <= value <= high + reach for value in ordered)


def _half_width(series: Sequence[Sequence[float]]) -> float | None:
    residuals = _residuals(series)
    count = sum(len(sequence) for sequence in residuals)
    degrees = count - 2
    if degrees < 1:
        return None
    squares = sum(value * value for sequence in residuals for value in sequence)
    deviation = math.sqrt(squares / degrees)
    correlation = _lag1(residuals, squares, count)
    effective = count * (1 - correlation) / (1 + correlation)
    return t95(max(1, math.floor(effective) - 2)) * deviation / math.sqrt(effective)


def _residuals(series: Sequence[Sequence[float]]) -> list[list[float]]:
    points = [(i, value) for sequence in series for i, value in enumerate(sequence)]
    mean_i = statistics.fmean(i for i, _ in points)
    mean_value = statistics.fmean(value for _, value in points)
    variance = sum((i - mean_i) ** 2 for i, _ in points)
    slope = (
        sum((i - mean_i) * (value - mean_value) for i, value in points) / variance
        if variance
        else 0.0
    )
    return [
        [value - mean_value - slope * (i - mean_i) for i, value in enumerate(sequence)]
        for sequence in series
    ]


def _lag1(residuals: Sequence[Sequence[float]], squares: float, count: int) -> float:
    """Lag-1 autocorrelation with its bias of -(1 + 4r)/n taken back, never below 0.

    Alternation must not narrow the interval.
    """
    if squares <= 0:
        return 0.0
    products = sum(a * b for sequence in residuals for a, b in itertools.pairwise(sequence))
    estimate = products / squares
    return min(0.95, max(0.0, estimate + (1 + 4 * estimate) / count))


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
