"""The Markdown report: its sections, one after the other."""

from __future__ import annotations

from pathlib import Path

from slidesparse_bench.report.markdown import blocks
from slidesparse_bench.report.sections import SECTIONS
from slidesparse_bench.report.view import RunView
from slidesparse_bench.wire import write_text


def render(view: RunView) -> str:
    """The text of `report.md`."""
    return blocks(section(view) for section in SECTIONS) + "\n"


def write(view: RunView, folder: Path) -> list[Path]:
    path = folder / "report.md"
    write_text(path, render(view))
    return [path]
