"""One measurement at a time on a GPU, whoever starts it.

Two runs on one GPU slow each other down, and in most containers neither sees the other's processes.
So whoever measures locks a file that stands for the GPU: in the system's temporary folder, which the
users of a machine share. The lock ends with its holder, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from slidesparse_bench.device import Device

POLL_S = 1.0


@contextlib.contextmanager
def alone_on(
    device: Device, stop: threading.Event, on_wait: Callable[[str], None]
) -> Iterator[None]:
    """Wait until no other measurement holds the device, and hold it; a set `stop` ends the wait.

    There is no limit: whoever holds it has limits of his own. `on_wait` gets the reason, once. A device
    without an `identity` is not locked, nor one whose file cannot be made or opened.
    """
    with contextlib.ExitStack() as opened:
        number = _opened(lock_file(device.identity)) if device.identity else None
        if number is not None:
            opened.callback(os.close, number)
            if not _is_locked_by_us(number):
                on_wait(f"waiting for {device.label}: another measurement runs on it")
                while not stop.wait(POLL_S) and not _is_locked_by_us(number):
                    pass
        yield


def lock_file(identity: str) -> Path:
    """Where the lock of a device is; the file itself stays and is empty."""
    return Path(tempfile.gettempdir()) / f"slidesparse-bench-{identity}.lock"


def _opened(path: Path) -> int | None:
    """For reading: the file may be another user's."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644))
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return None


def _is_locked_by_us(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
