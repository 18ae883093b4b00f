"""What a failure looks like in a log: one `Signature` per message; `signatures.py` has them all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property


class Tier(IntEnum):
    """How much a match says about the first cause; the lowest tier found in a log decides.

    Within a tier the deeper process decides (a worker before the engine that started it), then
    the earlier line.
    """

    PROVED = 0
    """Our worker stated the class itself."""
    HARDWARE = 1
    """The device failed; whatever software printed after that is its echo."""
    ASSERTION = 2
    """A device assertion; CUDA and cuBLAS errors around it are its echo, even when earlier."""
    CAUSE = 3
    QUOTED = 4
    """A cause quoted in the message of a wrapper, whose own process left no log."""
    CLUE = 5
    """A warning that explains a later failure, and means nothing in a run that worked."""
    INTERRUPTED = 6
    """Stopping provokes Python exceptions, so it stands before them."""
    PYTHON = 7
    CONSEQUENCE = 8
    """What the death of another process provokes: closed connections, crashes at exit."""
    EXIT_CODE = 9
    """Only how a process ended, in the words of its parent."""


@dataclass(frozen=True)
class Signature:
    """One message that tells a cause.

    `pattern` is searched in a log line without its prefixes (process, time, level, colours); its
    named groups become facts, those named `*_gib` through their unit. Every line that matches
    contains one of `needles`: they are the cheap filter. `within` asks for one of these function
    names in the traceback above the line (or, without a traceback, for the worker's phase of that
    name). `ends_traceback` accepts only the line that ends one. `hint` is a sentence filled with
    the facts; the advice of the class follows it. `example` is a small log that must classify as
    this very signature.
    """

    id: str
    failure_class: str
    needles: tuple[str, ...]
    pattern: str
    example: str
    hint: str = ""
    tier: Tier = Tier.CAUSE
    within: frozenset[str] = frozenset()
    ends_traceback: bool = False
    counts_as_warning: bool = False

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def search(self, text: str, frames: set[str], *, ends_traceback: bool) -> re.Match[str] | None:
        """The match in this line, if the line stands where this signature may stand."""
        if self.within and self.within.isdisjoint(frames):
            return None
        if self.ends_traceback and not ends_traceback:
            return None
        return self.regex.search(text)
