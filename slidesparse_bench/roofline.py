"""How fast one engine step can be at best: its work, over what the device can do per second.

Two limits hold at once: arithmetic at the peak rate of its number format, and memory traffic at the
peak bandwidth (Williams, Waterman, Patterson: Roofline, CACM 52-4, 2009). `docs/roofline.md` has
the formulas, an example, and what is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from slidesparse_bench.backends import DeviceFacts
from slidesparse_bench.cell import Cell, Quantization, Stage
from slidesparse_bench.memory_model import kv_element_bytes, linear_weight_bytes
from slidesparse_bench.models.catalog import UNQUANTIZED_BYTES, Architecture
from slidesparse_bench.wire import Metrics

TERA = 1e12


class Bound(StrEnum):
    """Which of the two limits takes longer."""

    COMPUTE = "compute"
    MEMORY = "memory"


@dataclass(frozen=True)
class Peaks:
    """What a device can do per second: dense matrix products, a multiply-add counted as two.

    Floating point accumulates in float32. None where the device has no such units, or nobody
    knows their rate. `source` is a document of the vendor, or the measurement.
    """

    int8_tops: float | None
    fp8_tflops: float | None
    bf16_tflops: float | None
    memory_tb_per_second: float
    source: str

    def eight_bit(self, quantization: Quantization) -> float | None:
        """The rate of the quantized linears, in 10^12 operations per second."""
        return self.int8_tops if quantization is Quantization.INT8 else self.fp8_tflops


@dataclass(frozen=True)
class StepWork:
    """One measured engine step on one device.

    `linear_flops` are those of the dense 8-bit linears, whatever a backend skips of them;
    `skipped_flops` is the part that 2:4 tensor cores need not spend time on. `flops_16bit` are
    attention and lm_head. The bytes are those that no implementation can avoid; activations are
    not among them.
    """

    linear_flops: int
    skipped_flops: int
    flops_16bit: int
    linear_weight_bytes: int
    other_weight_bytes: int
    kv_cache_bytes: int

    @property
    def moved_bytes(self) -> int:
        return self.linear_weight_bytes + self.other_weight_bytes + self.kv_cache_bytes


@dataclass(frozen=True)
class Limit:
    """The least time of a step, in seconds: by arithmetic, by memory traffic, and the longer."""

    compute_s: float
    memory_s: float

    @property
    def least_s(self) -> float:
        return max(self.compute_s, self.memory_s)

    @property
    def bound(self) -> Bound:
        return Bound.COMPUTE if self.compute_s >= self.memory_s else Bound.MEMORY


def step_work(
    cell: Cell, architecture: Architecture, device: DeviceFacts, engine_args: Mapping[str, Any]
) -> StepWork:
    """The work of one measured step: prefill of m tokens, or the mean of the decode steps.

    `device` decides how far 2:4 weights compress. Of `engine_args` (vLLM's) `kv_cache_dtype` and
    `tensor_parallel_size` are read; with the latter the work is that of one GPU.
    """
    shard = architecture.shard(int(engine_args.get("tensor_parallel_size") or 1))
    linear_flops = 2 * cell.m * shard.linear_parameters
    return StepWork(
        linear_flops=linear_flops,
        skipped_flops=linear_flops * 2 // cell.sparsity.group if cell.sparsity else 0,
        flops_16bit=_attention_flops(cell, shard) + _head_flops(cell, shard),
        linear_weight_bytes=linear_weight_bytes(cell, shard, device),
        other_weight_bytes=_other_weight_bytes(cell, shard),
        kv_cache_bytes=_kv_tokens(cell) * shard.kv_bytes_per_token(kv_element_bytes(engine_args)),
    )


def limit(work: StepWork, cell: Cell, peaks: Peaks) -> Limit | None:
    """The least time of the step; None when a rate it needs is not known.

    A 2:L cell is charged (L-2)/L of its dense linears: k stretched by 2(L-2)/L, at twice the rate.
    """
    eight_bit = peaks.eight_bit(cell.quantization)
    if not eight_bit or not peaks.bf16_tflops:
        return None
    # One kind of unit does both, so the times add up.
    linear_s = (work.linear_flops - work.skipped_flops) / (eight_bit * TERA)
    other_s = work.flops_16bit / (peaks.bf16_tflops * TERA)
    return Limit(linear_s + other_s, work.moved_bytes / (peaks.memory_tb_per_second * TERA))


def applied(
    metrics: Metrics,
    cell: Cell,
    architecture: Architecture | None,
    device: DeviceFacts,
    engine_args: Mapping[str, Any],
    peaks: Peaks | None,
) -> Metrics:
    """The metrics with what follows from the work of a step: see "Derived" in `docs/metrics.md`.

    Nothing is known without an architecture or timed steps, no limit without the rates that the cell needs. A
    `roofline_fraction` above 1 stays as it is: see `doubt`.
    """
    if architecture is None or metrics.step_time_ms is None:
        return metrics
    work = step_work(cell, architecture, device, engine_args)
    mean_s = metrics.step_time_ms.mean / 1e3
    least = limit(work, cell, peaks) if peaks else None
    return replace(
        metrics,
        achieved_tflops=work.linear_flops / mean_s / TERA,
        achieved_tb_per_second=work.moved_bytes / mean_s / TERA,
        roofline_fraction=least.least_s / mean_s if least else None,
        roofline_bound=least.bound.value if least else None,
    )


def doubt(metrics: Metrics) -> str:
    """Why a step faster than its limit must not be believed; "" for any other."""
    fraction = metrics.roofline_fraction
    if fraction is None or fraction <= 1:
        return ""
    return (
        f"the mean step takes {1 / fraction:.1%} of the least possible time: either the peak rates "
        "are too low (a data sheet's clock is below the card's highest; "
        "`slidesparse doctor --measure` measures them) or the measurement is wrong"
    )


def _attention_flops(cell: Cell, shard: Architecture) -> int:
    """Scores and values: two products of head_dim for each query and key it attends to."""
    heads = shard.num_hidden_layers * shard.num_attention_heads
    return 4 * heads * shard.head_dim * _attended_keys(cell)


def _attended_keys(cell: Cell) -> int:
    """Keys summed over the queries of a step, its own token included.

    Prefill is causal: 1 + 2 + ... + prompt_len. The decode steps attend to prompt_len + 1 up to
    prompt_len + output_len - 1 keys, on average to prompt_len + output_len / 2.
    """
    work = cell.workload
    if cell.stage is Stage.PREFILL:
        return work.max_num_seqs * work.prompt_len * (work.prompt_len + 1) // 2
    return work.max_num_seqs * (2 * work.prompt_len + work.output_len) // 2


def _head_flops(cell: Cell, shard: Architecture) -> int:
    """lm_head, only for the rows that are sampled: one per sequence."""
    return 2 * cell.workload.max_num_seqs * shard.hidden_size * shard.vocab_size


def _other_weight_bytes(cell: Cell, shard: Architecture) -> int:
    """All unquantized weights, but of the embeddings only the rows of this step's tokens."""
    row = shard.hidden_size * UNQUANTIZED_BYTES
    tables = shard.vocab_size * (1 if shard.tie_word_embeddings else 2)
    read = shard.vocab_size + min(cell.m, shard.vocab_size)
    return shard.unquantized_bytes + (read - tables) * row


def _kv_tokens(cell: Cell) -> int:
    """Tokens whose keys and values go to the cache or come from it.

    A prefill step writes its own and need not read them back. A decode step reads the context of
    each sequence and writes one token, together the keys that it attends to.
    """
    return cell.m if cell.stage is Stage.PREFILL else _attended_keys(cell)
