"""What cusparselt.py and cublaslt.py do with their libraries, which are fakes here."""

import importlib
import sys
import types

import pytest
import torch
from fake_nvmath import FakeCublasLt, FakeCusparseLt

from slidesparse_bench.vllm_plugin import event_timing, gemm

CPU = torch.device("cpu")
STREAM = 4711


@pytest.fixture
def capture(monkeypatch):
    """Whether a CUDA graph is being captured, as the libraries see it."""
    state = types.SimpleNamespace(on=False)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: state.on)
    return state


@pytest.fixture
def load(monkeypatch, capture):
    """A module of ours with a fake in place of its binding."""
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")

    def loaded(name, fake):
        bindings = types.ModuleType("nvmath.bindings")
        bindings.cusparseLt = fake
        bindings.cublasLt = fake
        monkeypatch.setitem(sys.modules, "nvmath", types.ModuleType("nvmath"))
        monkeypatch.setitem(sys.modules, "nvmath.bindings", bindings)
        module = f"slidesparse_bench.vllm_plugin.{name}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        fresh = importlib.import_module(module)
        monkeypatch.setattr(gemm, "current_stream", lambda device: STREAM)
        monkeypatch.setattr(event_timing, "burst_ms", lambda call, *how: call() or fake.last_ms())
        return fresh

    yield loaded
    for name in ("cusparselt", "cublaslt"):
        sys.modules.pop(f"slidesparse_bench.vllm_plugin.{name}", None)


@pytest.fixture
def sparse(load, tmp_path):
    def library(fake, folder=tmp_path):
        return load("cusparselt", fake).CusparseltGemm(CPU, folder)

    return library


@pytest.fixture
def dense(load, tmp_path):
    def library(fake):
        return load("cublaslt", fake).CublasltGemm(CPU, tmp_path)

    return library


def operands(m=16, n=32, k=64):
    return torch.zeros((m, k), dtype=torch.int8), torch.zeros(n * k, dtype=torch.uint8)


def multiply(library, m=16):
    q_x, packed = operands(m)
    return library.multiply(q_x, packed, 32, torch.bfloat16)


# cuSPARSELt


def test_a_problem_is_searched_once_and_planned_once(sparse):
    fake = FakeCusparseLt()
    library = sparse(fake)
    multiply(library)
    fake.calls.clear()
    multiply(library)
    multiply(library)
    assert (fake.searches, [call[0] for call in fake.calls]) == (1, [7, 7])
    assert sorted(fake.handles.open.values()) == [
        "matrix", "matrix", "matrix", "operation", "plan", "selection",
    ]  # fmt: skip


def test_the_call_gets_the_operands_with_a_factor_of_one_and_this_threads_stream(sparse):
    fake = FakeCusparseLt()
    library = sparse(fake)
    q_x, packed = operands()
    raw = library.multiply(q_x, packed, 32, torch.bfloat16)
    assert raw.shape == (16, 32)
    _, *addresses, one, zero, stream, count = fake.calls[-1]
    assert addresses == [packed.data_ptr(), q_x.data_ptr(), raw.data_ptr()]
    assert (one, zero, stream, count) == (1.0, 0.0, STREAM, 1)


def test_the_next_process_finds_the_algorithm_on_disk(sparse):
    multiply(sparse(FakeCusparseLt()))
    fake = FakeCusparseLt(best=3)
    library = sparse(fake)
    multiply(library)
    assert (fake.searches, fake.calls[0][0]) == (0, 7)
    assert '"config_id": 7' in library.last_algorithm


def test_a_search_that_fails_leaves_the_default_and_nothing_on_disk(sparse, tmp_path, capsys):
    library = sparse(fake := FakeCusparseLt(search_fails=True))
    multiply(library)
    multiply(library)
    assert (fake.searches, [call[0] for call in fake.calls]) == (1, [0, 0])
    assert "no algorithm found" in capsys.readouterr().out
    assert list(tmp_path.rglob("*.json")) == []


def test_an_algorithm_that_this_m_cannot_run_gives_way_to_the_default(sparse):
    multiply(sparse(FakeCusparseLt()))
    fake = FakeCusparseLt(refused=[7])
    library = sparse(fake)
    multiply(library)
    assert fake.calls[0][0] == 0
    assert '"config_id": 0' in library.last_algorithm
    assert len(fake.handles.open) == 6  # of the refused plan nothing is left


def test_an_algorithm_that_wants_too_much_workspace_gives_way_to_the_default(sparse):
    fake = FakeCusparseLt(workspace_bytes=2**40)
    multiply(sparse(fake))
    assert fake.calls[0][0] == 0
    assert len(fake.handles.open) == 6


def test_a_bucket_that_cannot_even_be_planned_leaves_the_default(sparse, capsys):
    """m = 48 is searched as m = 64, and may run where that does not."""
    fake = FakeCusparseLt(refused_m=[64])
    multiply(sparse(fake), 48)
    assert [call[0] for call in fake.calls] == [0]
    assert "no algorithm found for m64-" in capsys.readouterr().out
    assert len(fake.handles.open) == 6


