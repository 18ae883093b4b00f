"""NVIDIA GPUs as NVML tells of them: facts, memory, and the processes that hold it.

The only file that imports `pynvml` (distribution `nvidia-ml-py`), and only when it is asked.
Every answer may be missing: drivers, containers, WSL2, MIG and integrated GPUs each refuse
something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from slidesparse_bench import processes
from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.neighbours import Neighbours
from slidesparse_bench.records import GpuProcess, MemorySnapshot
from slidesparse_bench.telemetry import Sample

DRIVER_NODE = Path("/dev/nvidiactl")
"""Exists wherever the NVIDIA driver is loaded, also in containers that lack NVML."""

GPU_IDLE = 0x1
THROTTLE_REASONS = {
    0x2: "application_clocks",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of `nvmlClocksEventReason*` of nvml.h, formerly `nvmlClocksThrottleReason*`."""


@dataclass(frozen=True)
class CudaDevice:
    """A GPU by NVML's index, or one MIG instance (`mig` is its number) of that GPU.

    `_gpu` is the handle of the whole GPU, `_handle` that of the device.
    """

    facts: DeviceFacts
    index: int
    uuid: str
    mig: int | None = None
    _nvml: Any = field(default=None, repr=False, compare=False)
    _handle: Any = field(default=None, repr=False, compare=False)
    _gpu: Any = field(default=None, repr=False, compare=False)
    _watched: dict[str | None, Neighbours] = field(default_factory=dict, repr=False, compare=False)

    @property
    def label(self) -> str:
        return f"GPU {self.index}" if self.mig is None else f"GPU {self.index} MIG {self.mig}"

    @property
    def identity(self) -> str | None:
        return self.uuid or None

    def snapshot(self, token: str | None) -> MemorySnapshot | None:
        """See `device.Device`. A process that NVML hides is missing from the list."""
        try:
            total_bytes, free_bytes = _memory(self._nvml, self._handle)
        except self._nvml.NVMLError:
            return None
        held = _held_bytes(self._nvml, self._handle)
        return MemorySnapshot(
            total_bytes=total_bytes,
            free_bytes=free_bytes,
            processes=[_gpu_process(pid, held[pid], token) for pid in sorted(held)],
        )

    def sample(self, token: str | None) -> Sample | None:
        """See `device.Device`.

        A MIG instance shares clock, temperature and throttling with its GPU. Power and energy of
        the whole are not its own, and the driver tells no others.
        """
        nvml, whole = self._nvml, self._gpu
        now = time.time()
        sample = Sample(
            time=now,  # right before the counter, which is interpolated over it
            energy_j=_scaled(_ask(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, self._handle)),
            power_w=_power_w(nvml, self._handle),
            sm_clock_mhz=_ask(nvml, nvml.nvmlDeviceGetClockInfo, whole, nvml.NVML_CLOCK_SM),
            temperature_c=_temperature_c(nvml, whole),
            memory_used_bytes=_used_bytes(nvml, self._handle),
            throttled=_throttled(nvml, whole),
            foreign=self._neighbours(token).look(),
        )
        return None if replace(sample, foreign=None) == Sample(now) else sample

    def _neighbours(self, token: str | None) -> Neighbours:
        """They are told apart from the processes of one attempt at a time."""
        if token not in self._watched:
            self._watched.clear()
            self._watched[token] = Neighbours(self._nvml, self._handle, token)
        return self._watched[token]

    def clock_facts(self) -> dict[str, Any]:
        """What decides how fast the GPU may run: for environment.json, None where refused.

        Clocks locked by `nvidia-smi --lock-gpu-clocks` cannot be asked for; they show in the
        samples.
        """
        nvml, whole = self._nvml, self._gpu
        ecc = _ask(nvml, nvml.nvmlDeviceGetEccMode, whole)  # now, and after the next reboot
        mig = _ask(nvml, nvml.nvmlDeviceGetMigMode, whole)
        persistence = _ask(nvml, nvml.nvmlDeviceGetPersistenceMode, whole)
        return {
            "power_limit_w": _scaled(_ask(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, whole)),
            "max_sm_clock_mhz": _ask(
                nvml, nvml.nvmlDeviceGetMaxClockInfo, whole, nvml.NVML_CLOCK_SM
            ),
            "application_sm_clock_mhz": _application_clock_mhz(nvml, whole),
            "persistence_mode": None if persistence is None else bool(persistence),
            "ecc": None if ecc is None else bool(ecc[0]),
            "mig": None if mig is None else bool(mig[0]),
            "pcie": _pcie(nvml, whole),
        }

    def lost(self) -> str:
        """See `device.Device`."""
        try:
            _memory(self._nvml, self._handle)
        except (self._nvml.NVMLError_GpuIsLost, self._nvml.NVMLError_ResetRequired) as error:
            return str(error)
        except self._nvml.NVMLError:
            pass
        return ""

    def environment(self) -> dict[str, str]:
        """See `device.Device`. In PCI order CUDA counts as NVML does; its own order may differ."""
        # By number: vLLM 0.25 still fails on a UUID (vllm #41848). A MIG instance has no number.
        name = str(self.index) if self.mig is None else self.uuid
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": name}

    def is_called(self, entry: str) -> bool:
        """Whether an entry of CUDA_VISIBLE_DEVICES means it: its number, or how its UUID begins."""
        if entry.startswith(("GPU-", "MIG-")):
            return self.uuid.startswith(entry)
        return entry == str(self.index)


