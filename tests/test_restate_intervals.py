"""`scripts/restate_intervals.py`: another interval, and nothing else."""

from __future__ import annotations

import json

import pytest
from script_files import load_script

from slidesparse_bench.cli import invoke
from slidesparse_bench.store import JOURNAL, STATUS, Store, list_runs

MATRIX = """
name: night
engine: fake
models: [tiny-llama]
quantization: [int8]
stages: {prefill: {M: [512]}, decode: {M: [64]}}
measurement: {min_warmup_s: 0, lead_in_s: 0, min_measure_s: 0}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(MATRIX)
    assert invoke(["run", "m.yaml"]) == 0
    [folder] = list_runs(tmp_path / "runs")
    return folder


def restate(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", str(run), "--out", str(tmp_path / "new")])
    load_script("restate_intervals").main()
    return tmp_path / "new" / run.name


def metrics_of(run):
    return {cell: record.metrics for cell, record in Store.open(run).record.cells.items()}


def test_intervals_of_this_version_stay_as_they_are(run, tmp_path, monkeypatch, capsys):
    new = restate(run, tmp_path, monkeypatch)
    assert "0 intervals restated, 2 cells" in capsys.readouterr().out
    assert metrics_of(new) == metrics_of(run)


def test_narrow_intervals_of_another_version_are_computed_from_the_steps(
    run, tmp_path, monkeypatch
):
    right = metrics_of(run)
    journal = run / JOURNAL
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for event in lines:
        if event["event"] == "attempt_ended":
            event["attempt"]["metrics"]["step_time_ms"]["ci95_half_width"] = 1e-9
            event["attempt"]["metrics"]["precision_reached"] = False
    journal.write_text("".join(json.dumps(event) + "\n" for event in lines))
    (run / STATUS).unlink()
    assert metrics_of(run) != right
    assert metrics_of(restate(run, tmp_path, monkeypatch)) == right
