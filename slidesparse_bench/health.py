"""What this machine can measure with, and what stands in the way: one finding after the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from slidesparse_bench.backends import DeviceKind
from slidesparse_bench.device import Device, holds
from slidesparse_bench.errors import FormatError, NewerFormat
from slidesparse_bench.peaks import measured_peaks, peaks_for
from slidesparse_bench.roofline import Peaks
from slidesparse_bench.units import GIB, MIB, format_gib

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the mount itself is looked at, nothing is written
LOW_SHARED_MEMORY_BYTES = GIB
"""Containers start with 64 MiB; NCCL and multiprocessing pass tensors through it."""
LOW_MEMORY_BYTES = 4 * GIB
"""vLLM alone holds 2 to 3 GiB of host memory before the first weight."""
LOW_DISK_BYTES = 2 * GIB
NO_DISK_BYTES = 50 * MIB
"""A run folder is a few MiB, compile caches are hundreds."""


class State(StrEnum):
    """`problem`: no run can start. `note`: one can, but something is worth knowing."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One finding; `advice` is what to do about it, "" when there is nothing to do."""

    name: str
    state: State
    found: str
    advice: str = ""


def machine_checks(
    devices: Sequence[Device], facts: dict[str, Any], folders: dict[str, Path]
) -> list[Check]:
    """Devices, driver, host memory, disk and peak rates.

    `facts` are those of `device.machine_facts`, `folders` (by name) those that are written to.
    """
    return [
        *(check for device in devices for check in _device(device, facts)),
        _driver(devices, facts),
        *(check for device in one_of_each(devices) for check in _peak_rates(device, facts)),
        _host_memory(),
        _shared_memory(),
        *(_disk(name, folder) for name, folder in folders.items()),
    ]


def _device(device: Device, facts: dict[str, Any]) -> Iterator[Check]:
    if device.facts.kind is not DeviceKind.CUDA:
        cores = facts["cpu"]["cores"]
        reason = getattr(device, "reason", "")
        yield Check(device.label, State.OK, f"{device.facts.name}, {cores} cores; no GPU: {reason}")
        return
    known = _gpu_facts(device, facts)
    capability = known.get("compute_capability")
    yield Check(
        device.label,
        State.OK,
        f"{device.facts.name}, {format_gib(device.facts.memory_bytes)}, "
        f"compute capability {capability or 'unknown'}",
    )
    yield _device_memory(device)
    if settings := _settings(known):
        yield _device_settings(device, known, settings)


def _gpu_facts(device: Device, facts: dict[str, Any]) -> dict[str, Any]:
    uuid = getattr(device, "uuid", None)
    return next((gpu for gpu in facts["gpus"] if gpu["uuid"] == uuid), {})


def _device_memory(device: Device) -> Check:
    name, now = f"{device.label} memory", device.snapshot(None)
    if now is None:
        return Check(
            name, State.NOTE, device.lost() or "NVML does not tell", "see `nvidia-smi -q -d MEMORY`"
        )
    found = f"{format_gib(now.free_bytes)} free of {format_gib(now.total_bytes)}"
    if not now.processes:
        return Check(name, State.OK, found)
    who = ", ".join(map(holds, now.processes))
    advice = "a cell waits for what others hold, and the report says so; an idle device is best"
    return Check(name, State.NOTE, f"{found}; {who}", advice)


SETTINGS = {
    "power_limit_w": "power limit {} W",
    "max_sm_clock_mhz": "SM clock up to {} MHz",
    "application_sm_clock_mhz": "application clock {} MHz",
    "persistence_mode": "persistence mode {}",
    "ecc": "ECC {}",
    "pcie": "PCIe {}",
}
"""Facts of a GPU that move a number, as far as the driver tells them, and how they read."""


