"""`slidesparse gemm`."""

from __future__ import annotations

import contextlib
import fcntl
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import rich.table
import typer
from rich.console import Console
from rich.text import Text

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import DEFAULT_M, Quantization, Sparsity
from slidesparse_bench.cli.doctor import refuse_busy
from slidesparse_bench.cli.execution import code_of_signal, parse_gpus, stopped_by_signals
from slidesparse_bench.cli.matrix_file import read_matrix
from slidesparse_bench.cli.output import (
    REPORTS,
    Json,
    complain,
    console,
    error_document,
    print_json,
)
from slidesparse_bench.device import Device, find_devices, machine_facts
from slidesparse_bench.errors import ExitCode, NothingToRun, SlideSparseError, UsageError
from slidesparse_bench.gemm_run import GemmRun, interrupted, with_results
from slidesparse_bench.gemm_wire import BEGUN, LINES, Row, RowState, Task
from slidesparse_bench.gemms import (
    Asked,
    GemmResult,
    asked_of_matrix,
    asked_of_options,
    plan_rows,
    select_rows,
    write_all,
)
from slidesparse_bench.gemms.tables import output_note, read_tables
from slidesparse_bench.gemms.write import EMULATED, RESULT, header_lines
from slidesparse_bench.models import BUILTIN_NAMES
from slidesparse_bench.provenance import sitting
from slidesparse_bench.report.table import Table
from slidesparse_bench.sittings import differences
from slidesparse_bench.store import now
from slidesparse_bench.wire import SCHEMA_VERSION, read_json, write_json

LARGEST = 2**24
"""Of m and square sizes: beyond it is a slip of the key."""
CPU_MEMORY_GIB = 4.0
_ALL_M = sorted({m for ms in DEFAULT_M.values() for m in ms})
_SPARSITIES = "2:4,2:6,2:8,2:10"
_ALLOWED = {
    "--model": f"give folders with config.json or built-in models ({', '.join(BUILTIN_NAMES)})",
    "--quantization": f"give any of {', '.join(Quantization)}",
    "--backend": f"give any of {', '.join(BACKENDS)}",
    "--sparsity": f"give any of {', '.join(f'2:{group}' for group in Sparsity.GROUPS)}",
    "-m": "give whole numbers",
    "--square": "give whole numbers",
}
"""What to do about an empty list."""
_STYLES = {"failed": "red", "refused": "dim", "pending": "yellow"}


