"""`matrix.yaml`, `plan.json` and `environment.json` of an imported run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slidesparse_bench import __version__
from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.feasibility import FitVerdict
from slidesparse_bench.importers.imported import ImportedCell, ImportedRun
from slidesparse_bench.known_devices import published_peaks
from slidesparse_bench.matrix import Matrix
from slidesparse_bench.models import BUILTIN_NAMES
from slidesparse_bench.records import Failure
from slidesparse_bench.store import now
from slidesparse_bench.units import gib
from slidesparse_bench.wire import SCHEMA_VERSION, encode

NO_DEVICE = DeviceFacts(DeviceKind.CUDA, "GPU not recorded", 0)
_NOT_PREDICTED = "imported: this program predicted nothing before it ran"


def matrix_text(imported: ImportedRun) -> str:
    """A matrix with exactly the imported cells: it loads, and could be run here.

    Models that are not built in get a folder beside the file, where one would have to put them.
    """
    cells = sorted((each.cell for each in imported.cells), key=_place)
    lines = [
        f"# Imported from {imported.format} by slidesparse-bench {__version__}.",
        f"name: {imported.name}",
        "models:",
        *(f"  - {_model(name)}" for name in _in_order(cell.model for cell in cells)),
        f"quantization: [{', '.join(sorted({cell.quantization for cell in cells}, reverse=True))}]",
        "backends:",
        *_backends(cells),
        "stages:",
        *_stages(cells),
        "isolation: cell",
        "include:",
        *(f'  - "{cell.id}"' for cell in cells),
    ]
    return "\n".join(lines) + "\n"


def _place(cell: Cell) -> tuple[str, str, str, int, str, int]:
    group = cell.sparsity.group if cell.sparsity else 0
    return cell.model, cell.quantization, cell.backend, group, cell.stage, cell.m


def _model(name: str) -> str:
    # Quoted: YAML takes a bare null, 7 or 1e3 for no text.
    return name if name in BUILTIN_NAMES else f'{{name: "{name}", path: "./{name}"}}'


def _in_order(names: Iterable[str]) -> list[str]:
    """Built-in models first, in the order of the catalog, then the others by name."""
    known = set(names)
    return [each for each in BUILTIN_NAMES if each in known] + sorted(known - set(BUILTIN_NAMES))


def _backends(cells: Sequence[Cell]) -> list[str]:
    dense = sorted({cell.backend for cell in cells if cell.sparsity is None})
    lines = [f"  - {name}" for name in dense]
    for name in sorted({cell.backend for cell in cells if cell.sparsity is not None}):
        groups = sorted({c.sparsity for c in cells if c.sparsity and c.backend == name})
        lines.append(
            f"  - {name}: {{sparsity: [{', '.join(f'{chr(34)}{each}{chr(34)}' for each in groups)}]}}"
        )
    return lines


def _stages(cells: Sequence[Cell]) -> list[str]:
    found = {stage: sorted({cell.m for cell in cells if cell.stage is stage}) for stage in Stage}
    return [f"  {stage}: {{M: {ms}}}" for stage, ms in found.items() if ms]


def plan_of(
    imported: ImportedRun,
    matrix: Matrix,
    cells: Sequence[ImportedCell],
    refusals: Mapping[Cell, Failure],
) -> dict[str, Any]:
    """The content of `plan.json`: what was planned elsewhere, without predictions of ours."""
    return {
        "name": matrix.name,
        "matrix_path": str(matrix.path),
        "matrix_sha256": matrix.sha256,
        "engine": matrix.engine,
        "device": encode(imported.device or NO_DEVICE),
        "infeasible": matrix.infeasible,
        "isolation": matrix.isolation,
        "trials": 1,
        "lanes": max(1, len(imported.gpu_indices)),
        "cells": [_planned(each, refusals.get(each.cell)) for each in cells],
        "groups": [],
        "estimate_s": None,
        "schema_version": SCHEMA_VERSION,
    }


def _planned(each: ImportedCell, refusal: Failure | None) -> dict[str, Any]:
    unsupported = refusal is not None and refusal.failure_class == "unsupported_arch"
    return {
        "id": each.cell.id,
        "verdict": FitVerdict.UNSUPPORTED if unsupported else None,
        "reason": refusal.root_cause if refusal else _NOT_PREDICTED,
        "memory_gib": None,
        "warnings": [],
        "engine_args": each.attempts[0].engine_args if each.attempts else {},
        "estimate_s": None,
    }


def environment_of(imported: ImportedRun) -> dict[str, Any]:
    """The content of `environment.json`: where the run comes from, and what nobody recorded.

    `imported.unknown` gives a reason for everything that a run of ours would know. The versions are
    those of the foreign machine; this program's own is under `imported.tool`.
    """
    facts, moment = imported.facts, now()
    device = imported.device or NO_DEVICE
    began = imported.span[0] or moment
    gpus = [_gpu(imported, index) for index in _indices(imported)]
    versions = {name: facts[name] for name in ("vllm", "torch") if facts.get(name)}
    sitting = {
        "began": began,
        "slidesparse_bench": None,
        "command": None,
        "versions": versions,
        "git": None,
        "driver": facts.get("driver"),
        "gpus": gpus,
        "cpu": None,
        "platform": None,
        "python": facts.get("python"),
        "environment": None,
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "created": began,
        "engine": "vllm",
        "seed": None,
        "imported": {
            "format": imported.format,
            "source": imported.source,
            "tool": f"slidesparse-bench {__version__}",
            "time": moment,
            "cuda": facts.get("cuda"),
            "unknown": imported.unknown,
            "warnings": imported.warnings,
        },
        **{
            name: sitting[name]
            for name in sitting
            if name not in ("began", "driver", "environment")
        },
        "nvml": "not recorded: imported",
        "peaks": encode(published_peaks(device.name)),
        "sittings": [sitting],
        "engines": {},
        "provenances": {},
    }


def _indices(imported: ImportedRun) -> list[int]:
    """Where no file numbers the cards there is one; where nobody names a device there is none."""
    if imported.gpu_indices or imported.device is None:
        return imported.gpu_indices
    return [0]


def _gpu(imported: ImportedRun, index: int) -> dict[str, Any]:
    device = imported.device or NO_DEVICE
    capability = device.compute_capability
    return {
        "name": device.name,
        "uuid": None,
        "driver": imported.facts.get("driver"),
        "cuda_driver": imported.facts.get("cuda_driver"),
        "memory_gib": round(gib(device.memory_bytes), 2) if device.memory_bytes else None,
        "compute_capability": ".".join(map(str, capability)) if capability else None,
        "index": index,
    }
