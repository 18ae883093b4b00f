"""Which checkpoints can be pruned beforehand, and which of their files belong to them.

Reads, and downloads from the Hub what is not there; never writes to a checkpoint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.converted import RECORD, ConversionRequest, read_record
from slidesparse_bench.errors import UsageError
from slidesparse_bench.models.catalog import CATALOG
from slidesparse_bench.models.config import describe_quantization
from slidesparse_bench.models.prepare import prepare
from slidesparse_bench.models.sources import (
    CONFIG,
    WEIGHT_INDEX,
    ModelSource,
    SourceKind,
    resolve,
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_OTHER_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".ggml", ".h5", ".msgpack")
"""Copies of the weights in other files or formats: they would not be pruned."""
_SECOND_COPY = "consolidated"


@dataclass(frozen=True)
class _Named:
    name: str
    path: Path | None = None
    hub: str | None = None


def find_source(model: str, on_progress: Callable[[str], None]) -> ModelSource:
    """The W8A8 checkpoint that a folder or a Hub id names; a Hub model is downloaded if need be.

    Raises:
        UsageError: there is none, it is not W8A8, or it has no weight files.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        entry = _Named(folder.absolute().name, path=folder)
        return _usable(model, [resolve(entry, quantization) for quantization in Quantization])
    if model in CATALOG:
        raise UsageError(random_weights_reason(model))
    if not _HUB_ID.fullmatch(model):
        raise UsageError(f"--model {model}: neither a folder nor a Hub id such as org/name")
    prepared = prepare([_Named(model.rsplit("/", 1)[1], hub=model)], Quantization, on_progress)
    return _usable(model, [each.source for each in prepared], [each.reason for each in prepared])


def random_weights_reason(model: str) -> str:
    """Why a model without weight files is not converted."""
    return (
        f"{model} has no weight files: its weights are random, and pruned while vLLM loads; there "
        "is nothing to convert"
    )


def conversion_request(
    source: ModelSource, named: str, sparsity: Sparsity, out: Path, *, replace: bool
) -> ConversionRequest:
    """What to convert, by the names of its files; `named` is what the user called it.

    Raises:
        UsageError: pruned already, links that lead out of the folder, names that are not UTF-8, or
            `out` is in the way.
    """
    if source.random_weights:
        raise UsageError(random_weights_reason(named))
    folder, out = source.folder.absolute(), out.expanduser().absolute()
    _refuse_overlap(folder, out)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    _refuse_pruned(folder, config, sparsity)
    weight_map = _weight_map(folder)
    weights, others, left_out = _files(folder, weight_map)
    if not weights:
        raise UsageError(f"{folder} has no safetensors that vLLM would load; nothing to convert")
    return ConversionRequest(
        source=named if source.kind is SourceKind.HUB else folder.resolve().name,
        folder=str(folder),
        out=str(out),
        sparsity=sparsity,
        quantization=source.quantization,
        weight_files=weights,
        other_files=others,
        left_out=left_out,
        weight_map=weight_map or {},
        replace=replace,
    )


def _usable(
    model: str, sources: list[ModelSource], reasons: list[str] | None = None
) -> ModelSource:
    found = [source for source in sources if source.missing is None]
    if found and found[0].random_weights:
        raise UsageError(random_weights_reason(model))
    if found:
        return found[0]
    first = sources[0]
    words = _quantization_words(first.folder)
    if words:
        raise UsageError(
            f"{first.folder} is {words}; only W8A8 checkpoints (compressed-tensors, INT8 or FP8) "
            "can be converted: quantize it first, with llm-compressor for example"
        )
    raise UsageError((reasons or [""])[0] or str(first.missing))


def _quantization_words(folder: Path) -> str:
    """How a checkpoint that is not W8A8 is quantized; nothing when that is not its problem."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if not isinstance(config, dict):
        return ""
    quantization, words = describe_quantization(config)
    return "" if quantization else words


def _refuse_overlap(folder: Path, out: Path) -> None:
    real, real_out = folder.resolve(), out.resolve()
    if real_out == real or real in real_out.parents or real_out in real.parents:
        raise UsageError(f"--out {out}: the model is in {folder}; choose a folder apart from it")
    if out.is_symlink():
        raise UsageError(f"--out {out} is a link; name the folder itself")


def _refuse_pruned(folder: Path, config: dict[str, Any], sparsity: Sparsity) -> None:
    """A second pruning would not give what pruning the original does."""
    if (folder / RECORD).exists():
        record = read_record(folder)
        advice = (
            "use it as it is"
            if record.sparsity == sparsity
            else f"convert the checkpoint that it was made of, {record.source}"
        )
        raise UsageError(f"{folder} is already pruned to {record.sparsity} ({RECORD}); {advice}")
    found = config.get("quantization_config") or config.get("compression_config") or {}
    declared = found.get("sparsity_config") or config.get("sparsity_config")
    if not isinstance(declared, dict):
        return
    kind = str(declared.get("format", "dense"))
    structure = str(declared.get("sparsity_structure") or "unstructured")
    if kind != "dense":
        raise UsageError(
            f"{folder} stores its weights as {kind} (sparsity_config of {CONFIG}); decompress it, "
            "or convert the dense checkpoint that it was made of"
        )
    if structure not in {"unstructured", "0:0", str(sparsity)}:
        raise UsageError(
            f"{folder} is already pruned to {structure} (sparsity_config of {CONFIG}); convert the "
            "dense checkpoint that it was made of"
        )


def _files(
    folder: Path, weight_map: dict[str, str] | None
) -> tuple[list[str], list[str], list[str]]:
    """Weight files, files to copy, and what is left out, by name.

    Raises:
        UsageError: something that is no regular file of this checkpoint, or has no name in UTF-8.
    """
    named = None if weight_map is None else set(weight_map.values())
    weights, others, left_out = [], [], []
    for path in sorted(folder.iterdir()):
        _as_text(path.name, folder)
        if path.is_dir():
            left_out.append(f"{path.name}/")
        elif path.name.startswith("."):
            left_out.append(path.name)
        elif _is_weight(path.name, named):
            weights.append(_regular(path))
        elif path.name.endswith(_OTHER_WEIGHTS):
            left_out.append(path.name)
        else:
            others.append(_regular(path))
    return weights, others, left_out


def _weight_map(folder: Path) -> dict[str, str] | None:
    """What the index says, file by tensor; `resolve` has seen to it that all files are there."""
    path = folder / WEIGHT_INDEX
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(found, dict):
        return {}
    return {_as_text(name, folder): str(file) for name, file in found.items()}


def _is_weight(name: str, named: set[str] | None) -> bool:
    if named is not None:
        return name in named
    return name.endswith(".safetensors") and not name.startswith(_SECOND_COPY)


def _regular(path: Path) -> str:
    """Its name, if it is a file of the checkpoint itself.

    A Hub snapshot links to the blobs of its own repository. Any other link that leads out of the
    folder may have come with a download to have a private file copied beside the model.
    """
    real, folder = path.resolve(), path.parent.resolve()
    blobs = folder.parents[1] / "blobs" if folder.parent.name == "snapshots" else folder
    if folder not in real.parents and blobs not in real.parents:
        raise UsageError(
            f"{path} is a link to {real}, outside of the model's folder; put the file itself there"
        )
    if not real.is_file():
        raise UsageError(f"{path} is not a regular file; remove it")
    return path.name


def _as_text(name: str, folder: Path) -> str:
    """The name, if it has a UTF-8 form: JSON and file systems hold others, requests do not."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{folder}: the name {name!a} is not UTF-8; give it another") from None
    return name
