"""Which processes are ours, and how they are ended.

A process is ours when its environment carries the token of an attempt: children inherit it, so
the proof survives `setsid` and the death of every parent in between. While the leader of an
attempt is alive or unreaped, membership in its session is a second proof, for a child that
cleared its environment. Names and command lines prove nothing and are never looked at.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from slidesparse_bench.wire import ATTEMPT_VARIABLE

SETTLE_S = 0.5
"""How long helpers such as multiprocessing's resource tracker get to notice that all is over."""
KILL_WAIT_S = 10.0
"""How long a SIGKILL may take: the driver frees device memory before the process is gone."""
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Ended:
    """What had to be ended (`left` included) and what is left; each as `name (pid N)`."""

    ended: list[str]
    left: list[str]


def mark(environment: dict[str, str], token: str) -> dict[str, str]:
    """The environment of a process of ours, whose children will be ours too."""
    # setproctitle, which names vLLM's engine processes, overwrites /proc/PID/environ and so the
    # token of the very process that holds the device, unless SPT_NOENV is set.
    return {**environment, ATTEMPT_VARIABLE: token, "SPT_NOENV": "1"}


def carries(pid: int, token: str) -> bool:
    """Whether the process carries `token`, or one below it when `token` ends with `/`.

    False as well for a process that is gone or that we may not look at.
    """
    try:
        return _carries(psutil.Process(pid), token)
    except (psutil.Error, OSError):
        return False


def find(token: str, session: int | None = None) -> set[psutil.Process]:
    """All living processes that carry `token` (see `carries`) or belong to `session`.

    `session` is the pid of its leader, which must not have been reaped: as long as the pid is
    taken, no foreign session can have the number. This process and its parents are never found.
    """
    assert token.strip("/"), "an empty token would match processes that are not ours"
    found = set()
    for pid in set(psutil.pids()) - _this_process_and_its_parents():
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            in_session = session is not None and os.getsid(pid) == session
            if (in_session or _carries(process, token)) and _lives(process):
                found.add(process)
    return found


def end(token: str, grace_s: float, *, session: int | None = None, settle_s: float = 0.0) -> Ended:
    """SIGTERM to all that is ours, one shared `grace_s` seconds, SIGKILL to all that is left.

    What is gone by itself within `settle_s` seconds is not touched.
    """
    ours = _wait_until_gone(find(token, session), settle_s)
    names = _describe(ours)
    _send(signal.SIGTERM, ours)
    ours = _wait_until_gone(ours, grace_s)
    deadline = time.monotonic() + KILL_WAIT_S
    while ours := _still_there(ours, token, session):
        names |= _describe(ours - names.keys())
        if time.monotonic() > deadline:
            break
        _send(signal.SIGKILL, ours)
        ours = _wait_until_gone(ours, 1.0)
    return Ended(ended=sorted(names.values()), left=sorted(names[process] for process in ours))


def end_owned(token: str, grace_s: float) -> int:
    """End every process of one attempt, or of a whole run by `RUN_ID/`; how many are left.

    On resume this ends what a killed campaign left behind.
    """
    return len(end(token, grace_s).left)


def _still_there(
    known: set[psutil.Process], token: str, session: int | None
) -> set[psutil.Process]:
    """Those known that live, and any started since; a second look before it says none."""
    for pause_s in (0.0, _LOOK_EVERY_S):  # in the middle of an exec there is no environment
        time.sleep(pause_s)
        # What was found once is kept: a killed process that hangs in the driver has none either.
        if living := {process for process in known | find(token, session) if _lives(process)}:
            return living
    return set()


def _carries(process: psutil.Process, token: str) -> bool:
    value = process.environ().get(ATTEMPT_VARIABLE, "")
    return value == token or (token.endswith("/") and value.startswith(token))


def _this_process_and_its_parents() -> set[int]:
    return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}


def _lives(process: psutil.Process) -> bool:
    """A zombie holds nothing, unless one of its threads hangs in the driver and keeps it all."""
    try:
        over = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return process.is_running() and not (over and process.num_threads() <= 1)
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False


def _send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    # One by one and not to the group: psutil refuses when the pid now belongs to another process
    # (it compares the start time), and a member that changed its group is reached as well.
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _wait_until_gone(processes: set[psutil.Process], limit_s: float) -> set[psutil.Process]:
    """Those that still live after at most `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while living := {process for process in processes if _lives(process)}:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            break
        time.sleep(min(_LOOK_EVERY_S, remaining_s))
    return living


def _describe(processes: Iterable[psutil.Process]) -> dict[psutil.Process, str]:
    return {process: f"{name_of(process.pid)} (pid {process.pid})" for process in processes}


def name_of(pid: int) -> str:
    """Its short name, for people to read; `unknown process` when it cannot be seen from here."""
    try:
        return str(psutil.Process(pid).name())
    except (psutil.Error, OSError):
        return "unknown process"
