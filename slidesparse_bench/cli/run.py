"""`slidesparse run`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from slidesparse_bench.cell import Cell
from slidesparse_bench.cli.execution import begin_sitting, campaign_devices, execute
from slidesparse_bench.cli.matrix_file import read_matrix
from slidesparse_bench.cli.output import RUNS, Json, RunsDir, console
from slidesparse_bench.cli.plan import show_plan
from slidesparse_bench.errors import UsageError
from slidesparse_bench.matrix import Matrix, nearest_id, select
from slidesparse_bench.peaks import peaks_for
from slidesparse_bench.plan import Plan, make_plan, selected
from slidesparse_bench.provenance import environment
from slidesparse_bench.store import Store, find_unfinished, is_of_run, starting
from slidesparse_bench.wire import encode

Isolation = Literal["cell", "engine"]


def run(
    context: typer.Context,
    matrix_path: Annotated[Path, typer.Argument(metavar="MATRIX.yaml", help="The matrix to run.")],
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Show the plan and write nothing.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start another run even if one is unfinished.")
    ] = False,
    globs: Annotated[
        list[str] | None,
        typer.Option("--select", help="Glob on cell ids, e.g. 'qwen*.int8.*'; repeatable."),
    ] = None,
    isolation: Annotated[
        Isolation | None,
        typer.Option("--isolation", help="A process per cell, or per engine that many M share."),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", help="GPU indices, e.g. 0,1: one cell at a time on each."),
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_mode: Json = False,
) -> None:
    """Run a matrix, or go on with an unfinished run of it.

    Cells that differ in M and stage share one engine process; a cell is called failed only after
    a process of its own (`--isolation cell`: always one of its own). Results are saved one by
    one; after a kill or a reboot the same command goes on with what is left. Failed cells are
    tried again only where that can help (docs/failures.md).

    **Examples**

    - `slidesparse run matrices/quickstart.yaml`
    - `slidesparse run matrices/h200.yaml --select '*.int8.*' --select '*.fp8.*.m512'`
    - `slidesparse run matrices/h200.yaml --gpus 0,1 --json > outcome.json`

    **Exit codes**: 0 all passed or skipped, 1 some failed, 2 bad matrix, 3 nothing could run,
    130/143 interrupted, state saved.
    """
    matrix = read_matrix(matrix_path)
    devices = campaign_devices(matrix, gpus)
    plan = make_plan(matrix, devices[0].facts, isolation=isolation, lanes=len(devices))
    chosen = select_cells([cell.id for cell in plan.cells], globs or [])
    if dry_run:
        show_plan(selected(plan, matrix, chosen), json_mode=json_mode)
        return
    source = context.get_parameter_source("runs_dir")  # of typer's own click, or of click
    if is_of_run(matrix_path) and (source is None or source.name != "COMMANDLINE"):
        runs_dir = matrix_path.parent.parent  # the run that this copy belongs to is there
    with contextlib.ExitStack() as held:
        with starting(runs_dir):
            store, is_new = _open_or_create(matrix, plan, runs_dir, fresh=fresh)
            held.enter_context(store.locked())
        if not is_new:
            begin_sitting(store, console(json_mode=json_mode))
        left = [cell_id for cell_id in chosen if not store.record.cells[cell_id].state.is_done]
        console(json_mode=json_mode).print(_what_begins(store, plan), markup=False)
        code = execute(
            store,
            matrix,
            selected(plan, matrix, left),
            judged=chosen,
            devices=devices,
            changes={},
            going_on="Run the matrix again to go on, without --fresh.",
            json_mode=json_mode,
        )
    raise typer.Exit(code)


def select_cells(cell_ids: Sequence[str], globs: Sequence[str]) -> list[str]:
    """The cells that match any of the globs, in the plan's order; all without globs.

    Raises:
        UsageError: a glob that matches nothing.
    """
    cells = [Cell.parse(cell_id) for cell_id in cell_ids]
    for glob in globs:
        if not select(cells, [glob]):
            raise UsageError(
                f"--select '{glob}' matches none of the {len(cells)} cells; "
                f"the nearest is {nearest_id(glob, cells)}"
            )
    return [cell.id for cell in (select(cells, globs) if globs else cells)]


def check_goes_on(store: Store, matrix: Matrix, plan: Plan) -> None:
    """A run belongs to one kind of device and has one model of a name: its numbers must compare.

    Raises:
        UsageError: the run was started on another device, or with another model.
    """
    begun = store.plan()
    started_on = begun["device"]["name"]
    if started_on != plan.device.name:
        raise UsageError(
            f"run {store.folder.name} was started on {started_on}, this is {plan.device.name}; "
            "go on there, or start another run here with --fresh"
        )
    for name, config in (begun.get("model_configs") or {}).items():
        path, now = matrix.model(name).path, plan.model_configs.get(name)
        if now != config and (now or path):
            found = "with another config.json than is" if now else "whose config.json is not"
            raise UsageError(
                f"run {store.folder.name} was started with a model {name} {found} in "
                f"{path or 'the cache'} now; bring it back to go on, or start another run of the "
                "matrix with --fresh"
            )


def _open_or_create(
    matrix: Matrix, plan: Plan, runs_dir: Path, *, fresh: bool
) -> tuple[Store, bool]:
    """The run to go on with, or a new one, and whether it is new."""
    unfinished = None if fresh else find_unfinished(runs_dir, matrix.sha256)
    if unfinished is not None:
        store = Store.open(unfinished)
        check_goes_on(store, matrix, plan)
        return store, False
    created = Store.create(
        runs_dir,
        name=matrix.name,
        matrix_text=matrix.text,
        matrix_sha256=matrix.sha256,
        plan=encode(plan),
        environment=environment(matrix.engine, matrix.seed, encode(peaks_for(plan.device))),
        trials=matrix.trials,
    )
    return created, True


def _what_begins(store: Store, plan: Plan) -> str:
    cells = store.record.cells.values()
    if any(cell.attempts or cell.state.is_done for cell in cells):
        done = sum(cell.state.is_done for cell in cells)
        return f"Going on with {store.folder} ({done} of {len(cells)} cells done)."
    return f"{store.folder}: {len(cells)} cells on {plan.device.name}"


def register(app: typer.Typer) -> None:
    app.command()(run)
