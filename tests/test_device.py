"""Devices against a fake NVML that can refuse every question, and waiting for memory."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes.nvml import ERRORS, GIB, FakeGpu, FakeNvml
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench import device, neighbours, nvml, processes
from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.device import (
    HOPELESS_LOOKS,
    CpuDevice,
    Device,
    FakeDevice,
    find_devices,
    machine_facts,
    wait_for_memory,
    wait_until_returned,
)
from slidesparse_bench.errors import HarnessVerdict, NothingToRun, UsageError
from slidesparse_bench.nvml import CudaDevice
from slidesparse_bench.records import GpuProcess, MemorySnapshot
from slidesparse_bench.telemetry import Sample

TOKEN = f"testrun-{os.getpid()}/cell/1"
QUESTIONS = [name for name in vars(FakeNvml) if name.startswith("nvml") and name[4].isupper()]
NO_PID = 2**22 + 1
"""Above the largest pid that Linux gives."""
FIRST = FakeGpu(uuid="GPU-aaaa1111-0000")
SECOND = FakeGpu(name="NVIDIA GeForce RTX 4090", uuid="GPU-aaaa2222-0000")
THIRD = FakeGpu(uuid="GPU-bbbb3333-0000")


@pytest.fixture(autouse=True)
def _no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvml, "DRIVER_NODE", tmp_path / "nvidiactl")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([], nvmlInit="NVMLError_LibraryNotFound"))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(*gpus: FakeGpu, **refuses: str) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(list(gpus), **refuses))

    return install


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Starts sleeping processes, with a token or without."""
    started: list[subprocess.Popen[bytes]] = []

    def start(token: str | None = None) -> int:
        environment = processes.mark(dict(os.environ), token) if token else None
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        started.append(subprocess.Popen(command, env=environment))
        process = psutil.Process(started[-1].pid)
        while not process.environ():  # in the middle of the exec
            time.sleep(0.01)
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def find(gpus: list[int] | None = None) -> list[Device]:
    return find_devices("vllm", gpus, cpu_memory_gib=4.0)


def labels(devices: list[Device]) -> list[str]:
    return [found.label for found in devices]


def only_gpu(gpu: FakeGpu) -> CudaDevice:
    """The device that stands for `gpu`; what its memory held then is not used up."""
    used = list(gpu.used_bytes)
    (found,), problems = nvml._read_gpus(FakeNvml([gpu]), 1)
    assert problems == []
    gpu.used_bytes[:] = used
    return found


# Finding


def test_gpu_facts_count_memory_as_cuda_does(install: Callable[..., None]) -> None:
    install(FakeGpu(name=b"NVIDIA H200", total_bytes=140 * GIB, reserved_bytes=GIB))
    (found,) = find()
    assert found.facts == DeviceFacts(DeviceKind.CUDA, "NVIDIA H200", 139 * GIB, (9, 0))
    assert (found.index, found.label) == (0, "GPU 0")


def test_default_is_the_first_gpu_alone(install: Callable[..., None]) -> None:
    install(FIRST, SECOND, THIRD)
    assert labels(find()) == ["GPU 0"]


def test_gpus_come_in_the_order_asked_for(install: Callable[..., None]) -> None:
    install(FIRST, SECOND, THIRD)
    assert labels(find([2, 0])) == ["GPU 2", "GPU 0"]


def test_process_is_confined_by_number_in_pci_order(install: Callable[..., None]) -> None:
    install(FIRST, SECOND)
    (found,) = find([1])
    assert found.environment() == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}


def test_gpu_that_is_not_there_is_an_error_that_lists_what_is(install: Callable[..., None]) -> None:
    install(FIRST, SECOND)
    with pytest.raises(UsageError) as caught:
        find([0, 7])
    assert str(caught.value) == (
        "--gpus 0,7: no GPU 7; there is GPU 0 (NVIDIA H200), GPU 1 (NVIDIA GeForce RTX 4090)"
    )


def test_gpu_asked_for_without_any_says_what_nvml_said() -> None:
    with pytest.raises(UsageError, match=r"there is none \(NVML Shared Library Not Found"):
        find([0])


@pytest.mark.parametrize("engine", ["fake", "vllm"])
def test_gpu_named_twice_is_refused(engine: str) -> None:
    with pytest.raises(UsageError, match="--gpus 1,1: name each GPU once"):
        find_devices(engine, [1, 1], 4.0)


