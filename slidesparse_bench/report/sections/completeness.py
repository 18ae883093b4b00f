"""Which data are there, and how well the numbers are proven."""

from __future__ import annotations

from collections import Counter

from slidesparse_bench.records import CellState
from slidesparse_bench.report import plots
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.csv_file import gpu_name, m_verified
from slidesparse_bench.report.figures import PLOT_FOLDER, completeness_map
from slidesparse_bench.report.groups import half_width
from slidesparse_bench.report.markdown import (
    blocks,
    bullets,
    code,
    counted,
    details,
    percent,
    plain,
)
from slidesparse_bench.report.measures import OPTIONAL
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.report.view import RunView
from slidesparse_bench.telemetry import POWER_CAP
from slidesparse_bench.wire import Metrics


def section(view: RunView) -> str:
    measured = [each for each in view.cells if each.metrics]
    share = f" ({percent(len(measured) / len(view.cells))})" if view.cells else ""
    return blocks(
        [
            "## Data completeness",
            f"{len(measured):,} of {counted(len(view.cells), 'cell')} have numbers{share}.",
            bullets(_proofs(view, measured)) if measured else "",
            _disturbed(measured),
            _telemetry([each.metrics for each in measured if each.metrics]),
            _plan_against_outcome(view),
            _map(view),
        ]
    )


def _proofs(view: RunView, measured: list[CellView]) -> list[str]:
    numbers = [each.metrics for each in measured if each.metrics]
    widths = [width for each in measured if (width := half_width(each)) is not None]
    reached = sum(metrics.precision_reached for metrics in numbers)
    widest = f"; the widest is ±{percent(max(widths))}" if widths else ""
    left = sum(attempt.processes_left for v in view.cells for attempt in v.record.attempts)
    total = len(numbers)
    return [
        f"M of every measured step verified: {sum(m_verified(v) is True for v in measured)} of {total}",
        f"interval as narrow as asked for: {reached} of {total}{widest}",
        f"outliers among the steps, all kept: {_outliers(numbers)}",
        f"disturbed while measuring: {_disturbances(numbers)}",
        f"GPU throttled while measuring: {_throttled(numbers)}",
        *_above_the_limit(numbers),
        f"kernels that ran: {_kernels(numbers)}",
        f"processes that outlived their attempt and had to be ended: {left}",
        f"devices that ran: {_devices(view, measured)}",
    ]


def _outliers(numbers: list[Metrics]) -> str:
    """`181 of 4,351 (4.2 %), in 5 of 5 cells`."""
    known = [metrics for metrics in numbers if metrics.outlier_steps is not None]
    steps = sum(metrics.m_observed.steps for metrics in known)
    if not steps:
        return "not counted"
    found = sum(metrics.outlier_steps or 0 for metrics in known)
    cells = sum(bool(metrics.outlier_steps) for metrics in known)
    share = percent(found / steps)
    return f"{found:,} of {steps:,} ({share}), in {cells} of {counted(len(known), 'cell')}"


def _was_watched(metrics: Metrics) -> bool:
    known = (metrics.throttled, metrics.sm_clock_mhz_mean, metrics.power_w_mean)
    return bool(metrics.disturbed) or any(value is not None for value in known)


_NOBODY_LOOKED = "not known, no cell has telemetry"


def _disturbances(numbers: list[Metrics]) -> str:
    watched = [metrics for metrics in numbers if _was_watched(metrics)]
    if not watched:
        return _NOBODY_LOOKED
    disturbed = sum(bool(metrics.disturbed) for metrics in watched)
    return f"{disturbed} of {counted(len(watched), 'cell')} with telemetry"