def test_what_the_default_would_want_does_not_keep_the_search_from_finding_less(sparse):
    fake = FakeCusparseLt(workspace_bytes={0: 2**40, 7: 0})
    multiply(sparse(fake))
    assert (fake.searches, fake.calls[-1][0]) == (1, 7)


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, 3),
        ({"ms": {3: 1.0, 7: 1.01}}, 7),
        ({"refused": [3, 5]}, 7),
        ({"broken": [3, 5]}, 7),
        ({"workspace_bytes": {3: 2**40}}, 7),
        ({"configs": 3}, 7),
        ({"configs": 0}, 7),
        ({"split_k": -1}, 3),
        ({"broken": [7]}, 3),
        ({"broken": range(1, 9)}, 0),
    ],
    ids=str,
)
def test_what_the_search_found_has_to_stand_against_all_others(sparse, changes, chosen):
    fake = FakeCusparseLt(**{"ms": {3: 1.0, 7: 1.1}, **changes})
    multiply(sparse(fake))
    assert (fake.searches, fake.calls[-1][0]) == (1, chosen)
    assert len(fake.handles.open) == 6  # nothing is left of the plans that were not chosen


def test_an_algorithm_with_numbers_that_no_int_holds_is_searched_again(sparse, tmp_path):
    multiply(sparse(FakeCusparseLt()))
    [kept] = tmp_path.rglob("*.json")
    kept.write_text(kept.read_text().replace('"config_id": 7', '"config_id": 99999999999999'))
    fake = FakeCusparseLt(best=3)
    multiply(sparse(fake))
    assert (fake.searches, fake.calls[-1][0]) == (1, 3)


def test_nothing_is_searched_while_a_graph_is_captured_but_soon_after(sparse, capture):
    fake = FakeCusparseLt()
    library = sparse(fake)
    capture.on = True
    multiply(library)
    multiply(library)
    assert (fake.searches, [call[0] for call in fake.calls]) == (0, [0, 0])
    capture.on = False
    multiply(library)
    assert (fake.searches, fake.calls[-1][0]) == (1, 7)
    assert len(fake.handles.open) == 6


def test_what_is_found_does_not_depend_on_which_m_came_first(sparse, monkeypatch):
    fake = FakeCusparseLt()
    library = sparse(fake)
    searched = []
    search = library._search
    monkeypatch.setattr(
        library,
        "_search",
        lambda problem, *rest: searched.append(problem.m) or search(problem, *rest),
    )
    for m in (48, 528, 64):
        multiply(library, m)
    assert searched == [64, 1024]


def test_each_m_of_a_bucket_has_a_plan_of_its_own_and_one_search_serves_all(sparse):
    fake = FakeCusparseLt()
    library = sparse(fake)
    for m in (32, 48, 64):
        multiply(library, m)
    assert fake.searches == 2  # buckets of 32 and of 64


# cuBLASLt


def test_the_fastest_of_what_the_heuristic_offers_runs(dense):
    fake = FakeCublasLt()
    library = dense(fake)
    multiply(library)
    assert fake.calls[-1] == bytes([2]) * 64
    assert library.last_algorithm == (bytes([2]) * 64).hex()


def test_a_known_algorithm_is_not_searched_again(dense):
    multiply(dense(FakeCublasLt()))
    fake = FakeCublasLt()
    multiply(dense(fake))
    assert fake.calls == [bytes([2]) * 64]


def test_a_dense_bucket_that_cannot_even_be_planned_leaves_the_heuristics_choice(dense, capsys):
    fake = FakeCublasLt(refused_m=[64])
    multiply(dense(fake), 48)
    assert [call[0] for call in fake.calls] == [1]
    assert "no algorithm found for m64-" in capsys.readouterr().out


def test_algorithms_that_do_not_run_are_passed_over(dense):
    fake = FakeCublasLt(broken=[1])
    multiply(dense(fake))
    assert fake.calls[-1][0] in (2, 3)


def test_a_known_algorithm_that_this_m_cannot_run_gives_way_to_the_heuristics(dense, tmp_path):
    multiply(dense(FakeCublasLt()))
    [kept] = tmp_path.rglob("*.json")
    before = kept.read_text()
    fake = FakeCublasLt(broken=[2])
    multiply(dense(fake))
    assert [call[0] for call in fake.calls] == [1]
    assert kept.read_text() == before


def test_no_algorithm_at_all_is_an_error_and_leaks_nothing(dense):
    fake = FakeCublasLt(offered=0)
    library = dense(fake)
    with pytest.raises(ValueError, match="no algorithm"):
        multiply(library)
    assert fake.handles.open == {}


def test_while_a_graph_is_captured_the_heuristics_choice_runs(dense, capture):
    fake = FakeCublasLt()
    library = dense(fake)
    capture.on = True
    multiply(library)
    assert fake.calls == [bytes([1]) * 64]
    capture.on = False
    multiply(library)
    assert fake.calls[-1][0] == 2
