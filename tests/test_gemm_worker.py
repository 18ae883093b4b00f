"""The program that measures: real on the CPU, and with libraries that go wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from gemm_builders import build_numbers, build_task
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.gemm_wire import (
    EXIT_DEVICE_LOST,
    EXIT_NOT_WRITTEN,
    LINES,
    NOT_WRITTEN,
    REQUEST,
    GemmRequest,
    RowState,
    append_line,
    read_lines,
)
from slidesparse_bench.units import MIB
from slidesparse_bench.vllm_plugin import event_timing
from slidesparse_bench.vllm_plugin.emulated import EmulatedGemm
from slidesparse_bench.wire import write_json
from slidesparse_bench.worker import gemm_bench, gemm_timing
from slidesparse_bench.worker.gemm_check import WrongResult
from slidesparse_bench.worker.gemm_timing import HostTimer
from slidesparse_bench.worker.gemm_ways import Refused, random_data, way_of
from slidesparse_bench.worker.host import AnyHost

CPU = torch.device("cpu")
SMALL = {"m": 33, "n": 40, "k": 72}


def small_task(backend="cusparselt", sparsity="2:8", **changes):
    return build_task(backend, sparsity, **{**SMALL, **changes})


def run_program(folder, request, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
    write_json(folder / REQUEST, request)
    done = subprocess.run(
        [sys.executable, "-m", "slidesparse_bench.worker.gemm_bench", folder / REQUEST],
        stdout=stdout,
        stderr=stderr,
        text=True,
        check=False,
        env={**os.environ, "SLIDESPARSE_CAMPAIGN": str(os.getpid()), "CUDA_VISIBLE_DEVICES": ""},
    )
    return done, read_lines(folder / LINES)


def measure(task, libraries):
    return gemm_bench.measure_task(task, seed=0, device=CPU, timer=HostTimer(), libraries=libraries)


def measured_by(library_class):
    return lambda name, _: library_class(name, sparse=name == "cusparselt")


class OneSumWrong(EmulatedGemm):
    def multiply(self, q_x, packed, n, raw_dtype):
        out = super().multiply(q_x, packed, n, raw_dtype)
        out[7, 11] += out.float().abs().max().to(out.dtype)
        return out


class ForgetsTheLastRows(EmulatedGemm):
    """As a kernel with 32-bit offsets does: what it should have written stays as it was."""

    def multiply(self, q_x, packed, n, raw_dtype):
        out = super().multiply(q_x, packed, n, raw_dtype)
        out[32:] = 0
        return out


class OutOfMemory(EmulatedGemm):
    def multiply(self, q_x, packed, n, raw_dtype):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.25 GiB.\nmore")


def test_the_program_measures_every_backend_and_sparsity_on_the_cpu(tmp_path):
    tasks = [
        small_task(backend, sparsity, quantization=quantization, m=m)
        for quantization in Quantization
        for backend, sparsity in [("cublaslt", None), ("cusparselt", "2:4"), ("cusparselt", "2:10")]
        for m in (1, 33)
    ]
    done, lines = run_program(tmp_path, GemmRequest(tasks, "cpu", seed=3, cold=True))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.task for row in lines.rows] == tasks
    assert {row.state for row in lines.rows} == {RowState.MEASURED}
    assert all(row.numbers.emulated for row in lines.rows)
    assert {row.numbers.error for row in lines.rows} == {0.0}
    assert lines.facts.device_kind == "cpu"


def test_a_backend_that_cannot_do_a_size_is_refused_and_the_rest_goes_on(tmp_path):
    tasks = [small_task("cutlass", None, k=70), small_task()]
    done, lines = run_program(tmp_path, GemmRequest(tasks, "cpu", seed=0, cold=True))
    assert done.returncode == 0
    assert [row.state for row in lines.rows] == [RowState.REFUSED, RowState.MEASURED]
    assert "multiples of 16" in lines.rows[0].reason


def test_a_torch_without_cuda_says_so_before_it_measures(tmp_path):
    done, lines = run_program(tmp_path, GemmRequest([small_task()], "cuda", seed=0, cold=True))
    assert done.returncode == 1
    assert "sees no CUDA device" in done.stdout
    assert (lines.facts, lines.begun, lines.rows) == (None, None, [])


def test_the_program_tells_how_it_is_used():
    assert gemm_bench.main([]) == 2


@pytest.mark.parametrize("library", [OneSumWrong, ForgetsTheLastRows])
@pytest.mark.parametrize("quantization", list(Quantization))
@pytest.mark.parametrize(("backend", "sparsity"), [("cublaslt", None), ("cusparselt", "2:8")])
def test_a_library_that_computes_something_else_is_caught(library, quantization, backend, sparsity):
    task = small_task(backend, sparsity, quantization=quantization)
    assert measure(task, measured_by(EmulatedGemm)).repeats > 0
    with pytest.raises(WrongResult):
        measure(task, measured_by(library))


def test_a_wrong_result_is_a_failed_row_and_no_number(tmp_path):
    lines = tmp_path / LINES
    wrong = partial(measure, libraries=measured_by(OneSumWrong))
    assert gemm_bench.measure_tasks([small_task()], lines, wrong, lambda: True) == 0
    row = read_lines(lines).rows[0]
    assert (row.state, row.numbers) == (RowState.FAILED, None)
    assert row.reason.startswith("WrongResult: wrong result: 1 of ")


class FullCache(EmulatedGemm):
    def multiply(self, q_x, packed, n, raw_dtype):
        raise OSError(errno.ENOSPC, "No space left on device", "/cache/kernel")


class NoSuchFile(EmulatedGemm):
    def multiply(self, q_x, packed, n, raw_dtype):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "libcublasLt.so")


def test_no_task_is_failed_for_a_full_disk(tmp_path):
    lines = tmp_path / LINES
    full = partial(measure, libraries=measured_by(FullCache))
    with pytest.raises(OSError, match="No space left on device: '/cache/kernel'"):
        gemm_bench.measure_tasks([small_task()], lines, full, lambda: True)
    assert read_lines(lines).rows == []


def test_a_file_that_is_missing_is_the_failure_of_its_task(tmp_path):
    lines = tmp_path / LINES
    without = partial(measure, libraries=measured_by(NoSuchFile))
    assert gemm_bench.measure_tasks([small_task()], lines, without, lambda: True) == 0
    (row,) = read_lines(lines).rows
    assert row.state is RowState.FAILED


def test_a_program_that_cannot_write_its_lines_says_so_and_leaves(tmp_path):
    (tmp_path / LINES).mkdir()
    done, _ = run_program(tmp_path, GemmRequest([small_task()], "cpu", seed=0, cold=True))
    assert done.returncode == EXIT_NOT_WRITTEN
    assert done.stdout.splitlines()[-1] == (
        f"{NOT_WRITTEN}[Errno 21] Is a directory: '{tmp_path / LINES}'"
    )


def test_a_program_whose_log_is_full_as_well_leaves_with_the_same_code(tmp_path):
    request = GemmRequest([small_task()], "cpu", seed=0, cold=True)
    with Path("/dev/full").open("w") as log:
        done, lines = run_program(tmp_path, request, stdout=log, stderr=log)
    assert done.returncode == EXIT_NOT_WRITTEN
    assert lines.rows == []


def test_running_out_of_memory_is_a_row_with_one_line_of_reason(tmp_path):
    lines = tmp_path / LINES
    tasks = [small_task(), small_task(m=1)]
    full = partial(measure, libraries=measured_by(OutOfMemory))
    assert gemm_bench.measure_tasks(tasks, lines, full, lambda: True) == 0
    reasons = {row.reason for row in read_lines(lines).rows}
    assert reasons == {"out of memory: CUDA out of memory. Tried to allocate 9.25 GiB."}


def test_a_lost_device_ends_the_program_after_the_row_that_lost_it(tmp_path):
    lines = tmp_path / LINES

    def illegal_access(task):
        if task.m == 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return build_numbers()

    tasks = [small_task(m=m) for m in (1, 2, 3)]
    code = gemm_bench.measure_tasks(tasks, lines, illegal_access, lambda: False)
    assert code == EXIT_DEVICE_LOST
    written = read_lines(lines)
    assert [(row.task.m, row.state.value) for row in written.rows] == [
        (1, "measured"),
        (2, "failed"),
    ]
    assert "illegal memory access" in written.rows[1].reason


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_lines_that_are_read_while_they_are_written_arrive_once_and_whole(first, second):
    with tempfile.TemporaryDirectory() as folder:
        lines, grows = Path(folder) / LINES, Path(folder) / "grows"
        tasks = [small_task(m=1), small_task(m=2)]
        gemm_bench.measure_tasks(tasks, lines, lambda _: build_numbers(), lambda: True)
        whole = lines.read_bytes()
        rows, end = [], 0
        for length in (*sorted([first, second]), len(whole)):
            grows.write_bytes(whole[:length])
            read = read_lines(grows, end)
            rows, end = [*rows, *read.rows], read.end
    assert [row.task for row in rows] == tasks
    assert end == len(whole)


def test_the_line_that_a_dying_program_began_is_passed_over(tmp_path):
    lines = tmp_path / LINES
    lines.write_text('{"row": {"task"')
    append_line(lines, program=2)
    gemm_bench.measure_tasks([small_task()], lines, lambda _: build_numbers(), lambda: True)
    assert len(read_lines(lines).rows) == 1


def test_all_backends_of_a_size_get_the_same_data_and_other_sizes_other_data():
    dense, sparse = (random_data(small_task(*way), 0, CPU) for way in [("cublaslt", None), ()])
    assert torch.equal(dense.x, sparse.x)
    assert torch.equal(dense.weight, sparse.weight)
    assert not torch.equal(dense.weight, random_data(small_task(m=34), 0, CPU).weight)
    assert not torch.equal(dense.weight, random_data(small_task(), 1, CPU).weight)


@pytest.mark.parametrize("quantization", list(Quantization))
def test_weights_have_no_zeros_before_they_are_pruned(quantization):
    task = small_task(quantization=quantization)
    data = random_data(task, 0, CPU)
    assert int((data.weight.float() == 0).sum()) == 0
    pruned = way_of(task, data).weight.float()
    assert int((pruned == 0).sum()) == SMALL["n"] * SMALL["k"] * 2 // 8


def test_quantization_counts_what_it_reads_and_writes_stretching_included():
    task = replace(small_task(), sparsity=Sparsity(8))
    way = way_of(task, random_data(task, 0, CPU))
    k_stretched = 128  # 72 / 8 groups of 12, up to a multiple of 32
    assert way.quantize_bytes == SMALL["m"] * (2 * SMALL["k"] + k_stretched + 4)


@pytest.mark.parametrize("quantization", list(Quantization))
def test_torch_as_it_comes_computes_the_same_product(quantization):
    task = small_task("torch", None, quantization=quantization, n=48, k=64)
    found = gemm_bench.measure_task(task, seed=0, device=CPU, timer=HostTimer())
    assert found.error <= (0.0 if quantization is Quantization.INT8 else 2**-8)
    assert found.library.startswith("torch ")
    assert found.quantize_ms is None


def test_vllm_gets_its_operands_as_its_layers_pass_them(monkeypatch):
    def cutlass_scaled_mm(a, b, scale_a, scale_b, out_dtype):
        assert (a.shape, b.shape, b.stride()) == ((33, 64), (64, 48), (1, 64))
        assert (scale_a.shape, scale_b.shape) == ((33, 1), (48, 1))
        return torch._int_mm(a, b).to(out_dtype)

    operations = SimpleNamespace(cutlass_scaled_mm=cutlass_scaled_mm)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="0.25.1"))
    monkeypatch.setitem(sys.modules, "vllm._custom_ops", operations)
    task = small_task("cutlass", None, n=48, k=64)
    found = gemm_bench.measure_task(task, seed=0, device=CPU, timer=HostTimer())
    assert (found.error, found.output_type) == (0.0, "bfloat16")
    assert found.library == "vllm 0.25.1, _custom_ops.cutlass_scaled_mm"


def test_without_vllm_cutlass_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    task = small_task("cutlass", None, n=48, k=64)
    with pytest.raises(Refused, match="vLLM is not installed"):
        way_of(task, random_data(task, 0, CPU))


def test_torch_refuses_what_its_int8_product_cannot_do_on_cuda():
    task = small_task("torch", None, m=16, n=48, k=64)
    with pytest.raises(Refused, match="m above 16"):
        way_of(task, random_data(task, 0, CPU))


class RecordedCuda:
    """torch's events, and the order of everything that goes to the device. A call takes 2 ms."""

    def __init__(self):
        self.log = []

    def Event(self, *, enable_timing):  # noqa: N802 - torch's name
        assert enable_timing
        at = []

        def record():
            self.log.append("mark")
            at.append(2.0 * self.log.count("call"))

        return SimpleNamespace(
            record=record,
            synchronize=lambda: self.log.append("wait"),
            at=at,
            elapsed_time=lambda end: end.at[0] - at[0],
        )

    def _sleep(self, cycles):
        self.log.append("pause")

    def synchronize(self):
        self.log.append("wait")


