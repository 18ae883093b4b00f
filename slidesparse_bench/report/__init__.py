"""Reports: a run as a person publishes it, in a language and a format.

A section is a file in `sections/`; a language is an entry of `languages.LANGUAGES`; a format of the
document is a writer of `blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slidesparse_bench.report import csv_file, document
from slidesparse_bench.report.csv_file import results_csv
from slidesparse_bench.report.document import FORMATS
from slidesparse_bench.report.languages import LANGUAGES
from slidesparse_bench.report.redacted_run import redacted
from slidesparse_bench.report.view import ReportInputs, gpu_names, view_of

__all__ = ["FORMATS", "LANGUAGES", "ReportInputs", "gpu_names", "results_csv", "write_report"]


def write_report(
    inputs: ReportInputs, folder: Path, *, lang: str = "en", formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write the report into `folder`, which is made; the paths written, the documents first.

    No secret of a log is in it: whoever publishes a report expects that as little as of a bundle.

    `lang` is a key of `LANGUAGES`, `formats` are some of `FORMATS`; the CSV files are always
    written. Whatever the run holds is rendered, with a reason in place of what is missing. Without
    matplotlib there are no plots, and the report says so.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    view = view_of(replace(inputs, run=redacted(inputs.run)))
    written = document.write(view, folder, LANGUAGES[lang], tuple(formats))
    documents = len(formats)
    return [*written[:documents], *csv_file.write(view, folder), *written[documents:]]
