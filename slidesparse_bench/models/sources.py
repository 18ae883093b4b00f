"""Where a model of the matrix comes from: built in, a local folder, or the Hub cache.

`resolve` reads and never writes; `prepare.py` makes and downloads. What is missing is a reason on
the source, so that it costs its cells and not the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from slidesparse_bench.cache import cache_folder
from slidesparse_bench.cell import Quantization
from slidesparse_bench.errors import UsageError
from slidesparse_bench.models.catalog import Architecture, find_architecture
from slidesparse_bench.models.config import (
    architecture_from,
    config_json,
    describe_quantization,
    quantization_config,
)

CONFIG = "config.json"
WEIGHT_INDEX = "model.safetensors.index.json"
HUB_PATTERNS = ("*.json", "*.safetensors")
"""What a cell needs of a repository. No tokenizer: prompts are random token ids."""
HUB_IGNORED = ("original/*", "consolidated*")
"""Second copies of the weights that some repositories carry."""
_SHARD = re.compile(r"(?P<stem>.+)-\d+-of-(?P<count>\d+)\.safetensors")


class SourceKind(StrEnum):
    BUILTIN = "builtin"
    PATH = "path"
    HUB = "hub"


class ModelEntry(Protocol):
    """A model as the matrix names it: a built-in name, or a name with a path or a Hub id."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path | str | None: ...
    @property
    def hub(self) -> str | None: ...


@dataclass(frozen=True)
class ModelSource:
    """One model at one quantization.

    `folder` holds `config.json`, or will. `random_weights` says that the worker makes the weights
    up. `generated` is the text of a `config.json` that this program writes; None when the folder
    is somebody else's. `missing` is why the cells of this source cannot run, None when they can.
    """

    name: str
    kind: SourceKind
    quantization: Quantization
    folder: Path
    random_weights: bool
    architecture: Architecture | None
    missing: str | None = None
    generated: str | None = None


class _NotUsable(Exception):
    """Never leaves this module: its text becomes `missing`."""


def resolve(entry: ModelEntry, quantization: Quantization) -> ModelSource:
    """Find a model on this machine, without writing or downloading anything.

    Raises:
        UsageError: the name is not built in, or the entry has both a path and a Hub id.
    """
    if entry.path is not None and entry.hub is not None:
        raise UsageError(
            f"model '{entry.name}' has both a path and a hub id; give it one of the two"
        )
    if entry.path is not None:
        folder = Path(entry.path).expanduser().absolute()
        return _usable_or_missing(entry.name, SourceKind.PATH, quantization, folder)
    if entry.hub is not None:
        return _resolve_hub(entry.name, entry.hub, quantization)
    architecture = find_architecture(entry.name)
    config = config_json(architecture, quantization)
    return _generated(entry.name, SourceKind.BUILTIN, quantization, config, architecture)


def hub_snapshot(hub: str) -> tuple[Path | None, str]:
    """The folder of a complete snapshot in the Hub cache; or None and what is missing.

    Never touches the network (`local_files_only`).
    """
    try:
        # Lazy: it is an optional package, and its import takes longer than a dry run.
        from huggingface_hub import snapshot_download
    except ImportError:
        return None, "huggingface_hub is not installed: pip install 'slidesparse-bench[vllm]'"
    try:
        folder = Path(
            snapshot_download(
                hub,
                local_files_only=True,
                allow_patterns=list(HUB_PATTERNS),
                ignore_patterns=list(HUB_IGNORED),
            )
        )
        has_weights = _has_weights(_read_config_folder(folder))
    except (OSError, ValueError):
        return None, "it is not in the Hub cache, or not all of it"
    except _NotUsable as problem:
        return None, str(problem)
    return (folder, "") if has_weights else (None, "its weights are not in the Hub cache")


