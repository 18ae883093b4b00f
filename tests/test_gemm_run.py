"""Programs that die while they measure: what is kept, what is blamed, what goes on."""

from __future__ import annotations

import errno
import itertools
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from gemm_builders import CPU, build_task

from slidesparse_bench import gemm_run, wire
from slidesparse_bench.device import CpuDevice
from slidesparse_bench.errors import NothingToRun
from slidesparse_bench.gemm_run import GemmRun, with_results
from slidesparse_bench.gemm_wire import LINES, Row, RowState, append_line, read_lines

PROGRAM = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from gemm_builders import build_row
from slidesparse_bench.gemm_wire import *
from slidesparse_bench.wire import decode, read_json
path = Path(sys.argv[1])
request, lines = decode(GemmRequest, read_json(path)), path.with_name(LINES)
with Path("starts").open("a") as starts:
    starts.write("x")
{before}
append_line(lines, facts=Facts("cpu", "CPU", "2.13", None, None, None))
for task in request.tasks:
    append_line(lines, begins=task)
    {instead}
    append_line(lines, row=build_row(1.0, task))
{after}
"""
TASKS = [build_task(m=m) for m in (1, 2, 3, 4)]


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Run a program that misbehaves; the rows, and how many programs it took."""
    monkeypatch.chdir(tmp_path)

    def measured(
        before="", instead="pass", after="", stop_after=None, tasks=TASKS, cannot_write=""
    ):
        tests = str(Path(__file__).parent)
        program = tmp_path / "program.py"
        program.write_text(PROGRAM.format(tests=tests, before=before, instead=instead, after=after))
        seen, stop = [], threading.Event()

        def on_row(row):
            seen.append(row)
            if len(seen) == stop_after:
                stop.set()

        run = GemmRun(
            CpuDevice(CPU, "no GPU"),
            tmp_path,
            seed=0,
            cold=True,
            on_row=on_row,
            on_wait=seen.append,
            program=[sys.executable, str(program)],
        )
        done = run.measure(tasks, stop)
        assert run.cannot_write == cannot_write
        assert sorted(row.task.m for row in seen) == sorted(row.task.m for row in done.values())
        return done, len((tmp_path / "starts").read_text())

    return measured


def states(done):
    return [done[task].state.value if task in done else "missing" for task in TASKS]


def test_a_good_program_measures_everything_at_once(measure):
    done, programs = measure()
    assert states(done) == ["measured"] * 4
    assert programs == 1


def test_a_program_that_crashes_fails_its_task_and_another_does_the_rest(measure):
    done, programs = measure(
        instead="task.m == 2 and (print('Fatal: illegal access', flush=True), os.abort())"
    )
    assert states(done) == ["measured", "failed", "measured", "measured"]
    assert programs == 2
    failed = done[TASKS[1]].reason
    assert "SIGABRT" in failed
    assert "Fatal: illegal access" in failed


def test_a_program_that_lost_its_device_has_told_of_its_task_itself(measure):
    done, programs = measure(
        instead="task.m == 2 and (append_line(lines, row=Row(task, RowState.FAILED, 'illegal')), "
        "os._exit(EXIT_DEVICE_LOST))"
    )
    assert states(done) == ["measured", "failed", "measured", "measured"]
    assert done[TASKS[1]].reason == "illegal"
    assert programs == 2


def test_a_program_that_crashes_at_every_task_comes_to_an_end(measure):
    done, programs = measure(instead="os._exit(9)")
    assert states(done) == ["failed"] * 4
    assert programs == 4


def test_a_program_that_cannot_start_is_not_started_again(measure, tmp_path):
    with pytest.raises(NothingToRun, match=r"exit code 1\): no torch; see .*worker\.log"):
        measure(before="sys.exit('no torch')")
    assert (tmp_path / "starts").read_text() == "x"


def test_a_device_that_cannot_be_used_again_fails_what_is_left_and_keeps_the_rest(measure):
    done, programs = measure(
        before="os.path.getsize('starts') > 1 and sys.exit('no CUDA device')",
        instead="task.m == 3 and os.abort()",
    )
    assert states(done) == ["measured", "measured", "failed", "failed"]
    assert "no CUDA device" in done[TASKS[3]].reason
    assert programs == 2


def test_an_interruption_keeps_what_was_measured(measure):
    done, programs = measure(instead="task.m == 3 and time.sleep(60)", stop_after=2)
    assert states(done) == ["measured", "measured", "missing", "missing"]
    assert programs == 1


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("print(NOT_WRITTEN + 'no space left: here', flush=True)", "no space left: here"),
        ("print('begins', flush=True)", "the disk is full, or cannot be written"),
    ],
    ids=["told", "log full too"],
)
def test_a_program_that_cannot_write_fails_no_task_and_is_the_last(measure, log, told):
    done, programs = measure(
        instead=f"task.m == 3 and ({log}, os._exit(EXIT_NOT_WRITTEN))", cannot_write=told
    )
    assert states(done) == ["measured", "measured", "missing", "missing"]
    assert programs == 1


def test_a_request_that_cannot_be_written_fails_no_task(measure, monkeypatch):
    writes = itertools.count()

    def write_json(*arguments):
        if next(writes):
            raise OSError(errno.ENOSPC, "No space left on device")
        wire.write_json(*arguments)

    monkeypatch.setattr(gemm_run, "write_json", write_json)
    done, programs = measure(
        instead="task.m == 2 and os._exit(9)", cannot_write="No space left on device"
    )
    assert states(done) == ["measured", "failed", "missing", "missing"]
    assert programs == 1


def test_a_disk_that_is_full_from_the_start_is_nothing_to_run_and_named(measure, tmp_path):
    with pytest.raises(NothingToRun, match=f"{tmp_path}: the disk is full.*; free some space"):
        measure(before="os._exit(EXIT_NOT_WRITTEN)")


def test_planned_rows_keep_their_order_and_their_refusals():
    refused = Row(build_task("cutlass"), RowState.REFUSED, "no GPU")
    planned = [Row(TASKS[0], RowState.PENDING), refused, Row(TASKS[1], RowState.PENDING)]
    done = {TASKS[1]: Row(TASKS[1], RowState.FAILED, "died")}
    assert with_results(planned, done) == [planned[0], refused, done[TASKS[1]]]


def test_the_task_in_hand_is_known_whole(tmp_path):
    task = build_task("cusparselt", "2:8")
    append_line(tmp_path / LINES, begins=task)
    assert read_lines(tmp_path / LINES).begun == task


def test_shapes_of_one_id_are_different_rows(measure):
    part = replace(TASKS[1], n=TASKS[1].n // 4)
    done, _ = measure(tasks=[*TASKS, part], instead=f"task.n == {part.n} and os._exit(9)")
    assert done[TASKS[1]].state is RowState.MEASURED
    assert done[part].state is RowState.FAILED
    planned = [Row(task, RowState.PENDING) for task in (TASKS[1], part)]
    assert with_results(planned, done) == [done[TASKS[1]], done[part]]
