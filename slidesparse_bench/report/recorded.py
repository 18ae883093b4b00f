"""Recognizing sentences that are on record in English, by their templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

from slidesparse_bench.report.words import Said, Text, joined

_CLAUSES = "; "
_VERDICT = re.compile(r"(does_not_fit|unsupported|tight|fits): (.+)", re.DOTALL)
"""How a reason of the plan begins."""
_MOST_SENTENCES = 4
"""A hint is an explanation and an advice; each may have a second sentence."""


def translator(table: Mapping[str, str], separator: str) -> Callable[[str], Text | None]:
    """A function that translates what `table` (English template to translation) knows.

    It recognizes a whole text, clauses joined by `; `, and sentences one after the other; None for
    a text of which a part is unknown. `separator` joins clauses in the other language.
    """
    patterns = [(_pattern(english), other) for english, other in table.items()]

    @cache
    def translated(text: str) -> Text | None:
        text = text.strip()
        verdict = _VERDICT.fullmatch(text)
        if verdict is not None:
            rest = translated(verdict[2])
            return None if rest is None else joined("", [f"{verdict[1]}: ", rest])
        return _clauses(text, patterns, separator) or _whole(text, patterns) or _row(text, patterns)

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
            pattern += f"(?P<{part}>.+?)"
            seen.add(part)
    return re.compile(pattern, re.DOTALL)


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


def _row(text: str, patterns: _Patterns, left: int = _MOST_SENTENCES) -> Text | None:
    """One known sentence after the other."""
    for match in re.finditer(r"\. (?=[A-Z])", text):
        first = _whole(text[: match.start() + 1], patterns)
        if first is None or left <= 1:
            continue
        rest = text[match.end() :]
        others = _whole(rest, patterns) or _row(rest, patterns, left - 1)
        if others is not None:
            return joined("", [first, others])
    return None
