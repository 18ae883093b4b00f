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
from slidesparse_bench.records import CellRecord, CellState, Evidence, RunRecord, RunState, Verdict
from slidesparse_bench.report import ReportInputs, plots, results_csv, write_report
from slidesparse_bench.report.advice import VERDICTS
from slidesparse_bench.report.clock import account_of, shown
from slidesparse_bench.report.document import render
from slidesparse_bench.report.markdown import code, fence, m_ranges, one_line, percent, plain
from slidesparse_bench.report.measures import OPTIONAL
from slidesparse_bench.report.table import Column, Table, as_markdown
from slidesparse_bench.report.view import view_of
from slidesparse_bench.wire import Metrics, ObservedM, Spread

GOLDEN = Path(__file__).parent / "golden" / "report.md"
DOCS = Path(__file__).parent.parent / "docs" / "metrics.md"

DENSE = "qwen2.5-7b.int8.cutlass.prefill.m16384"
CUBLASLT = "qwen2.5-7b.int8.cublaslt.prefill.m16384"
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


def test_each_doubt_about_a_number_is_a_note():
    doubts = {
        "the interval is wider than asked for": {"precision_reached": False},
        "the GPU was throttled: SW power cap": {"throttled": ["SW power cap"]},
        "the M that ran is not on record": {"m_observed": ObservedM(0, 0, 0)},
    }
    for sentence, changes in doubts.items():
        text = report({CELL: build_passed(CELL, **changes)})
        assert f"[1] {sentence}" in text
        assert "[1]" in row(part(text, "## Throughput"), "16384")[1]


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
    assert f"**Verdict:** `capacity`, {VERDICTS[Verdict.CAPACITY]}" in text
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
    text = part(report({CELL: record}), "### Passed after a failure: 1 cell")
    history = "`gpu_memory_busy` (as planned), then worked (as planned)"
    assert row(text, history)[1:] == ["1", "1 min 24 s", "passed"]


def test_log_text_cannot_break_the_report():
    nasty = "a|b `c` <script> \x1b[31m ``` **d**\r\ne"
    failure = build_failure(root_cause=nasty)
    record = build_failed(CELL, failure)
    record.reason = nasty
    text = report({CELL: record})
    assert "\x1b" not in text
    found = row(part(text, "## All cells"), f"`{CELL}`")
    assert found[11] == "a\\|b \\`c\\` \\<script> �[31m \\`\\`\\` \\*\\*d\\*\\* e"
    assert "````text\na|b `c` <script> �[31m ``` **d** e\n````" in text


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
    assert account.rest_of_passed_s == 30.0
    assert account.failed_s == 42.0
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
    assert found[2:] == ["1/2", "needs telemetry of an NVIDIA GPU (NVML)"]


def test_plan_is_judged_by_what_happened():
    text = report({CELL: build_failed()}, plan=planned(CELL, verdict="tight"))
    assert row(text, "`tight`")[1:] == ["0", "1", "0", "0"]


def test_shared_engines_are_said_in_the_methods():
    record = build_passed()
    record.attempts = [build_attempt(isolation="engine")]
    assert "Cells with numbers by isolation: 1 with `engine`" in report({CELL: record})
    assert "**Isolation.**" not in report()


def test_notes_end_the_methods():
    text = part(report(notes="Against `vllm bench`: 1.3 % less."), "## Methods")
    assert text.strip().endswith("### Notes\n\nAgainst `vllm bench`: 1.3 % less.")


# Documents


def test_optional_metrics_are_those_that_may_be_missing():
    optional = {f.name for f in dataclasses.fields(Metrics) if f.type == "float | None"}
    assert set(OPTIONAL) == optional


def test_docs_define_every_metric():
    text = DOCS.read_text(encoding="utf-8")
    names = [
        f.name for f in dataclasses.fields(Metrics) if f.name not in ("step_time_ms", "m_observed")
    ]
    names += [f"step_time_ms.{f.name}" for f in dataclasses.fields(Spread)]
    names += [f"m_observed.{f.name}" for f in dataclasses.fields(ObservedM)]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_docs_and_report_agree_on_units():
    text = DOCS.read_text(encoding="utf-8")
    for name, (unit, _) in OPTIONAL.items():
        assert re.search(rf"^\| `{name}` \| {re.escape(unit)} \|", text, re.MULTILINE), name


def test_write_report_makes_its_folder_and_returns_what_it_wrote(tmp_path):
    folder = tmp_path / "reports" / "x"
    written = write_report(inputs_of({CELL: build_passed()}), folder)
    assert [path.name for path in written] == ["report.md", "results.csv", "speedup.csv"]
    assert all(path.parent == folder and path.stat().st_size for path in written)


def test_every_image_of_the_report_is_a_file_beside_it(tmp_path):
    pytest.importorskip("matplotlib")
    ids = [f"m.int8.{b}.prefill.m{m}" for b in ("cutlass", "cusparselt-2_4") for m in (512, 1024)]
    written = write_report(inputs_of({each: build_passed(each) for each in ids}), tmp_path)
    images = re.findall(r"!\[[^]]*\]\(([^)]+)\)", written[0].read_text(encoding="utf-8"))
    assert images == ["plots/m-int8-prefill.png", "plots/completeness.png"]
    assert all((tmp_path / image).is_file() for image in images)


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
    retried.metrics = build_metrics(DENSE, tokens_per_second=84_004.0)
    cells = {
        DENSE: retried,
        large[DENSE]: build_failed(large[DENSE], failure, failure),
        CELL: build_passed(CELL, tokens_per_second=93_340.0),
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
    throttled=st.lists(TEXTS, max_size=2),
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
    ending=st.none() | st.sampled_from(["exited", "signalled", "timed_out", "lost"]),
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
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


def test_moment_without_a_zone_is_taken_as_utc_and_nonsense_stands_as_it_is():
    assert shown("2026-03-01T10:00:00") == "2026-03-01 10:00 UTC"
    assert shown("yesterday") == "yesterday"
    assert shown(None) == "not recorded"
