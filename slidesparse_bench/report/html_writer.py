"""A document as one self-contained HTML file: inline style, images as data, nothing fetched."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

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
from slidesparse_bench.report.html_style import STYLE
from slidesparse_bench.report.languages import ENGLISH, Language, Span, plain_text, spans_of
from slidesparse_bench.report.words import Text, say

_LONG = 24
"""Characters from which a field of a column of numbers may wrap."""
_SKIP = say("Skip to the content")
_CONTENTS = say("Contents")


def html_of(document: list[Block], language: Language, images: Path) -> str:
    """The text of an HTML file.

    `images` is the folder with the plots; one that is not there is left out with its alt text.
    """
    return "".join(_Writer(language, images).page(document))


class _Writer:
    """Writes blocks; keeps count of the anchors, which must differ."""

    def __init__(self, language: Language, images: Path) -> None:
        self._language = language
        self._images = images
        self._anchors: dict[str, int] = {}

    def page(self, document: list[Block]) -> Iterator[str]:
        """The anchors are made of the English headings: links survive a change of language."""
        anchored = [(block, self._anchor(block)) for block in document]
        title = next((b.text for b in document if isinstance(b, Heading)), "")
        yield "<!DOCTYPE html>\n"
        yield f'<html lang="{self._language.code}">\n<head>\n<meta charset="utf-8">\n'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        yield f"<title>{self._plain(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        yield f'<a class="skip" href="#content">{self._plain(_SKIP)}</a>\n<div class="page">\n'
        yield from self._header(anchored)
        yield '<main id="content">\n'
        yield from self._sections(anchored)
        yield "</main>\n</div>\n</body>\n</html>\n"

    def _header(self, anchored: list[tuple[Block, str]]) -> Iterator[str]:
        """The title, and the contents: headings of level 2."""
        yield "<header>\n"
        for block, _ in anchored:
            if isinstance(block, Heading) and block.level == 1:
                yield f"<h1>{self._inline(block.text)}</h1>\n"
        name = self._plain(_CONTENTS)
        yield f'<nav aria-label="{name}">\n<p>{name}</p>\n<ol>\n'
        for block, anchor in anchored:
            if isinstance(block, Heading) and block.level == 2:
                yield f'<li><a href="#{anchor}">{self._inline(block.text)}</a></li>\n'
        yield "</ol>\n</nav>\n</header>\n"

    def _sections(self, anchored: list[tuple[Block, str]]) -> Iterator[str]:
        """A `section` from each heading of level 2 to the next."""
        is_open = False
        for block, anchor in anchored:
            if isinstance(block, Heading) and block.level == 1:
                continue
            if isinstance(block, Heading) and block.level == 2:
                yield "</section>\n" if is_open else ""
                yield f'<section aria-labelledby="{anchor}">\n'
                is_open = True
            yield from self._block(block, anchor)
        yield "</section>\n" if is_open else ""

    def _block(self, block: Block, anchor: str = "") -> Iterator[str]:  # noqa: C901 - one case a kind
        match block:
            case Heading():
                tag = f"h{block.level}"
                yield f'<{tag} id="{anchor}">{self._inline(block.text)}</{tag}>\n'
            case Paragraph():
                yield f"<p>{self._inline(block.text)}</p>\n"
            case Alert():
                yield f"<aside><p>{self._inline(block.text)}</p></aside>\n"
            case Bullets():
                items = "".join(f"<li>{self._inline(item)}</li>\n" for item in block.items)
                yield f"<ul>\n{items}</ul>\n"
            case Grid():
                yield from self._grid(block)
            case Listing() | Foreign():
                yield f"<pre>{escape(_visible(block.text.rstrip()))}</pre>\n"
            case Fold():
                yield f"<details>\n<summary>{self._inline(block.summary)}</summary>\n"
                for inner in block.blocks:
                    yield from self._block(inner)
                yield "</details>\n"
            case Image():
                yield self._image(block)
            case Footnotes():
                items = "".join(
                    f"<li>[{number}] {self._inline(text)}</li>\n" for number, text in block.notes
                )
                yield f'<ul class="notes">\n{items}</ul>\n'

    def _grid(self, table: Grid) -> Iterator[str]:
        """In a box of its own that scrolls; the first column is the head of its row."""
        caption = self._plain(table.caption)
        yield f'<div class="table" role="region" aria-label="{caption}" tabindex="0">\n<table>\n'
        yield f"<caption>{self._inline(table.caption)}</caption>\n<thead><tr>"
        for head in table.heads:
            numbers = ' class="number"' if head.right else ""
            yield f'<th scope="col"{numbers}>{self._inline(head.title)}</th>'
        yield "</tr></thead>\n<tbody>\n"
        for row in table.rows:
            yield "<tr>"
            for place, (head, value) in enumerate(zip(table.heads, row, strict=True)):
                yield self._field(value, is_head=place == 0, is_number=head.right)
            yield "</tr>\n"
        yield "</tbody>\n</table>\n</div>\n"

    def _field(self, value: Text | None, *, is_head: bool, is_number: bool) -> str:
        text = "" if value is None else self._inline(value)
        is_long = is_number and value is not None and len(plain_text(value, self._language)) > _LONG
        classes = ("number long" if is_long else "number") if is_number else ""
        named = f' class="{classes}"' if classes else ""
        return f'<th scope="row"{named}>{text}</th>' if is_head else f"<td{named}>{text}</td>"

    def _image(self, image: Image) -> str:
        alt = self._plain(image.alt)
        try:
            data = base64.b64encode((self._images / image.file_name).read_bytes()).decode("ascii")
        except OSError:
            return f"<p>{alt}</p>\n"
        picture = f'<img src="data:image/png;base64,{data}" alt="{alt}">'
        return f"<figure>\n{picture}\n<figcaption>{alt}</figcaption>\n</figure>\n"

    def _anchor(self, block: Block) -> str:
        if not isinstance(block, Heading):
            return ""
        words = re.findall(r"\w+", plain_text(block.text, ENGLISH).lower())
        name = "-".join(words) or "section"
        self._anchors[name] = self._anchors.get(name, 0) + 1
        return name if self._anchors[name] == 1 else f"{name}-{self._anchors[name]}"

    def _plain(self, text: Text) -> str:
        """For attributes and titles: no tags."""
        return escape(_visible(plain_text(text, self._language)).strip())

    def _inline(self, text: Text) -> str:
        return "".join(map(_span, spans_of(text, self._language))).strip()


def _span(span: Span) -> str:
    text = escape(_visible(span.text))
    text = f"<code>{text}</code>" if span.is_code else text
    return f"<strong>{text}</strong>" if span.is_strong else text


def _visible(text: str) -> str:
    """What has no shape (terminal codes in logs) as `�`; line ends stay."""
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text)
