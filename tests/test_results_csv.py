"""`results.csv`, `metrics.csv` and `speedup.csv`: one row per cell, whatever became of it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from builders import (
    CELL,
    build_attempt,
    build_failed,
    build_metrics,
    build_passed,
    build_run,
    build_skipped,
)

from slidesparse_bench.records import CellRecord, CellState
from slidesparse_bench.report import ReportInputs, gpu_names, results_csv
from slidesparse_bench.report.csv_file import metrics_table, speedup_table
from slidesparse_bench.report.measures import metric_names
from slidesparse_bench.report.table import Column, Table, as_csv
from slidesparse_bench.report.view import view_of
from slidesparse_bench.wire import ObservedM

CONTRACT_HEADER = (
    "id,model,quantization,backend,sparsity,stage,M,state,class,tokens_per_second,"
    "prompt_tokens_per_second,output_tokens_per_second,elapsed_time,step_time_ms_median,"
    "ci95_half_width_pct,iterations,m_verified,kernel,gpu,gpu_memory_utilization,attempts,"
    "duration_s,reason"
)
DENSE = "qwen2.5-7b.int8.cutlass.prefill.m16384"
CUBLASLT = "qwen2.5-7b.int8.cublaslt.prefill.m16384"


def rows_of(text: str) -> dict[str, dict[str, str]]:
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text))}


def row_of(record: CellRecord, cell_id: str = CELL, names: dict[str, str] | None = None):
    return rows_of(results_csv(build_run({cell_id: record}), names or {}))[cell_id]


def speedups(cells: dict[str, CellRecord]) -> dict[str, dict[str, str]]:
    view = view_of(ReportInputs(build_run(cells), Path("runs/x")))
    return rows_of(as_csv(speedup_table(view)))


def test_columns_are_those_of_the_contract_in_their_order():
    assert results_csv(build_run(), {}).splitlines()[0] == CONTRACT_HEADER


def test_a_run_without_cells_is_a_header():
    assert results_csv(build_run({}), {}).count("\n") == 1


def test_passed_cell_has_its_place_and_its_numbers():
    row = row_of(build_passed(tokens_per_second=93_340.0, ci95_pct=0.4, iterations=12))
    assert row["model"] == "qwen2.5-7b"
    assert row["backend"] == "cusparselt"
    assert row["sparsity"] == "2:8"
    assert row["M"] == "16384"
    assert row["state"] == "passed"
    assert row["class"] == ""
    assert row["tokens_per_second"] == "93340"
    assert float(row["ci95_half_width_pct"]) == pytest.approx(0.4)
    assert row["iterations"] == "12"
    assert row["m_verified"] == "true"
    assert row["gpu_memory_utilization"] == "0.8"
    assert row["attempts"] == "1"
    assert row["reason"] == ""


def test_dense_cell_has_no_sparsity():
    assert row_of(build_passed(DENSE), DENSE)["sparsity"] == ""


def test_failed_cell_is_a_row_with_class_reason_and_no_number():
    row = row_of(build_failed(CELL, "oom_device", "kv_cache_insufficient"))
    assert row["state"] == "failed"
    assert row["class"] == "kv_cache_insufficient"
    assert row["reason"] == "ValueError: No available memory for the cache blocks."
    assert row["attempts"] == "2"
    assert row["duration_s"] == "84"
    assert row["tokens_per_second"] == row["m_verified"] == row["kernel"] == ""


def test_skipped_cell_is_a_row_with_its_reason():
    row = row_of(build_skipped("needs 31.0 GiB,\n24.0 GiB are there"))
    assert row["state"] == "skipped"
    assert row["class"] == row["gpu"] == row["duration_s"] == ""
    assert row["attempts"] == "0"
    assert row["reason"] == "needs 31.0 GiB, 24.0 GiB are there"


def test_metrics_of_a_cell_that_failed_later_are_not_shown():
    record = build_failed(CELL, "m_mismatch")
    record.metrics = build_metrics()
    assert row_of(record)["tokens_per_second"] == ""


def test_cell_that_passed_after_a_failure_has_no_class_but_all_attempts():
    record = build_failed(CELL, "kv_cache_insufficient")
    record.attempts.append(build_attempt(2, engine_args={"gpu_memory_utilization": 0.9}))
    record.state, record.metrics = CellState.PASSED, build_metrics()
    row = row_of(record)
    assert (row["class"], row["attempts"], row["gpu_memory_utilization"]) == ("", "2", "0.9")


@pytest.mark.parametrize(
    "observed",
    [ObservedM(16383, 16384, 10), ObservedM(16384, 16385, 10), ObservedM(0, 0, 0)],
    ids=["smaller", "larger", "nothing observed"],
)
def test_m_is_verified_only_when_every_step_had_it(observed):
    assert row_of(build_passed(m_observed=observed))["m_verified"] == "false"


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("GPU 1", "NVIDIA L40S"),
        ("1", "NVIDIA L40S"),
        ("GPU-b", "NVIDIA L40S"),
        ("GPU 0 MIG 2", "NVIDIA H200"),
        ("CPU", "CPU"),
        (None, ""),
    ],
)
def test_device_of_an_attempt_is_shown_by_its_name(device, name):
    names = gpu_names(
        {
            "gpus": [
                {"name": "NVIDIA H200", "uuid": "GPU-a"},
                {"name": "NVIDIA L40S", "uuid": "GPU-b"},
            ]
        }
    )
    record = build_passed()
    record.attempts = [build_attempt(device=device)]
    assert row_of(record, names=names)["gpu"] == name


def test_missing_interval_and_duration_stay_empty():
    metrics = build_metrics()
    metrics = replace(metrics, step_time_ms=replace(metrics.step_time_ms, ci95_half_width=None))
    record = CellRecord(
        CellState.PASSED, attempts=[build_attempt(duration_s=None)], metrics=metrics
    )
    row = row_of(record)
    assert row["ci95_half_width_pct"] == row["duration_s"] == ""


def test_id_of_a_newer_version_is_still_a_row():
    row = row_of(build_skipped("unknown"), "model.int4.native.prefill.m16")
    assert (row["model"], row["state"]) == ("", "skipped")


def test_speedup_names_reference_and_best_dense_backend():
    rows = speedups(
        {
            CELL: build_passed(tokens_per_second=120.0),
            CUBLASLT: build_passed(CUBLASLT, tokens_per_second=50.0),
            DENSE: build_passed(DENSE, tokens_per_second=100.0),
        }
    )
    row = rows[CELL]
    assert (row["reference"], row["speedup"]) == ("cublaslt", "2.4")
    assert (row["best_dense"], row["speedup_vs_best_dense"]) == ("cutlass", "1.2")
    assert rows[CUBLASLT]["speedup"] == "1"


def test_interval_of_a_speedup_combines_both_intervals():
    rows = speedups({CELL: build_passed(ci95_pct=0.3), DENSE: build_passed(DENSE, ci95_pct=0.4)})
    assert float(rows[CELL]["speedup_ci95_half_width_pct"]) == pytest.approx(0.5)


def test_speedup_over_a_failed_cell_is_empty():
    rows = speedups({CELL: build_passed(), DENSE: build_failed(DENSE)})
    assert rows[CELL]["speedup"] == ""
    assert rows[DENSE]["missing"] == "failed: kv_cache_insufficient"


def metrics_rows(cells: dict[str, CellRecord]) -> dict[str, dict[str, str]]:
    view = view_of(ReportInputs(build_run(cells), Path("runs/x")))
    return rows_of(as_csv(metrics_table(view)))


def test_metrics_csv_has_every_metric_of_every_cell_by_its_documented_name():
    rows = metrics_rows({CELL: build_passed(energy_j=12.5), DENSE: build_failed(DENSE)})
    assert list(rows[CELL]) == ["id", "state", *metric_names()]
    assert (rows[CELL]["energy_j"], rows[CELL]["m_observed.max"]) == ("12.5", "16384")
    assert float(rows[CELL]["step_time_ms.mean"]) == pytest.approx(182.2, abs=0.1)
    assert set(rows[DENSE].values()) == {DENSE, "failed", ""}


@pytest.mark.parametrize(
    ("throttled", "written"),
    [(None, ""), ([], "none"), (["sw_power_cap", "sw_thermal"], "sw_power_cap; sw_thermal")],
)
def test_metrics_csv_tells_nothing_seen_from_nobody_looked(throttled, written):
    row = metrics_rows({CELL: build_passed(throttled=throttled)})[CELL]
    assert (row["throttled"], row["disturbed"]) == (written, "")


def test_csv_writes_truth_in_lower_case_and_ten_digits():
    table = Table((Column("a"), Column("b"), Column("c")), ((True, 0.1 + 0.2, None),))
    assert as_csv(table) == "a,b,c\ntrue,0.3,\n"
