"""How close each backend comes to the step that its own GEMMs allow.

    python scripts/step_ceiling.py RUN --model qwen2.5-7b -m 16384 --out ceiling.md

RUN is a run folder whose prefill cells of the model at M were measured with `profile_iterations`. A step
is its median time; its GEMMs are the kernels of the decoder layers' products in the steps that the
same process ran under a profiler. What remains is the rest: attention, norms, quantization, scales, the
host. The rest that all backends share is the smallest that any dense one shows:

    rest     = min over dense backends of (step - GEMMs)
    ceiling  = GEMMs of the backend + rest
    reached  = ceiling / step

so a kernel of ours that adds work outside the GEMM, such as stretching, counts against it.

Step and GEMMs do not have the same clock: the profiled steps follow a pause, after which a device at its
power limit starts at a higher clock than it can keep. Measured rounds follow a pause, too, and begin with
steps that are not counted (`Round.lead`): how far as many of them as were profiled are from the median is
the error of the GEMMs by the clock, and bounds that of `reached`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from slidesparse_bench.cell import Cell, Quantization, Stage
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.records import Attempt, CellRecord
from slidesparse_bench.report import gpu_names
from slidesparse_bench.step_kernels import read_step_kernels
from slidesparse_bench.store import Store
from slidesparse_bench.wire import RESULT, Result, Round, decode, read_json, write_text

DENSE = ("cutlass", "cublaslt")
REFERENCE = "cublaslt"
OWN_REST, LESS_REST = "[1]", "[2]"
MEANING = (
    "The ceiling of a backend is a step of its own GEMMs and of the smallest rest (step less GEMMs) that "
    "a dense backend of the same format shows; `reached` is that ceiling over the step. "
    f"{OWN_REST} marks the backend whose rest it is, which reaches 100 % by construction, and {LESS_REST} "
    "one that has less rest than it and so goes above 100 %."
)


@dataclass(frozen=True)
class Times:
    """A step of one backend, and the GEMMs of its layers, in ms.

    `after_pause` holds for each round the mean time of its first steps, as many as were profiled, over
    the median step.
    """

    step_ms: float
    gemm_ms: float
    after_pause: tuple[float, ...] = ()

    @property
    def rest_ms(self) -> float:
        return self.step_ms - self.gemm_ms


@dataclass(frozen=True)
class Reached:
    """One backend: times in ms, `share` of the ceiling, speed-ups of its step over dense ones.

    `mark` is `OWN_REST`, `LESS_REST` or empty; `over_reference` is None where the run has no step of
    the reference.
    """

    label: str
    times: Times
    ceiling_ms: float
    mark: str
    over_reference: float | None
    over_best_dense: float

    @property
    def share(self) -> float:
        return self.ceiling_ms / self.times.step_ms

    @property
    def shown(self) -> str:
        """`99.1%`, `100.0% [1]`."""
        return f"{self.share:.1%} {self.mark}".rstrip()


def main() -> None:
    """Read the run, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", default="qwen2.5-7b")
    parser.add_argument("-m", type=int, default=16384)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    text = page(Store.open(options.run), options.model, options.m)
    write_text(options.out, text)
    print(text)


def page(store: Store, model: str, m: int) -> str:
    """The whole text."""
    cells = prefill_cells(store, model, m)
    where = ", ".join(devices(store, cells)) or "unknown device"
    known = {
        cell: times for cell, record in cells.items() if (times := times_of(store, cell, record))
    }
    lines = [
        f"# Prefill of {model} at M = {m}: how close to what the GEMMs allow",
        "",
        f"{where}; medians of the steps, GEMMs by the profiler in the same process. {MEANING}",
        "",
        *clocks(known.values()),
    ]
    for quantization in Quantization:
        of_it = {
            cell.backend_label: times
            for cell, times in known.items()
            if cell.quantization == quantization
        }
        lines += section(quantization, reached(of_it))
    return "\n".join(lines)


def clocks(known: Iterable[Times]) -> list[str]:
    """How far apart the clocks of GEMMs and steps can move `reached`; empty without rounds on record."""
    shares = [share for times in known for share in times.after_pause]
    if not shares:
        return []
    points = 100 * (max(1.0, *shares) - min(1.0, *shares))
    text = (
        "The profiled steps follow a pause, after which a device at its power limit is faster for about "
        f"a second. As many steps at the beginning of a measured round took {min(shares):.1%} to "
        f"{max(shares):.1%} of the median: the GEMMs are known no better than that, and two values of "
        f"`reached` less than {points:.1f} points apart are not told apart."
    )
    return [text, ""]


