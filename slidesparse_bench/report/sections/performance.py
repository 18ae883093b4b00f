"""Throughput and speed-up, one group (model, stage, quantization) after the other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from slidesparse_bench.cell import Stage
from slidesparse_bench.report import plots
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.figures import PLOT_FOLDER, LineFigure, group_figure
from slidesparse_bench.report.groups import Group, Ratio, Series, groups_of, half_width
from slidesparse_bench.report.markdown import blocks, bullets, counted, listed, percent
from slidesparse_bench.report.sections.limits import how_to_read, limits
from slidesparse_bench.report.sections.trials import trials
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.report.view import RunView
from slidesparse_bench.units import format_rate

_HOW_TO_READ = """\
A rate is followed by half of its 95 % confidence interval, then by the number of attempts where \
there were more of them than trials. In place of a missing number stands the reason. Marks such as [1] \
point at the notes under the tables. A speed-up is a quotient of two rates of the same row; its ± \
combines the intervals of both, and `~` marks one whose interval contains 1: no difference was \
found. `same kernel` marks a ratio of two cells that ran the same kernel class: it shows how far two \
processes differ, not two backends."""
_ONE_TRIAL = """\
The intervals describe the scatter within one attempt; two attempts at the same cell differ by more \
(see Methods)."""
_SEVERAL_TRIALS = """\
Every number stands on {trials} trials, each in another process; its interval is the wider one of \
that between the trials and that within them."""


def section(view: RunView) -> str:
    groups = groups_of(view)
    drawable, reason = plots.can_draw()
    return blocks(
        [
            "## Throughput and speed-up",
            _how_to_read(view) if groups else "No cell can be shown by M.",
            how_to_read(view) if groups else "",
            _common(view),
            "" if drawable else f"There are no plots: {reason}.",
            *(_group(view, group, drawable) for group in groups),
        ]
    )


def _how_to_read(view: RunView) -> str:
    count = view.run.trials
    scatter = _ONE_TRIAL if count == 1 else _SEVERAL_TRIALS.format(trials=count)
    return f"{_HOW_TO_READ} {scatter}"


def _common(view: RunView) -> str:
    """Notes that would stand on every number."""
    if not view.common_notes:
        return ""
    return blocks(
        ["True of every number of this run, and so not marked:", bullets(view.common_notes)]
    )


def _group(view: RunView, group: Group, drawable: bool) -> str:
    figure = group_figure(view, group) if drawable else None
    return blocks(
        [
            f"### {group.title}",
            _throughput(view, group),
            _speedup(view, group),
            view.note_lines(group.cells.values()),
            trials(group),
            limits(view, group),
            _image(figure),
        ]
    )


def _image(figure: LineFigure | None) -> str:
    if figure is None:
        return ""
    return f"![{figure.title}: rates over M]({PLOT_FOLDER}/{figure.file_name})"


def _throughput(view: RunView, group: Group) -> str:
    columns = (Column("M", right=True), *(Column(s.title, right=True) for s in group.series))
    rows: list[tuple[Value, ...]] = []
    for m in group.ms:
        texts = (_rate_text(view, group, group.cells.get((m, series))) for series in group.series)
        rows.append((m, *texts))
    return blocks([_unit(group), as_markdown(Table(columns, tuple(rows)))])


def _unit(group: Group) -> str:
    if group.metric == "output_tokens_per_second":
        return "`output_tokens_per_second`, over the pure decode steps:"
    if group.stage is Stage.DECODE:
        return (
            "`tokens_per_second`, prompt and output together, because not every result here has "
            "the rate of the pure decode steps:"
        )
    return "`tokens_per_second`, prompt and output together:"


def _rate_text(view: RunView, group: Group, cell: CellView | None) -> str:
    """`93,340 ±0.4 %, 3 attempts [1]`, or why there is no number."""
    if cell is None:
        return "not planned"
    rate = group.rate(cell)
    if rate is None:
        return cell.missing
    attempts = len(cell.record.attempts)
    tried = f", {attempts} attempts" if attempts > len(cell.standing) else ""
    return f"{format_rate(rate)}{_plus_minus(half_width(cell))}{tried}{view.marks(cell)}"


def _plus_minus(width: float | None) -> str:
    return " (no interval)" if width is None else f" ±{percent(width)}"


def _speedup(view: RunView, group: Group) -> str:
    if not group.can_compare or group.reference is None:
        return _nothing_to_compare(group)
    others = [series for series in group.series if series != group.reference]
    columns = (
        Column("M", right=True),
        Column(f"{group.reference.name} (reference)", right=True),
        *([Column("best dense", right=True)] if len(group.dense) > 1 else []),
        *(Column(series.title, right=True) for series in others),
    )
    rows = tuple(tuple(_speedup_row(view, group, m, others)) for m in group.ms)
    return blocks([_against(group), as_markdown(Table(columns, rows)), _typical(group, others)])


def _against(group: Group) -> str:
    name = group.reference.name if group.reference else ""
    if len(group.dense) == 1:
        return f"Speed-up over `{name}`, the only dense backend with numbers here:"
    return (
        f"Speed-up over `{name}` (the reference) / over the best dense backend at that M; ± is "
        "the wider one of the two:"
    )


def _speedup_row(view: RunView, group: Group, m: int, others: list[Series]) -> Iterator[Value]:
    assert group.reference is not None
    yield m
    yield _plain_rate(view, group, m, group.reference)
    if len(group.dense) > 1:
        yield _best_dense(view, group, m)
    for series in others:
        yield _ratio_text(view, group, m, series)


def _best_dense(view: RunView, group: Group, m: int) -> str:
    """`cutlass 93,340`; where another dense backend has no number, the best one is not known."""
    best = group.best_dense(m)
    if best is None:
        return "none has a number"
    missing = listed([series.name for series in group.dense_missing(m)])
    without = f" (without {missing})" if missing else ""
    return f"{best.name} {_plain_rate(view, group, m, best)}{without}"


def _plain_rate(view: RunView, group: Group, m: int, series: Series) -> str:
    cell = group.cells.get((m, series))
    rate = group.rate(cell)
    if cell is None or rate is None:
        return cell.missing if cell else "not planned"
    return f"{format_rate(rate)}{view.marks_in_comparison(cell)}"


def _ratio_text(view: RunView, group: Group, m: int, series: Series) -> str:
    """`3.06x / 1.42x ±0.6 % [1]`; `best` for the best dense backend against itself."""
    cell = group.cells.get((m, series))
    if cell is None or group.rate(cell) is None:
        return cell.missing if cell else "not planned"
    against = [group.reference, *([group.best_dense(m)] if len(group.dense) > 1 else [])]
    ratios = [group.ratio(m, series, other) for other in against if other != series]
    if not any(ratios):
        return "nothing to compare with"
    factors = [
        "best" if other == series else _factor(group.ratio(m, series, other)) for other in against
    ]
    same = ", same kernel" if _same_kernel(group, m, series) else ""
    return f"{' / '.join(factors)}{_widest(ratios)}{same}{view.marks_in_comparison(cell)}"


def _same_kernel(group: Group, m: int, series: Series) -> bool:
    """Whether a series ran the reference's kernel: no difference of backends can show then."""
    cells = [group.cells.get((m, each)) for each in (series, group.reference) if each]
    kernels = [cell.metrics.kernel for cell in cells if cell and cell.metrics]
    return len(kernels) == 2 and kernels[0] == kernels[1]


