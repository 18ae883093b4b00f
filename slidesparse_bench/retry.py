"""Whether a failed attempt is tried again, and with what changed. Pure: records in, words out.

The classes say what can help (`failures.classes`); the numbers that the failures carry keep it
from trying what cannot. Within one command the policies never run the same utilization twice into
the same shortage: too little KV cache bounds it from below, running out of memory from above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from slidesparse_bench.failures.facts import share_below
from slidesparse_bench.records import Attempt, Failure
from slidesparse_bench.settings import RetrySettings
from slidesparse_bench.units import GIB, format_gib

UTILIZATION = "gpu_memory_utilization"
STEP_DOWN = 0.10
SMALL_STEP_DOWN = 0.05
LEAST_UTILIZATION = 0.10

CUDA_CONTEXT_GIB = 0.4
"""What a process holds before its engine looks at free memory: 0.36 to 0.38 GiB (RTX 5080)."""

STEADY_GIB = 1 / 16
"""Free memory that moved by less than this between two attempts did not change."""


@dataclass(frozen=True)
class Decision:
    """What to do after a failed attempt; `reason` is a clause for the report.

    `changes` are engine arguments to set on top of those of the last attempt.
    """

    retry: bool
    reason: str
    changes: dict[str, Any] = field(default_factory=dict)


INTERRUPTIONS_IN_A_ROW = 3
"""A watchdog that ends every attempt at one cell must not hold up the others for ever."""


def decide(attempts: list[Attempt], *, settings: RetrySettings, first: int) -> Decision:
    """What to do after the last of `attempts` (oldest first).

    `first` is the number of the first attempt of this command: older ones count against nothing.
    One in a shared engine is part of the history but not of the count.
    """
    ours = [attempt for attempt in attempts if attempt.n >= first]
    if not ours or ours[-1].failure is None:
        return Decision(retry=False, reason="no attempt of this command has failed")
    history = _History([attempt for attempt in ours if _class(attempt)], settings)
    if history.failure.failure_class == "interrupted":
        return _after_interruption(ours)
    decision = _POLICIES.get(history.failure.failure_class, _never)(history)
    own = [attempt for attempt in ours if attempt.isolation == "cell"]
    counted = len([attempt for attempt in own if _class(attempt) != "interrupted"])
    if decision.retry and counted >= settings.max_attempts:
        return Decision(retry=False, reason=f"max_attempts ({settings.max_attempts}) are used up")
    return decision


def _after_interruption(ours: list[Attempt]) -> Decision:
    """Always once more, unless something keeps ending this very cell."""
    newest = [_class(attempt) for attempt in ours[-INTERRUPTIONS_IN_A_ROW:]]
    if newest == ["interrupted"] * INTERRUPTIONS_IN_A_ROW:
        reason = f"stopped from outside {INTERRUPTIONS_IN_A_ROW} times in a row"
        return Decision(retry=False, reason=reason)
    return Decision(retry=True, reason="stopped from outside, which counts as no attempt")


def _class(attempt: Attempt) -> str:
    return attempt.failure.failure_class if attempt.failure else ""


@dataclass(frozen=True)
class _History:
    """The failed attempts of this command, and what their numbers say together."""

    attempts: list[Attempt]
    settings: RetrySettings

    @property
    def last(self) -> Attempt:
        return self.attempts[-1]

    @property
    def failure(self) -> Failure:
        assert self.last.failure is not None
        return self.last.failure

    def amount(self, name: str) -> float | None:
        """A fact of the last failure that is an amount of memory, in GiB."""
        return _amount(self.last, name)

    def of_class(self, failure_class: str) -> list[Attempt]:
        return [attempt for attempt in self.attempts if _class(attempt) == failure_class]

    def utilization(self, attempt: Attempt | None = None) -> float:
        """As the attempt had it; attempts that do not say so ran with the ladder's first value."""
        value = (attempt or self.last).engine_args.get(UTILIZATION)
        return float(value) if value else self.settings.utilization_ladder[0]

    def utilizations(self, failure_class: str) -> list[float]:
        """The utilizations that ended in this class."""
        return [self.utilization(attempt) for attempt in self.of_class(failure_class)]

    @property
    def total_gib(self) -> float | None:
        """Memory of the device: as the failure or the driver said, else from how the room for
        the KV cache grew between two attempts."""
        snapshot = self.last.memory_before
        return (
            self.amount("total_gib")
            or (snapshot.total_bytes / GIB if snapshot else None)
            or self._total_from_growth()
        )

    def _total_from_growth(self) -> float | None:
        seen = [
            (self.utilization(attempt), available)
            for attempt in self.of_class("kv_cache_insufficient")
            if (available := _kv_room(attempt)) is not None
        ]
        if len(seen) < 2 or seen[-1][0] <= seen[-2][0]:
            return None
        return max(0.0, (seen[-1][1] - seen[-2][1]) / (seen[-1][0] - seen[-2][0]))


