"""`slidesparse status`."""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from slidesparse_bench.cli.output import RUNS, Json, RunName, RunsDir, console, print_json
from slidesparse_bench.cli.progress import STYLES, what_happened
from slidesparse_bench.records import RunRecord, status_json
from slidesparse_bench.store import Store, find_run


def status(run_name: RunName = None, runs_dir: RunsDir = RUNS, json_mode: Json = False) -> None:
    """Show where a run stands, cell by cell; also while it is running.

    `--json` prints the content of status.json. It is rebuilt from the journal, so a torn or
    missing file does not matter.

    **Examples**

    - `slidesparse status`
    - `slidesparse status h200-20260301-120000 --json | jq .counts`
    """
    store = Store.open(find_run(runs_dir, run_name))
    if json_mode:
        print_json(status_json(store.record))
        return
    out = console()
    out.print(_table(store.record))
    counts = ", ".join(f"{n} {state}" for state, n in store.record.counts.items() if n)
    out.print(f"{store.record.run_id} is {store.record.state}: {counts}", markup=False)


def _table(record: RunRecord) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("cell", "state", "attempts", "what happened"):
        table.add_column(heading, no_wrap=heading != "what happened")
    for cell_id, cell in record.cells.items():
        state = Text(cell.state.value, style=STYLES[cell.state])
        table.add_row(cell_id, state, str(len(cell.attempts)), Text(what_happened(cell_id, cell)))
    return table


def register(app: typer.Typer) -> None:
    app.command()(status)
