"""`slidesparse bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slidesparse_bench.bundle import Bundle, write_bundle
from slidesparse_bench.cli.output import RUNS, Json, RunName, RunsDir, console, print_json
from slidesparse_bench.store import find_run
from slidesparse_bench.wire import SCHEMA_VERSION


def bundle(
    run_name: RunName = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write [default: RUN.tar.gz, here]."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    runs_dir: RunsDir = RUNS,
    json_mode: Json = False,
) -> None:
    """Pack a run into one file for publication: records and logs, without secrets.

    Access tokens, the home folder, user and host names are replaced in every file (see
    docs/provenance.md). Unpacked anywhere, `slidesparse report ./RUN` and `slidesparse status ./RUN`
    work on it. A run that is being executed is refused.

    **Examples**

    - `slidesparse bundle`
    - `slidesparse bundle h200-20260301-120000 -o h200.tar.gz`
    """
    written = write_bundle(find_run(runs_dir, run_name), output, force=force)
    _tell(written, json_mode=json_mode)
    if json_mode:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "bundle": str(written.path),
                "run": written.run_id,
                "files": written.files,
                "bytes": written.bytes,
            }
        )


def _tell(written: Bundle, *, json_mode: bool) -> None:
    out = console(json_mode=json_mode)
    if written.left_out:
        out.print(f"not packed, no files of a run: {', '.join(written.left_out)}", markup=False)
    out.print(
        f"{written.path}: {written.files} files of {written.run_id}, "
        f"{written.bytes:,} bytes; {written.redacted} of them redacted. "
        "Look through it before you publish it.",
        markup=False,
    )


def register(app: typer.Typer) -> None:
    app.command()(bundle)
