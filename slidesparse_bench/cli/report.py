"""`slidesparse report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slidesparse_bench.cli.output import REPORTS, RUNS, Json, RunName, RunsDir, console, print_json
from slidesparse_bench.cli.report_inputs import report_inputs
from slidesparse_bench.errors import UsageError
from slidesparse_bench.report import FORMATS, LANGUAGES, write_report
from slidesparse_bench.store import Store, find_run
from slidesparse_bench.wire import SCHEMA_VERSION


def report(
    run_name: RunName = None,
    lang: Annotated[
        str, typer.Option("--lang", help=f"Language of the report: {', '.join(LANGUAGES)}.")
    ] = "en",
    formats: Annotated[
        str, typer.Option("--format", help="Formats of the document, separated by commas.")
    ] = ",".join(FORMATS),
    notes: Annotated[
        Path | None,
        typer.Option("--notes", help="Markdown to add to the section on methods."),
    ] = None,
    reports_dir: Annotated[
        Path, typer.Option("--reports-dir", help="Folder that holds the reports.")
    ] = REPORTS,
    runs_dir: RunsDir = RUNS,
    json_mode: Json = False,
) -> None:
    """Write the report of a run: Markdown, one HTML file, CSV and plots under reports/RUN/.

    Failed and skipped cells are rows everywhere, with their reasons. Works at any time, also on
    a run that is not finished, and on imported runs.

    **Examples**

    - `slidesparse report`
    - `slidesparse report --lang zh --format html`
    - `slidesparse report h200-20260301-120000 --notes comparison.md`
    """
    if lang not in LANGUAGES:
        raise UsageError(f"--lang {lang}: not one of {', '.join(LANGUAGES)}")
    wanted = _formats(formats)
    folder = find_run(runs_dir, run_name)
    inputs = report_inputs(Store.open(folder), _read_notes(notes))
    files = write_report(inputs, reports_dir / folder.resolve().name, lang=lang, formats=wanted)
    if json_mode:
        print_json({"schema_version": SCHEMA_VERSION, "files": [str(path) for path in files]})
        return
    out = console()
    for path in files:
        out.print(str(path), markup=False)


def _formats(text: str) -> list[str]:
    """`md,html` as its parts, each once and in the order of `FORMATS`."""
    asked = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in asked if part not in FORMATS]
    if unknown or not asked:
        raise UsageError(
            f"--format {text}: {unknown[0] if unknown else 'nothing'} is not one of "
            f"{', '.join(FORMATS)}"
        )
    return [known for known in FORMATS if known in asked]


def _read_notes(notes: Path | None) -> str:
    if notes is None:
        return ""
    try:
        return notes.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--notes {notes}: cannot be read: {error}") from error


def register(app: typer.Typer) -> None:
    app.command()(report)
