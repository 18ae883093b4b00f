"""The numbers in a message, and those that follow from them. Memory is in GiB (2^30 bytes)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_UNITS = {
    "bytes": 1 / 2**30,
    "kB": 1 / 2**20,
    "KB": 1 / 2**20,
    "KiB": 1 / 2**20,
    "MB": 1 / 2**10,
    "MiB": 1 / 2**10,
    "GB": 1.0,
    "GiB": 1.0,
    "TB": 2.0**10,
    "TiB": 2.0**10,
}
"""vLLM up to 0.8 and the kernel say GB and kB where they count in powers of two."""

_AMOUNT = re.compile(r"(-?\d+(?:\.\d+)?) ?([A-Za-z]*)")
_BYTES_FROM = 1e6
"""A bare number from here on is bytes: no device has a million GiB."""

_PRINTED_TO_GIB = 0.005
"""vLLM prints two decimals, so the true amount is up to this much less."""

_LOG_FACTS = (
    ("Model loading took", re.compile(r"Model loading took (?P<model_memory_gib>[\d.]+ ?Gi?B)")),
    ("KV cache memory", re.compile(r"Available KV cache memory: (?P<kv_cache_gib>-?[\d.]+ Gi?B)")),
    (
        "for KV cache",
        re.compile(r"(?:Explicitly|Auto) set \((?P<kv_cache_gib>[\d.]+)/[\d.]+\) GiB"),
    ),
    ("KV cache size", re.compile(r"KV cache size: (?P<kv_cache_tokens>[\d,]+) tokens")),
    (
        "gpu_memory_utilization",
        re.compile(
            r"(?:total_gpu_memory \((?P<total_gib>[\d.]+ ?Gi?B)\) x )?"
            r"'?gpu_memory_utilization'?(?: \(|: |=)(?P<gpu_memory_utilization>0\.\d+)"
        ),
    ),
    (
        "with CUDA capability sm_",
        re.compile(r"with CUDA capability sm_(?P<sm>\d+)a? is not compatible"),
    ),
    (
        "supports CUDA capabilities",
        re.compile(r"supports CUDA capabilities (?P<built_for>(?:(?:sm|compute)_\w+ ?)+)"),
    ),
)
"""What vLLM and PyTorch state on the way (INFO lines and warnings), with the word each line contains."""

_OTHERS = re.compile(r"Process (?P<pid>\d+) has (?P<held>[\d.]+ \w+) memory in use")
_BEFORE_TORCH_2_2 = re.compile(
    r"(?P<total>[\d.]+ \w+) total capacity; [\d.]+ \w+ already allocated; (?P<free>[\d.]+ \w+) free; "
    r"(?P<own>[\d.]+ \w+) (?:reserved|cached)"
)
_HARDLY_ANY = 0.1
_MOST = 0.5
"""Of a device's memory: who holds more is the reason why another cannot have it."""


def facts_of(match: re.Match[str]) -> dict[str, Any]:
    """Named groups as values: `*_gib` by their unit, digits as numbers, the rest as text."""
    return {
        name: _value(name, text) for name, text in match.groupdict().items() if text is not None
    }


def _value(name: str, text: str) -> Any:
    if name.endswith("_gib"):
        return _gib(text)
    digits = text.replace(",", "")
    if re.fullmatch(r"-?\d{1,18}", digits):
        return int(digits)
    if re.fullmatch(r"-?\d{1,18}\.\d{1,18}", digits):
        return float(digits)
    return text.strip()


def _gib(text: str) -> float | None:
    amount = _AMOUNT.match(text.strip())
    if amount is None:
        return None
    number = float(amount[1])
    unit = amount[2] or ("bytes" if abs(number) >= _BYTES_FROM else "GiB")
    return round(number * _UNITS.get(unit, 1.0), 6)


def log_facts(text: str) -> dict[str, Any]:
    """What a line states of the engine's memory; empty for nearly every line."""
    for word, pattern in _LOG_FACTS:
        if word in text and (match := pattern.search(text)):
            return facts_of(match)
    return {}


def holders_of(text: str) -> dict[str, Any]:
    """Who else held memory, in torch's words: `others`, `20.11 GiB (process 4711)`."""
    others = [f"{each['held']} (process {each['pid']})" for each in _OTHERS.finditer(text)]
    return {"others": ", ".join(others)} if others else {}


def is_held_by_others(text: str, facts: Mapping[str, Any]) -> bool:
    """Whether torch counts most of a device's memory for processes other than the one that ran out.

    What is neither free nor its own is theirs, listed or not: from another container no process is.
    In a container it may not know itself by its pid either; then it names no process as its own.
    """
    if old := _BEFORE_TORCH_2_2.search(text):
        return _is_hardly_any(*(_gib(old[name]) or 0.0 for name in ("total", "free", "own")))
    total, free = facts.get("total_gib"), facts.get("free_gib")
    own = facts.get("in_use_gib")
    if total is None:
        return False
    held = [_gib(each["held"]) or 0.0 for each in _OTHERS.finditer(text)]
    if own is None or own > total:
        return _is_one_of_many(held, facts, total)
    others = sum(held) if held or free is None else total - free - own
    return bool(others > max(_MOST * total, own))


def _is_hardly_any(total: float, free: float, own: float) -> bool:
    """The same by what PyTorch holds; what is not PyTorch's may still be of this process."""
    return own < _HARDLY_ANY * total and total - free - own > _MOST * total


def _is_one_of_many(held: list[float], facts: Mapping[str, Any], total: float) -> bool:
    """The same when one of the processes that hold memory is the one that ran out: the smallest that
    can have what PyTorch allocated."""
    allocated = facts.get("allocated_gib")
    if allocated is None:
        return False
    possible = [each for each in held if each >= allocated]
    if len(held) < 2 or not possible:
        return False
    own = min(possible)
    return sum(held) - own > max(_MOST * total, own)


def capability_of(*values: Any) -> tuple[int, int] | None:
    """Compute capability from the first value that tells one: `9.0`, `"9.0"`, `120`, `"120a"`."""
    for value in values:
        found = re.fullmatch(r"(\d{1,2})[._]?(\d)a?", str(value)) if value is not None else None
        if found:
            return int(found[1]), int(found[2])
    return None


def derived_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts that follow: what is missing, and the highest share of the memory that could start."""
    derived: dict[str, Any] = {}
    needed, available = facts.get("needed_gib"), facts.get("available_gib")
    if needed is not None and available is not None:
        derived["missing_gib"] = round(needed - available, 6)
    asked, free, total = (facts.get(f"{name}_gib") for name in ("asked", "free", "total"))
    if asked is not None and free is not None and asked > free:
        derived["short_gib"] = round(asked - free, 6)
    if free is not None and total:
        derived["highest_utilization"] = share_below(free, total)
    return derived


def share_below(free_gib: float, total_gib: float) -> float:
    """The largest `gpu_memory_utilization` of two decimals that `free_gib` can satisfy."""
    share = (free_gib - _PRINTED_TO_GIB) / (total_gib + _PRINTED_TO_GIB)
    return max(0, math.floor(share * 100)) / 100
