"""An engine whose step times are written down beforehand, and what is asked of it."""

import itertools

from slidesparse_bench.cell import Cell
from slidesparse_bench.settings import Measurement
from slidesparse_bench.wire import Round, Step
from slidesparse_bench.worker import measure

PREFILL = Cell.parse("a.int8.native.prefill.m512")
DECODE = Cell.parse("a.int8.native.decode.m4")


def at_once(**changes):
    """Settings without the least times, so that a script of a few steps is enough."""
    return Measurement(min_warmup_s=0, min_measure_s=0, lead_in_s=0, **changes)


class ScriptedEngine:
    """Runs iterations whose step times come from a given sequence."""

    def __init__(self, cell, times_ms):
        self.cell = cell
        self.times = iter(times_ms)
        self.calls = []

    def run(self, iterations, lead):
        self.calls.append((lead, iterations))
        return a_round(self.cell, iterations, self.times, lead)


def a_round(cell, iterations, times, lead=0, **changes):
    sizes = [512] if cell is PREFILL else [64] + [4] * 255
    requests = 1 if cell is PREFILL else 4
    total = lead + iterations
    steps = [Step(size, requests, next(times)) for _ in range(total) for size in sizes]
    count = total * requests
    values = {
        "iterations": iterations,
        "elapsed_s": sum(step.time_ms for step in steps) / 1e3,
        "num_requests": count,
        "prompt_tokens": count * cell.workload.prompt_len,
        "output_tokens": count * cell.workload.output_len,
        "steps": steps,
        "lead": lead,
    }
    return Round(**{**values, **changes})


def constant():
    return itertools.repeat(2.0)


def noisy(share):
    """A fixed zigzag of ± share around 2 ms whose neighbours are not alike."""
    pattern = [1, -0.3, 0.7, -1, 0.1, -0.6, 0.9, -0.8]
    return itertools.cycle([2.0 * (1 + share * each) for each in pattern])


def metrics_of(cell, rounds):
    return measure.metrics(
        rounds,
        cell,
        at_once(),
        kernel="K",
        warmup_iterations=1,
        load_time_s=1.0,
        emulated=False,
        memory={},
    )
