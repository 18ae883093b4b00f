"""Speed-ups and efficiencies: arithmetic, and what must never be shown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from gemm_builders import build_numbers, build_point, build_result, build_row, build_task
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.gemm_wire import DENSE, Row, RowState
from slidesparse_bench.gemms.ratios import (
    Ratios,
    quantize_share_of_copy,
    quantize_tb_per_second,
    ratios_of,
    tflops,
    theoretical_speedup,
)

times = st.floats(1e-3, 1e3)


def ratios_by_backend(rows):
    found = ratios_of(rows)
    return {row.task.backend_label: found.get(row.task) for row in rows}


@pytest.mark.parametrize(
    ("sparsity", "speedup"), [("2:4", 2.0), ("2:6", 1.5), ("2:8", 4 / 3), ("2:10", 1.25)]
)
def test_the_theoretical_speedup_is_l_over_l_minus_2(sparsity, speedup):
    assert theoretical_speedup(Sparsity.parse(sparsity)) == pytest.approx(speedup)


def test_the_field_notes_of_an_h200_give_their_speedups():
    found = ratios_by_backend(build_point(cublaslt=7.19, cutlass=3.75, cusparselt_2_8=3.54))
    sparse = found["cusparselt-2_8"]
    assert sparse.vs_cublaslt == pytest.approx(2.031, abs=1e-3)
    assert sparse.vs_cutlass == sparse.vs_best_dense == pytest.approx(1.0593, abs=1e-4)
    assert sparse.best_dense == "cutlass"
    assert sparse.efficiency_vs_best_dense == pytest.approx(1.0593 * 6 / 8, abs=1e-4)
    assert sparse.efficiency_vs_cublaslt == pytest.approx(2.031 * 6 / 8, abs=1e-3)
    assert sparse.vs_torch is None


@given(st.fixed_dictionaries(dict.fromkeys((*DENSE, "cusparselt_2_6"), times)))
def test_speedups_are_quotients_of_latencies_and_the_best_dense_is_the_least_of_them(times_ms):
    found = ratios_by_backend(build_point(**times_ms))
    own = times_ms["cusparselt_2_6"]
    sparse = found["cusparselt-2_6"]
    each = [sparse.vs_cublaslt, sparse.vs_cutlass, sparse.vs_torch]
    assert each == pytest.approx([times_ms[name] / own for name in DENSE])
    assert sparse.vs_best_dense == min(each)
    assert times_ms[sparse.best_dense] == min(times_ms[name] for name in DENSE)
    assert sparse.efficiency_vs_best_dense * 1.5 == pytest.approx(sparse.vs_best_dense)


@given(st.fixed_dictionaries(dict.fromkeys((*DENSE, "cusparselt_2_4"), times)), times)
def test_a_device_that_is_slower_in_all_has_the_same_speedups(times_ms, factor):
    slower = {name: factor * time_ms for name, time_ms in times_ms.items()}
    here, there = (
        ratios_by_backend(build_point(**each))["cusparselt-2_4"] for each in (times_ms, slower)
    )
    assert here.vs_best_dense == pytest.approx(there.vs_best_dense)
    assert here.efficiency_vs_cublaslt == pytest.approx(there.efficiency_vs_cublaslt)


@given(times, times)
def test_dense_rows_have_speedups_of_each_other_and_no_efficiency(a, b):
    found = ratios_by_backend(build_point(cublaslt=a, cutlass=b))
    assert found["cublaslt"].vs_cublaslt == 1.0
    assert found["cublaslt"].vs_cutlass * found["cutlass"].vs_cublaslt == pytest.approx(1.0)
    assert found["cutlass"].efficiency_vs_cublaslt is None


def test_rows_of_other_sizes_are_no_reference():
    sparse = build_row(1.0, build_task("cusparselt", "2:4"))
    others = [build_row(2.0, build_task(m=512)), build_row(2.0, build_task(layer="o_proj"))]
    assert ratios_of([sparse, *others])[sparse.task] == Ratios()


def test_nothing_follows_from_an_emulation():
    rows = [
        replace(row, numbers=replace(row.numbers, emulated=True))
        for row in build_point(cublaslt=3.0, cusparselt_2_4=1.0)
    ]
    assert list(ratios_of(rows).values()) == [Ratios(), Ratios()]
    assert tflops(rows[1].task, rows[1].numbers) is None
    assert quantize_tb_per_second(rows[1].numbers) is None


def test_an_emulated_reference_is_none():
    real, dense = build_point(cusparselt_2_4=1.0, cublaslt=3.0)
    emulated = replace(dense, numbers=replace(dense.numbers, emulated=True))
    assert ratios_of([real, emulated])[real.task] == Ratios(dense_missing=["cublaslt"])


@pytest.mark.parametrize("state", [RowState.FAILED, RowState.REFUSED, RowState.PENDING])
def test_a_dense_row_without_a_time_is_named_where_it_might_have_been_the_best(state):
    missing = Row(build_task("cutlass"), state, "out of memory")
    rows = [*build_point(cublaslt=3.0, cusparselt_2_4=1.0), missing]
    assert ratios_by_backend(rows)["cusparselt-2_4"].dense_missing == ["cutlass"]
    assert missing.task not in ratios_of(rows)


def test_shapes_of_one_id_have_ratios_of_their_own():
    whole = build_point(cublaslt=3.0, cusparselt_2_4=1.0)
    part = [
        replace(row, task=replace(row.task, n=row.task.n // 4))
        for row in build_point(cublaslt=8.0, cusparselt_2_4=2.0)
    ]
    found = ratios_of([*whole, *part])
    assert [found[row.task].vs_cublaslt for row in (whole[1], part[1])] == [3.0, 4.0]


def test_tflops_count_the_dense_product_also_of_a_sparse_row():
    dense, sparse = build_task(), build_task("cusparselt", "2:8")
    numbers = build_numbers(3.54)
    assert tflops(dense, numbers) == tflops(sparse, numbers)
    assert tflops(sparse, numbers) == pytest.approx(2 * 16384 * 37888 * 3584 / 3.54e-3 / 1e12)


def test_quantization_is_a_share_of_a_copy_of_as_many_bytes():
    numbers = build_numbers()  # 0.1 ms to quantize, 0.08 to copy
    assert quantize_share_of_copy(numbers) == pytest.approx(0.8)
    assert quantize_share_of_copy(replace(numbers, copy_ms=None)) is None
    assert quantize_share_of_copy(replace(numbers, emulated=True)) is None


def test_ratios_are_finite_in_the_document():
    document = build_result(build_point(cublaslt=3.0, cusparselt_2_4=1.0)).document()
    derived = document["rows"][1]["derived"]
    assert derived["vs_cublaslt"] == 3.0
    assert math.isfinite(derived["tflops"])
