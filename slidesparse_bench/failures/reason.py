"""Finding the reason that Triton prints below the source of a kernel that did not compile."""

from __future__ import annotations

import re

_HEADER = re.compile(r"(?:^|[ .])CompilationError: (?:at )?\d+:\d+:$|^at \d+:\d+:$")
"""After it come the lines of the kernel, a mark under the place, and what is wrong with it."""
_ENDS_OF_HEADERS = (":", " ")
_MARK = re.compile(r" *\^ *$")
MOST_LINES_OF_A_KERNEL = 300
"""So many lines, of whatever process, are read after a header."""


class Reason:
    """Which line says why, for the header that was read last; lines must come in their order."""

    def __init__(self) -> None:
        self._printer = ""
        self._lines_left = 0
        self._marked_at = 0

    @property
    def is_awaited(self) -> bool:
        return self._lines_left > 0

    def is_told_by(self, printer: str, number: int, text: str) -> bool:
        """Whether this line is the reason; `number` is its place in the log."""
        if text[-1:] in _ENDS_OF_HEADERS and is_header(text):
            self._printer, self._lines_left, self._marked_at = printer, MOST_LINES_OF_A_KERNEL, 0
            return False
        if not self._lines_left:
            return False
        self._lines_left -= 1
        if printer != self._printer:
            return False
        if self._marked_at:
            # Blank lines without a prefix are not read, other processes may print between.
            follows = number == self._marked_at + 1 or printer.strip() != ""
            self._lines_left = self._marked_at = 0
            return follows and text[:1].strip() != ""
        self._marked_at = number if _MARK.match(text) else 0
        return False


def is_header(text: str) -> bool:
    """Whether an exception's first line names only a place in a kernel."""
    return _HEADER.search(text.rstrip()) is not None
