"""The first screen: what came out, what is worth knowing before reading a number, what to do."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from slidesparse_bench.feasibility import FitVerdict
from slidesparse_bench.records import CellState, RunState
from slidesparse_bench.report import advice
from slidesparse_bench.report.blocks import Alert, Block, bullets, chain, heading, paragraph
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.changes import changes_before
from slidesparse_bench.report.doubts import doubted_ids
from slidesparse_bench.report.groups import Group, Ratio, Series, groups_of
from slidesparse_bench.report.index_limits import meaning_of
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.moments import seconds_between, when
from slidesparse_bench.report.sections.setup import devices
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import (
    Code,
    Recorded,
    Text,
    counted,
    is_empty,
    joined,
    say,
    sentences,
)
from slidesparse_bench.units import format_duration

REASONS_SHOWN = 4
_Compared: TypeAlias = tuple[Group, int, Series, Ratio]


def section(view: RunView) -> list[Block]:
    return chain(
        heading(1, say("SlideSparse benchmark {run}", run=view.run.run_id)),
        [Alert(text) for text in _warnings(view)],
        heading(2, say("Summary")),
        paragraph(sentences([_outcome(view), _circumstances(view)])),
        _speedups(view),
        _reasons(view),
        _next_steps(view),
    )


def _warnings(view: RunView) -> Iterator[Text]:
    """What makes every number below mean something else than it seems to."""
    if view.is_fake:
        yield say(
            "**NO NUMBER IN THIS REPORT IS A MEASUREMENT.** The run used `engine: fake`, which "
            "computes nothing; it shows that the harness works."
        )
    if view.imported:
        yield _imported(view)
    if view.is_cpu:
        yield say(
            "**CPU run.** vLLM ran without a GPU, on emulated or CPU kernels. Its numbers say "
            "nothing about sparse tensor cores and compare with no GPU run."
        )
    if not view.environment:
        yield say("**`environment.json` is missing**: nothing here says what the numbers ran on.")
    if view.changes:
        yield _changed(view)
    if view.run.state is RunState.INTERRUPTED:
        yield say("**This run was interrupted.** The report shows what is on record so far.")
    elif view.run.state is not RunState.FINISHED:
        yield say("**This run has not finished.** The report shows what is on record so far.")


def _imported(view: RunView) -> Text:
    """Whose numbers these are."""
    return say(
        "**Imported results.** Another tool measured these numbers (`{format}`, `{source}`); "
        "slidesparse-bench has read its files, classified its failures again from its logs and run "
        "nothing itself. What nobody recorded is listed under Methods.",
        format=str(view.imported.get("format") or "?"),
        source=str(view.imported.get("source") or "?"),
    )


def _changed(view: RunView) -> Text:
    """Numbers from both sides of a change stand in one table."""
    told = joined(
        "; ",
        [
            say("{moment}: {what}", moment=when(change.began), what=change.shortly)
            for change in view.changes
        ],
    )
    numbers = [each for each in view.cells if each.standing]
    later = sum(changes_before(view.changes, each.standing[-1]) > 0 for each in numbers)
    return say(
        "**The machine or the software changed while this run was made** ({told}). "
        "{later} of {numbers} were measured afterwards and are marked: do not compare them with "
        "the others, or measure all of them again (`slidesparse run --fresh`).",
        told=told,
        later=f"{later:,}",
        numbers=counted(len(numbers), "number"),
    )


def _outcome(view: RunView) -> Text:
    total = len(view.cells)
    if not total:
        return say("The run has no cells.")
    passed, failed, skipped = (
        len(view.in_state(state))
        for state in (CellState.PASSED, CellState.FAILED, CellState.SKIPPED)
    )
    waiting = total - passed - failed - skipped
    words = say(
        "**{passed} of {cells} passed** ({share}), {failed} failed, {skipped} skipped with a stated "
        "reason",
        passed=f"{passed:,}",
        cells=counted(total, "cell"),
        share=percent(passed / total),
        failed=f"{failed:,}",
        skipped=f"{skipped:,}",
    )
    if waiting:
        return say("{outcome}, {waiting} not finished.", outcome=words, waiting=f"{waiting:,}")
    return say("{sentence}.", sentence=words)


def _circumstances(view: RunView) -> Text:
    attempts = sum(len(each.record.attempts) for each in view.cells)
    wall_s = seconds_between(view.run.created, view.run.updated)
    span = say(
        "{attempts} in {processes} from {began} to {ended}",
        attempts=counted(attempts, "attempt"),
        processes=counted(len(view.processes), "process"),
        began=when(view.run.created),
        ended=when(view.run.updated),
    )
    if wall_s is not None:
        span = say("{span} over {time}", span=span, time=format_duration(wall_s))
    found = devices(view)
    where = (
        say("The device is not on record.")
        if is_empty(found)
        else say("Device: {devices}.", devices=found)
    )
    return sentences([say("{sentence}.", sentence=span), where])


def _speedups(view: RunView) -> list[Block]:
    """Range of the sparse speed-ups over the best dense backend, never the largest one alone."""
    sparse = [each for each in view.cells if each.cell and each.cell.sparsity]
    if view.is_fake or not sparse:
        return []
    if any(each.metrics and each.metrics.emulated for each in sparse):
        return paragraph(
            say(
                "Sparse kernels were emulated here, so this run says nothing of their speed: its "
                "tables have no speed-up of them."
            )
        )
    doubted = doubted_ids(view)
    found: list[_Compared] = []
    left_out: list[_Compared] = []
    for each in _sparse_ratios(view):
        in_doubt = any(cell.id in doubted for cell in _compared_cells(each))
        (left_out if in_doubt else found).append(each)
    if not found:
        return paragraph(
            say("No sparse backend can be compared with a dense one: see the tables below for why.")
        )
    values = [ratio.value for _, _, _, ratio in found]
    group, m, series, ratio = max(found, key=lambda each: each[3].value)
    against = group.best_dense(m)
    largest = group.cells[m, series]
    text = say(
        "Sparse backends against the best dense backend of the same cell: {comparisons}, from "
        "{least}x to {most}x, median {median}x. The largest is {group}, M = {m}: {backend} runs at "
        "{ratio}x of {dense}{marks}. Left out are cells at which a dense backend failed, did not "
        "finish or was not planned: it might be the best one.",
        comparisons=counted(len(found), "comparison"),
        least=f"{min(values):.2f}",
        most=f"{max(values):.2f}",
        median=f"{statistics.median(values):.2f}",
        group=group.title,
        m=m,
        backend=series.head,
        ratio=f"{ratio.value:.2f}",
        dense=against.name if against else "",
        marks=view.marks(largest),
    )
    more = [*_across_changes(view, found), *_where_the_device_decides(found)]
    if left_out:
        more.append(
            say(
                "{comparisons} more are left out because one of their two rates is out of line (see "
                "Anomalies); they reach from {least}x to {most}x.",
                comparisons=counted(len(left_out), "comparison"),
                least=f"{min(ratio.value for *_, ratio in left_out):.2f}",
                most=f"{max(ratio.value for *_, ratio in left_out):.2f}",
            )
        )
    return chain(paragraph(sentences([text, *more])), view.notes([largest]))


def _across_changes(view: RunView, compared: list[_Compared]) -> Iterator[Text]:
    """Comparisons that the warning at the top is about."""
    places = [
        {
            changes_before(view.changes, attempt)
            for cell in _compared_cells(each)
            for attempt in cell.standing
        }
        for each in compared
    ]
    if count := sum(len(each) > 1 for each in places):
        yield say(
            "In {count} of these comparisons the two sides were measured before and after a change "
            "of the machine or the software.",
            count=count,
        )


def _where_the_device_decides(compared: list[_Compared]) -> Iterator[Text]:
    """Beside steps that the host sets the time of, faster GEMMs hardly show."""
    looks = [{cell.host_bound for cell in _compared_cells(each)} for each in compared]
    starved = sum(True in each for each in looks)
    unknown = sum(None in each and True not in each for each in looks)
    if not starved:
        return
    yield say(
        "In {count} of these comparisons the host, not the GPU, set the time of the steps on one "
        "side (host-bound).",
        count=starved,
    )
    if unknown:
        yield say("In {count} others it is not on record how long the host waited.", count=unknown)
    values = [
        ratio.value for (*_, ratio), seen in zip(compared, looks, strict=True) if seen == {False}
    ]
    if values:
        yield say(
            "Without these there are {comparisons}, from {least}x to {most}x, median {median}x.",
            comparisons=counted(len(values), "comparison"),
            least=f"{min(values):.2f}",
            most=f"{max(values):.2f}",
            median=f"{statistics.median(values):.2f}",
        )


def _compared_cells(compared: _Compared) -> Iterator[CellView]:
    group, m, series, _ = compared
    yield group.cells[m, series]
    if dense := group.best_dense(m):
        yield group.cells[m, dense]


def _sparse_ratios(view: RunView) -> Iterator[_Compared]:
    """A speed-up over the second best, because the best one failed, would flatter."""
    for group in groups_of(view):
        for m, series in group.cells:
            ratio = group.ratio(m, series, group.best_dense(m))
            if not series.is_dense and ratio is not None and not group.dense_missing(m):
                yield group, m, series, ratio


def _reasons(view: RunView) -> list[Block]:
    """Why cells have no number, the most frequent reason first."""
    missing = view.in_state(CellState.FAILED, CellState.SKIPPED)
    if not missing:
        return []
    counts = Counter(_reason(each) for each in missing).most_common()
    lines: list[Text] = [
        say("{cells}: {reason}", cells=counted(count, "cell"), reason=reason)
        for reason, count in counts[:REASONS_SHOWN]
    ]
    hidden = sum(count for _, count in counts[REASONS_SHOWN:])
    if hidden:
        others = say("other reasons, see the sections below")
        lines.append(say("{cells}: {reason}", cells=counted(hidden, "cell"), reason=others))
    return chain(paragraph(say("Why cells have no number:")), bullets(lines))


def _reason(view: CellView) -> Text:
    if view.state is CellState.FAILED:
        return say(
            "failed with `{failure_class}` ({meaning})",
            failure_class=view.failure_class,
            meaning=meaning_of(view.failure_class, [view]),
        )
    verdict = str(view.planned.get("verdict"))
    if verdict in advice.PLAN_VERDICTS:
        return say(
            "skipped as `{verdict}` ({meaning})",
            verdict=verdict,
            meaning=advice.PLAN_VERDICTS[verdict],
        )
    return view.missing_text


def _next_steps(view: RunView) -> list[Block]:
    steps = list(_foreign_steps(view) if view.imported else _steps(view))
    return chain(paragraph(say("What to do next:")), bullets(steps)) if steps else []


def _steps(view: RunView) -> Iterator[Text]:
    waiting = view.in_state(CellState.PENDING, CellState.RUNNING)
    if waiting and view.run.state is not RunState.RUNNING:
        yield say(
            "{cells} did not finish: `slidesparse run {matrix}` resumes this run.",
            cells=counted(len(waiting), "cell"),
            matrix=shlex.quote(f"{view.folder}/matrix.yaml"),
        )
    skipped = view.in_state(CellState.SKIPPED)
    refused = [v for v in skipped if v.planned.get("verdict") == FitVerdict.DOES_NOT_FIT]
    if refused:
        yield say(
            "{cells} did not fit by the plan's estimate: `infeasible: try` in the matrix starts such "
            "cells all the same.",
            cells=counted(len(refused), "cell"),
        )
    yield from _host_advice(view)
    failed = view.in_state(CellState.FAILED)
    yield from _class_advice(failed)
    retryable = [each for each in failed if each.failure and each.failure.retryable]
    if retryable:
        yield say(
            "{cells} failed in a way that another attempt may mend: "
            "`slidesparse retry {run} --failed`.",
            cells=counted(len(retryable), "cell"),
            run=view.named,
        )


def _host_advice(view: RunView) -> Iterator[Text]:
    looks = [each for each in view.cells if each.host_bound is not None]
    starved = [each for each in looks if each.host_bound]
    if not starved:
        return
    yield say(
        "In {cells} of {known} Python on the CPU, not the GPU, set the time of the steps "
        "(host-bound). A larger M helps, or an idle host.",
        cells=f"{len(starved):,}",
        known=counted(len(looks), "cell"),
    )
    without = [each for each in starved if not each.has_graph]
    if without:
        yield say(
            "{cells} of those ran without a CUDA graph of their M: ask for one "
            "(`cudagraph_capture_sizes` of the `compilation_config` in `engine_args`).",
            cells=f"{len(without):,}",
        )


def _foreign_steps(view: RunView) -> Iterator[Text]:
    """Nothing of an imported run can be resumed; its matrix can be run anew, with proof."""
    yield from _class_advice(view.in_state(CellState.FAILED))
    if view.cells:
        yield say(
            "`slidesparse run {folder}/matrix.yaml` measures the same cells here, with a proof of M "
            "and kernel and with intervals; `slidesparse compare` then shows both side by side.",
            folder=view.folder,
        )


def _class_advice(failed: list[CellView]) -> Iterator[Text]:
    counts = Counter(each.failure_class for each in failed)
    for failure_class, count in counts.most_common(REASONS_SHOWN):
        yield say(
            "`{failure_class}` ({cells}): {advice}",
            failure_class=Code(failure_class),
            cells=counted(count, "cell"),
            advice=Recorded(advice.explain(failure_class).advice, is_ours=True),
        )
