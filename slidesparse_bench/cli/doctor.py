"""`slidesparse doctor`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from slidesparse_bench.cache import cache_folder
from slidesparse_bench.cli.execution import code_of_signal, parse_gpus, stopped_by_signals
from slidesparse_bench.cli.output import RUNS, Json, RunsDir, console, print_json
from slidesparse_bench.device import Device, find_devices, machine_facts
from slidesparse_bench.device_lock import alone_on
from slidesparse_bench.errors import ExitCode, FormatError, NothingToRun, SlideSparseError
from slidesparse_bench.health import Check, State, machine_checks, one_of_each
from slidesparse_bench.installation import installation_checks, installed
from slidesparse_bench.launch import Ending, launch
from slidesparse_bench.peaks import Measured, peaks_for, remember
from slidesparse_bench.settings import Timeouts
from slidesparse_bench.units import GIB, format_gib
from slidesparse_bench.wire import SCHEMA_VERSION, PeakRates, decode, read_json

STYLES = {State.OK: "green", State.NOTE: "yellow", State.PROBLEM: "red"}
CPU_MEMORY_GIB = 4.0
"""The matrix's default; nothing is allocated here."""
MEASURE_LIMIT_S = 240.0
"""It took 17 s on an H200 and 9 s on two CPU cores; the rest is for a slow disk under torch."""
BUSY_BYTES = GIB
"""A process that holds this much of a GPU is taken to compute on it."""


def doctor(
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure the peak rates of each kind of device first."),
    ] = False,
    gpus: Annotated[
        str | None, typer.Option("--gpus", help="GPU indices, e.g. 0,1 [default: the first].")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_mode: Json = False,
) -> None:
    """Say whether this machine can measure, and what stands in the way.

    Devices and who holds their memory, driver, clocks, the builds of vLLM and torch, known traps,
    disk and memory, and the peak rates that results are compared with. A `problem` keeps every run
    from starting, and the exit code is 3; a `note` does not.

    `--measure` measures arithmetic and memory rates with torch (under a minute) and keeps them
    in the cache folder: `roofline_fraction` is then a share of what this device sustains instead of
    a share of its data sheet.

    **Examples**

    - `slidesparse doctor`
    - `slidesparse doctor --measure --gpus 0`
    - `slidesparse doctor --json | jq '.checks[] | select(.state != "ok")'`
    """
    out = console(json_mode=json_mode)
    devices, trouble = _devices(parse_gpus(gpus))
    facts = machine_facts()
    if measure:
        _measure_all(devices, facts, out, trouble)
    kind = devices[0].facts.kind if devices else None
    checks = [
        *trouble,
        *machine_checks(devices, facts, {"runs folder": runs_dir, "cache": cache_folder()}),
        *installation_checks(installed(), kind, facts),
    ]
    if json_mode:
        print_json(_document(checks, devices))
    else:
        _print(out, checks)
    ready = all(check.state is not State.PROBLEM for check in checks)
    raise typer.Exit(ExitCode.OK if ready else ExitCode.NOTHING_RAN)


def _devices(gpus: list[int] | None) -> tuple[list[Device], list[Check]]:
    """The devices of a run, or why there are none; what `--gpus` gets wrong is a usage error."""
    try:
        return find_devices("vllm", gpus, CPU_MEMORY_GIB), []
    except SlideSparseError as error:
        if gpus is not None:
            raise
        return [], [Check("devices", State.PROBLEM, "no device can be used", str(error))]


def _document(checks: Sequence[Check], devices: Sequence[Device]) -> dict[str, Any]:
    facts = devices[0].facts if devices else None
    return {
        "schema_version": SCHEMA_VERSION,
        "checks": list(checks),
        "device": facts,
        "peaks": peaks_for(facts) if facts else None,
    }


