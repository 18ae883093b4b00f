"""Measuring the rows of `slidesparse gemm` in processes of their own, as many as it takes.

A CUDA error such as an illegal access makes a process useless for whatever comes after it. Its
program ends then, the task that caused it is failed, and another program does the rest. A disk that
takes no more ends the measurement and fails nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from slidesparse_bench.device import Device
from slidesparse_bench.device_lock import alone_on
from slidesparse_bench.errors import NothingToRun
from slidesparse_bench.gemm_wire import (
    EXIT_DEVICE_LOST,
    EXIT_NOT_WRITTEN,
    LINES,
    LOG,
    NOT_WRITTEN,
    REQUEST,
    GemmRequest,
    Row,
    RowState,
    Task,
    append_line,
    read_lines,
)
from slidesparse_bench.launch import Ending, EndingKind, launch
from slidesparse_bench.settings import Timeouts
from slidesparse_bench.wire import write_json

PROGRAM = (sys.executable, "-m", "slidesparse_bench.worker.gemm_bench")
TASK_LIMIT_S = 600.0
"""Of one task, the start of the program included; a search takes seconds, imports up to a minute."""

OnRow = Callable[[Row], None]


class GemmRun:
    """One measurement: tasks go in, rows come out as they are done.

    Args:
        device: where everything runs.
        folder: for request, lines and log; it exists. What was measured there before is `known`.
        seed: of all random data.
        cold: see `GemmRequest`.
        program: the command that gets the path of the request.
        on_row: called with every new row.
        on_wait: called with the reason, when the device has to be waited for.

    `cannot_write` says why the measurement ended before its time: the folder, or a cache of the
    program, takes no more. It is empty otherwise.
    """

    def __init__(
        self,
        device: Device,
        folder: Path,
        *,
        seed: int,
        cold: bool,
        on_row: OnRow,
        on_wait: Callable[[str], None],
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._device, self._folder, self._program = device, folder, list(program)
        self._seed, self._cold, self._on_row = seed, cold, on_row
        self._on_wait = on_wait
        self._done: dict[Task, Row] = {}
        self._begun: Task | None = None
        self._programs = 0
        before = read_lines(folder / LINES)
        self._read, self.facts = before.end, before.facts
        measured = [row for row in before.rows if row.state is RowState.MEASURED]
        self.known = {row.task: row for row in measured}
        self.cannot_write = ""

    def measure(self, tasks: Sequence[Task], stop: threading.Event) -> dict[Task, Row]:
        """Rows by task; what is missing was interrupted, or `cannot_write` says why.

        Raises:
            NothingToRun: the program ended before its first task, or runs on another device, or
                nothing can be written.
        """
        left = [task for task in tasks if task not in self.known]
        with alone_on(self._device, stop, self._on_wait):
            while left and not stop.is_set() and self._has_asked(left):
                ending = self._run(stop)
                self._judge(left, ending)
                left = [task for task in left if task not in self._done]
        if self.cannot_write and not self._done and not self.known:
            raise NothingToRun(
                f"{self._folder}: {self.cannot_write}; free some space, or name another folder "
                "with --out"
            )
        return {**self.known, **self._done}

    def _has_asked(self, tasks: list[Task]) -> bool:
        """Write the request of the next program, unless nothing can be written any more."""
        if self.cannot_write:
            return False
        self._programs += 1
        request = GemmRequest(tasks, self._device.facts.kind.value, self._seed, self._cold)
        try:
            append_line(self._folder / LINES, program=self._programs)
            write_json(self._folder / REQUEST, request)
        except OSError as error:
            self.cannot_write = error.strerror or str(error)
        return not self.cannot_write

    def _run(self, stop: threading.Event) -> Ending:
        self._begun = None
        ending = launch(
            [*self._program, str((self._folder / REQUEST).absolute())],
            log=self._folder / LOG,
            watched=[self._folder / LINES],
            environment={**os.environ, **self._device.environment()},
            token=f"gemm-{os.getpid()}/{self._folder.name}",
            timeouts=Timeouts(attempt_s=TASK_LIMIT_S, silence_s=TASK_LIMIT_S),
            stop=stop,
            on_tick=self._take,
        )
        self._take()
        return ending

    def _take(self) -> bool:
        """Take over what is new; whether another task has begun, whose time starts now."""
        lines = read_lines(self._folder / LINES, self._read)
        self._read = lines.end
        self.facts = lines.facts or self.facts
        for row in lines.rows:
            if row.task not in self._done:
                self._done[row.task] = row
                self._on_row(row)
        self._begun = lines.begun or self._begun
        return lines.begun is not None

    def _judge(self, tasks: Sequence[Task], ending: Ending) -> None:
        """The task in hand of a program that died is failed; one without any must not go on."""
        missing = [task for task in tasks if task not in self._done]
        if ending.kind is EndingKind.INTERRUPTED or not missing:
            return
        if ending.exit_code == EXIT_NOT_WRITTEN:
            self.cannot_write = self._not_written()
            return
        if self._begun is None and not self._done:
            raise NothingToRun(
                f"the program that measures GEMMs could not start on {self._device.label} "
                f"({_how(ending)}){self._last_words()}; see {self._folder / LOG}"
            )
        in_hand = [task for task in missing if task == self._begun]
        if self._begun is None:
            in_hand = missing  # a device that cannot be used any more: none of them will start
        elif not in_hand and ending.exit_code == EXIT_DEVICE_LOST:
            return  # it has said itself which task it was
        # Nothing in hand: it died between two tasks, and the next would meet the same.
        for task in in_hand or missing[:1]:
            self._fail(task, f"its process ended ({_how(ending)}){self._last_words()}")

    def _fail(self, task: Task, reason: str) -> None:
        row = Row(task, RowState.FAILED, reason)
        self._done[task] = row
        self._on_row(row)

    def _not_written(self) -> str:
        line = self._last_line()
        told = line.removeprefix(NOT_WRITTEN)
        return told if told != line else "the disk is full, or cannot be written"

    def _last_words(self) -> str:
        line = self._last_line()
        return f": {line}" if line else ""

    def _last_line(self) -> str:
        try:
            text = (self._folder / LOG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        lines = text.strip().splitlines()
        return lines[-1].strip() if lines else ""


def _how(ending: Ending) -> str:
    return ending.detail or ending.signal or f"exit code {ending.exit_code}"


def with_results(planned: Sequence[Row], done: dict[Task, Row]) -> list[Row]:
    """The planned rows, each replaced by what became of it."""
    return [done.get(row.task, row) for row in planned]


def interrupted(planned: Sequence[Row], cannot_write: str = "") -> list[Row]:
    """Rows that have no result say why; `cannot_write` is that of `GemmRun`."""
    reason = "interrupted before it was measured"
    if cannot_write:
        reason = f"not on record: {cannot_write}"
    return [
        replace(row, reason=reason) if row.state is RowState.PENDING else row for row in planned
    ]
