"""Whole campaigns of the fake engine: real processes, every way an engine can misbehave."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from slidesparse_bench.cli import execution, invoke
from slidesparse_bench.records import RunState
from slidesparse_bench.store import Store, list_runs
from slidesparse_bench.wire import ATTEMPT_VARIABLE

GOOD = "tiny-llama.int8.native.prefill.m512"
BAD = "tiny-llama.int8.native.prefill.m1024"
QUICK = {"grace_s": 1, "silence_s": 3, "attempt_s": 30, "memory_wait_s": 1}


class Work:
    """A folder with one matrix of two cells, of which the second misbehaves as ordered."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, *orders, **changes):
        matrix = {
            "name": "night",
            "models": ["tiny-llama"],
            "quantization": ["int8"],
            "stages": {"prefill": {"M": [512, 1024]}},
            "engine": "fake",
            "timeouts": QUICK,
        }
        if orders:
            arguments = {"fake": {"misbehave": list(orders)}}
            matrix["overrides"] = [{"match": BAD, "engine_args": arguments}]
        (self.folder / "matrix.yaml").write_text(yaml.safe_dump({**matrix, **changes}))

    def run(self, *options):
        return invoke(["run", "matrix.yaml", *options])

    @property
    def run_folder(self):
        return self.runs[-1]

    @property
    def runs(self):
        return list_runs(self.folder / "runs")

    def status(self):
        return json.loads((self.run_folder / "status.json").read_text())

    def cell(self, cell_id=BAD):
        return self.status()["cells"][cell_id]

    def classes(self, cell_id=BAD):
        attempts = self.cell(cell_id)["attempts"]
        return [each["failure"] and each["failure"]["class"] for each in attempts]


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Work(tmp_path)


def order(action, **more):
    return {"action": action, **more}


def test_a_quiet_night_passes_every_cell_and_exits_with_0(work):
    work.write()
    assert work.run() == 0
    status = work.status()
    assert status["state"] == "finished"
    assert status["counts"]["passed"] == 2
    metrics = status["cells"][BAD]["metrics"]
    assert metrics["m_requested"] == metrics["m_observed"]["min"] == 1024
    header, *rows = (work.run_folder / "results.csv").read_text().splitlines()
    assert header.startswith("id,model,quantization,backend,sparsity,stage,M,state,class,")
    assert [row.partition(",")[0] for row in rows] == [GOOD, BAD]


