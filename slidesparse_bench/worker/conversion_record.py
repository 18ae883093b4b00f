"""What converting a checkpoint did to its weights, and what its user should know of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
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

    @property
    def has_known_scales(self) -> bool:
        """Whether there is one for all rows, or one for each, of a type that is read here.

        Of blocks and groups the file does not tell the size: 192 rows with two scales may be two
        blocks of 96, or one of 128 and a rest.
        """
        n = self.tensor.shape[0]
        per_row = self.scale.shape in {(n,), (n, 1)}
        return self.scale.dtype in SCALE_DTYPES and (per_row or math.prod(self.scale.shape) == 1)


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
    known = weight.has_known_scales
    return PrunedWeight(
        name=weight.tensor.name,
        n=n,
        k=k,
        zeros_before=_share_of_zeros(before),
        zeros=_share_of_zeros(after),
        norm=math.sqrt(square) if known else None,
        norm_lost=math.sqrt(max(0.0, lost)) if known else None,
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
    """float64 `[n]`; ones where they are not known, which still tell whether values are finite."""
    tensor = weight.scale
    if not weight.has_known_scales:
        return torch.ones(n, dtype=torch.float64)
    with weight.scale_file.open("rb") as stream:
        stream.seek(tensor.begin)
        data = read_exactly(stream, tensor.bytes)
    return torch.frombuffer(data, dtype=SCALE_DTYPES[tensor.dtype]).to(torch.float64).expand(n)


def _norm_lost(pruned: list[PrunedWeight]) -> float | None:
    """Of all weights of which it is known, as a share of their norm; None when of none."""
    known = [
        (weight.norm, weight.norm * weight.norm_lost)
        for weight in pruned
        if weight.norm is not None and weight.norm_lost is not None
    ]
    if not known:
        return None
    norm, lost = (math.hypot(*norms) for norms in zip(*known, strict=True))
    return lost / norm if norm else 0.0


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
    return Converted(
        source=request.source,
        sparsity=request.sparsity,
        quantization=request.quantization,
        slidesparse_bench=__version__,
        zeros=zeros / elements,
        norm_lost=_norm_lost(pruned),
        warnings=list(_warnings(request, list(weights.values()), not_pruned)),
        weights=pruned,
        not_pruned=not_pruned,
        left_out=request.left_out,
        files=files,
    )


def _warnings(
    request: ConversionRequest,
    weights: list[Weight],
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
    unknown = [weight for weight in weights if not weight.has_known_scales]
    if unknown:
        scale, tensor = unknown[0].scale, unknown[0].tensor
        yield (
            f"{len(unknown)} of {len(weights)} weights have scales that are not one float per "
            f"tensor or row, first {scale.name} ({scale.dtype} {list(scale.shape)} for a weight "
            f"{list(tensor.shape)}): what pruning took from their norm is not known"
        )
    if not_pruned:
        yield f"{len(not_pruned)} 8-bit weights are not pruned, first {not_pruned[0]}"
    if request.left_out:
        yield f"not copied: {', '.join(request.left_out)}"
