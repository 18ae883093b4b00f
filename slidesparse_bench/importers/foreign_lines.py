"""Lines of foreign text files with their places: any bytes, any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST_LINE_BYTES = 1 << 16


@dataclass(frozen=True)
class PlacedLine:
    """A line from byte `begin` up to `end`, its break included; `number` counts from 1."""

    number: int
    begin: int
    end: int
    raw: bytes

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "replace").rstrip("\r\n")


def placed_lines(path: Path) -> Iterator[PlacedLine]:
    """The lines of a file; a longer one comes in pieces that share its number."""
    number, begin = 1, 0
    with path.open("rb") as stream:
        while raw := stream.readline(LONGEST_LINE_BYTES):
            yield PlacedLine(number, begin, begin + len(raw), raw)
            begin += len(raw)
            number += raw.endswith(b"\n")
