"""Score the classifier against the labelled logs of `tests/labelled`.

    python scripts/score_classifier.py [--half tune|held|all] [--confusion]

Prints how many logs got their class and their root-cause line, per class and in total. A miss is
shown with its text for the tune half only: of the held half nothing but numbers and class names
is printed, so that nobody tunes on it. `tests/labelled/README.md` says what the labels mean.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slidesparse_bench.failures import CLASSES, classify, classify_log_file

LABELLED = Path(__file__).parents[1] / "tests" / "labelled"
TUNE, HELD, ALL = "tune", "held", "all"
SPLIT_SEED = 81
"""The smallest seed that leaves every class at least two logs on either side and the halves equal
within two; it was chosen on the file names, before anything was classified."""

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Example:
    """One labelled log. `root_causes` are equally right lines; none where there is no cause.

    `side` is the half it was collected for; None where its name decides.
    """

    failure_class: str
    path: Path
    sources: tuple[str, ...]
    root_causes: tuple[str, ...]
    exit_code: int | None
    signal: str | None
    side: str | None

    @property
    def half(self) -> str:
        """The side it is on: `tune` or `held`."""
        return self.side or half_of(f"{self.failure_class}/{self.path.name}")


@dataclass(frozen=True)
class Judged:
    """What the classifier says of one example; `line_right` is None without a labelled line."""

    example: Example
    failure_class: str
    root_cause: str
    class_right: bool
    line_right: bool | None


def half_of(name: str) -> str:
    """`tune` or `held`, by the name `<class>/<file>` alone: a log never changes sides."""
    digest = hashlib.sha256(f"{SPLIT_SEED}:{name}".encode()).digest()
    return TUNE if digest[0] % 2 == 0 else HELD


def load_examples(folder: Path = LABELLED) -> list[Example]:
    """All of `labels.yaml`, in its order."""
    labels = yaml.safe_load((folder / "labels.yaml").read_text(encoding="utf-8"))
    return [
        Example(
            failure_class=failure_class,
            path=folder / failure_class / entry["file"],
            sources=_several(entry["source"]),
            root_causes=_several(entry.get("root_cause")),
            exit_code=entry.get("exit_code"),
            signal=entry.get("signal"),
            side=entry.get("half"),
        )
        for failure_class, entries in labels.items()
        for entry in entries
    ]


def _several(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def judge(example: Example) -> Judged:
    """Classify one log: as `slidesparse classify LOG` does, unless the label tells the ending."""
    if example.exit_code is None and example.signal is None:
        entry = classify_log_file(example.path)
        failure_class, root_cause = entry["class"], entry["root_cause"]
    else:
        failure = classify(example.path, exit_code=example.exit_code, signal=example.signal)
        failure_class, root_cause = failure.failure_class, failure.root_cause
    return Judged(
        example=example,
        failure_class=failure_class,
        root_cause=root_cause,
        class_right=failure_class == example.failure_class,
        line_right=is_line(root_cause, example.root_causes) if example.root_causes else None,
    )


def is_line(line: str, root_causes: Iterable[str]) -> bool:
    """Whether a line of a log is one of these: it ends with one, after its prefixes."""
    return plain(line).endswith(tuple(root_causes))


def plain(line: str) -> str:
    """Without colours, and without what a terminal's table leaves at the end of a line."""
    return _COLOUR.sub("", line).rstrip(" \t│")


def accuracy(judged: Iterable[Judged]) -> tuple[float, float]:
    """Shares of right classes and of right lines, 0 to 1."""
    judged = list(judged)
    lines = [each.line_right for each in judged if each.line_right is not None]
    return (
        sum(each.class_right for each in judged) / max(1, len(judged)),
        sum(lines) / max(1, len(lines)),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--half", choices=(TUNE, HELD, ALL), default=TUNE)
    parser.add_argument("--confusion", action="store_true", help="print what was taken for what")
    arguments = parser.parse_args()
    chosen = [each for each in load_examples() if arguments.half in (each.half, ALL)]
    judged = [judge(example) for example in chosen]
    _print_classes(judged)
    if arguments.confusion:
        _print_confusion(judged)
    _print_misses([each for each in judged if each.example.half == TUNE])
    for half in (TUNE, HELD):
        part = [each for each in judged if each.example.half == half]
        if part:
            right, lines = accuracy(part)
            print(f"{half}: {len(part)} logs, class {right:.1%}, root-cause line {lines:.1%}")
    return 0


def _print_classes(judged: list[Judged]) -> None:
    print(f"{'class':24}{'logs':>6}{'class right':>13}{'line right':>12}")
    for name in CLASSES:
        part = [each for each in judged if each.example.failure_class == name]
        lines = [each.line_right for each in part if each.line_right is not None]
        right = sum(each.class_right for each in part)
        of_lines = f"{sum(lines)}/{len(lines)}" if lines else "-"
        print(f"{name:24}{len(part):6}{right:13}{of_lines:>12}")
    print()


def _print_confusion(judged: list[Judged]) -> None:
    taken = Counter(
        (each.example.failure_class, each.failure_class) for each in judged if not each.class_right
    )
    print(f"{'labelled':24}{'taken for':24}{'logs':>6}")
    for (label, found), count in sorted(taken.items()):
        print(f"{label:24}{found:24}{count:6}")
    print()


def _print_misses(judged: list[Judged]) -> None:
    for each in judged:
        if each.class_right and each.line_right is not False:
            continue
        name = f"{each.example.failure_class}/{each.example.path.name}"
        print(f"{name}: {each.failure_class}")
        print(f"    found     {plain(each.root_cause)[:300]}")
        for root_cause in each.example.root_causes:
            print(f"    labelled  {root_cause[:300]}")
        print()


if __name__ == "__main__":
    sys.exit(main())
