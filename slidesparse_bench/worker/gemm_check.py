"""Whether a GEMM computed what it should, in blocks: 65536 x 37888 sums in float64 take 20 GB."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from slidesparse_bench.vllm_plugin.reference_gemm import accumulate

TOLERANCE = 1e-2
"""Of a row of FP8 sums: 2-norm of its error over its own 2-norm."""
ELEMENT_TOLERANCE = 0.25
"""Of one FP8 sum: its error over the root mean square of its row. In a row of 37888, one element
that is wrong altogether is within the tolerance of the row."""
BLOCK = 4096
"""Rows of x and of the weights that are multiplied at once: 1.4 GB in float64 at k = 18944."""


class WrongResult(ValueError):
    """The library's sums are not those of its operands."""


def check(out: torch.Tensor, q_x: torch.Tensor, weight: torch.Tensor, block: int = BLOCK) -> float:
    """Compare `out` with the dense product of the same operands.

    INT8: every sum is the exact one, rounded to the type of `out`. FP8: every row is within
    `TOLERANCE` of the exact sums rounded to float32, every element within `ELEMENT_TOLERANCE`.

    Args:
        out: `[m, n]` sums without scales.
        q_x: `[m, k]` int8 or float8_e4m3fn.
        weight: `[n, k]` of the same dtype, pruned and not slid.
        block: rows that are multiplied at once.

    Returns:
        0.0, or for FP8 the largest relative error of a row.

    Raises:
        WrongResult: says where and by how much.
    """
    if tuple(out.shape) != (q_x.shape[0], weight.shape[0]):
        expected = (q_x.shape[0], weight.shape[0])
        raise WrongResult(f"the result is {tuple(out.shape)} instead of {expected}")
    compare = _compare_exactly if q_x.dtype == torch.int8 else _compare_closely
    errors = [
        compare(out[rows], q_x[rows], weight, rows.start, block)
        for rows in _blocks(out.shape[0], block)
    ]
    return max(errors, default=0.0)


def _compare_exactly(
    out: torch.Tensor, q_x: torch.Tensor, weight: torch.Tensor, first_row: int, block: int
) -> float:
    for columns in _blocks(weight.shape[0], block):
        expected = accumulate(q_x, weight[columns]).to(out.dtype)
        wrong = out[:, columns] != expected
        if bool(wrong.any()):
            row, column = wrong.nonzero()[0].tolist()
            found, right = float(out[:, columns][row, column]), float(expected[row, column])
            raise WrongResult(
                f"wrong result: {int(wrong.sum())} of {wrong.numel()} sums differ, the first at row "
                f"{first_row + row}, column {columns.start + column}: {found:.10g} instead of "
                f"{right:.10g}"
            )
    return 0.0


def _compare_closely(
    out: torch.Tensor, q_x: torch.Tensor, weight: torch.Tensor, first_row: int, block: int
) -> float:
    """Norms of whole rows, from blocks of columns."""
    rows = out.shape[0]
    error, size, largest = (
        torch.zeros(rows, dtype=torch.float64, device=out.device) for _ in range(3)
    )
    for columns in _blocks(weight.shape[0], block):
        expected = accumulate(q_x, weight[columns]).to(torch.float64)
        difference = out[:, columns].to(torch.float64) - expected
        error += difference.square().sum(dim=1)
        size += expected.square().sum(dim=1)
        largest = torch.maximum(largest, difference.abs().amax(dim=1))
    tiny = torch.finfo(torch.float64).tiny
    relative = (error / size.clamp(min=tiny)).sqrt()
    element = largest / (size / weight.shape[0]).clamp(min=tiny).sqrt()
    # Written so that NaN counts as wrong.
    wrong = ~((relative <= TOLERANCE) & (element <= ELEMENT_TOLERANCE))
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise WrongResult(
            f"wrong result: {int(wrong.sum())} of {rows} rows, the first is row {first_row + row}: "
            f"relative error {float(relative[row]):.3g} (allowed {TOLERANCE:g}), largest of one sum "
            f"{float(element[row]):.3g} of the row's root mean square (allowed "
            f"{ELEMENT_TOLERANCE:g})"
        )
    return float(relative.max()) if rows else 0.0


def _blocks(length: int, block: int) -> Iterator[slice]:
    return (slice(start, min(length, start + block)) for start in range(0, length, block))
