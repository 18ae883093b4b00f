"""A public SlideSparse result tree as an `ImportedRun`.

A tree holds each fact up to three times: sections of `benchmark.log`, run logs, and results as
JSON and CSV. The logs give the attempts, the JSON files the exact numbers; where a log is missing
the others stand in. Source of the formats: repository bcacdwk/vllmbench, `slidesparse/tools/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from slidesparse_bench.cell import Cell
from slidesparse_bench.errors import UsageError
from slidesparse_bench.importers.imported import (
    Excerpt,
    ImportedAttempt,
    ImportedCell,
    ImportedRun,
    Lengths,
)
from slidesparse_bench.importers.tree_calls import Call, Skip, read_call
from slidesparse_bench.importers.tree_logs import sections
from slidesparse_bench.importers.tree_machine import device_of, machine_facts, unknown_facts
from slidesparse_bench.importers.tree_names import (
    RESULTS_FOLDER,
    ResultFolder,
    our_model,
    quantization_of,
    result_folders,
)
from slidesparse_bench.importers.tree_results import Stored, csv_results, json_results
from slidesparse_bench.importers.tree_tries import Try, as_attempt, date, invalid, merged, same_try

FORMAT = "slidesparse-tree"
_SHOWN_WARNINGS = 20


def read_tree(folder: Path, gpu: str | None = None) -> ImportedRun:
    """Read a tree, or the part of one GPU of it. Nothing in it is modified.

    `folder` holds `throughput_benchmark_results/` or is that folder.

    Raises:
        UsageError: no such tree, several GPUs in it and `gpu` names none of them, or no file of it
            tells of a cell.
    """
    results = _results_folder(folder)
    everything = list(result_folders(results))
    chosen = _choose(folder, sorted({each.gpu for each in everything}), gpu)
    folders = [each for each in everything if each.gpu == chosen]
    calls = _calls(results / "logs", chosen)
    tree = _Tree(calls)
    tree.read(folders)
    tree.date()
    tree.plan()
    cells = tree.cells()
    warnings = [text.replace(f"{results.parent}/", "") for text in tree.warnings]
    if not cells:
        raise UsageError(_nothing_readable(folder, chosen, warnings))
    device = device_of(chosen, folders[0].capability, calls)
    return ImportedRun(
        name=f"slidesparse-{chosen.lower()}",
        format=FORMAT,
        source=results.parent.resolve().name,
        device=device,
        gpu_indices=sorted({call.gpu_index for call in calls if call.gpu_index is not None}),
        cells=cells,
        root=results.parent,
        facts=machine_facts(results.parent, chosen, calls),
        unknown=unknown_facts(),
        warnings=warnings,
    )


def _results_folder(folder: Path) -> Path:
    candidates = (folder / RESULTS_FOLDER, folder)
    for candidate in candidates:
        if any((candidate / stage).is_dir() for stage in ("prefill", "decode")):
            return candidate
    what = "no such folder" if not folder.exists() else "not a SlideSparse result tree"
    raise UsageError(
        f"{folder}: {what}: a tree has {RESULTS_FOLDER}/{{prefill,decode}}/<GPU>_cc<NN>_"
        "{INT8|FP8E4M3}_.../<backend>/; name the folder that holds it"
    )


def _nothing_readable(folder: Path, gpu: str, warnings: list[str]) -> str:
    head = (
        f"{folder}: no file of {gpu} tells of a cell: expected json/<MODEL>_M<M>.json, "
        "<MODEL>_<stage>.csv or benchmark.log in the backends' folders; nothing was imported"
    )
    shown = warnings[:_SHOWN_WARNINGS]
    if hidden := len(warnings) - len(shown):
        shown.append(f"and {hidden} more")
    return "\n  ".join([head, *shown])


def _choose(folder: Path, gpus: list[str], wanted: str | None) -> str:
    if not gpus:
        raise UsageError(
            f"{folder}: has no results: expected folders such as "
            f"{RESULTS_FOLDER}/prefill/RTX4090_cc89_INT8_py312_cu129_x86_64/cublaslt/"
        )
    if wanted is None and len(gpus) == 1:
        return gpus[0]
    known = {_plain(gpu): gpu for gpu in gpus}
    meant = [known[key] for key in known if wanted and _plain(wanted).endswith(key)]
    if len(meant) == 1:
        return meant[0]
    what = f"--gpu '{wanted}' is not one of them" if wanted else "choose one with --gpu"
    raise UsageError(f"{folder}: holds results of {', '.join(gpus)}; {what}")


def _plain(name: str) -> str:
    """`NVIDIA GeForce RTX 4090` ends as `RTX4090` does."""
    return "".join(filter(str.isalnum, name)).lower()


def _calls(logs: Path, gpu: str) -> list[Call]:
    """The run logs of this GPU, oldest first; a dry run measured nothing."""
    calls = [read_call(path) for path in sorted(logs.rglob("benchmark_*.log"))]
    ours = [each for each in calls if each.machine.get("GPU", each.path.parent.name) == gpu]
    return sorted(ours, key=lambda call: (call.created, call.path.name))


class _Tree:
    """Everything known of each cell, joined step by step."""

    def __init__(self, calls: list[Call]) -> None:
        self._dry = [call for call in calls if call.is_dry_run]
        self._calls = [call for call in calls if not call.is_dry_run]
        self._sections: dict[Cell, list[Try]] = {}
        self._blocks: dict[Cell, list[tuple[Call, Try]]] = {}
        self._stored: dict[Cell, list[Stored]] = {}
        self._skipped: dict[Cell, ImportedCell] = {}
        self.warnings: list[str] = []

    def read(self, folders: Iterable[ResultFolder]) -> None:
        for folder in folders:
            for tried in sections(folder):
                self._sections.setdefault(tried.cell, []).append(tried)
            # JSON before CSV: a CSV has the same numbers with four decimals.
            for stored in (
                *json_results(folder, self.warnings),
                *csv_results(folder, self.warnings),
            ):
                self._stored.setdefault(stored.cell, []).append(stored)
        for call in self._calls:
            for tried in call.tries:
                self._blocks.setdefault(tried.cell, []).append((call, tried))

    def date(self) -> None:
        """Date what the run logs tell of: by the sections of the same tries, then by their order."""
        for cell, found in self._sections.items():
            for section in sorted(found, key=lambda tried: tried.started):
                match = _block_of(section, self._blocks.get(cell, []))
                if match is not None:
                    match[1].started = match[1].started or section.started
        for call in self._calls:
            date(call.tries, call.created)

    def plan(self) -> None:
        """Note the cells that a call was to measure and that nothing else tells of."""
        known = {*self._sections, *self._blocks, *self._stored}
        models = {cell.model for cell in known}
        for call in self._calls:
            asked = call.arguments.get("model", "")
            is_known = not models or our_model(asked) in models
            if not call.models and quantization_of(asked) and is_known:
                call.models.append(asked)
            for cell in call.planned():
                if cell not in known:
                    self._skip(cell, call)

    def _skip(self, cell: Cell, call: Call) -> None:
        """The first call that says why wins over those that merely ended before it."""
        skip = next((each for each in call.skips if _concerns(each, cell)), None)
        if skip is not None and not (self._skipped.get(cell) or ImportedCell(cell)).refusal:
            self._skipped[cell] = ImportedCell(cell, [], skip.lines, skip.place)
        elif cell not in self._skipped:
            place = f"planned in {call.path.name}, which ends before it"
            self._skipped[cell] = ImportedCell(cell, refusal_source=place)

    def cells(self) -> list[ImportedCell]:
        tried = {*self._sections, *self._blocks, *self._stored}
        joined = [ImportedCell(cell, self._attempts(cell)) for cell in tried]
        return [each for each in joined if each.attempts] + list(self._skipped.values())

    def _attempts(self, cell: Cell) -> list[ImportedAttempt]:
        tries = self._tries(cell)
        stored = self._stored.get(cell, [])
        result = next((each for each in stored if each.numbers is not None), None)
        owner = next((t for _, t in reversed(tries) if _wrote(t, result)), None)
        attempts = [_attempt(tried, result if tried is owner else None) for _, tried in tries]
        if result is not None and owner is None:
            attempts.append(_without_log(cell, result))
        elif not attempts:
            attempts += [_failed_without_log(cell, each) for each in stored[:1]]
        return attempts

    def _tries(self, cell: Cell) -> list[tuple[str, Try]]:
        """The tries at a cell, oldest first, each told by one log or by both."""
        blocks = list(self._blocks.get(cell, []))
        found: list[tuple[str, Try]] = []
        for section in sorted(self._sections.get(cell, []), key=lambda tried: tried.started):
            if any(_during(section, call, cell) for call in self._dry):
                continue
            match = _block_of(section, blocks)
            if match is None:
                found.append((section.started, self._with_device(section)))
            else:
                blocks.remove(match)
                found.append((section.started, merged(section, match[1])))
        found += [(tried.started or call.created, tried) for call, tried in blocks]
        return sorted(found, key=lambda each: each[0])

    def _with_device(self, section: Try) -> Try:
        """A call whose text of this cell was lost still tells on which device it ran."""
        calls = [call for call in self._calls if _during(section, call, section.cell)]
        if calls and section.started:
            section.gpu_index = calls[-1].gpu_index
        return section


def _block_of(section: Try, blocks: list[tuple[Call, Try]]) -> tuple[Call, Try] | None:
    """The block of the last call that began before the section did."""
    before = [each for each in blocks if each[0].created <= section.started]
    last = max(before, key=lambda each: each[0].created, default=None)
    return last if last is not None and same_try(section, last[1]) else None


def _during(section: Try, call: Call, cell: Cell) -> bool:
    return bool(call.created) and call.created <= section.started and cell in set(call.planned())


def _concerns(skip: Skip, cell: Cell) -> bool:
    if (our_model(skip.model), quantization_of(skip.model)) != (cell.model, cell.quantization):
        return False
    return skip.backend in (None, cell.backend) and skip.sparsity in (None, cell.sparsity)


def _wrote(tried: Try, result: Stored | None) -> bool:
    if result is None or result.numbers is None or tried.outcome != "passed":
        return False
    return tried.printed_these(result.numbers)


def _attempt(tried: Try, result: Stored | None) -> ImportedAttempt:
    sources = [f"{tried.excerpt.file.name}:{tried.excerpt.line}"]
    if result is not None:
        sources.append(result.file.name)
    return as_attempt(tried, result.numbers if result else None, sources)


def _without_log(cell: Cell, result: Stored) -> ImportedAttempt:
    """A result whose log is gone: it was measured, nobody knows when and with what settings."""
    assert result.numbers is not None
    lengths = Lengths.of(cell)
    return ImportedAttempt(
        outcome="passed",
        engine_args={},
        excerpts=(Excerpt.whole(result.file),),
        numbers=result.numbers,
        lengths=lengths,
        invalid=invalid(result.numbers, lengths, is_stored=True),
        sources=(result.file.name,),
    )


def _failed_without_log(cell: Cell, stored: Stored) -> ImportedAttempt:
    """A row of -1 and nothing else: it failed, nobody knows why."""
    excerpts = (stored.excerpt,) if stored.excerpt else ()
    return ImportedAttempt(
        "failed", {}, excerpts, lengths=Lengths.of(cell), sources=(stored.file.name,)
    )