def prefill_cells(store: Store, model: str, m: int) -> dict[Cell, CellRecord]:
    """Measured prefill cells of the model at M, without those of emulated kernels."""
    parsed = {Cell.parse(cell_id): cell for cell_id, cell in store.record.cells.items()}
    return {
        cell: record
        for cell, record in parsed.items()
        if (cell.model, cell.stage, cell.m) == (model, Stage.PREFILL, m)
        and record.metrics is not None
        and not record.metrics.emulated
    }


def newest(record: CellRecord) -> Attempt:
    """Of the attempts that count."""
    return list(record.measured().values())[-1]


def devices(store: Store, cells: Mapping[Cell, CellRecord]) -> list[str]:
    """What the cells ran on, as far as the run has it on record."""
    names = gpu_names(store.environment())
    attempts = [newest(record) for record in cells.values()]
    found = {each.device_name or names.get(each.device or "") for each in attempts}
    return sorted(name for name in found if name)


def times_of(store: Store, cell: Cell, record: CellRecord) -> Times | None:
    """None without a profile, or without step times."""
    attempt = newest(record)
    folder = store.attempt_folder(cell.id, attempt.n)
    kernels = read_step_kernels(folder)
    if kernels is None or attempt.metrics is None or attempt.metrics.step_time_ms is None:
        return None
    step_ms = attempt.metrics.step_time_ms.median
    layers = find_architecture(cell.model).num_hidden_layers
    after = after_pause(rounds_of(folder), kernels.iterations, step_ms)
    return Times(step_ms, kernels.linear_ms(layers), after)


def rounds_of(folder: Path) -> list[Round]:
    """The measured rounds of an attempt; none where its result is not there."""
    path = folder / RESULT
    return decode(Result, read_json(path)).rounds if path.exists() else []


def after_pause(rounds: Iterable[Round], count: int, step_ms: float) -> tuple[float, ...]:
    """Of each round the mean time of its first `count` steps over the median step.

    Only those with a lead-in began after a pause, where any has one: the others are parts of a round.
    """
    rounds = list(rounds)
    return tuple(
        statistics.fmean(step.time_ms for step in each.steps[:count]) / step_ms
        for each in [each for each in rounds if each.lead] or rounds
        if len(each.steps) >= count
    )


def reached(times: Mapping[str, Times]) -> list[Reached]:
    """All backends, in the order given; empty without a dense one."""
    dense = [times[label] for label in DENSE if label in times]
    if not dense:
        return []
    rest_ms = min(each.rest_ms for each in dense)
    best_ms = min(each.step_ms for each in dense)
    reference = times.get(REFERENCE)
    return [
        Reached(
            label,
            each,
            each.gemm_ms + rest_ms,
            mark_of(label, each, rest_ms),
            reference.step_ms / each.step_ms if reference else None,
            best_ms / each.step_ms,
        )
        for label, each in times.items()
    ]


def mark_of(label: str, times: Times, rest_ms: float) -> str:
    """What is to be said of a backend with that rest beside the one that counts."""
    if label in DENSE and times.rest_ms == rest_ms:
        return OWN_REST
    return LESS_REST if times.rest_ms < rest_ms else ""


def section(quantization: Quantization, rows: list[Reached]) -> list[str]:
    """A table, or why there is none."""
    if not rows:
        return [f"{quantization.upper()}: no dense backend has a step and a profile.", ""]
    heads = f"backend | step, ms | GEMMs, ms | ceiling, ms | reached | over {REFERENCE}"
    lines = [
        f"| {row.label} | {row.times.step_ms:.2f} | {row.times.gemm_ms:.2f} | {row.ceiling_ms:.2f} | "
        f"{row.shown} | {quotient(row.over_reference)} | {row.over_best_dense:.2f} |"
        for row in rows
    ]
    head = [f"| {heads} | over the best dense |", "|:--|--:|--:|--:|--:|--:|--:|"]
    return [f"## {quantization.upper()}", "", *head, *lines, ""]


def quotient(value: float | None) -> str:
    """Empty where it is not known."""
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
