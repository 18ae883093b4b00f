"""What the scout is worth: a thread that works and sleeps like an engine's, with and without it.

    python scripts/bench_host.py --out host.md [--rounds 8]

Steps are two milliseconds of Python. A `busy` thread runs one after the other, as in decode of a small
model; a `sleepy` one sleeps three milliseconds between them, as while a device computes. Each is timed
free to go wherever the system puts it, and led by a scout (`worker/scout.py`), in turn and in random order, so
that a neighbour's load falls on all of them. No GPU is needed; how much there is to gain is a matter of
the neighbours.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from slidesparse_bench.wire import write_text
from slidesparse_bench.worker.host import Host

ADDITIONS = 100_000
WINDOW_S, SETTLE_S = 2.0, 0.5
PAUSES_S = {"busy": 0.0, "sleepy": 0.003}
SLOW = 1.3
"""So many times the fastest tenth of all steps."""
SEED = 20260305


def main() -> None:
    """Time the four, in random order, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    shuffle = random.Random(SEED).shuffle
    arms = [(kind, led) for kind in PAUSES_S for led in (False, True)]
    times_ms: dict[tuple[str, bool], list[float]] = {arm: [] for arm in arms}
    for _ in range(options.rounds):
        shuffle(arms)
        for kind, led in arms:
            times_ms[kind, led] += steps_led(kind) if led else steps_of(kind)
    write_text(options.out, page(times_ms))
    print(options.out.read_text(encoding="utf-8"))


def steps_led(kind: str) -> list[float]:
    """Steps of a thread with a scout; afterwards it may go where it was allowed before."""
    allowed = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder) / "host.csv")
        try:
            host.settle()
            time.sleep(SETTLE_S)
            return steps_of(kind)
        finally:
            host.close()
            os.sched_setaffinity(0, allowed)


def steps_of(kind: str) -> list[float]:
    """Times in ms of the steps of one window."""
    times, end = [], time.perf_counter() + WINDOW_S
    while time.perf_counter() < end:
        time.sleep(PAUSES_S[kind])
        began, total = time.perf_counter(), 0
        for i in range(ADDITIONS):
            total += i
        times.append((time.perf_counter() - began) * 1e3)
    return times


def page(times_ms: dict[tuple[str, bool], list[float]]) -> str:
    """The table as Markdown; times as multiples of the fastest tenth of all steps."""
    together = sorted(each for times in times_ms.values() for each in times)
    best = together[len(together) // 10]
    lines = [
        "# A thread that works and sleeps like an engine's, with and without a scout",
        "",
        f"{len(os.sched_getaffinity(0))} CPUs; steps of {best:.2f} ms at best, all in turn, in random order.",
        "",
        "| thread | | steps | mean | median | p95 | slow steps |",
        "|:--|:--|--:|--:|--:|--:|--:|",
    ]
    for (kind, led), times in sorted(times_ms.items()):
        ordered = sorted(each / best for each in times)
        row = [
            kind,
            "led" if led else "free",
            str(len(ordered)),
            f"{statistics.fmean(ordered):.3f}",
            f"{statistics.median(ordered):.3f}",
            f"{ordered[int(len(ordered) * 0.95)]:.2f}",
            f"{sum(each > SLOW for each in ordered) / len(ordered):.1%}",
        ]
        lines.append("| " + " | ".join(row) + " |")
    lines += ["", f"Times are multiples of the best; slow is above {SLOW}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
