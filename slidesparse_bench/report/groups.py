"""Cells that are compared with each other: one model, stage and quantization, M by series."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage
from slidesparse_bench.records import CellState
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Text, say

REFERENCES = ("cublaslt", "cutlass", "native")
"""Dense backends in the order in which they are taken as the reference of a speed-up."""


@dataclass(frozen=True)
class Series:
    """One column of a table by M: a backend, with its sparsity when it has one."""

    backend: str
    sparsity: Sparsity | None = None

    @classmethod
    def of(cls, cell: Cell) -> Series:
        return cls(cell.backend, cell.sparsity)

    @property
    def is_dense(self) -> bool:
        return self.sparsity is None

    @property
    def name(self) -> str:
        return f"{self.backend} {self.sparsity}" if self.sparsity else self.backend

    @property
    def title(self) -> str:
        """With its share of zeros: `cusparselt 2:8 (25 % zeros)`."""
        if self.sparsity is None:
            return self.backend
        return f"{self.name} ({percent(self.sparsity.zero_share)} zeros)"

    @property
    def head(self) -> Text:
        """`title` as the head of a column."""
        if self.sparsity is None:
            return self.backend
        share = percent(self.sparsity.zero_share)
        return say("{backend} ({share} zeros)", backend=self.name, share=share)

    @property
    def order(self) -> tuple[int, str, int]:
        """Dense before sparse, in the order of `BACKENDS`; backends of others come last."""
        place = list(BACKENDS).index(self.backend) if self.backend in BACKENDS else len(BACKENDS)
        return place, self.backend, self.sparsity.group if self.sparsity else 0


@dataclass(frozen=True)
class Ratio:
    """A quotient of two rates; `half_width` is relative, None when one side has no interval."""

    value: float
    half_width: float | None


@dataclass(frozen=True)
class Group:
    """The cells of one model, stage and quantization, by M and series."""

    model: str
    stage: Stage
    quantization: Quantization
    cells: dict[tuple[int, Series], CellView]

    @property
    def title(self) -> str:
        return f"{self.model}, {self.quantization.upper()}, {self.stage}"

    @property
    def slug(self) -> str:
        """For file names."""
        return re.sub(r"[^\w.-]", "_", f"{self.model}-{self.quantization}-{self.stage}")

    @cached_property
    def ms(self) -> list[int]:
        return sorted({m for m, _ in self.cells})

    @cached_property
    def series(self) -> list[Series]:
        return sorted({series for _, series in self.cells}, key=lambda series: series.order)

    @cached_property
    def metric(self) -> str:
        """The rate that the tables show, the same for all cells of the group.

        Decode is judged by its pure decode steps. Where a result lacks that number (imported
        ones may), the whole group falls back to vLLM's `tokens_per_second`: never a mixture.
        """
        measured = [view.metrics for view in self.cells.values() if view.metrics]
        pure = all(metrics.output_tokens_per_second for metrics in measured)
        if self.stage is Stage.DECODE and pure:
            return "output_tokens_per_second"
        return "tokens_per_second"

    def rate(self, view: CellView | None) -> float | None:
        """Tokens per second of a passed cell, None for every other one."""
        return rate_by(self.metric, view) if view else None

    def rate_of(self, m: int, series: Series | None) -> float | None:
        return self.rate(self.cells.get((m, series))) if series else None

    def comparable(self, m: int, series: Series | None) -> float | None:
        """The rate as far as a quotient may be made of it: none of emulated kernels."""
        cell = self.cells.get((m, series)) if series else None
        emulated = cell is not None and cell.metrics is not None and cell.metrics.emulated
        return None if emulated else self.rate(cell)

    @cached_property
    def dense(self) -> list[Series]:
        """Dense series that have a comparable number at some M."""
        return [
            series
            for series in self.series
            if series.is_dense and any(self.comparable(m, series) for m in self.ms)
        ]

    @cached_property
    def reference(self) -> Series | None:
        """What speed-ups are computed against: one series for the whole group."""
        names = {series.backend: series for series in self.dense}
        known = [names[name] for name in REFERENCES if name in names]
        return next(iter([*known, *self.dense]), None)

    def best_dense(self, m: int) -> Series | None:
        """The fastest dense series at this M."""
        at_m = [series for series in self.dense if self.comparable(m, series)]
        return max(at_m, key=lambda series: self.comparable(m, series) or 0.0, default=None)

    def dense_missing(self, m: int) -> list[Series]:
        """Dense series that might have a number at this M: failed, not finished, not planned.

        The best dense backend may be among them, and a comparison with the second best flatters.
        Skipped cells are no such case: they cannot run on this device.
        """
        missing = []
        for series in self.series:
            cell = self.cells.get((m, series))
            skipped = cell is not None and cell.state is CellState.SKIPPED
            if series.is_dense and not skipped and not self.comparable(m, series):
                missing.append(series)
        return missing

    @property
    def can_compare(self) -> bool:
        """Whether any series has a number at an M where another, dense one has one too."""
        return any(
            self.ratio(m, series, against) is not None
            for m, series in self.cells
            for against in (self.reference, self.best_dense(m))
            if against != series
        )

    def ratio(self, m: int, series: Series, against: Series | None) -> Ratio | None:
        """How many times faster `series` is than `against` at this M; None without both.

        Emulated kernels never make one: their speed says nothing of those they imitate.
        """
        mine, other = self.comparable(m, series), self.comparable(m, against)
        if against is None or mine is None or other is None:
            return None
        pair = (self.cells[m, series], self.cells[m, against])
        return Ratio(mine / other, half_width_of_quotient(*pair))


def rate_by(metric: str, view: CellView) -> float | None:
    """The metric of a passed cell, where it is a rate: above 0 and finite."""
    rate = getattr(view.metrics, metric, None)
    return rate if rate and rate > 0 and math.isfinite(rate) else None


def half_width_of_quotient(one: CellView, other: CellView) -> float | None:
    """Relative; None when a side has none."""
    known = [width for each in (one, other) if (width := half_width(each)) is not None]
    return math.hypot(*known) if len(known) == 2 else None


def half_width(view: CellView) -> float | None:
    """Half of the 95 % confidence interval of the mean step time, relative to that mean."""
    if view.metrics is None:
        return None
    times = view.metrics.step_time_ms
    if times is None or times.ci95_half_width is None or not times.mean:
        return None
    return times.ci95_half_width / times.mean


def groups_of(view: RunView) -> list[Group]:
    """Every group of a run, models in the order of the matrix, prefill before decode."""
    cells: dict[tuple[str, Stage, Quantization], dict[tuple[int, Series], CellView]] = {}
    for each in view.cells:
        if each.cell is not None:
            key = (each.cell.model, each.cell.stage, each.cell.quantization)
            cells.setdefault(key, {})[each.cell.m, Series.of(each.cell)] = each
    models = list(dict.fromkeys(model for model, _, _ in cells))

    def place(group: Group) -> tuple[int, int, int]:
        stages, quantizations = list(Stage), list(Quantization)
        return (
            models.index(group.model),
            stages.index(group.stage),
            quantizations.index(group.quantization),
        )

    return sorted((Group(*key, members) for key, members in cells.items()), key=place)
