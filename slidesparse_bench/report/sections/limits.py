"""Power, clocks, and how near a step comes to what the device can do, below the rates of a group.

A part of the section on throughput; `docs/roofline.md` has the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from slidesparse_bench.known_devices import clock_of_rates
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    bullets,
    chain,
    fold,
    grid,
    paragraph,
)
from slidesparse_bench.report.groups import Group, Series
from slidesparse_bench.report.markdown import m_ranges, percent
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import (
    Code,
    Recorded,
    Text,
    counted,
    joined,
    listed,
    say,
    sentences,
)
from slidesparse_bench.roofline import doubt
from slidesparse_bench.telemetry import POWER_CAP, mean_power_w
from slidesparse_bench.wire import Metrics

ROWS_SHOWN = 16
"""A longer table is closed until the reader opens it."""
_TELEMETRY = ("power_w_mean", "sm_clock_mhz_mean", "energy_j", "tokens_per_joule")
_WORK = ("achieved_tflops", "achieved_tb_per_second")
_ROOFLINE = ("roofline_fraction", "roofline_bound")


@dataclass(frozen=True)
class _Row:
    m: int
    series: Series
    metrics: Metrics


def how_to_read(view: RunView) -> list[Block]:
    """What the columns mean, by which rates, and what is left out in the whole run, and why."""
    numbers = [each.metrics for each in view.cells if each.metrics]
    if not numbers:
        return []
    reasons = list(_reasons(view, numbers))
    why = _both(reasons)
    if _shows_nothing(view):
        return paragraph(
            say("Power, clocks and the physical limit are left out: {reasons}.", reasons=why)
        )
    left_out = [say("left out is what is not known: {reasons}", reasons=why)] if reasons else []
    meanings = [*_meanings(view, numbers), *left_out]
    return chain(paragraph(say("Below the rates stands what the device did:")), bullets(meanings))


def _both(reasons: list[Text]) -> Text:
    """There are two at most."""
    if len(reasons) < 2:
        return reasons[0] if reasons else ""
    first, second = reasons
    return say("{first} and {second}", first=first, second=second)


def _shows_nothing(view: RunView) -> bool:
    """Whether no group has a table: what a CPU achieved needs a limit to be held against."""
    numbers = [each.metrics for each in view.cells if each.metrics]
    if view.is_fake or not _any(numbers, (*_TELEMETRY, *_WORK)):
        return True
    return view.is_cpu and not _any(numbers, (*_TELEMETRY, *_ROOFLINE))


def _reasons(view: RunView, numbers: list[Metrics]) -> Iterator[Text]:
    """Why what is missing everywhere is missing."""
    if view.is_fake:
        yield say("the fake engine computes nothing")
        return
    if not _any(numbers, _TELEMETRY):
        yield _no_telemetry(view)
    if not _any(numbers, _WORK):
        yield say("the work of a step is not on record")
    elif not _any(numbers, _ROOFLINE):
        yield say(
            "the peak rates of this device are not known (`slidesparse doctor --measure` measures "
            "them)"
        )


def _no_telemetry(view: RunView) -> Text:
    if view.is_cpu:
        return say("there is no telemetry of a CPU")
    nvml = view.environment.get("nvml")
    if nvml in (None, "ok"):
        return say("no cell has telemetry")
    return say("no cell has telemetry (NVML: {why})", why=Recorded(str(nvml)))


def _meanings(view: RunView, numbers: list[Metrics]) -> Iterator[Text]:
    if _any(numbers, _TELEMETRY):
        yield from _telemetry_meanings(numbers)
    if _any(numbers, _WORK):
        yield say(
            "`TFLOP/s`: arithmetic of the dense 8-bit linears, whatever a backend skips of it, over "
            "the mean step time"
        )
        yield say("`TB/s`: the bytes that a step cannot avoid moving, over the same time")
    if _any(numbers, _ROOFLINE):
        limit = say(
            "`of the limit`: the least time a step can take, over the time it took; `bound`: what "
            "sets that least time. Rates of the device: {rates}",
            rates=_rates(view),
        )
        yield joined("; ", [limit, *_clock_of_rates(view)])
        if any(each.cell and each.cell.sparsity for each in view.cells):
            yield say(
                "a sparse cell is judged by the lower limit of 2:4 tensor cores: it can have the "
                "smaller share and yet be the faster one"
            )


def _telemetry_meanings(numbers: list[Metrics]) -> Iterator[Text]:
    """By what `W` is known: the counter of energy, the samples, or one here and the other there."""
    by_samples = [
        each for each in numbers if each.energy_j is None and each.power_w_mean is not None
    ]
    if _any(numbers, ("energy_j",)):
        yield say(
            "`W`: energy by the driver's counter over time (`s`), `tokens/J`: prompt and output "
            "tokens over that energy. The energy is known to 0.2 s of power per round at worst, "
            "which is 20 % of a round of one second and 2 % of one of ten"
        )
        if by_samples:
            yield say("`W` without `tokens/J`: mean of the power samples; no energy is known there")
    elif by_samples:
        yield say(
            "`W`: mean of the power samples, which swing: in a cell that was measured for a second "
            "(`s`) it can be off by more than 10 %"
        )
    if _any(numbers, ("sm_clock_mhz_mean",)):
        yield say("`SM MHz`: mean of the samples of the SM clock")


def _clock_of_rates(view: RunView) -> Iterator[Text]:
    """The clock belongs to the vendor's rates; what was measured here had a clock of its own."""
    peaks = view.environment.get("peaks")
    clock_mhz = clock_of_rates(peaks) if isinstance(peaks, Mapping) else None
    if clock_mhz is not None:
        yield say(
            "arithmetic at an SM clock of {clock} MHz, with which the tensor cores' rates scale: where "
            "`compute` binds, the least time at the clock of a cell (`SM MHz`) is shorter above that "
            "clock and longer below it",
            clock=clock_mhz,
        )


