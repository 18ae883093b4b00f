"""What a reader has to know of a number beyond the rest of the run, as footnotes.

A note is worded without the numbers of its cell, so that cells with the same doubt share one; the
numbers are in `metrics.csv` and under "Data completeness".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.changes import Change, changes_before
from slidesparse_bench.report.markdown import round_percent
from slidesparse_bench.report.markdown_writer import inline
from slidesparse_bench.report.words import Recorded, Text, joined, listed, say
from slidesparse_bench.telemetry import POWER_CAP, is_host_bound, slow_host_matters
from slidesparse_bench.trials import half_width_within, known_spreads
from slidesparse_bench.wire import Metrics

MANY_OUTLIERS = 0.01
"""Share of outliers above which a number says so."""


def notes_on(view: CellView, changes: Sequence[Change] = ()) -> list[Text]:
    """The notes on a cell's number; `changes` are those between which the run's numbers fall."""
    metrics = view.metrics
    if metrics is None:
        return []
    return [*conditions(view, changes), *_interval(view, metrics), *_outliers(metrics)]


def conditions_of(view: CellView, changes: Sequence[Change] = ()) -> list[str]:
    """`conditions` in English."""
    return [inline(note) for note in conditions(view, changes)]


def conditions(view: CellView, changes: Sequence[Change] = ()) -> list[Text]:
    """Those of the notes that say that it was measured in another way than other numbers."""
    metrics = view.metrics
    if metrics is None:
        return []
    return [
        *_emulated(metrics),
        *dict.fromkeys(note for each in view.standing for note in view.settings_changed(each)),
        *_change(view, changes),
        *_disturbed(view, metrics),
        *_throttled(metrics),
        *_host(metrics),
        *_warmup(metrics),
        *_ended_early(metrics),
        *_proof(metrics),
    ]


def _emulated(metrics: Metrics) -> list[Text]:
    if not metrics.emulated:
        return []
    return [say("emulated: the device has no such kernel, and the speed says nothing of it")]


def _change(view: CellView, changes: Sequence[Change]) -> list[Text]:
    """On which side of a change of the machine or the software it was measured."""
    places = {changes_before(changes, attempt) for attempt in view.standing}
    if len(places) > 1:
        return [
            say("its trials were measured before and after a change of the machine or the software")
        ]
    place = max(places, default=0)
    if not place:
        return []
    change = changes[place - 1]
    return [
        say(
            "measured after the change of sitting {n}: {changes}",
            n=change.sitting,
            changes=change.shortly,
        )
    ]


def _disturbed(view: CellView, metrics: Metrics) -> list[Text]:
    if not metrics.disturbed:
        return []
    causes = listed(dict.fromkeys(map(_cause, metrics.disturbed)))
    tried = {each.trial: 0 for each in view.standing if each.metrics and each.metrics.disturbed}
    for attempt in view.record.attempts:
        if attempt.metrics is not None and attempt.trial in tried:
            tried[attempt.trial] += 1
    if max(tried.values(), default=0) > 1:
        return [
            say(
                "disturbed while it was measured, and measuring again did not help: {causes}",
                causes=causes,
            )
        ]
    return [say("disturbed while it was measured: {causes}", causes=causes)]


def _cause(clause: str) -> Text:
    """A clause of `Metrics.disturbed` without the numbers of its cell."""
    if clause.startswith("SM clock below"):
        return say("the SM clock dropped")
    return Recorded(re.sub(r" in \d+ of \d+ samples$", "", clause))


def _throttled(metrics: Metrics) -> list[Text]:
    """Reasons that `disturbed` does not name; the power limit is a remark on the whole group."""
    told = " ".join(metrics.disturbed)
    reasons = [
        str(reason)
        for reason in metrics.throttled or []
        if reason != POWER_CAP and f"({reason})" not in told
    ]
    if not reasons:
        return []
    return [say("the GPU was throttled: {reasons}", reasons=joined(", ", reasons))]


def _host(metrics: Metrics) -> list[Text]:
    """Both can be true at once. A slow host is no doubt where it cannot have mattered."""
    found: list[Text] = []
    if may_be_slowed(metrics):
        found.append(
            say("the host's CPU was slow, and whether that made its steps longer is not on record")
            if metrics.host_wait_share is None
            else say(
                "a slow CPU of the host may have made its steps longer, and measuring again did not "
                "help"
            )
        )
    if is_host_bound(metrics.host_wait_share):
        found.append(
            say(
                "host-bound: the host hardly ever waited for the device, so faster GEMMs would hardly "
                "make the step shorter"
            )
        )
    return found


def _warmup(metrics: Metrics) -> list[Text]:
    if metrics.warmup_steady is not False:
        return []
    return [say("its step times had not settled when the warm-up was over")]


def may_be_slowed(metrics: Metrics) -> bool:
    """Whether a host at its best might have been faster by more than the asked precision."""
    precision = metrics.precision or 0.0
    return slow_host_matters(metrics.host_slowdown, metrics.host_wait_share, precision)


def _ended_early(metrics: Metrics) -> list[Text]:
    if not metrics.ended_early:
        return []
    return [say("it was measured for a shorter time than others: the host's CPU stayed slow")]


def _interval(view: CellView, metrics: Metrics) -> list[Text]:
    if metrics.step_time_ms is None:
        return [say("no interval: its steps were not timed one by one")]
    if metrics.step_time_ms.ci95_half_width is None:
        return [say("no interval: it was measured too few times")]
    if metrics.precision_reached:
        return []
    asked = f" (±{round_percent(metrics.precision)})" if metrics.precision else ""
    if trials_differ(view):
        return [
            say(
                "the interval is wider than asked for{asked}: the trials differ by more than the "
                "steps within one",
                asked=asked,
            )
        ]
    return [say("the interval is wider than asked for{asked}", asked=asked)]


def trials_differ(view: CellView) -> bool:
    """Whether the interval is that between the trials: their steps alone would give a narrower."""
    spreads = known_spreads(each.metrics for each in view.standing if each.metrics)
    if len(spreads) < 2 or view.metrics is None or view.metrics.step_time_ms is None:
        return False
    width, within = view.metrics.step_time_ms.ci95_half_width, half_width_within(spreads)
    return width is not None and within is not None and width > within * (1 + 1e-9)


def _outliers(metrics: Metrics) -> list[Text]:
    share = outlier_share(metrics)
    if share is None or share <= MANY_OUTLIERS:
        return []
    return [
        say(
            "more than {share} of its steps are outliers; they are kept",
            share=round_percent(MANY_OUTLIERS),
        )
    ]


def outlier_share(metrics: Metrics) -> float | None:
    """Outliers among the measured steps; None when they were not counted."""
    if metrics.outlier_steps is None or metrics.m_observed.steps <= 0:
        return None
    return metrics.outlier_steps / metrics.m_observed.steps


def _proof(metrics: Metrics) -> list[Text]:
    return [say("the M that ran is not on record")] if metrics.m_observed.steps == 0 else []
