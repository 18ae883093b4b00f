"""`slidesparse classify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from slidesparse_bench.cli.output import Json, console, print_json
from slidesparse_bench.errors import UsageError
from slidesparse_bench.failures import classify_log_file


def classify(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Log files of any engine.")],
    json_mode: Json = False,
) -> None:
    """Name the first cause of a failure in a log, with its line.

    Works on logs of any vLLM, not only of this harness. The line is the cause itself, not the
    wrapper around it such as "Engine core initialization failed". A log of a run that worked is
    `success_noise`.

    **Examples**

    - `slidesparse classify runs/*/cells/*/attempt-*/worker.log`
    - `slidesparse classify server.log --json`
    """
    for log in logs:
        if not log.is_file():
            raise UsageError(f"{log}: {'a folder, not a log' if log.is_dir() else 'no such file'}")
    found = [classify_log_file(log) for log in logs]
    if json_mode:
        print_json(found)
        return
    for each in found:
        _print_one(each)


def _print_one(found: dict[str, Any]) -> None:
    out = console()
    place = f"{found['file']}:{found['line']}" if found["line"] else found["file"]
    out.print(f"{place}: {found['class']} ({found['verdict']})", markup=False)
    for text in (found["root_cause"], found["hint"]):
        if text:
            out.print(f"  {text}", markup=False)


def register(app: typer.Typer) -> None:
    app.command()(classify)
