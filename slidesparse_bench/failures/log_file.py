"""`slidesparse classify`: a log on disk, alone or in the folder of an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from slidesparse_bench.errors import FormatError, UsageError
from slidesparse_bench.failures.classify import as_success, classify, judge
from slidesparse_bench.failures.ending import Outcome
from slidesparse_bench.failures.scan import scan_log
from slidesparse_bench.records import Attempt, Failure
from slidesparse_bench.units import gib
from slidesparse_bench.wire import ATTEMPT, Result, decode, read_json

_T = TypeVar("_T")

_PACKED = "is compressed; unpack it first"
_WIDE = "is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8"
NO_LOGS = {
    b"\x1f\x8b": _PACKED,
    b"\x28\xb5\x2f\xfd": _PACKED,
    b"\xfd7zXZ": _PACKED,
    b"BZh": _PACKED,
    b"PK\x03\x04": _PACKED,
    b"\xff\xfe": _WIDE,
    b"\xfe\xff": _WIDE,
}
"""How files begin in which no line could be read: gzip, zstd, xz, bzip2, zip, UTF-16."""


@dataclass(frozen=True)
class _Kept:
    """What the campaign keeps in an attempt's folder as `attempt.json`, as far as it is read."""

    attempt: Attempt


def classify_log_file(path: Path) -> dict[str, Any]:
    """One entry of `classify --json` (contract, section Files).

    The `worker.log` of an attempt folder is read together with the result and the record beside
    it. Any other log of a run that worked, or one without any error, is `success_noise`.

    Raises:
        UsageError: the file cannot be read, or begins as no log does.
    """
    try:
        with path.open("rb") as stream:
            begins = stream.read(len(max(NO_LOGS, key=len)))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    for mark, advice in NO_LOGS.items():
        if begins.startswith(mark):
            raise UsageError(f"{path}: {advice}")
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
        harmless = scan.worked or not (scan.cause or scan.proved or scan.last_error)
        return (
            as_success(scan, str(path)) if harmless else judge(scan, Outcome(), None, str(path), {})
        )
    kept = _beside(path, ATTEMPT, _Kept)
    result = _beside(path, "result.json", Result)
    if result is not None and result.ok and (kept is None or kept.attempt.failure is None):
        return as_success(scan_log(path), str(path))
    error = result.error if result is not None else None
    known = kept.attempt if kept is not None else None
    return classify(
        path,
        exit_code=known.exit_code if known else None,
        signal=known.signal if known else None,
        ending=known.ending if known else None,
        phase=(known.phase if known else None) or (error.phase if error else None),
        worker_error=error,
        known=_known_of(known) if known else None,
    )


def _known_of(attempt: Attempt) -> dict[str, Any]:
    """What the record of an attempt tells beyond its log, see `explain.KNOWN`."""
    known = {"gpu_memory_utilization": attempt.engine_args.get("gpu_memory_utilization")}
    if attempt.memory_before is not None:
        known["total_gib"] = gib(attempt.memory_before.total_bytes)
    return {name: value for name, value in known.items() if value is not None}


def _beside(path: Path, name: str, kind: type[_T]) -> _T | None:
    """A file of the attempt's folder; None when it is missing or cannot be read."""
    try:
        return decode(kind, read_json(path.parent / name))
    except FormatError:
        return None
