"""JSON files of `vllm bench throughput`, `latency` and `serve` as an `ImportedRun`.

Keys as in vLLM 0.32, `vllm/benchmarks/{throughput,latency,serve}.py`. No such file says which cell
it is of: what it lacks the user has to state, and what it has must agree with that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from slidesparse_bench.backends import BACKENDS, DeviceFacts, DeviceKind
from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage, m_is_possible
from slidesparse_bench.errors import UsageError
from slidesparse_bench.importers.imported import (
    Excerpt,
    ImportedAttempt,
    ImportedCell,
    ImportedRun,
    Lengths,
    Numbers,
)
from slidesparse_bench.importers.tree_results import is_number, numbers_of, read_object, shown
from slidesparse_bench.known_devices import find_device
from slidesparse_bench.models import BUILTIN_NAMES

FORMAT = "vllm-bench"
_M_IN_NAME = re.compile(r"(?:^|[._-])[Mm](?P<m>\d{1,8})(?=[._-]|$)")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Claims:
    """What the user states of the files, None or empty where nothing is stated.

    `ms` holds one M for all files, or one per file. The lengths are tokens of a request and
    requests at a time; they are only needed for `latency`, whose files do not tell them.
    """

    model: str | None = None
    quantization: str | None = None
    backend: str | None = None
    sparsity: str | None = None
    stage: str | None = None
    ms: tuple[int, ...] = ()
    gpu: str | None = None
    input_len: int | None = None
    output_len: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class _Measured:
    """What a file says: numbers, and how long it took; `ended` is ISO 8601 or ""."""

    kind: str
    numbers: Numbers
    ended: str = ""
    duration_s: float | None = None


def read_bench(files: Sequence[Path], claims: Claims) -> ImportedRun:
    """Read the files; several of one cell are several attempts at it, in the order given.

    Raises:
        UsageError: a file that is none of these, that contradicts the claims, or a claim that is
            missing; one line for each file that is wrong.
    """
    if len(claims.ms) not in (0, 1, len(files)):
        raise UsageError(
            f"--m was given {len(claims.ms)} times for {len(files)} files; give it once for all of "
            "them, or once for each in their order"
        )
    cells: dict[Cell, ImportedCell] = {}
    wrong: list[str] = []
    for place, path in enumerate(files):
        try:
            cell, attempt = _read(path, claims, place)
        except (UsageError, ValueError) as error:
            wrong.append(f"{path}: {error}")
            continue
        cells.setdefault(cell, ImportedCell(cell)).attempts.append(attempt)
    if wrong:
        raise UsageError("\n".join(wrong))
    return ImportedRun(
        name=FORMAT,
        format=FORMAT,
        source=", ".join(path.name for path in files),
        device=_device(claims.gpu),
        gpu_indices=[],
        cells=list(cells.values()),
        unknown=_unknown(claims),
    )


def _read(path: Path, claims: Claims, place: int) -> tuple[Cell, ImportedAttempt]:
    data = read_object(path)
    cell = _cell(path, data, claims, place)
    method = Lengths.of(cell)
    measured = _measured(data, claims, method, cell)
    numbers = measured.numbers
    problem = numbers.problem or numbers.lengths_problem(method) or numbers.rates_problem()
    if problem:
        raise ValueError(f"{problem}; {_method(cell, method)}")
    return cell, ImportedAttempt(
        outcome="passed",
        engine_args={},
        excerpts=(Excerpt.whole(path),),
        numbers=numbers,
        lengths=method,
        started=_started(measured),
        ended=measured.ended or None,
        duration_s=measured.duration_s,
        sources=(f"{path.name} (vllm bench {measured.kind})",),
    )


def _cell(path: Path, data: dict[str, Any], claims: Claims, place: int) -> Cell:
    backend = _one_of("--backend", claims.backend, list(BACKENDS))
    # A ValueError here lists the sparsities there are.
    sparsity = Sparsity.parse(claims.sparsity) if claims.sparsity else None
    needs = BACKENDS[backend].needs_sparsity
    if needs != (sparsity is not None):
        rule = "needs --sparsity 2:4, 2:6, 2:8 ..." if needs else "is dense: leave --sparsity out"
        raise UsageError(f"backend {backend} {rule}")
    stage = Stage(_one_of("--stage", claims.stage, list(Stage)))
    m = _m(path, claims, place)
    possible, reason = m_is_possible(stage, m)
    if not possible:
        raise UsageError(reason)
    quantization = Quantization(_one_of("--quantization", claims.quantization, list(Quantization)))
    return Cell(_model(data, claims), quantization, backend, sparsity, stage, m)


def _one_of(option: str, value: str | None, allowed: Sequence[str]) -> str:
    names = ", ".join(allowed)
    if value is None:
        raise UsageError(f"does not say its {option[2:]}; state it with {option}: one of {names}")
    if value not in allowed:
        raise UsageError(f"{option} '{value}' is not one of {names}")
    return value


def _m(path: Path, claims: Claims, place: int) -> int:
    if claims.ms:
        return claims.ms[place if len(claims.ms) > 1 else 0]
    match = _M_IN_NAME.search(path.stem)
    if match is None:
        raise UsageError(
            "does not say its M; state it with --m (once, or once per file), or name the file "
            "like x_M4096.json"
        )
    return int(match["m"])


def _model(data: dict[str, Any], claims: Claims) -> str:
    """The stated name, else that of the catalog whose letters stand in the file's `model_id`."""
    stated = (claims.model or "").lower()
    if stated and _NAME.fullmatch(stated):
        return stated
    letters = _letters(str(data.get("model_id") or ""))
    # The longest: tiny names may stand in longer ones.
    found = [name for name in BUILTIN_NAMES if _letters(name) in letters]
    if stated or not found:
        what = f"--model '{claims.model}'" if stated else f"model_id {data.get('model_id')!r}"
        raise UsageError(
            f"{what} names no model for a cell id; state one with --model: lower-case letters, "
            f"digits, '.', '_' and '-'; built in are {', '.join(BUILTIN_NAMES)}"
        )
    return max(found, key=len)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())


