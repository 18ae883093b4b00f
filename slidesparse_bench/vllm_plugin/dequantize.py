"""From the sums of a GEMM to the activations of the layer: scales, bias, SiLU. Plain torch."""

from __future__ import annotations

import torch


def scaled(
    raw: torch.Tensor,
    x_scale: torch.Tensor,
    w_scale: torch.Tensor,
    bias: torch.Tensor | None,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """`x_scale * (w_scale * raw) + bias`, in float32.

    When compiled this is an expression: Inductor fuses it into what comes next, which saves
    reading and writing `[m, n]` once more.

    Args:
        raw: `[m, n_padded]` as `w8a8_gemm` returns it.
        x_scale: float32 `[m, 1]`.
        w_scale: float32 `[1, n]`.
        bias: `[n]`.

    Returns:
        `[m, n]` of `out_dtype`.
    """
    if raw.is_cuda and not torch.compiler.is_compiling():
        from slidesparse_bench.vllm_plugin.dequantize_kernel import dequantize

        return dequantize(raw, x_scale, w_scale, bias, out_dtype)
    out = x_scale * (w_scale * _sums(raw[:, : w_scale.shape[1]], out_dtype))
    if bias is not None:
        out = out + bias.to(torch.float32)
    return out.to(out_dtype)


def silu_and_mul(
    raw: torch.Tensor, x_scale: torch.Tensor, w_scale: torch.Tensor, out_dtype: torch.dtype
) -> torch.Tensor:
    """`silu(gate) * up` of `[gate, up] = scaled(raw)`, all in float32 and rounded once.

    Args:
        raw: `[m, 2d]`; scales as for `scaled`.

    Returns:
        `[m, d]` of `out_dtype`.
    """
    gate, up = (x_scale * (w_scale * _sums(raw, out_dtype))).chunk(2, dim=1)
    return (torch.nn.functional.silu(gate) * up).to(out_dtype)


def _sums(raw: torch.Tensor, out_dtype: torch.dtype) -> torch.Tensor:
    """As float32. Those of 32 bits are first rounded as cuSPARSELt rounds its own, to bfloat16
    for layers of bfloat16, so that the libraries agree to the last bit."""
    sums = raw.to(torch.float32)
    return _rounded_to_bfloat16(sums) if out_dtype == torch.bfloat16 != raw.dtype else sums


def _rounded_to_bfloat16(values: torch.Tensor) -> torch.Tensor:
    """float32 rounded to bfloat16, half to even, by its bits: finite values only.

    Inductor takes a conversion there and back for nothing and leaves it out (torch 2.11, 2.13).
    """
    bits = values.view(torch.int32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded & -0x10000).view(torch.float32)
