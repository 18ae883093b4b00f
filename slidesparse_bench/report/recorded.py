"""Recognizing sentences that are on record in English, by their templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

from slidesparse_bench.report.words import Said, Text, joined, sentences

_CLAUSES = "; "
_VERDICT = re.compile(r"(does_not_fit|unsupported|tight|fits): (.+)", re.DOTALL)
"""How a reason of the plan begins."""
_MOST_SENTENCES = 12
"""A hint is an explanation of some sentences and an advice; a text with more is no hint."""
_ANYTHING = frozenset({"message", "why"})
"""Fields that hold text of others, which may be several sentences; any other is within one."""
_NUMBER = frozenset({"capability", "utilization"})
"""Fields that anchor a template which has few words of its own."""


def translator(
    table: Mapping[str, str], separator: str, full_stop: str
) -> Callable[[str], Text | None]:
    """A function that translates what `table` (English template to translation) knows.

    It recognizes sentences one after the other, each as a whole or as clauses joined by `; `. One
    that it does not know stays as it is; None for a text of which it knows nothing. `separator`
    joins clauses and `full_stop` ends them in the other language.
    """
    patterns = [(_pattern(english), other) for english, other in table.items()]

    def sentence(text: str) -> Text | None:
        found = _clauses(text, patterns, separator) or _whole(text, patterns)
        if found is not None or not text.endswith("."):
            return found
        clauses = _clauses(text[:-1], patterns, separator) or _whole(text[:-1], patterns)
        return None if clauses is None else joined("", [clauses, full_stop])

    @cache
    def translated(text: str) -> Text | None:
        text = text.strip()
        verdict = _VERDICT.fullmatch(text)
        if verdict is not None:
            rest = translated(verdict[2])
            return None if rest is None else joined("", [f"{verdict[1]}: ", rest])
        return _row(text, sentence)

    return translated


_Patterns = list[tuple[re.Pattern[str], str]]


def _pattern(english: str) -> re.Pattern[str]:
    """A template as a pattern with a group for each field; a field is at least one character."""
    parts = re.split(r"\{(\w+)\}", english)
    seen: set[str] = set()
    pattern = ""
    for place, part in enumerate(parts):
        if place % 2 == 0:
            pattern += re.escape(part)
        elif part in seen:
            pattern += f"(?P={part})"
        else:
            pattern += f"(?P<{part}>{_field(part)})"
            seen.add(part)
    return re.compile(pattern, re.DOTALL)


def _field(name: str) -> str:
    if name in _NUMBER:
        return r"\d+(?:\.\d+)?"
    return ".+?" if name in _ANYTHING else r"(?:(?!\.(?: |\Z)).)+?"


def _whole(text: str, patterns: _Patterns) -> Text | None:
    """The most telling template that matches all of it: the one with the shortest fields."""
    found = [(match, other) for p, other in patterns if (match := p.fullmatch(text))]
    if not found:
        return None
    match, other = min(found, key=lambda each: sum(map(len, each[0].groupdict().values())))
    return Said(other, tuple(match.groupdict().items()))


def _clauses(text: str, patterns: _Patterns, separator: str) -> Text | None:
    """`needs 3 GiB; 2 GiB available`: every clause, with the separator of the other language."""
    if _CLAUSES not in text or any(p.fullmatch(text) for p, _ in patterns if not p.groups):
        return None
    found = [_whole(clause, patterns) for clause in text.split(_CLAUSES)]
    known = [clause for clause in found if clause is not None]
    if len(known) < len(found):
        return None
    mixed: list[Text] = [known[0]]
    for clause in known[1:]:
        mixed += [separator, clause]
    return joined("", mixed)


def _row(text: str, sentence: Callable[[str], Text | None]) -> Text | None:
    """One sentence after the other; a template may be more than one of them."""
    parts = re.split(r"(?<=\.) (?=\S)", text)
    if len(parts) > _MOST_SENTENCES:
        return sentence(text)
    row: list[Text] = []
    place = 0
    while place < len(parts):
        found, end = _next(parts, place, sentence)
        row.append(parts[place] if found is None else found)
        place = end
    return None if all(isinstance(part, str) for part in row) else sentences(row)


def _next(
    parts: list[str], place: int, sentence: Callable[[str], Text | None]
) -> tuple[Text | None, int]:
    """The shortest known run of sentences from `place` on, and where it ends; else None."""
    for end in range(place + 1, len(parts) + 1):
        found = sentence(" ".join(parts[place:end]))
        if found is not None:
            return found, end
    return None, place + 1
