"""One worker process from order to end, and the attempts it serves, recorded as they come."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.device import Device
from slidesparse_bench.errors import FormatError, HarnessVerdict
from slidesparse_bench.executors import Outcome, Watch, refuse
from slidesparse_bench.failures import classify
from slidesparse_bench.launch import EndingKind
from slidesparse_bench.records import Attempt, CellState, Failure
from slidesparse_bench.sampler import Sampler
from slidesparse_bench.store import now
from slidesparse_bench.telemetry import Sample
from slidesparse_bench.wire import (
    LOG,
    MEASURES,
    PHASES,
    REQUEST,
    RESULT,
    TELEMETRY,
    CellRequest,
    Phase,
    Result,
    decode,
    last_phase,
    read_json,
    write_json,
)

if TYPE_CHECKING:
    from slidesparse_bench.campaign import Campaign


@dataclass(frozen=True)
class Try:
    """One cell's turn: the number of the attempt, what is changed for it, and why."""

    cell: Cell
    n: int
    trial: int
    changes: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Served:
    """What one worker achieved.

    `again` are measured cells that something disturbed, to be measured once more; `unproven` those
    that the worker went on from without a usable result; `left` those that were never reached.
    `failed` is the cell that the failure is recorded on; when the engine never got ready
    (`reached` is false) that is the one with the largest limits.
    """

    left: list[Cell] = field(default_factory=list)
    again: list[Cell] = field(default_factory=list)
    unproven: list[Cell] = field(default_factory=list)
    failed: Cell | None = None
    failure: Failure | None = None
    reached: bool = False


