"""Several cells in one engine: what a death there costs, and what it does not."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from slidesparse_bench import engine_run, telemetry
from slidesparse_bench.cli import invoke
from slidesparse_bench.step_kernels import read_step_kernels
from slidesparse_bench.store import list_runs
from slidesparse_bench.telemetry import Telemetry

MS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SERIES = "tiny-llama.int8.native.prefill"
FOURTH = f"{SERIES}.m1024"
LARGEST = f"{SERIES}.m16384"
CAMPAIGN = [sys.executable, "-m", "slidesparse_bench"]
QUICK = {"grace_s": 1, "silence_s": 3, "attempt_s": 30, "memory_wait_s": 1}


class Night:
    """A folder with one matrix of eight M, whose engine misbehaves as ordered."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, *orders, fake=None, **changes):
        matrix = {
            "name": "night",
            "models": ["tiny-llama"],
            "quantization": ["int8"],
            "stages": {"prefill": {"M": list(MS)}},
            "engine": "fake",
            "engine_args": {"fake": {"misbehave": list(orders), **(fake or {})}},
            "timeouts": QUICK,
        }
        (self.folder / "matrix.yaml").write_text(yaml.safe_dump({**matrix, **changes}))

    def run(self, *options):
        return invoke(["run", "matrix.yaml", *options])

    @property
    def run_folder(self):
        return list_runs(self.folder / "runs")[-1]

    @property
    def cells(self):
        return json.loads((self.run_folder / "status.json").read_text())["cells"]

    def attempts(self, cell_id):
        """Isolation and failure class of every attempt."""
        return [
            (each["isolation"], each["failure"] and each["failure"]["class"])
            for each in self.cells[cell_id]["attempts"]
        ]

    def engines(self):
        """The cells of each shared engine that it began with, in order."""
        begun = {}
        for cell_id, cell in self.cells.items():
            for attempt in cell["attempts"]:
                begun.setdefault(attempt["engine"], []).append((attempt["started"], cell_id))
        return {
            name: [int(cell_id.rpartition("m")[2]) for _, cell_id in sorted(each)]
            for name, each in begun.items()
            if name is not None
        }

    def states(self):
        return [cell["state"] for cell in self.cells.values()]