def _settings(known: dict[str, Any]) -> str:
    told = [(text, known.get(name)) for name, text in SETTINGS.items()]
    return ", ".join(text.format(_words(value)) for text, value in told if value is not None)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return " ".join(f"{key} {item}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _device_settings(device: Device, known: dict[str, Any], settings: str) -> Check:
    name = f"{device.label} settings"
    if known.get("persistence_mode") is False:
        advice = "`sudo nvidia-smi -pm 1` spares every cell the driver's start-up"
        return Check(name, State.NOTE, settings, advice)
    return Check(name, State.OK, settings)


def _driver(devices: Sequence[Device], facts: dict[str, Any]) -> Check:
    gpus = facts["gpus"]
    if not gpus:
        return Check("driver", State.OK, f"no NVIDIA GPU: {facts['nvml']}")
    found = f"driver {gpus[0]['driver']}, CUDA {gpus[0]['cuda_driver']}, NVML {facts['nvml']}"
    if facts["nvml"] != "ok":
        return Check("driver", State.NOTE, found, "GPUs that NVML cannot read are left out")
    hidden = len(gpus) - sum(device.facts.kind is DeviceKind.CUDA for device in devices)
    more = f"; {hidden} more GPU{'s' if hidden > 1 else ''} here, see --gpus" if hidden > 0 else ""
    return Check("driver", State.OK, found + more)


def one_of_each(devices: Sequence[Device]) -> list[Device]:
    """The first device of each name: rates belong to a kind of device."""
    return list({device.facts.name: device for device in reversed(devices)}.values())


def _peak_rates(device: Device, facts: dict[str, Any]) -> Iterator[Check]:
    name, measure = f"{device.label} peak rates", "`slidesparse doctor --measure`"
    try:
        measured = measured_peaks(device.facts)
    except (FormatError, NewerFormat) as error:
        measured = None
        yield Check("measured peak rates", State.NOTE, str(error), f"{measure} writes a new file")
    peaks = peaks_for(device.facts)
    driver = _gpu_facts(device, facts).get("driver")
    if peaks is None:
        advice = f"{measure} measures them; without them there is no roofline_fraction"
        yield Check(name, State.NOTE, "none are known of this device", advice)
    elif measured and measured.driver != driver:
        found = f"{peaks_text(peaks)}, with driver {measured.driver}, now {driver}"
        yield Check(name, State.NOTE, found, f"{measure} measures them again")
    else:
        advice = "" if measured else f"{measure} measures what this very device sustains"
        yield Check(name, State.OK, peaks_text(peaks), advice)


def peaks_text(peaks: Peaks) -> str:
    """`INT8 1979, FP8 1979, BF16 990 TFLOP/s, memory 4.80 TB/s (source)`."""
    rates = {"INT8": peaks.int8_tops, "FP8": peaks.fp8_tflops, "BF16": peaks.bf16_tflops}
    told = ", ".join(f"{name} {rate:.4g}" for name, rate in rates.items() if rate is not None)
    return f"{told} TFLOP/s, memory {peaks.memory_tb_per_second:.3g} TB/s ({peaks.source})"


def _host_memory() -> Check:
    memory = psutil.virtual_memory()
    found = f"{format_gib(memory.available)} available of {format_gib(memory.total)}"
    if memory.available < LOW_MEMORY_BYTES:
        return Check("host memory", State.NOTE, found, "an engine may be ended for lack of memory")
    return Check("host memory", State.OK, found)


def _shared_memory() -> Check:
    name = str(SHARED_MEMORY)
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError as error:
        advice = "tensor parallel cells need it"
        return Check(name, State.NOTE, error.strerror or str(error), advice)
    found = f"{format_gib(usage.free)} free of {format_gib(usage.total)}"
    if usage.total < LOW_SHARED_MEMORY_BYTES:
        advice = "too little for tensor parallel cells; a container takes --shm-size or --ipc=host"
        return Check(name, State.NOTE, found, advice)
    return Check(name, State.OK, found)


def _disk(name: str, folder: Path) -> Check:
    """Free space where the folder is, or will be made."""
    absolute = folder.absolute()
    there = next(place for place in (absolute, *absolute.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(name, State.PROBLEM, f"{folder} cannot be written to", "choose another folder")
    free = shutil.disk_usage(there).free
    found = f"{format_gib(free)} free in {folder}"
    if free < NO_DISK_BYTES:
        return Check(name, State.PROBLEM, found, "make room, or choose another folder")
    if free < LOW_DISK_BYTES:
        return Check(name, State.NOTE, found, "compile caches and long logs may fill it")
    return Check(name, State.OK, found)
