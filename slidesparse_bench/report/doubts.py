"""What looks wrong about numbers of a run, by rules that are stated beside each finding.

Values only: `sections.anomalies` puts them in words, `sections.publication` counts them.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Group, Series, groups_of, half_width
from slidesparse_bench.report.index_limits import suspect_passes
from slidesparse_bench.report.view import RunView

MOST_GROWTH = 1.5
"""From one M to the next a rate grows at most in proportion to M; beyond 1.5 times that, the
smaller M was measured too slow, as with a cold start inside the measurement."""
LEAST_GROWTH = 0.7
"""Below this share of the rate at the next smaller M, the larger one ran short of something. In the
public RTX 4090 runs, memory that had spilled to the host."""
RATIO_JUMP = 1.5
"""A speed-up further than this factor from the median of its neighbours in M stands alone."""
BEYOND_ZEROS = 1.1
"""A speed-up beyond L/(L-2), the arithmetic that `2:L` can save, times this needs another cause."""
WEAK_REFERENCE = 1.1
"""From this quotient of another dense backend and the reference on, the reference flatters."""
WIDE = 0.05
"""Relative half width from which an interval is called wide."""
UNSTEADY = 0.1
"""Relative difference between successful attempts at one cell from which they contradict."""


@dataclass(frozen=True)
class RateJump:
    """A rate that does not fit its neighbour: `factor` is rate over rate at `other_m`."""

    group: Group
    series: Series
    m: int
    other_m: int
    rate: float
    other_rate: float

    @property
    def is_slow_start(self) -> bool:
        return self.m < self.other_m

    @property
    def view(self) -> CellView:
        return self.group.cells[self.m, self.series]


@dataclass(frozen=True)
class RatioJump:
    """A speed-up that stands alone: `usual` is the median of its neighbours in M."""

    group: Group
    series: Series
    m: int
    ratio: float
    usual: float

    @property
    def view(self) -> CellView:
        return self.group.cells[self.m, self.series]


@dataclass(frozen=True)
class BeyondZeros:
    """A speed-up over a dense backend that the skipped arithmetic cannot explain."""

    group: Group
    series: Series
    m: int
    ratio: float
    most: float

    @property
    def view(self) -> CellView:
        return self.group.cells[self.m, self.series]


@dataclass(frozen=True)
class WeakReference:
    """M at which another dense backend is faster than the reference, and by how much."""

    group: Group
    best: dict[int, tuple[Series, float]]


@dataclass(frozen=True)
class Hole:
    """M of a series without a number between two with one, or the other way round."""

    group: Group
    series: Series
    missing: tuple[int, ...]
    alone: tuple[int, ...]


@dataclass(frozen=True)
class Unsteady:
    """A cell whose successful attempts contradict each other."""

    view: CellView
    rates: tuple[float, ...]

    @property
    def spread(self) -> float:
        return (max(self.rates) - min(self.rates)) / statistics.median(self.rates)


def rate_jumps(view: RunView) -> list[RateJump]:
    """Every rate that grew or fell too much against its neighbour in M."""
    return [
        jump
        for group in groups_of(view)
        for series in group.series
        for jump in _jumps_of(group, series)
    ]


def _jumps_of(group: Group, series: Series) -> Iterator[RateJump]:
    known = [(m, rate) for m in group.ms if (rate := group.rate_of(m, series))]
    for (m, rate), (next_m, next_rate) in itertools.pairwise(known):
        growth = next_rate / rate
        if growth > MOST_GROWTH * next_m / m:
            yield RateJump(group, series, m, next_m, rate, next_rate)
        elif growth < LEAST_GROWTH:
            yield RateJump(group, series, next_m, m, next_rate, rate)


def ratio_jumps(view: RunView) -> list[RatioJump]:
    """Speed-ups over the reference that stand alone among their neighbours in M."""
    found: list[RatioJump] = []
    for group in groups_of(view):
        for series in group.series:
            if series == group.reference:
                continue
            found += _ratio_jumps_of(group, series)
    return found


def _ratio_jumps_of(group: Group, series: Series) -> Iterator[RatioJump]:
    ratios = [(m, group.ratio(m, series, group.reference)) for m in group.ms]
    known = [(m, ratio.value) for m, ratio in ratios if ratio]
    for place, (m, value) in enumerate(known):
        around = known[max(0, place - 2) : place] + known[place + 1 : place + 3]
        if len(around) < 2:
            continue
        usual = statistics.median(other for _, other in around)
        if not usual / RATIO_JUMP <= value <= usual * RATIO_JUMP:
            yield RatioJump(group, series, m, value, usual)


def beyond_zeros(view: RunView) -> list[BeyondZeros]:
    """Sparse speed-ups over the best dense backend beyond what skipped arithmetic explains."""
    found = []
    for group in groups_of(view):
        for m, series in group.cells:
            ratio = group.ratio(m, series, group.best_dense(m))
            if series.sparsity is None or ratio is None:
                continue
            most = 1 / (1 - series.sparsity.zero_share)
            if ratio.value > BEYOND_ZEROS * most:
                found.append(BeyondZeros(group, series, m, ratio.value, most))
    return found


def weak_references(view: RunView) -> list[WeakReference]:
    """Groups whose reference is much slower than another dense backend at some M."""
    found = []
    for group in groups_of(view):
        better = {}
        for m in group.ms:
            best = group.best_dense(m)
            ratio = group.ratio(m, best, group.reference) if best else None
            if best and ratio and ratio.value >= WEAK_REFERENCE:
                better[m] = (best, ratio.value)
        if better:
            found.append(WeakReference(group, better))
    return found


def holes(view: RunView) -> list[Hole]:
    """Series whose numbers do not end at one M: gaps, and numbers among failures."""
    found = []
    for group in groups_of(view):
        for series in group.series:
            ms = [m for m in group.ms if (m, series) in group.cells]
            has = [group.rate_of(m, series) is not None for m in ms]
            inside = range(1, len(ms) - 1)
            missing = tuple(
                ms[i] for i in inside if not has[i] and any(has[:i]) and any(has[i + 1 :])
            )
            alone = tuple(
                ms[i] for i in inside if has[i] and not any(has[:i]) and not any(has[i + 1 :])
            )
            if missing or alone:
                found.append(Hole(group, series, missing, alone))
    return found


def unsteady(view: RunView) -> list[Unsteady]:
    """Cells whose successful attempts differ by more than `UNSTEADY`, the widest first.

    Trials are no such case: they are meant to differ, and their interval says by how much.
    """
    if view.run.trials > 1:
        return []
    found = [Unsteady(each, _rates(each)) for each in view.cells if len(_rates(each)) > 1]
    return sorted(
        (each for each in found if each.spread > UNSTEADY),
        key=lambda each: each.spread,
        reverse=True,
    )


def _rates(view: CellView) -> tuple[float, ...]:
    attempts: list[Attempt] = view.record.attempts if view.metrics else []
    return tuple(
        each.metrics.tokens_per_second
        for each in attempts
        if each.metrics and each.metrics.tokens_per_second > 0 and not each.metrics.disturbed
    )


def wide_intervals(view: RunView) -> list[tuple[CellView, float]]:
    """Numbers with an interval beyond `WIDE`, the widest first."""
    known = [(each, width) for each in view.cells if (width := half_width(each)) is not None]
    return sorted((pair for pair in known if pair[1] > WIDE), key=lambda pair: -pair[1])


def mixed_settings(view: RunView) -> dict[str, list[CellView]]:
    """By series, the cells that were measured with other settings or on another device than most."""
    found: dict[str, list[CellView]] = {}
    for group in groups_of(view):
        for series in group.series:
            cells = [c for (_, s), c in group.cells.items() if s == series and c.metrics]
            usual = statistics.mode([_conditions(c) for c in cells]) if cells else ""
            others = [c for c in cells if _conditions(c) != usual]
            if others:
                found[f"{group.title}, {series.name}"] = others
    return found


def _conditions(view: CellView) -> str:
    """Settings that were changed, and the device."""
    attempt = view.attempt
    if attempt is None:
        return ""
    return f"{sorted(attempt.changed.items(), key=str)} {attempt.device}"


def doubted_ids(view: RunView) -> set[str]:
    """Cells whose number a reader should not use as it stands.

    A speed-up has two sides: where the rate of the dense one falls out of line, the sparse one is
    not to blame.
    """
    rates = {jump.view.id for jump in rate_jumps(view)}
    jumps: list[RatioJump | BeyondZeros] = [*ratio_jumps(view), *beyond_zeros(view)]
    ratios = {
        jump.view.id
        for jump in jumps
        if not any(cell_id in rates for cell_id in dense_ids(jump.group, jump.m))
    }
    suspects = {each.id for each in suspect_passes(view)}
    disturbed = {each.id for each in view.cells if each.metrics and each.metrics.disturbed}
    return rates | ratios | suspects | disturbed


def is_doubted(group: Group, m: int, pair: tuple[Series, Series], doubted: set[str]) -> bool:
    """Whether one of the two rates of a quotient is a doubted cell's."""
    return any(group.cells[m, each].id in doubted for each in pair if (m, each) in group.cells)


def dense_ids(group: Group, m: int) -> list[str]:
    """The cells that a speed-up at this M is a speed-up over."""
    against = dict.fromkeys([group.reference, group.best_dense(m)])
    return [group.cells[m, each].id for each in against if each and (m, each) in group.cells]
