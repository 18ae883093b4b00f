"""The torch ops behind the linear layers: quantize, stretch, multiply; with SiLU before it, or not.

One op, not one per step: a call of a torch op costs the host some 10 µs. They are opaque to
torch.compile, and safe in CUDA graphs once each problem has run before.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from slidesparse_bench.cache import cache_folder
from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin.dequantize import silu_and_mul
from slidesparse_bench.vllm_plugin.emulated import EmulatedGemm
from slidesparse_bench.vllm_plugin.evidence import EVIDENCE
from slidesparse_bench.vllm_plugin.gemm import GemmLibrary, padded_rows
from slidesparse_bench.vllm_plugin.reference_gemm import quantize_per_token, quantize_static
from slidesparse_bench.vllm_plugin.sparsity import stretch

_LIBRARY = torch.library.Library("slidesparse", "FRAGMENT")
_LAYER = (
    "Tensor packed, Tensor? static_scale, str library, int n, int k_out, int group, int phase, "
    "ScalarType q_dtype, ScalarType raw_dtype"
)
_LIBRARY.define(f"w8a8_gemm(Tensor x, {_LAYER}) -> (Tensor, Tensor)")
_LIBRARY.define(
    "silu_and_mul_w8a8_gemm(Tensor gate_up, Tensor x_scale, Tensor w_scale, ScalarType dtype, "
    f"{_LAYER}) -> (Tensor, Tensor)"
)


@functools.cache
def library_of(name: str, device: torch.device) -> GemmLibrary:
    """`cublaslt` or `cusparselt` on one device; emulated where the device is not CUDA.

    Raises:
        ImportError: nvmath-python, or the library itself, is not installed.
    """
    if device.type != "cuda":
        return EmulatedGemm(name, sparse=name == "cusparselt")
    if name == "cusparselt":
        from slidesparse_bench.vllm_plugin.cusparselt import CusparseltGemm

        return CusparseltGemm(device, cache_folder() / "gemm")
    from slidesparse_bench.vllm_plugin.cublaslt import CublasltGemm

    return CublasltGemm(device, cache_folder() / "gemm")


def quantize(
    x: torch.Tensor,
    static_scale: torch.Tensor | None,
    k_out: int,
    group: int,
    q_dtype: torch.dtype,
    phase: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize every row of x and stretch it for weights that slide in groups of `group`.

    Args:
        x: `[m, k]` bfloat16 or float16.
        static_scale: one float32 for all rows; None: each row by its own magnitude.
        k_out: columns wanted, at least the stretched k; those past it are zeros.
        q_dtype: int8 or float8_e4m3fn.
        phase: where in a group x begins, an even number; what lies before it is zeros.

    Returns:
        q `[m rounded up to 16, k_out]`, its rows past m undefined, and float32 `[m, 1]` scales.

    Raises:
        ValueError: x is of another type, on CUDA.
    """
    q, scale = _quantized_rows(x, k_out, q_dtype)
    if x.is_cuda:
        from slidesparse_bench.vllm_plugin import quantize_kernel

        quantize_kernel.quantize(_in_pairs(x), q, scale, static_scale, group, phase)
    else:
        _quantize_in_torch(x, q, scale, static_scale, group, phase)
    return q, scale


