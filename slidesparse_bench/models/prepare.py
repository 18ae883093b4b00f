"""Make or download every model of a matrix beforehand, so that no cell waits for one.

Safe to repeat and to interrupt: a finished model is left alone, an unfinished one is completed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from slidesparse_bench import wire
from slidesparse_bench.cell import Quantization
from slidesparse_bench.models.sources import (
    CONFIG,
    HUB_IGNORED,
    HUB_PATTERNS,
    ModelEntry,
    ModelSource,
    SourceKind,
    hub_snapshot,
    resolve,
)


class Action(StrEnum):
    """What `prepare` did about a model."""

    PRESENT = "present"
    MADE = "made"
    DOWNLOADED = "downloaded"
    MISSING = "missing"


@dataclass(frozen=True)
class Prepared:
    """One model at one quantization after `prepare`; `reason` says why it is missing."""

    source: ModelSource
    action: Action
    reason: str = ""


def prepare(
    entries: Iterable[ModelEntry],
    quantizations: Iterable[Quantization],
    on_progress: Callable[[str], None],
) -> list[Prepared]:
    """Make all models of a matrix usable, one result per model and quantization.

    A model that cannot be had is a result with a reason and does not stop the others.

    Raises:
        UsageError: an entry names no built-in model, or both a path and a Hub id.
    """
    wanted = list(quantizations)
    results = []
    for entry in entries:
        for prepared in _prepare_entry(entry, wanted, on_progress):
            on_progress(_line(prepared))
            results.append(prepared)
    return results


def materialize(source: ModelSource) -> bool:
    """Write the folder of a generated model; False when it is whole already, or not ours.

    The folder is whole when its `config.json`, written in one atomic step, has the right content.
    """
    if source.generated is None or is_whole(source):
        return False
    source.folder.mkdir(parents=True, exist_ok=True)
    wire.write_text(source.folder / CONFIG, source.generated)
    wire.sync_folder(source.folder.parent)
    return True


def is_whole(source: ModelSource) -> bool:
    """Whether a generated model's folder has exactly the content it is named after."""
    try:
        return (source.folder / CONFIG).read_text(encoding="utf-8") == source.generated
    except (OSError, UnicodeDecodeError):
        return False


def _prepare_entry(
    entry: ModelEntry, quantizations: list[Quantization], on_progress: Callable[[str], None]
) -> list[Prepared]:
    sources = [resolve(entry, quantization) for quantization in quantizations]
    problem, downloaded = "", False
    if any(source.missing and source.kind is SourceKind.HUB for source in sources):
        problem, downloaded = _fetch(entry, on_progress)
        sources = [resolve(entry, quantization) for quantization in quantizations]
    return [_prepare_one(source, problem, downloaded=downloaded) for source in sources]


def _prepare_one(source: ModelSource, problem: str, *, downloaded: bool) -> Prepared:
    if source.missing:
        return Prepared(source, Action.MISSING, problem or source.missing)
    if materialize(source):
        return Prepared(source, Action.MADE)
    return Prepared(source, Action.DOWNLOADED if downloaded else Action.PRESENT)


def _fetch(entry: ModelEntry, on_progress: Callable[[str], None]) -> tuple[str, bool]:
    """Download a Hub repository unless all of it is there: (why it failed, whether it was done).

    huggingface_hub resumes what an earlier call left unfinished.
    """
    hub = str(entry.hub)
    folder, reason = hub_snapshot(hub)
    if folder is not None:
        return "", False
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return f"model '{entry.name}' ({hub}): {reason}", False
    on_progress(f"{entry.name}: downloading {hub}")
    try:
        snapshot_download(hub, allow_patterns=list(HUB_PATTERNS), ignore_patterns=list(HUB_IGNORED))
    except Exception as error:  # noqa: BLE001 - HTTP, proxy, licence and disk errors share no base
        return f"model '{entry.name}' ({hub}) cannot be downloaded: {_first_line(error)}", False
    return "", True


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _line(prepared: Prepared) -> str:
    source = prepared.source
    what = f"{source.name} {source.quantization}: {prepared.action}"
    if prepared.reason:
        return f"{what}: {prepared.reason}"
    weights = ", random weights" if source.random_weights else ""
    return f"{what} in {source.folder}{weights}"
