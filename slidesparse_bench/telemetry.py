"""What a device did while it was measured: samples, their file, and what they say of a cell."""

from __future__ import annotations

import contextlib
import csv
import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from slidesparse_bench.units import MIB
from slidesparse_bench.wire import Metrics, Round

LOOK_REACH_S = 1.2
"""A look at who else uses a device tells of the second before it; a tick may come late."""
LARGEST_GAP_S = 1.0
"""The energy counter is not interpolated between readings that lie further apart."""
CURABLE = frozenset({"hw_slowdown", "hw_thermal", "hw_power_brake", "sw_thermal"})
"""Throttling that measuring again can cure. `sw_power_cap` is the load's own doing."""
CLOCK_DROP = 0.15
"""How far below the median of its window an SM clock is low."""
LOW_SHARE, LOW_SAMPLES = 0.1, 2
"""At least this share and this number of low samples make a drop."""
POWER_CAP = "sw_power_cap"

SLOW_HOST = 1.15
"""A CPU that takes this many times its best for the same work can move the numbers of small
models, whose steps are mostly Python on the host."""
SAME = 2.0
"""Rounds are as fast as each other if they differ by so many times the precision that is asked of one."""
MOST_UNNOTICED = 0.05
"""However little precision is asked for."""
HOST_BOUND = 0.05
"""Where the host waits for the device in less of the time than this, a faster device would make it
at most so much shorter: the host is what limits, or nearly so."""

_TIME = attrgetter("time")
_MOMENT = itemgetter(0)
"""Of a reading of the energy counter: (seconds since the epoch, joules)."""

COLUMNS = (
    "time", "power_w", "sm_clock_mhz", "temperature_c", "memory_used_mib", "energy_j",
    "throttled", "foreign",
)  # fmt: skip
_NONE = "none"
"""A list that was looked for and is empty; an empty cell was not looked for."""


@dataclass(frozen=True)
class Sample:
    """A device at one moment; None is what it does not tell.

    `time` is in seconds since the epoch; `energy_j` what the device has taken since its driver was
    loaded. `throttled` names the reasons for a lowered clock (`nvml.THROTTLE_REASONS`). `foreign`
    are the processes, each as `name (pid N)`, that are proven not to be ours and to have computed
    since the last look (see `neighbours`); None as well when this was no moment to look.
    """

    time: float
    power_w: float | None = None
    sm_clock_mhz: float | None = None
    temperature_c: float | None = None
    memory_used_bytes: int | None = None
    energy_j: float | None = None
    throttled: list[str] | None = None
    foreign: list[str] | None = None


def row(sample: Sample) -> list[str]:
    """One line of `telemetry.csv`: times and numbers to the thousandth, memory to 0.1 MiB."""
    used = sample.memory_used_bytes
    return [
        datetime.fromtimestamp(sample.time).astimezone().isoformat(timespec="milliseconds"),
        _number(sample.power_w, 3),
        _number(sample.sm_clock_mhz, 0),
        _number(sample.temperature_c, 0),
        _number(None if used is None else used / MIB, 1),
        _number(sample.energy_j, 3),
        _joined(sample.throttled),
        _joined(sample.foreign),
    ]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _joined(names: list[str] | None) -> str:
    return "" if names is None else "|".join(names) or _NONE


