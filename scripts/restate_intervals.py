"""The intervals of a run as this version computes them, from the step times on record.

    python scripts/restate_intervals.py runs/OLD --out FOLDER

A copy of the run below FOLDER, in which the interval of every attempt (`step_time_ms.ci95_half_width`)
and whether it is narrow enough (`precision_reached`) are computed anew from the rounds in its
`result.json`. Nothing else changes, and no number does. For runs of a version whose intervals did not
know how decode iterations differ from each other (see CHANGELOG).
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.settings import Measurement
from slidesparse_bench.store import JOURNAL, STATUS, Store
from slidesparse_bench.wire import RESULT, Metrics, Result, decode, read_json, write_text
from slidesparse_bench.worker.measure import precision_reached, step_spread


def main() -> None:
    """Copy, restate, and say how many intervals are another."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    target = options.out / options.run.resolve().name
    shutil.copytree(options.run, target)
    journal = target / JOURNAL
    lines = journal.read_text(encoding="utf-8").splitlines()
    restated = [restated_line(line, target) for line in lines]
    write_text(journal, "\n".join(restated) + "\n")
    (target / STATUS).unlink(missing_ok=True)  # the journal tells it again
    changed = sum(old != new for old, new in zip(lines, restated, strict=True))
    cells = len(Store.open(target).record.cells)
    print(f"{target}: {changed} intervals restated, {cells} cells")


def restated_line(line: str, run: Path) -> str:
    """An event of the journal, with the metrics of an attempt restated."""
    event = json.loads(line)
    attempt = event.get("attempt")
    if event["event"] != "attempt_ended" or not attempt["metrics"]:
        return line
    path = run / "cells" / event["cell"] / f"attempt-{attempt['n']}" / RESULT
    if not path.exists():
        return line
    metrics = restated(decode(Metrics, attempt["metrics"]), decode(Result, read_json(path)))
    told: dict[str, Any] = asdict(metrics)
    names = ("step_time_ms", "precision_reached")
    told = {**attempt["metrics"], **{name: told[name] for name in names}}
    return json.dumps({**event, "attempt": {**attempt, "metrics": told}})


def restated(metrics: Metrics, result: Result) -> Metrics:
    """With the interval of the rounds on record."""
    times = metrics.step_time_ms
    if times is None or not result.rounds:
        return metrics
    width = step_spread(result.rounds, Cell.parse(result.cell_id)).ci95_half_width
    times = replace(times, ci95_half_width=width)
    enough = metrics.precision is not None and precision_reached(
        times, Measurement(precision=metrics.precision)
    )
    return replace(metrics, step_time_ms=times, precision_reached=enough)


if __name__ == "__main__":
    main()
