"""What the weights of a model take on the device, by backend and sparsity."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from slidesparse_bench.report.blocks import Block, chain, grid, heading, left, paragraph, right
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import REFERENCES, Series, groups_of
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Code, Text, listed, say, sentences

_LEAST_SHOWN = 0.0005
"""A relative difference below this reads as 0.0 %: nothing is said of it."""
_Row = dict[Series, list[CellView]]
"""The cells of one model and quantization."""


def section(view: RunView) -> list[Block]:
    if view.is_fake:
        return []
    rows = _rows(view)
    if not any(sum(bool(_sizes(cells)) for cells in row.values()) > 1 for row in rows.values()):
        return []
    series = sorted({each for row in rows.values() for each in row}, key=lambda each: each.order)
    title = say("Memory of the weights")
    heads = [*left(say("model"), say("quantization")), *right(*(each.head for each in series))]
    body = [
        (model, quantization, *(_text(row, each) for each in series))
        for (model, quantization), row in rows.items()
    ]
    return chain(
        heading(2, title),
        paragraph(_how_to_read(rows.values(), series)),
        grid(say("Memory of the weights, GiB"), heads, body),
    )


def _rows(view: RunView) -> dict[tuple[str, str], _Row]:
    rows: dict[tuple[str, str], _Row] = {}
    for group in groups_of(view):
        row = rows.setdefault((group.model, group.quantization.upper()), {})
        for (_, series), cell in group.cells.items():
            row.setdefault(series, []).append(cell)
    return rows


def _sizes(cells: Sequence[CellView]) -> list[float]:
    """GiB; emulated kernels store their weights in another way."""
    numbers = [each.metrics for each in cells if each.metrics and not each.metrics.emulated]
    return [each.model_memory_gib for each in numbers if each.model_memory_gib]


def _base(row: _Row) -> Series | None:
    """The dense series that the others stand beside, chosen as that of a speed-up is."""
    known = {each.backend: each for each in row if each.is_dense and _sizes(row[each])}
    return next((known[name] for name in [*REFERENCES, *known] if name in known), None)


def _text(row: _Row, series: Series) -> Text:
    """`5.95 (-27 %)`; several sizes, which no setting explains here, as `5.90 … 5.95`."""
    if series not in row:
        return say("not planned")
    sizes, base = _sizes(row[series]), _base(row)
    if not sizes:
        return say("not recorded")
    shown = " … ".join(dict.fromkeys(f"{end:.2f}" for end in (min(sizes), max(sizes))))
    if base is None or base == series:
        return shown
    change = statistics.median(sizes) / statistics.median(_sizes(row[base])) - 1
    if abs(change) < _LEAST_SHOWN:
        return shown
    return f"{shown} ({'+' if change > 0 else '-'}{percent(abs(change))})"


def _how_to_read(rows: Iterable[_Row], series: Sequence[Series]) -> Text:
    bases = dict.fromkeys(base.name for row in rows if (base := _base(row)))
    texts: list[Text] = [say("`model_memory_gib`, GiB, weights that are not quantized included.")]
    if bases:
        names = listed(Code(name) for name in bases)
        texts.append(say("In brackets the difference from {backends}.", backends=names))
    if any(each.sparsity for each in series):
        texts.append(
            say(
                "Sliding makes a `2:L` matrix 2(L-2)/L times as long, then 2:4 stores half of it and "
                "the positions of that half: the larger L, the less it saves, and from some L on it "
                "costs memory."
            )
        )
    return sentences(texts)
