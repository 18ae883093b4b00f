"""Limits that no setting removes, and what would get the missing cells: settings, memory, GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from slidesparse_bench.feasibility import DEFAULT_UTILIZATION
from slidesparse_bench.records import CellState, Verdict
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    bullets,
    chain,
    fold,
    grid,
    heading,
    left,
    paragraph,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Series
from slidesparse_bench.report.index_limits import SUSPECTS, overflows
from slidesparse_bench.report.markdown import m_ranges
from slidesparse_bench.report.memory_needs import (
    CellNeed,
    Judgement,
    Room,
    fitting_counts,
    needs_of,
    short_of_memory,
)
from slidesparse_bench.report.view import RunView, grouped
from slidesparse_bench.report.words import Code, Text, counted, joined, listed, say
from slidesparse_bench.units import GIB, format_gib

_ROWS_SHOWN = 40
_JUDGEMENTS = {
    Judgement.HARDWARE_LIMIT: say("**hardware limit**: no setting helps"),
    Judgement.BY_PLAN: say("refused by the plan: too much at any setting"),
    Judgement.TOO_MUCH: say("by the estimate no setting of this GPU is enough"),
    Judgement.CONTRADICTED: say("the estimate is too low: an attempt showed otherwise"),
}


def section(view: RunView) -> list[Block]:
    missing = view.in_state(CellState.FAILED, CellState.SKIPPED)
    if not missing:
        return []
    needs = needs_of(view)
    return chain(
        heading(2, say("Limits and recommendations")),
        _removable_by_nothing(view, needs),
        _memory(view, needs),
        _devices(needs),
        _recommendations(view, needs),
    )


def _removable_by_nothing(view: RunView, needs: list[CellNeed]) -> list[Block]:
    items = [*_hardware(needs), *_refused(needs), *_overflow(view), *_unsupported(view)]
    text = say("What no setting of this run's GPU removes:")
    if not items:
        text = say("No limit was found that settings cannot remove.")
    return chain(heading(3, say("Limits that no setting removes")), paragraph(text), bullets(items))


def _hardware(needs: list[CellNeed]) -> Iterator[Text]:
    hard = [need for need in needs if need.judgement is Judgement.HARDWARE_LIMIT]
    if hard:
        room = hard[0].room
        yield say(
            "**Memory**, {cells}: they need {least} to {most} where {gpu} can give {given}, or their "
            "weights alone did not load ({series}).",
            cells=counted(len(hard), "cell"),
            least=format_gib(min(need.need.total for need in hard)),
            most=format_gib(max(need.need.total for need in hard)),
            gpu=room.device.name,
            given=format_gib(room.most_bytes),
            series=joined("; ", _places([need.view for need in hard], view=None)),
        )


def _refused(needs: list[CellNeed]) -> Iterator[Text]:
    refused = [need.view for need in needs if need.judgement is Judgement.BY_PLAN]
    if refused:
        yield say(
            "**Memory, by the plan**, {cells}: refused before they were started, because no setting "
            "would have been enough ({series}).",
            cells=counted(len(refused), "cell"),
            series=joined("; ", _places(refused, view=None)),
        )


def _overflow(view: RunView) -> Iterator[Text]:
    cells = [
        each
        for each in view.in_state(CellState.FAILED)
        if each.failure_class in SUSPECTS and overflows(each)
    ]
    if cells:
        yield say(
            "**Very likely a kernel's 32-bit index**, {cells}: a bug that has to be mended in the kernel; a "
            "GPU with more memory does not help ({series}).",
            cells=counted(len(cells), "cell"),
            series=joined("; ", _places(cells, view=view)),
        )


def _unsupported(view: RunView) -> Iterator[Text]:
    cells = [
        each
        for each in view.in_state(CellState.SKIPPED, CellState.FAILED)
        if each.planned.get("verdict") == "unsupported" or each.failure_class == "unsupported_arch"
    ]
    if cells:
        yield say(
            "**The GPU's architecture**, {cells}: another GPU, or a build that supports this one "
            "({series}).",
            cells=counted(len(cells), "cell"),
            series=joined("; ", _places(cells, view=view)),
        )


def _places(cells: Iterable[CellView], view: RunView | None) -> list[Text]:
    """`qwen2.5-14b INT8 cusparselt 2:8 prefill M = 16384 … 65536`, one per series."""
    planned = view.cells if view else ()
    return [
        say("{series} M = {ms}", series=name, ms=_ms(members, planned))
        for name, members in grouped(cells, _series).items()
    ]


def _ms(cells: list[CellView], planned: Iterable[CellView] = ()) -> str:
    wanted = {_series(each) for each in cells}
    every = [each.cell.m for each in planned if each.cell and _series(each) in wanted]
    own = [each.cell.m for each in cells if each.cell]
    return m_ranges(own, every or own)


def _series(view: CellView) -> str:
    if view.cell is None:
        return view.id
    cell = view.cell
    return f"{cell.model} {cell.quantization.upper()} {Series.of(cell).name} {cell.stage}"


def _memory(view: RunView, needs: list[CellNeed]) -> list[Block]:
    short = short_of_memory(view)
    if not short:
        return []
    title = say("Cells that ran short of memory: {cells}", cells=counted(len(short), "cell"))
    if not needs:
        why = say(
            "What they need cannot be computed: the GPU's memory or the model's architecture is not "
            "known."
        )
        return chain(heading(3, title), paragraph(why))
    same = grouped(needs, lambda need: f"{_series(need.view)} {need.judgement} {_gpus(need)}")
    rows = [_row(view, members) for members in same.values()]
    heads = [
        Head(say("cells of")),
        *right("M", say("weights, GiB"), say("needed, GiB"), say("utilization tried")),
        *left(say("on this GPU"), say("smallest known GPU on which it fits")),
    ]
    unknown = len(short) - len(needs)
    rest: list[Block] = []
    if unknown:
        rest = paragraph(say("Of {cells} the model is not known.", cells=counted(unknown, "cell")))
    table = grid(title, heads, rows)
    shown = fold(title, table) if len(rows) > _ROWS_SHOWN else table
    return chain(heading(3, title), paragraph(_basis(view, needs[0].room)), shown, rest)


def _basis(view: RunView, room: Room) -> Text:
    """By which rule, and with how much memory."""
    given = say(
        "{gpu} has {memory}; {share} of it ({given}) is the most that an engine could start with.",
        gpu=room.device.name,
        memory=format_gib(room.device.memory_bytes),
        share=f"{room.startable:.2f}",
        given=format_gib(room.most_bytes),
    )
    if view.imported:
        return say(
            "Computed by the memory model of the plan (`docs/memory.md`) for what the foreign tool "
            "asks of the memory: KV cache for one sequence, not for the whole batch. "
            "{given} GPUs are those of the plan, at `gpu_memory_utilization` {utilization} and with "
            "the demand of slidesparse-bench: the whole batch at once.",
            given=given,
            utilization=f"{DEFAULT_UTILIZATION:g}",
        )
    return say(
        "Computed by the memory model of the plan (`docs/memory.md`). {given} GPUs are those of the "
        "plan, at `gpu_memory_utilization` {utilization}.",
        given=given,
        utilization=f"{DEFAULT_UTILIZATION:g}",
    )


def _row(view: RunView, members: list[CellNeed]) -> tuple[Text, ...]:
    tried = sorted({value for need in members for value in need.tried})
    return (
        _series(members[0].view),
        _ms([need.view for need in members], view.cells),
        f"{members[0].need.weights / GIB:.1f}",
        _ends("{:.1f}", [need.wanted_bytes / GIB for need in members]),
        joined(", ", [f"{value:g}" for value in tried]) if tried else say("none"),
        _verdict(members),
        _gpus(members[0]),
    )


def _verdict(members: list[CellNeed]) -> Text:
    """Of cells that are judged alike; the setting may differ with M."""
    judgement = members[0].judgement
    if judgement is Judgement.A_SETTING:
        return say(
            "`gpu_memory_utilization` {value} would do by the estimate",
            value=_ends("{:.2f}", [need.advised for need in members]),
        )
    if judgement is Judgement.STARTS_ONLY:
        return say(
            "starts with `gpu_memory_utilization` {value} by the estimate, but M is not reached: that "
            "needs {needed} GiB",
            value=_ends("{:.2f}", [need.utilization for need in members]),
            needed=_ends("{:.1f}", [need.wanted_here_bytes / GIB for need in members]),
        )
    return _JUDGEMENTS[judgement]


def _ends(pattern: str, values: list[float]) -> str:
    """The smallest and the largest, or one where both read the same."""
    return " … ".join(dict.fromkeys(pattern.format(end) for end in (min(values), max(values))))


def _gpus(need: CellNeed) -> Text:
    if not need.fitting:
        return say("none that is known")
    known = need.fitting[0]
    return f"{known.name} ({known.facts.memory_bytes / GIB:.1f} GiB)"


def _devices(needs: list[CellNeed]) -> list[Block]:
    """How far each larger GPU would get."""
    rows = [
        (known.name, f"{known.facts.memory_bytes / GIB:.1f}", f"{count}/{len(needs)}")
        for known, count in fitting_counts(needs)
    ]
    title = say("How many of these cells fit on which GPU, by the plan:")
    heads = [Head("GPU"), *right("GiB", say("cells that fit"))]
    return chain(paragraph(title), grid(say("GPUs"), heads, rows)) if rows else []


def _recommendations(view: RunView, needs: list[CellNeed]) -> list[Block]:
    return chain(heading(3, say("Recommendations")), bullets(_advice(view, needs)))


def _advice(view: RunView, needs: list[CellNeed]) -> Iterator[Text]:
    settable = [need for need in needs if need.judgement is Judgement.A_SETTING]
    if settable:
        values = sorted({need.advised for need in settable})
        yield say(
            "Try {cells} again on this GPU with `gpu_memory_utilization` between {least} and {most}, "
            "each with its own value of the table.",
            cells=counted(len(settable), "cell"),
            least=f"{values[0]:.2f}",
            most=f"{values[-1]:.2f}",
        )
        if settable[0].room.startable < 1:
            yield say(
                "Do not go above `gpu_memory_utilization` {startable} on this GPU: more was not free "
                "when the engine started.",
                startable=f"{settable[0].room.startable:.2f}",
            )
    larger = [need for need in needs if need.judgement is not Judgement.A_SETTING]
    if larger:
        yield _larger_gpu(larger)
    yield from _bugs(view)
    yield from _clean_data(view)


def _larger_gpu(needs: list[CellNeed]) -> Text:
    found = [need.fitting[0] for need in needs if need.fitting]
    if not found:
        return say(
            "{cells} fit no GPU that is known: measure a smaller M or use `tensor_parallel_size`.",
            cells=counted(len(needs), "cell"),
        )
    least = max(found, key=lambda known: known.cuda_mib)
    return say(
        "Measure {cells} on a GPU with more memory: {gpu} is the smallest known one that holds all "
        "{fitting} that fit any.",
        cells=counted(len(needs), "cell"),
        gpu=least.name,
        fitting=len(found),
    )


def _bugs(view: RunView) -> Iterator[Text]:
    failed = view.in_state(CellState.FAILED)
    bugs = [e for e in failed if e.failure and e.failure.verdict is Verdict.UPSTREAM_BUG]
    if bugs:
        names = listed(Code(name) for name in dict.fromkeys(e.failure_class for e in bugs))
        yield say(
            "Report {cells} ({classes}) upstream with the root-cause line, the GPU and the versions; "
            "until then leave those M out (`exclude` in the matrix).",
            cells=counted(len(bugs), "cell"),
            classes=names,
        )


def _clean_data(view: RunView) -> Iterator[Text]:
    passed = view.in_state(CellState.PASSED)
    if passed:
        yield say(
            'For a publication use the cells that "Usable for publication" calls usable, and state '
            "the reference of every speed-up."
        )
