"""How fast is `classify` on a large log, and how much memory does it take?

    python scripts/bench_classifier.py [--megabytes 100] [--kind KIND]

Every kind of log is written to a temporary file, read by a process of its own, and reported as
seconds per 100 MB and peak resident memory. `labelled` is what long runs print: progress bars and
INFO lines between the failures of the tune half of `tests/labelled`; the others repeat one kind of
line, which is the worst that can happen. Timing is never part of the tests: machines differ.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from score_classifier import TUNE, load_examples

from slidesparse_bench.failures import classify

_INFO = (
    "(EngineCore_DP0 pid=4242) INFO 01-26 10:00:00 [loggers.py:127] Engine 000: Avg prompt "
    "throughput: 84004.2 tokens/s, Running: 16 reqs, Waiting: 0 reqs, Step {n}\n"
)
_WARNING = (
    "(Worker_TP1 pid=4243) WARNING 01-26 10:00:00 [backends.py:609] Failed to read file "
    "/cache/{n}: memory error, not supported\n"
)
_PROGRESS = "\rProcessed prompts:  47%|████▋     | {n}/65536 [00:08<00:08, 251.79it/s]"
_TRACEBACK = (
    "(Worker_TP0 pid=4244) ERROR 01-26 10:00:00 [worker.py:1] Traceback (most recent call last):\n"
    '(Worker_TP0 pid=4244) ERROR 01-26 10:00:00 [worker.py:1]   File "/opt/vllm/a.py", line {n}, in'
    " run\n"
    "(Worker_TP0 pid=4244) ERROR 01-26 10:00:00 [worker.py:1]     return self.step()\n"
    "(Worker_TP0 pid=4244) ERROR 01-26 10:00:00 [worker.py:1] EngineDeadError: {n}\n"
)
_ASSERTIONS = (
    "Indexing.cu:1553: indexSelectLargeIndex: block: [{n},0,0], thread: [28,0,0] Assertion "
    "`srcIndex < srcSelectDimSize` failed.\n"
)
_NO_NEWLINE = "error " * 20

LABELLED = "labelled"
TEMPLATES = {
    "info lines": _INFO,
    "progress bars": _PROGRESS,
    "warnings": _WARNING,
    "tracebacks": _TRACEBACK,
    "assertions": _ASSERTIONS,
    "one line": _NO_NEWLINE,
}
QUIET_LINES_PER_FAILURE = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--kind", choices=(LABELLED, *TEMPLATES), action="append")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        _measure(arguments.read)
        return
    for kind in arguments.kind or (LABELLED, *TEMPLATES):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "worker.log")
            build(log, kind, arguments.megabytes * 10**6)
            print(f"{kind:15}", end=" ", flush=True)
            subprocess.run([sys.executable, __file__, "--read", str(log)], check=True)


def build(log: Path, kind: str, size: int) -> None:
    """Write a log of exactly `size` bytes."""
    blocks = _long_run() if kind == LABELLED else itertools.repeat(_repeated(TEMPLATES[kind]))
    with log.open("wb") as stream:
        for block in blocks:
            stream.write(block[: size - stream.tell()])
            if stream.tell() >= size:
                return


def _repeated(template: str, count: int = 10_000) -> bytes:
    return "".join(template.format(n=n) for n in range(count)).encode()


def _long_run() -> Iterator[bytes]:
    """Quiet lines and labelled failures in turn, for ever."""
    quiet = _repeated(_PROGRESS * 5 + "\n" + _INFO, QUIET_LINES_PER_FAILURE // 6)
    logs = [each.path.read_bytes() for each in load_examples() if each.half == TUNE]
    for log in itertools.cycle(logs):
        yield quiet
        yield log


def _measure(log: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    failure = classify(log, exit_code=1)
    seconds = (time.perf_counter() - start) / log.stat().st_size * 10**8
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{seconds:5.1f} s per 100 MB, peak {peak / 1024:.0f} MiB "
        f"(+{(peak - before) / 1024:.0f} MiB), {failure.failure_class}"
    )


if __name__ == "__main__":
    main()
