"""The names of public SlideSparse result trees, and ours for the same things.

Source: `slidesparse/tools/throughput_benchmark.py` of the public repository bcacdwk/vllmbench.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage

RESULTS_FOLDER = "throughput_benchmark_results"
OUTER_LOGS_FOLDER = "vllm_bench_logs"

_HARDWARE = re.compile(
    r"(?P<gpu>[^_]+)_cc(?P<capability>\d+)[a-z]?_(?P<quantization>[^_]+)(?:_.*)?"
)
_QUANTIZATIONS = {
    "INT8": Quantization.INT8,
    "FP8E4M3": Quantization.FP8,
    "FP8": Quantization.FP8,
}
_STEM = re.compile(r"(?P<model>.+)-(?P<quantization>INT8|FP8)", re.IGNORECASE)
_CHECKPOINT_SUFFIX = re.compile(r"-SlideSparse-2_\d+$")


@dataclass(frozen=True)
class ResultFolder:
    """A folder with the results of one GPU, stage, quantization, backend and sparsity.

    `capability` is the compute capability as they write it: 89 for 8.9, 120 for 12.0.
    """

    path: Path
    gpu: str
    capability: int
    stage: Stage
    quantization: Quantization
    backend: str
    sparsity: Sparsity | None

    def cell(self, model: str, m: int) -> Cell:
        """The cell of a model (its name with or without the quantization) at this M."""
        name = our_model(model)
        return Cell(name, self.quantization, self.backend, self.sparsity, self.stage, m)


def our_model(theirs: str) -> str:
    """`Qwen2.5-7B-INT8-SlideSparse-2_8` is `qwen2.5-7b`, as in our catalog."""
    name = _CHECKPOINT_SUFFIX.sub("", theirs)
    match = _STEM.fullmatch(name)
    return re.sub(r"[^a-z0-9._-]", "-", (match["model"] if match else name).lower())


def quantization_of(model: str) -> Quantization | None:
    """The quantization at the end of a model's name; None when it names none."""
    match = _STEM.fullmatch(_CHECKPOINT_SUFFIX.sub("", model))
    return _QUANTIZATIONS[match["quantization"].upper()] if match else None


def result_folders(results: Path) -> Iterator[ResultFolder]:
    """Every folder of results below `throughput_benchmark_results`, in the order of names.

    Folders that are none of theirs (another quantization, an unknown backend) are passed over.
    """
    for stage in Stage:
        for hardware in _folders(results / stage):
            match = _HARDWARE.fullmatch(hardware.name)
            quantization = _QUANTIZATIONS.get(match["quantization"]) if match else None
            if match is None or quantization is None:
                continue
            for path, backend, sparsity in _backend_folders(hardware):
                yield ResultFolder(
                    path,
                    match["gpu"],
                    int(match["capability"]),
                    stage,
                    quantization,
                    backend,
                    sparsity,
                )


def _backend_folders(hardware: Path) -> Iterator[tuple[Path, str, Sparsity | None]]:
    for folder in _folders(hardware):
        backend = BACKENDS.get(folder.name)
        if backend is None:
            continue
        if not backend.needs_sparsity:
            yield folder, backend.name, None
            continue
        for below in _folders(folder):
            sparsity = known_sparsity(below.name)
            if sparsity is not None:
                yield below, backend.name, sparsity


def known_sparsity(text: str) -> Sparsity | None:
    """`2_8` or `2:8`; None for anything that is no sparsity of ours."""
    try:
        return Sparsity.parse(text)
    except ValueError:
        return None


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("*") if path.is_dir())
