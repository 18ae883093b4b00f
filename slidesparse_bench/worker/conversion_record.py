"""What converting a checkpoint did to its weights, and what its user should know of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from slidesparse_bench import __version__
from slidesparse_bench.converted import ConversionRequest, Converted, PrunedWeight, SourceFile
from slidesparse_bench.errors import UsageError
from slidesparse_bench.vllm_plugin.bit_patterns import nonzero_of, row_blocks
from slidesparse_bench.worker.safetensors_file import Tensor, read_exactly

SCALE_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class Weight:
    """A weight to prune, and the file and tensor of its scales."""

    tensor: Tensor
    scale_file: Path
    scale: Tensor


def compared(weight: Weight, before: torch.Tensor, after: torch.Tensor) -> PrunedWeight:
    """What pruning did to one weight.

    Raises:
        UsageError: values that are not finite.
    """
    n, k = before.shape
    scales = _scales(weight, n)
    square, square_left = _squared_norm(before, scales), _squared_norm(after, scales)
    if not math.isfinite(square):
        raise UsageError(f"{weight.tensor.name} or its scales have values that are not finite")
    lost = 1 - square_left / square if square else 0.0
    return PrunedWeight(
        name=weight.tensor.name,
        n=n,
        k=k,
        zeros_before=_share_of_zeros(before),
        zeros=_share_of_zeros(after),
        norm=math.sqrt(square),
        norm_lost=math.sqrt(max(0.0, lost)),
    )


def _share_of_zeros(weight: torch.Tensor) -> float:
    nonzeros = sum(int(nonzero_of(weight[rows]).sum()) for rows in row_blocks(weight))
    return 1 - nonzeros / int(weight.numel())


def _squared_norm(weight: torch.Tensor, scales: torch.Tensor) -> float:
    """Of `weight: [n, k]` times `scales: [n]`, in float64."""
    total = 0.0
    for rows in row_blocks(weight):
        squares = weight[rows].float().square().sum(1, dtype=torch.float64)
        total += float((squares * scales[rows] ** 2).sum())
    return total


def _scales(weight: Weight, n: int) -> torch.Tensor:
    """float64 `[n]`; ones where the scales have a type or a number that is not known here."""
    tensor = weight.scale
    count = math.prod(tensor.shape)
    if tensor.dtype not in SCALE_DTYPES or count not in (1, n):
        return torch.ones(n, dtype=torch.float64)
    with weight.scale_file.open("rb") as stream:
        stream.seek(tensor.begin)
        data = read_exactly(stream, tensor.bytes)
    return torch.frombuffer(data, dtype=SCALE_DTYPES[tensor.dtype]).to(torch.float64).expand(n)


def record_of(
    request: ConversionRequest,
    pruned: list[PrunedWeight],
    files: dict[str, SourceFile],
    not_pruned: list[str],
    weights: dict[str, Weight],
) -> Converted:
    """The content of `slidesparse.json`."""
    elements = sum(weight.n * weight.k for weight in pruned)
    zeros = sum(weight.zeros * weight.n * weight.k for weight in pruned)
    norm = math.hypot(*(weight.norm for weight in pruned))
    norm_lost = math.hypot(*(weight.norm * weight.norm_lost for weight in pruned))
    return Converted(
        source=request.source,
        sparsity=request.sparsity,
        quantization=request.quantization,
        slidesparse_bench=__version__,
        zeros=zeros / elements,
        norm_lost=norm_lost / norm if norm else 0.0,
        warnings=list(_warnings(request, weights.values(), not_pruned)),
        weights=pruned,
        not_pruned=not_pruned,
        left_out=request.left_out,
        files=files,
    )


def _warnings(
    request: ConversionRequest,
    weights: Iterable[Weight],
    not_pruned: list[str],
) -> Iterator[str]:
    if any(
        weight.tensor.dtype == "F8_E4M3" and math.prod(weight.scale.shape) == 1
        for weight in weights
    ):
        yield (
            "FP8 weights with one scale per tensor: vLLM rounds those of merged layers anew to the "
            "largest scale, so pruning while loading may choose other weights than these"
        )
    if not_pruned:
        yield f"{len(not_pruned)} 8-bit weights are not pruned, first {not_pruned[0]}"
    if request.left_out:
        yield f"not copied: {', '.join(request.left_out)}"
