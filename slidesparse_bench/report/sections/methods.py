"""How a number of this report comes about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from slidesparse_bench.cell import (
    DECODE_ITERATIONS,
    DECODE_OUTPUT_LEN,
    DECODE_PROMPT_LEN,
    PREFILL_ITERATIONS,
    PREFILL_PROMPT_LEN,
)
from slidesparse_bench.records import Attempt
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.markdown import blocks, bullets, counted, listed, round_percent
from slidesparse_bench.report.table import Column, Table, as_markdown
from slidesparse_bench.report.view import RunView
from slidesparse_bench.units import format_duration
from slidesparse_bench.wire import Metrics

Number = TypeVar("Number", int, float)

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

_WORK = (
    (
        "**The work.** Prompts are random token ids from a recorded seed, decoding is greedy, EOS is "
        "ignored, prefix caching is off, chunked prefill is off where vLLM still allows that."
    ),
    (
        "**The engine** runs inside the worker's own process and all requests of a generate call are "
        "queued before its first step, so every step has the batch that was asked for. In-process "
        "and multi-process engines differ in throughput; compare only like with like."
    ),
    (
        "**The proof.** The scheduler of the engine records the tokens and requests of every step. A "
        "cell with a step that differs from M fails as `m_mismatch`; a cell whose linear layers run "
        "on another kernel than the backend's fails as `wrong_kernel`. Neither yields a number."
    ),
)
_NUMBERS = (
    (
        "**Rates.** `tokens_per_second` counts prompt and output tokens, as vLLM's own throughput "
        "benchmark does, over `elapsed_time`, the wall-clock time of the counted steps. Every series "
        "of them follows a lead-in of the same load without a pause. Decode is judged by "
        "`output_tokens_per_second`: the tokens of the pure decode steps over the time of these "
        "steps, the prefill step left out."
    ),
    (
        "**Step times.** A step lasts from the end of the step before it to its own end, on the host's "
        "clock (`time.perf_counter`): the cadence of the engine, host time between two steps "
        "included, not the time of the GPU's kernels alone."
    ),
    (
        "**Intervals.** Student's t, widened by the lag-1 autocorrelation of the steps; in decode the "
        "growth of the step time with the KV cache is taken out first. Repeating a cell in a new "
        "process gave differences of 1 to 7 % in the public SlideSparse result trees, so a speed-up "
        "of that size is no finding before it has been repeated (`trials` in the matrix)."
    ),
    (
        "**Outliers are kept.** A step further than three interquartile ranges from the quartiles, "
        "its trend over the iteration taken out, is counted and stays in every number; a number of "
        "which more than 1 % of the steps are such carries a mark."
    ),
    (
        "**Disturbances.** What the device did while it was measured is sampled ten times a second. A "
        "number is measured again, and marked if that does not help, when another process computed "
        "on the GPU, when heat or a hardware brake lowered its clocks, when the clock dropped, or "
        "when the host's CPU was slow: with small models a step takes as long as its Python does."
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
            bullets(text for text in _texts(view) if text),
            "All metrics are defined in `docs/metrics.md` of slidesparse-bench.",
            _notes(view),
        ]
    )


def _texts(view: RunView) -> tuple[str, ...]:
    return (
        _isolation(view),
        _order(view),
        *_WORK,
        _graphs(view),
        _how_long(view),
        *_NUMBERS,
    )


def _isolation(view: RunView) -> str:
    """Which processes the numbers come from, and what a failure rests on."""
    standing = [attempt for each in view.cells for attempt in each.standing]
    engines = {attempt.engine for attempt in standing if attempt.engine}
    shared = sum(attempt.isolation == "engine" for attempt in standing)
    if not shared:
        return (
            "**Isolation.** One attempt, one process: what a cell does cannot touch another, and its "
            "failure is its own."
        )
    own = len(standing) - shared
    alone = f", {own:,} from {'a process of its own' if own == 1 else 'processes of their own'}"
    return (
        f"**Isolation.** {counted(shared, 'measurement')} came from "
        f"{counted(len(engines), 'engine')} that cells shared{alone if own else ''}. Cells share an engine when "
        "theirs would differ in nothing but M and what follows from it. It is started with the "
        "largest limits among them (`max_model_len`, `max_num_seqs`, `max_num_batched_tokens`) and "
        "measures them from the smallest step to the largest, each with its own `max_num_seqs` and "
        "`max_num_batched_tokens`. Only a failure in a process of its own makes a cell failed; after "
        "one in a shared engine it is tried again alone."
    )


def _order(view: RunView) -> str:
    """In which order, and how often."""
    count, seed = view.run.trials, view.environment.get("seed")
    if count == 1:
        shared = any(each.isolation == "engine" for v in view.cells for each in v.standing)
        unit = "engine after engine" if shared else "one after the other"
        return (
            f"**Order.** Each cell was measured once, {unit} in the order of the matrix: nothing here "
            "tells how far two processes differ."
        )
    seed_text = f"the seed {seed}" if seed is not None else "the seed of the matrix"
    return (
        f"**Trials.** Each cell was measured {count} times, no two times in the same process. Every "
        f"trial runs the engines in an order of its own, shuffled by {seed_text}, so that a drift of "
        "the machine does not favour one backend. Counts, times and energies of the trials add up, "
        "rates are weighted by `elapsed_time`; the interval is Student's over the trials' mean step "
        "times, or that within the trials where it is wider."
    )


def _graphs(view: RunView) -> str:
    """CUDA graphs by what the engines were asked for; nothing where they were not."""
    captured = [
        (each, sizes)
        for each in view.cells
        for attempt in each.standing
        if (sizes := _capture_sizes(attempt))
    ]
    if not captured:
        return ""
    every = sorted({size for _, sizes in captured for size in sizes})
    padded = {each.id for each, sizes in captured if _is_padded(each, sizes)}
    came = f"{counted(len(padded), 'cell')} ran batches that were" if padded else "No batch was"
    return (
        f"**CUDA graphs** were captured for batches of {_sizes(every)} rows "
        "(`cudagraph_capture_sizes` of `compilation_config`). Unless the matrix says otherwise, those "
        "are exactly the batches that the cells of an engine run; vLLM's own list would pad a batch "
        f"to the next size on it. {came} padded here. Larger batches run without a graph."
    )


def _capture_sizes(attempt: Attempt) -> list[int]:
    config = attempt.engine_args.get("compilation_config")
    sizes = config.get("cudagraph_capture_sizes") if isinstance(config, Mapping) else None
    return [size for size in sizes if isinstance(size, int)] if isinstance(sizes, list) else []


def _is_padded(view: CellView, sizes: Sequence[int]) -> bool:
    """Whether a step of the cell is below the largest captured size, but not one of them."""
    steps = view.cell.workload.step_sizes if view.cell else ()
    return any(step < max(sizes) and step not in sizes for step in steps)


def _sizes(sizes: Sequence[int]) -> str:
    texts = list(map(str, sizes))
    return listed(texts) if len(texts) <= 8 else f"{texts[0]} … {texts[-1]}"


def _how_long(view: RunView) -> str:
    """The rule, and what it came to in this run."""
    numbers = [each.metrics for each in view.cells if each.metrics]
    asked = sorted({metrics.precision for metrics in numbers if metrics.precision})
    narrow = (
        listed([f"±{round_percent(share)}" for share in asked]) or "±1 % unless it says otherwise"
    )
    rule = (
        "**How long.** Unless the matrix says otherwise, warm-up lasts for at least 2 s (a tenth of "
        "that after another cell in the same engine) and until the newest quarter of it is within 5 % "
        "of the quarter before; then at least 1 s is measured, until the 95 % confidence interval of "
        f"the mean step time is as narrow as the matrix asks for ({narrow}) or the limit of "
        "iterations is reached."
    )
    return f"{rule} {_lasted(numbers)}".strip()


def _lasted(numbers: list[Metrics]) -> str:
    if not numbers:
        return ""
    seconds = _from_to([metrics.elapsed_time for metrics in numbers], format_duration)
    steps = _from_to([metrics.m_observed.steps for metrics in numbers], "{:,}".format)
    pace = [m.warmup_iterations * m.elapsed_time / m.iterations for m in numbers if m.iterations]
    warm = f", after a warm-up of about {_from_to(pace, format_duration)}" if pace else ""
    return f"Here that came to {seconds} and {steps} steps per cell{warm}."


def _from_to(values: Sequence[Number], shown: Callable[[Number], str]) -> str:
    ends = shown(min(values)), shown(max(values))
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _notes(view: RunView) -> str:
    notes = view.inputs.notes.strip()
    return blocks(["### Notes", notes]) if notes else ""
