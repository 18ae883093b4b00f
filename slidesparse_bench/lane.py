"""One device's share of a campaign: group after group, until each cell has its end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.device import Device
from slidesparse_bench.device_lock import alone_on
from slidesparse_bench.engine_groups import halves
from slidesparse_bench.engine_run import EngineRun, Served, Try
from slidesparse_bench.records import WILL_BE_TRIED_AGAIN, CellState, Failure, Verdict
from slidesparse_bench.retry import Decision, decide
from slidesparse_bench.wire import Phase
from slidesparse_bench.work import Work

if TYPE_CHECKING:
    from slidesparse_bench.campaign import Campaign

IN_ITS_OWN = "after a failure in a shared engine, in a process of its own"
MEASURED_AGAIN = "measured again, as something disturbed the measurement before"
ENDS_LANE = frozenset({"gpu_lost"})
ENDS_RUN = {"disk_full": "the disk is full"}
NO_MATTER_OF_SIZE = frozenset({"gpu_memory_busy", "oom_weights", "timeout_hang"})
VERDICTS_OF_ANY_SIZE = frozenset({Verdict.CONFIGURATION, Verdict.ENVIRONMENT})
BEFORE_LOADING = frozenset({Phase.START, Phase.IMPORT, Phase.START_ENGINE})
"""A start that failed of such a class, verdict or phase would fail for half of the cells as well."""
STARTS_INTERRUPTED = 3
"""Somebody who ends every start of one group must not hold up the others for ever."""


class Lane(threading.Thread):
    """Runs groups of cells on one device, one worker at a time."""

    def __init__(self, campaign: Campaign, device: Device) -> None:
        super().__init__(name=f"lane {device.label}", daemon=True)
        self._campaign = campaign
        self.device = device
        self.lost = False
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.lost and (work := self._campaign.queue.take()) is not None:
                try:
                    self._work_off(work)
                finally:
                    self._campaign.queue.done(work)
        except OSError as error:
            if not self._campaign.pauses_for(error):
                self._give_way(error)
        except BaseException as error:  # noqa: BLE001 - re-raised by the campaign's own thread
            self._give_way(error)

    def _give_way(self, error: BaseException) -> None:
        self.error = error
        self._campaign.stop.set()

    def _work_off(self, work: Work) -> None:
        """Serve the group; what a failure leaves of it comes as smaller groups, and goes first."""
        store = self._campaign.store
        first = {cell.id: store.next_attempt(cell.id) for cell in work.cells}
        todo: list[list[Cell]] = [list(work.cells)]
        while todo and not self._is_stopping():
            cells = todo.pop(0)
            if len(cells) == 1:
                self._alone(cells[0], work.trial, first[cells[0].id])
            else:
                todo = self._together(cells, work.trial, first) + todo
        if self.lost:
            for cells in todo:
                self._campaign.queue.give_back(Work(tuple(cells), work.trial))

    def _is_stopping(self) -> bool:
        return self._campaign.stop.is_set() or self.lost

    def _together(self, cells: list[Cell], trial: int, first: dict[str, int]) -> list[list[Cell]]:
        """Serve several cells with one engine; the groups that are still to do.

        No cell is called failed for what happened here: it gets a process of its own first.
        """
        served = self._serve([self._try(cell, trial) for cell in cells])
        for cell in served.unproven:
            self._campaign.set_state(cell.id, CellState.PENDING, "left no usable result")
        unproven = [[cell] for cell in served.unproven]
        if served.failed is None or served.failure is None:
            return [*unproven, *_present(served.left, served.again)]
        self._react(served.failure)
        interrupted = served.failure.failure_class == "interrupted"
        reason = f"{_cause(served.failure)} (in an engine shared by {len(cells)} cells)"
        reason = WILL_BE_TRIED_AGAIN if interrupted else reason
        self._campaign.set_state(served.failed.id, CellState.PENDING, reason)
        if not served.reached:
            return self._smaller(cells, served.failed, served.failure, first)
        if self._is_stopping():
            return [[served.failed], *unproven, *_present(served.left, served.again)]
        self._alone(served.failed, trial, first[served.failed.id])
        nothing_works = served.failed == cells[0] and not self._campaign.is_wanted(cells[0], trial)
        left = [[cell] for cell in served.left] if nothing_works else [served.left]
        return [*unproven, *_present(*left, served.again)]

    def _smaller(
        self, cells: list[Cell], failed: Cell, failure: Failure, first: dict[str, int]
    ) -> list[list[Cell]]:
        """What to try of a group that did not start."""
        if self._is_stopping():
            return [cells]
        if failure.failure_class == "interrupted":
            attempts = self._campaign.store.record.cells[failed.id].attempts
            starts = [each for each in attempts if each.n >= first[failed.id]]
            return [cells] if len(starts) < STARTS_INTERRUPTED else [[cell] for cell in cells]
        if _is_no_matter_of_size(failure):
            return [[cell] for cell in cells]
        return halves(cells)

    def _alone(self, cell: Cell, trial: int, first: int) -> None:
        """Attempt the cell until it is measured or `decide` says that no retry can help."""
        record = self._campaign.store.record.cells[cell.id]
        settings = self._campaign.matrix.retry_for(cell)
        changes = self._campaign.settled(cell.id)
        why = IN_ITS_OWN if record.failed_in_company else ""
        while True:
            served = self._serve([self._try(cell, trial, changes, why)])
            if served.failure is None:
                if not served.again or self._is_stopping():
                    return
                why = MEASURED_AGAIN
                continue
            decision = decide(record.attempts, settings=settings, first=first)
            self._react(served.failure)
            if self._is_over(cell, served.failure, decision):
                return
            changes, why = {**changes, **decision.changes}, decision.reason

    def _try(
        self, cell: Cell, trial: int, changes: dict[str, Any] | None = None, why: str = ""
    ) -> Try:
        n = self._campaign.store.next_attempt(cell.id)
        return Try(cell, n, trial, changes or {}, why)

    def _serve(self, tries: Sequence[Try]) -> Served:
        """Waiting for another measurement on the device is no part of any attempt.

        A stop meanwhile leaves all of them to be done.
        """
        waits = partial(self._campaign.observer.waiting, tries[0].cell.id)
        with alone_on(self.device, self._campaign.stop, waits):
            if self._campaign.stop.is_set():
                return Served(left=[one.cell for one in tries])
            return EngineRun(self._campaign, self.device, tries).run()

    def _is_over(self, cell: Cell, failure: Failure, decision: Decision) -> bool:
        """Whether this was the cell's last attempt for now; says so on its record."""
        if decision.retry and not self._is_stopping():
            return False
        if decision.retry or failure.failure_class == "interrupted":
            self._campaign.set_state(cell.id, CellState.PENDING, WILL_BE_TRIED_AGAIN)
        else:
            cause = _cause(failure)
            reason = f"{cause} ({decision.reason})" if decision.reason else cause
            self._campaign.give_up(cell.id, reason)
        return True

    def _react(self, failure: Failure) -> None:
        """Some failures concern more than their cell."""
        if failure.failure_class in ENDS_LANE:
            self.lost = True
        if failure.failure_class in ENDS_RUN:
            self._campaign.pause(ENDS_RUN[failure.failure_class])


def _present(*groups: list[Cell]) -> list[list[Cell]]:
    return [group for group in groups if group]


def _cause(failure: Failure) -> str:
    return f"{failure.failure_class}: {failure.root_cause.strip()}"


def _is_no_matter_of_size(failure: Failure) -> bool:
    return (
        failure.verdict in VERDICTS_OF_ANY_SIZE
        or failure.failure_class in NO_MATTER_OF_SIZE
        or failure.facts.get("phase") in BEFORE_LOADING
    )
