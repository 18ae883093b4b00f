"""The labelled failure outputs are well-formed, and the classifier does not get worse on them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from script_files import load_script

from slidesparse_bench.failures import CLASSES
from slidesparse_bench.failures.folded import unfolded

ROOT = Path(__file__).parents[1]
LABELLED = ROOT / "tests" / "labelled"
AT_LEAST_LOGS, AT_LEAST_PER_CLASS, AT_LEAST_PER_HALF = 1160, 6, 2
AT_LEAST_TAUGHT, AT_LEAST_KEPT = 500, 100
CLASS_FLOOR, LINE_FLOOR = 0.99, 0.99
"""What the tune half reached when it was last measured, rounded down: four are still wrong."""

THREAD = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/(?:issues|pull)/[1-9]\d*")


score = load_script("score_classifier")
EXAMPLES = score.load_examples()

each_example = pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda each: f"{each.failure_class}/{each.path.stem}"
)


@each_example
def test_label_names_a_class_a_log_and_its_source(example):
    assert example.failure_class in CLASSES
    assert example.path.is_file()
    assert example.sources
    for source in example.sources:
        assert source == "own" or THREAD.fullmatch(source)
    assert example.signal is None or example.signal.startswith("SIG")


@each_example
def test_every_labelled_line_ends_a_line_of_the_log(example):
    text = example.path.read_bytes().decode("utf-8", errors="replace")
    lines = [
        score.plain(line) for record in re.split(r"[\r\n]+", text) for line in unfolded(record)
    ]
    for root_cause in example.root_causes:
        assert any(line.endswith(root_cause) for line in lines), root_cause


@each_example
def test_only_a_run_that_worked_has_no_root_cause(example):
    assert bool(example.root_causes) == (example.failure_class != "success_noise")


def test_every_log_has_one_label():
    labelled = [example.path for example in EXAMPLES]
    assert sorted(labelled) == sorted(LABELLED.glob("*/*.log"))


def test_no_two_logs_are_the_same():
    assert len({example.path.read_bytes() for example in EXAMPLES}) == len(EXAMPLES)


def test_own_logs_are_those_that_only_the_harness_prints():
    own = Counter(each.failure_class for each in EXAMPLES if each.sources == ("own",))
    assert own.keys() == {
        *("m_mismatch", "wrong_kernel", "no_result"),
        *("kv_cache_insufficient", "interrupted"),
    }
    assert own["kv_cache_insufficient"] == own["interrupted"] == 1


def test_set_is_large_enough_and_every_class_has_its_number():
    counts = Counter(each.failure_class for each in EXAMPLES)
    assert len(EXAMPLES) >= AT_LEAST_LOGS
    assert counts.keys() == CLASSES.keys()
    assert min(counts.values()) >= AT_LEAST_PER_CLASS


def test_every_class_has_logs_in_both_halves():
    counts = Counter((each.failure_class, each.half) for each in EXAMPLES)
    few = [
        (name, half)
        for name in CLASSES
        for half in (score.TUNE, score.HELD)
        if counts[name, half] < AT_LEAST_PER_HALF
    ]
    assert not few


def test_logs_that_were_collected_for_a_half_are_in_it_whatever_their_name():
    for half, least in ((score.TUNE, AT_LEAST_TAUGHT), (score.HELD, AT_LEAST_KEPT)):
        collected = [each for each in EXAMPLES if each.side == half]
        assert len(collected) >= least
        assert {each.half for each in collected} == {half}
        by_name = {score.half_of(f"{each.failure_class}/{each.path.name}") for each in collected}
        assert by_name == {score.TUNE, score.HELD}


def test_no_thread_is_in_both_halves():
    taught = {source for each in EXAMPLES if each.side == score.TUNE for source in each.sources}
    others = {source for each in EXAMPLES if each.side != score.TUNE for source in each.sources}
    assert not taught & others


def test_half_depends_on_the_name_alone():
    assert score.half_of("oom_device/01-sampler-warmup-two-ranks.log") == "held"
    assert score.half_of("gpu_lost/05-xid-79-dmesg.log") == "tune"


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("(EngineCore_DP0 pid=7) ERROR 11-02 10:11:12 [core.py:708] ValueError: no", True),
        ("\x1b[31mValueError: no\x1b[0m  │", True),
        ("ValueError: no, and more", False),
        ("", False),
    ],
)
def test_line_is_right_when_it_ends_with_the_labelled_text(line: str, right: bool):
    assert score.is_line(line, ["ValueError: no"]) is right


def test_tune_half_is_classified_at_least_as_well_as_before():
    judged = [score.judge(example) for example in EXAMPLES if example.half == score.TUNE]
    classes, lines = score.accuracy(judged)
    assert classes >= CLASS_FLOOR
    assert lines >= LINE_FLOOR


def test_misses_of_the_held_half_are_never_shown(monkeypatch, capsys):
    wrong = ("python_bug", "a line that is nowhere")
    monkeypatch.setattr(
        score,
        "judge",
        lambda example: score.Judged(example, *wrong, class_right=False, line_right=False),
    )
    monkeypatch.setattr(sys, "argv", ["score_classifier.py", "--half", "held", "--confusion"])
    assert score.main() == 0
    printed = capsys.readouterr().out
    assert wrong[1] not in printed
    assert not any(each.path.name in printed for each in EXAMPLES)
    assert "class 0.0%, root-cause line 0.0%" in printed


def test_misses_of_the_tune_half_are_shown_with_both_lines(monkeypatch, capsys):
    example = next(each for each in EXAMPLES if each.half == score.TUNE and each.root_causes)
    monkeypatch.setattr(score, "load_examples", lambda: [example])
    monkeypatch.setattr(
        score,
        "judge",
        lambda each: score.Judged(
            each, "unknown", "another line", class_right=False, line_right=False
        ),
    )
    monkeypatch.setattr(sys, "argv", ["score_classifier.py"])
    assert score.main() == 0
    printed = capsys.readouterr().out
    assert example.path.name in printed
    assert "another line" in printed
    assert example.root_causes[0][:200] in printed
