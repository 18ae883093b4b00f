"""The numbers of a SlideSparse tree: one JSON file per cell that worked, partial CSV files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.importers.imported import Excerpt, Lengths, Numbers
from slidesparse_bench.importers.tree_names import ResultFolder
from slidesparse_bench.report.markdown import shortened

LARGEST_RESULT_BYTES = 1 << 24
_JSON_NAME = re.compile(r"(?P<stem>.+)_M(?P<m>\d{1,8})\.json")
_NUMBER = int | float
_SHOWN = 40


@dataclass(frozen=True)
class Stored:
    """What a file says of a cell: numbers, or None where it says that the cell failed."""

    cell: Cell
    file: Path
    numbers: Numbers | None
    excerpt: Excerpt | None = None


def read_numbers(path: Path) -> Numbers:
    """The five numbers of a JSON file of `vllm bench throughput`.

    Raises:
        ValueError: it cannot be read, or they are not all there, or are no result.
    """
    data = read_object(path)
    return numbers_of(data)


def read_object(path: Path) -> dict[str, Any]:
    """A foreign JSON object.

    Raises:
        ValueError: it cannot be read, is truncated, too large, or no object.
    """
    try:
        if path.stat().st_size > LARGEST_RESULT_BYTES:
            raise ValueError(f"larger than {LARGEST_RESULT_BYTES >> 20} MiB, so no result file")
        data = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON, perhaps truncated: {error}") from error
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - callers handle one kind of error
    return data


def numbers_of(data: dict[str, Any]) -> Numbers:
    """The same of a JSON object.

    Raises:
        ValueError: a key is missing or no number, or the numbers are no result.
    """
    names = list(Numbers.__dataclass_fields__)
    missing = [name for name in names if not is_number(data.get(name))]
    if missing:
        raise ValueError(f"has no number under {', '.join(missing)}")
    numbers = Numbers(
        elapsed_time=float(data["elapsed_time"]),
        num_requests=int(data["num_requests"]),
        total_num_tokens=int(data["total_num_tokens"]),
        requests_per_second=float(data["requests_per_second"]),
        tokens_per_second=float(data["tokens_per_second"]),
    )
    if numbers.problem:
        raise ValueError(numbers.problem)
    return numbers


def is_number(value: Any) -> bool:
    """Whether it is a finite number of a size that counts and times have."""
    # json reads NaN and Infinity too, and int() of those raises.
    return isinstance(value, _NUMBER) and not isinstance(value, bool) and abs(value) < 1e300


def shown(value: Any) -> str:
    """A value of a JSON file as it stands there, its end left out where it is long."""
    return shortened(json.dumps(value, ensure_ascii=False), _SHOWN)


def json_results(folder: ResultFolder, warnings: list[str]) -> Iterator[Stored]:
    """The JSON results of a folder; what cannot be read is told in `warnings`."""
    for path in sorted((folder.path / "json").glob("*.json")):
        match = _JSON_NAME.fullmatch(path.name)
        if match is None:
            continue
        cell = folder.cell(match["stem"], int(match["m"]))
        try:
            yield Stored(cell, path, read_numbers(path))
        except ValueError as error:
            warnings.append(f"{path}: passed over: {error}")


def csv_results(folder: ResultFolder, warnings: list[str]) -> Iterator[Stored]:
    """The rows of the CSV files of a folder; a row of -1 is a cell that failed."""
    for path in sorted(folder.path.glob(f"*_{folder.stage}.csv")):
        stem = path.name.removesuffix(f"_{folder.stage}.csv")
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            warnings.append(f"{path}: passed over: {error.strerror or error}")
            continue
        for line, row in enumerate(csv.DictReader(text.splitlines()), start=2):
            try:
                yield _of_row(folder, stem, row, path)
            except (KeyError, TypeError, ValueError):
                warnings.append(f"{path}:{line}: passed over: not a row of their CSV files")


def _of_row(folder: ResultFolder, stem: str, row: dict[str, Any], path: Path) -> Stored:
    cell = folder.cell(stem, int(row[f"M_{folder.stage}"]))
    rates = [float(row[name]) for name in ("requests_per_s", "tokens_per_s", "elapsed_time_s")]
    if any(rate < 0 for rate in rates):
        return Stored(cell, path, None, Excerpt.whole(path))
    lengths = Lengths.of(cell)
    requests = int(row["num_prompts"])
    per_request = int(row["prompt_len"]) + int(row.get("output_len") or lengths.output_len)
    numbers = Numbers(rates[2], requests, requests * per_request, rates[0], rates[1])
    if numbers.problem:
        raise ValueError(numbers.problem)
    return Stored(cell, path, numbers)
