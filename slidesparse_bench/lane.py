"""One device's share of a campaign: cell after cell, attempt after attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.device import Device
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.executors import LOG, PHASES, Order, Outcome, Watch, refuse
from slidesparse_bench.failures import classify
from slidesparse_bench.launch import EndingKind
from slidesparse_bench.records import Attempt, CellState, Failure
from slidesparse_bench.retry import Decision, decide
from slidesparse_bench.store import now
from slidesparse_bench.wire import last_phase

if TYPE_CHECKING:
    from slidesparse_bench.campaign import Campaign

WILL_BE_TRIED_AGAIN = "stopped before its end; will be tried again"
ENDS_LANE = frozenset({"gpu_lost"})
ENDS_RUN = {"disk_full": "the disk is full"}


class Lane(threading.Thread):
    """Runs cells on one device, one attempt at a time."""

    def __init__(
        self, campaign: Campaign, device: Device, next_cell: Callable[[], str | None]
    ) -> None:
        super().__init__(name=f"lane {device.label}", daemon=True)
        self._campaign = campaign
        self._device = device
        self._next_cell = next_cell
        self.lost = False
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.lost and (cell_id := self._next_cell()) is not None:
                self._run_cell(Cell.parse(cell_id))
        except BaseException as error:  # noqa: BLE001 - re-raised by the campaign's own thread
            self.error = error
            self._campaign.stop.set()

    def _run_cell(self, cell: Cell) -> None:
        """Attempt the cell until it passes or `decide` says that no retry can help."""
        record = self._campaign.store.record.cells[cell.id]
        settings = self._campaign.matrix.retry_for(cell)
        first = self._campaign.store.next_attempt(cell.id)
        changes: dict[str, Any] = {}
        why = ""
        while True:
            failure = self._attempt(cell, changes, why)
            if failure is None:
                return
            decision = decide(record.attempts, settings=settings, first=first)
            self._react(failure)
            if self._is_over(cell, failure, decision):
                return
            changes, why = {**changes, **decision.changes}, decision.reason

    def _is_over(self, cell: Cell, failure: Failure, decision: Decision) -> bool:
        """Whether this was the cell's last attempt for now; says so on its record."""
        stopping = self._campaign.stop.is_set() or self.lost
        if decision.retry and not stopping:
            return False
        if decision.retry or failure.failure_class == "interrupted":
            self._campaign.set_state(cell.id, CellState.PENDING, WILL_BE_TRIED_AGAIN)
        else:
            reason = _reason(failure, decision.reason)
            self._campaign.set_state(cell.id, CellState.FAILED, reason)
        return True

    def _react(self, failure: Failure) -> None:
        """Some failures concern more than their cell."""
        if failure.failure_class in ENDS_LANE:
            self.lost = True
        if failure.failure_class in ENDS_RUN:
            self._campaign.pause(ENDS_RUN[failure.failure_class])

    def _attempt(self, cell: Cell, changes: dict[str, Any], why: str) -> Failure | None:
        """One attempt from order to record; a valid measurement makes the cell passed."""
        campaign = self._campaign
        n = campaign.store.next_attempt(cell.id)
        arguments = campaign.arguments(cell, self._device, changes)
        order = campaign.order(cell, n, arguments, self._device)
        order.folder.mkdir(parents=True, exist_ok=True)
        started = Attempt(
            n=n,
            started=now(),
            engine_args=arguments,
            device=self._device.label,
            device_name=self._device.facts.name,
            changed={**campaign.changes, **changes},
            reason=why,
        )
        campaign.store.append({"event": "attempt_started", "cell": cell.id, "attempt": started})
        campaign.observer.cell_changed(cell.id)
        outcome = self._execute(cell, order)
        failure = self._failure(outcome, order)
        metrics = outcome.result.metrics if outcome.result and failure is None else None
        campaign.record_end(cell.id, _ended(started, order, outcome, failure), metrics)
        return failure

    def _execute(self, cell: Cell, order: Order) -> Outcome:
        campaign = self._campaign
        try:
            campaign.provide_model(cell)
        except HarnessVerdict as verdict:
            return refuse(order, verdict)
        watch = Watch(
            stop=campaign.stop,
            on_tick=lambda: campaign.observer.tick(cell.id, order.folder),
            on_wait=lambda reason: campaign.observer.waiting(cell.id, reason),
        )
        return campaign.executor.execute(order, watch)

    def _failure(self, outcome: Outcome, order: Order) -> Failure | None:
        """The first cause, or None for a valid measurement.

        A good result from a process that ended badly is a failure: something broke after all.
        """
        ending, result = outcome.ending, outcome.result
        clean = ending is not None and ending.kind is EndingKind.EXITED and ending.exit_code == 0
        if clean and result is not None and result.ok and result.metrics is not None:
            return None
        log = order.folder / LOG
        evidence = self._campaign.store.relative(log)
        return classify(
            log,
            exit_code=ending.exit_code if ending else None,
            signal=ending.signal if ending else None,
            ending=ending.kind.value if ending else None,
            phase=last_phase(order.folder / PHASES),
            worker_error=result.error if result else None,
            evidence_file=evidence,
        )


def _ended(started: Attempt, order: Order, outcome: Outcome, failure: Failure | None) -> Attempt:
    """The attempt's record once it is over."""
    ending = outcome.ending
    return replace(
        started,
        ended=now(),
        duration_s=round(ending.duration_s, 3) if ending else 0.0,
        exit_code=ending.exit_code if ending else None,
        signal=ending.signal if ending else None,
        ending=ending.kind.value if ending else None,
        phase=last_phase(order.folder / PHASES),
        memory_before=outcome.memory_before,
        memory_after=outcome.memory_after,
        processes_left=ending.processes_left if ending else 0,
        failure=failure,
    )


def _reason(failure: Failure, decision: str) -> str:
    """Why a cell is in the state it is in: its last cause, and why it is not tried again."""
    cause = f"{failure.failure_class}: {failure.root_cause.strip()}"
    return f"{cause} ({decision})" if decision else cause
