"""How a number of this report comes about."""

from __future__ import annotations

from collections import Counter

from slidesparse_bench.cell import (
    DECODE_ITERATIONS,
    DECODE_OUTPUT_LEN,
    DECODE_PROMPT_LEN,
    PREFILL_ITERATIONS,
    PREFILL_PROMPT_LEN,
)
from slidesparse_bench.report.markdown import blocks, bullets, code
from slidesparse_bench.report.table import Column, Table, as_markdown
from slidesparse_bench.report.view import RunView

_WORKLOAD = Table(
    columns=(Column(""), Column("prefill"), Column("decode")),
    rows=(
        ("`prompt_len`", f"min(M, {PREFILL_PROMPT_LEN})", DECODE_PROMPT_LEN),
        ("`max_num_seqs`", f"ceil(M / {PREFILL_PROMPT_LEN})", "M"),
        ("`output_len`", 1, DECODE_OUTPUT_LEN),
        (
            "one iteration",
            "one step of exactly M tokens",
            (
                f"one prefill step of {DECODE_PROMPT_LEN} x M tokens, then {DECODE_OUTPUT_LEN - 1} "
                "steps of exactly M"
            ),
        ),
        ("iterations, at most", PREFILL_ITERATIONS, DECODE_ITERATIONS),
        ("`max_model_len`", "`prompt_len` + `output_len`", "the same"),
        (
            "`max_num_batched_tokens`",
            "max(M, `max_model_len`)",
            f"max({DECODE_PROMPT_LEN} x M, `max_model_len`)",
        ),
    ),
)

_STEPS = (
    (
        "**One attempt, one process.** The engine runs inside the worker's own process and all "
        "requests of a generate call are queued before its first step, so every step has the batch "
        "that was asked for. In-process and multi-process engines differ in throughput; compare only "
        "like with like."
    ),
    (
        "**The work.** Prompts are random token ids from a recorded seed, decoding is greedy, EOS is "
        "ignored, prefix caching is off, chunked prefill is off where vLLM still allows that."
    ),
    (
        "**The proof.** The scheduler of the engine records the tokens and requests of every step. A "
        "cell with a step that differs from M fails as `m_mismatch`; a cell whose linear layers run "
        "on another kernel than the backend's fails as `wrong_kernel`. Neither yields a number."
    ),
    (
        "**How long.** Warm-up iterations run for at least 2 s and until the step time is steady, "
        "unless the matrix says otherwise; at least 1 s is then measured. Iterations are "
        "measured until the 95 % confidence interval of the mean step time is as narrow as the matrix "
        "asks for (±1 % unless it says otherwise), or the limit of iterations is reached."
    ),
    (
        "**Rates.** `tokens_per_second` counts prompt and output tokens over `elapsed_time`, the "
        "wall-clock time around the generate calls, as vLLM's own throughput benchmark counts. Decode "
        "is judged by `output_tokens_per_second`: the tokens of the pure decode steps over the time "
        "of these steps, the prefill step left out."
    ),
    (
        "**Step times.** A step lasts from the end of the step before it to its own end, on the host's "
        "clock: the cadence of the engine, host time between two steps included, not the time of the "
        "GPU's kernels alone."
    ),
    (
        "**Intervals.** Student's t, widened by the lag-1 autocorrelation of the steps; in decode the "
        "growth of the step time with the KV cache is taken out first. They cover the scatter within "
        "one attempt. Repeating a cell in a new process gave differences of 1 to 7 % in the public "
        "SlideSparse result trees, so a speed-up of that size is no finding "
        "before it has been repeated."
    ),
    (
        "**Sparsity.** `2:L` counts zeros: two in every L consecutive weights along K. The SlideSparse "
        "paper counts non-zeros, so its 6:8 is `2:8` here. Weights are pruned or random; the quality "
        "of a model's answers is not measured."
    ),
    (
        "**Retries.** A failed attempt may be repeated with other settings. A number that stands on "
        "such settings carries a mark; attempts are kept, none is overwritten."
    ),
)


def section(view: RunView) -> str:
    return blocks(
        [
            "## Methods",
            "What one cell runs (the public SlideSparse method, so that numbers compare):",
            as_markdown(_WORKLOAD),
            bullets([*_STEPS, *_isolation(view)]),
            "All metrics are defined in `docs/metrics.md` of slidesparse-bench.",
            _notes(view),
        ]
    )


def _isolation(view: RunView) -> list[str]:
    """Said only when it is not one process per cell."""
    kinds = Counter(each.attempt.isolation for each in view.cells if each.metrics and each.attempt)
    if set(kinds) <= {"cell"}:
        return []
    texts = [f"{count} with {code(kind)}" for kind, count in kinds.most_common()]
    return [
        "**Isolation.** Cells with numbers by isolation: " + ", ".join(texts) + ". With `engine` "
        "several cells share one engine that was started with the largest limits among them."
    ]


def _notes(view: RunView) -> str:
    notes = view.inputs.notes.strip()
    return blocks(["### Notes", notes]) if notes else ""
