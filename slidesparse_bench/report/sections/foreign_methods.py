"""How the numbers of an imported run came about, as far as its files tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slidesparse_bench.cell import Stage
from slidesparse_bench.report.blocks import (
    Block,
    bullets,
    chain,
    fold,
    grid,
    left,
    paragraph,
)
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Recorded, Text, say

_TREE = "slidesparse-tree"
_WARNINGS_SHOWN = 12


def foreign_methods(view: RunView, sparsity: Text) -> list[Block]:
    """What was measured and by whom, what nobody recorded, and what the importer doubted."""
    return chain(
        bullets([*_how(view), sparsity]),
        _unknown(view),
        _warnings(view),
    )


def _how(view: RunView) -> Iterator[Text]:
    if view.imported.get("format") == _TREE:
        yield from _TREE_METHOD
    else:
        yield _VLLM_BENCH
    yield _RATES
    if any(each.cell and each.cell.stage is Stage.DECODE for each in view.cells):
        yield _DECODE
    yield _CLASSES
    yield _SETTINGS


_TREE_METHOD = (
    say(
        "**The tool.** The public SlideSparse scripts start one fresh `vllm bench throughput` process "
        "per cell. Its `elapsed_time` is that of the generate call alone; the first forward pass of a "
        "new shape, with its compilation, is inside it. There is no warm-up."
    ),
    say(
        "**The work.** prefill: prompts of min(M, 1024) random tokens, 128 x `max_num_seqs` of them, "
        "one output token each. decode: M prompts of 16 tokens, 256 output tokens each."
    ),
    say(
        "**The M is not proven.** Requests are scheduled as they arrive and nobody recorded the steps: "
        "the M of a cell is the one that was asked for."
    ),
    say(
        "**Once.** Nothing was repeated on purpose. Where a cell was run several times, its newest "
        "success counts."
    ),
)
_VLLM_BENCH = say(
    "**The tool.** `vllm bench` measured these numbers; how it was called is only known as far as its "
    "JSON files and the command that imported them tell."
)
_RATES = say(
    "**Rates.** `tokens_per_second` means the same as with slidesparse-bench: prompt and output tokens "
    "over the elapsed time. There are no step times, so there are no intervals."
)
_DECODE = say(
    "**Decode** has no rate of the pure decode steps here: `tokens_per_second` includes the prefill, "
    "and 6.25 % of its tokens are prompts."
)
_CLASSES = say(
    "**Failures** were classified by slidesparse-bench from the logs, not by what the tool called them."
)
_SETTINGS = say(
    "**Settings** are those of the recorded command lines. A number on settings other than those of "
    "its cell's first attempt carries a mark."
)


def _unknown(view: RunView) -> list[Block]:
    """Everything that nobody recorded, each with the reason."""
    unknown = view.imported.get("unknown")
    if not isinstance(unknown, Mapping) or not unknown:
        return []
    rows = [(Recorded(str(what)), Recorded(str(why))) for what, why in unknown.items()]
    return chain(
        paragraph(say("What nobody recorded:")),
        grid(say("Not on record"), left(say("what"), say("why it is not known")), rows),
    )


def _warnings(view: RunView) -> list[Block]:
    """Doubts of the importer about single files."""
    warnings = view.imported.get("warnings")
    if not isinstance(warnings, list) or not warnings:
        return []
    title = say("Warnings of the import: {n}", n=len(warnings))
    listing = bullets(Recorded(str(text)) for text in warnings)
    return (
        fold(title, listing)
        if len(warnings) > _WARNINGS_SHOWN
        else chain(paragraph(title), listing)
    )
