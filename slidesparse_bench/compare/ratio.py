"""The quotient of two rates, with an interval that follows from those of both sides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """B over A; `low` to `high` is its 95 % interval, both None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def size(self) -> float:
        """How far it is from no change, the same for twice as fast and half as fast."""
        return abs(math.log(self.value))


def ratio_of_rates(
    rate_a: float, rate_b: float, half_width_a: float | None, half_width_b: float | None
) -> Ratio:
    """`rate_b / rate_a` with its 95 % interval.

    Rates are above 0 and inversely proportional to the mean step times; `half_width_a` and
    `half_width_b` are half of the 95 % intervals of these means, relative to them. So the ratio is
    a quotient of two independent means, time of A over time of B, and with R for the ratio, a and
    b for the half widths, its limits are

        R (1 ± sqrt(a² + b² - a² b²)) / (1 - b²)

    This is MOVER-R for symmetric intervals (Donner and Zou, Stat. Methods Med. Res. 21, 2012;
    Newcombe, the same 25, 2016, doi 10.1177/0962280213502144), and Fieller's interval (J. R. Stat.
    Soc. B 16, 1954) with each side's own quantile of t in place of one for both. Each side keeps
    the degrees of freedom, the autocorrelation and the trials of its own interval.

    No interval when a side has none, or one that reaches a step time of 0 (the limits would be
    0 or without end).
    """
    value = rate_b / rate_a
    if half_width_a is None or half_width_b is None or max(half_width_a, half_width_b) >= 1:
        return Ratio(value)
    a, b = half_width_a**2, half_width_b**2
    reach = math.sqrt(a + b - a * b)
    return Ratio(value, value * (1 - reach) / (1 - b), value * (1 + reach) / (1 - b))


def geometric_mean(values: Iterable[float]) -> float | None:
    """None of nothing. A ratio and its inverse average to 1, which an arithmetic mean misses."""
    logarithms = [math.log(value) for value in values]
    return math.exp(math.fsum(logarithms) / len(logarithms)) if logarithms else None
