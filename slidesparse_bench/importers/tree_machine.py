"""What a SlideSparse tree says of the machine it was measured on, and what it does not say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.errors import UsageError
from slidesparse_bench.importers.tree_calls import Call
from slidesparse_bench.importers.tree_names import OUTER_LOGS_FOLDER
from slidesparse_bench.known_devices import find_device
from slidesparse_bench.units import GIB

_LOOKED_AT_BYTES = 1 << 20
_BOX_FACTS = {
    "driver": re.compile(r"│ Driver:\s+(\d[\w.]*)"),
    "cuda_driver": re.compile(r"│ CUDA Driver:\s+(\d[\w.]*)"),
    "torch": re.compile(r"│ PyTorch:\s+(\d[\w.+]*)"),
}
"""Of the box that their script prints at its start; only the outer logs have it."""


def device_of(gpu: str, capability: int, calls: Iterable[Call]) -> DeviceFacts:
    """The device by the name of the result folders (`RTX4090`); memory from the catalog of known
    devices, else as the run logs state it, else 0: not known.
    """
    spaced = re.sub(r"(?<=[A-Za-z])(?=\d)", " ", gpu)
    for name in (gpu, spaced):
        try:
            known = find_device(name)
        except UsageError:
            continue
        if known.sm == capability:
            return known
    stated = next((call.machine["VRAM"] for call in calls if "VRAM" in call.machine), "")
    amount = re.match(r"([\d.]+) GB", stated)
    memory_bytes = int(float(amount[1]) * GIB) if amount else 0
    return DeviceFacts(DeviceKind.CUDA, gpu, memory_bytes, divmod(capability, 10))


def machine_facts(root: Path, gpu: str, calls: Iterable[Call]) -> dict[str, Any]:
    """Software versions as the logs state them; None where none does."""
    machine = next((call.machine for call in calls if call.machine), {})
    box = _box_facts(root / OUTER_LOGS_FOLDER / gpu)
    return {
        "cuda": machine.get("CUDA"),
        "python": _python(machine.get("Python", "")),
        "driver": box.get("driver"),
        "cuda_driver": box.get("cuda_driver"),
        "torch": box.get("torch"),
    }


def _box_facts(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.log")):
        with path.open("rb") as stream:
            text = stream.read(_LOOKED_AT_BYTES).decode("utf-8", "replace")
        matches = {name: pattern.search(text) for name, pattern in _BOX_FACTS.items()}
        found = {name: match[1] for name, match in matches.items() if match} | found
        if len(found) == len(_BOX_FACTS):
            break
    return found


def _python(tag: str) -> str | None:
    """`py312` is Python 3.12."""
    match = re.fullmatch(r"py(\d)(\d+)", tag)
    return f"{match[1]}.{match[2]}" if match else None


def unknown_facts() -> dict[str, str]:
    """What no file of such a tree says, with what follows from it."""
    return {
        "time zone": "the logs give local times without a zone",
        "CPU, host memory, operating system": "no file names them",
        "GPU serial, clocks, power limit": "no file names them",
        "commit of the benchmark scripts": "no file names it",
        "M of the engine steps": "vllm bench throughput does not record steps",
        "kernel that ran": "vllm bench throughput does not record it",
        "step times and their interval": "vllm bench throughput times the whole batch, once",
        "output_tokens_per_second in decode": "theirs includes the prefill step; ours counts pure "
        "decode steps, which nobody timed",
        "power, clocks, temperature": "not recorded",
        "duration of attempts without a printed one": "from the first to the last time in their "
        "output, so at least that long",
    }
