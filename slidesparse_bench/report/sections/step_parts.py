"""Where the device spends a step, of the cells that were profiled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.errors import SlideSparseError
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    chain,
    grid,
    heading,
    paragraph,
    right,
)
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Code, Text, say, sentences
from slidesparse_bench.step_kernels import Parts, StepKernels
from slidesparse_bench.wire import Metrics

_TITLE = say("Where the device spends a step")


@dataclass(frozen=True)
class _Profiled:
    """A measured cell and the kernels of its iterations under the profiler."""

    cell: Cell
    metrics: Metrics
    kernels: StepKernels

    @property
    def parts(self) -> Parts:
        return self.kernels.parts_ms(_layers(self.cell))


def section(view: RunView) -> list[Block]:
    profiled = list(_profiled(view))
    if not profiled:
        return []
    parts = (
        say("step"),
        say("kernels"),
        say("products of the layers"),
        say("attention"),
        say("quantization"),
        say("other kernels"),
    )
    return chain(
        heading(2, _TITLE),
        paragraph(
            say(
                "Device time of one iteration in ms, from iterations that ran under a profiler after "
                "the measurement (`profile_iterations`), by the names of its kernels; "
                "`kernels.json` beside the result has them all. A kernel that does several things "
                "counts whole: those that Inductor fuses as other kernels (`in other`: quantization "
                "is among them), SiLU with the quantization behind it as quantization. So compare "
                "backends by the sum of these two columns. Writing the KV cache is among the other "
                "kernels."
            )
        ),
        paragraph(sentences([_STEP, *_conditions(profiled)])),
        grid(_TITLE, [Head(say("cell")), *right(*parts)], [_row(each) for each in profiled]),
    )


_STEP = say(
    "`step` is the measured median of a prefill step without a profiler. Its difference from `kernels` "
    "cannot be put down to the host alone: the profiled iterations follow a pause, and a device at its "
    "power limit is faster for about a second after one, an H200 by up to 3 % (`docs/metrics.md`, "
    "Kernels)."
)


def _profiled(view: RunView) -> Iterator[_Profiled]:
    for each in view.cells:
        kernels = view.inputs.step_kernels.get(each.id)
        if kernels is not None and each.cell is not None and each.metrics is not None:
            yield _Profiled(each.cell, each.metrics, kernels)


def _row(each: _Profiled) -> tuple[Text | None, ...]:
    parts = each.parts
    return (
        Code(each.cell.id),
        _step(each),
        _ms(each.kernels.device_ms()),
        _ms(parts.linear_ms),
        _ms(parts.attention_ms),
        _quantization(parts),
        _ms(parts.other_ms),
    )


def _ms(time_ms: float) -> str:
    return f"{time_ms:.2f}"


def _step(each: _Profiled) -> str | None:
    """An iteration of decode is many steps."""
    times = each.metrics.step_time_ms
    return _ms(times.median) if each.cell.stage is Stage.PREFILL and times else None


def _quantization(parts: Parts) -> Text:
    """Never 0.00 of a cell that quantizes in fused kernels."""
    own = _ms(parts.quantization_ms)
    if not parts.fuses_quantization:
        return own
    return say("{time}, rest in other", time=own) if parts.quantization_ms else say("in other")


def _layers(cell: Cell) -> int | None:
    try:
        return find_architecture(cell.model).num_hidden_layers
    except SlideSparseError:
        return None


def _conditions(profiled: list[_Profiled]) -> Iterator[Text]:
    """How far the times of the same work are apart: what other differences are to be held against."""
    by_work: dict[Hashable, list[float]] = defaultdict(list)
    for each in profiled:
        work = (each.cell.model, each.cell.stage, each.cell.m, each.kernels.attention_names())
        by_work[work].append(each.parts.attention_ms)
    spreads = [max(times) / min(times) - 1 for times in by_work.values() if min(times)]
    if spread := max(spreads, default=0.0):
        yield say(
            "Conditions differ from cell to cell, too: attention is the same work of the same kernels "
            "in cells of one model, stage and M, and yet its time differs by up to {spread}.",
            spread=percent(spread),
        )
