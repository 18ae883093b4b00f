"""Builders of run records for tests. Each has sensible defaults; keyword arguments replace fields.

build_run({CELL: build_passed(CELL)})
build_failed(CELL, "oom_device", "kv_cache_insufficient")     # two attempts
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.records import (
    Attempt,
    CellRecord,
    CellState,
    Evidence,
    Failure,
    RunRecord,
    RunState,
    Verdict,
)
from slidesparse_bench.settings import Measurement
from slidesparse_bench.wire import CellRequest, Metrics, ObservedM, Request, Spread

CELL = "qwen2.5-7b.int8.cusparselt-2_8.prefill.m16384"
STARTED = "2026-03-01T10:00:00+00:00"
ENDED = "2026-03-01T10:00:42+00:00"


@dataclass(frozen=True)
class Entry:
    """A model as a matrix names it."""

    name: str
    path: Path | None = None
    hub: str | None = None


def build_metrics(
    cell_id: str = CELL,
    *,
    tokens_per_second: float = 90_000.0,
    iterations: int = 10,
    ci95_pct: float = 0.5,
    **changes: Any,
) -> Metrics:
    """Numbers that agree with each other and with the cell's workload."""
    cell = Cell.parse(cell_id)
    work = cell.workload
    requests = iterations * work.max_num_seqs
    tokens = requests * (work.prompt_len + work.output_len)
    elapsed_s = tokens / tokens_per_second
    decode_steps = iterations * (work.output_len - 1)
    steps = decode_steps if cell.stage is Stage.DECODE else iterations
    step_ms = 1000 * elapsed_s / steps
    metrics = Metrics(
        elapsed_time=elapsed_s,
        num_requests=requests,
        total_num_tokens=tokens,
        requests_per_second=requests / elapsed_s,
        tokens_per_second=tokens_per_second,
        prompt_tokens_per_second=requests * work.prompt_len / elapsed_s,
        output_tokens_per_second=requests * work.output_len / elapsed_s,
        step_time_ms=Spread(
            mean=step_ms,
            median=step_ms,
            p05=0.99 * step_ms,
            p95=1.01 * step_ms,
            ci95_half_width=step_ms * ci95_pct / 100,
        ),
        iterations=iterations,
        m_requested=cell.m,
        m_observed=ObservedM(min=cell.m, max=cell.m, steps=steps),
        kernel=f"{cell.backend.title()}ScaledMMLinearKernel",
        precision_reached=True,
        warmup_iterations=3,
        load_time_s=8.0,
    )
    return replace(metrics, **changes)


def build_failure(failure_class: str = "kv_cache_insufficient", **changes: Any) -> Failure:
    failure = Failure(
        failure_class=failure_class,
        verdict=Verdict.CAPACITY,
        root_cause="ValueError: No available memory for the cache blocks.",
        evidence=Evidence(file="worker.log", line=214),
        retryable=True,
    )
    return replace(failure, **changes)


def build_attempt(n: int = 1, failure: Failure | str | None = None, **changes: Any) -> Attempt:
    """An ended attempt; `failure` is a class id or a whole failure, None for one that passed."""
    if isinstance(failure, str):
        failure = build_failure(failure)
    attempt = Attempt(
        n=n,
        started=STARTED,
        ended=ENDED,
        duration_s=42.0,
        engine_args={"gpu_memory_utilization": 0.8},
        exit_code=1 if failure else 0,
        ending="exited",
        phase="start_engine" if failure else "done",
        device="0",
        failure=failure,
    )
    return replace(attempt, **changes)


def build_passed(cell_id: str = CELL, **metrics: Any) -> CellRecord:
    """Passed at the first attempt; keyword arguments go to `build_metrics`."""
    numbers = build_metrics(cell_id, **metrics)
    return CellRecord(
        state=CellState.PASSED, attempts=[build_attempt(metrics=numbers)], metrics=numbers
    )


def build_failed(cell_id: str = CELL, *failures: Failure | str) -> CellRecord:
    """Failed, one attempt per failure (default: one `kv_cache_insufficient`).

    Evidence files point at the attempt's own log, as they do in a real run.
    """
    attempts = []
    for n, failure in enumerate(failures or ("kv_cache_insufficient",), start=1):
        whole = build_failure(failure) if isinstance(failure, str) else failure
        log = f"cells/{cell_id}/attempt-{n}/worker.log"
        attempts.append(build_attempt(n, replace(whole, evidence=Evidence(log, 214))))
    return CellRecord(state=CellState.FAILED, attempts=attempts)


def build_skipped(reason: str = "needs 31.0 GiB, 24.0 GiB are there") -> CellRecord:
    return CellRecord(state=CellState.SKIPPED, reason=reason)


def build_run(cells: Mapping[str, CellRecord] | None = None, **changes: Any) -> RunRecord:
    """A finished run of one hour; default: one passed cell."""
    run = RunRecord(
        run_id="h200-20260301-100000",
        matrix_sha256="0" * 64,
        created=STARTED,
        updated="2026-03-01T11:00:00+00:00",
        state=RunState.FINISHED,
        cells=dict(cells) if cells is not None else {CELL: build_passed()},
    )
    return replace(run, **changes)


def build_request(*cell_ids: str, **changes: Any) -> Request:
    """A request to the fake engine for these cells, with the limits of each."""
    cells = [build_cell_request(cell_id) for cell_id in cell_ids or (CELL,)]
    request = Request(
        cells=cells,
        engine="fake",
        device_kind="fake",
        model_path="models/a",
        random_weights=True,
        engine_args={},
        linear_backend=None,
        kernel_pattern="",
        seed=7,
    )
    return replace(request, **changes)


def build_cell_request(cell_id: str = CELL, **changes: Any) -> CellRequest:
    work = Cell.parse(cell_id).workload
    asked = CellRequest(
        cell_id=cell_id,
        attempt=1,
        folder=cell_id,
        max_num_seqs=work.max_num_seqs,
        max_num_batched_tokens=work.max_num_batched_tokens,
        measurement=Measurement(),
    )
    return replace(asked, **changes)
