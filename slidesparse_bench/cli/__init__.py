"""The command line: one file per command; errors become exit codes here and nowhere else."""

from __future__ import annotations

import sys

import typer

from slidesparse_bench import __version__
from slidesparse_bench.cli import (
    classify,
    plan,
    prepare,
    report,
    retry,
    run,
    schema,
    status,
)
from slidesparse_bench.cli.output import complain, complain_json
from slidesparse_bench.errors import ExitCode, SlideSparseError

app = typer.Typer(
    name="slidesparse",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Measure LLM inference on NVIDIA GPUs: models x INT8/FP8 x GEMM backends and sparsities "
        "x M, each cell in a vLLM process of its own.\n\n"
        "A run is resumable at any instant, a failure is reported with its root cause, and no "
        "number is shown unless the batch and the kernel that ran are the ones asked for."
    ),
    epilog=(
        "**First steps**: `slidesparse plan matrices/quickstart.yaml`, then "
        "`slidesparse run matrices/quickstart.yaml`, then `slidesparse report`.\n\n"
        "**Exit codes**: 0 all passed or skipped with a reason, 1 some cells failed, 2 bad usage "
        "or matrix, 3 nothing could run, 130 and 143 interrupted (state saved)."
    ),
)
for module in (run, retry, report, plan, status, classify, schema, prepare):
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
    sys.exit(int(invoke(sys.argv[1:])))


def invoke(arguments: list[str]) -> int:
    """Run one command line and return its exit code; typer reports wrong usage itself (2)."""
    try:
        app(arguments)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else ExitCode.OK
    except SlideSparseError as error:
        (complain_json if "--json" in arguments else complain)(error)
        return error.exit_code
    return ExitCode.OK
