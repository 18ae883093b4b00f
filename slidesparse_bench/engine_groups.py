"""Which cells share an engine, and what that engine must be started with. Pure.

Cells that differ in M only, or in M and stage where memory allows it, can be measured one after
the other by one engine with the limits of the largest. What else an engine is started with must
be the same for all of them, and must not depend on who shares it, so that a number does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.feasibility import FitVerdict, MemoryEstimate
from slidesparse_bench.settings import Timeouts

LIMITS = ("max_model_len", "max_num_seqs", "max_num_batched_tokens")
"""Engine arguments that grow with M; the engine gets the largest, each cell its own."""

GRAPHS, SIZES = "compilation_config", "cudagraph_capture_sizes"


@dataclass(frozen=True)
class Candidate:
    """A cell that is to run, with all that decides whom it can share an engine with.

    `fixed` names the engine arguments that the matrix sets for it.
    """

    cell: Cell
    engine_args: dict[str, Any]
    fixed: frozenset[str]
    timeouts: Timeouts
    verdict: FitVerdict
    memory_gib: MemoryEstimate | None


def groups(candidates: Iterable[Candidate], *, at_least: int = 1) -> list[list[Cell]]:
    """The cells by engine, each group in the order of `by_size`, groups as their first cell came.

    A cell that may not fit runs alone: it could take the start of all the others with it.
    `at_least` so many groups, while there are enough cells: a device each that would idle.
    """
    found: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        found.setdefault(_key(candidate), []).append(candidate)
    parts = [part for members in found.values() for part in _by_memory(members)]
    grouped = [by_size(each.cell for each in part) for part in parts]
    while len(grouped) < at_least and (largest := max(grouped, key=len, default=[]))[1:]:
        place = grouped.index(largest)
        grouped[place : place + 1] = halves(largest)
    return grouped


def by_size(cells: Iterable[Cell]) -> list[Cell]:
    """From the smallest step to the largest: a death costs what is after it, never before."""
    return sorted(cells, key=lambda cell: (cell.workload.max_num_batched_tokens, cell.m))


def halves(cells: Sequence[Cell]) -> list[list[Cell]]:
    """What is left to try of a group that did not start: each half needs less than the whole."""
    middle = (len(cells) + 1) // 2
    return [list(cells[:middle]), list(cells[middle:])]


def shared_args(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Engine arguments for all members: the largest limits, CUDA graphs for every size."""
    merged = dict(members[-1])
    for name in LIMITS:
        merged[name] = max(arguments[name] for arguments in members)
    if isinstance(merged.get(GRAPHS), dict) and SIZES in merged[GRAPHS]:
        sizes = sorted({size for arguments in members for size in arguments[GRAPHS][SIZES]})
        merged[GRAPHS] = {**merged[GRAPHS], SIZES: sizes}
    return merged


def capture_sizes(engine_args: Mapping[str, Any]) -> list[int]:
    """The batches that CUDA graphs are asked for."""
    graphs = engine_args.get(GRAPHS)
    sizes = graphs.get(SIZES) if isinstance(graphs, Mapping) else None
    return [size for size in sizes if isinstance(size, int)] if isinstance(sizes, list) else []


def _key(candidate: Candidate) -> str:
    """Equal for cells whose engines differ in nothing but the limits that follow from M."""
    cell, arguments = candidate.cell, dict(candidate.engine_args)
    for name in set(LIMITS) - candidate.fixed:
        arguments.pop(name, None)
    if isinstance(arguments.get(GRAPHS), dict):
        arguments[GRAPHS] = {k: v for k, v in arguments[GRAPHS].items() if k != SIZES}
    own = cell.id if _must_be_alone(candidate) else ""
    family = (cell.model, cell.quantization.value, cell.backend_label, own)
    return json.dumps([family, arguments, asdict(candidate.timeouts)], sort_keys=True, default=str)


def _must_be_alone(candidate: Candidate) -> bool:
    """Unless nothing is known of the model's memory at all: then the run finds out."""
    return candidate.verdict is not FitVerdict.FITS and candidate.memory_gib is not None


def _by_memory(members: list[Candidate]) -> list[list[Candidate]]:
    """Together when the largest parts of all fit at once, else one group per stage."""
    stages = {stage: [each for each in members if each.cell.stage is stage] for stage in Stage}
    present = [part for part in stages.values() if part]
    return [members] if len(present) == 1 or _fit_together(members) else present


def _fit_together(members: Sequence[Candidate]) -> bool:
    estimates = [each.memory_gib for each in members if each.memory_gib is not None]
    if len(estimates) < len(members):
        return False
    parts = ("weights", "kv_cache", "activations", "overhead")
    total = sum(max(getattr(each, part) for each in estimates) for part in parts)
    return bool(total <= estimates[0].available)
