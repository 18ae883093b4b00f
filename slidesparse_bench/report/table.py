"""A table of raw values, and its two written forms: CSV with the values, Markdown to be read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slidesparse_bench.report.markdown import one_line

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Column:
    """`right` aligns numbers; `show` is how Markdown writes a value that is not None."""

    title: str
    right: bool = False
    show: Callable[[Value], str] = str


@dataclass(frozen=True)
class Table:
    """Rows of raw values, as many in each row as there are columns. None is "not measured"."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]

    def select(self, titles: Iterable[str]) -> Table:
        """The same rows with only these columns, in this order."""
        position = {column.title: index for index, column in enumerate(self.columns)}
        kept = [position[title] for title in titles]
        return Table(
            columns=tuple(self.columns[index] for index in kept),
            rows=tuple(tuple(row[index] for index in kept) for row in self.rows),
        )


def as_csv(table: Table) -> str:
    """CSV with a header; None is empty, true and false are lower case, numbers keep ten digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(column.title for column in table.columns)
    writer.writerows([_raw(value) for value in row] for row in table.rows)
    return stream.getvalue()


def _raw(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    return one_line(str(value))


def as_markdown(table: Table) -> str:
    """A GitHub table whose columns line up in the raw text as well; None is an empty cell."""
    titles = [_cell_text(column.title) for column in table.columns]
    body = [
        [
            "" if value is None else _cell_text(column.show(value))
            for column, value in zip(table.columns, row, strict=True)
        ]
        for row in table.rows
    ]
    widths = [max(3, *map(len, texts)) for texts in zip(titles, *body, strict=True)]
    rule = [
        "-" * (width - 1) + ":" if column.right else "-" * width
        for column, width in zip(table.columns, widths, strict=True)
    ]
    lines = [_line(titles, table.columns, widths), f"| {' | '.join(rule)} |"]
    return "\n".join(lines + [_line(row, table.columns, widths) for row in body])


def _line(texts: list[str], columns: tuple[Column, ...], widths: list[int]) -> str:
    padded = [
        text.rjust(width) if column.right else text.ljust(width)
        for text, column, width in zip(texts, columns, widths, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _cell_text(text: str) -> str:
    """One line, with the one character that would end a table cell escaped."""
    return one_line(text).replace("|", "\\|")