def silu_and_mul_quantize(
    gate_up: torch.Tensor,
    x_scale: torch.Tensor,
    w_scale: torch.Tensor,
    dtype: torch.dtype,
    static_scale: torch.Tensor | None,
    k_out: int,
    group: int,
    q_dtype: torch.dtype,
    phase: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`quantize` of `dequantize.silu_and_mul(gate_up, x_scale, w_scale, dtype)`, in one go on CUDA.

    Args:
        gate_up: `[m, 2k]`, the raw sums of the GEMM before, k even on CUDA.
        dtype: of the activations between, bfloat16 or float16.

    Raises:
        ValueError: on CUDA, what its kernel does not take.
    """
    if not gate_up.is_cuda:
        activations = silu_and_mul(gate_up, x_scale, w_scale, dtype)
        return quantize(activations, static_scale, k_out, group, q_dtype, phase)
    from slidesparse_bench.vllm_plugin import silu_kernel

    if dtype.itemsize != 2 or gate_up.shape[1] % 4 or gate_up.stride(1) != 1:
        raise ValueError(
            f"sums {tuple(gate_up.shape)} with strides {gate_up.stride()} for {dtype}: the kernel "
            "takes contiguous rows of an even number of bfloat16 or float16 activations"
        )

    q, scale = _quantized_rows(gate_up, k_out, q_dtype)
    silu_kernel.silu_and_mul_quantize(
        gate_up, x_scale, w_scale, dtype, q, scale, static_scale, group, phase
    )
    return q, scale


def _quantized_rows(
    x: torch.Tensor, k_out: int, q_dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Memory for the rows of x, and for their scales."""
    q = torch.empty((padded_rows(x.shape[0]), k_out), dtype=q_dtype, device=x.device)
    return q, torch.empty((x.shape[0], 1), dtype=torch.float32, device=x.device)


def _in_pairs(x: torch.Tensor) -> torch.Tensor:
    """The kernel reads two neighbours at once, 4 bytes at an address that 4 divides."""
    if x.itemsize != 2:
        raise ValueError(f"x is {x.dtype}; layers of bfloat16 and float16 are quantized on CUDA")
    if x.shape[1] % 2:
        return torch.nn.functional.pad(x, (0, 1))
    if x.data_ptr() % 4:
        return x.clone(memory_format=torch.contiguous_format)  # where `contiguous` may be x itself
    if x.stride(1) != 1 or x.stride(0) % 2:
        return x.contiguous()
    return x


def _quantize_in_torch(
    x: torch.Tensor,
    q: torch.Tensor,
    scale: torch.Tensor,
    static_scale: torch.Tensor | None,
    group: int,
    phase: int,
) -> None:
    if static_scale is None:
        quantized, scales = quantize_per_token(x, q.dtype)
    else:
        quantized, scales = quantize_static(x, static_scale, q.dtype)
    shifted = torch.nn.functional.pad(quantized.view(torch.uint8), (phase, 0)).view(q.dtype)
    stretched = stretch(shifted, Sparsity(group), align=1)
    bytes_out, bytes_in = q.view(torch.uint8), stretched.view(torch.uint8)
    bytes_out.zero_()
    bytes_out[: x.shape[0], : stretched.shape[1]] = bytes_in[:, : q.shape[1]]
    scale.copy_(scales)


def _w8a8_gemm(
    x: torch.Tensor,
    packed: torch.Tensor,
    static_scale: torch.Tensor | None,
    library: str,
    n: int,
    k_out: int,
    group: int,
    phase: int,
    q_dtype: torch.dtype,
    raw_dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    if not x.shape[0]:
        return _shapes(x, n, raw_dtype)
    q, scale = quantize(x, static_scale, k_out, group, q_dtype, phase)
    return _multiplied("quantize", q, scale, packed, library, n, raw_dtype)


def _silu_and_mul_w8a8_gemm(
    gate_up: torch.Tensor,
    x_scale: torch.Tensor,
    w_scale: torch.Tensor,
    dtype: torch.dtype,
    packed: torch.Tensor,
    static_scale: torch.Tensor | None,
    library: str,
    n: int,
    k_out: int,
    group: int,
    phase: int,
    q_dtype: torch.dtype,
    raw_dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    if not gate_up.shape[0]:
        return _shapes(gate_up, n, raw_dtype)
    q, scale = silu_and_mul_quantize(
        gate_up, x_scale, w_scale, dtype, static_scale, k_out, group, q_dtype, phase
    )
    return _multiplied("silu_and_mul_quantize", q, scale, packed, library, n, raw_dtype)


def _multiplied(
    prologue: str,
    q: torch.Tensor,
    scale: torch.Tensor,
    packed: torch.Tensor,
    library: str,
    n: int,
    raw_dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    gemm = library_of(library, q.device)
    raw = gemm.multiply(q, packed, n, raw_dtype)
    EVIDENCE.record(gemm, q, raw, prologue)
    return raw[: scale.shape[0]], scale


def _shapes(x: torch.Tensor, n: int, raw_dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """What the ops return for the rows of x, uninitialised."""
    m = x.shape[0]
    return x.new_empty((m, n), dtype=raw_dtype), x.new_empty((m, 1), dtype=torch.float32)


def _fake(x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Of both ops: the rows are those of the first argument, and `_LAYER` ends them."""
    n, _k_out, _group, _phase, _q_dtype, raw_dtype = rest[-6:]
    return _shapes(x, n, raw_dtype)


for _name, _run in (
    ("w8a8_gemm", _w8a8_gemm),
    ("silu_and_mul_w8a8_gemm", _silu_and_mul_w8a8_gemm),
):
    _LIBRARY.impl(_name, _run, "CUDA")
    _LIBRARY.impl(_name, _run, "CPU")
    torch.library.register_fake(f"slidesparse::{_name}", _fake, lib=_LIBRARY)

w8a8_gemm = torch.ops.slidesparse.w8a8_gemm
"""`(raw: [m, n], scale: [m, 1])` of `x: [m, k]` and packed weights `[n, k_out]`.

`raw` is the sums of `GemmLibrary.multiply`, without any scale; arguments as for `quantize`.
"""
silu_and_mul_w8a8_gemm = torch.ops.slidesparse.silu_and_mul_w8a8_gemm
"""The same of the activations of `silu_and_mul_quantize`; its `gate_up` and scales come first."""
