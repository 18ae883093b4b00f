"""NVIDIA GPUs as NVML tells of them: facts, memory, and the processes that hold it.

The only file that imports `pynvml` (distribution `nvidia-ml-py`), and only when it is asked.
Every answer may be missing: drivers, containers, WSL2, MIG and integrated GPUs each refuse
something else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from slidesparse_bench import processes
from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.records import GpuProcess, MemorySnapshot

DRIVER_NODE = Path("/dev/nvidiactl")
"""Exists wherever the NVIDIA driver is loaded, also in containers that lack NVML."""


@dataclass(frozen=True)
class CudaDevice:
    """A GPU by NVML's index, or one MIG instance (`mig` is its number) of that GPU."""

    facts: DeviceFacts
    index: int
    uuid: str
    mig: int | None = None
    _nvml: Any = field(default=None, repr=False, compare=False)
    _handle: Any = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        return f"GPU {self.index}" if self.mig is None else f"GPU {self.index} MIG {self.mig}"

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
    capable = handle if parent is None else parent  # a MIG instance does not know its own
    facts = DeviceFacts(
        kind=DeviceKind.CUDA,
        name=_ask(nvml, nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU",
        memory_bytes=total_bytes,
        compute_capability=_ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, capable),
    )
    uuid = _ask(nvml, nvml.nvmlDeviceGetUUID, handle) or ""
    return CudaDevice(facts, index, uuid, mig, nvml, handle)


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


def _cuda_version(number: int | None) -> str | None:
    """12080 is 12.8."""
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"
