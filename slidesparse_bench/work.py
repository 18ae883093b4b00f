"""What is still to do, handed out to the lanes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slidesparse_bench.cell import Cell

LOOK_AGAIN_S = 0.2


@dataclass(frozen=True)
class Work:
    """Cells for one engine, smallest first, in one trial."""

    cells: tuple[Cell, ...]
    trial: int


class WorkQueue:
    """Hands out work in order, never the same cell to two lanes at once.

    With several trials a cell stands here several times; `is_wanted` says of a cell and a trial
    whether it is still to be measured. A lane may give work back, so the end is only reached when
    nobody has any.
    """

    def __init__(
        self, work: Iterable[Work], stop: threading.Event, is_wanted: Callable[[Cell, int], bool]
    ) -> None:
        self._waiting = list(work)
        self._busy: set[Cell] = set()
        self._stop = stop
        self._is_wanted = is_wanted
        self._mutex = threading.Lock()

    def __bool__(self) -> bool:
        """Whether anything is left that somebody wants."""
        with self._mutex:
            return any(self._reduced(work) for work in self._waiting)

    def take(self) -> Work | None:
        """The next work whose cells nobody else has, waiting for it if need be; None at the end."""
        while not self._stop.is_set():
            with self._mutex:
                self._waiting = [work for each in self._waiting if (work := self._reduced(each))]
                if not self._waiting and not self._busy:
                    return None
                work = next((each for each in self._waiting if self._is_free(each)), None)
                if work is not None:
                    self._waiting.remove(work)
                    self._busy |= set(work.cells)
                    return work
            self._stop.wait(LOOK_AGAIN_S)
        return None

    def done(self, work: Work) -> None:
        """Its cells may be handed out again."""
        with self._mutex:
            self._busy -= set(work.cells)

    def give_back(self, work: Work) -> None:
        """Work that a lane could not finish, for another one; it goes first."""
        with self._mutex:
            self._waiting.insert(0, work)

    def _reduced(self, work: Work) -> Work | None:
        wanted = tuple(cell for cell in work.cells if self._is_wanted(cell, work.trial))
        return Work(wanted, work.trial) if wanted else None

    def _is_free(self, work: Work) -> bool:
        return self._busy.isdisjoint(work.cells)
