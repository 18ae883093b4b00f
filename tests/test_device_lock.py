"""`device_lock.py`: two measurements never run on one GPU at once, whoever starts them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from slidesparse_bench import device_lock, machine_lock
from slidesparse_bench.cli import invoke
from slidesparse_bench.device import CpuDevice, DeviceFacts, DeviceKind, FakeDevice
from slidesparse_bench.device_lock import alone_on
from slidesparse_bench.store import Store, list_runs

GPU = SimpleNamespace(identity="GPU-1", label="GPU 0")
HOLDER = """
import sys, threading, time
from pathlib import Path
from types import SimpleNamespace
from slidesparse_bench import device_lock, machine_lock
from slidesparse_bench.device_lock import alone_on
machine_lock.SHARED = Path(sys.argv[1])
with alone_on(SimpleNamespace(identity="GPU-1", label="GPU 0"), threading.Event(), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_lock, "lock_folder", lambda: tmp_path)
    monkeypatch.setattr(device_lock, "POLL_S", 0.01)


def within(seconds, true):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_second_waits_until_the_first_is_through():
    told, order = [], []

    def second():
        with alone_on(GPU, threading.Event(), told.append):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone_on(GPU, threading.Event(), told.append):
        thread.start()
        within(5, lambda: told)
        time.sleep(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    assert told == ["waiting for GPU 0: another measurement runs on it"]


def test_another_gpu_is_free():
    told = []
    with (
        alone_on(GPU, threading.Event(), told.append),
        alone_on(SimpleNamespace(identity="GPU-2", label="GPU 1"), threading.Event(), told.append),
    ):
        assert told == []


@pytest.mark.parametrize(
    "device",
    [FakeDevice(), CpuDevice(DeviceFacts(DeviceKind.CPU, "CPU", 1), "no GPU")],
    ids=["fake", "cpu"],
)
def test_what_is_no_gpu_is_shared(device, tmp_path):
    with alone_on(device, threading.Event(), pytest.fail):
        assert list(tmp_path.iterdir()) == []


def test_a_stop_ends_the_wait():
    stop = threading.Event()
    with alone_on(GPU, threading.Event(), pytest.fail), alone_on(GPU, stop, lambda _: stop.set()):
        pass


def test_the_lock_of_a_killed_holder_is_free(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        told, stop = [], threading.Event()
        with alone_on(GPU, stop, lambda reason: (told.append(reason), stop.set())):
            assert told == ["waiting for GPU 0: another measurement runs on it"]
        os.kill(holder.pid, signal.SIGKILL)
    with alone_on(GPU, threading.Event(), pytest.fail):
        pass


def test_the_file_of_another_user_is_locked_without_writing_to_it(tmp_path):
    before = os.umask(0o077)
    try:
        with alone_on(GPU, threading.Event(), pytest.fail):
            [path] = tmp_path.iterdir()
            assert path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
    path.chmod(0o444)
    told, stop = [], threading.Event()
    with (
        alone_on(GPU, threading.Event(), pytest.fail),
        alone_on(GPU, stop, lambda reason: (told.append(reason), stop.set())),
    ):
        assert len(told) == 1
    assert path.read_bytes() == b""


def test_where_no_file_can_be_made_the_measurement_goes_on_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_lock, "lock_folder", lambda: tmp_path / "missing")
    told = []
    with alone_on(GPU, threading.Event(), told.append):
        assert "GPU 0 cannot be locked against other measurements: " in told[0]


@pytest.fixture
def matrix(monkeypatch, tmp_path):
    """Of one fake cell, on a device that can be locked; in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FakeDevice, "identity", "GPU-1")
    Path("matrix.yaml").write_text(
        "name: x\nmodels: [tiny-llama]\nquantization: [int8]\nengine: fake\n"
        "stages: {prefill: {M: [512]}}\n"
    )
    return "matrix.yaml"


def test_a_run_waits_for_another_measurement_and_counts_no_time_of_it(matrix, capsys):
    held, seen = threading.Event(), []

    def hold():
        with alone_on(GPU, threading.Event(), pytest.fail):
            held.set()
            within(30, lambda: list(Path().glob("runs/*/status.json")))
            time.sleep(3.0)
            seen.extend(Path().glob("runs/*/cells/*/attempt-*/*"))

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(5)
    code = invoke(["run", matrix])
    holder.join()
    assert (code, seen) == (0, [])
    assert "waiting for fake GPU 0: another measurement runs on it" in capsys.readouterr().out
    [run] = list_runs(Path("runs"))
    [cell] = Store.open(run).record.cells.values()
    assert cell.attempts[0].duration_s < 3.0


def test_a_run_that_is_stopped_while_it_waits_has_tried_nothing(matrix):
    def stop():
        within(30, lambda: list(Path().glob("runs/*/status.json")))
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with alone_on(GPU, threading.Event(), pytest.fail):
        code = invoke(["run", matrix])
    stopper.join()
    [run] = list_runs(Path("runs"))
    [cell] = Store.open(run).record.cells.values()
    assert (code, cell.state, cell.attempts) == (143, "pending", [])
    assert invoke(["run", matrix]) == 0
    [cell] = Store.open(run).record.cells.values()
    assert [attempt.n for attempt in cell.attempts] == [1]
