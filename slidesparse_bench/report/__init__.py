"""Reports: a run as a person publishes it. A new format is a file with `write` and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slidesparse_bench.report import csv_file, document, plots
from slidesparse_bench.report.csv_file import results_csv
from slidesparse_bench.report.view import ReportInputs, RunView, gpu_names, view_of

__all__ = ["ReportInputs", "gpu_names", "results_csv", "write_report"]

FORMATS: tuple[Callable[[RunView, Path], list[Path]], ...] = (
    document.write,
    csv_file.write,
    plots.write,
)


def write_report(inputs: ReportInputs, folder: Path) -> list[Path]:
    """Write every format into `folder`, which is made; the paths written, `report.md` first.

    Whatever the run holds is rendered, with a reason in place of what is missing. Without
    matplotlib there are no plots, and the report says so.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    view = view_of(inputs)
    return [path for write in FORMATS for path in write(view, folder)]
