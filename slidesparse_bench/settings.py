"""What a matrix can set beyond its axes: measuring, time limits, retries.

Plain dataclasses, so that the worker can read them too. The checks stand here because they hold
for every source of these values (matrix, override, command line); the matrix adds the location.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

UTILIZATION_LADDER = (0.80, 0.90, 0.95, 0.98)
"""Values of `gpu_memory_utilization` tried one after the other when a KV cache has no room."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


LEAST_PRECISION = 1e-6


@dataclass(frozen=True)
class Measurement:
    """When to stop measuring.

    Warm-up runs for `min_warmup_s` (a tenth of it when the engine has measured another cell just
    before) and until the step time is steady, at most `max_warmup_iterations`. Iterations then run
    for `min_measure_s` and until the 95 % confidence interval of the mean is within ± `precision`
    (relative), at least `min_iterations` (None: the stage's own, `cell.Workload`) and at most the method's
    count; `fixed_iterations` says how many instead. Every uninterrupted series of them is led in by
    `lead_in_s` of the same load that is not counted. The times are there because an interval from a
    third of a second cannot see a clock that is still settling. `profile_iterations` more of them
    run afterwards under the engine's profiler, to tell where the device spends a step
    (`step_kernels`).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    precision: float = 0.01
    min_iterations: int | None = None
    min_warmup_s: float = 2.0
    lead_in_s: float = 1.0
    min_measure_s: float = 1.0
    max_warmup_iterations: int = 1000
    fixed_iterations: int | None = None
    profile_iterations: int = 0

    def __post_init__(self) -> None:
        _require(
            LEAST_PRECISION <= self.precision < 1,
            f"precision is a share, from {LEAST_PRECISION:g} to below 1 (0.01 = 1 %)",
        )
        _require(
            self.min_iterations is None or self.min_iterations >= 2,
            "min_iterations must be at least 2",
        )
        _require(self.max_warmup_iterations >= 1, "max_warmup_iterations must be at least 1")
        for name in ("min_warmup_s", "lead_in_s", "min_measure_s"):
            _require(getattr(self, name) >= 0, f"{name} must be 0 or above")
        _require(
            self.fixed_iterations is None or self.fixed_iterations >= 1,
            "fixed_iterations must be at least 1",
        )
        _require(self.profile_iterations >= 0, "profile_iterations must be 0 or above")


@dataclass(frozen=True)
class Timeouts:
    """Time limits, in seconds.

    `attempt_s` bounds one attempt from start to end (the first of a shared engine includes its
    start), `silence_s` the time without a new log line or phase, `grace_s` what is left between
    SIGTERM and SIGKILL, `memory_wait_s` how long a cell waits for device memory that somebody else
    holds.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    attempt_s: float = 3600.0
    silence_s: float = 900.0
    grace_s: float = 15.0
    memory_wait_s: float = 300.0

    def __post_init__(self) -> None:
        for name in ("attempt_s", "silence_s", "grace_s"):
            _require(getattr(self, name) > 0, f"{name} must be above 0")
        _require(self.memory_wait_s >= 0, "memory_wait_s must be 0 or above")


@dataclass(frozen=True)
class RetrySettings:
    """How far automatic retries go; which failures they help is in `docs/failures.md`.

    `max_attempts` bounds all attempts at one cell within one run command; 1 turns retries off.
    `max_disturbed` is how often a measurement is repeated that throttling or another process has
    disturbed; the last one then counts, marked.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    max_attempts: int = 5
    utilization_ladder: tuple[float, ...] = UTILIZATION_LADDER
    max_disturbed: int = 2

    def __post_init__(self) -> None:
        _require(self.max_attempts >= 1, "max_attempts must be at least 1")
        _require(self.max_disturbed >= 0, "max_disturbed must be 0 or above")
        ladder = self.utilization_ladder
        _require(
            bool(ladder) and all(0 < rung <= 1 for rung in ladder),
            "utilization_ladder needs values above 0 and at most 1",
        )
        _require(list(ladder) == sorted(set(ladder)), "utilization_ladder must rise")
