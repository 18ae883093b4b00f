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


def t95(degrees_of_freedom: float) -> float:
    """Two-sided 95 % quantile of Student's t; the error above 30 is below 0.001.

    Between whole numbers, from 1 on, on a straight line.
    """
    if degrees_of_freedom <= len(_T95):
        below = math.floor(degrees_of_freedom)
        low, high = _T95[below - 1], _T95[min(below, len(_T95) - 1)]
        return low + (high - low) * (degrees_of_freedom - below)
    return 1.95996 + 2.3722 / degrees_of_freedom + 2.8 / degrees_of_freedom**2


LEAST_STEPS = 3
BATCHES, LEAST_IN_BATCH = 8, 4
"""Into so many parts steps are divided in time, of so many steps at least."""


def spread(series: Sequence[Sequence[float]], *, grows: bool = False) -> Spread:
    """Summarize step times of one or more sequences (one per iteration or round).

    The interval is that of the mean, the wider one of two: by the scatter of the steps, widened by
    their lag-1 autocorrelation, since neighbours are not independent; and Student's over the means of
    parts, because what changes more slowly than from step to step cannot be seen in neighbours.

    `grows`: a decode step grows with its KV cache, the same way in each sequence. So a straight line
    over the position is no scatter, and the parts are the sequences. Elsewhere a line is a drift.
    """
    values = [value for sequence in series for value in sequence]
    ordered = sorted(values)
    return Spread(
        mean=statistics.fmean(values),
        median=statistics.median(values),
        p05=_quantile(ordered, 0.05),
        p95=_quantile(ordered, 0.95),
        ci95_half_width=_half_width(series, grows=grows),
    )


FAR = 3.0
"""Tukey's far-out fence: this many interquartile ranges beyond the quartiles."""


def outlier_count(series: Sequence[Sequence[float]], *, grows: bool = False) -> int:
    """How many values are far from the others; with `grows` a straight line is taken out.

    They are counted, never dropped: what happens to one step in a thousand happens to users too.
    """
    residuals = _residuals(series, grows=grows)
    ordered = sorted(value for sequence in residuals for value in sequence)
    low, high = _quantile(ordered, 0.25), _quantile(ordered, 0.75)
    reach = FAR * (high - low)
    return sum(not low - reach <= value <= high + reach for value in ordered)


def _half_width(series: Sequence[Sequence[float]], *, grows: bool) -> float | None:
    within = _within(_residuals(series, grows=grows), lines=int(grows))
    parts = _parts(series, grows=grows)
    if within is None or (grows and len(parts) < 2):
        return None
    return max(within, _between(parts)) if parts else within


def _parts(series: Sequence[Sequence[float]], *, grows: bool) -> list[float]:
    """Means of parts that follow each other in time; none where there are too few steps."""
    if grows:
        return [statistics.fmean(sequence) for sequence in series if sequence]
    values = [value for sequence in series for value in sequence]
    count = min(BATCHES, len(values) // LEAST_IN_BATCH)
    if count < 3:
        return []
    ends = [len(values) * number // count for number in range(count + 1)]
    return [statistics.fmean(values[begin:end]) for begin, end in itertools.pairwise(ends)]


def _between(parts: Sequence[float]) -> float:
    return t95(len(parts) - 1) * statistics.stdev(parts) / math.sqrt(len(parts))


def _within(residuals: Sequence[Sequence[float]], *, lines: int) -> float | None:
    """By the scatter of single steps around their mean and so many straight lines."""
    count = sum(len(sequence) for sequence in residuals)
    degrees = count - 1 - lines
    if count < LEAST_STEPS:
        return None
    squares = sum(value * value for sequence in residuals for value in sequence)
    deviation = math.sqrt(squares / degrees)
    correlation = _lag1(residuals, squares, count)
    effective = count * (1 - correlation) / (1 + correlation)
    freedom = max(1, math.floor(effective) - 1 - lines)
    return t95(freedom) * deviation / math.sqrt(effective)


def _residuals(series: Sequence[Sequence[float]], *, grows: bool) -> list[list[float]]:
    points = [(i, value) for sequence in series for i, value in enumerate(sequence)]
    mean_i = statistics.fmean(i for i, _ in points)
    mean_value = statistics.fmean(value for _, value in points)
    variance = sum((i - mean_i) ** 2 for i, _ in points)
    slope = (
        sum((i - mean_i) * (value - mean_value) for i, value in points) / variance
        if grows and variance
        else 0.0
    )
    return [
        [value - mean_value - slope * (i - mean_i) for i, value in enumerate(sequence)]
        for sequence in series
    ]


LEAST_PAIRS = 10


def _lag1(residuals: Sequence[Sequence[float]], squares: float, count: int) -> float:
    """Lag-1 autocorrelation with its bias of -(1 + 4r)/n taken back, never below 0.

    Alternation must not narrow the interval. Neighbours are those within a sequence; where sequences
    are short there are less of them than values, and a few say too little to be taken for all.
    """
    pairs = [pair for sequence in residuals for pair in itertools.pairwise(sequence)]
    if squares <= 0 or not pairs:
        return 0.0
    estimate = sum(a * b for a, b in pairs) / squares
    if len(pairs) >= LEAST_PAIRS:
        estimate *= count / len(pairs)
    return min(0.95, max(0.0, estimate + (1 + 4 * estimate) / count))


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
