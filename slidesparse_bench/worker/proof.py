"""Proof that what ran is what was asked for: every step's M, every token, the kernel."""

from __future__ import annotations

import re
from collections.abc import Sequence

from slidesparse_bench.cell import Cell, Stage, Workload
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.wire import ObservedM, Round, Step


def stage_steps(rounds: Sequence[Round], cell: Cell) -> list[list[Step]]:
    """The counted steps that the cell is about, one list per sequence that starts anew.

    Prefill: all steps of a round. Decode: the steps of each iteration after its prefill step.
    """
    counted = [(each.counted_steps, each.iterations) for each in rounds]
    if cell.stage is Stage.PREFILL:
        return [steps for steps, _ in counted]
    sequences: list[list[Step]] = []
    for steps, iterations in counted:
        length = max(1, len(steps) // iterations)
        starts = range(0, len(steps), length)
        sequences += [steps[start + 1 : start + length] for start in starts]
    return [sequence for sequence in sequences if sequence]


def verify(rounds: Sequence[Round], cell: Cell) -> ObservedM:
    """Prove that every step ran the M that was asked for, and every token was produced.

    Steps of the lead-in as well; those that count are summed up.

    Raises:
        HarnessVerdict: `m_mismatch`, with the first step that differs.
    """
    workload = cell.workload
    for each in rounds:
        iterations = each.lead + each.iterations
        _compare_steps(each.steps, _expected_steps(cell, iterations), cell)
        requests = iterations * workload.max_num_seqs
        produced = (each.num_requests, each.prompt_tokens, each.output_tokens)
        asked = (requests, requests * workload.prompt_len, requests * workload.output_len)
        if produced != asked:
            raise HarnessVerdict(
                "m_mismatch",
                f"{produced[0]} requests with {produced[1]} prompt and {produced[2]} output tokens "
                f"came back; {asked[0]}, {asked[1]} and {asked[2]} were asked for",
            )
    sizes = [step.tokens for steps in stage_steps(rounds, cell) for step in steps]
    return ObservedM(min=min(sizes), max=max(sizes), steps=len(sizes))


def _expected_steps(cell: Cell, iterations: int) -> list[int]:
    """Tokens of each step of a round."""
    if cell.stage is Stage.PREFILL:
        return [cell.m] * iterations
    first = cell.m * cell.workload.prompt_len
    return [first, *[cell.m] * (cell.workload.output_len - 1)] * iterations


def _compare_steps(steps: Sequence[Step], expected: Sequence[int], cell: Cell) -> None:
    requests = cell.workload.max_num_seqs
    for number, (step, tokens) in enumerate(zip(steps, expected, strict=False), start=1):
        if step.tokens != tokens or step.requests != requests:
            raise HarnessVerdict(
                "m_mismatch",
                f"step {number} ran {step.tokens} tokens of {step.requests} requests; "
                f"{tokens} tokens of {requests} requests were asked for (M = {cell.m})",
            )
    if len(steps) != len(expected):
        raise HarnessVerdict(
            "m_mismatch",
            f"{len(steps)} steps ran where {len(expected)} of M = {cell.m} were asked for",
        )


def check_kernel(kernels: dict[str, int], cell: Cell, kernel_pattern: str) -> str:
    """The kernel classes that ran, as one text; proof that the backend was the one asked for.

    Raises:
        HarnessVerdict: `wrong_kernel`, naming what ran instead.
    """
    if not kernels:
        raise HarnessVerdict("wrong_kernel", "the loaded model has no quantized linear kernel")
    wrong = sorted(name for name in kernels if re.match(kernel_pattern, name) is None)
    if wrong:
        raise HarnessVerdict(
            "wrong_kernel", f"backend {cell.backend} was asked for, {', '.join(wrong)} ran"
        )
    return "+".join(sorted(kernels))


def kv_capacity_verdict(
    workload: Workload, needed_bytes: float, available_bytes: float
) -> HarnessVerdict:
    """vLLM starts when one sequence fits; a step of exactly M needs room for the whole batch."""
    return HarnessVerdict(
        "kv_cache_insufficient",
        f"needs {needed_bytes / 2**20:.1f} MiB of KV cache for {workload.max_num_seqs} sequences "
        f"of {workload.max_model_len} tokens, {available_bytes / 2**20:.1f} MiB are available",
    )
