"""Throughput and speed-up, one group (model, stage, quantization) after the other."""

from __future__ import annotations

from collections.abc import Iterator

from slidesparse_bench.cell import Stage
from slidesparse_bench.report import plots
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    Image,
    bullets,
    chain,
    grid,
    heading,
    paragraph,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.doubts import WIDE, doubted_ids, is_doubted
from slidesparse_bench.report.figures import group_figure
from slidesparse_bench.report.groups import Group, Ratio, Series, groups_of, half_width
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.sections.limits import how_to_read, limits
from slidesparse_bench.report.sections.means import means
from slidesparse_bench.report.sections.trials import trials
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import (
    Code,
    Text,
    counted,
    joined,
    listed,
    say,
    sentences,
)
from slidesparse_bench.units import format_rate

_HOW_TO_READ = say(
    "A rate is followed by half of its 95 % confidence interval, then by the number of attempts where "
    "there were more of them than trials. In place of a missing number stands the reason. Marks such "
    "as [1] point at the notes under the tables. A speed-up is a quotient of two rates of the same "
    "row; its ± combines the intervals of both, `~` marks one whose interval contains 1: no "
    "difference was found, and `?` one of whose rates Anomalies doubts. Means leave those out, and "
    "speed-ups that are wider than ±{width} or have a host-bound side. `same kernel` marks a ratio of "
    "two cells that ran the same kernel class: it shows how far two processes differ, not two "
    "backends.",
    width=percent(WIDE),
)
_ONE_TRIAL = say(
    "The intervals describe the scatter within one attempt; two attempts at the same cell differ by "
    "more (see Methods)."
)
_NO_INTERVALS = say(
    "The tool that measured these numbers timed no steps, so no number here has an interval."
)
_NOT_PLANNED = say("not planned")


def section(view: RunView) -> list[Block]:
    groups = groups_of(view)
    drawable, reason = plots.can_draw()
    doubted = doubted_ids(view)
    return chain(
        heading(2, say("Throughput and speed-up")),
        paragraph(_how_to_read(view) if groups else say("No cell can be shown by M.")),
        how_to_read(view) if groups else [],
        _common(view),
        [] if drawable else paragraph(say("There are no plots: {reason}.", reason=reason)),
        *(paragraph(remark) for remark in view.remarks),
        *(_group(view, group, doubted, drawable) for group in groups),
    )


def _how_to_read(view: RunView) -> Text:
    if view.imported:
        return sentences([_HOW_TO_READ, _NO_INTERVALS])
    if view.run.trials == 1:
        return sentences([_HOW_TO_READ, _ONE_TRIAL])
    several = say(
        "Every number stands on {trials} trials, each in another process; its interval is the wider "
        "one of that between the trials and that within them.",
        trials=view.run.trials,
    )
    return sentences([_HOW_TO_READ, several])


def _common(view: RunView) -> list[Block]:
    """Notes that would stand on every number."""
    if not view.common_notes:
        return []
    return chain(
        paragraph(say("True of every number of this run, and so not marked:")),
        bullets(view.common_notes),
    )


def _group(view: RunView, group: Group, doubted: set[str], drawable: bool) -> list[Block]:
    return chain(
        heading(3, group.title),
        _throughput(view, group),
        _speedup(view, group, doubted),
        view.notes(group.cells.values()),
        trials(group),
        limits(view, group),
        _image(view, group) if drawable else [],
    )


def _image(view: RunView, group: Group) -> list[Block]:
    figure = group_figure(view, group)
    if figure is None:
        return []
    return [Image(figure.file_name, say("{group}: rates over M", group=figure.title))]


def _throughput(view: RunView, group: Group) -> list[Block]:
    heads = [Head("M", right=True), *(Head(s.head, right=True) for s in group.series)]
    rows = [
        (m, *(_rate_text(view, group, group.cells.get((m, s))) for s in group.series))
        for m in group.ms
    ]
    caption = say("Throughput of {group}, tokens per second", group=group.title)
    return chain(paragraph(_unit(group)), grid(caption, heads, rows))


def _unit(group: Group) -> Text:
    if group.metric == "output_tokens_per_second":
        return say("`output_tokens_per_second`, over the pure decode steps:")
    if group.stage is Stage.DECODE:
        return say(
            "`tokens_per_second`, prompt and output together, because not every result here has "
            "the rate of the pure decode steps:"
        )
    return say("`tokens_per_second`, prompt and output together:")


def _rate_text(view: RunView, group: Group, cell: CellView | None) -> Text:
    """`93,340 ±0.4 %, 3 attempts [1]`, or why there is no number."""
    if cell is None:
        return _NOT_PLANNED
    rate = group.rate(cell)
    if rate is None:
        return cell.missing_text
    width = half_width(cell)
    text: Text = format_rate(rate)
    if width is not None:
        text = f"{text} ±{percent(width)}"
    elif not view.imported:
        text = say("{rate} (no interval)", rate=text)
    attempts = len(cell.record.attempts)
    if attempts > len(cell.standing):
        text = say("{rate}, {attempts}", rate=text, attempts=counted(attempts, "attempt"))
    return joined("", [text, *_emulated(cell), view.marks(cell)])


def _emulated(cell: CellView) -> list[Text]:
    return [say(", emulated")] if cell.metrics and cell.metrics.emulated else []


