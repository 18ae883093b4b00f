"""Builders of GEMM tasks and rows. Each has sensible defaults; keyword arguments replace fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.gemm_wire import Facts, Numbers, Row, RowState, Task
from slidesparse_bench.gemms import GemmResult
from slidesparse_bench.wire import Spread

CPU = DeviceFacts(DeviceKind.CPU, "some CPU", 2**32)
H200 = DeviceFacts(DeviceKind.CUDA, "NVIDIA H200", 139 * 2**30, (9, 0))


def build_task(backend: str = "cublaslt", sparsity: str | None = None, **changes: Any) -> Task:
    task = Task(
        model="qwen2.5-7b",
        layer="gate_up_proj",
        quantization=Quantization.INT8,
        backend=backend,
        sparsity=Sparsity.parse(sparsity) if sparsity else None,
        m=16384,
        n=37888,
        k=3584,
    )
    return replace(task, **changes)


def build_numbers(median_ms: float = 2.0, **changes: Any) -> Numbers:
    spread = Spread(median_ms, median_ms, 0.9 * median_ms, 1.1 * median_ms, 0.01 * median_ms)
    numbers = Numbers(
        latency_ms=spread,
        repeats=100,
        error=0.0,
        output_type="bfloat16",
        emulated=False,
        library="some library 1.0",
        algorithm="7",
        weight_bytes=1000,
        host_us=12.0,
        quantize_ms=replace(spread, median=0.1),
        quantize_bytes=10**8,
        copy_ms=replace(spread, median=0.08),
    )
    return replace(numbers, **changes)


def build_row(median_ms: float = 2.0, task: Task | None = None, **changes: Any) -> Row:
    """Measured; keyword arguments go to `build_numbers`."""
    numbers = build_numbers(median_ms, **changes)
    return Row(task or build_task(), RowState.MEASURED, numbers=numbers)


def build_point(**times_ms: float) -> list[Row]:
    """Rows of one point: `cublaslt=7.0, cutlass=3.75, cusparselt_2_8=3.5`."""
    rows = []
    for name, time_ms in times_ms.items():
        backend, _, sparsity = name.partition("_")
        rows.append(build_row(time_ms, build_task(backend, sparsity or None)))
    return rows


def build_result(rows: list[Row], **changes: Any) -> GemmResult:
    result = GemmResult(
        name="h200",
        created="2026-03-01T10:00:00+00:00",
        seed=0,
        cold=True,
        device=H200,
        facts=Facts("cuda", "NVIDIA H200", "2.11.0", "13.0", 50 * 2**20, 4.0),
        environment={"versions": {"vllm": "0.25.1"}, "driver": "580.1"},
        left_out={},
        rows=rows,
    )
    return replace(result, **changes)
