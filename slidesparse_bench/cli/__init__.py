"""The command line: one file per command; errors become exit codes here and nowhere else."""

from __future__ import annotations

import io
import sys

import typer

from slidesparse_bench import __version__
from slidesparse_bench.cli import (
    bundle,
    classify,
    compare,
    doctor,
    gemm,
    import_,
    plan,
    prepare,
    report,
    retry,
    run,
    schema,
    status,
)
from slidesparse_bench.cli.output import complain, error_document, print_json
from slidesparse_bench.errors import ExitCode, NothingToRun, SlideSparseError, UsageError

app = typer.Typer(
    name="slidesparse",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Measure LLM inference on NVIDIA GPUs: models x INT8/FP8 x GEMM backends and sparsities "
        "x M, in vLLM processes that cells of one engine share and failures do not.\n\n"
        "A run is resumable at any instant, a failure is reported with its root cause, and no "
        "number is shown unless the batch and the kernel that ran are the ones asked for."
    ),
    epilog=(
        "**First steps**: `slidesparse plan matrices/quickstart.yaml`, then "
        "`slidesparse run matrices/quickstart.yaml`, then `slidesparse report`.\n\n"
        "**Exit codes**: 0 all passed or skipped with a reason, 1 some cells failed, 2 bad usage "
        "or matrix, 3 nothing could run, 4 and 5 (`compare`) a regression and cannot tell, 130 and "
        "143 interrupted (state saved)."
    ),
)
for module in (
    run,
    retry,
    report,
    plan,
    status,
    classify,
    compare,
    import_,
    bundle,
    doctor,
    gemm,
    schema,
    prepare,
):
    module.register(app)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(f"slidesparse-bench {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the `slidesparse` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a C locale has no ±
    sys.exit(int(invoke(sys.argv[1:])))


def invoke(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        app(arguments)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else ExitCode.OK
        if code != ExitCode.USAGE:
            return code
        # typer has told people what is wrong with the command line.
        return _answer(UsageError("wrong usage, see stderr"), arguments, told=True)
    except SlideSparseError as error:
        return _answer(error, arguments)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _answer(NothingToRun(f"{place}{error.strerror or error}"), arguments)
    return ExitCode.OK


def _answer(error: SlideSparseError, arguments: list[str], *, told: bool = False) -> int:
    if not told:
        complain(error)
    if "--json" in arguments:
        print_json(error_document(error))
    return error.exit_code
