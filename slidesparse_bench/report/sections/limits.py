"""Power, clocks, and how near a step comes to what the device can do, below the rates of a group.

A part of the section on throughput; `docs/roofline.md` has the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from slidesparse_bench.report.groups import Group, Series
from slidesparse_bench.report.markdown import (
    blocks,
    bullets,
    code,
    counted,
    details,
    listed,
    m_ranges,
    percent,
    plain,
)
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.report.view import RunView
from slidesparse_bench.roofline import doubt
from slidesparse_bench.telemetry import POWER_CAP
from slidesparse_bench.wire import Metrics

ROWS_SHOWN = 16
"""A longer table is closed until the reader opens it."""
_TELEMETRY = ("power_w_mean", "sm_clock_mhz_mean", "tokens_per_joule")
_WORK = ("achieved_tflops", "achieved_tb_per_second")
_ROOFLINE = ("roofline_fraction", "roofline_bound")


@dataclass(frozen=True)
class _Row:
    m: int
    series: Series
    metrics: Metrics


def how_to_read(view: RunView) -> str:
    """What the columns mean, by which rates, and what is left out in the whole run, and why."""
    numbers = [each.metrics for each in view.cells if each.metrics]
    if not numbers:
        return ""
    reasons = listed(list(_reasons(view, numbers)))
    if _shows_nothing(view):
        return f"Power, clocks and the physical limit are left out: {reasons}."
    left_out = [f"left out is what is not known: {reasons}"] if reasons else []
    meanings = [*_meanings(view, numbers), *left_out]
    return blocks(["Below the rates stands what the device did:", bullets(meanings)])


def _shows_nothing(view: RunView) -> bool:
    """Whether no group has a table: what a CPU achieved needs a limit to be held against."""
    numbers = [each.metrics for each in view.cells if each.metrics]
    if view.is_fake or not _any(numbers, (*_TELEMETRY, *_WORK)):
        return True
    return view.is_cpu and not _any(numbers, (*_TELEMETRY, *_ROOFLINE))


def _reasons(view: RunView, numbers: list[Metrics]) -> Iterator[str]:
    """Why what is missing everywhere is missing."""
    if view.is_fake:
        yield "the fake engine computes nothing"
        return
    if not _any(numbers, _TELEMETRY):
        nvml = view.environment.get("nvml")
        why = f" (NVML: {plain(str(nvml))})" if nvml not in (None, "ok") else ""
        yield "there is no telemetry of a CPU" if view.is_cpu else f"no cell has telemetry{why}"
    if not _any(numbers, _WORK):
        yield "the work of a step is not on record"
    elif not _any(numbers, _ROOFLINE):
        yield (
            "the peak rates of this device are not known (`slidesparse doctor --measure` measures "
            "them)"
        )


def _meanings(view: RunView, numbers: list[Metrics]) -> Iterator[str]:
    if _any(numbers, _TELEMETRY):
        yield "`W` and `SM MHz`: power and SM clock, means over the measured rounds"
        yield (
            "`tokens/J`: prompt and output tokens; its error is about 0.2 s of power per round, so "
            "little is known of a cell that was measured for a second (`s`)"
        )
    if _any(numbers, _WORK):
        yield (
            "`TFLOP/s`: arithmetic of the dense 8-bit linears, whatever a backend skips of it, over "
            "the mean step time"
        )
        yield "`TB/s`: the bytes that a step cannot avoid moving, over the same time"
    if _any(numbers, _ROOFLINE):
        yield (
            "`of the limit`: the least time a step can take, over the time it took; `bound`: what "
            f"sets that least time. Rates of the device: {_rates(view)}"
        )
        if any(each.cell and each.cell.sparsity for each in view.cells):
            yield (
                "a sparse cell is judged by the lower limit of 2:4 tensor cores: it can have the "
                "smaller share and yet be the faster one"
            )


def _rates(view: RunView) -> str:
    """`INT8 1979 TOP/s, ..., memory 4.8 TB/s (NVIDIA H200 data sheet)`."""
    peaks = view.environment.get("peaks")
    if not isinstance(peaks, Mapping):
        return "not on record"
    rates = [f"{name} {peaks[key]:g} {unit}" for key, name, unit in _PEAKS if peaks.get(key)]
    return f"{', '.join(rates)} ({plain(str(peaks.get('source') or 'source not on record'))})"


_PEAKS = (
    ("int8_tops", "INT8", "TOP/s"),
    ("fp8_tflops", "FP8", "TFLOP/s"),
    ("bf16_tflops", "BF16", "TFLOP/s"),
    ("memory_tb_per_second", "memory", "TB/s"),
)


def limits(view: RunView, group: Group) -> str:
    """The table of one group, and what is worth saying of it; "" when nothing is known."""
    rows = [
        _Row(m, series, cell.metrics)
        for m in group.ms
        for series in group.series
        if (cell := group.cells.get((m, series)))
        and cell.metrics
        and _any([cell.metrics], (*_TELEMETRY, *_WORK))
    ]
    if _shows_nothing(view):
        return ""
    if not rows:
        return _missing_here(view, group)
    table = _table(rows)
    if len(rows) > ROWS_SHOWN:
        table = details(f"Power and the physical limit, {counted(len(rows), 'cell')}", table)
    return blocks(
        [
            "Power and the physical limit:",
            " ".join([*_range(rows), *_power_limit(group, rows)]),
            table,
            *_doubts(rows),
            _missing_here(view, group),
        ]
    )


def _any(numbers: list[Metrics], names: tuple[str, ...]) -> bool:
    return any(getattr(metrics, name) is not None for metrics in numbers for name in names)


def _table(rows: list[_Row]) -> str:
    numbers = [row.metrics for row in rows]
    kept = [each for each in _COLUMNS if _any(numbers, each[:1])]
    if _any(numbers, _TELEMETRY):
        kept.insert(0, ("elapsed_time", "s", _three_digits))
    columns = (
        Column("M", right=True),
        Column("backend"),
        *(Column(title, right=True, show=show) for _, title, show in kept),
    )
    body = tuple(
        (row.m, row.series.name, *(getattr(row.metrics, name) for name, _, _ in kept))
        for row in rows
    )
    gaps = "" if all(None not in row for row in body) else _GAPS
    return blocks([as_markdown(Table(columns, body)), gaps])


_GAPS = (
    "An empty field was not measured: its rounds were too short for the samples, or the driver does "
    "not tell (`docs/metrics.md`, Telemetry)."
)


def _whole(value: Value) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


def _three_digits(value: Value) -> str:
    """`793`, `51.5`, `0.0244`: three significant digits, never an exponent for a large number."""
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def _share(value: Value) -> str:
    return percent(float(value)) if isinstance(value, (int, float)) else str(value)


_COLUMNS: tuple[tuple[str, str, Callable[[Value], str]], ...] = (
    ("power_w_mean", "W", _whole),
    ("sm_clock_mhz_mean", "SM MHz", _whole),
    ("tokens_per_joule", "tokens/J", _three_digits),
    ("achieved_tflops", "TFLOP/s", _three_digits),
    ("achieved_tb_per_second", "TB/s", _three_digits),
    ("roofline_fraction", "of the limit", _share),
    ("roofline_bound", "bound", str),
)


def _range(rows: list[_Row]) -> list[str]:
    """Where the smallest and the largest share of the limit are."""
    known = [(row.metrics.roofline_fraction, row) for row in rows]
    shares = [(share, row) for share, row in known if share is not None]
    if len(shares) < 2:
        return []
    low, high = (function(shares, key=lambda pair: pair[0]) for function in (min, max))
    return [f"From {_placed(*low)} to {_placed(*high)} of the limit."]


def _placed(share: float, row: _Row) -> str:
    return f"{percent(share)} ({row.series.name}, M = {row.m})"


def _power_limit(group: Group, rows: list[_Row]) -> list[str]:
    """The power limit is what a full load runs into: a fact of the group, no doubt of a number."""
    capped = [row for row in rows if POWER_CAP in (row.metrics.throttled or [])]
    if not capped:
        return []
    by_m: dict[str, list[str]] = {}
    for series in dict.fromkeys(row.series for row in capped):
        ms = m_ranges([row.m for row in capped if row.series == series], group.ms)
        by_m.setdefault(ms, []).append(series.name)
    places = [f"{listed(names)} at M = {ms}" for ms, names in by_m.items()]
    remark = (
        f"The load reached the power limit (`{POWER_CAP}`), so the driver lowered the clock: "
        f"{'; '.join(places)}."
    )
    return [remark]


def _doubts(rows: list[_Row]) -> Iterator[str]:
    """Steps that are faster than they can be: the words for the worst, the places of all."""
    doubted = [row for row in rows if doubt(row.metrics)]
    if not doubted:
        return
    worst = max(doubted, key=lambda row: row.metrics.roofline_fraction or 0.0)
    others = [f"{row.series.name} at M = {row.m}" for row in doubted if row is not worst]
    also = f" Above the limit as well: {listed(others)}." if others else ""
    where = f"{worst.series.name} at M = {worst.m}"
    yield f"**Faster than the limit**, {where}: {doubt(worst.metrics)}.{also}"


def _missing_here(view: RunView, group: Group) -> str:
    """What this group lacks although the run has it elsewhere, and why."""
    numbers = [cell.metrics for cell in group.cells.values() if cell.metrics]
    everywhere = [each.metrics for each in view.cells if each.metrics]
    if not numbers:
        return ""
    if _any(everywhere, _WORK) and not _any(numbers, _WORK):
        return f"The architecture of {code(group.model)} is not known, so its limit is not either."
    if _any(everywhere, _ROOFLINE) and not _any(numbers, _ROOFLINE):
        return f"No peak rate for {group.quantization.upper()} is known of this device."
    return ""
