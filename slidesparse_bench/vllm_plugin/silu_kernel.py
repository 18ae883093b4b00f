"""SwiGLU's activation in Triton, fused with the scales before and the quantization behind it.

    gate_up GEMM  ->  scales, silu(gate) * up, quantize, stretch  ->  down GEMM

The activations between, `[m, intermediate]`, stay in the L2 cache: a program works on one token
after another and keeps the activations in a scratch that the next token overwrites.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl

from slidesparse_bench.vllm_plugin.quantize_kernel import quantized_windows, scale_of

_LOAD_BLOCK, _STORE_BLOCK, _WARPS = 4096, 2048, 16
"""Columns loaded and windows stored at once. The best of 200 on an H200, d = 18944, m = 16384: with
sums in bfloat16 and 2:8 it takes 0.79 of the time that Inductor's activation and the quantization
take one after the other, in int32 and 2:4 0.87."""
_compiled: dict[tuple[object, ...], Any] = {}
"""As in `quantize_kernel`; all other tensors are fresh from the allocator, which aligns them."""


def silu_and_mul_quantize(
    raw: torch.Tensor,
    x_scale: torch.Tensor,
    w_scale: torch.Tensor,
    dtype: torch.dtype,
    q: torch.Tensor,
    scale: torch.Tensor,
    static_scale: torch.Tensor | None,
    group: int,
    phase: int,
) -> None:
    """Quantize and stretch `silu(gate) * up` of `[gate, up] = x_scale * w_scale * raw`, on CUDA.

    Args:
        raw: `[m, 2d]`, rows contiguous, d even; sums of the GEMM before.
        x_scale, w_scale: float32 `[m, 1]` and `[1, 2d]`.
        dtype: bfloat16 or float16, to which activations are rounded before they are quantized.
        q, scale, static_scale, group, phase: as for `quantize_kernel.quantize`, k being d.
    """
    m, d = raw.shape[0], raw.shape[1] // 2
    if m == 0:
        return
    programs = min(m, _programs(raw.device))
    arguments = (
        raw,
        x_scale,
        w_scale,
        torch.empty((programs, d), dtype=dtype, device=raw.device),
        q,
        scale,
        scale if static_scale is None else static_scale,
        m,
        d,
        q.shape[1] // 4,
        raw.stride(0),
        static_scale is None,
        q.dtype == torch.int8,
        group,
        phase,
        _LOAD_BLOCK,
        _STORE_BLOCK,
    )
    kinds = (raw.dtype, dtype, arguments[6].dtype)
    addresses = (raw.data_ptr() % 16, w_scale.data_ptr() % 16)
    key = (raw.device.index, *addresses, *kinds, *arguments[8:15])
    known = _compiled.get(key)
    if known is None:
        _compiled[key] = _silu_and_mul_quantize[(programs,)](*arguments, num_warps=_WARPS)
    else:
        known[(programs, 1, 1)](*arguments)


@functools.cache
def _programs(device: torch.device) -> int:
    """As many as did best: fewer leave multiprocessors waiting, more scratch leaves the L2 cache."""
    return 3 * int(torch.cuda.get_device_properties(device).multi_processor_count)


@triton.jit
def _sigmoid(x):
    """With the GPU's own exponential and reciprocal, 2 and 1 units in the last place of float32."""
    return tl.inline_asm_elementwise(
        """{
        .reg .f32 t;
        mul.f32 t, $1, 0fBFB8AA3B;
        ex2.approx.ftz.f32 t, t;
        add.f32 t, t, 0f3F800000;
        rcp.approx.ftz.f32 $0, t;
        }""",
        "=f,f",
        [x],
        dtype=tl.float32,
        is_pure=True,
        pack=1,
    )


@triton.jit
def _scaled(raw, x_scale, w_scales, column, inside, ROUNDED: tl.constexpr):
    sums = tl.load(raw + column, mask=inside, other=0).to(tl.float32)
    if ROUNDED:
        sums = sums.to(tl.bfloat16).to(tl.float32)
    return x_scale * (tl.load(w_scales + column, mask=inside, other=0) * sums)


@triton.jit
def _activate(raw, x_scale, w_scales, activations, d, BLOCK: tl.constexpr):
    """Write the activations of a token; their largest magnitude, NaN above all."""
    kind: tl.constexpr = activations.dtype.element_ty
    rounded: tl.constexpr = (kind == tl.bfloat16) and (raw.dtype.element_ty != tl.bfloat16)
    largest = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, d, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < d
        gate = _scaled(raw, x_scale, w_scales, column, inside, rounded)
        up = _scaled(raw + d, x_scale, w_scales + d, column, inside, rounded)
        value = gate * _sigmoid(gate) * up
        tl.store(activations + column, value.to(kind), mask=inside)
        largest = tl.maximum(largest, tl.abs(value), propagate_nan=tl.PropagateNan.ALL)
    # By their bits, as NaN is above all then. Rounding keeps the order, so it may come last.
    bits = tl.max(largest.to(tl.int32, bitcast=True), 0)
    return bits.to(tl.float32, bitcast=True).to(kind).to(tl.float32)


@triton.jit(do_not_specialize=["m"])  # what is compiled is kept for every m
def _silu_and_mul_quantize(
    raw,
    x_scales,
    w_scales,
    scratch,
    q,
    scales,
    static_scale,
    m,
    d,
    windows,
    stride,
    DYNAMIC: tl.constexpr,
    INT8: tl.constexpr,
    GROUP: tl.constexpr,
    PHASE: tl.constexpr,
    LOAD_BLOCK: tl.constexpr,
    STORE_BLOCK: tl.constexpr,
):
    half: tl.constexpr = scratch.dtype.element_ty == tl.float16
    activations = scratch + tl.program_id(0) * d
    pairs = activations.to(tl.pointer_type(tl.int32), bitcast=True)
    q = q.to(tl.pointer_type(tl.int32), bitcast=True)
    for token in range(tl.program_id(0), m, tl.num_programs(0)):
        # 64 bits: 65536 x 37888 sums are more than 2^31.
        row = tl.cast(token, tl.int64)
        x_scale = tl.load(x_scales + row)
        absmax = _activate(raw + row * stride, x_scale, w_scales, activations, d, LOAD_BLOCK)
        if DYNAMIC:
            scale, inverse = scale_of(absmax, INT8)
        else:
            scale = tl.load(static_scale)
            inverse = tl.div_rn(1.0, scale)
        tl.store(scales + row, scale)
        tl.debug_barrier()  # what other threads wrote is read now
        for start in range(0, windows, STORE_BLOCK):
            window = start + tl.arange(0, STORE_BLOCK)
            wanted = window < windows
            quantized = quantized_windows(
                pairs, window, wanted, d // 2, inverse, DYNAMIC, half, INT8, GROUP, PHASE
            )
            tl.store(q + row * windows + window, quantized, mask=wanted)
        tl.debug_barrier()  # before the next token overwrites it
