"""What a report says of the time of a run."""

from pathlib import Path

import pytest
from builders import CELL, build_attempt, build_run

from slidesparse_bench.records import CellRecord
from slidesparse_bench.report import LANGUAGES, ReportInputs
from slidesparse_bench.report.markdown_writer import markdown_of
from slidesparse_bench.report.sections.time_account import section
from slidesparse_bench.report.view import view_of


def told(environment: dict) -> str:
    """The section of a run whose two attempts overlap by half."""
    spans = [("10:00:00", "10:10:00"), ("10:05:00", "10:15:00")]
    attempts = [
        build_attempt(
            n,
            started=f"2026-03-01T{began}+00:00",
            ended=f"2026-03-01T{ended}+00:00",
            duration_s=600.0,
        )
        for n, (began, ended) in enumerate(spans, start=1)
    ]
    run = build_run({CELL: CellRecord(attempts=attempts)})
    return markdown_of(
        section(view_of(ReportInputs(run, Path("runs/a"), environment=environment))),
        LANGUAGES["en"],
        "",
    )


@pytest.mark.parametrize(
    ("environment", "is_told"), [({}, True), ({"imported": {"format": "slidesparse-tree"}}, False)]
)
def test_what_ran_at_once_is_told_of_our_own_runs_only(environment, is_told):
    assert ("attempts ran at once" in told(environment)) is is_told
