"""`scripts/bench_isolation.py`: its arms, and what is said of them."""

import json
import re
import signal
from types import SimpleNamespace

import pytest
from script_files import load_script

from slidesparse_bench.cell import Stage
from slidesparse_bench.cli import invoke
from slidesparse_bench.matrix import load_matrix
from slidesparse_bench.store import JOURNAL, list_runs

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
def test_every_stage_of_the_matrix_gets_its_fixed_count(tmp_path, stages, iterations, overrides):
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


def test_wall_clock_of_a_sitting_that_was_killed_after_its_last_cell_ends_with_that(tmp_path):
    lines = [
        event(0, "run_state", state="running"),
        event(9, "attempt_ended", **attempt(8.0)),
    ]
    (tmp_path / JOURNAL).write_text("\n".join(lines))
    assert load_script("bench_isolation").wall_s(SimpleNamespace(folder=tmp_path)) == 9


def store_of(**times_s):
    """A run whose cells were measured for so long; None: that one has no number."""
    cells = {
        cell_id: SimpleNamespace(
            metrics=None if time_s is None else SimpleNamespace(elapsed_time=time_s),
            state="passed" if time_s else "failed",
            reason="" if time_s else "out of memory",
        )
        for cell_id, time_s in times_s.items()
    }
    return SimpleNamespace(record=SimpleNamespace(cells=cells))


PREFILL, DECODE = "x.int8.native.prefill.m512", "x.int8.native.decode.m64"
LARGER = "x.int8.native.prefill.m1024"


def test_what_the_precision_stop_saves_is_told_of_the_cells_that_both_arms_have():
    engine = store_of(**{PREFILL: 1.0, LARGER: 50.0, DECODE: 6.0})
    fixed = store_of(**{PREFILL: 20.0, LARGER: None, DECODE: 16.0})
    said = load_script("bench_isolation")._saved(engine, fixed)
    assert "prefill with 128 iterations 20.00, decode with 8 iterations 2.67" in said
    assert "of all 2 cells" in said
    assert "(128 in prefill and 1 in decode), **3.14**" in said  # (20 + 16 / 8) / (1 + 6)


def test_arms_without_a_cell_in_common_have_nothing_to_say():
    said = load_script("bench_isolation")._saved(store_of(a=1.0), store_of(a=None))
    assert "no cell in common" in said


def test_a_cell_without_a_number_is_named_with_its_arm():
    runs = {"engine": store_of(a=1.0, b=1.0), "fixed": store_of(a=None, b=1.0)}
    _, told = load_script("bench_isolation")._without_numbers(runs)
    assert told == "- `fixed` a: failed, out of memory"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Runs the script on three fake cells; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    text = "name: x\nmodels: [tiny-llama]\nquantization: [int8]\nengine: fake\n"
    (tmp_path / "matrix.yaml").write_text(
        text + "stages: {prefill: {M: [512, 1024]}, decode: {M: [64]}}\n"
    )
    command = ["x", "matrix.yaml", "--work", "work", "--out", "page.md"]

    def run(*arguments):
        monkeypatch.setattr("sys.argv", [*command, *arguments])
        try:
            load_script("bench_isolation").main()
        except SystemExit as end:
            return end.code
        return 0

    yield run
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_the_arms_are_run_compared_and_not_run_again(script, tmp_path):
    assert script() == 0
    page = (tmp_path / "page.md").read_text()
    assert page.count("| tiny-llama.int8.native.") == 2 * 3
    for arm, starts in {"engine": 1, "cell": 3, "again": 1, "fixed": 1}.items():
        [found] = re.findall(rf"\| `{arm}` \| ([\d.]+) \| {starts} \| [\d.]+ \|", page)
        assert float(found) > 0
    assert "Cells without a number" not in page
    assert "Not all arms ran on the same" not in page
    folders = set((tmp_path / "work").glob("*/*"))
    assert script() == 0
    assert set((tmp_path / "work").glob("*/*")) == folders


def test_an_arm_that_shares_an_engine_begins_anew(script, tmp_path):
    part = ["--select", "*.m512", "--runs-dir", "work/engine"]
    assert invoke(["run", "matrix.yaml", *part]) == 0
    assert script("--arms", "engine,cell") == 0
    assert len(list_runs(tmp_path / "work" / "engine")) == 2
    assert "| `engine` |" in (tmp_path / "page.md").read_text()


def test_without_time_nothing_is_said_and_the_exit_code_tells(script, tmp_path, capsys):
    assert script("--limit-s", "0") == 1
    assert not (tmp_path / "page.md").exists()
    assert "warm: not complete" in capsys.readouterr().err
