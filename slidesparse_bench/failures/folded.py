"""Log records of which one line holds several: JSON records, and escaped tracebacks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

_ESCAPED_TRACEBACK = "Traceback (most recent call last):\\n"
_LEVEL_KEYS = ("level", "levelname", "severity", "log.level", "lvl")
_HARMLESS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "warn": "WARNING"}
_TEXT_KEYS = (
    *("message", "msg", "log", "event", "text", "textPayload", "body", "MESSAGE"),
    *("error", "err", "detail", "reason"),
    *("exc_info", "exception", "exc_text", "traceback", "stack_trace", "stacktrace", "stack"),
)
"""Where loggers and collectors put the message, and after it the exception."""
_NESTED_KEYS = ("jsonPayload", "record", "fields", "exception", "error", "exc_info")


def unfolded(raw: str) -> Iterable[str]:
    """The lines that a program printed and a logger or collector made one of.

    A record's message comes first, then its exception. Everything else is one line.
    """
    start = raw.find('{"')
    if start >= 0 and raw.rstrip().endswith("}"):
        record = _record(raw[start:])
        if record is not None:
            lines = list(_lines_of(record))
            return lines or (raw,)
    return _unescaped(raw) if _ESCAPED_TRACEBACK in raw else (raw,)


def _record(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _lines_of(record: dict[str, Any]) -> Iterator[str]:
    level = next((record[key] for key in _LEVEL_KEYS if key in record), "")
    harmless = _HARMLESS.get(str(level).lower())
    for text in _texts_of(record):
        for line in text.splitlines():
            for each in _unescaped(line) if _ESCAPED_TRACEBACK in line else (line,):
                yield f"{harmless} - {each}" if harmless else each


def _texts_of(record: dict[str, Any]) -> Iterator[str]:
    for key in _TEXT_KEYS:
        value = record.get(key)
        if isinstance(value, str):
            yield value
        elif isinstance(value, list) and all(isinstance(each, str) for each in value):
            yield "\n".join(value)
    for key in _NESTED_KEYS:
        if isinstance(record.get(key), dict):
            yield from _texts_of(record[key])


def _unescaped(line: str) -> list[str]:
    return line.replace('\\"', '"').rstrip("\"'").split("\\n")
