"""SwiGLU's activation and the quantization behind it: our one kernel against two, as ratios of one run.

    python scripts/bench_activation.py --model qwen2.5-7b -m 1,16,64,512,4096,16384 --out activation.md

For the sums that each backend's gate_up GEMM leaves and for every M: `two` is the activation as
Inductor compiles it for any number of tokens, 2^31 sums and more, and our quantization of what it
wrote; `one` is the kernel that the compiled model runs. They run in turn on the same sums. The
bandwidth is that of the bytes that `one` cannot avoid, sums in and quantized rows out, as a share of
what a copy of as many bytes moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from gpu_bench import LARGEST_M, compiled, medians_ms, random_sums, table_page, write_page

from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.vllm_plugin.dequantize import scaled
from slidesparse_bench.vllm_plugin.ops import quantize, silu_and_mul_quantize
from slidesparse_bench.vllm_plugin.sparsity import stretched_k
from slidesparse_bench.worker.gemm_ways import DTYPES

SUMS = {
    ("cublaslt", Quantization.INT8, Sparsity(4)): torch.int32,
    ("cublaslt", Quantization.FP8, Sparsity(4)): torch.bfloat16,
    ("cusparselt 2:4", Quantization.INT8, Sparsity(4)): torch.bfloat16,
    ("cusparselt 2:8", Quantization.INT8, Sparsity(8)): torch.bfloat16,
    ("cusparselt 2:8", Quantization.FP8, Sparsity(8)): torch.bfloat16,
}
"""Of a backend, with the groups that its activations are stretched in: what its GEMM leaves."""

Sums = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Rest = tuple[None, int, int, torch.dtype]


@dataclass(frozen=True)
class Compared:
    """One backend and M; median times in ms."""

    backend: str
    quantization: Quantization
    m: int
    two_ms: float
    one_ms: float
    copy_ms: float


def compared(model: str, sizes: list[int]) -> Iterator[Compared]:
    """All backends, one after the other."""
    d = find_architecture(model).intermediate_size
    for (backend, quantization, sparsity), raw_dtype in SUMS.items():
        activate = inductors(d, raw_dtype)
        k_out, dtype = stretched_k(d, sparsity), DTYPES[quantization]
        for m in sizes:
            sums = gate_up(m, d, raw_dtype)
            moved = sums[0].nbytes + m * k_out
            source = torch.empty(moved // 2, dtype=torch.uint8, device="cuda")
            rest = (None, k_out, sparsity.group, dtype)
            times = medians_ms(
                [
                    partial(apart, activate, sums, rest),
                    partial(together, sums, rest),
                    partial(torch.clone, source),
                ]
            )
            yield Compared(backend, quantization, m, *times)


def inductors(d: int, raw_dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    """`silu(gate) * up` with the scales before it, as Inductor compiles it."""

    def activation(raw: torch.Tensor, x_scale: torch.Tensor, w_scale: torch.Tensor) -> torch.Tensor:
        both = scaled(raw, x_scale, w_scale, None, torch.bfloat16)
        return torch.nn.functional.silu(both[:, :d]) * both[:, d:]

    torch.compiler.reset()
    return compiled(activation, gate_up(LARGEST_M, d, raw_dtype))


def gate_up(m: int, d: int, raw_dtype: torch.dtype) -> Sums:
    """Random sums `[m, 2d]` and their scales."""
    raw, x_scale = random_sums(m, 2 * d, raw_dtype)
    return raw, x_scale, torch.rand((1, 2 * d), device="cuda")


def apart(activate: Callable[..., torch.Tensor], sums: Sums, rest: Rest) -> object:
    return quantize(activate(*sums), *rest)


def together(sums: Sums, rest: Rest) -> object:
    raw, x_scale, w_scale = sums
    return silu_and_mul_quantize(raw, x_scale, w_scale, torch.bfloat16, *rest)


def pages(model: str, sizes: list[int]) -> Iterator[str]:
    """The table."""
    head = [
        "| backend | quantization | M | two kernels, ms | one, ms | one / two | of a copy's bandwidth |",
        "|:--|:--|--:|--:|--:|--:|--:|",
    ]
    rows = (
        f"| {row.backend} | {row.quantization.upper()} | {row.m} | {row.two_ms:.4f} | {row.one_ms:.4f} | "
        f"{row.one_ms / row.two_ms:.3f} | {row.copy_ms / row.one_ms:.0%} |"
        for row in compared(model, sizes)
    )
    yield table_page(f"SwiGLU's activation and the quantization behind it: {model}", head, rows)


if __name__ == "__main__":
    write_page(__doc__, "1,16,64,512,4096,16384", pages)
