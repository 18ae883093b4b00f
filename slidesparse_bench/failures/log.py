"""Reading a log: any size, any bytes, several processes in one file.

A log of a run is hundreds of MB of progress bars around a few lines that matter. A line counts
from 1 by newline; carriage returns split a line into parts that share its number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
LONGEST_LINE_BYTES = 1 << 16
LONGEST_LEAD_BYTES = 1 << 12
"""A longer line, or one with more before its keyword, is cut: memory and time stay bounded."""

KEYWORDS = re.compile(
    rb"rror|ERROR|FATAL|CRITICAL|FAILED|xception|Traceback|File \"|ailed|atal |ssert|imeout"
    rb"|imed out|emory|Xid|illed|NCCL|ncorrectable|nterrupt|SIG[A-Z]|ignal 9|upported|ompatible"
    rb"|quota|KV cache|Model loading took|slidesparse:|o space left|Throughput: |too old|died"
    rb"|xit ?code|core proc|fault|CANCELLED|\[type=|fallen off|GPU is lost|requires reset"
    rb"|shared object|undefined symbol|required by|o such file|llegal|borted|onnection|roken pipe"
    rb"|bad_alloc|oom[-_]kill|ouble bit|ffline mode|OfflineMode|ENOSPC|StorageFull"
    rb"|\xe4\xb8\xad\xe6\x96\xad"
)
"""Every line that can matter holds one of these; `tests/test_signatures.py` checks the examples.

The last one is the Chinese word for `interrupted`, as the public SlideSparse scripts print it.
"""

_BREAK = re.compile(rb"[\r\n]")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL"
_GLOG_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "FATAL"}
_PREFIX = re.compile(
    r"(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?\]?\s+"  # a time
    r"|[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \S+ [\w./-]+\[\d+\]: "  # journald
    r"|\((?P<process>[A-Za-z_][^()]*?pid=\d+[^()]*)\)[ ]?"  # vLLM, Ray
    r"|\[(?P<rank>rank\d+)\]: ?"  # torch.distributed
    rf"|(?P<level>{_LEVELS}) \d\d-\d\d \d\d:\d\d:\d\d \[?[\w./<>-]+:\d+\][ ]?"  # vLLM
    rf"|(?P<plain_level>{_LEVELS}) [\w./-]+\.py:\d+: "
    r"|\[?(?P<glog>[IWEF])\d{3,4} \d\d:\d\d:\d\d[^\]]*\][ ]?)"  # glog: torch, absl
)


@dataclass(frozen=True)
class Line:
    """One line, or one part of a line between carriage returns."""

    number: int
    raw: str


@dataclass(frozen=True)
class Prefixed:
    """A line without its prefixes. `process` is "" where none is named."""

    process: str
    level: str
    text: str

    @property
    def depth(self) -> int:
        """How far its process is from the first one: 2 worker, 1 engine, 0 the rest."""
        if "Worker" in self.process or self.process.startswith("rank"):
            return 2
        return 1 if "Engine" in self.process else 0


def split_prefixes(raw: str) -> Prefixed:
    """Take colours and prefixes (time, process, level and source line) off a line."""
    text = _COLOUR.sub("", raw) if "\x1b" in raw else raw
    process = level = ""
    position = 0
    while match := _PREFIX.match(text, position):
        process = match["process"] or match["rank"] or process
        level = match["level"] or match["plain_level"] or level
        level = _GLOG_LEVELS.get(match["glog"], level)
        position = match.end()
    return Prefixed(process, level, text[position:])


class LogReader:
    """The lines of a log that hold a keyword, or all of them while `everything()` says so.

    After the last line, `last` is the log's last line that is not blank.
    """

    def __init__(self, stream: BinaryIO, everything: Callable[[], bool]) -> None:
        self._stream = stream
        self._everything = everything
        self._number = 1
        self.last: Line | None = None

    def __iter__(self) -> Iterator[Line]:
        rest = b""
        while block := self._stream.read(BLOCK_BYTES):
            block = rest + block
            end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
            if not end and len(block) <= BLOCK_BYTES:
                rest = block
                continue
            end = end or len(block)
            yield from self._lines(block[:end])
            rest = block[end:]
        yield from self._lines(rest)

    def _lines(self, block: bytes) -> Iterator[Line]:
        position, first_number = 0, self._number
        while position < len(block):
            start, end = self._next(block, position)
            if start < 0:
                break
            self._number += block.count(b"\n", position, start)
            yield Line(self._number, _decode(block[start:end]))
            position = end
        self._number += block.count(b"\n", position)
        self._remember_last(block, first_number)

    def _next(self, block: bytes, position: int) -> tuple[int, int]:
        """Where the next wanted line starts and ends; (-1, -1) when there is none."""
        if self._everything():
            while position < len(block) and block[position] in b"\r\n":
                position += 1
            start = hit = position
            if start == len(block):
                return -1, -1
        else:
            match = KEYWORDS.search(block, position)
            if match is None:
                return -1, -1
            hit = match.end()
            earliest = max(position, match.start() - LONGEST_LEAD_BYTES)
            start = max(earliest, block.rfind(b"\n", earliest, hit) + 1)
            start = max(start, block.rfind(b"\r", start, hit) + 1)
        latest = min(len(block), hit + LONGEST_LINE_BYTES)
        following = _BREAK.search(block, hit, latest)
        return start, following.start() if following else latest

    def _remember_last(self, block: bytes, first_number: int) -> None:
        content = block.rstrip()
        if content:
            start = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1
            number = first_number + block.count(b"\n", 0, start)
            self.last = Line(number, _decode(content[start:][-LONGEST_LINE_BYTES:]))


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