@dataclass(frozen=True)
class Survey:
    """The GPUs that could be read. `nvml` is `ok`, or why some or all could not.

    `unusable`: there is a driver, and nothing can be done with it.
    """

    gpus: list[CudaDevice]
    nvml: str
    driver: str | None = None
    cuda_driver: str | None = None
    unusable: bool = False


def survey() -> Survey:
    """Ask NVML for everything there is, whatever CUDA_VISIBLE_DEVICES says."""
    try:
        import pynvml as nvml
    except ImportError:
        reason = "the Python package nvidia-ml-py is not installed"
        return Survey([], reason, unusable=DRIVER_NODE.exists())
    try:
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded) as error:
        return Survey([], str(error), unusable=DRIVER_NODE.exists())
    except nvml.NVMLError as error:
        return Survey([], str(error), unusable=True)
    gpus, problems = _read_gpus(nvml, count)
    return Survey(
        gpus=gpus,
        nvml="; ".join(problems) or ("ok" if gpus else "there is no GPU"),
        driver=_ask(nvml, nvml.nvmlSystemGetDriverVersion),
        cuda_driver=_cuda_version(_ask(nvml, nvml.nvmlSystemGetCudaDriverVersion)),
        unusable=bool(problems) and not gpus,
    )


def _read_gpus(nvml: Any, count: int) -> tuple[list[CudaDevice], list[str]]:
    """All that can be read, and a sentence for each that cannot."""
    gpus: list[CudaDevice] = []
    problems = []
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            instances = _mig_instances(nvml, handle)
            if instances is None:
                gpus.append(_read_gpu(nvml, handle, index))
            else:
                gpus += [_read_gpu(nvml, mig, index, n, handle) for n, mig in instances]
        except nvml.NVMLError as error:
            problems.append(f"GPU {index}: {error}")
    return gpus, problems


def _read_gpu(
    nvml: Any, handle: Any, index: int, mig: int | None = None, parent: Any = None
) -> CudaDevice:
    total_bytes, _ = _memory(nvml, handle)
    whole = handle if parent is None else parent
    facts = DeviceFacts(
        kind=DeviceKind.CUDA,
        name=_ask(nvml, nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU",
        memory_bytes=total_bytes,
        compute_capability=_ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, whole),
    )
    uuid = _ask(nvml, nvml.nvmlDeviceGetUUID, handle) or ""
    return CudaDevice(facts, index, uuid, mig, nvml, handle, whole)


