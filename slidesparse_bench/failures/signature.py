"""What a failure looks like in a log: one `Signature` per message; `signatures.py` has them all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache

from slidesparse_bench.failures.trace import NOWHERE, Place


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
    """A kernel's own assertion; CUDA and cuBLAS errors around it are its echo, even when earlier."""
    ASSERTED = 3
    """The runtime reports a device assertion, without the kernel's own words."""
    CAUSE = 4
    QUOTED = 5
    """A cause quoted in the message of a wrapper, whose own process left no log."""
    PLACED = 6
    """An exception known by the place that raised it, or by how its message is phrased."""
    CLUE = 7
    """A warning that explains a later failure, and means nothing in a run that worked."""
    INTERRUPTED = 8
    """Stopping provokes Python exceptions, so it stands before them."""
    PYTHON = 9
    STATED = 10
    """An exception that is named without its traceback: somebody may have handled it."""
    CONSEQUENCE = 11
    """What the death of another process provokes: closed connections, crashes at exit."""
    EXIT_CODE = 12
    """Only how a process ended, in the words of its parent."""


@lru_cache(maxsize=4096)
def _is_in(pattern: str, file: str) -> bool:
    return re.search(pattern, file) is not None


@dataclass(frozen=True)
class Signature:
    """One message that tells a cause.

    `pattern` is searched in a log line without its prefixes (process, time, level, colours); its
    named groups become facts, those named `*_gib` through their unit. Every line that matches
    contains one of `needles`: they are the cheap filter. `within` asks for one of these function
    or file names in the traceback above the line (or, without a traceback, for the worker's phase
    of that name), `never_within` for none of its; `raised_in` is searched in the path of the file whose frame is the innermost.
    `ends_traceback` accepts only the line that ends one, `deliberate` only what a `raise` statement
    raised. `hint` is a sentence filled with the
    facts; the advice of the class follows it. `example` is a small log that must classify as this
    very signature.
    """

    id: str
    failure_class: str
    needles: tuple[str, ...]
    pattern: str
    example: str
    hint: str = ""
    tier: Tier = Tier.CAUSE
    within: frozenset[str] = frozenset()
    never_within: frozenset[str] = frozenset()
    raised_in: str = ""
    ends_traceback: bool = False
    deliberate: bool = False
    counts_as_warning: bool = False

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    @cached_property
    def _may_stand_anywhere(self) -> bool:
        conditions = (self.within, self.never_within, self.raised_in)
        return not (any(conditions) or self.ends_traceback or self.deliberate)

    def search(self, text: str, place: Place = NOWHERE) -> re.Match[str] | None:
        """The match in this line, if the line stands where this signature may stand."""
        if self._may_stand_anywhere:
            return self.regex.search(text)
        if self.within and self.within.isdisjoint(place.frames):
            return None
        if not self.never_within.isdisjoint(place.frames):
            return None
        if self.ends_traceback and not place.ends_traceback:
            return None
        if self.deliberate and not place.deliberate:
            return None
        if self.raised_in and not _is_in(self.raised_in, place.file):
            return None
        return self.regex.search(text)
