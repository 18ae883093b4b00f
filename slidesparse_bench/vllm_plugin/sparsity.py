"""Pruning to `2:L` and the sliding windows that turn it into 2:4 (SlideSparse, arXiv 2603.05232).

NVIDIA's sparse tensor cores take at most two non-zeros in every four consecutive weights along k.
A row of `2:L` weights has at most L - 2 non-zeros in every group of L. L/2 - 1 windows of four,
each two further than the one before, cover a group; every non-zero goes to one window that
contains it, two to a window at most:

    group of 2:8     a b c d e f . .        six non-zeros, two zeros
    window 0         a b . .                reads x[0:4]
    window 1             c d . .            reads x[2:6]
    window 2                 e f . .        reads x[4:8]

Side by side the windows are a 2:4 row of 2L - 4 weights per group, so k grows by 2(L-2)/L. x is
stretched to match, its overlapping columns repeated. Each product of the dense sum then appears
once and every other one has a zero weight: the integer sums are equal, and floating-point sums
differ by the order of their terms only.

The first two non-zeros at hand
-------------------------------
Windows are filled from left to right; each takes the first two non-zeros in its reach that no
earlier window took. Nothing is left behind when a group has at most L - 2 non-zeros:

1. After window i, which reaches [2i, 2i + 4), every non-zero before 2i + 2 is taken. By induction
   all before 2i were when it began, so 2i and 2i + 1 hold the first (at most two) it meets.
2. Let window j be the last that took fewer than two. It left nothing in its reach, so all before
   2j + 4 is taken. The L/2 - 2 - j windows after it took two each, L - (2j + 4) non-zeros out of
   the L - (2j + 4) positions from 2j + 4 on: nothing is left there either.
3. If there is no such window, L/2 - 1 windows took two each: L - 2, which is all there can be.

Conversely the windows hold no more than L - 2, so something is left exactly if the group breaks
the pattern.
"""

from __future__ import annotations

import math

import torch

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin.bit_patterns import (
    bits_of,
    grouped,
    magnitude_of,
    nonzero_of,
    row_blocks,
)

ALIGN = 32
"""Columns of a stretched matrix are a multiple of this: what cuSPARSELt asks of 8-bit 2:4 matrices
(torch 2.13, sparse/semi_structured.py, SparseSemiStructuredTensorCUSPARSELT)."""

_KEY_DTYPES = {1: torch.int16, 2: torch.int32, 4: torch.int64}


def prune(weight: torch.Tensor, sparsity: Sparsity) -> torch.Tensor:
    """Zero the two weights of least magnitude in every group of L along k.

    Of equal magnitudes the one further right goes first. Groups that have two zeros come back
    unchanged. The last group of a k that is no multiple of L is completed with zeros on the
    right, which go first: a tail of r weights loses max(0, r - (L - 2)).

    Args:
        weight: `[n, k]`, int8, float8_e4m3fn, float16, bfloat16 or float32. Not modified.

    Returns:
        A new `[n, k]` of the same dtype.
    """
    pruned = weight.contiguous().clone()
    for block in row_blocks(pruned):
        bits_of(pruned[block]).mul_(_kept(pruned[block], sparsity.group))
    return pruned


def satisfies(weight: torch.Tensor, sparsity: Sparsity) -> bool:
    """Whether every group of L along k of `weight: [n, k]` has at most L - 2 non-zeros."""
    return _first_excess(weight, sparsity.group) is None


def stretched_k(k: int, sparsity: Sparsity, align: int = ALIGN) -> int:
    """Columns after sliding: 2L - 4 for each group of L, the last one whole, then up to `align`.

    For k that is a multiple of L this is k * `Sparsity.k_stretch`, aligned.
    """
    windows = math.ceil(k / sparsity.group) * (2 * sparsity.group - 4)
    return math.ceil(windows / align) * align


def slide(weight: torch.Tensor, sparsity: Sparsity, align: int = ALIGN) -> torch.Tensor:
    """Rewrite `2:L` weights losslessly as 2:4 weights of a longer row.

    Group g of L goes to columns [g(2L - 4), (g + 1)(2L - 4)), its windows one after the other.

    Args:
        weight: `[n, k]`, any dtype that `prune` takes.
        align: multiple of 4 that the result's width is padded to, with zeros.

    Returns:
        `[n, stretched_k(k, sparsity, align)]` of the same dtype. -0.0 becomes 0.0.

    Raises:
        ValueError: a group has more than L - 2 non-zeros; the message names the first.
    """
    n, k = weight.shape
    stretched = weight.new_zeros((n, stretched_k(k, sparsity, align)))
    used = stretched_k(k, sparsity, align=1)
    for block in row_blocks(weight):
        bits = grouped(bits_of(weight[block]), sparsity.group)
        nonzero = grouped(nonzero_of(weight[block]), sparsity.group)
        windows, all_taken = _fill_windows(bits, nonzero)
        if not all_taken:
            raise ValueError(_describe_excess(weight, sparsity))
        bits_of(stretched[block])[:, :used] = windows.flatten(1)
    return stretched


