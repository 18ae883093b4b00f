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
from slidesparse_bench.wire import RESULT, Result, Round, Spread, Step, write_json

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


def build_round(times_ms):
    steps = [Step(M, 1, time_ms) for time_ms in times_ms]
    return Round(len(steps), sum(times_ms) / 1e3, len(steps), M, 1, steps)


@pytest.fixture
def page_of(script, tmp_path):
    """The table by backend of cells `cublaslt=(cell, GEMMs in ms or None)`, and the whole text.

    Two iterations of each are profiled; `rounds` has the step times of their measured rounds, in ms.
    """

    def page(rounds=(), **cells):
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
                if rounds:
                    measured = [build_round(times_ms) for times_ms in rounds]
                    write_json(folder / RESULT, Result(ids[name], 1, True, rounds=measured))
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
        "cutlass": ["22.00", "12.00", "22.00", "100.0% [1]", "1.36", "1.00"],
        "cublaslt": ["30.00", "16.00", "26.00", "86.7%", "1.00", "0.73"],
        "cusparselt-2_8": ["25.00", "10.00", "20.00", "80.0%", "1.20", "0.88"],
    }
    assert "NVIDIA H200; medians" in text
    assert "[1] marks the backend whose rest it is, which reaches 100 % by construction" in text


def test_less_rest_than_that_of_the_dense_backends_is_marked(page_of):
    table, _ = page_of(
        cublaslt=(build_cell(22.0), 12.0),
        **{"cusparselt-2_4": (build_cell(15.0), 6.0), "cusparselt-2_8": (build_cell(20.0), 10.0)},
    )
    assert table["cusparselt-2_4"][2:4] == ["16.00", "106.7% [2]"]
    # As little rest as the dense backend, and not by construction.
    assert table["cusparselt-2_8"][2:4] == ["20.00", "100.0%"]


@pytest.mark.parametrize(
    ("second", "shares", "points"),
    [([10.0, 10.4], "95.0% to 102.0%", "7.0"), ([9.8, 9.8], "95.0% to 98.0%", "5.0")],
    ids=["around the median", "below it"],
)
def test_steps_after_a_pause_tell_how_well_the_gemms_are_known(page_of, second, shares, points):
    _, text = page_of([[9.0, 10.0, 10.0], [*second, 10.0]], cublaslt=(build_cell(10.0), 6.0))
    assert f"took {shares} of the median" in text
    assert f"`reached` less than {points} points apart are not told apart" in text


@pytest.mark.parametrize(
    "rounds", [[], [[9.0]]], ids=["none on record", "shorter than the profile"]
)
def test_without_rounds_nothing_is_said_of_the_clocks(page_of, rounds):
    table, text = page_of(rounds, cublaslt=(build_cell(10.0), 6.0))
    assert set(table) == {"cublaslt"}
    assert "after which" not in text


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


KV_WRITE = "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, (vllm::Fp8KVCacheDataType)0>"
FUSED_FP8 = (
    "triton_red_fused__to_copy_abs_clamp_cutlass_scaled_mm_div_max_mul_reciprocal_silu_slice_2"
)
BEFORE_INT8 = "triton_poi_fused_dynamic_scaled_int8_quant_mul_silu_slice_1"
OWN_INT8 = "void vllm::dynamic_scaled_int8_quant_kernel<c10::BFloat16, float>"
ATTENTION = "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash"


def test_writing_the_cache_is_no_attention():
    kernels = StepKernels(1, [KernelTime(ATTENTION, 4, 11.0), KernelTime(KV_WRITE, 4, 3.0)])
    assert kernels.parts_ms(4) == Parts(0.0, 11.0, 0.0, 3.0)
    assert kernels.attention_names() == {ATTENTION}


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ([FUSED_FP8], Parts(0.0, 0.0, 0.0, 1.0, fuses_quantization=True)),
        ([OWN_INT8, BEFORE_INT8], Parts(0.0, 0.0, 1.0, 1.0)),
        ([OWN_INT8, FUSED_FP8], Parts(0.0, 0.0, 1.0, 1.0, fuses_quantization=True)),
    ],
    ids=["FP8 of vLLM", "INT8 of vLLM", "both"],
)
def test_quantization_in_fused_kernels_is_noticed(names, parts):
    assert StepKernels(1, [KernelTime(each, 4, 1.0) for each in names]).parts_ms(4) == parts


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


def parts_of(kernels_by_cell):
    """The rows of the report's section by cell, and its text."""
    cells = {each: build_cell(30.0) for each in kernels_by_cell}
    kernels = {each: StepKernels(1, found) for each, found in kernels_by_cell.items()}
    text = render(view_of(ReportInputs(build_run(cells), Path("runs/x"), step_kernels=kernels)))
    text = text.partition("## Where the device spends a step")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {name.strip(" `"): [each.strip() for each in rest] for name, *rest in lines}, text


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([FUSED_FP8], "in other"),
        ([OWN_INT8, FUSED_FP8], "1.00, rest in other"),
        ([OWN_INT8], "1.00"),
        ([SPARSE_GEMM], "0.00"),
    ],
)
def test_report_never_says_that_fused_quantization_takes_no_time(names, shown):
    cell_id = f"{MODEL}.fp8.cutlass.prefill.m512"
    rows, _ = parts_of({cell_id: [KernelTime(each, 4, 1.0) for each in names]})
    assert rows[cell_id][4] == shown


def test_report_says_how_far_the_same_attention_is_apart():
    dense, sparse = (f"{MODEL}.int8.{name}.prefill.m512" for name in ("cutlass", "cublaslt"))
    other = f"{MODEL}.int8.cutlass.prefill.m1024"
    _, text = parts_of(
        {
            dense: [KernelTime(ATTENTION, 4, 11.0)],
            sparse: [KernelTime(ATTENTION, 4, 12.1)],
            other: [KernelTime(ATTENTION, 4, 40.0)],
        }
    )
    assert "its time differs by up to 10 %." in text


@pytest.mark.parametrize("name", ["prefill.m1024", "decode.m512"])
def test_report_compares_attention_of_the_same_work_only(name):
    first, second = f"{MODEL}.int8.cutlass.prefill.m512", f"{MODEL}.int8.cublaslt.{name}"
    kernels = {first: [KernelTime(ATTENTION, 4, 11.0)], second: [KernelTime(ATTENTION, 4, 22.0)]}
    assert "its time differs" not in parts_of(kernels)[1]


def test_report_does_not_call_the_rest_of_a_step_the_host():
    _, text = parts_of({f"{MODEL}.int8.cutlass.prefill.m512": [KernelTime(ATTENTION, 4, 11.0)]})
    assert "cannot be put down to the host alone" in text
    assert "its time differs" not in text


def test_report_without_profiles_says_nothing_of_them():
    inputs = ReportInputs(
        build_run({f"{MODEL}.int8.cublaslt.prefill.m512": build_cell(3.0)}), Path("x")
    )
    assert "Where the device spends a step" not in render(view_of(inputs))


def test_kernels_are_kept_longest_first(tmp_path):
    assert read_step_kernels(tmp_path) is None
    write_step_kernels(tmp_path, 2, [KernelTime("a", 1, 1.0), KernelTime("b", 1, 2.0)])
    assert [each.name for each in read_step_kernels(tmp_path).kernels] == ["b", "a"]
