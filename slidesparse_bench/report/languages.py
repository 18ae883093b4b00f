"""The languages of a report, and how a text becomes words in one of them.

A language is an entry of `LANGUAGES`: a catalogue keyed by the English template, words for counts,
and its punctuation. `tests/test_report_languages.py` fails on a template without a translation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from slidesparse_bench.report import chinese, chinese_recorded
from slidesparse_bench.report.words import Code, Count, Joined, Listed, Recorded, Said, Text


@dataclass(frozen=True)
class Language:
    """`code` is its BCP 47 tag. `sentences` is empty for English, whose templates are the keys.

    `counted` writes a number with its noun; `separators` are those of `words.SEPARATORS`;
    `last_and` stands before the last item of a list, `comma` before the others; `spaced` sets the
    spaces of a text (code is `CODE` in it); `recorded` translates a sentence of another module, None
    when it does not know it.
    """

    code: str
    name: str
    sentences: Mapping[str, str]
    counted: Callable[[int, str], str]
    separators: Mapping[str, str]
    comma: str
    last_and: str
    spaced: Callable[[str], str] = str
    recorded: Callable[[str], Text | None] = lambda _: None

    def template(self, english: str) -> str:
        """What is not in the catalogue stays English."""
        return self.sentences.get(english, english)


def _english_count(number: int, noun: str) -> str:
    if number == 1 or noun.endswith("series"):
        return f"{number:,} {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


CODE = "\ufffc"
"""Stands for a piece of code while spaces are set."""
_HAN, _LATIN, _WIDE = r"[\u4e00-\u9fff]", rf"[A-Za-z0-9±~{CODE}]", r"[\u3001-\u3011\uff01-\uff1f]"
_SCRIPTS_MEET = re.compile(rf"(?<={_HAN})(?={_LATIN})|(?<=[A-Za-z0-9%{CODE}])(?={_HAN})")
_BESIDE_WIDE = re.compile(rf" +(?={_WIDE})|(?<={_WIDE}) +")


def _chinese_spaces(text: str) -> str:
    """A space where Han and Latin meet; none beside full-width punctuation, which has its own."""
    return _BESIDE_WIDE.sub("", _SCRIPTS_MEET.sub(" ", text))


def _chinese_count(number: int, noun: str) -> str:
    return f"{number:,} {chinese.NOUNS.get(noun, noun)}"


ENGLISH = Language(
    code="en",
    name="English",
    sentences={},
    counted=_english_count,
    separators={},
    comma=", ",
    last_and=" and ",
)
CHINESE = Language(
    code="zh",
    name="中文",
    sentences=chinese.SENTENCES,
    counted=_chinese_count,
    separators={" ": "", ", ": "，", "; ": "；"},
    comma="、",
    last_and="以及",
    spaced=_chinese_spaces,
    recorded=chinese_recorded.translated,
)
LANGUAGES = {language.code: language for language in (ENGLISH, CHINESE)}


@dataclass(frozen=True)
class Span:
    """A run of characters of one style."""

    text: str
    is_code: bool = False
    is_strong: bool = False


def spans_of(text: Text, language: Language) -> list[Span]:
    """The text in a language; neighbours of one style are one span."""
    merged: list[Span] = []
    for span in _spans(text, language):
        last = merged[-1] if merged else None
        if last and (last.is_code, last.is_strong) == (span.is_code, span.is_strong):
            merged[-1] = replace(last, text=last.text + span.text)
        elif span.text:
            merged.append(span)
    return merged if language.spaced is str else _respaced(merged, language)


def _respaced(spans: list[Span], language: Language) -> list[Span]:
    """Spaces within each span, and where two of them meet: never inside code."""
    done: list[Span] = []
    for span in spans:
        text = span.text if span.is_code else language.spaced(span.text)
        if done and " " in language.spaced(_edge(done[-1], -1) + _edge(span, 0)).strip():
            if span.is_code:
                done[-1] = replace(done[-1], text=f"{done[-1].text} ")
            else:
                text = f" {text}"
        done.append(replace(span, text=text))
    return done


def _edge(span: Span, place: int) -> str:
    """The first or last character of a span, as `spaced` is to see it."""
    return CODE if span.is_code else span.text[place]


def plain_text(text: Text, language: Language) -> str:
    """The text without any style."""
    return "".join(span.text for span in spans_of(text, language))


def _spans(text: Text, language: Language) -> Iterator[Span]:
    match text:
        case str() | int():
            yield Span(str(text))
        case Code():
            yield Span(text.text, is_code=True)
        case Count():
            yield Span(language.counted(text.number, text.noun))
        case Recorded():
            yield from _recorded(text, language)
        case Listed():
            yield from _listed(text.items, language)
        case Joined():
            yield from _joined(text, language)
        case Said():
            yield from _said(text, language)


def _recorded(said: Recorded, language: Language) -> Iterator[Span]:
    translated = language.recorded(said.text)
    if translated is not None:
        yield from _spans(translated, language)
    elif said.is_ours:
        for place, part in enumerate(said.text.split("`")):
            yield Span(part, is_code=place % 2 == 1)
    else:
        yield Span(said.text)


def _listed(items: tuple[Text, ...], language: Language) -> Iterator[Span]:
    commas = [language.comma] * max(0, len(items) - 2)
    yield from _between(items, [*commas, language.last_and], language)


def _joined(text: Joined, language: Language) -> Iterator[Span]:
    separator = language.separators.get(text.separator, text.separator)
    if text.separator == " " and not separator:
        yield from _sentences(text.items, language)
    else:
        yield from _between(text.items, [separator] * len(text.items), language)


def _sentences(items: tuple[Text, ...], language: Language) -> Iterator[Span]:
    """Without spaces between them, except after one that stayed English."""
    stayed = False
    for item in items:
        spans = list(_spans(item, language))
        if stayed and spans:
            yield Span(" ")
        yield from spans
        stayed = "".join(span.text for span in spans).endswith(".")


def _between(items: tuple[Text, ...], separators: list[str], language: Language) -> Iterator[Span]:
    for place, item in enumerate(items):
        if place:
            yield Span(separators[place - 1])
        yield from _spans(item, language)


def _said(said: Said, language: Language) -> Iterator[Span]:
    fields = dict(said.fields)
    for piece in _pieces(language.template(said.template)):
        if piece.field is None:
            yield Span(piece.literal, piece.is_code, piece.is_strong)
            continue
        for span in _spans(fields[piece.field], language):
            yield Span(span.text, span.is_code or piece.is_code, span.is_strong or piece.is_strong)


@dataclass(frozen=True)
class _Piece:
    """A part of a template: literal text, or the place of a field."""

    literal: str
    field: str | None
    is_code: bool
    is_strong: bool


_MARKUP = re.compile(r"(\*\*|`|\{\w+\})")


@cache
def _pieces(template: str) -> tuple[_Piece, ...]:
    pieces, is_code, is_strong = [], False, False
    for part in _MARKUP.split(template):
        if part == "`":
            is_code = not is_code
        elif part == "**":
            is_strong = not is_strong
        elif _MARKUP.fullmatch(part):
            pieces.append(_Piece("", part[1:-1], is_code, is_strong))
        elif part:
            pieces.append(_Piece(part, None, is_code, is_strong))
    return tuple(pieces)


def fields_of(template: str) -> set[str]:
    """Names of the fields of a template."""
    return {piece.field for piece in _pieces(template) if piece.field is not None}
