"""The public SlideSparse trees, cell by cell, against the table that was made of them by hand.

They are not part of this repository: the tests run where `SLIDESPARSE_CORPUS`, or the folder
`shared/corpus` beside the checkout, holds them.
"""

import csv
import os
import tarfile
from pathlib import Path

import pytest

from slidesparse_bench.importers import read_tree, write_run

CORPUS = Path(os.environ.get("SLIDESPARSE_CORPUS", Path(__file__).parents[2] / "shared" / "corpus"))
STATES = {"passed": "passed", "failed": "failed", "not_run": "skipped"}

pytestmark = pytest.mark.skipif(
    not (CORPUS / "rtx4090.tar.xz").exists(), reason="the public result trees are not here"
)


@pytest.fixture(scope="module", params=["rtx4090", "rtx5080"])
def imported(request, tmp_path_factory):
    """The run made of a tree, and the rows of its table by cell id."""
    folder = tmp_path_factory.mktemp(request.param)
    with tarfile.open(CORPUS / f"{request.param}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    store = write_run(read_tree(folder), folder / "runs")
    with (CORPUS / f"cells_{request.param}.csv").open(newline="") as stream:
        return store, {cell_id(row): row for row in csv.DictReader(stream)}


def cell_id(row):
    backend = "-".join(filter(None, (row["backend"], row["sparsity"])))
    return f"{row['model'].lower()}.{row['quant'].lower()}.{backend}.{row['stage']}.m{row['M']}"


def results(store):
    with (store.folder / "results.csv").open(newline="") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


def test_every_cell_has_the_state_and_the_class_of_the_table(imported):
    store, table = imported
    found = {key: (row["state"], row["class"]) for key, row in results(store).items()}
    assert found == {
        key: (STATES[row["outcome"]], row["reason_class"]) for key, row in table.items()
    }


def test_every_number_is_that_of_the_json_file(imported):
    store, table = imported
    found = results(store)
    wrong = [
        key
        for key, row in table.items()
        if row["tokens_per_s"]
        and abs(float(found[key]["tokens_per_second"]) - float(row["tokens_per_s"])) > 1e-3
    ]
    assert wrong == []
    assert {key for key, row in found.items() if row["tokens_per_second"]} == {
        key for key, row in table.items() if row["tokens_per_s"]
    }


def test_attempts_are_those_of_the_logs_in_their_order_with_their_settings(imported):
    store, table = imported
    wrong = {
        key: (history(store.record.cells[key]), row["reasons_in_order"])
        for key, row in table.items()
        if row["n_attempts"] != "0" and history(store.record.cells[key]) != row["reasons_in_order"]
    }
    assert wrong == {}


def history(cell):
    return " ".join(
        f"{'passed' if each.metrics else each.failure.failure_class}"
        f"@{each.engine_args['gpu_memory_utilization']}"
        f"{'(eager)' if each.engine_args.get('enforce_eager') else ''}"
        for each in cell.attempts
    )


def test_results_without_a_log_have_an_attempt_without_settings(imported):
    store, table = imported
    unlogged = [key for key, row in table.items() if row["outcome_source"] == "json"]
    attempts = [store.record.cells[key].attempts for key in unlogged]
    assert [[(a.started, a.engine_args) for a in each] for each in attempts] == [
        [("", {})] for _ in unlogged
    ]


def test_devices_and_printed_durations_are_those_of_the_table(imported):
    store, table = imported
    wrong = []
    for key, row in table.items():
        standing = store.record.cells[key].attempts[-1:]
        device = next((each.device for each in standing), None)
        seconds = next((each.duration_s for each in standing), None)
        if row["gpu_id"] and device != f"GPU {row['gpu_id']}":
            wrong.append((key, device))
        if row["wall_source"] == "printed" and abs(seconds - float(row["wall_s"])) > 0.11:
            wrong.append((key, seconds))
    assert wrong == []


def test_root_causes_stand_in_the_excerpts_that_they_name(imported):
    store, _ = imported
    wrong = []
    for key, cell in store.record.cells.items():
        for attempt in cell.attempts:
            if attempt.failure is None or attempt.failure.failure_class == "interrupted":
                continue
            evidence = attempt.failure.evidence
            lines = (store.folder / evidence.file).read_bytes().split(b"\n")
            if lines[evidence.line - 1].decode().strip("\r") != attempt.failure.root_cause:
                wrong.append((key, attempt.n))
    assert wrong == []
