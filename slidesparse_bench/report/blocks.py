"""The parts of a document, in no format and no language. `markdown_writer` and `html_writer` write them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from slidesparse_bench.report.words import Text, is_empty

Block: TypeAlias = (
    "Heading | Paragraph | Alert | Bullets | Grid | Listing | Fold | Image | Footnotes | Foreign"
)


@dataclass(frozen=True)
class Heading:
    """`level` is 1 for the title of the document, 2 for a section, 3 for a part of one."""

    level: int
    text: Text


@dataclass(frozen=True)
class Paragraph:
    text: Text


@dataclass(frozen=True)
class Alert:
    """What the reader has to know before anything else."""

    text: Text


@dataclass(frozen=True)
class Bullets:
    items: tuple[Text, ...]


@dataclass(frozen=True)
class Head:
    """The head of a column; numbers stand to the right."""

    title: Text
    right: bool = False


@dataclass(frozen=True)
class Grid:
    """A table. None is an empty field. `caption` says what it shows, for those who hear it."""

    caption: Text
    heads: tuple[Head, ...]
    rows: tuple[tuple[Text | None, ...], ...]


@dataclass(frozen=True)
class Listing:
    """Lines that keep their shape: a log line, commands, a file."""

    text: str
    syntax: str = ""


@dataclass(frozen=True)
class Fold:
    """Closed until the reader opens it."""

    summary: Text
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Image:
    """`file_name` below the folder of the plots; `alt` says what is to be seen."""

    file_name: str
    alt: Text


@dataclass(frozen=True)
class Footnotes:
    """What the marks `[1]` in the tables above mean."""

    notes: tuple[tuple[int, Text], ...]


@dataclass(frozen=True)
class Foreign:
    """Markdown of somebody else, passed on as it is."""

    text: str


def heading(level: int, text: Text) -> list[Block]:
    return [Heading(level, text)]


def paragraph(text: Text) -> list[Block]:
    """A paragraph; nothing for an empty text."""
    return [] if is_empty(text) else [Paragraph(text)]


def bullets(items: Iterable[Text]) -> list[Block]:
    kept = tuple(item for item in items if not is_empty(item))
    return [Bullets(kept)] if kept else []


def grid(
    caption: Text, heads: Iterable[Head], rows: Iterable[Iterable[Text | None]]
) -> list[Block]:
    """A table; nothing without rows."""
    body = tuple(tuple(row) for row in rows)
    return [Grid(caption, tuple(heads), body)] if body else []


def fold(summary: Text, blocks: list[Block]) -> list[Block]:
    return [Fold(summary, tuple(blocks))] if blocks else []


def left(*titles: Text) -> list[Head]:
    return [Head(title) for title in titles]


def right(*titles: Text) -> list[Head]:
    return [Head(title, right=True) for title in titles]


def chain(*parts: list[Block]) -> list[Block]:
    """All parts, one after the other."""
    return [block for part in parts for block in part]
