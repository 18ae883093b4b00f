"""Which GEMMs a matrix or a command line asks for, and which of them can run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from gemm_builders import CPU, H200, build_task

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.errors import UsageError
from slidesparse_bench.gemm_wire import DENSE, RowState
from slidesparse_bench.gemms import asked_of_matrix, asked_of_options, plan_rows, select_rows
from slidesparse_bench.gemms.tasks import EXACT_K
from slidesparse_bench.matrix import load_matrix_text
from slidesparse_bench.models import find_architecture
from slidesparse_bench.models.config import config_json

MATRIX = """
name: few
models: [qwen2.5-7b]
quantization: [int8]
backends: [cublaslt, {cusparselt: {sparsity: [2:4, 2:8]}}]
stages: {prefill: {M: [512, 4096]}, decode: {M: [64, 512]}}
"""
SHAPES = {
    "qkv_proj": (4608, 3584),
    "o_proj": (3584, 3584),
    "gate_up_proj": (37888, 3584),
    "down_proj": (3584, 18944),
}


def build_matrix(text=MATRIX, folder=Path()):
    return load_matrix_text(text, folder / "few.yaml", folder=folder)


def options(**changes):
    lists = {
        "models": ["tiny-llama"],
        "quantizations": ["int8"],
        "backends": ["cusparselt"],
        "sparsities": ["2:8"],
        "ms": [64],
        **changes,
    }
    return asked_of_options(**lists)


def build_folder(folder):
    """A folder with the `config.json` of a tiny model."""
    folder.mkdir(parents=True)
    config = config_json(find_architecture("tiny-llama"), "int8")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_every_layer_is_asked_for_at_every_m_of_both_stages_once():
    asked = asked_of_matrix(build_matrix())
    assert {(task.layer, (task.n, task.k)) for task in asked.tasks} == set(SHAPES.items())
    assert {task.m for task in asked.tasks} == {64, 512, 4096}
    assert len(asked.tasks) == len(set(asked.tasks)) == 4 * 3 * 3


def test_a_gemm_is_called_like_its_cell_with_the_layer_for_the_stage():
    assert build_task("cusparselt", "2:8").id == (
        "qwen2.5-7b.int8.cusparselt-2_8.gate_up_proj.m16384"
    )


def test_cells_that_the_matrix_excludes_have_no_gemms():
    asked = asked_of_matrix(build_matrix(MATRIX + "exclude: ['*.m4096', '*.cublaslt.*']\n"))
    assert {task.m for task in asked.tasks} == {64, 512}
    assert {task.backend for task in asked.tasks} == {"cusparselt"}


def test_tensor_parallel_layers_are_those_of_one_gpu():
    asked = asked_of_matrix(build_matrix(MATRIX + "engine_args: {tensor_parallel_size: 2}\n"))
    shapes = {task.layer: (task.n, task.k) for task in asked.tasks}
    assert shapes["gate_up_proj-tp2"] == (18944, 3584)
    assert shapes["down_proj-tp2"] == (3584, 9472)


def test_shapes_of_different_numbers_of_gpus_have_ids_of_their_own():
    override = "overrides: [{match: '*.prefill.*', engine_args: {tensor_parallel_size: 4}}]\n"
    tasks = asked_of_matrix(build_matrix(MATRIX + override)).tasks
    assert {task.layer for task in tasks if task.m == 64} == set(SHAPES)
    assert {task.layer for task in tasks if task.m == 512} == {
        *SHAPES,
        *(f"{name}-tp4" for name in SHAPES),
    }
    assert len({task.id for task in tasks}) == len(tasks)


def test_a_number_of_gpus_that_vllm_refuses_is_refused_with_those_that_it_takes():
    asked = asked_of_matrix(build_matrix(MATRIX + "engine_args: {tensor_parallel_size: 3}\n"))
    rows = plan_rows(asked.tasks, H200, asked.unsplit)
    assert {(row.state, row.reason) for row in rows} == {
        (RowState.REFUSED, "28 attention heads do not split over 3 GPUs; use 1, 2, 4")
    }


@pytest.mark.parametrize(
    ("model", "gpus", "reason"),
    [
        ("llama3.2-1b", 1, ""),
        ("llama3.2-1b", 32, ""),
        ("llama3.2-1b", 3, "32 attention heads do not split over 3 GPUs; use 1, 2, 4, 8, 16, 32"),
        ("llama3.2-1b", 64, "32 attention heads do not split over 64 GPUs; use 1, 2, 4, 8, 16, 32"),
        ("qwen2.5-7b", 7, "4 key-value heads do not split over 7 GPUs; use 1, 2, 4"),
        ("qwen2.5-7b", 28, "intermediate size 18944 does not split over 28 GPUs; use 1, 2, 4"),
    ],
)
def test_heads_and_intermediate_size_split_as_in_vllm(model, gpus, reason):
    assert find_architecture(model).refuses_split(gpus) == reason


def test_a_checkpoint_of_one_quantization_has_its_shapes_in_both(tmp_path):
    (tmp_path / "mine").mkdir()
    config = config_json(find_architecture("tiny-qwen"), "int8")
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config))
    text = "name: a\nmodels: [{name: mine, path: mine}]\nstages: {decode: {M: [64]}}\n"
    asked = asked_of_matrix(build_matrix(text, tmp_path))
    assert {task.quantization for task in asked.tasks} == {"int8", "fp8"}
    assert asked.left_out == {}


def test_a_folder_with_a_config_is_a_model_of_the_command_line(tmp_path):
    config = config_json(find_architecture("tiny-llama"), "int8")
    (tmp_path / "config.json").write_text(json.dumps(config))
    asked = options(models=[f"{tmp_path}/"])
    assert {task.model for task in asked.tasks} == {tmp_path.name.lower()}
    assert len(asked.tasks) == 4


def test_two_folders_of_one_name_are_refused_with_both(tmp_path):
    folders = [build_folder(tmp_path / "a" / "my7b"), build_folder(tmp_path / "b" / "My7b")]
    with pytest.raises(UsageError, match=f"{folders[0]} and {folders[1]} are both called 'my7b'"):
        options(models=[str(folder) for folder in folders])
    assert len(options(models=[str(folders[0]), f"{folders[0]}/"]).tasks) == 4


@pytest.mark.parametrize(
    ("name", "changes"),
    [("tiny-llama", {"models": ["tiny-llama"]}), ("square", {"squares": [64], "models": []})],
)
def test_a_folder_called_like_something_built_in_is_refused_beside_it(name, changes):
    models = [*changes.pop("models"), f"./{name}"]
    with pytest.raises(UsageError, match=f"are both called '{name}'"):
        options(models=models, **changes)


def test_a_model_of_a_matrix_that_is_not_here_is_left_out_with_its_reason(tmp_path):
    models = "[tiny-llama, {name: none, path: ./none}]"
    asked = asked_of_matrix(build_matrix(MATRIX.replace("[qwen2.5-7b]", models), tmp_path))
    assert {task.model for task in asked.tasks} == {"tiny-llama"}
    assert "none is not a folder" in asked.left_out["none"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "none is not a folder"),
        ("empty", "empty has no config.json"),
        ("strange", "strange"),
        ("n" * 300, "n: File name too long"),
    ],
    ids=["none", "empty", "strange", "long"],
)
def test_a_model_of_the_command_line_that_cannot_be_read_is_wrong_usage(tmp_path, name, reason):
    (tmp_path / "empty").mkdir()
    (build_folder(tmp_path / "strange") / "config.json").write_text('{"model_type": "strange"}')
    with pytest.raises(UsageError, match=f"--model: .*{reason}.*; name a folder with config.json"):
        options(models=["tiny-llama", f"{tmp_path}/{name}"])


def test_square_sizes_come_with_every_way_that_is_asked_for():
    asked = options(models=[], sparsities=["2:4", "2:8"], squares=[4096, 8192])
    assert {(task.m, task.n, task.k) for task in asked.tasks} == {(4096,) * 3, (8192,) * 3}
    assert asked.tasks[0].id == "square.int8.cusparselt-2_4.4096x4096.m4096"
    assert len(asked.tasks) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantizations": ["int4"]}, "'int4' is not one of int8, fp8"),
        ({"backends": ["cublas"]}, "'cublas' is not one of native, cutlass, cublaslt, cusparselt"),
        ({"sparsities": ["2:5"]}, "sparsity '2:5' is not one of 2:4"),
        ({"models": ["llama"]}, r"--model: 'llama' is not built in; .*\./my-7b.* tiny-llama"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_unknown_word_is_wrong_usage(change, message):
    with pytest.raises(UsageError, match=message):
        options(**change)


def test_every_size_has_its_dense_references_first_and_once():
    rows = plan_rows(asked_of_matrix(build_matrix()).tasks, H200)
    point = [row.task.backend_label for row in rows if row.task.layer == "o_proj"][:5]
    assert point == [*DENSE, "cusparselt-2_4", "cusparselt-2_8"]
    assert len(rows) == 4 * 3 * 5


def test_what_is_compared_stands_together():
    rows = plan_rows(asked_of_matrix(build_matrix()).tasks, H200)
    sizes = [(row.task.layer, row.task.m) for row in rows]
    changes = sum(a != b for a, b in itertools.pairwise(sizes))
    assert changes == 4 * 3 - 1


def test_native_stands_for_the_sizes_of_its_references():
    rows = plan_rows([build_task("native")], H200)
    assert [row.task.backend for row in rows] == list(DENSE)


def test_on_the_cpu_the_references_of_gpus_are_refused_with_a_reason():
    rows = plan_rows([build_task("cusparselt", "2:4", m=16, n=64, k=64)], CPU)
    states = {row.task.backend: (row.state, row.reason) for row in rows}
    assert states["cutlass"][0] is states["torch"][0] is RowState.REFUSED
    assert "needs an NVIDIA GPU" in states["cutlass"][1]
    assert states["cusparselt"] == states["cublaslt"] == (RowState.PENDING, "")


def test_a_product_that_would_take_the_cpu_minutes_is_refused():
    rows = plan_rows([build_task("cusparselt", "2:4")], CPU)
    assert {row.state for row in rows} == {RowState.REFUSED}
    assert any("choose smaller sizes" in row.reason for row in rows)


@pytest.mark.parametrize("device", [CPU, H200], ids=["cpu", "h200"])
def test_a_k_that_nothing_can_be_checked_at_is_refused_before_anything_runs(device):
    within, beyond = (
        plan_rows([build_task("cusparselt", "2:8", m=1, n=64, k=k)], device)
        for k in (EXACT_K - 1, EXACT_K)
    )
    assert RowState.PENDING in {row.state for row in within}
    assert {(row.state, row.reason) for row in beyond} == {
        (
            RowState.REFUSED,
            "k = 131072: sums of 8-bit products are exact for k below 131072 only",
        )
    }


def test_fp8_is_refused_on_a_gpu_without_it():
    a100 = DeviceFacts(DeviceKind.CUDA, "NVIDIA A100", 2**35, (8, 0))
    rows = plan_rows([build_task("cusparselt", "2:4", quantization="fp8")], a100)
    assert {row.state for row in rows} == {RowState.REFUSED}
    assert all("needs compute capability 8.9" in row.reason for row in rows)


def test_a_glob_picks_and_one_that_matches_nothing_names_the_nearest():
    tasks = asked_of_matrix(build_matrix()).tasks
    picked = select_rows(tasks, ["*.cusparselt-2_8.*.m512", "*.down_proj.m64"])
    assert {task.m for task in picked} == {64, 512}
    assert len(picked) == 4 + 3
    with pytest.raises(UsageError, match=r"matches none of 36 GEMMs; the nearest is qwen2\.5-7b"):
        select_rows(tasks, ["qwen2.5-7b.int8.cusparselt-2_6.o_proj.m64"])
