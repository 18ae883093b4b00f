"""Speed-up over M, a figure per layer: over cuBLASLt, and over the best dense library."""

from __future__ import annotations

from collections.abc import Sequence

from slidesparse_bench.gemm_wire import Row
from slidesparse_bench.gemms.asked import SQUARE
from slidesparse_bench.gemms.result import GemmResult
from slidesparse_bench.report.figures import Line, LineFigure, Panel, Point
from slidesparse_bench.report.markdown import percent

PANELS = {"vs_cublaslt": "speed-up over cublaslt", "vs_best_dense": "speed-up over the best dense"}
"""Field of `Ratios` and what it is called."""


def figures_of(result: GemmResult) -> list[LineFigure]:
    """Figures with at least one curve of two points; none of an emulation, which has no ratios."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in result.rows:
        task = row.task
        layer = "m = n = k" if task.model == SQUARE else task.layer
        groups.setdefault((task.model, task.quantization.value, layer), []).append(row)
    drawn = [_figure(result, *key, rows) for key, rows in groups.items()]
    return [figure for figure in drawn if figure is not None]


def _figure(
    result: GemmResult, model: str, quantization: str, layer: str, rows: Sequence[Row]
) -> LineFigure | None:
    panels = tuple(Panel(words, _lines(result, rows, name), 1.0) for name, words in PANELS.items())
    shown = tuple(panel for panel in panels if any(line.known > 1 for line in panel.lines))
    if not shown:
        return None
    device = result.facts.device_name if result.facts else result.device.name
    parts = [model, quantization, *([] if model == SQUARE else [layer])]
    title = f"{model} {layer}, {quantization.upper()}, {device}"
    return LineFigure(f"{'-'.join(parts)}.png", title, shown)


def _lines(result: GemmResult, rows: Sequence[Row], name: str) -> tuple[Line, ...]:
    series: dict[str, list[Point]] = {}
    for row in sorted(rows, key=lambda row: row.task.m):
        ratios = result.ratios.get(row.task)
        y = getattr(ratios, name) if ratios else None
        series.setdefault(_label(row), []).append(Point(row.task.m, y))
    lines = (Line(label, tuple(points)) for label, points in series.items())
    return tuple(line for line in lines if line.known)


def _label(row: Row) -> str:
    sparsity = row.task.sparsity
    if sparsity is None:
        return row.task.backend
    return f"{row.task.backend} {sparsity} ({percent(sparsity.zero_share)} zeros)"
