"""A run on disk: the journal is the truth, and nothing is lost at any instant."""

import json
import multiprocessing
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from builders import build_attempt, build_metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from slidesparse_bench.errors import NewerFormat, RunLocked, RunNotFound
from slidesparse_bench.records import WILL_BE_TRIED_AGAIN, CellState, RunState, status_json
from slidesparse_bench.store import (
    ENVIRONMENT,
    JOURNAL,
    PLAN,
    STATUS,
    Store,
    find_run,
    find_unfinished,
)
from slidesparse_bench.wire import SCHEMA_VERSION, write_json

A, B = "a.int8.native.prefill.m512", "a.int8.native.prefill.m1024"


def a_store(runs, name="night", sha="0" * 64, trials=1):
    plan = {
        "schema_version": 1,
        "matrix_sha256": sha,
        "cells": [{"id": A}, {"id": B}],
        "estimate_s": 1,
    }
    return Store.create(
        runs,
        name=name,
        matrix_text="name: night\n",
        matrix_sha256=sha,
        plan=plan,
        environment={"schema_version": 1},
        trials=trials,
    )


def run_cell(store, cell_id, *, passed=True):
    n = len(store.record.cells[cell_id].attempts) + 1
    attempt = build_attempt(n, None if passed else "oom_device")
    if passed:
        attempt = replace(attempt, metrics=build_metrics(cell_id))
    started = {"n": n, "started": attempt.started, "engine_args": {}}
    state = CellState.PASSED if passed else CellState.FAILED
    folder = store.attempt_folder(cell_id, n)
    folder.mkdir(parents=True)
    store.append({"event": "attempt_started", "cell": cell_id, "attempt": started})
    ended = {"event": "attempt_ended", "cell": cell_id, "attempt": attempt, "again": ""}
    write_json(folder / "attempt.json", {"schema_version": SCHEMA_VERSION, **ended})
    store.append(ended)
    store.append({"event": "cell_state", "cell": cell_id, "state": state, "reason": ""})


def test_status_json_has_the_contracts_keys(tmp_path):
    store = a_store(tmp_path)
    run_cell(store, A)
    run_cell(store, B, passed=False)
    status = json.loads((store.folder / STATUS).read_text())
    assert status["counts"] == {
        "pending": 0, "running": 0, "passed": 1, "failed": 1, "skipped": 0,
    }  # fmt: skip
    assert status["run_id"] == store.folder.name
    failed = status["cells"][B]["attempts"][0]
    assert failed["failure"]["class"] == "oom_device"
    assert set(failed["failure"]["evidence"]) == {"file", "line"}
    assert {"n", "started", "ended", "duration_s", "exit_code", "signal", "isolation"} < set(failed)
    assert status["cells"][A]["metrics"]["m_observed"]["max"] == 512
    assert status["cells"][B]["metrics"] is None


def test_a_kill_right_after_a_measurement_leaves_its_cell_passed(tmp_path):
    store = a_store(tmp_path)
    run_cell(store, A)
    path = store.folder / JOURNAL
    *kept, last = path.read_text().splitlines(keepends=True)
    assert '"cell_state"' in last
    path.write_text("".join(kept))
    assert Store.open(store.folder).record.cells[A].state is CellState.PASSED