def _resolve_hub(name: str, hub: str, quantization: Quantization) -> ModelSource:
    folder, reason = hub_snapshot(hub)
    if folder is not None:
        return _usable_or_missing(name, SourceKind.HUB, quantization, folder)
    return ModelSource(
        name=name,
        kind=SourceKind.HUB,
        quantization=quantization,
        folder=_hub_folder(hub),
        random_weights=False,
        architecture=None,
        missing=f"model '{name}' ({hub}): {reason}; `slidesparse prepare MATRIX` fetches it",
    )


def _hub_folder(hub: str) -> Path:
    """Where the Hub cache keeps a repository (huggingface_hub's documented layout)."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    return cache / ("models--" + hub.replace("/", "--"))


def _usable_or_missing(
    name: str, kind: SourceKind, quantization: Quantization, folder: Path
) -> ModelSource:
    try:
        return _from_folder(name, kind, quantization, folder)
    except _NotUsable as problem:
        missing = f"model '{name}': {problem}"
    return ModelSource(
        name, kind, quantization, folder, random_weights=False, architecture=None, missing=missing
    )


def _from_folder(
    name: str, kind: SourceKind, quantization: Quantization, folder: Path
) -> ModelSource:
    config = _read_json(_read_config_folder(folder) / CONFIG)
    has_weights = _has_weights(folder)
    try:
        architecture = architecture_from(config, name, str(folder))
    except ValueError as problem:
        raise _NotUsable(f"{folder}: {problem}") from problem
    found, words = describe_quantization(config)
    if found is None and not has_weights and words == "not quantized":
        config["quantization_config"] = quantization_config(quantization)
        return _generated(name, kind, quantization, config, architecture)
    if found is not quantization:
        raise _NotUsable(
            f"{folder} is {words}, not {quantization.upper()} W8A8; ask for the quantization it "
            "has, or name a checkpoint that has this one"
        )
    return ModelSource(
        name,
        kind,
        quantization,
        folder,
        random_weights=not has_weights,
        architecture=architecture,
    )


def _generated(
    name: str,
    kind: SourceKind,
    quantization: Quantization,
    config: dict[str, Any],
    architecture: Architecture | None,
) -> ModelSource:
    """A folder of ours, named by its content: another content is another folder."""
    text = json.dumps(config, indent=2) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return ModelSource(
        name=name,
        kind=kind,
        quantization=quantization,
        folder=cache_folder() / "models" / f"{name}-{quantization}-{digest}",
        random_weights=True,
        architecture=architecture,
        generated=text,
    )


def _read_config_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise _NotUsable(f"{folder} is not a folder")
    if not (folder / CONFIG).is_file():
        raise _NotUsable(f"{folder} has no {CONFIG}")
    return folder


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise _NotUsable(f"{path} cannot be read: {problem}") from problem
    if not isinstance(data, dict):
        raise _NotUsable(f"{path} is not a JSON object")
    return data


def _has_weights(folder: Path) -> bool:
    """Whether the folder holds all its safetensors; part of them, or another format, is refused."""
    present = {path.name for path in folder.glob("*.safetensors")}
    absent = sorted(_expected_weights(folder, present) - present)
    if absent:
        raise _NotUsable(f"{folder} lacks {len(absent)} of its weight files, first {absent[0]}")
    others = sorted(path.name for path in (*folder.glob("*.bin"), *folder.glob("*.gguf")))
    if others and not present:
        raise _NotUsable(f"{folder} has {others[0]} and no safetensors; convert its weights")
    return bool(present)


def _expected_weights(folder: Path, present: set[str]) -> set[str]:
    """The shards that the index names, or, while there is no index, that the shards count."""
    if (folder / WEIGHT_INDEX).is_file():
        weight_map = _read_json(folder / WEIGHT_INDEX).get("weight_map")
        return (
            {str(name) for name in weight_map.values()} if isinstance(weight_map, dict) else set()
        )
    expected = set()
    for match in filter(None, map(_SHARD.fullmatch, present)):
        width, count = len(match["count"]), int(match["count"])
        expected |= {
            f"{match['stem']}-{n:0{width}}-of-{match['count']}.safetensors"
            for n in range(1, count + 1)
        }
    return expected
