"""Engines that a worker can measure, one file each.

An engine is named by a dotted path and imported only in the worker, so that nothing else ever
loads torch or vLLM. Adding one: a file with a class that satisfies `Engine`, and an entry below.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from slidesparse_bench.step_kernels import KernelTime
from slidesparse_bench.wire import CellRequest, Request, Round
from slidesparse_bench.worker.phases import PhaseLog

ENGINES = {
    "vllm": "slidesparse_bench.worker.engines.vllm_engine:VllmEngine",
    "fake": "slidesparse_bench.worker.engines.fake:FakeEngine",
}


class Engine(Protocol):
    """What the measurement needs of an engine. Any exception is the attempt's failure."""

    def start(self) -> None:
        """Load the model, with room for the largest batch of the request's cells."""

    def begin(self, asked: CellRequest) -> None:
        """Turn to a cell: its limits hold for the iterations that follow."""

    def run(self, iterations: int, lead: int) -> Round:
        """Run `lead` and then `iterations` iterations of the cell's workload without a pause.

        All requests are queued before the first step.
        """

    def profile(self, iterations: int) -> list[KernelTime] | None:
        """Run so many iterations under a profiler: device kernels of all of them together.

        None where there is no device, or it cannot be looked at from this process.
        """

    def kernels(self) -> dict[str, int]:
        """Classes of the quantized linear kernels in the loaded model, with their layer counts."""

    def emulated(self) -> bool:
        """Whether the kernels only imitate those of another device."""

    def memory_gib(self) -> dict[str, float | None]:
        """`model_memory_gib`, `kv_cache_gib`, `peak_memory_gib`, as far as the engine tells."""

    def provenance(self) -> dict[str, Any]:
        """Versions and the effective configuration."""

    def close(self) -> None:
        """Release the device. Called after the result is written."""


def create_engine(request: Request, phases: PhaseLog, folder: Path) -> Engine:
    """The engine that the request names; `folder` is the worker's own."""
    module, _, name = ENGINES[request.engine].partition(":")
    engine: Engine = getattr(importlib.import_module(module), name)(request, phases, folder)
    return engine
