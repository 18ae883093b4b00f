"""Where the attempt is, written to `phases.jsonl` before the work of that phase begins."""

from __future__ import annotations

import json
import time
from pathlib import Path

from slidesparse_bench.wire import Phase


class PhaseLog:
    """Appends one line per phase; the last line tells where a dead worker died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.monotonic()
        self.current = Phase.START
        self._cell_id: str | None = None
        self._write()

    def begin(self, cell_id: str) -> None:
        """From here on the phases are those of this cell."""
        self._cell_id = cell_id

    def enter(self, phase: Phase) -> None:
        if phase is not self.current:
            self.current = phase
            self._write()

    def seconds(self) -> float:
        """Seconds since the worker started."""
        return time.monotonic() - self._started

    def _write(self) -> None:
        line: dict[str, str | float] = {
            "phase": self.current.value,
            "seconds": round(self.seconds(), 3),
        }
        if self._cell_id is not None:
            line["cell"] = self._cell_id
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
