"""Our GEMM backends in real vLLM on the CPU, where the libraries are emulated."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin.sparsity import stretched_k

pytest.importorskip("vllm", reason="needs the cpu extra")
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "VLLM_CPU_KVCACHE_SPACE": "1"}
SLIDESPARSE = [sys.executable, "-m", "slidesparse_bench"]
MATRIX = """
name: emulated
models: [tiny-qwen]
quantization: [int8]
backends:
  - cublaslt
  - cusparselt: {sparsity: [2:8]}
stages: {prefill: {M: [16, 50]}}
measurement: {fixed_iterations: 2, min_warmup_s: 0, lead_in_s: 0}
cpu_memory_gib: 0.1
"""
"""tiny-qwen has biases and merged qkv; torch.compile is on, which is what users run."""

TWO_RANKS = """
name: ranks
models: [tiny-qwen]
quantization: [int8]
backends: [cusparselt: {sparsity: [2:8]}]
stages: {prefill: {M: [16]}}
engine_args: {tensor_parallel_size: 2, enforce_eager: true}
measurement: {fixed_iterations: 2, min_warmup_s: 0, lead_in_s: 0}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    work = tmp_path_factory.mktemp("emulated")
    (work / "m.yaml").write_text(MATRIX)
    done = subprocess.run(
        [*SLIDESPARSE, "run", "m.yaml"],
        cwd=work,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        subprocess.run([*SLIDESPARSE, "report"], cwd=work, env=ENVIRONMENT, check=False).returncode
        == 0
    )
    return work


def results(work):
    for path in sorted(work.glob("runs/*/cells/*/attempt-1/result.json")):
        yield path.parts[-3], json.loads(path.read_text())


def test_both_libraries_pass_with_kernels_of_their_own_and_say_they_are_emulated(run):
    kernels = {
        cell: (result["metrics"]["kernel"], result["metrics"]["emulated"])
        for cell, result in results(run)
    }
    dense, sparse = (f"SlideSparse{name}Int8LinearKernel" for name in ("CublasLt", "CusparseLt"))
    assert kernels == {
        "tiny-qwen.int8.cublaslt.prefill.m16": (dense, True),
        "tiny-qwen.int8.cublaslt.prefill.m50": (dense, True),
        "tiny-qwen.int8.cusparselt-2_8.prefill.m16": (sparse, True),
        "tiny-qwen.int8.cusparselt-2_8.prefill.m50": (sparse, True),
    }


def test_evidence_names_every_gemm_that_ran_with_its_calls(run):
    (evidence,) = dict(results(run))["tiny-qwen.int8.cusparselt-2_8.prefill.m50"]["provenance"][
        "gemms"
    ]
    assert (evidence["library"], evidence["emulated"]) == ("cusparselt", True)
    asked = {gemm["m"] for gemm in evidence["gemms"]}
    assert 64 in asked  # 50 rows, in multiples of 16
    assert all(gemm["calls"] > 0 for gemm in evidence["gemms"])
    assert {gemm["input_type"] for gemm in evidence["gemms"]} == {"int8"}


def test_activation_is_in_the_quantization_of_the_layer_behind_it(run):
    for cell, result in results(run):
        (evidence,) = result["provenance"]["gemms"]
        widths = {"quantize": set(), "silu_and_mul_quantize": set()}
        for gemm in evidence["gemms"]:
            widths[gemm["prologue"]].add(gemm["k"])
        (down,) = widths["silu_and_mul_quantize"]
        assert down > max(widths["quantize"]), cell


def test_no_speed_up_is_made_of_emulated_numbers(run):
    report = next(run.glob("reports/*/report.md")).read_text()
    assert "emulated" in report
    assert "against `cublaslt`" not in report


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a rank needs a CPU of its own")
def test_two_tensor_parallel_ranks_each_leave_evidence(tmp_path):
    (tmp_path / "m.yaml").write_text(TWO_RANKS)
    first, second, *_ = sorted(os.sched_getaffinity(0))
    environment = {**ENVIRONMENT, "VLLM_CPU_OMP_THREADS_BIND": f"{first}|{second}"}
    done = subprocess.run(
        [*SLIDESPARSE, "run", "m.yaml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [(_, result)] = results(tmp_path)
    whole, half = 256, 128  # o_proj of tiny-qwen, split along k
    for rank in result["provenance"]["gemms"]:
        widths = {gemm["k"] for gemm in rank["gemms"]}
        assert stretched_k(half, Sparsity(8)) in widths
        assert stretched_k(whole, Sparsity(8)) in widths
    assert len(result["provenance"]["gemms"]) == 2


def test_tokens_are_those_of_the_dense_library_and_of_a_prepared_checkpoint(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "compare_tokens.py")]
    command += ["--model", "tiny-llama", "--sparsity", "2:6", "--positions", "600"]
    command += ["--work", str(tmp_path), "--out", str(tmp_path / "tokens.md")]
    shared = {**ENVIRONMENT, "VLLM_CACHE_ROOT": str(Path.home() / ".cache" / "vllm")}
    done = subprocess.run(command, env=shared, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "tokens.md").read_text().count("| 100.0000% |") == 2
