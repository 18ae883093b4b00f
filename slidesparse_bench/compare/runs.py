"""All cells of two runs, their groups, and the outcome."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

from slidesparse_bench.cell import Quantization, Stage
from slidesparse_bench.compare.cells import Cause, ComparedCell, Rule, Side, Verdict, compare_cell
from slidesparse_bench.compare.ratio import geometric_mean
from slidesparse_bench.compare.setups import Setups, setups_of
from slidesparse_bench.errors import ExitCode
from slidesparse_bench.report.doubts import doubted_ids
from slidesparse_bench.report.groups import Series, groups_of
from slidesparse_bench.report.markdown import counted, listed, round_percent
from slidesparse_bench.report.view import RunView


@dataclass(frozen=True)
class GroupMean:
    """Cells of one stage, quantization and backend with its sparsity.

    `geometric_mean` is over the `compared` cells of `cells`: those that have a ratio, but for the
    `left_out`, of which a side's own report says not to use the number. None without any.
    """

    stage: Stage
    quantization: Quantization
    series: Series
    cells: int
    compared: int
    left_out: int
    geometric_mean: float | None


@dataclass(frozen=True)
class Comparison:
    """Run `b` against run `a`. `gate`: a slower cell counts as a regression on any device."""

    a: RunView
    b: RunView
    rule: Rule
    gate: bool
    setups: Setups
    cells: tuple[ComparedCell, ...]

    @property
    def is_gated(self) -> bool:
        """Whether a worse cell is a regression: on the same kind of device, or if asked for."""
        return self.gate or self.setups.same_device is True

    @property
    def regressions(self) -> list[ComparedCell]:
        return [each for each in self.cells if self.is_gated and each.verdict.is_worse]

    @cached_property
    def counts(self) -> dict[Verdict, int]:
        """Cells per verdict, in the order of `Verdict`."""
        verdicts = [each.verdict for each in self.cells]
        return {verdict: verdicts.count(verdict) for verdict in Verdict}

    @cached_property
    def common_notes(self) -> list[str]:
        """Remarks on every compared number, of which there are several: said once for all."""
        notes = [each.notes for each in self.cells if each.metric is not None]
        if len(notes) < _COMMON_FROM:
            return []
        return [note for note in notes[0] if all(note in others for others in notes)]

    @cached_property
    def groups(self) -> list[GroupMean]:
        members: dict[tuple[Stage, Quantization, Series], list[ComparedCell]] = {}
        for each in (each for each in self.cells if each.cell is not None):
            assert each.cell is not None
            key = (each.cell.stage, each.cell.quantization, Series.of(each.cell))
            members.setdefault(key, []).append(each)
        keys = sorted(members, key=_place)
        return [_group_mean(key, members[key]) for key in keys]

    @property
    def outcome(self) -> tuple[ExitCode, str]:
        """The exit code, and why."""
        if self.regressions:
            return ExitCode.REGRESSION, self._regressions_told()
        if not any(each.ratio for each in self.cells):
            return ExitCode.CANNOT_TELL, self._nothing_in_both()
        worse = any(each.verdict.is_worse for each in self.cells)
        if worse and not self.is_gated and self.setups.same_device is None:
            return ExitCode.CANNOT_TELL, (
                "the device is not on record in both runs, so whether a slower cell is a "
                "regression is open; --gate counts it as one"
            )
        if untold := self.counts[Verdict.CANNOT_TELL]:
            told = f"{counted(untold, 'cell')} cannot be told"
            return ExitCode.CANNOT_TELL, f"{told}{self._skipped_told()}"
        return ExitCode.OK, self._all_is_well()

    def _regressions_told(self) -> str:
        verdicts = [each.verdict for each in self.regressions]
        parts = [
            f"{verdicts.count(Verdict.SLOWER)} slower by more than {self._threshold}",
            f"{verdicts.count(Verdict.NEW_FAILURE)} failed that passed before",
        ]
        told = listed([part for part in parts if not part.startswith("0 ")])
        return f"{counted(len(verdicts), 'regression')}: {told}"

    def _nothing_in_both(self) -> str:
        if any(each.cause is Cause.NOT_ALIKE for each in self.cells):
            return "nothing to compare: real and emulated numbers are never compared"
        passed = [sum(view.metrics is not None for view in run.cells) for run in (self.a, self.b)]
        return (
            "nothing to compare: no cell has a number in both runs "
            f"({passed[0]} in A, {passed[1]} in B)"
        )

    def _all_is_well(self) -> str:
        if self.is_gated:
            return f"no cell is slower by more than {self._threshold}"
        worse = sum(each.verdict.is_worse for each in self.cells)
        return (
            f"different devices: {counted(worse, 'cell')} slower or failed in B, none of them "
            f"called a regression; --gate does{self._skipped_told()}"
        )

    def _skipped_told(self) -> str:
        skipped = sum(each.cause is Cause.SKIPPED for each in self.cells)
        if not skipped:
            return ""
        was = "was" if skipped == 1 else "were"
        return f"; {counted(skipped, 'cell')} that passed in A {was} skipped in B"

    @property
    def _threshold(self) -> str:
        return round_percent(self.rule.threshold)

    @property
    def next_steps(self) -> list[str]:
        """What would settle what is open; nothing when nothing is."""
        causes = [each.cause for each in self.cells if each.verdict is Verdict.CANNOT_TELL]
        steps = [
            f"{counted(causes.count(cause), 'cell')} cannot be told ({text}"
            for cause, text in _NEXT_STEPS.items()
            if cause in causes
        ]
        if any(each.verdict is Verdict.SLOWER for each in self.regressions):
            steps.insert(0, _CONFIRM)
        return steps


_COMMON_FROM = 3
_CONFIRM = (
    "Before acting on a slower cell, measure it again in both setups (`slidesparse run MATRIX.yaml "
    "--fresh --select CELL`) and compare those runs: what is real comes back."
)
_NEXT_STEPS = {
    Cause.STRADDLES: (
        "the interval reaches over the threshold): measure both sides with more trials "
        "(`trials: 5` in the matrix), or accept a larger --threshold."
    ),
    Cause.NO_INTERVAL: (
        "a side has no interval): imported results and fewer than three steps have none; measure "
        "that side with `slidesparse run`. The ratio is shown all the same."
    ),
    Cause.FEW_TRIALS: (
        "fewer trials than --min-trials): set `trials` in the matrix and measure again."
    ),
    Cause.DISTURBED: (
        "a side was disturbed while it was measured): measure that side again with nothing else on "
        "the machine (`slidesparse run MATRIX.yaml --fresh --select CELL`)."
    ),
    Cause.SKIPPED: (
        "B skipped what passed in A): see its reason; `infeasible: try` in the matrix tries what "
        "the plan thinks too large, --select compares the rest."
    ),
    Cause.UNFINISHED: (
        "B has not finished it): `slidesparse run MATRIX.yaml` goes on where B was left; --select "
        "compares the rest."
    ),
    Cause.NOT_OF_THE_CELL: (
        "B failed for a reason outside the cell): free the device, then "
        "`slidesparse retry RUN_B --failed`."
    ),
    Cause.NOT_ALIKE: "one side is emulated): measure both on the same kind of device.",
    Cause.NO_RATE: "a side passed without a rate): look at its result.json.",
}


def compare_runs(
    a: RunView,
    b: RunView,
    rule: Rule | None = None,
    *,
    gate: bool = False,
    only: Collection[str] | None = None,
) -> Comparison:
    """Compare run `b` with run `a`, the reference; `only` these cell ids, by default all.

    Cells are sorted by verdict as `Verdict` lists them, the largest change first.
    """
    rule = rule or Rule()
    sides = _side("A", a), _side("B", b)
    ids = dict.fromkeys([*sides[0].cells, *sides[1].cells])
    cells = [
        compare_cell(cell_id, *sides, rule) for cell_id in ids if only is None or cell_id in only
    ]
    in_both = {each.id for each in cells if each.metric is not None}
    setups = setups_of(a, b, in_both)
    if gate or setups.same_device is True:
        cells = [_gated(each) for each in cells]
    return Comparison(a, b, rule, gate, setups, tuple(sorted(cells, key=_rank)))


def _gated(each: ComparedCell) -> ComparedCell:
    """A gate must not pass because B left out what A measured."""
    return replace(each, verdict=Verdict.CANNOT_TELL) if each.cause is Cause.SKIPPED else each


def _side(name: str, run: RunView) -> Side:
    groups = {view.id: group for group in groups_of(run) for view in group.cells.values()}
    return Side(name, run, {view.id: view for view in run.cells}, groups, doubted_ids(run))


def _rank(each: ComparedCell) -> tuple[int, float]:
    return list(Verdict).index(each.verdict), -each.ratio.size if each.ratio else 0.0


def _place(
    key: tuple[Stage, Quantization, Series],
) -> tuple[int, int, tuple[int, str, int]]:
    stage, quantization, series = key
    return list(Stage).index(stage), list(Quantization).index(quantization), series.order


def _group_mean(key: tuple[Stage, Quantization, Series], cells: list[ComparedCell]) -> GroupMean:
    known = [each for each in cells if each.ratio]
    ratios = [each.ratio.value for each in known if each.ratio and not each.doubted]
    left_out = len(known) - len(ratios)
    return GroupMean(*key, len(cells), len(ratios), left_out, geometric_mean(ratios))
