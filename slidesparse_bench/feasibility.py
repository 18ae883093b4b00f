"""Whether a cell fits a device, before anything is loaded, and by how much.

The model of memory is `memory_model.py`; how often the verdicts are right is in `docs/memory.md`
and can be recomputed with `scripts/score_feasibility.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from slidesparse_bench.backends import DeviceFacts, DeviceKind, can_run
from slidesparse_bench.cell import Cell
from slidesparse_bench.known_devices import KNOWN_DEVICES, KnownDevice, find_device
from slidesparse_bench.memory_model import Demand, MemoryNeed, cpu_kv_cache_bytes, memory_need
from slidesparse_bench.models.catalog import Architecture
from slidesparse_bench.settings import UTILIZATION_LADDER
from slidesparse_bench.units import GIB, format_gib, gib

__all__ = [
    "DEFAULT_UTILIZATION",
    "KNOWN_DEVICES",
    "Demand",
    "FitVerdict",
    "KnownDevice",
    "MemoryEstimate",
    "Prediction",
    "cpu_kv_cache_bytes",
    "find_device",
    "predict",
    "predict_memory",
]

DEFAULT_UTILIZATION = 0.8
"""The public SlideSparse method's `gpu_memory_utilization`; vLLM's own default is higher."""
MARGIN_BYTES = int(0.25 * GIB)
"""An estimate closer than this to the limit is called tight: the spread of what is left over."""
INT32_MAX = 2**31 - 1


class FitVerdict(StrEnum):
    """`does_not_fit` is certain, `tight` may need another utilization, `fits` should run."""

    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does_not_fit"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class MemoryEstimate:
    """GiB on one device. `available` is memory x `gpu_memory_utilization`."""

    weights: float
    kv_cache: float
    activations: float
    overhead: float
    total: float
    available: float


@dataclass(frozen=True)
class Prediction:
    """The answer for one cell; `reason` is a sentence with its numbers."""

    verdict: FitVerdict
    reason: str
    memory: MemoryEstimate | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Limit:
    """How much of the memory may be used now, and how far a retry would raise it."""

    memory: int
    utilization: float
    ladder: tuple[float, ...]

    @property
    def available(self) -> int:
        return self.at(self.utilization)

    @property
    def top(self) -> float:
        return max(*self.ladder, self.utilization)

    def at(self, utilization: float) -> int:
        return int(self.memory * utilization)


def predict(
    cell: Cell,
    architecture: Architecture | None,
    device: DeviceFacts,
    engine_args: dict[str, Any],
    *,
    utilization_ladder: tuple[float, ...] = UTILIZATION_LADDER,
) -> Prediction:
    """Whether the cell runs on the device at all, and whether its exact M fits.

    `engine_args` are vLLM's; those with a bearing on memory are read. `utilization_ladder` is how
    far retries would go. Without an architecture the verdict is tight: nothing can be said.
    """
    prediction = predict_memory(
        cell, architecture, device, engine_args, utilization_ladder=utilization_ladder
    )
    runnable, reason = can_run(cell, device)
    if runnable:
        return prediction
    # The estimate stays: it says what the cell would need once it can run.
    return replace(prediction, verdict=FitVerdict.UNSUPPORTED, reason=reason)


def predict_memory(
    cell: Cell,
    architecture: Architecture | None,
    device: DeviceFacts,
    engine_args: dict[str, Any],
    *,
    demand: Demand | None = None,
    utilization_ladder: tuple[float, ...] = UTILIZATION_LADDER,
) -> Prediction:
    """`predict` without the question whether the backend supports the device.

    `demand` replaces what this harness asks of a cell, to judge runs of another method.
    """
    if architecture is None:
        return Prediction(
            FitVerdict.TIGHT,
            "memory cannot be predicted: the model's architecture is not one slidesparse-bench "
            "knows (llama, mistral, qwen2)",
        )
    demand = demand or Demand.of(cell.workload, engine_args)
    need = memory_need(cell, architecture, device, engine_args, demand)
    utilization = float(engine_args.get("gpu_memory_utilization") or DEFAULT_UTILIZATION)
    limit = _Limit(device.memory_bytes, utilization, utilization_ladder)
    verdict, reason = _fixed_cache(need, demand, engine_args) or _judge(
        need, demand, limit, is_budget=device.kind is DeviceKind.CPU
    )
    warnings = _index_warnings(architecture, demand, engine_args)
    return Prediction(verdict, reason, _in_gib(need, limit), warnings)


def _judge(
    need: MemoryNeed, demand: Demand, limit: _Limit, *, is_budget: bool
) -> tuple[FitVerdict, str]:
    """A budget (CPU) is exact arithmetic: no margin, and nothing is taken outside it."""
    sentence = _sentence(need, demand, limit)
    most = limit.at(limit.top)
    if need.loading > limit.memory:
        return FitVerdict.DOES_NOT_FIT, (
            f"{sentence}; before the weights are packed they and CUDA take "
            f"{format_gib(need.loading)} of {format_gib(limit.memory)}"
        )
    if need.certain > most:
        return FitVerdict.DOES_NOT_FIT, (
            f"{sentence}; {format_gib(need.certain)} of the need are certain, and even "
            f"{limit.top:g} of {format_gib(limit.memory)} is {format_gib(most)}"
            f"{'' if need.certain_to_start > most else _in_waves(demand)}"
        )
    wanted = need.total + (0 if is_budget else MARGIN_BYTES)
    if wanted > limit.available:
        return FitVerdict.TIGHT, f"{sentence}; {_higher(wanted, limit)}"
    outside = limit.memory - limit.available
    if not is_budget and need.transient > outside:
        return FitVerdict.TIGHT, (
            f"{sentence}; only {format_gib(outside)} stay outside that share for graphs, "
            f"autotuning copies and other processes, which can take "
            f"{format_gib(need.transient)}{_lower(need, wanted, limit)}"
        )
    return FitVerdict.FITS, sentence


def _fixed_cache(
    need: MemoryNeed, demand: Demand, engine_args: dict[str, Any]
) -> tuple[FitVerdict, str] | None:
    """The verdict when the engine arguments fix the size of the KV cache, and it is too small."""
    fixed = engine_args.get("kv_cache_memory_bytes")
    if fixed is None or need.kv_cache <= int(fixed):
        return None
    return FitVerdict.DOES_NOT_FIT, (
        f"kv_cache_memory_bytes fixes the KV cache at {format_gib(int(fixed))}; "
        f"{_sequences(demand)} of {demand.sequence_tokens} tokens at max_model_len "
        f"{demand.max_model_len} need {format_gib(need.kv_cache)}"
    )


def _sentence(need: MemoryNeed, demand: Demand, limit: _Limit) -> str:
    parts = [
        f"{format_gib(need.weights)} weights",
        f"{format_gib(need.kv_cache)} KV cache for {_sequences(demand)}",
    ]
    if need.activations:
        parts.append(f"{format_gib(need.activations)} activations")
        parts.append(f"{format_gib(need.overhead)} overhead")
    return (
        f"needs {format_gib(need.total)}: {' + '.join(parts)}; "
        f"{format_gib(limit.available)} available at gpu_memory_utilization {limit.utilization:g}"
    )


def _in_waves(demand: Demand) -> str:
    """For those who know that vLLM starts: it would run, but not what was asked for."""
    return (
        f"; vLLM would start, but not hold {_sequences(demand)} at once, so no step would have "
        "exactly M tokens"
    )


def _sequences(demand: Demand) -> str:
    return "1 sequence" if demand.sequences == 1 else f"{demand.sequences} sequences"


def _higher(wanted: int, limit: _Limit) -> str:
    enough = [rung for rung in limit.ladder if wanted <= limit.at(rung)]
    return f"{enough[0]:g} would do" if enough else f"even {limit.top:g} may be too little"


def _lower(need: MemoryNeed, wanted: int, limit: _Limit) -> str:
    """The next lower utilization, in steps of 0.05, that leaves enough on both sides."""
    utilization = math.floor((1 - need.transient / limit.memory) * 20) / 20
    return f"; {utilization:g} would do" if 0 < wanted <= limit.at(utilization) else ""


def _index_warnings(
    architecture: Architecture, demand: Demand, engine_args: dict[str, Any]
) -> list[str]:
    """Kernels with 32-bit offsets fail beyond 2^31 - 1 elements; not all kernels have them."""
    shard = architecture.shard(int(engine_args.get("tensor_parallel_size") or 1))
    columns = 2 * shard.intermediate_size
    elements = demand.step_tokens * columns
    if elements <= INT32_MAX:
        return []
    warning = (
        f"32-bit index risk: the gate_up output has M x 2 x intermediate_size = "
        f"{demand.step_tokens:,} x {columns:,} = {elements:,} elements, more than 2^31 - 1; "
        "a kernel with 32-bit offsets ends in an illegal memory access or in wrong numbers"
    )
    return [warning]


def _in_gib(need: MemoryNeed, limit: _Limit) -> MemoryEstimate:
    return MemoryEstimate(
        weights=gib(need.weights),
        kv_cache=gib(need.kv_cache),
        activations=gib(need.activations),
        overhead=gib(need.overhead),
        total=gib(need.total),
        available=gib(limit.available),
    )
