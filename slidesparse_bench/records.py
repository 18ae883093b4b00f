"""The record of a run: cells, their attempts, their failures. Plain values, rebuilt from events.

The journal is the truth and `status.json` its fold: `RunRecord.apply` is the only way a record
changes, so replaying `journal.jsonl` gives the same record at any instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from slidesparse_bench.trials import combined
from slidesparse_bench.wire import SCHEMA_VERSION, Metrics, decode, encode

WILL_BE_TRIED_AGAIN = "stopped before its end; will be tried again"
"""The reason of a cell whose attempt nobody saw to its end."""


class CellState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def is_done(self) -> bool:
        """Whether a run has nothing more to do about the cell."""
        return self in (CellState.PASSED, CellState.FAILED, CellState.SKIPPED)


class RunState(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


class Verdict(StrEnum):
    """What kind of thing a failure is, and so who can do something about it."""

    CAPACITY = "capacity"
    HARDWARE_LIMIT = "hardware_limit"
    TRANSIENT = "transient"
    UPSTREAM_BUG = "upstream_bug"
    ENVIRONMENT = "environment"
    CONFIGURATION = "configuration"
    HARDWARE_FAULT = "hardware_fault"
    INVALID_MEASUREMENT = "invalid_measurement"
    HARNESS = "harness"
    UNKNOWN = "unknown"
    NONE = "none"


@dataclass(frozen=True)
class Evidence:
    """Where the root cause stands: a file (relative to the run) and a line number from 1."""

    file: str
    line: int | None


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: the first cause, not the wrapper around it.

    `facts` are the numbers the explanation computes with, e.g. `needed_gib`, `available_gib`.
    """

    failure_class: str = field(metadata={"json_key": "class"})
    verdict: Verdict
    root_cause: str
    evidence: Evidence
    retryable: bool
    hint: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds device memory."""

    pid: int
    name: str
    used_bytes: int | None
    ours: bool


@dataclass(frozen=True)
class MemorySnapshot:
    """Device memory at one moment, as the driver reports it."""

    total_bytes: int
    free_bytes: int
    processes: list[GpuProcess] = field(default_factory=list)


@dataclass(frozen=True)
class Attempt:
    """One try at a cell. Attempts are kept for ever.

    `isolation` is `cell` in a process of its own, `engine` in one that other cells shared;
    `engine` then names that process's folder. `trial` counts from 1; `metrics` are those of this
    attempt alone, of a valid measurement only.

    `device` tells devices of the machine apart (`GPU 0`), `device_name` what it is; `changed` holds
    the engine arguments that differ from the plan, `reason` why; `ending` is how the
    process ended (`exited`, `signalled`, `timed_out`, `silent`, `interrupted`, `lost`).
    Times are ISO 8601 with zone; `ended` is None while it runs.
    """

    n: int
    started: str
    engine_args: dict[str, Any]
    isolation: str = "cell"
    ended: str | None = None
    duration_s: float | None = None
    exit_code: int | None = None
    signal: str | None = None
    ending: str | None = None
    phase: str | None = None
    device: str | None = None
    device_name: str | None = None
    changed: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    memory_before: MemorySnapshot | None = None
    memory_after: MemorySnapshot | None = None
    processes_left: int = 0
    failure: Failure | None = None
    engine: str | None = None
    trial: int = 1
    metrics: Metrics | None = None

    @property
    def is_evidence(self) -> bool:
        """Whether it can show that its cell fails: it did so, by itself, in its own process."""
        if self.failure is None or self.failure.failure_class == "interrupted":
            return False
        return self.isolation == "cell"


NOT_OF_THE_CELL = frozenset({"interrupted", "gpu_memory_busy"})
"""Classes of failures that say nothing of the cell: who stopped it, who else held the memory."""


@dataclass
class CellRecord:
    """One cell. `refusal` is why it was skipped, where that can be classified like a failure."""

    state: CellState = CellState.PENDING
    reason: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    metrics: Metrics | None = None
    refusal: Failure | None = None

    @property
    def failed_in_company(self) -> bool:
        """Whether the newest attempt failed in a shared engine, which proves nothing."""
        last = self.attempts[-1] if self.attempts else None
        if last is None or last.failure is None or last.is_evidence:
            return False
        return last.failure.failure_class != "interrupted"

    def measured(self) -> dict[int, Attempt]:
        """By trial, the attempt that counts: the newest undisturbed one, else the newest.

        Of attempts with the settings of the newest one only: others would be another experiment.
        """
        chosen: dict[int, Attempt] = {}
        valid = [each for each in self.attempts if each.metrics is not None]
        for attempt in (each for each in valid if each.changed == valid[-1].changed):
            known = chosen.get(attempt.trial)
            if known is None or not _disturbed(attempt) or _disturbed(known):
                chosen[attempt.trial] = attempt
        return dict(sorted(chosen.items()))

    @property
    def last_failure(self) -> Failure | None:
        """The failure of the newest attempt that says something of the cell itself."""
        failures = [attempt.failure for attempt in self.attempts if attempt.failure]
        telling = [f for f in failures if f.failure_class not in NOT_OF_THE_CELL]
        own = [f for f in failures if f.failure_class != "interrupted"]
        return next(reversed(telling or own or failures), self.refusal)


def _disturbed(attempt: Attempt) -> bool:
    return attempt.metrics is not None and bool(attempt.metrics.disturbed)


@dataclass
class RunRecord:
    """All of `status.json`; `counts` is derived from the cells. `trials` is the matrix's."""

    run_id: str
    matrix_sha256: str
    created: str
    updated: str
    state: RunState = RunState.RUNNING
    cells: dict[str, CellRecord] = field(default_factory=dict)
    trials: int = 1

    @property
    def counts(self) -> dict[str, int]:
        states = [cell.state for cell in self.cells.values()]
        return {state.value: states.count(state) for state in CellState}

    def apply(self, event: dict[str, Any]) -> None:
        """Fold one journal event in. Unknown events are ignored (a newer minor version)."""
        self.updated = event["time"]
        kind = event["event"]
        if kind == "run_state":
            self.state = RunState(event["state"])
        elif kind == "restored":
            known = run_from_status(event["status"])
            self.state, self.cells = known.state, known.cells
        elif kind == "cell_state":
            cell = self.cells[event["cell"]]
            cell.state, cell.reason = CellState(event["state"]), event["reason"]
            cell.refusal = decode(Failure, event["refusal"]) if event.get("refusal") else None
            if cell.state is CellState.PASSED:
                cell.metrics = cell.metrics or _of_all_trials(cell)
        elif kind == "attempt_started":
            cell = self.cells[event["cell"]]
            cell.state = CellState.RUNNING
            cell.attempts.append(decode(Attempt, event["attempt"]))
        elif kind == "attempt_ended":
            # In one event: a kill in between must not leave a measured cell unfinished.
            self._end_attempt(self.cells[event["cell"]], _ended_attempt(event), event)

    def _end_attempt(self, cell: CellRecord, attempt: Attempt, event: dict[str, Any]) -> None:
        cell.attempts = [old for old in cell.attempts if old.n != attempt.n] + [attempt]
        if attempt.metrics is None:
            return
        if event.get("again") or len(cell.measured()) < self.trials:
            cell.state, cell.reason = CellState.PENDING, event.get("again") or ""
        else:
            cell.metrics = _of_all_trials(cell)
            cell.state, cell.reason = CellState.PASSED, ""


def _of_all_trials(cell: CellRecord) -> Metrics | None:
    trials = [each.metrics for each in cell.measured().values() if each.metrics]
    return combined(trials) if trials else None


def _ended_attempt(event: dict[str, Any]) -> Attempt:
    """The attempt of an event; until schema 1 its metrics stood beside it."""
    attempt = decode(Attempt, event["attempt"])
    if attempt.metrics is None and event.get("metrics") is not None:
        return replace(attempt, metrics=decode(Metrics, event["metrics"]))
    return attempt


def status_json(run: RunRecord) -> dict[str, Any]:
    """The document of `status.json` (contract, section Files)."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "matrix_sha256": run.matrix_sha256,
        "state": run.state.value,
        "trials": run.trials,
        "created": run.created,
        "updated": run.updated,
        "counts": run.counts,
        "cells": {cell_id: encode(cell) for cell_id, cell in run.cells.items()},
    }


def run_from_status(data: dict[str, Any]) -> RunRecord:
    """The inverse of `status_json`.

    Raises:
        FormatError: a key is missing or of the wrong shape.
    """
    return decode(RunRecord, data)
