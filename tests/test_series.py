"""`worker/series.py`: what a slow host held up does not count, and is run again."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_engine import DECODE, PREFILL, ScriptedEngine, a_round, at_once, constant, metrics_of

from slidesparse_bench.settings import Measurement
from slidesparse_bench.wire import Step
from slidesparse_bench.worker import measure, proof
from slidesparse_bench.worker.host import AnyHost, Best
from slidesparse_bench.worker.series import (
    MOST_SLOW_ROUNDS,
    MOST_SLOW_S,
    Look,
    Series,
    host_wait_share,
    iterations_of,
    looks_at,
    parts,
    slowdown_around,
    with_slowdown,
)

LOOP_MS = 0.02


class QuickHost(AnyHost):
    """Has seen how fast it is at its best."""

    def __init__(self):
        super().__init__()
        self.best_glance = Best([LOOP_MS] * 1000)
        self.settled = 0

    def settle(self):
        self.settled += 1


class MoodyEngine(ScriptedEngine):
    """Its host is so many times slower in each round, the last for ever."""

    def __init__(self, cell, times_ms, *slowdowns, waited=0.0):
        super().__init__(cell, times_ms)
        self.slowdowns = itertools.chain(slowdowns, itertools.repeat(slowdowns[-1]))
        self.waited = waited

    def run(self, iterations, lead):
        done, slowdown = super().run(iterations, lead), next(self.slowdowns)
        steps = [
            replace(step, loop_ms=slowdown * LOOP_MS, waited_ms=self.waited * step.time_ms)
            for step in done.steps
        ]
        return replace(done, steps=steps)


def measured(engine, settings=None):
    return measure.measure(engine, PREFILL, settings or at_once(), QuickHost(), iteration_s=1.0)


def faster_every_round(iterations):
    """Step times of rounds of so many iterations: 5 % less from one to the next."""
    for number in itertools.count():
        yield from [100.0 * 0.95**number] * iterations


def test_a_round_on_a_slow_host_does_not_count_and_is_run_again():
    engine, host = MoodyEngine(PREFILL, constant(), 1.4, 1.0), QuickHost()
    done = measure.measure(engine, PREFILL, at_once(), host, iteration_s=0.002)
    assert (len(engine.calls), len(done.rounds), done.slow_rounds, host.settled) == (2, 1, 1, 1)
    assert done.rounds[0].host_slowdown == 1.0


def test_a_host_that_stays_slow_is_marked_and_not_tried_for_ever():
    engine = MoodyEngine(PREFILL, faster_every_round(5), 1.4)
    done = measured(engine)
    assert (len(engine.calls), done.slow_rounds) == (6, 5)
    assert metrics_of(PREFILL, done.rounds).host_slowdown == pytest.approx(1.4)


def test_two_rounds_that_are_equally_slow_do_not_show_that_the_host_does_not_matter():
    times = itertools.chain([19.0] * 10, itertools.repeat(10.0))
    done = measured(MoodyEngine(PREFILL, times, 1.9, 1.9, 1.0))
    assert [each.steps[0].time_ms for each in done.rounds] == [10.0]
    assert done.slow_rounds == 2


def test_a_cell_that_takes_as_long_on_a_much_slower_host_does_not_feel_it():
    engine = MoodyEngine(PREFILL, constant(), 1.9, 1.5)
    done = measured(engine)
    assert (len(engine.calls), done.slow_rounds) == (2, 1)
    assert metrics_of(PREFILL, done.rounds).host_slowdown == pytest.approx(
        1.5
    )  # marked all the same


def test_what_was_seen_of_a_slow_host_says_nothing_of_a_slower_one():
    """The first two rounds agree; those after them are on a slower host."""
    times = itertools.chain([2.0] * 10, faster_every_round(6))
    engine = MoodyEngine(PREFILL, times, 1.5, 1.2, 2.0)
    series = Series(engine, PREFILL, QuickHost(), lead=0, precision=0.01, least=5)
    series.run(5)
    assert series.slow_rounds == 1
    series.run(6)
    assert series.slow_rounds == MOST_SLOW_ROUNDS


def test_a_slow_host_is_looked_for_however_little_precision_is_asked():
    engine = MoodyEngine(PREFILL, faster_every_round(5), 1.9)
    assert measured(engine, at_once(precision=0.6)).slow_rounds == MOST_SLOW_ROUNDS


def test_a_slow_host_is_not_waited_for_longer_than_the_measurement_is_worth():
    times_ms = itertools.repeat(0.6e3 * MOST_SLOW_S / PREFILL.workload.min_iterations)
    assert measured(MoodyEngine(PREFILL, times_ms, 1.9)).slow_rounds == 2


@pytest.mark.parametrize(
    ("slowdown", "share", "slow_rounds"),
    [(1.4, 0.94, 0), (1.4, 0.92, 2), (1.4, 0.4, 2), (1.16, 0.86, 0), (1.16, 0.8, 2)],
)
def test_a_slow_host_counts_where_it_can_have_cost_no_more_than_rounds_differ_by(
    slowdown, share, slow_rounds
):
    """Twice the precision of 1 %; a host that is 1.4 times slower costs 29 % of what it works."""
    times = faster_every_round(5)
    done = measured(MoodyEngine(PREFILL, times, slowdown, slowdown, 1.0, waited=share))
    assert done.slow_rounds == slow_rounds
    assert metrics_of(PREFILL, done.rounds).host_wait_share == pytest.approx(share)


def test_waiting_counts_in_the_steps_of_the_stage_only():
    done = a_round(DECODE, 1, constant())
    prefill, *decode = done.steps
    steps = [replace(prefill, waited_ms=2.0), *(replace(step, waited_ms=0.5) for step in decode)]
    assert host_wait_share([replace(done, steps=steps)], DECODE) == 0.25
    assert host_wait_share([replace(done, steps=[prefill, *steps[1:]])], DECODE) == 0.25
    assert host_wait_share([replace(done, steps=[*steps[:-1], decode[0]])], DECODE) is None


class SlowFor(ScriptedEngine):
    """Its host is slow from one moment to another, and is looked at every fifth step."""

    def __init__(self, began, ended, *, cell=PREFILL, slow_ms=30.0):
        super().__init__(cell, self.step_times())
        self.began, self.ended, self.slow_ms = began, ended, slow_ms
        self.now, self.loops_ms = 0.0, []

    def step_times(self):
        while True:
            is_slow = self.began <= self.now <= self.ended
            took_ms = self.slow_ms if is_slow else 20.0
            self.loops_ms.append(1.8 * LOOP_MS if is_slow else LOOP_MS)
            self.now += took_ms / 1e3
            yield took_ms

    def run(self, iterations, lead):
        self.loops_ms.clear()
        done = super().run(iterations, lead)
        looks = [None if n % 5 else ms for n, ms in enumerate(self.loops_ms)]
        steps = [replace(step, loop_ms=ms) for step, ms in zip(done.steps, looks, strict=True)]
        return replace(done, steps=steps)


def series_on(engine, least=5, lead=0):
    return Series(engine, engine.cell, QuickHost(), lead=lead, precision=0.01, least=least)


def times_of(rounds):
    return {step.time_ms for each in rounds for step in each.counted_steps}


def test_of_a_round_the_iterations_count_that_ran_on_a_fast_host():
    engine = SlowFor(0.4, 0.6)
    series = series_on(engine)
    series.run(50)
    assert iterations_of(series.rounds) == 50
    assert times_of(series.rounds) == {20.0}
    first, second = engine.calls
    assert first == (0, 50)
    assert 10 < second[1] < 25  # the slow ones and their neighbours are run again
    assert series.slow_rounds == 1
    assert not series.is_over
    assert proof.verify(series.rounds, PREFILL).steps == 50
    assert all(with_slowdown(each, QuickHost()).host_slowdown == 1.0 for each in series.rounds)


def test_the_lead_in_is_not_taken_for_what_is_counted():
    engine = SlowFor(0.0, 0.3)
    series = series_on(engine, lead=20)
    series.run(30)
    assert (engine.calls, series.slow_rounds) == ([(20, 30)], 0)
    engine = SlowFor(0.7, 0.9)
    series = series_on(engine, lead=20)
    series.run(30)
    assert (len(engine.calls), series.slow_rounds) == (2, 1)
    assert times_of(series.rounds) == {20.0}


def test_what_took_as_long_while_the_host_was_slow_counts():
    engine = SlowFor(0.4, 0.6, slow_ms=20.0)
    series = series_on(engine)
    series.run(50)
    assert (engine.calls, series.slow_rounds) == ([(0, 50)], 0)
    assert with_slowdown(series.rounds[0], QuickHost()).host_slowdown > 1.05  # said all the same


def test_where_the_host_stays_slow_a_cell_ends_with_what_counts():
    engine = SlowFor(0.3, math.inf)
    series = series_on(engine)
    series.run(30)
    assert series.is_over
    assert series.slow_rounds == MOST_SLOW_ROUNDS
    assert 5 <= iterations_of(series.rounds) < 30
    assert times_of(series.rounds) == {20.0}


def test_a_cell_that_ends_so_is_not_measured_on():
    engine = SlowFor(0.3, math.inf)
    settings = Measurement(min_warmup_s=0, min_measure_s=0.6, lead_in_s=0, precision=1e-6)
    done = measure.measure(engine, PREFILL, settings, QuickHost(), iteration_s=0.02)
    assert len(engine.calls) == MOST_SLOW_ROUNDS + 1
    assert times_of(done.rounds) == {20.0}
    assert done.ended_early
    run = sum(lead + iterations for lead, iterations in engine.calls)
    assert done.uncounted_iterations == run - iterations_of(done.rounds)


def test_once_slow_iterations_count_a_cell_does_not_end_early():
    engine = SlowFor(0.3, math.inf)
    series = series_on(engine, least=60)
    series.run(60)
    engine.ended = engine.now + 0.1  # fast from then on, but for the beginning
    series.run(30)
    assert not series.is_over
    assert iterations_of(series.rounds) == 90


def test_where_too_little_counts_slow_iterations_count_as_well():
    engine = SlowFor(0.3, math.inf)
    series = series_on(engine, least=60)
    series.run(60)
    assert not series.is_over
    assert iterations_of(series.rounds) == 60


def test_a_fixed_count_is_kept_on_a_slow_host():
    engine = SlowFor(0.3, math.inf)
    done = measured(engine, at_once(fixed_iterations=40))
    assert iterations_of(done.rounds) == 40


def test_a_decode_iteration_counts_whole_or_not_at_all():
    engine = SlowFor(6.0, 6.5, cell=DECODE)
    series = series_on(engine, least=3)
    series.run(3)
    assert iterations_of(series.rounds) == 3
    assert proof.verify(series.rounds, DECODE).steps == 3 * 255
    assert times_of(series.rounds) == {20.0}


@given(
    lead=st.integers(0, 4),
    counted=st.lists(st.booleans(), min_size=1, max_size=12),
    cell=st.sampled_from([PREFILL, DECODE]),
)
def test_parts_are_the_iterations_that_count_in_their_order(lead, counted, cell):
    done = a_round(cell, len(counted), itertools.count(1.0), lead, began=100.0)
    length = len(done.steps) // (lead + len(counted))
    ends = list(itertools.accumulate((step.time_ms / 1e3 for step in done.steps), initial=100.0))
    numbers = [lead + n for n, is_counted in enumerate(counted) if is_counted]
    found = parts(done, counted)
    assert [step for each in found for step in each.counted_steps] == [
        step for n in numbers for step in done.steps[n * length : (n + 1) * length]
    ]
    at = iter(numbers)
    for each in found:
        proof.verify([each], cell)
        own = list(itertools.islice(at, each.iterations))
        assert each.span == pytest.approx((ends[own[0] * length], ends[(own[-1] + 1) * length]))


def test_a_part_of_a_round_whose_time_is_not_known_has_none_either():
    done = a_round(PREFILL, 3, constant())
    assert [each.began for each in parts(done, [False, True, True])] == [0.0]


LOOKS = [Look(0, 1.0), Look(10, 2.0), Look(20, 1.0), Look(30, 1.6)]


@pytest.mark.parametrize(
    ("begin", "end", "speeds"),
    [
        (1, 2, [1, 1 / 2]),
        (10, 10, [1 / 2]),
        (5, 15, [1, 1 / 2, 1]),
        (10, 20, [1 / 2, 1]),
        (25, 90, [1, 1 / 1.6]),
        (50, 60, [1 / 1.6]),
    ],
)
def test_the_looks_around_steps_say_how_slow_the_host_was(begin, end, speeds):
    mean = sum(speeds) / len(speeds)
    assert slowdown_around(LOOKS, begin, end) == pytest.approx(1 / mean)


def test_nobody_looked():
    assert slowdown_around([], 0, 1) == 1.0


def looks(*slowdowns):
    steps = [Step(512, 1, 2.0, loop_ms=each and each * LOOP_MS) for each in slowdowns]
    return [(look.step, round(look.slowdown, 3)) for look in looks_at(steps, QuickHost())]


def test_a_single_slow_look_was_interrupted():
    assert looks(1.0, None, 9.0, 1.0, 1.0) == [(0, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]
    assert looks(1.0, 1.5, 1.6, 1.0) == [(0, 1.0), (1, 1.5), (2, 1.5), (3, 1.0)]


def test_a_look_that_is_hardly_slower_is_not_slow():
    assert looks(1.1, 1.14, 1.1) == [(0, 1.0), (1, 1.0), (2, 1.0)]
