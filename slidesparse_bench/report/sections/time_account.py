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
            " ".join(
                [
                    f"{counted(attempts, 'attempt')} in {_processes(view)}.",
                    *_wall_clock(account),
                    *_estimate(view),
                    *_untimed(account),
                ]
            ),
        ]
    )


def _processes(view: RunView) -> str:
    """`6 worker processes: 1 engine that cells shared (5 attempts), 5 for one attempt each`."""
    shared = [served for served in view.processes if served[0][1].engine is not None]
    own = len(view.processes) - len(shared)
    started = counted(len(view.processes), "worker process")
    if not shared:
        return started
    served = counted(sum(map(len, shared)), "attempt")
    alone = f", {own:,} for one attempt each" if own else ""
    return f"{started}: {counted(len(shared), 'engine')} that cells shared ({served}){alone}"


def _parts(account: TimeAccount) -> str:
    parts = (
        ("measurement (the generate calls that count)", account.measuring_s),
        ("start-up of their processes, until the engine was ready", account.starting_s),
        ("the rest of these attempts: warm-up, proof, shut-down", account.rest_of_measured_s),
        ("other attempts: failed, or their number does not count", account.discarded_s),
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
        if account.recorded_s > 1.05 * account.busy_s > 0:
            overlap = account.recorded_s / account.busy_s
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
