"""`slidesparse compare`: runs on disk in, tables and an exit code out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from builders import CELL, build_failed, build_passed

from slidesparse_bench.cli import invoke
from slidesparse_bench.cli.compare import parse_threshold
from slidesparse_bench.errors import UsageError
from slidesparse_bench.records import CellRecord, CellState
from slidesparse_bench.store import STATUS, Store
from slidesparse_bench.wire import encode

DENSE = "qwen2.5-7b.int8.cutlass.prefill.m16384"
MATRIX = """
name: h200
models: [qwen2.5-7b]
quantization: [int8]
backends: [cutlass, {cusparselt: {sparsity: [2:8]}}]
stages: {prefill: {M: [16384]}}
"""
FIRST_FORMAT = Path(__file__).parent / "golden" / "run-schema-1"


def write_run(name: str, cells: dict[str, CellRecord], gpu: str = "NVIDIA H200") -> None:
    """A run of its own under runs/, renamed to `name`."""
    store = Store.create(
        Path("runs"),
        name=name,
        matrix_text=MATRIX,
        matrix_sha256="0" * 64,
        plan={"schema_version": 2, "cells": [{"id": each} for each in cells]},
        environment={"schema_version": 2, "engine": "vllm", "gpus": [{"index": 0, "name": gpu}]},
    )
    for cell_id, cell in cells.items():
        for attempt in cell.attempts:
            event = {"event": "attempt_ended", "cell": cell_id, "attempt": encode(attempt)}
            store.append(event)
        if cell.state is CellState.FAILED:
            store.append({"event": "cell_state", "cell": cell_id, "state": "failed", "reason": ""})
    store.folder.rename(Path("runs") / name)


def two_cells(rate: float) -> dict[str, CellRecord]:
    return {each: build_passed(each, tokens_per_second=rate) for each in (CELL, DENSE)}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder with the runs `base`, `slow`, `broken` and `l4`."""
    monkeypatch.chdir(tmp_path)
    write_run("base", two_cells(90_000))
    write_run("slow", two_cells(80_000))
    write_run("broken", {**two_cells(90_000), CELL: build_failed(CELL, "oom_device")})
    write_run("l4", two_cells(20_000), gpu="NVIDIA L4")
    return tmp_path / "runs"


def compare(*arguments: str) -> int:
    return invoke(["compare", *arguments])


def test_a_run_with_itself_is_no_regression(runs, capsys):
    assert compare("base", "base") == 0
    assert "OK: no cell is slower by more than 3 %" in capsys.readouterr().out


def test_a_slower_run_exits_with_4_and_names_its_cells(runs, capsys):
    assert compare("base", "slow") == 4
    out = capsys.readouterr().out
    assert "REGRESSION: 2 regressions: 2 slower by more than 3 %" in out
    assert f"{CELL}  slower" in out
    assert "\x1b[" not in out


def test_a_new_failure_exits_with_4(runs, capsys):
    assert compare("base", "broken") == 4
    assert "A passed; B failed: oom_device" in capsys.readouterr().out


def test_another_gpu_exits_with_0_unless_the_gate_is_asked_for(runs):
    assert (compare("base", "l4"), compare("base", "l4", "--gate")) == (0, 4)


def test_too_few_trials_exit_with_5(runs):
    assert compare("base", "slow", "--min-trials", "3") == 5


def test_a_wide_threshold_makes_the_same_of_a_slower_run(runs):
    assert compare("base", "slow", "--threshold", "20%") == 0


def test_only_selected_cells_count(runs):
    assert compare("base", "broken", "--select", "*.cutlass.*") == 0


def test_a_glob_without_a_match_is_wrong_usage(runs, capsys):
    assert compare("base", "slow", "--select", "llama*") == 2
    assert "--select 'llama*' matches none of the 2 cells" in capsys.readouterr().err


def test_json_is_one_document_that_carries_the_exit_code(runs, capsys):
    assert compare("base", "slow", "--json") == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["exit_code"], told["outcome"]) == (4, "regression")
    assert told["counts"]["slower"] == 2
    assert [cell["ratio"] for cell in told["cells"]] == pytest.approx([8 / 9, 8 / 9])
    assert told["run_b"]["devices"] == ["NVIDIA H200"]


