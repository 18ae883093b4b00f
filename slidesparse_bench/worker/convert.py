"""`python -m slidesparse_bench.worker.convert REQUEST`: prune a W8A8 checkpoint to 2:L.

Tensor by tensor: shape, type and place of every tensor stay, so that a converted file is the old
one with other bytes where the pruned weights lie. At most one weight exists twice in memory.

Pruning goes along k within each row. Layers that vLLM merges are joined along n, so merging before
or after makes no difference.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import IO

import torch

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.converted import (
    RECORD,
    ConversionEnd,
    ConversionRequest,
    Converted,
    PrunedWeight,
    SourceFile,
)
from slidesparse_bench.errors import NothingToRun, SlideSparseError, UsageError
from slidesparse_bench.vllm_plugin.bit_patterns import nonzero_of
from slidesparse_bench.vllm_plugin.sparsity import prune, satisfies
from slidesparse_bench.wire import RESULT, decode, read_json, write_json
from slidesparse_bench.worker.__main__ import die_with_parent
from slidesparse_bench.worker.conversion_record import Weight, compared, record_of
from slidesparse_bench.worker.partial_folder import appearing_at
from slidesparse_bench.worker.safetensors_file import (
    SafetensorsFile,
    Tensor,
    read_exactly,
    read_layout,
)

CHUNK_BYTES = 2**24
WEIGHT_DTYPES = {"I8": torch.int8, "F8_E4M3": torch.float8_e4m3fn}
_EXPERTS = ".experts."
_Places = dict[str, tuple[SafetensorsFile, Tensor]]
"""By the name of a tensor, the file it lies in and what it is there."""


def main(arguments: list[str]) -> int:
    """Convert, or write `result.json` beside the request, with the reason; the exit code."""
    if len(arguments) != 1:
        print("usage: python -m slidesparse_bench.worker.convert REQUEST", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    request = decode(ConversionRequest, read_json(path))
    try:
        convert(request)
    except SlideSparseError as error:
        return _ended(path, error)
    except OSError as error:  # of a full disk without a name
        where = error.filename or request.out
        return _ended(path, NothingToRun(f"{where}: {error.strerror or error}"))
    return 0


def _ended(request: Path, error: SlideSparseError) -> int:
    print(f"slidesparse: {error}", file=sys.stderr, flush=True)
    write_json(request.with_name(RESULT), ConversionEnd(int(error.exit_code), str(error)))
    return int(error.exit_code)


def convert(request: ConversionRequest) -> Converted:
    """Write the pruned checkpoint; its record lies in it as `slidesparse.json`.

    Raises:
        UsageError: nothing that can be pruned, pruned already, files that are damaged or do not
            belong together, or `out` exists.
        NothingToRun: another process is converting to the same folder.
    """
    folder = Path(request.folder)
    layouts = [read_layout(folder / name) for name in request.weight_files]
    places = _places(layouts)
    _refuse_wrong_index(request, places)
    weights, not_pruned = _weights(places)
    if not weights:
        raise UsageError(
            f"{folder} has no int8 or FP8 weights that have a weight_scale; its config.json says "
            f"{request.quantization.upper()} W8A8, so its files may belong to another checkpoint"
        )
    with appearing_at(Path(request.out), replace=request.replace) as partial:
        pruned: list[PrunedWeight] = []
        files: dict[str, SourceFile] = {}
        for name in request.other_files:
            files[name] = _copy_file(folder / name, partial / name)
        for number, layout in enumerate(layouts, start=1):
            print(f"{layout.path.name}: file {number} of {len(layouts)}", flush=True)
            converted = _Shard(layout, weights, request.sparsity)
            files[layout.path.name] = converted.write(partial / layout.path.name)
            pruned += converted.pruned
        record = record_of(request, pruned, files, not_pruned, weights)
        write_json(partial / RECORD, record)
    return record


def _places(layouts: list[SafetensorsFile]) -> _Places:
    """Where every tensor lies.

    Raises:
        UsageError: one lies in two files.
    """
    places: _Places = {}
    for layout in layouts:
        for tensor in layout.tensors:
            first, _ = places.setdefault(tensor.name, (layout, tensor))
            if first is not layout:
                raise UsageError(
                    f"{layout.path.parent}: {tensor.name} lies in {first.path.name} and in "
                    f"{layout.path.name}, and which one a model gets is not certain; keep the "
                    "files of one checkpoint only"
                )
    return places


def _refuse_wrong_index(request: ConversionRequest, places: _Places) -> None:
    """An index and files that are not of one checkpoint: part of the model may not be there."""
    files = {name: layout.path.name for name, (layout, _) in places.items()}
    wrong = [name for name, file in request.weight_map.items() if files.get(name) != file]
    if not wrong:
        return
    where = f"{files[wrong[0]]} has it" if wrong[0] in files else "no file has it"
    more = f", and likewise {len(wrong) - 1} more" if len(wrong) > 1 else ""
    raise UsageError(
        f"{request.folder}: its index puts {wrong[0]} into {request.weight_map[wrong[0]]}, which "
        f"lacks it ({where}){more}; fetch the index and all files that it names again"
    )


def _weights(places: _Places) -> tuple[dict[str, Weight], list[str]]:
    """The weights to prune, by name, and the 8-bit ones that stay: no linear layers of ours."""
    weights: dict[str, Weight] = {}
    not_pruned = []
    for name, (_, tensor) in places.items():
        if not name.endswith(".weight") or tensor.dtype not in WEIGHT_DTYPES:
            continue
        if f"{name}_zero_point" in places:
            raise UsageError(f"{name} has zero points; only symmetric weights have zeros to prune")
        scale = places.get(f"{name}_scale")
        if scale is None or len(tensor.shape) != 2 or _EXPERTS in name or not tensor.bytes:
            not_pruned.append(name)
            continue
        weights[name] = Weight(tensor, scale[0].path, scale[1])
    return weights, not_pruned


class _Shard:
    """One file of the checkpoint on its way."""

    def __init__(
        self, layout: SafetensorsFile, weights: dict[str, Weight], sparsity: Sparsity
    ) -> None:
        self._layout, self._weights, self._sparsity = layout, weights, sparsity
        self.pruned: list[PrunedWeight] = []

    def write(self, target: Path) -> SourceFile:
        """The same file with pruned weights; facts of the source."""
        digest = hashlib.sha256()
        with self._layout.path.open("rb") as source, target.open("wb") as out:
            _copy(source, out, self._layout.header_bytes, digest)
            for tensor in self._layout.tensors:
                if tensor.name in self._weights:
                    self._prune(self._weights[tensor.name], source, out, digest)
                else:
                    _copy(source, out, tensor.bytes, digest)
            _sync(out)
        return _facts(self._layout.path, digest)

    def _prune(
        self, weight: Weight, source: IO[bytes], out: IO[bytes], digest: hashlib._Hash
    ) -> None:
        data = read_exactly(source, weight.tensor.bytes)
        digest.update(data)
        before = _as_tensor(data, weight.tensor)
        _refuse_pruned(weight.tensor.name, before, self._sparsity)
        after = prune(before, self._sparsity)
        out.write(after.view(torch.uint8).numpy().data)
        self.pruned.append(compared(weight, before, after))
        print(f"{weight.tensor.name}: {self.pruned[-1].zeros:.1%} zeros", flush=True)


def _refuse_pruned(name: str, weight: torch.Tensor, sparsity: Sparsity) -> None:
    """A checkpoint that was pruned without saying so; one of all zeros counts as none."""
    # A row shorter than a group keeps its pattern whatever it holds.
    for group in (group for group in Sparsity.GROUPS if group <= weight.shape[1]):
        if satisfies(weight, Sparsity(group)):
            if group != sparsity.group and nonzero_of(weight).any():
                raise UsageError(
                    f"{name} is already pruned to {Sparsity(group)}; convert the dense checkpoint "
                    "that it was made of"
                )
            return


def _copy_file(source: Path, target: Path) -> SourceFile:
    digest = hashlib.sha256()
    with source.open("rb") as stream, target.open("wb") as out:
        _copy(stream, out, source.stat().st_size, digest)
        _sync(out)
    return _facts(source, digest)


def _copy(source: IO[bytes], out: IO[bytes], size: int, digest: hashlib._Hash) -> None:
    for position in range(0, size, CHUNK_BYTES):
        data = read_exactly(source, min(CHUNK_BYTES, size - position))
        digest.update(data)
        out.write(data)


def _as_tensor(data: bytearray, tensor: Tensor) -> torch.Tensor:
    return torch.frombuffer(data, dtype=WEIGHT_DTYPES[tensor.dtype]).reshape(tensor.shape)


def _sync(out: IO[bytes]) -> None:
    out.flush()
    os.fsync(out.fileno())


def _facts(source: Path, digest: hashlib._Hash) -> SourceFile:
    found = source.stat()
    return SourceFile(found.st_size, found.st_mtime_ns, digest.hexdigest())


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(sys.argv[1:]))
