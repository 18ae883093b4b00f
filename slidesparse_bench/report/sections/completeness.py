"""Which data are there, and how well the numbers are proven."""

from __future__ import annotations

from collections import Counter

from slidesparse_bench.records import CellState
from slidesparse_bench.report import plots
from slidesparse_bench.report.csv_file import gpu_name, m_verified
from slidesparse_bench.report.figures import PLOT_FOLDER, completeness_map
from slidesparse_bench.report.groups import half_width
from slidesparse_bench.report.markdown import blocks, bullets, code, counted, percent
from slidesparse_bench.report.measures import OPTIONAL
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.report.view import CellView, RunView
from slidesparse_bench.wire import Metrics


def section(view: RunView) -> str:
    measured = [each for each in view.cells if each.metrics]
    share = f" ({percent(len(measured) / len(view.cells))})" if view.cells else ""
    return blocks(
        [
            "## Data completeness",
            f"{len(measured):,} of {counted(len(view.cells), 'cell')} have numbers{share}.",
            bullets(_proofs(view, measured)) if measured else "",
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
        f"GPU throttled while measuring: {_throttled(numbers)}",
        f"kernels that ran: {_kernels(numbers)}",
        f"processes that outlived their attempt and had to be ended: {left}",
        f"devices that ran: {_devices(view, measured)}",
    ]


def _throttled(numbers: list[Metrics]) -> str:
    seen = [m for m in numbers if m.sm_clock_mhz_mean is not None or m.throttled]
    if not seen:
        return "not known, no cell has telemetry"
    return f"{sum(bool(m.throttled) for m in seen)} of {counted(len(seen), 'cell')} with telemetry"


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
        why = "" if present == len(numbers) else f"needs {needs}"
        rows.append((code(name), unit, f"{present}/{len(numbers)}", why))
    columns = (
        Column("metric"),
        Column("unit"),
        Column("present", right=True),
        Column("where it is missing"),
    )
    return as_markdown(Table(columns, tuple(rows)))


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
