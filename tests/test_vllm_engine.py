"""The vLLM engine's own logic, without vLLM: arguments, and the steps of a watched scheduler."""

import types

import pytest
from builders import build_request

from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.wire import RANDOM_LOAD_FORMAT
from slidesparse_bench.worker.engines import vllm_engine, vllm_steps
from slidesparse_bench.worker.engines.vllm_engine import engine_arguments

ACCEPTED = {
    "model", "seed", "skip_tokenizer_init", "disable_log_stats", "load_format", "linear_backend",
    "max_model_len", "enforce_eager",
}  # fmt: skip


def a_request(linear_backend=None, *, random_weights=True, **engine_args):
    return build_request(
        linear_backend=linear_backend, random_weights=random_weights, engine_args=engine_args
    )


def test_arguments_go_through_with_model_and_seed_added():
    arguments = engine_arguments(a_request(max_model_len=513), ACCEPTED)
    assert (arguments["model"], arguments["seed"]) == ("models/a", 7)
    assert (arguments["max_model_len"], arguments["load_format"]) == (513, RANDOM_LOAD_FORMAT)
    assert "linear_backend" not in arguments


def test_weights_of_a_checkpoint_are_loaded_from_it():
    arguments = engine_arguments(a_request(random_weights=False), ACCEPTED)
    assert "load_format" not in arguments


def test_the_backend_is_asked_for_by_vllms_own_argument():
    assert engine_arguments(a_request("cutlass"), ACCEPTED)["linear_backend"] == "cutlass"


@pytest.mark.parametrize(
    ("request_", "accepted", "says"),
    [
        (a_request(enforce_eeger=True), ACCEPTED, "did you mean enforce_eager?"),
        (a_request("cutlass"), ACCEPTED - {"linear_backend"}, "no engine argument linear_backend"),
    ],
    ids=["misspelt", "older-vllm"],
)
def test_what_this_vllm_does_not_have_is_a_configuration_failure(request_, accepted, says):
    with pytest.raises(HarnessVerdict, match=says) as caught:
        engine_arguments(request_, accepted)
    assert caught.value.failure_class == "unsupported_config"


class Scheduler:
    """As much of vLLM's as the recorder touches."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def schedule(self):
        sizes = next(self.batches)
        return types.SimpleNamespace(
            total_num_scheduled_tokens=sum(sizes), num_scheduled_tokens=dict(enumerate(sizes))
        )

    def update_from_output(self, scheduler_output, model_output):
        return model_output


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by hand, in seconds."""
    now = types.SimpleNamespace(time=0.0)
    monkeypatch.setattr(vllm_steps.time, "perf_counter", lambda: now.time)
    return now


def test_steps_run_from_the_end_of_one_to_the_end_of_the_next(clock):
    scheduler = Scheduler([[512], [512, 512]])
    recorder = vllm_steps.StepRecorder(scheduler)
    for ends_at in (0.010, 0.025):
        output = scheduler.schedule()
        clock.time = ends_at
        assert scheduler.update_from_output(output, "tokens") == "tokens"
    steps = recorder.steps()
    assert [(step.tokens, step.requests) for step in steps] == [(512, 1), (1024, 2)]
    assert [step.time_ms for step in steps] == pytest.approx([10.0, 15.0])


def test_asynchronous_scheduling_pairs_each_batch_with_its_own_end(clock):
    scheduler = Scheduler([[4], [8]])
    recorder = vllm_steps.StepRecorder(scheduler)
    first = scheduler.schedule()
    clock.time = 0.002
    second = scheduler.schedule()
    clock.time = 0.010
    scheduler.update_from_output(first, None)
    clock.time = 0.016
    scheduler.update_from_output(second, None)
    assert [step.tokens for step in recorder.steps()] == [4, 8]
    assert [step.time_ms for step in recorder.steps()] == pytest.approx([10.0, 6.0])


class Executor:
    """As much of vLLM's as the recorder touches; launching takes 3 ms, sampling 1 ms more."""

    def __init__(self, clock):
        self.clock = clock

    def execute_model(self, scheduler_output, non_block):
        assert non_block
        self.clock.time += 0.003
        return "executed"

    def sample_tokens(self, grammar_output, non_block):
        self.clock.time += 0.001
        return "sampled"

    def launch(self):
        assert self.execute_model({}, non_block=True) == "executed"
        assert self.sample_tokens(None, non_block=True) == "sampled"


def test_host_waits_from_its_last_launch_until_the_batch_before_returns(clock):
    scheduler, executor = Scheduler([[4], [4]]), Executor(clock)
    recorder = vllm_steps.StepRecorder(scheduler, executor)
    first = scheduler.schedule()
    executor.launch()
    second = scheduler.schedule()
    executor.launch()
    clock.time = 0.010
    scheduler.update_from_output(first, None)
    clock.time = 0.012  # nothing more to launch
    scheduler.update_from_output(second, None)
    assert [step.waited_ms for step in recorder.steps()] == pytest.approx([2.0, 2.0])


def test_nobody_knows_who_waits_where_batches_are_launched_elsewhere(clock):
    scheduler = Scheduler([[4]])
    recorder = vllm_steps.StepRecorder(scheduler)
    scheduler.update_from_output(scheduler.schedule(), None)
    assert [step.waited_ms for step in recorder.steps()] == [None]


def test_the_host_is_looked_at_fifty_times_a_second(clock):
    scheduler = Scheduler([[4], [4], [4], [], [4], [4]])
    glances = iter([0.02, 0.03, 0.04])
    recorder = vllm_steps.StepRecorder(scheduler, loop_ms=lambda: next(glances))
    for ends_at in (1.000, 1.012, 1.024, 1.050, 1.060, 1.075):
        output = scheduler.schedule()
        clock.time = ends_at
        scheduler.update_from_output(output, None)
    # Steps begin at 0, 1.000, 1.012, 1.050 and 1.060 s.
    assert [step.loop_ms for step in recorder.steps()] == [None, 0.02, None, 0.03, None]


def test_nobody_looks_at_the_host_where_it_is_not_asked_for(clock):
    scheduler = Scheduler([[4]])
    recorder = vllm_steps.StepRecorder(scheduler)
    clock.time = 1.0
    scheduler.update_from_output(scheduler.schedule(), None)
    assert [step.loop_ms for step in recorder.steps()] == [None]


class UniProcExecutor:
    """vLLM's, by its name."""


class ExternallyLaunched(UniProcExecutor):
    pass


class MultiprocExecutor:
    pass


@pytest.mark.parametrize(
    ("executor", "async_scheduling", "expected"),
    [
        (UniProcExecutor(), True, True),
        (ExternallyLaunched(), True, True),
        (UniProcExecutor(), False, False),
        (MultiprocExecutor(), True, False),
    ],
)
def test_only_this_thread_can_be_seen_to_wait(executor, async_scheduling, expected):
    scheduling = types.SimpleNamespace(async_scheduling=async_scheduling)
    config = types.SimpleNamespace(scheduler_config=scheduling)
    assert vllm_engine.launches_and_goes_on(config, executor) is expected


def test_empty_and_unfinished_batches_are_no_steps(clock):
    scheduler = Scheduler([[], [4], [4]])
    recorder = vllm_steps.StepRecorder(scheduler)
    scheduler.update_from_output(scheduler.schedule(), None)
    scheduler.update_from_output(scheduler.schedule(), None)
    scheduler.schedule()
    assert len(recorder.steps()) == 1
    recorder.clear()
    assert recorder.steps() == []
