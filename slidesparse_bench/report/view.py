"""What a report is written from: the record of a run joined with its plan and environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from slidesparse_bench.cell import Cell
from slidesparse_bench.records import Attempt, CellRecord, CellState, Failure, RunRecord
from slidesparse_bench.report.advice import PLAN_VERDICTS
from slidesparse_bench.report.markdown import shortened
from slidesparse_bench.wire import Metrics

NO_FAILURE_RECORDED = "unknown"
_SHORT_REASON = 40


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report needs. `plan` and `environment` are the JSON documents of the run.

    Keys that are missing there are said to be missing in the report. `run_folder` is only named,
    never read. `notes` is free Markdown that ends the section on methods.
    """

    run: RunRecord
    run_folder: Path
    plan: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    matrix_text: str = ""
    notes: str = ""


@dataclass(frozen=True)
class CellView:
    """One cell: its record, its place in the matrix, and what the plan said of it.

    `cell` is None when the id is not one of ours; such a cell is listed, but in no table by M.
    """

    id: str
    record: CellRecord
    cell: Cell | None
    planned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> CellState:
        return self.record.state

    @property
    def metrics(self) -> Metrics | None:
        """The numbers, of a passed cell only: a failed cell never shows one."""
        return self.record.metrics if self.state is CellState.PASSED else None

    @property
    def failure(self) -> Failure | None:
        """Why there is no number; None for a passed cell, whatever it took to get there."""
        return None if self.state is CellState.PASSED else self.record.last_failure

    @property
    def failure_class(self) -> str:
        return self.failure.failure_class if self.failure else NO_FAILURE_RECORDED

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that the row stands on: the newest that worked, else the newest."""
        attempts = self.record.attempts
        if self.state is CellState.PASSED:
            attempts = [a for a in attempts if a.failure is None] or attempts
        return attempts[-1] if attempts else None

    @property
    def reason(self) -> str:
        """Why there is no number, in full; empty for a passed cell."""
        if self.state is CellState.PASSED:
            return ""
        root_cause = self.failure.root_cause if self.failure else ""
        return self.record.reason or root_cause or str(self.planned.get("reason") or "")

    @property
    def missing(self) -> str:
        """Why there is no number, as it stands in a table in its place."""
        if self.state is CellState.FAILED:
            return f"failed: {self.failure_class}"
        if self.state is CellState.SKIPPED:
            return f"skipped: {self._short_reason}"
        if self.state is CellState.PASSED:
            return "passed: no metrics on record"
        return self.state.value

    @property
    def _short_reason(self) -> str:
        verdict = str(self.planned.get("verdict") or "")
        if verdict in PLAN_VERDICTS:
            return verdict
        return shortened(self.reason, _SHORT_REASON) or "no reason recorded"


@dataclass(frozen=True)
class RunView:
    """A run as its report sees it. Built by `view_of`."""

    inputs: ReportInputs
    cells: tuple[CellView, ...]

    @property
    def run(self) -> RunRecord:
        return self.inputs.run

    @property
    def environment(self) -> Mapping[str, Any]:
        return self.inputs.environment

    def in_state(self, *states: CellState) -> list[CellView]:
        return [view for view in self.cells if view.state in states]

    @property
    def folder(self) -> str:
        """The run folder as the reader finds it; a report names no path of one machine."""
        folder = self.inputs.run_folder
        return f"runs/{folder.name}" if folder.is_absolute() else folder.as_posix()

    @cached_property
    def gpus(self) -> list[Mapping[str, Any]]:
        """The machine's devices on which attempts ran; all of them when attempts do not tell."""
        listed = _gpus(self.environment)
        used = {attempt.device for each in self.cells for attempt in each.record.attempts}
        return [gpu for label, gpu in listed if label in used] or [gpu for _, gpu in listed]

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
    def is_cpu(self) -> bool:
        """Whether vLLM ran without a GPU; false when the device is not on record."""
        planned = self.inputs.plan.get("device")
        if isinstance(planned, Mapping) and planned.get("kind"):
            return not self.is_fake and planned["kind"] == "cpu"
        return not self.is_fake and not self.gpus and "gpus" in self.environment

    @cached_property
    def _note_numbers(self) -> dict[str, int]:
        texts = (text for view in self.cells for text in notes_on(view))
        return {text: number for number, text in enumerate(dict.fromkeys(texts), start=1)}

    def marks(self, view: CellView) -> str:
        """Footnote marks of a number, e.g. ` [1][3]`; empty when there is nothing to say."""
        marks = "".join(f"[{self._note_numbers[text]}]" for text in notes_on(view))
        return f" {marks}" if marks else ""

    def note_lines(self, views: Iterable[CellView]) -> str:
        """The footnotes that the marks of these cells refer to."""
        used = {text for view in views for text in notes_on(view)}
        numbered = sorted((self._note_numbers[text], text) for text in used)
        return "  \n".join(f"[{number}] {text}" for number, text in numbered)


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


def notes_on(view: CellView) -> list[str]:
    """What a reader has to know of this number beyond the rest of the run."""
    if view.metrics is None:
        return []
    notes = changes_of(view, view.attempt) if view.attempt else []
    if not view.metrics.precision_reached:
        notes.append("the interval is wider than asked for; the limit of iterations came first")
    if view.metrics.m_observed.steps == 0:
        notes.append("the M that ran is not on record")
    if view.metrics.throttled:
        notes.append(f"the GPU was throttled: {', '.join(map(str, view.metrics.throttled))}")
    return notes


def changes_of(view: CellView, attempt: Attempt) -> list[str]:
    """Settings of an attempt that differ from the plan, e.g. `x` 0.8 -> 0.9."""
    planned = view.planned.get("engine_args") or view.record.attempts[0].engine_args
    return [f"`{name}` {_change(planned.get(name), to)}" for name, to in attempt.changed.items()]


def _change(before: Any, after: Any) -> str:
    return f"set to {after}" if before in (None, after) else f"{before} -> {after}"


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
