"""Timing one call: on CUDA by events, elsewhere by the clock.

Cold: before every timed call a buffer of `FLUSH_SHARE` times the last-level cache is read, so that
operands come from memory. It is read and not written: lines that were written would have to go back
to memory while the call runs. Its time also hides what the host takes to launch the call, and so
does a pause on the device before every batch: the device never waits for the host.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from typing import Protocol

import torch

from slidesparse_bench.settings import Measurement
from slidesparse_bench.spread import spread
from slidesparse_bench.telemetry import is_slow
from slidesparse_bench.units import GIB, MIB
from slidesparse_bench.vllm_plugin.event_timing import Call, back_to_back_ms, pause
from slidesparse_bench.wire import Spread
from slidesparse_bench.worker.host import Host
from slidesparse_bench.worker.measure import is_steady, precision_reached

WARM_UP_S, MOST_WARM_UPS, STEADY = 0.05, 12, 0.01
"""Rounds of warm-up, until they are so close to each other: what a GEMM takes that meets the power
limit changes for a while."""
MEASURE_S, MOST_ROUNDS, PRECISE = 0.15, 4, 0.01
"""Rounds are added until the interval is so narrow, as a share of the mean."""
LEAST, MOST = 20, 500
"""Timed calls of a round: at least and at most so many, else as many as `MEASURE_S` has room for."""
BATCH = 10
FLUSH_SHARE = 4
LEAST_FLUSH_BYTES = 128 * MIB
HOST_TRIES, HOST_ROUNDS, HOST_CALLS = 5, 10, 20
"""Tried again while the CPU is slow. So few calls fit into the launch queue: a full one would make the
host wait for the device."""
HOST_S, LEAST_HOST_ROUNDS = 0.5, 2
"""A try ends after so long, as every round waits for the device at its end."""
CPU_REPEATS = 3
COPY_BYTES = GIB


class Timer(Protocol):
    def latency(self, call: Call) -> tuple[Spread, int]:
        """Time of one call in ms, and how many were timed."""

    def host_us(self, call: Call) -> float | None:
        """What a call costs the calling thread; None where it computes there itself.

        The median call of the quickest of a few rounds: the first calls after a wait find the CPU's
        caches cold, and what takes longer was disturbed.
        """


class CudaTimer:
    """On the current CUDA device.

    Args:
        cache_bytes: of its last-level cache.
        cold: empty it before every timed call.
        host: settled on fast CPUs, and again when it has become slow, as in `worker.measure`.
    """

    def __init__(self, cache_bytes: int, *, cold: bool, host: Host) -> None:
        self._host = host
        size = max(LEAST_FLUSH_BYTES, FLUSH_SHARE * cache_bytes)
        self._flushed = torch.zeros(size // 4, device="cuda") if cold else None

    def latency(self, call: Call) -> tuple[Spread, int]:
        warm_ms: list[float] = []
        while len(warm_ms) < MOST_WARM_UPS and not is_steady(warm_ms, STEADY):
            warm_ms.append(statistics.median(self._round(call, WARM_UP_S, least=1)))
        times_ms: list[float] = []
        for _ in range(MOST_ROUNDS):
            times_ms += self._round(call, MEASURE_S, least=LEAST)
            found = spread([times_ms])
            if precision_reached(found, Measurement(precision=PRECISE)):
                break
        return found, len(times_ms)

    def host_us(self, call: Call) -> float | None:
        fastest_us = math.inf
        for _ in range(HOST_TRIES):
            if is_slow(self._host.slowdown()):
                self._host.settle()
            fastest_us = min(fastest_us, self._quickest_round_us(call))
            if not is_slow(self._host.slowdown()):
                break
        torch.cuda.synchronize()
        return fastest_us

    def _quickest_round_us(self, call: Call) -> float:
        rounds_us: list[float] = []
        began = time.perf_counter()
        while len(rounds_us) < HOST_ROUNDS:
            rounds_us.append(self._median_us(call))
            if len(rounds_us) >= LEAST_HOST_ROUNDS and time.perf_counter() - began > HOST_S:
                break
        return min(rounds_us)

    def _median_us(self, call: Call) -> float:
        torch.cuda.synchronize()
        moments = [time.perf_counter()]
        for _ in range(HOST_CALLS):
            call()
            moments.append(time.perf_counter())
        return statistics.median(end - begin for begin, end in itertools.pairwise(moments)) * 1e6

    def _round(self, call: Call, seconds: float, *, least: int) -> list[float]:
        times_ms: list[float] = []
        began = time.perf_counter()
        while len(times_ms) < least or (
            len(times_ms) < MOST and time.perf_counter() - began < seconds
        ):
            if self._flushed is None:
                times_ms += back_to_back_ms(call, BATCH)
            else:
                times_ms += self._cold_batch(call)
        return times_ms

    def _cold_batch(self, call: Call) -> list[float]:
        marks = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(BATCH)
        ]
        pause()
        for begin, end in marks:
            torch.sum(self._flushed)
            begin.record()
            call()
            end.record()
        marks[-1][1].synchronize()
        return [float(begin.elapsed_time(end)) for begin, end in marks]


class HostTimer:
    """Where calls compute in the calling thread. Few repeats: nobody reads times of an emulation."""

    def latency(self, call: Call) -> tuple[Spread, int]:
        times_ms = []
        for _ in range(CPU_REPEATS):
            began = time.perf_counter()
            call()
            times_ms.append((time.perf_counter() - began) * 1e3)
        return spread([times_ms]), len(times_ms)

    def host_us(self, call: Call) -> float | None:
        """A call is all host time."""
        del call
        return None


def copy_of(bytes_moved: int) -> Call:
    """A copy on the current CUDA device that reads and writes so many bytes together."""
    source = torch.ones(bytes_moved // 2, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def copy_tb_per_second(timer: Timer) -> float:
    """10^12 bytes read and written per second by a copy of 1 GiB."""
    latency, _ = timer.latency(copy_of(2 * COPY_BYTES))
    return 2 * COPY_BYTES / latency.median / 1e9
