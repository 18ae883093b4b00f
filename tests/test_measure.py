"""Warm-up, the stop at the asked precision, and the proof of M, with a scripted engine."""

import itertools
import math
import os
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_engine import (
    DECODE,
    PREFILL,
    ScriptedEngine,
    a_round,
    at_once,
    constant,
    metrics_of,
    noisy,
)

from slidesparse_bench.cell import Cell
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.settings import Measurement
from slidesparse_bench.spread import spread, t95
from slidesparse_bench.wire import Step
from slidesparse_bench.worker import measure, proof
from slidesparse_bench.worker.host import (
    AnyHost,
    Best,
    Host,
    fast_ones,
    glance_ms,
    loop_ms,
    parse_cpulist,
    same_node,
    spread_out,
)


def warm_up(engine, cell, settings, host=None):
    return measure.warm_up(engine, cell, settings, host or AnyHost()).iterations


def test_a_warm_up_says_whether_it_became_steady():
    rising = (1.1**i for i in itertools.count())
    settings = at_once(max_warmup_iterations=12)
    warmed = measure.warm_up(ScriptedEngine(PREFILL, rising), PREFILL, settings, AnyHost())
    assert (warmed.iterations, warmed.steady) == (12, False)
    assert measure.warm_up(ScriptedEngine(PREFILL, constant()), PREFILL, settings, AnyHost()).steady
    short = Measurement(min_warmup_s=2.0, max_warmup_iterations=20)
    assert measure.warm_up(ScriptedEngine(PREFILL, constant()), PREFILL, short, AnyHost()).steady
    two = at_once(max_warmup_iterations=2)
    warmed = measure.warm_up(ScriptedEngine(PREFILL, constant()), PREFILL, two, AnyHost())
    assert warmed.steady is None


def measured(engine, cell, settings, host=None):
    done = measure.measure(engine, cell, settings, host or AnyHost(), iteration_s=0.002)
    return done.rounds


def test_warm_up_goes_on_while_the_step_time_still_falls():
    engine = ScriptedEngine(PREFILL, [90.0, 40.0, 20.0, 10.0, 5.0, 4.9])
    assert warm_up(engine, PREFILL, at_once()) == 6


def test_warm_up_lasts_its_least_time_even_when_steady():
    engine = ScriptedEngine(PREFILL, constant())
    assert warm_up(engine, PREFILL, Measurement(min_warmup_s=0.1)) == 50


def test_a_quiet_prefill_is_measured_for_the_least_time():
    rounds = measured(
        ScriptedEngine(PREFILL, constant()), PREFILL, Measurement(min_measure_s=0.099, lead_in_s=0)
    )
    assert sum(r.iterations for r in rounds) == 50


def test_warm_up_ends_at_its_limit_when_it_never_gets_steady():
    engine = ScriptedEngine(PREFILL, itertools.accumulate(itertools.repeat(1.0)))
    assert warm_up(engine, PREFILL, at_once(max_warmup_iterations=7)) == 7


def test_one_decode_iteration_is_enough_warm_up_when_its_thirds_agree():
    engine = ScriptedEngine(DECODE, constant())
    assert warm_up(engine, DECODE, at_once()) == 1


def test_a_quiet_prefill_stops_after_the_least_number_of_iterations():
    engine = ScriptedEngine(PREFILL, constant())
    assert [r.iterations for r in measured(engine, PREFILL, at_once())] == [5]


def test_a_quiet_decode_needs_fewer_iterations_unless_more_are_asked_for():
    assert [
        r.iterations for r in measured(ScriptedEngine(DECODE, constant()), DECODE, at_once())
    ] == [3]
    six = at_once(min_iterations=6)
    assert [r.iterations for r in measured(ScriptedEngine(DECODE, constant()), DECODE, six)] == [6]