def gemm(
    matrix_path: Annotated[
        Path | None, typer.Argument(metavar="[MATRIX.yaml]", help="Take all axes from a matrix.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Built-in name, or a folder with config.json; repeatable."),
    ] = None,
    quantization: Annotated[
        list[str] | None, typer.Option("--quantization", help="[default: int8,fp8]")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", help="Dense ones are always measured. [default: cusparselt]"),
    ] = None,
    sparsity: Annotated[
        list[str] | None, typer.Option("--sparsity", help=f"[default: {_SPARSITIES}]")
    ] = None,
    m: Annotated[
        list[str] | None, typer.Option("-m", help="Rows of x. [default: 64 to 65536]")
    ] = None,
    square: Annotated[
        list[str] | None, typer.Option("--square", help="Also m = n = k, e.g. 4096,8192.")
    ] = None,
    globs: Annotated[
        list[str] | None,
        typer.Option("--select", help="Glob on GEMM ids, e.g. `*.o_proj.m512`; repeatable."),
    ] = None,
    warm: Annotated[
        bool, typer.Option("--warm", help="Leave operands in the cache between calls.")
    ] = False,
    gpu: Annotated[
        str | None, typer.Option("--gpus", help="Index of the GPU [default: the first].")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the random data.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the results [default: reports/gemm-NAME-TIME]."),
    ] = None,
    json_mode: Json = False,
) -> None:
    """Measure the GEMMs of a matrix, of models or of square sizes, without an engine.

    Every linear layer (qkv, o, gate and up, down) at every M, with every backend and sparsity, next
    to cuBLASLt, CUTLASS and what torch runs by default: latency, TFLOP/s of the dense product,
    speed-up over each of them and over the best, efficiency against the theoretical L/(L-2). Every
    result is checked on fresh random data before it is timed; one that is wrong is no number.

    Lists are separated by commas. Ids are those of cells, with the layer in place of the stage.

    **Examples**

    - `slidesparse gemm matrices/h200.yaml --select '*.m16384'`
    - `slidesparse gemm --model qwen2.5-7b --quantization int8 --sparsity 2:8 -m 4096,16384`
    - `slidesparse gemm --square 4096,8192,16384 --json > gemm-square.json`

    Stopped, it goes on where it was with the same `--out`, on the same device and software.

    **Exit codes**: 0 all measured or refused with a reason, 1 some failed, or results could not be
    written, 2 bad usage or matrix, 3 nothing could run, 130/143 interrupted, what was measured is
    kept.
    """
    squares = _sizes("--square", square)
    matrix_seed = 0
    if matrix_path is not None:
        _refuse_beside_matrix(
            {
                "--model": model,
                "--quantization": quantization,
                "--backend": backend,
                "--sparsity": sparsity,
                "-m": m,
            }
        )
        matrix = read_matrix(matrix_path)
        asked, matrix_seed = asked_of_matrix(matrix, squares), matrix.seed
    else:
        asked = _asked(model, quantization, backend, sparsity, _sizes("-m", m), squares)
    device = _device(gpu)
    tasks = select_rows(asked.tasks, globs or [])
    planned = plan_rows(tasks, device.facts, asked.unsplit)
    if not any(row.state is RowState.PENDING for row in planned):
        raise NothingToRun(_why_nothing(planned, asked))
    refuse_busy(device)
    begun = GemmResult(
        name=asked.name,
        created=now(),
        seed=matrix_seed if seed is None else seed,
        cold=not warm,
        device=device.facts,
        facts=None,
        environment=sitting(machine_facts()),
        left_out=asked.left_out,
        rows=planned,
    )
    with _folder(out, begun) as folder:
        code = _measure(begun, device, folder, json_mode=json_mode)
    raise typer.Exit(code)


def _measure(begun: GemmResult, device: Device, folder: Path, *, json_mode: bool) -> ExitCode:
    """Measure what is pending, write and show everything, what cannot be written as well."""
    words = console(json_mode=json_mode)
    pending = [row.task for row in begun.rows if row.state is RowState.PENDING]
    run = GemmRun(
        device,
        folder,
        seed=begun.seed,
        cold=begun.cold,
        on_row=_Progress(words, pending),
        on_wait=partial(words.print, markup=False),
    )
    known = sum(task in run.known for task in pending)
    before = f", {known} of them measured before" if known else ""
    words.print(f"{folder}: {len(pending)} GEMMs on {device.facts.name}{before}", markup=False)
    stop = threading.Event()
    with stopped_by_signals(stop) as received:
        rows = with_results(begun.rows, run.measure(pending, stop))
    ended_early = bool(received or run.cannot_write)
    result = replace(
        begun,
        rows=interrupted(rows, run.cannot_write) if ended_early else rows,
        facts=run.facts,
        interrupted=ended_early,
    )
    files, cannot_write = _written(result, folder)
    error = _not_kept(folder, cannot_write or run.cannot_write)
    code = code_of_signal(received[0]) if received else exit_code(result, kept=error is None)
    _show(words, result, files, json_mode=json_mode)
    if error is not None:
        complain(error)
    if json_mode:
        failure = error_document(error) if error is not None else {}
        ending = {"folder": str(folder), "exit_code": int(code)}
        print_json({**result.document(), **failure, **ending})
    return code


class _NotKept(SlideSparseError):
    """Told after the results, which exist and are shown; never raised."""

    exit_code = ExitCode.SOME_FAILED


