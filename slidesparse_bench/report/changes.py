"""What changed while a run was made, and on which side of it a number was measured.

A run can go on days later, after an upgrade: each `run` or `retry` command on it is a sitting.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.markdown import shortened
from slidesparse_bench.report.moments import count_until
from slidesparse_bench.report.words import Text, counted, joined, say
from slidesparse_bench.sittings import differences, sittings_of

TOLD_SHORTLY = 2
_SHORT_TEXT = 60
_OTHER_GPU = re.compile(r"GPU \d+ uuid ")


@dataclass(frozen=True)
class Change:
    """From `sitting` on, counted from 1, these things were different, e.g. `vllm 1 -> 2`.

    `began` is the moment of it, ISO 8601.
    """

    sitting: int
    began: str
    told: tuple[str, ...]

    @property
    def shortly(self) -> Text:
        """`other GPUs, cpu cores 32 -> 48, and 2 other differences`: no UUID tells a reader more."""
        others = [text for text in self.told if not _OTHER_GPU.match(text)]
        facts: list[Text] = [say("other GPUs")] if len(others) < len(self.told) else []
        facts += [shortened(text, _SHORT_TEXT) for text in others]
        hidden = len(facts) - TOLD_SHORTLY
        first = facts[:TOLD_SHORTLY]
        if hidden > 0:
            first.append(say("and {others}", others=counted(hidden, "other difference")))
        return joined(", ", first)


def changes_of(environment: Mapping[str, Any]) -> list[Change]:
    """Every sitting that differs from the one before it in a way that can move a number."""
    sittings = sittings_of(environment)
    return [
        Change(number, str(now.get("began")), tuple(told))
        for number, (before, now) in enumerate(itertools.pairwise(sittings), start=2)
        if (told := differences(before, now))
    ]


def changes_before(changes: Sequence[Change], attempt: Attempt) -> int:
    """After how many of the changes an attempt began."""
    return count_until((change.began for change in changes), attempt.started)
