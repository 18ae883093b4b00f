"""Retries: what the facts allow, never what they rule out, and always an end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.failures import CLASSES
from slidesparse_bench.records import Attempt, Evidence, Failure, MemorySnapshot, Verdict
from slidesparse_bench.retry import UTILIZATION, Decision, decide
from slidesparse_bench.settings import RetrySettings
from slidesparse_bench.units import GIB

LIMITS = RetrySettings()


def failed(
    failure_class: str,
    utilization: float | None = 0.80,
    /,
    *,
    n: int = 1,
    device_gib: float | None = None,
    device_free_gib: float | None = None,
    **facts: Any,
) -> Attempt:
    """An attempt that ended in a class, with what its log and the driver said."""
    snapshot = None
    if device_gib is not None:
        free = device_gib if device_free_gib is None else device_free_gib
        snapshot = MemorySnapshot(int(device_gib * GIB), int(free * GIB))
    return Attempt(
        n=n,
        started="2026-03-01T12:00:00+00:00",
        engine_args={} if utilization is None else {UTILIZATION: utilization},
        memory_before=snapshot,
        failure=Failure(
            failure_class=failure_class,
            verdict=CLASSES[failure_class].verdict,
            root_cause="",
            evidence=Evidence("worker.log", 1),
            retryable=CLASSES[failure_class].retryable,
            facts=facts,
        ),
    )


def after(*attempts: Attempt, limits: RetrySettings = LIMITS, first: int = 1) -> Decision:
    """The decision after these attempts, numbered in order."""
    numbered = [replace(attempt, n=n) for n, attempt in enumerate(attempts, start=1)]
    return decide(numbered, settings=limits, first=first)


def kv(utilization: float, available: float | None = 0.31, **known: Any) -> Attempt:
    facts = {"needed_gib": 1.20, "available_gib": available} if available is not None else {}
    return failed("kv_cache_insufficient", utilization, **facts, **known)


def busy(utilization: float, free: float) -> Attempt:
    facts = {"free_gib": free, "total_gib": 23.99, "utilization": utilization}
    return failed("gpu_memory_busy", utilization, **facts)


@pytest.mark.parametrize("failure_class", sorted(CLASSES))
def test_first_failure_is_retried_as_its_class_says(failure_class):
    facts = {"kv_cache_reserved": True} if failure_class == "oom_device" else {}
    decision = after(failed(failure_class, **facts))
    assert decision.retry is CLASSES[failure_class].retryable
    assert decision.reason


@pytest.mark.parametrize(
    "failure_class", [entry.id for entry in CLASSES.values() if entry.retry.startswith("once")]
)
def test_once_means_once_per_class(failure_class):
    again = failed(failure_class)
    eager = replace(again, engine_args={"enforce_eager": True})
    assert after(again).retry
    assert not after(again, eager).retry
    other = "timeout_hang" if failure_class != "timeout_hang" else "cuda_misc"
    assert after(again, failed(other)).retry


def test_utilization_climbs_to_the_first_step_that_suffices():
    decision = after(kv(0.80, device_gib=23.99))
    assert decision.changes == {UTILIZATION: 0.90}
    assert decision.reason == (
        "gpu_memory_utilization 0.80 -> 0.90: 2.71 GiB of KV cache instead of 0.31 GiB"
    )


def test_steps_that_cannot_suffice_are_left_out():
    decision = after(kv(0.80, total_gib=8.0))
    assert decision.changes == {UTILIZATION: 0.95}


def test_ladder_stops_with_the_numbers_when_its_top_is_too_little():
    decision = after(kv(0.80, available=0.0, total_gib=1.72))
    assert not decision.retry
    assert decision.reason == (
        "even gpu_memory_utilization 0.98 would give about 0.31 GiB of the 1.20 GiB needed"
    )


def test_without_numbers_the_next_step_is_tried():
    assert after(kv(0.80, available=None)).changes == {UTILIZATION: 0.90}
    assert after(kv(0.80, available=None), kv(0.90, available=None)).changes == {UTILIZATION: 0.95}
    assert not after(kv(0.98, available=None)).retry


def test_negative_room_that_the_engine_stated_rules_steps_out():
    stated = failed("kv_cache_insufficient", 0.80, device_gib=10.0, kv_cache_gib=-1.4)
    assert after(stated).changes == {UTILIZATION: 0.95}


def test_growth_between_two_attempts_stands_in_for_the_size_of_the_device():
    decision = after(kv(0.80, available=0.20), kv(0.90, available=0.30))
    assert not decision.retry
    assert (
        "even gpu_memory_utilization 0.98 would give about 0.38 GiB of the 1.20 GiB"
        in decision.reason
    )


def test_cache_that_does_not_grow_ends_the_climb():
    decision = after(kv(0.80, available=0.31), kv(0.90, available=0.31))
    assert not decision.retry
    assert decision.reason.endswith("would give about 0.31 GiB of the 1.20 GiB needed")


def test_ladder_never_asks_for_more_than_is_free():
    decision = after(kv(0.90, available=0.9, device_gib=24.0, device_free_gib=22.8))
    assert decision.changes == {UTILIZATION: 0.93}
    nothing_left = after(kv(0.90, device_gib=24.0, device_free_gib=21.0))
    assert nothing_left.reason == (
        "what is free allows gpu_memory_utilization 0.85, 0.90 was too low"
    )


def test_nothing_works_between_too_little_cache_and_out_of_memory():
    decision = after(failed("oom_device", 0.80, kv_cache_reserved=True), kv(0.70))
    assert not decision.retry
    assert "0.70 leaves too little KV cache and 0.80 runs out of memory" in decision.reason


def test_out_of_memory_beside_the_cache_goes_down_step_by_step():
    beside = failed("oom_device", 0.80, kv_cache_reserved=True)
    assert after(beside).changes == {UTILIZATION: 0.70}
    again = failed("oom_device", 0.70, kv_cache_reserved=True)
    assert after(beside, again).changes == {UTILIZATION: 0.60}


@pytest.mark.parametrize("facts", [{}, {"kv_cache_reserved": False}])
def test_out_of_memory_before_the_cache_is_not_retried(facts):
    decision = after(failed("oom_device", 0.80, **facts))
    assert not decision.retry
    assert "no KV cache was reserved" in decision.reason


def test_step_down_covers_what_was_missing_and_leaves_some_cache():
    facts = {"kv_cache_reserved": True, "total_gib": 15.47}
    missing = failed("oom_device", 0.80, **facts, kv_cache_gib=6.0, short_gib=2.0)
    assert after(missing).changes == {UTILIZATION: 0.60}
    little = failed("oom_device", 0.80, **facts, kv_cache_gib=1.0, short_gib=0.5)
    assert after(little).changes == {UTILIZATION: 0.75}
    hopeless = failed("oom_device", 0.80, **facts, kv_cache_gib=1.0, short_gib=3.09)
    assert "does not hold what is missing" in after(hopeless).reason


def test_step_down_stays_above_what_was_too_little_for_the_cache():
    beside = failed("oom_device", 0.90, kv_cache_reserved=True)
    assert after(kv(0.80, available=None), beside).changes == {UTILIZATION: 0.85}


def test_busy_memory_is_waited_for_with_the_same_settings():
    decision = after(busy(0.95, 22.39))
    assert decision == Decision(True, "waiting for device memory")


def test_busy_memory_that_does_not_change_is_settled_for():
    decision = after(busy(0.95, 22.39), busy(0.95, 22.39))
    assert decision.changes == {UTILIZATION: 0.93}
    assert not after(busy(0.95, 22.39), busy(0.95, 22.39), busy(0.93, 22.39)).retry


def test_busy_memory_that_moves_is_waited_for_again():
    decision = after(busy(0.95, 20.0), busy(0.95, 21.5))
    assert decision == Decision(True, "waiting for device memory")


def test_free_memory_of_the_driver_leaves_room_for_the_context():
    gate = failed("gpu_memory_busy", 0.80, device_gib=24.0, device_free_gib=12.4)
    assert after(gate, gate).changes == {UTILIZATION: 0.49}


def test_busy_memory_below_what_the_cache_needs_ends_it():
    decision = after(kv(0.80, available=None), busy(0.90, 18.0), busy(0.90, 18.0))
    assert not decision.retry
    assert "allows gpu_memory_utilization 0.74 only" in decision.reason


def test_compile_failure_is_tried_eagerly_once():
    decision = after(failed("compile_failure"))
    assert decision.changes == {"enforce_eager": True}
    eager = replace(failed("compile_failure"), engine_args={"enforce_eager": True})
    assert not after(eager).retry


def test_interrupted_attempts_are_retried_and_never_counted():
    stopped = failed("interrupted")
    one = RetrySettings(max_attempts=1)
    assert after(stopped, stopped, limits=one).retry
    third = after(stopped, stopped, stopped, limits=one)
    assert third == Decision(retry=False, reason="stopped from outside 3 times in a row")
    assert not after(*[stopped] * 20, failed("unknown"), limits=one).retry
    assert after(*[stopped] * 20, failed("unknown")).retry


def test_older_commands_do_not_count():
    unknown = failed("unknown")
    assert not after(unknown, unknown).retry
    assert after(unknown, unknown, first=2).retry


def test_attempts_are_bounded():
    two = RetrySettings(max_attempts=2)
    decision = after(kv(0.80, available=None), kv(0.90, available=None), limits=two)
    assert decision == Decision(False, "max_attempts (2) are used up")


def test_nothing_is_decided_without_a_failure():
    assert not decide([], settings=LIMITS, first=1).retry
    passed = replace(failed("unknown"), failure=None)
    assert not after(passed).retry


def test_attempt_without_a_stated_utilization_had_the_first_of_the_ladder():
    assert after(failed("kv_cache_insufficient", None)).changes == {UTILIZATION: 0.90}


amounts = st.one_of(st.none(), st.floats(-5, 200, allow_nan=False))
facts = st.fixed_dictionaries(
    {},
    optional={
        "needed_gib": amounts,
        "available_gib": amounts,
        "kv_cache_gib": amounts,
        "short_gib": amounts,
        "free_gib": amounts,
        "total_gib": amounts,
        "utilization": amounts,
        "kv_cache_reserved": st.booleans(),
    },
)
worlds = st.lists(
    st.tuples(
        st.sampled_from(sorted(CLASSES)), facts, st.one_of(st.none(), st.floats(0.1, 200)), amounts
    ),
    min_size=30,
    max_size=30,
)
retry_settings = st.builds(
    RetrySettings,
    max_attempts=st.integers(1, 12),
    utilization_ladder=st.sets(st.floats(0.05, 1.0), min_size=1, max_size=6).map(
        lambda rungs: tuple(sorted(rungs))
    ),
)


def campaign(world: list[Any], limits: RetrySettings, start: float) -> list[Attempt]:
    """The attempts of one command in a world that answers each one as it likes."""
    attempts: list[Attempt] = []
    engine_args: dict[str, Any] = {UTILIZATION: start}
    for n, (failure_class, known, total, free) in enumerate(world, start=1):
        attempt = failed(failure_class, start, n=n, **known)
        snapshot = None
        if total is not None:
            snapshot = MemorySnapshot(int(total * GIB), int((free or 0) * GIB))
        attempt = replace(attempt, engine_args=dict(engine_args), memory_before=snapshot)
        attempts.append(attempt)
        decision = decide(attempts, settings=limits, first=1)
        assert decision.reason
        if not decision.retry:
            return attempts
        engine_args |= decision.changes
    return attempts


def classes_of(attempts: list[Attempt]) -> list[str]:
    return [attempt.failure.failure_class for attempt in attempts if attempt.failure]


@given(worlds, retry_settings, st.floats(0.05, 1.0))
def test_any_world_comes_to_an_end_within_its_attempts(world, limits, start):
    attempts = campaign(world, limits, start)
    counted = [name for name in classes_of(attempts) if name != "interrupted"]
    assert len(counted) <= limits.max_attempts


@given(worlds, st.floats(0.05, 1.0))
def test_no_world_repeats_a_shortage_with_the_same_utilization(world, start):
    attempts = campaign(world, RetrySettings(max_attempts=20), start)
    for failure_class in ("oom_device", "kv_cache_insufficient"):
        of_class = [a for a in attempts if a.failure.failure_class == failure_class]
        tried = [a.engine_args[UTILIZATION] for a in of_class]
        assert len(tried) == len(set(tried))


@given(worlds, st.floats(0.05, 1.0))
def test_no_world_retries_what_cannot_change(world, start):
    attempts = campaign(world, RetrySettings(max_attempts=20), start)
    final = {Verdict.HARDWARE_LIMIT, Verdict.CONFIGURATION, Verdict.HARDWARE_FAULT}
    assert all(attempt.failure.verdict not in final for attempt in attempts[:-1])
    once = [name for name, entry in CLASSES.items() if entry.retry.startswith("once")]
    assert all(classes_of(attempts).count(name) <= 2 for name in once)


@given(worlds, retry_settings, st.floats(0.05, 1.0))
def test_utilization_stays_a_share(world, limits, start):
    for attempt in campaign(world, limits, start):
        assert 0 < attempt.engine_args[UTILIZATION] <= 1