def _throttled(numbers: list[Metrics]) -> str:
    """The power limit apart: it is the load's own doing."""
    seen = [metrics.throttled or [] for metrics in numbers if _was_watched(metrics)]
    if not seen:
        return _NOBODY_LOOKED
    capped = sum(POWER_CAP in reasons for reasons in seen)
    otherwise = sum(any(reason != POWER_CAP for reason in reasons) for reasons in seen)
    return (
        f"{capped} by the power limit ({code(POWER_CAP)}), {otherwise} otherwise, of "
        f"{counted(len(seen), 'cell')} with telemetry"
    )


def _above_the_limit(numbers: list[Metrics]) -> list[str]:
    shares = [m.roofline_fraction for m in numbers if m.roofline_fraction is not None]
    if not shares:
        return []
    above = sum(share > 1 for share in shares)
    return [
        f"faster than the physical limit: {above} of {counted(len(shares), 'cell')} with a known limit"
    ]


def _disturbed(measured: list[CellView]) -> str:
    """What disturbed which attempt, those that were measured again included."""
    rows = tuple(
        (
            code(each.id),
            attempt.n,
            plain("; ".join(attempt.metrics.disturbed)),
            "counts" if attempt in each.standing else "measured again",
        )
        for each in measured
        for attempt in each.record.attempts
        if attempt.metrics and attempt.metrics.disturbed
    )
    if not rows:
        return ""
    columns = (Column("cell"), Column("n", right=True), Column("disturbed by"), Column("number"))
    return details(f"{counted(len(rows), 'disturbed attempt')}", as_markdown(Table(columns, rows)))


def _kernels(numbers: list[Metrics]) -> str:
    counts = Counter(metrics.kernel for metrics in numbers)
    texts = [f"{code(name) if name else 'not recorded'} ({n})" for name, n in counts.most_common()]
    return ", ".join(texts)


def _devices(view: RunView, measured: list[CellView]) -> str:
    names = [each.attempt and gpu_name(each.attempt.device, view.gpu_names) for each in measured]
    devices = Counter(name or "not recorded" for name in names)
    return ", ".join(f"{name} ({count})" for name, count in devices.most_common())


def _telemetry(numbers: list[Metrics]) -> str:
    """Which optional metrics are missing, and what they would take."""
    if not numbers:
        return ""
    rows = []
    for name, (unit, needs) in OPTIONAL.items():
        present = sum(getattr(metrics, name, None) is not None for metrics in numbers)
        if present < len(numbers):
            rows.append((code(name), unit, f"{present}/{len(numbers)}", needs))
    if not rows:
        return "Every cell with numbers has every metric (`metrics.csv`)."
    columns = (
        Column("metric"),
        Column("unit"),
        Column("present", right=True),
        Column("what it needs"),
    )
    missing = f"Metrics that are missing in some or all of {counted(len(numbers), 'cell')}:"
    return blocks([missing, as_markdown(Table(columns, tuple(rows)))])


def _plan_against_outcome(view: RunView) -> str:
    """How far the plan can be trusted: its verdicts, and what became of the cells."""
    counts = Counter(
        (str(each.planned["verdict"]), each.state)
        for each in view.cells
        if each.planned.get("verdict")
    )
    if not counts:
        return "The plan holds no verdicts, so they cannot be compared with what happened."
    states = (CellState.PASSED, CellState.FAILED, CellState.SKIPPED)
    verdicts = dict.fromkeys(verdict for verdict, _ in counts)
    rows: list[tuple[Value, ...]] = []
    for verdict in verdicts:
        waiting = counts[verdict, CellState.PENDING] + counts[verdict, CellState.RUNNING]
        rows.append((code(verdict), *(counts[verdict, state] for state in states), waiting))
    titles = [*(state.value for state in states), "not finished"]
    columns = (Column("verdict of the plan"), *(Column(title, right=True) for title in titles))
    return as_markdown(Table(columns, tuple(rows)))


def _map(view: RunView) -> str:
    figure = completeness_map(view)
    if figure is None or not plots.can_draw()[0]:
        return ""
    return f"![State of every cell]({PLOT_FOLDER}/{figure.file_name})"
