"""The plan: verdicts, engine arguments and the document that other programs read."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cell import Cell, Quantization
from slidesparse_bench.cli import invoke
from slidesparse_bench.cli.plan import _print_table
from slidesparse_bench.feasibility import FitVerdict
from slidesparse_bench.matrix import load_matrix_text
from slidesparse_bench.models.catalog import CATALOG
from slidesparse_bench.models.config import config_json
from slidesparse_bench.plan import (
    START_UP_S,
    PlannedCell,
    Sources,
    engine_args,
    make_plan,
    will_run,
)
from slidesparse_bench.units import GIB, MIB

MATRICES = Path(__file__).parent.parent / "matrices"
H200 = DeviceFacts(DeviceKind.CUDA, "NVIDIA H200", 140 * GIB, (9, 0))
CPU = DeviceFacts(DeviceKind.CPU, "some CPU", 64 * MIB)
TEXT = """
name: p
models: [tiny-llama]
quantization: [int8]
backends: [native, cutlass, {cusparselt: {sparsity: [2:8]}}]
stages: {prefill: {M: [512, 4096]}, decode: {M: [64]}}
"""


def matrix_of(more=""):
    return load_matrix_text(TEXT + more, Path("p.yaml"))


def arguments_of(cell_id, device=H200, more="", **changes):
    matrix, cell = matrix_of(more), Cell.parse(cell_id)
    return engine_args(cell, matrix, Sources(matrix).of(cell), device, changes)


def test_engine_arguments_are_the_methods():
    arguments = arguments_of("tiny-llama.int8.native.decode.m64")
    assert arguments == {
        "max_model_len": 272,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 1024,
        "enable_prefix_caching": False,
        "enable_chunked_prefill": False,
        "gpu_memory_utilization": 0.8,
        "compilation_config": {"cudagraph_capture_sizes": [64]},
    }


@pytest.mark.parametrize(
    ("cell_id", "sizes"),
    [
        ("tiny-llama.int8.native.decode.m16", [16, 256]),
        ("tiny-llama.int8.native.prefill.m512", [512]),
        ("tiny-llama.int8.native.prefill.m1024", [1]),
    ],
)
def test_graphs_are_captured_for_the_batches_of_the_cell_and_no_other(cell_id, sizes):
    captured = arguments_of(cell_id)["compilation_config"]["cudagraph_capture_sizes"]
    assert captured == sizes


@pytest.mark.parametrize(
    ("more", "left"),
    [
        ("engine_args: {compilation_config: 0}", 0),
        ("engine_args: {enforce_eager: true}", None),
        (
            "engine_args: {compilation_config: {mode: 3, cudagraph_capture_sizes: [8]}}",
            {"mode": 3, "cudagraph_capture_sizes": [8]},
        ),
    ],
)
def test_what_the_matrix_says_of_graphs_holds(more, left):
    arguments = arguments_of("tiny-llama.int8.native.decode.m64", more=more)
    assert arguments.get("compilation_config") == left


def test_the_matrix_overrides_the_method_and_a_retry_overrides_the_matrix():
    more = "engine_args: {gpu_memory_utilization: 0.7, enforce_eager: true}"
    cell_id = "tiny-llama.int8.native.prefill.m512"
    assert arguments_of(cell_id, more=more)["gpu_memory_utilization"] == 0.7
    retried = arguments_of(cell_id, more=more, gpu_memory_utilization=0.9)
    assert (retried["gpu_memory_utilization"], retried["enforce_eager"]) == (0.9, True)


def test_a_longer_model_length_takes_the_batch_limit_along():
    more = "engine_args: {max_model_len: 9000}"
    arguments = arguments_of("tiny-llama.int8.native.prefill.m512", more=more)
    assert (arguments["max_model_len"], arguments["max_num_batched_tokens"]) == (9000, 9000)


def test_on_a_cpu_the_utilization_applies_to_the_budget():
    cell_id = "tiny-llama.int8.native.decode.m64"
    low = arguments_of(cell_id, CPU)["kv_cache_memory_bytes"]
    high = arguments_of(cell_id, CPU, gpu_memory_utilization=0.9)["kv_cache_memory_bytes"]
    assert high - low == pytest.approx(0.1 * 64 * MIB, abs=2)
    asked = arguments_of(cell_id, CPU, more="engine_args: {kv_cache_memory_bytes: 4096}")
    assert asked["kv_cache_memory_bytes"] == 4096


def test_what_cannot_run_here_is_unsupported_with_its_reason_and_its_need():
    plan = make_plan(matrix_of(), CPU)
    verdicts = {cell.id: cell for cell in plan.cells}
    refused = verdicts["tiny-llama.int8.cutlass.prefill.m512"]
    assert refused.verdict is FitVerdict.UNSUPPORTED
    assert refused.reason == "backend cutlass needs an NVIDIA GPU; this device is some CPU"
    assert refused.memory_gib.total > 0
    assert not will_run(refused, "try")


def test_what_cannot_fit_is_tried_only_when_the_matrix_says_so():
    tiny = DeviceFacts(DeviceKind.CPU, "some CPU", 8 * MIB)
    cells = {cell.id: cell for cell in make_plan(matrix_of(), tiny).cells}
    hopeless = cells["tiny-llama.int8.native.decode.m64"]
    assert hopeless.verdict is FitVerdict.DOES_NOT_FIT
    assert (will_run(hopeless, "skip"), will_run(hopeless, "try")) == (False, True)


def test_the_estimate_counts_what_will_run_only():
    turing = replace(H200, compute_capability=(7, 5))  # no sparse tensor cores
    plan = make_plan(matrix_of(), turing)
    running = [cell for cell in plan.cells if will_run(cell, "skip")]
    assert 0 < len(running) < len(plan.cells)
    alone = make_plan(matrix_of(), turing, isolation="cell")
    assert alone.estimate_s == sum(cell.estimate_s for cell in running)


def test_sharing_engines_saves_their_starts():
    shared, alone = (make_plan(matrix_of(), H200, isolation=each) for each in ("engine", "cell"))
    assert [len(group.cells) for group in shared.groups] == [3, 3, 3]
    assert [len(group.cells) for group in alone.groups] == [1] * 9
    assert alone.estimate_s - shared.estimate_s == 6 * START_UP_S[DeviceKind.CUDA]
    assert make_plan(matrix_of("trials: 3"), H200).estimate_s == 3 * shared.estimate_s


def test_models_with_a_folder_are_known_by_their_configuration_too(tmp_path):
    text = json.dumps(config_json(CATALOG["tiny-llama"], Quantization.INT8))
    for name in ("one", "two", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "config.json").write_text(text)
    (tmp_path / "two" / "config.json").write_text(f"{text} ")
    models = ", ".join(f"{{name: {name}, path: ./{name}}}" for name in ("one", "two", "none"))
    matrix = load_matrix_text(
        TEXT.replace("tiny-llama", f"tiny-llama, {models}"), tmp_path / "p.yaml"
    )
    assert make_plan(matrix, H200).model_configs == {
        name: hashlib.sha256(content.encode()).hexdigest()
        for name, content in (("one", text), ("two", f"{text} "))
    }


def test_a_configuration_is_the_users_and_not_the_copy_that_is_made_of_it(tmp_path):
    config = config_json(CATALOG["tiny-llama"], Quantization.INT8)
    config.pop("quantization_config")
    (tmp_path / "config.json").write_text(json.dumps(config))
    matrix = load_matrix_text(TEXT.replace("tiny-llama", "{name: a, path: .}"), tmp_path / "p.yaml")
    assert make_plan(matrix, H200).model_configs == {
        "a": hashlib.sha256(json.dumps(config).encode()).hexdigest()
    }


@pytest.mark.parametrize("name", ["rtx4090", "h200", "h200-first-light", "quickstart"])
def test_plan_json_has_the_contracts_keys(name, capsys):
    path = str(MATRICES / f"{name}.yaml")
    assert invoke(["plan", path, "--gpu", "NVIDIA GeForce RTX 4090", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["estimate_s"] >= 0
    for cell in document["cells"]:
        assert {"id", "verdict", "reason", "memory_gib", "warnings"} <= set(cell)
        assert cell["verdict"] in {"fits", "tight", "does_not_fit", "unsupported"}
        assert set(cell["memory_gib"]) == {
            "weights", "kv_cache", "activations", "overhead", "total", "available",
        }  # fmt: skip


def test_a_device_that_is_not_here_is_planned_for_by_its_numbers(capsys):
    path = str(MATRICES / "rtx4090.yaml")
    options = ["--gpu-memory-gib", "24", "--compute-capability", "8.0", "--json"]
    assert invoke(["plan", path, *options]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    refused = next(cell for cell in cells if ".fp8.cutlass." in cell["id"])
    assert refused["verdict"] == "unsupported"
    assert "needs compute capability 8.9" in refused["reason"]


def test_on_a_narrow_terminal_reasons_stand_below_the_table(monkeypatch, capsys):
    out = Console(width=80, highlight=False)
    fits, large = (
        PlannedCell("a", FitVerdict.FITS, "needs 1 GiB", None, [], {}, 1.0),
        PlannedCell("b", FitVerdict.DOES_NOT_FIT, "needs 900 GiB", None, [], {}, 1.0),
    )
    _print_table(out, [fits, large])
    lines = capsys.readouterr().out.splitlines()
    assert "reason" not in lines[0]
    assert lines[3:] == ["b: needs 900 GiB"]
