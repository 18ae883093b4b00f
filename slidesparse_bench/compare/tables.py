"""A comparison as rows, as a JSON document, and as Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from slidesparse_bench.compare.cells import ComparedCell
from slidesparse_bench.compare.runs import Comparison, GroupMean
from slidesparse_bench.compare.setups import UNKNOWN
from slidesparse_bench.report.markdown import (
    blocks,
    bullets,
    counted,
    listed,
    plain,
    round_percent,
)
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.units import format_rate
from slidesparse_bench.wire import SCHEMA_VERSION

_TOLD_SHORTLY = 3
_OUTCOMES = {0: "ok", 4: "regression", 5: "cannot_tell"}


def cell_table(comparison: Comparison) -> Table:
    """Every cell: verdict, both rates in tokens/s, the ratio, why or how."""
    columns = (
        Column("cell"),
        Column("verdict"),
        Column("A", right=True),
        Column("B", right=True),
        Column("B/A", right=True),
        Column("95 % interval", right=True),
        Column("remarks"),
    )
    return Table(
        columns, tuple(_cell_row(each, comparison.common_notes) for each in comparison.cells)
    )


def _cell_row(each: ComparedCell, common: list[str]) -> tuple[Value, ...]:
    ratio = each.ratio
    remarks = [each.reason, *(note for note in each.notes if note not in common)]
    interval = f"{ratio.low:.3f} … {ratio.high:.3f}" if ratio and ratio.low is not None else None
    return (
        each.id,
        each.verdict.value,
        None if each.rate_a is None else format_rate(each.rate_a),
        None if each.rate_b is None else format_rate(each.rate_b),
        f"{ratio.value:.3f}" if ratio else None,
        interval,
        "; ".join(text for text in remarks if text) or None,
    )


def group_table(comparison: Comparison) -> Table:
    """The geometric mean of the ratios per stage, quantization and backend."""
    columns = (
        Column("stage"),
        Column("quantization"),
        Column("backend"),
        Column("cells compared", right=True),
        Column("geometric mean of B/A", right=True),
    )
    return Table(columns, tuple(_group_row(each) for each in comparison.groups))


def _group_row(each: GroupMean) -> tuple[Value, ...]:
    mean = None if each.geometric_mean is None else f"{each.geometric_mean:.3f}"
    left_out = f"; {each.left_out} disturbed or out of line" if each.left_out else ""
    compared = f"{each.compared} of {each.cells}{left_out}"
    return each.stage.value, each.quantization.value, each.series.title, compared, mean


def header_lines(comparison: Comparison) -> list[str]:
    """Which runs, what differs between them beside the numbers, what that means."""
    setups = comparison.setups
    runs = ((comparison.a, setups.devices_a), (comparison.b, setups.devices_b))
    lines = [
        f"{name}: {run.run.run_id} on {listed(devices) or f'a device {UNKNOWN}'}"
        for name, (run, devices) in zip("AB", runs, strict=True)
    ]
    lines += _differences(setups.differences, setups.also)
    if not comparison.is_gated and setups.same_device is False:
        lines.append(
            "The devices differ: a slower or failed cell is not called a regression (--gate does)."
        )
    lines += [f"True of every compared number, {note}." for note in comparison.common_notes]
    return [*lines, *setups.cautions]


def _differences(differences: Sequence[str], also: Sequence[str]) -> list[str]:
    lines = [f"Differs: {'; '.join(differences)}."] if differences else []
    if also:
        hidden = len(also) - _TOLD_SHORTLY
        more = f"; and {counted(hidden, 'other difference')}" if hidden > 0 else ""
        lines.append(f"Differs too (A -> B): {'; '.join(also[:_TOLD_SHORTLY])}{more}.")
    return lines


def summary_line(comparison: Comparison) -> str:
    """`2 slower, 1 cannot tell, 5 same; threshold 3 %`."""
    counts = [
        f"{number} {verdict.value.replace('_', ' ')}"
        for verdict, number in comparison.counts.items()
        if number
    ]
    threshold = round_percent(comparison.rule.threshold)
    return f"{', '.join(counts) or 'no cells'}; threshold {threshold}"


def document(comparison: Comparison) -> dict[str, Any]:
    """What `--json` prints; `docs/comparing.md` explains the keys."""
    exit_code, reason = comparison.outcome
    worse = {each.id for each in comparison.regressions}
    return {
        "schema_version": SCHEMA_VERSION,
        "run_a": _run(comparison, "a"),
        "run_b": _run(comparison, "b"),
        "threshold": comparison.rule.threshold,
        "min_trials": comparison.rule.min_trials,
        "same_device": comparison.setups.same_device,
        "gated": comparison.is_gated,
        "differences": list(comparison.setups.differences),
        "also_different": list(comparison.setups.also),
        "cautions": list(comparison.setups.cautions),
        "outcome": _OUTCOMES[exit_code],
        "exit_code": int(exit_code),
        "reason": reason,
        "counts": {verdict.value: number for verdict, number in comparison.counts.items()},
        "groups": [_group(each) for each in comparison.groups],
        "cells": [_cell(each, each.id in worse) for each in comparison.cells],
        "next_steps": comparison.next_steps,
    }


def _run(comparison: Comparison, side: str) -> dict[str, Any]:
    run = comparison.a if side == "a" else comparison.b
    devices = comparison.setups.devices_a if side == "a" else comparison.setups.devices_b
    return {"run_id": run.run.run_id, "state": run.run.state.value, "devices": list(devices)}


def _group(each: GroupMean) -> dict[str, Any]:
    return {
        "stage": each.stage.value,
        "quantization": each.quantization.value,
        "backend": each.series.backend,
        "sparsity": str(each.series.sparsity) if each.series.sparsity else None,
        "cells": each.cells,
        "compared": each.compared,
        "left_out": each.left_out,
        "geometric_mean": each.geometric_mean,
    }


def _cell(each: ComparedCell, is_regression: bool) -> dict[str, Any]:
    ratio = each.ratio
    has_interval = ratio is not None and ratio.low is not None
    return {
        "id": each.id,
        "verdict": each.verdict.value,
        "regression": is_regression,
        "cause": each.cause.value if each.cause else None,
        "reason": each.reason,
        "metric": each.metric,
        "rate_a": each.rate_a,
        "rate_b": each.rate_b,
        "ratio": ratio.value if ratio else None,
        "ratio_ci95": [ratio.low, ratio.high] if ratio and has_interval else None,
        "notes": list(each.notes),
        "doubted": each.doubted,
    }


def markdown(comparison: Comparison) -> str:
    """The whole comparison as one document."""
    exit_code, reason = comparison.outcome
    title = f"# {plain(comparison.a.run.run_id)} (A) and {plain(comparison.b.run.run_id)} (B)"
    steps = comparison.next_steps
    parts = [
        title,
        f"**{_OUTCOMES[exit_code].replace('_', ' ')}**: {plain(reason)}.",
        bullets(plain(line) for line in header_lines(comparison)),
        f"{plain(summary_line(comparison))}.",
        as_markdown(_escaped(group_table(comparison))) if comparison.groups else "",
        as_markdown(_escaped(cell_table(comparison))) if comparison.cells else "",
        bullets(steps),
    ]
    return blocks(parts) + "\n"


def _escaped(table: Table) -> Table:
    rows = (
        tuple(plain(value) if isinstance(value, str) else value for value in row)
        for row in table.rows
    )
    return dataclasses.replace(table, rows=tuple(rows))
