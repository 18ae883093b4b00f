"""What `run` and `retry` share: signals, progress, the end of a campaign and its exit code."""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any

from rich.console import Console

from slidesparse_bench.campaign import Campaign
from slidesparse_bench.cli.output import RUNS, console, print_json
from slidesparse_bench.cli.progress import LiveProgress, PlainProgress
from slidesparse_bench.device import Device, find_devices
from slidesparse_bench.errors import ExitCode, UsageError
from slidesparse_bench.executors.local import LocalExecutor
from slidesparse_bench.matrix import Matrix
from slidesparse_bench.peaks import peaks_for
from slidesparse_bench.plan import Plan
from slidesparse_bench.provenance import next_sitting
from slidesparse_bench.records import CellState, RunRecord, status_json
from slidesparse_bench.report import gpu_names, results_csv
from slidesparse_bench.store import RESULTS, Store
from slidesparse_bench.wire import SCHEMA_VERSION, write_text

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def parse_gpus(text: str | None) -> list[int] | None:
    """`0,1` as indices.

    Raises:
        UsageError: anything else.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--gpus '{text}': expected GPU indices separated by commas, such as 0,1")
    return [int(part) for part in parts]


def execute(
    store: Store,
    matrix: Matrix,
    plan: Plan,
    *,
    judged: Sequence[str],
    devices: list[Device],
    changes: dict[str, Any],
    going_on: str,
    json_mode: bool,
) -> ExitCode:
    """Run the cells of a plan in a locked run and say how it went.

    `plan` is the part of the run's plan that is to be done; `judged` are the cells that the exit
    code speaks of: on resuming, those done earlier as well. `going_on` tells who interrupts it how.
    """
    out = console(json_mode=json_mode)
    executor = LocalExecutor(devices)
    selected = [cell.id for cell in plan.cells]
    progress: LiveProgress | PlainProgress
    if out.is_terminal and not json_mode:
        progress = LiveProgress(out, store.record, selected, plan.estimate_s)
    else:
        progress = PlainProgress(out, store.record, selected)
    stop = threading.Event()
    campaign = Campaign(
        store=store,
        matrix=matrix,
        planned={cell.id: cell for cell in plan.cells},
        executor=executor,
        observer=progress,
        stop=stop,
        isolation=plan.isolation,
        changes=changes,
        peaks=peaks_for(devices[0].facts),
        before_end=partial(_write_results, store),
    )
    with stopped_by_signals(stop) as received, progress:
        campaign.run(selected)
    code = exit_code(store.record, judged, received)
    if campaign.paused_because:
        code = code or ExitCode.SOME_FAILED
        out.print(f"The run paused: {campaign.paused_because}.", markup=False)
    _finish(out, store, code, going_on, json_mode=json_mode)
    return code


def _write_results(store: Store) -> None:
    write_text(store.folder / RESULTS, results_csv(store.record, gpu_names(store.environment())))


def campaign_devices(matrix: Matrix, gpus: str | None) -> list[Device]:
    """The devices of `--gpus`, all of one kind.

    Raises:
        UsageError: no such GPU, or GPUs whose numbers would not compare.
        NothingToRun: an NVIDIA driver that cannot be used.
    """
    devices = find_devices(matrix.engine, parse_gpus(gpus), matrix.cpu_memory_gib)
    names = {device.facts.name: device.label for device in devices}
    if len(names) > 1:
        there = ", ".join(f"{label} is {name}" for name, label in names.items())
        raise UsageError(f"--gpus: a run belongs to one kind of GPU, but {there}")
    return devices


def begin_sitting(store: Store, out: Console) -> None:
    """Put on record that a run goes on, and say what has changed since it was left."""
    environment, changed = next_sitting(store.environment())
    store.write_environment(environment)
    if changed:
        out.print(f"Not as in the last sitting: {'; '.join(changed)}.", markup=False)


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM and SIGHUP end the attempt in flight, save the state, and leave."""
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(record: RunRecord, selected: Sequence[str], received: Sequence[int]) -> ExitCode:
    """The contract's exit code for what became of the selected cells."""
    states = [record.cells[cell_id].state for cell_id in selected]
    if received:
        return code_of_signal(received[0])
    if states and all(state is CellState.SKIPPED for state in states):
        return ExitCode.NOTHING_RAN
    if CellState.FAILED in states or not all(state.is_done for state in states):
        return ExitCode.SOME_FAILED
    return ExitCode.OK


def code_of_signal(number: int) -> ExitCode:
    """130 after Ctrl-C, 143 after any other of `SIGNALS`."""
    return ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED


def _finish(out: Console, store: Store, code: ExitCode, going_on: str, *, json_mode: bool) -> None:
    counts = ", ".join(f"{n} {state}" for state, n in store.record.counts.items() if n)
    out.print(f"{store.record.run_id}: {counts}", markup=False)
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        out.print(f"Interrupted; the state is saved. {going_on}", markup=False)
    else:
        in_runs = store.folder == RUNS / store.record.run_id
        named = store.record.run_id if in_runs else shlex.quote(str(store.folder))
        out.print(f"Report: slidesparse report {named}", markup=False)
    if json_mode:
        print_outcome(store, code)


def print_outcome(store: Store, code: ExitCode) -> None:
    """The document of `run --json` and `retry --json`."""
    print_json(
        {
            "schema_version": SCHEMA_VERSION,
            "run": str(store.folder),
            "exit_code": int(code),
            "status": status_json(store.record),
        }
    )
