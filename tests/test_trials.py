"""Several measurements of one cell as one."""

import statistics
from random import Random

import pytest
from builders import build_metrics
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.spread import outlier_count, t95
from slidesparse_bench.trials import combined, half_width_between


def test_one_trial_is_itself():
    one = build_metrics()
    assert combined([one]) is one


def test_counts_add_up_and_rates_stay_the_quotients_of_their_sums():
    both = combined([build_metrics(iterations=10), build_metrics(iterations=30)])
    assert (both.trials, both.iterations, both.m_observed.steps) == (2, 40, 40)
    assert both.tokens_per_second == pytest.approx(both.total_num_tokens / both.elapsed_time)
    assert both.requests_per_second == pytest.approx(both.num_requests / both.elapsed_time)


def test_the_interval_is_that_of_the_trials_where_they_differ_more_than_their_steps():
    rates = [90_000.0, 91_000.0, 92_000.0]
    trials = [build_metrics(tokens_per_second=rate, ci95_pct=0.1) for rate in rates]
    means = [each.step_time_ms.mean for each in trials]
    centre = sum(means) / 3
    deviation = (sum((mean - centre) ** 2 for mean in means) / 2) ** 0.5
    expected = t95(2) * deviation / 3**0.5
    assert combined(trials).step_time_ms.ci95_half_width == pytest.approx(expected)


def test_the_interval_is_that_of_the_steps_where_the_trials_agree():
    trials = [build_metrics(ci95_pct=0.6)] * 4
    half_width = combined(trials).step_time_ms.ci95_half_width
    assert half_width == pytest.approx(trials[0].step_time_ms.ci95_half_width / 2)


@pytest.mark.parametrize(
    ("rates", "reached"), [((90e3, 90.1e3, 90e3), True), ((90e3, 99e3), False)]
)
def test_trials_that_differ_do_not_reach_the_precision_that_each_of_them_did(rates, reached):
    trials = [build_metrics(tokens_per_second=rate, precision=0.01) for rate in rates]
    assert all(each.precision_reached for each in trials)
    assert combined(trials).precision_reached is reached


def test_what_one_trial_lacks_the_cell_lacks():
    both = combined([build_metrics(power_w_mean=500.0, energy_j=9.0), build_metrics()])
    assert (both.power_w_mean, both.energy_j, both.tokens_per_joule) == (None, None, None)


def test_what_any_trial_saw_is_said_of_the_cell():
    both = combined(
        [
            build_metrics(throttled=["sw_power_cap"], disturbed=["a"], temperature_c_max=60.0),
            build_metrics(throttled=[], disturbed=["a", "b"], temperature_c_max=70.0),
        ]
    )
    assert (both.throttled, both.disturbed) == (["sw_power_cap"], ["a", "b"])
    assert both.temperature_c_max == 70.0


@given(st.lists(st.floats(1e3, 1e6), min_size=2, max_size=6))
def test_the_rate_of_all_lies_between_those_of_the_trials(rates):
    whole = combined([build_metrics(tokens_per_second=rate) for rate in rates])
    assert min(rates) * 0.999 <= whole.tokens_per_second <= max(rates) * 1.001


def test_outliers_are_counted_apart_from_the_growth_of_a_step():
    growing = [10.0 + 0.01 * i + 0.05 * (-1) ** i for i in range(200)]
    assert outlier_count([growing], grows=True) == 0
    assert outlier_count([[*growing[:100], 14.0, *growing[101:]]], grows=True) == 1


def test_a_trial_on_which_the_host_hardly_waited_is_not_hidden_by_others():
    shares = (0.01, 0.5, 0.6)
    assert (
        combined([build_metrics(host_wait_share=each) for each in shares]).host_wait_share == 0.01
    )
    assert combined([build_metrics(host_wait_share=0.5), build_metrics()]).host_wait_share is None


@pytest.mark.parametrize("steps", [[61, 61, 62], [58, 60, 63], [128, 128, 127]])
def test_trials_of_nearly_equal_length_have_nearly_the_interval_of_equal_ones(steps):
    means = [99.9, 100.0, 100.2]
    equal = half_width_between(means, [60, 60, 60])
    assert equal <= half_width_between(means, steps) < 1.1 * equal


@pytest.mark.parametrize(
    "steps",
    [[20] * 5, [60, 61, 62], [10, 20, 128], [128, 5, 5], [128, 5, 5, 5, 5], [128] + [5] * 9],
)
def test_the_interval_covers_as_often_as_it_says_however_long_the_trials_were(steps):
    random, held = Random(3), 0
    for _ in range(1000):
        means = [random.gauss(100, 2) for _ in steps]
        mean = statistics.fmean(means, weights=steps)
        held += abs(mean - 100) <= half_width_between(means, steps)
    assert held / 1000 > 0.91
