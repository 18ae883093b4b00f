"""Numbers, true, false and null, by the rule of YAML 1.2's core schema, which editors use too.

| plain scalar                                 | becomes             |
|----------------------------------------------|---------------------|
| `null` `Null` `NULL` `~` or nothing          | None                |
| `true` `false`, also `True` `TRUE` ...       | bool                |
| `12` `-12` `+12` `0x1F` `0o17`               | int                 |
| `0.8` `.5` `1.` `1e3`                        | float               |
| anything in quotes, and everything else      | text                |
| `yes` `on` `1_000` `0512` `.inf` `.nan`      | refused, see below  |

Refused is what YAML 1.1 reads as another value than YAML 1.2 (the author may have meant either),
and what JSON cannot hold. The rule applies where a number can stand; names stay text everywhere.
"""

from __future__ import annotations

import math
import re
from typing import Any

from slidesparse_bench.errors import Problem
from slidesparse_bench.yaml_source import KeyPath, Source

Scalar = bool | int | float | str | None

_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OLD_BOOLS = {"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"}
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNDERSCORED = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0[0-9]+")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 64
"""Digits; int() of a longer text is either no number anybody means or an attack."""

_TYPED = frozenset(
    {
        "cpu_memory_gib",
        "engine_args",
        "measurement",
        "retry",
        "seed",
        "stages",
        "timeouts",
        "trials",
    }
)
"""Keys below which scalars can be numbers, at the top and in overrides."""

_UNREADABLE = object()
"""Stands where a scalar could not be resolved; no field accepts it."""


def resolve(text: str) -> Scalar:
    """The value of a plain scalar.

    Raises:
        ValueError: the YAML versions disagree about it, or JSON cannot hold it.
    """
    if text in _BOOLS:
        return _BOOLS[text]
    if text.lower() in _OLD_BOOLS:
        meant = _OLD_BOOLS[text.lower()]
        raise ValueError(f"'{text}' is {meant} in YAML 1.1 and text in YAML 1.2; write {meant}")
    if _OCTAL.fullmatch(text):
        raise ValueError(f"'{text}' has a leading zero, which YAML 1.1 reads as octal; remove it")
    if "_" in text and _UNDERSCORED.fullmatch(text):
        raise ValueError(f"'{text}' is a number in YAML 1.1 only; write {text.replace('_', '')}")
    if _INT.fullmatch(text):
        return _whole(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        return _finite(text)
    return text


def _whole(text: str) -> int:
    number = int(text, 0) if len(text) <= _LONGEST_NUMBER else 2**63
    if abs(number) >= 2**63:
        raise ValueError("a whole number beyond 64 bits")
    return number


def _finite(text: str) -> float:
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise ValueError(f"'{text}' is not a finite number, and JSON files could not hold it")
    return number


def typed_data(source: Source, problems: list[Problem]) -> dict[str, Any]:
    """The file's data with every number in place; what cannot be resolved joins `problems`."""
    data = source.data
    for key in _TYPED & data.keys():
        data[key] = _typed(source, (key,), data[key], problems)
    overrides = data.get("overrides")
    for index, override in enumerate(overrides if isinstance(overrides, list) else []):
        for key in _TYPED & override.keys() if isinstance(override, dict) else ():
            override[key] = _typed(source, ("overrides", index, key), override[key], problems)
    return data


def _typed(source: Source, path: KeyPath, value: Any, problems: list[Problem]) -> Any:
    if isinstance(value, dict):
        return {key: _typed(source, (*path, key), item, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(source, (*path, i), item, problems) for i, item in enumerate(value)]
    if not isinstance(value, str) or not source.is_plain(path):
        return value
    try:
        return resolve(value)
    except ValueError as error:
        problems.append(source.problem(path, f"{_name(path)}: {error}"))
        return _UNREADABLE


def _name(path: KeyPath) -> str:
    return next(step for step in reversed(path) if isinstance(step, str))
