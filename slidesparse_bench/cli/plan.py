"""`slidesparse plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cli.matrix_file import read_matrix
from slidesparse_bench.cli.output import Json, console, print_json
from slidesparse_bench.device import find_devices
from slidesparse_bench.errors import UsageError
from slidesparse_bench.feasibility import FitVerdict, find_device
from slidesparse_bench.matrix import Matrix
from slidesparse_bench.plan import Plan, PlannedCell, make_plan
from slidesparse_bench.units import GIB, format_duration

MOST_GPU_GIB = 2**20
ENOUGH_FOR_REASONS = 120
"""Columns of a terminal."""
STYLES = {
    FitVerdict.FITS: "green",
    FitVerdict.TIGHT: "yellow",
    FitVerdict.DOES_NOT_FIT: "red",
    FitVerdict.UNSUPPORTED: "dim",
}


def plan(
    matrix_path: Annotated[Path, typer.Argument(metavar="MATRIX.yaml", help="The matrix to plan.")],
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", help="Plan for this GPU, as NVML names it; it need not be here."),
    ] = None,
    gpu_memory_gib: Annotated[
        float | None, typer.Option("--gpu-memory-gib", help="Plan for a GPU with this memory.")
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option("--compute-capability", help="Its compute capability, e.g. 8.9."),
    ] = None,
    gpu_memory_utilization: Annotated[
        float | None,
        typer.Option("--gpu-memory-utilization", help="Instead of the matrix's value."),
    ] = None,
    json_mode: Json = False,
) -> None:
    """Say of every cell whether it fits, before anything is loaded. Writes nothing.

    Verdicts: `fits`; `tight` (may need another gpu_memory_utilization, or is close to the limit);
    `does_not_fit` (certain: even the least it needs exceeds the memory); `unsupported` (the
    backend or the quantization cannot run on this device).

    **Examples**

    - `slidesparse plan matrices/quickstart.yaml`
    - `slidesparse plan matrices/rtx4090.yaml --gpu "NVIDIA GeForce RTX 4090"`
    - `slidesparse plan my.yaml --gpu-memory-gib 24 --compute-capability 8.9 --json`
    """
    matrix = read_matrix(matrix_path)
    device = _device(matrix, gpu, gpu_memory_gib, compute_capability)
    if gpu_memory_utilization is not None and not 0 < gpu_memory_utilization <= 1:
        raise UsageError(
            f"--gpu-memory-utilization {gpu_memory_utilization}: allowed is above 0 and at most 1"
        )
    made = make_plan(matrix, device, gpu_memory_utilization=gpu_memory_utilization)
    show_plan(made, json_mode=json_mode)


def _device(
    matrix: Matrix, gpu: str | None, memory_gib: float | None, compute_capability: str | None
) -> DeviceFacts:
    if gpu is not None:
        if memory_gib is not None or compute_capability is not None:
            raise UsageError(
                "--gpu names a known GPU with its memory; leave it out to give "
                "--gpu-memory-gib and --compute-capability instead"
            )
        return find_device(gpu)
    if memory_gib is None and compute_capability is None:
        return find_devices(matrix.engine, None, matrix.cpu_memory_gib)[0].facts
    if memory_gib is None or compute_capability is None:
        raise UsageError(
            "--gpu-memory-gib and --compute-capability belong together, "
            "e.g. --gpu-memory-gib 24 --compute-capability 8.9"
        )
    if not 0 < memory_gib <= MOST_GPU_GIB:
        raise UsageError(
            f"--gpu-memory-gib {memory_gib}: must be above 0 and at most {MOST_GPU_GIB:,}"
        )
    return DeviceFacts(
        kind=DeviceKind.CUDA,
        name=f"GPU with {memory_gib:g} GiB, compute capability {compute_capability}",
        memory_bytes=int(memory_gib * GIB),
        compute_capability=_parse_capability(compute_capability),
    )


def _parse_capability(text: str) -> tuple[int, int]:
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise UsageError(f"--compute-capability '{text}': expected MAJOR.MINOR, e.g. 8.9")
    return int(major), int(minor)


def show_plan(plan: Plan, *, json_mode: bool) -> None:
    """The plan as tables, or as the document of `plan --json`."""
    if json_mode:
        print_json(plan)
        return
    out = console()
    _print_table(out, plan.cells)
    counts = ", ".join(
        f"{n} {verdict}"
        for verdict in FitVerdict
        if (n := sum(cell.verdict is verdict for cell in plan.cells))
    )
    out.print(f"{len(plan.cells)} cells on {plan.device.name}: {counts}.", markup=False)
    _print_groups(out, plan)
    trials = f", {plan.trials} trials" if plan.trials > 1 else ""
    about = format_duration(plan.estimate_s)
    out.print(f"About {about} for all that can run{trials}.", markup=False)


def _print_groups(out: Console, plan: Plan) -> None:
    """Which cells share an engine, in the order in which they are measured."""
    table = Table(box=None, pad_edge=False)
    for heading in ("engine", "cells", "from", "to", "about"):
        table.add_column(heading, no_wrap=True)
    for number, group in enumerate(plan.groups, start=1):
        about = format_duration(group.estimate_s)
        last = group.cells[-1] if len(group.cells) > 1 else ""
        table.add_row(str(number), str(len(group.cells)), group.cells[0], last, about)
    out.print(table)


def _print_table(out: Console, cells: Sequence[PlannedCell]) -> None:
    """Reasons stand below the table where they would be too narrow to be read in it."""
    table = Table(box=None, pad_edge=False)
    is_wide = out.width >= ENOUGH_FOR_REASONS
    for heading in ("cell", "verdict", "needs GiB", "has GiB", *(["reason"] if is_wide else [])):
        table.add_column(heading, no_wrap=heading != "reason")
    reasons = {cell.id: "; ".join([cell.reason, *cell.warnings]) for cell in cells}
    for cell in cells:
        memory = cell.memory_gib
        table.add_row(
            cell.id,
            Text(cell.verdict.value, style=STYLES[cell.verdict]),
            f"{memory.total:.2f}" if memory else "",
            f"{memory.available:.2f}" if memory else "",
            *([Text(reasons[cell.id])] if is_wide else []),
        )
    out.print(table)
    for cell in cells if not is_wide else []:
        if cell.verdict is not FitVerdict.FITS or cell.warnings:
            out.print(f"{cell.id}: {reasons[cell.id]}", markup=False)


def register(app: typer.Typer) -> None:
    app.command()(plan)
