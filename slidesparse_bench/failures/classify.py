"""From a log and the way an attempt ended to one `records.Failure`: the first cause, explained."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidesparse_bench.errors import FormatError, UsageError
from slidesparse_bench.failures.classes import CLASSES
from slidesparse_bench.failures.facts import derived_facts
from slidesparse_bench.failures.log import Line
from slidesparse_bench.failures.scan import Finding, Scan, scan_log
from slidesparse_bench.failures.signature import Tier
from slidesparse_bench.records import Evidence, Failure
from slidesparse_bench.units import GIB, format_gib
from slidesparse_bench.wire import Result, WorkerError, decode, read_json

EMPTY_LOG = "(the log is empty)"

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

_OOM_DEVICE_ADVICE: dict[bool | None, str] = {
    True: "The KV cache had been reserved: a lower gpu_memory_utilization leaves more beside it.",
    False: "The KV cache was not yet reserved, so gpu_memory_utilization does not help: measure a "
    "smaller M, or use a GPU with more memory.",
}
"""By the fact `kv_cache_reserved`; where it is not known, the advice of the class stands."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; `signal` is a name such as `SIGKILL`."""

    exit_code: int | None = None
    signal: str | None = None
    ending: str | None = None
    phase: str | None = None


def classify(
    log: Path | Iterable[str],
    *,
    exit_code: int | None = None,
    signal: str | None = None,
    ending: str | None = None,
    phase: str | None = None,
    worker_error: WorkerError | None = None,
    evidence_file: str | None = None,
) -> Failure:
    """Say why a failed attempt failed.

    `log` is a file (one that does not exist counts as empty) or its lines. The rest is what the
    campaign knows of the attempt, as in `records.Attempt`; `evidence_file` is the log's path as
    it shall stand in the record. Never raises for what a log contains.
    """
    outcome = Outcome(exit_code, _signal_name(signal, exit_code), ending, phase)
    scan = _scan(log, phase)
    file = evidence_file or (str(log) if isinstance(log, Path) else "")
    finding = _proved(scan, worker_error) or _found(scan, worker_error, outcome)
    if finding is not None:
        return _explained(finding, scan, file)
    return _by_ending(scan, outcome, file)


def classify_log_file(path: Path) -> dict[str, Any]:
    """One entry of `classify --json` (contract, section Files).

    The `worker.log` of an attempt folder is read together with the `result.json` beside it. A log of a run
    that worked, or one without any error, is `success_noise`.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    failure = _failure_of_file(path)
    return {
        "file": str(path),
        "class": failure.failure_class,
        "verdict": failure.verdict.value,
        "root_cause": failure.root_cause,
        "line": failure.evidence.line,
        "retryable": failure.retryable,
        "hint": failure.hint,
    }


def _failure_of_file(path: Path) -> Failure:
    if path.name != "worker.log" or not (path.parent / "request.json").exists():
        scan = scan_log(path)
        if scan.worked or not (scan.cause or scan.proved or scan.last_error):
            return _harmless(scan, path)
        return classify(path)
    result = _result_beside(path)
    if result is not None and result.ok:
        return _harmless(scan_log(path), path)
    error = result.error if result is not None else None
    return classify(path, worker_error=error, phase=error.phase if error else None)


def _result_beside(path: Path) -> Result | None:
    try:
        return decode(Result, read_json(path.parent / "result.json"))
    except FormatError:
        return None


def _harmless(scan: Scan, path: Path) -> Failure:
    line = scan.last_error or scan.alarm
    return _failure("success_noise", line, {}, "", str(path))


def _scan(log: Path | Iterable[str], phase: str | None) -> Scan:
    if isinstance(log, Path) and not log.exists():
        return Scan()
    return scan_log(log, phase=phase)


def _signal_name(signal: str | int | None, exit_code: int | None) -> str | None:
    """`SIGKILL` for -9, 9, "KILL" or a shell's exit code 137; None when it was no signal."""
    if signal is None and exit_code is not None:
        signal = -exit_code if exit_code < 0 else exit_code - 128
    text = str(signal).upper()
    if text.lstrip("-").isdigit():
        number = abs(int(text))
        known = {int(member): member.name for member in signals.Signals}
        return known.get(number) if str(signal) == str(number) or number in known else None
    return (text if text.startswith("SIG") else f"SIG{text}") if signal else None