def test_a_noisy_prefill_runs_until_the_interval_is_narrow_enough():
    settings = at_once(precision=0.01)
    rounds = measured(ScriptedEngine(PREFILL, noisy(0.03)), PREFILL, settings)
    times = measure.step_spread(rounds, PREFILL)
    assert 5 < sum(r.iterations for r in rounds) < 128
    assert times.ci95_half_width <= 0.01 * times.mean


def test_a_hopelessly_noisy_prefill_stops_at_the_methods_count():
    settings = at_once(precision=0.001)
    rounds = measured(ScriptedEngine(PREFILL, noisy(0.5)), PREFILL, settings)
    assert sum(r.iterations for r in rounds) == 128
    assert not measure.precision_reached(measure.step_spread(rounds, PREFILL), settings)


def test_fixed_iterations_are_one_round_of_exactly_that_many():
    engine = ScriptedEngine(PREFILL, noisy(0.5))
    rounds = measured(engine, PREFILL, at_once(fixed_iterations=17))
    assert [r.iterations for r in rounds] == [17]


def test_decode_growth_with_the_kv_cache_does_not_widen_the_interval():
    growing = itertools.cycle([50.0, *[2.0 + 0.01 * i for i in range(255)]])
    rounds = [a_round(DECODE, 3, growing)]
    times = measure.step_spread(rounds, DECODE)
    assert times.ci95_half_width < 1e-6 * times.mean
    assert times.mean == pytest.approx(2.0 + 0.01 * 127)


def test_decode_rate_covers_the_pure_decode_steps_only():
    times = itertools.cycle([100.0, *[2.0] * 255])
    numbers = metrics_of(DECODE, [a_round(DECODE, 2, times)])
    assert numbers.output_tokens_per_second == pytest.approx(4 / 2e-3)
    assert numbers.prompt_tokens_per_second == pytest.approx(64 / 100e-3)
    assert numbers.tokens_per_second == pytest.approx(2 * 4 * 272 / (2 * (0.1 + 0.51)))
    assert (numbers.m_observed.min, numbers.m_observed.max, numbers.m_observed.steps) == (4, 4, 510)


def test_prefill_tokens_count_prompt_and_output_as_vllm_does():
    numbers = metrics_of(PREFILL, [a_round(PREFILL, 5, constant())])
    assert numbers.total_num_tokens == 5 * 513
    assert numbers.tokens_per_second == pytest.approx(513 / 2e-3)
    assert numbers.requests_per_second == pytest.approx(1 / 2e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"steps": [Step(511, 1, 2.0)]}, "step 1 ran 511 tokens of 1 requests"),
        ({"steps": [Step(512, 2, 2.0)]}, "step 1 ran 512 tokens of 2 requests"),
        ({"steps": []}, "0 steps ran where 1 of M = 512"),
        ({"steps": [Step(512, 1, 2.0)] * 2}, "2 steps ran where 1 of M = 512"),
        ({"output_tokens": 0}, "0 output tokens came back"),
        ({"num_requests": 2}, "2 requests"),
    ],
)
def test_a_step_of_another_size_is_an_m_mismatch(change, says):
    with pytest.raises(HarnessVerdict, match=says) as caught:
        proof.verify([a_round(PREFILL, 1, constant(), **change)], PREFILL)
    assert caught.value.failure_class == "m_mismatch"


def test_a_decode_batch_that_fills_in_waves_is_an_m_mismatch():
    waves = [Step(32, 2, 2.0), Step(34, 4, 2.0), *[Step(4, 4, 2.0)] * 254]
    with pytest.raises(HarnessVerdict, match="64 tokens of 4 requests were asked for"):
        proof.verify([a_round(DECODE, 1, constant(), steps=waves)], DECODE)


