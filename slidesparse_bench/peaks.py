"""Which peak rates a device is judged by: its own measured ones, else the vendor's.

Measured rates stand in `peaks.json` of the cache folder, one entry per device name; `slidesparse
doctor --measure` writes them.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from slidesparse_bench import wire
from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cache import cache_folder
from slidesparse_bench.errors import FormatError, NewerFormat
from slidesparse_bench.known_devices import published_peaks
from slidesparse_bench.roofline import Peaks
from slidesparse_bench.wire import PeakRates

INT8, FP8, BF16, MEMORY = "int8_tops", "fp8_tflops", "bf16_tflops", "memory_tb_per_second"
"""Names of `PeakRates.rates`."""


@dataclass(frozen=True)
class Measured:
    """One entry of the file: the rates, the day (ISO 8601), and the driver they were seen with."""

    date: str
    driver: str | None
    rates: PeakRates


@dataclass(frozen=True)
class _Book:
    """All of `peaks.json`."""

    devices: dict[str, Measured]
    schema_version: int = wire.SCHEMA_VERSION


def peaks_for(device: DeviceFacts) -> Peaks | None:
    """The measured peak rates of this device, else the published ones, else None.

    A file that cannot be read counts as none: it must not stop a run.
    """
    measured = None
    with contextlib.suppress(FormatError, NewerFormat):
        measured = measured_peaks(device)
    return _peaks(measured) if measured else published_peaks(device.name)


def measured_peaks(device: DeviceFacts) -> Measured | None:
    """What was measured on a device of this name; None when nothing was.

    Raises:
        FormatError: the file is damaged; measuring again replaces it.
        NewerFormat: the file is of a newer version.
    """
    return _read().devices.get(_key(device))


def remember(device: DeviceFacts, measured: Measured) -> Path:
    """Keep the rates of this device for later runs; the file they are in.

    Raises:
        NewerFormat: the file is of a newer version, and stays as it is.
    """
    devices: dict[str, Measured] = {}
    with contextlib.suppress(FormatError):
        devices = _read().devices
    path = peaks_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    wire.write_json(path, _Book({**devices, _key(device): measured}))
    return path


def peaks_file() -> Path:
    return cache_folder() / "peaks.json"


def _read() -> _Book:
    path = peaks_file()
    if not path.exists():
        return _Book({})
    return wire.decode(_Book, wire.read_json(path))


def _key(device: DeviceFacts) -> str:
    """The device's name. Of a CPU the cores count as well: a container may have few of them."""
    if device.kind is DeviceKind.CPU:
        return f"{device.name}, {len(os.sched_getaffinity(0))} cores"
    return device.name


def _peaks(measured: Measured) -> Peaks | None:
    rates = {name: rate.value for name, rate in measured.rates.rates.items()}
    if MEMORY not in rates:
        return None
    return Peaks(
        int8_tops=rates.get(INT8),
        fp8_tflops=rates.get(FP8),
        bf16_tflops=rates.get(BF16),
        memory_tb_per_second=rates[MEMORY],
        source=f"measured by slidesparse doctor --measure on {measured.date}",
    )
