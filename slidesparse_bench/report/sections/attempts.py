"""What was tried: the attempts at cells, as histories that cells share and one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from slidesparse_bench.records import Attempt, Failure
from slidesparse_bench.report.csv_file import duration_s
from slidesparse_bench.report.markdown import code, counted, details, plain, shortened
from slidesparse_bench.report.table import Column, Table, as_markdown
from slidesparse_bench.report.view import CellView, changes_of, grouped, without_numbers
from slidesparse_bench.units import format_duration

_REASON_LIMIT = 160


def tried(cells: list[CellView]) -> str:
    """A table in which cells with the same history share a row."""
    rows = tuple(
        (_history(same[0]), len(same), _time_of(same), _stopped(same[0]))
        for same in grouped(cells, _course).values()
    )
    columns = (
        Column("attempts, in order"),
        Column("cells", right=True),
        Column("time", right=True),
        Column("why no further one"),
    )
    return as_markdown(Table(columns, rows))


def _course(view: CellView) -> str:
    return f"{_history(view)} {without_numbers(_stopped(view))}"


def _history(view: CellView) -> str:
    """`oom_device` (as planned; x 0.7; x 0.6), then worked (x 0.5): runs of the same outcome."""
    runs: list[tuple[str, list[str]]] = []
    for attempt in view.record.attempts:
        outcome = _outcome(attempt)
        if not runs or runs[-1][0] != outcome:
            runs.append((outcome, []))
        runs[-1][1].append(_changed(attempt))
    steps = [f"{outcome} ({'; '.join(_counted_runs(tries))})" for outcome, tries in runs]
    return ", then ".join(steps) or "none on record"


def _changed(attempt: Attempt) -> str:
    changed = ", ".join(f"{code(name)} {value}" for name, value in attempt.changed.items())
    return changed or "as planned"


def _counted_runs(texts: list[str]) -> list[str]:
    """Neighbours that are equal as one, with their number."""
    runs = [(text, len(list(same))) for text, same in itertools.groupby(texts)]
    return [f"{text}, {times} times" if times > 1 else text for text, times in runs]


def _stopped(view: CellView) -> str:
    """The campaign's reason: what it appends in brackets to the cause of the last failure."""
    if view.failure is None:
        return "passed" if view.metrics else ""
    reason = view.record.reason
    cause = f"{view.failure.failure_class}: {view.failure.root_cause.strip()}"
    rest = reason.removeprefix(cause).strip()
    decision = rest.removeprefix("(").removesuffix(")")
    return plain(shortened(decision, _REASON_LIMIT)) if decision else "not recorded"


def _outcome(attempt: Attempt) -> str:
    if attempt.failure:
        return code(attempt.failure.failure_class)
    return "worked" if attempt.ended else "did not end"


def _time_of(cells: Iterable[CellView]) -> str:
    known = [seconds for view in cells if (seconds := duration_s(view)) is not None]
    return format_duration(sum(known)) if known else "not recorded"


def all_attempts(cells: list[CellView]) -> str:
    """Every attempt at these cells, closed until the reader opens it."""
    rows = tuple(_row(view, attempt) for view in cells for attempt in view.record.attempts)
    if not rows:
        return ""
    titles = ("settings", "duration", "outcome", "evidence", "why tried")
    columns = (Column("cell"), Column("n", right=True), *map(Column, titles))
    text = (
        "Evidence is given relative to `cells/<cell>/attempt-<n>/` of the run folder.\n\n"
        + as_markdown(Table(columns, rows))
    )
    return details(f"All {counted(len(rows), 'attempt')}", text)


def _row(view: CellView, attempt: Attempt) -> tuple[str | int, ...]:
    folder = f"cells/{view.id}/attempt-{attempt.n}/"
    return (
        code(view.id),
        attempt.n,
        ", ".join(changes_of(view, attempt)) or "as planned",
        "not recorded" if attempt.duration_s is None else format_duration(attempt.duration_s),
        f"{_outcome(attempt)}, {ending(attempt)}",
        evidence_text(attempt.failure).replace(folder, "") if attempt.failure else "",
        plain(shortened(attempt.reason, _REASON_LIMIT)) or "planned",
    )


def ending(attempt: Attempt | None) -> str:
    """How the process ended, and in which phase: `exit code 1 in phase `profile_memory``."""
    if attempt is None:
        return "no attempt on record"
    how = f"exit code {attempt.exit_code}" if attempt.exit_code is not None else "no exit code"
    if attempt.signal:
        how = f"signal {attempt.signal}"
    if attempt.ending not in {None, "exited", "signalled"}:
        how = f"{attempt.ending}, {how}"
    return f"{how} in phase {code(attempt.phase)}" if attempt.phase else how


def evidence_text(failure: Failure) -> str:
    """`cells/.../worker.log:214`, or without a line when none was found."""
    line = f":{failure.evidence.line}" if failure.evidence.line is not None else ""
    return code(f"{failure.evidence.file}{line}") if failure.evidence.file else "no log on record"
