"""How much of the time was measurement."""

from __future__ import annotations

from slidesparse_bench.records import Attempt
from slidesparse_bench.report.blocks import Block, Head, chain, grid, heading, paragraph, right
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.clock import TimeAccount, account_of
from slidesparse_bench.report.markdown import percent
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Text, counted, say, sentences
from slidesparse_bench.units import format_duration


def section(view: RunView) -> list[Block]:
    account = account_of(view)
    attempts = sum(len(each.record.attempts) for each in view.cells)
    if not attempts:
        return chain(heading(2, say("Time")), paragraph(say("No attempt is on record.")))
    return chain(
        heading(2, say("Time")),
        _parts(view, account),
        paragraph(
            sentences(
                [
                    say(
                        "{attempts} in {processes}.",
                        attempts=counted(attempts, "attempt"),
                        processes=_processes(view),
                    ),
                    *_lost_engines(view),
                    *_slow_rounds(view),
                    *_wall_clock(view, account),
                    *_estimate(view),
                    *_untimed(account),
                ]
            )
        ),
    )


def _processes(view: RunView) -> Text:
    """`6 worker processes: 1 engine that cells shared (5 attempts), 5 for one attempt each`."""
    if view.imported:
        return counted(len(view.processes), "process")
    shared = [served for served in view.processes if served[0][1].engine is not None]
    own = len(view.processes) - len(shared)
    started = counted(len(view.processes), "worker process")
    if not shared:
        return started
    told = say(
        "{processes}: {engines} that cells shared ({attempts})",
        processes=started,
        engines=counted(len(shared), "engine"),
        attempts=counted(sum(map(len, shared)), "attempt"),
    )
    return say("{shared}, {own} for one attempt each", shared=told, own=f"{own:,}") if own else told


def _parts(view: RunView, account: TimeAccount) -> list[Block]:
    if not account.attempts_s:
        return paragraph(say("No attempt recorded its duration."))
    parts = (
        (say("measurement (the generate calls that count)"), account.measuring_s),
        (say("start-up of their processes, until the engine was ready"), account.starting_s),
        (
            say("the rest of these attempts: start-up, warm-up, shut-down")
            if view.imported
            else say("the rest of these attempts: warm-up, proof, shut-down"),
            account.rest_of_measured_s,
        ),
        (say("other attempts: failed, or their number does not count"), account.discarded_s),
        (say("all attempts"), account.attempts_s),
    )
    title = say("time in attempts")
    rows = [
        (name, format_duration(seconds), percent(seconds / account.attempts_s))
        for name, seconds in parts
        if seconds or not view.imported
    ]
    return grid(title, [Head(title), *right(say("sum"), say("share"))], rows)


def _wall_clock(view: RunView, account: TimeAccount) -> list[Text]:
    if account.wall_s is None:
        return [say("The timestamps of the run do not tell its wall-clock time.")]
    texts: list[Text] = [
        say(
            "Wall-clock time from the first to the last event: {time}.",
            time=format_duration(account.wall_s),
        )
    ]
    if account.busy_s is None:
        return texts
    idle = max(0.0, account.wall_s - account.busy_s)
    busy, rest = format_duration(account.busy_s), format_duration(idle)
    if view.imported:
        texts.append(
            say(
                "An attempt was running for {busy} of it; what happened in the other {rest} is not "
                "on record.",
                busy=busy,
                rest=rest,
            )
        )
    else:
        texts.append(
            say(
                "An attempt was running for {busy} of it; the other {rest} went into planning, "
                "waiting for device memory, clean-up between attempts, and pauses of the run.",
                busy=busy,
                rest=rest,
            )
        )
    # The times of an import are what logs of others happen to show: too coarse to tell overlaps.
    if not view.imported and account.recorded_s > 1.05 * account.busy_s > 0:
        overlap = account.recorded_s / account.busy_s
        texts.append(say("On average {n} attempts ran at once.", n=f"{overlap:.1f}"))
    return texts


def _estimate(view: RunView) -> list[Text]:
    estimate = view.inputs.plan.get("estimate_s")
    if not isinstance(estimate, (int, float)):
        return []
    return [say("The plan had estimated {time}.", time=format_duration(estimate))]


def _slow_rounds(view: RunView) -> list[Text]:
    """Rounds that did not count, or not all of them; what did not is in the rest of their attempts."""
    attempts = [(each, attempt) for each in view.cells for attempt in each.record.attempts]
    slow = [count for each, attempt in attempts if (count := _slow_rounds_of(each, attempt))]
    if not slow:
        return []
    return [
        say(
            "Of {rounds} of measurement in {attempts} a part or all did not count and was run again, "
            "because the host's CPU was slow; its time is not in the row of the measurement.",
            rounds=counted(sum(slow), "round"),
            attempts=counted(len(slow), "attempt"),
        )
    ]


def _slow_rounds_of(view: CellView, attempt: Attempt) -> int:
    """Until schema 1 the cell alone held the metrics."""
    metrics = attempt.metrics or (view.metrics if attempt in view.standing else None)
    return metrics.slow_rounds if metrics else 0


def _lost_engines(view: RunView) -> list[Text]:
    count = engines_without_attempt(view)
    if not count:
        return []
    return [
        say(
            "{engines} more stopped with their command before their first cell: no attempt stands "
            "for them, and their time is in no row.",
            engines=counted(count, "engine"),
        )
    ]


def engines_without_attempt(view: RunView) -> int:
    """Engines that ended before an attempt was on record, by the gaps in their numbers.

    `Store.new_engine_folder` numbers them in a row. One after the last that served a cell is not
    found: nothing that a report reads tells of it.
    """
    attempts = [attempt for each in view.cells for attempt in each.record.attempts]
    known = {int(each.engine) for each in attempts if each.engine and each.engine.isdecimal()}
    return max(known, default=0) - len(known)


def _untimed(account: TimeAccount) -> list[Text]:
    if not account.untimed:
        return []
    attempts = counted(account.untimed, "attempt")
    return [say("{attempts} recorded no duration and count as 0.", attempts=attempts)]
