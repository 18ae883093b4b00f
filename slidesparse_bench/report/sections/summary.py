"""The first screen: what came out, what is worth knowing before reading a number, what to do."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator

from slidesparse_bench.feasibility import FitVerdict
from slidesparse_bench.records import CellState, RunState
from slidesparse_bench.report import advice
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.changes import changes_before
from slidesparse_bench.report.groups import Group, Ratio, Series, groups_of
from slidesparse_bench.report.markdown import blocks, bullets, code, counted, percent, plain
from slidesparse_bench.report.moments import seconds_between, shown
from slidesparse_bench.report.sections.setup import devices
from slidesparse_bench.report.view import RunView
from slidesparse_bench.units import format_duration

REASONS_SHOWN = 4


def section(view: RunView) -> str:
    return blocks(
        [
            f"# SlideSparse benchmark {view.run.run_id}",
            *_warnings(view),
            "## Summary",
            " ".join([_outcome(view), _circumstances(view)]),
            _speedups(view),
            _reasons(view),
            _next_steps(view),
        ]
    )


def _warnings(view: RunView) -> Iterator[str]:
    """What makes every number below mean something else than it seems to."""
    if view.is_fake:
        yield (
            "> **NO NUMBER IN THIS REPORT IS A MEASUREMENT.** The run used `engine: fake`, which "
            "computes nothing; it shows that the harness works."
        )
    if view.is_cpu:
        yield (
            "> **CPU run.** vLLM ran without a GPU, on emulated or CPU kernels. Its numbers say "
            "nothing about sparse tensor cores and compare with no GPU run."
        )
    if not view.environment:
        yield "> **`environment.json` is missing**: nothing here says what the numbers ran on."
    if view.changes:
        yield _changed(view)
    if view.run.state is not RunState.FINISHED:
        word = "was interrupted" if view.run.state is RunState.INTERRUPTED else "has not finished"
        yield f"> **This run {word}.** The report shows what is on record so far."


def _changed(view: RunView) -> str:
    """Numbers from both sides of a change stand in one table."""
    told = "; ".join(f"{shown(change.began)}: {change.shortly}" for change in view.changes)
    numbers = [each for each in view.cells if each.standing]
    later = sum(changes_before(view.changes, each.standing[-1]) > 0 for each in numbers)
    return (
        f"> **The machine or the software changed while this run was made** ({told}). "
        f"{later:,} of {counted(len(numbers), 'number')} were measured afterwards and are marked: do "
        "not compare them with the others, or measure all of them again (`slidesparse run --fresh`)."
    )


def _outcome(view: RunView) -> str:
    total = len(view.cells)
    if not total:
        return "The run has no cells."
    passed, failed, skipped = (
        len(view.in_state(state))
        for state in (CellState.PASSED, CellState.FAILED, CellState.SKIPPED)
    )
    waiting = total - passed - failed - skipped
    words = [
        f"**{passed:,} of {counted(total, 'cell')} passed** ({percent(passed / total)})",
        f"{failed:,} failed",
        f"{skipped:,} skipped with a stated reason",
    ]
    return ", ".join(words) + (f", {waiting:,} not finished." if waiting else ".")


def _circumstances(view: RunView) -> str:
    attempts = sum(len(each.record.attempts) for each in view.cells)
    wall_s = seconds_between(view.run.created, view.run.updated)
    took = f" over {format_duration(wall_s)}" if wall_s is not None else ""
    where = f" Device: {devices(view)}." if devices(view) else " The device is not on record."
    return (
        f"{counted(attempts, 'attempt')} in {counted(len(view.processes), 'process')} from {shown(view.run.created)} to "
        f"{shown(view.run.updated)}{took}.{where}"
    )


def _speedups(view: RunView) -> str:
    """Range of the sparse speed-ups over the best dense backend, never the largest one alone."""
    sparse = [each for each in view.cells if each.cell and each.cell.sparsity]
    if view.is_fake or not sparse:
        return ""
    found = list(_sparse_ratios(view))
    if not found:
        return "No sparse backend can be compared with a dense one: see the tables below for why."
    values = [ratio.value for _, _, _, ratio in found]
    group, m, series, ratio = max(found, key=lambda each: each[3].value)
    against = group.best_dense(m)
    largest = group.cells[m, series]
    text = (
        f"Sparse backends against the best dense backend of the same cell: "
        f"{counted(len(found), 'comparison')}, from {min(values):.2f}x to {max(values):.2f}x, "
        f"median {statistics.median(values):.2f}x. The largest is {group.title}, M = {m}: "
        f"{series.title} runs at {ratio.value:.2f}x of {against.name if against else 'none'}"
        f"{view.marks(largest)}. Left out are cells at which a dense backend failed, did not finish "
        "or was not planned: it might be the best one."
    )
    return blocks([text, view.note_lines([largest])])


def _sparse_ratios(view: RunView) -> Iterator[tuple[Group, int, Series, Ratio]]:
    """A speed-up over the second best, because the best one failed, would flatter."""
    for group in groups_of(view):
        for m, series in group.cells:
            ratio = group.ratio(m, series, group.best_dense(m))
            if not series.is_dense and ratio is not None and not group.dense_missing(m):
                yield group, m, series, ratio


def _reasons(view: RunView) -> str:
    """Why cells have no number, the most frequent reason first."""
    missing = view.in_state(CellState.FAILED, CellState.SKIPPED)
    if not missing:
        return ""
    counts = Counter(_reason(each) for each in missing).most_common()
    lines = [f"{counted(count, 'cell')}: {reason}" for reason, count in counts[:REASONS_SHOWN]]
    hidden = sum(count for _, count in counts[REASONS_SHOWN:])
    if hidden:
        lines.append(f"{counted(hidden, 'cell')}: other reasons, see the sections below")
    return blocks(["Why cells have no number:", bullets(lines)])


def _reason(view: CellView) -> str:
    if view.state is CellState.FAILED:
        meaning = advice.explain(view.failure_class).what
        return f"failed with {code(view.failure_class)} ({meaning})"
    verdict = str(view.planned.get("verdict"))
    if verdict in advice.PLAN_VERDICTS:
        return f"skipped as {code(verdict)} ({advice.PLAN_VERDICTS[verdict]})"
    return plain(view.missing)


def _next_steps(view: RunView) -> str:
    steps = list(_steps(view))
    return blocks(["What to do next:", bullets(steps)]) if steps else ""


def _steps(view: RunView) -> Iterator[str]:
    waiting = view.in_state(CellState.PENDING, CellState.RUNNING)
    if waiting:
        yield (
            f"{counted(len(waiting), 'cell')} did not finish: "
            f"`slidesparse run {view.folder}/matrix.yaml` resumes this run."
        )
    skipped = view.in_state(CellState.SKIPPED)
    refused = [v for v in skipped if v.planned.get("verdict") == FitVerdict.DOES_NOT_FIT]
    if refused:
        yield (
            f"{counted(len(refused), 'cell')} did not fit by the plan's estimate: `infeasible: try` "
            "in the matrix starts such cells all the same."
        )
    failed = view.in_state(CellState.FAILED)
    counts = Counter(each.failure_class for each in failed)
    for failure_class, count in counts.most_common(REASONS_SHOWN):
        text = advice.explain(failure_class).advice
        yield f"{code(failure_class)} ({counted(count, 'cell')}): {text}"
    retryable = [each for each in failed if each.failure and each.failure.retryable]
    if retryable:
        yield (
            f"{counted(len(retryable), 'cell')} failed in a way that another attempt may mend: "
            f"`slidesparse retry {view.inputs.run_folder.name} --failed`."
        )
