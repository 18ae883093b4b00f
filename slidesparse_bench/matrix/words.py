"""Messages: what was seen, what is allowed, and the word that was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from typing import Any

from pydantic_core import ErrorDetails

from slidesparse_bench.errors import Problem
from slidesparse_bench.yaml_source import KeyPath, Source

_CLOSE = 0.6
_COMPARED = 100
"""Letters of a word that are compared; a file may hold one of 200,000."""


def nearest(word: str, choices: Iterable[str], at_least: float = _CLOSE) -> str | None:
    """The most similar choice, the first of equals; None when none is close. Case is ignored."""
    word = word.lower()[:_COMPARED]
    scored = [(SequenceMatcher(None, choice.lower(), word).ratio(), choice) for choice in choices]
    score, choice = max(scored, key=lambda pair: pair[0], default=(0.0, ""))
    return choice if score >= at_least else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing."""
    meant = nearest(word, choices)
    return f"; did you mean {meant}?" if meant else ""


def seen(value: Any) -> str:
    """A value as a message shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = str(value)
    return f"'{text}'" if len(text) <= 80 else f"'{text[:77]}...'"


def one_of(what: str, allowed: Iterable[str]) -> Callable[[Any], Any]:
    """A check that a value is one of the allowed words."""
    words = [str(word) for word in allowed]

    def check(value: Any) -> Any:
        if value in words:
            return value
        meant = did_you_mean(value, words) if isinstance(value, str) else ""
        raise ValueError(f"{what} {seen(value)} is not one of {', '.join(words)}{meant}")

    return check


_KINDS = {
    "dataclass_type": "a mapping (`key: value`)",
    "dict_type": "a mapping (`key: value`)",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping (`key: value`)",
    "path_type": "text",
    "string_type": "text",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}
_UNKNOWN_KEY = frozenset({"extra_forbidden", "unexpected_keyword_argument"})


def translate(error: ErrorDetails, source: Source, known_keys: Iterable[str]) -> Problem:
    """One of pydantic's errors, in our words and at its place in the file.

    `known_keys` are the keys allowed where an unknown key stands.
    """
    path, kind, context = error["loc"], error["type"], error.get("ctx", {})
    path = _as_written(path, source)
    if kind in _UNKNOWN_KEY:
        return source.problem(path, unknown_key(str(path[-1]), known_keys), at_key=True)
    if kind == "missing":
        return source.problem(path[:-1], f"{_label(path)} is missing")
    if kind in _KINDS:
        return source.problem(path, _wrong_kind(path, _KINDS[kind], source))
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        given = seen(source.raw(path))
        return source.problem(path, f"{_label(path)} must be {words} {context[key]}, not {given}")
    if kind == "too_short":
        return source.problem(path, f"{_label(path)} is empty; it needs at least one entry")
    message = str(context["error"]) if kind == "value_error" else f"{_label(path)}: {error['msg']}"
    return source.problem(path, message)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for a key that does not exist."""
    known = list(known)
    meant = nearest(key, known)
    return f"unknown key {seen(key)}; " + (
        f"did you mean {meant}?" if meant else f"allowed are {', '.join(known)}"
    )


def _as_written(path: KeyPath, source: Source) -> KeyPath:
    """The model says ("backends", 2, "options", ...) for what is written `- cusparselt: ...`."""
    if path[:1] == ("backends",) and path[2:3] == ("options",):
        entry = source.raw(path[:2])
        return (*path[:2], *list(entry)[:1], *path[3:])
    return path


def _label(path: KeyPath) -> str:
    name = next((step for step in reversed(path) if isinstance(step, str)), "the matrix")
    return name if path and isinstance(path[-1], str) else f"an entry of {name}"


def _wrong_kind(path: KeyPath, kind: str, source: Source) -> str:
    value = source.raw(path)
    message = f"{_label(path)} must be {kind}, not {seen(value)}"
    if kind == "a list" and isinstance(value, str):
        return f"{message}; write [{value}]"
    if "number" in kind and isinstance(value, str):
        return message + _number_advice(value, plain=source.is_plain(path))
    return message


def _number_advice(text: str, *, plain: bool) -> str:
    try:
        number = float(text)
    except ValueError:
        return ""
    if not plain:
        return "; remove the quotes"
    return f"; write {number:.0f}" if number.is_integer() else ""