class EngineRun:
    """Runs one worker for one or several tries, smallest cell first.

    The worker makes the folder of a cell when it turns to it and writes the result when it is
    done; both are followed while it runs. A cell's result counts once the worker has gone on to
    the next one; the last one's only when the worker then ends well.
    """

    def __init__(self, campaign: Campaign, device: Device, tries: Sequence[Try]) -> None:
        self._campaign = campaign
        self._device = device
        self._tries = list(tries)
        self._is_alone = len(self._tries) == 1
        if self._is_alone:
            self._folder = self._attempt_folder(0)
            self._folder.mkdir(parents=True, exist_ok=True)
        else:
            self._folder = campaign.store.new_engine_folder()
        self._order = campaign.order(self._tries, self._folder, device)
        self._open: Attempt | None = None
        self._sampler: Sampler | None = None
        self._place = 0
        self._served = Served()

    def run(self) -> Served:
        """Run the worker to its end; every attempt it served is on record afterwards."""
        self._started, self._since = now(), time.monotonic()
        if self._is_alone:
            self._begin()
        else:
            reason = f"starting an engine for {len(self._tries)} cells"
            self._campaign.set_state(self._tries[0].cell.id, CellState.RUNNING, reason)
        try:
            self._conclude(self._execute())
        finally:
            self._stop_sampling()
        return self._served

    def _execute(self) -> Outcome:
        campaign, order = self._campaign, self._order
        try:
            campaign.provide_model(self._tries[0].cell)
        except HarnessVerdict as verdict:
            return refuse(order, verdict)
        watch = Watch(
            stop=campaign.stop,
            on_tick=self._tick,
            on_wait=self._waits,
        )
        return campaign.executor.execute(order, watch)

    def _waits(self, reason: str) -> None:
        self._campaign.observer.waiting(self._current.cell.id, reason)

    @property
    def _current(self) -> Try:
        return self._tries[self._place]

    def _attempt_folder(self, place: int) -> Path:
        one = self._tries[place]
        return self._campaign.store.attempt_folder(one.cell.id, one.n)

    def _tick(self) -> bool:
        moved = self._follow()
        self._campaign.observer.tick(self._current.cell.id, self._folder)
        return moved

    def _follow(self) -> bool:
        """Record what the worker has done since the last look; whether it began another cell."""
        moved = False
        if self._open is None and self._attempt_folder(0).exists():
            self._begin()
            moved = True
        while self._open is not None and self._has_moved_on():
            self._end_in_passing()
            self._place += 1
            self._since, self._started = time.monotonic(), now()
            self._begin()
            moved = True
        return moved

    def _end_in_passing(self) -> None:
        """The worker has gone on to another cell: this one's result stands, if it is one."""
        result, failure = self._result(), None
        if not _is_valid(result):
            verdict = HarnessVerdict("no_result", "the worker went on without a usable result")
            failure = classify([verdict.log_line], evidence_file=self._evidence())
            self._served.unproven.append(self._current.cell)
        self._end(failure, result)

    def _has_moved_on(self) -> bool:
        following = self._place + 1
        return following < len(self._tries) and self._attempt_folder(following).exists()

    def _begin(self) -> None:
        """Open the attempt at the current cell."""
        one, folder = self._current, self._attempt_folder(self._place)
        folder.mkdir(parents=True, exist_ok=True)
        if not self._is_alone:
            self._share_files(folder)
        self._open = Attempt(
            n=one.n,
            started=self._started,
            engine_args=self._order.request.engine_args,
            isolation="cell" if self._is_alone else "engine",
            device=self._device.label,
            device_name=self._device.facts.name,
            changed={**self._campaign.changes, **one.changes},
            reason=one.reason,
            engine=None if self._is_alone else self._folder.name,
            trial=one.trial,
        )
        event = {"event": "attempt_started", "cell": one.cell.id, "attempt": self._open}
        self._campaign.store.append(event)
        self._campaign.observer.cell_changed(one.cell.id)
        self._sampler = Sampler(self._device, folder / TELEMETRY, self._order.token)
        self._sampler.start()

    def _share_files(self, folder: Path) -> None:
        """The attempt has the engine's log as its own, and a request that repeats it alone."""
        for name in (LOG, PHASES):
            (folder / name).symlink_to(os.path.relpath(self._folder / name, folder))
        alone = replace(self._asked(), folder=".")
        write_json(folder / REQUEST, replace(self._order.request, cells=[alone]))

    def _asked(self) -> CellRequest:
        return self._order.request.cells[self._place]

    def _result(self) -> Result | None:
        return read_result(self._attempt_folder(self._place), self._asked())

    def _conclude(self, outcome: Outcome) -> None:
        """The worker is gone: its last attempt ends, whichever that was."""
        self._follow()
        self._served.reached = self._open is not None
        if self._open is None:
            self._campaign.set_state(self._current.cell.id, CellState.PENDING, "")
            if self._campaign.stop.is_set():
                self._served.left = [one.cell for one in self._tries]
                return
            self._place = len(self._tries) - 1
            self._begin()
        result = self._result()
        failure = self._failure(outcome, result)
        self._end(failure, result, outcome)
        if self._served.reached:
            self._served.left = [one.cell for one in self._tries[self._place + 1 :]]
        if failure is not None:
            self._served.failed, self._served.failure = self._current.cell, failure

    def _failure(self, outcome: Outcome, result: Result | None) -> Failure | None:
        """The first cause, or None for a valid measurement.

        A good result from a process that ended badly is a failure: something broke after all.
        With cells still to come it broke on the way to the next one; under the profiler it broke
        after the measurement.
        """
        ending = outcome.ending
        clean = ending is not None and ending.kind is EndingKind.EXITED and ending.exit_code == 0
        has_more = self._place + 1 < len(self._tries)
        valid = _is_valid(result)
        if valid and (clean or has_more):
            return None
        log = self._attempt_folder(self._place) / LOG
        phase = last_phase(log.with_name(PHASES))
        if valid and phase == Phase.PROFILE_STEPS:
            return None
        if ending is not None and ending.kind in (EndingKind.TIMED_OUT, EndingKind.SILENT):
            with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as stream:
                stream.write(f"slidesparse ended the worker: {ending.detail}\n")
        with self._own_part(log) as part:
            failure = classify(
                part,
                exit_code=ending.exit_code if ending else None,
                signal=ending.signal if ending else None,
                ending=ending.kind.value if ending else None,
                phase=phase,
                worker_error=result.error if result else None,
                evidence_file=self._evidence(),
                known=self._known(),
            )
        return replace(failure, facts={"phase": phase, **failure.facts}) if phase else failure

    def _known(self) -> dict[str, Any]:
        arguments = self._order.request.engine_args
        return self._campaign.known(self._current.cell, self._device, arguments)

    def _evidence(self) -> str:
        return self._campaign.store.relative(self._attempt_folder(self._place) / LOG)

    @contextlib.contextmanager
    def _own_part(self, log: Path) -> Iterator[Path]:
        """The log of the start and of the current cell, with the line numbers of the whole."""
        if self._is_alone or not log.exists():
            yield log
            return
        own = f"{MEASURES} {self._current.cell.id},".encode()
        with tempfile.TemporaryDirectory() as folder:
            part, is_ours = Path(folder) / LOG, True
            with log.open("rb") as lines, part.open("wb") as stream:
                for line in lines:
                    if line.startswith(MEASURES.encode()):
                        is_ours = line.startswith(own)
                    stream.write(line if is_ours else b"\n")
            yield part

    def _end(
        self, failure: Failure | None, result: Result | None, outcome: Outcome | None = None
    ) -> None:
        """Put the open attempt on record; without an outcome the worker goes on with the next."""
        assert self._open is not None
        cell, folder = self._current.cell, self._attempt_folder(self._place)
        samples = self._stop_sampling()
        ending = outcome.ending if outcome else None
        attempt = replace(
            self._open,
            ended=now(),
            duration_s=round(time.monotonic() - self._since, 3),
            exit_code=ending.exit_code if ending else None,
            signal=ending.signal if ending else None,
            ending=ending.kind.value if ending else "measured" if outcome is None else None,
            phase=last_phase(folder / PHASES) if failure else Phase.DONE.value,
            memory_before=outcome.memory_before if outcome else None,
            memory_after=outcome.memory_after if outcome else None,
            processes_left=ending.processes_left if ending else 0,
            failure=failure,
        )
        measured = result if failure is None else None
        if measured is not None:
            arguments = self._open.engine_args
            metrics = self._campaign.completed(cell, self._device, arguments, measured, samples)
            attempt = replace(attempt, metrics=metrics)
        again = self._campaign.record_end(cell, attempt)
        if measured is not None:
            self._campaign.note_engine(self._folder, [cell], self._device, measured.provenance)
        if again:
            self._served.again.append(cell)
        self._open = None

    def _stop_sampling(self) -> list[Sample]:
        sampler, self._sampler = self._sampler, None
        return sampler.stop() if sampler else []


def _is_valid(result: Result | None) -> bool:
    return result is not None and result.ok and result.metrics is not None


def read_result(folder: Path, asked: CellRequest) -> Result | None:
    """The worker's result, if it is whole and answers this very request."""
    try:
        result = decode(Result, read_json(folder / RESULT))
    except FormatError:
        return None
    same = (result.cell_id, result.attempt) == (asked.cell_id, asked.attempt)
    return result if same else None
