"""Following Python tracebacks through a log in which several processes print at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_FRAME = re.compile(r'\s+File "(?P<file>[^"]+)", line \d+(?:, in (?P<function>.+))?')
_START = "Traceback (most recent call last)"
_CHAINED = ("direct cause of the following exception", "During handling of the above exception")
_NOT_RAISED = "Exception ignored in"
"""What an interpreter prints of errors in destructors: the program goes on."""

MOST_PROCESSES = 256
MOST_LINES = 5000
"""A traceback that does not end within so many lines of its process is given up."""


@dataclass
class Traceback:
    """The traceback that one process is printing, with every traceback chained to it.

    `frames` are the names of its functions; a chain adds to the same set, because the outer
    functions often stand only in the later parts.
    """

    frames: set[str] = field(default_factory=set)
    is_open: bool = False
    is_chained: bool = False
    is_ignored: bool = False
    lines: int = 0


class Tracebacks:
    """The current traceback of every process of the log."""

    def __init__(self) -> None:
        self._of_process: dict[str, Traceback] = {}
        self._ignored_next: set[str] = set()
        self._open_count = 0

    @property
    def any_open(self) -> bool:
        return self._open_count > 0

    def current(self, process: str) -> Traceback:
        return self._of_process.get(process) or Traceback()

    def follow(self, process: str, text: str) -> tuple[bool, bool]:
        """Take in one line: (it is part of a traceback's inside, it ends one)."""
        if _START in text:
            self._open(process)
            return text.startswith(_START), False
        traceback = self._of_process.get(process)
        if traceback is None or not traceback.is_open:
            self._between(process, traceback, text)
            return False, False
        if text[:1].isspace() or not text:
            self._inside(traceback, text)
            return True, False
        self._close(traceback)
        return traceback.is_ignored, not traceback.is_ignored

    def _open(self, process: str) -> None:
        before = self._of_process.pop(process, None)
        self._close(before)
        chained = before is not None and before.is_chained
        traceback = Traceback(frames=before.frames) if before and chained else Traceback()
        traceback.is_open = True
        self._open_count += 1
        traceback.is_ignored = process in self._ignored_next
        self._ignored_next.discard(process)
        if len(self._of_process) >= MOST_PROCESSES:
            self._close(self._of_process.pop(next(iter(self._of_process))))
        self._of_process[process] = traceback

    def _between(self, process: str, traceback: Traceback | None, text: str) -> None:
        if traceback is not None and any(marker in text for marker in _CHAINED):
            traceback.is_chained = True
        elif text.startswith(_NOT_RAISED) and len(self._ignored_next) < MOST_PROCESSES:
            self._ignored_next.add(process)

    def _close(self, traceback: Traceback | None) -> None:
        if traceback is not None and traceback.is_open:
            traceback.is_open = False
            self._open_count -= 1

    def _inside(self, traceback: Traceback, text: str) -> None:
        frame = _FRAME.match(text)
        if frame and frame["function"] and len(traceback.frames) < MOST_LINES:
            traceback.frames.add(frame["function"].strip())
        traceback.lines += 1
        if traceback.lines >= MOST_LINES:
            self._close(traceback)
