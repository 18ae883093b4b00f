"""What was tried: the attempts at cells, as histories that cells share and one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from slidesparse_bench.records import Attempt, Failure
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.csv_file import duration_s
from slidesparse_bench.report.markdown import blocks, code, counted, details, plain, shortened
from slidesparse_bench.report.table import Column, Table, as_markdown
from slidesparse_bench.report.view import RunView, grouped, without_numbers
from slidesparse_bench.units import format_duration
from slidesparse_bench.wire import Phase

_REASON_LIMIT = 160
_SERVING = frozenset({Phase.WARM_UP, Phase.MEASURE, Phase.VERIFY, Phase.DONE})


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
    """What became of it; a failure in a shared engine proves nothing of the cell."""
    if attempt.failure:
        company = " in a shared engine" if attempt.isolation == "engine" else ""
        return f"{code(attempt.failure.failure_class)}{company}"
    if attempt.metrics and attempt.metrics.disturbed:
        return "measured, but disturbed"
    return "worked" if attempt.ended else "did not end"


def _time_of(cells: Iterable[CellView]) -> str:
    known = [seconds for view in cells if (seconds := duration_s(view)) is not None]
    return format_duration(sum(known)) if known else "not recorded"


def all_attempts(view: RunView, cells: list[CellView]) -> str:
    """Every attempt at these cells, closed until the reader opens it."""
    rows = tuple(_row(view, each, attempt) for each in cells for attempt in each.record.attempts)
    if not rows:
        return ""
    titles = ("process", "settings", "duration", "outcome", "evidence", "why tried")
    numbers = ("n", "trial") if view.run.trials > 1 else ("n",)
    columns = (
        Column("cell"),
        *(Column(title, right=True) for title in numbers),
        *map(Column, titles),
    )
    text = blocks(
        [
            "Evidence is given relative to `cells/<cell>/attempt-<n>/` of the run folder.",
            _company(cells),
            as_markdown(Table(columns, rows)),
        ]
    )
    return details(f"All {counted(len(rows), 'attempt')}", text)


def _company(cells: list[CellView]) -> str:
    """What a failure in a shared engine means, where there is one."""
    attempts = [attempt for each in cells for attempt in each.record.attempts]
    if not any(each.failure and each.isolation == "engine" for each in attempts):
        return ""
    return (
        "An engine that several cells share may die of what another cell did. A failure there is no "
        "reason to call its cell failed: it is tried again in a process of its own."
    )


def _row(view: RunView, cell: CellView, attempt: Attempt) -> tuple[str | int, ...]:
    folder = f"cells/{cell.id}/attempt-{attempt.n}/"
    return (
        code(cell.id),
        attempt.n,
        *([attempt.trial] if view.run.trials > 1 else []),
        _process(view, attempt),
        ", ".join(cell.settings_changed(attempt)) or "as planned",
        "not recorded" if attempt.duration_s is None else format_duration(attempt.duration_s),
        f"{_outcome(attempt)}, {ending(attempt)}",
        evidence_text(attempt.failure).replace(folder, "") if attempt.failure else "",
        plain(shortened(attempt.reason, _REASON_LIMIT)) or "planned",
    )


def _process(view: RunView, attempt: Attempt) -> str:
    """`own`, or `engine 3, cell 4 of 4`: of those that it turned to."""
    if attempt.engine is None:
        return "shared engine" if attempt.isolation == "engine" else "own"
    if attempt.failure and attempt.phase not in _SERVING:
        return f"engine {plain(attempt.engine)}, before its first cell"
    served = [
        each for served in view.processes for _, each in served if each.engine == attempt.engine
    ]
    place = next(place for place, each in enumerate(served, start=1) if each is attempt)
    return f"engine {plain(attempt.engine)}, cell {place} of {len(served)}"


def ending(attempt: Attempt | None) -> str:
    """How the process ended, and in which phase: `exit code 1 in phase `profile_memory``."""
    if attempt is None:
        return "no attempt on record"
    if attempt.ending == "measured":
        return "its engine went on with the next cell"
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