def _print(out: Console, checks: Sequence[Check]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "state", "found", "what to do"):
        table.add_column(heading, no_wrap=heading in ("check", "state"))
    for check in checks:
        state = Text(check.state.value, style=STYLES[check.state])
        table.add_row(check.name, state, Text(check.found), Text(check.advice))
    out.print(table)
    problems = [check.name for check in checks if check.state is State.PROBLEM]
    told = f"No run can start: {', '.join(problems)}." if problems else "A run can start."
    out.print(told, markup=False)


def _measure_all(
    devices: Sequence[Device], facts: dict[str, Any], out: Console, trouble: Sequence[Check]
) -> None:
    if not devices:
        raise NothingToRun(f"no device to measure: {trouble[0].advice}")
    drivers = {gpu["uuid"]: gpu["driver"] for gpu in facts["gpus"]}
    for device in one_of_each(devices):
        out.print(
            f"Measuring the peak rates of {device.label} ({device.facts.name}).", markup=False
        )
        rates = measure_peaks(device, partial(out.print, markup=False))
        for name, rate in rates.rates.items():
            out.print(f"  {name} {rate.value:.4g}: {rate.how}", markup=False)
        for name, reason in rates.failed.items():
            out.print(f"  {name}, left out: {reason}", markup=False)
        driver = drivers.get(getattr(device, "uuid", ""))
        measured = Measured(datetime.now(UTC).date().isoformat(), driver, rates)
        out.print(f"Kept in {remember(device.facts, measured)}.", markup=False)


def measure_peaks(device: Device, on_wait: Callable[[str], None]) -> PeakRates:
    """Run `worker.peak_rates` on this device and nothing else.

    Args:
        on_wait: called with the reason, when the device has to be waited for.

    Raises:
        NothingToRun: the device is busy, the program failed, or it ran on something else.
    """
    folder = cache_folder() / "peak_rates"
    folder.mkdir(parents=True, exist_ok=True)
    name = device.label.lower().replace(" ", "-")
    log, result = folder / f"{name}.log", folder / f"{name}.json"
    ending = _run_peak_rates(device, log, result, on_wait)
    try:
        rates = decode(PeakRates, read_json(result))
    except FormatError:
        raise NothingToRun(_failure(device, ending, log)) from None
    if rates.device_kind != device.facts.kind.value:
        raise NothingToRun(
            f"torch {rates.torch} ran on '{rates.device_kind}' instead of {device.label}; install "
            "a build of torch for it, or measure the CPU with CUDA_VISIBLE_DEVICES="
        )
    return rates


def refuse_busy(device: Device) -> None:
    """Raises NothingToRun when another process computes on the device."""
    now = device.snapshot(None)
    for process in now.processes if now else []:
        if (process.used_bytes or 0) >= BUSY_BYTES:
            raise NothingToRun(
                f"{process.name} (pid {process.pid}) holds {format_gib(process.used_bytes or 0)} of "
                f"{device.label}: rates measured beside it would be too low; wait for it, or choose "
                "another device with --gpus"
            )


def _run_peak_rates(
    device: Device, log: Path, result: Path, on_wait: Callable[[str], None]
) -> Ending:
    stop = threading.Event()
    with stopped_by_signals(stop) as received, alone_on(device, stop, on_wait):
        refuse_busy(device)
        for left_over in (log, result):
            left_over.unlink(missing_ok=True)
        ending = launch(
            [sys.executable, "-m", "slidesparse_bench.worker.peak_rates", str(result.absolute())],
            log=log,
            watched=[],
            environment={**os.environ, **device.environment()},
            token=f"doctor-{os.getpid()}/peak-rates",
            timeouts=Timeouts(attempt_s=MEASURE_LIMIT_S, silence_s=MEASURE_LIMIT_S),
            stop=stop,
        )
    if received:
        raise typer.Exit(code_of_signal(received[0]))
    return ending


def _failure(device: Device, ending: Ending, log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    how = ending.detail or ending.signal or f"exit code {ending.exit_code}"
    last = f": {lines[-1].strip()}" if lines else ""
    return f"the peak rates of {device.label} could not be measured ({how}){last}; see {log}"


def register(app: typer.Typer) -> None:
    app.command()(doctor)