@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "other"])
def test_a_damaged_status_is_rebuilt_from_the_journal(tmp_path, damage):
    store = a_store(tmp_path)
    run_cell(store, A)
    path = store.folder / STATUS
    whole = path.read_text()
    {
        "missing": path.unlink,
        "empty": lambda: path.write_text(""),
        "torn": lambda: path.write_text(whole[: len(whole) // 2]),
        "other": lambda: path.write_text("[1, 2]"),
    }[damage]()
    assert status_json(Store.open(store.folder).record) == json.loads(whole)


def test_without_a_journal_the_status_counts(tmp_path):
    store = a_store(tmp_path)
    run_cell(store, A)
    whole = json.loads((store.folder / STATUS).read_text())
    (store.folder / JOURNAL).unlink()
    assert status_json(Store.open(store.folder).record) == whole


def test_without_journal_and_status_the_attempts_folders_count(tmp_path):
    store = a_store(tmp_path)
    run_cell(store, A)
    run_cell(store, B, passed=False)
    (store.folder / JOURNAL).unlink()
    (store.folder / STATUS).unlink()
    record = Store.open(store.folder).record
    assert record.cells[A].state is CellState.PASSED
    assert record.cells[A].metrics == store.record.cells[A].metrics
    # Whether it was given up is not in there: once more costs less than a wrong verdict.
    assert record.cells[B].state is CellState.PENDING
    assert record.cells[B].last_failure.failure_class == "oom_device"


def test_what_is_no_attempt_folder_is_passed_over(tmp_path):
    store = a_store(tmp_path)
    (store.folder / "cells" / A / "attempt-1.bak").mkdir(parents=True)
    assert store.next_attempt(A) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]"])
def test_a_damaged_environment_is_kept_and_does_not_stop_the_run(tmp_path, damage):
    store = a_store(tmp_path)
    (store.folder / ENVIRONMENT).write_text(damage)
    environment = store.environment()
    assert environment["damaged"]
    store.write_environment({**environment, "engine": "fake"})
    assert store.environment() == {"schema_version": SCHEMA_VERSION, "engine": "fake"}
    assert (store.folder / "environment.json.damaged").read_text() == damage


@settings(max_examples=60)
@given(cut=st.integers(0, 4000))
def test_a_journal_cut_anywhere_replays_to_a_prefix_of_what_happened(tmp_path_factory, cut):
    store = a_store(tmp_path_factory.mktemp("runs"))
    run_cell(store, A)
    run_cell(store, B, passed=False)
    path = store.folder / JOURNAL
    text = path.read_bytes()
    keep = max(text.index(b"\n") + 1, len(text) - cut)
    path.write_bytes(text[:keep])
    (store.folder / STATUS).unlink()
    before = Store.open(store.folder)
    assert len(before.record.cells) == 2
    # Going on after the tear must not swallow the new event.
    before.append({"event": "cell_state", "cell": B, "state": "skipped", "reason": "why not"})
    again = Store.open(store.folder).record
    assert again.cells[B].state is CellState.SKIPPED
    assert again.cells[A].attempts == before.record.cells[A].attempts


def test_a_lost_journal_is_begun_anew_and_nothing_is_forgotten(tmp_path):
    store = a_store(tmp_path)
    run_cell(store, A)
    (store.folder / JOURNAL).unlink()
    again = Store.open(store.folder)
    with again.locked():
        run_cell(again, B, passed=False)
    (store.folder / STATUS).unlink()
    record = Store.open(store.folder).record
    assert [record.cells[each].state for each in (A, B)] == [CellState.PASSED, CellState.FAILED]


def test_a_damaged_line_costs_itself_only(tmp_path):
    store = a_store(tmp_path)
    path = store.folder / JOURNAL
    with path.open("a") as stream:
        stream.write('{"event": "cell_state", "cell": "nobody"}\n[]\n\u2028\n')
    run_cell(Store.open(store.folder), A)
    assert Store.open(store.folder).record.cells[A].state is CellState.PASSED


def test_a_reason_with_any_line_separator_survives_the_journal(tmp_path):
    store = a_store(tmp_path)
    reason = "one\u2028two\u2029three\x85four\x0bfive"
    store.append({"event": "cell_state", "cell": A, "state": "skipped", "reason": reason})
    assert Store.open(store.folder).record.cells[A].reason == reason


def test_the_number_of_a_lost_attempt_is_never_used_again(tmp_path):
    store = a_store(tmp_path)
    store.attempt_folder(A, 3).mkdir(parents=True)
    assert (store.next_attempt(A), store.next_attempt(B)) == (4, 1)


def test_a_newer_journal_is_refused_with_what_to_do(tmp_path):
    store = a_store(tmp_path)
    path = store.folder / JOURNAL
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 9'))
    with pytest.raises(NewerFormat, match="upgrade"):
        Store.open(store.folder)


def _hold(folder, held, release):
    with Store.open(folder).locked():
        held.set()
        release.wait(20)


def test_a_run_held_by_a_live_process_is_locked_and_free_after_its_death(tmp_path):
    store = a_store(tmp_path)
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(store.folder, held, release))
    holder.start()
    assert held.wait(20)
    with pytest.raises(RunLocked, match=f"process {holder.pid}"), store.locked():
        pass
    assert Store.open(store.folder).record.state is RunState.RUNNING
    holder.kill()
    holder.join()
    assert Store.open(store.folder).record.state is RunState.INTERRUPTED
    with store.locked():
        assert store.record.state is RunState.INTERRUPTED


