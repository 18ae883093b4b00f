"""`slidesparse retry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from slidesparse_bench.cli.execution import (
    begin_sitting,
    campaign_devices,
    execute,
    print_outcome,
)
from slidesparse_bench.cli.output import RUNS, Json, RunName, RunsDir, console
from slidesparse_bench.cli.run import check_goes_on, select_cells
from slidesparse_bench.errors import ExitCode, UsageError
from slidesparse_bench.failures import CLASSES
from slidesparse_bench.matrix import Matrix, load_matrix_text, refusal, resolve
from slidesparse_bench.plan import make_plan, selected
from slidesparse_bench.records import CellState, RunRecord
from slidesparse_bench.store import MATRIX, Store, find_run, models_folder


def retry(
    run_name: RunName = None,
    failed: Annotated[bool, typer.Option("--failed", help="Try the failed cells again.")] = False,
    classes: Annotated[
        str | None,
        typer.Option("--class", help="Only these failure classes, separated by commas."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An engine argument for these attempts, NAME=VALUE."),
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option("--select", help="Glob on cell ids; repeatable.")
    ] = None,
    gpus: Annotated[str | None, typer.Option("--gpus", help="GPU indices, e.g. 0,1.")] = None,
    runs_dir: RunsDir = RUNS,
    json_mode: Json = False,
) -> None:
    """Try failed cells of a run again. Attempts are added; nothing is overwritten.

    A passed cell is never touched. Every setting that differs from the matrix is recorded on the
    attempt and marked in the report.

    **Examples**

    - `slidesparse retry --failed`
    - `slidesparse retry --failed --class kv_cache_insufficient --set gpu_memory_utilization=0.95`
    - `slidesparse retry h200-20260301-120000 --failed --select '*.m65536'`
    """
    if not failed:
        raise UsageError("say what to retry: slidesparse retry --failed")
    store = Store.open(find_run(runs_dir, run_name))
    changes = parse_settings(settings or [])
    wanted = parse_classes(classes)
    with store.locked():
        matrix = _matrix_of(store)
        devices = campaign_devices(matrix, gpus)
        # What failed is tried in processes of their own.
        plan = make_plan(matrix, devices[0].facts, isolation="cell", lanes=len(devices))
        check_goes_on(store, matrix, plan)
        candidates = failed_cells(store.record, wanted)
        if not candidates:
            console(json_mode=json_mode).print(_nothing_to_retry(store, wanted), markup=False)
            if json_mode:
                print_outcome(store, ExitCode.OK)
            raise typer.Exit(ExitCode.OK)
        chosen = select_cells(candidates, select or [])
        begin_sitting(store, console(json_mode=json_mode))
        code = execute(
            store,
            matrix,
            selected(plan, matrix, chosen),
            judged=chosen,
            devices=devices,
            changes=changes,
            going_on="Give the same command again to go on.",
            json_mode=json_mode,
        )
    raise typer.Exit(code)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` pairs as engine arguments, read and checked as in a matrix.

    Raises:
        UsageError: no `=`, or an argument or value that a matrix may not have either.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(
                f"--set '{setting}': expected NAME=VALUE, e.g. gpu_memory_utilization=0.95"
            )
        try:
            changes[name] = resolve(text)
        except ValueError as error:
            raise UsageError(f"--set '{setting}': {error}") from error
        if problem := refusal(name, changes[name]):
            raise UsageError(f"--set '{setting}': {problem}")
    return changes


def parse_classes(text: str | None) -> set[str] | None:
    """Failure classes separated by commas; None means all.

    Raises:
        UsageError: a class that does not exist.
    """
    if text is None:
        return None
    names = {part.strip() for part in text.split(",")}
    unknown = sorted(names - set(CLASSES))
    if unknown:
        raise UsageError(f"--class '{unknown[0]}' is not one of {', '.join(sorted(CLASSES))}")
    return names


def failed_cells(record: RunRecord, classes: set[str] | None) -> list[str]:
    """Failed cells, those whose last failure is of one of the classes if any are given.

    A cell whose retry was interrupted has failed before and still counts.
    """
    chosen = []
    for cell_id, cell in record.cells.items():
        failure = cell.last_failure
        if failure is None or cell.state in (CellState.PASSED, CellState.SKIPPED):
            continue
        interrupted = cell.state is not CellState.FAILED and failure.failure_class == "interrupted"
        if not interrupted and (classes is None or failure.failure_class in classes):
            chosen.append(cell_id)
    return chosen


def _nothing_to_retry(store: Store, wanted: set[str] | None) -> str:
    of_class = f" of class {', '.join(sorted(wanted))}" if wanted else ""
    return f"{store.record.run_id}: no failed cell{of_class}; nothing to retry."


def _matrix_of(store: Store) -> Matrix:
    """The run's own copy of its matrix; relative model paths keep their meaning."""
    path = store.folder / MATRIX
    text = path.read_text(encoding="utf-8")
    return load_matrix_text(text, Path(store.plan()["matrix_path"]), folder=models_folder(path))


def register(app: typer.Typer) -> None:
    app.command()(retry)
