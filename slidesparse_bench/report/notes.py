"""What a reader has to know of a number beyond the rest of the run, as footnotes.

A note is worded without the numbers of its cell, so that cells with the same doubt share one; the
numbers are in `metrics.csv` and under "Data completeness".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.changes import Change, changes_before
from slidesparse_bench.report.markdown import listed, round_percent
from slidesparse_bench.report.moments import shown
from slidesparse_bench.telemetry import POWER_CAP
from slidesparse_bench.trials import half_width_within
from slidesparse_bench.wire import Metrics

MANY_OUTLIERS = 0.01
"""Share of outliers above which a number says so."""


def notes_on(view: CellView, changes: Sequence[Change] = ()) -> list[str]:
    """The notes on a cell's number; `changes` are those between which the run's numbers fall."""
    metrics = view.metrics
    if metrics is None:
        return []
    return [*conditions_of(view, changes), *_interval(view, metrics), *_outliers(metrics)]


def conditions_of(view: CellView, changes: Sequence[Change] = ()) -> list[str]:
    """Those of the notes that say that it was measured in another way than other numbers."""
    metrics = view.metrics
    if metrics is None:
        return []
    return [
        *dict.fromkeys(note for each in view.standing for note in view.settings_changed(each)),
        *_change(view, changes),
        *_disturbed(view, metrics),
        *_throttled(metrics),
        *_proof(metrics),
    ]


def _change(view: CellView, changes: Sequence[Change]) -> list[str]:
    """On which side of a change of the machine or the software it was measured."""
    places = {changes_before(changes, attempt) for attempt in view.standing}
    if len(places) > 1:
        return ["its trials were measured before and after a change of the machine or the software"]
    place = max(places, default=0)
    if not place:
        return []
    change = changes[place - 1]
    return [f"measured after the change of {shown(change.began)}: {change.shortly}"]


def _disturbed(view: CellView, metrics: Metrics) -> list[str]:
    if not metrics.disturbed:
        return []
    causes = listed(list(dict.fromkeys(map(_cause, metrics.disturbed))))
    tried = {each.trial: 0 for each in view.standing if each.metrics and each.metrics.disturbed}
    for attempt in view.record.attempts:
        if attempt.metrics is not None and attempt.trial in tried:
            tried[attempt.trial] += 1
    helped = ", and measuring again did not help" if max(tried.values(), default=0) > 1 else ""
    return [f"disturbed while it was measured{helped}: {causes}"]


def _cause(clause: str) -> str:
    """A clause of `Metrics.disturbed` without the numbers of its cell."""
    if clause.startswith("SM clock below"):
        return "the SM clock dropped"
    return re.sub(r" in \d+ of \d+ samples$", "", clause)


def _throttled(metrics: Metrics) -> list[str]:
    """Reasons that `disturbed` does not name; the power limit is a remark on the whole group."""
    told = " ".join(metrics.disturbed)
    reasons = [
        str(reason)
        for reason in metrics.throttled or []
        if reason != POWER_CAP and f"({reason})" not in told
    ]
    return [f"the GPU was throttled: {', '.join(reasons)}"] if reasons else []


def _interval(view: CellView, metrics: Metrics) -> list[str]:
    if metrics.precision_reached:
        return []
    asked = f" (±{round_percent(metrics.precision)})" if metrics.precision else ""
    note = f"the interval is wider than asked for{asked}"
    if trials_differ(view):
        return [f"{note}: the trials differ by more than the steps within one"]
    return [note]


def trials_differ(view: CellView) -> bool:
    """Whether the interval is that between the trials: their steps alone would give a narrower."""
    spreads = [each.metrics.step_time_ms for each in view.standing if each.metrics]
    if len(spreads) < 2 or view.metrics is None:
        return False
    width, within = view.metrics.step_time_ms.ci95_half_width, half_width_within(spreads)
    return width is not None and within is not None and width > within * (1 + 1e-9)


def _outliers(metrics: Metrics) -> list[str]:
    share = outlier_share(metrics)
    if share is None or share <= MANY_OUTLIERS:
        return []
    return [f"more than {round_percent(MANY_OUTLIERS)} of its steps are outliers; they are kept"]


def outlier_share(metrics: Metrics) -> float | None:
    """Outliers among the measured steps; None when they were not counted."""
    if metrics.outlier_steps is None or metrics.m_observed.steps <= 0:
        return None
    return metrics.outlier_steps / metrics.m_observed.steps


def _proof(metrics: Metrics) -> list[str]:
    return ["the M that ran is not on record"] if metrics.m_observed.steps == 0 else []
