"""One measurement at a time on a GPU, whoever starts it.

Two runs on one GPU slow each other down, and in most containers neither sees the other's processes.
So whoever measures locks a file that stands for the GPU (`machine_lock`). What a process that is killed
leaves on the GPU for a moment is seen by the look at its memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from slidesparse_bench.device import Device
from slidesparse_bench.machine_lock import is_locked_by_us, opened_lock

POLL_S = 1.0


@contextlib.contextmanager
def alone_on(
    device: Device, stop: threading.Event, on_wait: Callable[[str], None]
) -> Iterator[None]:
    """Wait until no other measurement holds the device, and hold it; a set `stop` ends the wait.

    There is no limit: whoever holds it has limits of his own. `on_wait` gets the reason, once. A device
    without an `identity` is not locked; one whose file cannot be opened is not either, and `on_wait` is told.
    """
    with contextlib.ExitStack() as opened:
        if device.identity:
            try:
                number = opened_lock(device.identity)
            except OSError as error:
                on_wait(f"{device.label} cannot be locked against other measurements: {error}")
            else:
                opened.callback(os.close, number)
                _wait_for(number, stop, on_wait, device.label)
        yield


def _wait_for(
    number: int, stop: threading.Event, on_wait: Callable[[str], None], label: str
) -> None:
    if not is_locked_by_us(number):
        on_wait(f"waiting for {label}: another measurement runs on it")
        while not stop.wait(POLL_S) and not is_locked_by_us(number):
            pass
