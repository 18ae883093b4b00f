"""Where the device spends a step: its kernels, and which of them are the products of the layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slidesparse_bench.wire import SCHEMA_VERSION, decode, read_json, write_json

STEP_KERNELS = "kernels.json"
"""In the folder of an attempt whose measurement asked for `profile_iterations`."""
_GEMM = re.compile(r"gemm|nvjet|xmma|scaled_mm|device_kernel", re.IGNORECASE)
"""cuSPARSELt and cuBLASLt: `sm90_xmma_sparse_gemm_...`, `nvjet_...`; CUTLASS names a kernel after its
template, `cutlass::device_kernel<...GemmUniversal...>`."""
_ATTENTION = re.compile(r"flash|fmha|attention", re.IGNORECASE)
"""Kernels of attention are built of CUTLASS, too."""
_CACHE_WRITE = "_and_cache"
"""vLLM's `reshape_and_cache_flash` writes keys and values to the cache and computes no attention."""
_QUANTIZATION = re.compile(r"quant", re.IGNORECASE)
_FUSED = "triton_"
"""Inductor's names list what a kernel is fused of."""
_CLAMP = "clamp"
"""Quantization that Inductor fuses clamps to the range of 8 bits. "quant" in such a name proves nothing:
INT8's `dynamic_scaled_int8_quant` is a kernel of its own and yet named by what is fused in front of it."""


@dataclass(frozen=True)
class KernelTime:
    """One kernel by its name: how often it ran, and how long altogether on the device, in ms."""

    name: str
    calls: int
    time_ms: float


@dataclass(frozen=True)
class Parts:
    """Device time of one iteration, in ms: `linear_ms` is the products of the decoder layers.

    `fuses_quantization`: Inductor fused quantization into kernels that count as other ones.
    """

    linear_ms: float
    attention_ms: float
    quantization_ms: float
    other_ms: float
    fuses_quantization: bool = False


@dataclass(frozen=True)
class StepKernels:
    """The kernels of so many iterations, under a profiler."""

    iterations: int
    kernels: list[KernelTime]
    schema_version: int = field(default=SCHEMA_VERSION)

    def device_ms(self) -> float:
        """Device time of an iteration."""
        return sum(each.time_ms for each in self.kernels) / self.iterations

    def parts_ms(self, layers: int | None) -> Parts:
        """Device time of an iteration by what it is for; `layers` None: not known."""
        by_part = {"attention": 0.0, "quantization": 0.0}
        for each in self.kernels:
            if part := _part(each.name):
                by_part[part] += each.time_ms / self.iterations
        linear_ms = self.linear_ms(layers or 1)
        other_ms = self.device_ms() - linear_ms - sum(by_part.values())
        fuses = any(_FUSED in each.name and _CLAMP in each.name for each in self.kernels)
        return Parts(linear_ms, by_part["attention"], by_part["quantization"], other_ms, fuses)

    def attention_names(self) -> frozenset[str]:
        """Kernels of these names compute attention."""
        return frozenset(each.name for each in self.kernels if _part(each.name) == "attention")

    def linear_ms(self, layers: int) -> float:
        """Device time of an iteration in the products of the decoder layers.

        The head is a product too, but runs once in a step: what runs less often than there are
        layers is not counted.
        """
        return sum(
            each.time_ms / self.iterations
            for each in self.kernels
            if is_gemm(each.name) and each.calls >= layers * self.iterations
        )


def is_gemm(name: str) -> bool:
    """Whether a kernel of this name is a matrix product that a library computes."""
    return bool(_GEMM.search(name)) and _FUSED not in name and not _ATTENTION.search(name)


def _part(name: str) -> str | None:
    """`attention` or `quantization`; None for all else."""
    if _FUSED in name or _CACHE_WRITE in name or is_gemm(name):
        return None
    if _ATTENTION.search(name):
        return "attention"
    return "quantization" if _QUANTIZATION.search(name) else None


def write_step_kernels(folder: Path, iterations: int, kernels: Sequence[KernelTime]) -> None:
    """Leave them in the folder of an attempt, longest first."""
    ordered = sorted(kernels, key=lambda each: -each.time_ms)
    write_json(folder / STEP_KERNELS, StepKernels(iterations, ordered))


def read_step_kernels(folder: Path) -> StepKernels | None:
    """Those of an attempt; None where nobody asked for them."""
    path = folder / STEP_KERNELS
    return decode(StepKernels, read_json(path)) if path.exists() else None
