"""Real vLLM on the CPU: the main path, an honest failure, the ladder, and a kill -9."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from slidesparse_bench.cell import Cell
from slidesparse_bench.engine_groups import by_size

pytest.importorskip("vllm", reason="needs the cpu extra")
# The CPU is measured here, also on a machine with a GPU.
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

COMMAND = [sys.executable, "-m", "slidesparse_bench"]
MATRIX = """
name: cpu
models: [tiny-llama]
stages:
  prefill: {M: [64]}
  decode: {M: [2, 16]}
exclude: ["*.fp8.*.m16"]
engine_args: {enforce_eager: true}
overrides:
  - {match: "*.fp8.*.decode.*", engine_args: {max_model_length: 300}}
measurement: {fixed_iterations: 2, min_warmup_s: 0, lead_in_s: 0}
# Room for sixteen sequences only above a gpu_memory_utilization of 0.8.
cpu_memory_gib: 0.032
"""
TWO_CELLS = """
name: cpu
isolation: cell
models: [tiny-llama]
quantization: [int8]
stages: {prefill: {M: [64]}, decode: {M: [2]}}
engine_args: {enforce_eager: true}
measurement: {fixed_iterations: 2, min_warmup_s: 0, lead_in_s: 0}
"""
EIGHT_CELLS = """
name: cpu
models: [tiny-llama]
quantization: [int8]
stages: {prefill: {M: [8, 16, 32, 64, 128, 256]}, decode: {M: [2, 4]}}
engine_args: {enforce_eager: true}
measurement: {fixed_iterations: 2, min_warmup_s: 0, lead_in_s: 0}
overrides:
  # Long enough to be caught in the act: a tenth of it, in an engine that measured before.
  - {match: "*.prefill.m64", measurement: {min_warmup_s: 30}}
"""
INT8_PREFILL = "tiny-llama.int8.native.prefill.m64"
FP8_PREFILL = "tiny-llama.fp8.native.prefill.m64"
INT8_DECODE = "tiny-llama.int8.native.decode.m2"
LADDER = "tiny-llama.int8.native.decode.m16"
MISSPELT = "tiny-llama.fp8.native.decode.m2"


def slidesparse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """The document that `run --json` prints for the matrix above."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "matrix.yaml").write_text(MATRIX)
    done = slidesparse(folder, "run", "matrix.yaml", "--json")
    document = json.loads(done.stdout)
    document["folder"] = folder / document["run"]
    assert done.returncode == document["exit_code"]
    return document


@pytest.fixture
def cells(outcome):
    return outcome["status"]["cells"]


def test_one_cell_cannot_run_and_says_so_in_the_exit_code(outcome):
    assert outcome["exit_code"] == 1
    assert outcome["status"]["counts"] == {
        "pending": 0, "running": 0, "passed": 4, "failed": 1, "skipped": 0,
    }  # fmt: skip


@pytest.mark.parametrize("cell_id", [INT8_PREFILL, FP8_PREFILL, INT8_DECODE, LADDER])
def test_the_m_that_ran_is_the_m_that_was_asked_for(cells, cell_id):
    metrics = cells[cell_id]["metrics"]
    asked = metrics["m_requested"]
    assert (metrics["m_observed"]["min"], metrics["m_observed"]["max"]) == (asked, asked)
    assert metrics["m_observed"]["steps"] == (2 if "prefill" in cell_id else 510)


def test_tokens_are_counted_as_vllm_counts_them(cells):
    metrics = cells[INT8_DECODE]["metrics"]
    assert metrics["num_requests"] == 4
    assert metrics["total_num_tokens"] == 4 * 272
    assert metrics["tokens_per_second"] == pytest.approx(4 * 272 / metrics["elapsed_time"])


def test_the_kernels_that_ran_are_those_of_the_loaded_model(cells):
    assert cells[INT8_PREFILL]["metrics"]["kernel"] == "CPUInt8ScaledMMLinearKernel"
    assert "FP8" in cells[FP8_PREFILL]["metrics"]["kernel"].upper()


def test_the_ladder_makes_room_for_the_batch_and_the_change_is_recorded(cells):
    first, *_, last = cells[LADDER]["attempts"]
    assert first["failure"]["class"] == "kv_cache_insufficient"
    assert first["engine_args"]["gpu_memory_utilization"] == 0.8
    assert last["failure"] is None
    assert last["changed"] == {"gpu_memory_utilization": 0.9}


def test_an_argument_vllm_does_not_have_is_named_with_the_nearest_one(cells, outcome):
    attempts = cells[MISSPELT]["attempts"]
    assert [each["failure"]["class"] for each in attempts] == ["unsupported_config"]
    failure = attempts[0]["failure"]
    assert "'max_model_length'; did you mean max_model_len?" in failure["root_cause"]
    log = (outcome["folder"] / failure["evidence"]["file"]).read_text().splitlines()
    assert log[failure["evidence"]["line"] - 1] == failure["root_cause"]


