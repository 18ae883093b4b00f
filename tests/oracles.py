"""What the sliding windows and the layers are compared with: no more than tests need."""

import torch

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin.bit_patterns import bits_of, grouped, row_blocks
from slidesparse_bench.vllm_plugin.reference_gemm import accumulate
from slidesparse_bench.vllm_plugin.sparsity import stretched_k


def unslide(stretched: torch.Tensor, k: int, sparsity: Sparsity) -> torch.Tensor:
    """Undo `slide`: put every weight back to its column.

    Args:
        stretched: `[n, k_stretched]`, with or without the padding of `align`.
        k: columns of the original.

    Returns:
        `[n, k]` of the same dtype.

    Raises:
        ValueError: no `slide` of `[n, k]` gives this: too few columns, a position in two windows
            at once, or weights where the padding is.
    """
    n, width = stretched.shape
    used = stretched_k(k, sparsity, align=1)
    if width < used:
        raise ValueError(f"{sparsity} weights of k = {k} slide to {used} columns, not to {width}")
    weight = stretched.new_zeros((n, k))
    for block in row_blocks(stretched):
        bits = bits_of(stretched[block])
        dense = _merge_windows(grouped(bits[:, :used], 2 * sparsity.group - 4)).flatten(1)
        if bits[:, used:].any() or dense[:, k:].any():
            raise ValueError(f"weights beyond column {k}: not a {sparsity} slide of k = {k}")
        bits_of(weight[block]).copy_(dense[:, :k])
    return weight


def _merge_windows(windows: torch.Tensor) -> torch.Tensor:
    """`[rows, groups, L]` of `[rows, groups, 2L - 4]`; no position may be in two windows."""
    rows, groups, width = windows.shape
    dense = windows.new_zeros((rows, groups, width // 2 + 2))
    for window in range(width // 4):
        target = dense[..., 2 * window : 2 * window + 4]
        source = windows[..., 4 * window : 4 * window + 4]
        if ((target != 0) & (source != 0)).any():
            raise ValueError("a position has a weight in two windows: not the result of a slide")
        target |= source
    return dense


def scaled_matmul(
    q_x: torch.Tensor,
    x_scale: torch.Tensor,
    q_w: torch.Tensor,
    w_scale: torch.Tensor,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype = torch.bfloat16,
) -> torch.Tensor:
    """A quantized linear layer: `x_scale * (w_scale * (q_x @ q_w.T)) + bias`.

    Scales and bias are applied in float32 in the order of vLLM's CUTLASS epilogue
    (csrc/cutlass_extensions/epilogue/scaled_mm_epilogues_c3x.hpp), which fuses the last two steps:
    with a bias the last bit of the float32 may differ.

    Args:
        q_x: `[m, k]` int8 or float8_e4m3fn.
        x_scale: float32 `[m, 1]`, or of one element.
        q_w: `[n, k]` of the same dtype.
        w_scale: float32 `[n, 1]` or `[n]`, or of one element.
        bias: `[n]`.

    Returns:
        `[m, n]` of `out_dtype`.

    Raises:
        ValueError: as `accumulate`.
    """
    sums = accumulate(q_x, q_w).to(torch.float32)
    scaled = x_scale.reshape(-1, 1) * (w_scale.reshape(1, -1) * sums)
    if bias is not None:
        scaled = scaled + bias.to(torch.float32)
    return scaled.to(out_dtype)
