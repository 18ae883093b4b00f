"""What goes where: data and tables to stdout, words and progress to stderr when `--json` is on."""

from __future__ import annotations

import contextlib
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


class PatientConsole(Console):
    """A console whose reader may leave: words that nobody reads must not end a night's run."""

    def print(self, *objects: Any, **options: Any) -> None:
        with contextlib.suppress(OSError):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """rich would exit here; the run goes on, its results go to files."""


def console(*, json_mode: bool = False) -> Console:
    """For people: rich on a terminal, plain and wide elsewhere; rich honours `NO_COLOR`."""
    out = PatientConsole(stderr=json_mode, highlight=False)
    if not out.is_terminal:
        out.width, out.soft_wrap = PLAIN_WIDTH, True
    return out


def print_json(document: Any) -> None:
    """The one document of a `--json` command; where it cannot be written, stderr says so."""
    text = json.dumps(encode(document), indent=1, ensure_ascii=False)
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        sys.stderr.write(f"slidesparse: stdout cannot be written: {error.strerror or error}\n")


def complain(error: SlideSparseError) -> None:
    """One clear line (or one per problem) on stderr."""
    located = isinstance(error, MatrixError)
    sys.stderr.write(f"{error}\n" if located else f"slidesparse: error: {error}\n")


def error_document(error: SlideSparseError) -> dict[str, Any]:
    """What `--json` prints instead of a result; people still read stderr."""
    problems = error.problems if isinstance(error, MatrixError) else []
    return {
        "schema_version": SCHEMA_VERSION,
        "error": {
            "exit_code": int(error.exit_code),
            "message": str(error),
            "problems": problems,
        },
    }