@pytest.mark.parametrize(
    ("kernels", "says"),
    [
        ({}, "no quantized linear kernel"),
        ({"TritonInt8": 4}, "TritonInt8 ran"),
        ({"CutlassInt8": 3, "TritonInt8": 1}, "TritonInt8 ran"),
    ],
)
def test_a_kernel_that_was_not_asked_for_is_no_measurement(kernels, says):
    with pytest.raises(HarnessVerdict, match=says) as caught:
        proof.check_kernel(kernels, Cell.parse("a.int8.cutlass.prefill.m512"), "Cutlass")
    assert caught.value.failure_class == "wrong_kernel"


def test_the_kernel_that_was_asked_for_is_named():
    cell = Cell.parse("a.int8.cutlass.prefill.m512")
    assert proof.check_kernel({"CutlassInt8": 4}, cell, "Cutlass") == "CutlassInt8"


def test_t_quantiles_agree_with_the_tables():
    assert [t95(n) for n in (1, 4, 30)] == [12.706, 2.776, 2.042]
    beyond = [t95(n) for n in (31, 60, 120, 1000)]
    assert beyond == pytest.approx([2.0395, 2.0003, 1.9799, 1.9623], abs=1e-3)


@given(st.lists(st.floats(0.1, 100), min_size=3, max_size=60))
def test_every_summary_is_ordered(values):
    summary = spread([values])
    assert min(values) <= summary.p05 <= summary.median <= summary.p95 <= max(values)
    assert summary.ci95_half_width >= 0


@given(st.floats(-0.9, 0.95))
def test_dependent_neighbours_never_narrow_the_interval(correlation):
    values, state = [], 0.0
    for shock in [1, -0.3, 0.7, -1, 0.1, -0.6, 0.9, -0.8] * 8:
        state = correlation * state + shock
        values.append(100 + state)
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    independent = t95(len(values) - 1) * deviation / len(values) ** 0.5
    assert spread([values]).ci95_half_width >= 0.9 * independent


def test_the_interval_of_decode_knows_how_iterations_differ():
    """Step times of three real iterations: each steady, and 4 % apart."""
    rounds = [[mean + 0.01 * (i % 2) for i in range(255)] for mean in (11.98, 11.67, 11.0)]
    summary = spread(rounds, grows=True)
    assert summary.ci95_half_width == pytest.approx(1.25, abs=0.05)
    assert spread(rounds[:1], grows=True).ci95_half_width is None


def covered(samples, mean, **how):
    """In what share of the samples the interval holds the mean."""
    held = 0
    for series in samples:
        summary = spread(series, **how)
        held += abs(summary.mean - mean) <= summary.ci95_half_width
    return held / len(samples)


def test_the_interval_covers_as_often_as_it_says_when_iterations_differ():
    random = Random(1)
    samples = []
    for _ in range(400):
        levels = [random.gauss(100, 1) for _ in range(5)]
        samples.append([[random.gauss(level, 3) for _ in range(64)] for level in levels])
    assert covered(samples, 100, grows=True) > 0.92


def test_the_interval_covers_as_often_as_it_says_when_a_prefill_wanders():
    """Half of the scatter changes slowly, which neighbours hardly show beside the other half."""
    random = Random(2)
    samples = []
    for _ in range(400):
        slow, values = 0.0, []
        for _ in range(128):
            slow = 0.9 * slow + random.gauss(0, 0.44)
            values.append(100 + slow + random.gauss(0, 1))
        samples.append([values])
    assert covered(samples, 100) > 0.85


def test_a_prefill_that_drifts_has_no_narrow_interval():
    rising = [[100 * 1.01**i for i in range(20)]]
    assert spread(rising).ci95_half_width > 5
    assert spread(rising * 2, grows=True).ci95_half_width < 2


def test_two_steps_have_no_interval():
    assert spread([[1.0, 2.0]]).ci95_half_width is None


