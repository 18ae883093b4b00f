"""Moments of a run: read from ISO 8601 texts, and written as a person writes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from slidesparse_bench.report.words import Text, say


def moment(text: str | None) -> datetime | None:
    """An ISO 8601 time; UTC when it has no zone, None when it is no time."""
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def seconds_between(began: str | None, ended: str | None) -> float | None:
    """Seconds from one ISO time to another; None when either is missing or they are reversed."""
    first, last = moment(began), moment(ended)
    if first is None or last is None or last < first:
        return None
    return (last - first).total_seconds()


def shown(text: str | None) -> str:
    """A time as a person writes it: `2026-03-01 10:00 UTC`; `local time` when it names no zone."""
    parsed = moment(text)
    if parsed is None:
        return text or "not recorded"
    zone = parsed.tzname() if datetime.fromisoformat(text or "").tzinfo else "local time"
    return f"{parsed:%Y-%m-%d %H:%M} {zone}"


def when(text: str | None) -> Text:
    """`shown`, in words that can be translated."""
    if not text:
        return say("not recorded")
    words = shown(text)
    clock = words.removesuffix(" local time")
    return words if clock == words else say("{moment} local time", moment=clock)


def count_until(moments: Iterable[str], last: str) -> int:
    """How many of these moments, ISO 8601, are not after the last; what is none is not counted."""
    end = moment(last)
    known = [found for each in moments if (found := moment(each)) is not None]
    return sum(end is not None and each <= end for each in known)
