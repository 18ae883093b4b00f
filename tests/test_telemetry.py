"""Samples of a device: how they are taken and kept, and what they say of the measured rounds."""

from __future__ import annotations

import bisect
import random
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from builders import build_metrics
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench import sampler
from slidesparse_bench.device import FakeDevice
from slidesparse_bench.sampler import RATE_HZ, Sampler, next_tick
from slidesparse_bench.telemetry import (
    COLUMNS,
    LARGEST_GAP_S,
    Sample,
    Telemetry,
    applied,
    mean_power_w,
    read_samples,
    row,
    summarize,
)
from slidesparse_bench.units import MIB
from slidesparse_bench.wire import Round, Step

NOON = 1_790_000_000.0
FULL = Sample(
    time=NOON + 0.25,
    power_w=512.125,
    sm_clock_mhz=1755,
    temperature_c=61,
    memory_used_bytes=80_000 * MIB,
    energy_j=7_000_250.5,
    throttled=["sw_power_cap", "hw_thermal"],
    foreign=["python3, the other (pid 77)"],
)


def build_round(began: float, elapsed_s: float) -> Round:
    return Round(
        iterations=1, elapsed_s=elapsed_s, num_requests=1, prompt_tokens=1, output_tokens=1,
        steps=[Step(1, 1, 1e3 * elapsed_s)], began=began,
    )  # fmt: skip


def build_samples(count: int = 11, **values: Any) -> list[Sample]:
    """Samples from NOON on, ten a second; a list of `count` values gives each its own."""
    series = {name: each for name, each in values.items() if len(each) == count}
    assert series.keys() == values.keys()
    return [
        Sample(NOON + n / 10, **{name: each[n] for name, each in series.items()})
        for n in range(count)
    ]


def told(samples: list[Sample], *rounds: Round) -> Telemetry:
    """The summary of these rounds, by default of one over all samples."""
    elapsed_s = samples[-1].time - samples[0].time
    telemetry = summarize(samples, rounds or [build_round(samples[0].time, elapsed_s)])
    assert telemetry is not None
    return telemetry


# Sampling


class ScriptedDevice:
    """Gives samples from a list and then nothing more; `over` is set when it has given all."""

    label = "GPU 0"

    def __init__(self, *script: Sample | None, on_sample: Callable[[], object] = int) -> None:
        self._script = list(script)
        self._on_sample = on_sample
        self.over = threading.Event()
        self.tokens: set[str | None] = set()

    def sample(self, token: str | None) -> Sample | None:
        self.tokens.add(token)
        self._on_sample()
        if self._script:
            return self._script.pop(0)
        self.over.set()
        return None


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "RATE_HZ", 1000)


fast = pytest.mark.usefixtures("_fast")


def sampled(device: Any, path: Path) -> list[Sample]:
    watching = Sampler(device, path, "run/cell/1")
    watching.start()
    assert device.over.wait(10)
    return watching.stop()


@fast
def test_samples_are_returned_and_written(tmp_path: Path) -> None:
    script = build_samples(3, power_w=[100.0, 200.0, 300.0])
    device = ScriptedDevice(*script)
    assert sampled(device, tmp_path / "telemetry.csv") == script
    assert read_samples(tmp_path / "telemetry.csv") == script
    assert device.tokens == {"run/cell/1"}


@fast
def test_each_sample_is_in_the_file_before_the_next_is_taken(tmp_path: Path) -> None:
    path, seen = tmp_path / "telemetry.csv", []
    script = build_samples(3)
    sampled(ScriptedDevice(*script, on_sample=lambda: seen.append(read_samples(path))), path)
    assert seen[:4] == [[], script[:1], script[:2], script]


def test_device_that_tells_nothing_gets_no_file(tmp_path: Path) -> None:
    watching = Sampler(FakeDevice(), tmp_path / "telemetry.csv", "run/cell/1")
    watching.start()
    assert watching.stop() == []
    assert list(tmp_path.iterdir()) == []


@fast
def test_device_that_is_silent_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    first, second = build_samples(2)
    device = ScriptedDevice(first, None, second)
    assert sampled(device, tmp_path / "telemetry.csv") == [first, second]


