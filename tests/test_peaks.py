"""Peak rates: the published ones, the measured ones, and the program that measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest

from slidesparse_bench import peaks
from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.errors import FormatError, NewerFormat
from slidesparse_bench.known_devices import KNOWN_DEVICES, clock_of_rates, find_device
from slidesparse_bench.peaks import Measured, measured_peaks, peaks_file, peaks_for, remember
from slidesparse_bench.wire import SCHEMA_VERSION, PeakRate, PeakRates, decode, encode, read_json
from slidesparse_bench.worker import peak_rates
from slidesparse_bench.worker.peak_rates import Way, best, seconds

H200 = find_device("NVIDIA H200")
CPU = DeviceFacts(DeviceKind.CPU, "some CPU", 2**32)
PUBLISHED = [known for known in KNOWN_DEVICES if known.peaks]

pytestmark = pytest.mark.usefixtures("fresh_cache")


def build_measured(**rates):
    found = {"int8_tops": 1200.0, "bf16_tflops": 700.0, "memory_tb_per_second": 4.4, **rates}
    kept = {name: PeakRate(value, "a way") for name, value in found.items() if value}
    return Measured("2026-03-01", "580.95.05", PeakRates("cuda", "NVIDIA H200", "2.11", kept, {}))


def test_a_known_gpu_has_its_published_rates():
    found = peaks_for(H200)
    assert (found.int8_tops, found.memory_tb_per_second) == (1979.0, 4.8)
    assert "data sheet" in found.source


@pytest.mark.parametrize(
    "device",
    [
        CPU,
        DeviceFacts(DeviceKind.FAKE, "fake GPU", 2**34),
        replace(H200, name="NVIDIA H200 MIG 1g.18gb"),
        replace(H200, name="NVIDIA H200 NVL"),
        find_device("NVIDIA GB10"),
    ],
    ids=lambda device: device.name,
)
def test_nothing_is_guessed_of_any_other_device(device):
    assert peaks_for(device) is None


def test_what_was_measured_here_comes_before_what_was_published():
    remember(H200, build_measured())
    found = peaks_for(H200)
    assert (found.int8_tops, found.fp8_tflops, found.bf16_tflops) == (1200.0, None, 700.0)
    assert found.memory_tb_per_second == 4.4
    assert found.source == "measured by slidesparse doctor --measure on 2026-03-01"


def test_each_kind_of_device_has_its_own_entry_and_the_newest_counts():
    remember(H200, build_measured(int8_tops=1.0))
    remember(CPU, build_measured(int8_tops=2.0))
    remember(H200, build_measured(int8_tops=3.0))
    assert (peaks_for(H200).int8_tops, peaks_for(CPU).int8_tops) == (3.0, 2.0)


def test_a_cpu_with_other_cores_is_another_device(monkeypatch):
    remember(CPU, build_measured())
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    assert measured_peaks(CPU) is None


def test_a_measurement_without_memory_is_none():
    remember(CPU, build_measured(memory_tb_per_second=None))
    assert peaks_for(CPU) is None


def write_file(text):
    peaks_file().parent.mkdir(parents=True, exist_ok=True)
    peaks_file().write_text(text)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema_version": 1, "devices": {"NVIDIA H200": 7}}']
)
def test_a_damaged_file_stops_no_run_and_is_replaced(text):
    write_file(text)
    with pytest.raises(FormatError):
        measured_peaks(H200)
    assert peaks_for(H200).int8_tops == 1979.0
    remember(H200, build_measured())
    assert peaks_for(H200).int8_tops == 1200.0


def test_a_newer_file_stops_no_run_and_is_left_alone():
    text = json.dumps({"schema_version": SCHEMA_VERSION + 1, "devices": {}})
    write_file(text)
    assert peaks_for(H200).int8_tops == 1979.0
    with pytest.raises(NewerFormat):
        remember(H200, build_measured())
    assert peaks_file().read_text() == text


@pytest.mark.parametrize("known", PUBLISHED, ids=lambda known: known.name)
def test_published_rates_are_dense_and_agree_with_the_hardware(known):
    found = known.peaks
    assert "NVIDIA" in found.source
    assert (found.fp8_tflops is None) == (known.compute_capability < (8, 9))
    is_geforce = "GeForce" in known.name
    # Accumulating in float32 halves every floating point rate of a GeForce card, INT8 is whole.
    assert found.int8_tops == pytest.approx((4 if is_geforce else 2) * found.bf16_tflops, rel=0.02)
    if found.fp8_tflops:
        assert found.fp8_tflops == pytest.approx(2 * found.bf16_tflops, rel=0.02)


# SMs, and 8-bit operations of one per clock (INT8, dense); white papers of the architectures.
UNITS = {
    "NVIDIA GeForce RTX 3090": (82, 2048),
    "NVIDIA GeForce RTX 4090": (128, 2048),
    "NVIDIA GeForce RTX 5080": (84, 2048),
    "NVIDIA GeForce RTX 5090": (170, 2048),
    "NVIDIA A100-PCIE-40GB": (108, 4096),
    "NVIDIA A100-SXM4-40GB": (108, 4096),
    "NVIDIA A100 80GB PCIe": (108, 4096),
    "NVIDIA A100-SXM4-80GB": (108, 4096),
    "NVIDIA H100 PCIe": (114, 8192),
    "NVIDIA H100 80GB HBM3": (132, 8192),
    "NVIDIA H200": (132, 8192),
}


@pytest.mark.parametrize("known", PUBLISHED, ids=lambda known: known.name)
def test_published_rates_follow_from_their_clock(known):
    assert (known.peak_clock_mhz is None) == (known.name not in UNITS)
    if known.peak_clock_mhz:
        multiprocessors, operations = UNITS[known.name]
        tops = multiprocessors * operations * known.peak_clock_mhz * 1e6 / 1e12
        assert tops == pytest.approx(known.peaks.int8_tops, rel=0.003)


@pytest.mark.parametrize("known", PUBLISHED, ids=lambda known: known.name)
def test_rates_on_record_tell_their_clock(known):
    assert clock_of_rates(encode(known.peaks)) == known.peak_clock_mhz
    assert clock_of_rates({**encode(known.peaks), "source": "measured"}) is None


def build_way(how="a way", rate="int8_tops", sizes=(10,), make=lambda size: lambda: size):
    return Way(rate, how, make, sizes, work=lambda size: size * 1e12)


def fails(size):
    raise RuntimeError(f"no kernel for {size}\nsecond line")


def test_the_best_way_and_size_counts():
    took = {10: 1.0, 20: 1.0, 30: 2.0}
    ways = [build_way("slow", sizes=(10,)), build_way("fast", sizes=(10, 20, 30))]
    peak_rates_of = best(ways, lambda call: took[call()] * 0.1)
    assert peak_rates_of == ({"int8_tops": PeakRate(200.0, "fast, 20")}, {})


def test_a_way_that_fails_does_not_stop_the_rest():
    ways = [
        build_way("broken", make=fails),
        build_way("a way"),
        build_way("c", "fp8_tflops", make=fails),
    ]
    rates, failed = best(ways, lambda _: 1.0)
    assert rates == {"int8_tops": PeakRate(10.0, "a way, 10")}
    assert failed == {
        "int8_tops": "broken: RuntimeError: no kernel for 10",
        "fp8_tflops": "c: RuntimeError: no kernel for 10",
    }


def test_sizes_that_worked_count_when_a_larger_one_fails():
    def make(size):
        return fails(size) if size > 10 else (lambda: size)

    rates, failed = best([build_way(sizes=(10, 20), make=make)], lambda _: 1e-3)
    assert rates["int8_tops"].how == "a way, 10"
    assert "20" in failed["int8_tops"]


def test_no_larger_size_is_tried_after_a_long_call():
    tried = []
    way = build_way(sizes=(10, 20), make=lambda size: lambda: tried.append(size))
    best([way], lambda call: call() or peak_rates.LONGEST_CALL_S + 1)
    assert tried == [10]


def test_a_time_is_the_median_of_warm_samples_of_many_calls(monkeypatch):
    monkeypatch.setattr(peak_rates, "WARM_UP_S", 0.0)
    monkeypatch.setattr(peak_rates, "MEASURE_S", 0.0)
    times = iter([9.0, 0.004, 8.0, 0.006, 0.006, 0.001, 0.003, 0.002])
    asked = []

    def sample(call, repeats):
        asked.append(repeats)
        return next(times)

    # First call, estimate, three to warm up until two repeat, three that count.
    assert seconds(lambda: None, sample) == 0.002
    assert asked == [1, 1, 5, 5, 5, 5, 5, 5]


SMALL = """
import sys
from slidesparse_bench.worker import peak_rates
peak_rates.GEMM_SIZES["cpu"] = (64,)
peak_rates.BUFFER_BYTES["cpu"] = (2**20,)
peak_rates.SAMPLE_S = peak_rates.WARM_UP_S = peak_rates.MEASURE_S = 1e-3
sys.exit(peak_rates.main(sys.argv[1:]))
"""


def test_the_program_measures_this_cpu(tmp_path):
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    result = tmp_path / "rates.json"
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(result)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = decode(PeakRates, read_json(result))
    assert found.device_kind == "cpu"
    assert {peaks.INT8, peaks.BF16, peaks.MEMORY} == set(found.rates)
    assert "no 8-bit floating point units" in found.failed[peaks.FP8]


def test_the_program_wants_one_file(capsys):
    assert peak_rates.main([]) == 2
    assert "usage" in capsys.readouterr().err
