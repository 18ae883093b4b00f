"""Proof of what each engine step ran, taken from vLLM's own scheduler.

The scheduler object of an in-process engine core decides every batch (`schedule`) and sees every
batch come back (`update_from_output`); both are wrapped on that one object. A scheduler class of
our own (`scheduler_cls`) would see the same but makes vLLM turn asynchronous scheduling off or
warn about it, depending on the version, and so would not measure what users run.

With asynchronous scheduling the engine's thread launches a batch and later waits for it, in decode after
it has launched the next one. The time from its last launch to the return of a batch is what it waited;
during all else of a step the device may have waited for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slidesparse_bench.wire import Step

LAUNCHES = ("execute_model", "sample_tokens")
"""Methods of vLLM's executors (0.25 to 0.33): the second is the last that is called of a batch."""
LOOK_PERIOD_S = 0.02
"""Between two looks at the host, which take some 0.04 ms each."""


@dataclass
class _Record:
    tokens: int
    requests: int
    began: float
    ended: float | None = None
    waited: float | None = None
    loop_ms: float | None = None


class StepRecorder:
    """Records tokens, requests and times of every step of a vLLM scheduler.

    Args:
        executor: launches the batches from this thread, without waiting for them; None where it
            works otherwise, and nothing can be said of who waits.
        loop_ms: runs a fixed piece of Python and says how long it took; it is asked in some steps.
    """

    def __init__(
        self,
        scheduler: Any,
        executor: Any = None,
        loop_ms: Callable[[], float] | None = None,
    ) -> None:
        self._records: list[_Record] = []
        self._open: dict[int, _Record] = {}
        self._launched: float | None = None
        self._returned = 0.0
        self._loop_ms, self._looked = loop_ms, 0.0
        for name in LAUNCHES if executor is not None else ():
            setattr(executor, name, self._recorded_launch(getattr(executor, name)))
        self._schedule = scheduler.schedule
        self._update = scheduler.update_from_output
        scheduler.schedule = self._recorded_schedule
        scheduler.update_from_output = self._recorded_update

    def clear(self) -> None:
        """Forget everything recorded so far."""
        self._records.clear()
        self._open.clear()

    def steps(self) -> list[Step]:
        """The finished steps in order; each runs from the end of the one before it."""
        steps: list[Step] = []
        previous: float | None = None
        for record in self._records:
            if record.ended is None:
                continue
            began = record.began if previous is None else previous
            time_ms = (record.ended - began) * 1e3
            waited_ms = None if record.waited is None else record.waited * 1e3
            steps.append(Step(record.tokens, record.requests, time_ms, waited_ms, record.loop_ms))
            previous = record.ended
        return steps

    def _recorded_schedule(self, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        output = self._schedule(*arguments, **options)
        if output.total_num_scheduled_tokens:
            record = _Record(
                output.total_num_scheduled_tokens, len(output.num_scheduled_tokens), began
            )
            if self._loop_ms is not None and began - self._looked >= LOOK_PERIOD_S:
                self._looked, record.loop_ms = began, self._loop_ms()
            self._records.append(record)
            self._open[id(output)] = record
        return output

    def _recorded_launch(self, launch: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*arguments: Any, **options: Any) -> Any:
            launched = launch(*arguments, **options)
            self._launched = time.perf_counter()
            return launched

        return recorded

    def _recorded_update(self, scheduler_output: Any, *arguments: Any, **options: Any) -> Any:
        returned = time.perf_counter()
        # With asynchronous scheduling the next batch is scheduled before this one comes back.
        updated = self._update(scheduler_output, *arguments, **options)
        record = self._open.pop(id(scheduler_output), None)
        if record is not None:
            record.ended = time.perf_counter()
            if self._launched is not None:
                record.waited = returned - max(self._launched, self._returned)
            self._returned = record.ended
        return updated