@fast
@pytest.mark.parametrize("path", ["/dev/full", "missing/telemetry.csv"])
def test_file_that_cannot_be_written_costs_no_samples(tmp_path: Path, path: str) -> None:
    script = build_samples(3)
    assert sampled(ScriptedDevice(*script), tmp_path / path) == script


def test_sampler_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    watching = Sampler(ScriptedDevice(FULL), tmp_path / "telemetry.csv", "run/cell/1")
    assert watching.stop() == []


def test_last_sample_is_taken_at_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "RATE_HZ", 0.001)
    script = build_samples(11)
    watching = Sampler(ScriptedDevice(*script), tmp_path / "telemetry.csv", "run/cell/1")
    watching.start()
    assert watching.stop() == script[:2] == read_samples(tmp_path / "telemetry.csv")


def test_samples_stay_after_a_second_stop(tmp_path: Path) -> None:
    device = ScriptedDevice(FULL)
    watching = Sampler(device, tmp_path / "telemetry.csv", "run/cell/1")
    watching.start()
    device.over.wait(10)
    assert watching.stop() == watching.stop() == [FULL]


@given(st.floats(0, 1e6))
def test_next_tick_is_the_first_multiple_of_the_period_that_is_left(elapsed_s: float) -> None:
    due_s = next_tick(elapsed_s)
    assert elapsed_s < due_s <= elapsed_s + 1 / RATE_HZ + 1e-9
    assert due_s == round(due_s * RATE_HZ) / RATE_HZ


def test_late_tick_neither_shifts_the_next_nor_is_made_up_for() -> None:
    assert [next_tick(late) for late in (0.0, 0.1, 0.19, 0.73)] == [0.1, 0.2, 0.2, 0.8]


# The file


def test_line_has_a_time_with_zone_and_names_joined(tmp_path: Path) -> None:
    cells = dict(zip(COLUMNS, row(FULL), strict=True))
    assert cells.pop("time")[19:24] in (".250+", ".250-")
    assert cells == {
        "power_w": "512.125",
        "sm_clock_mhz": "1755",
        "temperature_c": "61",
        "memory_used_mib": "80000.0",
        "energy_j": "7000250.500",
        "throttled": "sw_power_cap|hw_thermal",
        "foreign": "python3, the other (pid 77)",
    }


def test_nothing_seen_and_nobody_looked_are_told_apart() -> None:
    assert row(Sample(NOON, throttled=[], foreign=None))[-2:] == ["none", ""]


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="|"))
processes = st.builds("{} (pid {})".format, names, st.integers(1, 2**22))
thousandths = st.integers(0, 10**12).map(lambda number: number / 1000)
samples_of_any_kind = st.builds(
    Sample,
    time=st.integers(10**12, 2 * 10**12).map(lambda number: number / 1000),
    power_w=optional(thousandths),
    sm_clock_mhz=optional(st.integers(0, 5000).map(float)),
    temperature_c=optional(st.integers(0, 120).map(float)),
    memory_used_bytes=optional(st.integers(0, 10**6).map(lambda number: number * MIB)),
    energy_j=optional(thousandths),
    throttled=optional(st.lists(st.sampled_from(["hw_thermal", "sw_power_cap"]))),
    foreign=optional(st.lists(processes)),
)


@given(st.lists(samples_of_any_kind))
def test_what_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, script: list[Sample]
) -> None:
    path = tmp_path_factory.mktemp("telemetry") / "telemetry.csv"
    lines = sampler._Lines(path)
    for cells in (COLUMNS, *map(row, script)):
        lines.write(cells)
    lines.close()
    found = read_samples(path)
    assert [replace(each, time=0.0) for each in found] == [
        replace(each, time=0.0) for each in script
    ]
    # Cut, not rounded, to the millisecond.
    assert [each.time for each in found] == pytest.approx([each.time for each in script], abs=2e-3)


def build_file(folder: Path, *lines: str) -> Path:
    path = folder / "telemetry.csv"
    text = "".join(f"{line}\n" for line in (",".join(COLUMNS), *lines))
    path.write_text(text)
    return path


