"""`slidesparse prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slidesparse_bench.cli.output import Json, console, print_json
from slidesparse_bench.errors import ExitCode
from slidesparse_bench.matrix import load_matrix
from slidesparse_bench.models import Action, prepare
from slidesparse_bench.wire import SCHEMA_VERSION


def prepare_models(
    matrix_path: Annotated[Path, typer.Argument(metavar="MATRIX.yaml")],
    json_mode: Json = False,
) -> None:
    """Make or download every model of a matrix beforehand.

    Built-in models are a generated config.json; their weights are random and made while loading.
    Hub models are downloaded into the Hub's own cache. Safe to repeat; an interrupted download
    goes on where it stopped. What cannot be had is named, and the exit code is 1.

    **Example**: `slidesparse prepare matrices/h200.yaml`
    """
    matrix = load_matrix(matrix_path)
    out = console(json_mode=json_mode)
    prepared = prepare(
        matrix.models, matrix.quantization, lambda line: out.print(line, markup=False)
    )
    if json_mode:
        models = [
            {
                "name": each.source.name,
                "quantization": each.source.quantization,
                "action": each.action,
                "folder": str(each.source.folder),
                "reason": each.reason,
            }
            for each in prepared
        ]
        print_json({"schema_version": SCHEMA_VERSION, "models": models})
    missing = any(each.action is Action.MISSING for each in prepared)
    raise typer.Exit(ExitCode.SOME_FAILED if missing else ExitCode.OK)


def register(app: typer.Typer) -> None:
    app.command("prepare")(prepare_models)
