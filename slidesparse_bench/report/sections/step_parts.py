"""Where the device spends a step, of the cells that were profiled."""

from __future__ import annotations

from collections.abc import Iterator

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
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Code, Text, say

_TITLE = say("Where the device spends a step")


def section(view: RunView) -> list[Block]:
    rows = list(_rows(view))
    if not rows:
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
                "the measurement (`profile_iterations`); `step` is the measured median of a prefill "
                "step without one. What the kernels do not cover of it is the host, or a pause "
                "between them. A kernel of several parts counts whole: those that Inductor fuses as "
                "other kernels, SiLU with the quantization behind it as quantization. "
                "`kernels.json` beside the result has every kernel by its name."
            )
        ),
        grid(_TITLE, [Head(say("cell")), *right(*parts)], rows),
    )


def _rows(view: RunView) -> Iterator[tuple[Text | None, ...]]:
    for each in view.cells:
        kernels = view.inputs.step_kernels.get(each.id)
        if kernels is None or each.cell is None or each.metrics is None:
            continue
        parts = kernels.parts_ms(_layers(each.cell))
        times = (
            kernels.device_ms(),
            parts.linear_ms,
            parts.attention_ms,
            parts.quantization_ms,
            parts.other_ms,
        )
        yield Code(each.id), _step(each), *(f"{time_ms:.2f}" for time_ms in times)


def _layers(cell: Cell) -> int | None:
    try:
        return find_architecture(cell.model).num_hidden_layers
    except SlideSparseError:
        return None


def _step(each: CellView) -> str | None:
    """An iteration of decode is many steps."""
    times = each.metrics.step_time_ms if each.metrics else None
    if each.cell is None or each.cell.stage is not Stage.PREFILL or times is None:
        return None
    return f"{times.median:.2f}"
