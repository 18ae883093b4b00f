"""Workers as process groups on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from slidesparse_bench.device import Device, wait_for_memory, wait_until_returned
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.executors import Order, Outcome, Watch, refuse
from slidesparse_bench.launch import end_owned, launch
from slidesparse_bench.records import MemorySnapshot
from slidesparse_bench.wire import LOG, PHASES, REQUEST, write_json


class LocalExecutor:
    """Runs `python -m slidesparse_bench.worker` confined to one device."""

    def __init__(self, devices: list[Device]) -> None:
        self.devices = devices

    def execute(self, order: Order, watch: Watch) -> Outcome:
        """Wait for memory, run the worker, wait until its memory is back."""
        write_json(order.folder / REQUEST, order.request)
        try:
            before = _wait_for_memory(order, watch)
        except HarnessVerdict as refusal:
            return refuse(order, refusal)
        ending = launch(
            worker_command(order.folder),
            log=order.folder / LOG,
            watched=[order.folder / PHASES],
            environment={**os.environ, **order.device.environment()},
            token=order.token,
            timeouts=order.timeouts,
            stop=watch.stop,
            on_tick=watch.on_tick,
        )
        after = _memory_returned(order, before, watch)
        return Outcome(ending, before, after)

    def clean_up(self, token_prefix: str, grace_s: float) -> int:
        """End every process that carries a token beginning with `token_prefix`."""
        return end_owned(token_prefix, grace_s)


def worker_command(folder: Path) -> list[str]:
    """The command of one worker; given again, it measures the same once more."""
    request = str((folder / REQUEST).absolute())
    return [sys.executable, "-m", "slidesparse_bench.worker", request]


def _wait_for_memory(order: Order, watch: Watch) -> MemorySnapshot | None:
    return wait_for_memory(
        order.device,
        order.needed_bytes,
        order.timeouts.memory_wait_s,
        token=order.token,
        stop=watch.stop,
        on_wait=watch.on_wait,
    )


def _memory_returned(
    order: Order, before: MemorySnapshot | None, watch: Watch
) -> MemorySnapshot | None:
    return wait_until_returned(
        order.device,
        before,
        order.timeouts.memory_wait_s,
        token=order.token,
        stop=watch.stop,
        on_wait=watch.on_wait,
    )
