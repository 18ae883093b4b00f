"""Our cuSPARSELt call against torch's own with every algorithm it has, as a ratio within one run.

    python scripts/bench_raw_gemm.py --model qwen2.5-7b -m 512,4096,16384 --out raw.md

For every layer and M, INT8 and FP8, 2:4 and 2:8, on the same operands: `ours` is what a layer calls
(`GemmLibrary.multiply`: the plan of the searched algorithm, found and launched), `raw` the fastest of
all algorithms that `torch._cslt_sparse_mm` offers. That one describes and plans anew at every call,
for longer than a small GEMM takes; so calls are captured in CUDA graphs, and what is compared is the
device's time. All algorithms are tried first; ours and the best of them then run in turn, the order
moving on each round, because a large GEMM is slowed down by the power that the one before it drew.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from gpu_bench import Call, write_page

from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.vllm_plugin.event_timing import pause
from slidesparse_bench.vllm_plugin.gemm import GemmLibrary
from slidesparse_bench.vllm_plugin.ops import library_of, quantize
from slidesparse_bench.vllm_plugin.sparsity import prune, slide
from slidesparse_bench.worker.gemm_ways import DTYPES

SPARSITIES = (Sparsity(4), Sparsity(8))
CALLS = 8
"""In a graph."""
TRIALS, ROUNDS = 3, 15
"""Replays of every algorithm, and of those that are compared."""
BEST = 3
"""How many algorithms of the first pass are compared with ours."""
ASKED = 1.05

aten = torch.ops.aten


@dataclass(frozen=True)
class Compared:
    """One GEMM, median times in ms."""

    layer: str
    quantization: Quantization
    sparsity: Sparsity
    m: int
    ours_ms: float
    raw_ms: float
    ours_algorithm: int
    raw_algorithm: int

    @property
    def ratio(self) -> float:
        return self.ours_ms / self.raw_ms


def compared(model: str, sizes: list[int]) -> Iterator[Compared]:
    """All layers of the model, one after the other."""
    layers = find_architecture(model).layer_linears
    for layer, quantization, sparsity in itertools.product(layers, Quantization, SPARSITIES):
        for m in sizes:
            library, ours, raw = calls(m, layer.n, layer.k, DTYPES[quantization], sparsity)
            ours_ms, (raw_ms, algorithm) = in_turn(ours, raw)
            torch.cuda.empty_cache()  # what the graphs had, which a capture cannot take back
            selected = json.loads(library.last_algorithm)["config_id"]
            yield Compared(
                layer.name, quantization, sparsity, m, ours_ms, raw_ms, selected, algorithm
            )


def calls(
    m: int, n: int, k: int, dtype: torch.dtype, sparsity: Sparsity
) -> tuple[GemmLibrary, Call, list[Call]]:
    """The library, our call of it, and torch's with each algorithm, on the same operands."""
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
        [partial(raw, alg_id=algorithm) for algorithm in algorithms_of(raw)],
    )


def algorithms_of(raw: Callable[..., object]) -> list[int]:
    """Those that run; torch counts them from 0 and refuses the first that is too many."""
    found: list[int] = []
    for algorithm in itertools.count():
        try:
            raw(alg_id=algorithm)
        except RuntimeError:
            return found
        found.append(algorithm)
    return found


def in_turn(ours: Call, raw: list[Call]) -> tuple[float, tuple[float, int]]:
    """Median time of ours, and of the fastest raw one with its number."""
    pool = torch.cuda.graph_pool_handle()  # graphs share memory: nobody reads their results
    graphs = [captured(call, pool) for call in raw]
    first = [statistics.median(call_ms(graph) for _ in range(TRIALS)) for graph in graphs]
    best = sorted(range(len(raw)), key=first.__getitem__)[:BEST]
    compared = [captured(ours, pool), *(graphs[number] for number in best)]
    times_ms: list[list[float]] = [[] for _ in compared]
    for turn in range(ROUNDS * len(compared)):
        which = (turn + turn // len(compared)) % len(compared)
        times_ms[which].append(call_ms(compared[which]))
    ours_ms, *raw_ms = [statistics.median(kept) for kept in times_ms]
    return ours_ms, min(zip(raw_ms, best, strict=True))


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


def call_ms(graph: torch.cuda.CUDAGraph) -> float:
    """The device's time of one call, after a pause in which the host gets ahead."""
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    pause()
    began.record()
    graph.replay()
    ended.record()
    ended.synchronize()
    return float(began.elapsed_time(ended)) / CALLS


def page(model: str, sizes: list[int]) -> str:
    """The table, and the worst of it."""
    rows = list(compared(model, sizes))
    worst = max(rows, key=lambda row: row.ratio)
    within = sum(row.ratio <= ASKED for row in rows)
    where = f"{worst.layer}, {worst.quantization.upper()} {worst.sparsity}, M = {worst.m}"
    device, version = torch.cuda.get_device_name(), torch.__version__
    facts = (
        f"{device}, torch {version}; medians of {ROUNDS} replays of {CALLS} calls each, in turn. "
        "The algorithms are cuSPARSELt's own numbers."
    )
    lines = [
        f"# Our cuSPARSELt call against the fastest of torch's: {model}",
        "",
        facts,
        "",
        f"Asked for: at most {ASKED:.2f}. Worst: **{worst.ratio:.3f}** ({where}).",
        f"{within} of {len(rows)} are within it.",
        "",
        "| layer | quantization | sparsity | M | ours, ms | raw, ms | ours / raw | algorithms |",
        "|:--|:--|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.layer} | {row.quantization.upper()} | {row.sparsity} | {row.m} | "
        f"{row.ours_ms:.4f} | {row.raw_ms:.4f} | {row.ratio:.3f} | {row.ours_algorithm}, {row.raw_algorithm} |"
        for row in rows
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write_page(__doc__, "512,4096,16384", page)
