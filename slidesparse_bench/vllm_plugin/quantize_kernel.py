"""Per-token quantization in Triton, fused with the sliding rewrite of the activations.

One program per token. It reads the row twice: once for its largest magnitude, and once more, now
from the cache, to write the quantized windows. A window of four 8-bit values is one 32-bit store,
made of two 32-bit loads of two 16-bit activations each:

    pairs of x        p0  p1  p2  p3        (2:8: four pairs, three windows per group)
    windows           p0p1  p1p2  p2p3

so that a pair is quantized once for each window that holds it: cheaper than exchanging it between
threads. Instructions are what limits it, not memory, hence the few lines of PTX.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from slidesparse_bench.vllm_plugin.reference_gemm import FP8_MAX, FP8_MIN_SCALE, INT8_MAX

_ROUNDER = tl.constexpr(12582912.0)
"""1.5 x 2^23: adding it to a float32 within ±2^22 rounds it, half to even, into the low bits."""
_INT8_MAX = tl.constexpr(INT8_MAX)
_FP8_MAX = tl.constexpr(FP8_MAX)
_FP8_MIN_SCALE = tl.constexpr(FP8_MIN_SCALE)
_SHAPES = (
    (1024, 8, (512, 256, 4)),
    (1024, 16, (512, 512, 4)),
    (2048, 16, (1024, 512, 8)),
    (2560, 16, (512, 256, 4)),
    (4096, 16, (2048, 512, 8)),
    (2**31, 16, (2048, 1024, 16)),
)
"""Up to so many pairs in a row, up to such a group: pairs loaded and windows stored at once, warps.