LINE = ",".join(f'"{cell}"' for cell in row(FULL))


def test_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = build_file(tmp_path, LINE, LINE)
    for missing in range(1, len(LINE) + 1):
        path.write_bytes(path.read_bytes()[:-1])
        assert read_samples(path) == [FULL], f"{missing} bytes missing"


@pytest.mark.parametrize("line", ["", "rubbish", LINE[:40], ",,,,,,,", "\0\0\0", LINE + ",more"])
def test_damaged_line_costs_no_other(tmp_path: Path, line: str) -> None:
    assert read_samples(build_file(tmp_path, LINE, line, LINE))[:1] == [FULL]
    assert read_samples(build_file(tmp_path, LINE, line, LINE))[-1:] == [FULL]


def test_no_file_is_no_samples(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "telemetry.csv") == []


# Energy


@st.composite
def counters(draw: st.DrawFn) -> tuple[list[Sample], Callable[[float], float]]:
    """A counter that rises on straight lines from sample to sample, and the same as a function."""
    steps = st.tuples(st.floats(0.01, LARGEST_GAP_S - 0.01), st.floats(0, 900))
    times, energies = [NOON], [draw(st.floats(0, 1e6))]
    for step_s, power_w in draw(st.lists(steps, min_size=1, max_size=40)):
        times.append(times[-1] + step_s)
        energies.append(energies[-1] + power_w * (times[-1] - times[-2]))

    def counter(moment: float) -> float:
        after = min(bisect.bisect_left(times, moment) or 1, len(times) - 1)
        share = (moment - times[after - 1]) / (times[after] - times[after - 1])
        return energies[after - 1] + share * (energies[after] - energies[after - 1])

    return [Sample(t, energy_j=e) for t, e in zip(times, energies, strict=True)], counter


@given(counters(), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1), st.randoms())
def test_energy_is_what_the_counter_rose_by_within_the_rounds(
    given_counter: tuple[list[Sample], Callable[[float], float]],
    shares: list[tuple[float, float]],
    chance: random.Random,
) -> None:
    samples, counter = given_counter
    length_s = samples[-1].time - samples[0].time
    spans = [sorted((NOON + a * length_s, NOON + b * length_s)) for a, b in shares]
    # A round is kept as its beginning and length; their sum may be a bit beyond the last sample.
    rounds = [build_round(a, max(0.0, b - a - 1e-6)) for a, b in spans]
    expected = sum(counter(each.began + each.elapsed_s) - counter(each.began) for each in rounds)
    chance.shuffle(samples)
    chance.shuffle(rounds)
    telemetry = summarize(samples, rounds)
    assert telemetry is not None
    assert telemetry.energy_j == pytest.approx(expected, abs=1e-3)


def test_energy_of_the_pause_between_rounds_is_not_counted() -> None:
    counter = [0.0, 50.0, 50.0, 50.0, 80.0]
    rounds = [build_round(NOON, 0.1), build_round(NOON + 0.3, 0.1)]
    assert told(build_samples(5, energy_j=counter), *rounds).energy_j == pytest.approx(
        80.0, abs=1e-3
    )


@pytest.mark.parametrize(("began_s", "elapsed_s"), [(-0.1, 0.5), (0.5, 0.6), (5.0, 1.0)])
def test_energy_of_a_round_beyond_the_samples_is_not_known(
    began_s: float, elapsed_s: float
) -> None:
    samples = build_samples(11, energy_j=[10.0 * n for n in range(11)])
    inside, beyond = build_round(NOON + 0.2, 0.1), build_round(NOON + began_s, elapsed_s)
    assert told(samples, inside).energy_j == pytest.approx(10.0, abs=1e-3)
    assert told(samples, inside, beyond).energy_j is None


def test_counter_that_fell_within_a_round_was_reset() -> None:
    samples = build_samples(5, energy_j=[100.0, 110.0, 3.0, 13.0, 23.0])
    assert told(samples, build_round(NOON + 0.05, 0.3)).energy_j is None
    assert told(samples, build_round(NOON + 0.2, 0.2)).energy_j == pytest.approx(20.0, abs=1e-3)


