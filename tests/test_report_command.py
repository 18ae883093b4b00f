"""`slidesparse report`: languages, formats, and what it says when asked for others."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

from slidesparse_bench.cli import report as command
from slidesparse_bench.errors import UsageError
from slidesparse_bench.report import FORMATS, LANGUAGES

RUN = "old-20260101-000000"
CSV = ["results.csv", "metrics.csv", "speedup.csv"]


@pytest.fixture
def folders(tmp_path):
    """A run of the first format, and an empty folder for its reports."""
    copytree(Path(__file__).parent / "golden" / "run-schema-1", tmp_path / "runs" / RUN)
    return {"runs_dir": tmp_path / "runs", "reports_dir": tmp_path / "reports"}


def written(folders, capsys, **options) -> list[str]:
    """Names of the files, in the order in which the command lists them."""
    command.report(json_mode=True, **folders, **options)
    paths = json.loads(capsys.readouterr().out)["files"]
    assert all(Path(path).is_file() for path in paths)
    return [Path(path).name for path in paths if not path.endswith(".png")]


def test_without_options_it_writes_both_formats_in_english(folders, capsys):
    assert written(folders, capsys) == ["report.md", "report.html", *CSV]


def test_other_language_names_itself_and_leaves_the_english_files_alone(folders, capsys):
    command.report(**folders)
    english = folders["reports_dir"] / RUN / "report.md"
    before = english.read_text(encoding="utf-8")
    capsys.readouterr()
    names = written(folders, capsys, lang="zh")
    assert names == ["report.zh.md", "report.zh.html", *CSV]
    assert english.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("formats", "expected"), [("html", ["html"]), ("html, md", ["md", "html"])]
)
def test_formats_can_be_chosen(folders, capsys, formats, expected):
    names = written(folders, capsys, formats=formats)
    assert names == [*(f"report.{extension}" for extension in expected), *CSV]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lang": "fr"}, "--lang fr: not one of en, zh"),
        ({"formats": "md,pdf"}, "--format md,pdf: pdf is not one of md, html"),
        ({"formats": ","}, "--format ,: nothing is not one of md, html"),
    ],
)
def test_unknown_language_or_format_says_what_is_allowed(folders, options, message):
    with pytest.raises(UsageError) as error:
        command.report(**folders, **options)
    assert str(error.value) == message
    assert not folders["reports_dir"].exists()


def test_a_run_whose_matrix_is_lost_has_a_report_that_says_so(folders, capsys):
    (folders["runs_dir"] / RUN / "matrix.yaml").unlink()
    assert written(folders, capsys, formats="md") == ["report.md", *CSV]
    text = (folders["reports_dir"] / RUN / "report.md").read_text(encoding="utf-8")
    assert "The matrix is not on record." in text


def test_a_matrix_that_is_no_text_any_more_is_shown_as_far_as_it_is(folders, capsys):
    (folders["runs_dir"] / RUN / "matrix.yaml").write_bytes(b"name: old\n\xff\xfe\n")
    assert written(folders, capsys, formats="md") == ["report.md", *CSV]
    text = (folders["reports_dir"] / RUN / "report.md").read_text(encoding="utf-8")
    assert "name: old\n\ufffd\ufffd" in text


def test_what_is_offered_is_what_there_is():
    assert list(LANGUAGES) == ["en", "zh"]
    assert FORMATS == ("md", "html")


@pytest.mark.parametrize(("inside", "name"), [(".", "."), ("cells", "..")])
def test_a_run_that_is_named_by_a_relative_path_has_its_report_under_its_own_name(
    folders, monkeypatch, inside, name
):
    (folders["runs_dir"] / RUN / "cells").mkdir(exist_ok=True)
    monkeypatch.chdir(folders["runs_dir"] / RUN / inside)
    command.report(run_name=name, **folders)
    assert (folders["reports_dir"] / RUN / "report.md").is_file()
