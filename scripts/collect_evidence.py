"""The pages about the GEMM backends, from what `scripts/backend_evidence.py` has measured.

    python scripts/collect_evidence.py --work FOLDER --out docs/evidence --reports reports/examples

Copies tables, plots and token counts to OUT/h200-backends/, writes the report of the run to
REPORTS/h200, how near it comes to the ceiling of its GEMMs, and OUT/h200-backends.md, which sets what
was asked beside what these files say. What FOLDER lacks stays as an earlier collection left it; what
was never measured is said to be missing.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slidesparse_bench.cell import Stage
from slidesparse_bench.records import CellState
from slidesparse_bench.store import Store, list_runs
from slidesparse_bench.wire import write_text

SCRIPTS = Path(__file__).parent
SLIDESPARSE = [sys.executable, "-m", "slidesparse_bench"]
OURS = ("cublaslt", "cusparselt")
NAME = "h200-backends"
HOST_US, QUANTIZE_SHARE, CEILING_SHARE, FP8_TOKENS = 20.0, 0.75, 95.0, 99.0
"""What is asked: microseconds, share of a copy, % of the ceiling, % of the tokens that are no ties."""
QUANTIZE_M, CEILING_M, LARGEST_M = 4096, 16384, 65536
MISSING = "not measured"

Row = dict[str, str]
"""One of a CSV file; empty where nothing was measured."""


@dataclass(frozen=True)
class Claim:
    """What was asked, what was seen, whether that is enough (None: nothing was asked), and where."""

    asked: str
    seen: str
    is_met: bool | None = None
    file: str = ""

    def line(self) -> str:
        known = self.file and self.seen != MISSING
        where = f"[{Path(self.file).name}]({self.file})" if known else ""
        met = (
            "" if self.is_met is None or self.seen == MISSING else ("yes" if self.is_met else "no")
        )
        return f"| {self.asked} | {self.seen} | {met} | {where} |"


def main() -> None:
    """Copy, compute, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reports", type=Path, required=True)
    options = parser.parse_args()
    target = options.out / NAME
    target.mkdir(parents=True, exist_ok=True)
    copy_files(options.work, target)
    run = newest_run(options.work / "run")
    if run:
        report(run, options.reports / "h200", options.work / "run-notes.md")
        ceiling(run, target)
    claims = [
        *claims_of_gemms(rows_of(target / "gemm/gemm.csv"), rows_of(target / "shapes/gemm.csv")),
        *claims_of_pages(target),
        claim_of_largest_m(rows_of(options.reports / "h200/results.csv")),
    ]
    write_text(options.out / f"{NAME}.md", page(claims))


def copy_files(work: Path, target: Path) -> None:
    """Everything that people read, and the raw numbers behind it, of the steps that ended."""
    for name in ("gemm", "shapes"):
        if not has_ended(work, name):
            continue
        for file in [*(work / name).glob("gemm.csv"), *(work / name).glob("gemm.md")]:
            (target / name).mkdir(exist_ok=True)
            shutil.copy(file, target / name / file.name)
        if (work / name / "plots").is_dir():
            shutil.copytree(work / name / "plots", target / name / "plots", dirs_exist_ok=True)
    for pages in ("tokens-*.md", "raw.md", "activation.md", "qkv.md", "memory.md"):
        for file in work.glob(pages):
            if has_ended(work, file.stem):
                shutil.copy(file, target / file.name)


def has_ended(work: Path, step: str) -> bool:
    """Whether the step came to its end, met or not: what one leaves that was stopped is half of it."""
    mark = work / f"{step}.exit"
    return mark.exists() and mark.read_text(encoding="utf-8").strip() in {"0", "1"}


def newest_run(runs: Path) -> Store | None:
    folders = list_runs(runs) if runs.is_dir() else []
    return Store.open(folders[-1]) if folders else None


