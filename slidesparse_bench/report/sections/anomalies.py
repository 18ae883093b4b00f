"""What looks wrong about numbers, each kind with its rule."""

from __future__ import annotations

from slidesparse_bench.report import doubts
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    bullets,
    chain,
    fold,
    grid,
    heading,
    left,
    paragraph,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.index_limits import gate_up_elements, suspect_passes
from slidesparse_bench.report.markdown import m_ranges, percent
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Code, Text, counted, joined, listed, say
from slidesparse_bench.telemetry import POWER_CAP
from slidesparse_bench.units import format_rate

_ROWS_SHOWN = 24


def section(view: RunView) -> list[Block]:
    found = chain(
        _ratio_jumps(view),
        _beyond_zeros(view),
        _rate_jumps(view),
        _weak_references(view),
        _suspect_passes(view),
        _holes(view),
        _unsteady(view),
        _mixed_settings(view),
        _conditions(view),
    )
    return chain(
        heading(2, say("Anomalies")),
        found or paragraph(say("None of the rules of this section found anything.")),
    )


def _part(title: Text, rule: Text, body: list[Block], rows: int = 0) -> list[Block]:
    """One kind of anomaly: its rule, then its places."""
    if not body:
        return []
    shown = fold(title, body) if rows > _ROWS_SHOWN else body
    return chain(heading(3, title), paragraph(rule), shown)


def _ratio_jumps(view: RunView) -> list[Block]:
    jumps = sorted(doubts.ratio_jumps(view), key=lambda jump: -jump.ratio)
    out_of_line = {jump.view.id for jump in doubts.rate_jumps(view)}
    title = say("Speed-ups that stand alone: {n}", n=len(jumps))
    rule = say(
        "Rule: more than {factor} times above or below the median of up to two neighbours in M on "
        "either side. The last column says which of both rates does not fit its own neighbours: a "
        "cold start inside a measurement, or memory that had spilled to the host, moves the quotient "
        "without any difference of the kernels.",
        factor=f"{doubts.RATIO_JUMP:g}",
    )
    rows = [
        (
            jump.group.title,
            jump.series.name,
            jump.m,
            f"{jump.ratio:.2f}x",
            f"{jump.usual:.2f}x",
            format_rate(jump.group.rate_of(jump.m, jump.series) or 0.0),
            format_rate(jump.group.rate_of(jump.m, jump.group.reference) or 0.0),
            _culprit(jump, out_of_line),
        )
        for jump in jumps
    ]
    heads = [
        *left(say("cells of"), say("backend")),
        *right("M", say("speed-up"), say("median of the neighbours")),
        *right(say("rate"), say("rate of the reference")),
        Head(say("out of line")),
    ]
    return _part(title, rule, grid(title, heads, rows), len(rows))


def _culprit(jump: doubts.RatioJump, out_of_line: set[str]) -> Text:
    """Which side of the quotient does not fit its own neighbours, by the rule for rates."""
    sides: list[Text] = []
    if out_of_line.intersection(doubts.dense_ids(jump.group, jump.m)):
        sides.append(say("the reference"))
    if jump.view.id in out_of_line:
        sides.append(say("the sparse backend") if jump.series.sparsity else jump.series.name)
    return listed(sides) if sides else say("neither by itself")


def _beyond_zeros(view: RunView) -> list[Block]:
    found = sorted(doubts.beyond_zeros(view), key=lambda each: -each.ratio / each.most)
    title = say("Speed-ups beyond what the zeros can save: {n}", n=len(found))
    rule = say(
        "Rule: over the best dense backend, more than {factor} times L/(L-2), the arithmetic that "
        "`2:L` leaves out. What is beyond it comes from another kernel, a weak dense backend or the "
        "measurement.",
        factor=f"{doubts.BEYOND_ZEROS:g}",
    )
    rows = [
        (each.group.title, each.series.name, each.m, f"{each.ratio:.2f}x", f"{each.most:.2f}x")
        for each in found
    ]
    heads = [
        *left(say("cells of"), say("backend")),
        *right("M", say("speed-up"), "L/(L-2)"),
    ]
    return _part(title, rule, grid(title, heads, rows), len(rows))


def _rate_jumps(view: RunView) -> list[Block]:
    jumps = doubts.rate_jumps(view)
    title = say("Rates that do not fit their neighbours in M: {n}", n=len(jumps))
    rule = say(
        "Rule: from one M to the next a rate grows at most in proportion to M; more than {most} times "
        "that marks the smaller M as too slow (a cold start?). Below {least} of the rate at the "
        "smaller M the larger one is marked (device memory that spilled to the host, as under WSL2, "
        "instead of an out-of-memory error?).",
        most=f"{doubts.MOST_GROWTH:g}",
        least=f"{doubts.LEAST_GROWTH:g}",
    )
    rows = [
        (
            jump.group.title,
            jump.series.name,
            jump.m,
            format_rate(jump.rate),
            say("{rate} at M = {m}", rate=format_rate(jump.other_rate), m=jump.other_m),
            _finding(jump),
        )
        for jump in jumps
    ]
    heads = [
        *left(say("cells of"), say("backend")),
        *right("M", say("rate"), say("neighbour")),
        Head(say("finding")),
    ]
    return _part(title, rule, grid(title, heads, rows), len(rows))


def _finding(jump: doubts.RateJump) -> Text:
    if jump.view.host_bound and not jump.view.has_graph:
        return say("host-bound, without a CUDA graph of its M")
    if jump.view.host_bound:
        return say("host-bound")
    return say("too slow a start") if jump.is_slow_start else say("falls off")