def _amount(attempt: Attempt, name: str) -> float | None:
    value = attempt.failure.facts.get(name) if attempt.failure else None
    return float(value) if isinstance(value, (int, float)) else None


def _kv_room(attempt: Attempt) -> float | None:
    """What was available for the KV cache, in GiB; below zero when the rest took more."""
    available = _amount(attempt, "available_gib")
    return available if available is not None else _amount(attempt, "kv_cache_gib")


def _startable(attempt: Attempt) -> float | None:
    """The highest utilization that what was free would have allowed; None when not known."""
    free, total = _amount(attempt, "free_gib"), _amount(attempt, "total_gib")
    seen_by_engine = _class(attempt) == "gpu_memory_busy" and _amount(attempt, "utilization")
    if seen_by_engine and free is not None and total:
        return share_below(free, total)
    snapshot = attempt.memory_before
    if snapshot is None or snapshot.total_bytes <= 0:
        return None
    return share_below(snapshot.free_bytes / GIB - CUDA_CONTEXT_GIB, snapshot.total_bytes / GIB)


def _stop(reason: str) -> Decision:
    return Decision(retry=False, reason=reason)


def _never(history: _History) -> Decision:
    known = {
        "gpu_lost": "the device is taken out of the run",
        "disk_full": "the run pauses",
        "oom_weights": "no setting makes the weights smaller",
    }
    return _stop(known.get(history.failure.failure_class, "another attempt would end the same way"))


def _once(history: _History) -> Decision:
    if len(history.of_class(history.failure.failure_class)) > 1:
        return _stop("it came back when tried again")
    return Decision(retry=True, reason="tried once more, in a process of its own")


def _eager(history: _History) -> Decision:
    if history.last.engine_args.get("enforce_eager"):
        return _stop("it failed with enforce_eager as well")
    reason = "tried without compilation and CUDA graphs (enforce_eager)"
    return Decision(retry=True, reason=reason, changes={"enforce_eager": True})


def _raise_utilization(history: _History) -> Decision:
    """Too little KV cache: the next step of the ladder that can suffice, if one can."""
    now = history.utilization()
    rungs = [rung for rung in history.settings.utilization_ladder if rung > now]
    if not rungs:
        return _stop(f"{UTILIZATION} {now:.2f} is the top of the ladder")
    ceiling = _startable(history.last)
    if ceiling is not None:
        rungs = sorted({min(rung, ceiling) for rung in rungs if min(rung, ceiling) > now})
        if not rungs:
            return _stop(f"what is free allows {UTILIZATION} {ceiling:.2f}, {now:.2f} was too low")
    too_high = [used for used in history.utilizations("oom_device") if used > now]
    rungs = [rung for rung in rungs if rung < min(too_high, default=2)]
    if not rungs:
        return _stop(
            f"{now:.2f} leaves too little KV cache and {min(too_high):.2f} runs out of memory: "
            f"no {UTILIZATION} works"
        )
    return _first_sufficient(history, now, rungs)


