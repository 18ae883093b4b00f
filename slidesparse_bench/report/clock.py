"""Where the time of a run went, and how its moments are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.view import CellView, RunView


@dataclass(frozen=True)
class TimeAccount:
    """Seconds of a run. The first four are sums over attempts and exclude each other.

    `wall_s` runs from the creation of the run to its last event, `busy_s` is the part of it in
    which at least one attempt ran; None when the timestamps do not tell. `untimed` counts
    attempts that recorded no duration.
    """

    measuring_s: float
    starting_s: float
    rest_of_passed_s: float
    failed_s: float
    untimed: int
    wall_s: float | None
    busy_s: float | None

    @property
    def attempts_s(self) -> float:
        return self.measuring_s + self.starting_s + self.rest_of_passed_s + self.failed_s


def account_of(view: RunView) -> TimeAccount:
    """Sum up the attempts. A duration that is too short for its parts counts as its parts."""
    attempts = [attempt for each in view.cells for attempt in each.record.attempts]
    standing = [(each, attempt) for each in view.cells if (attempt := _measured_by(each))]
    measuring = sum(_measuring_s(each) for each, _ in standing)
    starting = sum(_starting_s(each) for each, _ in standing)
    whole = sum(max(_seconds(a), _measuring_s(v) + _starting_s(v)) for v, a in standing)
    counted = {id(attempt) for _, attempt in standing}
    failed = sum(_seconds(attempt) for attempt in attempts if id(attempt) not in counted)
    return TimeAccount(
        measuring_s=measuring,
        starting_s=starting,
        rest_of_passed_s=max(0.0, whole - measuring - starting),
        failed_s=failed,
        untimed=sum(attempt.duration_s is None for attempt in attempts),
        wall_s=seconds_between(view.run.created, view.run.updated),
        busy_s=_busy_s(attempts),
    )


def _measured_by(view: CellView) -> Attempt | None:
    return view.attempt if view.metrics else None


def _measuring_s(view: CellView) -> float:
    return max(0.0, view.metrics.elapsed_time) if view.metrics else 0.0


def _starting_s(view: CellView) -> float:
    return max(0.0, view.metrics.load_time_s or 0.0) if view.metrics else 0.0


def _seconds(attempt: Attempt) -> float:
    return max(0.0, attempt.duration_s or 0.0)


def _busy_s(attempts: Iterable[Attempt]) -> float | None:
    """Length of the union of the attempts' intervals."""
    spans = [
        (began, ended)
        for attempt in attempts
        if (began := moment(attempt.started)) and (ended := moment(attempt.ended))
    ]
    if not spans:
        return None
    total, reached = 0.0, min(began for began, _ in spans)
    for began, ended in sorted(spans):
        if ended > reached:
            total += (ended - max(began, reached)).total_seconds()
            reached = ended
    return total


def moment(text: str | None) -> datetime | None:
    """An ISO 8601 time; UTC when it has no zone, None when it is no time."""
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def seconds_between(began: str | None, ended: str | None) -> float | None:
    """Seconds from one ISO time to another; None when either is missing or they are reversed."""
    first, last = moment(began), moment(ended)
    if first is None or last is None or last < first:
        return None
    return (last - first).total_seconds()


def shown(text: str | None) -> str:
    """A time as a person writes it: `2026-03-01 10:00 UTC`."""
    parsed = moment(text)
    if parsed is None:
        return text or "not recorded"
    return f"{parsed:%Y-%m-%d %H:%M} {parsed.tzname()}"
