"""Score the feasibility predictions against the public SlideSparse results (RTX 4090, RTX 5080).

    python scripts/score_feasibility.py [--corpus FOLDER] [--list]

The folder holds `cells_rtx4090.csv` and `cells_rtx5080.csv`, one row per cell; without the option
it is $SLIDESPARSE_CORPUS, else `../shared/corpus` beside the repository. Two tables are printed:

- as the public runs went: KV cache for one sequence, decode prompts in waves, weights stretched
  while loading. This is the check of the memory model.
- as this harness would run the same cells: the whole batch at once, or M is not M. Public passes
  that do not fit here ran with fewer sequences at a time than the M they are filed under.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slidesparse_bench.backends import DeviceFacts
from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage
from slidesparse_bench.feasibility import (
    Demand,
    FitVerdict,
    Prediction,
    find_device,
    predict_memory,
)
from slidesparse_bench.models import CATALOG

GPUS = ("RTX4090", "RTX5080")
PASSED = "passed"
PASSED_LATER = "passed only elsewhere"
NO_MEMORY = "failed for memory"
OTHER = "failed otherwise"
OUTCOMES = (PASSED, PASSED_LATER, NO_MEMORY, OTHER)
VERDICTS = (FitVerdict.FITS, FitVerdict.TIGHT, FitVerdict.DOES_NOT_FIT)
MEMORY_CLASSES = ("oom_device", "oom_weights", "kv_cache_insufficient")


@dataclass(frozen=True)
class Scored:
    """One public cell: what happened, and what would have been said before."""

    gpu: str
    cell: Cell
    outcome: str
    public: Prediction
    ours: Prediction


def corpus_folder(argument: str | None = None) -> Path:
    """Where the public results are; the folder need not exist."""
    named = argument or os.environ.get("SLIDESPARSE_CORPUS")
    return Path(named) if named else Path(__file__).parents[2] / "shared" / "corpus"


def score(folder: Path) -> list[Scored]:
    """Every tried cell of a built-in model, with both predictions at utilization 0.8.

    Raises:
        FileNotFoundError: the folder does not hold the tables.
    """
    return [_score_row(gpu, row) for gpu in GPUS for row in _rows(folder, gpu)]


def _rows(folder: Path, gpu: str) -> Iterator[dict[str, str]]:
    with (folder / f"cells_{gpu.lower()}.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["outcome"] != "not_run" and row["model"].lower() in CATALOG:
                yield row


def _score_row(gpu: str, row: dict[str, str]) -> Scored:
    cell = Cell(
        model=row["model"].lower(),
        quantization=Quantization(row["quant"].lower()),
        backend=row["backend"],
        sparsity=Sparsity.parse(row["sparsity"]) if row["sparsity"] else None,
        stage=Stage(row["stage"]),
        m=int(row["M"]),
    )
    device = find_device(gpu.replace("RTX", "RTX "))
    return Scored(
        gpu=gpu,
        cell=cell,
        outcome=_outcome(row),
        public=_predict(cell, device, _public_demand(row, cell)),
        ours=_predict(cell, device, None),
    )


def _public_demand(row: dict[str, str], cell: Cell) -> Demand:
    return Demand(
        step_tokens=int(row["max_num_batched_tokens"]),
        sequences=1,
        sequence_tokens=int(row["max_model_len"]),
        max_num_seqs=int(row["max_num_seqs"]),
        max_model_len=int(row["max_model_len"]),
        stretched_while_loading=cell.sparsity is not None,
    )


def _predict(cell: Cell, device: DeviceFacts, demand: Demand | None) -> Prediction:
    return predict_memory(cell, CATALOG[cell.model], device, {}, demand=demand)


def _outcome(row: dict[str, str]) -> str:
    """By the first attempts at 0.8; other utilizations and the second card count as elsewhere."""
    if row["outcome"] == "passed":
        history = row["reasons_in_order"]
        failed_before = any(f"{failure}@0.8" in history for failure in MEMORY_CLASSES)
        return PASSED_LATER if failed_before else PASSED
    return NO_MEMORY if row["reason_class_at_default"] in MEMORY_CLASSES else OTHER


def confusion(scored: list[Scored], *, ours: bool) -> Counter[tuple[str, str, FitVerdict]]:
    """How many cells of (GPU, outcome) got which verdict."""
    return Counter(
        (item.gpu, item.outcome, (item.ours if ours else item.public).verdict) for item in scored
    )


def _print_table(title: str, counts: Counter[tuple[str, str, FitVerdict]]) -> None:
    print(f"\n{title}\n")
    print(f"| GPU | outcome | {' | '.join(VERDICTS)} |")
    print("|---|---|---|---|---|")
    for gpu in GPUS:
        for outcome in OUTCOMES:
            cells = [counts[gpu, outcome, verdict] for verdict in VERDICTS]
            if any(cells):
                print(f"| {gpu} | {outcome} | {' | '.join(map(str, cells))} |")


def _print_disagreements(scored: list[Scored]) -> None:
    """Passes that were not called fits, and failures that were."""
    print("\nwhere the first table is off\n")
    for item in scored:
        if (item.outcome == PASSED) != (item.public.verdict is FitVerdict.FITS):
            print(f"{item.gpu} {item.cell} {item.outcome}: {item.public.verdict}")
            print(f"    {item.public.reason}")


def main() -> int:
    """Print both tables; 2 when there is nothing to score."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", help="folder with cells_rtx4090.csv and cells_rtx5080.csv")
    parser.add_argument("--list", action="store_true", help="print every cell that is off")
    arguments = parser.parse_args()
    folder = corpus_folder(arguments.corpus)
    try:
        scored = score(folder)
    except FileNotFoundError as error:
        print(f"{error.filename}: not found; --corpus or SLIDESPARSE_CORPUS names the folder")
        return 2
    _print_table("as the public runs went", confusion(scored, ours=False))
    _print_table("as this harness would run them", confusion(scored, ours=True))
    warned = Counter(item.outcome for item in scored if item.public.warnings)
    print("\n32-bit index warning:", ", ".join(f"{n} {what}" for what, n in warned.items()))
    if arguments.list:
        _print_disagreements(scored)
    return 0


if __name__ == "__main__":
    sys.exit(main())