def test_an_error_is_a_json_document_too(runs, capsys):
    assert compare("base", "gone", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 2


def test_an_absent_run_is_wrong_usage_and_says_which_there_are(runs, capsys):
    assert compare("base", "gone") == 2
    assert "no run 'gone' under runs/" in capsys.readouterr().err


def test_a_run_that_cannot_be_read_is_one_clear_line(runs, capsys):
    (runs / "slow" / "journal.jsonl").write_text("")
    (runs / "slow" / STATUS).write_text("")
    (runs / "slow" / "plan.json").write_text("{}")
    assert compare("base", "slow") == 2
    err = capsys.readouterr().err
    assert err.startswith("slidesparse: error: ")
    assert err.count("\n") == 1


def test_a_run_elsewhere_is_meant_by_its_path(runs, tmp_path):
    shutil.copytree(runs / "slow", tmp_path / "unpacked" / "slow")
    assert compare("base", str(tmp_path / "unpacked" / "slow")) == 4


def test_a_run_without_a_matrix_can_be_compared(runs, capsys):
    (runs / "slow" / "matrix.yaml").unlink()
    assert compare("base", "slow") == 4
    assert "measurement settings: not on record in B" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["report", "slow"], ["compare", "base", "slow"]])
def test_a_damaged_plan_says_what_to_do(runs, capsys, command):
    (runs / "slow" / "plan.json").write_text('{"cells": [')
    assert invoke(command) == 2
    assert "plan.json: cannot be read" in (err := capsys.readouterr().err)
    assert "put back plan.json from a bundle or another copy of the run" in err


def test_a_run_of_the_first_format_can_be_compared_with_itself(runs, capsys):
    assert compare(str(FIRST_FORMAT), str(FIRST_FORMAT), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["ratio"] for each in told["cells"]] == [1.0, 1.0, None]
    assert [each["verdict"] for each in told["cells"]] == ["same", "same", "both_failed"]


def test_markdown_goes_to_the_file_and_replaces_what_was_there(runs, tmp_path):
    target = tmp_path / "compare.md"
    target.write_text("old")
    compare("base", "slow", "--markdown", str(target))
    text = target.read_text(encoding="utf-8")
    assert text.startswith("# base-")
    assert f"| {CELL}" in text


@pytest.mark.parametrize(
    ("target", "told"), [("runs", "is a folder"), ("nowhere/a.md", "there is no folder nowhere")]
)
def test_a_markdown_file_that_cannot_be_is_wrong_usage(runs, capsys, target, told):
    assert compare("base", "slow", "--markdown", target) == 2
    assert told in capsys.readouterr().err


def test_markdown_goes_where_a_link_leads_and_replaces_no_special_file(runs, tmp_path, capsys):
    (tmp_path / "link.md").symlink_to("linked.md")
    assert compare("base", "slow", "--markdown", str(tmp_path / "link.md")) == 4
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "linked.md").read_text().startswith("# base-")
    os.mkfifo(tmp_path / "pipe")
    assert compare("base", "slow", "--markdown", str(tmp_path / "pipe")) == 2
    assert "is no regular file" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("text", "share"), [("3%", 0.03), ("0.03", 0.03), (" 2.5 % ", 0.025), ("1e-2", 0.01)]
)
def test_a_threshold_is_a_share_or_percent(text, share):
    assert parse_threshold(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["0", "0%", "1", "100%", "-3%", "x", "", "3%%", "nan", "inf", "1e", "3,5%"]
)
def test_any_other_threshold_is_wrong_usage(text):
    with pytest.raises(UsageError, match="expected a share above 0 and below 1"):
        parse_threshold(text)


def test_percent_without_the_sign_are_asked_about():
    with pytest.raises(UsageError, match=r"3 percent is 3%$"):
        parse_threshold("3")


def test_a_wrong_threshold_exits_with_2_before_anything_is_read():
    assert compare("gone", "gone too", "--threshold", "3") == 2
