"""`scripts/step_ceiling.py` and `step_kernels.py`: steps and GEMMs of one process, nothing emulated."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import build_attempt, build_metrics, build_run
from script_files import load_script

from slidesparse_bench.models import find_architecture
from slidesparse_bench.records import CellRecord, CellState
from slidesparse_bench.report import ReportInputs
from slidesparse_bench.report.document import render
from slidesparse_bench.report.view import view_of
from slidesparse_bench.step_kernels import (
    KernelTime,
    Parts,
    StepKernels,
    is_gemm,
    read_step_kernels,
    write_step_kernels,
)
from slidesparse_bench.store import Store
from slidesparse_bench.wire import Spread

MODEL, M = "llama3.2-1b", 512
LAYERS = find_architecture(MODEL).num_hidden_layers
SPARSE_GEMM = "sm90_xmma_sparse_gemm_i8bf16_i8i32_f32_tn_n_tilesize128x192x128_cgasize2x1x1"


@pytest.fixture(scope="module")
def script():
    return load_script("step_ceiling")


def build_cell(step_ms, **changes):
    """A passed cell whose mean step is a second longer than the median one."""
    spread = Spread(1000 + step_ms, step_ms, step_ms, step_ms, 0.0)
    metrics = build_metrics(step_time_ms=spread, **changes)
    attempt = build_attempt(metrics=metrics, device="GPU 0", device_name="NVIDIA H200")
    return CellRecord(state=CellState.PASSED, attempts=[attempt], metrics=metrics)


@pytest.fixture
def page_of(script, tmp_path):
    """The table by backend of cells `cublaslt=(cell, GEMMs in ms or None)`, and the whole text."""

    def page(**cells):
        ids = {name: f"{MODEL}.int8.{name}.prefill.m{M}" for name in cells}
        record = build_run({ids[name]: cell for name, (cell, _) in cells.items()})
        store = Store(tmp_path, record)
        (tmp_path / "environment.json").write_text('{"schema_version": 1}')
        for name, (_, gemm_ms) in cells.items():
            if gemm_ms is not None:
                folder = store.attempt_folder(ids[name], 1)
                folder.mkdir(parents=True)
                gemm = KernelTime(SPARSE_GEMM, 4 * LAYERS * 2, 2 * gemm_ms)
                write_step_kernels(folder, 2, [KernelTime("_quantize_rows", 8, 1.0), gemm])
        text = script.page(store, MODEL, M)
        rows = (line.strip("|").split("|") for line in text.splitlines() if line.startswith("| c"))
        return {name.strip(): [each.strip() for each in rest] for name, *rest in rows}, text

    return page


def test_a_ceiling_is_the_gemms_and_the_least_rest_of_the_dense_backends(page_of):
    table, text = page_of(
        cutlass=(build_cell(22.0), 12.0),
        cublaslt=(build_cell(30.0), 16.0),
        **{"cusparselt-2_8": (build_cell(25.0), 10.0)},
    )
    assert table == {
        "cutlass": ["22.00", "12.00", "22.00", "100.0%", "1.36", "1.00"],
        "cublaslt": ["30.00", "16.00", "26.00", "86.7%", "1.00", "0.73"],
        "cusparselt-2_8": ["25.00", "10.00", "20.00", "80.0%", "1.20", "0.88"],
    }
    assert "NVIDIA H200; medians" in text


def test_without_cublaslt_nothing_is_said_over_it(page_of):
    table, _ = page_of(cutlass=(build_cell(22.0), 12.0))
    assert table["cutlass"][-2:] == ["", "1.00"]


def test_cells_without_a_profile_have_no_ceiling(page_of):
    table, text = page_of(cublaslt=(build_cell(30.0), None))
    assert table == {}
    assert "INT8: no dense backend has a step and a profile" in text


def test_emulated_cells_are_no_steps(page_of):
    emulated = build_cell(25.0, emulated=True)
    table, _ = page_of(cublaslt=(build_cell(30.0), 16.0), **{"cusparselt-2_8": (emulated, 10.0)})
    assert set(table) == {"cublaslt"}


# Kernels by name


@pytest.mark.parametrize(
    "name",
    [
        SPARSE_GEMM,
        "nvjet_qqtst_128x256_128x4_2x1_v_bz_coopA_TNT",
        "void cutlass::device_kernel<vllm::enable_sm90_or_later<cutlass::gemm::kernel::GemmUniversal",
        "sm90_xmma_gemm_i8i32_i8i32_i32_tn_n_tilesize128x128x128_warpgroupsize1x1x1_execute",
    ],
)
def test_products_of_the_libraries_are_known_by_name(name):
    assert is_gemm(name)


@pytest.mark.parametrize(
    "name",
    [
        "triton_poi_fused__to_copy_mul_silu_slice_w8a8_gemm_1",
        "void cutlass::device_kernel<flash::enable_sm90<flash::FlashAttnFwdSm90<flash::Collective",
        "_quantize_rows",
        "Memcpy DtoD (Device -> Device)",
    ],
)
def test_attention_and_fused_kernels_are_no_products(name):
    assert not is_gemm(name)


def test_the_head_is_no_layer():
    layer, head = KernelTime("nvjet_a", 8, 4.0), KernelTime("nvjet_b", 2, 10.0)
    kernels = StepKernels(2, [layer, head])
    assert (kernels.linear_ms(4), kernels.device_ms()) == (2.0, 7.0)


def test_time_of_an_iteration_is_parted_by_what_it_is_for():
    kernels = [
        KernelTime(SPARSE_GEMM, 8, 8.0),
        KernelTime("void flash::flash_fwd_kernel<cutlass::bfloat16_t>", 8, 2.0),
        KernelTime("_quantize_rows", 8, 1.0),
        KernelTime("triton_red_fused_rms_norm_quant_flash", 8, 0.5),
        KernelTime("Memcpy HtoD", 2, 0.5),
    ]
    assert StepKernels(2, kernels).parts_ms(4) == Parts(4.0, 1.0, 0.5, 0.5)


def test_report_shows_the_parts_of_profiled_cells():
    cells = {
        f"{MODEL}.int8.cublaslt.{name}": build_cell(30.0) for name in ("prefill.m512", "decode.m64")
    }
    kernels = StepKernels(2, [KernelTime(SPARSE_GEMM, 4 * LAYERS * 2, 40.0)])
    inputs = ReportInputs(
        build_run(cells), Path("runs/x"), step_kernels=dict.fromkeys(cells, kernels)
    )
    lines = render(view_of(inputs)).partition("## Where the device spends a step")[2].splitlines()
    rows = [
        [each.strip() for each in line.strip("| ").split("|")] for line in lines if "`llama" in line
    ]
    assert rows[0][1:] == ["30.00", "20.00", "20.00", "0.00", "0.00", "0.00"]
    assert rows[1][1:] == ["", "20.00", "20.00", "0.00", "0.00", "0.00"]


def test_report_without_profiles_says_nothing_of_them():
    inputs = ReportInputs(
        build_run({f"{MODEL}.int8.cublaslt.prefill.m512": build_cell(3.0)}), Path("x")
    )
    assert "Where the device spends a step" not in render(view_of(inputs))


def test_kernels_are_kept_longest_first(tmp_path):
    assert read_step_kernels(tmp_path) is None
    write_step_kernels(tmp_path, 2, [KernelTime("a", 1, 1.0), KernelTime("b", 1, 2.0)])
    assert [each.name for each in read_step_kernels(tmp_path).kernels] == ["b", "a"]
