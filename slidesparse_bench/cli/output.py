"""What goes where: data and tables to stdout, words and progress to stderr when `--json` is on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from slidesparse_bench.errors import MatrixError, SlideSparseError
from slidesparse_bench.wire import SCHEMA_VERSION, encode

RunsDir = Annotated[
    Path,
    typer.Option("--runs-dir", help="Folder that holds the runs.", envvar="SLIDESPARSE_RUNS"),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")
]
RunName = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="A run below runs/ or its path [default: the newest]."),
]
PLAIN_WIDTH = 240
RUNS = Path("runs")
REPORTS = Path("reports")


def console(*, json_mode: bool = False) -> Console:
    """For people: rich on a terminal, plain and wide elsewhere; rich honours `NO_COLOR`."""
    out = Console(stderr=json_mode, highlight=False)
    if not out.is_terminal:
        out.width, out.soft_wrap = PLAIN_WIDTH, True
    return out


def print_json(document: Any) -> None:
    """The one document of a `--json` command."""
    text = json.dumps(encode(document), indent=1, ensure_ascii=False)
    sys.stdout.write(text + "\n")


def complain(error: SlideSparseError) -> None:
    """One clear line (or one per problem) on stderr."""
    sys.stderr.write(f"slidesparse: error: {error}\n" if _single(error) else f"{error}\n")


def complain_json(error: SlideSparseError) -> None:
    """The same for programs; people still see it on stderr."""
    complain(error)
    problems = error.problems if isinstance(error, MatrixError) else []
    print_json(
        {
            "schema_version": SCHEMA_VERSION,
            "error": {
                "exit_code": int(error.exit_code),
                "message": str(error),
                "problems": problems,
            },
        }
    )


def _single(error: SlideSparseError) -> bool:
    return not isinstance(error, MatrixError)
