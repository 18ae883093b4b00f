"""What a report is written from: the record of a run joined with its plan and environment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from slidesparse_bench.cell import Cell
from slidesparse_bench.records import Attempt, CellState, RunRecord
from slidesparse_bench.report.blocks import Block, Footnotes
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.changes import Change, changes_before, changes_of
from slidesparse_bench.report.moments import count_until, moment
from slidesparse_bench.report.notes import conditions, notes_on
from slidesparse_bench.report.words import Text
from slidesparse_bench.sittings import sittings_of
from slidesparse_bench.step_kernels import StepKernels

_COMMON_FROM = 3
"""From so many numbers on, what holds for all of them is said once."""


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report needs. `plan` and `environment` are the JSON documents of the run.

    Keys that are missing there are said to be missing in the report. `run_folder` is only named,
    never read. `notes` is free Markdown that ends the section on methods; `step_kernels` are those
    of the cells that were profiled, by id.
    """

    run: RunRecord
    run_folder: Path
    plan: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    matrix_text: str = ""
    notes: str = ""
    step_kernels: Mapping[str, StepKernels] = field(default_factory=dict)


@dataclass(frozen=True)
class RunView:
    """A run as its report sees it. Built by `view_of`; `remarks` are said of its plots."""

    inputs: ReportInputs
    cells: tuple[CellView, ...]
    remarks: tuple[Text, ...] = ()

    @property
    def run(self) -> RunRecord:
        return self.inputs.run

    @property
    def environment(self) -> Mapping[str, Any]:
        return self.inputs.environment

    def in_state(self, *states: CellState) -> list[CellView]:
        return [view for view in self.cells if view.state in states]

    @property
    def named(self) -> str:
        """How commands are told which run it is: its name, or where it is if that is not `runs/`."""
        name = self.inputs.run_folder.name
        return name if self.folder == f"runs/{name}" else shlex.quote(self.folder)

    @property
    def folder(self) -> str:
        """The run folder as the reader finds it; a report names no path of one machine."""
        folder = self.inputs.run_folder
        return f"runs/{folder.name}" if folder.is_absolute() else folder.as_posix()

    @cached_property
    def gpus(self) -> list[Mapping[str, Any]]:
        """The devices on which attempts ran, in all sittings; the first's when attempts do not tell."""
        sittings = sittings_of(self.environment)
        began = [str(sitting.get("began")) for sitting in sittings[1:]]
        attempts = [attempt for each in self.cells for attempt in each.record.attempts]
        used = {(count_until(began, each.started), each.device) for each in attempts}
        found = {
            str(gpu.get("uuid") or label): gpu
            for place, sitting in enumerate(sittings)
            for label, gpu in _gpus(sitting)
            if (place, label) in used
        }
        return list(found.values()) or [gpu for _, gpu in _gpus(self.environment)]

    @cached_property
    def gpu_names(self) -> dict[str, str]:
        return gpu_names(self.environment)

    @property
    def is_fake(self) -> bool:
        """Whether the fake engine ran: recorded, planned, or asked for by the matrix."""
        asked = re.search(r"^engine:\s*['\"]?fake\b", self.inputs.matrix_text, re.MULTILINE)
        recorded = (self.environment.get("engine"), self.inputs.plan.get("engine"))
        return "fake" in recorded or asked is not None

    @property
    def imported(self) -> Mapping[str, Any]:
        """What the importer said of a run of another tool; empty for a run of ours."""
        said = self.environment.get("imported")
        return said if isinstance(said, Mapping) else {}

    @property
    def is_cpu(self) -> bool:
        """Whether vLLM ran without a GPU; false when the device is not on record."""
        planned = self.inputs.plan.get("device")
        if isinstance(planned, Mapping) and planned.get("kind"):
            return not self.is_fake and planned["kind"] == "cpu"
        known = "gpus" in self.environment and not self.imported
        return not self.is_fake and not self.gpus and known

    @cached_property
    def processes(self) -> list[list[tuple[CellView, Attempt]]]:
        """What each worker process served, in order: one attempt, or those that shared an engine.

        An attempt that was refused before its worker began is in none.
        """
        found: dict[str, list[tuple[CellView, Attempt]]] = {}
        for each in self.cells:
            for attempt in each.record.attempts:
                if attempt.engine is not None:
                    found.setdefault(attempt.engine, []).append((each, attempt))
                elif attempt.phase is not None:
                    found[f"{each.id} {attempt.n}"] = [(each, attempt)]
        return [sorted(served, key=_began) for served in found.values()]

    @cached_property
    def changes(self) -> list[Change]:
        """Changes of machine or software between which numbers of this run fall.

        Empty when all of them were measured on one side: then they compare.
        """
        changes = changes_of(self.environment)
        standing = [attempt for each in self.cells for attempt in each.standing]
        places = {changes_before(changes, attempt) for attempt in standing}
        return changes if len(places) > 1 else []

    @cached_property
    def _notes(self) -> dict[str, list[Text]]:
        """By cell id."""
        return {each.id: notes_on(each, self.changes) for each in self.cells}

    @cached_property
    def common_notes(self) -> list[Text]:
        """Notes that every number of the run carries: said once, they need no mark."""
        lists = [self._notes[each.id] for each in self.cells if each.metrics]
        if len(lists) < _COMMON_FROM:
            return []
        return [note for note in lists[0] if all(note in notes for notes in lists)]

    @cached_property
    def _note_numbers(self) -> dict[Text, int]:
        texts = dict.fromkeys(text for each in self.cells for text in self._notes[each.id])
        marked = [text for text in texts if text not in self.common_notes]
        return {text: number for number, text in enumerate(marked, start=1)}

    def _numbers(self, notes: Iterable[Text]) -> list[int]:
        return sorted(self._note_numbers[note] for note in notes if note in self._note_numbers)

    def marks(self, view: CellView) -> str:
        """Footnote marks of a number, e.g. ` [1][3]`; empty when there is nothing to say."""
        return _marks(self._numbers(self._notes[view.id]))

    def marks_in_comparison(self, view: CellView) -> str:
        """Those beside a quotient, which has an interval of its own: how else it was measured."""
        return _marks(self._numbers(conditions(view, self.changes)))

    def notes(self, views: Iterable[CellView]) -> list[Block]:
        """The footnotes that the marks of these cells refer to."""
        used = {number for view in views for number in self._numbers(self._notes[view.id])}
        texts = {number: text for text, number in self._note_numbers.items()}
        return [Footnotes(tuple((n, texts[n]) for n in sorted(used)))] if used else []


