"""Following Python tracebacks through a log in which several processes print at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)",(?: line \d+(?:, in (?P<function>.+))?| *$)')
_OTHER_FRAME = re.compile(
    r"(?:File )?\[?(?P<file>[~\w./\\:-]+\.py)(?:\]\([^)]*\))?(?::\d+)?,? in (?:\w+\.)*(?P<function>\w+)"
)
"""A frame in the forms of IPython and of the package rich."""
_WRAPPED_FRAME = re.compile(r"(?:line \d+, )?in (?P<function>[\w<>.]+)$")
"""The second half of a frame that a narrow terminal has broken."""
_START = "Traceback (most recent call last)"
_CHAINED = ("direct cause of the following exception", "During handling of the above exception")
_NOT_RAISED = "Exception ignored in"
"""What an interpreter prints of errors in destructors: the program goes on."""
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Exit|Interrupt)\w*(?::|$)")
"""The last line of a traceback, where indentation does not tell."""
_NOTEBOOK = re.compile(r"\w+ {8,}$")
"""IPython names the exception on the line that starts a traceback, and again at its end."""
_BOX_OPENS, _BOX_CLOSES = "╭", "╰"
"""Corners of the frame that the package rich draws around a traceback."""

IMPORTS_ANOTHER = "<import of another package>"
"""Among the frames when one installed package, while it was imported, called another that raised."""
_PACKAGE = re.compile(r"/(?:site|dist)-packages/(?P<name>\w+)")
_IMPORT_STATEMENT = re.compile(r"\s*(?:import|from) [\w.]")
_IMPORT_FUNCTIONS = frozenset({"_find_and_load", "_gcd_import", "exec_module", "import_module"})

MOST_PROCESSES = 256
MOST_LINES = 5000
"""A traceback that does not end within so many lines of its process is given up."""
MOST_FLAT_LINES = 300
"""The same of one that has lost its indentation."""
MOST_LINES_OUTSIDE = 500
"""After so many lines of other processes no traceback is still being printed."""


class Place(NamedTuple):
    """Where a line stands.

    `frames` are the names of the functions and files of the traceback above it, with those of
    tracebacks chained to it; `file` is the path of the innermost frame, "" where none is known;
    `deliberate` says that its source line is a `raise` statement.
    """

    frames: frozenset[str] | set[str] = frozenset()
    file: str = ""
    ends_traceback: bool = False
    deliberate: bool = False


NOWHERE = Place()


@dataclass
class Traceback:
    """The traceback that one process is printing, with every traceback chained to it.

    A chain adds to the same `frames`, because the outer functions often stand only in the later
    parts. `imported` is the file that was being imported last, if any; `imports` says that the
    frame just read imports something. `indent` is how far the first line of it stands to the right;
    `is_flat` says that a terminal or collector has cut the indentation off, `is_boxed` that a frame
    is drawn around it.
    """

    frames: set[str] = field(default_factory=set)
    file: str = ""
    imported: str = ""
    imports: bool = False
    indent: int = 0
    is_open: bool = False
    is_chained: bool = False
    raises: bool = False
    is_ignored: bool = False
    is_flat: bool = False
    is_boxed: bool = False
    lines: int = 0

    def calls_another(self) -> bool:
        """Whether the innermost frame is of another installed package than the one being imported."""
        outer, inner = _PACKAGE.search(self.imported), _PACKAGE.search(self.file)
        return outer is not None and inner is not None and outer["name"] != inner["name"]

    def holds(self, text: str) -> bool:
        """Whether this line stands inside: frames, source lines, marks under them."""
        if text[self.indent : self.indent + 1] == " " and not text[: self.indent + 1].strip():
            return True
        if not text.strip() or _WRAPPED_FRAME.match(text):
            return True
        if self.is_boxed:
            self.is_boxed = not text.lstrip().startswith(_BOX_CLOSES)
            return True
        if not self.file and _FRAME.match(text):
            self.is_flat = True
        return self.is_flat and not _EXCEPTION.match(text)


class Tracebacks:
    """The current traceback of every process of the log."""

    def __init__(self) -> None:
        self._of_process: dict[str, Traceback] = {}
        self._ignored_next: set[str] = set()
        self._open_count = 0
        self._lines_outside = 0

    @property
    def any_open(self) -> bool:
        return self._open_count > 0

    def place(self, process: str, *, ends_traceback: bool) -> Place:
        """Where the line stands that `follow` has just taken in."""
        traceback = self._of_process.get(process)
        if traceback is None:
            return NOWHERE
        if not ends_traceback:
            return Place(traceback.frames)
        frames = traceback.frames
        if traceback.imported and traceback.calls_another():
            frames = frames | {IMPORTS_ANOTHER}  # of this part of a chain alone
        return Place(frames, traceback.file, True, traceback.raises)

    def follow(self, process: str, text: str) -> tuple[bool, bool]:
        """Take in one line: (it is part of a traceback's inside, it ends one)."""
        if _START in text:
            before = text[: text.index(_START)]
            opened = self._open(process, 0 if before.strip() else len(before))
            opened.is_boxed = _BOX_OPENS in before
            opened.is_flat = _NOTEBOOK.match(before) is not None
            return not before.strip() or opened.is_boxed or opened.is_flat, False
        traceback = self._of_process.get(process)
        if traceback is None or not traceback.is_open:
            self._lines_outside += 1
            if self._lines_outside > MOST_LINES_OUTSIDE:
                self._give_up()
            if text[:7] != "  File " or _FRAME.match(text) is None:
                self._between(process, traceback, text)
                return False, False
            traceback = self._open(process, 0)  # the log begins inside of it
        if traceback.holds(text):
            self._inside(traceback, text)
            return True, False
        self._close(traceback)
        return traceback.is_ignored, not traceback.is_ignored

    def _open(self, process: str, indent: int) -> Traceback:
        before = self._of_process.pop(process, None)
        self._close(before)
        chained = before is not None and before.is_chained
        traceback = Traceback(frames=before.frames) if before and chained else Traceback()
        traceback.indent = indent
        traceback.is_open = True
        self._open_count += 1
        traceback.is_ignored = process in self._ignored_next
        self._ignored_next.discard(process)
        if len(self._of_process) >= MOST_PROCESSES:
            self._close(self._of_process.pop(next(iter(self._of_process))))
        self._of_process[process] = traceback
        return traceback

    def _give_up(self) -> None:
        """Close what processes began that have not printed for long: they died in the middle."""
        self._lines_outside = 0
        if self.any_open:
            for traceback in self._of_process.values():
                self._close(traceback)

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
        if frame is None and (traceback.is_flat or traceback.is_boxed):
            frame = _OTHER_FRAME.match(text)
        if frame is None:
            traceback.raises = traceback.raises or text.lstrip(" ->0123456789").startswith("raise ")
            traceback.imports = traceback.imports or _IMPORT_STATEMENT.match(text) is not None
        else:
            file = frame["file"].replace("\\", "/")
            traceback.raises = False
            # Generated code has no file: whoever generated it raised the exception.
            if not file.startswith("<") or not traceback.file:
                traceback.file = file
                if frame["function"] == "<module>":
                    # One that no import led to is a program: the first one, or what runpy runs.
                    traceback.imported = file if traceback.imports else ""
                traceback.imports = False
            traceback.imports = traceback.imports or frame["function"] in _IMPORT_FUNCTIONS
            if len(traceback.frames) < MOST_LINES:
                traceback.frames.add(file.rpartition("/")[2])
                traceback.frames.add((frame["function"] or "").strip())
        self._lines_outside = 0
        traceback.lines += 1
        if traceback.lines >= (MOST_FLAT_LINES if traceback.is_flat else MOST_LINES):
            self._close(traceback)
