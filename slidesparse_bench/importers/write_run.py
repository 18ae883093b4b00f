"""From an `ImportedRun` to a run folder like any other."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.failures import CLASSES, classify
from slidesparse_bench.failures.log import split_prefixes
from slidesparse_bench.importers.documents import environment_of, matrix_text, plan_of
from slidesparse_bench.importers.imported import ImportedAttempt, ImportedCell, ImportedRun
from slidesparse_bench.matrix import load_matrix_text
from slidesparse_bench.records import Attempt, CellRecord, CellState, Evidence, Failure, RunState
from slidesparse_bench.report.csv_file import results_csv
from slidesparse_bench.report.view import gpu_names
from slidesparse_bench.store import MATRIX, RESULTS, Store, now
from slidesparse_bench.wire import (
    ATTEMPT,
    LOG,
    REFUSAL,
    RESULT,
    SCHEMA_VERSION,
    SOURCE,
    Metrics,
    Phase,
    Result,
    write_json,
    write_text,
)

_LEAD = re.compile(r"^\[\w+\]\s+(?:(?:原因|Reason): )?")

_ENGINE_DIED = "Engine core initialization failed"


def write_run(imported: ImportedRun, runs: Path) -> Store:
    """Make a run folder of its own: importing twice gives two runs.

    Its record has the times of the attempts; when it was imported is in `environment.json`.
    """
    text = matrix_text(imported)
    matrix = load_matrix_text(text, Path(MATRIX), folder=runs)
    by_id = {each.cell.id: each for each in imported.cells}
    ordered = [by_id[cell.id] for cell in matrix.cells()]
    refusals = {each.cell: _refusal(each) for each in ordered if each.refusal}
    store = Store.create(
        runs,
        name=matrix.name,
        matrix_text=text,
        matrix_sha256=matrix.sha256,
        plan=plan_of(imported, matrix, ordered, refusals),
        environment=environment_of(imported),
        began=imported.span[0] or None,
    )
    try:
        with store.locked():
            _fill(store, imported, ordered, refusals)
    except BaseException:
        # Half an import would look like a run that was killed.
        shutil.rmtree(store.folder, ignore_errors=True)
        raise
    return store


def _fill(
    store: Store,
    imported: ImportedRun,
    cells: Sequence[ImportedCell],
    refusals: Mapping[Cell, Failure],
) -> None:
    writer = _Writer(store, imported, refusals)
    events = [event for each in cells for event in writer.events(each)]
    events.append({"event": "run_state", "state": RunState.FINISHED})
    os.sync()  # the files of all attempts, before the journal tells of them
    moment = imported.span[1] or now()
    store.append_all({"time": moment, **event} for event in events)
    names = gpu_names(store.environment())
    write_text(store.folder / RESULTS, results_csv(store.record, names))


def _refusal(each: ImportedCell) -> Failure:
    return classify(each.refusal, evidence_file=f"cells/{each.cell.id}/{REFUSAL}")


class _Writer:
    """Writes attempt folders, and says what the journal shall say of them."""

    def __init__(
        self, store: Store, imported: ImportedRun, refusals: Mapping[Cell, Failure]
    ) -> None:
        self._store = store
        self._imported = imported
        self._refusals = refusals

    def events(self, each: ImportedCell) -> Iterator[dict[str, Any]]:
        """What happened to a cell, oldest first; writes its files on the way."""
        record = CellRecord()
        planned = each.attempts[0].engine_args if each.attempts else {}
        for n, found in enumerate(each.attempts, start=1):
            event = self._attempt(each.cell, n, found, planned)
            record.attempts.append(event["attempt"])
            yield event
        if not each.attempts:
            yield self._skipped(each)
        elif not record.measured():
            state = {"state": CellState.FAILED, "reason": _reason(record.last_failure)}
            yield {"event": "cell_state", "cell": each.cell.id, **state}

    def _skipped(self, each: ImportedCell) -> dict[str, Any]:
        event = {"event": "cell_state", "cell": each.cell.id, "state": CellState.SKIPPED}
        refusal = self._refusals.get(each.cell)
        if refusal is None:
            return {**event, "reason": f"never started: {each.refusal_source}"}
        place = self._store.folder / refusal.evidence.file
        place.parent.mkdir(parents=True)
        write_text(place, "\n".join(each.refusal) + "\n", durable=False)
        reason = f"{_reason(refusal)} ({each.refusal_source})"
        return {**event, "reason": reason, "refusal": refusal}

    def _attempt(
        self, cell: Cell, n: int, found: ImportedAttempt, planned: dict[str, Any]
    ) -> dict[str, Any]:
        folder = self._store.attempt_folder(cell.id, n)
        folder.mkdir(parents=True)
        text_of_death = _copy_log(found, folder / LOG)
        metrics = _metrics(cell, found)
        failure = None if metrics else self._failure(found, folder / LOG)
        attempt = Attempt(
            n=n,
            started=found.started,
            engine_args=found.engine_args,
            ended=found.ended or found.started,
            duration_s=found.duration_s,
            exit_code=found.exit_code,
            ending="interrupted" if found.outcome == "interrupted" else "exited",
            phase=_phase(found, text_of_death),
            device=None if found.gpu_index is None else f"GPU {found.gpu_index}",
            device_name=self._imported.device.name if self._imported.device else None,
            changed=_changes(planned, found.engine_args),
            reason=f"imported from {', '.join(found.sources)}",
            failure=failure,
            metrics=metrics,
        )
        event = {"event": "attempt_ended", "cell": cell.id, "attempt": attempt, "again": ""}
        self._write_files(folder, cell, attempt, found, event)
        return event

    def _write_files(
        self,
        folder: Path,
        cell: Cell,
        attempt: Attempt,
        found: ImportedAttempt,
        event: dict[str, Any],
    ) -> None:
        write_json(folder / ATTEMPT, {"schema_version": SCHEMA_VERSION, **event}, durable=False)
        if attempt.metrics is not None:
            result = Result(cell.id, attempt.n, ok=True, metrics=attempt.metrics)
            write_json(folder / RESULT, result, durable=False)
        excerpts = [
            {
                "file": self._imported.relative(part.file),
                "line": part.line,
                "bytes": [part.begin, part.end],
            }
            for part in found.excerpts
        ]
        told = {"sources": list(found.sources), "excerpts": excerpts}
        write_json(folder / SOURCE, {"schema_version": SCHEMA_VERSION, **told}, durable=False)

    def _failure(self, found: ImportedAttempt, log: Path) -> Failure:
        place = self._store.relative(log)
        if found.invalid:
            return _invalid(found.invalid, place)
        interrupted = found.outcome == "interrupted"
        return classify(
            log,
            exit_code=found.exit_code,
            ending="interrupted" if interrupted else "exited",
            evidence_file=place,
        )


def _reason(failure: Failure | None) -> str:
    """The class and the line, without what a logger put before it."""
    if failure is None:
        return ""
    return f"{failure.failure_class}: {_LEAD.sub('', split_prefixes(failure.root_cause).text)}"


def _metrics(cell: Cell, found: ImportedAttempt) -> Metrics | None:
    if found.numbers is None or found.lengths is None or found.invalid:
        return None
    return found.numbers.metrics(cell, found.lengths)


def _invalid(why: str, place: str) -> Failure:
    entry = CLASSES["m_mismatch"]
    return Failure(
        entry.id, entry.verdict, why, Evidence(place, None), retryable=False, hint=entry.advice
    )


def _copy_log(found: ImportedAttempt, log: Path) -> bool:
    """Copy the excerpts byte for byte; whether they tell that an engine process died."""
    died = False
    with log.open("wb") as stream:
        for part in found.excerpts:
            for block in part.blocks():
                died = died or _ENGINE_DIED.encode() in block
                stream.write(block)
    return died


def _phase(found: ImportedAttempt, engine_died: bool) -> str:
    """The last phase that is certain; the logs do not name phases."""
    if found.outcome == "passed":
        return Phase.DONE
    return Phase.START_ENGINE if engine_died else Phase.START


def _changes(planned: dict[str, Any], used: dict[str, Any]) -> dict[str, Any]:
    """What differs from the first attempt, as a retry of ours would record it."""
    if not planned or not used:
        return {}
    names = dict.fromkeys([*planned, *used])
    return {name: used.get(name) for name in names if used.get(name) != planned.get(name)}
