"""How many attempts ran at once, and which numbers were measured beside others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.moments import moment
from slidesparse_bench.report.view import RunView


@dataclass(frozen=True)
class Parallel:
    """`most` devices had an attempt at once; of `numbers`, `beside` were measured during others."""

    most: int
    beside: int
    numbers: int


@dataclass(frozen=True)
class _Span:
    device: str | None
    began: datetime
    ended: datetime


def parallel_of(view: RunView) -> Parallel:
    """By the attempts' times. One without them is taken for one that ran alone."""
    attempts = [attempt for each in view.cells for attempt in each.record.attempts]
    spans = [span for attempt in attempts if (span := _span(attempt))]
    numbers = [each for each in view.cells if each.standing]
    most = _most_at_once(spans)
    beside = sum(_is_beside(each, spans) for each in numbers) if most > 1 else 0
    return Parallel(most, beside, len(numbers))


def _span(attempt: Attempt) -> _Span | None:
    began, ended = moment(attempt.started), moment(attempt.ended)
    return _Span(attempt.device, began, ended) if began and ended and began <= ended else None


def _most_at_once(spans: Iterable[_Span]) -> int:
    """Devices, not attempts: on one device they follow each other."""
    events = [(each.began, 1, each.device) for each in spans]
    events += [(each.ended, -1, each.device) for each in spans]
    running: dict[str | None, int] = {}
    most = 0
    for _, step, device in sorted(events, key=lambda event: event[:2]):
        running[device] = running.get(device, 0) + step
        most = max(most, sum(count > 0 for count in running.values()))
    return most


def _is_beside(view: CellView, spans: Iterable[_Span]) -> bool:
    """Whether an attempt on another device ran while a number of the cell was measured."""
    windows = [window for each in view.standing if (window := _window(view, each))]
    return any(
        other.device != window.device and other.began < window.ended and window.began < other.ended
        for window in windows
        for other in spans
    )


def _window(view: CellView, attempt: Attempt) -> _Span | None:
    """The measurement: it is at the end of an attempt, and a little more is after it."""
    span, metrics = _span(attempt), attempt.metrics or view.metrics
    if span is None or metrics is None:
        return span
    began = span.ended - timedelta(seconds=max(0.0, metrics.elapsed_time))
    return _Span(span.device, max(span.began, began), span.ended)
