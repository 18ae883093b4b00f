"""`python -m slidesparse_bench.worker.peak_rates OUT.json`: what the visible device sustains.

Square matrix products and memory traffic, through torch and, where it is installed for this GPU,
vLLM's CUTLASS kernel. Every rate is the best of its ways and sizes; each of these is the median of
several samples on random data, after a warm-up: operands of zeros would draw less power and so run
at higher clocks than a model's.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slidesparse_bench.units import GIB, MIB
from slidesparse_bench.wire import PeakRate, PeakRates, write_json
from slidesparse_bench.worker.measure import is_steady

TERA = 1e12
GEMM_SIZES = {"cuda": (4096, 8192, 16384), "cpu": (1024, 2048)}
"""m = n = k. Below them launches and idle multiprocessors cost a GPU more than 10 %."""
BUFFER_BYTES = {"cuda": (GIB, 4 * GIB), "cpu": (256 * MIB,)}
"""Many times the largest last-level cache, so that nothing of it is found there again."""

SAMPLE_S = 0.02
"""A sample repeats the call for about this long: far above what a clock or an event costs."""
WARM_UP_S, WARM_UP_LIMIT_S, MEASURE_S = 0.3, 1.5, 0.4
MIN_SAMPLES = 3
LONGEST_CALL_S = 0.15
"""Past this no larger size is tried: it would take eight times as long."""

CUTLASS = "vllm._custom_ops.cutlass_scaled_mm"
FP8_DTYPE = "float8_e4m3fn"

Call = Callable[[], object]


@dataclass(frozen=True)
class Way:
    """One way to reach a rate: `make(size)` prepares a call that does `work(size)` of it.

    `work` is in operations, or in bytes moved.
    """

    rate: str
    how: str
    make: Callable[[int], Call]
    sizes: Sequence[int]
    work: Callable[[int], float]


def main(arguments: list[str]) -> int:
    """Measure and write; 0 when there is a result."""
    if len(arguments) != 1:
        print("usage: python -m slidesparse_bench.worker.peak_rates OUT.json", file=sys.stderr)
        return 2
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    sample = _cuda_sample if device == "cuda" else _host_sample
    rates, failed = best(ways(device), lambda call: seconds(call, sample))
    found = PeakRates(
        device_kind=device,
        device_name=torch.cuda.get_device_name() if device == "cuda" else "CPU",
        torch=str(torch.__version__),
        rates=rates,
        failed=failed,
    )
    write_json(Path(arguments[0]), found)
    return 0


def best(
    ways: Iterable[Way], seconds: Callable[[Call], float]
) -> tuple[dict[str, PeakRate], dict[str, str]]:
    """The highest rate of each name, and by name the last way that failed, with its reason.

    A way that fails, for lack of memory or of support, does not stop the rest.
    """
    rates: dict[str, PeakRate] = {}
    failed: dict[str, str] = {}
    for way in ways:
        try:
            for found in _measure(way, seconds):
                print(f"{way.rate} {found.value:.4g}: {found.how}", flush=True)
                rates[way.rate] = max(rates.get(way.rate, found), found, key=lambda r: r.value)
        except Exception as error:  # noqa: BLE001 - torch, CUDA and vLLM errors share no base
            failed[way.rate] = f"{way.how}: {_first_line(error)}"
            print(f"{way.rate} failed: {failed[way.rate]}", flush=True)
    return rates, failed


def _measure(way: Way, seconds: Callable[[Call], float]) -> Iterator[PeakRate]:
    for size in way.sizes:
        took_s = seconds(way.make(size))
        yield PeakRate(way.work(size) / took_s / TERA, f"{way.how}, {size}")
        if took_s > LONGEST_CALL_S:
            return


def seconds(call: Call, sample: Callable[[Call, int], float]) -> float:
    """How long one call takes, steady: the median of samples of several calls each.

    `sample(call, repeats)` is the mean time of one call in seconds.
    """
    sample(call, 1)  # loads, compiles and allocates
    repeats = max(1, math.ceil(SAMPLE_S / max(1e-9, sample(call, 1))))
    _samples(
        lambda: sample(call, repeats),
        lambda so_far, passed_s: (
            passed_s >= WARM_UP_LIMIT_S or (passed_s >= WARM_UP_S and is_steady(so_far))
        ),
    )
    measured = _samples(
        lambda: sample(call, repeats),
        lambda so_far, passed_s: passed_s >= MEASURE_S and len(so_far) >= MIN_SAMPLES,
    )
    return statistics.median(measured)


def _samples(
    sample: Callable[[], float], enough: Callable[[list[float], float], bool]
) -> list[float]:
    began, taken = time.perf_counter(), [sample()]
    while not enough(taken, time.perf_counter() - began):
        taken.append(sample())
    return taken


def _host_sample(call: Call, repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def _cuda_sample(call: Call, repeats: int) -> float:
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / repeats


def ways(device: str) -> Iterator[Way]:
    """All ways to try; `device` is torch's name of it, `cuda` or `cpu`."""
    gemms: list[tuple[str, str, Callable[[str, int], Call]]] = [
        ("int8_tops", "torch._int_mm", _int_mm),
        ("bf16_tflops", "torch.mm", _mm),
        ("fp8_tflops", "torch._scaled_mm, one scale", _scaled_mm),
        ("fp8_tflops", "torch._scaled_mm, a scale per row", partial(_scaled_mm, per_row=True)),
    ]
    if device == "cuda":
        # INT8 on Hopper: torch._int_mm reaches half of it.
        gemms.append(("int8_tops", CUTLASS, partial(_cutlass, dtype="int8")))
        gemms.append(("fp8_tflops", CUTLASS, partial(_cutlass, dtype=FP8_DTYPE)))
    for rate, how, make in gemms:
        yield Way(rate, how, partial(make, device), GEMM_SIZES[device], lambda n: 2.0 * n**3)
    memory, sizes = "memory_tb_per_second", BUFFER_BYTES[device]
    yield Way(
        memory, "copy, bytes read and written", partial(_copy, device), sizes, lambda n: 2 * n
    )
    yield Way(memory, "sum, bytes read", partial(_sum, device), sizes, lambda n: n)


