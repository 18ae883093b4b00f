"""What a failure looks like in a log: one `Signature` per message; `signatures.py` has them all."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from slidesparse_bench.failures.trace import Place


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


@dataclass(frozen=True)
class Signature:
    """One message that tells a cause.

    `pattern` is searched in a log line without its prefixes (process, time, level, colours); its
    named groups become facts, those named `*_gib` through their unit. Every line that matches
    contains one of `needles`: they are the cheap filter. `within` asks for one of these function or
    file names in the traceback above the line (or, without a traceback, for the worker's phase of
    that name), `never_within` for none of its; `raised_in` is searched in the path of the file
    whose frame is the innermost. `ends_traceback` accepts only the line that ends one, `deliberate`
    only what a `raise` statement raised. `hint` is a sentence filled with the facts; the advice of
    the class follows it. `example` is a small log that must classify as this very signature.
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

    def admits(self, place: Place) -> bool:
        """Whether it may match a line that ends like this; which functions ran is not asked yet."""
        return not (
            (self.ends_traceback and not place.ends_traceback)
            or (self.deliberate and not place.deliberate)
            or (self.raised_in and re.search(self.raised_in, place.file) is None)
        )

    def search(self, text: str, frames: AbstractSet[str] = frozenset()) -> re.Match[str] | None:
        """The match in this line, if one of the functions that ran is asked for, and none forbidden."""
        if self.within and self.within.isdisjoint(frames):
            return None
        if self.never_within and not self.never_within.isdisjoint(frames):
            return None
        return self.regex.search(text)
