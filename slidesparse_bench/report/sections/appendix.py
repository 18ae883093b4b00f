"""How to repeat the run, where its files are, and every cell in one table."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from slidesparse_bench.records import CellState
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    Listing,
    bullets,
    chain,
    fold,
    grid,
    heading,
    left,
    paragraph,
)
from slidesparse_bench.report.cell_view import STATES
from slidesparse_bench.report.csv_file import results_table
from slidesparse_bench.report.sections.setup import command_line
from slidesparse_bench.report.table import Value
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Code, Text, counted, is_empty, say
from slidesparse_bench.units import format_duration, format_rate

_REASON_LIMIT = 120


def section(view: RunView) -> list[Block]:
    return chain(_reproduction(view), _files(view), _all_cells(view))


def _reproduction(view: RunView) -> list[Block]:
    command = command_line(view.environment.get("command"))
    started: list[Block] = []
    if not is_empty(command):
        started = paragraph(say("This run was started with {command}.", command=command))
    how = say("With the versions named above:")
    if view.imported:
        how = say("Measured anew with slidesparse-bench, which is not the tool of these numbers:")
    return chain(
        heading(2, say("Reproduction")),
        started,
        paragraph(how),
        [Listing("\n".join(_commands(view)), "sh")],
    )


def _commands(view: RunView) -> list[str]:
    run = shlex.quote(f"{view.folder}/matrix.yaml")
    commands = [f"slidesparse run {run} --fresh    # the whole matrix, as a new run"]
    if view.cells:
        example = next(iter(view.in_state(CellState.FAILED)), view.cells[0]).id
        commands.append(f"slidesparse run {run} --fresh --select '{example}'")
    if view.in_state(CellState.FAILED) and not view.imported:
        commands.append(f"slidesparse retry {view.named} --failed")
    commands.append(f"slidesparse report {view.named}    # this report")
    return commands


def _files(view: RunView) -> list[Block]:
    run = view.folder
    attempt_files = say(
        "`{run}/cells/<cell id>/attempt-<n>/`: `request.json`, `result.json`, `attempt.json`, "
        "`worker.log`, `phases.jsonl`, `telemetry.csv`; the evidence of failures is given relative to "
        "the run folder",
        run=run,
    )
    if view.imported:
        attempt_files = say(
            "`{run}/cells/<cell id>/attempt-<n>/`: `result.json`, `attempt.json`, `worker.log` (the "
            "part of the foreign log, byte for byte), `source.json` (which file and which lines); the "
            "evidence of failures is given relative to the run folder",
            run=run,
        )
    return chain(
        heading(2, say("Files")),
        bullets(
            [
                say(
                    "beside this report: `results.csv` (one row per cell), `metrics.csv` (every "
                    "metric of every cell), `speedup.csv` (the rates and speed-ups of the tables "
                    "above), `plots/`"
                ),
                say(
                    "`{run}/matrix.yaml`, `plan.json`, `environment.json`: what was asked for, "
                    "what was expected, and on what it ran",
                    run=run,
                ),
                say("`{run}/journal.jsonl` (every event), `status.json` (its sum)", run=run),
                attempt_files,
                *_engine_files(view),
            ]
        ),
    )


def _engine_files(view: RunView) -> list[Text]:
    if not any(attempt.engine for each in view.cells for attempt in each.record.attempts):
        return []
    return [
        say(
            "`{run}/engines/<n>/`: request, log and phases of an engine that cells shared; their "
            "attempts link to them",
            run=view.folder,
        )
    ]


def _all_cells(view: RunView) -> list[Block]:
    """Every cell by its id, whatever became of it."""
    title = say("All cells")
    if not view.cells:
        return chain(heading(2, title), paragraph(say("The run has no cells.")))
    table = results_table(view, view.gpu_names).select(_SHOWN)
    shown = [_SHOWN[column.title] for column in table.columns]
    rows = [
        (
            *(_field(value, show) for value, (_, show) in zip(row, shown, strict=True)),
            each.reason_text(_REASON_LIMIT),
            view.marks(each),
        )
        for row, each in zip(table.rows, view.cells, strict=True)
    ]
    heads = [*(head for head, _ in shown), *left(say("reason"), say("notes"))]
    listing = chain(grid(title, heads, rows), view.notes(view.cells))
    if len(view.cells) > 12:
        listing = fold(counted(len(view.cells), "cell"), listing)
    where = say("The same rows, with all columns, are in `results.csv`.")
    return chain(heading(2, title), paragraph(where), listing)


def _field(value: Value, show: Callable[[Value], Text]) -> Text | None:
    return None if value is None else show(value)


def _rate(value: Value) -> Text:
    return format_rate(float(value)) if isinstance(value, (int, float)) else str(value)


def _seconds(value: Value) -> Text:
    return format_duration(float(value)) if isinstance(value, (int, float)) else str(value)


def _significant(value: Value) -> Text:
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _state(value: Value) -> Text:
    return STATES[CellState(str(value))]


def _code(value: Value) -> Text:
    return Code(str(value))


_SHOWN: dict[str, tuple[Head, Callable[[Value], Text]]] = {
    "id": (Head("id"), _code),
    "state": (Head(say("state")), _state),
    "class": (Head(say("class")), str),
    "tokens_per_second": (Head("tokens/s", right=True), _rate),
    "output_tokens_per_second": (Head(say("output tokens/s"), right=True), _rate),
    "step_time_ms_median": (Head(say("median step, ms"), right=True), _significant),
    "ci95_half_width_pct": (Head("±, %", right=True), _significant),
    "iterations": (Head(say("iterations"), right=True), str),
    "gpu_memory_utilization": (Head(say("memory utilization"), right=True), str),
    "attempts": (Head(say("attempts"), right=True), str),
    "duration_s": (Head(say("duration"), right=True), _seconds),
}
"""Columns of `results.csv` that fit a page."""
