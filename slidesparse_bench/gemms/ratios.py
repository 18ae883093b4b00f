"""What follows from latencies: rates, speed-ups over dense references, efficiency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.gemm_wire import DENSE, Numbers, Row, RowState, Task
from slidesparse_bench.gemms.tasks import Point, point_of


@dataclass(frozen=True)
class Ratios:
    """Latency of a dense reference over that of this row; None without both, or emulated.

    `best_dense` is the fastest dense row of the same point; `dense_missing` are those without a time,
    failed, refused or not measured: one of them might be faster. Efficiencies are speed-ups of a sparse row over the theoretical one.
    """

    vs_cublaslt: float | None = None
    vs_cutlass: float | None = None
    vs_torch: float | None = None
    vs_best_dense: float | None = None
    best_dense: str | None = None
    dense_missing: list[str] = field(default_factory=list)
    efficiency_vs_cublaslt: float | None = None
    efficiency_vs_best_dense: float | None = None


def theoretical_speedup(sparsity: Sparsity | None) -> float:
    """L/(L-2): 2:4 tensor cores at twice the dense rate, on k stretched by 2(L-2)/L."""
    return 2 / sparsity.k_stretch if sparsity else 1.0


def tflops(task: Task, numbers: Numbers) -> float | None:
    """10^12 operations of the dense product per second, at the median; None where emulated."""
    return None if numbers.emulated else task.flops / numbers.latency_ms.median / 1e9


def quantize_tb_per_second(numbers: Numbers) -> float | None:
    """10^12 bytes read and written per second by the quantization of x."""
    if numbers.emulated or numbers.quantize_ms is None or numbers.quantize_bytes is None:
        return None
    return numbers.quantize_bytes / numbers.quantize_ms.median / 1e9


def quantize_share_of_copy(numbers: Numbers) -> float | None:
    """Bandwidth of the quantization of x over that of a copy of as many bytes."""
    if numbers.emulated or numbers.quantize_ms is None or numbers.copy_ms is None:
        return None
    return numbers.copy_ms.median / numbers.quantize_ms.median


def ratios_of(rows: Iterable[Row]) -> dict[Task, Ratios]:
    """By task, the ratios of every measured row."""
    points: dict[Point, list[Row]] = {}
    for row in rows:
        points.setdefault(point_of(row.task), []).append(row)
    return {
        row.task: _ratios(row, members)
        for members in points.values()
        for row in members
        if row.state is RowState.MEASURED
    }


def _ratios(row: Row, members: Iterable[Row]) -> Ratios:
    dense = {each.task.backend: each for each in members if each.task.backend in DENSE}
    times = {name: time for name, each in dense.items() if (time := _latency_ms(each))}
    own = _latency_ms(row)
    if own is None:
        return Ratios()
    best = min(times, key=lambda name: times[name], default=None)
    vs_cublaslt, vs_best = _over(times, "cublaslt", own), _over(times, best, own)
    return Ratios(
        vs_cublaslt=vs_cublaslt,
        vs_cutlass=_over(times, "cutlass", own),
        vs_torch=_over(times, "torch", own),
        vs_best_dense=vs_best,
        best_dense=best,
        dense_missing=[name for name in dense if name not in times],
        efficiency_vs_cublaslt=_efficiency(vs_cublaslt, row.task.sparsity),
        efficiency_vs_best_dense=_efficiency(vs_best, row.task.sparsity),
    )


def _latency_ms(row: Row) -> float | None:
    """The median of what a device did; an emulation is no measurement of any."""
    numbers = row.numbers if row.state is RowState.MEASURED else None
    return None if numbers is None or numbers.emulated else numbers.latency_ms.median


def _over(times: Mapping[str, float], name: str | None, own: float) -> float | None:
    return None if name is None or name not in times else times[name] / own


def _efficiency(speedup: float | None, sparsity: Sparsity | None) -> float | None:
    if speedup is None or sparsity is None:
        return None
    return speedup / theoretical_speedup(sparsity)
