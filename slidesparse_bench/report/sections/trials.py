"""The trials behind each number of a group, where there was more than one."""

from __future__ import annotations

import statistics

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Group, Series
from slidesparse_bench.report.markdown import blocks, counted, details, percent
from slidesparse_bench.report.notes import trials_differ
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.units import format_rate

_HOW_TO_READ = (
    "The rate of each trial. Spread: the largest minus the smallest, over their mean. Within: the "
    "widest interval that a single trial would have claimed. Where the trials differ by more than "
    "that, `trials` stands in the last column, and the interval in the table above is the wider one "
    "between them."
)


def trials(group: Group) -> str:
    """Rate of every trial by M and series, closed until opened; "" with a single trial each."""
    rows = [
        (m, series, cell)
        for m in group.ms
        for series in group.series
        if (cell := group.cells.get((m, series))) and len(_rates(group, cell)) > 1
    ]
    if not rows:
        return ""
    most = max(len(_rates(group, cell)) for _, _, cell in rows)
    columns = (
        Column("M", right=True),
        Column("backend"),
        *(Column(f"trial {n}", right=True) for n in range(1, most + 1)),
        Column("spread", right=True),
        Column("within", right=True),
        Column("interval by"),
    )
    body = tuple(_row(group, m, series, cell, most) for m, series, cell in rows)
    text = blocks([_HOW_TO_READ, as_markdown(Table(columns, body))])
    return details(f"Trials of {counted(len(rows), 'cell')}", text)


def _row(group: Group, m: int, series: Series, cell: CellView, most: int) -> tuple[Value, ...]:
    rates = _rates(group, cell)
    texts = [format_rate(rate) for rate in rates]
    spread = (max(rates) - min(rates)) / statistics.fmean(rates)
    return (
        m,
        series.name,
        *texts,
        *[None] * (most - len(texts)),
        percent(spread),
        _within(cell),
        "trials" if trials_differ(cell) else "steps",
    )


def _rates(group: Group, cell: CellView) -> list[float]:
    rates = [_rate(group, attempt) for attempt in cell.standing]
    return [rate for rate in rates if rate]


def _rate(group: Group, attempt: Attempt) -> float | None:
    rate: float | None = getattr(attempt.metrics, group.metric, None)
    return rate


def _within(cell: CellView) -> str:
    spreads = [each.metrics.step_time_ms for each in cell.standing if each.metrics]
    widths = [
        each.ci95_half_width / each.mean
        for each in spreads
        if each.ci95_half_width is not None and each.mean
    ]
    return f"±{percent(max(widths))}" if widths else "not known"
