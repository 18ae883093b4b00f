"""Converting a checkpoint: room on the disk, the program that does it, what became of it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from slidesparse_bench.cache import cache_folder
from slidesparse_bench.converted import (
    RECORD,
    ConversionEnd,
    ConversionRequest,
    Converted,
    read_record,
)
from slidesparse_bench.errors import (
    ConversionFailed,
    ExitCode,
    FormatError,
    NewerFormat,
    NothingToRun,
    UsageError,
)
from slidesparse_bench.launch import Ending, launch
from slidesparse_bench.settings import Timeouts
from slidesparse_bench.units import format_gib
from slidesparse_bench.wire import LOG, REQUEST, RESULT, decode, read_json, write_json

LIMIT_S = 24 * 3600.0
SILENCE_S = 1800.0
"""Without a line: the largest weight of any model, copied from the slowest disk, takes minutes."""
SPARE_BYTES = 16 * 2**20
"""For the record and what a file system adds."""


def is_converted(request: ConversionRequest) -> bool:
    """Whether `out` has the record of this conversion of these very files, by sizes and times."""
    if not (Path(request.out) / RECORD).is_file():
        return False
    try:
        record = read_record(Path(request.out))
    except (FormatError, NewerFormat):
        return False
    now = {name: _size_and_time(Path(request.folder) / name) for name in _all_files(request)}
    then = {name: (file.bytes, file.modified_ns) for name, file in record.files.items()}
    asked, done = ((each.sparsity, each.quantization) for each in (request, record))
    return asked == done and now == then


def missing_files(request: ConversionRequest) -> list[str]:
    """What a converted checkpoint has lost: files that are gone or not as long as they were.

    Pruning changes values and no sizes, so every file is as long as its source.
    """
    out = Path(request.out)
    lost = []
    for name, file in read_record(out).files.items():
        try:
            size = (out / name).stat().st_size
        except OSError:
            lost.append(f"{name} is gone")
            continue
        if size != file.bytes:
            lost.append(f"{name} has {size} of {file.bytes} bytes")
    return lost


def convert(
    request: ConversionRequest, on_line: Callable[[str], None], stop: threading.Event
) -> Converted | None:
    """Run `worker.convert` and follow its log; None when `stop` ended it.

    Raises:
        UsageError: it refused the checkpoint or `out`.
        NothingToRun: the disk is too small, or another process converts to `out`.
        ConversionFailed: it died.
    """
    _refuse_small_disk(request)
    parent = cache_folder() / "convert"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{Path(request.out).name}-", dir=parent))
    write_json(folder / REQUEST, request)
    ending = _run(folder, on_line, stop)
    if stop.is_set():
        shutil.rmtree(folder, ignore_errors=True)
        return None
    if ending.exit_code != 0:
        raise _error(folder, ending)
    shutil.rmtree(folder, ignore_errors=True)
    return read_record(Path(request.out))


def _refuse_small_disk(request: ConversionRequest) -> None:
    needed = SPARE_BYTES + sum(
        _size_and_time(Path(request.folder) / name)[0] for name in _all_files(request)
    )
    out = Path(request.out)
    disk = next(folder for folder in out.parents if folder.is_dir())
    partial = out.with_name(f"{out.name}.partial")
    left_over = sum(file.stat().st_size for file in partial.glob("*") if file.is_file())
    free = shutil.disk_usage(disk).free + left_over
    if free < needed:
        raise NothingToRun(
            f"--out {out}: the converted checkpoint takes {format_gib(needed)}, {disk} has "
            f"{format_gib(free)} free; free some, or choose a folder on another disk"
        )


def _run(folder: Path, on_line: Callable[[str], None], stop: threading.Event) -> Ending:
    log = folder / LOG
    follow = _Follower(log, on_line)
    ending = launch(
        [sys.executable, "-m", "slidesparse_bench.worker.convert", str(folder / REQUEST)],
        log=log,
        watched=[],
        environment={**os.environ, "PYTHONUNBUFFERED": "1"},
        token=f"convert-{os.getpid()}/{folder.name}",
        timeouts=Timeouts(attempt_s=LIMIT_S, silence_s=SILENCE_S),
        stop=stop,
        on_tick=follow,
    )
    follow()
    return ending


class _Follower:
    """Hands on the lines that a log has grown by; always False, as `launch` asks."""

    def __init__(self, log: Path, on_line: Callable[[str], None]) -> None:
        self._log, self._on_line, self._read = log, on_line, 0

    def __call__(self) -> bool:
        with self._log.open("rb") as stream:
            stream.seek(self._read)
            whole, newline, _ = stream.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for line in whole.decode(errors="replace").splitlines():
            self._on_line(line)
        return False


def _error(folder: Path, ending: Ending) -> Exception:
    try:
        end = decode(ConversionEnd, read_json(folder / RESULT))
    except FormatError:
        how = ending.detail or ending.signal or f"exit code {ending.exit_code}"
        return ConversionFailed(
            f"the checkpoint could not be converted ({how}); see {folder / LOG}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    return (UsageError if end.exit_code == ExitCode.USAGE else NothingToRun)(end.message)


def _all_files(request: ConversionRequest) -> list[str]:
    return [*request.weight_files, *request.other_files]


def _size_and_time(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
