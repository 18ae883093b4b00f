"""From what is asked to the rows of a measurement: references added, what cannot run refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from slidesparse_bench.backends import DeviceFacts, DeviceKind, can_run
from slidesparse_bench.cell import Quantization, Stage
from slidesparse_bench.errors import UsageError
from slidesparse_bench.gemm_wire import DENSE, EXACT_K, TORCH, Row, RowState, Task
from slidesparse_bench.gemms.asked import NATIVE, Layer

EMULATED_FLOPS = 2e10
"""Largest product that is emulated: it takes about a second on two cores, and is done some six times."""

Point = tuple[str, str, Quantization, int, int, int]
"""Model, layer, quantization, m, n, k: what is compared with each other."""


def point_of(task: Task) -> Point:
    return task.model, task.layer, task.quantization, task.m, task.n, task.k


def select_rows(tasks: Sequence[Task], globs: Sequence[str]) -> list[Task]:
    """The tasks whose id matches any of the globs; all without globs.

    Raises:
        UsageError: a glob that matches nothing.
    """
    for glob in globs:
        if not any(fnmatchcase(task.id, glob) for task in tasks):
            near = get_close_matches(glob, [task.id for task in tasks], n=1, cutoff=0.0)
            meant = f"; the nearest is {near[0]}" if near else ""
            raise UsageError(f"--select '{glob}' matches none of {len(tasks)} GEMMs{meant}")
    return [
        task for task in tasks if not globs or any(fnmatchcase(task.id, glob) for glob in globs)
    ]


def plan_rows(
    tasks: Iterable[Task], device: DeviceFacts, unsplit: Mapping[Layer, str] | None = None
) -> list[Row]:
    """Pending and refused rows; the dense ones of every point first, one point after the other.

    What is compared is measured within seconds: clocks and temperatures drift. `unsplit` is that of
    `Asked`.
    """
    points: dict[Point, dict[Task, None]] = {}
    for task in tasks:
        members = points.setdefault(point_of(task), {_dense(task, name): None for name in DENSE})
        if task.backend != NATIVE:
            members[task] = None
    return [
        _planned(task, device, (unsplit or {}).get((task.model, task.layer), ""))
        for task in itertools.chain.from_iterable(points.values())
    ]


def _dense(task: Task, backend: str) -> Task:
    return replace(task, backend=backend, sparsity=None)


def _planned(task: Task, device: DeviceFacts, unsplit: str) -> Row:
    allowed, reason = (False, unsplit) if unsplit else _can_run(task, device)
    return Row(task, RowState.PENDING if allowed else RowState.REFUSED, reason)


def _can_run(task: Task, device: DeviceFacts) -> tuple[bool, str]:
    if task.k >= EXACT_K:
        return False, f"k = {task.k}: sums of 8-bit products are exact for k below {EXACT_K} only"
    if task.backend != TORCH:
        if device.kind is DeviceKind.CPU and task.flops > EMULATED_FLOPS:
            return False, "too large to be emulated on the CPU; choose smaller sizes"
        return can_run(task.cell(Stage.PREFILL), device)
    if device.kind is not DeviceKind.CUDA:
        return False, f"torch is a reference on NVIDIA GPUs only; this device is {device.name}"
    # It is cuBLASLt, and has its limits.
    return can_run(_dense(task, "cublaslt").cell(Stage.PREFILL), device)
