"""`scripts/backend_evidence.py` and `collect_evidence.py`: what is run, what is said of it."""

from __future__ import annotations

import os
import time

import psutil
import pytest
from gemm_builders import build_numbers, build_result, build_row, build_task
from script_files import load_script

from slidesparse_bench.gemm_wire import Row, RowState
from slidesparse_bench.gemms.write import write_all


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """The script with steps of a shell; returns a function that runs it and gives the marks."""
    script = load_script("backend_evidence")

    def shell(name, line, **changes):
        return script.Step(name, ["sh", "-c", line], **changes)

    steps = (
        shell("which", "echo $CUDA_VISIBLE_DEVICES"),
        shell("fails", "echo here; exit 3"),
        shell("endless", "sleep 600"),
    )
    monkeypatch.setattr(script, "STEPS", steps)
    together = (shell("pair", "true", gpus=2), shell("run", "echo $CUDA_VISIBLE_DEVICES is {gpus}"))
    monkeypatch.setattr(script, "TOGETHER", together)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["x", "--work", str(tmp_path), *arguments])
        script.main()
        return {path.stem: path.read_text().strip() for path in tmp_path.glob("*.exit")}

    return run


def test_steps_that_end_are_marked_and_not_run_again(runner, tmp_path):
    assert runner("--only", "which,fails,run") == {"which": "0", "fails": "3", "run": "0"}
    assert (tmp_path / "which.log").read_text() == "0\n"
    runner("--only", "which,fails,run")
    assert (tmp_path / "which.log").read_text() == "0\n"


def test_every_gpu_takes_steps_and_the_run_has_all_of_them(runner, tmp_path):
    runner("--gpus", "4,5", "--only", "which,run")
    assert (tmp_path / "which.log").read_text().strip() in {"4", "5"}
    assert (tmp_path / "run.log").read_text() == "4,5 is 4,5\n"


def test_a_step_that_wants_more_gpus_than_there_are_is_left_out(runner, capsys):
    assert runner("--gpus", "4", "--only", "pair") == {}
    assert "pair: not run, it wants 2 GPUs" in capsys.readouterr().out
    assert runner("--gpus", "4,5", "--only", "pair") == {"pair": "0"}


def test_a_step_that_is_stopped_has_no_mark(runner):
    assert runner("--only", "endless", "--limit-s", "0.5") == {}


def test_what_a_stopped_step_had_started_is_gone_as_well(tmp_path):
    script = load_script("backend_evidence")
    step = script.Step("x", ["sh", "-c", "sleep 600 & echo $! > {work}/pid; wait"])
    script.Lane("0", os.sched_getaffinity(0), tmp_path, time.monotonic() + 1.0).do(step)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_unknown_step_is_refused_by_name(runner, capsys):
    with pytest.raises(SystemExit):
        runner("--only", "gem")
    assert "no step gem; there are which, fails, endless, pair, run" in capsys.readouterr().err


@pytest.mark.parametrize(("cpus", "count"), [(list(range(32)), 2), ([0, 1, 2], 2), ([0], 2)])
def test_cpus_are_shared_out(cpus, count):
    found = load_script("backend_evidence").shares(cpus, count)
    assert len(found) == count
    assert all(share and share <= set(cpus) for share in found)
    assert len(cpus) < count or not set.intersection(*found)


# The page


@pytest.fixture
def collected(tmp_path, monkeypatch):
    """Writes the page about a folder with these rows of `slidesparse gemm`; returns its lines."""
    script = load_script("collect_evidence")

    def collect(rows, name="work", *, code=0):
        work, out = tmp_path / name, tmp_path / "out"
        (work / "gemm").mkdir(parents=True)
        if rows:
            write_all(build_result(rows), work / "gemm")
        if code is not None:
            (work / "gemm.exit").write_text(f"{code}\n")
        arguments = ["--work", str(work), "--out", str(out), "--reports", str(tmp_path)]
        monkeypatch.setattr("sys.argv", ["x", *arguments])
        script.main()
        lines = (out / "h200-backends.md").read_text().splitlines()
        return {
            line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines if "|" in line
        }

    return collect


