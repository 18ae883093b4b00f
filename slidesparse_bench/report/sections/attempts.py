"""What was tried: the attempts at cells, as histories that cells share and one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from slidesparse_bench.records import Attempt, Failure
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    chain,
    fold,
    grid,
    left,
    paragraph,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.csv_file import duration_s
from slidesparse_bench.report.markdown import shortened
from slidesparse_bench.report.view import RunView, grouped, without_numbers
from slidesparse_bench.report.words import Code, Recorded, Text, counted, joined, say
from slidesparse_bench.units import format_duration
from slidesparse_bench.wire import Phase

_REASON_LIMIT = 160
_SERVING = frozenset({Phase.WARM_UP, Phase.MEASURE, Phase.VERIFY, Phase.PROFILE_STEPS, Phase.DONE})
_IMPORTED = "imported from "
"""How an importer words why an attempt was made."""
AS_PLANNED = say("as planned")


def tried(cells: list[CellView]) -> list[Block]:
    """A table in which cells with the same history share a row."""
    rows = [
        (_history(same[0]), len(same), _time_of(same), _stopped(same[0]))
        for same in grouped(cells, _course).values()
    ]
    heads = [
        Head(say("attempts, in order")),
        *right(say("cells"), say("time")),
        Head(say("why no further one")),
    ]
    return grid(say("What was tried"), heads, rows)


def _course(view: CellView) -> str:
    return f"{_history(view)} {without_numbers(str(_stopped(view)))}"


def _history(view: CellView) -> Text:
    """`oom_device` (as planned; x 0.7; x 0.6), then worked (x 0.5): runs of the same outcome."""
    runs: list[tuple[Text, list[Text]]] = []
    for attempt in view.record.attempts:
        outcome = _outcome(attempt)
        if not runs or runs[-1][0] != outcome:
            runs.append((outcome, []))
        runs[-1][1].append(_changed(attempt))
    if not runs:
        return say("none on record")
    story = _step(*runs[0])
    for outcome, tries in runs[1:]:
        story = say("{before}, then {next}", before=story, next=_step(outcome, tries))
    return story


def _step(outcome: Text, tries: list[Text]) -> Text:
    settings = joined("; ", _counted_runs(tries))
    return say("{outcome} ({settings})", outcome=outcome, settings=settings)


def _changed(attempt: Attempt) -> Text:
    changed: list[Text] = [
        say("{name} {value}", name=Code(name), value=str(value))
        for name, value in attempt.changed.items()
    ]
    return joined(", ", changed) if changed else AS_PLANNED


def _counted_runs(texts: list[Text]) -> list[Text]:
    """Neighbours that are equal as one, with their number."""
    runs = [(text, len(list(same))) for text, same in itertools.groupby(texts)]
    return [say("{what}, {n} times", what=text, n=n) if n > 1 else text for text, n in runs]


def _stopped(view: CellView) -> Text:
    """The campaign's reason: what it appends in brackets to the cause of the last failure."""
    if view.failure is None:
        return say("passed") if view.metrics else ""
    if any(attempt.reason.startswith(_IMPORTED) for attempt in view.record.attempts):
        return say("another tool decided, and did not say why")
    reason = view.record.reason
    cause = f"{view.failure.failure_class}: {view.failure.root_cause.strip()}"
    decision = reason.removeprefix(cause).strip().removeprefix("(").removesuffix(")")
    return Recorded(shortened(decision, _REASON_LIMIT)) if decision else say("not recorded")


def _outcome(attempt: Attempt) -> Text:
    """What became of it; a failure in a shared engine proves nothing of the cell."""
    if attempt.failure:
        name = Code(attempt.failure.failure_class)
        return say("{name} in a shared engine", name=name) if _in_company(attempt) else name
    if attempt.metrics and attempt.metrics.disturbed:
        return say("measured, but disturbed")
    return say("worked") if attempt.ended is not None else say("did not end")


def _in_company(attempt: Attempt) -> bool:
    return attempt.isolation == "engine"


def _time_of(cells: Iterable[CellView]) -> Text:
    known = [seconds for view in cells if (seconds := duration_s(view)) is not None]
    return format_duration(sum(known)) if known else say("not recorded")


