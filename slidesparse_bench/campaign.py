"""The loop: each cell until it has passed, or no retry can help. Policy is elsewhere.

One lane (a thread, `lane.py`) per device takes cell after cell. Every step is in the journal
before the next one begins.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import Cell
from slidesparse_bench.device import Device
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.executors import LOG, Executor, Order
from slidesparse_bench.failures import classify
from slidesparse_bench.feasibility import DEFAULT_UTILIZATION
from slidesparse_bench.lane import WILL_BE_TRIED_AGAIN, Lane
from slidesparse_bench.matrix import Matrix
from slidesparse_bench.models import materialize
from slidesparse_bench.plan import PlannedCell, Sources, engine_args, will_run
from slidesparse_bench.records import Attempt, CellState, Evidence, RunState
from slidesparse_bench.store import Store, now
from slidesparse_bench.wire import SCHEMA_VERSION, Metrics, Request, write_json


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

    `changes` are engine arguments set from the command line (`retry --set`).
    """

    store: Store
    matrix: Matrix
    planned: dict[str, PlannedCell]
    executor: Executor
    observer: Observer
    stop: threading.Event
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sources = Sources(self.matrix)
        self._paused = ""

    def run(self, selection: Sequence[str]) -> None:
        """Bring every selected cell to an end, or stop early when `stop` is set."""
        self.store.append({"event": "run_state", "state": RunState.RUNNING})
        self._close_lost_attempts()
        queue = deque(self._skip_what_cannot_run(selection))
        mutex = threading.Lock()

        def next_cell() -> str | None:
            with mutex:
                return queue.popleft() if queue and not self.stop.is_set() else None

        lanes = [Lane(self, device, next_cell) for device in self.executor.devices]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            # With a time limit the main thread stays open to Ctrl-C on every platform.
            while lane.is_alive():
                lane.join(0.5)
        if queue and all(lane.lost for lane in lanes):
            self._paused = "no GPU is left"
        errors = [lane.error for lane in lanes if lane.error is not None]
        cells = self.store.record.cells.values()
        finished = not errors and all(cell.state.is_done for cell in cells)
        state = RunState.FINISHED if finished else RunState.INTERRUPTED
        self.store.append({"event": "run_state", "state": state})
        if errors:
            raise errors[0]

    @property
    def paused_because(self) -> str:
        """Why the run stopped by itself before its end, if it did."""
        return self._paused

    def pause(self, reason: str) -> None:
        """Let no further cell start."""
        self._paused = reason
        self.stop.set()

    def order(self, cell: Cell, n: int, arguments: dict[str, Any], device: Device) -> Order:
        """The order for one attempt at a cell."""
        source = self._sources.of(cell)
        backend = BACKENDS[cell.backend]
        request = Request(
            cell_id=cell.id,
            attempt=n,
            engine=self.matrix.engine,
            device_kind=device.facts.kind.value,
            model_path=str(source.folder),
            random_weights=source.random_weights,
            engine_args=arguments,
            linear_backend=backend.linear_backend,
            kernel_pattern=backend.kernel_pattern,
            measurement=self.matrix.measurement_for(cell),
            seed=self.matrix.seed,
        )
        utilization = float(arguments.get("gpu_memory_utilization", DEFAULT_UTILIZATION))
        return Order(
            request=request,
            folder=self.store.attempt_folder(cell.id, n),
            device=device,
            token=f"{self.store.owner}/{cell.id}/{n}",
            timeouts=self.matrix.timeouts_for(cell),
            needed_bytes=int(utilization * device.facts.memory_bytes),
        )

    def arguments(self, cell: Cell, device: Device, changes: dict[str, Any]) -> dict[str, Any]:
        """Engine arguments of an attempt with a retry's changes on top of the command line's."""
        source = self._sources.of(cell)
        return engine_args(cell, self.matrix, source, device.facts, {**self.changes, **changes})

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
        for cell_id, cell in list(self.store.record.cells.items()):
            for attempt in [a for a in cell.attempts if a.ended is None]:
                grace_s = self.matrix.timeouts_for(Cell.parse(cell_id)).grace_s
                left = self.executor.clean_up(f"{self.store.owner}/{cell_id}/{attempt.n}", grace_s)
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
                self.record_end(cell_id, ended, None)
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

    def record_end(self, cell_id: str, attempt: Attempt, metrics: Metrics | None) -> None:
        """Journal the end of an attempt and keep it in its folder as well."""
        folder = self.store.attempt_folder(cell_id, attempt.n)
        folder.mkdir(parents=True, exist_ok=True)
        kept = {"schema_version": SCHEMA_VERSION, "attempt": attempt, "metrics": metrics}
        write_json(folder / "attempt.json", kept)
        self.store.append(
            {"event": "attempt_ended", "cell": cell_id, "attempt": attempt, "metrics": metrics}
        )
        self.observer.cell_changed(cell_id)
