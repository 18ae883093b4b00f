"""`slidesparse gemm` from the command line to its files, with the real program on the CPU."""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from gemm_builders import build_result, build_row, build_task

from slidesparse_bench.cli import gemm, invoke
from slidesparse_bench.errors import ExitCode
from slidesparse_bench.gemm_wire import BEGUN, LINES, LOG, REQUEST, Row, RowState, Task
from slidesparse_bench.gemms import write
from slidesparse_bench.gemms.figures import figures_of
from slidesparse_bench.gemms.tables import COLUMNS, output_note, read_tables
from slidesparse_bench.gemms.write import markdown, write_all
from slidesparse_bench.wire import decode

SMALL = ["--model", "tiny-llama", "--quantization", "int8", "--sparsity", "2:8", "-m", "16"]
SQUARE = ["--square", "64", "--quantization", "int8", "--backend", "cublaslt"]
SQUARES = ["--square", "64,128", *SQUARE[2:]]
MATRIX = """
name: few
models: [tiny-llama]
quantization: [fp8]
backends: [cutlass, {cusparselt: {sparsity: [2:4]}}]
stages: {decode: {M: [32]}}
seed: 7
"""


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def run(capsys):
    """Run `gemm --json`: the exit code, the document, and what people read."""

    def invoked(*arguments):
        code = invoke(["gemm", "--json", *arguments])
        written = capsys.readouterr()
        return code, json.loads(written.out), written.err

    return invoked


