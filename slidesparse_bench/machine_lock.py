"""Files that stand for parts of a machine: whoever uses one of those locks its file.

They lie in a folder that the users of a machine share, are empty, and stay. A lock ends with the process
that holds it, even one that is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

SHARED = Path("/tmp")  # noqa: S108 - a lock, and nothing is written to it


def lock_folder() -> Path:
    """Where the files are; the same for all users, whatever their TMPDIR."""
    return SHARED if SHARED.is_dir() else Path(tempfile.gettempdir())


def opened_lock(name: str) -> int:
    """The descriptor of the file for `name`, made if it is not there.

    Raises:
        OSError: it cannot be opened.
    """
    path = lock_folder() / f"slidesparse-bench-{name}.lock"
    with contextlib.suppress(FileExistsError):
        number = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL)
        os.fchmod(number, 0o644)
        return number
    return os.open(path, os.O_RDONLY)  # for reading: it may be another user's


def is_locked_by_us(number: int) -> bool:
    """Lock it, unless another process has; True also where the file system has no locks."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