def _rates(view: RunView) -> Text:
    """`INT8 1979 TOP/s, ..., memory 4.8 TB/s (NVIDIA H200 data sheet)`."""
    peaks = view.environment.get("peaks")
    if not isinstance(peaks, Mapping):
        return say("not on record")
    rates: list[Text] = [
        say("{kind} {rate} {unit}", kind=name, rate=f"{peaks[key]:g}", unit=unit)
        for key, name, unit in _PEAKS
        if peaks.get(key)
    ]
    source: Text = str(peaks.get("source") or "") or say("source not on record")
    return say("{rates} ({source})", rates=joined(", ", rates), source=source)


_PEAKS: tuple[tuple[str, Text, str], ...] = (
    ("int8_tops", "INT8", "TOP/s"),
    ("fp8_tflops", "FP8", "TFLOP/s"),
    ("bf16_tflops", "BF16", "TFLOP/s"),
    ("memory_tb_per_second", say("memory"), "TB/s"),
)


def limits(view: RunView, group: Group) -> list[Block]:
    """The table of one group, and what is worth saying of it; [] when nothing is known."""
    rows = [
        _Row(m, series, cell.metrics)
        for m in group.ms
        for series in group.series
        if (cell := group.cells.get((m, series)))
        and cell.metrics
        and _any([cell.metrics], (*_TELEMETRY, *_WORK))
    ]
    if _shows_nothing(view):
        return []
    if not rows:
        return _missing_here(view, group)
    table = _table(group, rows)
    if len(rows) > ROWS_SHOWN:
        summary = say("Power and the physical limit, {cells}", cells=counted(len(rows), "cell"))
        table = fold(summary, table)
    return chain(
        paragraph(say("Power and the physical limit:")),
        paragraph(sentences([*_range(rows), *_power_limit(group, rows)])),
        table,
        *(paragraph(text) for text in _doubts(rows)),
        _missing_here(view, group),
    )


def _any(numbers: list[Metrics], names: tuple[str, ...]) -> bool:
    return any(getattr(metrics, name) is not None for metrics in numbers for name in names)


def _table(group: Group, rows: list[_Row]) -> list[Block]:
    numbers = [row.metrics for row in rows]
    kept = [each for each in _COLUMNS if any(each.value(row.metrics) is not None for row in rows)]
    if _any(numbers, _TELEMETRY):
        kept.insert(0, _Column(attrgetter("elapsed_time"), "s", _three_digits))
    heads = [
        Head("M", right=True),
        Head(say("backend")),
        *(Head(each.title, right=True) for each in kept),
    ]
    body = [(row.m, row.series.name, *(each.shown(row.metrics) for each in kept)) for row in rows]
    gaps = [] if all(None not in row for row in body) else paragraph(_GAPS)
    caption = say("Power and limit of {group}", group=group.title)
    return chain(grid(caption, heads, body), gaps)


_GAPS = say(
    "An empty field was not measured: its rounds were too short for the samples, or the driver does "
    "not tell (`docs/metrics.md`, Telemetry)."
)


