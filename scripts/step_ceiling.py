"""How close each backend comes to the step that its own GEMM times allow.

    python scripts/step_ceiling.py RUN GEMM.json --model qwen2.5-7b -m 16384 --out ceiling.md

RUN is a run folder with the prefill cells of the model at M, GEMM.json what `slidesparse gemm`
wrote for the same model and M on the same kind of GPU. All times are medians, and none of an
emulation. A step is its GEMMs and the rest (attention, norms, quantization, the host). The rest
that all backends share is the smallest that any dense one shows:

    rest     = min over dense backends of (step - GEMMs)
    ceiling  = GEMMs of the backend + rest
    reached  = ceiling / step

so a kernel of ours that adds work outside the GEMM, such as stretching, counts against it.
Operands of a step come from memory, so GEMMs measured with warm caches say less; the page tells.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell, Quantization, Stage
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.records import CellRecord, RunRecord
from slidesparse_bench.report import gpu_names
from slidesparse_bench.store import Store
from slidesparse_bench.wire import write_text

DENSE = ("cutlass", "cublaslt")
REFERENCE = "cublaslt"


@dataclass(frozen=True)
class Reached:
    """One backend: times in ms, `share` of the ceiling, speed-ups of its step over dense ones.

    `over_reference` is None where the run has no step of the reference.
    """

    label: str
    step_ms: float
    gemm_ms: float
    ceiling_ms: float
    over_reference: float | None
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
    store = Store.open(options.run)
    gemm = json.loads(options.gemm.read_text(encoding="utf-8"))
    text = page(store.record, gpu_names(store.environment()), gemm, options.model, options.m)
    write_text(options.out, text)
    print(text)


def page(
    record: RunRecord, names: Mapping[str, str], gemm: dict[str, Any], model: str, m: int
) -> str:
    """The whole text. `names` are those of the run's devices, `gemm` is the content of GEMM.json.

    Raises:
        SystemExit: they are of different GPUs.
    """
    device = device_of_gemms(gemm)
    cells = prefill_cells(record, model, m)
    refuse_other_gpus(devices_of_cells(cells.values(), names), device)
    caches = (
        "cold caches: operands come from memory, as in a step"
        if gemm["cold"]
        else "warm caches, which a step has not: measure them without --warm"
    )
    lines = [
        f"# Prefill of {model} at M = {m}: how close to what the GEMMs allow",
        "",
        f"{device}; medians; GEMMs measured with {caches}.",
        "",
    ]
    for quantization in Quantization:
        steps = step_times(cells, quantization)
        gemms = gemm_times(gemm["rows"], model, quantization, m)
        lines += section(quantization, reached(steps, gemms))
    return "\n".join(lines)


def device_of_gemms(gemm: Mapping[str, Any]) -> str:
    """As the measuring program called it; its facts are missing where it never started."""
    return str((gemm.get("facts") or {}).get("device_name") or gemm["device"]["name"])


def devices_of_cells(cells: Iterable[CellRecord], names: Mapping[str, str]) -> set[str]:
    """What the measured cells ran on, as far as the run has it on record."""
    attempts = [attempt for cell in cells for attempt in cell.measured().values()]
    found = (each.device_name or names.get(each.device or "") for each in attempts)
    return {name for name in found if name}


def refuse_other_gpus(run: set[str], gemm: str) -> None:
    """Times of two GPUs have no common rest.

    Raises:
        SystemExit: names both.
    """
    if run - {gemm}:
        raise SystemExit(
            f"RUN is of {', '.join(sorted(run))}, GEMM.json of {gemm}: measure both on one GPU"
        )


def prefill_cells(record: RunRecord, model: str, m: int) -> dict[Cell, CellRecord]:
    """Measured prefill cells of the model at M, without those of emulated kernels."""
    parsed = {Cell.parse(cell_id): cell_record for cell_id, cell_record in record.cells.items()}
    return {
        cell: cell_record
        for cell, cell_record in parsed.items()
        if (cell.model, cell.stage, cell.m) == (model, Stage.PREFILL, m)
        and cell_record.metrics is not None
        and not cell_record.metrics.emulated
    }


def step_times(cells: Mapping[Cell, CellRecord], quantization: Quantization) -> dict[str, float]:
    """Median step time in ms by backend label."""
    return {
        cell.backend_label: record.metrics.step_time_ms.median
        for cell, record in cells.items()
        if cell.quantization == quantization and record.metrics and record.metrics.step_time_ms
    }


def gemm_times(
    rows: list[dict[str, Any]], model: str, quantization: Quantization, m: int
) -> dict[str, float]:
    """Median time in ms of all linear layers of the model by backend label, where none is missing.

    Without emulated ones, and without those of one GPU of several.
    """
    architecture = find_architecture(model)
    layers = {(linear.name, linear.n, linear.k) for linear in architecture.layer_linears}
    times: dict[str, dict[str, float]] = {}
    for row in rows:
        wanted = (row["model"], row["quantization"], row["m"]) == (model, str(quantization), m)
        whole = (row["layer"], row["n"], row["k"]) in layers
        if wanted and whole and row["numbers"] is not None and not row["numbers"]["emulated"]:
            label = "-".join(filter(None, [row["backend"], row["sparsity"]])).replace(":", "_")
            times.setdefault(label, {})[row["layer"]] = row["numbers"]["latency_ms"]["median"]
    return {
        label: architecture.num_hidden_layers * sum(by_layer.values())
        for label, by_layer in times.items()
        if len(by_layer) == len(layers)
    }


def reached(step_ms: Mapping[str, float], gemm_ms: Mapping[str, float]) -> list[Reached]:
    """All backends with both times, in the order of the steps; empty without a dense one."""
    known = [label for label in step_ms if label in gemm_ms]
    dense = [label for label in DENSE if label in known]
    if not dense:
        return []
    rest_ms = min(step_ms[label] - gemm_ms[label] for label in dense)
    best_ms = min(step_ms[label] for label in dense)
    reference_ms = step_ms.get(REFERENCE)
    return [
        Reached(
            label,
            step_ms[label],
            gemm_ms[label],
            gemm_ms[label] + rest_ms,
            reference_ms / step_ms[label] if reference_ms else None,
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