def _written(result: GemmResult, folder: Path) -> tuple[list[Path], str]:
    """The files, or why they could not all be written."""
    try:
        return write_all(result, folder), ""
    except OSError as error:
        return [], error.strerror or str(error)


def _not_kept(folder: Path, cannot_write: str) -> _NotKept | None:
    if not cannot_write:
        return None
    return _NotKept(
        f"{folder}: {cannot_write}; {folder / LINES} holds what was measured; free some space, or "
        "name another folder with --out, and measure again"
    )


def exit_code(result: GemmResult, *, kept: bool = True) -> ExitCode:
    """Of a measurement that no signal ended; `kept`: all of it was written."""
    counts = result.counts
    if counts[RowState.FAILED] or counts[RowState.PENDING]:
        return ExitCode.SOME_FAILED
    if not counts[RowState.MEASURED]:
        return ExitCode.NOTHING_RAN
    return ExitCode.OK if kept else ExitCode.SOME_FAILED


class _Progress:
    """A line for every row that is done."""

    def __init__(self, out: Console, tasks: Sequence[Task]) -> None:
        self._out, self._place = out, {task: n for n, task in enumerate(tasks, start=1)}

    def __call__(self, row: Row) -> None:
        numbers = row.numbers
        told = f"{numbers.latency_ms.median:.4g} ms" if numbers else f"{row.state}: {row.reason}"
        emulated = " (emulated)" if numbers and numbers.emulated else ""
        place = f"[{self._place[row.task]}/{len(self._place)}]"
        self._out.print(f"{place} {row.task.id} {told}{emulated}", markup=False)


def _show(out: Console, result: GemmResult, files: Sequence[Path], *, json_mode: bool) -> None:
    if not json_mode:
        for title, table in read_tables(result).items():
            out.print()
            out.print(Text(title, style="bold"))
            out.print(_rich(table))
            if note := output_note(table):
                out.print(note, markup=False)
    out.print()
    for line in header_lines(result):
        out.print(line.replace("**", ""), markup=False)
    if result.emulated:
        out.print(EMULATED, markup=False)
    if result.interrupted and files:
        out.print("What was measured is kept:", markup=False)
    for path in files:
        out.print(str(path), markup=False)


def _rich(table: Table) -> rich.table.Table:
    shown = rich.table.Table(box=None, pad_edge=False)
    for column in table.columns:
        shown.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in table.rows:
        texts = [
            "" if value is None else column.show(value)
            for column, value in zip(table.columns, row, strict=True)
        ]
        style = next((_STYLES[text] for text in texts if text in _STYLES), "")
        shown.add_row(*(Text(text, style=style) for text in texts))
    return shown


def _refuse_beside_matrix(options: dict[str, list[str] | None]) -> None:
    given = [name for name, values in options.items() if values]
    if given:
        raise UsageError(
            f"{', '.join(given)}: the axes come from the matrix; pick from them with --select, or "
            "leave the matrix out"
        )


def _asked(
    models: list[str] | None,
    quantizations: list[str] | None,
    backends: list[str] | None,
    sparsities: list[str] | None,
    ms: list[int],
    squares: list[int],
) -> Asked:
    if not models and not squares:
        raise UsageError("name a MATRIX.yaml, or --model NAME, or --square SIZES")
    if ms and not models:
        raise UsageError(
            "-m: rows of a model's layers; --square sets m = n = k; add --model or drop -m"
        )
    return asked_of_options(
        _split("--model", models),
        _split("--quantization", quantizations) or list(Quantization),
        _split("--backend", backends) or ["cusparselt"],
        _split("--sparsity", sparsities) or _SPARSITIES.split(","),
        ms or _ALL_M,
        squares,
    )


