"""`vllm_plugin/event_timing.py`: which of several calls is the fastest."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.vllm_plugin import event_timing


class Device:
    """Calls take the times they are said to, and more of it as the device gets warm.

    It loses the share `slower` of its speed, nine tenths of that within `settles` bursts.
    """

    def __init__(self, times_ms, slower=0.0, settles=20):
        self.times_ms, self.slower, self.settles = times_ms, slower, settles
        self.bursts, self.called = 0, None

    def calls(self):
        return [partial(self._call, number) for number in range(len(self.times_ms))]

    def _call(self, number):
        self.called = number

    def burst_ms(self, call, calls, after_ms=event_timing.PAUSE_MS):
        assert 1 <= calls <= event_timing.MOST_IN_BURST
        for _ in range(calls):
            call()
        self.bursts += 1
        warm = 1 - 0.1 ** (self.bursts / self.settles)
        return self.times_ms[self.called] * (1 + self.slower * warm)


def fastest_on(device):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_timing, "burst_ms", device.burst_ms)
        return event_timing.fastest(device.calls())


@given(st.lists(st.floats(0.01, 20.0), min_size=1, max_size=30))
def test_the_fastest_is_found_unless_the_first_is_nearly_as_fast(times_ms):
    chosen = fastest_on(Device(times_ms))
    assert times_ms[chosen] <= min(times_ms) / event_timing.CLEARLY_FASTER
    assert chosen == 0 or times_ms[chosen] < event_timing.CLEARLY_FASTER * times_ms[0]


@given(
    st.permutations([1.0, 1.06, 1.07, 1.08, 1.1, 1.2]), st.floats(0.0, 0.15), st.integers(1, 100)
)
def test_a_device_that_slows_down_does_not_favour_who_comes_early(times_ms, slower, settles):
    chosen = fastest_on(Device(times_ms, slower, settles))
    assert times_ms[chosen] == 1.0


class PowerLimitedDevice(Device):
    """Busy for more than half of the time, it lets nobody be faster than the first."""

    def burst_ms(self, call, calls, after_ms=event_timing.PAUSE_MS):
        rested_ms = super().burst_ms(call, calls)
        busy = calls * rested_ms / (calls * rested_ms + after_ms)
        return max(rested_ms, self.times_ms[0]) if busy > 0.5 else rested_ms


@given(st.floats(0.02, 15.0), st.floats(1.1, 1.4))
def test_a_call_that_is_faster_only_on_a_rested_device_is_found(ms, times_faster):
    assert fastest_on(PowerLimitedDevice([ms, ms / times_faster])) == 1


@pytest.mark.parametrize(
    ("burst_ms", "rest_ms"), [(0.02, event_timing.PAUSE_MS), (2.0, 6.0), (500.0, 60.0)]
)
def test_a_rest_is_that_of_the_burst_and_never_long(burst_ms, rest_ms):
    assert event_timing.rest_ms(burst_ms) == rest_ms


@pytest.mark.parametrize(("ms", "calls"), [(0.02, 8), (0.5, 4), (1.5, 2), (13.0, 1)])
def test_long_calls_make_short_bursts(ms, calls, monkeypatch):
    seen = []
    monkeypatch.setattr(
        event_timing, "burst_ms", lambda call, count, *after_ms: seen.append(count) or ms
    )
    event_timing.fastest([lambda: None])
    assert seen[0] == 1
    assert set(seen[1:]) == {calls}
    assert len(seen) == 2 + event_timing.TRIALS + event_timing.ROUNDS


def test_who_is_far_behind_gets_one_burst_only():
    device = Device([1.0, 5.0, 1.2, 1.6])
    bursts = []
    burst_ms = device.burst_ms

    def counted(call, *how):
        bursts.append(call.args[0])
        return burst_ms(call, *how)

    device.burst_ms = counted
    assert fastest_on(device) == 0
    assert [bursts.count(number) for number in (1, 3)] == [1, 1]
    assert bursts.count(2) == 1 + event_timing.TRIALS + event_timing.ROUNDS


@pytest.mark.parametrize(
    ("numbers", "order"), [("45", "45 54 54 45"), ("456", "456 564 645 654 465 546 456")]
)
def test_who_begins_changes_from_round_to_round_and_then_the_direction(numbers, order):
    rounds = order.split()
    seen = []
    event_timing.in_turn(lambda number: seen.append(number) or 1.0, numbers, len(rounds))
    assert "".join(seen) == "".join(rounds)
