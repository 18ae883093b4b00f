"""Tables over the whole run: the fastest backend, the memory of the weights, the overview."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from builders import build_failed, build_passed, build_run, build_skipped

from slidesparse_bench.records import CellRecord
from slidesparse_bench.report import ReportInputs
from slidesparse_bench.report.document import render
from slidesparse_bench.report.sections.fastest import places_of
from slidesparse_bench.report.view import RunView, view_of


def cell_id(backend: str, m: int = 512, quantization: str = "int8", stage: str = "prefill") -> str:
    return f"m.{quantization}.{backend}.{stage}.m{m}"


def passed(*names: str, **metrics) -> dict[str, CellRecord]:
    return {each: build_passed(each, **metrics) for each in names}


def rates(**by_name: float) -> dict[str, CellRecord]:
    """Cells of M = 512: `cutlass_int8=100.0`."""
    cells = {}
    for name, rate in by_name.items():
        backend, _, quantization = name.rpartition("_")
        each = cell_id(backend, quantization=quantization)
        cells[each] = build_passed(each, tokens_per_second=rate)
    return cells


def view(cells: dict[str, CellRecord], **changes) -> RunView:
    run = build_run(cells, trials=changes.pop("trials", 1))
    return view_of(
        ReportInputs(run, Path("runs/a"), **{"environment": {"engine": "vllm"}, **changes})
    )


def report(cells: dict[str, CellRecord], **changes) -> str:
    return render(view(cells, **changes))


def part(text: str, heading: str) -> str:
    rest = text[text.index(heading) + len(heading) :]
    return re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Rows of all tables, without heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    fields = [[each.strip() for each in line.strip("|").split("|")] for line in lines]
    rules = [n for n, row in enumerate(fields) if set("".join(row)) <= set("-: ")]
    return [row for n, row in enumerate(fields) if n not in rules and n + 1 not in rules]


# The fastest backend


def test_fastest_is_found_over_all_quantizations_with_its_lead():
    cells = rates(cutlass_int8=100_000.0, cutlass_fp8=104_000.0, cublaslt_fp8=130_000.0)
    text = part(report(cells), "## The fastest backend")
    assert rows(text) == [
        ["m", "prefill", "512", "cublaslt FP8", "130,000 ±0.5 %", "cutlass FP8", "25 %"]
    ]


def test_lead_within_its_interval_is_no_difference():
    (place,) = places_of(view(rates(cutlass_int8=100_000.0, cublaslt_int8=100_500.0)))
    assert (place.ranked[0].name, place.is_sure) == ("cublaslt INT8", False)
    text = part(report(rates(cutlass_int8=100_000.0, cublaslt_int8=100_500.0)), "## The fastest")
    assert rows(text)[0][6] == "~0.5 %"


def test_fastest_are_counted_and_so_are_leads_within_their_interval():
    cells = rates(cutlass_int8=100_000.0, cublaslt_int8=100_500.0)
    for backend, rate in (("cutlass", 150_000.0), ("cublaslt", 120_000.0)):
        name = cell_id(backend, 1024)
        cells[name] = build_passed(name, tokens_per_second=rate)
    text = part(report(cells), "## The fastest")
    assert "Of 2 rows the fastest is `cublaslt INT8` in 1, `cutlass INT8` in 1. In 1 the" in text


def test_lead_without_an_interval_says_so():
    cells = rates(cutlass_int8=100_000.0, cublaslt_int8=130_000.0)
    slow = cells[cell_id("cutlass")]
    slow.metrics = replace(slow.metrics, step_time_ms=None)
    assert rows(part(report(cells), "## The fastest"))[0][6] == "30 % (no interval)"


def test_two_processes_of_one_kernel_are_no_two_backends():
    cells = rates(cutlass_int8=100_000.0, native_int8=130_000.0)
    for each in cells.values():
        each.metrics = replace(each.metrics, kernel="CutlassInt8ScaledMMLinearKernel")
    assert rows(part(report(cells), "## The fastest"))[0][6] == "30 %, same kernel"


def test_sparsities_of_one_kernel_are_different_ways():
    names = {"cusparselt-2_4": 130_000.0, "cusparselt-2_8": 100_000.0}
    cells = {cell_id(b): build_passed(cell_id(b), tokens_per_second=r) for b, r in names.items()}
    assert rows(part(report(cells), "## The fastest"))[0][6] == "30 %"


def test_cell_in_doubt_is_not_ranked_but_named():
    cells = rates(cutlass_int8=100_000.0, cublaslt_int8=110_000.0)
    cells |= rates(native_int8=200_000.0)
    wild = cells[cell_id("native")]
    wild.metrics = replace(wild.metrics, disturbed=["throttled (hw_thermal) in 4 of 20 samples"])
    (row,) = rows(part(report(cells), "## The fastest"))
    assert (row[3], row[5], row[7]) == ("cublaslt INT8", "cutlass INT8", "?native INT8")


def test_cell_without_a_number_might_have_been_faster_and_a_skipped_one_not():
    cells = rates(cutlass_int8=100_000.0, cublaslt_int8=110_000.0)
    cells[cell_id("native")] = build_failed(cell_id("native"))
    cells[cell_id("cusparselt-2_4")] = build_skipped()
    assert rows(part(report(cells), "## The fastest"))[0][7] == "native INT8"


def test_many_cells_that_are_not_ranked_are_counted():
    cells = rates(cutlass_int8=100_000.0, cublaslt_int8=110_000.0)
    for quantization, backend in (("int8", "native"), ("fp8", "native"), ("fp8", "cutlass")):
        name = cell_id(backend, quantization=quantization)
        cells[name] = build_failed(name)
    assert rows(part(report(cells), "## The fastest"))[0][7] == "3 cells without a number"


def test_decode_is_ranked_by_one_metric_in_both_quantizations():
    """FP8 lacks the rate of the pure steps, so INT8 is taken by its whole rate, too."""
    int8, fp8 = (cell_id("cutlass", 64, each, "decode") for each in ("int8", "fp8"))
    cells = passed(int8, tokens_per_second=1_000.0, output_tokens_per_second=9_000.0)
    cells |= passed(fp8, tokens_per_second=2_000.0, output_tokens_per_second=None)
    (place,) = places_of(view(cells))
    assert [(each.name, each.rate) for each in place.ranked] == [
        ("cutlass FP8", 2_000.0),
        ("cutlass INT8", 1_000.0),
    ]


@pytest.mark.parametrize(
    ("environment", "metrics"),
    [
        ({"engine": "fake"}, {}),
        ({"imported": {"format": "slidesparse-tree"}}, {}),
        ({}, {"emulated": True}),
    ],
)
def test_speeds_that_say_nothing_of_backends_are_not_ranked(environment, metrics):
    cells = passed(cell_id("cutlass"), cell_id("cublaslt"), **metrics)
    assert places_of(view(cells, environment=environment)) == []
    assert len(places_of(view(passed(*cells)))) == 1


def test_long_table_of_the_fastest_is_closed():
    cells = passed(*(cell_id(b, m) for b in ("cutlass", "cublaslt") for m in range(64, 105)))
    text = part(report(cells), "## The fastest backend")
    assert "<details><summary>The fastest backend</summary>" in text


# Memory of the weights


def weights(**gib: float | None) -> dict[str, CellRecord]:
    cells = {}
    for name, size in gib.items():
        each = cell_id(name.replace("__", "-"))
        cells[each] = build_passed(each, model_memory_gib=size)
    return cells


def test_weights_stand_beside_those_of_the_dense_backend():
    cells = weights(cublaslt=8.20, cutlass=8.20, cusparselt__2_4=5.95, cusparselt__2_10=8.26)
    text = part(report(cells), "## Memory of the weights")
    assert rows(text) == [["m", "INT8", "8.20", "8.20", "5.95 (-27 %)", "8.26 (+0.7 %)"]]
    assert "In brackets the difference from `cublaslt`." in text


def test_cells_of_a_series_whose_weights_differ_show_both_ends():
    cells = weights(cublaslt=8.0) | passed(cell_id("cublaslt", 1024), model_memory_gib=8.5)
    cells |= weights(cutlass=8.0)
    assert rows(part(report(cells), "## Memory of the weights"))[0][3] == "8.00 … 8.50"


def test_weights_that_nobody_told_are_no_number():
    cells = weights(cublaslt=8.0, cutlass=8.0, cusparselt__2_4=None)
    assert rows(part(report(cells), "## Memory of the weights"))[0][4] == "not recorded"


def test_weights_of_emulated_kernels_are_left_out():
    cells = weights(cublaslt=8.0, cutlass=8.0)
    cells |= passed(cell_id("cusparselt-2_4"), model_memory_gib=8.0, emulated=True)
    assert rows(part(report(cells), "## Memory of the weights"))[0][4] == "not recorded"


def test_run_with_nothing_to_set_beside_has_no_table_of_weights():
    assert "## Memory of the weights" not in report(weights(cublaslt=8.0))
    fake = {"environment": {"engine": "fake"}}
    assert "## Memory of the weights" not in report(weights(cublaslt=8.0, cutlass=8.0), **fake)


# Overview


def test_overview_of_a_run_without_a_gap_is_one_table():
    names = [cell_id(b, m) for b in ("cutlass", "cublaslt") for m in (512, 1024)]
    text = part(report(passed(*names)), "## Overview")
    assert "All 4 cells passed." in text
    assert rows(text) == [["prefill", "m", "INT8", "cutlass (2 M), cublaslt (2 M)"]]


@pytest.mark.parametrize("other", [build_skipped(), build_failed(cell_id("native"))])
def test_overview_of_a_run_with_a_gap_tells_where(other):
    cells = passed(cell_id("cutlass"), cell_id("cublaslt")) | {cell_id("native"): other}
    text = part(report(cells), "## Overview")
    assert "passed." not in text
    assert "### Completeness, prefill" in text
    assert "### Which M passed" in text


def test_cell_of_an_unknown_id_is_not_passed_over_in_the_overview():
    cells = passed(cell_id("cutlass")) | {"of another version": build_passed()}
    text = part(report(cells), "## Overview")
    assert ["all", "", "2", "2", "0", "0", "0", "100 %"] in rows(text)
