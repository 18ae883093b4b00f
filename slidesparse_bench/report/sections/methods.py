"""How a number of this report comes about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from slidesparse_bench.cell import (
    DECODE_ITERATIONS,
    DECODE_OUTPUT_LEN,
    DECODE_PROMPT_LEN,
    PREFILL_ITERATIONS,
    PREFILL_PROMPT_LEN,
)
from slidesparse_bench.engine_groups import capture_sizes
from slidesparse_bench.report.blocks import (
    Block,
    Foreign,
    bullets,
    chain,
    grid,
    heading,
    left,
    paragraph,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.markdown import round_percent
from slidesparse_bench.report.sections.foreign_methods import foreign_methods
from slidesparse_bench.report.sections.parallel import parallel_of
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Code, Text, counted, listed, say, sentences
from slidesparse_bench.units import format_duration
from slidesparse_bench.wire import Metrics

Number = TypeVar("Number", int, float)

_WORKLOAD: tuple[tuple[Text, Text, Text], ...] = (
    (Code("prompt_len"), f"min(M, {PREFILL_PROMPT_LEN})", DECODE_PROMPT_LEN),
    (Code("max_num_seqs"), f"ceil(M / {PREFILL_PROMPT_LEN})", "M"),
    (Code("output_len"), 1, DECODE_OUTPUT_LEN),
    (
        say("one iteration"),
        say("one step of exactly M tokens"),
        say(
            "one prefill step of {prompt_len} x M tokens, then {n} steps of exactly M",
            prompt_len=DECODE_PROMPT_LEN,
            n=DECODE_OUTPUT_LEN - 1,
        ),
    ),
    (say("iterations, at most"), PREFILL_ITERATIONS, DECODE_ITERATIONS),
    (Code("max_model_len"), say("`prompt_len` + `output_len`"), say("the same")),
    (
        Code("max_num_batched_tokens"),
        say("max(M, `max_model_len`)"),
        say("max({prompt_len} x M, `max_model_len`)", prompt_len=DECODE_PROMPT_LEN),
    ),
)

_WORK = (
    say(
        "**The work.** Prompts are random token ids from a recorded seed, decoding is greedy, EOS is "
        "ignored, prefix caching is off, chunked prefill is off where vLLM still allows that."
    ),
    say(
        "**The engine** runs inside the worker's own process and all requests of a generate call are "
        "queued before its first step, so every step has the batch that was asked for. In-process "
        "and multi-process engines differ in throughput; compare only like with like."
    ),
    say(
        "**The proof.** The scheduler of the engine records the tokens and requests of every step. A "
        "cell with a step that differs from M fails as `m_mismatch`; a cell whose linear layers run "
        "on another kernel than the backend's fails as `wrong_kernel`. Neither yields a number."
    ),
)
_NUMBERS = (
    say(
        "**Rates.** `tokens_per_second` counts prompt and output tokens, as vLLM's own throughput "
        "benchmark does, over `elapsed_time`, the wall-clock time of the counted steps. Every series "
        "of them follows a lead-in of the same load without a pause. Decode is judged by "
        "`output_tokens_per_second`: the tokens of the pure decode steps over the time of these "
        "steps, the prefill step left out."
    ),
    say(
        "**Step times.** A step lasts from the end of the step before it to its own end, on the host's "
        "clock (`time.perf_counter`): the cadence of the engine, host time between two steps "
        "included, not the time of the GPU's kernels alone."
    ),
    say(
        "**Intervals.** Student's t, widened by the lag-1 autocorrelation of the steps; in decode the "
        "growth of the step time with the KV cache is taken out first. Repeating a cell in a new "
        "process gave differences of 1 to 7 % in the public SlideSparse result trees, so a speed-up "
        "of that size is no finding before it has been repeated (`trials` in the matrix)."
    ),
    say(
        "**Outliers are kept.** A step further than three interquartile ranges from the quartiles, "
        "its trend over the iteration taken out, is counted and stays in every number; a number of "
        "which more than 1 % of the steps are such carries a mark."
    ),
    say(
        "**Disturbances.** What the device did while it was measured is sampled ten times a second. A "
        "number is measured again, and marked if that does not help, when another process computed "
        "on the GPU, when heat or a hardware brake lowered its clocks, when the clock dropped, or "
        "when the host's CPU was slow: with small models a step takes as long as its Python does."
    ),
)
SPARSITY = say(
    "**Sparsity.** `2:L` counts zeros: two in every L consecutive weights along K. The SlideSparse "
    "paper counts non-zeros, so its 6:8 is `2:8` here. Weights are pruned or random; the quality "
    "of a model's answers is not measured."
)
_RETRIES = say(
    "**Retries.** A failed attempt may be repeated with other settings. A number that stands on "
    "such settings carries a mark; attempts are kept, none is overwritten."
)
_METRICS = say("All metrics are defined in `docs/metrics.md` of slidesparse-bench.")


def section(view: RunView) -> list[Block]:
    own = foreign_methods(view, SPARSITY) if view.imported else _methods(view)
    return chain(heading(2, say("Methods")), own, paragraph(_METRICS), _notes(view))


def _methods(view: RunView) -> list[Block]:
    title = say("What one cell runs (the public SlideSparse method, so that numbers compare):")
    heads = left(say("setting"), "prefill", "decode")
    table = grid(say("Work of a cell"), heads, _WORKLOAD)
    return chain(paragraph(title), table, bullets(_texts(view)))


def _texts(view: RunView) -> tuple[Text, ...]:
    return (
        _isolation(view),
        sentences([_order(view), *_at_once(view)]),
        *_WORK,
        _graphs(view),
        _how_long(view),
        *_NUMBERS,
        *_emulation(view),
        SPARSITY,
        _RETRIES,
    )


def _emulation(view: RunView) -> tuple[Text, ...]:
    if not any(each.metrics and each.metrics.emulated for each in view.cells):
        return ()
    return (
        say(
            "**Emulation.** Where the device has no such kernel, the same arithmetic ran on ordinary "
            "ones. That shows that the results are right; it shows no speed. Such numbers carry "
            "`emulated` and are in no speed-up."
        ),
    )


def _isolation(view: RunView) -> Text:
    """Which processes the numbers come from, and what a failure rests on."""
    standing = [attempt for each in view.cells for attempt in each.standing]
    engines = {attempt.engine for attempt in standing if attempt.engine}
    shared = sum(attempt.isolation == "engine" for attempt in standing)
    if not shared:
        return say(
            "**Isolation.** One attempt, one process: what a cell does cannot touch another, and its "
            "failure is its own."
        )
    own = len(standing) - shared
    where = say(
        "{measurements} came from {engines} that cells shared",
        measurements=counted(shared, "measurement"),
        engines=counted(len(engines), "engine"),
    )
    if own == 1:
        where = say("{shared}, 1 from a process of its own", shared=where)
    elif own:
        where = say("{shared}, {n} from processes of their own", shared=where, n=f"{own:,}")
    return say(
        "**Isolation.** {where}. Cells share an engine when theirs would differ in nothing but M and "
        "what follows from it. It is started with the largest limits among them (`max_model_len`, "
        "`max_num_seqs`, `max_num_batched_tokens`) and measures them from the smallest step to the "
        "largest, each with its own `max_num_seqs` and `max_num_batched_tokens`. Only a failure in a "
        "process of its own makes a cell failed; after one in a shared engine it is tried again "
        "alone.",
        where=where,
    )


def _order(view: RunView) -> Text:
    """In which order, and how often."""
    count, seed = view.run.trials, view.environment.get("seed")
    if count == 1:
        shared = any(each.isolation == "engine" for v in view.cells for each in v.standing)
        if shared:
            return say(
                "**Order.** Each cell was measured once, engine after engine in the order of the "
                "matrix: nothing here tells how far two processes differ."
            )
        return say(
            "**Order.** Each cell was measured once, one after the other in the order of the matrix: "
            "nothing here tells how far two processes differ."
        )
    known = say("the seed {seed}", seed=str(seed))
    return say(
        "**Trials.** Each cell was measured {n} times, no two times in the same process. Every "
        "trial runs the engines in an order of its own, shuffled by {seed}, so that a drift of "
        "the machine does not favour one backend. Counts, times and energies of the trials add up, "
        "rates are weighted by `elapsed_time`; the interval is Student's over the trials' mean step "
        "times, or that within the trials where it is wider.",
        n=count,
        seed=known if seed is not None else say("the seed of the matrix"),
    )


def _at_once(view: RunView) -> list[Text]:
    """Attempts on several devices share more than the report could see of it."""
    found = parallel_of(view)
    if found.most < 2:
        return []
    return [
        say(
            "Up to {most} attempts ran at once, each on a device of its own, and shared the CPUs of "
            "the host: {beside} of {numbers} were measured while another attempt ran.",
            most=found.most,
            beside=f"{found.beside:,}",
            numbers=counted(found.numbers, "number"),
        )
    ]


def _graphs(view: RunView) -> Text:
    """CUDA graphs by what the engines were asked for; nothing where they were not."""
    captured = [
        (each, sizes)
        for each in view.cells
        for attempt in each.standing
        if (sizes := capture_sizes(attempt.engine_args))
    ]
    if not captured:
        return ""
    every = sorted({size for _, sizes in captured for size in sizes})
    padded = {each.id for each, sizes in captured if _is_padded(each, sizes)}
    outcome = say("No batch was padded here.")
    if padded:
        cells = counted(len(padded), "cell")
        outcome = say("{cells} ran batches that were padded here.", cells=cells)
    return say(
        "**CUDA graphs** were captured for batches of {sizes} rows (`cudagraph_capture_sizes` of "
        "`compilation_config`). Unless the matrix says otherwise, those are exactly the batches that "
        "the cells of an engine run; vLLM's own list would pad a batch to the next size on it. "
        "{outcome} Larger batches run without a graph.",
        sizes=_sizes(every),
        outcome=outcome,
    )


def _is_padded(view: CellView, sizes: Sequence[int]) -> bool:
    """Whether a step of the cell is below the largest captured size, but not one of them."""
    steps = view.cell.workload.step_sizes if view.cell else ()
    return any(step < max(sizes) and step not in sizes for step in steps)


def _sizes(sizes: Sequence[int]) -> Text:
    texts = list(map(str, sizes))
    return listed(texts) if len(texts) <= 8 else f"{texts[0]} … {texts[-1]}"


def _how_long(view: RunView) -> Text:
    """The rule, and what it came to in this run."""
    numbers = [each.metrics for each in view.cells if each.metrics]
    asked = sorted({metrics.precision for metrics in numbers if metrics.precision})
    narrow: Text = say("±1 % unless it says otherwise")
    if asked:
        narrow = listed([f"±{round_percent(share)}" for share in asked])
    rule = say(
        "**How long.** Unless the matrix says otherwise, warm-up lasts for at least 2 s (a tenth of "
        "that after another cell in the same engine) and until the newest quarter of it is within 5 % "
        "of the quarter before; then at least 1 s is measured, until the 95 % confidence interval of "
        "the mean step time is as narrow as the matrix asks for ({narrow}) or the limit of "
        "iterations is reached.",
        narrow=narrow,
    )
    return sentences([rule, *_lasted(numbers)])


def _lasted(numbers: list[Metrics]) -> list[Text]:
    if not numbers:
        return []
    seconds = _from_to([metrics.elapsed_time for metrics in numbers], format_duration)
    steps = _from_to([metrics.m_observed.steps for metrics in numbers], "{:,}".format)
    pace = [m.warmup_iterations * m.elapsed_time / m.iterations for m in numbers if m.iterations]
    if not pace:
        return [
            say("Here that came to {time} and {steps} steps per cell.", time=seconds, steps=steps)
        ]
    return [
        say(
            "Here that came to {time} and {steps} steps per cell, after a warm-up of about {warm}.",
            time=seconds,
            steps=steps,
            warm=_from_to(pace, format_duration),
        )
    ]


def _from_to(values: Sequence[Number], shown: Callable[[Number], str]) -> Text:
    least, most = shown(min(values)), shown(max(values))
    return least if least == most else say("{least} to {most}", least=least, most=most)


def _notes(view: RunView) -> list[Block]:
    notes = view.inputs.notes.strip()
    return [*heading(3, say("Notes")), Foreign(notes)] if notes else []