The best of fourteen that were tried on an H200 for k = 2048, 3584, 5120, 8192 and 18944, with cold
caches, m = 4096 to 65536 and 2:4, 2:8, 2:10. They move 0.73 to 0.91 of the bytes that a plain copy
moves in the same time, least in FP8 at 2:10."""

_compiled: dict[tuple[object, ...], Any] = {}
"""By everything that Triton specializes on and that differs between calls: other tensors than x are
fresh from the allocator, which aligns them. Its own look-up takes the host some 25 µs a call."""


def quantize(
    x: torch.Tensor,
    q: torch.Tensor,
    scale: torch.Tensor,
    static_scale: torch.Tensor | None,
    group: int,
    phase: int,
) -> None:
    """Quantize and stretch the rows of x, on CUDA.

    Args:
        x: `[m, k]` bfloat16 or float16, rows contiguous, k even, rows 4-byte aligned.
        q: `[m or more, k_out]` int8 or float8_e4m3fn, contiguous, k_out a multiple of 4; written.
        scale: `[m, 1]` float32; written.
        static_scale: one float32 that scales all tokens; None: each token by its own magnitude.
        group: L of the sparsity `2:L`; 4 also where nothing is stretched.
        phase: where in a group x begins, an even number.
    """
    m, k = x.shape
    if m == 0:
        return
    *blocks, warps = _shape(k // 2, group)
    arguments = (
        x,
        q,
        scale,
        scale if static_scale is None else static_scale,
        k // 2,
        q.shape[1] // 4,
        x.stride(0) // 2,
        static_scale is None,
        x.dtype == torch.float16,
        q.dtype == torch.int8,
        group,
        phase,
        *blocks,
    )
    key = (x.device.index, x.data_ptr() % 16, arguments[3].dtype, *arguments[4:12])
    known = _compiled.get(key)
    if known is None:
        _compiled[key] = _quantize_rows[(m,)](*arguments, num_warps=warps)
    else:
        known[(m, 1, 1)](*arguments)


def _shape(pairs: int, group: int) -> tuple[int, int, int]:
    return next(shape for most, widest, shape in _SHAPES if pairs <= most and group <= widest)


@triton.jit
def _low(word, HALF: tl.constexpr):
    if HALF:
        return (word & 0xFFFF).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    return (word << 16).to(tl.float32, bitcast=True)


@triton.jit
def _high(word, HALF: tl.constexpr):
    if HALF:
        return (word >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    return (word & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _rounded(value, inverse, DYNAMIC: tl.constexpr):
    """The int8 in the low byte. Scaled by its own largest magnitude no value leaves ±127."""
    if DYNAMIC:
        return tl.fma(value, inverse, _ROUNDER).to(tl.int32, bitcast=True)
    limited = tl.minimum(tl.maximum(value * inverse, -128.0), _INT8_MAX)
    return (limited + _ROUNDER).to(tl.int32, bitcast=True)


@triton.jit
def _quantized_pair(word, inverse, DYNAMIC: tl.constexpr, HALF: tl.constexpr, INT8: tl.constexpr):
    """Two activations as two 8-bit values, in the low half of 32 bits."""
    low, high = _low(word, HALF), _high(word, HALF)
    if INT8:
        return tl.inline_asm_elementwise(
            "prmt.b32 $0, $1, $2, 0x0040;",
            "=r,r,r",
            [_rounded(low, inverse, DYNAMIC), _rounded(high, inverse, DYNAMIC)],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
    return tl.inline_asm_elementwise(
        "{.reg .b16 pair; cvt.rn.satfinite.e4m3x2.f32 pair, $2, $1; cvt.u32.u16 $0, pair;}",
        "=r,f,f",
        [low * inverse, high * inverse],
        dtype=tl.int32,
        is_pure=True,
        pack=1,
    )


@triton.jit
def _largest_magnitude(x, pairs, HALF: tl.constexpr, BLOCK: tl.constexpr):
    """As integers: without their sign, floats count up with value, and NaN is above all."""
    offsets = tl.arange(0, BLOCK)
    low = tl.zeros((BLOCK,), tl.int32)
    high = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, pairs, BLOCK):
        word = tl.load(x + start + offsets, mask=start + offsets < pairs, other=0)
        low = tl.maximum(low, word & 0x7FFF)
        high = tl.maximum(high, word & 0x7FFF0000)
    bits = tl.max(tl.maximum(low, high >> 16), 0)
    if HALF:
        return bits.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    return (bits << 16).to(tl.float32, bitcast=True)


@triton.jit
def scale_of(absmax, INT8: tl.constexpr):
    """The scale of a token and what its values are multiplied by, of its largest magnitude."""
    if INT8:
        scale = tl.div_rn(absmax, _INT8_MAX)
        inverse = tl.where(absmax > 0, tl.div_rn(_INT8_MAX, absmax), 0.0)
    else:
        scale = tl.maximum(
            tl.div_rn(absmax, _FP8_MAX), _FP8_MIN_SCALE, propagate_nan=tl.PropagateNan.ALL
        )
        inverse = tl.div_rn(1.0, scale)
    return scale, inverse


@triton.jit
def quantized_windows(
    x,
    window,
    wanted,
    pairs,
    inverse,
    DYNAMIC: tl.constexpr,
    HALF: tl.constexpr,
    INT8: tl.constexpr,
    GROUP: tl.constexpr,
    PHASE: tl.constexpr,
):
    """Four 8-bit values in 32 bits for every `window` that is `wanted`; x points at its pairs."""
    per_group: tl.constexpr = GROUP // 2 - 1
    pair = window // per_group * (GROUP // 2) + window % per_group - PHASE // 2
    has_first, has_second = wanted & (pair < pairs), wanted & (pair + 1 < pairs)
    if PHASE:
        has_first, has_second = has_first & (pair >= 0), has_second & (pair >= -1)
    first = tl.load(x + pair, mask=has_first, other=0)
    second = tl.load(x + pair + 1, mask=has_second, other=0)
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, 0x5410;",
        "=r,r,r",
        [
            _quantized_pair(first, inverse, DYNAMIC, HALF, INT8),
            _quantized_pair(second, inverse, DYNAMIC, HALF, INT8),
        ],
        dtype=tl.int32,
        is_pure=True,
        pack=1,
    )


@triton.jit
def _quantize_rows(
    x,
    q,
    scales,
    static_scale,
    pairs,
    windows,
    stride,
    DYNAMIC: tl.constexpr,
    HALF: tl.constexpr,
    INT8: tl.constexpr,
    GROUP: tl.constexpr,
    PHASE: tl.constexpr,
    LOAD_BLOCK: tl.constexpr,
    STORE_BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x = x.to(tl.pointer_type(tl.int32), bitcast=True) + row * stride
    q = q.to(tl.pointer_type(tl.int32), bitcast=True) + row * windows
    if DYNAMIC:
        scale, inverse = scale_of(_largest_magnitude(x, pairs, HALF, LOAD_BLOCK), INT8)
    else:
        scale = tl.load(static_scale)
        inverse = tl.div_rn(1.0, scale)
    tl.store(scales + row, scale)
    offsets = tl.arange(0, STORE_BLOCK)
    for start in range(0, windows, STORE_BLOCK):
        window = start + offsets
        quantized = quantized_windows(
            x, window, window < windows, pairs, inverse, DYNAMIC, HALF, INT8, GROUP, PHASE
        )
        tl.store(q + window, quantized, mask=window < windows)
