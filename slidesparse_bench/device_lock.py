"""One measurement at a time on a GPU, whoever starts it.

Two runs on one GPU slow each other down, and in most containers neither sees the other's processes.
So whoever measures locks a file that stands for the GPU, in a folder that the users of a machine
share. The lock ends with the process that holds it, even one that is killed; what that leaves on
the GPU for a moment is seen by the look at its memory.
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
SHARED = Path("/tmp")  # noqa: S108 - a lock, and nothing is written to it


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
            path = lock_folder() / f"slidesparse-bench-{device.identity}.lock"
            try:
                number = _opened(path)
            except OSError as error:
                on_wait(f"{device.label} cannot be locked against other measurements: {error}")
            else:
                opened.callback(os.close, number)
                _wait_for(number, stop, on_wait, device.label)
        yield


def lock_folder() -> Path:
    """Where the files are, empty ones that stay; the same for all users, whatever their TMPDIR."""
    return SHARED if SHARED.is_dir() else Path(tempfile.gettempdir())


def _opened(path: Path) -> int:
    """For reading: the file may be another user's."""
    with contextlib.suppress(FileExistsError):
        number = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL)
        os.fchmod(number, 0o644)
        return number
    return os.open(path, os.O_RDONLY)


def _wait_for(
    number: int, stop: threading.Event, on_wait: Callable[[str], None], label: str
) -> None:
    if not _is_locked_by_us(number):
        on_wait(f"waiting for {label}: another measurement runs on it")
        while not stop.wait(POLL_S) and not _is_locked_by_us(number):
            pass


def _is_locked_by_us(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
