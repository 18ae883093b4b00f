"""The rows as a table of raw values: all of it for CSV, a part to be read."""

from __future__ import annotations

from collections.abc import Callable

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.gemm_wire import Numbers, Row
from slidesparse_bench.gemms.ratios import (
    Ratios,
    quantize_share_of_copy,
    quantize_tb_per_second,
    tflops,
)
from slidesparse_bench.gemms.result import GemmResult
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.table import Column, Table, Value
from slidesparse_bench.wire import Spread


def _digits(places: int) -> Callable[[Value], str]:
    def show(value: Value) -> str:
        return f"{value:,.{places}f}" if isinstance(value, (int, float)) else str(value)

    return show


def _share(value: Value) -> str:
    return percent(value) if isinstance(value, (int, float)) else str(value)


def _significant(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _number(title: str, show: Callable[[Value], str] = str) -> Column:
    return Column(title, right=True, show=show)


_times, _few = _digits(2), _digits(1)

COLUMNS = (
    Column("id"), Column("model"), Column("layer"), Column("quantization"), Column("backend"),
    Column("sparsity"), _number("zeros", _share), _number("m"), _number("n"), _number("k"),
    Column("state"), Column("emulated", show=lambda value: "emulated" if value else ""),
    _number("latency_ms", _significant), _number("latency_ms_p05", _significant),
    _number("latency_ms_p95", _significant), _number("ci95_half_width_pct", _times),
    _number("repeats"), _number("host_us", _few), _number("tflops", _few),
    _number("vs_cublaslt", _times), _number("vs_cutlass", _times), _number("vs_torch", _times),
    _number("vs_best_dense", _times), Column("best_dense"), Column("dense_missing"),
    _number("efficiency_vs_cublaslt", _share), _number("efficiency_vs_best_dense", _share),
    _number("quantize_ms", _significant), _number("quantize_tb_per_second", _times),
    _number("quantize_share_of_copy", _share), _number("dequantize_ms", _significant),
    _number("error", _significant), Column("output_type"), _number("weight_bytes"),
    _number("workspace_bytes"), Column("library"), Column("algorithm"), Column("reason"),
)  # fmt: skip
"""Columns of `gemm.csv`, in this order."""

READ = (
    "layer", "m", "backend", "sparsity", "zeros", "output_type", "latency_ms",
    "ci95_half_width_pct", "tflops", "vs_cublaslt", "vs_cutlass", "vs_torch", "vs_best_dense",
    "best_dense", "dense_missing", "efficiency_vs_cublaslt", "efficiency_vs_best_dense", "host_us",
    "quantize_ms", "quantize_share_of_copy", "state", "emulated", "reason",
)  # fmt: skip
"""Those that people read, in a table per model and quantization."""


def full_table(result: GemmResult) -> Table:
    """One row per task, whatever became of it."""
    return Table(COLUMNS, tuple(_values(result, row) for row in result.rows))


def read_tables(result: GemmResult) -> dict[str, Table]:
    """By title, such as `qwen2.5-7b INT8`: the columns to read; columns without values left out."""
    groups: dict[str, list[Row]] = {}
    for row in result.rows:
        title = f"{row.task.model} {row.task.quantization.upper()}"
        groups.setdefault(title, []).append(row)
    return {
        title: _without_empty(
            Table(COLUMNS, tuple(_values(result, row) for row in rows)).select(READ)
        )
        for title, rows in groups.items()
    }


def output_note(table: Table) -> str:
    """What to know of speed-ups between results of different width; empty where all are one type."""
    titles = [column.title for column in table.columns]
    if not {"output_type", "vs_best_dense"} <= set(titles):
        return ""
    place = titles.index("output_type")
    types = sorted({str(row[place]) for row in table.rows if row[place] is not None})
    if len(types) < 2:
        return ""
    return (
        f"Speed-ups contain the width of the output: these libraries put out {' or '.join(types)} "
        "(output_type), and wider results take longer to write."
    )


def _without_empty(table: Table) -> Table:
    kept = [
        column.title
        for place, column in enumerate(table.columns)
        if any(row[place] not in (None, "", False) for row in table.rows)
    ]
    return table.select(kept)


def _values(result: GemmResult, row: Row) -> tuple[Value, ...]:
    known = {
        **_task(row),
        **(_measured(row, row.numbers) if row.numbers else {}),
        **_ratios(result.ratios.get(row.task) or Ratios()),
    }
    return tuple(known.get(column.title) for column in COLUMNS)


def _task(row: Row) -> dict[str, Value]:
    task = row.task
    return {
        "id": task.id,
        "model": task.model,
        "layer": task.layer,
        "quantization": task.quantization.value,
        "backend": task.backend,
        "sparsity": str(task.sparsity) if task.sparsity else None,
        "zeros": _zeros(task.sparsity),
        "m": task.m,
        "n": task.n,
        "k": task.k,
        "state": row.state.value,
        "emulated": row.numbers.emulated if row.numbers else None,
        "reason": row.reason or None,
    }


def _zeros(sparsity: Sparsity | None) -> float | None:
    return sparsity.zero_share if sparsity else None


def _measured(row: Row, numbers: Numbers) -> dict[str, Value]:
    latency = numbers.latency_ms
    return {
        "latency_ms": latency.median,
        "latency_ms_p05": latency.p05,
        "latency_ms_p95": latency.p95,
        "ci95_half_width_pct": _half_width_pct(latency),
        "repeats": numbers.repeats,
        "host_us": numbers.host_us,
        "tflops": tflops(row.task, numbers),
        "quantize_ms": numbers.quantize_ms.median if numbers.quantize_ms else None,
        "quantize_tb_per_second": quantize_tb_per_second(numbers),
        "quantize_share_of_copy": quantize_share_of_copy(numbers),
        "dequantize_ms": numbers.dequantize_ms.median if numbers.dequantize_ms else None,
        "error": numbers.error,
        "output_type": numbers.output_type,
        "weight_bytes": numbers.weight_bytes,
        "workspace_bytes": numbers.workspace_bytes,
        "library": numbers.library,
        "algorithm": numbers.algorithm,
    }


def _half_width_pct(spread: Spread) -> float | None:
    if spread.ci95_half_width is None or not spread.mean:
        return None
    return 100 * spread.ci95_half_width / spread.mean


def _ratios(ratios: Ratios) -> dict[str, Value]:
    return {
        "vs_cublaslt": ratios.vs_cublaslt,
        "vs_cutlass": ratios.vs_cutlass,
        "vs_torch": ratios.vs_torch,
        "vs_best_dense": ratios.vs_best_dense,
        "best_dense": ratios.best_dense,
        "dense_missing": "; ".join(ratios.dense_missing) or None,
        "efficiency_vs_cublaslt": ratios.efficiency_vs_cublaslt,
        "efficiency_vs_best_dense": ratios.efficiency_vs_best_dense,
    }
