"""Proof of what each engine step ran, taken from vLLM's own scheduler.

The scheduler object of an in-process engine core decides every batch (`schedule`) and sees every
batch come back (`update_from_output`); both are wrapped on that one object. A scheduler class of
our own (`scheduler_cls`) would see the same but makes vLLM turn asynchronous scheduling off or
warn about it, depending on the version, and so would not measure what users run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from slidesparse_bench.wire import Step


@dataclass
class _Record:
    tokens: int
    requests: int
    began: float
    ended: float | None = None


class StepRecorder:
    """Records tokens, requests and times of every step of a vLLM scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self._records: list[_Record] = []
        self._open: dict[int, _Record] = {}
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
            steps.append(Step(record.tokens, record.requests, time_ms))
            previous = record.ended
        return steps

    def _recorded_schedule(self, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        output = self._schedule(*arguments, **options)
        if output.total_num_scheduled_tokens:
            record = _Record(
                output.total_num_scheduled_tokens, len(output.num_scheduled_tokens), began
            )
            self._records.append(record)
            self._open[id(output)] = record
        return output

    def _recorded_update(self, scheduler_output: Any, *arguments: Any, **options: Any) -> Any:
        # With asynchronous scheduling the next batch is scheduled before this one comes back.
        updated = self._update(scheduler_output, *arguments, **options)
        record = self._open.pop(id(scheduler_output), None)
        if record is not None:
            record.ended = time.perf_counter()
        return updated
