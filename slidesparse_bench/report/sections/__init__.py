"""The sections of the Markdown report, in their order. A new one is a file and an entry here.

Each file has `section(view) -> str`: Markdown without a trailing newline, "" for nothing to say.
"""

from __future__ import annotations

from slidesparse_bench.report.sections import (
    appendix,
    completeness,
    engines,
    failures,
    methods,
    not_run,
    overview,
    performance,
    setup,
    summary,
    time_account,
)

SECTIONS = (
    summary.section,
    setup.section,
    overview.section,
    performance.section,
    failures.section,
    not_run.section,
    time_account.section,
    completeness.section,
    methods.section,
    engines.section,
    appendix.section,
)