def _proved(scan: Scan, error: WorkerError | None) -> Finding | None:
    if scan.proved is not None:
        return scan.proved
    if error is None or error.failure_class not in CLASSES:
        return None
    proved = scan_log([f"slidesparse: {error.failure_class}: {error.message}"]).proved
    return _without_line(proved, error.message) if proved else None


def _found(scan: Scan, error: WorkerError | None, outcome: Outcome) -> Finding | None:
    """The cause in the log or in the worker's exception, if it outweighs the ending."""
    cause = scan.cause
    reported = _reported(error)
    if reported is not None and (cause is None or reported.tier < cause.tier):
        cause = reported
    if cause is None:
        return None
    by_ending = _class_of_ending(outcome)
    if by_ending is None or by_ending == cause.signature.failure_class:
        return cause
    return cause if _outweighs(cause, outcome) else None


def _reported(error: WorkerError | None) -> Finding | None:
    """What the worker's own exception says, as if it ended a traceback."""
    if error is None:
        return None
    message = f"{error.type}: {error.message}"
    lines = ["Traceback (most recent call last):", *message.splitlines()]
    found = scan_log(lines, phase=error.phase).cause
    return _without_line(found, found.line.raw) if found else None


def _without_line(finding: Finding, text: str) -> Finding:
    line = Line(0, text)
    return Finding(line, finding.prefixed, finding.signature, finding.facts, finding.frames)


def _outweighs(cause: Finding, outcome: Outcome) -> bool:
    """Whether the log's cause stands against what the ending alone would say."""
    if outcome.ending == "interrupted":
        return False
    if outcome.ending in ("timed_out", "silent"):
        # Stopping a hanging engine provokes exceptions; one that the engine logged came before.
        logged = cause.tier is Tier.PYTHON and cause.prefixed.level == "ERROR"
        return cause.tier <= Tier.QUOTED or logged
    if outcome.ending == "lost" or _class_of_ending(outcome) == "interrupted":
        return cause.tier <= Tier.QUOTED
    if outcome.signal is not None:
        return cause.tier <= Tier.PYTHON
    return cause.tier <= Tier.CAUSE


def _class_of_ending(outcome: Outcome) -> str | None:
    """The class that the ending alone would give; None when it says nothing."""
    if outcome.ending in ("interrupted", "lost"):
        return "interrupted"
    if outcome.ending in ("timed_out", "silent"):
        return "timeout_hang"
    if outcome.signal is not None:
        return _CLASS_OF_SIGNAL.get(outcome.signal)
    return "no_result" if outcome.exit_code == 0 else None


def _by_ending(scan: Scan, outcome: Outcome, file: str) -> Failure:
    failure_class = _class_of_ending(outcome) or "unknown"
    line = scan.last_error or scan.last if failure_class == "unknown" else scan.last
    facts = {"phase": outcome.phase} if outcome.phase else {}
    return _failure(failure_class, line, facts, _ending_sentence(failure_class, outcome), file)


def _ending_sentence(failure_class: str, outcome: Outcome) -> str:
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


def _explained(finding: Finding, scan: Scan, file: str) -> Failure:
    facts = scan.log_facts | finding.facts
    facts |= derived_facts(facts)
    line = finding.line
    return _failure(
        finding.signature.failure_class, line, facts, _filled(finding.signature.hint, facts), file
    )


def _filled(template: str, facts: dict[str, Any]) -> str:
    """The template with the facts in it; "" when the message did not have one of them.

    An amount such as `asked_gib` is written with its unit under the name `asked`.
    """
    amounts = {
        name.removesuffix("_gib"): format_gib(value * GIB)
        for name, value in facts.items()
        if name.endswith("_gib") and value is not None
    }
    try:
        return template.format_map(facts | amounts)
    except (KeyError, TypeError, ValueError):
        return ""


def _failure(
    failure_class: str, line: Line | None, facts: dict[str, Any], explanation: str, file: str
) -> Failure:
    entry = CLASSES[failure_class]
    advice, retryable = entry.advice, entry.retryable
    if failure_class == "oom_device":
        reserved = facts.get("kv_cache_reserved")
        advice, retryable = _OOM_DEVICE_ADVICE.get(reserved, advice), reserved is True
    return Failure(
        failure_class=failure_class,
        verdict=entry.verdict,
        root_cause=line.raw if line is not None else EMPTY_LOG,
        evidence=Evidence(file, (line.number or None) if line is not None else None),
        retryable=retryable,
        hint=f"{explanation} {advice}".strip(),
        facts=facts,
    )
