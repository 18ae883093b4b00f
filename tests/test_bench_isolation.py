"""`scripts/bench_isolation.py`: the arm with all iterations of the method."""

import pytest
from script_files import load_script

from slidesparse_bench.cell import Stage
from slidesparse_bench.matrix import load_matrix

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