def test_a_series_is_led_in_by_iterations_that_do_not_count():
    engine = ScriptedEngine(PREFILL, itertools.chain([1.0] * 10, constant()))
    settings = Measurement(min_measure_s=0.02, lead_in_s=0.02)
    done = measure.measure(engine, PREFILL, settings, AnyHost(), iteration_s=0.002)
    assert (engine.calls, done.uncounted_iterations) == ([(10, 10)], 10)
    metrics = metrics_of(PREFILL, done.rounds)
    assert metrics.iterations == 10
    assert (metrics.step_time_ms.mean, metrics.elapsed_time) == (2.0, pytest.approx(0.02))
    assert metrics.tokens_per_second == pytest.approx(513 / 0.002)


def test_a_decode_series_is_led_in_by_whole_iterations():
    engine = ScriptedEngine(DECODE, itertools.chain([9.0] * 256, constant()))
    rounds = measure.measure(engine, DECODE, Measurement(), AnyHost(), 0.512).rounds
    assert engine.calls == [(2, 3)]
    assert proof.verify(rounds, DECODE).steps == 3 * 255


def test_a_wrong_step_in_the_lead_in_is_a_mismatch_too():
    engine = ScriptedEngine(PREFILL, constant())
    wrong = engine.run(5, 3)
    steps = [Step(511, 1, 2.0), *wrong.steps[1:]]
    with pytest.raises(HarnessVerdict, match="step 1 ran 511 tokens"):
        proof.verify([replace(wrong, steps=steps)], PREFILL)


def test_a_real_host_settles_on_cpus_it_was_allowed():
    allowed = os.sched_getaffinity(0)
    try:
        host = Host()
        host.settle()
        assert set() < os.sched_getaffinity(0) <= allowed
        assert host.slowdown() >= 1.0
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_thread_leaves_the_slow_cpus_and_no_others():
    times = {0: 0.52, 1: 1.05, 2: 0.58, 3: math.inf, 4: 0.55, 5: 0.53, 6: 0.54}
    assert fast_ones(times) == {0, 2, 4, 5, 6}
    assert fast_ones({0: 0.52, 1: 0.53}) == {0, 1}


def test_a_thread_keeps_enough_cpus_for_those_that_it_starts():
    assert fast_ones({0: 0.52, 1: 1.2, 2: 1.0, 3: 0.9, 4: 1.1, 5: 1.3}) == {0, 2, 3, 4}


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-3,8\n", {0, 1, 2, 3, 8}), ("5", {5}), ("", set()), ("all", set())],
)
def test_lists_of_cpus_are_read(text, cpus):
    assert parse_cpulist(text) == cpus


def test_a_thread_stays_on_the_node_of_most_of_its_cpus(tmp_path):
    for node, cpus in enumerate(["0-3", "4-7"]):
        (tmp_path / f"node{node}").mkdir()
        (tmp_path / f"node{node}" / "cpulist").write_text(cpus)
    assert same_node({3, 4, 5, 6}, tmp_path) == {4, 5, 6}
    assert same_node({9}, tmp_path) == {9}
    assert same_node({1, 2}, tmp_path / "nothing") == {1, 2}


def test_on_a_large_machine_some_cpus_are_looked_at():
    assert spread_out(list(range(256)), 32) == list(range(0, 256, 8))
    assert spread_out([2, 5], 32) == [2, 5]


def test_at_its_best_a_host_is_as_fast_as_in_a_tenth_of_fifty_tries():
    best = Best([0.02] * 5 + [0.01] + [0.05] * 4)
    assert best.times_slower(0.03) == pytest.approx(1.5)
    assert best.times_slower(0.01) == 1.0


def test_a_host_that_becomes_slow_was_faster_at_its_best():
    best = Best([0.02] * 20 + [0.05] * 1000)
    assert best.times_slower(0.05) == pytest.approx(2.5)


def test_of_a_host_that_hardly_anybody_looked_at_nothing_is_slow():
    assert Best().times_slower(0.05) == 1.0
    assert Best([0.01] * 9).times_slower(0.05) == 1.0


def test_a_glance_is_short():
    assert 0.0 < glance_ms() < loop_ms(3)
