"""What is plotted, as plain values. `plots` draws it; the Markdown report refers to it."""

from __future__ import annotations

from dataclasses import dataclass

from slidesparse_bench.records import CellState
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.doubts import doubted_ids, is_doubted
from slidesparse_bench.report.groups import Group, Series, groups_of, half_width
from slidesparse_bench.report.languages import ENGLISH, Language, plain_text
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import say

PLOT_FOLDER = "plots"


@dataclass(frozen=True)
class Point:
    """`y` is None where there is no number: the curve has a gap there.

    `error` is the absolute half width of the 95 % interval, None when there is none; `doubted`
    points rest on a number that Anomalies doubts.
    """

    x: float
    y: float | None = None
    error: float | None = None
    doubted: bool = False


@dataclass(frozen=True)
class Line:
    label: str
    points: tuple[Point, ...]

    @property
    def known(self) -> int:
        return sum(point.y is not None for point in self.points)


@dataclass(frozen=True)
class Panel:
    """One set of axes; `level` is a horizontal line that readers compare with."""

    y_label: str
    lines: tuple[Line, ...]
    level: float | None = None


@dataclass(frozen=True)
class LineFigure:
    """One or two panels over M, which is drawn on a logarithmic axis.

    `doubts` is what the legend says of doubted points.
    """

    file_name: str
    title: str
    panels: tuple[Panel, ...]
    doubts: str = ""


@dataclass(frozen=True)
class HeatMap:
    """States of cells: a row per model, quantization and backend, a column per stage and M."""

    file_name: str
    title: str
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]
    states: dict[tuple[int, int], CellState]


def group_figure(
    view: RunView,
    group: Group,
    language: Language = ENGLISH,
    doubted: set[str] | None = None,
) -> LineFigure | None:
    """Throughput over M, and speed-up over M where there is one; None with too few points.

    A single M makes no curve: its numbers are in the tables. `doubted` are ids of cells.
    """
    ids = doubted or set()
    panels = [
        panel
        for panel in (_throughput(group, language, ids), _speedup(group, language, ids))
        if any(line.known > 1 for line in panel.lines)
    ]
    if not panels:
        return None
    title = say("{group}", group=group.title)
    if view.is_fake:
        title = say("{group} (fake engine: not a measurement)", group=group.title)
    doubts = plain_text(say("hollow: in doubt (see Anomalies)"), language)
    has_doubts = any(p.doubted for panel in panels for line in panel.lines for p in line.points)
    return LineFigure(
        f"{group.slug}.png",
        plain_text(title, language),
        tuple(panels),
        doubts if has_doubts else "",
    )


def _throughput(group: Group, language: Language, doubted: set[str]) -> Panel:
    lines = tuple(
        Line(plain_text(series.head, language), _rates(group, series, doubted))
        for series in group.series
    )
    return Panel(group.metric, tuple(line for line in lines if line.known))


def _rates(group: Group, series: Series, doubted: set[str]) -> tuple[Point, ...]:
    points = []
    for m in group.ms:
        rate = group.rate_of(m, series)
        cell = group.cells[m, series] if rate else None
        width = half_width(cell) if cell else None
        points.append(_point(m, rate, width, cell is not None and cell.id in doubted))
    return tuple(points)


def _point(m: int, y: float | None, relative_width: float | None, is_doubted: bool) -> Point:
    error = None if y is None or relative_width is None else y * relative_width
    return Point(m, y, error, is_doubted)


def _speedup(group: Group, language: Language, doubted: set[str]) -> Panel:
    lines = tuple(
        Line(plain_text(series.head, language), _ratios(group, series, doubted))
        for series in group.series
        if series != group.reference
    )
    label = say("speed-up over {backend}", backend=group.reference.name if group.reference else "")
    kept = tuple(line for line in lines if line.known)
    return Panel(plain_text(label, language), kept, level=1.0)


def _ratios(group: Group, series: Series, doubted: set[str]) -> tuple[Point, ...]:
    points = []
    for m in group.ms:
        ratio, against = group.ratio(m, series, group.reference), group.reference
        if ratio is None or against is None:
            points.append(Point(m))
            continue
        in_doubt = is_doubted(group, m, (series, against), doubted)
        points.append(_point(m, ratio.value, ratio.half_width, in_doubt))
    return tuple(points)


def completeness_map(view: RunView, language: Language = ENGLISH) -> HeatMap | None:
    """Which cells have a number; None for a run with fewer than two cells to show."""
    known = [each for each in view.cells if each.cell]
    if len(known) < 2:
        return None
    rows = list(dict.fromkeys(_row(each) for each in known))
    columns = sorted({_column(each) for each in known}, key=lambda c: (c[0] == "decode", c[1]))
    return HeatMap(
        file_name="completeness.png",
        title=plain_text(say("{run}: state of every cell", run=view.run.run_id), language),
        row_labels=tuple(rows),
        column_labels=tuple(f"{stage} {m}" for stage, m in columns),
        states={
            (rows.index(_row(each)), columns.index(_column(each))): each.state for each in known
        },
    )


def _row(view: CellView) -> str:
    assert view.cell is not None
    series = Series.of(view.cell)
    return f"{view.cell.model} {view.cell.quantization.upper()} {series.name}"


def _column(view: CellView) -> tuple[str, int]:
    assert view.cell is not None
    return view.cell.stage.value, view.cell.m


def figures_of(view: RunView, language: Language = ENGLISH) -> list[LineFigure | HeatMap]:
    """Everything worth drawing of a run."""
    doubted = doubted_ids(view)
    drawn = [group_figure(view, group, language, doubted) for group in groups_of(view)]
    figures = (*drawn, completeness_map(view, language))
    return [figure for figure in figures if figure is not None]
