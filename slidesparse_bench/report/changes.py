"""What changed while a run was made, and on which side of it a number was measured.

A run can go on days later, after an upgrade: each `run` or `retry` command on it is a sitting.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.moments import moment
from slidesparse_bench.report.words import Text, counted, joined, say
from slidesparse_bench.sittings import differences, sittings_of

TOLD_SHORTLY = 3


@dataclass(frozen=True)
class Change:
    """From the moment `began` (ISO 8601) on these things were different, e.g. `vllm 1 -> 2`."""

    began: str
    told: tuple[str, ...]

    @property
    def shortly(self) -> Text:
        """The first of them."""
        hidden = len(self.told) - TOLD_SHORTLY
        first: list[Text] = list(self.told[:TOLD_SHORTLY])
        if hidden > 0:
            first.append(say("and {others}", others=counted(hidden, "other difference")))
        return joined(", ", first)


def changes_of(environment: Mapping[str, Any]) -> list[Change]:
    """Every sitting that differs from the one before it in a way that can move a number."""
    sittings = sittings_of(environment)
    return [
        Change(str(now.get("began")), tuple(told))
        for before, now in itertools.pairwise(sittings)
        if (told := differences(before, now))
    ]


def changes_before(changes: Sequence[Change], attempt: Attempt) -> int:
    """After how many of the changes an attempt began."""
    started = moment(attempt.started)
    moments = [moment(change.began) for change in changes]
    return sum(began is not None and started is not None and began <= started for began in moments)
