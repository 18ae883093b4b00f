"""What a report says, before it is said in a language.

Sections build their sentences with `say`: an English template with named fields. Nothing is
translated here; `languages.spans_of` does that when a document is written, so one document serves
every language. A `str` is data (an id, a number, a name) and reads the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Text: TypeAlias = "str | int | Code | Said | Count | Listed | Joined | Recorded"
"""A piece of running text."""


@dataclass(frozen=True)
class Code:
    """An id, an option, a command, a class name: shown as code, the same in every language."""

    text: str


@dataclass(frozen=True)
class Said:
    """A sentence or a part of one. Build it with `say`."""

    template: str
    fields: tuple[tuple[str, Text], ...] = ()


@dataclass(frozen=True)
class Count:
    """`1 cell`, `1,024 cells`; the noun is English and singular."""

    number: int
    noun: str


@dataclass(frozen=True)
class Listed:
    """`a`, `a and b`, `a, b and c`."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Joined:
    """Pieces with one of `SEPARATORS` between them; empty ones are left out."""

    separator: str
    items: tuple[Text, ...]


@dataclass(frozen=True)
class Recorded:
    """A sentence that another module has put on record in English, e.g. why the plan refused.

    A language recognizes it by its template (`chinese_recorded`); what it does not know stays.
    `is_ours` holds for the tables of this program, whose backticks mean code; in any other text
    they are characters.
    """

    text: str
    is_ours: bool = False


SEPARATORS = ("", " ", ", ", "; ", " / ")


def say(template: str, **fields: Text) -> Said:
    """A sentence. `template` is a literal: it is the key under which it is translated.

    In it `**` encloses what is important and backticks what is code; `{name}` is a field. Fields
    are never searched for either.
    """
    return Said(template, tuple(fields.items()))


def counted(number: int, noun: str) -> Count:
    return Count(number, noun)


def listed(items: Iterable[Text]) -> Listed:
    return Listed(tuple(items))


def joined(separator: str, items: Iterable[Text]) -> Joined:
    assert separator in SEPARATORS, separator
    return Joined(separator, tuple(item for item in items if item != ""))


def sentences(items: Iterable[Text]) -> Joined:
    """Sentences, one after the other."""
    return joined(" ", items)


def is_empty(text: Text) -> bool:
    """Whether there is nothing to show."""
    if isinstance(text, (Listed, Joined)):
        return all(map(is_empty, text.items))
    return text == ""