def read_csv(folder):
    with (Path(folder) / "gemm.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def build_curve(**changes):
    """A dense and two sparse backends at three M."""
    rows = []
    for m in (512, 1024, 4096):
        rows += [
            build_row(7.0 * m, build_task(m=m)),
            build_row(4.0 * m, build_task("cusparselt", "2:4", m=m)),
            build_row(5.0 * m, build_task("cusparselt", "2:8", m=m)),
        ]
    return build_result(rows, **changes)


def test_every_layer_of_a_model_is_measured_and_marked_emulated(run):
    code, document, err = run(*SMALL)
    assert code == 0
    measured = [row for row in document["rows"] if row["state"] == "measured"]
    layers = {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
    assert {row["layer"] for row in measured} == layers
    assert {row["backend"] for row in measured} == {"cublaslt", "cusparselt"}
    assert all(row["numbers"]["emulated"] for row in measured)
    assert "no speed-up is shown" in err


def test_no_ratio_of_an_emulation_reaches_any_file(run):
    _, document, _ = run(*SMALL)
    derived = [row["derived"] for row in document["rows"] if row["derived"]]
    assert derived
    assert {value for each in derived for value in each.values() if value != []} == {None}
    ratios = [column.title for column in COLUMNS if column.title.startswith(("vs_", "effic"))]
    rows = read_csv(document["folder"])
    assert {row[name] for row in rows for name in [*ratios, "tflops"]} == {""}
    assert {row["emulated"] for row in rows if row["state"] == "measured"} == {"true"}
    assert "vs_cublaslt" not in (Path(document["folder"]) / "gemm.md").read_text()


def test_a_matrix_gives_axes_and_seed_and_its_refused_rows_have_reasons(run):
    Path("few.yaml").write_text(MATRIX)
    code, document, _ = run("few.yaml", "--select", "*.o_proj.m32", "--square", "64")
    assert code == 0
    assert document["seed"] == 7
    states = {row["id"]: row["state"] for row in document["rows"]}
    assert states["tiny-llama.fp8.cusparselt-2_4.o_proj.m32"] == "measured"
    assert states["tiny-llama.fp8.cutlass.o_proj.m32"] == "refused"
    assert all(row["reason"] for row in document["rows"] if row["state"] == "refused")
    assert not any(name.startswith("square") for name in states)


def test_the_files_say_the_same_as_the_document(run):
    _, document, _ = run("--square", "64", "--backend", "cublaslt", "--out", "here")
    folder = Path("here")
    kept = json.loads((folder / "gemm.json").read_text())
    assert kept["rows"] == document["rows"]
    assert kept["schema_version"] == document["schema_version"]
    assert [row["id"] for row in read_csv(folder)] == [row["id"] for row in kept["rows"]]
    assert {"square FP8", "square INT8"} <= {
        line.removeprefix("## ") for line in (folder / "gemm.md").read_text().splitlines()
    }


def test_what_was_measured_is_never_overwritten(run):
    Path("here").mkdir()
    Path("here/gemm.json").write_text("{}")
    code, document, _ = run(*SMALL, "--out", "here")
    assert code == 2
    assert "never overwritten" in document["error"]["message"]
    assert Path("here/gemm.json").read_text() == "{}"


def test_two_measurements_of_one_second_have_folders_of_their_own(run, monkeypatch):
    clock = SimpleNamespace(now=lambda: datetime(2026, 3, 1, 10, tzinfo=UTC))
    monkeypatch.setattr(gemm, "datetime", clock)
    folders = [run(*SQUARE)[1]["folder"] for _ in range(3)]
    assert [Path(folder).name.rpartition("00")[2] for folder in folders] == ["", "-2", "-3"]
    assert [len(read_csv(folder)) for folder in folders] == [3, 3, 3]


def test_two_measurements_of_one_folder_do_not_mix(run):
    Path("here").mkdir()
    with Path("here", LINES).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        Path("here", BEGUN).write_text("{}")
        code, document, _ = run(*SQUARE, "--out", "here")
    assert code == 2
    assert "another process measures there" in document["error"]["message"]


@pytest.fixture
def killed(run):
    """A measurement in `here` that was killed in the middle of its second line of a result."""
    assert run(*SQUARES, "--out", "here")[0] == 0
    lines = Path("here", LINES).read_text().splitlines(keepends=True)
    rows = [n for n, line in enumerate(lines) if '"row"' in line]
    Path("here", LINES).write_text("".join(lines[: rows[1]]) + lines[rows[1]][:40])
    for path in Path("here").glob("gemm.*"):
        path.unlink()
    row = json.loads(lines[rows[0]])["row"]
    return {"id": decode(Task, row["task"]).id, "numbers": row["numbers"]}


def test_a_measurement_that_was_killed_goes_on_where_it_was(run, killed):
    code, document, words = run(*SQUARES, "--out", "here")
    assert (code, sum(row["state"] == "measured" for row in document["rows"])) == (0, 2)
    assert "2 GEMMs on" in words
    assert "1 of them measured before" in words
    [kept] = [row["numbers"] for row in document["rows"] if row["id"] == killed["id"]]
    assert kept == killed["numbers"]
    assert len(read_csv("here")) == len(document["rows"])
    code, document, _ = run(*SQUARES, "--out", "here")
    assert "never overwritten" in document["error"]["message"]


@pytest.mark.parametrize("other", [["--seed", "5"], ["--warm"]], ids=["seed", "warm"])
def test_a_measurement_under_other_conditions_is_another_one(run, killed, other):
    before = Path("here", LINES).read_bytes()
    code, document, _ = run(*SQUARES, *other, "--out", "here")
    assert code == 2
    assert "cannot be gone on with" in document["error"]["message"]
    assert Path("here", LINES).read_bytes() == before


@pytest.mark.parametrize("out", ["file", "file/inside", "/proc/none"])
def test_a_folder_that_cannot_be_made_is_wrong_usage(run, out):
    Path("file").touch()
    code, document, _ = run(*SQUARE, "--out", out)
    assert code == 2
    message = document["error"]["message"]
    assert message.startswith(f"--out {out}: ")
    assert message.endswith("; name a folder that can be made")


def test_reports_that_cannot_be_made_are_wrong_usage(run):
    Path("reports").touch()
    code, document, _ = run(*SQUARE)
    assert code == 2
    assert "--out reports: File exists; name a folder" in document["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a MATRIX.yaml, or --model NAME, or --square SIZES"),
        (["few.yaml", "-m", "16"], "-m: the axes come from the matrix"),
        (["--square", "64", "-m", "16"], "-m: rows of a model's layers; --square sets m = n = k"),
        (["--square", "64x"], "--square '64x': expected whole numbers"),
        (["--model", "tiny-llama", "-m", "0"], "-m '0': expected whole numbers from 1"),
        ([*SMALL, "--select", "*.m17"], "matches none of 4 GEMMs"),
        ([*SMALL, "--gpus", "0,1"], "GEMMs are measured on one GPU"),
        (["--model", "tiny-llama,./none"], "none is not a folder; name a folder with config.json"),
        (["--model", ","], "--model ',': names nothing; give folders with config.json or built-in"),
        (["--model", "", "--square", "64"], "--model '': names nothing"),
        (
            ["--square", "64", "--backend", ","],
            "--backend ',': names nothing; give any of native, cutlass",
        ),
        (["--model", "tiny-llama", "-m", ","], "-m ',': names nothing; give whole numbers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_writes_nothing_and_says_what_is_right(run, arguments, message):
    Path("few.yaml").write_text(MATRIX)
    code, document, _ = run(*arguments)
    assert code == 2
    assert message in document["error"]["message"]
    assert not Path("reports").exists()


def test_a_device_that_can_run_none_of_it_is_exit_code_3_with_the_reason(run):
    code, document, _ = run("--square", "65536", "--backend", "cublaslt")
    assert code == 3
    assert "too large to be emulated on the CPU" in document["error"]["message"]
    assert not Path("reports").exists()


def test_a_program_that_cannot_start_is_exit_code_3_with_its_last_words(run, monkeypatch):
    broken = [sys.executable, "-c", "raise SystemExit('no module named torch')"]
    real = gemm.GemmRun
    monkeypatch.setattr(gemm, "GemmRun", lambda *a, **k: real(*a, **k, program=broken))
    code, document, _ = run(*SMALL)
    assert code == 3
    assert "no module named torch" in document["error"]["message"]


def run_with_little_room(blocks, *arguments):
    """`gemm --out here` where no file can have more than so many blocks of 512 bytes."""
    command = [sys.executable, "-m", "slidesparse_bench", "gemm", *arguments, "--out", "here"]
    return subprocess.run(
        ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )


def test_results_that_cannot_be_written_are_shown_and_the_folder_is_named():
    done = run_with_little_room(24, "--json", *SMALL)  # the lines take 8.5 kB, gemm.json 20
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == document["error"]["exit_code"] == 1
    assert [row["state"] for row in document["rows"]].count("measured") == 8
    message = document["error"]["message"]
    assert message.startswith("here: File too large; here/measured.jsonl holds what was measured; ")
    assert done.stderr.endswith(f"slidesparse: error: {message}\n")
    assert {path.name for path in Path("here").iterdir()} == {BEGUN, LINES, REQUEST, LOG}


def test_a_disk_that_fills_up_in_the_middle_fails_no_gemm_and_shows_the_others():
    done = run_with_little_room(6, *SMALL)
    assert done.returncode == 1
    states = [line.partition("  not on record")[0].split()[-1] for line in table_of(done.stdout)]
    assert states[0] == "emulated"
    assert states[-1] == "pending"
    assert "failed" not in done.stdout
    assert "here/measured.jsonl holds what was measured" in done.stderr
    assert {path.name for path in Path("here").iterdir()} == {BEGUN, LINES, REQUEST, LOG}


def table_of(text):
    """Lines of rows that could be measured."""
    return [line for line in text.splitlines() if " cublaslt " in line or " cusparselt " in line]


def test_a_plot_that_cannot_be_finished_does_not_stay(tmp_path, monkeypatch):
    def save(path, **_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write.plots, "draw_lines", lambda _: SimpleNamespace(savefig=save))
    with pytest.raises(OSError, match="No space left on device"):
        write_all(build_curve(), tmp_path)
    assert list((tmp_path / "plots").iterdir()) == []


def test_ctrl_c_keeps_what_is_measured_and_says_so():
    command = [sys.executable, "-m", "slidesparse_bench", "gemm"]
    running = subprocess.Popen(
        [*command, "--model", "tiny-qwen", "--out", "here"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert running.stdout is not None
    while "[1/" not in running.stdout.readline():
        pass
    running.send_signal(signal.SIGINT)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "What was measured is kept" in rest
    document = json.loads(Path("here/gemm.json").read_text())
    states = [row["state"] for row in document["rows"]]
    assert document["interrupted"] is True
    assert states.count("measured") >= 1
    pending = [row["reason"] for row in document["rows"] if row["state"] == "pending"]
    assert set(pending) == {"interrupted before it was measured"}


def test_one_failed_row_is_exit_code_1_and_refused_ones_are_not():
    measured, refused, failed = (
        build_row(),
        Row(build_task("cutlass"), RowState.REFUSED, "no vLLM"),
        Row(build_task("torch"), RowState.FAILED, "out of memory"),
    )
    assert gemm.exit_code(build_result([measured, refused])) is ExitCode.OK
    assert gemm.exit_code(build_result([measured, failed])) is ExitCode.SOME_FAILED
    assert gemm.exit_code(build_result([refused])) is ExitCode.NOTHING_RAN


def test_speedups_over_both_references_are_drawn_with_a_curve_per_sparsity(tmp_path):
    files = write_all(build_curve(), tmp_path)
    (figure,) = figures_of(build_curve())
    assert [panel.y_label for panel in figure.panels] == [
        "speed-up over cublaslt",
        "speed-up over the best dense",
    ]
    assert {line.label for line in figure.panels[0].lines} == {
        "cublaslt",
        "cusparselt 2:4 (50 % zeros)",
        "cusparselt 2:8 (25 % zeros)",
    }
    assert (tmp_path / "plots" / "qwen2.5-7b-int8-gate_up_proj.png") in files
    assert "(plots/qwen2.5-7b-int8-gate_up_proj.png)" in (tmp_path / "gemm.md").read_text()


def test_without_matplotlib_there_are_tables_and_no_broken_links(tmp_path, monkeypatch):
    monkeypatch.setattr("slidesparse_bench.report.plots.can_draw", lambda: (False, "none"))
    write_all(build_curve(), tmp_path)
    assert "plots/" not in (tmp_path / "gemm.md").read_text()


def test_the_markdown_names_device_versions_and_how_it_was_measured():
    text = markdown(build_curve(), [])
    assert "driver 580.1, CUDA 13.0, torch 2.11.0, vllm 0.25.1" in text
    assert "Copy: 4.00 TB/s" in text
    assert "Caches cold: before every timed call a buffer" in text
    assert "Caches warm" in markdown(build_curve(cold=False), [])


def test_tables_of_more_than_one_output_type_say_that_speedups_contain_it(tmp_path):
    rows = [build_row(7.0, output_type="int32"), build_row(4.0, build_task("cusparselt", "2:4"))]
    (table,) = read_tables(build_result(rows)).values()
    assert [row[place_of(table, "output_type")] for row in table.rows] == ["int32", "bfloat16"]
    assert "these libraries put out bfloat16 or int32" in markdown(build_result(rows), [])
    assert output_note(*read_tables(build_curve()).values()) == ""


def place_of(table, title):
    return [column.title for column in table.columns].index(title)


def test_a_failed_reference_is_named_beside_every_best_dense():
    rows = [*build_curve().rows, Row(build_task("cutlass", m=512), RowState.FAILED, "died")]
    text = markdown(build_result(rows), [])
    assert "dense_missing" in text
    assert "| cutlass" in text


def test_a_row_that_failed_has_no_number_in_any_column():
    failed = replace(build_curve(), rows=[Row(build_task(), RowState.FAILED, "wrong result")])
    (row,) = failed.document()["rows"]
    assert (row["numbers"], row["derived"]) == (None, None)


def test_the_documentation_names_every_column_in_order():
    text = (Path(__file__).parents[1] / "docs" / "gemm.md").read_text(encoding="utf-8")
    listed = text.split("<!-- columns -->")[1]
    named = listed.split("`")[1::2]
    assert named == [column.title for column in COLUMNS]