def _mig_instances(nvml: Any, handle: Any) -> list[tuple[int, Any]] | None:
    """Number and handle of each MIG instance; None when the GPU is not partitioned."""
    mode = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if not mode or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    places = range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    asked = [(n, _ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, n)) for n in places]
    return [(n, instance) for n, instance in asked if instance is not None]


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    """Total and free bytes as CUDA counts them: what the driver reserves is nobody's to use."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        return memory.total - memory.reserved, memory.free
    except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_ArgumentVersionMismatch):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return memory.total, memory.free
    except nvml.NVMLError_NotSupported:  # GB10 and Jetson have no memory but the host's
        host = psutil.virtual_memory()
        return host.total, host.available


def _used_bytes(nvml: Any, handle: Any) -> int | None:
    try:
        total_bytes, free_bytes = _memory(nvml, handle)
    except nvml.NVMLError:
        return None
    return total_bytes - free_bytes


def _power_w(nvml: Any, handle: Any) -> float | None:
    # From Ampere on (GA100 excepted) nvmlDeviceGetPowerUsage is the mean of the last second, which
    # mixes a round with the pause before it (NVML API reference). The field is not averaged.
    fields = _ask(nvml, nvml.nvmlDeviceGetFieldValues, handle, [nvml.NVML_FI_DEV_POWER_INSTANT])
    if fields and fields[0].nvmlReturn == nvml.NVML_SUCCESS:
        return _scaled(fields[0].value.uiVal)
    return _scaled(_ask(nvml, nvml.nvmlDeviceGetPowerUsage, handle))


def _scaled(thousandths: int | None) -> float | None:
    """NVML's mW and mJ as W and J."""
    return None if thousandths is None else thousandths / 1000


def _temperature_c(nvml: Any, handle: Any) -> int | None:
    names = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")  # the latter until CUDA 14
    answer: int | None = _ask_newest(nvml, names, handle, nvml.NVML_TEMPERATURE_GPU)
    return answer


def _throttled(nvml: Any, handle: Any) -> list[str] | None:
    """Why the clocks are lowered. That nothing runs is no reason to speak of throttling."""
    # Driver 525 has the older name only; it goes with CUDA 14.
    names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    mask = _ask_newest(nvml, names, handle)
    if mask is None:
        return None
    bits = [1 << place for place in range(mask.bit_length()) if mask & 1 << place]
    return [THROTTLE_REASONS.get(bit, f"unknown_{bit:#x}") for bit in bits if bit != GPU_IDLE]


def _application_clock_mhz(nvml: Any, handle: Any) -> int | None:
    clock, target = nvml.NVML_CLOCK_SM, nvml.NVML_CLOCK_ID_APP_CLOCK_TARGET
    answer: int | None = _ask(nvml, nvml.nvmlDeviceGetClock, handle, clock, target)
    return answer


def _pcie(nvml: Any, handle: Any) -> str | None:
    """`gen5 x16`: the best generation of this slot, since an idle link falls back to gen1."""
    generation = _ask(nvml, nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle)
    width = _ask(nvml, nvml.nvmlDeviceGetCurrPcieLinkWidth, handle)
    return None if generation is None or width is None else f"gen{generation} x{width}"


def _held_bytes(nvml: Any, handle: Any) -> dict[int, int | None]:
    """What each process holds, by pid; None where the driver does not tell."""
    held: dict[int, int | None] = {}
    for list_processes in (
        nvml.nvmlDeviceGetComputeRunningProcesses,
        nvml.nvmlDeviceGetGraphicsRunningProcesses,  # a process may be in both, with one sum
    ):
        for process in _ask(nvml, list_processes, handle) or []:
            held[process.pid] = held.get(process.pid) or process.usedGpuMemory
    return held


def _gpu_process(pid: int, used_bytes: int | None, token: str | None) -> GpuProcess:
    ours = token is not None and processes.carries(pid, token)
    return GpuProcess(pid, processes.name_of(pid), used_bytes, ours)


def _ask(nvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, bytes as text; None when this driver or device has none."""
    try:
        answer = question(*arguments)
    except nvml.NVMLError:
        return None
    return answer.decode() if isinstance(answer, bytes) else answer


def _ask_newest(nvml: Any, names: tuple[str, ...], *arguments: Any) -> Any:
    """The first answer of the functions that this pynvml knows; the newest name comes first."""
    known = (getattr(nvml, name) for name in names if hasattr(nvml, name))
    answers = (_ask(nvml, function, *arguments) for function in known)
    return next((answer for answer in answers if answer is not None), None)


def _cuda_version(number: int | None) -> str | None:
    """12080 is 12.8."""
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"
