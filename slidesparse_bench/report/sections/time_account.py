"""How much of the time was measurement."""

from __future__ import annotations

from slidesparse_bench.report.clock import TimeAccount, account_of
from slidesparse_bench.report.markdown import blocks, counted, percent
from slidesparse_bench.report.table import Column, Table, as_markdown
from slidesparse_bench.report.view import RunView
from slidesparse_bench.units import format_duration


def section(view: RunView) -> str:
    account = account_of(view)
    attempts = sum(len(each.record.attempts) for each in view.cells)
    if not attempts:
        return blocks(["## Time", "No attempt is on record."])
    return blocks(
        [
            "## Time",
            _parts(account) if account.attempts_s else "No attempt recorded its duration.",
            " ".join([*_wall_clock(account), *_estimate(view), *_untimed(account)]),
        ]
    )


def _parts(account: TimeAccount) -> str:
    parts = (
        ("measurement (the generate calls that count)", account.measuring_s),
        ("engine start-up of attempts that passed, until ready", account.starting_s),
        ("their rest: warm-up, proof, shut-down", account.rest_of_passed_s),
        ("attempts without a number", account.failed_s),
        ("all attempts", account.attempts_s),
    )
    rows = tuple(
        (name, format_duration(seconds), percent(seconds / account.attempts_s))
        for name, seconds in parts
    )
    columns = (Column("time in attempts"), Column("sum", right=True), Column("share", right=True))
    return as_markdown(Table(columns, rows))


def _wall_clock(account: TimeAccount) -> list[str]:
    if account.wall_s is None:
        return ["The timestamps of the run do not tell its wall-clock time."]
    texts = [
        f"Wall-clock time from the first to the last event: {format_duration(account.wall_s)}."
    ]
    if account.busy_s is not None:
        idle = max(0.0, account.wall_s - account.busy_s)
        texts.append(
            f"An attempt was running for {format_duration(account.busy_s)} of it; the other "
            f"{format_duration(idle)} went into planning, waiting for device memory, clean-up "
            "between attempts, and pauses of the run."
        )
        if account.attempts_s > 1.05 * account.busy_s > 0:
            overlap = account.attempts_s / account.busy_s
            texts.append(f"On average {overlap:.1f} attempts ran at once.")
    return texts


def _estimate(view: RunView) -> list[str]:
    estimate = view.inputs.plan.get("estimate_s")
    if not isinstance(estimate, (int, float)):
        return []
    return [f"The plan had estimated {format_duration(estimate)}."]


def _untimed(account: TimeAccount) -> list[str]:
    if not account.untimed:
        return []
    return [f"{counted(account.untimed, 'attempt')} recorded no duration and count as 0."]