def test_every_phase_of_a_start_is_on_record(outcome):
    path = outcome["folder"] / "cells" / INT8_PREFILL / "attempt-1" / "phases.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["phase"] for line in lines if "cell" not in line] == [
        "start", "import_engine", "start_engine", "load_weights", "capture_graphs",
    ]  # fmt: skip
    for cell_id, last in ((INT8_PREFILL, "verify"), (INT8_DECODE, "done")):
        phases = [line["phase"] for line in lines if line.get("cell") == cell_id]
        assert phases[:3] == ["warm_up", "measure", "verify"]
        assert phases[-1] == last


def test_the_report_explains_what_happened(outcome):
    folder = outcome["folder"].parent.parent
    assert slidesparse(folder, "report").returncode == 0
    report = (folder / "reports" / outcome["folder"].name / "report.md").read_text()
    assert "kv_cache_insufficient" in report
    assert "unsupported_config" in report
    assert "max_model_length" in report


def test_kill_9_in_the_middle_of_a_real_cell_costs_that_cell_only(tmp_path):
    (tmp_path / "matrix.yaml").write_text(TWO_CELLS)
    with subprocess.Popen(
        [*COMMAND, "run", "matrix.yaml"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    ) as campaign:
        wait_for(tmp_path, f"*/cells/{INT8_DECODE}/attempt-1/phases.jsonl", "load_weights")
        passed = next((tmp_path / "runs").glob(f"*/cells/{INT8_PREFILL}/attempt-1/result.json"))
        before = passed.read_bytes()
        campaign.kill()
    done = slidesparse(tmp_path, "run", "matrix.yaml", "--json")
    cells = json.loads(done.stdout)["status"]["cells"]
    assert done.returncode == 0
    assert passed.read_bytes() == before
    assert len(cells[INT8_PREFILL]["attempts"]) == 1
    classes = [e["failure"] and e["failure"]["class"] for e in cells[INT8_DECODE]["attempts"]]
    assert classes == ["interrupted", None]


def wait_for(folder: Path, pattern: str, text: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(text in path.read_text() for path in (folder / "runs").glob(pattern)):
            return
        time.sleep(0.1)
    raise AssertionError(f"{text} never came")


def test_an_engine_killed_at_its_fourth_cell_keeps_the_others(tmp_path):
    (tmp_path / "matrix.yaml").write_text(EIGHT_CELLS)
    campaign = subprocess.Popen([*COMMAND, "run", "matrix.yaml"], cwd=tmp_path, env=ENVIRONMENT)
    fourth = sorted_by_size(wait_for_cells(tmp_path))[3]
    while wait_for_cells(tmp_path)[fourth]["state"] != "running":
        time.sleep(0.05)
    [worker] = psutil.Process(campaign.pid).children()
    worker.kill()
    assert campaign.wait() == 0
    cells = wait_for_cells(tmp_path)
    own = [(each["isolation"], each["failure"] and each["failure"]["class"])
           for each in cells.pop(fourth)["attempts"]]  # fmt: skip
    assert own == [("engine", "oom_host"), ("cell", None)]
    assert len(cells) == 7
    for cell in cells.values():
        assert [(a["isolation"], a["failure"]) for a in cell["attempts"]] == [("engine", None)]
    engines = [cell["attempts"][0]["engine"] for cell in cells.values()]
    assert sorted(engines) == ["1"] * 3 + ["2"] * 4
    shown = slidesparse(tmp_path, "report", "--json")
    assert shown.returncode == 0, shown.stderr


def sorted_by_size(cell_ids):
    return [cell.id for cell in by_size(map(Cell.parse, cell_ids))]


def wait_for_cells(folder):
    while True:
        with contextlib.suppress(OSError, ValueError, StopIteration):
            run = next((folder / "runs").glob("cpu-*/status.json"))
            return json.loads(run.read_text())["cells"]
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("dtype", "largest"), [("int8", 127.0), ("float8_e4m3fn", 448.0)], ids=["int8", "fp8"]
)
def test_random_weights_use_the_whole_range_and_are_never_zero(dtype, largest):
    program = f"""
import torch
from slidesparse_bench.vllm_plugin.random_weights import fill
module = torch.nn.Module()
module.weight = torch.nn.Parameter(torch.zeros(256, 512, dtype=torch.{dtype}), requires_grad=False)
module.weight_scale = torch.nn.Parameter(torch.zeros(256, 1), requires_grad=False)
fill(module, "weight", module.weight.data, seed=1)
fill(module, "weight_scale", module.weight_scale.data, seed=2)
values = module.weight.data.float()
print((values == 0).sum().item(), values.abs().max().item(), values.mean().item(),
      (values * module.weight_scale).std().item())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    zeros, maximum, mean, deviation = map(float, done.stdout.split()[-4:])
    assert zeros == 0
    assert maximum == largest
    assert abs(mean) < 0.02 * largest
    assert deviation == pytest.approx(0.02, rel=0.05)
