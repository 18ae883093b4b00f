"""How a campaign is followed: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from slidesparse_bench.cell import Stage
from slidesparse_bench.records import Attempt, CellRecord, CellState, RunRecord
from slidesparse_bench.units import format_duration, format_rate
from slidesparse_bench.wire import LOG, PHASES, Metrics, last_phase

STYLES = {
    CellState.PASSED: "green",
    CellState.FAILED: "red",
    CellState.SKIPPED: "yellow",
    CellState.RUNNING: "cyan",
    CellState.PENDING: "dim",
}
RECENT = 12
"""Finished cells shown in the live table."""
TAIL_BYTES = 4096


class PlainProgress:
    """One line per thing that happened; for logs, pipes and `--json` (then on stderr)."""

    def __init__(self, console: Console, record: RunRecord, selected: list[str]) -> None:
        self._console = console
        self._record = record
        self._selected = selected
        self._printed: dict[str, tuple[object, ...]] = {}
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def cell_changed(self, cell_id: str) -> None:
        cell = self._record.cells[cell_id]
        failures = sum(attempt.failure is not None for attempt in cell.attempts)
        key = (cell.state, len(cell.attempts), failures)
        with self._mutex:
            if self._printed.get(cell_id) == key:
                return
            self._printed[cell_id] = key
            done = sum(self._record.cells[each].state.is_done for each in self._selected)
            told = " ".join(filter(None, [cell.state.value, what_happened(cell_id, cell)]))
            line = f"[{done}/{len(self._selected)}] {cell_id}: {told}"
            self._console.print(line, markup=False)

    def waiting(self, cell_id: str, reason: str) -> None:
        with self._mutex:
            if self._printed.get(f"{cell_id} waiting") != (reason,):
                self._printed[f"{cell_id} waiting"] = (reason,)
                self._console.print(f"{cell_id}: {reason}", markup=False)

    def tick(self, cell_id: str, folder: Path) -> None:
        """Plain lines tell what happened, not what is going on."""


class LiveProgress:
    """The table of a run in progress, redrawn in place."""

    def __init__(
        self, console: Console, record: RunRecord, selected: list[str], estimate_s: float
    ) -> None:
        self._record = record
        self._selected = selected
        self._estimate_s = estimate_s
        self._began = time.monotonic()
        self._running: dict[str, tuple[Path | None, str]] = {}
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._done_before = self._done()
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def cell_changed(self, cell_id: str) -> None:
        if self._record.cells[cell_id].state is CellState.RUNNING:
            self._running.setdefault(cell_id, (None, "starting"))
            return
        self._running.pop(cell_id, None)
        if cell_id not in self._recent:
            self._recent.append(cell_id)

    def waiting(self, cell_id: str, reason: str) -> None:
        self._running[cell_id] = (None, reason)

    def tick(self, cell_id: str, folder: Path) -> None:
        self._running[cell_id] = (folder, last_phase(folder / PHASES) or "starting")

    def _done(self) -> int:
        return sum(self._record.cells[each].state.is_done for each in self._selected)

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, expand=False)
        for heading in ("cell", "state", "what happened"):
            table.add_column(heading, overflow="ellipsis", no_wrap=heading != "what happened")
        for cell_id in list(self._recent):
            cell = self._record.cells[cell_id]
            state = Text(cell.state.value, style=STYLES[cell.state])
            table.add_row(cell_id, state, Text(what_happened(cell_id, cell)))
        return Group(table, *self._running_lines(), self._summary())

    def _running_lines(self) -> list[RenderableType]:
        lines: list[RenderableType] = []
        for cell_id, (folder, phase) in list(self._running.items()):
            doing = what_happened(cell_id, self._record.cells[cell_id])
            lines.append(Text(f"▶ {cell_id}  {doing}: {phase}", style="cyan"))
            if folder is not None:
                lines.append(Text(f"  {log_tail(folder / LOG)}", style="dim", no_wrap=True))
        return lines

    def _summary(self) -> Text:
        done, total = self._done(), len(self._selected)
        elapsed = time.monotonic() - self._began
        counts = ", ".join(f"{n} {state}" for state, n in self._record.counts.items() if n)
        return Text(
            f"{done}/{total} cells · {counts} · {format_duration(elapsed)} elapsed · "
            f"about {format_duration(self._remaining(done, total, elapsed))} to go",
            style="bold",
        )

    def _remaining(self, done: int, total: int, elapsed: float) -> float:
        """The plan's estimate, corrected by the pace so far once there is one."""
        finished_now = done - self._done_before
        left = total - done
        planned = self._estimate_s * left / max(1, total - self._done_before)
        return elapsed / finished_now * left if finished_now >= 2 else planned


def what_happened(cell_id: str, cell: CellRecord) -> str:
    """The newest thing about a cell, to stand beside its state."""
    attempt = cell.attempts[-1] if cell.attempts else None
    if cell.state is CellState.PASSED and cell.metrics is not None:
        return ", ".join([_rate(cell_id, cell.metrics), *_effort(cell.attempts)])
    if cell.state is CellState.RUNNING and attempt is not None:
        if attempt.failure is not None:
            return f"attempt {attempt.n} ended: {attempt.failure.failure_class}"
        why = f" ({attempt.reason})" if attempt.reason else ""
        return f"attempt {attempt.n}{why}"
    return cell.reason


def _rate(cell_id: str, metrics: Metrics) -> str:
    """The rate that reports judge the cell by, with its interval.

    The steps of a decode cell are its pure decode steps: their interval is of no other rate.
    """
    is_decode = f".{Stage.DECODE}." in cell_id
    output = metrics.output_tokens_per_second if is_decode else None
    rate = (
        f"{format_rate(output)} output tokens/s"
        if output
        else f"{format_rate(metrics.tokens_per_second)} tokens/s"
    )
    times = metrics.step_time_ms
    if times is None or times.ci95_half_width is None or (is_decode and not output):
        return rate
    return f"{rate} ± {times.ci95_half_width / times.mean:.1%}"


def _effort(attempts: list[Attempt]) -> list[str]:
    seconds = sum(attempt.duration_s or 0.0 for attempt in attempts)
    took = [format_duration(seconds)]
    return [*took, f"{len(attempts)} attempts"] if len(attempts) > 1 else took


def log_tail(log: Path) -> str:
    """The last line of a log that is being written."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
