"""An engine that computes nothing and misbehaves on request.

It makes a whole campaign, real processes included, run in seconds on any machine, and it is how
the harness proves that it survives what real engines do. Its numbers are no measurements.

`engine_args: {fake: {...}}` understands
- `memory_gib` (24): memory of the pretended device, `weights_gib` (1): what the model takes of it;
- `kv_cache_gib` (0.1): KV cache the batch needs; too little raises vLLM's own message;
- `step_time_ms` (1): time of a step, on top of 0.001 ms per token; `noise` (0.002): its scatter;
- `misbehave`: one or a list of `{action, phase, attempts, cells, value}`. `phase` (default
  `measure`) is one of `wire.Phase`; `attempts` (default: all) the attempt numbers it happens in;
  `cells` (default: all) a glob on the ids of the cells it happens at, while the engine starts on
  those of any cell it is started for; the actions are the methods of `Misbehaviour`.
"""

from __future__ import annotations

import fnmatch
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.step_kernels import KernelTime
from slidesparse_bench.units import GIB
from slidesparse_bench.wire import RESULT, CellRequest, Phase, Request, Round, Step
from slidesparse_bench.worker.phases import PhaseLog

HOUR_S = 3600


class FakeEngine:
    """See the module."""

    def __init__(self, request: Request, phases: PhaseLog, folder: Path) -> None:
        self._request = request
        self._phases = phases
        self._options: dict[str, Any] = request.engine_args.get("fake") or {}
        self._misbehaviour = Misbehaviour(self._options.get("misbehave"), request, folder)
        self._turn_to(request.cells[-1])

    def start(self) -> None:
        for phase in (
            Phase.IMPORT,
            Phase.START_ENGINE,
            Phase.LOAD_WEIGHTS,
            Phase.PROFILE,
            Phase.CAPTURE,
        ):
            self._phases.enter(phase)
            self._misbehaviour.act(phase)
            if phase is Phase.PROFILE:
                self._check_kv_cache()
        print(f"fake engine ready for {len(self._request.cells)} cells", flush=True)

    def begin(self, asked: CellRequest) -> None:
        self._turn_to(asked)
        self._misbehaviour.turn_to(asked)

    def run(self, iterations: int, lead: int) -> Round:
        self._misbehaviour.act(self._phases.current)
        workload = self._cell.workload
        steps = [step for _ in range(lead + iterations) for step in self._iteration()]
        requests = (lead + iterations) * workload.max_num_seqs
        return Round(
            iterations=iterations,
            elapsed_s=sum(step.time_ms for step in steps) / 1e3,
            num_requests=requests,
            prompt_tokens=requests * workload.prompt_len,
            output_tokens=requests * workload.output_len,
            steps=steps,
            began=time.time(),
            lead=lead,
        )

    def profile(self, iterations: int) -> list[KernelTime] | None:
        self._misbehaviour.act(self._phases.current)
        layers = 4 * iterations
        return [KernelTime("fake_gemm_i8i8", layers, 0.6 * layers), KernelTime("fake_norm", 1, 0.1)]

    def kernels(self) -> dict[str, int]:
        self._misbehaviour.act(Phase.VERIFY)
        name = self._misbehaviour.kernel or f"{self._request.kernel_pattern}FakeLinearKernel"
        return {name: 4}

    def emulated(self) -> bool:
        return False

    def memory_gib(self) -> dict[str, float | None]:
        return {
            "model_memory_gib": self._option("weights_gib", 1.0),
            "kv_cache_gib": self._kv_cache_available() / GIB,
            "peak_memory_gib": None,
        }

    def provenance(self) -> dict[str, Any]:
        return {"engine": "fake", "arrangement": "in-process", "versions": {}}

    def close(self) -> None:
        self._misbehaviour.act(Phase.DONE)

    def _turn_to(self, asked: CellRequest) -> None:
        self._cell = Cell.parse(asked.cell_id)
        self._random = random.Random(f"{self._request.seed}.{asked.cell_id}.{asked.attempt}")

    def _option(self, name: str, default: float) -> float:
        return float(self._options.get(name, default))

    def _kv_cache_available(self) -> float:
        utilization = float(self._request.engine_args.get("gpu_memory_utilization", 0.8))
        budget = self._option("memory_gib", 24.0) * utilization
        return (budget - self._option("weights_gib", 1.0)) * GIB

    def _check_kv_cache(self) -> None:
        needed, available = self._option("kv_cache_gib", 0.1) * GIB, self._kv_cache_available()
        if available <= 0:
            raise ValueError(
                "No available memory for the cache blocks. Try increasing "
                "`gpu_memory_utilization` when initializing the engine."
            )
        if needed > available:
            raise ValueError(
                "To serve at least one request with the model's max seq len "
                f"({self._cell.workload.max_model_len}), ({needed / GIB:.2f} GiB KV cache is "
                "needed, which is larger than the available KV cache memory "
                f"({available / GIB:.2f} GiB). Try increasing `gpu_memory_utilization`."
            )

    def _iteration(self) -> list[Step]:
        m, seqs = self._cell.m, self._cell.workload.max_num_seqs
        wrong = self._misbehaviour.extra_tokens
        if self._cell.stage is Stage.PREFILL:
            return [self._step(m + wrong, seqs)]
        first = self._step(m * self._cell.workload.prompt_len, seqs)
        rest = self._cell.workload.output_len - 1
        return [first, *(self._step(m + wrong, seqs) for _ in range(rest))]

    def _step(self, tokens: int, requests: int) -> Step:
        scatter = self._random.gauss(1.0, self._option("noise", 0.002))
        time_ms = (self._option("step_time_ms", 1.0) + 0.001 * tokens) * scatter
        return Step(tokens=tokens, requests=requests, time_ms=max(1e-6, time_ms))


