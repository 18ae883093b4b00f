"""The verdict on one cell of two runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.compare.ratio import Ratio, ratio_of_rates
from slidesparse_bench.records import NOT_OF_THE_CELL, CellState
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Group, half_width
from slidesparse_bench.report.markdown import counted, shortened
from slidesparse_bench.report.notes import conditions_of
from slidesparse_bench.report.view import RunView
from slidesparse_bench.wire import Metrics

ALL_TOKENS = "tokens_per_second"
"""The rate that every result has."""
_SHORT = 100


class Verdict(StrEnum):
    """What the record of both runs lets one say of a cell; in the order in which it is read."""

    NEW_FAILURE = "new_failure"
    SLOWER = "slower"
    CANNOT_TELL = "cannot_tell"
    FASTER = "faster"
    FIXED = "fixed"
    SAME = "same"
    BOTH_FAILED = "both_failed"
    ONLY_IN_A = "only_in_a"
    ONLY_IN_B = "only_in_b"
    NO_NUMBER = "no_number"

    @property
    def is_worse(self) -> bool:
        return self in (Verdict.SLOWER, Verdict.NEW_FAILURE)


class Cause(StrEnum):
    """Why a verdict is `cannot_tell`; what helps differs.

    `SKIPPED` stands beside `only_in_a` as well, where no gate is asked for.
    """

    STRADDLES = "interval_straddles_threshold"
    NO_INTERVAL = "no_interval"
    FEW_TRIALS = "too_few_trials"
    DISTURBED = "disturbed"
    SKIPPED = "skipped_in_b"
    UNFINISHED = "unfinished"
    NOT_OF_THE_CELL = "failure_not_of_the_cell"
    NOT_ALIKE = "real_and_emulated"
    NO_RATE = "no_rate"


@dataclass(frozen=True)
class Rule:
    """`threshold`, above 0 and below 1, is the change that matters; less is `same`.

    A cell with fewer trials than `min_trials` on a side gets no verdict on its speed.
    """

    threshold: float = 0.03
    min_trials: int = 1


@dataclass(frozen=True)
class ComparedCell:
    """One cell. `ratio` is B over A of the rate `metric`; None unless both runs have one.

    `reason` is empty where the ratio says it all; `notes` say how else a side was measured.
    `doubted`: a side's own report warns of its number, and no mean should be made of it.
    """

    id: str
    cell: Cell | None
    verdict: Verdict
    reason: str = ""
    cause: Cause | None = None
    metric: str | None = None
    rate_a: float | None = None
    rate_b: float | None = None
    ratio: Ratio | None = None
    notes: tuple[str, ...] = ()
    doubted: bool = False


@dataclass(frozen=True)
class Side:
    """One run, its cells and their groups by cell id, and the ids of its doubtful numbers."""

    name: str
    run: RunView
    cells: Mapping[str, CellView]
    groups: Mapping[str, Group]
    doubted: Collection[str] = ()

    def kind(self, metrics: Metrics) -> str:
        """What made the number; numbers of two kinds never compare."""
        if self.run.is_fake:
            return "made up by the fake engine"
        return "emulated" if metrics.emulated else "measured"


def compare_cell(cell_id: str, a: Side, b: Side, rule: Rule) -> ComparedCell:
    """The verdict on a cell that is in at least one of the runs."""
    in_a, in_b = a.cells.get(cell_id), b.cells.get(cell_id)
    known = in_a or in_b
    assert known is not None, "a cell of neither run"
    bare = ComparedCell(cell_id, known.cell, Verdict.NO_NUMBER)
    if in_a is None or in_b is None:
        return _in_one(bare, known, a if in_b is None else b)
    if in_a.state is in_b.state is CellState.PASSED:
        return _measured(bare, (a, in_a), (b, in_b), rule)
    return _without_both(bare, in_a, in_b)


def _in_one(bare: ComparedCell, view: CellView, side: Side) -> ComparedCell:
    verdict = Verdict.ONLY_IN_A if side.name == "A" else Verdict.ONLY_IN_B
    other = "B" if side.name == "A" else "A"
    return replace(bare, verdict=verdict, reason=f"{_became(side.name, view)}; not in {other}")


def _without_both(bare: ComparedCell, a: CellView, b: CellView) -> ComparedCell:
    """A cell of both runs that passed in one of them at most."""
    passed, failed = CellState.PASSED, CellState.FAILED
    verdict, cause = Verdict.NO_NUMBER, None
    if a.state is passed and not b.state.is_done:
        verdict, cause = Verdict.CANNOT_TELL, Cause.UNFINISHED
    elif a.state is passed and b.state is failed and b.failure_class in NOT_OF_THE_CELL:
        verdict, cause = Verdict.CANNOT_TELL, Cause.NOT_OF_THE_CELL
    elif a.state is passed:
        verdict = Verdict.NEW_FAILURE if b.state is failed else Verdict.ONLY_IN_A
        cause = Cause.SKIPPED if b.state is CellState.SKIPPED else None
    elif b.state is passed:
        verdict = Verdict.FIXED if a.state is failed else Verdict.ONLY_IN_B
    elif a.state is b.state is failed:
        verdict = Verdict.BOTH_FAILED
    reason = f"{_became('A', a)}; {_became('B', b)}"
    return replace(bare, verdict=verdict, cause=cause, reason=reason)


def _became(name: str, view: CellView) -> str:
    """`B failed: oom_device: CUDA out of memory ...`."""
    # Of a cell that was not tried yet the reason is what the plan thought of it.
    is_told = view.reason and view.state in (CellState.FAILED, CellState.SKIPPED)
    because = f": {shortened(view.reason, _SHORT)}" if is_told else ""
    if view.state is not CellState.FAILED or because.startswith(f": {view.failure_class}:"):
        return f"{name} {view.state.value}{because}"
    return f"{name} {view.missing}{because}"


def _measured(
    bare: ComparedCell, a: tuple[Side, CellView], b: tuple[Side, CellView], rule: Rule
) -> ComparedCell:
    """A cell that passed in both runs: with a ratio, unless its two numbers are not alike."""
    metric = _metric(bare.id, a[0], b[0])
    sides = [Number.of(side, view, metric) for side, view in (a, b)]
    missing = [f"{each.name} passed without a rate" for each in sides if each.rate is None]
    found = replace(
        bare,
        metric=metric,
        rate_a=sides[0].rate,
        rate_b=sides[1].rate,
        notes=_notes(a, b),
        doubted=any(bare.id in side.doubted for side, _ in (a, b)),
    )
    if missing:
        return _untold(found, Cause.NO_RATE, " and ".join(missing))
    if sides[0].kind != sides[1].kind:
        kinds = ", ".join(f"{each.name} is {each.kind}" for each in sides)
        return _untold(found, Cause.NOT_ALIKE, f"never compared: {kinds}")
    return _judged(found, sides[0], sides[1], rule)


@dataclass(frozen=True)
class Number:
    """The number of one side; `half_width` is relative."""

    name: str
    rate: float | None
    half_width: float | None
    trials: int
    kind: str
    disturbed: bool = False

    @classmethod
    def of(cls, side: Side, view: CellView, metric: str) -> Number:
        metrics = view.metrics
        if metrics is None:
            return cls(side.name, None, None, 0, "")
        rate = getattr(metrics, metric)
        usable = rate is not None and rate > 0 and math.isfinite(rate)
        # The interval of a decode cell is that of its pure decode steps, not of all its tokens.
        is_other = (
            view.cell is not None and view.cell.stage is Stage.DECODE and metric == ALL_TOKENS
        )
        return cls(
            name=side.name,
            rate=rate if usable else None,
            half_width=None if is_other else half_width(view),
            trials=metrics.trials,
            kind=side.kind(metrics),
            disturbed=bool(metrics.disturbed),
        )


def _metric(cell_id: str, a: Side, b: Side) -> str:
    """The rate that reports of both runs show for this cell, else the one that all results have."""
    metrics = {side.groups[cell_id].metric for side in (a, b) if cell_id in side.groups}
    return metrics.pop() if len(metrics) == 1 else ALL_TOKENS


def _judged(found: ComparedCell, a: Number, b: Number, rule: Rule) -> ComparedCell:
    assert a.rate is not None
    assert b.rate is not None
    ratio = ratio_of_rates(a.rate, b.rate, a.half_width, b.half_width)
    found = replace(found, ratio=ratio)
    disturbed = [each.name for each in (a, b) if each.disturbed]
    if disturbed:
        return _untold(found, Cause.DISTURBED, f"measure {' and '.join(disturbed)} again")
    if ratio.low is None or ratio.high is None:
        return _untold(found, Cause.NO_INTERVAL, _no_interval(a, b))
    few = [each for each in (a, b) if each.trials < rule.min_trials]
    if few:
        told = " and ".join(f"{each.name} has {counted(each.trials, 'trial')}" for each in few)
        return _untold(found, Cause.FEW_TRIALS, f"{told}, {rule.min_trials} are asked for")
    verdict = verdict_on(ratio.low, ratio.high, rule.threshold)
    if verdict is Verdict.CANNOT_TELL:
        return _untold(found, Cause.STRADDLES, _straddles(ratio.low, ratio.high, rule))
    return replace(found, verdict=verdict)


def verdict_on(low: float, high: float, threshold: float) -> Verdict:
    """Only what the whole interval agrees on is said."""
    if high < 1 - threshold:
        return Verdict.SLOWER
    if low > 1 + threshold:
        return Verdict.FASTER
    if low >= 1 - threshold and high <= 1 + threshold:
        return Verdict.SAME
    return Verdict.CANNOT_TELL


def _untold(found: ComparedCell, cause: Cause, reason: str) -> ComparedCell:
    return replace(found, verdict=Verdict.CANNOT_TELL, cause=cause, reason=reason)


def _no_interval(a: Number, b: Number) -> str:
    names = [each.name for each in (a, b) if each.half_width is None]
    if names:
        return f"no interval in {' and '.join(names)}"
    return "an interval is as wide as its number"


def _straddles(low: float, high: float, rule: Rule) -> str:
    """Which limit the interval reaches over, and what is certain all the same."""
    limits = (1 - rule.threshold, 1 + rule.threshold)
    crossed = " and ".join(f"{limit:.4g}" for limit in limits if low < limit < high)
    certain = "slower, by how much is open: " if high < 1 else "faster, by how much is open: "
    return f"{certain if high < 1 or low > 1 else ''}the interval reaches over {crossed}"


def _notes(a: tuple[Side, CellView], b: tuple[Side, CellView]) -> tuple[str, ...]:
    """What each side's own report remarks on the number, and whether other kernels ran."""
    notes = [
        f"{side.name}: {note.replace('`', '')}"
        for side, view in (a, b)
        for note in [*conditions_of(view), *_out_of_line(side, view)]
    ]
    kernels = [view.metrics.kernel for _, view in (a, b) if view.metrics]
    if len(set(kernels)) > 1 and all(kernels):
        notes.append(f"kernel {kernels[0]} in A, {kernels[1]} in B")
    return tuple(notes)


def _out_of_line(side: Side, view: CellView) -> list[str]:
    """A doubt that the number itself does not carry: it does not fit the others of its run."""
    is_other = view.id in side.doubted and not (view.metrics and view.metrics.disturbed)
    return ["out of line with the numbers beside it (Anomalies in its report)"] if is_other else []
