"""`slidesparse prepare`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.cli.execution import code_of_signal, stopped_by_signals
from slidesparse_bench.cli.matrix_file import read_matrix
from slidesparse_bench.cli.output import Json, complain, console, print_json
from slidesparse_bench.conversion import convert, is_converted, missing_files
from slidesparse_bench.converted import ConversionRequest, read_record
from slidesparse_bench.errors import ConversionFailed, ExitCode, SlideSparseError, UsageError
from slidesparse_bench.matrix import Matrix
from slidesparse_bench.models import Action, Prepared, prepare
from slidesparse_bench.models.checkpoint import conversion_request, find_source
from slidesparse_bench.wire import SCHEMA_VERSION


def prepare_models(
    matrix_path: Annotated[Path | None, typer.Argument(metavar="[MATRIX.yaml]")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Instead of a matrix: a W8A8 checkpoint, folder or Hub id."),
    ] = None,
    sparsity: Annotated[
        str | None, typer.Option("--sparsity", help="With --model: 2:4, 2:6, 2:8, 2:10, ...")
    ] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the pruned checkpoint; of a matrix, for all."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Convert again, over a checkpoint converted before.")
    ] = False,
    json_mode: Json = False,
) -> None:
    """Make or download every model of a matrix beforehand; write pruned checkpoints.

    Built-in models are a generated config.json; their weights are random and made while loading.
    Hub models are downloaded into the Hub's own cache. Safe to repeat; an interrupted download
    goes on where it stopped. What cannot be had is named, and the exit code is 1.

    With `--model`, or a matrix and `--out`, W8A8 checkpoints are written anew with their linear
    weights pruned to 2:L. No run needs them, as cusparselt prunes while loading, but any vLLM runs
    them, with any backend. `slidesparse.json` in the new folder says what was done. A folder that
    has lost a file since, or part of one, is converted again.

    **Examples**

    - `slidesparse prepare matrices/h200.yaml`
    - `slidesparse prepare --model org/my-7b-w8a8 --sparsity 2:8 --out my-7b-2_8`
    - `slidesparse prepare matrices/mine.yaml --out pruned`
    """
    console_out = console(json_mode=json_mode)
    if matrix_path is not None and model is None and sparsity is None:
        code = _prepare_matrix(read_matrix(matrix_path), out_folder, console_out, force, json_mode)
    elif matrix_path is None and model and sparsity and out_folder:
        code = _prepare_one(model, sparsity, out_folder, console_out, force, json_mode)
    else:
        raise UsageError(
            "prepare takes either a MATRIX.yaml (with --out DIR to convert its models), or "
            "--model, --sparsity and --out together"
        )
    raise typer.Exit(code)


@dataclass(frozen=True)
class _Outcome:
    """What became of one conversion: `present`, `made`, or `missing` with its reason."""

    name: str
    sparsity: Sparsity
    action: Action
    folder: Path
    reason: str = ""


class _Stopped(Exception):
    """By a signal, while `outcome` was being made."""

    def __init__(self, number: int, outcome: _Outcome) -> None:
        super().__init__(number)
        self.code, self.outcome = code_of_signal(number), outcome


def _prepare_one(
    model: str, sparsity: str, out_folder: Path, out: Console, force: bool, json_mode: bool
) -> ExitCode:
    try:
        wanted = Sparsity.parse(sparsity)
    except ValueError as error:
        raise UsageError(f"--sparsity: {error}") from None
    source = find_source(model, lambda line: out.print(line, markup=False))
    request = conversion_request(source, model, wanted, out_folder, replace=force)
    code = ExitCode.OK
    try:
        outcome = _convert(source.name, request, out)
    except _Stopped as stopped:
        code, outcome = stopped.code, stopped.outcome
    if json_mode:
        _print_document({"conversions": _as_json([outcome])}, code)
    return code


def _print_document(content: dict[str, Any], code: ExitCode) -> None:
    """One JSON document, also of what an interruption left."""
    interrupted = code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
    print_json({"schema_version": SCHEMA_VERSION, **content, "interrupted": interrupted})


def _prepare_matrix(
    matrix: Matrix, out_folder: Path | None, out: Console, force: bool, json_mode: bool
) -> ExitCode:
    prepared = prepare(
        [matrix.model(entry.name) for entry in matrix.models],
        matrix.quantization,
        lambda line: out.print(line, markup=False),
    )
    outcomes: list[_Outcome] = []
    stopped_with: ExitCode | None = None
    if out_folder is not None:
        try:
            for outcome in _convert_all(matrix, prepared, out_folder, out, force=force):
                outcomes.append(outcome)  # noqa: PERF402 - kept when the next one is interrupted
        except _Stopped as stopped:
            outcomes.append(stopped.outcome)
            stopped_with = stopped.code
    actions = {*(each.action for each in prepared), *(each.action for each in outcomes)}
    code = stopped_with or (ExitCode.SOME_FAILED if Action.MISSING in actions else ExitCode.OK)
    if json_mode:
        document: dict[str, Any] = {"models": [_model(each) for each in prepared]}
        if out_folder is not None:
            document["conversions"] = _as_json(outcomes)
        _print_document(document, code)
    return code


def _convert_all(
    matrix: Matrix, prepared: Sequence[Prepared], out_folder: Path, out: Console, *, force: bool
) -> Iterator[_Outcome]:
    """Every model that has weight files, to every sparsity that its cells have."""
    cells = matrix.cells()
    for source in (each.source for each in prepared if each.action is not Action.MISSING):
        wanted = {
            cell.sparsity
            for cell in cells
            if cell.sparsity
            and (cell.model, cell.quantization) == (source.name, source.quantization)
        }
        if source.random_weights and wanted:
            out.print(
                f"{source.name} {source.quantization}: random weights, pruned while loading",
                markup=False,
            )
            continue
        for sparsity in sorted(wanted):
            folder = out_folder / f"{source.name}-{source.quantization}-{sparsity.path_form}"
            try:
                entry = matrix.model(source.name)
                named = entry.hub or str(entry.path)
                request = conversion_request(source, named, sparsity, folder, replace=force)
                yield _convert(source.name, request, out)
            except SlideSparseError as error:
                complain(error)
                yield _Outcome(source.name, sparsity, Action.MISSING, folder, str(error))


def _convert(name: str, request: ConversionRequest, out: Console) -> _Outcome:
    folder, sparsity = Path(request.out), request.sparsity
    known = not request.replace and is_converted(request)
    lost = missing_files(request) if known else []
    if known and not lost:
        record, action = read_record(folder), Action.PRESENT
    else:
        if lost:
            out.print(f"{folder} is not whole, converting again: {'; '.join(lost)}.", markup=False)
            request = replace(request, replace=True)
        out.print(f"Pruning {request.folder} to {sparsity}.", markup=False)
        stop = threading.Event()
        with stopped_by_signals(stop) as received:
            converted = convert(request, lambda line: _tell(line, out), stop)
        if received:
            outcome = _Outcome(name, sparsity, Action.MISSING, folder, "interrupted")
            raise _Stopped(received[0], outcome)
        if converted is None:
            raise ConversionFailed(f"converting {request.folder} was stopped")
        record, action = converted, Action.MADE
    for warning in record.warnings:
        out.print(f"Note: {warning}.", markup=False)
    share = record.norm_lost
    out.print(
        f"{name} {record.quantization} {sparsity}: {action} in {folder}, {record.zeros:.1%} zeros, "
        + ("norm lost unknown" if share is None else f"{share:.1%} of the norm lost"),
        markup=False,
    )
    return _Outcome(name, sparsity, action, folder)


def _tell(line: str, out: Console) -> None:
    """The files of a checkpoint are worth a line each, its weights are not."""
    if ": file " in line:
        out.print(f"  {line}", markup=False)


def _model(prepared: Prepared) -> dict[str, Any]:
    return {
        "name": prepared.source.name,
        "quantization": prepared.source.quantization,
        "action": prepared.action,
        "folder": str(prepared.source.folder),
        "reason": prepared.reason,
    }


def _as_json(outcomes: Sequence[_Outcome]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "sparsity": each.sparsity,
            "action": each.action,
            "folder": str(each.folder),
            "reason": each.reason,
        }
        for each in outcomes
    ]


def register(app: typer.Typer) -> None:
    app.command("prepare")(prepare_models)
