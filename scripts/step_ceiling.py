"""How close each backend comes to the step that its own GEMM times allow.

    python scripts/step_ceiling.py RUN GEMM.json --model qwen2.5-7b -m 16384 --out ceiling.md

RUN is a run folder with the prefill cells of the model at M, GEMM.json what `slidesparse gemm`
wrote for the same model and M on the same GPU. A step is its GEMMs and the rest (attention, norms,
quantization, the host). The rest that all backends share is the smallest that any dense one shows:

    rest     = min over dense backends of (step - GEMMs)
    ceiling  = GEMMs of the backend + rest
    reached  = ceiling / step

so a kernel of ours that adds work outside the GEMM, such as stretching, counts against it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell, Quantization, Stage
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.records import RunRecord
from slidesparse_bench.store import Store
from slidesparse_bench.wire import write_text

DENSE = ("cutlass", "cublaslt")
REFERENCE = "cublaslt"


@dataclass(frozen=True)
class Reached:
    """One backend: times in ms, `share` of the ceiling, speed-ups as they are and as allowed."""

    label: str
    step_ms: float
    gemm_ms: float
    ceiling_ms: float
    over_reference: float
    over_best_dense: float

    @property
    def share(self) -> float:
        return self.ceiling_ms / self.step_ms


def main() -> None:
    """Read both, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("gemm", type=Path)
    parser.add_argument("--model", default="qwen2.5-7b")
    parser.add_argument("-m", type=int, default=16384)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    record = Store.open(options.run).record
    rows = json.loads(options.gemm.read_text(encoding="utf-8"))["rows"]
    pages = [
        f"# Prefill of {options.model} at M = {options.m}: how close to what the GEMMs allow",
        "",
    ]
    for quantization in Quantization:
        steps = step_times(record, options.model, quantization, options.m)
        gemms = gemm_times(rows, options.model, quantization, options.m)
        pages += section(quantization, reached(steps, gemms))
    write_text(options.out, "\n".join(pages))
    print(options.out.read_text(encoding="utf-8"))


def step_times(
    record: RunRecord, model: str, quantization: Quantization, m: int
) -> dict[str, float]:
    """Mean step time in ms by backend label, of the cells that passed."""
    times = {}
    for cell_id, cell_record in record.cells.items():
        cell, metrics = Cell.parse(cell_id), cell_record.metrics
        wanted = (cell.model, cell.quantization, cell.stage, cell.m)
        if metrics and metrics.step_time_ms and wanted == (model, quantization, Stage.PREFILL, m):
            times[cell.backend_label] = metrics.step_time_ms.mean
    return times


def gemm_times(
    rows: list[dict[str, Any]], model: str, quantization: Quantization, m: int
) -> dict[str, float]:
    """Time in ms of all linear layers of the model by backend label, where none is missing."""
    architecture = find_architecture(model)
    times: dict[str, dict[str, float]] = {}
    for row in rows:
        wanted = (row["model"], row["quantization"], row["m"]) == (model, str(quantization), m)
        if wanted and row["numbers"] is not None:
            label = "-".join(filter(None, [row["backend"], row["sparsity"]])).replace(":", "_")
            times.setdefault(label, {})[row["layer"]] = row["numbers"]["latency_ms"]["median"]
    return {
        label: architecture.num_hidden_layers * sum(by_layer.values())
        for label, by_layer in times.items()
        if len(by_layer) == len(architecture.layer_linears)
    }


def reached(step_ms: Mapping[str, float], gemm_ms: Mapping[str, float]) -> list[Reached]:
    """All backends with both times, in the order of the steps; empty without a dense one."""
    known = [label for label in step_ms if label in gemm_ms]
    dense = [label for label in DENSE if label in known]
    if not dense:
        return []
    rest_ms = min(step_ms[label] - gemm_ms[label] for label in dense)
    best_ms = min(step_ms[label] for label in dense)
    reference_ms = step_ms.get(REFERENCE, best_ms)
    return [
        Reached(
            label,
            step_ms[label],
            gemm_ms[label],
            gemm_ms[label] + rest_ms,
            reference_ms / step_ms[label],
            best_ms / step_ms[label],
        )
        for label in known
    ]


def section(quantization: Quantization, rows: list[Reached]) -> list[str]:
    """A table, or why there is none."""
    if not rows:
        return [f"{quantization.upper()}: no dense backend has both a step and its GEMMs.", ""]
    heads = f"backend | step, ms | GEMMs, ms | ceiling, ms | reached | over {REFERENCE}"
    lines = [
        f"| {row.label} | {row.step_ms:.2f} | {row.gemm_ms:.2f} | {row.ceiling_ms:.2f} | "
        f"{row.share:.1%} | {row.over_reference:.2f} | {row.over_best_dense:.2f} |"
        for row in rows
    ]
    head = [f"| {heads} | over the best dense |", "|:--|--:|--:|--:|--:|--:|--:|"]
    return [f"## {quantization.upper()}", "", *head, *lines, ""]


if __name__ == "__main__":
    main()