def test_fake_engine_gets_fake_devices_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "survey", lambda: pytest.fail("NVML was asked"))
    assert find_devices("fake", None, 4.0) == [FakeDevice(0)]
    found = find_devices("fake", [0, 3], 4.0)
    assert labels(found) == ["fake GPU 0", "fake GPU 3"]
    assert found[0].facts == DeviceFacts(DeviceKind.FAKE, "fake GPU", 24 * GIB)
    assert (found[0].snapshot("x"), found[0].lost(), found[0].environment()) == (None, "", {})
    assert found[0].sample("x") is None


def test_machine_without_gpu_gets_the_cpu_with_its_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9554: 64-Core\nmodel\t: 17\n")
    monkeypatch.setattr(device, "_CPUINFO", cpuinfo)
    (found,) = find()
    assert found.facts == DeviceFacts(DeviceKind.CPU, "AMD EPYC 9554: 64-Core", 4 * GIB)
    assert isinstance(found, CpuDevice)
    assert found.reason == "NVML Shared Library Not Found"
    assert (found.index, found.label, found.environment()) == (None, "CPU", {})
    assert (found.snapshot(TOKEN), found.sample(TOKEN), found.lost()) == (None, None, "")


def test_cpu_without_a_model_name_is_called_by_its_architecture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "none")
    assert find()[0].facts.name == platform.machine()


def test_missing_package_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine_facts()["nvml"] == "the Python package nvidia-ml-py is not installed"
    assert find()[0].label == "CPU"