def stretch_index(
    k: int,
    sparsity: Sparsity,
    align: int = ALIGN,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Which column of x each column of the stretched x repeats; k where `slide` has padding.

    Returns:
        int64 `[stretched_k(k, sparsity, align)]`, values in [0, k].
    """
    groups, windows = math.ceil(k / sparsity.group), sparsity.group // 2 - 1
    group_starts = sparsity.group * torch.arange(groups, device=device)
    window_starts = 2 * torch.arange(windows, device=device)
    starts = group_starts[:, None, None] + window_starts[None, :, None]
    index = (starts + torch.arange(4, device=device)).flatten()
    padding = stretched_k(k, sparsity, align) - index.numel()
    return torch.nn.functional.pad(index, (0, padding), value=k).clamp_(max=k)


def stretch(x: torch.Tensor, sparsity: Sparsity, align: int = ALIGN) -> torch.Tensor:
    """Repeat the columns of activations as the windows of `slide` read them; padding is zero.

    Every column appears at least once, so the largest magnitude of a row stays, and quantizing
    per token gives the same before and after.

    Args:
        x: `[m, k]`, int8 or a float of 8, 16 or 32 bits.

    Returns:
        `[m, stretched_k(k, sparsity, align)]` of the same dtype.
    """
    index = stretch_index(x.shape[1], sparsity, align, x.device)
    padded = torch.nn.functional.pad(bits_of(x), (0, 1))
    return padded.index_select(1, index).view(x.dtype)


def _kept(weight: torch.Tensor, group: int) -> torch.Tensor:
    """`[rows, k]` bool: all but the two least of each group."""
    k = weight.shape[1]
    keys = grouped(magnitude_of(weight), group).to(_KEY_DTYPES[weight.itemsize])
    order_of_ties = torch.arange(group - 1, -1, -1, dtype=keys.dtype, device=keys.device)
    keys = keys * group + order_of_ties  # no two keys of a group are equal
    columns = keys.unbind(-1)
    least = torch.minimum(columns[0], columns[1])
    second = torch.maximum(columns[0], columns[1])
    for column in columns[2:]:
        second = torch.minimum(second, torch.maximum(least, column))
        least = torch.minimum(least, column)
    return (keys > second.unsqueeze(-1)).flatten(1)[:, :k]


def _fill_windows(bits: torch.Tensor, nonzero: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Windows `[rows, groups, L/2 - 1, 4]` of `[rows, groups, L]`, and whether all was taken."""
    rows, groups, group = bits.shape
    windows = bits.new_zeros((rows, groups, group // 2 - 1, 4))
    first, second = nonzero[..., 0], nonzero[..., 1]  # what the window before left of its own
    for window in range(group // 2 - 1):
        start = 2 * window
        third, fourth = nonzero[..., start + 2], nonzero[..., start + 3]
        full = first & second
        takes_third = third & ~full
        takes_fourth = fourth & ~full & ~(third & (first | second))
        for slot, takes in enumerate((first, second, takes_third, takes_fourth)):
            torch.mul(bits[..., start + slot], takes, out=windows[..., window, slot])
        first, second = third & ~takes_third, fourth & ~takes_fourth
    return windows, not bool((first | second).any())


def _first_excess(weight: torch.Tensor, group: int) -> tuple[int, int, int] | None:
    """Row, group and number of non-zeros of the first group with more than L - 2; None: no such."""
    for block in row_blocks(weight):
        counts = grouped(nonzero_of(weight[block]), group).sum(-1, dtype=torch.uint8)
        if (counts > group - 2).any():
            row, index = (counts > group - 2).nonzero()[0].tolist()
            return block.start + row, index, int(counts[row, index])
    return None


def _describe_excess(weight: torch.Tensor, sparsity: Sparsity) -> str:
    excess = _first_excess(weight, sparsity.group)
    assert excess is not None, "the windows left a weight in a group that keeps the pattern"
    row, index, count = excess
    start = index * sparsity.group
    end = min(start + sparsity.group, weight.shape[1]) - 1
    return (
        f"row {row}, columns {start} to {end}: {count} non-zeros, but {sparsity} allows "
        f"{sparsity.group - 2} in a group of {sparsity.group}; prune the weight first"
    )
