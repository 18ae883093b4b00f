"""Cells that were skipped with a reason, and cells that did not finish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slidesparse_bench.records import CellState
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.markdown import blocks, code, counted, details, plain
from slidesparse_bench.report.sections.failures import affected
from slidesparse_bench.report.table import Column, Table, as_markdown
from slidesparse_bench.report.view import RunView, grouped, without_numbers


def section(view: RunView) -> str:
    skipped = view.in_state(CellState.SKIPPED)
    waiting = view.in_state(CellState.PENDING, CellState.RUNNING)
    if not skipped and not waiting:
        return ""
    return blocks(
        [
            "## Cells that did not run",
            *(_skipped(view, same) for same in _by_reason(skipped)),
            _waiting(view, waiting),
        ]
    )


def _by_reason(cells: Iterable[CellView]) -> list[list[CellView]]:
    """Together what differs in its numbers only, the most frequent first."""
    same = grouped(cells, lambda view: without_numbers(view.reason))
    return sorted(same.values(), key=len, reverse=True)


def _skipped(view: RunView, cells: list[CellView]) -> str:
    verdict = cells[0].planned.get("verdict")
    planned = f" (plan: {code(str(verdict))})" if verdict else ""
    example = plain(cells[0].reason) or "no reason on record"
    also = ", for example" if len({each.reason for each in cells}) > 1 else ""
    return blocks(
        [
            f"### Skipped: {counted(len(cells), 'cell')}{planned}",
            f"Reason{also}: {example}",
            affected(view, cells),
            _memory(cells),
        ]
    )


def _memory(cells: list[CellView]) -> str:
    """What the plan computed, when it refused for memory."""
    budgets = [(each, each.planned.get("memory_gib")) for each in cells]
    rows = tuple(
        (code(each.id), *(_number(budget, part) for part in _PARTS))
        for each, budget in budgets
        if isinstance(budget, Mapping) and each.planned.get("verdict") == "does_not_fit"
    )
    if not rows:
        return ""
    columns = (Column("GiB, as planned"), *(Column(part, right=True) for part in _PARTS))
    table = as_markdown(Table(columns, rows))
    return details(f"Memory of {counted(len(rows), 'cell')}", table) if len(rows) > 12 else table


_PARTS = ("weights", "kv_cache", "activations", "overhead", "total", "available")


def _number(budget: Mapping[str, Any], part: str) -> str:
    value = budget.get(part)
    return f"{value:.2f}" if isinstance(value, (int, float)) else "not recorded"


def _waiting(view: RunView, cells: list[CellView]) -> str:
    if not cells:
        return ""
    return blocks([f"### Not finished: {counted(len(cells), 'cell')}", affected(view, cells)])
