"""The trials behind each number of a group, where there was more than one."""

from __future__ import annotations

import statistics

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    Paragraph,
    chain,
    fold,
    grid,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Group, Series
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.notes import trials_differ
from slidesparse_bench.report.words import Text, counted, say
from slidesparse_bench.trials import known_spreads
from slidesparse_bench.units import format_rate

_HOW_TO_READ = say(
    "The rate of each trial. Spread: the largest minus the smallest, over their mean. Within: the "
    "widest interval that a single trial would have claimed. Where the trials differ by more than "
    "that, `trials` stands in the last column, and the interval in the table above is the wider one "
    "between them."
)


def trials(group: Group) -> list[Block]:
    """Rate of every trial by M and series, closed until opened; [] with a single trial each."""
    rows = [
        (m, series, cell)
        for m in group.ms
        for series in group.series
        if (cell := group.cells.get((m, series))) and len(_rates(group, cell)) > 1
    ]
    if not rows:
        return []
    most = max(len(_rates(group, cell)) for _, _, cell in rows)
    heads = [
        Head("M", right=True),
        Head(say("backend")),
        *right(*(say("trial {n}", n=n) for n in range(1, most + 1))),
        *right(say("spread"), say("within")),
        Head(say("interval by")),
    ]
    title = say("Trials of {cells}", cells=counted(len(rows), "cell"))
    body = [_row(group, m, series, cell, most) for m, series, cell in rows]
    return fold(title, chain([Paragraph(_HOW_TO_READ)], grid(title, heads, body)))


def _row(
    group: Group, m: int, series: Series, cell: CellView, most: int
) -> tuple[Text | None, ...]:
    rates = _rates(group, cell)
    spread = (max(rates) - min(rates)) / statistics.fmean(rates)
    return (
        m,
        series.name,
        *map(format_rate, rates),
        *[None] * (most - len(rates)),
        percent(spread),
        _within(cell),
        say("trials") if trials_differ(cell) else say("steps"),
    )


def _rates(group: Group, cell: CellView) -> list[float]:
    rates = [_rate(group, attempt) for attempt in cell.standing]
    return [rate for rate in rates if rate]


def _rate(group: Group, attempt: Attempt) -> float | None:
    rate: float | None = getattr(attempt.metrics, group.metric, None)
    return rate


def _within(cell: CellView) -> Text:
    spreads = known_spreads(each.metrics for each in cell.standing if each.metrics)
    widths = [
        each.ci95_half_width / each.mean
        for each in spreads
        if each.ci95_half_width is not None and each.mean
    ]
    return f"±{percent(max(widths))}" if widths else say("not known")
