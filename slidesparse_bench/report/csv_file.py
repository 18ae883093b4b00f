"""`results.csv`, `metrics.csv` and `speedup.csv`: one row per cell, whatever became of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from slidesparse_bench.cell import Cell
from slidesparse_bench.records import Attempt, RunRecord
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Group, Series, groups_of, half_width
from slidesparse_bench.report.measures import OPTIONAL, metric_names
from slidesparse_bench.report.table import Column, Table, Value, as_csv
from slidesparse_bench.report.view import ReportInputs, RunView, view_of
from slidesparse_bench.wire import Metrics, write_text

COLUMNS = (
    "id", "model", "quantization", "backend", "sparsity", "stage", "M", "state", "class",
    "tokens_per_second", "prompt_tokens_per_second", "output_tokens_per_second", "elapsed_time",
    "step_time_ms_median", "ci95_half_width_pct", "iterations", "m_verified", "kernel", "gpu",
    "gpu_memory_utilization", "attempts", "duration_s", "reason",
)  # fmt: skip
"""Columns of `results.csv`; their order is part of the contract."""


def _place(cell: Cell | None) -> dict[str, Value]:
    if cell is None:
        return {}
    return {
        "model": cell.model,
        "quantization": cell.quantization.value,
        "backend": cell.backend,
        "sparsity": str(cell.sparsity) if cell.sparsity else None,
        "stage": cell.stage.value,
        "M": cell.m,
    }


def _numbers(view: CellView) -> dict[str, Value]:
    metrics = view.metrics
    if metrics is None:
        return {}
    return {
        "tokens_per_second": metrics.tokens_per_second,
        "prompt_tokens_per_second": metrics.prompt_tokens_per_second,
        "output_tokens_per_second": metrics.output_tokens_per_second,
        "elapsed_time": metrics.elapsed_time,
        "step_time_ms_median": metrics.step_time_ms.median if metrics.step_time_ms else None,
        "ci95_half_width_pct": _percent(half_width(view)),
        "iterations": metrics.iterations,
        "m_verified": m_verified(view),
        "kernel": metrics.kernel,
    }


def _history(view: CellView, gpu_names: Mapping[str, str]) -> dict[str, Value]:
    attempt = view.attempt
    return {
        "state": view.state.value,
        "class": view.failure.failure_class if view.failure else None,
        "gpu": device_name(attempt, gpu_names) if attempt else None,
        "gpu_memory_utilization": (
            attempt.engine_args.get("gpu_memory_utilization") if attempt else None
        ),
        "attempts": len(view.record.attempts),
        "duration_s": duration_s(view),
        "reason": view.reason or None,
    }


def m_verified(view: CellView) -> bool | None:
    """Whether every measured step ran the M that was asked for; None without a measurement."""
    if view.metrics is None:
        return None
    seen = view.metrics.m_observed
    return seen.steps > 0 and seen.min == seen.max == view.metrics.m_requested


def duration_s(view: CellView) -> float | None:
    """Time of all attempts together; None when no attempt recorded any."""
    known = [a.duration_s for a in view.record.attempts if a.duration_s is not None]
    return sum(known) if known else None


def results_table(view: RunView, gpu_names: Mapping[str, str]) -> Table:
    """One row per cell, in the order of the run; None where nothing was measured."""
    rows = []
    for each in view.cells:
        known = {"id": each.id, **_place(each.cell), **_numbers(each), **_history(each, gpu_names)}
        rows.append(tuple(known.get(name) for name in COLUMNS))
    return Table(tuple(Column(name) for name in COLUMNS), tuple(rows))


def device_name(attempt: Attempt, names: Mapping[str, str]) -> str | None:
    """What its device is: by itself, or by its label; of a MIG instance the GPU, at worst the label."""
    device = attempt.device or ""
    named = names.get(device) or names.get(device.partition(" MIG ")[0])
    return attempt.device_name or named or attempt.device


def results_csv(run: RunRecord, gpu_names: Mapping[str, str]) -> str:
    """The text of `results.csv`. `gpu_names` maps a device to its name, see `gpu_names`."""
    view = view_of(ReportInputs(run, Path()))
    return as_csv(results_table(view, gpu_names))


_SPEEDUP_COLUMNS = (
    "id", "state", "metric", "rate",
    "reference", "speedup", "speedup_ci95_half_width_pct",
    "best_dense", "speedup_vs_best_dense", "speedup_vs_best_dense_ci95_half_width_pct",
    "missing",
)  # fmt: skip


def speedup_table(view: RunView) -> Table:
    """Every cell's rate, and its quotients with the reference and the best dense backend."""
    rows = [
        _speedup_row(group, m, series, each)
        for group in groups_of(view)
        for (m, series), each in group.cells.items()
    ]
    rows += [_no_speedup(each) for each in view.cells if each.cell is None]
    return Table(tuple(Column(name) for name in _SPEEDUP_COLUMNS), tuple(rows))


def _speedup_row(group: Group, m: int, series: Series, view: CellView) -> tuple[Value, ...]:
    rate = group.rate(view)
    row: list[Value] = [view.id, view.state.value, group.metric, rate]
    for against in (group.reference, group.best_dense(m)):
        ratio = group.ratio(m, series, against)
        row.append(against.name if against else None)
        row += [ratio.value, _percent(ratio.half_width)] if ratio else [None, None]
    return (*row, None if rate else view.missing)


def _no_speedup(view: CellView) -> tuple[Value, ...]:
    empty = (None,) * (len(_SPEEDUP_COLUMNS) - 3)
    return (view.id, view.state.value, *empty, "not a cell id of this version")


def metrics_table(view: RunView) -> Table:
    """Every cell with all of its metrics, under the names of `docs/metrics.md`."""
    names = metric_names()
    rows = [
        (each.id, each.state.value, *(_flat(each.metrics, name) for name in names))
        for each in view.cells
    ]
    return Table(tuple(Column(name) for name in ("id", "state", *names)), tuple(rows))


def _flat(metrics: Metrics | None, name: str) -> Value:
    """One value; lists joined by `; `, `none` for an empty one that may also be unknown."""
    if metrics is None:
        return None
    value: Any = metrics
    for part in name.split("."):
        value = None if value is None else getattr(value, part)
    if not isinstance(value, list):
        return cast("Value", value)
    return "; ".join(map(str, value)) or ("none" if name in OPTIONAL else None)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def write(view: RunView, folder: Path) -> list[Path]:
    """Write the three files."""
    tables = {
        "results.csv": results_table(view, view.gpu_names),
        "metrics.csv": metrics_table(view),
        "speedup.csv": speedup_table(view),
    }
    for name, table in tables.items():
        write_text(folder / name, as_csv(table))
    return [folder / name for name in tables]