def _int_mm(device: str, size: int) -> Call:
    import torch

    x, w = _operands(device, size, "int8")
    return lambda: torch._int_mm(x, w)  # noqa: SLF001 - torch has no public INT8 product


def _mm(device: str, size: int) -> Call:
    import torch

    x, w = _operands(device, size, "bfloat16")
    return lambda: torch.mm(x, w)


def _scaled_mm(device: str, size: int, *, per_row: bool = False) -> Call:
    import torch

    x, w = _operands(device, size, FP8_DTYPE)
    scale_x = torch.ones((size, 1) if per_row else (), device=device)
    scale_w = torch.ones((1, size) if per_row else (), device=device)
    return lambda: torch._scaled_mm(  # noqa: SLF001 - nor a public FP8 one
        x, w, scale_x, scale_w, out_dtype=torch.bfloat16, use_fast_accum=True
    )


def _cutlass(device: str, size: int, *, dtype: str) -> Call:
    import torch
    from vllm._custom_ops import cutlass_scaled_mm

    x, w = _operands(device, size, dtype)
    scale_x, scale_w = (torch.ones((size, 1), device=device) for _ in range(2))
    return lambda: cutlass_scaled_mm(x, w, scale_x, scale_w, out_dtype=torch.bfloat16)


def _operands(device: str, size: int, dtype: str) -> tuple[Any, Any]:
    """Random x and w: [size, size], w transposed as a linear layer has it.

    Raises:
        NotImplementedError: FP8 where it is emulated, which is no rate of the device.
    """
    import torch

    if dtype == FP8_DTYPE and (device == "cpu" or torch.cuda.get_device_capability() < (8, 9)):
        raise NotImplementedError("this device has no 8-bit floating point units")
    if dtype == "int8":
        integers = {"dtype": torch.int8, "device": device}
        x, w = (torch.randint(-127, 128, (size, size), **integers) for _ in range(2))
    else:
        x, w = (torch.randn(size, size, device=device) for _ in range(2))
    return x.to(getattr(torch, dtype)), w.to(getattr(torch, dtype)).t()


def _copy(device: str, size: int) -> Call:
    import torch

    source = torch.rand(size // 4, device=device)
    target = torch.empty_like(source)
    return partial(target.copy_, source)


def _sum(device: str, size: int) -> Call:
    import torch

    return torch.rand(size // 4, device=device).sum  # type: ignore[no-any-return]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