def test_gap_in_the_samples_spoils_an_end_of_a_round_but_not_its_middle() -> None:
    samples = [Sample(NOON + at, energy_j=100.0 * at) for at in (0.0, 0.1, 5.0, 5.1)]
    assert told(samples, build_round(NOON, 5.05)).energy_j == pytest.approx(505.0, abs=1e-3)
    assert told(samples, build_round(NOON, 2.5)).energy_j is None
    assert told(samples, build_round(NOON + 0.1, 4.9)).energy_j == pytest.approx(490.0, abs=1e-3)


def test_samples_without_the_counter_are_looked_past() -> None:
    samples = build_samples(3, energy_j=[0.0, None, 80.0])
    assert told(samples, build_round(NOON + 0.05, 0.1)).energy_j == pytest.approx(40.0, abs=1e-3)


def test_device_without_a_counter_has_no_energy() -> None:
    assert told(build_samples(11, power_w=[500.0] * 11)).energy_j is None


# Means and throttling


def test_only_the_measured_rounds_count() -> None:
    samples = build_samples(
        6,
        power_w=[90.0, 500.0, 510.0, 90.0, 520.0, 90.0],
        sm_clock_mhz=[300, 1700, 1710, 300, 1720, 300],
        temperature_c=[80, 60, 61, 80, 62, 80],
        throttled=[["hw_thermal"], [], ["sw_power_cap"], ["hw_thermal"], [], ["hw_thermal"]],
    )
    assert told(
        samples, build_round(NOON + 0.09, 0.12), build_round(NOON + 0.39, 0.05)
    ) == Telemetry(
        power_w_mean=510.0,
        sm_clock_mhz_mean=1710.0,
        temperature_c_max=62,
        throttled=["sw_power_cap"],
        energy_j=None,
        disturbed=[],
    )


def test_one_sample_is_no_mean() -> None:
    samples = build_samples(
        3, power_w=[500.0] * 3, temperature_c=[60, 61, 62], sm_clock_mhz=[1700] * 3
    )
    telemetry = told(samples, build_round(NOON + 0.05, 0.1))
    assert (telemetry.power_w_mean, telemetry.sm_clock_mhz_mean) == (None, None)
    assert telemetry.temperature_c_max == 61


def test_round_between_two_samples_tells_nothing_of_throttling() -> None:
    assert told(build_samples(3, throttled=[[]] * 3), build_round(NOON + 0.11, 0.05)) == Telemetry(
        None, None, None, None, None, []
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([None, None], None),
        ([None, []], []),
        ([["sync_boost"], ["hw_thermal", "sync_boost"]], ["hw_thermal", "sync_boost"]),
    ],
)
def test_throttling_not_seen_is_not_throttling_not_looked_for(
    seen: list[list[str] | None], expected: list[str] | None
) -> None:
    assert told(build_samples(2, throttled=seen)).throttled == expected


def test_nothing_is_said_without_samples_or_times() -> None:
    samples = build_samples()
    assert summarize([], [build_round(NOON, 1.0)]) is None
    assert summarize(samples, []) is None
    assert summarize(samples, [build_round(NOON, 1.0), build_round(0.0, 1.0)]) is None


@given(st.lists(samples_of_any_kind, min_size=1, unique_by=lambda each: each.time), st.data())
def test_summary_of_any_samples_stays_within_them(
    samples: list[Sample], data: st.DataObject
) -> None:
    moments = sorted(each.time for each in samples)
    began, ended = sorted(data.draw(st.tuples(*[st.sampled_from(moments)] * 2)))
    rounds = [build_round(began, ended - began), build_round(began, ended - began)]
    telemetry = summarize(samples, rounds)
    assert telemetry == summarize(samples[::-1], rounds)
    assert telemetry is not None
    powers = [each.power_w for each in samples if each.power_w is not None]
    if telemetry.power_w_mean is not None:
        assert min(powers) - 1e-6 <= telemetry.power_w_mean <= max(powers) + 1e-6
    assert telemetry.energy_j is None or telemetry.energy_j >= 0


