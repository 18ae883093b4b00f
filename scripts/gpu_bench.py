"""What the benchmarks of GPU kernels in this folder share: command line, inputs, calls in turn."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import torch

from slidesparse_bench.vllm_plugin.event_timing import Call, back_to_back_ms, in_turn
from slidesparse_bench.wire import write_text

CALLS, ROUNDS = 8, 9
LARGEST_M = 65536
"""Inductor compiles for it first, as vLLM does for the largest batch of an engine."""

Result = TypeVar("Result")


def write_page(
    what: str | None, sizes: str, pages: Callable[[str, list[int]], Iterable[str]]
) -> None:
    """Make the page of a model and several M, as the command line asks, print it and write it.

    Args:
        what: the script's documentation; its first line is shown by `--help`.
        sizes: M, separated by commas, where the command line has none.
        pages: the page as it grows: each is written, so that a script that is stopped leaves the last.
    """
    parser = argparse.ArgumentParser(description=what.partition("\n")[0] if what else "")
    parser.add_argument("--model", default="qwen2.5-7b")
    parser.add_argument("-m", default=sizes)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("needs an NVIDIA GPU")
    for text in pages(options.model, [int(m) for m in options.m.split(",")]):
        write_text(options.out, text)
    print(options.out.read_text(encoding="utf-8"))


def random_sums(m: int, n: int, raw_dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums `[m, n]` as a GEMM leaves them, and scales of their tokens `[m, 1]`."""
    raw = torch.empty((m, n), dtype=torch.int32, device="cuda").random_(-9999, 9999)
    return raw.to(raw_dtype), torch.rand((m, 1), device="cuda") * 1e-4


def compiled(
    function: Callable[..., Result], largest: tuple[torch.Tensor, ...]
) -> Callable[..., Result]:
    """The function for any number of tokens; `largest` are its arguments for `LARGEST_M` of them."""
    run: Callable[..., Result] = torch.compile(function)
    for tensor in largest:
        if tensor.shape[0] == LARGEST_M:
            torch._dynamo.mark_dynamic(tensor, 0)  # noqa: SLF001 - there is no public way
    run(*largest)
    return run


def medians_ms(calls: list[Call]) -> list[float]:
    """Median times of calls that run in turn, in ms."""
    for call in calls:
        call()

    def time_ms(number: int) -> float:
        return statistics.median(back_to_back_ms(calls[number], CALLS))

    return list(in_turn(time_ms, range(len(calls)), ROUNDS).values())


def table_page(title: str, head: list[str], rows: Iterable[str]) -> str:
    """A page with one table, of times by `medians_ms`; `head` is its first two lines."""
    device, version = torch.cuda.get_device_name(), torch.__version__
    measured_with = f"{device}, torch {version}; medians of {ROUNDS} rounds of {CALLS} calls each."
    return "\n".join([f"# {title}", "", measured_with, "", *head, *rows, ""])
