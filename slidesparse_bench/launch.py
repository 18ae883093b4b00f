"""One attempt is one process tree: started, watched, and ended to the last process."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from slidesparse_bench import processes
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.processes import end_owned
from slidesparse_bench.settings import Timeouts
from slidesparse_bench.units import format_duration
from slidesparse_bench.wire import CAMPAIGN_VARIABLE

__all__ = ["Ending", "EndingKind", "end_owned", "launch"]

TICK_S = 0.1
_CAUSES = {
    errno.ENOMEM: "oom_host",
    errno.EAGAIN: "oom_host",
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
}
"""Failure class of an error of starting, by errno; everything else is `driver_or_env`."""


class EndingKind(StrEnum):
    """Why an attempt is over: by itself (the first two), or because we ended it."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed_out"
    SILENT = "silent"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    `exit_code` and `signal` (`"SIGKILL"`) tell how the leader went, also when we ended it; both
    are None when it never started, could not be ended, or its status was lost. `duration_s` runs
    until the last process was gone. `processes_left` counts what not even SIGKILL ended.
    """

    kind: EndingKind
    exit_code: int | None
    signal: str | None
    duration_s: float
    processes_left: int
    detail: str


def launch(
    command: list[str],
    *,
    log: Path,
    watched: list[Path],
    environment: dict[str, str],
    token: str,
    timeouts: Timeouts,
    stop: threading.Event,
    on_tick: Callable[[], bool] | None = None,
) -> Ending:
    """Run `command` in a session of its own and wait until nothing of it is left.

    It gets exactly `environment` and the marks of `processes.mark`, no stdin, and `log` (appended
    to) as stdout and stderr. Growth of `log` or of a `watched` file counts as a sign of life.
    `stop` ends it; `on_tick` is called about ten times a second, and when it says true a new attempt
    has begun in the same process: `attempt_s` counts from there. A command that cannot be started
    is an `Ending` as well, and the log says why.
    """
    if stop.is_set():
        return Ending(EndingKind.INTERRUPTED, None, None, 0.0, 0, "stopped before it was started")
    started = time.monotonic()
    try:
        marked = processes.mark(environment, token)
        leader = _start(command, log, {**marked, CAMPAIGN_VARIABLE: str(os.getpid())})
    except OSError as error:
        return _not_started(command, log, error, time.monotonic() - started)
    try:
        kind, detail = _watch(leader.pid, [log, *watched], timeouts, stop, on_tick)
        settle_s = processes.SETTLE_S if kind is EndingKind.EXITED else 0.0
        ended = processes.end(token, timeouts.grace_s, session=leader.pid, settle_s=settle_s)
    except BaseException:  # Ctrl-C, or a display that fails: nothing may stay behind
        processes.end(token, 0.0, session=leader.pid)
        _reap(leader)
        raise
    # Reaped last: until here its pid, and with it the session, could not become anybody else's.
    exit_code, signal_name = _reap(leader)
    if kind is EndingKind.EXITED and signal_name:
        kind = EndingKind.SIGNALLED
    return Ending(
        kind=kind,
        exit_code=exit_code,
        signal=signal_name,
        duration_s=time.monotonic() - started,
        processes_left=len(ended.left),
        detail="; ".join(filter(None, [detail, *_tell(kind, ended, exit_code, signal_name)])),
    )


def _start(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _not_started(command: list[str], log: Path, error: OSError, duration_s: float) -> Ending:
    cause = _CAUSES.get(error.errno or 0, "driver_or_env")
    verdict = HarnessVerdict(cause, f"cannot start {command[0]}: {error}")
    with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as stream:
        stream.write(verdict.log_line + "\n")
    return Ending(EndingKind.EXITED, None, None, duration_s, 0, str(verdict))


def _watch(
    pid: int,
    files: list[Path],
    timeouts: Timeouts,
    stop: threading.Event,
    on_tick: Callable[[], bool] | None,
) -> tuple[EndingKind, str]:
    """Return once the leader has exited (it stays unreaped) or has to be ended, and why."""
    started = last_sign = time.monotonic()
    sizes = _sizes(files)
    while True:
        stopped = stop.wait(TICK_S)
        if _has_exited(pid):
            return EndingKind.EXITED, ""
        if stopped:
            return EndingKind.INTERRUPTED, "stopped from outside"
        now, before, sizes = time.monotonic(), sizes, _sizes(files)
        if sizes != before:
            last_sign = now
        if now - started > timeouts.attempt_s:
            limit = format_duration(timeouts.attempt_s)
            return EndingKind.TIMED_OUT, f"still running after {limit} (timeouts.attempt_s)"
        if now - last_sign > timeouts.silence_s:
            limit = format_duration(timeouts.silence_s)
            return EndingKind.SILENT, f"no output and no phase for {limit} (timeouts.silence_s)"
        if on_tick is not None and on_tick():
            started = now


def _sizes(files: list[Path]) -> list[int]:
    return [_size(path) for path in files]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # not there yet
        return -1


def _has_exited(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:  # reaped by the kernel: whoever started us ignores SIGCHLD
        return True


def _reap(leader: subprocess.Popen[bytes]) -> tuple[int | None, str | None]:
    """Exit code and signal name of the leader; both None when it lives or its status is lost."""
    try:
        status = os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        status = None
    # Not Popen's own code: it reports a lost status as 0, which would look like success.
    leader.poll()
    if status is None:
        return None, None
    if status.si_code == os.CLD_EXITED:
        return status.si_status, None
    return None, _signal_name(status.si_status)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"


def _tell(
    kind: EndingKind, ended: processes.Ended, exit_code: int | None, signal_name: str | None
) -> list[str]:
    """What is worth a word: processes that outlived the leader, or all; a lost exit status."""
    told = []
    if kind in (EndingKind.EXITED, EndingKind.SIGNALLED):
        if ended.ended:
            told.append(f"outlived by {', '.join(ended.ended)}, ended")
        if exit_code is None and signal_name is None:
            told.append("its exit status is lost, as this program was started with SIGCHLD ignored")
    if ended.left:
        told.append(f"could not be ended: {', '.join(ended.left)}")
    return told