def _marks(numbers: list[int]) -> str:
    marks = "".join(f"[{number}]" for number in numbers)
    return f" {marks}" if marks else ""


def _began(served: tuple[CellView, Attempt]) -> datetime:
    return moment(served[1].started) or datetime.max.replace(tzinfo=UTC)


def view_of(inputs: ReportInputs) -> RunView:
    """Join the record with the plan, in the order of the run."""
    listed = inputs.plan.get("cells") or []
    planned = {entry["id"]: entry for entry in listed if isinstance(entry, dict) and "id" in entry}
    return RunView(
        inputs=inputs,
        cells=tuple(
            CellView(cell_id, record, _parsed(cell_id), planned.get(cell_id, {}))
            for cell_id, record in inputs.run.cells.items()
        ),
    )


def _parsed(cell_id: str) -> Cell | None:
    try:
        return Cell.parse(cell_id)
    except ValueError:
        return None


def gpu_names(environment: Mapping[str, Any]) -> dict[str, str]:
    """Device names by everything an attempt may call a device: `GPU 0`, `0`, its UUID."""
    names: dict[str, str] = {}
    for label, gpu in _gpus(environment):
        if name := str(gpu.get("name") or ""):
            names |= {label: name, label.removeprefix("GPU "): name}
            names[str(gpu.get("uuid") or label)] = name
    return names


def _gpus(environment: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The devices of `environment.json` with the labels of `device.CudaDevice`."""
    listed = environment.get("gpus") or []
    known = [gpu for gpu in listed if isinstance(gpu, Mapping)]
    return [(f"GPU {gpu.get('index', place)}", gpu) for place, gpu in enumerate(known)]


Item = TypeVar("Item")


def grouped(items: Iterable[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Items by a key, keys in the order of their first appearance."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def without_numbers(text: str) -> str:
    """The same for texts that differ in numbers and addresses only."""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", text)
