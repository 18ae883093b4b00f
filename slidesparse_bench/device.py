"""Devices: which there are, how a process is confined to one, and waiting for their memory."""

from __future__ import annotations

import math
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from slidesparse_bench import nvml
from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.errors import HarnessVerdict, NothingToRun, UsageError
from slidesparse_bench.nvml import CudaDevice
from slidesparse_bench.records import GpuProcess, MemorySnapshot
from slidesparse_bench.telemetry import Sample
from slidesparse_bench.units import GIB, MIB, format_duration, format_gib, gib

FAKE_MEMORY_BYTES = 24 * GIB
RETURN_LIMIT_S = 60.0
HOPELESS_LOOKS = 15
"""After so many equal looks (about 20 s) nobody is waited for who cannot be seen. A desktop or
WSL2 keeps its share for ever: waiting out the limit at each of 80 cells would take hours."""
RETURN_TOLERANCE_BYTES = 256 * MIB
"""What a device may keep after an attempt: the driver's own state changes by less than this."""

_CPUINFO = Path("/proc/cpuinfo")
_HIDES_ALL = ("", "-1", "NoDevFiles")

OnWait = Callable[[str], None]
Sleep = Callable[[float], None]


class Device(Protocol):
    """One device, for one attempt at a time. `index` is None for the CPU."""

    @property
    def facts(self) -> DeviceFacts: ...

    @property
    def index(self) -> int | None: ...

    @property
    def label(self) -> str: ...

    @property
    def identity(self) -> str | None:
        """What no other device is called; None where a measurement need not be alone."""

    def snapshot(self, token: str | None) -> MemorySnapshot | None:
        """Memory now, None where nothing is known; `ours` marks processes that carry `token`."""

    def sample(self, token: str | None) -> Sample | None:
        """What it does now, None where nothing is known; cheap enough for ten times a second.

        Never raises. Processes that carry `token` are ours, see `neighbours`.
        """

    def lost(self) -> str:
        """Why no attempt can ever run here again (fallen off the bus, needs a reset), else ""."""

    def environment(self) -> dict[str, str]:
        """What confines a process to this device."""