def read_samples(path: Path) -> list[Sample]:
    """The samples of a `telemetry.csv`, none where there is no file.

    A line that was torn by a crash or a full disk is passed over.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1].split("\n")
    samples = []
    for cells in csv.DictReader(whole):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            samples.append(_sample(cells))
    return samples


def _sample(cells: dict[str, str]) -> Sample:
    if None in cells.values():
        raise ValueError("too short")
    used_mib = _parsed(cells["memory_used_mib"])
    return Sample(
        time=datetime.fromisoformat(cells["time"]).timestamp(),
        power_w=_parsed(cells["power_w"]),
        sm_clock_mhz=_parsed(cells["sm_clock_mhz"]),
        temperature_c=_parsed(cells["temperature_c"]),
        memory_used_bytes=None if used_mib is None else round(used_mib * MIB),
        energy_j=_parsed(cells["energy_j"]),
        throttled=_split(cells["throttled"]),
        foreign=_split(cells["foreign"]),
    )


def _parsed(cell: str) -> float | None:
    return float(cell) if cell else None


def _split(cell: str) -> list[str] | None:
    if cell == _NONE:
        return []
    return cell.split("|") if cell else None


@dataclass(frozen=True)
class Telemetry:
    """What the samples say of the measured rounds of one cell; None is not known.

    Names and units as in `docs/metrics.md`. `disturbed` holds a clause for everything that makes
    the numbers worth measuring again.
    """

    power_w_mean: float | None
    sm_clock_mhz_mean: float | None
    temperature_c_max: float | None
    throttled: list[str] | None
    energy_j: float | None
    disturbed: list[str]


def summarize(samples: Sequence[Sample], rounds: Sequence[Round]) -> Telemetry | None:
    """The samples within the counted parts of the rounds; None without samples, or when a round has no time of day."""
    if not samples or not rounds or any(each.began <= 0 for each in rounds):
        return None
    spans = [each.span for each in rounds]
    ordered = sorted(samples, key=_TIME)
    inside = _within(ordered, spans)
    looked = _within(ordered, [(began, ended + LOOK_REACH_S) for began, ended in spans])
    temperatures = _known(inside, "temperature_c")
    return Telemetry(
        power_w_mean=_mean(_known(inside, "power_w")),
        sm_clock_mhz_mean=_mean(_known(inside, "sm_clock_mhz")),
        temperature_c_max=max(temperatures, default=None),
        throttled=_names(_known(inside, "throttled")),
        energy_j=_energy_j(ordered, spans),
        disturbed=[*_company(looked), *_throttling(inside), *_clock_drop(inside)],
    )


def applied(metrics: Metrics, telemetry: Telemetry) -> Metrics:
    """The metrics of a cell with its telemetry."""
    energy_j = telemetry.energy_j
    return replace(
        metrics,
        power_w_mean=telemetry.power_w_mean,
        sm_clock_mhz_mean=telemetry.sm_clock_mhz_mean,
        temperature_c_max=telemetry.temperature_c_max,
        throttled=telemetry.throttled,
        energy_j=energy_j,
        tokens_per_joule=metrics.total_num_tokens / energy_j if energy_j else None,
        disturbed=[*metrics.disturbed, *telemetry.disturbed],
    )


def mean_power_w(metrics: Metrics) -> float | None:
    """Mean power in W: energy over time where the counter is known, else the mean of the samples.

    The samples of a second miss it by up to 14 % (`docs/metrics.md`, Telemetry).
    """
    if metrics.energy_j is None or not metrics.elapsed_time:
        return metrics.power_w_mean
    return metrics.energy_j / metrics.elapsed_time


def is_slow(host_slowdown: float | None) -> bool:
    """Whether a host was slow enough to move the numbers of small models."""
    return host_slowdown is not None and host_slowdown > SLOW_HOST


def is_host_bound(host_wait_share: float | None) -> bool:
    """Whether the host hardly ever waited for the device, as far as is known."""
    return host_wait_share is not None and host_wait_share < HOST_BOUND


def slow_host_matters(
    host_slowdown: float | None, host_wait_share: float | None, precision: float
) -> bool:
    """Whether a host at its best might have saved more of the time than two equal rounds differ by.

    While it waits for the device it loses nothing; all else it may have done so many times faster.
    """
    if host_slowdown is None:
        return False
    return (1 - (host_wait_share or 0.0)) * (1 - 1 / host_slowdown) > may_differ(precision)


def may_differ(precision: float) -> float:
    """By what share rounds that are as fast as each other may differ, and a host go unnoticed."""
    return min(SAME * precision, MOST_UNNOTICED)


def _within(ordered: list[Sample], spans: list[tuple[float, float]]) -> list[Sample]:
    """Those in any of the spans, each once, in order."""
    chosen = {
        index
        for began, ended in spans
        for index in range(
            bisect_left(ordered, began, key=_TIME), bisect_right(ordered, ended, key=_TIME)
        )
    }
    return [ordered[index] for index in sorted(chosen)]


def _known(samples: list[Sample], name: str) -> list[Any]:
    values = [getattr(sample, name) for sample in samples]
    return [value for value in values if value is not None]


def _mean(values: list[float]) -> float | None:
    """None for a single value: a moment is no mean."""
    return statistics.fmean(values) if len(values) > 1 else None


def _names(lists: list[list[str]]) -> list[str] | None:
    return sorted({name for names in lists for name in names}) if lists else None


def _energy_j(ordered: list[Sample], spans: list[tuple[float, float]]) -> float | None:
    readings = [(each.time, each.energy_j) for each in ordered if each.energy_j is not None]
    parts = [_taken_j(readings, began, ended) for began, ended in spans]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _taken_j(readings: list[tuple[float, float]], began: float, ended: float) -> float | None:
    """By how much the counter rose; None where that is not known, or it fell (was reset)."""
    at_began, at_ended = _counter(readings, began), _counter(readings, ended)
    if at_began is None or at_ended is None:
        return None
    first = bisect_right(readings, began, key=_MOMENT) - 1
    last = bisect_left(readings, ended, key=_MOMENT)
    counted = [energy_j for _, energy_j in readings[first : last + 1]]
    return at_ended - at_began if counted == sorted(counted) else None


def _counter(readings: list[tuple[float, float]], moment: float) -> float | None:
    """The counter at a moment, on a straight line between the readings around it."""
    after = bisect_left(readings, moment, key=_MOMENT)
    if after == len(readings):
        return None
    later, energy_j = readings[after]
    if later == moment:
        return energy_j
    if after == 0 or later - readings[after - 1][0] > LARGEST_GAP_S:
        return None
    earlier, before_j = readings[after - 1]
    return before_j + (energy_j - before_j) * (moment - earlier) / (later - earlier)


def _company(looked: list[Sample]) -> list[str]:
    return [f"{who} used the GPU as well" for who in _names(_known(looked, "foreign")) or []]


def _throttling(inside: list[Sample]) -> list[str]:
    seen: list[list[str]] = _known(inside, "throttled")
    counts = Counter(reason for reasons in seen for reason in reasons if reason in CURABLE)
    return [
        f"throttled ({reason}) in {count} of {len(seen)} samples"
        for reason, count in sorted(counts.items())
    ]


def _clock_drop(inside: list[Sample]) -> list[str]:
    """Whether the clock left its usual value for long enough to move a mean.

    Low samples under a power cap do not count: the next measurement would be capped as well.
    """
    clocks: list[float] = _known(inside, "sm_clock_mhz")
    if not clocks:
        return []
    median = statistics.median(clocks)
    floor = (1 - CLOCK_DROP) * median
    low = [
        sample
        for sample in inside
        if sample.sm_clock_mhz is not None
        and sample.sm_clock_mhz < floor
        and POWER_CAP not in (sample.throttled or [])
    ]
    if len(low) < max(LOW_SAMPLES, LOW_SHARE * len(clocks)):
        return []
    share = f"{len(low)} of {len(clocks)} samples"
    return [f"SM clock below {floor:.0f} MHz in {share}, with a median of {median:.0f} MHz"]