def test_what_was_not_measured_is_said_to_be_missing(collected):
    found = collected([Row(build_task("cusparselt", "2:8"), RowState.FAILED, "no")])
    seen = {value for asked, value in found.items() if asked not in {"asked", ":--"}}
    assert seen == {"not measured"}


def test_claims_are_computed_from_all_rows_of_our_libraries(collected):
    slow = build_numbers(host_us=30.0, copy_ms=build_numbers().latency_ms)
    found = collected(
        [
            build_row(task=build_task("cusparselt", "2:8"), error=0.0),
            Row(build_task("cublaslt"), RowState.MEASURED, numbers=slow),
            build_row(task=build_task("cutlass"), host_us=99.0, error=0.5),
            Row(build_task("cusparselt", "2:4"), RowState.FAILED, "wrong"),
        ]
    )
    values = list(found.values())
    assert any(value.startswith("2 of 3 GEMMs right (qwen2.5-7b)") for value in values)
    assert "m = 16384: 12.0 to 30.0 µs" in values


def test_what_a_later_collection_lacks_stays(collected):
    first = collected([build_row(task=build_task("cusparselt", "2:8"), error=0.0)])
    assert any(value.startswith("1 of 1 GEMMs right") for value in first.values())
    assert collected([], name="empty") == first


@pytest.mark.parametrize("code", [None, 2, -9])
def test_half_a_step_is_no_evidence(collected, code):
    first = collected([build_row(task=build_task("cusparselt", "2:8"), error=0.0)])
    half = [Row(build_task("cusparselt", "2:8"), RowState.FAILED, "stopped")]
    assert collected(half, name="half", code=code) == first


def tokens_page(prepared, untied, loaded):
    return "\n".join(
        [
            f"| cusparselt-2_8, pruned checkpoint | cusparselt 0.8.0 | {prepared}% | {untied}% |",
            f"| cusparselt-2_8, pruned while loading | cusparselt 0.8.0 | {loaded}% | 99.9% |",
            "| cublaslt, not pruned | cublaslt 130100 | 87.9395% | 96.3695% |",
        ]
    )


@pytest.mark.parametrize(
    ("judge", "page", "seen", "met"),
    [
        ("judge_int8", tokens_page("100.0000", "100.0000", "100.0000"), "100.00 %, without", True),
        ("judge_int8", tokens_page("97.7930", "99.9742", "97.9785"), "97.79 %, without ties 99.97 %", False),
        ("judge_int8", tokens_page("100.0000", "100.0000", "99.9900"), "100.00 %, without", False),
        ("judge_fp8", tokens_page("96.4600", "99.9100", "96.4600"), "96.46 %, without ties 99.91 %", True),
        ("judge_fp8", tokens_page("96.4600", "98.9000", "96.4600"), "96.46 %, without", False),
        ("judge_ceiling", "| a | 1 | 100.0% | 1 |\n| b | 2 | 94.9% | 1 |\n", "1 of 2; least 94.9 %", False),
        ("judge_memory", "| cublaslt | 15.42 | 1 |\n| cusparselt-2_4 | too small | | | | | |\n", "1 of 2", False),
    ],
)  # fmt: skip
def test_the_row_of_a_page_says_its_figure_and_whether_it_is_enough(judge, page, seen, met):
    told, is_met = getattr(load_script("collect_evidence"), judge)(page)
    assert (told.startswith(seen), is_met) == (True, met)


def test_raw_calls_are_judged_by_the_condition_that_is_asked_about():
    page = (
        "- Rested: 47 of 48 are within it; worst 1.063 (o_proj)\n"
        "- Under load: 48 of 48 are within it; worst 1.040 (qkv_proj)\n"
    )
    judge = load_script("collect_evidence").judge_raw
    assert judge("Rested", page) == ("47 of 48; worst 1.063", False)
    assert judge("Under load", page) == ("48 of 48; worst 1.040", True)
    with pytest.raises(ValueError):
        judge("Under load", f"Not complete: 1 GEMMs are missing.\n{page}")
