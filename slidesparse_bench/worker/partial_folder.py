"""A folder that appears whole under its final name, or not at all.

It grows as `<name>.partial` beside its final place, with a marker file whose lock says that its
process lives. What a kill leaves is such a folder without a lock; the next call empties it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from slidesparse_bench.converted import RECORD
from slidesparse_bench.errors import NothingToRun, UsageError
from slidesparse_bench.wire import sync_folder

MARKER = ".slidesparse-partial"


def partial_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


@contextlib.contextmanager
def appearing_at(out: Path, *, replace: bool) -> Iterator[Path]:
    """The folder to write to; it becomes `out` when the block ends without an error.

    Files must be on the disk (fsync) by then. An error removes what was written.

    Raises:
        UsageError: `out` exists and may not be replaced or cannot be made, or `<out>.partial` is
            somebody else's.
        NothingToRun: another process is writing it.
    """
    partial = partial_of(out)
    refuse_existing(out, replace=replace)
    _make(out, partial)
    with _locked(partial):
        try:
            _put_back(out)
            refuse_existing(out, replace=replace)
            _empty(partial)
            yield partial
            sync_folder(partial)
            _move(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _make(out: Path, partial: Path) -> None:
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if os.path.lexists(partial):
            return  # no folder of ours: `_marker` says so
        raise UsageError(
            f"--out {out}: {error.strerror or error}; name a folder that can be made"
        ) from error


def refuse_existing(out: Path, *, replace: bool) -> None:
    """Only a folder that `slidesparse prepare` wrote is ever replaced.

    Raises:
        UsageError: something is there.
    """
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise UsageError(f"--out {out} is not a folder; choose another name")
    if not any(out.iterdir()):
        return
    if not (out / RECORD).is_file():
        raise UsageError(f"--out {out} exists and has no {RECORD}; choose another folder")
    if not replace:
        raise UsageError(f"--out {out} holds another converted checkpoint; --force replaces it")


@contextlib.contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Make the folder, or take over one that a kill has left."""
    with _marker(partial) as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NothingToRun(
                f"{partial} is being written by another process; wait for it"
            ) from None
        yield


def _marker(partial: Path) -> IO[bytes]:
    if partial.is_symlink() or (partial.exists() and not partial.is_dir()):
        raise UsageError(f"{partial} is in the way and not ours; remove it")
    if any(partial.iterdir()) and not (partial / MARKER).is_file():
        raise UsageError(f"{partial} is in the way and has no {MARKER}; remove it")
    return (partial / MARKER).open("ab")


def _empty(partial: Path) -> None:
    for entry in partial.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _move(partial: Path, out: Path) -> None:
    replaced = _replaced(out)
    shutil.rmtree(replaced, ignore_errors=True)
    if out.exists():
        # Folders cannot be exchanged in one step; `_put_back` makes good a kill between the two.
        out.rename(replaced)
    partial.replace(out)
    # Only now: without it the folder would not be locked any more.
    (out / MARKER).unlink()
    sync_folder(out)
    sync_folder(out.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _put_back(out: Path) -> None:
    replaced = _replaced(out)
    if replaced.is_dir() and not out.exists():
        replaced.rename(out)


def _replaced(out: Path) -> Path:
    return out.with_name(f".{out.name}.slidesparse-replaced")
