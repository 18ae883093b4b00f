"""`python -m slidesparse_bench.worker REQUEST RESULT`: one attempt at one cell."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path

from slidesparse_bench.cell import Cell
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.wire import (
    Phase,
    Request,
    Result,
    WorkerError,
    decode,
    read_json,
    write_json,
)
from slidesparse_bench.worker import measure
from slidesparse_bench.worker.engines import Engine, create_engine
from slidesparse_bench.worker.phases import PhaseLog


def main(arguments: list[str]) -> int:
    """Run the attempt; 0 when a valid measurement was written, else 1."""
    if len(arguments) != 2:
        print("usage: python -m slidesparse_bench.worker REQUEST RESULT", file=sys.stderr)
        return 2
    request_path, result_path = Path(arguments[0]), Path(arguments[1])
    request = decode(Request, read_json(request_path))
    phases = PhaseLog(result_path.with_name("phases.jsonl"))
    die_with_parent()
    engine = create_engine(request, phases, result_path.parent)
    result = attempt(request, engine, phases)
    write_json(result_path, result)
    if result.ok:
        phases.enter(Phase.DONE)
    engine.close()
    return 0 if result.ok else 1


def attempt(request: Request, engine: Engine, phases: PhaseLog) -> Result:
    """Measure the cell, or say why not; the log gets the traceback, the result a summary."""
    try:
        return _measure_cell(request, engine, phases)
    except HarnessVerdict as verdict:
        print(verdict.log_line, file=sys.stderr, flush=True)
        return _failed(request, phases, verdict, verdict.failure_class)
    except Exception as error:  # noqa: BLE001 - whatever the engine raises is the finding
        traceback.print_exc()
        return _failed(request, phases, error, None)


def _measure_cell(request: Request, engine: Engine, phases: PhaseLog) -> Result:
    cell, settings = Cell.parse(request.cell_id), request.measurement
    engine.start()
    load_time_s = phases.seconds()
    phases.enter(Phase.WARM_UP)
    warmup_iterations = measure.warm_up(engine, cell, settings)
    phases.enter(Phase.MEASURE)
    rounds = measure.measure(engine, cell, settings)
    phases.enter(Phase.VERIFY)
    metrics = measure.metrics(
        rounds,
        cell,
        settings,
        kernel=measure.check_kernel(engine.kernels(), request),
        warmup_iterations=warmup_iterations,
        load_time_s=load_time_s,
        memory=engine.memory_gib(),
    )
    return Result(
        cell_id=request.cell_id,
        attempt=request.attempt,
        ok=True,
        metrics=metrics,
        rounds=rounds,
        provenance=engine.provenance(),
    )


def _failed(
    request: Request, phases: PhaseLog, error: Exception, failure_class: str | None
) -> Result:
    return Result(
        cell_id=request.cell_id,
        attempt=request.attempt,
        ok=False,
        error=WorkerError(
            phase=phases.current.value,
            type=type(error).__name__,
            message=str(error),
            failure_class=failure_class,
        ),
    )


def die_with_parent() -> None:
    """End this process tree when the campaign is gone: nobody would read the result.

    Without it a SIGKILLed campaign leaves an engine that keeps the device (vLLM #55510).
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        print("slidesparse: the campaign is gone; this worker ends", file=sys.stderr, flush=True)
        os.killpg(os.getpgrp(), 9) if os.getpgrp() == os.getpid() else os._exit(1)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Engine threads and C++ destructors must not turn a written result into a crash or a hang.
    os._exit(code)
