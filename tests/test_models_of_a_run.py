"""A run has one model of a name, wherever it is resumed or retried from."""

import json
import os
from pathlib import Path

import pytest

from slidesparse_bench.cli import invoke
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.models.config import config_json
from slidesparse_bench.store import Store, list_runs

MATRIX = """name: x
models: [{{name: mine, path: ./my}}]
quantization: [int8]
engine: fake
stages: {{prefill: {{M: [512, 1024]}}}}
engine_args: {{fake: {{misbehave: {{action: exit, value: 7, cells: "*.m1024", attempts: {fails}}}}}}}
retry: {{max_attempts: 1}}
"""


def write_model(folder, layers):
    folder.mkdir(parents=True, exist_ok=True)
    config = {**config_json(find_architecture("tiny-llama"), "int8"), "num_hidden_layers": layers}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder of a matrix and its model; beside it `there`, with another model of that name."""
    for name, layers in (("here", 2), ("there", 3)):
        write_model(tmp_path / name / "my", layers)
    (tmp_path / "here" / "m.yaml").write_text(MATRIX.format(fails=[1, 2]))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def models_of(run):
    """The folders that workers were told to load."""
    return {
        json.loads(path.read_text())["model_path"]
        for path in run.glob("cells/*/attempt-*/request.json")
    }


def states(run):
    return [cell.state for cell in Store.open(run).record.cells.values()]


def test_a_retry_from_another_folder_measures_the_model_of_the_run(here, monkeypatch):
    assert invoke(["run", "m.yaml"]) == 1
    monkeypatch.chdir(here.parent / "there")
    assert invoke(["retry", "--failed", "--runs-dir", "../here/runs"]) == 0
    [run] = list_runs(here / "runs")
    assert states(run) == ["passed", "passed"]
    assert len(models_of(run)) == 1


@pytest.mark.parametrize("layers", [5, None], ids=["changed", "gone"])
@pytest.mark.parametrize(
    "command", [["run", "m.yaml"], ["retry", "--failed"]], ids=["run", "retry"]
)
def test_a_run_does_not_go_on_with_another_model(here, layers, command, capsys):
    assert invoke(["run", "m.yaml", *(["--select", "*m512"] if command[0] == "run" else [])]) in (
        0,
        1,
    )
    [run] = list_runs(Path("runs"))
    before = states(run)
    (here / "my" / "config.json").unlink()
    if layers:
        write_model(here / "my", layers)
    capsys.readouterr()
    assert invoke(command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "was started with a model mine" in said
    assert "--fresh" in said
    assert states(run) == before


def test_the_same_matrix_text_beside_another_model_does_not_go_on_with_the_run(here, monkeypatch):
    assert invoke(["run", "m.yaml", "--select", "*m512"]) == 0
    there = here.parent / "there"
    (there / "m.yaml").write_text((here / "m.yaml").read_text())
    monkeypatch.chdir(there)
    assert invoke(["run", "m.yaml", "--runs-dir", "../here/runs"]) == 2


@pytest.mark.parametrize("runs", ["runs", "else where"])
def test_the_copy_of_the_matrix_in_a_run_resumes_that_run(here, runs, capsys):
    (here / "m.yaml").write_text(MATRIX.format(fails=[99]))
    assert invoke(["run", "m.yaml", "--select", "*m512", "--runs-dir", runs]) == 0
    [run] = list_runs(Path(runs))
    assert invoke(["report", str(run), "--format", "md"]) == 0
    [report] = Path("reports").glob("*/report.md")
    shown = f"'{run}/matrix.yaml'" if " " in runs else f"{run}/matrix.yaml"
    assert f"`slidesparse run {shown}` resumes this run" in report.read_text()
    assert invoke(["run", f"{run}/matrix.yaml"]) == 0
    assert list_runs(Path(runs)) == [run]
    assert (states(run), len(models_of(run))) == (["passed", "passed"], 1)


def test_a_run_whose_folder_has_a_name_that_is_not_utf_8(here, monkeypatch):
    folder = here.parent / os.fsdecode(b"caf\xe9")
    here.rename(folder)
    monkeypatch.chdir(folder)
    assert invoke(["run", "m.yaml", "--select", "*m512"]) == 0
    [run] = list_runs(Path("runs"))
    assert invoke(["report"]) == 0
    assert invoke(["run", str(run / "matrix.yaml"), "--select", "*m512"]) == 0
    assert list_runs(Path("runs")) == [run]
