"""The sections of the report, in their order. A new one is a file and an entry here.

Each file has `section(view) -> list[Block]`: a heading of level 2 and what stands below it, in
words that know no language; [] for nothing to say.
"""

from __future__ import annotations

from slidesparse_bench.report.sections import (
    anomalies,
    appendix,
    completeness,
    engines,
    failures,
    fastest,
    memory,
    methods,
    model_memory,
    not_run,
    overview,
    performance,
    publication,
    setup,
    step_parts,
    summary,
    time_account,
)

SECTIONS = (
    summary.section,
    setup.section,
    overview.section,
    fastest.section,
    performance.section,
    model_memory.section,
    step_parts.section,
    anomalies.section,
    failures.section,
    memory.section,
    publication.section,
    not_run.section,
    time_account.section,
    completeness.section,
    methods.section,
    engines.section,
    appendix.section,
)
