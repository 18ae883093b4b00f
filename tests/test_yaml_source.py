"""YAML read as it was written: text stays text, and everything knows its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.errors import MatrixError
from slidesparse_bench.yaml_source import MAX_BYTES, MAX_NODES, Source, decode, read


def source_of(text: str) -> Source:
    source = read(text, "m.yaml")
    assert source.problems == []
    return source


def value_of(text: str) -> Any:
    return source_of(f"key: {text}").data["key"]


@pytest.mark.parametrize(
    "text",
    [
        "2:4",
        "2_4",
        "12:30:45",
        "yes",
        "no",
        "on",
        "true",
        "0x10",
        "1_000",
        "1e3",
        "0.8",
        "2026-03-01",
    ],
)
def test_plain_scalar_stays_text(text: str) -> None:
    assert value_of(text) == text


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL", "# nothing"])
def test_plain_null_is_none(text: str) -> None:
    assert value_of(text) is None


@pytest.mark.parametrize("text", ["'null'", '"null"', '"~"', "''"])
def test_quoted_null_is_text(text: str) -> None:
    assert value_of(text) == text[1:-1]


def test_plain_and_quoted_are_told_apart() -> None:
    source = source_of("a: 1\nb: '1'\nc: [1]\nd: |\n  1\n")
    assert [source.is_plain((key,)) for key in "abcd"] == [True, False, False, False]
    assert source.is_plain(("c", 0))
    assert not source.is_plain(("nowhere",))


def test_every_key_and_value_knows_its_place() -> None:
    source = source_of(
        "name: x\nstages:\n  prefill: {M: [512, 1024]}\n  decode:\n    M:\n    - 64\n"
    )
    assert source.locate(()) == (1, 1)
    assert source.locate(("name",)) == (1, 7)
    assert source.locate_key(("stages",)) == (2, 1)
    assert source.locate(("stages", "prefill", "M", 1)) == (3, 22)
    assert source.locate_key(("stages", "prefill", "M")) == (3, 13)
    assert source.locate(("stages", "decode", "M", 0)) == (6, 7)


def test_place_of_what_is_not_there_is_that_of_the_innermost_value_around_it() -> None:
    source = source_of("models:\n  - {name: x}\n")
    assert source.locate(("models", 0, "path")) == source.locate(("models", 0)) == (2, 5)
    assert source.locate_key(("models", 7, "path")) == source.locate(("models",))


def test_columns_count_characters_not_bytes() -> None:
    assert source_of("{gemütlich: 1, b: 2}").locate_key(("b",)) == (1, 16)


def test_byte_order_mark_moves_no_column() -> None:
    assert source_of("\ufeffname: x").locate(("name",)) == (1, 7)


def test_windows_line_ends_count_once() -> None:
    assert source_of("a: 1\r\nb: 2\r\n").locate_key(("b",)) == (2, 1)


def test_alias_repeats_the_value_and_its_place() -> None:
    source = source_of("a: &list [x, y]\nb: *list\n")
    assert source.data == {"a": ["x", "y"], "b": ["x", "y"]}
    assert source.locate(("b", 1)) == (1, 14)


def test_aliased_values_are_separate_copies() -> None:
    data = source_of("a: &list [x]\nb: *list\n").data
    data["a"].append("y")
    assert data["b"] == ["x"]


def test_anchor_may_be_set_again() -> None:
    assert source_of("a: &x 1\nb: &x 2\nc: *x\n").data["c"] == "2"


def test_merge_key_fills_what_is_not_written() -> None:
    source = source_of("a: &base {x: 1, y: 2}\nb: {y: 3, <<: *base}\n")
    assert source.data["b"] == {"x": "1", "y": "3"}
    assert source.locate(("b", "x")) == (1, 14)
    assert source.locate_key(("b", "y")) == (2, 5)


def test_first_of_several_merged_mappings_wins() -> None:
    text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc:\n  <<: [*a, *b]\n"
    assert source_of(text).data["c"] == {"x": "1", "y": "2"}


def test_quoted_merge_key_is_an_ordinary_key() -> None:
    assert source_of("a: {'<<': x}\n").data == {"a": {"<<": "x"}}


def test_repeated_key_keeps_the_first_value_and_both_places() -> None:
    source = read("a: 1\nb: {c: 1, c: 2}\na: 3\n", "m.yaml")
    assert source.data == {"a": "1", "b": {"c": "1"}}
    assert [str(problem) for problem in source.problems] == [
        "m.yaml:2:11: key 'c' appears twice; the first is on line 2",
        "m.yaml:3:1: key 'a' appears twice; the first is on line 1",
    ]


def test_nodes_at_the_limit_are_read() -> None:
    items = MAX_NODES - 3
    assert len(value_of(f"[{'x,' * items}]")) == items
    with pytest.raises(MatrixError, match=f"more than {MAX_NODES} keys and values"):
        value_of(f"[{'x,' * (items + 1)}]")


def test_bytes_beyond_the_limit_are_refused() -> None:
    assert decode(b"x" * MAX_BYTES, "m.yaml") == "x" * MAX_BYTES
    with pytest.raises(MatrixError, match="larger than 256 KiB"):
        decode(b"x" * (MAX_BYTES + 1), "m.yaml")


def test_what_was_wrong_before_a_syntax_error_is_told_with_it() -> None:
    with pytest.raises(MatrixError) as caught:
        read("a: 1\na: 2\nb: [\n", "m.yaml")
    assert [problem.line for problem in caught.value.problems] == [2, 4]


def test_text_beyond_the_limit_is_refused() -> None:
    with pytest.raises(MatrixError, match="the text is longer than"):
        read("#" * (MAX_BYTES + 1), "m.yaml")


def outcome_of(read_it: Callable[[], Any]) -> Any:
    """What it returns, or the MatrixError that it raises; any other exception fails the test."""
    try:
        return read_it()
    except MatrixError as error:
        return error


_CHARACTERS = [*"abM01:,-?[]{}&*!|>'\"%@`#~\n\t ", "\ud800", "\x00", "\u2028", "\ufeff", "é"]
_WORDS = ["\n  ", ": ", "- ", "&a ", "*a", "<<: ", "--- ", "...", "!!str ", "name", "models"]
_TOKENS = st.sampled_from([*_CHARACTERS, *_WORDS, "\\u", "\\U0011"])


@given(st.lists(_TOKENS, max_size=40).map("".join) | st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    outcome = outcome_of(lambda: read(text, "m.yaml"))
    if isinstance(outcome, Source):
        assert isinstance(outcome.data, dict)
    else:
        assert outcome.problems
        assert all(problem.line >= 1 and problem.column >= 1 for problem in outcome.problems)


@given(st.binary(max_size=60))
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    outcome = outcome_of(lambda: decode(data, "m.yaml"))
    if isinstance(outcome, str):
        assert outcome.encode() == data
    else:
        assert "is not UTF-8" in str(outcome)


_PLAIN_TREES = st.recursive(
    st.none() | st.text("ab:_-0 '\"\n#é", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc", min_size=1), _PLAIN_TREES, min_size=1, max_size=4))
def test_what_yaml_writes_is_read_back(tree: dict[str, Any]) -> None:
    assert source_of(yaml.safe_dump(tree, allow_unicode=True)).data == tree
