"""How fast is `classify` on a large log, and how much memory does it take?

    python scripts/bench_classify.py [--megabytes 100]

Every kind of log is written to a temporary file, read by a process of its own, and reported as
seconds per 100 MB and peak resident memory. Timing is never part of the tests: machines differ.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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

KINDS = {
    "info lines": _INFO,
    "progress bars": _PROGRESS,
    "warnings": _WARNING,
    "tracebacks": _TRACEBACK,
    "assertions": _ASSERTIONS,
    "one line": _NO_NEWLINE,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        _measure(arguments.read)
        return
    for kind, template in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "worker.log")
            _write(log, template, arguments.megabytes * 10**6)
            print(f"{kind:15}", end=" ", flush=True)
            subprocess.run([sys.executable, __file__, "--read", str(log)], check=True)


def _write(path: Path, template: str, size: int) -> None:
    block = "".join(template.format(n=n) for n in range(10_000)).encode()
    with path.open("wb") as stream:
        while stream.tell() < size:
            stream.write(block[: size - stream.tell()])


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
