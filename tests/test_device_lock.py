"""`device_lock.py`: two measurements never run on one GPU at once, whoever starts them."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest

from slidesparse_bench import device_lock
from slidesparse_bench.device import CpuDevice, DeviceFacts, DeviceKind, FakeDevice
from slidesparse_bench.device_lock import alone_on, lock_file
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.executors import Order, Watch, local
from slidesparse_bench.settings import Timeouts

GPU = SimpleNamespace(identity="GPU-1", label="GPU 0")
HOLDER = """
import sys, threading, time
from types import SimpleNamespace
from slidesparse_bench.device_lock import alone_on
with alone_on(SimpleNamespace(identity="GPU-1", label="GPU 0"), threading.Event(), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
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


def test_the_lock_of_a_killed_holder_is_free():
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        told, stop = [], threading.Event()
        with alone_on(GPU, stop, lambda reason: (told.append(reason), stop.set())):
            assert told == ["waiting for GPU 0: another measurement runs on it"]
        os.kill(holder.pid, signal.SIGKILL)
    with alone_on(GPU, threading.Event(), pytest.fail):
        pass


def test_the_file_of_another_user_is_locked_without_writing_to_it(tmp_path):
    lock_file("GPU-1").touch()
    lock_file("GPU-1").chmod(0o444)
    told, stop = [], threading.Event()
    with (
        alone_on(GPU, threading.Event(), pytest.fail),
        alone_on(GPU, stop, lambda reason: (told.append(reason), stop.set())),
    ):
        assert len(told) == 1
    assert lock_file("GPU-1").read_bytes() == b""


def test_where_no_file_can_be_made_the_measurement_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with alone_on(GPU, threading.Event(), pytest.fail):
        pass


def test_a_worker_starts_only_when_it_is_alone(monkeypatch, tmp_path):
    """The executor holds the device from the look at its memory until the memory is back."""
    held = []

    def is_held():
        told, stop = [], threading.Event()
        with alone_on(GPU, stop, lambda reason: (told.append(reason), stop.set())):
            return bool(told)

    def look(order, watch):
        held.append(is_held())
        raise HarnessVerdict("gpu_memory_busy", "far enough")

    monkeypatch.setattr(local, "_wait_for_memory", look)
    monkeypatch.setattr(local, "refuse", lambda order, refusal: held.append(is_held()))
    order = Order({}, tmp_path, GPU, "token", Timeouts(), 0)
    local.LocalExecutor([GPU]).execute(order, Watch(threading.Event(), lambda: False, pytest.fail))
    assert held == [True, True]
    assert not is_held()
