"""Which backend is the fastest at each M, over all quantizations, and how far it is ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from slidesparse_bench.cell import Stage
from slidesparse_bench.records import CellState
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    chain,
    fold,
    grid,
    heading,
    left,
    paragraph,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.doubts import doubted_ids
from slidesparse_bench.report.groups import (
    Group,
    Series,
    groups_of,
    half_width,
    half_width_of_quotient,
    rate_by,
)
from slidesparse_bench.report.markdown import percent
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

_ROWS_SHOWN = 40
_NAMES_SHOWN = 2


@dataclass(frozen=True)
class Entry:
    """A cell that takes part, with its tokens per second."""

    view: CellView
    rate: float

    @property
    def name(self) -> str:
        return _name(self.view)


@dataclass(frozen=True)
class Place:
    """One model, stage and M: `ranked` from the fastest on, at least two.

    `doubted` and `missing` are cells that might be faster: in doubt, or without a number.
    """

    model: str
    stage: Stage
    m: int
    ranked: tuple[Entry, ...]
    doubted: tuple[CellView, ...]
    missing: tuple[CellView, ...]

    @property
    def lead(self) -> float:
        """Of the first over the second, as a share of the second."""
        return self.ranked[0].rate / self.ranked[1].rate - 1

    @property
    def lead_half_width(self) -> float | None:
        """Half of the interval of the quotient, None when a side has none."""
        width = half_width_of_quotient(self.ranked[0].view, self.ranked[1].view)
        return None if width is None else width * (1 + self.lead)

    @property
    def is_sure(self) -> bool:
        """Whether the interval of the quotient excludes 1; a side without one claims nothing."""
        return self.lead_half_width is None or self.lead > self.lead_half_width


def section(view: RunView) -> list[Block]:
    places = places_of(view)
    if not places:
        return []
    title = say("The fastest backend")
    shown = [each.view for place in places for each in place.ranked[:2]]
    table = chain(_table(view, places), view.notes(shown))
    return chain(
        heading(2, title),
        paragraph(_how_to_read(view, places)),
        paragraph(_tally(places)),
        fold(title, table) if len(places) > _ROWS_SHOWN else table,
    )


def places_of(view: RunView) -> list[Place]:
    """Where two cells or more can be ranked; none of a run whose speeds say nothing of backends."""
    if view.is_fake or view.imported or any(e.metrics and e.metrics.emulated for e in view.cells):
        return []
    together: dict[tuple[str, Stage], list[Group]] = {}
    for group in groups_of(view):
        together.setdefault((group.model, group.stage), []).append(group)
    doubted = doubted_ids(view)
    return [place for groups in together.values() for place in _places(groups, doubted)]


def _places(groups: list[Group], doubted: set[str]) -> Iterator[Place]:
    """Of one model and stage, all rates by the same metric."""
    metric = _metric(groups)
    for m in sorted({m for group in groups for m in group.ms}):
        cells = [cell for group in groups for (at, _), cell in group.cells.items() if at == m]
        rates = {cell.id: rate for cell in cells if (rate := rate_by(metric, cell))}
        ranked = [c for c in cells if c.id in rates and c.id not in doubted]
        if len(ranked) < 2:
            continue
        entries = [Entry(cell, rates[cell.id]) for cell in ranked]
        yield Place(
            groups[0].model,
            groups[0].stage,
            m,
            tuple(sorted(entries, key=lambda entry: -entry.rate)),
            tuple(c for c in cells if c.id in rates and c.id in doubted),
            tuple(c for c in cells if c.id not in rates and c.state is not CellState.SKIPPED),
        )


def _metric(groups: Iterable[Group]) -> str:
    metrics = {g.metric for g in groups if any(cell.metrics for cell in g.cells.values())}
    return metrics.pop() if len(metrics) == 1 else "tokens_per_second"


def _name(view: CellView) -> str:
    """`cusparselt 2:4 INT8`."""
    cell = view.cell
    return f"{Series.of(cell).name} {cell.quantization.upper()}" if cell else view.id


def _how_to_read(view: RunView, places: list[Place]) -> Text:
    texts: list[Text] = [
        say(
            "The highest rate of each M over all backends and quantizations, and its lead over the "
            "second highest; `~` marks a lead within its interval: no difference was found."
        )
    ]
    if any(place.doubted or place.missing for place in places):
        texts.append(
            say(
                "Not ranked, although it might be faster: what Anomalies doubts (`?`), and what has "
                "no number."
            )
        )
    if view.run.trials == 1:
        texts.append(say("With one trial, a lead of a few percent is no finding (see Methods)."))
    return sentences(texts)


def _tally(places: list[Place]) -> Text:
    """How often each is the fastest; nothing to count in a single row."""
    if len(places) < 2:
        return ""
    first = Counter(place.ranked[0].name for place in places)
    texts: list[Text] = [
        say(
            "Of {n} rows the fastest is {names}.",
            n=len(places),
            names=joined(
                ", ",
                [say("{name} in {n}", name=Code(name), n=n) for name, n in first.most_common()],
            ),
        )
    ]
    if unsure := sum(not place.is_sure for place in places):
        texts.append(say("In {n} the lead is within its interval.", n=unsure))
    return sentences(texts)


def _table(view: RunView, places: list[Place]) -> list[Block]:
    has_more = any(place.doubted or place.missing for place in places)
    heads = [
        *left(say("model"), say("stage")),
        *right("M"),
        *left(say("fastest")),
        *right(say("tokens/s")),
        *left(say("second")),
        *right(say("lead")),
        *([Head(say("not ranked"))] if has_more else []),
    ]
    rows = [
        (
            place.model,
            place.stage.value,
            place.m,
            place.ranked[0].name,
            _rate_text(view, place.ranked[0]),
            f"{place.ranked[1].name}{view.marks(place.ranked[1].view)}",
            _lead(place),
            *([_not_ranked(place)] if has_more else []),
        )
        for place in places
    ]
    return grid(say("The fastest backend at each M"), heads, rows)


def _rate_text(view: RunView, entry: Entry) -> Text:
    width = half_width(entry.view)
    interval = "" if width is None else f" ±{percent(width)}"
    return f"{format_rate(entry.rate)}{interval}{view.marks(entry.view)}"


def _lead(place: Place) -> Text:
    text: Text = f"{'' if place.is_sure else '~'}{percent(place.lead)}"
    if place.lead_half_width is None:
        text = joined("", [text, say(" (no interval)")])
    return joined("", [text, say(", same kernel")]) if _same_kernel(place) else text


def _same_kernel(place: Place) -> bool:
    """Whether both ran one kernel on equal weights: then two processes differ, not two backends."""
    kernels = set()
    for entry in place.ranked[:2]:
        cell, metrics = entry.view.cell, entry.view.metrics
        assert cell is not None
        assert metrics is not None
        kernels.add((metrics.kernel, cell.quantization, cell.sparsity))
    return len(kernels) == 1 and "" not in {kernel for kernel, _, _ in kernels}


def _not_ranked(place: Place) -> Text:
    """`?cublaslt INT8, cutlass FP8`; of many only the number."""
    names: list[Text] = [f"?{_name(each)}" for each in place.doubted]
    names += [_name(each) for each in place.missing]
    if len(names) <= _NAMES_SHOWN:
        return joined(", ", names)
    parts: list[Text] = []
    if place.doubted:
        parts.append(say("{cells} in doubt (`?`)", cells=counted(len(place.doubted), "cell")))
    if place.missing:
        parts.append(say("{cells} without a number", cells=counted(len(place.missing), "cell")))
    return listed(parts)
