"""What a report may show of a run: reports are published, and a line of a log can hold a token."""

from __future__ import annotations

import functools
from dataclasses import replace

from slidesparse_bench.records import Attempt, CellRecord, Failure, RunRecord
from slidesparse_bench.redact import redact, redact_json


def redacted(run: RunRecord) -> RunRecord:
    """The run without secrets and names of this machine in reasons and root causes."""
    text = functools.cache(redact)  # thousands of cells fail for the same reason

    def failure(one: Failure) -> Failure:
        facts = redact_json(one.facts)
        return replace(one, root_cause=text(one.root_cause), hint=text(one.hint), facts=facts)

    def attempt(one: Attempt) -> Attempt:
        return replace(one, failure=failure(one.failure)) if one.failure else one

    def cell(one: CellRecord) -> CellRecord:
        return replace(
            one,
            reason=text(one.reason),
            attempts=[attempt(each) for each in one.attempts],
            refusal=failure(one.refusal) if one.refusal else None,
        )

    return replace(run, cells={cell_id: cell(one) for cell_id, one in run.cells.items()})
