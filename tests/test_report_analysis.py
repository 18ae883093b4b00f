"""What the report finds out by itself: anomalies, memory, limits, what can be published."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from builders import (
    build_attempt,
    build_failed,
    build_failure,
    build_metrics,
    build_passed,
    build_run,
    build_skipped,
)

from slidesparse_bench.records import CellRecord, CellState, Verdict
from slidesparse_bench.report import ReportInputs, doubts
from slidesparse_bench.report.document import render
from slidesparse_bench.report.index_limits import overflows
from slidesparse_bench.report.memory_needs import Judgement, needs_of, room_of
from slidesparse_bench.report.view import RunView, view_of
from slidesparse_bench.wire import Spread

RTX_4090 = {
    "name": "NVIDIA GeForce RTX 4090",
    "index": 0,
    "memory_gib": 23.99,
    "compute_capability": "8.9",
}
IMPORTED = {
    "format": "slidesparse-tree",
    "source": "tools",
    "unknown": {"kernel that ran": "vllm bench throughput does not record it"},
    "warnings": ["a.json: passed over: it is cut off"],
}


def inputs_of(cells: dict[str, CellRecord], **changes) -> ReportInputs:
    run = build_run(cells, trials=changes.pop("trials", 1))
    environment = {"engine": "vllm", "gpus": [RTX_4090], **changes.pop("environment", {})}
    return ReportInputs(run, Path("runs") / run.run_id, environment=environment, **changes)


def view(cells: dict[str, CellRecord], **changes) -> RunView:
    return view_of(inputs_of(cells, **changes))


def report(cells: dict[str, CellRecord], **changes) -> str:
    return render(view(cells, **changes))


def part(text: str, heading: str) -> str:
    level = heading.split(maxsplit=1)[0]
    rest = text[text.index(heading) + len(heading) :]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def cell_id(backend: str, m: int, model: str = "m", stage: str = "prefill") -> str:
    return f"{model}.int8.{backend}.{stage}.m{m}"


def series(backend: str, rates: dict[int, float | None]) -> dict[str, CellRecord]:
    """Cells of one backend by M; None is a failed one."""
    cells = {}
    for m, rate in rates.items():
        name = cell_id(backend, m)
        cells[name] = (
            build_failed(name) if rate is None else build_passed(name, tokens_per_second=rate)
        )
    return cells


# Anomalies


def test_cold_start_marks_the_smaller_m():
    (jump,) = doubts.rate_jumps(
        view(series("cutlass", {512: 2_165.0, 1024: 32_564.0, 2048: 33_000.0}))
    )
    assert (jump.m, jump.other_m, jump.is_slow_start) == (512, 1024, True)


def test_fall_at_the_next_m_marks_the_larger_one():
    (jump,) = doubts.rate_jumps(
        view(series("cutlass", {16384: 40_000.0, 32768: 39_774.0, 65536: 5_555.0}))
    )
    assert (jump.m, jump.other_m, jump.is_slow_start) == (65536, 32768, False)


@pytest.mark.parametrize("rates", [{512: 100.0, 1024: 290.0}, {512: 100.0, 1024: 71.0}])
def test_growth_within_the_rule_is_no_anomaly(rates):
    assert doubts.rate_jumps(view(series("cutlass", rates))) == []


def test_speedup_of_eleven_stands_alone_and_the_reference_is_named():
    cells = series("cublaslt", {512: 2_165.0, 1024: 32_564.0, 2048: 34_000.0, 4096: 36_000.0})
    cells |= series(
        "cusparselt-2_4", {512: 25_417.0, 1024: 36_000.0, 2048: 38_000.0, 4096: 41_000.0}
    )
    found = view(cells)
    (jump,) = doubts.ratio_jumps(found)
    assert (jump.m, round(jump.ratio, 2)) == (512, 11.74)
    text = part(render(found), "### Speed-ups that stand alone: 1")
    assert "|   512 |   11.74x |" in text or "| 512 |" in text
    assert "the reference" in text.splitlines()[-2]
    assert doubts.doubted_ids(found) == {cell_id("cublaslt", 512)}


def doubtful_reference() -> dict[str, CellRecord]:
    """At M = 512 the reference started cold, and a speed-up of 11.74 came out."""
    cells = series("cublaslt", {512: 2_165.0, 1024: 32_000.0, 2048: 34_000.0, 4096: 36_000.0})
    return cells | series(
        "cusparselt-2_4", {512: 25_417.0, 1024: 35_200.0, 2048: 37_400.0, 4096: 39_600.0}
    )


def test_mean_speedup_leaves_out_what_anomalies_doubts_and_says_so():
    text = part(report(doubtful_reference()), "### m, INT8, prefill")
    assert "cusparselt 2:4 1.10x (3 of 4 M; 1 left out)." in text


@pytest.mark.parametrize(
    "changes",
    [
        {"host_wait_share": 0.01},
        {"step_time_ms": Spread(100.0, 100.0, 99.0, 101.0, 6.0)},
    ],
    ids=["host-bound", "a wide interval"],
)
def test_mean_speedup_leaves_out_what_says_little_of_the_kernels(changes):
    cells = series("cublaslt", {512: 100.0, 1024: 200.0, 2048: 300.0})
    cells |= series("cusparselt-2_4", {512: 110.0, 1024: 220.0, 2048: 390.0})
    slow = cell_id("cusparselt-2_4", 2048)
    cells[slow] = build_passed(slow, tokens_per_second=390.0, **changes)
    text = part(report(cells), "### m, INT8, prefill")
    assert "cusparselt 2:4 1.10x (2 of 3 M; 1 left out)." in text


def test_a_rate_out_of_line_is_told_to_be_host_bound():
    cells = series("cublaslt", {512: 2_165.0, 1024: 32_000.0, 2048: 34_000.0})
    slow = cell_id("cublaslt", 512)
    cells[slow] = build_passed(slow, tokens_per_second=2_165.0, host_wait_share=0.001)
    text = part(report(cells), "### Rates that do not fit their neighbours in M: 1")
    assert "host-bound, without a CUDA graph of its M" in text
    assert "too slow a start" not in text


def test_doubted_speedup_is_marked_in_its_table():
    text = part(report(doubtful_reference()), "Speed-up over `cublaslt`")
    assert re.search(r"\| +512 \| +2,165 \| +\?11\.74x", text)
    assert re.search(r"\| +1024 \| +32,000 \| +1\.10x", text)


def test_summary_tells_how_far_the_left_out_speedups_reach_without_the_others():
    text = part(report(doubtful_reference()), "## Summary")
    assert "3 comparisons, from 1.10x to 1.10x" in text
    assert "1 comparison more are left out" in text
    assert "they reach from 11.74x to 11.74x" in text


def test_speedup_beyond_the_zeros_is_told_with_its_bound():
    cells = {**series("cutlass", {512: 100.0}), **series("cusparselt-2_8", {512: 150.0})}
    (found,) = doubts.beyond_zeros(view(cells))
    assert (found.ratio, round(found.most, 3)) == (1.5, 1.333)
    within = {**series("cutlass", {512: 100.0}), **series("cusparselt-2_8", {512: 140.0})}
    assert doubts.beyond_zeros(view(within)) == []


def test_reference_weaker_than_another_dense_backend_is_told():
    cells = {
        **series("cublaslt", {512: 50.0, 1024: 95.0}),
        **series("cutlass", {512: 100.0, 1024: 96.0}),
    }
    (found,) = doubts.weak_references(view(cells))
    assert list(found.best) == [512]
    assert "cutlass 2.00x at M = 512" in report(cells)


def test_hole_and_lonely_number_are_told():
    cells = series("cutlass", {64: 1.0, 128: None, 256: 1.1})
    cells |= series("native", {64: None, 128: 1.0, 256: None})
    found = {each.series.name: (each.missing, each.alone) for each in doubts.holes(view(cells))}
    assert found == {"cutlass": ((128,), ()), "native": ((), (128,))}


def test_series_that_ends_once_has_no_hole():
    assert doubts.holes(view(series("cutlass", {64: 1.0, 128: 1.0, 256: None}))) == []


def repeated(*rates: float) -> CellRecord:
    metrics = [build_metrics(cell_id("cutlass", 512), tokens_per_second=rate) for rate in rates]
    attempts = [build_attempt(n, metrics=each) for n, each in enumerate(metrics, start=1)]
    return CellRecord(CellState.PASSED, attempts=attempts, metrics=metrics[-1])


def test_successes_that_contradict_each_other_are_told_but_trials_are_not():
    cells = {cell_id("cutlass", 512): repeated(59.0, 100.0)}
    (found,) = doubts.unsteady(view(cells))
    assert found.rates == (59.0, 100.0)
    assert doubts.unsteady(view(cells, trials=2)) == []
    assert doubts.unsteady(view({cell_id("cutlass", 512): repeated(95.0, 100.0)})) == []


def test_series_under_mixed_settings_is_told():
    cells = series("cutlass", {512: 1.0, 1024: 1.1, 2048: 1.2})
    record = cells[cell_id("cutlass", 2048)]
    record.attempts = [build_attempt(changed={"gpu_memory_utilization": 0.65})]
    text = part(report(cells), "### Series under mixed conditions: 1 series")
    assert "M = 2048: `gpu_memory_utilization` 0.8 -> 0.65" in text


def test_wide_interval_is_told_with_its_width():
    cells = {cell_id("cutlass", 512): build_passed(cell_id("cutlass", 512), ci95_pct=9.0)}
    assert "interval wider than ±5.0 %: 1 cell, the widest" in report(cells)


def test_run_without_anomalies_says_so():
    cells = series("cutlass", {512: 1.0, 1024: 1.1})
    assert "None of the rules of this section found anything." in part(
        report(cells), "## Anomalies"
    )


# 32-bit indices

LARGE = cell_id("cusparselt-2_4", 65536, "qwen2.5-7b")
DENSE = cell_id("cublaslt", 65536, "qwen2.5-7b")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (LARGE, True),
        (cell_id("cutlass", 32768, "qwen2.5-7b"), False),
        (cell_id("cutlass", 65536, "llama3.2-1b"), False),
        (cell_id("cutlass", 65536, "unknown"), False),
    ],
)
def test_only_shapes_beyond_32_bits_overflow(name, expected):
    (each,) = view({name: build_passed(name)}).cells
    assert overflows(each) is expected


def test_illegal_access_beyond_32_bits_is_explained_with_its_numbers():
    failure = build_failure("illegal_memory_access", verdict=Verdict.UPSTREAM_BUG)
    cells = {LARGE: build_failed(LARGE, failure), DENSE: build_passed(DENSE)}
    text = report(cells)
    block = part(text, "### `illegal_memory_access`: 1 cell")
    assert "65,536 x 37,888 = 2,483,027,968 elements" in block
    assert "**Conclusion:** **bug upstream**, no limit of the hardware" in block
    assert f"- `{DENSE}`" in part(text, "### Passed where others overflowed: 1 cell")
    limits = part(text, "## Limits and recommendations")
    assert "**Very likely a kernel's 32-bit index**, 1 cell" in limits


def test_illegal_access_beyond_32_bits_is_not_called_one_without_evidence():
    failure = build_failure("illegal_memory_access", verdict=Verdict.UPSTREAM_BUG)
    likely = "an illegal address on the GPU, very likely from a kernel's 32-bit index"
    text = report({LARGE: build_failed(LARGE, failure)})
    assert f"failed with `illegal_memory_access` ({likely})" in part(text, "## Summary")
    assert f"**What it is:** {likely}" in part(text, "### `illegal_memory_access`: 1 cell")
    assert "without evidence of an overflow" not in text


def test_illegal_accesses_on_both_sides_of_32_bits_are_told_apart():
    failure = build_failure("illegal_memory_access", verdict=Verdict.UPSTREAM_BUG)
    small = cell_id("cusparselt-2_4", 512, "qwen2.5-7b")
    text = report({each: build_failed(each, failure) for each in (LARGE, small)})
    assert "without evidence of an overflow" in part(text, "## Summary")
    assert "very likely from a kernel's 32-bit index" in part(text, "## Summary")
    block = part(text, "### `illegal_memory_access`: 2 cells")
    assert "in 1 of 2 cells very likely from a kernel's 32-bit index" in block


# Memory

KV_SHORT = build_failure("kv_cache_insufficient", verdict=Verdict.CAPACITY)


def short_of_memory(backend: str, m: int, failure=KV_SHORT) -> dict[str, CellRecord]:
    name = cell_id(backend, m, "qwen2.5-14b")
    return {name: build_failed(name, failure)}


def test_cell_that_a_setting_would_save_is_no_hardware_limit():
    (need,) = needs_of(view(short_of_memory("cublaslt", 32768), environment={"imported": IMPORTED}))
    assert need.judgement is Judgement.A_SETTING
    assert 0.80 < need.utilization < 0.93
    assert need.fitting[0].cuda_mib > 24_564


WAVES = cell_id("cusparselt-2_8", 512, "qwen2.5-14b", "decode")


def test_decode_that_starts_without_room_for_its_batch_is_not_advised_to_be_repeated():
    """The public scripts decode in waves; here M = 512 takes 512 sequences at once."""
    found = view({WAVES: build_failed(WAVES, KV_SHORT)}, environment={"imported": IMPORTED})
    (need,) = needs_of(found)
    assert (need.judgement, need.utilization) == (Judgement.STARTS_ONLY, 0.81)
    text = part(render(found), "## Limits and recommendations")
    assert (
        "starts with `gpu_memory_utilization` 0.81 by the estimate, but M is not reached: that "
        "needs 44.9 GiB"
    ) in text
    assert "again on this GPU" not in text
    assert "Measure 1 cell on a GPU with more memory" in text


def test_decode_whose_batch_fits_is_advised_with_what_the_batch_takes():
    name = cell_id("cusparselt-2_10", 64, "qwen2.5-14b", "decode")
    found = view({name: build_failed(name, KV_SHORT)}, environment={"imported": IMPORTED})
    (need,) = needs_of(found)
    assert need.judgement is Judgement.A_SETTING
    assert (need.utilization, need.advised) == (0.81, 0.95)
    text = part(render(found), "## Limits and recommendations")
    assert "`gpu_memory_utilization` 0.95 would do" in text


def test_weights_that_do_not_fit_are_a_hardware_limit():
    small = {**RTX_4090, "memory_gib": 15.46, "name": "NVIDIA GeForce RTX 5080"}
    weights = build_failure("oom_weights", verdict=Verdict.HARDWARE_LIMIT)
    cells = short_of_memory("cublaslt", 512, weights)
    found = view(cells, environment={"gpus": [small]})
    (need,) = needs_of(found)
    assert need.judgement is Judgement.HARDWARE_LIMIT
    text = part(render(found), "### Limits that no setting removes")
    assert "**Memory**, 1 cell" in text
    assert "NVIDIA GeForce RTX 5080" in text


def test_what_could_start_bounds_what_is_advised():
    """22.39 of 23.99 GiB were free: 0.95 was refused, and no advice may go there."""
    busy = build_failure("gpu_memory_busy", facts={"highest_utilization": 0.93})
    cells = short_of_memory("cublaslt", 32768)
    record = next(iter(cells.values()))
    record.attempts.append(replace(record.attempts[0], n=2, failure=busy))
    room = room_of(view(cells))
    assert room is not None
    assert room.startable == 0.93
    text = report(cells, environment={"imported": IMPORTED})
    assert "Do not go above `gpu_memory_utilization` 0.93 on this GPU" in text
    assert judged_with(0.8) is Judgement.A_SETTING
    assert judged_with(0.92) is Judgement.CONTRADICTED


@pytest.mark.parametrize(
    ("reserved", "utilization", "expected"),
    [
        (False, 0.8, Judgement.CONTRADICTED),
        (True, 0.8, Judgement.CONTRADICTED),
        (True, 0.95, Judgement.A_SETTING),
    ],
    ids=["no setting helps", "needs more than ran out", "a lower one would do"],
)
def test_out_of_memory_is_never_answered_with_a_higher_setting(reserved, utilization, expected):
    failure = build_failure("oom_device", facts={"kv_cache_reserved": reserved})
    assert judged_with(utilization, failure) is expected


def judged_with(utilization: float, failure=KV_SHORT) -> Judgement:
    """Of a cell that ran short of memory with this setting."""
    cells = short_of_memory("cublaslt", 32768, failure)
    record = next(iter(cells.values()))
    args = {"gpu_memory_utilization": utilization}
    record.attempts = [replace(each, engine_args=args) for each in record.attempts]
    (need,) = needs_of(view(cells, environment={"imported": IMPORTED}))
    return need.judgement


def test_unknown_model_or_gpu_is_said_instead_of_computed():
    name = cell_id("cublaslt", 512, "bitnet-2b")
    text = report({name: build_failed(name, KV_SHORT)})
    assert "What they need cannot be computed" in part(text, "## Limits and recommendations")
    assert needs_of(view(short_of_memory("cublaslt", 512), environment={"gpus": []})) == []


def test_passed_run_has_no_section_on_limits():
    assert "## Limits and recommendations" not in report(series("cutlass", {512: 1.0}))


# Emulated kernels


def emulated_cells() -> dict[str, CellRecord]:
    cells = {**series("cutlass", {512: 100.0}), **series("cusparselt-2_4", {512: 150.0})}
    name = cell_id("cusparselt-2_4", 512)
    cells[name] = build_passed(name, tokens_per_second=150.0, emulated=True)
    return cells


def test_emulated_number_is_marked_and_in_no_speedup():
    text = report(emulated_cells())
    table = part(text, "### m, INT8, prefill")
    assert "150 ±0.5 %, emulated [1]" in table
    assert "[1] emulated: the device has no such kernel" in table
    assert "1.50x" not in text
    assert "Sparse kernels were emulated here" in part(text, "## Summary")
    assert "| emulated" not in part(text, "## Usable for publication")
    assert "1 cell: emulated kernels" in part(text, "## Usable for publication")


def test_emulated_dense_backend_is_no_reference():
    name = cell_id("cublaslt", 512)
    cells = {name: build_passed(name, emulated=True), **series("cusparselt-2_4", {512: 150.0})}
    assert "but no dense backend has a number here" in report(cells)


# Publication


def test_proven_number_is_usable_and_an_unproven_one_is_not():
    proven, bare = cell_id("cutlass", 512), cell_id("cutlass", 1024)
    cells = {proven: build_passed(proven), bare: build_passed(bare, step_time_ms=None, kernel="")}
    text = part(report(cells), "## Usable for publication")
    line = next(line for line in text.splitlines() if line.startswith("| m "))
    assert [each.strip() for each in line.split("|")[4:7]] == ["1", "1", "0"]
    assert "- 1 cell: the kernel is not on record" in text
    assert "- 1 cell: no interval" in text


def test_an_m_is_counted_as_usable_when_no_planned_cell_of_it_is_unusable():
    cells = {**series("cutlass", {512: 1.0, 1024: 1.1}), **series("native", {1024: None})}
    text = part(report(cells), "## Usable for publication")
    head, _, line = [each for each in text.splitlines() if each.startswith("|")]
    assert head.split("|")[7].strip() == "M at which no planned cell is unusable"
    assert line.split("|")[7].strip() == "512"


def test_every_cell_without_a_number_says_which_kind():
    cells = {
        **series("cutlass", {512: None, 1024: 1.0}),
        cell_id("native", 512): build_skipped("x"),
    }
    text = part(report(cells), "## Usable for publication")
    assert "- 1 cell: no number: failed" in text
    assert "- 1 cell: no number: skipped" in text


# Overview


def test_models_are_told_apart_by_how_far_they_passed():
    cells = series("cutlass", {512: 1.0, 1024: 1.1})
    cells |= series("native", {512: 1.0, 1024: None})
    cells |= series("cublaslt", {512: None, 1024: None})
    text = part(report(cells), "## Overview")
    assert "cutlass (2 M)" in part(text, "### Passed at every M: 1 series")
    partly = part(text, "### Passed at some M: 1 series")
    assert re.search(r"native +\| 512 +\| 1024 +\| failed: kv_cache_insufficient", partly)
    assert re.search(
        r"cublaslt +\| 512, 1024 +\| failed", part(text, "### Passed at no M: 1 series")
    )


def test_matrix_of_completeness_has_a_total_per_row():
    cells = {**series("cutlass", {512: 1.0, 1024: None}), **series("native", {512: 1.0})}
    text = part(report(cells), "### Completeness, prefill")
    row = next(line for line in text.splitlines() if line.startswith("| m "))
    assert [each.strip() for each in row.strip("|").split("|")][2:] == ["1/1", "1/2", "2/3"]


# Imported runs


def test_imported_run_describes_the_other_tool_and_not_our_worker():
    text = report(series("cutlass", {512: 1.0}), environment={"imported": IMPORTED})
    assert "> **Imported results.**" in text
    methods = part(text, "## Methods")
    assert "one fresh `vllm bench throughput` process per cell" in methods
    assert "| kernel that ran | vllm bench throughput does not record it |" in methods
    assert "a.json: passed over: it is cut off" in methods
    assert "inside the worker's own process" not in methods
    assert "lead-in" not in methods
    assert "engines were those of another tool" in part(text, "## Engines")


def test_imported_run_is_not_advised_to_be_retried():
    text = report(short_of_memory("cublaslt", 512), environment={"imported": IMPORTED})
    assert "slidesparse retry" not in text
    assert "resumes this run" not in text


def test_imported_cpu_is_not_taken_for_a_run_of_ours():
    text = report(series("cutlass", {512: 1.0}), environment={"imported": IMPORTED, "gpus": []})
    assert "**CPU run.**" not in text