def _measured(data: dict[str, Any], claims: Claims, method: Lengths, cell: Cell) -> _Measured:
    if "latencies" in data and "avg_latency" in data:
        return _of_latency(data, claims, method, cell)
    if "completed" in data and "total_input_tokens" in data:
        return _of_serve(data)
    if "total_num_tokens" in data:
        return _Measured("throughput", numbers_of(data))
    raise ValueError(
        "is no result of vllm bench: throughput files have total_num_tokens, latency files "
        "avg_latency and latencies, serve files completed and total_input_tokens"
    )


def _of_latency(data: dict[str, Any], claims: Claims, method: Lengths, cell: Cell) -> _Measured:
    """Each latency is one `generate` call with the whole batch."""
    stated = (claims.input_len, claims.output_len, claims.batch_size)
    if None in stated:
        raise UsageError(
            "a latency file does not say its lengths; state --input-len, --output-len and "
            f"--batch-size; {_method(cell, method)}"
        )
    if stated != (method.prompt_len, method.output_len, method.max_num_seqs):
        given = "--input-len {}, --output-len {}, --batch-size {}".format(*stated)
        raise UsageError(f"{given} is another load: {_method(cell, method)}")
    latencies = _latencies(data["latencies"])
    elapsed = sum(latencies)
    requests = len(latencies) * method.max_num_seqs
    tokens = requests * (method.prompt_len + method.output_len)
    numbers = Numbers(elapsed, requests, tokens, requests / elapsed, tokens / elapsed)
    return _Measured("latency", numbers, duration_s=elapsed)


def _latencies(found: Any) -> list[float]:
    """Seconds of each batch.

    Raises:
        ValueError: no list of numbers above 0; says which entry is none.
    """
    if not isinstance(found, list) or not found:
        raise ValueError(f"latencies is {shown(found)}; expected a list of seconds above 0")
    for place, value in enumerate(found):
        if not is_number(value) or value <= 0:
            raise ValueError(f"latencies[{place}] is {shown(value)}; expected seconds above 0")
    return [float(value) for value in found]


def _of_serve(data: dict[str, Any]) -> _Measured:
    names = (
        "duration", "completed", "total_input_tokens", "total_output_tokens", "request_throughput",
    )  # fmt: skip
    missing = [name for name in names if not is_number(data.get(name))]
    if missing:
        raise ValueError(f"has no number under {', '.join(missing)}")
    failed = _optional(data, "failed")
    if failed:
        raise ValueError(
            f"{failed:g} of {failed + data['completed']:g} requests failed, so its rates are of a "
            "smaller load than M; measure it again"
        )
    tokens = int(data["total_input_tokens"]) + int(data["total_output_tokens"])
    duration = float(data["duration"])
    rate = _optional(data, "total_token_throughput") or (tokens / duration if duration else 0.0)
    requests_rate = float(data["request_throughput"])
    numbers = Numbers(duration, int(data["completed"]), tokens, requests_rate, rate)
    return _Measured("serve", numbers, _moment(data.get("date")), duration)


def _optional(data: dict[str, Any], name: str) -> float:
    """A number that older versions did not write: then 0.

    Raises:
        ValueError: it is there and no number.
    """
    value = data.get(name)
    if value is None:
        return 0.0
    if not is_number(value):
        raise ValueError(f"{name} is {shown(value)}; expected a number")
    return float(value)


def _moment(text: Any) -> str:
    """serve's `date`: local time when the benchmark ended, as `20260301-100000`."""
    try:
        return datetime.strptime(str(text), "%Y%m%d-%H%M%S").isoformat()  # noqa: DTZ007 - no zone
    except ValueError:
        return ""


def _started(measured: _Measured) -> str:
    if not measured.ended or measured.duration_s is None:
        return ""
    ended = datetime.fromisoformat(measured.ended)
    try:
        return (ended - timedelta(seconds=measured.duration_s)).isoformat(timespec="seconds")
    except OverflowError:
        return ""


def _method(cell: Cell, lengths: Lengths) -> str:
    return (
        f"a {cell.stage} cell of M = {cell.m} is requests of {lengths.prompt_len} + "
        f"{lengths.output_len} tokens, {lengths.max_num_seqs} at a time"
    )


def _device(gpu: str | None) -> DeviceFacts | None:
    if gpu is None:
        return None
    try:
        return find_device(gpu)
    except UsageError:
        return DeviceFacts(DeviceKind.CUDA, gpu, 0)


def _unknown(claims: Claims) -> dict[str, str]:
    no_file = "files of vllm bench do not name it"
    stated = "as stated on the command line; the files do not say it"
    names = ("quantization", "backend", "stage")
    unknown = {name: stated for name in names if getattr(claims, name)}
    unknown["GPU"] = stated if claims.gpu else no_file
    return unknown | {
        "versions, driver, CPU, operating system": no_file,
        "engine arguments": no_file,
        "failed attempts": "a failed vllm bench writes no file",
        "M of the engine steps": "vllm bench does not record steps",
        "kernel that ran": "vllm bench does not record it",
        "step times and their interval": "vllm bench times requests, not steps",
        "output_tokens_per_second in decode": "ours counts pure decode steps, which nobody timed",
    }
