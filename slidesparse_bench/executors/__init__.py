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
from slidesparse_bench.wire import Request, Result

REQUEST, RESULT, LOG, PHASES = "request.json", "result.json", "worker.log", "phases.jsonl"
"""Files of an attempt's folder."""


@dataclass(frozen=True)
class Order:
    """One attempt to carry out.

    `token` marks every process of it; `needed_bytes` is the device memory that must be free
    before it starts (0: whatever there is).
    """

    request: Request
    folder: Path
    device: Device
    token: str
    timeouts: Timeouts
    needed_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What came of an order. `refusal` is set instead of `ending` when it was never started."""

    ending: Ending | None
    result: Result | None
    refusal: HarnessVerdict | None
    memory_before: MemorySnapshot | None
    memory_after: MemorySnapshot | None


def refuse(order: Order, verdict: HarnessVerdict) -> Outcome:
    """End an attempt before it starts; its log says why, as a worker's would."""
    order.folder.mkdir(parents=True, exist_ok=True)
    (order.folder / LOG).write_text(verdict.log_line + "\n", encoding="utf-8")
    snapshot = order.device.snapshot(order.token)
    return Outcome(None, None, verdict, snapshot, snapshot)


@dataclass(frozen=True)
class Watch:
    """How the campaign follows and stops an attempt."""

    stop: threading.Event
    on_tick: Callable[[], None]
    on_wait: Callable[[str], None]


class Executor(Protocol):
    """One lane per device: the campaign never gives a device two orders at once."""

    devices: list[Device]

    def execute(self, order: Order, watch: Watch) -> Outcome:
        """Run one attempt to its end; never raises for what the attempt did."""

    def clean_up(self, token_prefix: str, grace_s: float) -> int:
        """End what an earlier, killed campaign left running; returns how many would not end."""
