"""How to repeat the run, where its files are, and every cell in one table."""

from __future__ import annotations

from slidesparse_bench.records import CellState
from slidesparse_bench.report.csv_file import results_table
from slidesparse_bench.report.markdown import (
    blocks,
    bullets,
    code,
    counted,
    details,
    fence,
    plain,
    shortened,
)
from slidesparse_bench.report.sections.setup import command_line
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.report.view import RunView
from slidesparse_bench.units import format_duration, format_rate

_REASON_LIMIT = 120


def section(view: RunView) -> str:
    return blocks([_reproduction(view), _files(view), _all_cells(view)])


def _reproduction(view: RunView) -> str:
    command = command_line(view.environment.get("command"))
    return blocks(
        [
            "## Reproduction",
            f"This run was started with {command}." if command else "",
            "With the versions named above:",
            fence("\n".join(_commands(view)), "sh"),
        ]
    )


def _commands(view: RunView) -> list[str]:
    run = view.folder
    commands = [f"slidesparse run {run}/matrix.yaml --fresh    # the whole matrix, as a new run"]
    if view.cells:
        example = next(iter(view.in_state(CellState.FAILED)), view.cells[0]).id
        commands.append(f"slidesparse run {run}/matrix.yaml --fresh --select '{example}'")
    if view.in_state(CellState.FAILED):
        commands.append(f"slidesparse retry {view.inputs.run_folder.name} --failed")
    commands.append(f"slidesparse report {view.inputs.run_folder.name}    # this report")
    return commands


def _files(view: RunView) -> str:
    run = view.folder
    return blocks(
        [
            "## Files",
            bullets(
                [
                    (
                        "beside this report: `results.csv` (one row per cell), `metrics.csv` (every "
                        "metric of every cell), `speedup.csv` (the rates and speed-ups of the tables "
                        "above), `plots/`"
                    ),
                    (
                        f"`{run}/matrix.yaml`, `plan.json`, `environment.json`: what was asked for, "
                        "what was expected, and on what it ran"
                    ),
                    f"`{run}/journal.jsonl` (every event), `status.json` (its sum)",
                    (
                        f"`{run}/cells/<cell id>/attempt-<n>/`: `request.json`, `result.json`, "
                        "`attempt.json`, `worker.log`, `phases.jsonl`, `telemetry.csv`; the evidence "
                        "of failures is given relative to the run folder"
                    ),
                    *_engine_files(view),
                ]
            ),
        ]
    )


def _engine_files(view: RunView) -> list[str]:
    if not any(attempt.engine for each in view.cells for attempt in each.record.attempts):
        return []
    text = "request, log and phases of an engine that cells shared; their attempts link to them"
    return [f"`{view.folder}/engines/<n>/`: {text}"]


def _all_cells(view: RunView) -> str:
    """Every cell by its id, whatever became of it."""
    if not view.cells:
        return blocks(["## All cells", "The run has no cells."])
    table = results_table(view, view.gpu_names).select(_SHOWN)
    columns = (*(_SHOWN[column.title] for column in table.columns), Column("notes"))
    rows = tuple(
        (*row, view.marks(each).strip()) for row, each in zip(table.rows, view.cells, strict=True)
    )
    listing = blocks([as_markdown(Table(columns, rows)), view.note_lines(view.cells)])
    if len(view.cells) > 12:
        listing = details(counted(len(view.cells), "cell"), listing)
    return blocks(
        ["## All cells", "The same rows, with all columns, are in `results.csv`.", listing]
    )


def _rate(value: Value) -> str:
    return format_rate(float(value)) if isinstance(value, (int, float)) else str(value)


def _seconds(value: Value) -> str:
    return format_duration(float(value)) if isinstance(value, (int, float)) else str(value)


def _significant(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _reason(value: Value) -> str:
    return plain(shortened(str(value), _REASON_LIMIT))


_SHOWN = {
    "id": Column("id", show=lambda value: code(str(value))),
    "state": Column("state"),
    "class": Column("class"),
    "tokens_per_second": Column("tokens/s", right=True, show=_rate),
    "output_tokens_per_second": Column("output tokens/s", right=True, show=_rate),
    "step_time_ms_median": Column("median step, ms", right=True, show=_significant),
    "ci95_half_width_pct": Column("±, %", right=True, show=_significant),
    "iterations": Column("iterations", right=True),
    "gpu_memory_utilization": Column("memory utilization", right=True),
    "attempts": Column("attempts", right=True),
    "duration_s": Column("duration", right=True, show=_seconds),
    "reason": Column("reason", show=_reason),
}
"""Columns of `results.csv` that fit a page."""
