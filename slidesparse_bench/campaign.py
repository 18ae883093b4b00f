"""The loop: each cell until it has been measured, or no retry can help. Policy is elsewhere.

One lane (a thread, `lane.py`) per device takes group after group of cells, each group for one
engine (`engine_run.py`). Every step is in the journal before the next one begins.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from slidesparse_bench import roofline, telemetry
from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import Cell
from slidesparse_bench.device import Device
from slidesparse_bench.engine_groups import shared_args
from slidesparse_bench.engine_run import Try
from slidesparse_bench.errors import DISK_FULL, HarnessVerdict
from slidesparse_bench.executors import Executor, Order
from slidesparse_bench.failures import classify
from slidesparse_bench.feasibility import DEFAULT_UTILIZATION
from slidesparse_bench.lane import ENDS_RUN, Lane
from slidesparse_bench.matrix import Matrix
from slidesparse_bench.models import materialize
from slidesparse_bench.plan import PlannedCell, Sources, engine_groups, will_run
from slidesparse_bench.plan import engine_args as planned_args
from slidesparse_bench.provenance import with_engine
from slidesparse_bench.records import (
    WILL_BE_TRIED_AGAIN,
    Attempt,
    CellState,
    Evidence,
    RunState,
)
from slidesparse_bench.roofline import Peaks
from slidesparse_bench.store import Store, now
from slidesparse_bench.telemetry import Sample
from slidesparse_bench.units import gib
from slidesparse_bench.wire import (
    ATTEMPT,
    LOG,
    SCHEMA_VERSION,
    CellRequest,
    Metrics,
    Request,
    Result,
    write_json,
)
from slidesparse_bench.work import Work, WorkQueue


class Observer(Protocol):
    """Follows a campaign; called from lane threads, must not raise."""

    def cell_changed(self, cell_id: str) -> None:
        """A cell has a new state or attempt."""

    def waiting(self, cell_id: str, reason: str) -> None:
        """A cell waits for device memory."""

    def tick(self, cell_id: str, folder: Path) -> None:
        """An attempt is running; called several times a second."""


@dataclass
class Campaign:
    """One execution of (a selection of) a plan.

    `isolation` is `engine` or `cell`; `changes` are engine arguments set from the command line
    (`retry --set`); `peaks` are the rates of the devices, where they are known. `before_end` is
    called before the run goes on record as ended: what must not be lacking then.
    """

    store: Store
    matrix: Matrix
    planned: dict[str, PlannedCell]
    executor: Executor
    observer: Observer
    stop: threading.Event
    isolation: str = "engine"
    changes: dict[str, Any] = field(default_factory=dict)
    peaks: Peaks | None = None
    before_end: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._sources = Sources(self.matrix)
        self._paused = ""
        self._given_up: set[str] = set()
        self._environment = threading.Lock()
        self.queue = WorkQueue([], self.stop, self.is_wanted)

    def run(self, selection: Sequence[str]) -> None:
        """Bring every selected cell to an end, or stop early when `stop` is set."""
        self.store.append({"event": "run_state", "state": RunState.RUNNING})
        self._close_lost_attempts()
        to_run = self._skip_what_cannot_run(selection)
        devices, errors = list(self.executor.devices), []
        # More than once when a trial needed other settings: those before it are then repeated.
        for _ in range(self.matrix.trials):
            self.queue = WorkQueue(self._work(to_run), self.stop, self.is_wanted)
            lanes = self._run_lanes(devices)
            errors = [lane.error for lane in lanes if lane.error is not None]
            devices = [lane.device for lane in lanes if not lane.lost]
            if self.stop.is_set() or not devices:
                break
        if self.queue and not devices:
            self._paused = "no GPU is left"
        cells = self.store.record.cells.values()
        finished = not errors and all(cell.state.is_done for cell in cells)
        state = RunState.FINISHED if finished else RunState.INTERRUPTED
        try:
            self.before_end()
            self.store.append({"event": "run_state", "state": state})
        except OSError as error:
            if not self.pauses_for(error):
                raise
        if errors:
            raise errors[0]

    def _run_lanes(self, devices: Sequence[Device]) -> list[Lane]:
        """One lane per device until the queue is empty, or all of them have ended."""
        lanes = [Lane(self, device) for device in devices]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            # With a time limit the main thread stays open to Ctrl-C on every platform.
            while lane.is_alive():
                lane.join(0.5)
        return lanes

    @property
    def paused_because(self) -> str:
        """Why the run stopped by itself before its end, if it did."""
        return self._paused

    def pause(self, reason: str) -> None:
        """Let no further cell start."""
        self._paused = reason
        self.stop.set()

    def pauses_for(self, error: OSError) -> bool:
        """Pause if it says that the disk is full; whether it does."""
        if error.errno in DISK_FULL:
            self.pause(f"{ENDS_RUN['disk_full']} ({error})")
        return error.errno in DISK_FULL

    def is_wanted(self, cell: Cell, trial: int) -> bool:
        """Whether this trial is still to be measured: not done, and the cell not given up."""
        return cell.id not in self._given_up and not self._has(cell.id, trial)

    def _work(self, cell_ids: Sequence[str]) -> list[Work]:
        """Every missing measurement, trial by trial; several trials in an order of their own."""
        work: list[Work] = []
        for trial in range(1, self.matrix.trials + 1):
            missing = [each for each in cell_ids if self.is_wanted(Cell.parse(each), trial)]
            groups = self._groups(missing)
            if self.matrix.trials > 1:
                random.Random(f"{self.matrix.seed}.{trial}").shuffle(groups)
            work += [Work(tuple(cells), trial) for cells in groups]
        return work

    def _has(self, cell_id: str, trial: int) -> bool:
        """Whether this trial of the cell is done with; one that was disturbed may not be."""
        attempt = self.store.record.cells[cell_id].measured().get(trial)
        return attempt is not None and not self._again(cell_id, attempt)

    def _groups(self, cell_ids: Sequence[str]) -> list[list[Cell]]:
        """By engine; a cell that failed in company goes alone, as it would have done next."""
        cells = self.store.record.cells
        alone = [each for each in cell_ids if cells[each].failed_in_company or self.settled(each)]
        together = [self.planned[each] for each in cell_ids if each not in alone]
        devices = self.executor.devices
        kind, lanes = devices[0].facts.kind, len(devices)
        grouped = engine_groups(together, self.matrix, kind, self.isolation, lanes)
        parts = [[Cell.parse(cell_id) for cell_id in group.cells] for group in grouped]
        return [*parts, *([Cell.parse(cell_id)] for cell_id in alone)]

    def settled(self, cell_id: str) -> dict[str, Any]:
        """Engine arguments that the cell needed in an earlier trial, and needs in all of them."""
        measured = self.store.record.cells[cell_id].measured()
        changed = next(iter(measured.values())).changed if measured else {}
        return {name: value for name, value in changed.items() if name not in self.changes}

    def order(self, tries: Sequence[Try], folder: Path, device: Device) -> Order:
        """The order for one worker that serves these tries in `folder`."""
        first = tries[0].cell
        source, backend = self._sources.of(first), BACKENDS[first.backend]
        own = [self._arguments(each, device) for each in tries]
        arguments = shared_args(own)
        request = Request(
            cells=[self._asked(*pair, folder) for pair in zip(tries, own, strict=True)],
            engine=self.matrix.engine,
            device_kind=device.facts.kind.value,
            model_path=str(source.folder),
            random_weights=source.random_weights,
            engine_args=arguments,
            linear_backend=backend.linear_backend,
            kernel_pattern=backend.kernel_pattern,
            seed=self.matrix.seed,
            own_gemm=first.backend_label if backend.own_kernels else None,
        )
        utilization = float(arguments.get("gpu_memory_utilization", DEFAULT_UTILIZATION))
        return Order(
            request=request,
            folder=folder,
            device=device,
            token=self._token(folder),
            timeouts=self.matrix.timeouts_for(first),
            needed_bytes=int(utilization * device.facts.memory_bytes),
        )

    def _token(self, folder: Path) -> str:
        return f"{self.store.owner}/{self.store.relative(folder)}"

    def _asked(self, one: Try, arguments: dict[str, Any], folder: Path) -> CellRequest:
        own_folder = self.store.attempt_folder(one.cell.id, one.n)
        return CellRequest(
            cell_id=one.cell.id,
            attempt=one.n,
            folder=os.path.relpath(own_folder, folder),
            max_num_seqs=arguments["max_num_seqs"],
            max_num_batched_tokens=arguments["max_num_batched_tokens"],
            measurement=self.matrix.measurement_for(one.cell),
        )

    def _arguments(self, one: Try, device: Device) -> dict[str, Any]:
        """Engine arguments of a try: a retry's changes on top of the command line's."""
        source, changes = self._sources.of(one.cell), {**self.changes, **one.changes}
        return planned_args(one.cell, self.matrix, source, device.facts, changes)

    def completed(
        self,
        cell: Cell,
        device: Device,
        engine_args: dict[str, Any],
        result: Result,
        samples: Sequence[Sample],
    ) -> Metrics:
        """The worker's numbers with what was seen from outside and what physics allows."""
        assert result.metrics is not None
        summary = telemetry.summarize(samples, result.rounds)
        metrics = telemetry.applied(result.metrics, summary) if summary else result.metrics
        architecture = self._sources.of(cell).architecture
        return roofline.applied(metrics, cell, architecture, device.facts, engine_args, self.peaks)

    def known(self, cell: Cell, device: Device, arguments: dict[str, Any]) -> dict[str, Any]:
        """What helps to explain a failure beyond its log, see `failures.explain.KNOWN`."""
        architecture = self._sources.of(cell).architecture
        found: dict[str, Any] = {
            "m": cell.m,
            "gpu_memory_utilization": arguments.get("gpu_memory_utilization"),
            "total_gib": gib(device.facts.memory_bytes),
        }
        if architecture is not None:
            shard = architecture.shard(int(arguments.get("tensor_parallel_size") or 1))
            found["intermediate_size"] = shard.intermediate_size
        if capability := device.facts.compute_capability:
            found["capability"] = "{}.{}".format(*capability)
        return {name: value for name, value in found.items() if value is not None}

    def note_engine(
        self, folder: Path, cells: Sequence[Cell], device: Device, provenance: dict[str, Any]
    ) -> None:
        """Add what a worker said of itself to `environment.json`."""
        with self._environment:
            document = with_engine(
                self.store.environment(),
                self.store.relative(folder),
                [cell.id for cell in cells],
                device.label,
                provenance,
            )
            self.store.write_environment(document)

    def provide_model(self, cell: Cell) -> None:
        """Make sure that the folder the worker loads from is there.

        Raises:
            HarnessVerdict: `model_not_found`.
        """
        source = self._sources.of(cell)
        if source.missing:
            raise HarnessVerdict("model_not_found", source.missing)
        materialize(source)

    def _close_lost_attempts(self) -> None:
        """Attempts that a killed campaign left open end as `interrupted`; their processes too."""
        grace_s = self.matrix.timeouts.grace_s
        left = self.executor.clean_up(f"{self.store.owner}/", grace_s)
        for cell_id, cell in list(self.store.record.cells.items()):
            for attempt in [a for a in cell.attempts if a.ended is None]:
                log = self.store.attempt_folder(cell_id, attempt.n) / LOG
                failure = classify(
                    ["slidesparse: interrupted: the campaign was killed while this attempt ran"],
                    ending="interrupted",
                    evidence_file=self.store.relative(log),
                )
                # That line is ours; the log of a killed attempt says nothing of it.
                failure = replace(failure, evidence=Evidence(failure.evidence.file, None))
                ended = replace(
                    attempt, ended=now(), ending="lost", processes_left=left, failure=failure
                )
                self.record_end(Cell.parse(cell_id), ended)
            if cell.state is CellState.RUNNING:
                self.set_state(cell_id, CellState.PENDING, WILL_BE_TRIED_AGAIN)

    def _skip_what_cannot_run(self, selection: Sequence[str]) -> list[str]:
        to_run = []
        for cell_id in selection:
            planned = self.planned[cell_id]
            if will_run(planned, self.matrix.infeasible):
                to_run.append(cell_id)
            else:
                reason = f"{planned.verdict}: {planned.reason}"
                self.set_state(cell_id, CellState.SKIPPED, reason)
        return to_run

    def set_state(self, cell_id: str, state: CellState, reason: str) -> None:
        """Journal a cell's new state."""
        event = {"event": "cell_state", "cell": cell_id, "state": state, "reason": reason}
        self.store.append(event)
        self.observer.cell_changed(cell_id)

    def give_up(self, cell_id: str, reason: str) -> None:
        """No attempt at the cell is started any more: it has failed, or keeps what it has.

        That is a disturbed measurement of every trial, when only its repetition failed.
        """
        self._given_up.add(cell_id)
        measured = self.store.record.cells[cell_id].measured()
        if len(measured) == self.matrix.trials:
            kept = f"measured, disturbed; repeating it failed: {reason}"
            self.set_state(cell_id, CellState.PASSED, kept)
        else:
            self.set_state(cell_id, CellState.FAILED, reason)

    def record_end(self, cell: Cell, attempt: Attempt) -> str:
        """Journal the end of an attempt and keep it in its folder as well.

        Returns why the cell is to be measured again, else "".
        """
        again = self._again(cell.id, attempt)
        event = {"event": "attempt_ended", "cell": cell.id, "attempt": attempt, "again": again}
        folder = self.store.attempt_folder(cell.id, attempt.n)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / ATTEMPT, {"schema_version": SCHEMA_VERSION, **event})
        self.store.append(event)
        self.observer.cell_changed(cell.id)
        return again

    def _again(self, cell_id: str, attempt: Attempt) -> str:
        """A disturbed measurement is repeated, but not for ever."""
        if attempt.metrics is None or not attempt.metrics.disturbed:
            return ""
        attempts = self.store.record.cells[cell_id].attempts
        ours = [each for each in attempts if each.trial == attempt.trial]
        disturbed = {each.n for each in ours if each.metrics and each.metrics.disturbed}
        if len(disturbed | {attempt.n}) > self.matrix.retry_for(Cell.parse(cell_id)).max_disturbed:
            return ""
        return "; ".join(attempt.metrics.disturbed)