def _whole(value: float | str) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else value


def _three_digits(value: float | str) -> str:
    """`793`, `51.5`, `0.0244`: three significant digits, never an exponent for a large number."""
    if not isinstance(value, (int, float)):
        return value
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def _share(value: float | str) -> str:
    return percent(value) if isinstance(value, (int, float)) else value


_BOUNDS = {"compute": say("compute"), "memory": say("memory")}


def _bound(value: float | str) -> Text:
    return _BOUNDS.get(str(value), str(value))


@dataclass(frozen=True)
class _Column:
    """`value` of a cell's metrics, as `show` writes it."""

    value: Callable[[Metrics], float | str | None]
    title: Text
    show: Callable[[float | str], Text]

    def shown(self, metrics: Metrics) -> Text | None:
        value = self.value(metrics)
        return None if value is None else self.show(value)


_COLUMNS = (
    _Column(mean_power_w, "W", _whole),
    _Column(attrgetter("sm_clock_mhz_mean"), "SM MHz", _whole),
    _Column(attrgetter("tokens_per_joule"), "tokens/J", _three_digits),
    _Column(attrgetter("achieved_tflops"), "TFLOP/s", _three_digits),
    _Column(attrgetter("achieved_tb_per_second"), "TB/s", _three_digits),
    _Column(attrgetter("roofline_fraction"), say("of the limit"), _share),
    _Column(attrgetter("roofline_bound"), say("bound"), _bound),
)


def _range(rows: list[_Row]) -> list[Text]:
    """Where the smallest and the largest share of the limit are."""
    known = [(row.metrics.roofline_fraction, row) for row in rows]
    shares = [(share, row) for share, row in known if share is not None]
    if len(shares) < 2:
        return []
    low, high = (function(shares, key=lambda pair: pair[0]) for function in (min, max))
    return [say("From {least} to {most} of the limit.", least=_placed(*low), most=_placed(*high))]


def _placed(share: float, row: _Row) -> Text:
    return say(
        "{share} ({backend}, M = {m})", share=percent(share), backend=row.series.name, m=row.m
    )


def _power_limit(group: Group, rows: list[_Row]) -> list[Text]:
    """The power limit is what a full load runs into: a fact of the group, no doubt of a number."""
    capped = [row for row in rows if POWER_CAP in (row.metrics.throttled or [])]
    if not capped:
        return []
    by_m: dict[str, list[str]] = {}
    for series in dict.fromkeys(row.series for row in capped):
        ms = m_ranges([row.m for row in capped if row.series == series], group.ms)
        by_m.setdefault(ms, []).append(series.name)
    places: list[Text] = [
        say("{backends} at M = {ms}", backends=listed(names), ms=ms) for ms, names in by_m.items()
    ]
    return [
        say(
            "The load reached the power limit (`{reason}`), so the driver lowered the clock: "
            "{places}.",
            reason=POWER_CAP,
            places=joined("; ", places),
        )
    ]


def _doubts(rows: list[_Row]) -> Iterator[Text]:
    """Steps that are faster than they can be: the words for the worst, the places of all."""
    doubted = [row for row in rows if doubt(row.metrics)]
    if not doubted:
        return
    worst = max(doubted, key=lambda row: row.metrics.roofline_fraction or 0.0)
    yield say(
        "**Faster than the limit**, {place}: {why}.",
        place=_at(worst),
        why=Recorded(doubt(worst.metrics), is_ours=True),
    )
    others = [_at(row) for row in doubted if row is not worst]
    if others:
        yield say("Above the limit as well: {places}.", places=listed(others))


def _at(row: _Row) -> Text:
    return say("{backends} at M = {ms}", backends=row.series.name, ms=row.m)


def _missing_here(view: RunView, group: Group) -> list[Block]:
    """What this group lacks although the run has it elsewhere, and why."""
    numbers = [cell.metrics for cell in group.cells.values() if cell.metrics]
    everywhere = [each.metrics for each in view.cells if each.metrics]
    if not numbers:
        return []
    if _any(everywhere, _WORK) and not _any(numbers, _WORK):
        return paragraph(
            say(
                "The architecture of {model} is not known, so its limit is not either.",
                model=Code(group.model),
            )
        )
    if _any(everywhere, _ROOFLINE) and not _any(numbers, _ROOFLINE):
        return paragraph(
            say(
                "No peak rate for {quantization} is known of this device.",
                quantization=group.quantization.upper(),
            )
        )
    return []
