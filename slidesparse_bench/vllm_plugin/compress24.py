"""A plain 2:4 compression: two values and two 2-bit positions for every four weights along k.

A reference for tests and for kernels of our own. It is not the layout of cuSPARSELt, whose
compressed matrices are opaque and differ by device; only its `cusparseLtSpMMACompress` makes those.

`values: [n, k / 2]` holds the two kept weights of each group of four, in the order of their
columns. `metadata: [n, ceil(k / 8)]`, uint8, holds one nibble per group, the even group of a byte
in its low half. A nibble is `first | second << 2`, the columns of the two values within the group,
first < second, as the metadata of PTX `mma.sp` counts them. A group with fewer than two non-zeros
keeps zeros from the lowest columns free; an odd last group leaves the high half 0.
"""

from __future__ import annotations

import math

import torch

from slidesparse_bench.vllm_plugin.bit_patterns import bits_of, grouped, nonzero_of, row_blocks

_INVALID = 0xFF


def _nibble(pattern: int) -> int:
    """Metadata of a group whose weight `i` is not zero where bit `i` of `pattern` is set."""
    nonzero = [column for column in range(4) if pattern >> column & 1]
    if len(nonzero) > 2:
        return _INVALID
    free = [column for column in range(4) if column not in nonzero]
    first, second = sorted((nonzero + free)[:2])
    return first | second << 2


_NIBBLES = [_nibble(pattern) for pattern in range(16)]


def compress(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compress weights that are 2:4; the layout is this module's.

    Args:
        weight: `[n, k]`, k a multiple of 4, int8 or a float of 8, 16 or 32 bits.

    Returns:
        values `[n, k / 2]` of the same dtype and metadata `[n, ceil(k / 8)]` uint8.

    Raises:
        ValueError: k is no multiple of 4, or a group has more than two non-zeros.
    """
    n, k = weight.shape
    if k % 4:
        raise ValueError(f"k = {k} is no multiple of 4; 2:4 compression takes whole groups of four")
    values = weight.new_zeros((n, k // 2))
    metadata = torch.zeros((n, math.ceil(k / 8)), dtype=torch.uint8, device=weight.device)
    for block in row_blocks(weight):
        nibbles = _nibbles_of(weight[block], block.start)
        kept = grouped(bits_of(weight[block]), 4).gather(-1, _columns_of(nibbles))
        bits_of(values[block]).copy_(kept.flatten(1))
        low_and_high = grouped(nibbles, 2)
        metadata[block] = low_and_high[..., 0] | low_and_high[..., 1] << 4
    return values, metadata


def decompress(values: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
    """Undo `compress`.

    Args:
        values: `[n, k / 2]`.
        metadata: `[n, ceil(k / 8)]` uint8.

    Returns:
        `[n, k]` of the dtype of `values`.
    """
    n, half = values.shape
    weight = values.new_zeros((n, 2 * half))
    for block in row_blocks(weight):
        nibbles = torch.stack((metadata[block] & 0xF, metadata[block] >> 4), dim=-1).flatten(1)
        columns = _columns_of(nibbles[:, : half // 2])
        groups = grouped(bits_of(weight[block]), 4)
        groups = groups.scatter(-1, columns, grouped(bits_of(values[block]), 2))
        bits_of(weight[block]).copy_(groups.flatten(1))
    return weight


def _nibbles_of(weight: torch.Tensor, first_row: int) -> torch.Tensor:
    """`[rows, k / 4]` uint8."""
    place_values = torch.tensor([1, 2, 4, 8], dtype=torch.uint8, device=weight.device)
    patterns = (grouped(nonzero_of(weight), 4) * place_values).sum(-1)
    nibbles = torch.tensor(_NIBBLES, dtype=torch.uint8, device=weight.device)[patterns]
    invalid = nibbles == _INVALID
    if invalid.any():
        row, group = invalid.nonzero()[0].tolist()
        raise ValueError(
            f"row {first_row + row}, columns {4 * group} to {4 * group + 3}: more than two "
            "non-zeros; prune to 2:4, or prune to 2:L and slide, before compressing"
        )
    return nibbles


def _columns_of(nibbles: torch.Tensor) -> torch.Tensor:
    """`[rows, groups, 2]` int64, the columns of the kept weights within their group."""
    return torch.stack((nibbles & 3, nibbles >> 2), dim=-1).to(torch.int64)
