"""How many bytes of device memory one cell takes, part by part.

Formulas and measured constants; `docs/memory.md` derives them, `feasibility.py` judges by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cell import Cell, Quantization, Sparsity, Workload
from slidesparse_bench.models.catalog import UNQUANTIZED_BYTES, Architecture
from slidesparse_bench.units import GIB

CUDA_BLOCK_SIZE = 16
CPU_BLOCK_SIZE = 128
"""Tokens per KV cache block, vLLM's defaults (0.25 on CUDA, 0.32 on the CPU)."""

CONTEXT_BYTES = int(0.4 * GIB)
"""CUDA context and modules: 0.36 to 0.38 GiB in 227 of 236 messages of the RTX 5080 runs."""
GRAPH_BYTES = int(0.3 * GIB)
"""CUDA graphs: 0.15 to 0.37 GiB more once capture had begun (9 messages)."""
WORKSPACE_BYTES = int(0.6 * GIB)
"""GEMM and attention workspaces, allocator rounding: what remains of the 1.3 to 1.5 GiB taken
beside 17.7 GiB of weights on the RTX 4090 (Qwen2.5-14B 2:10, M = 512)."""
SAMPLER_BYTES_PER_LOGIT = 12
"""Sampler warm-up: 12 B x max_num_seqs x vocab, exact in 7 of 9 messages."""

_DEQUANTIZE_APART = {"cublaslt", "cusparselt"}
"""Backends whose GEMM output is dequantized by a second kernel, so that it exists twice."""


