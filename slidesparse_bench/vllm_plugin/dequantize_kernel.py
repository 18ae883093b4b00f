"""Scales and bias in Triton, for layers that run without torch.compile.

Compiled models get the same as an expression, which Inductor fuses into whatever comes next.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 2048


def dequantize(
    raw: torch.Tensor,
    x_scale: torch.Tensor,
    w_scale: torch.Tensor,
    bias: torch.Tensor | None,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """`x_scale * (w_scale * raw) + bias` in float32, on CUDA; for bfloat16, raw rounded to it.

    Args:
        raw: `[m, n_padded]`, rows contiguous.
        x_scale: float32 `[m, 1]`.
        w_scale: float32 `[1, n]`.
        bias: `[n]`.

    Returns:
        `[m, n]` of `out_dtype`.
    """
    m, n = raw.shape[0], w_scale.shape[1]
    out = torch.empty((m, n), dtype=out_dtype, device=raw.device)
    if m:
        grid = (m, triton.cdiv(n, _BLOCK))
        _dequantize[grid](
            raw,
            x_scale,
            w_scale,
            w_scale if bias is None else bias,
            out,
            n,
            raw.stride(0),
            BIAS=bias is not None,
            BLOCK=_BLOCK,
        )
    return out


@triton.jit
def _dequantize(
    raw, x_scale, w_scale, bias, out, n, stride, BIAS: tl.constexpr, BLOCK: tl.constexpr
):
    # 64 bits: 65536 x 37888 elements are more than 2^31, which has ended every public run.
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < n
    sums = tl.load(raw + row * stride + column, mask=inside, other=0).to(tl.float32)
    if out.dtype.element_ty == tl.bfloat16:
        sums = sums.to(tl.bfloat16).to(tl.float32)
    scaled = tl.load(x_scale + row) * (tl.load(w_scale + column, mask=inside, other=0) * sums)
    if BIAS:
        scaled += tl.load(bias + column, mask=inside, other=0).to(tl.float32)
    tl.store(out + row * n + column, scaled.to(out.dtype.element_ty), mask=inside)
