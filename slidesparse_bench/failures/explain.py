"""What follows from the numbers of a failure: who holds the memory, what would do, which limit.

Each explanation is one or two sentences, or "" when a number that it needs is not known. Facts
come from the log, and for an attempt from what the campaign knows of it (`KNOWN`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from slidesparse_bench.failures.facts import capability_of
from slidesparse_bench.feasibility import INT32_MAX
from slidesparse_bench.units import GIB, format_gib

KNOWN = ("m", "intermediate_size", "gpu_memory_utilization", "total_gib", "capability")
"""What a caller may know beyond the log.

`m` is the number of tokens of a step, `intermediate_size` that of one GPU's share of the model,
`total_gib` the device's memory, `capability` its compute capability (`9.0`).
"""

HIGHEST_UTILIZATION = 0.98
"""Above it CUDA's own share of the memory is missing."""

Facts = dict[str, Any]

_BUILDS = {
    (8, 0): ("1.7", "11.0", None),
    (8, 6): ("1.8", "11.1", None),
    (8, 9): ("2.0", "11.8", None),
    (9, 0): ("2.0", "11.8", None),
    (10, 0): ("2.7", "12.8", "0.9"),
    (10, 3): ("2.9", "13.0", None),
    (12, 0): ("2.7", "12.8", "0.9"),
    (12, 1): ("2.9", "13.0", None),
}
"""By compute capability, the first PyTorch and CUDA whose published builds run on it, and the first
vLLM that is built with them where that is later than any in use.

Release notes of PyTorch 2.7 (Blackwell, CUDA 12.8), of vLLM 0.9 and of the CUDA toolkits.
"""
_LAST_BUILD_FOR_OLD = ("12.6", (7, 5))
"""CUDA 12.6 builds of PyTorch still have code for GPUs older than Turing; CUDA 13 cannot."""


def explanation(failure_class: str, facts: Facts) -> str:
    """The sentence for a class, from facts and what the caller knows, merged."""
    rule = _RULES.get(failure_class)
    return rule(facts) if rule else ""


def kv_remedies(facts: Facts) -> Facts:
    """`enough_max_model_len` and `enough_utilization`, as far as they can be told."""
    needed, available = facts.get("needed_gib"), facts.get("available_gib")
    remedies: Facts = {}
    length = facts.get("estimated_max_model_len") or facts.get("available_tokens")
    asked = facts.get("max_model_len")
    if length is None and asked and needed and available and available > 0:
        length = math.floor(asked * available / needed)
    if length:
        remedies["enough_max_model_len"] = length
    now, total = facts.get("gpu_memory_utilization"), facts.get("total_gib")
    if now and total and needed is not None and available is not None:
        wanted = now + (needed - available) / total
        remedies["enough_utilization"] = math.ceil(round(wanted * 100, 4)) / 100
    return remedies


def _kv_cache(facts: Facts) -> str:
    remedies = kv_remedies(facts)
    ways = []
    if length := remedies.get("enough_max_model_len"):
        ways.append(f"max_model_len up to {length}")
    enough = remedies.get("enough_utilization")
    if enough is not None and enough <= HIGHEST_UTILIZATION:
        ways.append(f"gpu_memory_utilization {enough:.2f}")
    text = f"{' or '.join(ways)} would do." if ways else ""
    if enough is not None and enough > HIGHEST_UTILIZATION:
        text += f" No gpu_memory_utilization would: it would take {enough:.2f} of this memory."
    return text.strip()


def _out_of_memory(facts: Facts) -> str:
    parts = []
    enough = _enough_in_all(facts)
    if held := _size(facts, "in_use_gib"):
        inside = (
            (_size(facts, "allocated_gib"), "in tensors"),
            (_size(facts, "reserved_unused_gib"), "reserved by PyTorch and unused"),
        )
        listed = ", ".join(f"{size} {what}" for size, what in inside if size)
        parts.append(f"This process held {held}" + (f" ({listed})" if listed else ""))
    if others := facts.get("others"):
        parts.append(f"other processes held {others}")
    return f"{enough} {'; '.join(parts)}.".strip() if parts else enough


def _enough_in_all(facts: Facts) -> str:
    """In place of the hint on what was short, where as much was free as was asked for."""
    asked, free, total = (_size(facts, f"{name}_gib") for name in ("asked", "free", "total"))
    if not (asked and free and total) or facts["asked_gib"] > facts["free_gib"]:
        return ""
    return (
        f"{asked} were asked for, {free} of {total} were free: enough in all, but not in one piece "
        "or not for this process."
    )


def _index_limit(facts: Facts) -> str:
    m, width = facts.get("m"), facts.get("intermediate_size")
    if not m or not width:
        return ""
    elements = m * 2 * width
    product = f"M x 2 x intermediate_size = {m:,} x 2 x {width:,} = {elements:,}"
    if elements > INT32_MAX:
        return (
            f"Likely a 32-bit index: {product} elements of the gate_up output, more than "
            f"2^31 - 1 = {INT32_MAX:,}; M up to {INT32_MAX // (2 * width):,} stays below it."
        )
    return f"The gate_up output stays below 2^31 elements ({product})."


def _architecture(facts: Facts) -> str:
    capability = capability_of(facts.get("capability"), facts.get("sm"))
    if capability is None:
        return ""
    text = f"The GPU has compute capability {capability[0]}.{capability[1]}."
    built = str(facts.get("built_for", "")).split()
    if built:
        text += f" This PyTorch has code for {', '.join(built)}."
    if needed := capability_of(facts.get("needed_capability")):
        return f"{text} {needed[0]}.{needed[1]} is needed, and no other build changes that."
    return f"{text} {_build_for(capability)}".strip()


def _build_for(capability: tuple[int, int]) -> str:
    if capability in _BUILDS:
        torch, cuda, vllm = _BUILDS[capability]
        with_vllm = f" (vLLM {vllm} or newer)" if vllm else ""
        return f"PyTorch {torch} or newer for CUDA {cuda} or newer supports it{with_vllm}."
    cuda, turing = _LAST_BUILD_FOR_OLD
    return f"PyTorch built for CUDA {cuda} still supports it." if capability < turing else ""


def _size(facts: Facts, name: str) -> str:
    value = facts.get(name)
    return format_gib(value * GIB) if value is not None else ""


_RULES: dict[str, Callable[[Facts], str]] = {
    "kv_cache_insufficient": _kv_cache,
    "oom_device": _out_of_memory,
    "oom_weights": _out_of_memory,
    "illegal_memory_access": _index_limit,
    "int32_index_overflow": _index_limit,
    "unsupported_arch": _architecture,
}
