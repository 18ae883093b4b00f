"""How far the matrix was covered: by phase, model by model, then M by M."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slidesparse_bench.cell import Cell, Quantization, Stage
from slidesparse_bench.records import CellState
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    chain,
    fold,
    grid,
    heading,
    left,
    paragraph,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Series
from slidesparse_bench.report.markdown import m_ranges, percent
from slidesparse_bench.report.view import RunView, grouped
from slidesparse_bench.report.words import Text, counted, joined, say

_ROWS_SHOWN = 24
_NOT_PLANNED = say("not planned")


def section(view: RunView) -> list[Block]:
    if view.cells and all(each.cell and each.state is CellState.PASSED for each in view.cells):
        return _all_passed(view)
    return chain(
        heading(2, say("Overview")),
        _by_stage(view),
        _by_phase(view),
        *(_matrices(view)),
        *(_judged(view)),
        heading(3, say("Which M passed")),
        _coverage(view),
    )


def _all_passed(view: RunView) -> list[Block]:
    """Nothing is missing: one table says what was planned, the others would repeat it."""
    text = say("All {cells} passed.", cells=counted(len(view.cells), "cell"))
    return chain(heading(2, say("Overview")), paragraph(text), _fully_passed(_lines(view)))


def _by_stage(view: RunView) -> list[Block]:
    known = [each for each in view.cells if each.cell]
    keys = sorted({_stage_key(each.cell) for each in known if each.cell})
    rows = [
        _counts(stage, quantization, [e for e in known if e.cell and _stage_key(e.cell) == key])
        for key in keys
        for _, stage, quantization in [key]
    ]
    heads = [
        *left(say("stage"), say("quantization")),
        *right(say("cells"), say("passed"), say("failed"), say("skipped")),
        *right(say("not finished"), say("passed share")),
    ]
    rows.append(_counts(say("all"), "", list(view.cells)))
    return grid(say("Cells by phase"), heads, rows)


def _stage_key(cell: Cell) -> tuple[int, str, str]:
    return list(Stage).index(cell.stage), cell.stage.value, cell.quantization.value


def _counts(stage: Text, quantization: str, views: list[CellView]) -> tuple[Text, ...]:
    states = [view.state for view in views]
    done = [states.count(s) for s in (CellState.PASSED, CellState.FAILED, CellState.SKIPPED)]
    share = percent(done[0] / len(views)) if views else ""
    return (stage, quantization, len(views), *done, len(views) - sum(done), share)


def _ratio(views: Iterable[CellView] | None) -> Text:
    """`7/8`: passed of planned."""
    listed = list(views or ())
    if not listed:
        return _NOT_PLANNED
    return f"{sum(view.state is CellState.PASSED for view in listed)}/{len(listed)}"


def _all_series(cells: Iterable[CellView]) -> list[Series]:
    found = {Series.of(each.cell) for each in cells if each.cell}
    return sorted(found, key=lambda series: series.order)


def _select(cells: Iterable[CellView], wanted: Callable[[Cell], bool]) -> list[CellView]:
    return [each for each in cells if each.cell and wanted(each.cell)]


def _by_phase(view: RunView) -> list[Block]:
    """Stage and quantization by backend, as `7/8`."""
    series = _all_series(view.cells)
    keys = sorted({_stage_key(each.cell) for each in view.cells if each.cell})
    if not keys:
        return []
    rows = []
    for key in keys:
        phase = _select(view.cells, lambda cell, key=key: _stage_key(cell) == key)  # type: ignore[misc]
        by_series = [_select(phase, lambda cell, s=s: Series.of(cell) == s) for s in series]  # type: ignore[misc]
        rows.append((key[1], key[2].upper(), *map(_ratio, by_series), _ratio(phase)))
    title = say("Passed of planned cells, by phase and backend:")
    heads = [
        *left(say("stage"), say("quantization")),
        *right(*(each.head for each in series), say("all")),
    ]
    return chain(paragraph(title), grid(say("Phase by backend"), heads, rows))


def _matrices(view: RunView) -> list[list[Block]]:
    """Completeness per stage: a row per model and quantization, a column per backend."""
    return [_matrix(view, stage) for stage in Stage]


def _matrix(view: RunView, stage: Stage) -> list[Block]:
    cells = _select(view.cells, lambda cell: cell.stage is stage)
    if not cells:
        return []
    series = _all_series(cells)
    rows = []
    for (model, quantization), members in _by_model(cells).items():
        by_series = [
            [each for each in members if each.cell and Series.of(each.cell) == s] for s in series
        ]
        rows.append((model, quantization.upper(), *map(_ratio, by_series), _ratio(members)))
    title = say("Completeness, {stage}", stage=stage.value)
    heads = [
        *left(say("model"), say("quantization")),
        *right(*(each.name for each in series), say("all")),
    ]
    return chain(heading(3, title), grid(title, heads, rows))


def _by_model(cells: Iterable[CellView]) -> dict[tuple[str, Quantization], list[CellView]]:
    groups: dict[tuple[str, Quantization], list[CellView]] = {}
    for each in cells:
        if each.cell:
            groups.setdefault((each.cell.model, each.cell.quantization), []).append(each)
    return groups


@dataclass(frozen=True)
class _Line:
    """All M of one model, quantization, backend and stage."""

    stage: Stage
    model: str
    quantization: Quantization
    series: Series
    cells: tuple[CellView, ...]

    def ms(self, *, passed: bool | None = None) -> list[int]:
        return [
            each.cell.m
            for each in self.cells
            if each.cell and (passed is None or (each.state is CellState.PASSED) is passed)
        ]


def _lines(view: RunView) -> list[_Line]:
    found: dict[tuple[Stage, str, Quantization, Series], list[CellView]] = {}
    for each in view.cells:
        if each.cell:
            cell = each.cell
            key = (cell.stage, cell.model, cell.quantization, Series.of(cell))
            found.setdefault(key, []).append(each)
    lines = [_Line(*key, tuple(members)) for key, members in found.items()]
    return sorted(lines, key=lambda line: list(Stage).index(line.stage))


def _judged(view: RunView) -> list[list[Block]]:
    """Models that passed at every M, at some and at none; skipped cells count as not passed."""
    lines = _lines(view)
    full = [line for line in lines if not line.ms(passed=False)]
    none = [line for line in lines if not line.ms(passed=True)]
    partly = [line for line in lines if line.ms(passed=True) and line.ms(passed=False)]
    return [_fully_passed(full), _partly(partly), _fully_failed(none)]


def _fully_passed(lines: list[_Line]) -> list[Block]:
    """Backends that passed at every M, in one row per model, stage and quantization."""
    title = say("Passed at every M: {series}", series=counted(len(lines), "series"))
    if not lines:
        return []
    same: dict[tuple[str, str, str], list[Text]] = {}
    for line in lines:
        key = (line.stage.value, line.model, line.quantization.upper())
        text = say("{backend} ({n} M)", backend=line.series.name, n=len(line.cells))
        same.setdefault(key, []).append(text)
    heads = left(say("stage"), say("model"), say("quantization"), say("backends"))
    rows = [(*key, joined(", ", names)) for key, names in same.items()]
    return chain(heading(3, title), _maybe_closed(title, grid(title, heads, rows), len(rows)))


def _partly(lines: list[_Line]) -> list[Block]:
    title = say("Passed at some M: {series}", series=counted(len(lines), "series"))
    rows = [
        (*_place(line), m_ranges(line.ms(passed=True), line.ms()), *_failed(line)) for line in lines
    ]
    heads = [
        *left(say("stage"), say("model"), say("quantization"), say("backend")),
        *left(say("M passed"), say("M without a number"), say("why")),
    ]
    return chain(heading(3, title), grid(title, heads, rows)) if rows else []


def _fully_failed(lines: list[_Line]) -> list[Block]:
    title = say("Passed at no M: {series}", series=counted(len(lines), "series"))
    rows = [(*_place(line), *_failed(line)) for line in lines]
    heads = [
        *left(say("stage"), say("model"), say("quantization"), say("backend")),
        *left(say("M without a number"), say("why")),
    ]
    return chain(heading(3, title), grid(title, heads, rows)) if rows else []


def _place(line: _Line) -> tuple[Text, ...]:
    return (line.stage.value, line.model, line.quantization.upper(), line.series.name)


def _failed(line: _Line) -> tuple[Text, Text]:
    """The M without a number, and every reason with its own M where there are several."""
    missing = [each for each in line.cells if each.state is not CellState.PASSED]
    same = grouped(missing, lambda each: each.missing)
    ranges = m_ranges(line.ms(passed=False), line.ms())
    if len(same) == 1:
        return ranges, missing[0].missing_text
    reasons: list[Text] = [
        say(
            "M = {ms}: {reason}",
            ms=m_ranges([each.cell.m for each in members if each.cell], line.ms()),
            reason=members[0].missing_text,
        )
        for members in same.values()
    ]
    return ranges, joined("; ", reasons)


def _maybe_closed(title: Text, table: list[Block], rows: int) -> list[Block]:
    return fold(title, table) if rows > _ROWS_SHOWN else table


def _coverage(view: RunView) -> list[Block]:
    """One row per model, quantization and backend; one column per stage, as `7/8`."""
    rows: dict[tuple[str, str, Series], list[CellView]] = {}
    for each in view.cells:
        if each.cell:
            key = (each.cell.model, each.cell.quantization.value, Series.of(each.cell))
            rows.setdefault(key, []).append(each)
    if not rows:
        return paragraph(say("No cell of this run has an id of this version."))
    stages = [s for s in Stage if any(each.cell and each.cell.stage is s for each in view.cells)]
    heads = [
        *left(say("model"), say("quantization"), say("backend")),
        *right(*(stage.value for stage in stages)),
        Head(say("M without a number, and why")),
    ]
    text = say("Passed cells of planned cells. `2:L` means two zeros in every L weights.")
    body = [_coverage_row(key, views, stages) for key, views in rows.items()]
    table = grid(say("Which M passed"), heads, body)
    return chain(paragraph(text), _maybe_closed(say("Which M passed"), table, len(body)))


def _coverage_row(
    key: tuple[str, str, Series], views: list[CellView], stages: list[Stage]
) -> list[Text]:
    model, quantization, series = key
    by_stage = {s: [v for v in views if v.cell and v.cell.stage is s] for s in stages}
    why = [gap for stage, of_stage in by_stage.items() for gap in _gaps(of_stage, stage.value)]
    return [
        model,
        quantization.upper(),
        series.head,
        *map(_ratio, by_stage.values()),
        joined("; ", why),
    ]


def _gaps(views: list[CellView], label: str) -> list[Text]:
    """`prefill 16384 … 65536 failed: oom_device`, one part per reason."""
    planned = [view.cell.m for view in views if view.cell]
    missing = [view for view in views if view.state is not CellState.PASSED]
    return [
        say(
            "{stage} {ms} {reason}",
            stage=label,
            ms=m_ranges([v.cell.m for v in members if v.cell], planned),
            reason=members[0].missing_text,
        )
        for members in grouped(missing, lambda view: view.missing).values()
    ]
