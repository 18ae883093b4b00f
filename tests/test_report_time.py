"""What the report says of time: attempts at once, rounds that did not count, engines without a cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import build_attempt, build_metrics, build_passed, build_run

from slidesparse_bench.records import CellRecord, CellState
from slidesparse_bench.report import ReportInputs
from slidesparse_bench.report.document import render
from slidesparse_bench.report.sections.parallel import Parallel, parallel_of
from slidesparse_bench.report.sections.time_account import engines_without_attempt
from slidesparse_bench.report.view import RunView, view_of
from slidesparse_bench.sittings import provenance_of


def view(cells: dict[str, CellRecord], **environment) -> RunView:
    inputs = ReportInputs(
        build_run(cells), Path("runs/a"), environment={"engine": "vllm", **environment}
    )
    return view_of(inputs)


def cell_id(m: int) -> str:
    return f"m.int8.cutlass.prefill.m{m}"


def at(second: int) -> str:
    return f"2026-03-01T10:00:{second:02d}+00:00"


def ran(*spans: tuple[str, int, int], elapsed_s: float = 2.0) -> dict[str, CellRecord]:
    """A cell for each device, first and last second; it was measured at the end."""
    cells = {}
    for n, (device, began, ended) in enumerate(spans):
        metrics = build_metrics(cell_id(512 << n), elapsed_time=elapsed_s)
        span = {"started": at(began), "ended": at(ended)}
        attempt = build_attempt(metrics=metrics, device=device, **span)
        cells[cell_id(512 << n)] = CellRecord(CellState.PASSED, attempts=[attempt], metrics=metrics)
    return cells


def text_of(cells: dict[str, CellRecord], heading: str) -> str:
    text = render(view(cells))
    return text[text.index(f"## {heading}") :].split("\n## ", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([("GPU 0", 0, 10), ("GPU 0", 10, 20)], (1, 0, 2)),
        ([("GPU 0", 0, 10), ("GPU 0", 9, 20)], (1, 0, 2)),
        ([("GPU 0", 0, 10), ("GPU 1", 10, 20)], (1, 0, 2)),
        ([("GPU 0", 0, 10), ("GPU 1", 9, 20)], (2, 1, 2)),
        ([("GPU 0", 0, 10), ("GPU 1", 0, 7)], (2, 1, 2)),
        ([("GPU 0", 0, 10), ("GPU 1", 1, 11), ("GPU 2", 2, 12)], (3, 3, 3)),
    ],
)
def test_numbers_measured_beside_an_attempt_on_another_device_are_counted(spans, expected):
    """A measurement is at the end of its attempt: the start of another one is not in it."""
    assert parallel_of(view(ran(*spans))) == Parallel(*expected)


def test_attempt_without_its_end_ran_beside_nobody():
    cells = ran(("GPU 0", 0, 10), ("GPU 1", 0, 10))
    cells[cell_id(512)].attempts = [build_attempt(ended=None, device="GPU 0")]
    assert parallel_of(view(cells)) == Parallel(1, 0, 2)


def test_methods_say_that_attempts_shared_the_cpus():
    text = text_of(ran(("GPU 0", 0, 10), ("GPU 1", 9, 20)), "Methods")
    assert "Up to 2 attempts ran at once, each on a device of its own, and shared the CPUs" in text
    assert "1 of 2 numbers were measured while another attempt ran." in text
    assert "ran at once" not in text_of(ran(("GPU 0", 0, 10), ("GPU 0", 10, 20)), "Methods")


def test_rounds_that_the_slow_host_cost_are_told():
    cells = {
        cell_id(m): build_passed(cell_id(m), slow_rounds=n)
        for m, n in ((512, 3), (1024, 0), (2048, 7))
    }
    told = "Of 10 rounds of measurement in 2 attempts a part or all did not count and was run again"
    assert told in text_of(cells, "Time")
    assert "did not count and were" not in text_of(
        {cell_id(512): build_passed(cell_id(512))}, "Time"
    )


def test_slow_rounds_of_an_attempt_that_was_measured_again_are_told_as_well():
    record = build_passed(cell_id(512), slow_rounds=1)
    earlier = build_metrics(cell_id(512), slow_rounds=10, disturbed=["slow host"])
    record.attempts = [build_attempt(1, metrics=earlier), build_attempt(2, metrics=record.metrics)]
    assert "11 rounds of measurement in 2 attempts" in text_of({cell_id(512): record}, "Time")


def in_engines(*names: str | None) -> dict[str, CellRecord]:
    cells = {}
    for n, name in enumerate(names):
        record = build_passed(cell_id(512 << n))
        shared = {"engine": name, "isolation": "engine"} if name else {}
        record.attempts = [build_attempt(metrics=record.metrics, **shared)]
        cells[cell_id(512 << n)] = record
    return cells


@pytest.mark.parametrize(
    ("names", "lost"),
    [(["1", "2"], 0), (["1", "4", "4", None], 2), (["3"], 2), ([None], 0), (["x"], 0)],
)
def test_engines_that_served_nobody_are_counted_by_the_gaps(names, lost):
    assert engines_without_attempt(view(in_engines(*names))) == lost


def test_time_says_that_engines_were_stopped_before_their_first_cell():
    told = "2 engines more stopped with their command before their first cell"
    assert told in text_of(in_engines("1", "4"), "Time")
    assert "engines more" not in text_of(in_engines("1", "2"), "Time")


def test_algorithms_of_gemms_are_named_but_not_listed():
    gemms = [{"library": "cublaslt", "gemms": [{"m": 64, "n": 3584, "k": 5376}]}]
    said = {"compile_cache": "cold", "gemms": gemms, "clock": "perf_counter"}
    engine = {"cells": [cell_id(512)], "device": "GPU 0", "provenance": dict.fromkeys(said, 0)}
    environment = {
        "provenances": {name: [value] for name, value in said.items()},
        "engines": {"engines/1": engine},
    }
    assert provenance_of(environment, "engines/1") == said
    text = render(view(in_engines("1"), **environment))
    assert "cublaslt" not in text
    assert "in the `result.json` of its attempts (`gemms`)" in text