def _speedup(view: RunView, group: Group, doubted: set[str]) -> list[Block]:
    if not group.can_compare or group.reference is None:
        return paragraph(_nothing_to_compare(group))
    others = [series for series in group.series if series != group.reference]
    best = [Head(say("best dense"), right=True)] if len(group.dense) > 1 else []
    heads = [
        Head("M", right=True),
        Head(say("{backend} (reference)", backend=group.reference.name), right=True),
        *best,
        *(Head(series.head, right=True) for series in others),
    ]
    rows = [tuple(_speedup_row(view, group, m, others, doubted)) for m in group.ms]
    caption = say("Speed-up of {group}", group=group.title)
    return chain(
        paragraph(_against(view, group)),
        grid(caption, heads, rows),
        means(group, others, doubted),
    )


def _against(view: RunView, group: Group) -> Text:
    name = Code(group.reference.name if group.reference else "")
    if len(group.dense) == 1:
        return say("Speed-up over {name}, the only dense backend with numbers here:", name=name)
    if view.imported:
        return say(
            "Speed-up over {name} (the reference) / over the best dense backend at that M:",
            name=name,
        )
    return say(
        "Speed-up over {name} (the reference) / over the best dense backend at that M; ± is "
        "the wider one of the two:",
        name=name,
    )


def _speedup_row(
    view: RunView, group: Group, m: int, others: list[Series], doubted: set[str]
) -> Iterator[Text]:
    assert group.reference is not None
    yield m
    yield _plain_rate(view, group, m, group.reference)
    if len(group.dense) > 1:
        yield _best_dense(view, group, m)
    for series in others:
        yield _ratio_text(view, group, m, series, doubted)


def _best_dense(view: RunView, group: Group, m: int) -> Text:
    """`cutlass 93,340`; where another dense backend has no number, the best one is not known."""
    best = group.best_dense(m)
    if best is None:
        return say("none has a number")
    text = say("{backend} {rate}", backend=best.name, rate=_plain_rate(view, group, m, best))
    missing = [series.name for series in group.dense_missing(m)]
    if not missing:
        return text
    return say("{best} (without {missing})", best=text, missing=listed(missing))


def _plain_rate(view: RunView, group: Group, m: int, series: Series) -> Text:
    cell = group.cells.get((m, series))
    rate = group.rate(cell)
    if cell is None or rate is None:
        return cell.missing_text if cell else _NOT_PLANNED
    return joined("", [format_rate(rate), *_emulated(cell), view.marks_in_comparison(cell)])


def _ratio_text(view: RunView, group: Group, m: int, series: Series, doubted: set[str]) -> Text:
    """`?3.06x / 1.42x ±0.6 % [1]`; `best` for the best dense backend against itself."""
    cell = group.cells.get((m, series))
    if cell is None or group.rate(cell) is None:
        return cell.missing_text if cell else _NOT_PLANNED
    if cell.metrics and cell.metrics.emulated:
        return say("emulated: no speed-up")
    against = [group.reference, *([group.best_dense(m)] if len(group.dense) > 1 else [])]
    ratios = [group.ratio(m, series, other) for other in against if other != series]
    if not any(ratios):
        return say("nothing to compare with")
    factors = [
        say("best") if other == series else _factor(group, m, series, other, doubted)
        for other in against
    ]
    text = joined("", [joined(" / ", factors), _widest(view, ratios)])
    if _same_kernel(group, m, series):
        text = joined("", [text, say(", same kernel")])
    return joined("", [text, view.marks_in_comparison(cell)])


def _same_kernel(group: Group, m: int, series: Series) -> bool:
    """Whether a series ran the reference's kernel: no difference of backends can show then."""
    cells = [group.cells.get((m, each)) for each in (series, group.reference) if each]
    kernels = [cell.metrics.kernel for cell in cells if cell and cell.metrics]
    return len(kernels) == 2 and kernels[0] == kernels[1] != ""


def _factor(
    group: Group, m: int, series: Series, against: Series | None, doubted: set[str]
) -> Text:
    """`1.49x`; `~1.01x` when 1 lies within the interval, `?11.74x` when a rate is in doubt."""
    ratio = group.ratio(m, series, against)
    if ratio is None or against is None:
        return say("none")
    width = ratio.half_width
    unsure = width is not None and abs(ratio.value - 1) <= width * ratio.value
    if is_doubted(group, m, (series, against), doubted):
        return f"?{ratio.value:.2f}x"
    return f"{'~' if unsure else ''}{ratio.value:.2f}x"


def _widest(view: RunView, ratios: list[Ratio | None]) -> Text:
    known = [ratio.half_width for ratio in ratios if ratio and ratio.half_width is not None]
    if known:
        return f" ±{percent(max(known))}"
    return "" if view.imported else say(" (no interval)")


def _nothing_to_compare(group: Group) -> Text:
    measured = [s for s in group.series if any(group.rate_of(m, s) for m in group.ms)]
    if not measured:
        return say("Nothing to compare: no cell of this group has a number.")
    names = listed(Code(series.name) for series in measured)
    if group.reference is None:
        return say(
            "Nothing to compare with: {names} ran, but no dense backend has a number here.",
            names=names,
        )
    if len(measured) == 1 and len(group.series) > 1:
        return say(
            "Nothing to compare: {names} is the only backend with numbers here ({others} planned, "
            "none has a number).",
            names=names,
            others=counted(len(group.series) - 1, "other backend"),
        )
    if len(measured) == 1:
        return say(
            "Nothing to compare: {names} is the only backend with numbers here.", names=names
        )
    return say(
        "Nothing to compare: {names} have no M in common with {reference}.",
        names=names,
        reference=Code(group.reference.name),
    )
