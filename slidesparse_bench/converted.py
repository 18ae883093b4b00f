"""Checkpoints that `slidesparse prepare` has pruned: what is asked of the program that does it,
and `slidesparse.json`, the record that lies in the finished folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.wire import SCHEMA_VERSION, decode, read_json

RECORD = "slidesparse.json"


@dataclass(frozen=True)
class ConversionRequest:
    """One checkpoint to convert.

    `source` is what the record is to call it, `folder` where it lies and `out` where the result
    goes, both absolute. The file names are those of `folder` itself: `weight_files` are
    safetensors, `other_files` are copied, `left_out` are not. `weight_map` is that of the index,
    from names of tensors to names of files; empty where there is no index. `replace` allows to
    replace a folder that has a `slidesparse.json`.
    """

    source: str
    folder: str
    out: str
    sparsity: Sparsity
    quantization: Quantization
    weight_files: list[str]
    other_files: list[str]
    left_out: list[str]
    weight_map: dict[str, str]
    replace: bool
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class ConversionEnd:
    """How the program ended where there is no `slidesparse.json`: its own words and exit code."""

    exit_code: int
    message: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class SourceFile:
    """A file of the checkpoint that was converted; `modified_ns` since the epoch."""

    bytes: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True)
class PrunedWeight:
    """One weight `[n, k]`: shares of zeros, and what pruning took from it.

    `norm` is the Frobenius norm of the weight times its scales, before; `norm_lost` is that of what
    was set to zero, as a share of it. Both are None where the scales could not be read.
    """

    name: str
    n: int
    k: int
    zeros_before: float
    zeros: float
    norm: float | None
    norm_lost: float | None


@dataclass(frozen=True)
class Converted:
    """`slidesparse.json`.

    It lies in a folder that may be published, so it names no place of the machine: `source` is a
    Hub id, or the name of a folder without the way to it; the sha256 of `files` say for certain
    what it was.

    `zeros` are of all pruned weights together, and `norm_lost` of those whose norm is known (None:
    of none). `not_pruned` are 8-bit weights that stayed as they were, `left_out` files and folders
    of the source that were not copied.
    """

    source: str
    sparsity: Sparsity
    quantization: Quantization
    slidesparse_bench: str
    zeros: float
    norm_lost: float | None
    warnings: list[str]
    weights: list[PrunedWeight]
    not_pruned: list[str]
    left_out: list[str]
    files: dict[str, SourceFile]
    schema_version: int = SCHEMA_VERSION


def read_record(folder: Path) -> Converted:
    """The record of a converted checkpoint.

    Raises:
        FormatError: there is none, or it is damaged.
        NewerFormat: it is of a newer version.
    """
    return decode(Converted, read_json(folder / RECORD))
