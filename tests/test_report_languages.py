"""Every sentence of the report in every language: none missing, none left over, no English between."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_explain
from builders import CELL, build_failed, build_failure, build_passed, build_run, build_skipped
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.failures import classify
from slidesparse_bench.failures.classes import CLASSES
from slidesparse_bench.failures.signatures import SIGNATURES
from slidesparse_bench.report import ReportInputs, chinese, chinese_recorded, plots
from slidesparse_bench.report.document import render
from slidesparse_bench.report.languages import (
    CHINESE,
    ENGLISH,
    LANGUAGES,
    fields_of,
    plain_text,
    spans_of,
)
from slidesparse_bench.report.markdown_writer import inline
from slidesparse_bench.report.view import view_of
from slidesparse_bench.report.words import (
    Code,
    Joined,
    Recorded,
    counted,
    joined,
    listed,
    say,
    sentences,
)

REPORT = Path(plots.__file__).parent


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function in the report's files, with its place."""
    for path in sorted(REPORT.rglob("*.py")):
        if path.name == "words.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            function = node.func if isinstance(node, ast.Call) else None
            if isinstance(function, ast.Name) and function.id == name:
                yield f"{path.name}:{node.lineno}", node


def literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def said() -> dict[str, str]:
    """Every template, with a place where it is said."""
    return {
        template: place
        for place, call in calls("say")
        if (template := literal(call.args[0])) is not None
    }


def has_words(template: str) -> bool:
    """Whether something of it is language: not fields, code, digits and punctuation alone."""
    rest = re.sub(r"`[^`]*`|\{\w+\}", "", template)
    return re.search(r"[A-Za-z]{2,}", rest) is not None


def test_every_sentence_is_a_literal_that_can_be_looked_up():
    assert [place for place, call in calls("say") if literal(call.args[0]) is None] == []


def test_every_sentence_has_its_chinese():
    missing = {t: place for t, place in said().items() if t not in chinese.SENTENCES}
    assert {t: place for t, place in missing.items() if has_words(t)} == {}


def test_no_chinese_is_left_of_a_sentence_that_nobody_says():
    assert set(chinese.SENTENCES) - set(said()) == set()


@pytest.mark.parametrize("table", [chinese.SENTENCES, chinese_recorded.RECORDED])
def test_chinese_has_the_fields_of_the_english(table):
    assert {e: c for e, c in table.items() if fields_of(e) != fields_of(c)} == {}


def test_every_sentence_is_given_the_fields_of_its_template():
    wrong = []
    for place, call in calls("say"):
        given_fields = {keyword.arg for keyword in call.keywords}
        if fields_of(literal(call.args[0]) or "") != given_fields:
            wrong.append(place)
    assert wrong == []


def test_every_counted_noun_has_its_chinese():
    nouns = {literal(call.args[1]) for name in ("counted", "Count") for _, call in calls(name)}
    assert nouns - {None} == set(chinese.NOUNS)


def test_every_failure_class_is_explained_in_chinese():
    texts = [text for each in CLASSES.values() for text in (each.what, each.advice)]
    assert [text for text in texts if CHINESE.recorded(text) is None] == []


def test_every_hint_of_a_signature_has_its_chinese():
    hints = {re.sub(r"(\{\w+):[^}]*\}", r"\1}", each.hint) for each in SIGNATURES if each.hint}
    assert hints - set(chinese_recorded.RECORDED) == set()


KNOWN = {"m": 65536, "intermediate_size": 18944, "total_gib": 15.5, "capability": "12.0"}


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda each: each.id)
def test_every_hint_that_the_classifier_writes_is_shown_in_chinese(signature):
    """With what `explain` appends; a message of the log stays as it was printed."""
    known = {**KNOWN, "gpu_memory_utilization": 0.8}
    failure = classify(signature.example.splitlines(), exit_code=1, known=known)
    own = failure.hint.removesuffix(CLASSES[failure.failure_class].advice).strip()
    assert [part for part in still_english(own) if part not in signature.example] == []


def still_english(text: str) -> list[str]:
    """Sentences of a text on record that have no translation."""
    found = CHINESE.recorded(text)
    if found is None:
        return [text] if text else []
    items = found.items if isinstance(found, Joined) else ()
    return [item for item in items if isinstance(item, str)]


