"""What passes between `slidesparse gemm` and the program that measures: a request, and one line each.

The request is a JSON file. The program appends to a file of lines: what it runs on, then one line
for every task that it begins and one for every task that it ends. A death leaves what was measured
before it, and the name of the task that caused it.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage
from slidesparse_bench.errors import FormatError
from slidesparse_bench.wire import SCHEMA_VERSION, Spread, decode, encode

REQUEST, LINES, LOG, BEGUN = "request.json", "measured.jsonl", "worker.log", "begun.json"
TORCH = "torch"
"""The backend of `torch._int_mm` and `torch._scaled_mm`: cuBLASLt as it comes, nothing searched."""
DENSE = ("cublaslt", "cutlass", TORCH)
"""What every sparse GEMM is compared with, whether it was asked for or not."""
EXACT_K = 2**17
"""Products per sum below which the reference is exact: as many of -128 x -128 leave int32, and sums of
as many FP8 products, multiples of 2^-18 up to 2^17.7, still fit the 53 bits of a float64."""
EXIT_DEVICE_LOST = 7
"""Exit code of the program when an error has made its CUDA context unusable."""
EXIT_NOT_WRITTEN = 8
"""Exit code of the program when it cannot write what it measures, as on a full disk."""
NOT_WRITTEN = "slidesparse: cannot write: "
"""How the last line of its log begins then, if there was room for it."""


class RowState(StrEnum):
    """`refused` cannot run here, with a reason; `pending` was never begun."""

    MEASURED = "measured"
    REFUSED = "refused"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True)
class Task:
    """One GEMM on one backend: `x: [m, k]`, `w: [n, k]`, k of the dense layer.

    `layer` is vLLM's name, such as `gate_up_proj`; one GPU's part of it ends in its number of GPUs,
    `gate_up_proj-tp4`. A square size is of the model `square`.
    """

    model: str
    layer: str
    quantization: Quantization
    backend: str
    sparsity: Sparsity | None
    m: int
    n: int
    k: int

    @property
    def backend_label(self) -> str:
        """`cublaslt`, or `cusparselt-2_8`."""
        return f"{self.backend}-{self.sparsity.path_form}" if self.sparsity else self.backend

    @property
    def id(self) -> str:
        """As a cell id, with the layer where the stage stands."""
        return f"{self.model}.{self.quantization}.{self.backend_label}.{self.layer}.m{self.m}"

    @property
    def flops(self) -> float:
        """Of the dense product, as its user counts them: sparse kernels do fewer."""
        return 2.0 * self.m * self.n * self.k

    def cell(self, stage: Stage) -> Cell:
        """The cell of this model, backend and m, for what is asked of cells."""
        return Cell(self.model, self.quantization, self.backend, self.sparsity, stage, self.m)


@dataclass(frozen=True)
class Numbers:
    """What was measured of one task. None: not measured, or not done by this backend.

    `latency_ms` is the library's call alone: what it puts out is `output_type`, unscaled sums of
    our libraries, scaled bfloat16 of CUTLASS and `torch._scaled_mm`. `host_us` is what one call
    costs the calling thread, on a fast CPU if there was one. `quantize_ms` is the quantization of x, stretching included, and
    `quantize_bytes` what it reads and writes, `copy_ms` a plain copy that moves as many bytes;
    `dequantize_ms` applies scales in a kernel of its own, which compiled models fuse into what
    follows. `weight_bytes` are those of the packed weights;
    `workspace_bytes` is the library's, shared by all its calls. `error` is 0 for sums that are equal
    to the last bit, else the largest relative error of a row (2-norm).
    """

    latency_ms: Spread
    repeats: int
    error: float
    output_type: str
    emulated: bool
    library: str
    algorithm: str
    weight_bytes: int
    host_us: float | None = None
    quantize_ms: Spread | None = None
    quantize_bytes: int | None = None
    copy_ms: Spread | None = None
    dequantize_ms: Spread | None = None
    workspace_bytes: int | None = None


@dataclass(frozen=True)
class Row:
    """What became of one task; `reason` says why there are no numbers."""

    task: Task
    state: RowState
    reason: str = ""
    numbers: Numbers | None = None


@dataclass(frozen=True)
class GemmRequest:
    """Tasks to measure in this order. `cold`: caches are emptied before every timed call."""

    tasks: list[Task]
    device_kind: str
    seed: int
    cold: bool
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Facts:
    """What the program runs on. `copy_tb_per_second`: bytes read and written by a large copy."""

    device_kind: str
    device_name: str
    torch: str
    cuda: str | None
    cache_bytes: int | None
    copy_tb_per_second: float | None


@dataclass(frozen=True)
class Lines:
    """Whole lines up to `end` (in bytes): all rows, and the last task that was begun."""

    facts: Facts | None
    rows: list[Row]
    begun: Task | None
    end: int


def append_line(path: Path, **content: Any) -> None:
    """Add one line and make it durable: `program=` (a number), `facts=`, `begins=` (a task), `row=`."""
    text = json.dumps(
        {"schema_version": SCHEMA_VERSION, **{key: encode(value) for key, value in content.items()}}
    )
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: Path, start: int = 0) -> Lines:
    """What is written from byte `start` on; a half-written last line is left for the next time.

    What is no line of ours, such as one that a dying program began, is passed over.
    """
    facts, rows, begun = None, [], None
    whole = _whole_lines(path, start)
    for line in whole.splitlines():
        with contextlib.suppress(ValueError, FormatError):
            content = json.loads(line)
            if "facts" in content:
                facts = decode(Facts, content["facts"])
            elif "begins" in content:
                begun = decode(Task, content["begins"])
            elif "row" in content:
                rows.append(decode(Row, content["row"]))
    return Lines(facts, rows, begun, start + len(whole))


def _whole_lines(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            data = stream.read()
    except OSError:  # not there yet
        return b""
    return data[: data.rfind(b"\n") + 1]