@pytest.fixture
def recorded(monkeypatch):
    cuda = RecordedCuda()
    fake = SimpleNamespace(
        cuda=cuda,
        zeros=lambda size, device: size,
        sum=lambda _: cuda.log.append("flush"),
    )
    monkeypatch.setattr(gemm_timing, "torch", fake)
    monkeypatch.setattr(event_timing, "torch", fake)
    return cuda


def test_a_cold_call_is_timed_alone_after_the_cache_is_emptied(recorded):
    timer = gemm_timing.CudaTimer(50 * MIB, cold=True, host=AnyHost())
    latency, repeats = timer.latency(lambda: recorded.log.append("call"))
    text = " ".join(recorded.log)
    batch = "pause " + "flush mark call mark " * gemm_timing.BATCH + "wait "
    assert text + " " == batch * (len(recorded.log) // len(batch.split()))
    assert (latency.median, latency.p05, latency.p95) == (2.0, 2.0, 2.0)
    assert gemm_timing.LEAST <= repeats <= gemm_timing.MOST_ROUNDS * gemm_timing.MOST


def test_warm_calls_follow_each_other(recorded):
    timer = gemm_timing.CudaTimer(50 * MIB, cold=False, host=AnyHost())
    latency, _ = timer.latency(lambda: recorded.log.append("call"))
    assert "flush" not in recorded.log
    assert recorded.log[:5] == ["pause", "mark", "call", "mark", "call"]
    assert latency.median == 2.0


class GivenRounds(gemm_timing.CudaTimer):
    """Its rounds take what they are said to take."""

    def __init__(self, rounds_ms):
        self.rounds_ms = iter(rounds_ms)

    def _round(self, call, seconds, *, least):
        return next(self.rounds_ms)


CALM, SCATTERED = [2.0, 2.01] * 25, [2.0, 1.0, 3.0, 2.0, 9.0] * 10


def test_a_call_counts_once_it_takes_the_same_from_round_to_round():
    warm_up = [[2.0], [3.0], [3.5], [3.6], [3.61]]
    latency, repeats = GivenRounds([*warm_up, CALM]).latency(None)
    assert (latency.p95, repeats) == (2.01, len(CALM))


def test_the_warm_up_of_a_call_that_never_gets_steady_ends():
    warm_up = [[2.0**number] for number in range(gemm_timing.MOST_WARM_UPS)]
    assert GivenRounds([*warm_up, CALM]).latency(None)[1] == len(CALM)


def test_a_call_that_scatters_is_measured_in_more_rounds():
    warm_up = [[2.0]] * 3
    again = GivenRounds([*warm_up, *[SCATTERED] * gemm_timing.MOST_ROUNDS])
    latency, repeats = again.latency(None)
    assert repeats == gemm_timing.MOST_ROUNDS * len(SCATTERED)
    assert latency.ci95_half_width > gemm_timing.PRECISE * latency.mean
    assert GivenRounds([*warm_up, SCATTERED, CALM * 200]).latency(None)[1] == 10050


def test_host_time_waits_for_the_device_only_between_rounds(recorded):
    timer = gemm_timing.CudaTimer(50 * MIB, cold=True, host=AnyHost())
    assert timer.host_us(lambda: recorded.log.append("call")) > 0
    rounds = " ".join(recorded.log).split("wait")
    assert [part.split().count("call") for part in rounds[1:-1]] == [
        gemm_timing.HOST_CALLS
    ] * gemm_timing.HOST_ROUNDS


class SlowHost(AnyHost):
    """Slow until it was settled so often."""

    def __init__(self, settles):
        self.missing = settles

    def settle(self):
        self.missing -= 1

    def slowdown(self):
        return 2.0 if self.missing > 0 else 1.0


@pytest.mark.parametrize(("settles", "us"), [(1, 10.0), (gemm_timing.HOST_TRIES, 10.0), (99, 20.0)])
def test_host_time_is_that_of_a_usual_call_on_a_fast_cpu(recorded, monkeypatch, settles, us):
    """The first call of a round takes 50 us and an undisturbed one 10 us, twice that on a slow CPU."""
    host, now = SlowHost(settles), SimpleNamespace(time=0.0)
    monkeypatch.setattr(gemm_timing.time, "perf_counter", lambda: now.time)

    def call():
        first = recorded.log[-1] == "wait"
        recorded.log.append("call")
        now.time += (50e-6 if first else 10e-6) * host.slowdown()

    timer = gemm_timing.CudaTimer(50 * MIB, cold=True, host=host)
    assert timer.host_us(call) == pytest.approx(us)
