"""`python -m slidesparse_bench.worker REQUEST`: one engine, and the cells it measures."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path

from slidesparse_bench.cell import Cell
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.step_kernels import write_step_kernels
from slidesparse_bench.wire import (
    CAMPAIGN_VARIABLE,
    HOST,
    MEASURES,
    PHASES,
    RESULT,
    CellRequest,
    Phase,
    Request,
    Result,
    WorkerError,
    decode,
    read_json,
    write_json,
)
from slidesparse_bench.worker import measure, proof
from slidesparse_bench.worker.engines import Engine, create_engine
from slidesparse_bench.worker.host import AnyHost, Host
from slidesparse_bench.worker.phases import PhaseLog


def main(arguments: list[str]) -> int:
    """Measure every cell of the request; 0 when each has a valid measurement, else 1."""
    if len(arguments) != 1:
        print("usage: python -m slidesparse_bench.worker REQUEST", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    request = decode(Request, read_json(path))
    phases = PhaseLog(path.with_name(PHASES))
    die_with_parent()
    engine = create_engine(request, phases, path.parent)
    done = measure_cells(request, engine, phases, path.parent)
    if done:
        phases.enter(Phase.DONE)
    engine.close()
    return 0 if done else 1


def host_of(request: Request, folder: Path) -> Host:
    """Elsewhere the engine places its threads itself (CPU) or pretends to compute (fake).

    No thread is led where those that matter are in other processes, one for each rank.
    """
    if request.device_kind != "cuda":
        return AnyHost()
    ranks = int(request.engine_args.get("tensor_parallel_size", 1))
    return Host(folder / HOST if ranks == 1 else None)


def measure_cells(request: Request, engine: Engine, phases: PhaseLog, folder: Path) -> bool:
    """One cell after the other, each result written as it comes; ends at the first failure.

    An engine that does not start fails its last cell, whose limits it was started with.
    """
    asked = request.cells[-1]
    host = host_of(request, folder)
    try:
        engine.start()
        load_time_s = phases.seconds()
        for number, asked in enumerate(request.cells):
            phases.begin(asked.cell_id)
            _make_ready(folder / asked.folder, asked)
            engine.begin(asked)
            measured, warmed = _run_cell(engine, asked, host, phases, warm=number > 0)
            phases.enter(Phase.VERIFY)
            result = _result(request, asked, engine, measured, warmed, load_time_s)
            write_json(folder / asked.folder / RESULT, result)
            if asked.measurement.profile_iterations:
                phases.enter(Phase.PROFILE_STEPS)
                _profile(engine, folder / asked.folder, asked.measurement.profile_iterations)
    except HarnessVerdict as verdict:
        print(verdict.log_line, file=sys.stderr, flush=True)
        failed = _failed(asked, phases, verdict, verdict.failure_class)
    except Exception as error:  # noqa: BLE001 - whatever the engine raises is the finding
        traceback.print_exc()
        failed = _failed(asked, phases, error, None)
    else:
        return True
    finally:
        host.close()
    (folder / asked.folder).mkdir(parents=True, exist_ok=True)
    write_json(folder / asked.folder / RESULT, failed)
    return False


def _make_ready(folder: Path, asked: CellRequest) -> None:
    """The new folder tells the campaign that this cell's attempt has begun."""
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{MEASURES} {asked.cell_id}, attempt {asked.attempt}", flush=True)


def _run_cell(
    engine: Engine, asked: CellRequest, host: Host, phases: PhaseLog, *, warm: bool
) -> tuple[measure.Measured, measure.WarmUp]:
    cell, settings = Cell.parse(asked.cell_id), asked.measurement
    phases.enter(Phase.WARM_UP)
    warmed = measure.warm_up(engine, cell, settings, host, warm=warm)
    phases.enter(Phase.MEASURE)
    measured = measure.measure(engine, cell, settings, host, warmed.iteration_s)
    return measured, warmed


def _profile(engine: Engine, folder: Path, iterations: int) -> None:
    """The result is written by now: whatever goes wrong here is worth a line, not the cell."""
    try:
        kernels = engine.profile(iterations)
    except Exception:  # noqa: BLE001 - profilers have exceptions of their own
        traceback.print_exc()
        return
    if kernels is None:
        print("slidesparse: nothing to profile here", flush=True)
    else:
        write_step_kernels(folder, iterations, kernels)


def _result(
    request: Request,
    asked: CellRequest,
    engine: Engine,
    measured: measure.Measured,
    warmed: measure.WarmUp,
    load_time_s: float,
) -> Result:
    cell = Cell.parse(asked.cell_id)
    metrics = measure.metrics(
        measured.rounds,
        cell,
        asked.measurement,
        kernel=proof.check_kernel(engine.kernels(), cell, request.kernel_pattern),
        warmup_iterations=warmed.iterations + measured.uncounted_iterations,
        warmup_steady=warmed.steady,
        load_time_s=load_time_s,
        memory=engine.memory_gib(),
        emulated=engine.emulated(),
        slow_rounds=measured.slow_rounds,
        ended_early=measured.ended_early,
    )
    return Result(
        cell_id=asked.cell_id,
        attempt=asked.attempt,
        ok=True,
        metrics=metrics,
        rounds=measured.rounds,
        provenance=engine.provenance(),
    )


def _failed(
    asked: CellRequest, phases: PhaseLog, error: Exception, failure_class: str | None
) -> Result:
    return Result(
        cell_id=asked.cell_id,
        attempt=asked.attempt,
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
    # By name: a campaign killed while this interpreter started is no longer our parent by now.
    parent = int(os.environ.get(CAMPAIGN_VARIABLE) or os.getppid())

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