@pytest.mark.parametrize(
    ("misbehaviour", "classes"),
    [
        (order("raise_error", phase="load_weights", value="odd"), ["python_bug"]),
        (order("exit", value=7), ["unknown", "unknown"]),
        (order("kill"), ["oom_host", "oom_host"]),
        (order("kill", attempts=[1]), ["oom_host", None]),
        (order("hang", phase="start_engine"), ["timeout_hang", "timeout_hang"]),
        (order("hang_deaf", attempts=[1]), ["timeout_hang", None]),
        (order("half_result", phase="verify", attempts=[1]), ["unknown", None]),
        (order("no_result", phase="verify", attempts=[1]), ["no_result", None]),
        (order("other_m"), ["m_mismatch", "m_mismatch"]),
        (order("flood", value=4), [None]),
        (order("leave_child"), [None]),
        (order("leave_child_setsid"), [None]),
        (order("print_log", value="ERROR alarming words, no failure"), [None]),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_misbehaviour_costs_its_own_cell_at_most(work, misbehaviour, classes):
    work.write(misbehaviour)
    code = work.run()
    assert work.classes() == classes
    assert work.cell()["state"] == ("passed" if classes[-1] is None else "failed")
    assert code == (0 if classes[-1] is None else 1)
    assert work.cell(GOOD)["state"] == "passed"
    assert ours_alive(work.run_folder) == []


def test_another_kernel_than_asked_is_no_number(work):
    orders = {"fake": {"misbehave": order("other_kernel", phase="verify")}}
    work.write(backends=["cutlass"], engine_args=orders, isolation="cell")
    assert work.run() == 1
    assert work.classes("tiny-llama.int8.cutlass.prefill.m512") == ["wrong_kernel"]


def test_a_good_result_with_a_bad_exit_is_a_failure(work):
    work.write(order("exit", phase="done", value=3))
    assert work.run() == 1
    assert work.cell()["state"] == "failed"
    assert work.cell()["metrics"] is None
    assert json.loads(attempt_file(work, "result.json").read_text())["ok"] is True


def test_worker_killed_mid_capture_keeps_its_log_tail(work):
    work.write(
        order("print_log", phase="profile_memory", value="the last words"),
        order("kill", phase="capture_graphs", value="SIGSEGV"),
    )
    assert work.run() == 1
    assert "the last words" in attempt_file(work, "worker.log").read_text()
    attempt = work.cell()["attempts"][0]
    assert (attempt["phase"], attempt["signal"]) == ("capture_graphs", "SIGSEGV")


def test_a_failure_points_at_the_line_that_caused_it(work):
    text = "first line\nsecond line"
    work.write(order("raise_error", phase="load_weights", value=text))
    work.run()
    failure = work.cell()["attempts"][0]["failure"]
    log = (work.run_folder / failure["evidence"]["file"]).read_text().splitlines()
    assert log[failure["evidence"]["line"] - 1] == failure["root_cause"]
    assert "first line" in failure["root_cause"]


def test_the_ladder_raises_the_memory_until_the_kv_cache_fits(work):
    fake = {"memory_gib": 24, "weights_gib": 15, "kv_cache_gib": 6}
    work.write(engine_args={"fake": fake}, isolation="cell")
    assert work.run() == 0
    tried = [each["engine_args"]["gpu_memory_utilization"] for each in work.cell()["attempts"]]
    assert tried == [0.8, 0.9]
    assert work.classes() == ["kv_cache_insufficient", None]
    assert work.cell()["attempts"][1]["changed"] == {"gpu_memory_utilization": 0.9}


def test_no_rung_is_tried_that_cannot_suffice(work):
    work.write(engine_args={"fake": {"memory_gib": 24, "weights_gib": 15, "kv_cache_gib": 12}})
    assert work.run() == 1
    assert len(work.cell()["attempts"]) < 4
    assert "12.0" in work.cell()["reason"]


def test_hopeless_classes_are_not_tried_again(work):
    text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9.00 GiB"
    work.write(order("raise_error", phase="load_weights", value=text))
    assert work.run() == 1
    assert len(work.cell()["attempts"]) == 1


def test_what_the_device_cannot_run_is_skipped_with_its_reason(work, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    work.write(engine="vllm", backends=["cutlass"])
    assert work.run() == 3
    cell = work.cell("tiny-llama.int8.cutlass.prefill.m512")
    assert cell["state"] == "skipped"
    assert "NVIDIA GPU" in cell["reason"]


def test_a_missing_model_fails_its_cells_and_no_others(work):
    work.write(models=["tiny-llama", {"name": "mine", "path": "./nowhere"}])
    assert work.run() == 1
    assert work.classes("mine.int8.native.prefill.m512") == ["model_not_found"]
    assert work.cell(GOOD)["state"] == "passed"


def test_a_dry_run_writes_nothing(work, capsys):
    work.write()
    assert work.run("--dry-run", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 2
    assert not (work.folder / "runs").exists()


def test_a_selection_leaves_the_rest_for_later(work):
    work.write()
    assert work.run("--select", "*.m512") == 0
    assert work.cell()["state"] == "pending"
    assert work.status()["state"] == "interrupted"
    before = work.runs
    assert work.run() == 0
    assert work.cell()["state"] == "passed"
    assert work.runs == before


def test_a_finished_matrix_starts_another_run(work):
    work.write()
    assert work.run() == 0
    time.sleep(1.1)
    assert work.run() == 0
    assert len(work.runs) == 2


def test_a_changed_matrix_is_another_run(work):
    work.write()
    work.run("--select", "*.m512")
    time.sleep(1.1)
    work.write(seed=5)
    assert work.run() == 0
    assert len(work.runs) == 2


def test_retry_adds_attempts_and_leaves_passed_cells_alone(work):
    work.write(order("exit", value=7, attempts=[1, 2]))
    assert work.run() == 1
    before = snapshot(work.run_folder / "cells" / GOOD)
    assert invoke(["retry", "--failed", "--set", "gpu_memory_utilization=0.95"]) == 0
    assert work.classes() == ["unknown", "unknown", None]
    last = work.cell()["attempts"][-1]
    assert last["changed"] == {"gpu_memory_utilization": 0.95}
    assert snapshot(work.run_folder / "cells" / GOOD) == before


def test_retry_of_a_class_leaves_other_failures_alone(work):
    work.write(order("exit", value=7))
    work.run()
    assert invoke(["retry", "--failed", "--class", "oom_host"]) == 0
    assert len(work.cell()["attempts"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["retry"],
        ["retry", "--failed", "--class", "no_such_class"],
        ["retry", "--failed", "--set", "gpu_memory_utilization"],
        ["retry", "--failed", "--set", "gpu_memory_utilization=7"],
        ["retry", "--failed", "no-such-run"],
        ["run", "matrix.yaml", "--isolation", "both"],
        ["run", "matrix.yaml", "--select", "nothing*"],
        ["run", "matrix.yaml", "--gpus", "x"],
        ["run", "matrix.yaml", "--nonsense"],
        ["run", "no-such-matrix.yaml"],
        ["report", "no-such-run"],
        ["status", "no-such-run"],
        ["classify", "no-such.log"],
        ["plan", "matrix.yaml", "--gpu", "Voodoo 2"],
        ["plan", "matrix.yaml", "--gpu-memory-gib", "24"],
        ["plan", "matrix.yaml", "--gpu-memory-gib", "24", "--compute-capability", "nine"],
        ["plan", "matrix.yaml", "--gpu-memory-gib", "24", "--compute-capability", "8.\u00b2"],
        ["plan", "matrix.yaml", "--gpu-memory-gib", "1e300", "--compute-capability", "8.9"],
        ["plan", "matrix.yaml", "--gpu-memory-gib", "24", "--gpu", "NVIDIA H200"],
        ["plan", "matrix.yaml", "--gpu-memory-utilization", "1.5"],
    ],
    ids=" ".join,
)
def test_bad_usage_exits_with_2_and_writes_nothing(work, arguments, capsys):
    work.write()
    assert invoke(arguments) == 2
    assert capsys.readouterr().err.strip()
    assert sorted(path.name for path in work.folder.iterdir()) == ["matrix.yaml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"name: x\nmodels: [tiny-llama]\nstages: {prefill: {M: [0]}}\n", "matrix.yaml:3:"),
        (b"name: x\nmodels: [tiny-lama]\nstages: {prefill: {M: [1]}}\n", "tiny-llama"),
        (b"name: x\nname: y\nmodels: [tiny-llama]\n", "matrix.yaml:2:1"),
        (b"name: x\n\tmodels: [a]\n", "matrix.yaml:2:"),
        (b"\xff\xfe\x00", "matrix.yaml:"),
        (b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "matrix.yaml:1:1"),
    ],
    ids=["m-0", "misspelt", "duplicate", "tab", "no-utf-8", "aliases"],
)
def test_a_bad_matrix_is_answered_with_its_line_and_nothing_is_written(work, capsys, text, says):
    (work.folder / "matrix.yaml").write_bytes(text)
    assert work.run() == 2
    assert says in capsys.readouterr().err
    assert sorted(path.name for path in work.folder.iterdir()) == ["matrix.yaml"]


def test_two_devices_share_the_cells(work):
    work.write(stages={"prefill": {"M": [128, 256, 512, 1024]}})
    assert work.run("--gpus", "0,1") == 0
    devices = {cell["attempts"][0]["device"] for cell in work.status()["cells"].values()}
    assert devices == {"fake GPU 0", "fake GPU 1"}


def test_a_lost_gpu_is_taken_out_and_the_others_go_on(work):
    text = "NVRM: Xid (PCI:0000:01:00): 79, pid=1, GPU has fallen off the bus."
    work.write(
        order("print_log", phase="start_engine", value=text),
        order("exit", phase="start_engine"),
        stages={"prefill": {"M": [1024, 128, 256, 512]}},
    )
    assert work.run("--gpus", "0,1") == 1
    assert work.classes() == ["gpu_lost"]
    assert work.status()["counts"] == {
        "pending": 0, "running": 0, "passed": 3, "failed": 1, "skipped": 0,
    }  # fmt: skip


def test_a_full_disk_pauses_the_run(work):
    text = "OSError: [Errno 28] No space left on device"
    work.write(order("raise_error", value=text), stages={"prefill": {"M": [1024, 512]}})
    assert work.run() == 1
    assert work.classes() == ["disk_full"]
    assert work.cell(GOOD)["state"] == "pending"
    assert work.status()["state"] == "interrupted"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_disk_that_is_full_at_the_very_end_pauses_and_does_not_exit_with_0(
    work, monkeypatch, capsys, number
):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    work.write()
    monkeypatch.setattr(execution, "write_text", refuse)
    assert work.run() == 1
    assert "The run paused: the disk is full" in "".join(capsys.readouterr())
    assert work.status()["counts"]["passed"] == 2
    monkeypatch.undo()
    monkeypatch.chdir(work.folder)
    assert work.run() == 0


def test_a_disk_without_room_for_the_last_event_pauses_the_run(work, monkeypatch, capsys):
    append = Store.append

    def refuse_the_end(store, event):
        if event.get("state") == RunState.FINISHED:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(store, event)

    work.write()
    monkeypatch.setattr(Store, "append", refuse_the_end)
    assert work.run() == 1
    assert "The run paused: the disk is full" in "".join(capsys.readouterr())
    assert Store.open(work.run_folder).record.state is RunState.INTERRUPTED


# Interruptions: the campaign in a process of its own


def start_campaign(work, *arguments):
    command = [sys.executable, "-m", "slidesparse_bench"]
    return subprocess.Popen(
        [*command, *(arguments or ("run", "matrix.yaml"))],
        cwd=work.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_running(work):
    wait_until(lambda: "measure" in attempt_file(work, "phases.jsonl").read_text())


def wait_until(happened):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, IndexError):
            if happened():
                return
        time.sleep(0.05)
    raise AssertionError("it never happened")


def test_kill_9_costs_the_cell_in_flight_and_the_same_command_goes_on(work):
    work.write(order("hang", attempts=[1]))
    campaign = start_campaign(work)
    wait_until_running(work)
    run = work.run_folder
    before = snapshot(run / "cells" / GOOD)
    campaign.kill()
    campaign.communicate()
    assert work.run() == 0
    assert work.run_folder == run
    assert snapshot(run / "cells" / GOOD) == before
    assert work.classes() == ["interrupted", None]
    assert work.cell()["attempts"][0]["ending"] == "lost"
    assert ours_alive(run) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_campaign_saves_its_state_and_its_code_says_so(work, number, code):
    work.write(order("hang", attempts=[1]))
    campaign = start_campaign(work)
    wait_until_running(work)
    campaign.send_signal(number)
    campaign.communicate(timeout=30)
    assert campaign.returncode == code
    assert work.status()["state"] == "interrupted"
    assert work.classes() == ["interrupted"]
    assert work.cell()["state"] == "pending"
    assert ours_alive(work.run_folder) == []
    assert work.run() == 0
    assert work.classes() == ["interrupted", None]


def test_an_interrupted_retry_goes_on_with_its_settings(work):
    orders = [order("exit", value=7, attempts=[1, 2]), order("hang", attempts=[3])]
    work.write(*orders)
    assert work.run() == 1
    again = ["retry", "--failed", "--set", "gpu_memory_utilization=0.9"]
    retry = start_campaign(work, *again)
    wait_until(lambda: "measure" in attempt_file(work, "phases.jsonl", 3).read_text())
    retry.send_signal(signal.SIGINT)
    retry.communicate(timeout=30)
    assert retry.returncode == 130
    assert invoke(again) == 0
    tried = [each["engine_args"]["gpu_memory_utilization"] for each in work.cell()["attempts"]]
    assert tried == [0.8, 0.8, 0.9, 0.9]


def test_a_watchdog_that_ends_every_attempt_holds_up_one_cell_only(work):
    work.write(order("kill", value="SIGTERM"), stages={"prefill": {"M": [1024, 512]}})
    work.run()
    assert work.classes() == ["interrupted"] * 3
    assert work.cell(GOOD)["state"] == "passed"


def test_a_reader_that_leaves_does_not_end_the_run(work):
    work.write(stages={"prefill": {"M": [128, 256, 512, 1024]}})
    campaign = start_campaign(work)
    campaign.stdout.readline()
    campaign.stdout.close()
    assert campaign.wait(60) == 0
    assert work.status()["counts"]["passed"] == 4


def test_a_worker_that_kills_its_campaign_does_not_outlive_it(work):
    work.write(order("kill_campaign", attempts=[1]))
    campaign = start_campaign(work)
    campaign.communicate(timeout=60)
    assert campaign.returncode == -signal.SIGKILL
    assert work.run() == 0
    assert work.classes() == ["interrupted", None]


def test_a_run_in_progress_is_locked_with_exit_code_3(work, capsys):
    work.write(order("hang", attempts=[1]))
    campaign = start_campaign(work)
    wait_until_running(work)
    assert work.run() == 3
    assert f"process {campaign.pid}" in capsys.readouterr().err
    campaign.terminate()
    campaign.communicate(timeout=30)


def snapshot(folder: Path):
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def attempt_file(work, name, n=1):
    return work.run_folder / "cells" / BAD / f"attempt-{n}" / name


def ours_alive(run_folder):
    """Processes that still carry a token of this run."""
    owner = Store.open(run_folder).owner
    alive = []
    for process in psutil.process_iter():
        try:
            token = process.environ().get(ATTEMPT_VARIABLE, "")
        except (psutil.Error, OSError):
            continue
        if token.startswith(f"{owner}/") and process.pid != os.getpid():
            alive.append(process.pid)
    return alive


def test_a_run_that_is_on_record_as_finished_has_its_results(work, monkeypatch):
    """Whoever kills it between the two finds no run that is finished without them."""
    work.write()
    append, seen = Store.append, []

    def looked(store, event):
        if event.get("state") == "finished":
            seen.append((store.folder / "results.csv").read_text().count(",passed,"))
        append(store, event)

    monkeypatch.setattr(Store, "append", looked)
    assert work.run() == 0
    assert seen == [2]
