"""The Markdown report: what it says of a run, and that no run is too odd to be reported."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from builders import (
    CELL,
    build_attempt,
    build_failed,
    build_failure,
    build_metrics,
    build_passed,
    build_run,
    build_skipped,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slidesparse_bench.failures.classes import CLASSES
from slidesparse_bench.provenance import with_engine
from slidesparse_bench.records import CellRecord, CellState, Evidence, RunRecord, RunState, Verdict
from slidesparse_bench.report import ReportInputs, plots, results_csv, write_report
from slidesparse_bench.report.advice import VERDICTS
from slidesparse_bench.report.clock import account_of
from slidesparse_bench.report.document import render
from slidesparse_bench.report.markdown import code, fence, m_ranges, one_line, percent, plain
from slidesparse_bench.report.markdown_writer import inline
from slidesparse_bench.report.measures import OPTIONAL, metric_names
from slidesparse_bench.report.moments import shown
from slidesparse_bench.report.table import Column, Table, as_markdown
from slidesparse_bench.report.view import view_of
from slidesparse_bench.store import Store
from slidesparse_bench.trials import combined
from slidesparse_bench.wire import Metrics, ObservedM, Spread

GOLDEN = Path(__file__).parent / "golden" / "report.md"
FIRST_FORMAT = Path(__file__).parent / "golden" / "run-schema-1"
DOCS = Path(__file__).parent.parent / "docs" / "metrics.md"

DENSE = "qwen2.5-7b.int8.cutlass.prefill.m16384"
CUBLASLT = "qwen2.5-7b.int8.cublaslt.prefill.m16384"
HOT = "throttled (hw_thermal) in 4 of 20 samples"
ENVIRONMENT = {
    "engine": "vllm",
    "gpus": [
        {
            "name": "NVIDIA H200",
            "uuid": "GPU-0",
            "driver": "580.65.06",
            "memory_gib": 139.8,
            "compute_capability": "9.0",
        }
    ],
    "cpu": {"model": "a CPU", "cores": 16, "memory_gib": 128.0},
    "versions": {"vllm": "0.25.1", "torch": "2.11.0"},
    "python": "3.12.11",
    "platform": "Linux",
    "slidesparse_bench": "0.1.0",
    "command": ["slidesparse", "run", "matrices/h200.yaml"],
    "git": {"commit": "0123abc", "modified": False},
    "code": "c0de" * 16,
}


GPU = {
    **ENVIRONMENT["gpus"][0],
    "index": 0,
    "power_limit_w": 700.0,
    "max_sm_clock_mhz": 1980,
    "application_sm_clock_mhz": 1980,
    "persistence_mode": True,
    "ecc": True,
    "mig": False,
    "pcie": "gen5 x16",
}
PEAKS = {
    "int8_tops": 1979.0,
    "fp8_tflops": 1979.0,
    "bf16_tflops": 989.5,
    "memory_tb_per_second": 4.8,
    "source": "NVIDIA H200 data sheet",
}
SAID = {
    "engine": "vllm",
    "clock": "perf_counter",
    "versions": {"vllm": "0.25.1"},
    "kernels": {"CutlassInt8ScaledMMLinearKernel": 112},
    "compile_cache": "cold",
    "configuration": {"max_num_seqs": 16, "cudagraph_mode": "FULL"},
}


def inputs_of(cells: dict[str, CellRecord] | RunRecord | None = None, **changes) -> ReportInputs:
    run = cells if isinstance(cells, RunRecord) else build_run(cells)
    given = {"run": run, "run_folder": Path("runs") / run.run_id, "environment": ENVIRONMENT}
    return ReportInputs(**{**given, **changes})


def report(cells: dict[str, CellRecord] | RunRecord | None = None, **changes) -> str:
    return render(view_of(inputs_of(cells, **changes)))


def planned(cell_id: str, **changes) -> dict:
    return {"cells": [{"id": cell_id, "verdict": "fits", "reason": "", "warnings": [], **changes}]}


def part(text: str, heading: str) -> str:
    """The section or subsection under a heading, to the next heading of the same level."""
    level = heading.split(maxsplit=1)[0]
    rest = text[text.index(heading) + len(heading) :]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def row(text: str, start: str) -> list[str]:
    """The cells of the first table row whose first cell is `start`."""
    for line in text.splitlines():
        cells = [each.strip() for each in line.strip("| ").split(" | ")]
        if line.startswith("|") and cells[0] == start:
            return cells
    raise AssertionError(f"no row {start!r}")


# Summary


def test_summary_counts_every_state():
    text = report(
        {
            CELL: build_passed(),
            DENSE: build_failed(DENSE),
            CUBLASLT: build_skipped(),
            "qwen2.5-7b.int8.native.prefill.m512": CellRecord(),
        }
    )
    expected = (
        "**1 of 4 cells passed** (25 %), 1 failed, 1 skipped with a stated reason, 1 not finished."
    )
    assert expected in part(text, "## Summary")


def test_summary_tells_the_reason_and_what_to_do():
    text = part(report({CELL: build_failed(CELL, "kv_cache_insufficient")}), "## Summary")
    known = CLASSES["kv_cache_insufficient"]
    assert f"1 cell: failed with `kv_cache_insufficient` ({known.what})" in text
    assert f"`kv_cache_insufficient` (1 cell): {known.advice}" in text
    assert "`slidesparse retry h200-20260301-100000 --failed`" in text


@pytest.mark.parametrize(
    ("starved", "said"),
    [
        ([], None),
        (["m512"], "Without these there are 1 comparison, from 1.10x to 1.10x, median 1.10x."),
        (["m512", "m16384"], "In 2 of these comparisons the host, not the GPU,"),
    ],
)
def test_summary_tells_what_speedups_are_where_the_device_decides(starved, said):
    small = {each: each.replace("m16384", "m512") for each in (CELL, DENSE)}
    rates = {CELL: 110.0, DENSE: 100.0, small[CELL]: 95.0, small[DENSE]: 100.0}
    cells = {
        each: build_passed(
            each,
            tokens_per_second=rate,
            host_wait_share=0.01 if each.endswith(tuple(starved)) else 0.5,
        )
        for each, rate in rates.items()
    }
    text = part(report(cells), "## Summary")
    assert "2 comparisons, from 0.95x to 1.10x" in text
    assert said in text if said else "of these comparisons" not in text
    assert ("Without these" in text) is (len(starved) == 1)


def test_summary_counts_speedups_of_which_nobody_knows_who_waited():
    middle = {each: each.replace("m16384", "m4096") for each in (CELL, DENSE)}
    cells = {
        CELL: build_passed(CELL, tokens_per_second=110.0, host_wait_share=0.01),
        DENSE: build_passed(DENSE, tokens_per_second=100.0, host_wait_share=0.9),
        middle[CELL]: build_passed(middle[CELL], tokens_per_second=105.0),
        middle[DENSE]: build_passed(middle[DENSE], tokens_per_second=100.0, host_wait_share=0.9),
    }
    text = part(report(cells), "## Summary")
    assert "In 1 of these comparisons the host, not the GPU," in text
    assert "In 1 others it is not on record how long the host waited." in text
    assert "Without these" not in text


def test_summary_does_not_praise_a_speedup_over_the_second_best():
    """At 512 the faster dense backend failed: what is left to compare with would flatter."""
    small = {each: each.replace("m16384", "m512") for each in (CELL, DENSE, CUBLASLT)}
    text = report(
        {
            CELL: build_passed(CELL, tokens_per_second=120.0),
            DENSE: build_passed(DENSE, tokens_per_second=100.0),
            CUBLASLT: build_passed(CUBLASLT, tokens_per_second=40.0),
            small[CELL]: build_passed(small[CELL], tokens_per_second=120.0),
            small[DENSE]: build_failed(small[DENSE]),
            small[CUBLASLT]: build_passed(small[CUBLASLT], tokens_per_second=40.0),
        }
    )
    assert "1 comparison, from 1.20x to 1.20x" in part(text, "## Summary")
    assert "cublaslt 40 (without cutlass)" in text


@pytest.mark.parametrize(
    ("dense", "compared"),
    [
        (build_failed(CUBLASLT), False),
        (CellRecord(), False),
        (build_skipped("unsupported on this device"), True),
    ],
    ids=["failed", "pending", "skipped"],
)
def test_dense_backend_that_might_be_the_best_one_keeps_a_speedup_out(dense, compared):
    cells = {CELL: build_passed(), DENSE: build_passed(DENSE), CUBLASLT: dense}
    summary = part(report(cells), "## Summary")
    assert ("1 comparison" in summary) is compared
    assert ("No sparse backend can be compared" in summary) is not compared


def test_fake_run_says_loudly_that_no_number_is_a_measurement():
    for changes in (
        {"environment": {**ENVIRONMENT, "engine": "fake"}},
        {"matrix_text": "name: x\nengine: fake\n", "environment": {}},
        {"plan": {"engine": "fake"}},
    ):
        assert "**NO NUMBER IN THIS REPORT IS A MEASUREMENT.**" in report(**changes)
    assert "NO NUMBER" not in report()


def test_cpu_run_says_so():
    assert "**CPU run.**" in report(environment={"engine": "vllm", "gpus": []})
    on_purpose = {"device": {"kind": "cpu", "name": "a CPU"}}
    assert "**CPU run.**" in report(plan=on_purpose)
    assert "**CPU run.**" not in report()


def test_unfinished_run_says_so_and_how_to_resume():
    text = report(build_run({CELL: CellRecord()}, state=RunState.INTERRUPTED))
    assert "**This run was interrupted.**" in text
    assert "`slidesparse run runs/h200-20260301-100000/matrix.yaml` resumes this run" in text


def test_missing_environment_is_said_not_hidden():
    text = report(environment={})
    assert "**`environment.json` is missing**" in text
    assert "Not on record: devices, driver, host, engine, versions" in text


def test_only_devices_that_ran_are_named():
    gpus = [{"name": "NVIDIA H200", "index": 0}, {"name": "NVIDIA T400", "index": 1}]
    record = build_passed()
    record.attempts = [build_attempt(device="GPU 0")]
    text = report({CELL: record}, environment={"gpus": gpus})
    assert row(text, "devices")[1] == "1 x NVIDIA H200"


def test_report_names_no_path_of_this_machine():
    text = report(run_folder=Path("/home/somebody/runs/h200-20260301-100000"))
    assert "/home" not in text
    assert "slidesparse run runs/h200-20260301-100000/matrix.yaml --fresh" in text


# Coverage and tables


def test_coverage_counts_m_and_says_which_are_missing_and_why():
    ids = {m: f"llama3.2-1b.int8.cutlass.prefill.m{m}" for m in (512, 1024, 2048, 4096, 8192)}
    cells = {each: build_failed(each, "oom_device") for each in ids.values()}
    cells[ids[512]] = build_passed(ids[512])
    cells[ids[8192]] = build_skipped("too large")
    text = part(report(cells), "### Which M passed")
    found = row(text, "llama3.2-1b")
    assert found[3] == "1/5"
    assert found[4] == "prefill 1024 … 4096 failed: oom_device; prefill 8192 skipped: too large"


def test_rate_carries_its_interval_attempts_and_changed_settings():
    record = build_failed(CELL, "kv_cache_insufficient")
    record.attempts.append(build_attempt(2, changed={"gpu_memory_utilization": 0.95}))
    record.state = CellState.PASSED
    record.metrics = build_metrics(tokens_per_second=93_340.0, ci95_pct=0.4)
    text = report({CELL: record})
    table = part(text, "## Throughput and speed-up")
    assert row(table, "16384")[1] == "93,340 ±0.4 %, 2 attempts [1]"
    assert "[1] `gpu_memory_utilization` 0.8 -> 0.95" in table
    assert row(part(text, "## All cells"), f"`{CELL}`")[-1] == "[1]"


def test_change_is_told_against_the_plan_not_the_first_attempt():
    record = build_passed()
    record.attempts = [
        build_attempt(
            changed={"gpu_memory_utilization": 0.9}, engine_args={"gpu_memory_utilization": 0.9}
        )
    ]
    plan = planned(CELL, engine_args={"gpu_memory_utilization": 0.8})
    assert "[1] `gpu_memory_utilization` 0.8 -> 0.9" in report({CELL: record}, plan=plan)


@pytest.mark.parametrize(
    ("note", "changes"),
    [
        (
            "the interval is wider than asked for (±0.5 %)",
            {"precision_reached": False, "precision": 0.005},
        ),
        ("the interval is wider than asked for", {"precision_reached": False}),
        (
            "the GPU was throttled: board_limit",
            {"throttled": ["board_limit", "hw_thermal"], "disturbed": [HOT]},
        ),
        ("the M that ran is not on record", {"m_observed": ObservedM(0, 0, 0)}),
        (
            "the host's CPU was slow, and whether that made its steps longer is not on record",
            {"host_slowdown": 1.2},
        ),
        (
            "a slow CPU of the host may have made its steps longer, and measuring again did not help",
            {"host_slowdown": 1.2, "host_wait_share": 0.4},
        ),
        (
            "a slow CPU of the host may have made its steps longer, and measuring again did not help",
            {"host_slowdown": 1.2, "host_wait_share": 0.01},
        ),
        (
            (
                "host-bound: the host hardly ever waited for the device, so faster GEMMs would "
                "hardly make the step shorter"
            ),
            {"host_slowdown": 1.0, "host_wait_share": 0.01},
        ),
        (
            "no interval: it was measured too few times",
            {
                "step_time_ms": Spread(1.0, 1.0, 1.0, 1.0, None),
                "precision_reached": False,
                "precision": 0.01,
            },
        ),
        ("its step times had not settled when the warm-up was over", {"warmup_steady": False}),
        (
            "it was measured for a shorter time than others: the host's CPU stayed slow",
            {"ended_early": True},
        ),
        (
            "more than 1 % of its steps are outliers; they are kept",
            {"outlier_steps": 3, "m_observed": ObservedM(16384, 16384, 200)},
        ),
        (
            (
                "disturbed while it was measured: throttled (hw_thermal), train.py (pid 7) used the "
                "GPU as well and the SM clock dropped"
            ),
            {
                "disturbed": [
                    HOT,
                    "train.py (pid 7) used the GPU as well",
                    "SM clock below 1683 MHz in 4 of 20 samples, with a median of 1980 MHz",
                ]
            },
        ),
    ],
)
def test_each_doubt_about_a_number_is_a_note(note, changes):
    text = part(report({CELL: build_passed(CELL, **changes)}), "## Throughput")
    assert re.search(rf"^\[\d\] {re.escape(note)} *$", text, re.MULTILINE)
    assert "[1]" in row(text, "16384")[1]


def test_a_slow_host_that_also_sets_the_time_of_the_steps_has_both_notes():
    text = report({CELL: build_passed(CELL, host_slowdown=1.2, host_wait_share=0.01)})
    assert "[1][2]" in row(part(text, "## Throughput"), "16384")[1]
    assert re.search(r"^\[2\] host-bound: the host hardly", text, re.MULTILINE)


@pytest.mark.parametrize(
    "changes",
    [
        {"throttled": ["sw_power_cap"]},
        {"throttled": []},
        {"outlier_steps": 2, "m_observed": ObservedM(16384, 16384, 200)},
        {"roofline_fraction": 0.9},
        {"host_slowdown": 1.4, "host_wait_share": 0.95, "precision": 0.01},
    ],
    ids=["power limit", "not throttled", "few outliers", "below the limit", "the host waited"],
)
def test_what_is_usual_is_no_note(changes):
    text = report({CELL: build_passed(CELL, **changes)})
    assert row(part(text, "## Throughput"), "16384")[1] == "90,000 ±0.5 %"
    assert "\n[1] " not in text


def test_summary_says_what_helps_a_host_bound_cell():
    cells = {
        CELL: build_passed(CELL, host_wait_share=0.02),
        DENSE: build_passed(DENSE, host_wait_share=0.5),
        CUBLASLT: build_passed(CUBLASLT),
    }
    text = part(report(cells), "## Summary")
    assert "In 1 of 2 cells Python on the CPU, not the GPU, set the time of the steps" in text
    assert "1 of those ran without a CUDA graph of their M" in text
    del cells[CELL]
    assert "host-bound" not in part(report(cells), "## Summary")


def test_summary_asks_for_no_graph_that_is_there():
    record = build_passed(CELL, host_wait_share=0.02)
    graph = {"compilation_config": {"cudagraph_capture_sizes": [16384]}}
    record.attempts[-1] = replace(record.attempts[-1], engine_args=graph)
    text = part(report({CELL: record}), "## Summary")
    assert "In 1 of 1 cell Python on the CPU" in text
    assert "CUDA graph" not in text


def test_a_host_bound_number_is_usable_with_a_reservation():
    text = report({CELL: build_passed(CELL, host_wait_share=0.02)})
    found = part(text, "## Usable for publication")
    assert "1 cell: host-bound: a faster host would change it, a faster GEMM hardly" in found


def test_note_says_that_measuring_again_did_not_help():
    metrics = build_metrics(disturbed=[HOT])
    record = build_passed()
    record.attempts = [build_attempt(n, metrics=metrics) for n in (1, 2, 3)]
    record.metrics = metrics
    text = report({CELL: record})
    note = "disturbed while it was measured, and measuring again did not help: throttled (hw_the"
    assert f"[1] {note}" in text
    found = row(part(text, "## Data completeness"), f"`{CELL}`")
    assert found[1:] == ["1", HOT, "measured again"]
    assert "3 disturbed attempts" in text


def test_undisturbed_repetition_takes_the_note_away():
    record = build_passed()
    record.attempts = [
        build_attempt(1, metrics=build_metrics(disturbed=[HOT])),
        build_attempt(2, metrics=build_metrics()),
    ]
    text = report({CELL: record})
    assert row(part(text, "## Throughput"), "16384")[1] == "90,000 ±0.5 %, 2 attempts"


def test_what_holds_for_every_number_is_said_once_instead_of_marked():
    ids = [f"m.int8.cutlass.prefill.m{m}" for m in (512, 1024, 2048)]
    cells = {each: build_passed(each, throttled=["application_clocks"]) for each in ids}
    cells[ids[0]] = build_passed(ids[0], throttled=["application_clocks"], precision_reached=False)
    text = part(report(cells), "## Throughput")
    once = "so not marked:\n\n- the GPU was throttled: application_clocks\n"
    assert once in text
    assert row(text, "512")[1] == "90,000 ±0.5 % [1]"
    assert row(text, "1024")[1] == "90,000 ±0.5 %"


def test_number_as_planned_has_no_note():
    text = report({CELL: build_passed()})
    assert row(part(text, "## Throughput"), "16384")[1] == "90,000 ±0.5 %"
    assert "\n[1] " not in text


def test_missing_number_stands_with_its_reason_in_its_place():
    other = CELL.replace("m16384", "m512")
    cells = {
        DENSE: build_failed(DENSE, "illegal_memory_access"),
        CUBLASLT: build_skipped("needs 31.0 GiB"),
        CELL: build_passed(),
        other: CellRecord(),
    }
    plan = planned(CUBLASLT, verdict="does_not_fit")
    text = part(report(cells, plan=plan), "## Throughput and speed-up")
    assert row(text, "16384")[1:3] == ["failed: illegal_memory_access", "skipped: does_not_fit"]
    assert row(text, "512") == ["512", "not planned", "not planned", "pending"]


def test_speedup_stands_against_the_reference_and_the_best_dense_backend():
    cells = {
        CELL: build_passed(tokens_per_second=120.0),
        CUBLASLT: build_passed(CUBLASLT, tokens_per_second=50.0),
        DENSE: build_passed(DENSE, tokens_per_second=100.0),
    }
    text = part(report(cells), "Speed-up over `cublaslt` (the reference)")
    assert row(text, "16384") == [
        "16384",
        "50",
        "cutlass 100",
        "2.00x / best ±0.7 %",
        "2.40x / 1.20x ±0.7 %",
    ]


def test_speedup_within_its_interval_is_marked_as_no_difference():
    cells = {
        CELL: build_passed(tokens_per_second=100.5, ci95_pct=0.5),
        DENSE: build_passed(DENSE, tokens_per_second=100.0, ci95_pct=0.5),
    }
    text = part(report(cells), "Speed-up over `cutlass`, the only dense backend")
    assert row(text, "16384")[2] == "~1.00x ±0.7 %"


def test_a_ratio_of_one_kernel_to_itself_is_no_difference_of_backends():
    cells = {
        CELL: build_passed(tokens_per_second=91.0, kernel="K"),
        DENSE: build_passed(DENSE, tokens_per_second=100.0, kernel="K"),
    }
    text = part(report(cells), "Speed-up over `cutlass`, the only dense backend")
    assert row(text, "16384")[2] == "0.91x ±0.7 %, same kernel"


def test_header_shows_sparsity_with_its_share_of_zeros():
    text = report({CELL: build_passed()})
    assert "| cusparselt 2:8 (25 % zeros) |" in text


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({DENSE: build_passed(DENSE)}, "`cutlass` is the only backend with numbers here."),
        (
            {DENSE: build_passed(DENSE), CELL: build_failed()},
            "`cutlass` is the only backend with numbers here (1 other backend planned, none has",
        ),
        ({CELL: build_passed()}, "`cusparselt 2:8` ran, but no dense backend has a number here."),
        ({CELL: build_failed()}, "no cell of this group has a number."),
    ],
    ids=["alone", "others failed", "no dense", "nothing"],
)
def test_nothing_to_compare_is_a_sentence_instead_of_an_empty_table(cells, sentence):
    text = report(cells)
    assert sentence in text
    assert "Speed-up over" not in text


def test_decode_falls_back_to_total_tokens_as_a_whole_never_in_a_mixture():
    ids = ["m.int8.cutlass.decode.m64", "m.int8.cutlass.decode.m128"]
    cells = {each: build_passed(each) for each in ids}
    assert "`output_tokens_per_second`, over the pure decode steps:" in report(cells)
    cells[ids[0]] = build_passed(ids[0], output_tokens_per_second=None)
    text = report(cells)
    assert "because not every result here has the rate of the pure decode steps" in text
    assert "`output_tokens_per_second`, over the pure decode steps:" not in text


# Failures


def test_failure_shows_symptom_cause_line_attempts_verdict_and_advice():
    failure = build_failure(
        hint="Set gpu_memory_utilization to 0.93.", facts={"needed_gib": 3.5, "available_gib": 2}
    )
    record = build_failed(CELL, failure, failure)
    record.attempts[1] = replace(record.attempts[1], changed={"gpu_memory_utilization": 0.9})
    record.reason = (
        f"kv_cache_insufficient: {failure.root_cause} (the ladder ends; 0.93 is not on it)"
    )
    text = part(report({CELL: record}), "### `kv_cache_insufficient`: 1 cell")
    assert "**Symptom:** exit code 1 in phase `start_engine` (1 cell)" in text
    assert f"**Verdict:** `capacity`, {inline(VERDICTS[Verdict.CAPACITY])}" in text
    assert "Set gpu_memory_utilization to 0.93." in text
    assert "**Facts:** `available_gib` 2, `needed_gib` 3.5" in text
    assert f"Root cause, `cells/{CELL}/attempt-2/worker.log:214`:" in text
    assert "```text\nValueError: No available memory for the cache blocks.\n```" in text
    history = "`kv_cache_insufficient` (as planned; `gpu_memory_utilization` 0.9)"
    assert row(text, history)[1:] == ["1", "1 min 24 s", "the ladder ends; 0.93 is not on it"]


def test_cells_with_the_same_cause_share_one_block_and_different_causes_do_not():
    ids = [f"m.int8.cutlass.prefill.m{m}" for m in (512, 1024, 2048)]
    causes = ("needs 3.0 GiB", "needs 4.5 GiB", "refused")
    cells = {
        each: build_failed(each, build_failure(root_cause=cause))
        for each, cause in zip(ids, causes, strict=True)
    }
    text = part(report(cells), "### `kv_cache_insufficient`: 3 cells")
    assert "(and 1 other cell alike):\n\n```text\nneeds 3.0 GiB\n```" in text
    assert "```text\nrefused\n```" in text
    assert "needs 4.5 GiB" not in text
    assert "- m INT8 cutlass prefill: M = 512 … 2048 (3 of 3)" in text


def test_warning_of_the_plan_that_came_true_is_shown():
    plan = planned(CELL, warnings=["32-bit offsets"])
    text = report({CELL: build_failed(CELL, "illegal_memory_access")}, plan=plan)
    assert "**The plan had warned** of 1 cell: 32-bit offsets" in text


def test_interruption_never_hides_the_cause_before_it():
    record = build_failed(CELL, "oom_device", "interrupted")
    assert "### `oom_device`: 1 cell" in report({CELL: record})


def test_class_of_a_newer_version_is_shown_as_it_is():
    text = report({CELL: build_failed(CELL, "quantum_flux")})
    assert "a class that this version of slidesparse-bench does not know" in text


def test_every_verdict_has_a_meaning():
    assert set(VERDICTS) == set(Verdict)


def test_cell_that_recovered_is_listed_with_what_was_tried():
    record = build_failed(CELL, "gpu_memory_busy")
    record.attempts.append(build_attempt(2))
    record.state, record.metrics = CellState.PASSED, build_metrics()
    text = part(report({CELL: record}), "### Passed at a later attempt: 1 cell")
    history = "`gpu_memory_busy` (as planned), then worked (as planned)"
    assert row(text, history)[1:] == ["1", "1 min 24 s", "passed"]


def test_log_text_cannot_break_the_report():
    nasty = "a|b `c` <script> \x1b[31m ``` **d**\r\ne ![f](http://g) [1](h) ~~i~~ &lt; _j_ k_l"
    failure = build_failure(root_cause=nasty)
    record = build_failed(CELL, failure)
    record.reason = nasty
    text = report({CELL: record})
    assert "\x1b" not in text
    found = row(part(text, "## All cells"), f"`{CELL}`")
    assert found[11] == (
        "a\\|b \\`c\\` \\<script> �\\[31m \\`\\`\\` \\*\\*d\\*\\* e "
        "!\\[f\\](http://g) \\[1\\](h) \\~\\~i\\~\\~ \\&lt; \\_j\\_ k_l"
    )
    listing = "a|b `c` <script> �[31m ``` **d** e ![f](http://g) [1](h) ~~i~~ &lt; _j_ k_l"
    assert f"````text\n{listing}\n````" in text


@pytest.mark.parametrize("text", ["[1]", "93,340 [1][12]", "~1.01x", "?3.06x / ~1.01x", "a_b.c"])
def test_what_is_no_markup_stays_as_it_is(text):
    assert plain(text) == inline(text) == text


@given(st.text(alphabet="a1_~*[]()!&`<\\: "))
def test_words_of_others_are_escaped_in_one_way(text):
    assert inline(text) == plain(text)


def test_skipped_cells_show_the_plans_memory():
    memory = {"weights": 17.7, "kv_cache": 1.0, "total": 20.1, "available": 19.2}
    plan = planned(CELL, verdict="does_not_fit", memory_gib=memory)
    record = build_skipped("does_not_fit: needs 20.1 GiB, 19.2 GiB are available")
    text = part(report({CELL: record}, plan=plan), "### Skipped: 1 cell (plan: `does_not_fit`)")
    assert "Reason: does_not_fit: needs 20.1 GiB, 19.2 GiB are available" in text
    shown = ["17.70", "1.00", "not recorded", "not recorded", "20.10", "19.20"]
    assert row(text, f"`{CELL}`")[1:] == shown


# Time and completeness


def test_time_account_separates_measurement_start_up_and_failed_attempts():
    record = build_failed(CELL, "kv_cache_insufficient")
    record.attempts.append(build_attempt(2, duration_s=100.0))
    record.state = CellState.PASSED
    record.metrics = build_metrics(elapsed_time=20.0, load_time_s=50.0)
    account = account_of(view_of(inputs_of({CELL: record})))
    assert account.measuring_s == 20.0
    assert account.starting_s == 50.0
    assert account.rest_of_measured_s == 30.0
    assert account.discarded_s == 42.0
    assert account.attempts_s == 142.0
    assert account.wall_s == 3600.0


def test_busy_time_counts_overlapping_attempts_once():
    spans = [("10:00:00", "10:10:00"), ("10:05:00", "10:20:00"), ("10:30:00", "10:31:00")]
    record = CellRecord(
        attempts=[
            build_attempt(started=f"2026-03-01T{a}+00:00", ended=f"2026-03-01T{b}+00:00")
            for a, b in spans
        ]
    )
    assert account_of(view_of(inputs_of({CELL: record}))).busy_s == 21 * 60


def test_attempt_without_times_is_counted_as_unknown():
    record = CellRecord(attempts=[build_attempt(duration_s=None, started="?", ended=None)])
    text = part(report({CELL: record}), "## Time")
    assert "No attempt recorded its duration." in text
    assert "1 attempt recorded no duration and count as 0." in text


def test_completeness_says_how_many_cells_have_each_optional_metric():
    other = CELL.replace("m16384", "m512")
    cells = {CELL: build_passed(power_w_mean=600.0), other: build_passed(other)}
    found = row(part(report(cells), "## Data completeness"), "`power_w_mean`")
    assert found[2:] == ["1/2", "telemetry of an NVIDIA GPU (NVML)"]
    assert "`load_time_s`" not in part(report(cells), "## Data completeness")


def test_plan_is_judged_by_what_happened():
    text = report({CELL: build_failed()}, plan=planned(CELL, verdict="tight"))
    assert row(text, "`tight`")[1:] == ["0", "1", "0", "0"]


def test_notes_end_the_methods():
    text = part(report(notes="Against `vllm bench`: 1.3 % less."), "## Methods")
    assert text.strip().endswith("### Notes\n\nAgainst `vllm bench`: 1.3 % less.")


# Shared engines and trials


def in_engine(name: str, cell_id: str, second: int, load_time_s: float = 50.0, **changes):
    """A cell measured in a shared engine, from that second of the run on."""
    metrics = build_metrics(cell_id, load_time_s=load_time_s, elapsed_time=2.0)
    at = f"2026-03-01T10:00:{second:02d}+00:00"
    shared = {"isolation": "engine", "engine": name, "ending": "measured", "exit_code": None}
    attempt = build_attempt(metrics=metrics, started=at, **{**shared, **changes})
    return CellRecord(CellState.PASSED, attempts=[attempt], metrics=metrics)


def in_trials(*rates: float, cell_id: str = CELL, ci95_pct: float = 0.5) -> CellRecord:
    """One attempt per rate, each a trial of its own."""
    trials = [build_metrics(cell_id, tokens_per_second=r, ci95_pct=ci95_pct) for r in rates]
    attempts = [build_attempt(n, trial=n, metrics=m) for n, m in enumerate(trials, start=1)]
    return CellRecord(CellState.PASSED, attempts=attempts, metrics=combined(trials))


def test_start_up_of_a_shared_engine_is_charged_once():
    ids = [f"m.int8.cutlass.prefill.m{m}" for m in (512, 1024, 2048)]
    cells = {
        ids[0]: in_engine("1", ids[0], 0, duration_s=55.0),
        ids[1]: in_engine("1", ids[1], 55, duration_s=3.0),
        ids[2]: in_engine("2", ids[2], 58, duration_s=54.0),
    }
    account = account_of(view_of(inputs_of(cells)))
    assert account.starting_s == 100.0
    assert account.measuring_s == 6.0
    assert account.rest_of_measured_s == pytest.approx(6.0)
    assert account.attempts_s == 112.0


def test_start_up_that_the_engines_first_cell_paid_and_failed_is_not_charged_again():
    dead, alive = (f"m.int8.cutlass.prefill.m{m}" for m in (512, 1024))
    failed = in_engine("1", dead, 0, duration_s=55.0, failure=build_failure())
    failed.state, failed.metrics = CellState.FAILED, None
    cells = {dead: failed, alive: in_engine("1", alive, 55, duration_s=3.0)}
    account = account_of(view_of(inputs_of(cells)))
    assert (account.starting_s, account.discarded_s) == (0.0, 55.0)


def test_processes_are_counted_by_what_they_served():
    ids = [f"m.int8.cutlass.prefill.m{m}" for m in (512, 1024, 2048)]
    cells = {each: in_engine("1", each, place) for place, each in enumerate(ids[:2])}
    cells[ids[2]] = build_failed(ids[2], "gpu_memory_busy", "oom_device")
    refused, tried = cells[ids[2]].attempts
    cells[ids[2]].attempts = [replace(refused, phase=None), tried]
    text = report(cells)
    started = "4 attempts in 2 worker processes: 1 engine that cells shared (2 attempts), 1 for one"
    assert started in part(text, "## Time")
    assert "4 attempts in 2 processes" in part(text, "## Summary")


def test_methods_say_who_shared_an_engine_and_what_a_failure_rests_on():
    ids = [f"m.int8.cutlass.prefill.m{m}" for m in (512, 1024, 2048)]
    cells = {each: in_engine("1", each, place) for place, each in enumerate(ids[:2])}
    text = part(report({**cells, ids[2]: build_passed(ids[2])}), "## Methods")
    assert (
        "2 measurements came from 1 engine that cells shared, 1 from a process of its own" in text
    )
    assert "Only a failure in a process of its own makes a cell failed" in text
    alone = part(report({ids[2]: build_passed(ids[2])}), "## Methods")
    assert "**Isolation.** One attempt, one process" in alone


def test_failure_in_a_shared_engine_reads_as_what_it_is():
    log = Evidence(f"cells/{CELL}/attempt-1/worker.log", 9)
    record = in_engine(
        "3", CELL, 7, failure=build_failure("oom_host", evidence=log), phase="measure"
    )
    record.attempts[0] = replace(record.attempts[0], metrics=None, exit_code=1, ending="exited")
    why = "after a failure in a shared engine, in a process of its own"
    record.attempts.append(build_attempt(2, metrics=record.metrics, reason=why))
    other = in_engine("3", DENSE, 1)
    text = part(report({DENSE: other, CELL: record}), "### Passed at a later attempt: 1 cell")
    assert row(text, "`oom_host` in a shared engine (as planned), then worked (as planned)")
    assert "A failure there is no reason to call its cell failed" in text
    first, second = (line for line in text.splitlines() if line.startswith(f"| `{CELL}`"))
    assert "| engine 3, cell 2 of 2 |" in first
    assert "`oom_host` in a shared engine, exit code 1 in phase `measure`" in first
    assert "| own " in second
    assert why in second


def test_engine_that_never_got_ready_is_told_apart():
    record = build_failed(CELL, "oom_device", "oom_device")
    lost = replace(record.attempts[0], isolation="engine", engine="3", phase="profile_memory")
    record.attempts[0] = lost
    assert "| engine 3, before its first cell |" in report({CELL: record})


def test_cell_failed_by_its_own_process_not_by_the_company_it_kept():
    record = build_failed(CELL, "oom_device", "interrupted", "oom_host")
    record.attempts[2] = replace(record.attempts[2], isolation="engine", engine="1")
    assert "### `oom_device`: 1 cell" in report({CELL: record})


def test_trials_are_shown_with_their_spread():
    text = report(build_run({CELL: in_trials(98.0, 100.0, 102.0)}, trials=3))
    table = part(text, "## Throughput")
    assert row(table, "16384")[1] == "99.97 ±5.0 %"
    assert "Trials of 1 cell" in table
    found = next(line for line in table.splitlines() if "| cusparselt 2:8 |" in line)
    cells = [each.strip() for each in found.strip("| ").split("|")]
    assert cells[2:] == ["98", "100", "102", "4.0 %", "±0.5 %", "trials"]
    assert "Every number stands on 3 trials, each in another process" in table
    assert "shuffled by the seed of the matrix" in part(text, "## Methods")


def test_trials_within_their_intervals_claim_no_difference():
    record = in_trials(100.0, 100.01, 99.99, ci95_pct=3.0)
    text = part(report(build_run({CELL: record}, trials=3)), "## Throughput")
    assert "| ±3.0 % | steps       |" in text


def test_wide_interval_says_that_the_trials_differ():
    record = in_trials(90.0, 100.0, 110.0)
    record.metrics = replace(record.metrics, precision=0.01, precision_reached=False)
    text = report(build_run({CELL: record}, trials=3))
    differ = "(±1 %): the trials differ by more than the steps within one"
    assert f"[1] the interval is wider than asked for {differ}" in text


def test_attempts_are_counted_only_beyond_the_trials():
    record = in_trials(100.0, 101.0)
    record.attempts.append(build_attempt(3, "oom_device", trial=2))
    text = part(report(build_run({CELL: record}, trials=2)), "## Throughput")
    assert row(text, "16384")[1].endswith(", 3 attempts")


def test_a_report_shows_no_secret_of_its_matrix():
    text = report(
        {CELL: build_passed(CELL)}, matrix_text="engine_args: {hf_token: S3CRET aaa111}\n"
    )
    assert "S3CRET" not in text
    assert "hf_token: <redacted>" in text


# Sittings


def sitting(day: int, **changes) -> dict:
    facts = {
        "began": f"2026-03-0{day}T09:00:00+00:00",
        "slidesparse_bench": "0.2.0",
        "command": ["slidesparse", "run", "h200.yaml"],
        "versions": {"vllm": "0.25.1"},
        "driver": "580.1",
        "gpus": [GPU],
        "environment": {},
    }
    return {**facts, **changes}


def measured_on(*days: int) -> dict[str, CellRecord]:
    """A cell for each day, measured an hour after a sitting of that day began."""
    cells = {}
    for place, day in enumerate(days):
        cell_id = f"m.int8.cutlass.prefill.m{512 << place}"
        cells[cell_id] = build_passed(cell_id)
        attempt = build_attempt(started=f"2026-03-0{day}T10:00:00+00:00")
        cells[cell_id].attempts = [attempt]
    return cells


def test_change_between_sittings_warns_in_the_summary_and_marks_the_later_numbers():
    upgraded = sitting(2, versions={"vllm": "0.26.0"})
    environment = {**ENVIRONMENT, "sittings": [sitting(1), upgraded]}
    text = report(measured_on(1, 1, 2), environment=environment)
    told = "2026-03-02 09:00 UTC: vllm 0.25.1 -> 0.26.0"
    assert f"changed while this run was made** ({told}). 1 of 3 numbers" in text
    table = part(text, "## Throughput")
    assert [row(table, m)[1] for m in ("512", "1024")] == ["90,000 ±0.5 %"] * 2
    assert row(table, "2048")[1] == "90,000 ±0.5 % [1]"
    assert "[1] measured after the change of sitting 2: vllm 0.25.1 -> 0.26.0" in table
    assert row(part(text, "### Sittings"), "2")[3] == "vllm 0.25.1 -> 0.26.0"


@pytest.mark.parametrize(
    ("days", "versions"), [((1, 2), "0.25.1"), ((1, 1), "0.26.0"), ((2, 2), "0.26.0")]
)
def test_numbers_of_one_side_compare(days, versions):
    sittings = [sitting(1), sitting(2, versions={"vllm": versions})]
    text = report(measured_on(*days), environment={**ENVIRONMENT, "sittings": sittings})
    assert "changed while this run was made" not in text
    assert "measured after the change" not in text
    assert "### Sittings" in text


def test_note_on_a_change_is_short_and_the_table_of_sittings_has_all():
    later = sitting(
        2, gpus=[{**GPU, "uuid": "GPU-1"}], driver="580.2", versions={"vllm": "1", "new": "2"}
    )
    environment = {**ENVIRONMENT, "sittings": [sitting(1), sitting(1), later]}
    text = report(measured_on(1, 2), environment=environment)
    note = (
        "[1] measured after the change of sitting 3: other GPUs, driver 580.1 -> 580.2, and 2 other"
    )
    assert note in part(text, "## Throughput")
    assert "GPU-0 -> GPU-1" not in text.replace(part(text, "### Sittings"), "")
    assert "GPU 0 uuid GPU-0 -> GPU-1" in row(part(text, "### Sittings"), "3")[3]


def test_trials_on_both_sides_of_a_change_are_told():
    record = in_trials(100.0, 101.0)
    record.attempts = [
        replace(each, started=f"2026-03-0{each.trial}T10:00:00+00:00") for each in record.attempts
    ]
    sittings = [sitting(1), sitting(2, driver="580.2")]
    text = report({CELL: record}, environment={**ENVIRONMENT, "sittings": sittings})
    assert "[1] its trials were measured before and after a change of the machine" in text


def test_devices_of_all_sittings_are_counted_once_each():
    days = [sitting(day, gpus=[{**GPU, "uuid": f"GPU-{day % 2}"}]) for day in (1, 2, 3)]
    cells = measured_on(1, 2, 3)
    for record in cells.values():
        record.attempts = [replace(record.attempts[0], device="GPU 0")]
    text = report(cells, environment={**ENVIRONMENT, "gpus": [GPU], "sittings": days})
    assert row(text, "devices")[1].startswith("2 x NVIDIA H200")


def test_program_that_began_to_record_its_code_is_another_one():
    sittings = [sitting(1), sitting(2, code="c0de" * 16)]
    text = report(
        measured_on(1, 2), environment={**ENVIRONMENT, "code": None, "sittings": sittings}
    )
    assert "code not recorded -> c0dec0dec0de" in part(text, "### Sittings")
    assert "modules with SHA-256 `c0dec0dec0de` (sitting 2)" in row(text, "source")[1]


def test_gpus_that_are_set_alike_are_told_once_and_others_apart():
    two = [GPU, {**GPU, "index": 1}]
    text = report(environment={**ENVIRONMENT, "gpus": two})
    assert row(text, "GPU settings")[1].startswith("power limit 700 W, application SM clock 1980")
    two[1]["power_limit_w"] = 500.0
    text = report(environment={**ENVIRONMENT, "gpus": two})
    assert "; GPU 1: power limit 500 W, " in row(text, "GPU settings")[1]


# Power and the physical limit

SEEN = {
    "power_w_mean": 772.8,
    "sm_clock_mhz_mean": 1660.4,
    "temperature_c_max": 61.0,
    "energy_j": 1252.0,
    "tokens_per_joule": 131.0,
    "throttled": [],
}
DONE = {
    "achieved_tflops": 793.5,
    "achieved_tb_per_second": 0.02436,
    "roofline_fraction": 0.4288,
    "roofline_bound": "compute",
}
RATED = {**ENVIRONMENT, "peaks": PEAKS}


NO_ENERGY = {"energy_j": None, "tokens_per_joule": None}


def limit_rows(text: str) -> list[list[str]]:
    """The rows of the table of power and limits; none when there is no such table."""
    lines = text[text.find("Power and the physical limit:") :].splitlines()
    table = [line for line in lines if re.match(r"\| +\d+ \| (cutlass|cu|native)", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_power_and_limit_stand_below_the_rates_with_the_source_of_the_rates():
    text = part(report({CELL: build_passed(CELL, **SEEN, **DONE)}, environment=RATED), "## Through")
    assert limit_rows(text) == [
        [
            *("16384", "cusparselt 2:8", "1.82", "687", "1,660", "131"),
            *("794", "0.0244", "43 %", "compute"),
        ]
    ]
    assert text.count("NVIDIA H200 data sheet") == 1


def test_power_without_energy_is_that_of_the_samples():
    text = report({CELL: build_passed(CELL, **SEEN | NO_ENERGY, **DONE)}, environment=RATED)
    assert limit_rows(text)[0][3:5] == ["773", "1,660"]
    assert "tokens/J" not in text


BY_ENERGY = "- `W`: energy by the driver's counter over time"
BY_SAMPLES = "- `W`: mean of the power samples, which swing"
ELSEWHERE = "- `W` without `tokens/J`: mean of the power samples"


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([SEEN, SEEN], [BY_ENERGY]),
        ([SEEN | NO_ENERGY] * 2, [BY_SAMPLES]),
        ([SEEN, SEEN | NO_ENERGY], [BY_ENERGY, ELSEWHERE]),
        ([{"sm_clock_mhz_mean": 1660.4}] * 2, []),
    ],
    ids=["energy", "samples", "both", "neither"],
)
def test_legend_says_what_power_was_known_by(seen, said):
    ids = (CELL, DENSE)
    cells = {each: build_passed(each, **numbers) for each, numbers in zip(ids, seen, strict=True)}
    text = report(cells, environment=RATED)
    assert [each for each in (BY_ENERGY, BY_SAMPLES, ELSEWHERE) if each in text] == said


@pytest.mark.parametrize(
    ("source", "is_said"),
    [("NVIDIA H200 Tensor Core GPU data sheet", True), ("measured 2026-03-01", False)],
)
def test_clock_of_published_rates_is_named(source, is_said):
    document = {**ENVIRONMENT, "peaks": {**PEAKS, "source": source}}
    text = report({CELL: build_passed(CELL, **SEEN, **DONE)}, environment=document)
    assert (f"({source}); arithmetic at an SM clock of 1830 MHz, with which" in text) is is_said
    assert ("SM clock of" in text) is is_said


def test_power_limit_is_a_remark_on_the_group():
    ids = [f"m.int8.cutlass.prefill.m{m}" for m in (512, 1024, 2048, 4096)]
    capped = {**SEEN, **DONE, "throttled": ["sw_power_cap"]}
    cells = {each: build_passed(each, **capped) for each in ids[1:]}
    cells[ids[0]] = build_passed(ids[0], **SEEN, **DONE)
    text = report(cells, environment=RATED)
    reached = "The load reached the power limit (`sw_power_cap`), so the driver lowered the clock: "
    assert f"{reached}cutlass at M = 1024 … 4096." in text
    assert "\n[1]" not in text


@pytest.mark.parametrize(("count", "is_closed"), [(16, False), (17, True)])
def test_long_table_of_limits_is_closed(count, is_closed):
    ids = [f"m.int8.cutlass.prefill.m{1024 * m}" for m in range(1, count + 1)]
    text = report({each: build_passed(each, **SEEN, **DONE) for each in ids}, environment=RATED)
    assert (f"<summary>Power and the physical limit, {count} cells" in text) is is_closed
    assert len(limit_rows(text)) == count


def test_step_faster_than_possible_is_doubted():
    metrics = {**SEEN, **DONE, "roofline_fraction": 1.25}
    text = report({CELL: build_passed(CELL, **metrics)}, environment=RATED)
    assert (
        "**Faster than the limit**, cusparselt 2:8 at M = 16384: the mean step takes 80.0%" in text
    )
    assert "- faster than the physical limit: 1 of 1 cell with a known limit" in text


@pytest.mark.parametrize(
    ("metrics", "changes", "sentence"),
    [
        (DONE, {"environment": {**RATED, "engine": "fake"}}, "the fake engine computes nothing"),
        (
            {"achieved_tflops": 0.06, "achieved_tb_per_second": 0.001},
            {"environment": {"engine": "vllm", "gpus": []}},
            "there is no telemetry of a CPU and the peak rates of this device are not known",
        ),
        ({}, {}, "no cell has telemetry and the work of a step is not on record."),
        ({}, {"environment": {**ENVIRONMENT, "nvml": "Driver Not Loaded"}}, "(NVML: Driver Not L"),
    ],
    ids=["fake", "CPU", "nothing", "no NVML"],
)
def test_what_is_not_known_is_one_sentence_instead_of_empty_columns(metrics, changes, sentence):
    text = report({CELL: build_passed(CELL, **metrics)}, **changes)
    assert sentence in text
    assert limit_rows(text) == []


def test_unknown_rates_of_the_device_leave_what_was_achieved():
    work = {**SEEN, **DONE, "roofline_fraction": None, "roofline_bound": None}
    text = report({CELL: build_passed(CELL, **work)})
    assert "- left out is what is not known: the peak rates of this device are not known" in text
    assert limit_rows(text)[0][-2:] == ["794", "0.0244"]


def test_group_without_a_limit_says_why_when_others_have_one():
    unknown = {**SEEN, **DONE, "roofline_fraction": None, "roofline_bound": None}
    ids = ("m.int8.cutlass.prefill.m512", "m.fp8.cutlass.prefill.m512", "x.int8.cutlass.decode.m16")
    cells = {
        ids[0]: build_passed(ids[0], **SEEN, **DONE),
        ids[1]: build_passed(ids[1], **unknown),
        ids[2]: build_passed(ids[2], **SEEN),
    }
    text = report(cells, environment=RATED)
    assert "No peak rate for FP8 is known of this device." in part(text, "### m, FP8, prefill")
    assert "The architecture of `x` is not known" in part(text, "### x, INT8, decode")
    assert len(limit_rows(part(text, "### m, INT8, prefill"))[0]) == 10


def test_field_that_was_not_measured_says_why_it_is_empty():
    other = CELL.replace("m16384", "m512")
    short = {**SEEN, **DONE, **NO_ENERGY, "power_w_mean": None}
    cells = {CELL: build_passed(CELL, **SEEN, **DONE), other: build_passed(other, **short)}
    text = report(cells, environment=RATED)
    assert "An empty field was not measured: its rounds were too short" in text
    assert [line[3] for line in limit_rows(text)] == ["", "687"]


# Engines


def test_facts_that_all_engines_share_are_said_once_and_others_by_engine():
    document = ENVIRONMENT
    for n, sequences in ((1, 16), (2, 64)):
        said = {**SAID, "configuration": {"max_num_seqs": sequences, "block_size": 16}}
        document = with_engine(document, f"engines/{n}", [CELL, DENSE], "GPU 0", said)
    text = part(report({CELL: build_passed()}, environment=document), "## Engines")
    assert text.count("block_size") == 1
    assert row(text, "`configuration.block_size`")[1] == "16"
    assert row(text, "engine")[5] == "max_num_seqs"
    assert [row(text, n)[5] for n in "12"] == ["16", "64"]
    assert "vLLM's compile cache was cold in 2 engines." in text
    assert row(text, "qwen2.5-7b")[2:] == [
        "cusparselt 2:8",
        "`CutlassInt8ScaledMMLinearKernel` (112)",
    ]


@pytest.mark.parametrize("engines", [{"engines/1": {}}, {"engines/1": None}, ["engines/1"]])
def test_a_description_that_was_damaged_is_passed_over(engines):
    text = report(environment={"engines": engines, "provenances": {}})
    assert "No engine left a description of itself" in text


def test_run_whose_engines_said_nothing_says_so():
    assert "No engine left a description of itself" in report()


def test_cuda_graphs_are_told_by_what_was_captured():
    asked = {"compilation_config": {"cudagraph_capture_sizes": [1, 64, 512]}}
    cell_id = "m.int8.cutlass.decode.m64"
    record = build_passed(cell_id)
    record.attempts = [build_attempt(engine_args=asked)]
    text = report({cell_id: record})
    assert "captured for batches of 1, 64 and 512 rows" in text
    assert "No batch was padded here." in text
    padded = "m.int8.cutlass.decode.m48"
    text = report(
        {
            padded: CellRecord(
                CellState.PASSED, attempts=record.attempts, metrics=build_metrics(padded)
            )
        }
    )
    assert "1 cell ran batches that were padded here." in text
    assert "CUDA graphs" not in report()


# Documents


def test_optional_metrics_are_those_that_may_be_missing():
    optional = {f.name for f in dataclasses.fields(Metrics) if str(f.type).endswith("| None")}
    assert set(OPTIONAL) == optional


def test_docs_define_every_metric():
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in metric_names() if f"`{name}`" not in text] == []


def test_docs_and_report_agree_on_units():
    text = DOCS.read_text(encoding="utf-8")
    for name, (unit, _) in OPTIONAL.items():
        assert re.search(rf"^\| `{name}` \| +{re.escape(unit)} *\|", text, re.MULTILINE), name


def test_write_report_makes_its_folder_and_returns_what_it_wrote(tmp_path):
    folder = tmp_path / "reports" / "x"
    written = write_report(inputs_of({CELL: build_passed()}), folder)
    assert [path.name for path in written] == [
        "report.md",
        "report.html",
        "results.csv",
        "metrics.csv",
        "speedup.csv",
    ]
    assert all(path.parent == folder and path.stat().st_size for path in written)


def test_every_image_of_the_report_is_a_file_beside_it(tmp_path):
    pytest.importorskip("matplotlib")
    ids = [f"m.int8.{b}.prefill.m{m}" for b in ("cutlass", "cusparselt-2_4") for m in (512, 1024)]
    written = write_report(inputs_of({each: build_passed(each) for each in ids}), tmp_path)
    images = re.findall(r"!\[[^]]*\]\(([^)]+)\)", written[0].read_text(encoding="utf-8"))
    assert images == ["plots/m-int8-prefill.png", "plots/completeness.png"]
    assert all((tmp_path / image).is_file() for image in images)


def test_run_of_the_first_format_is_reported():
    store = Store.open(FIRST_FORMAT)
    text = report(store.record, plan=store.plan(), environment=store.environment())
    assert "**NO NUMBER IN THIS REPORT IS A MEASUREMENT.**" in text
    assert [each for each in store.record.cells if f"`{each}`" not in text] == []
    measured = [each for each in store.record.cells.values() if each.metrics]
    assert f"{len(measured)} of {len(store.record.cells)} cells have numbers" in text
    assert account_of(view_of(inputs_of(store.record))).starting_s > 0


def test_small_report_is_the_golden_one(monkeypatch):
    """After a wanted change: UPDATE_GOLDEN=1 pytest tests/test_report.py, then read the diff."""
    monkeypatch.setattr(plots, "can_draw", lambda: (True, ""))
    failure = build_failure(
        "illegal_memory_access",
        verdict=Verdict.UPSTREAM_BUG,
        root_cause="CUDA error: an illegal memory access was encountered",
    )
    large = {each: each.replace("m16384", "m65536") for each in (CELL, DENSE)}
    retried = build_failed(DENSE, "kv_cache_insufficient")
    retried.attempts.append(
        build_attempt(
            2,
            changed={"gpu_memory_utilization": 0.9},
            reason="gpu_memory_utilization 0.9: the next step of the ladder",
        )
    )
    retried.state = CellState.PASSED
    watched = {
        "temperature_c_max": 61.0,
        "throttled": ["sw_power_cap"],
        "outlier_steps": 0,
        "roofline_bound": "compute",
        "precision": 0.01,
    }
    dense = {
        "tokens_per_second": 84_004.0,
        "power_w_mean": 687.1,
        "sm_clock_mhz_mean": 1660.4,
        "energy_j": 1340.0,
        "tokens_per_joule": 122.3,
        "achieved_tflops": 1096.4,
        "achieved_tb_per_second": 0.0441,
        "roofline_fraction": 0.571,
    }
    sparse = {
        "tokens_per_second": 93_340.0,
        "power_w_mean": 661.9,
        "sm_clock_mhz_mean": 1711.0,
        "energy_j": 1162.0,
        "tokens_per_joule": 141.1,
        "achieved_tflops": 1218.2,
        "achieved_tb_per_second": 0.0467,
        "roofline_fraction": 0.481,
    }
    retried.metrics = build_metrics(DENSE, **watched, **dense)
    cells = {
        DENSE: retried,
        large[DENSE]: build_failed(large[DENSE], failure, failure),
        CELL: build_passed(CELL, **watched, **sparse),
        large[CELL]: build_skipped("does_not_fit: needs 25.0 GiB, 19.2 GiB are available"),
    }
    for hour, cell in enumerate(cells.values(), start=10):
        cell.attempts = [
            replace(
                each,
                started=f"2026-03-01T{hour}:0{each.n}:00+00:00",
                ended=f"2026-03-01T{hour}:0{each.n}:42+00:00",
            )
            for each in cell.attempts
        ]
    text = report(
        build_run(cells, updated="2026-03-01T12:10:00+00:00"),
        plan={
            "cells": [
                *planned(large[DENSE], warnings=["32-bit offsets"])["cells"],
                *planned(large[CELL], verdict="does_not_fit")["cells"],
            ],
            "estimate_s": 240.0,
        },
        environment=with_engine(
            {**ENVIRONMENT, "gpus": [GPU], "peaks": PEAKS, "seed": 0},
            f"cells/{DENSE}/attempt-2",
            [DENSE],
            "GPU 0",
            SAID,
        ),
        matrix_text="name: h200\nmodels: [qwen2.5-7b]\nstages: {prefill: {M: [16384, 65536]}}\n",
    )
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


# Any run


IDS = st.builds(
    "{}.{}.{}.{}.m{}".format,
    st.sampled_from(["llama3.2-1b", "qwen2.5-7b", "my.model"]),
    st.sampled_from(["int8", "fp8"]),
    st.sampled_from(
        ["native", "cutlass", "cublaslt", "cusparselt-2_4", "cusparselt-2_10", "other"]
    ),
    st.sampled_from(["prefill", "decode"]),
    st.sampled_from([16, 512, 65536]),
)
ODD_IDS = st.sampled_from(["m.int4.native.prefill.m1", "not a cell", "a.int8.x-2_5.decode.m1"])
AMOUNTS = st.floats(0, 1e9)
MAYBE = st.none() | AMOUNTS
TEXTS = st.text(max_size=60)

SPREADS = st.builds(
    Spread, mean=AMOUNTS, median=AMOUNTS, p05=AMOUNTS, p95=AMOUNTS, ci95_half_width=MAYBE
)
METRICS = st.builds(
    build_metrics,
    tokens_per_second=st.floats(1e-3, 1e9),
    elapsed_time=AMOUNTS,
    output_tokens_per_second=MAYBE,
    prompt_tokens_per_second=MAYBE,
    step_time_ms=SPREADS,
    m_observed=st.builds(
        ObservedM, min=st.integers(0, 9), max=st.integers(0, 9), steps=st.integers(0, 9)
    ),
    kernel=TEXTS,
    precision_reached=st.booleans(),
    load_time_s=MAYBE,
    power_w_mean=MAYBE,
    sm_clock_mhz_mean=MAYBE,
    throttled=st.none() | st.lists(TEXTS | st.just("sw_power_cap"), max_size=2),
    disturbed=st.lists(TEXTS, max_size=2),
    tokens_per_joule=MAYBE,
    achieved_tflops=MAYBE,
    achieved_tb_per_second=MAYBE,
    roofline_fraction=MAYBE,
    roofline_bound=st.none() | st.just("memory"),
    precision=st.none() | st.floats(0.001, 0.9),
    outlier_steps=st.none() | st.integers(0, 99),
)
FAILURES = st.builds(
    build_failure,
    st.sampled_from([*CLASSES, "class_of_tomorrow"]),
    verdict=st.sampled_from(Verdict),
    root_cause=TEXTS,
    hint=TEXTS,
    evidence=st.builds(Evidence, file=TEXTS, line=st.none() | st.integers(1, 10**6)),
    facts=st.dictionaries(TEXTS, st.none() | AMOUNTS | TEXTS | st.booleans(), max_size=3),
    retryable=st.booleans(),
)
MOMENTS = st.datetimes().map(lambda moment: moment.isoformat()) | TEXTS
ATTEMPTS = st.builds(
    build_attempt,
    n=st.integers(1, 9),
    failure=st.none() | FAILURES,
    started=MOMENTS,
    ended=st.none() | MOMENTS,
    duration_s=MAYBE,
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.sampled_from(["SIGKILL", "SIGTERM"]),
    ending=st.none() | st.sampled_from(["exited", "signalled", "timed_out", "lost", "measured"]),
    isolation=st.sampled_from(["cell", "engine"]),
    engine=st.none() | st.sampled_from("12"),
    trial=st.integers(1, 3),
    metrics=st.none() | METRICS,
    phase=st.none() | TEXTS,
    device=st.none() | st.sampled_from(["GPU 0", "GPU 3", "CPU"]),
    changed=st.dictionaries(TEXTS, st.none() | AMOUNTS | TEXTS, max_size=2),
    engine_args=st.dictionaries(st.just("gpu_memory_utilization"), st.none() | AMOUNTS | TEXTS),
    reason=TEXTS,
)
RECORDS = st.builds(
    CellRecord,
    state=st.sampled_from(CellState),
    reason=TEXTS,
    attempts=st.lists(ATTEMPTS, max_size=3),
    metrics=st.none() | METRICS,
)
RUNS = st.builds(
    build_run,
    st.dictionaries(IDS | ODD_IDS, RECORDS, max_size=8),
    state=st.sampled_from(RunState),
    created=MOMENTS,
    updated=MOMENTS,
    trials=st.integers(1, 3),
)
PLANS = st.fixed_dictionaries(
    {},
    optional={
        "estimate_s": MAYBE,
        "device": st.none() | st.just({"kind": "cpu"}),
        "cells": st.none()
        | st.lists(
            st.fixed_dictionaries(
                {"id": IDS},
                optional={
                    "verdict": st.none() | st.sampled_from(["fits", "does_not_fit", "odd"]),
                    "reason": st.none() | TEXTS,
                    "warnings": st.none() | st.lists(TEXTS, max_size=2),
                    "memory_gib": st.none() | st.dictionaries(st.just("total"), MAYBE),
                    "engine_args": st.none() | st.just({}),
                },
            ),
            max_size=5,
        ),
    },
)
ENVIRONMENTS = st.fixed_dictionaries(
    {},
    optional={
        "engine": st.none() | st.sampled_from(["vllm", "fake"]),
        "gpus": st.none() | st.lists(st.just({}) | st.just(ENVIRONMENT["gpus"][0]), max_size=2),
        "cpu": st.none() | st.just({}) | TEXTS,
        "versions": st.none() | st.just({"vllm": None}) | TEXTS,
        "git": st.none() | st.just({"commit": None}),
        "command": st.none() | TEXTS | st.lists(TEXTS),
        "nvml": st.none() | TEXTS,
        "seed": st.none() | st.integers(),
        "peaks": st.none() | st.just(PEAKS) | st.just({}),
        "sittings": st.lists(
            st.builds(sitting, st.integers(1, 9), driver=st.none() | TEXTS, environment=st.none()),
            max_size=3,
        ),
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(run=RUNS, plan=PLANS, environment=ENVIRONMENTS, matrix_text=TEXTS, notes=TEXTS)
def test_any_run_is_reported_with_every_cell(run, plan, environment, matrix_text, notes):
    text = report(run, plan=plan, environment=environment, matrix_text=matrix_text, notes=notes)
    cells = part(text, "## All cells")
    assert [each for each in run.cells if f"`{each}`" not in cells] == []
    rows = list(csv.DictReader(io.StringIO(results_csv(run, {}))))
    assert [each["id"] for each in rows] == list(run.cells)
    assert [each["state"] for each in rows] == [cell.state for cell in run.cells.values()]


# Words


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        ([512], "512"),
        ([512, 1024], "512, 1024"),
        ([512, 1024, 2048], "512 … 2048"),
        ([512, 2048, 4096, 8192], "512, 2048 … 8192"),
        ([7], "7"),
        ([], ""),
    ],
)
def test_three_or_more_neighbours_of_the_planned_m_become_a_range(ms, shown):
    assert m_ranges(ms, [512, 1024, 2048, 4096, 8192]) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0, "0 %"),
        (0.0041, "0.4 %"),
        (0.0994, "9.9 %"),
        (0.25, "25 %"),
        (1 / 3, "33 %"),
        (1, "100 %"),
    ],
)
def test_percent_keeps_one_decimal_below_ten(share, shown):
    assert percent(share) == shown


def test_code_survives_backticks():
    assert code("a`b") == "`` a`b ``"
    assert fence("```\nx") == "````\n```\nx\n````"


def test_text_of_others_is_one_harmless_line():
    assert plain("a\n <b> *c*") == "a \\<b> \\*c\\*"
    assert one_line("\x1b[0m\tend") == "�[0m end"


def test_table_columns_line_up_in_the_raw_text():
    table = Table((Column("name"), Column("n", right=True)), (("a|b", 5), ("long name", None)))
    assert as_markdown(table).splitlines() == [
        "| name      |   n |",
        "| --------- | --: |",
        "| a\\|b      |   5 |",
        "| long name |     |",
    ]


def test_moment_without_a_zone_is_local_time_and_nonsense_stands_as_it_is():
    assert shown("2026-03-01T10:00:00") == "2026-03-01 10:00 local time"
    assert shown("2026-03-01T10:00:00+00:00") == "2026-03-01 10:00 UTC"
    assert shown("yesterday") == "yesterday"
    assert shown(None) == "not recorded"


def test_a_report_shows_no_secret_of_a_log(tmp_path):
    secret = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567"
    cause = f"OSError: 401 for /home/bob/models/tiny with token {secret}"
    failed = build_failed(
        CELL, build_failure("model_not_found", root_cause=cause, facts={"x": cause})
    )
    failed.reason = cause
    run = build_run({CELL: failed})
    write_report(ReportInputs(run, Path("runs/x")), tmp_path)
    texts = [path.read_text() for path in tmp_path.iterdir() if path.is_file()]
    assert len(texts) == 5
    assert not [text for text in texts if secret in text or "/home/bob" in text]
    assert any("401 for" in text for text in texts)
    assert run.cells[CELL].reason == cause
