"""Comparing two runs: what may be said of a ratio, and what is left open."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.compare import (
    Cause,
    Comparison,
    Rule,
    Verdict,
    compare_runs,
    ratio_of_rates,
)
from slidesparse_bench.compare.cells import verdict_on
from slidesparse_bench.compare.ratio import geometric_mean
from slidesparse_bench.compare.tables import document, group_table, header_lines, markdown
from slidesparse_bench.errors import ExitCode
from slidesparse_bench.records import CellRecord, CellState
from slidesparse_bench.report import ReportInputs
from slidesparse_bench.report.view import RunView, view_of
from slidesparse_bench.spread import spread
from slidesparse_bench.trials import combined

DENSE = "qwen2.5-7b.int8.cutlass.prefill.m16384"
DECODE = "qwen2.5-7b.int8.cutlass.decode.m64"
FP8 = "qwen2.5-7b.fp8.cutlass.prefill.m512"
CELLS = (CELL, DENSE, DECODE, FP8)
GPU = {"index": 0, "name": "NVIDIA H200", "driver": "580.1", "power_limit_w": 700.0}
ENVIRONMENT = {
    "schema_version": 2,
    "engine": "vllm",
    "seed": 0,
    "slidesparse_bench": "0.1.0",
    "gpus": [GPU],
    "versions": {"vllm": "0.25.1", "torch": "2.11.0"},
}
MATRIX = """
name: h200
models: [qwen2.5-7b]
backends: [cutlass, {cusparselt: {sparsity: [2:8]}}]
stages: {prefill: {M: [512, 16384]}, decode: {M: [64]}}
"""


def view(
    cells: dict[str, CellRecord],
    *,
    environment: dict[str, Any] | None = None,
    matrix: str = MATRIX,
    plan: dict[str, Any] | None = None,
    **run: Any,
) -> RunView:
    """A run as the comparison takes it; `environment` replaces keys of ENVIRONMENT."""
    return view_of(
        ReportInputs(
            run=build_run(cells, **run),
            run_folder=Path("runs/h200-20260301-100000"),
            plan=plan or {},
            environment={**ENVIRONMENT, **(environment or {})},
            matrix_text=matrix,
        )
    )


def on(name: str | None, **facts: Any) -> dict[str, Any]:
    """An environment with this GPU; None: no GPU on record."""
    return {"gpus": [{**GPU, "name": name, **facts}] if name else []}


def passed(cell_id: str, rate: float = 90_000.0, **metrics: Any) -> CellRecord:
    """A cell whose main rate is `rate`, whatever its stage."""
    if ".decode." in cell_id:
        metrics.setdefault("output_tokens_per_second", rate)
    return build_passed(cell_id, tokens_per_second=rate, **metrics)


def all_at(rate: float, **metrics: Any) -> dict[str, CellRecord]:
    return {cell_id: passed(cell_id, rate, **metrics) for cell_id in CELLS}


def compared(a: CellRecord | None, b: CellRecord | None, rule: Rule | None = None) -> Any:
    """The comparison of one cell; None: not in that run."""
    sides = [view({CELL: each} if each else {}) for each in (a, b)]
    return compare_runs(*sides, rule).cells[0]


def verdicts(comparison: Comparison) -> dict[str, Verdict]:
    return {each.id: each.verdict for each in comparison.cells}


# The interval of a ratio.


def test_an_exact_reference_leaves_the_interval_of_the_other_side():
    ratio = ratio_of_rates(100, 110, 0.0, 0.02)
    assert (ratio.low, ratio.high) == pytest.approx((1.1 / 1.02, 1.1 / 0.98))


widths = st.floats(0, 0.9)
rates = st.floats(1e-3, 1e9)


@given(rates, rates, widths, widths)
def test_the_interval_of_the_inverse_is_the_inverse_of_the_interval(rate_a, rate_b, a, b):
    there, back = ratio_of_rates(rate_a, rate_b, a, b), ratio_of_rates(rate_b, rate_a, b, a)
    assert (1 / there.high, 1 / there.low) == pytest.approx((back.low, back.high))


@given(rates, rates, widths, widths)
def test_the_interval_holds_the_ratio_and_is_no_narrower_than_either_side(rate_a, rate_b, a, b):
    ratio = ratio_of_rates(rate_a, rate_b, a, b)
    assert ratio.low <= ratio.value * (1 + 1e-12)
    assert ratio.high >= ratio.value * (1 - 1e-12)
    assert (ratio.high - ratio.low) / ratio.value >= 2 * max(a, b) * (1 - 1e-9) - 1e-12


@pytest.mark.parametrize("widths", [(None, 0.01), (0.01, None), (None, None), (1.0, 0.01)])
def test_a_side_that_cannot_bound_its_rate_leaves_no_interval(widths):
    ratio = ratio_of_rates(100, 90, *widths)
    assert (ratio.value, ratio.low, ratio.high) == (0.9, None, None)


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_claims():
    luck = random.Random(1)
    covered = 0
    for _ in range(2000):
        steps_a = spread([[luck.gauss(10.0, 0.5) for _ in range(40)]])
        steps_b = spread([[luck.gauss(8.0, 0.8) for _ in range(60)]])
        ratio = ratio_of_rates(
            1 / steps_a.mean,
            1 / steps_b.mean,
            steps_a.ci95_half_width / steps_a.mean,
            steps_b.ci95_half_width / steps_b.mean,
        )
        covered += ratio.low <= 10.0 / 8.0 <= ratio.high
    assert 0.94 <= covered / 2000 <= 0.99


def test_the_interval_covers_the_true_ratio_when_processes_differ_and_there_are_trials():
    luck = random.Random(2)
    covered = 0
    for _ in range(400):
        a, b = (trials(luck, true_rate) for true_rate in (90_000, 81_000))
        each = compared(a, b)
        covered += each.ratio.low <= 0.9 <= each.ratio.high
    assert 0.93 <= covered / 400 <= 0.995


def trials(luck: random.Random, true_rate: float) -> CellRecord:
    """Four processes that differ by 2 %, each with steps that differ by much less."""
    metrics = [
        build_metrics(tokens_per_second=true_rate / luck.gauss(1.0, 0.02), ci95_pct=0.1)
        for _ in range(4)
    ]
    attempts = [build_attempt(n, trial=n, metrics=each) for n, each in enumerate(metrics, start=1)]
    return CellRecord(CellState.PASSED, attempts=attempts, metrics=combined(metrics))


# The verdict on a cell.


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.90, 0.969, Verdict.SLOWER),
        (0.90, 0.971, Verdict.CANNOT_TELL),
        (0.971, 0.99, Verdict.SAME),
        (0.98, 1.02, Verdict.SAME),
        (0.98, 1.031, Verdict.CANNOT_TELL),
        (1.029, 1.2, Verdict.CANNOT_TELL),
        (1.031, 1.2, Verdict.FASTER),
        (0.5, 2.0, Verdict.CANNOT_TELL),
    ],
)
def test_only_what_the_whole_interval_agrees_on_is_said(low, high, verdict):
    assert verdict_on(low, high, 0.03) is verdict


PASSED, FAILED, SKIPPED = build_passed(), build_failed(), build_skipped()
PENDING = CellRecord(CellState.PENDING)
BUSY = build_failed(CELL, "gpu_memory_busy")


@pytest.mark.parametrize(
    ("a", "b", "verdict", "cause"),
    [
        (PASSED, FAILED, Verdict.NEW_FAILURE, None),
        (FAILED, PASSED, Verdict.FIXED, None),
        (FAILED, FAILED, Verdict.BOTH_FAILED, None),
        (PASSED, None, Verdict.ONLY_IN_A, None),
        (FAILED, None, Verdict.ONLY_IN_A, None),
        (None, PASSED, Verdict.ONLY_IN_B, None),
        (PASSED, SKIPPED, Verdict.CANNOT_TELL, Cause.SKIPPED),
        (SKIPPED, PASSED, Verdict.ONLY_IN_B, None),
        (PENDING, PASSED, Verdict.ONLY_IN_B, None),
        (SKIPPED, FAILED, Verdict.NO_NUMBER, None),
        (PENDING, PENDING, Verdict.NO_NUMBER, None),
        (PASSED, PENDING, Verdict.CANNOT_TELL, Cause.UNFINISHED),
        (PASSED, BUSY, Verdict.CANNOT_TELL, Cause.NOT_OF_THE_CELL),
    ],
)
def test_a_cell_without_two_numbers_says_what_became_of_it(a, b, verdict, cause):
    each = compared(a, b)
    assert (each.verdict, each.cause, each.ratio) == (verdict, cause, None)
    assert each.reason != ""


def test_a_new_failure_names_its_class_and_its_cause():
    each = compared(build_passed(), build_failed(CELL, "oom_device"))
    assert each.reason == (
        "A passed; B failed: oom_device: ValueError: No available memory for the cache blocks."
    )


def test_an_imported_number_has_a_ratio_and_no_verdict():
    each = compared(build_passed(), build_passed(tokens_per_second=45_000.0, step_time_ms=None))
    assert (each.verdict, each.cause) == (Verdict.CANNOT_TELL, Cause.NO_INTERVAL)
    assert each.ratio.value == pytest.approx(0.5)
    assert each.reason == "no interval in B"


def test_too_few_trials_give_no_verdict():
    each = compared(build_passed(trials=3), build_passed(tokens_per_second=1e3), Rule(0.03, 3))
    assert (each.verdict, each.cause) == (Verdict.CANNOT_TELL, Cause.FEW_TRIALS)
    assert each.reason == "B has 1 trial, 3 are asked for"


def test_an_interval_over_the_threshold_says_what_is_certain_all_the_same():
    each = compared(build_passed(), build_passed(tokens_per_second=87_300.0))
    assert each.cause is Cause.STRADDLES
    assert each.reason == "slower, by how much is open: the interval reaches over 0.97"


def test_a_disturbed_side_and_another_kernel_are_named():
    each = compared(
        build_passed(throttled=["hw_thermal"]),
        build_passed(disturbed=["throttled (hw_thermal) in 4 of 20 samples"], kernel="Other"),
    )
    assert each.notes == (
        "A: the GPU was throttled: hw_thermal",
        "B: disturbed while it was measured: throttled (hw_thermal)",
        "kernel CusparseltScaledMMLinearKernel in A, Other in B",
    )


def test_decode_is_judged_by_its_pure_decode_steps():
    a = view({DECODE: passed(DECODE, 100.0, output_tokens_per_second=50.0)})
    b = view({DECODE: passed(DECODE, 100.0, output_tokens_per_second=40.0)})
    each = compare_runs(a, b).cells[0]
    assert (each.metric, each.ratio.value) == ("output_tokens_per_second", 0.8)


def test_decode_without_that_rate_on_one_side_compares_all_tokens_and_has_no_interval():
    a = view({DECODE: passed(DECODE, 100.0)})
    b = view({DECODE: passed(DECODE, 60.0, output_tokens_per_second=None)})
    each = compare_runs(a, b).cells[0]
    assert (each.metric, each.ratio.value, each.ratio.low) == ("tokens_per_second", 0.6, None)
    assert each.cause is Cause.NO_INTERVAL


def emulated() -> CellRecord:
    return build_passed(emulated=True)


def test_an_emulated_number_is_never_compared_with_a_measured_one():
    each = compared(build_passed(), emulated())
    assert (each.verdict, each.cause, each.ratio) == (
        Verdict.CANNOT_TELL,
        Cause.NOT_ALIKE,
        None,
    )
    assert each.reason == "never compared: A is measured, B is emulated"


def test_two_emulated_numbers_compare():
    assert compared(emulated(), emulated()).verdict is Verdict.SAME


def test_the_fake_engine_is_never_compared_with_a_real_one():
    fake = view(all_at(1.0), environment={"engine": "fake"})
    comparison = compare_runs(view(all_at(1.0)), fake)
    assert {each.cause for each in comparison.cells} == {Cause.NOT_ALIKE}
    assert comparison.outcome == (
        ExitCode.CANNOT_TELL,
        "nothing to compare: real and emulated numbers are never compared",
    )


# The outcome.


@given(
    st.lists(
        st.tuples(st.floats(1.0, 1e6), st.floats(0.0, 50.0)),
        min_size=len(CELLS),
        max_size=len(CELLS),
    )
)
def test_a_run_and_itself_have_ratio_1_and_no_regression(numbers):
    cells = {
        cell_id: passed(cell_id, rate, ci95_pct=pct)
        for cell_id, (rate, pct) in zip(CELLS, numbers, strict=True)
    }
    comparison = compare_runs(view(cells), view(cells))
    assert [each.ratio.value for each in comparison.cells] == [1.0] * len(CELLS)
    assert comparison.regressions == []
    told = set(verdicts(comparison).values())
    assert told <= {Verdict.SAME, Verdict.CANNOT_TELL}
    assert comparison.outcome[0] is (
        ExitCode.OK if told == {Verdict.SAME} else ExitCode.CANNOT_TELL
    )


@given(st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_a_tenth_less_of_every_precise_rate_is_a_regression_and_the_reverse_is_none(pct_a, pct_b):
    fast = view(all_at(90_000, ci95_pct=pct_a))
    slow = view(all_at(81_000, ci95_pct=pct_b))
    worse, better = compare_runs(fast, slow), compare_runs(slow, fast)
    assert set(verdicts(worse).values()) == {Verdict.SLOWER}
    assert worse.outcome == (ExitCode.REGRESSION, "4 regressions: 4 slower by more than 3 %")
    assert set(verdicts(better).values()) == {Verdict.FASTER}
    assert better.outcome == (ExitCode.OK, "no cell is slower by more than 3 %")


def test_a_regression_outranks_a_cell_that_cannot_be_told():
    b = {**all_at(90_000), CELL: build_failed(), DENSE: passed(DENSE, ci95_pct=20.0)}
    code, reason = compare_runs(view(all_at(90_000)), view(b)).outcome
    assert code is ExitCode.REGRESSION
    assert reason == "1 regression: 1 failed that passed before"


def test_a_slower_gpu_is_not_a_regression():
    comparison = compare_runs(
        view(all_at(90_000)), view(all_at(30_000), environment=on("NVIDIA L4"))
    )
    assert comparison.outcome[0] is ExitCode.OK
    assert comparison.counts[Verdict.SLOWER] == 4
    assert comparison.regressions == []
    lines = "\n".join(header_lines(comparison))
    assert "GPU: NVIDIA H200 in A, NVIDIA L4 in B" in lines
    assert "a slower or failed cell is not called a regression" in lines


def test_a_slower_gpu_is_a_regression_when_the_gate_is_asked_for():
    b = view(all_at(30_000), environment=on("NVIDIA L4"))
    assert compare_runs(view(all_at(90_000)), b, gate=True).outcome[0] is ExitCode.REGRESSION


def test_another_card_of_the_same_kind_is_the_same_device():
    b = view(all_at(30_000), environment=on("NVIDIA H200", index=4, uuid="GPU-4"))
    assert compare_runs(view(all_at(90_000)), b).outcome[0] is ExitCode.REGRESSION


def test_a_slower_cell_on_an_unknown_device_is_left_open():
    b = view(all_at(30_000), environment=on(None))
    code, reason = compare_runs(view(all_at(90_000)), b).outcome
    assert code is ExitCode.CANNOT_TELL
    assert reason.startswith("the device is not on record in both runs")


def test_a_device_is_known_from_the_plan_when_nothing_else_tells():
    plan = {"device": {"kind": "cuda", "name": "NVIDIA H200"}}
    b = view(all_at(30_000), environment=on(None), plan=plan)
    assert compare_runs(view(all_at(90_000)), b).outcome[0] is ExitCode.REGRESSION


@pytest.mark.parametrize("b", [{}, {DENSE: passed(DENSE)}, {CELL: build_skipped()}])
def test_runs_without_a_common_number_cannot_be_compared(b):
    comparison = compare_runs(view({CELL: build_passed()}), view(b))
    code, reason = comparison.outcome
    assert code is ExitCode.CANNOT_TELL
    assert reason.startswith("nothing to compare: no cell has a number in both runs (1 in A")


def test_another_gpu_on_which_everything_fails_cannot_be_compared():
    b = view({CELL: build_failed()}, environment=on("NVIDIA L4"))
    assert compare_runs(view({CELL: build_passed()}), b).outcome[0] is ExitCode.CANNOT_TELL


def test_a_cell_that_b_has_not_finished_keeps_the_gate_from_passing():
    b = {**all_at(90_000), CELL: PENDING}
    comparison = compare_runs(view(all_at(90_000)), view(b))
    assert comparison.outcome == (ExitCode.CANNOT_TELL, "1 cell cannot be told")
    (step,) = comparison.next_steps
    assert step.startswith("1 cell cannot be told (B has not finished it")


def test_a_part_of_the_cells_can_be_compared_with_all_of_them():
    comparison = compare_runs(view(all_at(90_000)), view({CELL: build_passed()}))
    assert comparison.outcome[0] is ExitCode.OK
    assert comparison.counts[Verdict.ONLY_IN_A] == 3


def test_selected_cells_only():
    comparison = compare_runs(view(all_at(90_000)), view(all_at(1)), only=[CELL])
    assert list(verdicts(comparison)) == [CELL]


def test_regressions_come_first_and_the_largest_change_before_smaller_ones():
    b = {
        CELL: passed(CELL, 80_000),
        DENSE: passed(DENSE, 45_000),
        DECODE: passed(DECODE),
        FP8: build_failed(FP8),
    }
    comparison = compare_runs(view(all_at(90_000)), view(b))
    assert list(verdicts(comparison)) == [FP8, DENSE, CELL, DECODE]


HALF, TWICE, GONE = (f"{CELL[:-5]}{m}" for m in (512, 1024, 2048))


def test_groups_have_the_geometric_mean_of_what_both_runs_measured():
    a = {HALF: passed(HALF, 100), TWICE: passed(TWICE, 100), GONE: passed(GONE, 100)}
    b = {HALF: passed(HALF, 90), TWICE: passed(TWICE, 100 / 0.9), GONE: build_failed(GONE)}
    group = compare_runs(view(a), view(b)).groups[0]
    assert (group.cells, group.compared, group.left_out) == (3, 2, 0)
    assert group.geometric_mean == pytest.approx(1.0)
    assert group.series.title == "cusparselt 2:8 (25 % zeros)"


def test_a_mean_leaves_out_disturbed_numbers_and_says_how_many():
    a = {HALF: passed(HALF, 100), TWICE: passed(TWICE, 120)}
    b = {HALF: passed(HALF, 90), TWICE: passed(TWICE, 80, disturbed=["throttled (hw_thermal)"])}
    comparison = compare_runs(view(a), view(b))
    (group,) = comparison.groups
    assert (group.compared, group.left_out, group.geometric_mean) == (1, 1, pytest.approx(0.9))
    assert "1 of 2; 1 disturbed or out of line" in group_table(comparison).rows[0]


def test_a_mean_leaves_out_numbers_out_of_line_and_their_remark_says_so():
    a = {HALF: passed(HALF, 100), TWICE: passed(TWICE, 120)}
    b = {HALF: passed(HALF, 90), TWICE: passed(TWICE, 40)}
    comparison = compare_runs(view(a), view(b))
    (group,) = comparison.groups
    assert (group.compared, group.left_out, group.geometric_mean) == (1, 1, pytest.approx(0.9))
    doubted = {each.id: each.notes for each in comparison.cells if each.doubted}
    assert doubted == {
        TWICE: ("B: out of line with the numbers beside it (Anomalies in its report)",)
    }


@pytest.mark.parametrize(("a", "b", "who"), [(0, 1, "B"), (1, 0, "A"), (1, 1, "A and B")])
def test_a_slower_number_that_was_disturbed_is_no_regression(a, b, who):
    causes = ["throttled (hw_thermal) in 4 of 20 samples"]
    sides = [passed(CELL, 90_000, disturbed=causes[:a]), passed(CELL, 50_000, disturbed=causes[:b])]
    comparison = compare_runs(*(view({CELL: each}) for each in sides))
    (each,) = comparison.cells
    assert (each.verdict, each.cause) == (Verdict.CANNOT_TELL, Cause.DISTURBED)
    assert (each.reason, each.ratio.value) == (f"measure {who} again", pytest.approx(5 / 9))
    assert comparison.outcome[0] is ExitCode.CANNOT_TELL
    assert "a side was disturbed" in comparison.next_steps[0]


def test_the_gate_does_not_pass_when_b_skipped_what_a_measured():
    b = {**all_at(90_000), CELL: build_skipped(), FP8: build_skipped()}
    comparison = compare_runs(view(all_at(90_000)), view(b))
    assert comparison.outcome == (
        ExitCode.CANNOT_TELL,
        "2 cells cannot be told; 2 cells that passed in A were skipped in B",
    )
    assert comparison.next_steps[0].startswith("2 cells cannot be told (B skipped what passed in A")


def test_without_a_gate_what_b_skipped_is_told_and_no_more():
    b = view({**all_at(30_000), CELL: build_skipped()}, environment=on("NVIDIA L4"))
    comparison = compare_runs(view(all_at(90_000)), b)
    assert verdicts(comparison)[CELL] is Verdict.ONLY_IN_A
    code, reason = comparison.outcome
    assert code is ExitCode.OK
    assert reason.endswith("; 1 cell that passed in A was skipped in B")
    assert comparison.next_steps == []


def test_a_cell_that_was_not_tried_yet_is_not_explained_by_the_plan():
    plan = {"cells": [{"id": CELL, "reason": "needs 15.3 of 33.8 GiB"}]}
    a, b = view({CELL: build_passed()}), view({CELL: PENDING}, plan=plan)
    assert compare_runs(a, b).cells[0].reason == "A passed; B pending"


def configs(**hashes: str) -> dict[str, Any]:
    """A plan with these hashes of `config.json` by model."""
    return {"model_configs": {name.replace("_", "-"): text for name, text in hashes.items()}}


MINE = "my-7b.int8.cutlass.prefill.m512"


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (configs(my_7b="a" * 64), configs(my_7b="a" * 64), []),
        (configs(my_7b="a" * 64), configs(my_7b="b" * 64), [
            "model my-7b: other config.json (aaaaaaaaaaaa in A, bbbbbbbbbbbb in B)"
        ]),
        (configs(), configs(my_7b="b" * 64), ["model my-7b: no config.json on record in A"]),
        ({"model_configs": None}, {}, []),
        (configs(other="a" * 64), configs(other="b" * 64), []),
    ],
)  # fmt: skip
def test_two_models_of_one_name_are_told_apart_by_their_configuration(a, b, told):
    runs = [view({MINE: passed(MINE)}, plan=plan) for plan in (a, b)]
    assert [text for text in compare_runs(*runs).setups.differences if "model" in text] == told


def test_the_geometric_mean_of_nothing_is_unknown():
    assert geometric_mean([]) is None


# What differs beside the numbers.


def differences(b: RunView, a: RunView | None = None) -> tuple[str, ...]:
    return compare_runs(a or view(all_at(90_000)), b).setups.differences


def test_runs_made_alike_differ_in_nothing():
    assert differences(view(all_at(80_000))) == ()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"seed": 7}, "seed: 0 in A, 7 in B"),
        ({"seed": None}, "seed: 0 in A, not on record in B"),
        ({"versions": {"vllm": "0.26.0"}}, "vLLM: vllm 0.25.1 in A, vllm 0.26.0 in B"),
        (on("NVIDIA H200", power_limit_w=500.0), "power limit: 700 W in A, 500 W in B"),
        (on("NVIDIA H200", driver="590.2"), "driver: 580.1 in A, 590.2 in B"),
        ({"schema_version": 1}, "format of the run files: 2 in A, 1 in B"),
    ],
)
def test_a_difference_of_the_machine_or_the_method_is_told(environment, told):
    assert differences(view(all_at(90_000), environment=environment)) == (told,)


def test_another_isolation_is_told():
    shared = {CELL: build_passed()}
    shared[CELL].attempts = [replace(shared[CELL].attempts[0], isolation="engine")]
    assert differences(view(shared)) == ("isolation: cell in A, engine in B",)


def test_other_measurement_settings_are_told_with_the_number_of_their_cells():
    b = view(all_at(90_000), matrix=f"{MATRIX}measurement: {{precision: 0.005}}\n")
    assert differences(b) == ("measurement.precision: 0.01 in A, 0.005 in B (4 cells)",)


def test_another_engine_argument_is_told():
    plans = [
        {"cells": [{"id": CELL, "engine_args": {"max_model_len": 1025, **more}}]}
        for more in ({}, {"enforce_eager": True})
    ]
    a, b = (view(all_at(90_000), plan=plan) for plan in plans)
    assert differences(b, a) == ("enforce_eager: unset in A, True in B (1 cell)",)


def test_a_run_of_another_tool_has_no_measurement_settings_on_record():
    assert differences(view(all_at(90_000), matrix="")) == (
        "measurement settings: not on record in B",
    )


def test_other_packages_are_told_after_what_is_known_to_matter():
    b = view(all_at(90_000), environment={"versions": {"vllm": "0.25.1", "torch": "2.12.0"}})
    assert compare_runs(view(all_at(90_000)), b).setups.also == ("torch 2.11.0 -> 2.12.0",)


def test_numbers_of_one_process_are_called_that():
    b = view({**all_at(90_000), CELL: build_passed(trials=3)})
    assert compare_runs(view(all_at(90_000)), b).setups.cautions[-1] == (
        "From a single process each: 4 of 4 numbers in A, 3 of 4 in B. The interval of such a "
        "number does not see what differs from process to process."
    )


# How it is told.


def test_what_is_true_of_every_number_is_said_once():
    cells = all_at(90_000, throttled=["hw_thermal"])
    comparison = compare_runs(view(cells), view(all_at(90_000)))
    text = markdown(comparison)
    assert text.count("A: the GPU was throttled: hw_thermal") == 1


def test_the_markdown_names_the_outcome_the_groups_and_every_cell():
    b = {**all_at(90_000), CELL: passed(CELL, 80_000), FP8: build_failed(FP8)}
    text = markdown(compare_runs(view(all_at(90_000)), view(b)))
    assert "**regression**: 2 regressions: 1 slower by more than 3 % and 1 failed" in text
    assert "0.889" in text
    assert "| prefill | int8" in text
    assert all(f"| {cell_id}" in text for cell_id in CELLS)


def test_text_of_others_is_no_markdown():
    b = {CELL: replace(build_skipped("<b>|`x`"), state=CellState.SKIPPED)}
    text = markdown(compare_runs(view({CELL: build_passed()}), view(b)))
    assert "\\<b>\\|\\`x\\`" in text


def test_the_document_says_for_every_cell_what_it_rests_on():
    told = document(compare_runs(view(all_at(90_000)), view(all_at(45_000, ci95_pct=1.0))))
    cell = next(each for each in told["cells"] if each["id"] == CELL)
    low, high = cell.pop("ratio_ci95")
    assert cell == {
        "id": CELL,
        "verdict": "slower",
        "regression": True,
        "cause": None,
        "reason": "",
        "metric": "tokens_per_second",
        "rate_a": 90_000.0,
        "rate_b": 45_000.0,
        "ratio": 0.5,
        "notes": [],
        "doubted": False,
    }
    reach = math.hypot(0.005, 0.01)
    assert (low, high) == pytest.approx((0.5 * (1 - reach), 0.5 * (1 + reach)), rel=1e-3)
    assert (told["outcome"], told["exit_code"]) == ("regression", 4)


DOCS = Path(__file__).parent.parent / "docs" / "comparing.md"


def test_every_verdict_cause_and_key_is_documented():
    keys = document(compare_runs(view(all_at(1)), view(all_at(1))))
    names = [*Verdict, *Cause, *keys, *keys["cells"][0], *keys["groups"][0]]
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text] == ["schema_version"]


def test_a_run_that_spans_a_change_says_so():
    sittings = [
        {"began": f"2026-03-0{day}T09:00:00+00:00", "versions": {"vllm": version}, "gpus": [GPU]}
        for day, version in ((1, "0.25.1"), (2, "0.26.0"))
    ]
    cells = all_at(90_000)
    late = [replace(cells[CELL].attempts[0], started="2026-03-02T10:00:00+00:00")]
    cells[CELL] = replace(cells[CELL], attempts=late)
    b = view(cells, environment={"sittings": sittings})
    assert compare_runs(view(all_at(90_000)), b).setups.cautions[-1] == (
        "B was measured before and after a change: vllm 0.25.1 -> 0.26.0."
    )
