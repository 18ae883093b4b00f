"""The report as one document: its sections, one after the other, and the files it is written to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from slidesparse_bench.report import html_writer, plots
from slidesparse_bench.report.blocks import Block
from slidesparse_bench.report.languages import ENGLISH, Language
from slidesparse_bench.report.markdown_writer import markdown_of
from slidesparse_bench.report.sections import SECTIONS
from slidesparse_bench.report.view import RunView
from slidesparse_bench.wire import write_text

FORMATS = ("md", "html")


def document_of(view: RunView) -> list[Block]:
    """The blocks of the report, in no language."""
    return [block for section in SECTIONS for block in section(view)]


def render(view: RunView, language: Language = ENGLISH) -> str:
    """The text of `report.md`."""
    return markdown_of(document_of(view), language, plots.folder_for(language))


def write(view: RunView, folder: Path, language: Language, formats: tuple[str, ...]) -> list[Path]:
    """Draw the plots, then write the document in every format; the paths, documents first."""
    drawn = plots.write(view, folder, language)
    view = replace(view, remarks=plots.remarks(language) if drawn else ())
    document, images = document_of(view), plots.folder_for(language)
    written = []
    for extension in formats:
        path = folder / file_name(language, extension)
        if extension == "html":
            text = html_writer.html_of(document, language, folder / images)
        else:
            text = markdown_of(document, language, images)
        write_text(path, text)
        written.append(path)
    return [*written, *drawn]


def file_name(language: Language, extension: str) -> str:
    """`report.md`; other languages than English name themselves: `report.zh.md`."""
    middle = "" if language is ENGLISH else f".{language.code}"
    return f"report{middle}.{extension}"
