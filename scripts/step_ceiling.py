"""How close each backend comes to the step that its own GEMMs allow.

    python scripts/step_ceiling.py RUN --model qwen2.5-7b -m 16384 --out ceiling.md

RUN is a run folder whose prefill cells of the model at M were measured with `profile_iterations`. A step
is its median time; its GEMMs are the kernels of the decoder layers' products in the steps that the
same process ran under a profiler, so that both have the clocks of the same load. What remains is the
rest: attention, norms, quantization, scales, the host. The rest that all backends share is the
smallest that any dense one shows:

    rest     = min over dense backends of (step - GEMMs)
    ceiling  = GEMMs of the backend + rest
    reached  = ceiling / step

so a kernel of ours that adds work outside the GEMM, such as stretching, counts against it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slidesparse_bench.cell import Cell, Quantization, Stage
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.records import Attempt, CellRecord
from slidesparse_bench.report import gpu_names
from slidesparse_bench.step_kernels import read_step_kernels
from slidesparse_bench.store import Store
from slidesparse_bench.wire import write_text

DENSE = ("cutlass", "cublaslt")
REFERENCE = "cublaslt"


@dataclass(frozen=True)
class Times:
    """A step of one backend, and the GEMMs of its layers, in ms."""

    step_ms: float
    gemm_ms: float


@dataclass(frozen=True)
class Reached:
    """One backend: times in ms, `share` of the ceiling, speed-ups of its step over dense ones.

    `over_reference` is None where the run has no step of the reference.
    """

    label: str
    times: Times
    ceiling_ms: float
    over_reference: float | None
    over_best_dense: float

    @property
    def share(self) -> float:
        return self.ceiling_ms / self.times.step_ms


def main() -> None:
    """Read the run, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", default="qwen2.5-7b")
    parser.add_argument("-m", type=int, default=16384)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    text = page(Store.open(options.run), options.model, options.m)
    write_text(options.out, text)
    print(text)


def page(store: Store, model: str, m: int) -> str:
    """The whole text."""
    cells = prefill_cells(store, model, m)
    where = ", ".join(devices(store, cells)) or "unknown device"
    lines = [
        f"# Prefill of {model} at M = {m}: how close to what the GEMMs allow",
        "",
        f"{where}; medians of the steps, GEMMs by the profiler in the same process.",
        "",
    ]
    for quantization in Quantization:
        times = {
            cell.backend_label: known
            for cell, record in cells.items()
            if cell.quantization == quantization and (known := times_of(store, cell, record))
        }
        lines += section(quantization, reached(times))
    return "\n".join(lines)


def prefill_cells(store: Store, model: str, m: int) -> dict[Cell, CellRecord]:
    """Measured prefill cells of the model at M, without those of emulated kernels."""
    parsed = {Cell.parse(cell_id): cell for cell_id, cell in store.record.cells.items()}
    return {
        cell: record
        for cell, record in parsed.items()
        if (cell.model, cell.stage, cell.m) == (model, Stage.PREFILL, m)
        and record.metrics is not None
        and not record.metrics.emulated
    }


def newest(record: CellRecord) -> Attempt:
    """Of the attempts that count."""
    return list(record.measured().values())[-1]


def devices(store: Store, cells: Mapping[Cell, CellRecord]) -> list[str]:
    """What the cells ran on, as far as the run has it on record."""
    names = gpu_names(store.environment())
    attempts = [newest(record) for record in cells.values()]
    found = {each.device_name or names.get(each.device or "") for each in attempts}
    return sorted(name for name in found if name)


def times_of(store: Store, cell: Cell, record: CellRecord) -> Times | None:
    """None without a profile, or without step times."""
    attempt = newest(record)
    kernels = read_step_kernels(store.attempt_folder(cell.id, attempt.n))
    if kernels is None or attempt.metrics is None or attempt.metrics.step_time_ms is None:
        return None
    layers = find_architecture(cell.model).num_hidden_layers
    return Times(attempt.metrics.step_time_ms.median, kernels.linear_ms(layers))


def reached(times: Mapping[str, Times]) -> list[Reached]:
    """All backends, in the order given; empty without a dense one."""
    dense = [times[label] for label in DENSE if label in times]
    if not dense:
        return []
    rest_ms = min(each.step_ms - each.gemm_ms for each in dense)
    best_ms = min(each.step_ms for each in dense)
    reference = times.get(REFERENCE)
    return [
        Reached(
            label,
            each,
            each.gemm_ms + rest_ms,
            reference.step_ms / each.step_ms if reference else None,
            best_ms / each.step_ms,
        )
        for label, each in times.items()
    ]


def section(quantization: Quantization, rows: list[Reached]) -> list[str]:
    """A table, or why there is none."""
    if not rows:
        return [f"{quantization.upper()}: no dense backend has a step and a profile.", ""]
    heads = f"backend | step, ms | GEMMs, ms | ceiling, ms | reached | over {REFERENCE}"
    lines = [
        f"| {row.label} | {row.times.step_ms:.2f} | {row.times.gemm_ms:.2f} | {row.ceiling_ms:.2f} | "
        f"{row.share:.1%} | {quotient(row.over_reference)} | {row.over_best_dense:.2f} |"
        for row in rows
    ]
    head = [f"| {heads} | over the best dense |", "|:--|--:|--:|--:|--:|--:|--:|"]
    return [f"## {quantization.upper()}", "", *head, *lines, ""]


def quotient(value: float | None) -> str:
    """Empty where it is not known."""
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
