"""A stand-in for `pynvml`: as many GPUs as a test likes, each of which can refuse any question.

`FakeNvml([FakeGpu()], nvmlInit="NVMLError_NoPermission")` fails for the whole machine,
`FakeGpu(refuses={"nvmlDeviceGetUUID": "NVMLError_NotSupported"})` for one GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

GIB = 1024**3


class NVMLError(Exception):
    """Base, as in pynvml."""


TEXTS = {
    "NVMLError_ArgumentVersionMismatch": "Argument version mismatch",
    "NVMLError_DriverNotLoaded": "Driver Not Loaded",
    "NVMLError_FunctionNotFound": "Function Not Found",
    "NVMLError_GpuIsLost": "GPU is lost",
    "NVMLError_LibRmVersionMismatch": "RM has detected an NVML/RM version mismatch.",
    "NVMLError_LibraryNotFound": "NVML Shared Library Not Found",
    "NVMLError_NoPermission": "Insufficient Permissions",
    "NVMLError_NotFound": "Not Found",
    "NVMLError_NotSupported": "Not Supported",
    "NVMLError_ResetRequired": "GPU requires restart",
    "NVMLError_Unknown": "Unknown Error",
}
ERRORS = {name: type(name, (NVMLError,), {}) for name in TEXTS}


@dataclass
class FakeGpu:
    """`used_bytes`: what each look at the memory finds in use, the last for ever after.

    `utilization`: (pid, SM %) of each process that computed since the last look; None: refused.
    `instant_mw` None: the driver knows the average power only.
    """

    name: str | bytes = "NVIDIA H200"
    uuid: str = "GPU-0a1b2c3d-0000-0000-0000-000000000000"
    total_bytes: int = 140 * GIB
    reserved_bytes: int = GIB
    used_bytes: list[int] = field(default_factory=lambda: [0])
    compute_capability: tuple[int, int] = (9, 0)
    compute: dict[int, int | None] = field(default_factory=dict)
    graphics: dict[int, int | None] = field(default_factory=dict)
    instances: list[FakeGpu | None] | None = None
    refuses: dict[str, str] = field(default_factory=dict)
    instant_mw: int | None = 512_000
    average_mw: int = 350_000
    energy_mj: int = 7_000_250
    sm_clock_mhz: int = 1755
    temperature_c: int = 61
    clock_events: int = 0
    utilization: list[tuple[int, int]] | None = None


class FakeNvml:
    """Put it in `sys.modules["pynvml"]`."""

    NVMLError = NVMLError
    NVML_DEVICE_MIG_ENABLE = 1
    NVML_SUCCESS = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_ID_APP_CLOCK_TARGET = 1
    NVML_TEMPERATURE_GPU = 0
    NVML_FI_DEV_POWER_INSTANT = 186
    nvmlMemory_v2 = 0x02000028  # noqa: N815 - pynvml's name

    def __init__(self, gpus: list[FakeGpu], **refuses: str) -> None:
        self._gpus = gpus
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        if name in ERRORS:
            return ERRORS[name]
        raise AttributeError(name)

    def _ask(self, question: str, gpu: FakeGpu | None = None) -> None:
        error = self._refuses.get(question) or (gpu.refuses.get(question) if gpu else None)
        if error:
            raise ERRORS[error](TEXTS[error])

    def nvmlInit(self) -> None:  # noqa: N802 - pynvml's names, here and below
        self._ask("nvmlInit")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetCount")
        return len(self._gpus)

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        self._ask("nvmlSystemGetDriverVersion")
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        self._ask("nvmlSystemGetCudaDriverVersion")
        return 12080

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        self._ask("nvmlDeviceGetHandleByIndex", self._gpus[index])
        return self._gpus[index]

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str | bytes:  # noqa: N802
        self._ask("nvmlDeviceGetName", gpu)
        return gpu.name

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802
        self._ask("nvmlDeviceGetUUID", gpu)
        return gpu.uuid

    def nvmlDeviceGetCudaComputeCapability(self, gpu: FakeGpu) -> tuple[int, int]:  # noqa: N802
        self._ask("nvmlDeviceGetCudaComputeCapability", gpu)
        return gpu.compute_capability

    def nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:  # noqa: N802
        self._ask("nvmlDeviceGetMigMode", gpu)
        return [0, 0] if gpu.instances is None else [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetMaxMigDeviceCount", gpu)
        return len(gpu.instances or [])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: FakeGpu, index: int) -> FakeGpu:  # noqa: N802
        self._ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu)
        assert gpu.instances is not None
        instance = gpu.instances[index]
        if instance is None:
            raise ERRORS["NVMLError_NotFound"](TEXTS["NVMLError_NotFound"])
        return instance

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, version: int | None = None) -> Any:  # noqa: N802
        self._ask("nvmlDeviceGetMemoryInfo", gpu)
        if version:
            self._ask("nvmlDeviceGetMemoryInfo_v2", gpu)
        used = gpu.used_bytes.pop(0) if len(gpu.used_bytes) > 1 else gpu.used_bytes[0]
        free = gpu.total_bytes - gpu.reserved_bytes - used
        if version:
            return SimpleNamespace(total=gpu.total_bytes, reserved=gpu.reserved_bytes, free=free)
        return SimpleNamespace(total=gpu.total_bytes, free=free)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[Any]:  # noqa: N802
        self._ask("nvmlDeviceGetComputeRunningProcesses", gpu)
        return _listed(gpu.compute)

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu: FakeGpu) -> list[Any]:  # noqa: N802
        self._ask("nvmlDeviceGetGraphicsRunningProcesses", gpu)
        return _listed(gpu.graphics)

    def nvmlDeviceGetProcessUtilization(self, gpu: FakeGpu, timestamp: int) -> list[Any]:  # noqa: N802
        self._ask("nvmlDeviceGetProcessUtilization", gpu)
        if gpu.utilization is None:
            raise ERRORS["NVMLError_NotSupported"](TEXTS["NVMLError_NotSupported"])
        if not gpu.utilization:
            raise ERRORS["NVMLError_NotFound"](TEXTS["NVMLError_NotFound"])
        return [
            SimpleNamespace(pid=pid, smUtil=percent, timeStamp=timestamp + 1)
            for pid, percent in gpu.utilization
        ]

    def nvmlDeviceGetFieldValues(self, gpu: FakeGpu, fields: list[int]) -> list[Any]:  # noqa: N802
        self._ask("nvmlDeviceGetFieldValues", gpu)
        assert fields == [self.NVML_FI_DEV_POWER_INSTANT]
        known = gpu.instant_mw is not None
        value = SimpleNamespace(uiVal=gpu.instant_mw if known else 0)
        return [SimpleNamespace(nvmlReturn=0 if known else 3, value=value)]

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetPowerUsage", gpu)
        return gpu.average_mw

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetTotalEnergyConsumption", gpu)
        return gpu.energy_mj

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, clock: int) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetClockInfo", gpu)
        assert clock == self.NVML_CLOCK_SM
        return gpu.sm_clock_mhz

    def nvmlDeviceGetTemperatureV(self, gpu: FakeGpu, sensor: int) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetTemperatureV", gpu)
        assert sensor == self.NVML_TEMPERATURE_GPU
        return gpu.temperature_c

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetTemperature", gpu)
        assert sensor == self.NVML_TEMPERATURE_GPU
        return gpu.temperature_c

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetCurrentClocksEventReasons", gpu)
        return gpu.clock_events

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", gpu)
        return gpu.clock_events

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetEnforcedPowerLimit", gpu)
        return 700_000

    def nvmlDeviceGetMaxClockInfo(self, gpu: FakeGpu, clock: int) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetMaxClockInfo", gpu)
        assert clock == self.NVML_CLOCK_SM
        return 1980

    def nvmlDeviceGetClock(self, gpu: FakeGpu, clock: int, which: int) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetClock", gpu)
        assert (clock, which) == (self.NVML_CLOCK_SM, self.NVML_CLOCK_ID_APP_CLOCK_TARGET)
        return 1965

    def nvmlDeviceGetPersistenceMode(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetPersistenceMode", gpu)
        return 1

    def nvmlDeviceGetEccMode(self, gpu: FakeGpu) -> list[int]:  # noqa: N802
        self._ask("nvmlDeviceGetEccMode", gpu)
        return [1, 0]

    def nvmlDeviceGetMaxPcieLinkGeneration(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetMaxPcieLinkGeneration", gpu)
        return 5

    def nvmlDeviceGetCurrPcieLinkWidth(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("nvmlDeviceGetCurrPcieLinkWidth", gpu)
        return 16


def _listed(held: dict[int, int | None]) -> list[Any]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in held.items()]
