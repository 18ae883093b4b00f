"""`python -m slidesparse_bench.worker.gemm_bench REQUEST`: GEMMs, one after the other.

Appends what it measures to `gemm_wire.LINES` beside the request. A task that fails is a row with
its reason; an error that leaves the CUDA context unusable ends the program after that row, and so
does, without any row, a disk that takes no more.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from slidesparse_bench.errors import DISK_FULL
from slidesparse_bench.gemm_wire import (
    EXIT_DEVICE_LOST,
    EXIT_NOT_WRITTEN,
    LINES,
    NOT_WRITTEN,
    Facts,
    GemmRequest,
    Numbers,
    Row,
    RowState,
    Task,
    append_line,
)
from slidesparse_bench.vllm_plugin.event_timing import Call
from slidesparse_bench.vllm_plugin.ops import library_of
from slidesparse_bench.wire import Spread, decode, read_json
from slidesparse_bench.worker.__main__ import die_with_parent
from slidesparse_bench.worker.gemm_check import check
from slidesparse_bench.worker.gemm_timing import (
    CudaTimer,
    HostTimer,
    Timer,
    copy_of,
    copy_tb_per_second,
)
from slidesparse_bench.worker.gemm_ways import LibraryOf, Refused, random_data, way_of
from slidesparse_bench.worker.host import Host

DEFAULT_CACHE_BYTES = 128 * 2**20
"""Where torch does not tell. Larger than the L2 cache of Ampere, Hopper and Ada."""


def main(arguments: list[str]) -> int:
    """Measure every task of the request; 0 when each has its row."""
    if len(arguments) != 1:
        print("usage: python -m slidesparse_bench.worker.gemm_bench REQUEST", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    request = decode(GemmRequest, read_json(path))
    die_with_parent()
    if request.device_kind == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no CUDA device; install a build of torch for it")
        return 1
    device = torch.device("cuda", 0) if request.device_kind == "cuda" else torch.device("cpu")
    facts, timer = _facts_and_timer(device, cold=request.cold)
    lines = path.with_name(LINES)
    measure = partial(measure_task, seed=request.seed, device=device, timer=timer)
    try:
        append_line(lines, facts=facts)
        return measure_tasks(request.tasks, lines, measure, lambda: _is_usable(device))
    except OSError as error:
        with contextlib.suppress(OSError):  # the log may be on the same disk
            print(f"{NOT_WRITTEN}{error}", flush=True)
        return EXIT_NOT_WRITTEN


def measure_tasks(
    tasks: list[Task],
    lines: Path,
    measure: Callable[[Task], Numbers],
    usable: Callable[[], bool],
) -> int:
    """A row for every task, until `usable` says after a failure that the device is lost.

    Raises:
        OSError: a line or the log cannot be written, or a task has found its disk full.
    """
    for task in tasks:
        append_line(lines, begins=task)
        print(task.id, flush=True)
        row = _row(task, measure)
        append_line(lines, row=row)
        if row.state is RowState.FAILED and not usable():
            print(f"the CUDA context is lost after {task.id}", flush=True)
            return EXIT_DEVICE_LOST
    return 0


def _row(task: Task, measure: Callable[[Task], Numbers]) -> Row:
    try:
        return Row(task, RowState.MEASURED, numbers=measure(task))
    except Refused as reason:
        return Row(task, RowState.REFUSED, str(reason))
    except torch.OutOfMemoryError as error:
        return Row(task, RowState.FAILED, f"out of memory: {_first_line(error)}")
    except Exception as error:  # libraries, torch and vLLM share no base
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise  # no fault of the GEMM, and the next would meet the same
        traceback.print_exc()
        return Row(task, RowState.FAILED, f"{type(error).__name__}: {_first_line(error)}")


def measure_task(
    task: Task,
    *,
    seed: int,
    device: torch.device,
    timer: Timer,
    libraries: LibraryOf = library_of,
) -> Numbers:
    """Check one GEMM on fresh random data, then time it.

    Raises:
        Refused: the backend cannot do this task.
        WrongResult: it did something else.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()  # sizes differ by a thousand, and fragments of one starve another
    way = way_of(task, random_data(task, seed, device), libraries)
    raw = way.multiply()
    error = check(raw[: task.m, : task.n], way.q_x, way.weight)
    output_type = str(raw.dtype).removeprefix("torch.")
    dequantize_ms = _latency_of(way.dequantize and partial(way.dequantize, raw), timer)
    del raw  # 10 GB at 65536 x 37888: the timed calls need the room
    latency, repeats = timer.latency(way.multiply)
    moved = way.quantize_bytes if device.type == "cuda" else None
    copy = copy_of(moved) if moved else None
    return Numbers(
        latency_ms=latency,
        repeats=repeats,
        error=error,
        output_type=output_type,
        emulated=way.emulated,
        library=way.library,
        algorithm=way.algorithm(),
        weight_bytes=way.weight_bytes,
        host_us=timer.host_us(way.multiply),
        quantize_ms=_latency_of(way.quantize, timer),
        quantize_bytes=way.quantize_bytes,
        copy_ms=_latency_of(copy, timer),
        dequantize_ms=dequantize_ms,
        workspace_bytes=way.workspace_bytes,
    )


def _latency_of(call: Call | None, timer: Timer) -> Spread | None:
    return timer.latency(call)[0] if call else None


def _facts_and_timer(device: torch.device, *, cold: bool) -> tuple[Facts, Timer]:
    version = str(torch.__version__)
    if device.type != "cuda":
        return Facts("cpu", "CPU", version, None, None, None), HostTimer()
    properties = torch.cuda.get_device_properties(device)
    cache_bytes = int(getattr(properties, "L2_cache_size", 0)) or DEFAULT_CACHE_BYTES
    host = Host()
    host.settle()
    timer = CudaTimer(cache_bytes, cold=cold, host=host)
    copy = copy_tb_per_second(timer)
    cuda = str(torch.version.cuda)
    return Facts("cuda", str(properties.name), version, cuda, cache_bytes, copy), timer


def _is_usable(device: torch.device) -> bool:
    """Whether the device still computes: an illegal access, say, makes every later call fail."""
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return float(torch.ones(1, device=device).sum()) == 1.0
    except Exception:  # noqa: BLE001 - torch raises AcceleratorError or RuntimeError, by version
        return False


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # what a full disk did not take is still in its buffer
            stream.flush()
    # Destructors of a lost CUDA context may hang or crash.
    os._exit(code)
