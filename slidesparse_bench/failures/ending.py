"""How an attempt ended, and what that says where its log does not."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass

from slidesparse_bench.failures.scan import Finding
from slidesparse_bench.failures.signature import Tier

_CLASS_OF_SIGNAL = {
    "SIGKILL": "oom_host",
    "SIGBUS": "oom_host",
    "SIGSEGV": "cuda_misc",
    "SIGABRT": "cuda_misc",
    "SIGFPE": "cuda_misc",
    "SIGTRAP": "cuda_misc",
    "SIGILL": "driver_or_env",
    "SIGSYS": "driver_or_env",
    "SIGXCPU": "timeout_hang",
    "SIGXFSZ": "disk_full",
    "SIGTERM": "interrupted",
    "SIGINT": "interrupted",
    "SIGHUP": "interrupted",
    "SIGQUIT": "interrupted",
}
"""What a signal means when the log names no cause.

A crash in native code (SIGSEGV, SIGABRT, SIGFPE) is `cuda_misc`: the libraries under Python are
those of the GPU stack, and a second try is worth its time. SIGBUS is a mapped page that could not
be given: /dev/shm or host memory.
"""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; `signal` is a name such as `SIGKILL`."""

    exit_code: int | None = None
    signal: str | None = None
    ending: str | None = None
    phase: str | None = None


def signal_name(signal: str | None, exit_code: int | None) -> str | None:
    """`SIGKILL` for "SIGKILL", "9", exit code -9 or a shell's 137; None when it was no signal."""
    if signal is not None and not signal.isdecimal():
        return signal.upper()
    if signal is None and (exit_code is None or 0 <= exit_code <= 128):
        return None
    number = int(signal) if signal else (exit_code or 0)
    number = -number if number < 0 else number - 128 if number > 128 else number
    return {int(member): member.name for member in signals.Signals}.get(number)


def class_of_ending(outcome: Outcome) -> str | None:
    """The class that the ending alone would give; None when it says nothing."""
    if outcome.ending in ("interrupted", "lost"):
        return "interrupted"
    if outcome.ending in ("timed_out", "silent"):
        return "timeout_hang"
    if outcome.signal is not None:
        return _CLASS_OF_SIGNAL.get(outcome.signal)
    return "no_result" if outcome.exit_code == 0 else None


def outweighs(cause: Finding, outcome: Outcome) -> bool:
    """Whether the log's cause stands against what the ending alone would say."""
    if outcome.ending == "interrupted":
        return False
    if outcome.ending in ("timed_out", "silent"):
        # Stopping a hanging engine provokes exceptions; one that the engine logged came before.
        logged = cause.tier is Tier.PYTHON and cause.prefixed.level == "ERROR"
        return cause.tier <= Tier.PLACED or logged
    if outcome.ending == "lost" or class_of_ending(outcome) == "interrupted":
        return cause.tier <= Tier.PLACED
    if outcome.signal == "SIGABRT":
        # An exception of C++ that nobody caught, such as NCCL's about another rank.
        return cause.tier <= Tier.CONSEQUENCE
    if outcome.signal is not None:
        return cause.tier <= Tier.PYTHON
    return cause.tier <= Tier.PLACED


def ending_sentence(failure_class: str, outcome: Outcome) -> str:
    where = f" in phase {outcome.phase}" if outcome.phase else ""
    if outcome.ending == "timed_out":
        return f"The attempt reached its time limit{where}; this was its last output."
    if outcome.ending == "silent":
        return f"There was no output for too long{where}; this was the last."
    if outcome.ending == "lost":
        return f"The run that had started it ended first{where}; how it went on is not known."
    if failure_class == "interrupted":
        return f"It was stopped from outside{where}."
    if outcome.signal is not None:
        return f"The process ended with {outcome.signal}{where} and printed no cause."
    if failure_class == "no_result":
        return "The process ended with exit code 0 and left no usable result."
    if outcome.exit_code is None:
        return f"The log ends{where} without a known cause."
    return f"The process ended with exit code {outcome.exit_code}{where}."