def _factor(ratio: Ratio | None) -> str:
    """`1.49x`; `~1.01x` when 1 lies within the interval."""
    if ratio is None:
        return "none"
    width = ratio.half_width
    unsure = width is not None and abs(ratio.value - 1) <= width * ratio.value
    return f"{'~' if unsure else ''}{ratio.value:.2f}x"


def _widest(ratios: list[Ratio | None]) -> str:
    known = [ratio.half_width for ratio in ratios if ratio and ratio.half_width is not None]
    return f" ±{percent(max(known))}" if known else " (no interval)"


def _typical(group: Group, others: list[Series]) -> str:
    """Geometric means over M, the fair mean of quotients."""
    assert group.reference is not None
    lines = [
        _means(group, others, group.ms, lambda _: group.reference, f"`{group.reference.name}`")
    ]
    if len(group.dense) > 1:
        complete = [m for m in group.ms if not group.dense_missing(m)]
        what = "the best dense backend, at M where no dense one is missing"
        lines.append(_means(group, others, complete, group.best_dense, what))
    return bullets(line for line in lines if line)


def _means(
    group: Group,
    others: list[Series],
    ms: list[int],
    against: Callable[[int], Series | None],
    what: str,
) -> str:
    parts = []
    for series in others:
        ratios = [group.ratio(m, series, against(m)) for m in ms]
        values = [ratio.value for ratio in ratios if ratio]
        if len(values) > 1:
            some = f" ({len(values)} of {len(group.ms)} M)" if len(values) < len(group.ms) else ""
            parts.append(f"{series.name} {statistics.geometric_mean(values):.2f}x{some}")
    return f"Geometric mean over M against {what}: {', '.join(parts)}." if parts else ""


def _nothing_to_compare(group: Group) -> str:
    measured = [s for s in group.series if any(group.rate_of(m, s) for m in group.ms)]
    if not measured:
        return "Nothing to compare: no cell of this group has a number."
    names = listed([f"`{series.name}`" for series in measured])
    if group.reference is None:
        return f"Nothing to compare with: {names} ran, but no dense backend has a number here."
    if len(measured) == 1:
        others = counted(len(group.series) - 1, "other backend")
        rest = f" ({others} planned, none has a number)" if len(group.series) > 1 else ""
        return f"Nothing to compare: {names} is the only backend with numbers here{rest}."
    return f"Nothing to compare: {names} have no M in common with `{group.reference.name}`."
