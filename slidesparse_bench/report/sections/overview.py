"""How far the matrix was covered: by stage, then M by M for each model and backend."""

from __future__ import annotations

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.records import CellState
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Series
from slidesparse_bench.report.markdown import blocks, m_ranges, percent, plain
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.report.view import RunView, grouped


def section(view: RunView) -> str:
    return blocks(["## Overview", _by_stage(view), "### Which M passed", *_coverage(view)])


def _by_stage(view: RunView) -> str:
    known = [each for each in view.cells if each.cell]
    keys = sorted({_stage_key(each.cell) for each in known if each.cell})
    rows = [
        _counts(stage, quantization, [e for e in known if e.cell and _stage_key(e.cell) == key])
        for key in keys
        for _, stage, quantization in [key]
    ]
    titles = ("cells", "passed", "failed", "skipped", "not finished", "passed share")
    columns = (
        Column("stage"),
        Column("quantization"),
        *(Column(title, right=True) for title in titles),
    )
    return as_markdown(Table(columns, (*rows, _counts("all", "", list(view.cells)))))


def _stage_key(cell: Cell) -> tuple[int, str, str]:
    return list(Stage).index(cell.stage), cell.stage.value, cell.quantization.value


def _counts(stage: str, quantization: str, views: list[CellView]) -> tuple[Value, ...]:
    states = [view.state for view in views]
    done = [states.count(s) for s in (CellState.PASSED, CellState.FAILED, CellState.SKIPPED)]
    share = percent(done[0] / len(views)) if views else ""
    return (stage, quantization, len(views), *done, len(views) - sum(done), share)


def _coverage(view: RunView) -> list[str]:
    """One row per model, quantization and backend; one column per stage, as `7/8`."""
    rows: dict[tuple[str, str, Series], list[CellView]] = {}
    for each in view.cells:
        if each.cell:
            key = (each.cell.model, each.cell.quantization.value, Series.of(each.cell))
            rows.setdefault(key, []).append(each)
    if not rows:
        return ["No cell of this run has an id of this version."]
    stages = [s for s in Stage if any(each.cell and each.cell.stage is s for each in view.cells)]
    columns = (
        Column("model"),
        Column("quantization"),
        Column("backend"),
        *(Column(stage.value, right=True) for stage in stages),
        Column("M without a number, and why"),
    )
    body = tuple(_coverage_row(key, views, stages) for key, views in rows.items())
    return [
        "Passed cells of planned cells. `2:L` means two zeros in every L weights.",
        as_markdown(Table(columns, body)),
    ]


def _coverage_row(
    key: tuple[str, str, Series], views: list[CellView], stages: list[Stage]
) -> tuple[Value, ...]:
    model, quantization, series = key
    by_stage = {s: [v for v in views if v.cell and v.cell.stage is s] for s in stages}
    why = [_gaps(of_stage, stage.value) for stage, of_stage in by_stage.items()]
    return (
        model,
        quantization.upper(),
        series.title,
        *(_passed_of(of_stage) for of_stage in by_stage.values()),
        "; ".join(text for text in why if text),
    )


def _passed_of(views: list[CellView]) -> str:
    if not views:
        return "not planned"
    return f"{sum(view.state is CellState.PASSED for view in views)}/{len(views)}"


def _gaps(views: list[CellView], label: str) -> str:
    """`prefill 16384 … 65536 failed: oom_device; prefill 512 pending`, one part per reason."""
    planned = [view.cell.m for view in views if view.cell]
    missing = [view for view in views if view.state is not CellState.PASSED]
    parts = [
        f"{label} {m_ranges([v.cell.m for v in members if v.cell], planned)} {plain(reason)}"
        for reason, members in grouped(missing, lambda view: view.missing).items()
    ]
    return "; ".join(parts)