class Misbehaviour:
    """The actions a fake engine can be asked for, each at the phase it is asked for."""

    def __init__(self, orders: Any, request: Request, folder: Path) -> None:
        self._orders = orders if isinstance(orders, list) else [orders] if orders else []
        self._asked = list(request.cells)
        self._folder = folder
        self.extra_tokens = 0
        self.kernel = ""

    def turn_to(self, asked: CellRequest) -> None:
        """From here on the orders of this cell count."""
        self._asked = [asked]
        self.extra_tokens = 0
        self.kernel = ""

    def act(self, phase: Phase) -> None:
        """Do what was ordered for this phase; each order is carried out once."""
        due = [order for order in self._orders if self._is_due(order, phase)]
        for order in due:
            self._orders.remove(order)
            getattr(self, order["action"])(order.get("value"))

    def _is_due(self, order: dict[str, Any], phase: Phase) -> bool:
        return order.get("phase", "measure") == phase and any(
            fnmatch.fnmatchcase(asked.cell_id, order.get("cells", "*"))
            and asked.attempt in order.get("attempts", [asked.attempt])
            for asked in self._asked
        )

    def exit(self, value: Any) -> NoReturn:
        """Leave at once with exit code `value` (1), without a result."""
        sys.stderr.flush()
        os._exit(1 if value is None else int(value))

    def kill(self, value: Any) -> None:
        """Die of signal `value` (SIGKILL)."""
        os.kill(os.getpid(), signal.Signals[value or "SIGKILL"])
        time.sleep(HOUR_S)

    def raise_error(self, value: Any) -> NoReturn:
        """Raise a RuntimeError with the text `value`."""
        raise RuntimeError(value or "the fake engine was asked to fail")

    def print_log(self, value: Any) -> None:
        """Print `value` to stderr, as an engine that logs alarming words and goes on."""
        print(value, file=sys.stderr, flush=True)

    def hang(self, value: Any) -> None:
        """Sleep for `value` seconds (an hour)."""
        time.sleep(float(value or HOUR_S))

    def hang_deaf(self, value: Any) -> None:
        """The same, ignoring SIGTERM."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.hang(value)

    def flood(self, value: Any) -> None:
        """Write `value` MiB (16) to stderr."""
        line = ("x" * 127 + "\n") * 8192
        for _ in range(int(value or 16)):
            sys.stderr.write(line)

    def leave_child(self, value: Any) -> None:
        """Leave a process behind in our group, for `value` seconds (an hour)."""
        self._leave(value, new_session=False)

    def leave_child_setsid(self, value: Any) -> None:
        """The same in a session of its own, out of reach of `killpg`."""
        self._leave(value, new_session=True)

    def half_result(self, _value: Any) -> NoReturn:
        """Write half a result file and die."""
        (self._folder / self._asked[0].folder / RESULT).write_text(
            '{"schema_version": 1, "ok": true, "metr'
        )
        self.exit(1)

    def no_result(self, _value: Any) -> NoReturn:
        """Exit 0 without a result."""
        self.exit(0)

    def other_m(self, value: Any) -> None:
        """Run `value` tokens more (1) than asked in every measured step."""
        self.extra_tokens = int(value or 1)

    def other_kernel(self, value: Any) -> None:
        """Report the kernel class `value` instead of the one asked for."""
        self.kernel = value or "SomeOtherLinearKernel"

    def kill_campaign(self, value: Any) -> None:
        """Send signal `value` (SIGKILL) to the parent, as an OOM killer or a user would."""
        os.kill(os.getppid(), signal.Signals[value or "SIGKILL"])
        time.sleep(HOUR_S)

    @staticmethod
    def _leave(value: Any, *, new_session: bool) -> None:
        child = [sys.executable, "-c", f"import time; time.sleep({float(value or HOUR_S)})"]
        subprocess.Popen(child, start_new_session=new_session)
