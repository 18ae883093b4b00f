"""What `environment.json` tells of a run's sittings and engines, read and compared. Pure.

`provenance` writes the document and says what is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OF_SITTING = ("gpus", "cpu", "platform", "python")
"""Of `machine_facts()`: a power limit or a kernel can change from one day to the next."""
CODE_SHOWN = 12
"""Digits of the SHA-256 of this program's modules that are enough to tell two apart."""
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_UNRECORDED = "not recorded"
_TOLD_OTHERWISE = ("index", "driver", "cuda_driver", "memory_gib")


def sittings_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All sittings, oldest first; version 1 recorded the first only, without its variables."""
    recorded: list[dict[str, Any]] = document.get("sittings") or []
    return recorded or [
        {
            "began": document.get("created"),
            "slidesparse_bench": document.get("slidesparse_bench"),
            "command": document.get("command"),
            "versions": document.get("versions") or {},
            "git": document.get("git"),
            "code": document.get("code"),
            "driver": driver_of(document),
            **{name: document.get(name) for name in OF_SITTING},
            "environment": None,
        }
    ]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed between two sittings and can move a number, in words; [] when nothing did.

    What one of both did not record is not compared: another version of this program may look at
    more distributions and variables. The code is: who records it is not who did not.
    """
    old, new = _facts(before), _facts(now)
    if old.get("code") and old.get("code") == new.get("code"):
        old.pop("commit", None)  # of something else in the checkout
    if "code" in {*old, *new}:
        old, new = {"code": _UNRECORDED, **old}, {"code": _UNRECORDED, **new}
    told = [_change(name, old[name], new[name]) for name in old if name in new]
    same_lists = before.get("environment") is not None and old.get("slidesparse-bench") == new.get(
        "slidesparse-bench"
    )
    told += _changes(before.get("versions") or {}, now.get("versions") or {}, may_appear=same_lists)
    if same_lists:
        variables = [_of_speed(each.get("environment") or {}) for each in (before, now)]
        told += _changes(*variables, absent="unset")
    return [text for text in told if text]


def _of_speed(variables: Mapping[str, str]) -> dict[str, str]:
    """Without those that choose devices: which ones there are is compared by itself."""
    return {name: value for name, value in variables.items() if name not in _VISIBLE}


def driver_of(facts: Mapping[str, Any]) -> str | None:
    """Version of the NVIDIA driver, by the `gpus` of a sitting or a document."""
    drivers = [gpu.get("driver") for gpu in facts.get("gpus") or []]
    return next((str(driver) for driver in drivers if driver), None)


def provenance_of(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the worker of this engine said of itself; empty when that is not on record."""
    try:
        table = document["provenances"]
        return {key: table[key][i] for key, i in document["engines"][name]["provenance"].items()}
    except (AttributeError, IndexError, KeyError, TypeError):  # damaged by hand, or a lost part
        return {}


def _facts(sitting: Mapping[str, Any]) -> dict[str, Any]:
    """One name per fact of the machine and of this program: `GPU 0 power_limit_w`."""
    facts = {
        "slidesparse-bench": sitting.get("slidesparse_bench"),
        "commit": _commit(sitting.get("git")),
        "code": str(sitting.get("code") or "")[:CODE_SHOWN] or None,
        **{name: sitting.get(name) for name in ("python", "platform", "driver")},
    }
    parts = [("cpu", sitting.get("cpu") or {})]
    parts += [(f"GPU {gpu.get('index')}", gpu) for gpu in sitting.get("gpus") or []]
    for part, values in parts:
        known = [name for name in values if name not in _TOLD_OTHERWISE]
        facts |= {f"{part} {name}": values[name] for name in known}
    return {name: value for name, value in facts.items() if value is not None}


def _change(name: str, before: Any, now: Any) -> str:
    return f"{name} {before} -> {now}" if before != now else ""


def _changes(
    before: Mapping[str, str],
    now: Mapping[str, str],
    *,
    absent: str = "not installed",
    may_appear: bool = True,
) -> list[str]:
    names = sorted({*before, *now} if may_appear else before)
    return [_change(name, before.get(name, absent), now.get(name, absent)) for name in names]


def _commit(git: Mapping[str, Any] | None) -> str | None:
    if not git:
        return None
    return str(git.get("commit"))[:12] + (" (modified)" if git.get("modified") else "")
