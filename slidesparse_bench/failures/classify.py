"""From a log and the way an attempt ended to one `records.Failure`: the first cause, explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slidesparse_bench.failures.classes import CLASSES
from slidesparse_bench.failures.ending import (
    Outcome,
    class_of_ending,
    ending_sentence,
    outweighs,
    signal_name,
)
from slidesparse_bench.failures.explain import explanation, kv_remedies
from slidesparse_bench.failures.facts import derived_facts, holders_of, is_held_by_others
from slidesparse_bench.failures.log import Line
from slidesparse_bench.failures.scan import Finding, Scan, scan_log
from slidesparse_bench.records import Evidence, Failure
from slidesparse_bench.units import GIB, format_gib
from slidesparse_bench.wire import MEASURES, WorkerError

EMPTY_LOG = "(the log is empty)"

_OOM_DEVICE_ADVICE: dict[bool | None, str] = {
    True: "The KV cache had been reserved: a lower gpu_memory_utilization leaves more beside it.",
    False: "The KV cache was not yet reserved, so gpu_memory_utilization does not help: measure a "
    "smaller M, or use a GPU with more memory.",
}
"""By the fact `kv_cache_reserved`; where it is not known, the advice of the class stands."""


def classify(
    log: Path | Iterable[str],
    *,
    exit_code: int | None = None,
    signal: str | None = None,
    ending: str | None = None,
    phase: str | None = None,
    worker_error: WorkerError | None = None,
    evidence_file: str | None = None,
    known: Mapping[str, Any] | None = None,
) -> Failure:
    """Say why a failed attempt failed.

    `log` is a file (one that cannot be read counts as empty) or its lines. The rest is what the
    campaign knows of the attempt, as in `records.Attempt`; `evidence_file` is the log's path as
    it shall stand in the record; `known` are numbers of `explain.KNOWN` for the explanation.
    Never raises for what a log contains.
    """
    outcome = Outcome(exit_code, signal_name(signal, exit_code), ending, phase)
    file = evidence_file or (str(log) if isinstance(log, Path) else "")
    return judge(_scan(log, phase), outcome, worker_error, file, known or {})


def judge(
    scan: Scan,
    outcome: Outcome,
    worker_error: WorkerError | None,
    file: str,
    known: Mapping[str, Any],
) -> Failure:
    """The same of a log that was read already."""
    finding = _proved(scan, worker_error) or _found(scan, worker_error, outcome)
    if finding is not None:
        return _explained(finding, scan, file, known)
    return _by_ending(scan, outcome, file)


def as_success(scan: Scan, file: str) -> Failure:
    """`success_noise`, with the log's most alarming line."""
    return _failure("success_noise", scan.last_error or scan.alarm, {}, "", file)


def _scan(log: Path | Iterable[str], phase: str | None) -> Scan:
    try:
        return scan_log(log, phase=phase)
    except OSError:
        return Scan()


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
    by_ending = class_of_ending(outcome)
    if by_ending is None or by_ending == cause.signature.failure_class:
        return cause
    return cause if outweighs(cause, outcome) else None


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
    return Finding(line, finding.prefixed, finding.signature, finding.facts, finding.place)


def _by_ending(scan: Scan, outcome: Outcome, file: str) -> Failure:
    failure_class = class_of_ending(outcome) or "unknown"
    line = scan.last_error or scan.last if failure_class == "unknown" else scan.last
    facts = {"phase": outcome.phase} if outcome.phase else {}
    ending = ending_sentence(failure_class, outcome)
    if line is not None and line.raw.startswith(MEASURES):  # ours, and nothing came after it
        line = Line(0, ending)
    return _failure(failure_class, line, facts, ending, file)


def _explained(finding: Finding, scan: Scan, file: str, known: Mapping[str, Any]) -> Failure:
    failure_class, line = finding.signature.failure_class, finding.line
    facts = scan.log_facts | finding.facts
    if failure_class in ("oom_device", "oom_weights"):
        facts |= holders_of(line.raw)
        if is_held_by_others(line.raw, facts):
            failure_class = "gpu_memory_busy"
    facts |= derived_facts(facts)
    if failure_class == "kv_cache_insufficient":
        facts |= kv_remedies({**known, **facts})
    sentences = (
        _filled(finding.signature.hint, facts),
        explanation(failure_class, {**known, **facts}),
    )
    return _failure(failure_class, line, facts, " ".join(filter(None, sentences)), file)


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
    nothing = "" if failure_class == "success_noise" else EMPTY_LOG
    advice, retryable = entry.advice, entry.retryable
    if failure_class == "oom_device":
        reserved = facts.get("kv_cache_reserved")
        advice, retryable = _OOM_DEVICE_ADVICE.get(reserved, advice), reserved is True
    return Failure(
        failure_class=failure_class,
        verdict=entry.verdict,
        root_cause=line.raw if line is not None else nothing,
        evidence=Evidence(file, (line.number or None) if line is not None else None),
        retryable=retryable,
        hint=f"{explanation} {advice}".strip(),
        facts=facts,
    )
