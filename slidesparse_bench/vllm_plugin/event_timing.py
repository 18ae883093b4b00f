"""Times of calls on the current CUDA device, by events, without the host's part in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

PAUSE_CYCLES = 3_000_000
"""About 1.5 ms: the host queues a batch of calls in less, and a small GEMM takes less than its
call."""


def pause() -> None:
    """Let the device wait while the host queues what is to be timed."""
    torch.cuda._sleep(PAUSE_CYCLES)  # torch's own tests use it; there is no other


def back_to_back_ms(call: Callable[[], object], calls: int) -> list[float]:
    """The time of each of so many calls in a row, in ms; operands stay in the cache."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(calls + 1)]
    pause()
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    marks[-1].synchronize()
    return [float(a.elapsed_time(b)) for a, b in itertools.pairwise(marks)]
