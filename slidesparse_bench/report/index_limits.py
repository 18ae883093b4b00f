"""Cells whose largest tensor has more elements than a 32-bit index can count.

Field notes of the public runs: `M * 2 * intermediate_size > 2^31 - 1` marks exactly the cells that
died of an illegal access; it is a risk, not a certainty.
"""

from __future__ import annotations

from slidesparse_bench.feasibility import INT32_MAX
from slidesparse_bench.models.catalog import CATALOG
from slidesparse_bench.records import CellState
from slidesparse_bench.report import advice
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Recorded, Text, counted, say

SUSPECTS = frozenset({"illegal_memory_access", "int32_index_overflow", "cuda_misc"})
"""Classes that a 32-bit overflow can look like."""


def gate_up_elements(view: CellView) -> tuple[int, int] | None:
    """Rows and columns of gate_up's output in the largest step: [tokens, 2 x intermediate_size].

    None for a model that is not built in, whose sizes are not known here.
    """
    architecture = CATALOG.get(view.cell.model) if view.cell else None
    if view.cell is None or architecture is None:
        return None
    attempt = view.attempt
    asked = attempt.engine_args.get("max_num_batched_tokens") if attempt else None
    tokens = asked if isinstance(asked, int) else view.cell.workload.max_num_batched_tokens
    return tokens, 2 * architecture.intermediate_size


def overflows(view: CellView) -> bool:
    """Whether that tensor has more than 2^31 - 1 elements."""
    sizes = gate_up_elements(view)
    return sizes is not None and sizes[0] * sizes[1] > INT32_MAX


def meaning_of(failure_class: str, cells: list[CellView]) -> Text:
    """What the class is, of these cells: the table of classes does not know their sizes."""
    above = [each for each in cells if overflows(each)]
    if failure_class != "illegal_memory_access" or not above:
        return Recorded(advice.explain(failure_class).what, is_ours=True)
    if len(above) == len(cells):
        return say("an illegal address on the GPU, very likely from a kernel's 32-bit index")
    return say(
        "an illegal address on the GPU, in {n} of {cells} very likely from a kernel's 32-bit index",
        n=len(above),
        cells=counted(len(cells), "cell"),
    )


def overflow_text(view: RunView, failure_class: str, cells: list[CellView]) -> list[Text]:
    """The likely cause with its numbers, where the class and the sizes suggest it."""
    above = [each for each in cells if overflows(each)]
    if failure_class not in SUSPECTS or not above:
        return []
    rows, columns = min(sizes for each in above if (sizes := gate_up_elements(each)))
    survived = [each for each in view.in_state(CellState.PASSED) if overflows(each)]
    return [
        say(
            "**Likely cause:** a 32-bit index. In {n} of {cells} the gate_up output has M x 2 x "
            "intermediate_size = {rows} x {columns} = {elements} elements or more, and 2^31 - 1 = "
            "{limit} is the most that 32 bits can count. Above it {passed} of this run passed. That "
            "is a defect of a kernel, which 64-bit offsets mend, and no lack of memory.",
            n=len(above),
            cells=counted(len(cells), "cell"),
            rows=f"{rows:,}",
            columns=f"{columns:,}",
            elements=f"{rows * columns:,}",
            limit=f"{INT32_MAX:,}",
            passed=counted(len(survived), "cell"),
        )
    ]


def suspect_passes(view: RunView) -> list[CellView]:
    """Cells that passed above the limit at which others of their model died of an illegal access."""
    died = {
        (each.cell.model, each.cell.stage, each.cell.m)
        for each in view.cells
        if each.cell
        and overflows(each)
        and any(a.failure and a.failure.failure_class in SUSPECTS for a in each.record.attempts)
    }
    return [
        each
        for each in view.in_state(CellState.PASSED)
        if each.cell and overflows(each) and (each.cell.model, each.cell.stage, each.cell.m) in died
    ]
