"""What speed-ups come to over M, without those that say little of the kernels."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from slidesparse_bench.report.blocks import Block, bullets
from slidesparse_bench.report.doubts import WIDE, is_doubted
from slidesparse_bench.report.groups import Group, Ratio, Series
from slidesparse_bench.report.words import Code, Text, joined, say


def means(group: Group, others: list[Series], doubted: set[str]) -> list[Block]:
    """Geometric means over M, the fair mean of quotients; `doubted` are ids of cells.

    Left out beside those: quotients with a wide interval, and those of steps that the host decided.
    """
    assert group.reference is not None
    reference = Code(group.reference.name)
    lines = [_line(group, others, doubted, lambda _: group.reference, reference)]
    if len(group.dense) > 1:
        what = say("the best dense backend, at M where no dense one is missing")
        lines.append(_line(group, others, doubted, lambda m: _known_best(group, m), what))
    return bullets(lines)


def _known_best(group: Group, m: int) -> Series | None:
    return None if group.dense_missing(m) else group.best_dense(m)


def _line(
    group: Group,
    others: list[Series],
    doubted: set[str],
    against: Callable[[int], Series | None],
    what: Text,
) -> Text:
    found = [_mean(group, series, doubted, against) for series in others]
    parts = [part for part in found if part]
    if not parts:
        return ""
    return say(
        "Geometric mean over M against {what}: {means}.", what=what, means=joined(", ", parts)
    )


def _mean(
    group: Group, series: Series, doubted: set[str], against: Callable[[int], Series | None]
) -> Text:
    """`cusparselt 2:4 1.42x (10 of 11 M; 1 left out)`; a single quotient is no mean."""
    values, left_out = [], 0
    for m in group.ms:
        other = against(m)
        ratio = group.ratio(m, series, other)
        if ratio is None or other is None:
            continue
        pair = (series, other)
        if is_doubted(group, m, pair, doubted) or _says_little(group, m, pair, ratio):
            left_out += 1
        else:
            values.append(ratio.value)
    if len(values) < 2:
        return ""
    mean = f"{series.name} {statistics.geometric_mean(values):.2f}x"
    n, ms = len(values), len(group.ms)
    if left_out:
        return say(
            "{mean} ({n} of {ms} M; {others} left out)", mean=mean, n=n, ms=ms, others=left_out
        )
    return say("{mean} ({n} of {ms} M)", mean=mean, n=n, ms=ms) if n < ms else mean


def _says_little(group: Group, m: int, pair: tuple[Series, Series], ratio: Ratio) -> bool:
    is_wide = ratio.half_width is not None and ratio.half_width > WIDE
    return is_wide or any(group.cells[m, each].host_bound for each in pair)
