"""Our cuSPARSELt call against torch's own with every algorithm it has, as a ratio within one run.

    python scripts/bench_raw_gemm.py --model qwen2.5-7b -m 512,4096,16384 --out raw.md

For every layer and M, INT8 and FP8, 2:4 and 2:8, on the same operands: `ours` is what a layer calls
(`GemmLibrary.multiply`: the plan of the searched algorithm, found and launched), `raw` the fastest of
all algorithms that `torch._cslt_sparse_mm` offers. That one describes and plans anew at every call,
for longer than a small GEMM takes; so calls are captured in CUDA graphs, and what is compared is the
device's time. All algorithms are tried first, the best of them again; the fastest and ours then run in
turn, since the least of several times that scatter is too small for any of them.

Which algorithm is the fastest depends on the power that the device may draw, so there are two such
comparisons. *Rested*: a few calls after a rest, at the highest clock, as in small steps that leave the
device waiting for the host. *Under load*: one after the other without a pause until the clock has
settled, as in a prefill of thousands of tokens, which keeps the device at its power limit.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from gpu_bench import write_page

from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.models.catalog import LinearShape, find_architecture
from slidesparse_bench.vllm_plugin.event_timing import (
    LONGEST_REST_MS,
    RESTS,
    Call,
    burst_ms,
    each_ms,
    in_turn,
    rest_ms,
)
from slidesparse_bench.vllm_plugin.gemm import GemmLibrary
from slidesparse_bench.vllm_plugin.ops import library_of, quantize
from slidesparse_bench.vllm_plugin.sparsity import prune, slide
from slidesparse_bench.worker.gemm_ways import DTYPES

SPARSITIES = (Sparsity(4), Sparsity(8))
CALLS = 8
"""In a graph."""
TRIALS, BEST = 3, 3
"""Replays of every algorithm at first, and how many of them are tried again."""
RESTED_ROUNDS = 15
LOADED_ROUNDS, LOADED_S, LEAD_IN = 2, 0.4, 3
"""Turns under load, of so many seconds each, whose second halves count; so many more go before."""
OURS, MOST_ALGORITHMS = -1, 64
"""Our call among the numbers of algorithms, and how many of those are asked for."""
ASKED = 1.05

aten = torch.ops.aten
Graphs = dict[int, torch.cuda.CUDAGraph]
"""By algorithm."""


@dataclass(frozen=True)
class Pair:
    """Median times of one call in ms, and cuSPARSELt's numbers of the algorithms."""

    ours_ms: float
    raw_ms: float
    ours_algorithm: int
    raw_algorithm: int

    @property
    def ratio(self) -> float:
        return self.ours_ms / self.raw_ms

    def cells(self) -> str:
        numbers = f"{self.ours_algorithm}, {self.raw_algorithm}"
        return f"{self.ours_ms:.4f} | {self.raw_ms:.4f} | {self.ratio:.3f} | {numbers}"


@dataclass(frozen=True)
class Compared:
    """One GEMM."""

    layer: str
    quantization: Quantization
    sparsity: Sparsity
    m: int
    rested: Pair
    loaded: Pair

    def __str__(self) -> str:
        return f"{self.layer}, {self.quantization.upper()} {self.sparsity}, M = {self.m}"


Problem = tuple[LinearShape, Quantization, Sparsity, int]
"""A layer, and M."""


def problems_of(model: str, sizes: list[int]) -> list[Problem]:
    layers = find_architecture(model).layer_linears
    return list(itertools.product(layers, Quantization, SPARSITIES, sizes))


def compared(problems: list[Problem]) -> Iterator[Compared]:
    """One after the other."""
    for layer, quantization, sparsity, m in problems:
        library, ours, raw = calls(m, layer.n, layer.k, DTYPES[quantization], sparsity)
        pool = torch.cuda.graph_pool_handle()  # graphs share memory: nobody reads their results
        graphs = {number: captured(call, pool) for number, call in {OURS: ours, **raw}.items()}
        selected = json.loads(library.last_algorithm)["config_id"]
        pairs = [
            Pair(ours_ms, raw_ms, selected, algorithm)
            for ours_ms, raw_ms, algorithm in (
                rested(graphs, selected),
                loaded(graphs, selected),
            )
        ]
        yield Compared(layer.name, quantization, sparsity, m, *pairs)
        del graphs
        torch.cuda.empty_cache()  # what the graphs had, which a capture cannot take back


def calls(
    m: int, n: int, k: int, dtype: torch.dtype, sparsity: Sparsity
) -> tuple[GemmLibrary, Call, dict[int, Call]]:
    """The library, our call of it, and torch's by algorithm, on the same operands."""
    device = torch.device("cuda", torch.cuda.current_device())
    library = library_of("cusparselt", device)
    dense = torch.randint(-127, 128, (n, k), device=device).to(torch.float16).to(dtype)
    weight = slide(prune(dense, sparsity), sparsity)
    x = torch.randn((m, k), device=device, dtype=torch.bfloat16)
    q_x, _ = quantize(x, None, weight.shape[1], sparsity.group, dtype)
    packed = library.pack(weight)
    compressed = aten._cslt_compress(weight)  # noqa: SLF001 - torch has no public name for it
    multiply = aten._cslt_sparse_mm  # noqa: SLF001 - nor for this
    raw = partial(multiply, compressed, q_x.t(), out_dtype=torch.bfloat16, transpose_result=True)

    return (
        library,
        partial(library.multiply, q_x, packed, n, torch.bfloat16),
        {algorithm: partial(raw, alg_id=algorithm) for algorithm in algorithms_of(raw)},
    )


