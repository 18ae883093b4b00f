"""W8A8 linear layers in plain torch: what kernels are compared with. Exact, not fast.

Divisions are between tensors throughout. torch turns `number / tensor`, and on CUDA
`tensor / number`, into a product with the reciprocal, which rounds twice: 127 / absmax was off in
the last bit for a quarter of random values (torch 2.13, CPU).
"""

from __future__ import annotations

import torch

from slidesparse_bench.gemm_wire import EXACT_K

INT8_MAX = 127.0
FP8_MAX = 448.0
FP8_MIN_SCALE = 1 / (FP8_MAX * 512)
"""vLLM's least FP8 scale (0.32, model_executor/layers/quantization/input_quant_fp8.py)."""


def quantize_per_token(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric dynamic quantization of every row, with formulas of vLLM's kernels.

    int8: `scale = absmax / 127`, `q = round_half_even(x * (127 / absmax))`
    (csrc/quantization/w8a8/int8/scaled_quant.cu, commit 180df48e), the product exact and rounded
    once, as a fused multiply-add does it. FP8:
    `scale = max(absmax / 448, 1 / (448 * 512))`, `q = e4m3(x * (1 / scale))`, saturating, as the
    native implementation that torch.compile uses. All in float32.

    vLLM's other implementations divide by the scale (FP8 in CUDA), multiply by `1 / scale` (the
    int8 op of the CPU build) or round halves away from zero (int8 in Triton): values at a rounding
    boundary then differ by one step, 3 in 10,000 of normal bfloat16 ones on the CPU.

    Args:
        x: `[m, k]` float32, bfloat16 or float16, finite, k at least 1.
        dtype: int8 or float8_e4m3fn.

    Returns:
        q `[m, k]` and its scale, float32 `[m, 1]`. A row of zeros has q 0.

    Raises:
        ValueError: another dtype is asked for.
    """
    if dtype not in (torch.int8, torch.float8_e4m3fn):
        raise ValueError(f"activations are quantized to int8 or float8_e4m3fn, not to {dtype}")
    values = x.to(torch.float32)
    absmax = values.abs().amax(dim=-1, keepdim=True)
    largest = torch.full_like(absmax, INT8_MAX if dtype == torch.int8 else FP8_MAX)
    if dtype == torch.int8:
        exact = values.to(torch.float64) * (largest / absmax).to(torch.float64)
        return _saturated(exact, dtype), absmax / largest
    scale = (absmax / largest).clamp(min=FP8_MIN_SCALE)
    return _saturated(values * (torch.ones_like(scale) / scale), dtype), scale


def quantize_static(
    x: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same with one scale for all rows, of one float32 element."""
    inverse = torch.ones_like(scale, dtype=torch.float32) / scale
    values = x.to(torch.float32) * inverse.reshape(1, 1)
    scales = scale.to(torch.float32).reshape(1, 1).expand(x.shape[0], 1)
    return _saturated(values, dtype), scales


def accumulate(q_x: torch.Tensor, q_w: torch.Tensor, terms: int | None = None) -> torch.Tensor:
    """`q_x @ q_w.T` without any rounding of sums, whatever their order.

    Through float64, where all partial sums are exact. `torch._int_mm` is faster, but has limits of
    shape on CUDA, and s8 x s8 on x86 without VNNI may saturate (oneDNN, "Nuances of int8").

    Args:
        q_x: `[m, k]` int8 or float8_e4m3fn.
        q_w: `[n, k]` of the same dtype.
        terms: most weights of a row that are not zero, where that is known; else k.

    Returns:
        `[m, n]`: int32, or for FP8 the exact sum rounded once to float32.

    Raises:
        ValueError: k or the dtypes differ, or there may be 2^17 terms or more.
    """
    if q_x.dtype != q_w.dtype or q_x.shape[1] != q_w.shape[1]:
        raise ValueError(
            f"x is {q_x.dtype} with k = {q_x.shape[1]}, the weight {q_w.dtype} with "
            f"k = {q_w.shape[1]}; both must agree"
        )
    terms = q_x.shape[1] if terms is None else terms
    if terms >= EXACT_K:
        raise ValueError(f"sums of {terms} products; they are exact for k below {EXACT_K} only")
    sums = q_x.to(torch.float64) @ q_w.to(torch.float64).t()
    return sums.to(torch.int32 if q_x.dtype == torch.int8 else torch.float32)


def _saturated(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.int8:
        # A row of zeros is 0 x inf, NaN, and NaN becomes 0 as in the kernel's cvt.rni.sat.
        rounded = torch.nan_to_num(values.round(), nan=0.0)
        return rounded.clamp(-INT8_MAX - 1, INT8_MAX).to(torch.int8)
    return values.clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