@pytest.fixture
def night(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Night(tmp_path)


def order(action, **more):
    return {"action": action, **more}


def test_one_engine_measures_all_m_from_small_to_large(night):
    night.write()
    assert night.run() == 0
    assert night.engines() == {"1": list(MS)}
    assert all(night.attempts(cell_id) == [("engine", None)] for cell_id in night.cells)


def test_every_attempt_has_its_own_result_and_the_engines_log(night):
    night.write()
    night.run()
    folder = night.run_folder / "cells" / FOURTH / "attempt-1"
    assert json.loads((folder / "result.json").read_text())["cell_id"] == FOURTH
    [asked] = json.loads((folder / "request.json").read_text())["cells"]
    assert (asked["cell_id"], asked["folder"]) == (FOURTH, ".")
    assert (folder / "worker.log").resolve() == night.run_folder / "engines/1/worker.log"
    assert f"slidesparse measures {FOURTH}" in (folder / "worker.log").read_text()
    phases = [json.loads(line) for line in (folder / "phases.jsonl").read_text().splitlines()]
    own = [line["phase"] for line in phases if line.get("cell") == FOURTH]
    assert own == ["warm_up", "measure", "verify"]


def test_the_request_of_a_shared_attempt_measures_its_cell_alone(night):
    night.write()
    night.run()
    folder = night.run_folder / "cells" / FOURTH / "attempt-1"
    copy = night.folder / "again"
    copy.mkdir()
    (copy / "request.json").write_text((folder / "request.json").read_text())
    worker = [sys.executable, "-m", "slidesparse_bench.worker", str(copy / "request.json")]
    assert subprocess.run(worker, check=False).returncode == 0
    assert json.loads((copy / "result.json").read_text())["metrics"]["m_requested"] == 1024


PROFILED = {"measurement": {"profile_iterations": 3}}


def profiles(night):
    return {
        path.parents[1].name for path in night.run_folder.glob("cells/*/attempt-*/kernels.json")
    }


def test_a_profile_stands_beside_the_result(night):
    night.write(**PROFILED)
    assert night.run() == 0
    assert profiles(night) == set(night.cells)
    folder = night.run_folder / "cells" / FOURTH / "attempt-1"
    kernels = read_step_kernels(folder)
    assert (kernels.iterations, kernels.linear_ms(layers=4)) == (3, pytest.approx(2.4))


def test_without_being_asked_nothing_is_profiled(night):
    night.write()
    night.run()
    assert profiles(night) == set()


@pytest.mark.parametrize("isolation", ["engine", "cell"])
@pytest.mark.parametrize("action", ["raise_error", "exit", "kill"])
def test_a_profiler_that_fails_costs_no_result(night, action, isolation):
    night.write(order(action, phase="profile_steps", cells=FOURTH), **PROFILED)
    assert night.run("--isolation", isolation) == 0
    assert night.states() == ["passed"] * len(MS)
    assert len(night.attempts(FOURTH)) == 1
    assert profiles(night) == set(night.cells) - {FOURTH}


@pytest.mark.parametrize(
    ("action", "failure_class", "cell_id"),
    [
        (order("kill", attempts=[1], cells=FOURTH), "oom_host", FOURTH),
        (order("exit", attempts=[1], cells=FOURTH, value=0), "no_result", FOURTH),
        (order("hang", attempts=[1], cells=FOURTH), "timeout_hang", FOURTH),
        (order("other_m", attempts=[1], cells=FOURTH), "m_mismatch", FOURTH),
        (order("half_result", attempts=[1], cells=FOURTH), "unknown", FOURTH),
        (
            order(
                "raise_error",
                attempts=[1],
                cells=FOURTH,
                value="CUDA error: an illegal memory access was encountered",
            ),
            "illegal_memory_access",
            FOURTH,
        ),
        (order("kill", attempts=[1], cells=LARGEST), "oom_host", LARGEST),
        (order("exit", attempts=[1], cells=LARGEST, phase="done", value=3), None, LARGEST),
    ],
    ids=["killed", "gone", "hangs", "other M", "half a result", "CUDA error", "last", "bad end"],
)
def test_a_death_costs_one_cell_which_is_tried_alone(night, action, failure_class, cell_id):
    night.write(action)
    assert night.run() == 0
    (first, died), *rest = night.attempts(cell_id)
    assert first == "engine"
    assert died is not None
    assert failure_class in (None, died)
    assert rest == [("cell", None)]
    others = [each for each in night.cells if each != cell_id]
    assert all(night.attempts(each) == [("engine", None)] for each in others)
    place = MS.index(int(cell_id.rpartition("m")[2]))
    left = [list(MS[place + 1 :])] if place + 1 < len(MS) else []
    assert list(night.engines().values()) == [list(MS[: place + 1]), *left]


def test_a_cell_that_dies_alone_as_well_is_the_only_one_that_failed(night):
    night.write(order("raise_error", cells=FOURTH), order("raise_error", cells=FOURTH))
    assert night.run() == 1
    assert night.attempts(FOURTH) == [("engine", "python_bug"), ("cell", "python_bug")]
    assert [id_ for id_, cell in night.cells.items() if cell["state"] == "failed"] == [FOURTH]


def test_when_the_largest_does_not_start_the_group_is_split(night):
    night.write(order("raise_error", phase="profile_memory", cells=LARGEST, value="too large"))
    assert night.run() == 1
    assert night.states() == ["passed"] * 7 + ["failed"]
    assert [each for each in night.engines().values() if len(each) > 1] == [
        [128, 256, 512, 1024],
        [2048, 4096],
    ]
    isolations = [isolation for isolation, _ in night.attempts(LARGEST)]
    assert isolations == ["engine", "engine", "engine", "cell"]


def test_what_fails_for_every_m_is_not_halved_again_and_again(night):
    text = "RuntimeError: No CUDA GPUs are available"
    night.write(order("raise_error", phase="start_engine", value=text))
    assert night.run() == 1
    assert night.attempts(LARGEST) == [("engine", "driver_or_env"), ("cell", "driver_or_env")]
    assert all(len(cell["attempts"]) == 1 for cell in list(night.cells.values())[:-1])


def test_an_engine_that_measures_nothing_is_not_shared_again(night):
    night.write(order("other_kernel", phase="verify"), backends=["cutlass"])
    assert night.run() == 1
    smallest, *others = night.cells
    assert night.attempts(smallest) == [("engine", "wrong_kernel"), ("cell", "wrong_kernel")]
    assert all(night.attempts(each) == [("cell", "wrong_kernel")] for each in others)


def test_isolation_cell_gives_every_cell_its_own_process(night):
    night.write(isolation="cell")
    assert night.run() == 0
    assert night.engines() == {}
    night.write()
    assert night.run("--isolation", "cell", "--fresh") == 0
    assert night.engines() == {}


def test_the_time_limit_of_an_attempt_starts_anew_with_each_cell(night):
    slow = [order("hang", cells=f"{SERIES}.m{m}", value=1.2) for m in MS[:4]]
    night.write(*slow, timeouts={**QUICK, "attempt_s": 3})
    assert night.run() == 0
    assert night.engines() == {"1": list(MS)}


def test_kill_9_of_the_campaign_costs_the_cell_in_flight(night):
    night.write(order("hang", cells=FOURTH, attempts=[1]), timeouts={**QUICK, "silence_s": 60})
    campaign = started_up_to_the_fourth(night)
    campaign.kill()
    campaign.wait()
    assert [night.cells[each]["state"] for each in night.cells][:3] == ["passed"] * 3
    assert night.run() == 0
    assert night.attempts(FOURTH) == [("engine", "interrupted"), ("engine", None)]
    assert night.engines() == {"1": list(MS[:4]), "2": list(MS[3:])}


def test_a_stop_leaves_what_was_not_reached_pending(night):
    night.write(order("hang", cells=FOURTH, attempts=[1]), timeouts={**QUICK, "silence_s": 60})
    campaign = started_up_to_the_fourth(night)
    os.kill(campaign.pid, signal.SIGTERM)
    assert campaign.wait(20) == 143
    assert night.states() == ["passed"] * 3 + ["pending"] * 5
    assert night.run() == 0
    assert night.states() == ["passed"] * 8


def test_a_cell_that_failed_in_company_before_a_kill_goes_alone_afterwards(night):
    death = order("raise_error", cells=FOURTH, attempts=[1])
    stop = order("kill_campaign", cells=FOURTH, attempts=[2], value="SIGTERM")
    night.write(death, stop)
    assert subprocess.run([*CAMPAIGN, "run", "matrix.yaml"], check=False).returncode == 143
    assert night.run() == 0
    isolations = [isolation for isolation, _ in night.attempts(FOURTH)]
    assert isolations == ["engine", "cell", "engine"]
    assert night.states() == ["passed"] * 8


def test_trials_are_measured_in_processes_of_their_own_in_a_recorded_order(night):
    backends = {"backends": ["native", "cutlass"], "stages": {"prefill": {"M": [128, 256]}}}
    night.write(trials=3, seed=5, fake={"noise": 0.01}, **backends)
    assert night.run() == 0
    for cell in night.cells.values():
        assert [attempt["trial"] for attempt in cell["attempts"]] == [1, 2, 3]
        assert cell["metrics"]["trials"] == 3
        rates = [attempt["metrics"]["tokens_per_second"] for attempt in cell["attempts"]]
        assert min(rates) < cell["metrics"]["tokens_per_second"] < max(rates)
    firsts = first_backends(night)
    night.write(trials=3, seed=5, fake={"noise": 0.01}, **backends)
    assert night.run("--fresh") == 0
    assert first_backends(night) == firsts
    assert len(firsts) == 3


def test_a_trial_that_fails_fails_the_cell_and_ends_its_trials(night):
    night.write(order("raise_error", attempts=[2, 3, 4], cells=FOURTH), trials=3)
    assert night.run() == 1
    assert night.cells[FOURTH]["state"] == "failed"
    assert night.cells[FOURTH]["metrics"] is None
    assert all(
        night.cells[each]["metrics"]["trials"] == 3 for each in night.cells if each != FOURTH
    )


XID = "NVRM: Xid (PCI:0000:01:00): 79, pid=1, GPU has fallen off the bus."


def test_what_a_lost_gpu_leaves_goes_to_the_idle_one_and_nothing_twice(night):
    night.write(
        order("hang", cells=f"{SERIES}.m2048", value=1.5),
        order("raise_error", cells=f"{SERIES}.m4096", attempts=[1], value=XID),
    )
    assert night.run("--gpus", "0,1") == 0
    assert night.attempts(f"{SERIES}.m4096") == [("engine", "gpu_lost"), ("cell", None)]
    others = [each for each in night.cells if not each.endswith("m4096")]
    assert all(night.attempts(each) == [("engine", None)] for each in others)


def test_what_another_cell_printed_is_no_evidence(night):
    night.write(
        order("print_log", cells=f"{SERIES}.m128", value=XID),
        order("exit", cells=f"{SERIES}.m512", attempts=[1], value=3),
    )
    assert night.run() == 0
    assert night.attempts(f"{SERIES}.m512") == [("engine", "unknown"), ("cell", None)]


def test_a_time_limit_says_which_one_it_was(night):
    night.write(order("hang", cells=FOURTH, attempts=[1]))
    assert night.run() == 0
    failure = night.cells[FOURTH]["attempts"][0]["failure"]
    assert "no output and no phase for 3.0 s (timeouts.silence_s)" in failure["root_cause"]


def test_a_worker_that_goes_on_without_a_result_is_not_believed(night, monkeypatch):
    real = engine_run.read_result
    monkeypatch.setattr(
        engine_run,
        "read_result",
        lambda folder, asked: (
            None if (asked.cell_id, asked.attempt) == (FOURTH, 1) else real(folder, asked)
        ),
    )
    night.write()
    assert night.run() == 0
    assert night.attempts(FOURTH) == [("engine", "no_result"), ("cell", None)]
    others = [each for each in night.cells if each != FOURTH]
    assert all(night.attempts(each) == [("engine", None)] for each in others)


def test_a_lost_environment_file_costs_nothing_but_itself(night):
    night.write(order("hang", cells=FOURTH, value=1))
    campaign = started_up_to_the_fourth(night)
    (night.run_folder / "environment.json").unlink()
    assert campaign.wait(30) == 0
    assert night.states() == ["passed"] * 8
    assert invoke(["report"]) == 0


def test_a_setting_that_one_trial_needs_holds_for_all_of_them(night):
    died = "torch._inductor.exc.InductorError: RuntimeError: ptxas failed"
    night.write(
        order("raise_error", phase="load_weights", attempts=[2], value=died),
        stages={"prefill": {"M": [128]}},
        trials=3,
    )
    assert night.run() == 0
    [cell] = night.cells.values()
    counted = [a for a in cell["attempts"] if a["metrics"] and a["changed"]]
    assert [attempt["trial"] for attempt in counted] == [2, 3, 1]
    assert all(attempt["changed"] == {"enforce_eager": True} for attempt in counted)
    assert cell["metrics"]["trials"] == 3


def test_a_limit_that_the_matrix_sets_for_one_m_changes_no_other_engine(night):
    longer = {"match": FOURTH, "engine_args": {"max_model_len": 5000}}
    night.write(overrides=[longer])
    assert night.run() == 0
    lengths = {
        cell_id: cell["attempts"][0]["engine_args"]["max_model_len"]
        for cell_id, cell in night.cells.items()
    }
    assert lengths.pop(FOURTH) == 5000
    assert set(lengths.values()) == {1025}


def test_a_stop_while_an_engine_starts_is_booked_on_no_cell(night):
    night.write(order("hang", phase="load_weights"), timeouts={**QUICK, "silence_s": 60})
    campaign = subprocess.Popen([*CAMPAIGN, "run", "matrix.yaml"], stdout=subprocess.DEVNULL)
    wait_until(lambda: runs_of(night) and "running" in night.states())
    os.kill(campaign.pid, signal.SIGTERM)
    assert campaign.wait(20) == 143
    assert night.states() == ["pending"] * 8
    assert not any(cell["attempts"] for cell in night.cells.values())


def test_a_disturbed_measurement_stands_when_its_repetition_fails(night, disturbances):
    night.write(
        order("raise_error", attempts=[2, 3], cells=f"{SERIES}.m256"),
        order("raise_error", attempts=[3], cells=f"{SERIES}.m256"),
        stages={"prefill": {"M": [128, 256, 512]}},
    )
    disturbances += [[], ["hot"]]
    assert night.run() == 0
    cell = night.cells[f"{SERIES}.m256"]
    assert (cell["state"], cell["metrics"]["disturbed"]) == ("passed", ["hot"])
    assert "repeating it failed" in cell["reason"]


@pytest.fixture
def disturbances(monkeypatch):
    """What the telemetry says of each measurement in turn; nothing once the list is used up."""
    seen = []

    def summarize(_samples, _rounds):
        disturbed = seen.pop(0) if seen else []
        return Telemetry(500.0, 1980.0, 60.0, [], None, disturbed)

    monkeypatch.setattr(telemetry, "summarize", summarize)
    return seen


def test_a_disturbed_measurement_is_repeated_and_the_undisturbed_one_counts(night, disturbances):
    night.write(stages={"prefill": {"M": [128, 256, 512]}})
    disturbances += [[], ["hw_thermal in 40 % of the samples"]]
    assert night.run() == 0
    second = night.cells[f"{SERIES}.m256"]
    assert [each["metrics"]["disturbed"] != [] for each in second["attempts"]] == [True, False]
    assert second["metrics"]["disturbed"] == []
    assert [len(cell["attempts"]) for cell in night.cells.values()] == [1, 2, 1]


def test_a_disturbance_that_stays_is_marked_after_a_bounded_number_of_repeats(night, disturbances):
    night.write(stages={"prefill": {"M": [128]}})
    disturbances += [["a miner (pid 7) computed"]] * 9
    assert night.run() == 0
    [cell] = night.cells.values()
    assert (cell["state"], len(cell["attempts"])) == ("passed", 3)
    assert cell["metrics"]["disturbed"] == ["a miner (pid 7) computed"]


def first_backends(night):
    """Which backend came first in each trial."""
    begun = sorted(
        (attempt["trial"], attempt["started"], cell_id.split(".")[2])
        for cell_id, cell in night.cells.items()
        for attempt in cell["attempts"]
    )
    return [next(group)[2] for _, group in itertools.groupby(begun, key=lambda each: each[0])]


def started_up_to_the_fourth(night):
    """A campaign in a process of its own, caught while it measures the fourth cell."""
    campaign = subprocess.Popen([*CAMPAIGN, "run", "matrix.yaml"], stdout=subprocess.DEVNULL)
    wait_until(lambda: runs_of(night) and night.cells[FOURTH]["state"] == "running")
    return campaign


def runs_of(night):
    return list_runs(night.folder / "runs") and (night.run_folder / "status.json").exists()


def wait_until(condition, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.05)