@dataclass(frozen=True)
class Demand:
    """What a run of a cell asks of the memory.

    `step_tokens` are the tokens of its largest step; `sequences` of `sequence_tokens` each must
    have their keys and values resident at once for M to be exact. vLLM starts with room for one
    of `max_model_len`; the others would then wait, and the cell would fail as m_mismatch.
    `stretched_while_loading` is true of the public SlideSparse loader, which holds the stretched
    matrices before it compresses them.
    """

    step_tokens: int
    sequences: int
    sequence_tokens: int
    max_num_seqs: int
    max_model_len: int
    stretched_while_loading: bool = False

    @classmethod
    def of(cls, workload: Workload, engine_args: dict[str, Any]) -> Demand:
        """Of this harness: the whole batch at once; limits may be overridden per cell.

        The last token of a sequence is never fed back, so it needs no slot in the KV cache.
        """
        return cls(
            step_tokens=int(
                engine_args.get("max_num_batched_tokens") or workload.max_num_batched_tokens
            ),
            sequences=workload.max_num_seqs,
            sequence_tokens=workload.prompt_len + workload.output_len - 1,
            max_num_seqs=int(engine_args.get("max_num_seqs") or workload.max_num_seqs),
            max_model_len=int(engine_args.get("max_model_len") or workload.max_model_len),
        )

    def blocks(self, block_size: int) -> int:
        """KV cache blocks that must exist for the batch and for vLLM to start."""
        batch = self.sequences * math.ceil(self.sequence_tokens / block_size) + 1
        return max(batch, self.blocks_to_start(block_size))

    def blocks_to_start(self, block_size: int) -> int:
        """What vLLM insists on: one sequence of `max_model_len`, and the block it keeps back.

        That block belongs to no sequence (vLLM 0.32, v1/core/block_pool.py).
        """
        return math.ceil(self.max_model_len / block_size) + 1


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on one device.

    `certain` is the part that no version and no kernel can avoid; `certain_to_start` the same
    with the smallest KV cache that vLLM accepts; `transient` what may be taken outside the share
    that `gpu_memory_utilization` reserves; `loading` what is there at most before weights are packed:
    certain, and outside any share, since vLLM looks at its own only afterwards.
    """

    weights: int
    kv_cache: int
    activations: int
    overhead: int
    certain: int
    certain_to_start: int
    transient: int
    loading: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.activations + self.overhead


def cpu_kv_cache_bytes(memory_bytes: int, gpu_memory_utilization: float, weight_bytes: int) -> int:
    """The KV cache a CPU run gets: the budget's share, less the weights, never below 0.

    On a CPU `memory_bytes` is a budget, and this rule makes `gpu_memory_utilization` mean there
    what it means on a GPU. It reaches vLLM as `kv_cache_memory_bytes`; activations and the
    interpreter are outside the budget.
    """
    return max(0, int(memory_bytes * gpu_memory_utilization) - weight_bytes)


def compressed_bytes_per_element(quantization: Quantization, sm: int) -> float:
    """Bytes per element of a stretched matrix after cuSPARSELt's 2:4 compression.

    0.625 (half the values, 1/8 of metadata) on sm_90, sm_100 and for FP8 on sm_120; 0.75
    elsewhere. Read from the sizes the public runs logged.
    """
    if 90 <= sm < 120 or (sm >= 120 and quantization is Quantization.FP8):
        return 0.625
    return 0.75


def weight_bytes(cell: Cell, architecture: Architecture, device: DeviceFacts) -> int:
    """Resident weights, those that are not quantized included."""
    return architecture.unquantized_bytes + linear_weight_bytes(cell, architecture, device)


def linear_weight_bytes(cell: Cell, architecture: Architecture, device: DeviceFacts) -> int:
    """Of all quantized linears: dense 8-bit, or compressed 2:4 of the stretched matrices."""
    elements = stretched_elements(cell, architecture)
    if cell.sparsity is None:
        return elements
    return int(elements * compressed_bytes_per_element(cell.quantization, device.sm))


def stretched_elements(cell: Cell, architecture: Architecture) -> int:
    """Elements of all linear weights, k stretched by the sliding windows and padded to 32."""
    if cell.sparsity is None:
        return architecture.linear_parameters
    per_layer = sum(
        linear.n * _stretched_k(linear.k, cell.sparsity) for linear in architecture.layer_linears
    )
    return architecture.num_hidden_layers * per_layer


def _stretched_k(k: int, sparsity: Sparsity) -> int:
    return math.ceil(k * 2 * (sparsity.group - 2) / (sparsity.group * 32)) * 32


def gate_up_bytes(architecture: Architecture, demand: Demand) -> int:
    """The largest activation: gate_up's output [step_tokens, 2 x intermediate_size] in bfloat16.

    All 106 prefill allocations that failed in the public runs were this or half of it.
    """
    return demand.step_tokens * 2 * architecture.intermediate_size * UNQUANTIZED_BYTES


def memory_need(
    cell: Cell,
    architecture: Architecture,
    device: DeviceFacts,
    engine_args: dict[str, Any],
    demand: Demand,
) -> MemoryNeed:
    """What the cell takes on each device of its tensor-parallel group.

    A CPU is charged weights and KV cache only: its memory is a budget for these two.
    """
    shard = architecture.shard(int(engine_args.get("tensor_parallel_size") or 1))
    block_size, block_bytes = _kv_block(shard, device, engine_args)
    weights = weight_bytes(cell, shard, device)
    kv_cache = demand.blocks(block_size) * block_bytes
    kv_to_start = demand.blocks_to_start(block_size) * block_bytes
    if device.kind is DeviceKind.CPU:
        return MemoryNeed(weights, kv_cache, 0, 0, weights + kv_cache, weights + kv_to_start, 0)
    gate_up = gate_up_bytes(shard, demand)
    hidden = demand.step_tokens * shard.hidden_size * UNQUANTIZED_BYTES
    sampler = SAMPLER_BYTES_PER_LOGIT * demand.max_num_seqs * architecture.vocab_size
    overhead = _overhead_bytes(engine_args)
    least, loading = weights + gate_up + hidden, _loading_bytes(cell, shard, demand)
    return MemoryNeed(
        weights=weights,
        kv_cache=kv_cache,
        activations=max(_step_bytes(cell, gate_up, hidden), sampler),
        overhead=overhead,
        certain=least + kv_cache,
        certain_to_start=least + kv_to_start,
        transient=overhead + gate_up,
        loading=loading,
    )


def _kv_block(
    shard: Architecture, device: DeviceFacts, engine_args: dict[str, Any]
) -> tuple[int, int]:
    """Tokens and bytes of one block of the KV cache."""
    default = CPU_BLOCK_SIZE if device.kind is DeviceKind.CPU else CUDA_BLOCK_SIZE
    block_size = int(engine_args.get("block_size") or default)
    return block_size, block_size * shard.kv_bytes_per_token(kv_element_bytes(engine_args))


def kv_element_bytes(engine_args: Mapping[str, Any]) -> int:
    """Bytes of a number in the KV cache, by vLLM's `kv_cache_dtype`."""
    is_fp8 = str(engine_args.get("kv_cache_dtype", "auto")).startswith("fp8")
    return 1 if is_fp8 else UNQUANTIZED_BYTES


def _step_bytes(cell: Cell, gate_up: int, hidden: int) -> int:
    """Peak of one forward pass, at the MLP.

    Either gate_up's output twice (before and after dequantization), or once with the product of
    its halves (half as large) and that product quantized (a quarter). Beside it stand the
    residual, the hidden states and the runner's input buffer.
    """
    peak = 2 * gate_up if cell.backend in _DEQUANTIZE_APART else gate_up * 7 // 4
    return peak + 3 * hidden


def _loading_bytes(cell: Cell, shard: Architecture, demand: Demand) -> int:
    """The most there is before everything is packed, CUDA's context included; 0 where nothing is packed.

    vLLM loads the whole dense model before any kernel may touch a weight. Ours then packs one layer
    after the other: beside it stand its pruned copy and the stretched one.
    """
    if cell.sparsity is None:
        return 0
    if demand.stretched_while_loading:
        return CONTEXT_BYTES + shard.unquantized_bytes + stretched_elements(cell, shard)
    copies = max(
        linear.n * (linear.k + _stretched_k(linear.k, cell.sparsity))
        for linear in shard.layer_linears
    )
    return CONTEXT_BYTES + shard.unquantized_bytes + shard.linear_parameters + copies


def _overhead_bytes(engine_args: dict[str, Any]) -> int:
    graphs = 0 if engine_args.get("enforce_eager") else GRAPH_BYTES
    return CONTEXT_BYTES + graphs + WORKSPACE_BYTES