def _first_sufficient(history: _History, now: float, rungs: list[float]) -> Decision:
    needed, room, total = history.amount("needed_gib"), _kv_room(history.last), history.total_gib
    if room is None or total is None:
        return _set_utilization(now, rungs[0], "more room for the KV cache")
    for rung in rungs:
        given = room + (rung - now) * total
        if given >= needed if needed is not None else given > 0:
            return _set_utilization(now, rung, f"{_gib(given)} of KV cache instead of {_gib(room)}")
    given = max(0.0, room + (rungs[-1] - now) * total)
    enough = f"of the {_gib(needed)} needed" if needed is not None else "for the KV cache"
    return _stop(f"even {UTILIZATION} {rungs[-1]:.2f} would give about {_gib(given)} {enough}")


def _lower_utilization(history: _History) -> Decision:
    """Out of memory beside a reserved KV cache: give some of it back, if that can suffice."""
    if not history.failure.facts.get("kv_cache_reserved"):
        return _stop(f"no KV cache was reserved that a lower {UTILIZATION} would give back")
    now = history.utilization()
    too_low = max(history.utilizations("kv_cache_insufficient"), default=0.0)
    steps = [STEP_DOWN * count for count in range(1, 10)] + [SMALL_STEP_DOWN]
    for step in steps:
        lower = round(now - step, 2)
        if lower >= LEAST_UTILIZATION and lower > too_low and _can_suffice(history, now - lower):
            return _set_utilization(now, lower, "less KV cache, more memory beside it")
    if too_low:
        return _stop(f"{now:.2f} runs out of memory and {too_low:.2f} leaves too little KV cache")
    return _stop(f"the KV cache does not hold what is missing, so no lower {UTILIZATION} helps")


def _can_suffice(history: _History, step: float) -> bool:
    """Whether giving back this share covers what was missing and leaves some KV cache."""
    total = history.total_gib
    if total is None:
        return True
    held, missing = history.amount("kv_cache_gib"), history.amount("short_gib")
    freed = step * total
    return (held is None or freed < held) and (missing is None or freed >= missing)


def _wait_or_lower(history: _History) -> Decision:
    """Somebody else holds memory: wait, then settle for what is free."""
    busy, now = history.of_class("gpu_memory_busy"), history.utilization()
    wait = Decision(retry=True, reason="waiting for device memory")
    if len(busy) == 1:
        return wait
    if now < max(history.utilizations("gpu_memory_busy")):
        return _stop(f"refused with the lowered {UTILIZATION} {now:.2f} as well")
    startable = _startable(history.last)
    if startable is None or startable >= now or not _steady(busy[-2], busy[-1]):
        return wait
    too_low = max(history.utilizations("kv_cache_insufficient"), default=0.0)
    if startable < LEAST_UTILIZATION or startable <= too_low:
        return _stop(f"what is free does not change and allows {UTILIZATION} {startable:.2f} only")
    return _set_utilization(now, startable, "what is free does not change")


def _steady(earlier: Attempt, later: Attempt) -> bool:
    """Whether the same amount was free both times."""
    before, after = _free_gib(earlier), _free_gib(later)
    return before is not None and after is not None and abs(after - before) < STEADY_GIB


def _free_gib(attempt: Attempt) -> float | None:
    free = _amount(attempt, "free_gib")
    if free is None and attempt.memory_before is not None:
        return attempt.memory_before.free_bytes / GIB
    return free


def _set_utilization(now: float, value: float, why: str) -> Decision:
    return Decision(
        retry=True,
        reason=f"{UTILIZATION} {now:.2f} -> {value:.2f}: {why}",
        changes={UTILIZATION: value},
    )


def _gib(amount: float) -> str:
    return format_gib(amount * GIB)


_POLICIES: dict[str, Callable[[_History], Decision]] = {
    "oom_device": _lower_utilization,
    "kv_cache_insufficient": _raise_utilization,
    "gpu_memory_busy": _wait_or_lower,
    "compile_failure": _eager,
    "oom_host": _once,
    "illegal_memory_access": _once,
    "cuda_misc": _once,
    "nccl_or_distributed": _once,
    "timeout_hang": _once,
    "m_mismatch": _once,
    "no_result": _once,
    "unknown": _once,
}
"""Classes that are not here are never retried; a test compares with `failures.classes`."""
