"""One cell as a report sees it: its record, its place in the matrix, what the plan said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.engine_groups import capture_sizes
from slidesparse_bench.records import Attempt, CellRecord, CellState, Failure
from slidesparse_bench.report.advice import PLAN_VERDICTS
from slidesparse_bench.report.markdown import shortened
from slidesparse_bench.report.words import Code, Recorded, Text, say
from slidesparse_bench.telemetry import is_host_bound
from slidesparse_bench.wire import Metrics

NO_FAILURE_RECORDED = "unknown"
_SHORT_REASON = 40


@dataclass(frozen=True)
class CellView:
    """`cell` is None when the id is not one of ours; such a cell is listed, but in no table by M."""

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
    def standing(self) -> list[Attempt]:
        """The attempts that the numbers come from, one per trial; none without numbers.

        Until schema 1 an attempt did not hold its metrics: then it is the newest that worked.
        """
        if self.metrics is None:
            return []
        worked = [attempt for attempt in self.record.attempts if attempt.failure is None]
        return list(self.record.measured().values()) or worked[-1:] or self.record.attempts[-1:]

    @property
    def host_bound(self) -> bool | None:
        """Whether the host, not the device, set the time of its steps; None when nobody looked."""
        share = self.metrics.host_wait_share if self.metrics else None
        return None if share is None else is_host_bound(share)

    @property
    def has_graph(self) -> bool:
        """Whether a CUDA graph of its M was asked for."""
        asked = self.attempt.engine_args if self.attempt else {}
        return self.cell is not None and self.cell.m in capture_sizes(asked)

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that the row stands on: the newest with its numbers, else the newest."""
        return next(reversed(self.standing or self.record.attempts), None)

    @property
    def failure(self) -> Failure | None:
        """Why there is no number; None for a passed cell, whatever it took to get there.

        What happened in a shared engine is no reason to call a cell failed.
        """
        if self.state is CellState.PASSED:
            return None
        own = CellRecord(attempts=[each for each in self.record.attempts if each.is_evidence])
        if self.state is CellState.FAILED and own.last_failure:
            return own.last_failure
        return self.record.last_failure

    @property
    def failure_class(self) -> str:
        return self.failure.failure_class if self.failure else NO_FAILURE_RECORDED

    @property
    def reason(self) -> str:
        """Why there is no number, in full; empty for a passed cell."""
        if self.state is CellState.PASSED:
            return ""
        root_cause = self.failure.root_cause if self.failure else ""
        planned = self.planned.get("reason") if self.state is CellState.SKIPPED else None
        return self.record.reason or root_cause or str(planned or "")

    def reason_text(self, limit: int) -> Text:
        """The first `limit` characters of it. Of a failed cell it is a line of a log: data."""
        text = shortened(self.reason, limit)
        return text if self.state is CellState.FAILED else Recorded(text)

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
    def missing_text(self) -> Text:
        """`missing` in words that can be translated."""
        if self.state is CellState.FAILED:
            return say("failed: {failure_class}", failure_class=self.failure_class)
        if self.state is CellState.SKIPPED:
            return say("skipped: {reason}", reason=Recorded(self._short_reason))
        if self.state is CellState.PASSED:
            return say("passed: no metrics on record")
        return STATES[self.state]

    @property
    def _short_reason(self) -> str:
        verdict = str(self.planned.get("verdict") or "")
        if verdict in PLAN_VERDICTS:
            return verdict
        return shortened(self.reason, _SHORT_REASON) or "no reason recorded"

    def settings_changed(self, attempt: Attempt) -> list[Text]:
        """Settings of an attempt that differ from the plan, e.g. `x` 0.8 -> 0.9."""
        planned = self.planned.get("engine_args") or self.record.attempts[0].engine_args
        return [_change(name, planned.get(name), to) for name, to in attempt.changed.items()]


def _change(name: str, before: Any, after: Any) -> Text:
    if before in (None, after):
        return say("{name} set to {value}", name=Code(name), value=str(after))
    return say("{name} {before} -> {after}", name=Code(name), before=str(before), after=str(after))


STATES = {
    CellState.PENDING: say("pending"),
    CellState.RUNNING: say("running"),
    CellState.PASSED: say("passed"),
    CellState.FAILED: say("failed"),
    CellState.SKIPPED: say("skipped"),
}
