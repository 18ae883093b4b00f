"""Every error the harness raises on purpose.

SlideSparseError
├── UsageError            the command line or the matrix is wrong; nothing ran        exit 2
│   ├── MatrixError       one or more located problems in a matrix file
│   └── RunNotFound       no such run, or no run at all
├── NothingToRun          no device, nothing feasible                                 exit 3
├── RunLocked             another live process holds the run                          exit 3
├── ConversionFailed      the program that converts a checkpoint did not finish         exit 1
├── FormatError           a file of ours that is damaged beyond rebuilding            exit 2
├── NewerFormat           a file of ours of a version newer than this program         exit 2
└── CellError             what went wrong in a cell: a record, never a stopped run
    └── HarnessVerdict    the worker itself proved the attempt invalid, with its class

What a user caused is one clear line and an exit code; what a cell caused is a record and
never stops a run; anything else is ours and stays a traceback.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""`errno` of an OSError: no space, no quota, or no larger file is allowed (`ulimit -f`)."""


class ExitCode(IntEnum):
    """What the process exits with; documented in the README and stable."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    NOTHING_RAN = 3
    REGRESSION = 4
    CANNOT_TELL = 5
    INTERRUPTED = 130
    TERMINATED = 143


class SlideSparseError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line returns for it."""

    exit_code = ExitCode.USAGE


class UsageError(SlideSparseError):
    """The request cannot be carried out as it was written."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a matrix file, at `line` and `column` (both from 1; 0 is the whole file)."""

    path: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.path}{place}: {self.message}"


class MatrixError(UsageError):
    """A matrix that cannot be used; `problems` holds every one of them, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.column))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RunNotFound(UsageError):
    """No run folder where one was asked for."""


class NothingToRun(SlideSparseError):
    """There is work, but none of it can be started here."""

    exit_code = ExitCode.NOTHING_RAN


class RunLocked(SlideSparseError):
    """A live process is executing this run."""

    exit_code = ExitCode.NOTHING_RAN

    def __init__(self, run: Path, pid: int | None) -> None:
        self.run = run
        self.pid = pid
        owner = f"process {pid}" if pid else "another process"
        super().__init__(
            f"run {run.name} is being executed by {owner}; wait for it, stop it, "
            "or start a separate run with --fresh"
        )


class ConversionFailed(SlideSparseError):
    """A checkpoint was not converted, for a reason that lies neither in it nor in the request."""

    exit_code = ExitCode.SOME_FAILED


class FormatError(SlideSparseError):
    """A file of ours is damaged beyond rebuilding."""


class NewerFormat(SlideSparseError):
    """A file of ours was written by a newer version; never to be taken for a damaged one."""


class CellError(SlideSparseError):
    """Something that belongs on the record of one attempt."""

    exit_code = ExitCode.SOME_FAILED


class HarnessVerdict(CellError):
    """The worker proved that this attempt must not count.

    `failure_class` is the class id of the taxonomy. The message is printed to the attempt's log
    as `slidesparse: <class>: <message>`, so that the log alone still tells the cause.
    """

    def __init__(self, failure_class: str, message: str) -> None:
        self.failure_class = failure_class
        super().__init__(message)

    @property
    def log_line(self) -> str:
        return f"slidesparse: {self.failure_class}: {self}"
