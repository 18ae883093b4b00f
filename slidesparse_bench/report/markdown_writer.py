"""A document as GitHub Markdown."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

from slidesparse_bench.report.blocks import (
    Alert,
    Block,
    Bullets,
    Fold,
    Footnotes,
    Foreign,
    Grid,
    Heading,
    Image,
    Listing,
    Paragraph,
)
from slidesparse_bench.report.languages import ENGLISH, Language, Span, spans_of
from slidesparse_bench.report.markdown import blocks, bullets, code, details, escaped, fence
from slidesparse_bench.report.words import Text


def markdown_of(document: list[Block], language: Language, plots: str) -> str:
    """The text of a Markdown file; images stand in the folder `plots`, relative to it."""
    return blocks(_block(block, language, plots) for block in document) + "\n"


def inline(text: Text, language: Language = ENGLISH) -> str:
    """A text as one line of Markdown; nothing in its data is taken for markup."""
    parts = []
    for is_strong, same in groupby(spans_of(text, language), key=lambda span: span.is_strong):
        body = "".join(map(_span, same))
        parts.append(f"**{body}**" if is_strong else body)
    return "".join(parts).strip()


def _span(span: Span) -> str:
    if span.is_code:
        return code(span.text)
    text = re.sub(r"\s+", " ", span.text)
    shown = "".join(c if c.isprintable() else "�" for c in text)
    return escaped(shown)


def _block(block: Block, language: Language, plots: str) -> str:  # noqa: C901 - one case a kind
    match block:
        case Heading():
            return f"{'#' * block.level} {inline(block.text, language)}"
        case Paragraph():
            return inline(block.text, language)
        case Alert():
            return f"> {inline(block.text, language)}"
        case Bullets():
            return bullets(inline(item, language) for item in block.items)
        case Grid():
            return _grid(block, language)
        case Listing():
            return fence(block.text, block.syntax)
        case Fold():
            inner = blocks(_block(each, language, plots) for each in block.blocks)
            return details(inline(block.summary, language), inner)
        case Image():
            return f"![{inline(block.alt, language)}]({plots}/{block.file_name})"
        case Footnotes():
            return "  \n".join(
                f"[{number}] {inline(text, language)}" for number, text in block.notes
            )
        case Foreign():
            return block.text


def _grid(table: Grid, language: Language) -> str:
    """Its columns line up in the raw text as well."""
    titles = [_field(head.title, language) for head in table.heads]
    body = [
        ["" if value is None else _field(value, language) for value in row] for row in table.rows
    ]
    widths = [max(3, *map(_width, texts)) for texts in zip(titles, *body, strict=True)]
    rule = [
        "-" * (width - 1) + ":" if head.right else "-" * width
        for head, width in zip(table.heads, widths, strict=True)
    ]
    return "\n".join(
        [_line(titles, table, widths), f"| {' | '.join(rule)} |"]
        + [_line(row, table, widths) for row in body]
    )


def _line(texts: list[str], table: Grid, widths: list[int]) -> str:
    padded = []
    for text, head, width in zip(texts, table.heads, widths, strict=True):
        space = " " * (width - _width(text))
        padded.append(space + text if head.right else text + space)
    return f"| {' | '.join(padded)} |"


def _width(text: str) -> int:
    """Columns that a terminal needs: two for a Chinese character."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _field(text: Text, language: Language) -> str:
    """One line, with the one character that would end a table cell escaped."""
    return inline(text, language).replace("|", "\\|")
