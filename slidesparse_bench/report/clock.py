"""Where the time of a run went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.moments import moment, seconds_between
from slidesparse_bench.report.view import RunView


@dataclass(frozen=True)
class TimeAccount:
    """Seconds of a run. The first four are sums over attempts and exclude each other.

    A process starts once, whatever it serves: `starting_s` counts its start at the first of its
    attempts. `discarded_s` are attempts whose numbers, if any, do not count: they failed, or were
    disturbed and measured again. `wall_s` runs from the creation of the run to its last event,
    `busy_s` is the part of it in which at least one attempt ran; None when the timestamps do not
    tell. `recorded_s` sums the recorded durations; `untimed` counts attempts without one.
    """

    measuring_s: float
    starting_s: float
    rest_of_measured_s: float
    discarded_s: float
    recorded_s: float
    untimed: int
    wall_s: float | None
    busy_s: float | None

    @property
    def attempts_s(self) -> float:
        return self.measuring_s + self.starting_s + self.rest_of_measured_s + self.discarded_s


def account_of(view: RunView) -> TimeAccount:
    """Sum up the attempts. A duration that is too short for its parts counts as its parts."""
    attempts = [attempt for each in view.cells for attempt in each.record.attempts]
    standing = [(each, attempt) for each in view.cells for attempt in each.standing]
    later = {id(attempt) for served in view.processes for _, attempt in served[1:]}
    measuring = [_measuring_s(each, attempt) for each, attempt in standing]
    starting = [0.0 if id(a) in later else _starting_s(each, a) for each, a in standing]
    whole = [
        max(_seconds(attempt), measured_s + started_s)
        for (_, attempt), measured_s, started_s in zip(standing, measuring, starting, strict=True)
    ]
    counted = {id(attempt) for _, attempt in standing}
    return TimeAccount(
        measuring_s=sum(measuring),
        starting_s=sum(starting),
        rest_of_measured_s=max(0.0, sum(whole) - sum(measuring) - sum(starting)),
        discarded_s=sum(_seconds(attempt) for attempt in attempts if id(attempt) not in counted),
        recorded_s=sum(map(_seconds, attempts)),
        untimed=sum(attempt.duration_s is None for attempt in attempts),
        wall_s=seconds_between(view.run.created, view.run.updated),
        busy_s=_busy_s(attempts),
    )


def _measuring_s(view: CellView, attempt: Attempt) -> float:
    metrics = attempt.metrics or view.metrics
    return max(0.0, metrics.elapsed_time) if metrics else 0.0


def _starting_s(view: CellView, attempt: Attempt) -> float:
    metrics = attempt.metrics or view.metrics
    return max(0.0, metrics.load_time_s or 0.0) if metrics else 0.0


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
