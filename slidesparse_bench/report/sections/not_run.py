"""Cells that were skipped with a reason, and cells that did not finish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slidesparse_bench.records import CellState
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    chain,
    fold,
    grid,
    heading,
    paragraph,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.sections.failures import affected
from slidesparse_bench.report.view import RunView, grouped, without_numbers
from slidesparse_bench.report.words import Code, Recorded, Text, counted, say


def section(view: RunView) -> list[Block]:
    skipped = view.in_state(CellState.SKIPPED)
    waiting = view.in_state(CellState.PENDING, CellState.RUNNING)
    if not skipped and not waiting:
        return []
    return chain(
        heading(2, say("Cells that did not run")),
        *(_skipped(view, same) for same in _by_reason(skipped)),
        _waiting(view, waiting),
    )


def _by_reason(cells: Iterable[CellView]) -> list[list[CellView]]:
    """Together what differs in its numbers only, the most frequent first."""
    same = grouped(cells, lambda view: without_numbers(view.reason))
    return sorted(same.values(), key=len, reverse=True)


def _skipped(view: RunView, cells: list[CellView]) -> list[Block]:
    verdict = cells[0].planned.get("verdict")
    title: Text = say("Skipped: {cells}", cells=counted(len(cells), "cell"))
    if verdict:
        title = say("{title} (plan: {verdict})", title=title, verdict=Code(str(verdict)))
    example = Recorded(cells[0].reason) if cells[0].reason else say("no reason on record")
    reason = say("Reason: {reason}", reason=example)
    if len({each.reason for each in cells}) > 1:
        reason = say("Reason, for example: {reason}", reason=example)
    return chain(heading(3, title), paragraph(reason), affected(view, cells), _memory(cells))


def _memory(cells: list[CellView]) -> list[Block]:
    """What the plan computed, when it refused for memory."""
    budgets = [(each, each.planned.get("memory_gib")) for each in cells]
    rows = [
        (Code(each.id), *(_number(budget, part) for part, _ in _PARTS))
        for each, budget in budgets
        if isinstance(budget, Mapping) and each.planned.get("verdict") == "does_not_fit"
    ]
    title = say("GiB, as planned")
    table = grid(title, [Head(title), *right(*(name for _, name in _PARTS))], rows)
    summary = say("Memory of {cells}", cells=counted(len(rows), "cell"))
    return fold(summary, table) if len(rows) > 12 else table


_PARTS = (
    ("weights", say("weights")),
    ("kv_cache", say("kv_cache")),
    ("activations", say("activations")),
    ("overhead", say("overhead")),
    ("total", say("total")),
    ("available", say("available")),
)


def _number(budget: Mapping[str, Any], part: str) -> Text:
    value = budget.get(part)
    return f"{value:.2f}" if isinstance(value, (int, float)) else say("not recorded")


def _waiting(view: RunView, cells: list[CellView]) -> list[Block]:
    if not cells:
        return []
    title = say("Not finished: {cells}", cells=counted(len(cells), "cell"))
    return chain(heading(3, title), affected(view, cells))