def _weak_references(view: RunView) -> list[Block]:
    found = doubts.weak_references(view)
    title = say(
        "References weaker than another dense backend: {groups}",
        groups=counted(len(found), "group"),
    )
    rule = say(
        "Rule: another dense backend at least {factor} times as fast. A speed-up over such a "
        "reference flatters; the one over the best dense backend stands beside it.",
        factor=f"{doubts.WEAK_REFERENCE:g}",
    )
    rows = []
    for each in found:
        most, (best, ratio) = max(each.best.items(), key=lambda at_m: at_m[1][1])
        rows.append(
            (
                each.group.title,
                each.group.reference.name if each.group.reference else "",
                m_ranges(each.best, each.group.ms),
                say(
                    "{backend} {ratio}x at M = {m}", backend=best.name, ratio=f"{ratio:.2f}", m=most
                ),
            )
        )
    heads = left(say("cells of"), say("reference"), "M", say("at most"))
    return _part(title, rule, grid(title, heads, rows), len(rows))


def _suspect_passes(view: RunView) -> list[Block]:
    found = suspect_passes(view)
    title = say("Passed where others overflowed: {cells}", cells=counted(len(found), "cell"))
    rule = say(
        "Rule: its gate_up output has more than 2^31 - 1 elements, and other backends of the same "
        "model, stage and M died of an illegal access. The same kernel may have written to wrong "
        "places without anybody noticing: check the values before using the number."
    )
    items: list[Text] = []
    for each in found:
        rows, columns = gate_up_elements(each) or (0, 0)
        items.append(
            say(
                "{cell}: {rows} x {columns} = {elements} elements",
                cell=Code(each.id),
                rows=f"{rows:,}",
                columns=f"{columns:,}",
                elements=f"{rows * columns:,}",
            )
        )
    return _part(title, rule, bullets(items))


def _holes(view: RunView) -> list[Block]:
    found = doubts.holes(view)
    title = say("Series with holes: {series}", series=counted(len(found), "series"))
    rule = say(
        "Rule: M without a number between two with one, or the only numbers between two without. "
        "Memory and time grow with M, so a series should end once; this one was at the edge of "
        "something that changed between its attempts."
    )
    items: list[Text] = []
    for hole in found:
        name = f"{hole.group.title}, {hole.series.name}"
        if hole.missing:
            ms = joined(", ", [str(m) for m in hole.missing])
            items.append(say("{series}: no number at M = {ms}", series=name, ms=ms))
        if hole.alone:
            ms = joined(", ", [str(m) for m in hole.alone])
            items.append(
                say("{series}: a number only at M = {ms}, none beside it", series=name, ms=ms)
            )
    return _part(title, rule, bullets(items))


def _unsteady(view: RunView) -> list[Block]:
    found = doubts.unsteady(view)
    title = say(
        "Repeated cells that contradict themselves: {cells}", cells=counted(len(found), "cell")
    )
    rule = say(
        "Rule: successful attempts at one cell differ by more than {share} of their median. The "
        "newest one counts; a speed-up of the size of the difference is no finding.",
        share=percent(doubts.UNSTEADY),
    )
    rows = [
        (
            Code(each.view.id),
            percent(each.spread),
            joined(", ", [format_rate(rate) for rate in each.rates]),
        )
        for each in found
    ]
    heads = [Head(say("cell")), *right(say("difference"), say("rates, oldest first"))]
    return _part(title, rule, grid(title, heads, rows), len(rows))


def _mixed_settings(view: RunView) -> list[Block]:
    found = doubts.mixed_settings(view)
    title = say("Series under mixed conditions: {series}", series=counted(len(found), "series"))
    rule = say(
        "Rule: some of its numbers were measured with other engine arguments, or on another device, "
        "than most of them."
    )
    items: list[Text] = []
    for name, cells in found.items():
        told = [
            say(
                "M = {m}: {conditions}",
                m=str(each.cell.m if each.cell else "?"),
                conditions=_told(view, each),
            )
            for each in cells
        ]
        items.append(say("{series}: {what}", series=name, what=joined("; ", told)))
    return _part(title, rule, bullets(items))


def _told(view: RunView, cell: CellView) -> Text:
    attempt = cell.attempt
    parts: list[Text] = list(cell.settings_changed(attempt)) if attempt else []
    if attempt and attempt.device and len(view.gpus) > 1:
        parts.append(attempt.device)
    return joined(", ", parts) if parts else say("as planned")


def _conditions(view: RunView) -> list[Block]:
    """Throttling, wide intervals, disturbances: what the notes at the numbers say, in one place."""
    wide = doubts.wide_intervals(view)
    throttled = [e for e in view.cells if e.metrics and _heat(e.metrics.throttled)]
    disturbed = [e for e in view.cells if e.metrics and e.metrics.disturbed]
    items: list[Text] = []
    if wide:
        widest = [say("{cell} ±{width}", cell=Code(v.id), width=percent(w)) for v, w in wide[:6]]
        items.append(
            say(
                "interval wider than ±{limit}: {cells}, the widest {widest}",
                limit=percent(doubts.WIDE),
                cells=counted(len(wide), "cell"),
                widest=joined(", ", widest),
            )
        )
    if throttled:
        items.append(
            say(
                "throttled while measuring, the power limit apart: {cells}",
                cells=counted(len(throttled), "cell"),
            )
        )
    if disturbed:
        items.append(
            say("disturbed while measuring: {cells}", cells=counted(len(disturbed), "cell"))
        )
    if not items:
        return []
    return chain(heading(3, say("Conditions of the measurement")), bullets(items))


def _heat(reasons: list[str] | None) -> bool:
    return any(reason != POWER_CAP for reason in reasons or [])