def test_the_newest_run_is_meant_when_none_is_named(tmp_path):
    first = a_store(tmp_path, name="zebra")
    time.sleep(1.1)
    second = a_store(tmp_path, name="ant")
    assert find_run(tmp_path, None) == second.folder
    assert find_run(tmp_path, first.folder.name) == first.folder
    assert find_run(tmp_path, str(first.folder)) == first.folder


def test_a_run_that_does_not_exist_is_answered_with_those_that_do(tmp_path):
    store = a_store(tmp_path)
    with pytest.raises(RunNotFound, match=store.folder.name):
        find_run(tmp_path, "nothing")
    with pytest.raises(RunNotFound, match=r"slidesparse run MATRIX\.yaml"):
        find_run(tmp_path / "empty", None)


def test_only_an_unfinished_run_of_the_same_matrix_is_gone_on_with(tmp_path):
    store = a_store(tmp_path, sha="1" * 64)
    assert find_unfinished(tmp_path, "1" * 64) == store.folder
    assert find_unfinished(tmp_path, "2" * 64) is None
    store.append({"event": "run_state", "state": RunState.FINISHED})
    assert find_unfinished(tmp_path, "1" * 64) is None


def test_a_half_made_folder_is_no_run(tmp_path):
    (tmp_path / ".night-20260301-100000.123.tmp").mkdir()
    (tmp_path / ".night-20260301-100000.123.tmp" / PLAN).write_text("{}")
    with pytest.raises(RunNotFound):
        find_run(tmp_path, None)


FIRST_FORMAT = Path(__file__).parent / "golden" / "run-schema-1"
SMALL, LARGE = "tiny-llama.int8.native.prefill.m512", "tiny-llama.int8.native.prefill.m1024"


@pytest.mark.parametrize("lost", [(), (JOURNAL,)], ids=["whole", "only the status"])
def test_a_run_of_the_first_format_is_read(tmp_path, lost):
    folder = shutil.copytree(FIRST_FORMAT, tmp_path / "first-format-20261121-135747")
    for name in lost:
        (folder / name).unlink()
    record = Store.open(folder).record
    assert record.trials == 1
    assert record.counts == {"pending": 0, "running": 0, "passed": 2, "failed": 1, "skipped": 0}
    assert record.cells[SMALL].metrics.m_observed.steps == 128
    assert record.cells[SMALL].attempts[0].isolation == "cell"
    assert record.cells[LARGE].last_failure.failure_class == "python_bug"


def test_a_cell_is_passed_once_every_trial_is_measured(tmp_path):
    store = a_store(tmp_path, trials=2)
    run_trial(store, 1, tokens_per_second=90_000.0)
    assert (store.record.cells[A].state, store.record.cells[A].metrics) == (CellState.PENDING, None)
    run_trial(store, 2, tokens_per_second=110_000.0)
    cell = Store.open(store.folder).record.cells[A]
    assert cell.state is CellState.PASSED
    assert cell.metrics.trials == 2
    assert 90_000 < cell.metrics.tokens_per_second < 110_000


def test_a_disturbed_measurement_counts_only_when_none_is_better(tmp_path):
    store = a_store(tmp_path)
    run_trial(store, 1, again="a foreign process", disturbed=["a foreign process"])
    assert store.record.cells[A].state is CellState.PENDING
    run_trial(store, 1, tokens_per_second=70_000.0)
    assert store.record.cells[A].state is CellState.PASSED
    assert store.record.cells[A].metrics.tokens_per_second == 70_000.0
    run_trial(store, 1, disturbed=["hot"])
    assert store.record.cells[A].metrics.disturbed == []


def run_trial(store, trial, again="", **metrics):
    attempt = build_attempt(store.next_attempt(A), trial=trial, metrics=build_metrics(A, **metrics))
    store.append({"event": "attempt_started", "cell": A, "attempt": attempt})
    store.append({"event": "attempt_ended", "cell": A, "attempt": attempt, "again": again})


def test_a_cell_that_nobody_works_on_any_more_is_not_running(tmp_path):
    store = a_store(tmp_path)
    cell_id = next(iter(store.record.cells))
    store.append({"event": "run_state", "state": "running"})
    store.append({"event": "cell_state", "cell": cell_id, "state": "running", "reason": ""})
    with store.locked():
        assert store.record.cells[cell_id].state is CellState.RUNNING  # who goes on closes it
    found = Store.open(store.folder).record.cells[cell_id]
    assert (found.state, found.reason) == (CellState.PENDING, WILL_BE_TRIED_AGAIN)