class _Unwatched:
    """A device that nobody can ask."""

    @property
    def identity(self) -> str | None:
        return None

    def snapshot(self, token: str | None) -> MemorySnapshot | None:  # noqa: ARG002 - see Device
        return None

    def sample(self, token: str | None) -> Sample | None:  # noqa: ARG002 - see Device
        return None

    def lost(self) -> str:
        return ""

    def environment(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class FakeDevice(_Unwatched):
    """What the fake engine pretends to run on."""

    index: int = 0
    memory_bytes: int = FAKE_MEMORY_BYTES

    @property
    def facts(self) -> DeviceFacts:
        return DeviceFacts(DeviceKind.FAKE, "fake GPU", self.memory_bytes)

    @property
    def label(self) -> str:
        return f"fake GPU {self.index}"


@dataclass(frozen=True)
class CpuDevice(_Unwatched):
    """The CPU, with `facts.memory_bytes` as the budget of an engine; `reason` says why no GPU."""

    facts: DeviceFacts
    reason: str
    index: int | None = None
    label: str = "CPU"


def find_devices(engine: str, gpus: list[int] | None, cpu_memory_gib: float) -> list[Device]:
    """The devices to run on, one lane each.

    The fake engine gets fake ones. Any other gets the GPUs of these indices (as `nvidia-smi`
    counts; all MIG instances of a partitioned one), by default the first that
    CUDA_VISIBLE_DEVICES leaves visible, since the cards of one machine may differ; without any
    GPU the CPU, with `cpu_memory_gib` GiB as its budget.

    Raises:
        UsageError: `gpus` or CUDA_VISIBLE_DEVICES names a GPU that is not there; `gpus` names one
            twice.
        NothingToRun: there is an NVIDIA driver that cannot be used. Measuring the CPU instead
            must be asked for, with an empty CUDA_VISIBLE_DEVICES.
    """
    if gpus is not None and len(set(gpus)) != len(gpus):
        raise UsageError(f"{_option(gpus)}: name each GPU once; it runs one attempt at a time")
    if engine == "fake":
        return [FakeDevice(index) for index in gpus or [0]]
    visible, reason = _visible_gpus()
    if gpus:
        return _pick(visible, gpus, reason)
    if visible:
        return [visible[0]]
    return [CpuDevice(DeviceFacts(DeviceKind.CPU, _cpu_model(), int(cpu_memory_gib * GIB)), reason)]


def _pick(visible: list[CudaDevice], gpus: list[int], reason: str) -> list[Device]:
    if missing := sorted(set(gpus) - {gpu.index for gpu in visible}):
        there = f"there is {_list(visible)}" if visible else f"there is none ({reason})"
        raise UsageError(f"{_option(gpus)}: no GPU {', '.join(map(str, missing))}; {there}")
    return [gpu for index in gpus for gpu in visible if gpu.index == index]


def _option(gpus: list[int]) -> str:
    return f"--gpus {','.join(map(str, gpus))}"


def _list(gpus: list[CudaDevice]) -> str:
    return ", ".join(f"{gpu.label} ({gpu.facts.name})" for gpu in gpus)


def _visible_gpus() -> tuple[list[CudaDevice], str]:
    """What CUDA will show to a process of ours, and why that is nothing if it is."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None and allowed.strip() in _HIDES_ALL:
        return [], f"CUDA_VISIBLE_DEVICES='{allowed}' hides every GPU"
    survey = nvml.survey()
    if survey.unusable:
        raise NothingToRun(
            f"there is an NVIDIA driver, but NVML says: {survey.nvml}. Make `nvidia-smi` work (in "
            "a container, NVIDIA_DRIVER_CAPABILITIES needs `utility`), or set "
            "CUDA_VISIBLE_DEVICES= to measure the CPU"
        )
    if allowed is None or not survey.gpus:
        return survey.gpus, survey.nvml
    visible = _allowed(survey.gpus, allowed)
    if not visible:
        raise UsageError(
            f"CUDA_VISIBLE_DEVICES={allowed} names no GPU; there is {_list(survey.gpus)}"
        )
    return visible, ""


def _allowed(gpus: list[CudaDevice], entries: str) -> list[CudaDevice]:
    """As CUDA reads the variable: in order, up to the first entry that names no single device.

    The number of a partitioned GPU means its first MIG instance.
    """
    chosen: list[CudaDevice] = []
    for entry in map(str.strip, entries.split(",")):
        named = [gpu for gpu in gpus if gpu.is_called(entry)]
        if not named or (len(named) > 1 and not entry.isdecimal()) or named[0] in chosen:
            break
        chosen.append(named[0])
    return chosen


def _cpu_model() -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine_facts() -> dict[str, Any]:
    """`gpus`, `cpu`, `platform`, `python`, and `nvml` (`ok` or the reason), for environment.json.

    Never raises, and holds nothing that names the owner: no host, no user, no path.
    """
    try:
        survey = nvml.survey()
    except Exception as error:  # noqa: BLE001 - a broken driver must not stop `doctor`
        survey = nvml.Survey([], f"{type(error).__name__}: {error}")
    return {
        "gpus": [_gpu_facts(gpu, survey) for gpu in survey.gpus],
        "cpu": {
            "model": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(gib(psutil.virtual_memory().total), 2),
        },
        "platform": platform.platform(),
        "python": platform.python_version(),
        "nvml": survey.nvml,
    }


def _gpu_facts(gpu: CudaDevice, survey: nvml.Survey) -> dict[str, Any]:
    capability = gpu.facts.compute_capability
    return {
        "name": gpu.facts.name,
        "uuid": gpu.uuid,
        "driver": survey.driver,
        "cuda_driver": survey.cuda_driver,
        "memory_gib": round(gib(gpu.facts.memory_bytes), 2),
        "compute_capability": None if capability is None else ".".join(map(str, capability)),
        "index": gpu.index,
        **gpu.clock_facts(),
    }


def wait_for_memory(
    device: Device,
    needed_bytes: float,
    limit_s: float,
    *,
    token: str | None,
    stop: threading.Event,
    on_wait: OnWait,
    sleep: Sleep | None = None,
) -> MemorySnapshot | None:
    """Wait until `needed_bytes` are free; the last snapshot (None where nothing is known).

    `on_wait` gets the reason before each pause. A set `stop` returns at once, whatever is free. A
    wait for nobody in sight ends early, see `HOPELESS_LOOKS`.

    Raises:
        HarnessVerdict: `gpu_memory_busy` after `limit_s` seconds, or `gpu_lost`.
    """
    looks: list[MemorySnapshot | None] = []
    began = time.monotonic()

    def enough(now: MemorySnapshot | None) -> bool:
        looks.append(now)
        return now is None or now.free_bytes >= needed_bytes or _nobody_will_leave(looks)

    def reason(now: MemorySnapshot | None) -> str:
        return f"{format_gib(needed_bytes)} on {device.label}: {_who_holds(now)}"

    now = _wait(
        lambda: device.snapshot(token),
        until=enough,
        limit_s=limit_s,
        stop=stop,
        on_wait=lambda now: on_wait(f"waiting for {reason(now)}"),
        sleep=sleep,
    )
    if now is None and (loss := device.lost()):
        raise HarnessVerdict("gpu_lost", f"{device.label} ({device.facts.name}): {loss}")
    if now is not None and now.free_bytes < needed_bytes and not stop.is_set():
        waited = format_duration(time.monotonic() - began)
        raise HarnessVerdict("gpu_memory_busy", f"waited {waited} for {reason(now)}")
    return now


def _nobody_will_leave(looks: list[MemorySnapshot | None]) -> bool:
    """Whether the last looks all saw the same free memory, and no process that could give some."""
    recent = [now for now in looks[-HOPELESS_LOOKS:] if now is not None]
    return (
        len(recent) == HOPELESS_LOOKS
        and len({now.free_bytes for now in recent}) == 1
        and not any(now.processes for now in recent)
    )


def wait_until_returned(
    device: Device,
    before: MemorySnapshot | None,
    limit_s: float = RETURN_LIMIT_S,
    *,
    token: str | None,
    on_wait: OnWait,
    stop: threading.Event | None = None,
    sleep: Sleep | None = None,
    tolerance_bytes: int = RETURN_TOLERANCE_BYTES,
) -> MemorySnapshot | None:
    """After an attempt, wait until what was free `before` it is free again; the last snapshot.

    What other processes took in the meantime is not waited for. Past `limit_s` seconds nothing is
    raised: the gate before the next attempt decides.
    """

    def returned(now: MemorySnapshot | None) -> bool:
        return before is None or now is None or _missing_bytes(before, now) <= tolerance_bytes

    return _wait(
        lambda: device.snapshot(token),
        until=returned,
        limit_s=limit_s,
        stop=stop or threading.Event(),
        on_wait=lambda now: on_wait(f"waiting for memory of {device.label}: {_who_holds(now)}"),
        sleep=sleep,
    )


def _wait(
    look: Callable[[], MemorySnapshot | None],
    *,
    until: Callable[[MemorySnapshot | None], bool],
    limit_s: float,
    stop: threading.Event,
    on_wait: Callable[[MemorySnapshot | None], None],
    sleep: Sleep | None,
) -> MemorySnapshot | None:
    """Look again and again, at the latest every 2 s; what was seen last."""
    import tenacity

    def seen(state: tenacity.RetryCallState) -> MemorySnapshot | None:
        assert state.outcome is not None
        snapshot: MemorySnapshot | None = state.outcome.result()
        return snapshot

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda snapshot: not until(snapshot)),
        stop=tenacity.stop_after_delay(limit_s) | tenacity.stop_when_event_set(stop),
        wait=tenacity.wait_exponential(multiplier=0.1, max=2.0),
        sleep=sleep or tenacity.sleep_using_event(stop),
        before_sleep=lambda state: on_wait(seen(state)),
        retry_error_callback=seen,
    )
    return retrying(look)


def _missing_bytes(before: MemorySnapshot, now: MemorySnapshot) -> float:
    """What was free before and is gone, less what others are seen to have taken."""
    if any(process.ours for process in now.processes):
        return math.inf
    taken = _held_by_others(now) - _held_by_others(before)
    return before.free_bytes - now.free_bytes - max(0, taken)


def _held_by_others(snapshot: MemorySnapshot) -> int:
    return sum(process.used_bytes or 0 for process in snapshot.processes if not process.ours)


def _who_holds(now: MemorySnapshot | None) -> str:
    """`8.10 GiB free of 23.50 GiB; python3 (pid 123) holds 15.10 GiB`."""
    if now is None:
        return "nothing is known of its memory"
    largest_first = sorted(now.processes, key=lambda process: -(process.used_bytes or 0))
    who = ", ".join(map(holds, largest_first)) or "no process that holds memory can be seen"
    return f"{format_gib(now.free_bytes)} free of {format_gib(now.total_bytes)}; {who}"


def holds(process: GpuProcess) -> str:
    """`python3 (pid 123) holds 15.10 GiB`."""
    ours = ", ours" if process.ours else ""
    held = "an unknown amount" if process.used_bytes is None else format_gib(process.used_bytes)
    return f"{process.name} (pid {process.pid}{ours}) holds {held}"
