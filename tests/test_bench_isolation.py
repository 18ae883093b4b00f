"""`scripts/bench_isolation.py`: the arm with all iterations of the method."""

import json
from types import SimpleNamespace

import pytest
from script_files import load_script

from slidesparse_bench.cell import Stage
from slidesparse_bench.matrix import load_matrix
from slidesparse_bench.store import JOURNAL

MATRIX = """name: x
models: [llama3.2-1b]
quantization: [int8]
stages: {stages}
"""
OVERRIDES = """
overrides:
  - match: "*.m512"
    engine_args: {enforce_eager: true}
"""


@pytest.mark.parametrize("overrides", ["", OVERRIDES], ids=["none", "some"])
@pytest.mark.parametrize(
    ("stages", "iterations"),
    [
        ("{prefill: {}, decode: {}}", {Stage.PREFILL: 128, Stage.DECODE: 8}),
        ("{prefill: {}}", {Stage.PREFILL: 128}),
        ("{decode: {}}", {Stage.DECODE: 8}),
    ],
    ids=["both", "prefill", "decode"],
)
def test_every_stage_of_the_matrix_gets_the_count_of_the_method(
    tmp_path, stages, iterations, overrides
):
    text = MATRIX.format(stages=stages) + overrides
    path = tmp_path / "matrix.yaml"
    path.write_text(load_script("bench_isolation").with_fixed(text, iterations.keys()))
    matrix = load_matrix(path)
    assert len(matrix.cells()) == sum({Stage.PREFILL: 8, Stage.DECODE: 4}[s] for s in iterations)
    for cell in matrix.cells():
        assert matrix.measurement_for(cell).fixed_iterations == iterations[cell.stage]
    eager = {cell.m for cell in matrix.cells() if "enforce_eager" in matrix.engine_args_for(cell)}
    assert eager == ({512} if overrides else set())


def event(second, kind, **more):
    return json.dumps({"time": f"2026-03-01T10:00:{second:02}+00:00", "event": kind, **more})


def attempt(duration_s, failure=None):
    failure = failure and {"class": failure}
    return {"attempt": {"duration_s": duration_s, "failure": failure}}


def test_wall_clock_is_that_of_all_sittings_even_of_one_that_was_killed(tmp_path):
    lines = [
        event(0, "run_state", state="running"),
        event(9, "attempt_ended", **attempt(8.0)),
        event(10, "attempt_started"),  # and killed
        event(30, "attempt_ended", **attempt(None, "interrupted")),
        event(31, "run_state", state="running"),
        event(35, "attempt_ended", **attempt(3.0, "interrupted")),
        event(36, "run_state", state="interrupted"),
        event(40, "run_state", state="running"),
        event(46, "run_state", state="finished"),
    ]
    (tmp_path / JOURNAL).write_text("\n".join(lines))
    wall_s = load_script("bench_isolation").wall_s
    assert wall_s(SimpleNamespace(folder=tmp_path)) == 10 + (5 - 3) + 6