@pytest.mark.parametrize(
    "error", ["NVMLError_LibRmVersionMismatch", "NVMLError_NoPermission", "NVMLError_Unknown"]
)
def test_driver_that_fails_is_never_replaced_by_the_cpu(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    install(FIRST, nvmlInit=error)
    with pytest.raises(NothingToRun, match="set CUDA_VISIBLE_DEVICES= to measure the CPU"):
        find()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find()[0].label == "CPU"


def test_container_with_the_driver_but_without_nvml_says_what_it_lacks() -> None:
    nvml.DRIVER_NODE.touch()
    with pytest.raises(NothingToRun, match="NVIDIA_DRIVER_CAPABILITIES needs `utility`"):
        find()


def test_broken_gpu_leaves_the_others_usable(install: Callable[..., None]) -> None:
    broken = FakeGpu(refuses={"nvmlDeviceGetHandleByIndex": "NVMLError_GpuIsLost"})
    install(broken, SECOND)
    assert labels(find()) == ["GPU 1"]
    assert machine_facts()["nvml"] == "GPU 0: GPU is lost"


INDISPENSABLE = {
    "nvmlInit",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetMemoryInfo",
}


@pytest.mark.parametrize("question", sorted(INDISPENSABLE))
def test_gpu_that_refuses_the_indispensable_is_unusable_with_a_reason(
    install: Callable[..., None], question: str
) -> None:
    install(FIRST, **{question: "NVMLError_Unknown"})
    assert machine_facts()["nvml"].endswith("Unknown Error")
    with pytest.raises(NothingToRun, match=r"NVML says: .*Unknown Error"):
        find()


@pytest.mark.parametrize("question", sorted(set(QUESTIONS) - INDISPENSABLE))
@pytest.mark.parametrize("error", ["NVMLError_NotSupported", "NVMLError_Unknown"])
def test_gpu_that_refuses_anything_else_can_be_used(
    install: Callable[..., None], question: str, error: str
) -> None:
    install(FakeGpu(compute={1: GIB}), **{question: error})
    (found,) = find()
    assert (found.label, found.facts.memory_bytes) == ("GPU 0", 139 * GIB)
    assert found.snapshot(TOKEN) is not None
    assert found.sample(TOKEN) is not None
    assert machine_facts()["nvml"] == "ok"


def test_fake_nvml_has_no_name_that_the_real_one_lacks() -> None:
    sys.modules.pop("pynvml")
    real = pytest.importorskip("pynvml")
    constants = [name for name in vars(FakeNvml) if name.startswith(("NVML_", "nvmlMemory"))]
    names = [*QUESTIONS, *ERRORS, "NVMLError", *constants]
    assert [name for name in names if not hasattr(real, name)] == []
    assert {name: getattr(real, name) for name in constants} == {
        name: getattr(FakeNvml, name) for name in constants
    }


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("2,0", ["GPU 2", "GPU 0"]),
        (" 1 , 2 ", ["GPU 1", "GPU 2"]),
        ("GPU-bbbb3333-0000", ["GPU 2"]),
        ("GPU-aaaa2,0", ["GPU 1", "GPU 0"]),
        ("2,GPU-aaaa,1", ["GPU 2"]),
        ("1,9,0", ["GPU 1"]),
        ("1,-1,0", ["GPU 1"]),
        ("0,1,0,2", ["GPU 0", "GPU 1"]),
    ],
    ids=["order", "spaces", "uuid", "prefix", "ambiguous", "no such", "minus one", "repeated"],
)
def test_visible_devices_are_read_as_cuda_reads_them(
    install: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    expected: list[str],
) -> None:
    install(FIRST, SECOND, THIRD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    visible, _ = device._visible_gpus()
    assert labels([*visible]) == expected
    assert labels(find()) == expected[:1]


@given(st.text(alphabet="0123, -GPUMI", max_size=12))
def test_any_text_makes_a_list_without_repeats(entries: str) -> None:
    gpus, _ = nvml._read_gpus(FakeNvml([FIRST, SECOND, THIRD]), 3)
    chosen = device._allowed(gpus, entries)
    assert len({gpu.index for gpu in chosen}) == len(chosen)
    assert len(chosen) <= len(entries.split(","))


def test_hidden_gpu_cannot_be_asked_for(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(FIRST, SECOND, THIRD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(UsageError, match=r"no GPU 0; there is GPU 1 .*, GPU 2 "):
        find([0])


@pytest.mark.parametrize("variable", ["", " ", "-1", "NoDevFiles"])
def test_hiding_every_gpu_means_the_cpu(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    install(FIRST)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert find()[0].label == "CPU"


def test_visible_devices_that_name_no_gpu_are_not_taken_for_the_cpu(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(FIRST)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES=4 names no GPU; there is GPU 0"):
        find()


@pytest.fixture
def partitioned() -> FakeGpu:
    """A GPU with two MIG instances, at places 0 and 2, that do not know their capability."""
    silent = {"nvmlDeviceGetCudaComputeCapability": "NVMLError_NotSupported"}
    small = FakeGpu("NVIDIA H200 MIG 1g.18gb", "MIG-1111", 18 * GIB, refuses=silent)
    large = FakeGpu("NVIDIA H200 MIG 3g.71gb", "MIG-3333", 71 * GIB, refuses=silent)
    return FakeGpu(instances=[small, None, large])


def test_partitioned_gpu_is_its_instances(
    install: Callable[..., None], partitioned: FakeGpu
) -> None:
    install(FIRST, partitioned)
    small, large = find([1])
    assert labels([small, large]) == ["GPU 1 MIG 0", "GPU 1 MIG 2"]
    assert large.facts == DeviceFacts(DeviceKind.CUDA, "NVIDIA H200 MIG 3g.71gb", 70 * GIB, (9, 0))
    assert large.environment()["CUDA_VISIBLE_DEVICES"] == "MIG-3333"


@pytest.mark.parametrize(("variable", "label"), [("1", "GPU 1 MIG 0"), ("MIG-3333", "GPU 1 MIG 2")])
def test_instance_is_visible_by_its_uuid_or_as_the_first_of_its_gpu(
    install: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    partitioned: FakeGpu,
    variable: str,
    label: str,
) -> None:
    install(FIRST, partitioned)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert labels(find()) == [label]


# Memory


@pytest.mark.parametrize(
    "error", ["NVMLError_FunctionNotFound", "NVMLError_ArgumentVersionMismatch"]
)
def test_old_driver_tells_memory_in_the_old_way(error: str) -> None:
    gpu = FakeGpu(used_bytes=[10 * GIB], refuses={"nvmlDeviceGetMemoryInfo_v2": error})
    snapshot = only_gpu(gpu).snapshot(None)
    assert snapshot == MemorySnapshot(140 * GIB, 129 * GIB)


def test_gpu_without_memory_of_its_own_has_the_hosts() -> None:
    gpu = FakeGpu(refuses={"nvmlDeviceGetMemoryInfo": "NVMLError_NotSupported"})
    found = only_gpu(gpu)
    assert found.facts.memory_bytes == psutil.virtual_memory().total
    snapshot = found.snapshot(None)
    assert snapshot is not None
    assert 0 < snapshot.free_bytes < snapshot.total_bytes


def test_snapshot_tells_ours_from_others_by_token(start: Callable[..., int]) -> None:
    ours, other, foreign = start(TOKEN), start(TOKEN + "0"), start()
    gpu = FakeGpu(
        used_bytes=[12 * GIB], compute={ours: 8 * GIB, other: 3 * GIB}, graphics={foreign: GIB}
    )
    snapshot = only_gpu(gpu).snapshot(TOKEN)
    assert snapshot is not None
    assert (snapshot.total_bytes, snapshot.free_bytes) == (139 * GIB, 127 * GIB)
    assert {p.pid: (p.used_bytes, p.ours) for p in snapshot.processes} == {
        ours: (8 * GIB, True),
        other: (3 * GIB, False),
        foreign: (GIB, False),
    }
    assert {p.name for p in snapshot.processes} == {psutil.Process(ours).name()}


def test_nothing_is_ours_without_a_token(start: Callable[..., int]) -> None:
    snapshot = only_gpu(FakeGpu(compute={start(TOKEN): GIB})).snapshot(None)
    assert snapshot is not None
    assert [process.ours for process in snapshot.processes] == [False]


def test_processes_of_other_containers_and_unknown_shares_are_kept() -> None:
    first, second = NO_PID, NO_PID + 1
    gpu = FakeGpu(compute={first: GIB, second: None}, graphics={first: None})
    snapshot = only_gpu(gpu).snapshot(TOKEN)
    assert snapshot is not None
    assert snapshot.processes == [
        GpuProcess(first, "unknown process", GIB, ours=False),
        GpuProcess(second, "unknown process", None, ours=False),
    ]


def test_unreadable_memory_is_unknown_and_not_lost() -> None:
    gpu = FakeGpu()
    found = only_gpu(gpu)
    gpu.refuses["nvmlDeviceGetMemoryInfo"] = "NVMLError_Unknown"
    assert (found.snapshot(TOKEN), found.lost()) == (None, "")


# Waiting


def scripted(used_gib: list[float], **fields: Any) -> CudaDevice:
    """A 24 GiB GPU whose memory in use, in GiB, goes through `used_gib`."""
    used_bytes = [int(used * GIB) for used in used_gib]
    return only_gpu(FakeGpu("RTX", total_bytes=25 * GIB, used_bytes=used_bytes, **fields))


class Waiting:
    """Calls the two waits without sleeping; remembers reasons and pauses."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.pauses: list[float] = []
        self.stop = threading.Event()

    @property
    def options(self) -> dict[str, Any]:
        return {
            "token": TOKEN,
            "stop": self.stop,
            "on_wait": self.reasons.append,
            "sleep": self.pauses.append,
        }

    def for_memory(
        self, waited_for: Device, needed_gib: float, limit_s: float = 60.0
    ) -> MemorySnapshot | None:
        return wait_for_memory(waited_for, needed_gib * GIB, limit_s, **self.options)

    def until_returned(
        self, waited_for: Device, before: MemorySnapshot | None, limit_s: float = 60.0
    ) -> MemorySnapshot | None:
        return wait_until_returned(waited_for, before, limit_s, **self.options)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def test_free_memory_is_not_waited_for(waiting: Waiting) -> None:
    snapshot = waiting.for_memory(scripted([0.0]), 19.2)
    assert snapshot == MemorySnapshot(24 * GIB, 24 * GIB)
    assert (waiting.reasons, waiting.pauses) == ([], [])


def test_memory_that_comes_back_slowly_is_waited_for_with_the_reason(
    waiting: Waiting, start: Callable[..., int]
) -> None:
    pid = start()
    gpu = scripted([15.9, 15.9, 8.0, 0.5], compute={pid: int(15.1 * GIB)}, graphics={77: None})
    snapshot = waiting.for_memory(gpu, 19.2)
    assert snapshot is not None
    assert snapshot.free_bytes == 23.5 * GIB
    name = psutil.Process(pid).name()
    assert len(waiting.reasons) == 3
    assert waiting.reasons[0].startswith(
        "waiting for 19.20 GiB on GPU 0: 8.10 GiB free of 24.00 GiB; "
        f"{name} (pid {pid}) holds 15.10 GiB, "
    )
    assert waiting.reasons[0].endswith("(pid 77) holds an unknown amount")
    assert waiting.pauses == sorted(waiting.pauses)


def test_memory_that_stays_busy_is_a_verdict_that_says_who_holds_it(waiting: Waiting) -> None:
    with pytest.raises(HarnessVerdict) as caught:
        waiting.for_memory(scripted([20.0]), 19.2, limit_s=0.0)
    assert caught.value.log_line == (
        "slidesparse: gpu_memory_busy: waited 0.0 s for 19.20 GiB on GPU 0: 4.00 GiB free of "
        "24.00 GiB; no process that holds memory can be seen"
    )


def test_nobody_in_sight_is_not_waited_for_until_the_limit(waiting: Waiting) -> None:
    with pytest.raises(HarnessVerdict, match="no process that holds memory can be seen"):
        waiting.for_memory(scripted([20.0]), 19.2, limit_s=1e9)
    assert len(waiting.pauses) == HOPELESS_LOOKS - 1


def test_unseen_memory_that_still_moves_is_waited_for(waiting: Waiting) -> None:
    shrinking = [20.0 - 0.1 * step for step in range(2 * HOPELESS_LOOKS)]
    snapshot = waiting.for_memory(scripted([*shrinking, 0.0]), 19.2)
    assert snapshot == MemorySnapshot(24 * GIB, 24 * GIB)


def test_wait_is_over_when_its_limit_is(waiting: Waiting) -> None:
    with pytest.raises(HarnessVerdict, match=r"waited 0\.3 s"):
        wait_for_memory(scripted([20.0]), 19.2 * GIB, 0.3, **{**waiting.options, "sleep": None})
    assert len(waiting.reasons) >= 2


def test_stop_ends_the_wait_at_once(waiting: Waiting) -> None:
    threading.Timer(0.2, waiting.stop.set).start()
    options = {**waiting.options, "sleep": None}
    snapshot = wait_for_memory(scripted([20.0]), 19.2 * GIB, 60.0, **options)
    assert snapshot is not None
    assert snapshot.free_bytes == 4 * GIB


def test_device_of_unknown_memory_is_not_waited_for(waiting: Waiting) -> None:
    assert waiting.for_memory(FakeDevice(), 100.0) is None
    assert waiting.until_returned(FakeDevice(), MemorySnapshot(GIB, GIB)) is None
    assert waiting.reasons == []


@pytest.mark.parametrize(
    ("error", "text"),
    [("NVMLError_GpuIsLost", "GPU is lost"), ("NVMLError_ResetRequired", "GPU requires restart")],
)
def test_gpu_lost_between_attempts_is_told_by_the_gate(
    waiting: Waiting, error: str, text: str
) -> None:
    gpu = FakeGpu()
    found = only_gpu(gpu)
    gpu.refuses["nvmlDeviceGetMemoryInfo"] = error
    assert waiting.until_returned(found, MemorySnapshot(GIB, GIB)) is None
    with pytest.raises(HarnessVerdict) as caught:
        waiting.for_memory(found, 1.0)
    assert caught.value.log_line == f"slidesparse: gpu_lost: GPU 0 (NVIDIA H200): {text}"


def test_memory_of_an_attempt_is_waited_for_up_to_the_tolerance(waiting: Waiting) -> None:
    snapshot = waiting.until_returned(
        scripted([20.0, 9.0, 1.2]), MemorySnapshot(24 * GIB, 23 * GIB)
    )
    assert snapshot is not None
    assert snapshot.free_bytes == pytest.approx(22.8 * GIB)
    assert len(waiting.reasons) == 2
    assert waiting.reasons[0].startswith("waiting for memory of GPU 0: 4.00 GiB free of 24.00 GiB")


def test_process_of_ours_is_waited_for_whatever_is_free(
    waiting: Waiting, start: Callable[..., int]
) -> None:
    holders: dict[int, int | None] = {start(TOKEN): None}
    gpu = only_gpu(FakeGpu(compute=holders))
    before = gpu.snapshot(None)
    options = {**waiting.options, "sleep": lambda _: holders.clear()}
    snapshot = wait_until_returned(gpu, before, **options)
    assert snapshot is not None
    assert snapshot.processes == []
    assert len(waiting.reasons) == 1
    assert ", ours) holds an unknown amount" in waiting.reasons[0]


def test_what_others_took_meanwhile_is_not_waited_for(waiting: Waiting) -> None:
    other = NO_PID
    gpu = scripted([14.0, 11.0], compute={other: 11 * GIB})
    before = MemorySnapshot(24 * GIB, 23 * GIB, [GpuProcess(other, "desktop", GIB, ours=False)])
    snapshot = waiting.until_returned(gpu, before)
    assert snapshot is not None
    assert snapshot.free_bytes == 13 * GIB
    assert len(waiting.reasons) == 1


def test_memory_that_never_returns_is_left_to_the_next_gate(waiting: Waiting) -> None:
    snapshot = waiting.until_returned(
        scripted([20.0]), MemorySnapshot(24 * GIB, 24 * GIB), limit_s=0.0
    )
    assert snapshot is not None
    assert snapshot.free_bytes == 4 * GIB


# Sampling


def sampled(gpu: FakeGpu) -> Sample:
    sample = only_gpu(gpu).sample(TOKEN)
    assert sample is not None
    return sample


def test_sample_has_the_units_of_its_names() -> None:
    gpu = FakeGpu(used_bytes=[8 * GIB], clock_events=0x4 | 0x40)
    before = time.time()
    sample = sampled(gpu)
    assert before <= sample.time <= time.time()
    assert replace(sample, time=0.0) == Sample(
        time=0.0,
        power_w=512.0,
        sm_clock_mhz=1755,
        temperature_c=61,
        memory_used_bytes=8 * GIB,
        energy_j=7000.25,
        throttled=["sw_power_cap", "hw_thermal"],
        foreign=[],
    )


def test_average_power_is_better_than_none() -> None:
    assert sampled(FakeGpu(instant_mw=None)).power_w == 350.0


REFUSED_FIELDS = {
    "power_w": ("nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage"),
    "sm_clock_mhz": ("nvmlDeviceGetClockInfo",),
    "temperature_c": ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"),
    "memory_used_bytes": ("nvmlDeviceGetMemoryInfo",),
    "energy_j": ("nvmlDeviceGetTotalEnergyConsumption",),
    "throttled": (
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    ),
    "foreign": ("nvmlDeviceGetProcessUtilization", "nvmlDeviceGetComputeRunningProcesses"),
}


@pytest.mark.parametrize("name", REFUSED_FIELDS)
def test_what_is_refused_is_missing_alone(name: str) -> None:
    gpu = FakeGpu()
    found = only_gpu(gpu)
    gpu.refuses.update(dict.fromkeys(REFUSED_FIELDS[name], "NVMLError_NoPermission"))
    sample = found.sample(TOKEN)
    assert [key for key, value in vars(sample).items() if value is None] == [name]


def test_gpu_that_refuses_everything_has_no_sample() -> None:
    gpu = FakeGpu()
    found = only_gpu(gpu)
    gpu.refuses.update(dict.fromkeys(QUESTIONS, "NVMLError_GpuIsLost"))
    assert found.sample(TOKEN) is None


@pytest.mark.parametrize(
    "name", ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetTemperatureV"]
)
def test_older_driver_is_asked_by_older_names(name: str) -> None:
    sample = sampled(FakeGpu(refuses={name: "NVMLError_FunctionNotFound"}, clock_events=0x8))
    assert (sample.throttled, sample.temperature_c) == (["hw_slowdown"], 61)


def test_idle_gpu_is_not_throttled_and_new_reasons_have_a_number() -> None:
    assert sampled(FakeGpu(clock_events=0x1)).throttled == []
    assert sampled(FakeGpu(clock_events=0x1 | 0x8000)).throttled == ["unknown_0x8000"]


def test_throttle_reasons_are_those_of_nvml() -> None:
    sys.modules.pop("pynvml")
    real = pytest.importorskip("pynvml")
    prefix = "nvmlClocksThrottleReason"
    known = {getattr(real, name) for name in vars(real) if name.startswith(prefix)}
    bits = {bit for bit in known if bit.bit_count() == 1}
    assert bits == {nvml.GPU_IDLE, *nvml.THROTTLE_REASONS}
    assert nvml.THROTTLE_REASONS[real.nvmlClocksEventReasonHwThermalSlowdown] == "hw_thermal"
    assert nvml.THROTTLE_REASONS[real.nvmlClocksEventReasonSwThermalSlowdown] == "sw_thermal"
    assert nvml.THROTTLE_REASONS[real.nvmlClocksEventReasonSwPowerCap] == "sw_power_cap"


def test_instance_has_the_clock_of_its_gpu_and_no_power_of_its_own(
    install: Callable[..., None], partitioned: FakeGpu
) -> None:
    refused = ("nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetClockInfo")
    assert partitioned.instances is not None
    for instance in filter(None, partitioned.instances):
        instance.refuses.update(dict.fromkeys(refused, "NVMLError_NotSupported"))
    partitioned.sm_clock_mhz = 1500
    install(partitioned)
    sample = find([0])[0].sample(TOKEN)
    assert sample is not None
    assert (sample.power_w, sample.sm_clock_mhz) == (None, 1500)
    assert machine_facts()["gpus"][0]["mig"] is True


# Who else computes there


@pytest.fixture
def _at_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "LOOK_EVERY_S", 0.0)


looks = pytest.mark.usefixtures("_at_every_sample")


def foreign(found: CudaDevice, token: str | None = TOKEN) -> list[str] | None:
    sample = found.sample(token)
    assert sample is not None
    return sample.foreign


def called(pid: int) -> str:
    return f"{psutil.Process(pid).name()} (pid {pid})"


def shared(ours: int, other: int, percent: int = 30) -> FakeGpu:
    """A GPU on which two processes compute."""
    return FakeGpu(compute={ours: GIB, other: GIB}, utilization=[(ours, 60), (other, percent)])


def test_stranger_that_computes_beside_us_is_foreign(start: Callable[..., int]) -> None:
    stranger = start()
    assert foreign(only_gpu(shared(start(TOKEN), stranger))) == [called(stranger)]


def test_process_of_another_attempt_is_foreign(start: Callable[..., int]) -> None:
    leftover = start(TOKEN + "0")
    assert foreign(only_gpu(shared(start(TOKEN), leftover))) == [called(leftover)]


def test_stranger_that_only_holds_memory_is_not(start: Callable[..., int]) -> None:
    assert foreign(only_gpu(shared(start(TOKEN), start(), percent=0))) == []


def test_nobody_who_computes_is_nobody_foreign() -> None:
    assert foreign(only_gpu(FakeGpu(utilization=[]))) == []


def test_impossible_utilization_is_not_believed(start: Callable[..., int]) -> None:
    assert foreign(only_gpu(shared(start(TOKEN), start(), percent=4_000_000))) == []


def test_pids_of_another_namespace_prove_nothing(start: Callable[..., int]) -> None:
    ours, stranger = start(TOKEN), start()
    gpu = shared(NO_PID, stranger)
    gpu.compute[ours] = GIB
    assert foreign(only_gpu(gpu)) is None


def test_without_a_token_nobody_is_called_foreign(start: Callable[..., int]) -> None:
    assert foreign(only_gpu(shared(start(TOKEN), start())), token=None) is None


def test_process_that_cannot_be_seen_from_here_is_not_foreign(start: Callable[..., int]) -> None:
    assert foreign(only_gpu(shared(start(TOKEN), NO_PID))) == []


def test_pid_that_holds_no_memory_there_is_not_foreign(start: Callable[..., int]) -> None:
    gpu = shared(start(TOKEN), start())
    gpu.compute.clear()
    assert foreign(only_gpu(gpu)) == []


@looks
def test_pids_once_recognized_stay_so_while_ours_is_idle(start: Callable[..., int]) -> None:
    ours, stranger = start(TOKEN), start()
    gpu = shared(ours, stranger)
    found = only_gpu(gpu)
    foreign(found)
    gpu.utilization = [(stranger, 90)]
    assert foreign(found) == [called(stranger)]
    assert foreign(found, TOKEN + "0") is None


@pytest.mark.parametrize(("percent", "disturbs"), [(2, False), (30, True)])
def test_desktop_disturbs_only_when_it_draws_a_lot(
    start: Callable[..., int], percent: int, disturbs: bool
) -> None:
    desktop = start()
    gpu = shared(start(TOKEN), desktop, percent)
    gpu.graphics[desktop] = gpu.compute.pop(desktop)
    assert foreign(only_gpu(gpu)) == ([called(desktop)] if disturbs else [])


@looks
def test_without_utilization_only_newcomers_count(start: Callable[..., int]) -> None:
    server, ours = start(), start(TOKEN)
    gpu = FakeGpu(compute={server: GIB})
    found = only_gpu(gpu)
    assert foreign(found) == []
    gpu.compute[ours] = GIB
    assert foreign(found) == []
    newcomer = start()
    gpu.compute[newcomer] = GIB
    assert foreign(found) == [called(newcomer)]


@looks
def test_utilization_that_fails_once_is_not_replaced(start: Callable[..., int]) -> None:
    ours = start(TOKEN)
    gpu = FakeGpu(compute={ours: GIB}, utilization=[(ours, 90)])
    found = only_gpu(gpu)
    assert foreign(found) == []
    gpu.compute[start()] = GIB
    gpu.refuses["nvmlDeviceGetProcessUtilization"] = "NVMLError_Unknown"
    assert foreign(found) is None


@looks
def test_without_utilization_newcomers_of_another_namespace_prove_nothing(
    start: Callable[..., int],
) -> None:
    gpu = FakeGpu()
    found = only_gpu(gpu)
    foreign(found)
    gpu.compute.update({NO_PID: GIB, start(): GIB})
    assert foreign(found) is None


def test_looking_around_is_not_part_of_every_sample(start: Callable[..., int]) -> None:
    found = only_gpu(shared(start(TOKEN), start()))
    assert [foreign(found) is None for _ in range(3)] == [False, True, True]


BARE_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={})
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


@pytest.fixture
def bare() -> Iterator[Callable[[str], int]]:
    """Starts a sleeping process without environment, under a parent that carries a token."""
    parents: list[subprocess.Popen[str]] = []

    def bare(token: str) -> int:
        parent = subprocess.Popen(
            [sys.executable, "-c", BARE_CHILD],
            env=processes.mark(dict(os.environ), token),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        parents.append(parent)
        assert parent.stdout is not None
        return int(parent.stdout.readline())

    yield bare
    for parent in parents:
        parent.communicate()


def test_child_of_ours_without_environment_is_ours(bare: Callable[[str], int]) -> None:
    child = bare(TOKEN)
    gpu = FakeGpu(compute={child: GIB}, utilization=[(child, 90)])
    assert foreign(only_gpu(gpu)) == []


@looks
def test_process_of_ours_stays_ours_while_it_exits(
    start: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "START_TIME_ERROR_S", -60.0)
    ours = start(TOKEN)
    found = only_gpu(FakeGpu(compute={ours: GIB}, utilization=[(ours, 90)]))
    assert foreign(found) == []
    os.kill(ours, signal.SIGKILL)
    while psutil.Process(ours).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert foreign(found) == []


@pytest.mark.parametrize("evidence", ["none", "older", "another user's"])
def test_process_without_environment_needs_other_evidence(
    start: Callable[..., int],
    bare: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
    evidence: str,
) -> None:
    stranger = bare(TOKEN + "0")
    if evidence == "older":
        monkeypatch.setattr(neighbours, "START_TIME_ERROR_S", -60.0)
    if evidence == "another user's":
        monkeypatch.setattr(os, "getuid", lambda: psutil.Process().uids().real + 1)
    named = foreign(only_gpu(shared(start(TOKEN), stranger)))
    assert named == ([] if evidence == "none" else [called(stranger)])


def test_name_of_a_stranger_cannot_break_the_file(
    start: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = start()
    monkeypatch.setattr(processes, "name_of", lambda _: "a|b\n\x1b[1m")
    named = foreign(only_gpu(shared(start(TOKEN), stranger)))
    assert named == [f"a?b??[1m (pid {stranger})"]


# Facts


def test_machine_facts_have_the_keys_of_environment_json(install: Callable[..., None]) -> None:
    install(FakeGpu(uuid="GPU-1"))
    facts = machine_facts()
    assert facts["gpus"] == [
        {
            "name": "NVIDIA H200",
            "uuid": "GPU-1",
            "driver": "580.95.05",
            "cuda_driver": "12.8",
            "memory_gib": 139.0,
            "compute_capability": "9.0",
            "index": 0,
            "power_limit_w": 700.0,
            "max_sm_clock_mhz": 1980,
            "application_sm_clock_mhz": 1965,
            "persistence_mode": True,
            "ecc": True,
            "mig": False,
            "pcie": "gen5 x16",
        }
    ]
    assert facts["nvml"] == "ok"
    assert sorted(facts["cpu"]) == ["cores", "memory_gib", "model"]
    assert facts["cpu"]["cores"] >= 1
    assert facts["python"] == platform.python_version()
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    ("question", "key"),
    [
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_w"),
        ("nvmlDeviceGetMaxClockInfo", "max_sm_clock_mhz"),
        ("nvmlDeviceGetClock", "application_sm_clock_mhz"),
        ("nvmlDeviceGetPersistenceMode", "persistence_mode"),
        ("nvmlDeviceGetEccMode", "ecc"),
        ("nvmlDeviceGetMigMode", "mig"),
        ("nvmlDeviceGetMaxPcieLinkGeneration", "pcie"),
        ("nvmlDeviceGetCurrPcieLinkWidth", "pcie"),
    ],
)
def test_fact_that_is_refused_is_null(
    install: Callable[..., None], question: str, key: str
) -> None:
    install(FakeGpu(refuses={question: "NVMLError_NotSupported"}))
    (facts,) = machine_facts()["gpus"]
    assert [name for name, value in facts.items() if value is None] == [key]


def test_machine_facts_tell_hidden_gpus_too(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(FIRST, SECOND)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [gpu["index"] for gpu in machine_facts()["gpus"]] == [0, 1]


def test_machine_facts_survive_what_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode() -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd driver")

    monkeypatch.setattr(nvml, "survey", explode)
    assert machine_facts()["nvml"].startswith("UnicodeDecodeError: ")


def test_machine_facts_name_neither_host_nor_user_nor_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    monkeypatch.setattr("socket.gethostname", lambda: "secret-host")
    for variable in ("HOME", "USER", "LOGNAME", "HOSTNAME"):
        monkeypatch.setenv(variable, "/home/secret-user")
    text = json.dumps(machine_facts())
    assert "secret" not in text
    assert sys.prefix not in text