# Disturbances


def test_stranger_seen_in_a_round_disturbs_it() -> None:
    looks = [[], None, ["python3 (pid 77)", "game (pid 5)"], None, ["python3 (pid 77)"]]
    assert told(build_samples(5, foreign=looks)).disturbed == [
        "game (pid 5) used the GPU as well",
        "python3 (pid 77) used the GPU as well",
    ]


def test_look_after_a_round_tells_of_its_last_second() -> None:
    nobody, stranger = [None] * 9, ["python3 (pid 77)"]
    after = told(build_samples(11, foreign=[*nobody, None, stranger]), build_round(NOON, 0.5))
    before = told(build_samples(11, foreign=[stranger, *nobody, []]), build_round(NOON + 0.1, 0.5))
    assert (len(after.disturbed), before.disturbed) == (1, [])


def test_throttling_that_can_pass_disturbs_and_the_power_cap_does_not() -> None:
    seen = [["sw_power_cap"]] * 7 + [["sw_power_cap", "hw_thermal"]] * 3 + [None]
    telemetry = told(build_samples(11, throttled=seen))
    assert telemetry.throttled == ["hw_thermal", "sw_power_cap"]
    assert telemetry.disturbed == ["throttled (hw_thermal) in 3 of 10 samples"]


@pytest.mark.parametrize("reason", ["hw_slowdown", "hw_thermal", "hw_power_brake", "sw_thermal"])
def test_every_curable_reason_disturbs(reason: str) -> None:
    assert told(build_samples(2, throttled=[[], [reason]])).disturbed != []


@pytest.mark.parametrize(
    ("low", "total", "disturbs"), [(1, 5, False), (2, 5, True), (2, 21, False), (3, 21, True)]
)
def test_clock_drop_needs_a_tenth_of_the_samples_and_two(
    low: int, total: int, disturbs: bool
) -> None:
    clocks = [1000] * low + [1755] * (total - low)
    assert bool(told(build_samples(total, sm_clock_mhz=clocks)).disturbed) is disturbs


def test_clock_drop_says_how_low_and_how_often() -> None:
    clocks = [2000] * 8 + [1690, 1710, 1000]
    assert told(build_samples(11, sm_clock_mhz=clocks)).disturbed == [
        "SM clock below 1700 MHz in 2 of 11 samples, with a median of 2000 MHz"
    ]


def test_clock_that_the_power_cap_lowers_is_the_loads_own_doing() -> None:
    samples = build_samples(
        4, sm_clock_mhz=[1980, 1980, 1400, 1400], throttled=[[], [], *[["sw_power_cap"]] * 2]
    )
    assert told(samples).disturbed == []


# Metrics


def test_metrics_take_over_every_number_of_the_telemetry() -> None:
    telemetry = Telemetry(510.0, 1710.0, 62, ["sw_power_cap"], 2000.0, ["a (pid 5) used it"])
    before = build_metrics(total_num_tokens=1_000_000)
    after = applied(before, telemetry)
    assert {each.name: getattr(after, each.name) for each in fields(telemetry)} == vars(telemetry)
    assert after.tokens_per_joule == 500.0
    changed = {name for name, value in vars(after).items() if value != vars(before)[name]}
    assert changed == {*vars(telemetry), "tokens_per_joule"}


def test_power_is_energy_over_time_whatever_the_samples_were() -> None:
    metrics = build_metrics(energy_j=1350.0, elapsed_time=2.0, power_w_mean=772.8)
    assert mean_power_w(metrics) == 675.0


def test_power_without_energy_is_that_of_the_samples() -> None:
    assert mean_power_w(build_metrics(power_w_mean=510.0)) == 510.0
    assert mean_power_w(build_metrics()) is None


@pytest.mark.parametrize("energy_j", [None, 0.0])
def test_no_energy_is_no_tokens_per_joule(energy_j: float | None) -> None:
    telemetry = Telemetry(None, None, None, None, energy_j, [])
    assert applied(build_metrics(), telemetry).tokens_per_joule is None
