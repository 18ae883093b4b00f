"""Which data are there, and how well the numbers are proven."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from slidesparse_bench.records import CellState
from slidesparse_bench.report import plots
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    Image,
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
from slidesparse_bench.report.csv_file import device_name, m_verified
from slidesparse_bench.report.figures import completeness_map
from slidesparse_bench.report.groups import half_width
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.measures import OPTIONAL
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Code, Recorded, Text, counted, joined, say
from slidesparse_bench.telemetry import POWER_CAP
from slidesparse_bench.wire import Metrics

_NOT_RECORDED = say("not recorded")


def section(view: RunView) -> list[Block]:
    measured = [each for each in view.cells if each.metrics]
    return chain(
        heading(2, say("Data completeness")),
        paragraph(_share(view, measured)),
        bullets(_proofs(view, measured)) if measured else [],
        _disturbed(measured),
        _optional([each.metrics for each in measured if each.metrics]),
        _plan_against_outcome(view),
        _map(view),
    )


def _share(view: RunView, measured: list[CellView]) -> Text:
    total = counted(len(view.cells), "cell")
    if not view.cells:
        return say("{n} of {cells} have numbers.", n="0", cells=total)
    return say(
        "{n} of {cells} have numbers ({share}).",
        n=f"{len(measured):,}",
        cells=total,
        share=percent(len(measured) / len(view.cells)),
    )


def _proofs(view: RunView, measured: list[CellView]) -> Iterator[Text]:
    numbers = [each.metrics for each in measured if each.metrics]
    total = len(numbers)
    yield say(
        "M of every measured step verified: {n} of {total}",
        n=sum(m_verified(v) is True for v in measured),
        total=total,
    )
    yield _precision(measured, numbers)
    yield say("outliers among the steps, all kept: {what}", what=_outliers(numbers))
    yield say("disturbed while measuring: {what}", what=_disturbances(numbers))
    yield say("GPU throttled while measuring: {what}", what=_throttled(numbers))
    yield from _above_the_limit(numbers)
    yield say("kernels that ran: {kernels}", kernels=_kernels(numbers))
    if any(metrics.emulated for metrics in numbers):
        yield say(
            "emulated kernels, in no speed-up: {n} of {total}",
            n=sum(metrics.emulated for metrics in numbers),
            total=total,
        )
    if not view.imported:
        left_over = sum(a.processes_left for v in view.cells for a in v.record.attempts)
        yield say("processes that outlived their attempt and had to be ended: {n}", n=left_over)
    yield say("devices that ran: {devices}", devices=_devices(view, measured))


def _precision(measured: list[CellView], numbers: list[Metrics]) -> Text:
    widths = [width for each in measured if (width := half_width(each)) is not None]
    reached = sum(metrics.precision_reached for metrics in numbers)
    if not widths:
        return say("interval as narrow as asked for: {n} of {total}", n=reached, total=len(numbers))
    return say(
        "interval as narrow as asked for: {n} of {total}; the widest is ±{widest}",
        n=reached,
        total=len(numbers),
        widest=percent(max(widths)),
    )


def _outliers(numbers: list[Metrics]) -> Text:
    """`181 of 4,351 (4.2 %), in 5 of 5 cells`."""
    known = [metrics for metrics in numbers if metrics.outlier_steps is not None]
    steps = sum(metrics.m_observed.steps for metrics in known)
    if not steps:
        return say("not counted")
    found = sum(metrics.outlier_steps or 0 for metrics in known)
    return say(
        "{n} of {steps} ({share}), in {some} of {cells}",
        n=f"{found:,}",
        steps=f"{steps:,}",
        share=percent(found / steps),
        some=sum(bool(metrics.outlier_steps) for metrics in known),
        cells=counted(len(known), "cell"),
    )


def _was_watched(metrics: Metrics) -> bool:
    known = (metrics.throttled, metrics.sm_clock_mhz_mean, metrics.power_w_mean)
    return bool(metrics.disturbed) or any(value is not None for value in known)


_NOBODY_LOOKED = say("not known, no cell has telemetry")


def _disturbances(numbers: list[Metrics]) -> Text:
    watched = [metrics for metrics in numbers if _was_watched(metrics)]
    if not watched:
        return _NOBODY_LOOKED
    return say(
        "{n} of {cells} with telemetry",
        n=sum(bool(metrics.disturbed) for metrics in watched),
        cells=counted(len(watched), "cell"),
    )


def _throttled(numbers: list[Metrics]) -> Text:
    """The power limit apart: it is the load's own doing."""
    seen = [metrics.throttled or [] for metrics in numbers if _was_watched(metrics)]
    if not seen:
        return _NOBODY_LOOKED
    return say(
        "{capped} by the power limit (`{reason}`), {otherwise} otherwise, of {cells} with telemetry",
        capped=sum(POWER_CAP in reasons for reasons in seen),
        reason=POWER_CAP,
        otherwise=sum(any(reason != POWER_CAP for reason in reasons) for reasons in seen),
        cells=counted(len(seen), "cell"),
    )