def report(run: Store, folder: Path, notes: Path) -> None:
    """The run's report under a name that does not change with the date."""
    temporary = folder.with_name(f".{folder.name}")
    command = [*SLIDESPARSE, "report", str(run.folder), "--reports-dir", str(temporary)]
    command += ["--notes", str(notes)] if notes.exists() else []
    subprocess.run(command, check=True)
    shutil.rmtree(folder, ignore_errors=True)
    (temporary / run.folder.name).rename(folder)
    temporary.rmdir()


def ceiling(run: Store, target: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "step_ceiling.py"), str(run.folder)]
    command += ["-m", str(CEILING_M), "--out", str(target / "ceiling.md")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def rows_of(path: Path) -> list[Row]:
    """None where it is missing."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def claims_of_gemms(timed: list[Row], shapes: list[Row]) -> list[Claim]:
    """Correctness of all of them, host time and quantization of those that were timed for it."""
    ours = [row for row in [*timed, *shapes] if row["backend"] in OURS]
    measured = [row for row in ours if row["error"]]
    models = sorted({row["model"] for row in measured})
    errors = {
        quantization: max(float(row["error"]) for row in rows)
        for quantization in ("int8", "fp8")
        if (rows := [row for row in measured if row["quantization"] == quantization])
    }
    ours_timed = [row for row in timed if row["backend"] in OURS]
    shares = {
        row["id"]: float(row["quantize_share_of_copy"])
        for row in ours_timed
        if int(row["m"]) >= QUANTIZE_M and row["quantize_share_of_copy"]
    }
    return [
        Claim(
            "INT8 sums exact, FP8 within 1e-2, every layer shape of the four models",
            f"{len(measured)} of {len(ours)} GEMMs right ({', '.join(models)}); largest error "
            + ", ".join(f"{name.upper()} {error:.2g}" for name, error in errors.items())
            if measured
            else MISSING,
            len(measured) == len(ours),
            f"{NAME}/{'shapes' if shapes else 'gemm'}/gemm.csv",
        ),
        Claim(
            "host time of a GEMM call below 20 µs",
            host_times(ours_timed),
            all(each <= HOST_US for each in host_us(ours_timed)),
            f"{NAME}/gemm/gemm.csv",
        ),
        Claim(
            f"quantize and stretch at 75 % of the bandwidth of a copy or more, m >= {QUANTIZE_M}",
            told_shares(shares),
            all(share >= QUANTIZE_SHARE for share in shares.values()),
            f"{NAME}/gemm/gemm.csv",
        ),
    ]


def host_us(rows: Iterable[Row]) -> list[float]:
    return [float(row["host_us"]) for row in rows if row["host_us"]]


def host_times(rows: list[Row]) -> str:
    """By M: the slowest call decides."""
    each = [
        f"m = {m}: {min(times):.1f} to {max(times):.1f} µs"
        for m in sorted({int(row["m"]) for row in rows})
        if (times := host_us(row for row in rows if int(row["m"]) == m))
    ]
    return "; ".join(each) or MISSING


def told_shares(shares: dict[str, float]) -> str:
    if not shares:
        return MISSING
    least = min(shares, key=shares.__getitem__)
    enough = sum(share >= QUANTIZE_SHARE for share in shares.values())
    return f"{enough} of {len(shares)}; least {shares[least]:.0%} ({least})"


def claims_of_pages(target: Path) -> list[Claim]:
    """Those that have pages of their own; a page of an earlier collection stands until a newer one."""
    asked = [
        (
            "each call within 5 % of the best raw library call, the device under load",
            "raw.md",
            partial(judge_raw, "Under load"),
        ),
        ("the same, the device rested before", "raw.md", partial(judge_raw, "Rested")),
        ("SwiGLU's activation and quantization in one kernel, beside two", "activation.md", None),
        ("query, key and value scaled each for itself, beside in one piece", "qkv.md", None),
        ("INT8: all greedy tokens those of the dense backend", "tokens-int8-eager.md", judge_int8),
        ("the same, compiled", "tokens-int8.md", judge_int8),
        ("the same, compiled, two tensor parallel ranks", "tokens-int8-tp2.md", judge_int8),
        (
            "FP8: 99 % of the greedy tokens those of the dense backend",
            "tokens-fp8-eager.md",
            judge_fp8,
        ),
        ("the same in FP8, compiled", "tokens-fp8.md", judge_fp8),
        (
            "Qwen2.5-14B INT8 decodes M = 512 with 24 GB of the card, every sparsity",
            "memory.md",
            judge_memory,
        ),
        (
            f"prefill at M = {CEILING_M}: 95 % of the ceiling of its GEMMs",
            "ceiling.md",
            judge_ceiling,
        ),
    ]
    return [claim_of_page(text, target / name, judge) for text, name, judge in asked]


Judge = Callable[[str], tuple[str, bool]]
"""From the text of a page what was seen, and whether it is enough."""


def claim_of_page(asked: str, path: Path, judge: Judge | None) -> Claim:
    if not path.exists():
        return Claim(asked, MISSING)
    file = f"{NAME}/{path.name}"
    if judge is None:
        return Claim(asked, "see there", None, file)
    try:
        return Claim(asked, *judge(path.read_text(encoding="utf-8")), file)
    except (IndexError, ValueError):  # half a page
        return Claim(asked, MISSING)


def judge_raw(condition: str, page: str) -> tuple[str, bool]:
    if "Not complete" in page:
        raise ValueError
    line = rf"^- {condition}: (\d+) of (\d+) are within it; worst ([\d.]+)"
    within, total, worst = re.findall(line, page, re.MULTILINE)[0]
    return f"{within} of {total}; worst {worst}", within == total


def judge_int8(page: str) -> tuple[str, bool]:
    (prepared, untied), (loaded, _) = _agreement(page)
    return _told(prepared, untied, loaded), prepared == loaded == 100.0


def judge_fp8(page: str) -> tuple[str, bool]:
    (prepared, untied), (loaded, _) = _agreement(page)
    return _told(prepared, untied, loaded), untied >= FP8_TOKENS and prepared == loaded


def _agreement(page: str) -> list[tuple[float, float]]:
    """% of all choices and of those that are no ties: of the pruned checkpoint, and pruned at load."""
    found = re.findall(r"^\| cusparselt-.*\| ([\d.]+)% \| ([\d.]+)% \|$", page, re.MULTILINE)
    return [(float(everywhere), float(untied)) for everywhere, untied in found]


def _told(prepared: float, untied: float, loaded: float) -> str:
    return f"{prepared:.2f} %, without ties {untied:.2f} %; pruned while loading {loaded:.2f} %"


def judge_memory(page: str) -> tuple[str, bool]:
    failed = len(re.findall(r"\| \| \| \|$", page, re.MULTILINE))
    rows = len(re.findall(r"^\| (?:cublaslt|cusparselt)", page, re.MULTILINE))
    return f"{rows - failed} of {rows}", failed == 0


def judge_ceiling(page: str) -> tuple[str, bool]:
    reached = [float(each) for each in re.findall(r"\| ([\d.]+)%", page)]
    enough = sum(each >= CEILING_SHARE for each in reached)
    return f"{enough} of {len(reached)}; least {min(reached):.1f} %", enough == len(reached)


def claim_of_largest_m(results: list[Row]) -> Claim:
    states = Counter(
        row["state"]
        for row in results
        if (row["model"], row["stage"], row["M"]) == ("qwen2.5-7b", Stage.PREFILL, str(LARGEST_M))
    )
    seen = ", ".join(f"{count} {state}" for state, count in states.items()) or MISSING
    asked = f"Qwen2.5-7B at M = {LARGEST_M} passes with every backend and sparsity"
    return Claim(asked, seen, set(states) == {CellState.PASSED})


def page(claims: list[Claim]) -> str:
    lines = [
        "# The GEMM backends on an H200",
        "",
        "Measured by `scripts/backend_evidence.py`, put together by `scripts/collect_evidence.py`.",
        "",
        "| asked | measured | met | where |",
        "|:--|:--|:--|:--|",
        *(claim.line() for claim in claims),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