@pytest.mark.parametrize(
    ("log", "known", "expected"),
    [
        ([test_explain.OOM], {}, "该进程占用 11.31 GiB（其中张量 10.94 GiB，"),
        ([test_explain.OOM], {}, "；其他进程占用 3.20 GiB (process 4711)。请测量更小的 M"),
        (
            [test_explain.OOM.replace("0.93 GiB is", "1.47 GiB is")],
            {},
            "15.46 GiB 中空闲 1.47 GiB：总量足够",
        ),
        (
            [test_explain.KV],
            {"gpu_memory_utilization": 0.8, "total_gib": 15.5},
            "max_model_len 不超过 264，或 gpu_memory_utilization 0.86 即可。请提高",
        ),
        (
            [test_explain.KV],
            {"gpu_memory_utilization": 0.95, "total_gib": 15.5},
            "任何 gpu_memory_utilization 都不够：需要该显存的 1.01 倍。",
        ),
        (
            [test_explain.ILLEGAL],
            {"m": 65536, "intermediate_size": 18944},
            "很可能是 32 位索引：gate_up 输出有 M x 2 x intermediate_size = 65,536 x 2 x 18,944",
        ),
        ([test_explain.ILLEGAL], {"m": 512, "intermediate_size": 18944}, "gate_up 输出低于 2^31"),
        (
            [test_explain.SM_120, test_explain.BUILT_FOR, test_explain.NO_IMAGE],
            {},
            "含有 sm_50, sm_60, sm_90 的机器码。用于 CUDA 12.8 或更新版本的 PyTorch 2.7",
        ),
        ([test_explain.NO_IMAGE], {"capability": "6.1"}, "为 CUDA 12.6 构建的 PyTorch 仍支持它。"),
    ],
)
def test_explanation_with_numbers_is_shown_in_chinese(log, known, expected):
    hint = classify(log, exit_code=1, known=known).hint
    assert expected in plain_text(Recorded(hint), CHINESE)
    assert still_english(hint) == []


def test_sentence_that_nobody_knows_stays_between_those_that_are_known():
    known = "Host memory could not be pinned."
    text = Recorded(f"{known} Nobody knows this. {known}")
    assert plain_text(text, CHINESE) == (
        "无法锁定主机内存（pinned memory）。Nobody knows this. 无法锁定主机内存（pinned memory）。"
    )
    two = sentences([Recorded("Nobody knows this."), Recorded("Nor this."), Recorded(known)])
    assert plain_text(two, CHINESE).startswith("Nobody knows this. Nor this. 无法锁定")


@pytest.mark.parametrize(
    "line",
    [
        "GPU 0 has a total capacity of 15.47",
        "GPU 0 has a total capacity of 15.47 GiB of which 1.53 GiB is free.",
        "that would do",
    ],
)
def test_line_of_a_log_is_not_taken_for_a_sentence_of_ours(line):
    assert plain_text(Recorded(line), CHINESE) == line


def test_root_cause_of_a_failed_cell_is_shown_as_it_was_printed():
    root_cause = "throttled (hw_thermal)"
    record = build_failed(CELL, build_failure("cuda_misc", root_cause=root_cause))
    inputs = ReportInputs(run=build_run({CELL: record}), run_folder=Path("runs/a"))
    table = render(view_of(inputs), CHINESE).split("## 全部测试单元")[1]
    assert root_cause in table


@pytest.mark.parametrize(
    ("english", "expected"),
    [
        (
            (
                "Weights and the largest step leave nothing of the engine's share of the memory for the "
                "KV cache. Raise gpu_memory_utilization or measure a smaller M."
            ),
            (
                "权重和最大的一步用尽了引擎的显存份额，没有给 KV cache 留下任何空间。请提高 "
                "gpu_memory_utilization 或测量更小的 M。"
            ),
        ),
        (
            (
                "does_not_fit: needs 3.00 GiB: 2.00 GiB weights + 1.00 GiB KV cache for 16 sequences; "
                "0.9 would do"
            ),
            "does_not_fit: 需要 3.00 GiB：权重 2.00 GiB + 16 条序列的 KV cache 1.00 GiB；0.9 即可",
        ),
        (
            "cutlass FP8 needs compute capability 8.9; NVIDIA A100 has 8.0",
            "cutlass FP8 需要计算能力 8.9；NVIDIA A100 为 8.0",
        ),
        ("a sentence that nobody knows", "a sentence that nobody knows"),
    ],
    ids=["two sentences", "reason of the plan", "two clauses", "unknown"],
)
def test_sentence_on_record_is_recognized_by_its_template(english, expected):
    assert plain_text(Recorded(english), CHINESE) == expected


@given(st.text())
def test_any_text_on_record_can_be_shown(text):
    for language in LANGUAGES.values():
        assert "\n" not in inline(Recorded(text), language)


# Words


def test_count_has_the_plural_of_its_language():
    shown = [inline(counted(n, "process")) for n in (1, 2, 1024)]
    assert shown == ["1 process", "2 processes", "1,024 processes"]
    assert inline(counted(3, "series")) == "3 series"
    assert inline(counted(2, "cell"), CHINESE) == "2 个测试单元"