def _above_the_limit(numbers: list[Metrics]) -> Iterator[Text]:
    shares = [m.roofline_fraction for m in numbers if m.roofline_fraction is not None]
    if shares:
        yield say(
            "faster than the physical limit: {n} of {cells} with a known limit",
            n=sum(share > 1 for share in shares),
            cells=counted(len(shares), "cell"),
        )


def _disturbed(measured: list[CellView]) -> list[Block]:
    """What disturbed which attempt, those that were measured again included."""
    rows = [
        (
            Code(each.id),
            attempt.n,
            joined("; ", [Recorded(clause) for clause in attempt.metrics.disturbed]),
            say("counts") if attempt in each.standing else say("measured again"),
        )
        for each in measured
        for attempt in each.record.attempts
        if attempt.metrics and attempt.metrics.disturbed
    ]
    heads = [
        Head(say("cell")),
        Head("n", right=True),
        *left(say("disturbed by"), say("number")),
    ]
    summary = counted(len(rows), "disturbed attempt")
    return fold(summary, grid(summary, heads, rows))


def _kernels(numbers: list[Metrics]) -> Text:
    counts = Counter(metrics.kernel for metrics in numbers)
    return joined(
        ", ",
        [
            say("{kernel} ({n})", kernel=Code(name) if name else _NOT_RECORDED, n=n)
            for name, n in counts.most_common()
        ],
    )


def _devices(view: RunView, measured: list[CellView]) -> Text:
    names = [each.attempt and device_name(each.attempt, view.gpu_names) for each in measured]
    devices = Counter(names)
    return joined(
        ", ",
        [
            say("{device} ({n})", device=name or _NOT_RECORDED, n=count)
            for name, count in devices.most_common()
        ],
    )


def _optional(numbers: list[Metrics]) -> list[Block]:
    """Which optional metrics are missing, and what they would take."""
    if not numbers:
        return []
    rows: list[tuple[Text, ...]] = []
    for name, (unit, needs) in OPTIONAL.items():
        present = sum(getattr(metrics, name, None) is not None for metrics in numbers)
        if present < len(numbers):
            rows.append((Code(name), unit, f"{present}/{len(numbers)}", needs))
    if not rows:
        return paragraph(say("Every cell with numbers has every metric (`metrics.csv`)."))
    heads = [
        *left(say("metric"), say("unit")),
        *right(say("present")),
        Head(say("what it needs")),
    ]
    missing = say(
        "Metrics that are missing in some or all of {cells}:", cells=counted(len(numbers), "cell")
    )
    return chain(paragraph(missing), grid(say("Missing metrics"), heads, rows))


def _plan_against_outcome(view: RunView) -> list[Block]:
    """How far the plan can be trusted: its verdicts, and what became of the cells."""
    counts = Counter(
        (str(each.planned["verdict"]), each.state)
        for each in view.cells
        if each.planned.get("verdict")
    )
    if not counts:
        return paragraph(
            say("The plan holds no verdicts, so they cannot be compared with what happened.")
        )
    states = (CellState.PASSED, CellState.FAILED, CellState.SKIPPED)
    rows: list[tuple[Text, ...]] = []
    for verdict in dict.fromkeys(verdict for verdict, _ in counts):
        waiting = counts[verdict, CellState.PENDING] + counts[verdict, CellState.RUNNING]
        rows.append((Code(verdict), *(counts[verdict, state] for state in states), waiting))
    title = say("verdict of the plan")
    heads = [
        Head(title),
        *right(say("passed"), say("failed"), say("skipped"), say("not finished")),
    ]
    return grid(say("Verdicts of the plan and what happened"), heads, rows)


def _map(view: RunView) -> list[Block]:
    figure = completeness_map(view)
    if figure is None or not plots.can_draw()[0]:
        return []
    return [Image(figure.file_name, say("State of every cell"))]
