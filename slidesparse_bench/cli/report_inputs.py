"""What a report and a comparison are made of, read from a run folder."""

from __future__ import annotations

import contextlib

from slidesparse_bench.errors import FormatError
from slidesparse_bench.report import ReportInputs
from slidesparse_bench.step_kernels import StepKernels, read_step_kernels
from slidesparse_bench.store import MATRIX, Store


def report_inputs(store: Store, notes: str = "") -> ReportInputs:
    """The inputs of a run, `notes` being free Markdown.

    A matrix that is lost or damaged is no matter: the report says that it is not on record, or
    shows what is left of it.

    Raises:
        FormatError: `plan.json` is damaged.
        NewerFormat: a newer version wrote the run.
    """
    try:
        plan = store.plan()
    except FormatError as error:
        raise FormatError(
            f"{error}; put back plan.json from a bundle or another copy of the run; its numbers are "
            "in results.csv and `slidesparse status` shows them"
        ) from error
    matrix_text = ""
    with contextlib.suppress(OSError):
        matrix_text = (store.folder / MATRIX).read_text(encoding="utf-8", errors="replace")
    return ReportInputs(
        run=store.record,
        run_folder=store.folder,
        plan=plan,
        environment=store.environment(),
        matrix_text=matrix_text,
        notes=notes,
        step_kernels=_step_kernels(store),
    )


def _step_kernels(store: Store) -> dict[str, StepKernels]:
    """By id, of the attempts that count. A damaged file is as if nobody had profiled."""
    found = {}
    for cell_id, cell in store.record.cells.items():
        for attempt in cell.measured().values():
            with contextlib.suppress(FormatError):
                if kernels := read_step_kernels(store.attempt_folder(cell_id, attempt.n)):
                    found[cell_id] = kernels
    return found
