"""Which numbers can be published as they stand, which with a reservation, which not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from slidesparse_bench.records import CellState
from slidesparse_bench.report.blocks import (
    Block,
    bullets,
    chain,
    grid,
    heading,
    left,
    paragraph,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.csv_file import m_verified
from slidesparse_bench.report.doubts import UNSTEADY, WIDE, doubted_ids, unsteady
from slidesparse_bench.report.groups import half_width
from slidesparse_bench.report.markdown import m_ranges, percent
from slidesparse_bench.report.notes import may_be_slowed
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Text, counted, joined, say

_RULE = say(
    "Usable: the cell passed, every measured step had the M that was asked for, the kernel is on "
    "record, the interval is known and within ±{width}, and its rate is in line under Anomalies. With a "
    "reservation: it has a number, and one of the proofs or the interval is missing, attempts at it "
    "contradict each other, or the host set the time of its steps. Not usable: it has no number, or one that is emulated, disturbed, out of "
    "line or a suspect pass.",
    width=percent(WIDE),
)


def section(view: RunView) -> list[Block]:
    if not view.cells:
        return []
    doubted = doubted_ids(view)
    contradicted = {each.view.id for each in unsteady(view)}
    reservations = {each.id: list(_reservations(each, contradicted)) for each in view.cells}
    obstacles = {each.id: list(_obstacles(view, each, doubted)) for each in view.cells}
    judged = {each.id: _judge(obstacles[each.id], reservations[each.id]) for each in view.cells}
    return chain(
        heading(2, say("Usable for publication")),
        paragraph(_RULE),
        _table(view, judged),
        _reasons(say("Why numbers carry a reservation:"), _selected(reservations, judged, "some")),
        _reasons(say("Why numbers are not usable:"), _selected(obstacles, judged, "none")),
    )


def _judge(obstacles: list[Text], reservations: list[Text]) -> str:
    if obstacles:
        return "none"
    return "some" if reservations else "all"


def _obstacles(view: RunView, each: CellView, doubted: set[str]) -> Iterator[Text]:
    if each.metrics is None:
        yield _NO_NUMBER[each.state]
        return
    if view.is_fake:
        yield say("the fake engine measured nothing")
    if each.metrics.emulated:
        yield say("emulated kernels")
    if each.id in doubted:
        yield say("out of line, disturbed or suspect: see Anomalies")


_NO_NUMBER = {
    CellState.FAILED: say("no number: failed"),
    CellState.SKIPPED: say("no number: skipped"),
    CellState.PENDING: say("no number: not finished"),
    CellState.RUNNING: say("no number: not finished"),
    CellState.PASSED: say("passed: no metrics on record"),
}


def _reservations(each: CellView, contradicted: set[str]) -> Iterator[Text]:
    if each.metrics is None:
        return
    if not m_verified(each):
        yield say("M is not proven")
    if not each.metrics.kernel:
        yield say("the kernel is not on record")
    width = half_width(each)
    if width is None:
        yield say("no interval")
    elif width > WIDE:
        yield say("interval wider than ±{width}", width=percent(WIDE))
    if each.host_bound:
        yield say("host-bound: a faster host would change it, a faster GEMM hardly")
    elif may_be_slowed(each.metrics) and each.metrics.host_wait_share is not None:
        yield say("a slow CPU of the host may have made its steps longer")
    if each.id in contradicted:
        yield say("repeated, with rates more than {share} apart", share=percent(UNSTEADY))


def _selected(reasons: dict[str, list[Text]], judged: dict[str, str], wanted: str) -> Counter[Text]:
    return Counter(
        reason
        for cell_id, found in reasons.items()
        if judged[cell_id] == wanted
        for reason in found
    )


def _reasons(title: Text, counts: Counter[Text]) -> list[Block]:
    items = [
        say("{cells}: {reason}", cells=counted(count, "cell"), reason=reason)
        for reason, count in counts.most_common()
    ]
    return chain(paragraph(title), bullets(items)) if items else []


def _table(view: RunView, judged: dict[str, str]) -> list[Block]:
    """One row per model, quantization and stage, with the M that at least have a reservation."""
    rows: dict[tuple[str, str, str], list[CellView]] = {}
    for each in view.cells:
        if each.cell:
            key = (each.cell.model, each.cell.quantization.upper(), each.cell.stage.value)
            rows.setdefault(key, []).append(each)
    heads = [
        *left(say("model"), say("quantization"), say("stage")),
        *right(say("usable"), say("with a reservation"), say("not usable")),
        *left(say("M at which no planned cell is unusable")),
    ]
    body = [
        (
            *key,
            *(sum(judged[each.id] == kind for each in cells) for kind in ("all", "some", "none")),
            _complete(cells, judged),
        )
        for key, cells in rows.items()
    ]
    return grid(say("Usable numbers"), heads, body)


def _complete(cells: list[CellView], judged: dict[str, str]) -> Text:
    """The M at which no planned cell is unusable; a cell that was not planned does not count."""
    ms = sorted({each.cell.m for each in cells if each.cell})
    bad = {each.cell.m for each in cells if each.cell and judged[each.id] == "none"}
    good = [m for m in ms if m not in bad]
    return m_ranges(good, ms) if good else joined("", [say("none")])
