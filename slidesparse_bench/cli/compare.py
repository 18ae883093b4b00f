"""`slidesparse compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import rich.table
import typer
from rich.console import Console
from rich.text import Text

from slidesparse_bench.cli.output import RUNS, Json, RunsDir, console, print_json
from slidesparse_bench.cli.report_inputs import report_inputs
from slidesparse_bench.cli.run import select_cells
from slidesparse_bench.compare import Comparison, Rule, Verdict, compare_runs
from slidesparse_bench.compare.tables import (
    cell_table,
    document,
    group_table,
    header_lines,
    markdown,
    summary_line,
)
from slidesparse_bench.errors import ExitCode, UsageError
from slidesparse_bench.report.table import Table
from slidesparse_bench.report.view import RunView, view_of
from slidesparse_bench.store import Store, find_run
from slidesparse_bench.wire import write_text

STYLES = {
    Verdict.NEW_FAILURE: "red",
    Verdict.SLOWER: "red",
    Verdict.CANNOT_TELL: "yellow",
    Verdict.FASTER: "green",
    Verdict.FIXED: "green",
}
_NARROWEST = 12
_OUTCOMES = {
    ExitCode.OK: ("OK", "green"),
    ExitCode.REGRESSION: ("REGRESSION", "red"),
    ExitCode.CANNOT_TELL: ("CANNOT TELL", "yellow"),
}


def compare(
    run_a: Annotated[
        str, typer.Argument(metavar="RUN_A", help="The reference: a run below runs/ or its path.")
    ],
    run_b: Annotated[
        str, typer.Argument(metavar="RUN_B", help="What is judged: a run below runs/ or its path.")
    ],
    threshold: Annotated[
        str, typer.Option("--threshold", help="The change that matters: 3% or 0.03.")
    ] = "3%",
    select: Annotated[
        list[str] | None, typer.Option("--select", help="Glob on cell ids; repeatable.")
    ] = None,
    min_trials: Annotated[
        int,
        typer.Option("--min-trials", min=1, help="Trials that a number needs to be judged by."),
    ] = 1,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Call a slower cell a regression on different devices too."),
    ] = False,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", help="Write the tables to this file as well.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_mode: Json = False,
) -> None:
    """Compare two runs cell by cell: faster, slower, the same, or cannot tell.

    A cell is slower when the whole 95 % interval of the ratio B/A lies below 1 - threshold; it is
    the same when the whole interval lies within ± threshold. Exit code 4: a regression (slower,
    or failed where A passed). 5: cannot tell. 0: neither.

    **Examples**

    - `slidesparse compare h200-20260301-120000 h200-20260308-120000`
    - `slidesparse compare runs/rtx4090 runs/rtx5080 --select '*.prefill.*' --markdown gpus.md`
    """
    rule = Rule(parse_threshold(threshold), min_trials)
    a, b = (view_of(report_inputs(Store.open(find_run(runs_dir, name)))) for name in (run_a, run_b))
    comparison = compare_runs(a, b, rule, gate=gate, only=_selected(a, b, select or []))
    if markdown_file is not None:
        _write_markdown(comparison, markdown_file)
    if json_mode:
        print_json(document(comparison))
    else:
        _print(console(), comparison)
    raise typer.Exit(comparison.outcome[0])


def parse_threshold(text: str) -> float:
    """`3%`, `3 %` or `0.03` as a share.

    Raises:
        UsageError: not a number, or not above 0 and below 1.
    """
    written = text.strip()
    try:
        number = float(written.removesuffix("%"))
    except ValueError:
        number = math.nan
    share = number / 100 if written.endswith("%") else number
    if 0 < share < 1:
        return share
    meant = f"; {written} percent is {written}%" if 1 <= share < 100 and share == number else ""
    raise UsageError(
        f"--threshold '{text}': expected a share above 0 and below 1, such as 3% or 0.03{meant}"
    )


def _selected(a: RunView, b: RunView, globs: Sequence[str]) -> list[str] | None:
    if not globs:
        return None
    ids = dict.fromkeys(view.id for run in (a, b) for view in run.cells if view.cell is not None)
    return select_cells(list(ids), globs)


def _write_markdown(comparison: Comparison, path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"--markdown {path}: is a folder; name the file, e.g. {path}/compare.md")
    if not path.parent.is_dir():
        raise UsageError(f"--markdown {path}: there is no folder {path.parent}; make it first")
    if path.exists() and not path.is_file():
        raise UsageError(f"--markdown {path}: is no regular file; name one that may be replaced")
    write_text(path.resolve(), markdown(comparison))


def _print(out: Console, comparison: Comparison) -> None:
    for line in header_lines(comparison):
        out.print(line, markup=False)
    for table in (group_table(comparison), cell_table(comparison)):
        if table.rows:
            out.print()
            out.print(_rich(table))
    out.print()
    out.print(summary_line(comparison), markup=False)
    for step in comparison.next_steps:
        out.print(step, markup=False)
    exit_code, reason = comparison.outcome
    word, style = _OUTCOMES[exit_code]
    out.print(Text.assemble((word, f"bold {style}"), f": {reason}"))


def _rich(table: Table) -> rich.table.Table:
    shown = rich.table.Table(box=None, pad_edge=False)
    for place, column in enumerate(table.columns):
        # On a narrow terminal ids and remarks take more lines; numbers stay whole.
        widest = max(len(str(row[place] or "")) for row in table.rows)
        shown.add_column(
            column.title,
            justify="right" if column.right else "left",
            min_width=widest if column.right else min(widest, _NARROWEST),
            overflow="fold",
        )
    for row in table.rows:
        texts = ("" if value is None else str(value) for value in row)
        shown.add_row(*(Text(text, style=_style(text)) for text in texts))
    return shown


def _style(text: str) -> str:
    return STYLES.get(Verdict(text), "") if text in set(Verdict) else ""


def register(app: typer.Typer) -> None:
    app.command()(compare)
