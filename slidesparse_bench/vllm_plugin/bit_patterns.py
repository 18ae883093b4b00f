"""Weights as bit patterns, so that int8, FP8 and wider floats go through the same few operations.

torch has hardly any arithmetic for float8 (2.13: no masked_fill, gather, abs on the CPU). Nothing
here needs it: moving a value, asking whether it is zero and comparing magnitudes work on its bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

BLOCK_ELEMENTS = 2**22
"""Elements that are worked on at once: temporaries take some 100 MiB at most, whatever the layer."""

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
_ALL_BUT_SIGN = {1: 0x7F, 2: 0x7FFF, 4: 0x7FFF_FFFF}


def bits_of(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as integers: int8 as it is, floats as integers of their width.

    Raises:
        ValueError: the dtype is neither int8 nor a float of 8, 16 or 32 bits.
    """
    if tensor.dtype == torch.int8:
        return tensor
    if not tensor.dtype.is_floating_point or tensor.itemsize not in _BITS:
        raise ValueError(f"weights of {tensor.dtype}; int8 and floats of 8, 16, 32 bits are known")
    return tensor.view(_BITS[tensor.itemsize])


def magnitude_of(tensor: torch.Tensor) -> torch.Tensor:
    """Integers that compare as `abs(tensor)` does; both zeros give 0, NaN more than infinity.

    Only their order means anything for floats: sign and magnitude formats count up with value.
    """
    bits = bits_of(tensor)
    if tensor.dtype == torch.int8:
        return bits.to(torch.int16).abs()  # abs(-128) has no int8
    return bits & _ALL_BUT_SIGN[tensor.itemsize]


def nonzero_of(tensor: torch.Tensor) -> torch.Tensor:
    """Where a value is not zero, as bool; -0.0 is zero, NaN is not."""
    bits = bits_of(tensor)
    if tensor.dtype == torch.int8:
        return bits != 0
    return (bits & _ALL_BUT_SIGN[tensor.itemsize]) != 0


def grouped(tensor: torch.Tensor, group: int) -> torch.Tensor:
    """`[rows, k]` of integers or bools as `[rows, ceil(k / group), group]`, the tail filled with 0."""
    rows, k = tensor.shape
    whole = torch.nn.functional.pad(tensor, (0, -k % group)) if k % group else tensor
    return whole.reshape(rows, math.ceil(k / group), group)


def row_blocks(tensor: torch.Tensor) -> Iterator[slice]:
    """Slices that cover the rows of `[rows, k]`, each of about `BLOCK_ELEMENTS` elements."""
    rows, k = tensor.shape
    step = max(1, BLOCK_ELEMENTS // max(1, k))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))