def test_list_and_separators_are_those_of_the_language():
    assert inline(listed(["a", "b", "c"])) == "a, b and c"
    assert inline(listed(["a", "b", "c"]), CHINESE) == "a、b 以及 c"
    two = sentences([say("not a failure"), "", say("not a failure")])
    assert inline(two) == "not a failure not a failure"
    assert inline(two, CHINESE) == "不是失败不是失败"
    assert inline(joined("; ", ["a", "b"]), CHINESE) == "a；b"


def test_chinese_and_latin_are_set_apart_but_code_is_left_alone():
    text = say("{cells}: {reason}", cells=counted(3, "cell"), reason=Code("a中b"))
    assert inline(text, CHINESE) == "3 个测试单元：`a中b`"
    text = say("**Likely cause:** a 32-bit index. In {n}", n=1)
    assert inline(text, CHINESE).startswith("**Likely cause:**")
    many = say("Of {cells} the model is not known.", cells=counted(3, "cell"))
    assert inline(many, CHINESE) == "其中 3 个测试单元的模型未知。"


def test_fields_are_data_whatever_they_look_like():
    text = say("Reason: {reason}", reason="**a** `b` {reason} <c>")
    assert plain_text(text, ENGLISH) == "Reason: **a** `b` {reason} <c>"
    assert inline(text) == "Reason: \\*\\*a\\*\\* \\`b\\` {reason} \\<c>"


def test_markup_of_a_template_becomes_style():
    spans = spans_of(say("**Verdict:** {verdict}", verdict=Code("x")), ENGLISH)
    assert [(each.text, each.is_strong, each.is_code) for each in spans] == [
        ("Verdict:", True, False),
        (" ", False, False),
        ("x", False, True),
    ]


# Documents

_OF_OTHERS = re.compile(
    r"```.*?```|`[^`]*`|<[^>]*>|!\[[^]]*\]\([^)]*\)|\([^)]*data sheet\)", re.DOTALL
)
"""Log lines, commands, code: the same in every language."""
_ENGLISH = re.compile(r"\b(?:[a-z]{2,} ){2,}[a-z]{2,}\b")


def many_states() -> ReportInputs:
    """A run in which most sections have something to say."""
    ids = [
        f"qwen2.5-7b.int8.{b}.prefill.m{m}" for b in ("cutlass", "cublaslt") for m in (512, 1024)
    ]
    cells = {each: build_passed(each, disturbed=["throttled (hw_thermal)"]) for each in ids}
    cells |= {
        CELL: build_failed(CELL, "kv_cache_insufficient", "gpu_memory_busy"),
        CELL.replace("m16384", "m65536"): build_failed(CELL, "illegal_memory_access"),
        CELL.replace("m16384", "m512"): build_passed(CELL, precision_reached=False),
        CELL.replace("prefill.m16384", "decode.m64"): build_skipped("does_not_fit: 0.9 would do"),
    }
    gpu = {"name": "NVIDIA H200", "memory_gib": 139.8, "compute_capability": "9.0"}
    environment = {"engine": "vllm", "gpus": [gpu], "seed": 0}
    run = build_run(cells)
    return ReportInputs(run=run, run_folder=Path("runs") / run.run_id, environment=environment)


def test_chinese_report_has_no_english_sentence(monkeypatch):
    monkeypatch.setattr(plots, "can_draw", lambda: (True, ""))
    whole = render(view_of(many_states()), CHINESE)
    text = _OF_OTHERS.sub("", whole.replace(build_failure().root_cause, ""))
    assert _ENGLISH.findall(text) == []
    assert "## 失败原因分析" in text


def test_both_languages_have_the_same_tables(monkeypatch):
    monkeypatch.setattr(plots, "can_draw", lambda: (True, ""))
    view = view_of(many_states())
    counts = [
        [line.count("|") for line in render(view, language).splitlines() if line.startswith("|")]
        for language in (ENGLISH, CHINESE)
    ]
    assert counts[0] == counts[1]
    assert len(counts[0]) > 40


def test_plots_without_a_chinese_font_have_english_labels_and_the_report_says_so(monkeypatch):
    monkeypatch.setattr(plots, "fonts_for", lambda language: [])
    assert plots.labels_in(CHINESE) is ENGLISH
    assert plots.folder_for(CHINESE) == "plots"
    assert "fonts-noto-cjk" in plain_text(plots.remarks(CHINESE)[0], CHINESE)


def test_plots_with_a_chinese_font_stand_in_a_folder_of_their_own(monkeypatch):
    monkeypatch.setattr(plots, "fonts_for", lambda language: ["Noto Sans CJK SC"])
    assert plots.labels_in(CHINESE) is CHINESE
    assert plots.folder_for(CHINESE) == "plots/zh"
    assert plots.remarks(CHINESE) == ()