def all_attempts(view: RunView, cells: list[CellView]) -> list[Block]:
    """Every attempt at these cells, closed until the reader opens it."""
    rows = [_row(view, each, attempt) for each in cells for attempt in each.record.attempts]
    if not rows:
        return []
    numbers: tuple[Text, ...] = ("n", say("trial")) if view.run.trials > 1 else ("n",)
    heads = [
        Head(say("cell")),
        *right(*numbers),
        *left(say("process"), say("settings"), say("duration")),
        *left(say("outcome"), say("evidence"), say("why tried")),
    ]
    summary = say("All {attempts}", attempts=counted(len(rows), "attempt"))
    return fold(
        summary,
        chain(
            paragraph(
                say("Evidence is given relative to `cells/<cell>/attempt-<n>/` of the run folder.")
            ),
            _company(cells),
            grid(summary, heads, rows),
        ),
    )


def _company(cells: list[CellView]) -> list[Block]:
    """What a failure in a shared engine means, where there is one."""
    attempts = [attempt for each in cells for attempt in each.record.attempts]
    if not any(each.failure and _in_company(each) for each in attempts):
        return []
    return paragraph(
        say(
            "An engine that several cells share may die of what another cell did. A failure there is "
            "no reason to call its cell failed: it is tried again in a process of its own."
        )
    )


def _row(view: RunView, cell: CellView, attempt: Attempt) -> list[Text]:
    folder = f"cells/{cell.id}/attempt-{attempt.n}/"
    settings = cell.settings_changed(attempt)
    outcome = say("{outcome}, {ending}", outcome=_outcome(attempt), ending=ending(attempt))
    reason = shortened(attempt.reason, _REASON_LIMIT)
    return [
        Code(cell.id),
        attempt.n,
        *([attempt.trial] if view.run.trials > 1 else []),
        _process(view, attempt),
        joined(", ", settings) if settings else AS_PLANNED,
        say("not recorded") if attempt.duration_s is None else format_duration(attempt.duration_s),
        outcome,
        evidence_text(attempt.failure, folder) if attempt.failure else "",
        Recorded(reason) if reason else say("planned"),
    ]


def _process(view: RunView, attempt: Attempt) -> Text:
    """`own`, or `engine 3, cell 4 of 4`: of those that it turned to."""
    if attempt.engine is None:
        return say("shared engine") if _in_company(attempt) else say("own")
    if attempt.failure and attempt.phase not in _SERVING:
        return say("engine {engine}, before its first cell", engine=attempt.engine)
    served = [
        each for served in view.processes for _, each in served if each.engine == attempt.engine
    ]
    place = next(place for place, each in enumerate(served, start=1) if each is attempt)
    return say(
        "engine {engine}, cell {place} of {served}",
        engine=attempt.engine,
        place=place,
        served=len(served),
    )


def ending(attempt: Attempt | None) -> Text:
    """How the process ended, and in which phase: `exit code 1 in phase `profile_memory``."""
    if attempt is None:
        return say("no attempt on record")
    if attempt.ending == "measured":
        return say("its engine went on with the next cell")
    how: Text = say("no exit code")
    if attempt.exit_code is not None:
        how = say("exit code {code}", code=attempt.exit_code)
    if attempt.signal:
        how = say("signal {signal}", signal=attempt.signal)
    if attempt.ending in _ENDINGS:
        how = say("{ending}, {how}", ending=_ENDINGS[attempt.ending], how=how)
    elif attempt.ending not in {None, "exited", "signalled"}:
        how = say("{ending}, {how}", ending=str(attempt.ending), how=how)
    return (
        say("{how} in phase {phase}", how=how, phase=Code(attempt.phase)) if attempt.phase else how
    )


_ENDINGS = {
    "timed_out": say("timed_out"),
    "silent": say("silent"),
    "interrupted": say("interrupted"),
    "lost": say("lost"),
}


def evidence_text(failure: Failure, below: str = "") -> Text:
    """`cells/.../worker.log:214`, or without a line when none was found; relative to `below`."""
    if not failure.evidence.file:
        return say("no log on record")
    line = f":{failure.evidence.line}" if failure.evidence.line is not None else ""
    return Code(f"{failure.evidence.file.removeprefix(below)}{line}")
