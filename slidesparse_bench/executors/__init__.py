"""Where attempts run. An executor turns an order into an outcome and knows nothing of policy.

Adding one (a cluster, another host) is one file with a class that satisfies `Executor`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slidesparse_bench.device import Device
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.launch import Ending
from slidesparse_bench.records import MemorySnapshot
from slidesparse_bench.settings import Timeouts
from slidesparse_bench.wire import LOG, Request


@dataclass(frozen=True)
class Order:
    """One worker to run, for one cell or for several.

    `folder` is the worker's own; each cell's result goes where the request says. `token` marks
    every process of it; `needed_bytes` is the device memory that must be free before it starts
    (0: whatever there is).
    """

    request: Request
    folder: Path
    device: Device
    token: str
    timeouts: Timeouts
    needed_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What became of the worker; results are files. `ending` is None when it was never started."""

    ending: Ending | None
    memory_before: MemorySnapshot | None
    memory_after: MemorySnapshot | None


def refuse(order: Order, verdict: HarnessVerdict) -> Outcome:
    """End an order before its worker starts; the log says why, as a worker's would."""
    order.folder.mkdir(parents=True, exist_ok=True)
    (order.folder / LOG).write_text(verdict.log_line + "\n", encoding="utf-8")
    snapshot = order.device.snapshot(order.token)
    return Outcome(None, snapshot, snapshot)


@dataclass(frozen=True)
class Watch:
    """How the campaign follows and stops a worker.

    `on_tick` says whether the worker has turned to another cell since it was last called.
    """

    stop: threading.Event
    on_tick: Callable[[], bool]
    on_wait: Callable[[str], None]


class Executor(Protocol):
    """One lane per device: the campaign never gives a device two orders at once."""

    devices: list[Device]

    def execute(self, order: Order, watch: Watch) -> Outcome:
        """Run one worker to its end; never raises for what the worker did."""

    def clean_up(self, token_prefix: str, grace_s: float) -> int:
        """End what an earlier, killed campaign left running; returns how many would not end."""
