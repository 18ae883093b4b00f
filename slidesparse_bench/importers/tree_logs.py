"""`benchmark.log` of a SlideSparse result folder: one section per try, in the order of starts.

Every call of the script appends to it: models mixed, no header, no mark of success. A section with
neither a result nor `ERROR:` was interrupted, because the child's output is written when it ends.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath

from slidesparse_bench.importers.foreign_lines import PlacedLine, placed_lines
from slidesparse_bench.importers.imported import Excerpt
from slidesparse_bench.importers.tree_names import ResultFolder
from slidesparse_bench.importers.tree_tries import Try

LOG_NAME = "benchmark.log"
_HEADER = re.compile(rb"={10} M=(?P<m>\d{1,8}) ={10}\s*$")
_FAILED = b"ERROR: Test failed for M="
_TELLING = (b"Throughput: ", b"Total num ", _FAILED)


def sections(folder: ResultFolder) -> Iterator[Try]:
    """Every try that the folder's log tells of; a section whose head is torn is passed over."""
    path = folder.path / LOG_NAME
    if not path.is_file():
        return
    open_section: _Section | None = None
    for line in placed_lines(path):
        match = _HEADER.match(line.raw)
        if match is None:
            if open_section is not None:
                open_section.take(line)
            continue
        if open_section is not None:
            yield from open_section.closed(line.begin)
        open_section = _Section(folder, int(match["m"]), line)
    if open_section is not None:
        yield from open_section.closed(path.stat().st_size)


class _Section:
    """A section while it is read: a head of `Name: value` lines, a blank line, the output."""

    def __init__(self, folder: ResultFolder, m: int, line: PlacedLine) -> None:
        self._folder = folder
        self._m = m
        self._first = line
        self._head: dict[str, str] = {}
        self._in_head = True
        self._tried: Try | None = None

    def take(self, line: PlacedLine) -> None:
        if self._in_head:
            name, colon, value = line.text.partition(": ")
            if colon:
                self._head[name] = value.strip()
            elif not line.text:
                self._in_head = False
                self._tried = self._try()
        elif self._tried is not None and line.raw.startswith(_TELLING):
            self._tried.take(line.text)
            if line.raw.startswith(_FAILED):
                self._tried.outcome = "failed"

    def _try(self) -> Try | None:
        checkpoint = PurePosixPath(self._head.get("Checkpoint", "")).name
        if not checkpoint:
            return None
        here = Excerpt(self._folder.path / LOG_NAME, self._first.begin, 0, self._first.number)
        cell = self._folder.cell(checkpoint, self._m)
        command = self._head.get("Command", "")
        return Try(cell, here, started=iso(self._head.get("Time")), flags=flags_of(command))

    def closed(self, end: int) -> Iterator[Try]:
        tried = self._tried or self._try()
        if tried is None:
            return
        if tried.outcome != "failed" and tried.rates is not None:
            tried.outcome = "passed"
        yield replace(tried, excerpt=replace(tried.excerpt, end=end))


def flags_of(command: str) -> dict[str, str]:
    """`--max-num-seqs 1 --enforce-eager` by name, "" for a flag without a value."""
    words = command.split()
    flags = {}
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            is_value = not equals and not following.startswith("--")
            flags[name] = value if equals else following if is_value else ""
    return flags


def iso(text: str | None) -> str:
    """`2026-01-25 16:53:03` as ISO 8601, without a zone, for they name none; "" when it is none."""
    try:
        return datetime.fromisoformat(text or "").isoformat()
    except ValueError:
        return ""