def _split(option: str, values: list[str] | None) -> list[str]:
    """`["a,b", "c"]` as a, b, c, each once; empty only where the option is not given.

    Raises:
        UsageError: a list of nothing, such as `,` or what an unset variable leaves.
    """
    parts = (part.strip() for value in values or [] for part in value.split(","))
    names = list(dict.fromkeys(filter(None, parts)))
    if values and not names:
        raise UsageError(
            f"{option} '{','.join(values)}': names nothing; {_ALLOWED[option]}, separated by commas"
        )
    return names


def _sizes(option: str, values: list[str] | None) -> list[int]:
    for part in (parts := _split(option, values)):
        if not part.isdecimal() or not 1 <= int(part) <= LARGEST:
            raise UsageError(
                f"{option} '{part}': expected whole numbers from 1 to {LARGEST}, separated by "
                "commas, such as 4096,8192"
            )
    return [int(part) for part in parts]


def _device(gpu: str | None) -> Device:
    indices = parse_gpus(gpu)
    if indices is not None and len(indices) != 1:
        raise UsageError(f"--gpus {gpu}: GEMMs are measured on one GPU; name one, such as 0")
    return find_devices("vllm", indices, CPU_MEMORY_GIB)[0]


def _why_nothing(planned: Sequence[Row], asked: Asked) -> str:
    reasons = list(dict.fromkeys(row.reason for row in planned)) or list(asked.left_out.values())
    return f"no GEMM can be measured here: {'; '.join(reasons) or 'the matrix has no cells'}"


@contextlib.contextmanager
def _folder(out: Path | None, begun: GemmResult) -> Iterator[Path]:
    """A folder that belongs to this measurement alone, or to one that it goes on with.

    Raises:
        UsageError: it has results of another one, or cannot be made.
    """
    conditions = {
        "schema_version": SCHEMA_VERSION,
        "seed": begun.seed,
        "cold": begun.cold,
        "environment": begun.environment,
    }
    with contextlib.ExitStack() as held:
        try:
            folder = _made(begun.name) if out is None else _chosen(out, held, conditions)
            write_json(folder / BEGUN, conditions)
        except OSError as error:
            raise UsageError(
                f"--out {out or error.filename}: {error.strerror or error}; name a folder that can "
                "be made"
            ) from error
        yield folder


def _chosen(out: Path, held: contextlib.ExitStack, conditions: dict[str, Any]) -> Path:
    """The folder of `--out`, locked: of two programs that were started with it, one has it."""
    out.mkdir(parents=True, exist_ok=True)
    is_new = not any(out.iterdir())
    if not is_new and not _is_unfinished(out):
        raise UsageError(
            f"--out {out}: is there and not empty; results are never overwritten: name another folder"
        )
    lines = held.enter_context((out / LINES).open("a"))
    try:
        fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"--out {out}: another process measures there; name another folder"
        ) from None
    if not is_new and (changed := _changed(read_json(out / BEGUN), conditions)):
        raise UsageError(
            f"--out {out}: what was measured there cannot be gone on with: {'; '.join(changed)}; name "
            "another folder"
        )
    return out


def _is_unfinished(folder: Path) -> bool:
    """Whether a measurement has begun there and has not come to its end."""
    if not (folder / LINES).exists() or not (folder / BEGUN).exists():
        return False
    result = folder / RESULT
    return not result.exists() or bool(read_json(result).get("interrupted"))


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What makes numbers of then and now no numbers of one measurement, in words."""
    told = [
        f"{name} {before.get(name)} -> {now[name]}"
        for name in ("seed", "cold")
        if before.get(name) != now[name]
    ]
    return told + differences(before.get("environment") or {}, now["environment"])


def _made(name: str) -> Path:
    """`reports/gemm-NAME-TIME`; the second of one second is `reports/gemm-NAME-TIME-2`."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80]
    first = REPORTS / f"gemm-{slug}-{stamp}"
    folder, number = first, 1
    while not _is_new(folder):
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def _is_new(folder: Path) -> bool:
    """Make it, unless it is there: of two programs, one has made it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def register(app: typer.Typer) -> None:
    app.command()(gemm)
