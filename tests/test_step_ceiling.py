"""`scripts/step_ceiling.py`: steps and GEMMs of one GPU, medians, nothing emulated."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import build_attempt, build_metrics, build_run
from gemm_builders import build_result, build_row, build_task
from script_files import load_script

from slidesparse_bench.cell import Quantization
from slidesparse_bench.models import find_architecture
from slidesparse_bench.records import CellRecord, CellState
from slidesparse_bench.wire import Spread

MODEL, M = "llama3.2-1b", 512
ARCHITECTURE = find_architecture(MODEL)
H200, H100 = "NVIDIA H200", "NVIDIA H100"


@pytest.fixture(scope="module")
def script():
    return load_script("step_ceiling")


def build_cell(step_ms, *, device_name=H200, **changes):
    """A passed cell whose mean step is a second longer than the median one."""
    spread = Spread(1000 + step_ms, step_ms, step_ms, step_ms, 0.0)
    metrics = build_metrics(step_time_ms=spread, **changes)
    attempt = build_attempt(metrics=metrics, device="GPU 0", device_name=device_name)
    return CellRecord(state=CellState.PASSED, attempts=[attempt], metrics=metrics)


def build_steps(**cells):
    """A run of prefill cells: `cublaslt=build_cell(30.0)`."""
    return build_run({f"{MODEL}.int8.{name}.prefill.m{M}": cell for name, cell in cells.items()})


def build_gemms(*, part="", emulated=False, **times_ms):
    """`gemm.json` with all layers of the model together in so many ms per backend."""
    rows = []
    for label, time_ms in times_ms.items():
        backend, _, sparsity = label.partition("_")
        for linear in ARCHITECTURE.layer_linears:
            sizes = {"model": MODEL, "layer": linear.name + part, "m": M}
            task = build_task(backend, sparsity or None, n=linear.n, k=linear.k, **sizes)
            each_ms = time_ms / ARCHITECTURE.num_hidden_layers / len(ARCHITECTURE.layer_linears)
            row = build_row(each_ms, task, emulated=emulated)
            latency = replace(row.numbers.latency_ms, mean=1000.0)
            rows.append(replace(row, numbers=replace(row.numbers, latency_ms=latency)))
    return rows


def page_of(script, run, rows, names=None, **changes):
    document = build_result(rows, **changes).document()
    return script.page(run, names or {}, document, MODEL, M)


def table_of(text):
    """Cells of the INT8 table by backend."""
    lines = (line for line in text.splitlines() if line.startswith("| c"))
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {first: rest for first, *rest in cells}


def test_a_ceiling_is_the_gemms_and_the_least_rest_of_the_dense_backends(script):
    sparse = {"cusparselt-2_8": build_cell(25.0)}
    run = build_steps(cutlass=build_cell(22.0), cublaslt=build_cell(30.0), **sparse)
    text = page_of(script, run, build_gemms(cutlass=12.0, cublaslt=16.0, cusparselt_2_8=10.0))
    assert table_of(text) == {
        "cutlass": ["22.00", "12.00", "22.00", "100.0%", "1.36", "1.00"],
        "cublaslt": ["30.00", "16.00", "26.00", "86.7%", "1.00", "0.73"],
        "cusparselt-2_8": ["25.00", "10.00", "20.00", "80.0%", "1.20", "0.88"],
    }


def test_without_cublaslt_nothing_is_said_over_it(script):
    run = build_steps(cutlass=build_cell(22.0))
    assert table_of(page_of(script, run, build_gemms(cutlass=12.0)))["cutlass"][-2:] == ["", "1.00"]


def test_emulated_gemms_are_no_times(script):
    run = build_steps(cublaslt=build_cell(30.0))
    text = page_of(script, run, build_gemms(cublaslt=16.0, emulated=True))
    assert table_of(text) == {}
    assert "INT8: no dense backend has both" in text


def test_emulated_cells_are_no_steps(script):
    cells = {"cublaslt": build_cell(30.0), "cusparselt-2_8": build_cell(25.0, emulated=True)}
    rows = build_gemms(cublaslt=16.0, cusparselt_2_8=10.0)
    assert set(table_of(page_of(script, build_steps(**cells), rows))) == {"cublaslt"}


def test_layers_of_one_gpu_of_several_are_not_those_of_the_model(script):
    run = build_steps(cublaslt=build_cell(30.0))
    both = [*build_gemms(cublaslt=16.0), *build_gemms(cublaslt=4.0, part="-tp4")]
    assert table_of(page_of(script, run, both))["cublaslt"][1] == "16.00"
    rows = build_result(build_gemms(cublaslt=4.0, part="-tp4")).document()["rows"]
    assert script.gemm_times(rows, MODEL, Quantization.INT8, M) == {}


@pytest.mark.parametrize("names", [{}, {"GPU 0": H100}])
def test_a_run_of_another_gpu_is_refused_with_both(script, names):
    run = build_steps(cublaslt=build_cell(30.0, device_name=None if names else H100))
    with pytest.raises(SystemExit, match=f"RUN is of {H100}, GEMM.json of {H200}"):
        page_of(script, run, build_gemms(cublaslt=16.0), names)


@pytest.mark.parametrize(("cold", "words"), [(True, "with cold caches"), (False, "with warm")])
def test_the_page_says_which_gpu_and_which_caches(script, cold, words):
    run = build_steps(cublaslt=build_cell(30.0))
    text = page_of(script, run, build_gemms(cublaslt=16.0), cold=cold)
    assert f"{H200}; medians; GEMMs measured {words}" in text