def algorithms_of(raw: Callable[..., object]) -> list[int]:
    """Those that run; torch refuses numbers that are too large, and what does not suit the problem.

    Raises:
        OutOfMemoryError: which says nothing of an algorithm.
    """
    found: list[int] = []
    for algorithm in range(MOST_ALGORITHMS):
        try:
            raw(alg_id=algorithm)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            continue
        found.append(algorithm)
    return found


Found = tuple[float, float, int]
"""Times of ours and of the fastest raw call in ms, and the algorithm of that."""


def rested(graphs: Graphs, selected: int) -> Found:
    """After rests."""
    after_ms = rest_ms(burst_ms(graphs[OURS].replay, 1))

    def time_ms(algorithm: int) -> float:
        return burst_ms(graphs[algorithm].replay, 1, after_ms) / CALLS

    first_ms = in_turn(time_ms, algorithms_in(graphs), TRIALS)
    return compare(first_ms, selected, time_ms, RESTED_ROUNDS)


def loaded(graphs: Graphs, selected: int) -> Found:
    """While the device is busy all the time."""
    replays = math.ceil(LOADED_S * 1e3 / burst_ms(graphs[OURS].replay, 1))

    def time_ms(algorithm: int) -> float:
        return statistics.median(replays_ms([graphs[algorithm]] * replays)[replays // 2 :])

    for _ in range(LEAD_IN):
        time_ms(OURS)
    tried = [replays_ms([graphs[n] for n in algorithms_in(graphs)]) for _ in range(TRIALS)]
    medians = [statistics.median(times) for times in zip(*tried, strict=True)]
    first_ms = dict(zip(algorithms_in(graphs), medians, strict=True))
    return compare(first_ms, selected, time_ms, LOADED_ROUNDS)


def compare(
    first_ms: Mapping[int, float], selected: int, time_ms: Callable[[int], float], rounds: int
) -> Found:
    """Ours with the fastest raw call, which measurements of their own chose.

    The best of the first look are looked at again, and so is the algorithm that ours `selected`.
    """
    best = {*sorted(first_ms, key=first_ms.__getitem__)[:BEST], *({selected} & first_ms.keys())}
    again_ms = in_turn(time_ms, sorted(best), rounds)
    fastest = min(again_ms, key=again_ms.__getitem__)
    times_ms = in_turn(time_ms, [OURS, fastest], rounds)
    return times_ms[OURS], times_ms[fastest], fastest


def algorithms_in(graphs: Graphs) -> list[int]:
    return [algorithm for algorithm in graphs if algorithm != OURS]


def captured(call: Call, pool: tuple[int, int]) -> torch.cuda.CUDAGraph:
    """So many calls as a graph; the first is for searching and planning."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream()):  # `torch.cuda.graph` empties the cache each time
        graph.capture_begin(pool=pool)
        for _ in range(CALLS):
            call()
        graph.capture_end()
    return graph


def replays_ms(graphs: list[torch.cuda.CUDAGraph]) -> list[float]:
    """The device's time of one call of each, one after the other."""
    return [time_ms / CALLS for time_ms in each_ms([graph.replay for graph in graphs])]


def pages(model: str, sizes: list[int]) -> Iterator[str]:
    """The table after every row."""
    problems = problems_of(model, sizes)
    rows: list[Compared] = []
    for row in compared(problems):
        rows.append(row)
        yield page(model, rows, missing=len(problems) - len(rows))


def page(model: str, rows: list[Compared], *, missing: int) -> str:
    """The table, and the worst of it; whether GEMMs are `missing` from it still."""
    device, version = torch.cuda.get_device_name(), torch.__version__
    facts = (
        f"{device}, torch {version}; graphs of {CALLS} calls each, in turn. Rested: medians of "
        f"{RESTED_ROUNDS} replays, each after a rest of {RESTS:g} times its own length (at most "
        f"{LONGEST_REST_MS:g} ms). Under load: medians of {LOADED_ROUNDS} turns of "
        f"{LOADED_S} s each without a pause. The algorithms are cuSPARSELt's own numbers."
    )
    heads = " | ".join(
        f"{name}: ours, ms | raw, ms | ours / raw | algorithms" for name in ("rested", "under load")
    )
    lines = [
        f"# Our cuSPARSELt call against the fastest of torch's: {model}",
        "",
        facts,
        "",
        f"Asked for: at most {ASKED:.2f}.",
        *([f"Not complete: {missing} GEMMs are missing."] if missing else []),
        "",
        told("Rested", {str(row): row.rested.ratio for row in rows}),
        told("Under load", {str(row): row.loaded.ratio for row in rows}),
        "",
        f"| layer | quantization | sparsity | M | {heads} |",
        "|:--|:--|--:|" + "--:|" * 9,
    ]
    lines += [
        f"| {row.layer} | {row.quantization.upper()} | {row.sparsity} | {row.m} | "
        f"{row.rested.cells()} | {row.loaded.cells()} |"
        for row in rows
    ]
    return "\n".join([*lines, ""])


def told(condition: str, ratios: dict[str, float]) -> str:
    """How many are within what is asked for, and the worst."""
    within = sum(ratio <= ASKED for ratio in ratios.values())
    worst = max(ratios, key=ratios.__getitem__)
    return f"- {condition}: {within} of {len(ratios)} are within it; worst {ratios[worst]:.3f} ({worst})"


if __name__ == "__main__":
    write_page(__doc__, "512,4096,16384", pages)
