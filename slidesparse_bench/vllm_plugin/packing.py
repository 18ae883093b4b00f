"""From the dense weight of a layer to what its library multiplies with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin.gemm import GemmLibrary
from slidesparse_bench.vllm_plugin.sparsity import prune, slide

N_STEP = 32
"""cuSPARSELt takes 2:4 matrices of 8 bits whose sides are multiples of 32 only (status 10 otherwise);
dense libraries get the same."""
DENSE_GROUP = 4
"""`group` of weights that do not slide: windows of 2:4 weights lie side by side."""


@dataclass(frozen=True)
class Layout:
    """How a packed weight stands for `[n, k_out]`, and how activations must come to it.

    `n` is padded to what libraries take, `k_out` is the stretched and padded k; activations are
    quantized and stretched in groups of `group`, which begin `phase` columns before x.
    """

    n: int
    k_out: int
    group: int
    phase: int


def pack(
    weight: torch.Tensor, library: GemmLibrary, sparsity: Sparsity | None, first_column: int = 0
) -> tuple[torch.Tensor, Layout]:
    """Prune, slide and pack a dense weight `[n, k]`.

    Args:
        weight: `[n, k]`, int8 or float8_e4m3fn. Not modified.
        sparsity: None for a dense library.
        first_column: where the rows begin in those of the whole matrix (tensor parallelism). The
            groups are those of the whole matrix, so that one which is pruned already loses nothing.

    Raises:
        ValueError: an odd first column, or from the library.
    """
    n = weight.shape[0]
    group = sparsity.group if sparsity else DENSE_GROUP
    phase = first_column % group if sparsity else 0
    if phase % 2:
        raise ValueError(
            f"this rank's rows begin at column {first_column}, and activations are read in pairs; "
            "choose a tensor_parallel_size that splits k into even parts"
        )
    padding = (phase, 0, 0, -n % N_STEP)
    if any(padding):
        bits = torch.nn.functional.pad(weight.contiguous().view(torch.uint8), padding)
        weight = bits.view(weight.dtype)
    if sparsity is not None:
        weight = slide(prune(weight, sparsity), sparsity)
        if weight.is_cuda:
            # vLLM loads with unsplit blocks above 20 MB (`max_split_size_mb`), and a cached one that is
            # up to 20 MB too large would be taken whole (presumably 1.0 GiB of Qwen2.5-14B at 2:6).
            torch.cuda.empty_cache()
    packed = library.pack(weight)
    k_out = weight.shape[1] if sparsity else packed.shape[1]
    return packed, Layout(weight.shape[0], k_out, group, phase)
