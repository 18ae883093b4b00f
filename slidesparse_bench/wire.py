"""What passes between the campaign and a worker, and how: files, written atomically.

`request.json` goes in, `phases.jsonl` grows while the worker runs, `result.json` comes out.
Nothing travels over pipes: a pipe stays open as long as any orphaned engine process holds it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import os
import threading
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.errors import FormatError, NewerFormat
from slidesparse_bench.settings import Measurement

SCHEMA_VERSION = 2
"""Of request.json, result.json, plan.json, environment.json, status.json and journal.jsonl.

1: the first.
2: a request may hold several cells; an attempt carries its own metrics, its trial and the engine
it shared; rounds have a time of day; a plan has engine groups. Version 1 is read as one trial of
cells in processes of their own.
"""

REQUEST, RESULT, LOG, PHASES = "request.json", "result.json", "worker.log", "phases.jsonl"
HOST = "host.csv"
"""Files of an attempt's folder, or of the folder of an engine that several attempts share."""
ATTEMPT, TELEMETRY = "attempt.json", "telemetry.csv"
"""Files of an attempt's folder that the campaign writes."""
SOURCE, REFUSAL = "source.json", "skipped.log"
"""Files of an imported run: in an attempt's folder where it comes from, in a cell's why it has none."""

MEASURES = "slidesparse measures"
"""How the line of a worker's log begins with which it turns to a cell."""

CAMPAIGN_VARIABLE = "SLIDESPARSE_CAMPAIGN"
"""Environment variable with the pid of the campaign, without which a worker has no purpose."""

ATTEMPT_VARIABLE = "SLIDESPARSE_ATTEMPT"
"""Environment variable that marks every process of an attempt, and so proves ownership."""

GEMM_VARIABLE = "SLIDESPARSE_GEMM"
"""Environment variable with the backend label whose kernels the plugin registers."""

RANDOM_LOAD_FORMAT = "slidesparse_random"
"""vLLM `load_format` of our plugin: every weight random, none of them zero."""


class Phase(enum.StrEnum):
    """Where an attempt is; written by the worker before the work of that phase begins."""

    START = "start"
    IMPORT = "import_engine"
    START_ENGINE = "start_engine"
    LOAD_WEIGHTS = "load_weights"
    PROFILE = "profile_memory"
    CAPTURE = "capture_graphs"
    WARM_UP = "warm_up"
    MEASURE = "measure"
    VERIFY = "verify"
    PROFILE_STEPS = "profile_steps"
    DONE = "done"


@dataclass(frozen=True)
class CellRequest:
    """One cell that an engine is to measure.

    `folder` is where its result goes, relative to the request's own folder. `max_num_seqs` and
    `max_num_batched_tokens` are the limits of this cell, at most those that the engine is started
    with.
    """

    cell_id: str
    attempt: int
    folder: str
    max_num_seqs: int
    max_num_batched_tokens: int
    measurement: Measurement


@dataclass(frozen=True)
class Request:
    """Everything one worker needs to know: an engine, and the cells it measures one by one.

    `model_path` holds a `config.json`. `engine_args` are vLLM's, with the largest limits of all
    cells. `own_gemm` is the backend label, such as `cusparselt-2_8`, of kernels that our plugin
    brings. The first failure ends the worker; what was measured before it stays.
    """

    cells: list[CellRequest]
    engine: str
    device_kind: str
    model_path: str
    random_weights: bool
    engine_args: dict[str, Any]
    linear_backend: str | None
    kernel_pattern: str
    seed: int
    own_gemm: str | None = None
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Spread:
    """A distribution of step times, in ms; no interval below three steps."""

    mean: float
    median: float
    p05: float
    p95: float
    ci95_half_width: float | None


@dataclass(frozen=True)
class ObservedM:
    """Tokens per measured step: smallest, largest, and how many steps were checked."""

    min: int
    max: int
    steps: int


@dataclass(frozen=True)
class Metrics:
    """The numbers of one passed cell; names and units as in vLLM and `docs/metrics.md`.

    `tokens_per_second` counts prompt and output tokens, as vLLM does, over `elapsed_time`, the time
    of the counted engine steps; `output_tokens_per_second` of a decode cell covers its pure decode
    steps only. `warmup_iterations` are those that ran before the counted ones; `warmup_steady`:
    whether their times had settled by then. None means not measured; `step_time_ms` is None of an
    imported result, which times no steps. `precision` is the relative half width that was asked
    for; `outlier_steps` counts steps far from the others, which are all kept; `slow_rounds` counts
    rounds of which a part or all was run again, because the host's CPU was slow; `ended_early`: it
    stayed slow, and no more was measured; `disturbed` says what else the device was doing. `emulated`: the kernels were imitated on a device that has none,
    and the speed says nothing of them. `trials` above 1: the numbers of several attempts, see `trials`.
    """

    elapsed_time: float
    num_requests: int
    total_num_tokens: int
    requests_per_second: float
    tokens_per_second: float
    prompt_tokens_per_second: float | None
    output_tokens_per_second: float | None
    step_time_ms: Spread | None
    iterations: int
    m_requested: int
    m_observed: ObservedM
    kernel: str
    precision_reached: bool
    warmup_iterations: int
    model_memory_gib: float | None = None
    kv_cache_gib: float | None = None
    peak_memory_gib: float | None = None
    load_time_s: float | None = None
    power_w_mean: float | None = None
    sm_clock_mhz_mean: float | None = None
    temperature_c_max: float | None = None
    throttled: list[str] | None = None
    energy_j: float | None = None
    tokens_per_joule: float | None = None
    achieved_tflops: float | None = None
    achieved_tb_per_second: float | None = None
    roofline_fraction: float | None = None
    roofline_bound: str | None = None
    precision: float | None = None
    outlier_steps: int | None = None
    host_slowdown: float | None = None
    host_wait_share: float | None = None
    slow_rounds: int = 0
    warmup_steady: bool | None = None
    ended_early: bool = False
    disturbed: list[str] = field(default_factory=list)
    trials: int = 1
    emulated: bool = False


@dataclass(frozen=True)
class Step:
    """One engine step, as the scheduler saw it.

    `tokens` and `requests` are what was scheduled; `time_ms` runs from the end of the step before
    it (in the same round) to its own end, so the sum over a round is the time the engine was busy.
    `waited_ms` is how much of it the engine's thread had nothing to do but wait for the device; None
    where that cannot be told. `loop_ms` is what a fixed piece of Python took that thread in it, to see
    how fast the host is; None in most steps, and where nobody looks.
    """

    tokens: int
    requests: int
    time_ms: float
    waited_ms: float | None = None
    loop_ms: float | None = None


@dataclass(frozen=True)
class Round:
    """One generate call, or a part of one: `lead` iterations that are not counted, then `iterations`.

    All requests of a call were queued before the first step. The lead-in bridges what a pause does to a
    device: on an H200 at its power limit the first second after one is 2 to 3 % faster.
    `elapsed_s` is the wall-clock of the call, queueing included; `began` is when it began, in
    seconds since the epoch (0: not recorded); `steps` and the request and token counts include the
    lead-in. `host_slowdown` is how many times longer than at its best the host took for a fixed
    piece of work during the counted part (`Step.loop_ms`).
    """

    iterations: int
    elapsed_s: float
    num_requests: int
    prompt_tokens: int
    output_tokens: int
    steps: list[Step]
    began: float = 0.0
    lead: int = 0
    host_slowdown: float | None = None

    @property
    def counted_steps(self) -> list[Step]:
        """The steps after the lead-in."""
        return self.steps[len(self.steps) * self.lead // (self.lead + self.iterations) :]

    @property
    def counted_s(self) -> float:
        """From the end of the last step of the lead-in to the end of the last step, in seconds."""
        return sum(step.time_ms for step in self.counted_steps) / 1e3

    @property
    def span(self) -> tuple[float, float]:
        """When the counted part began and ended, in seconds since the epoch."""
        ended = self.began + self.elapsed_s
        return ended - self.counted_s, ended


@dataclass(frozen=True)
class WorkerError:
    """How the worker itself saw its failure. `failure_class` is set when it proved the cause."""

    phase: str
    type: str
    message: str
    failure_class: str | None = None


@dataclass(frozen=True)
class Result:
    """What a worker leaves behind.

    `rounds` are the raw measurements behind `metrics`; `provenance` says what ran: versions,
    effective engine configuration, kernel classes.
    """

    cell_id: str
    attempt: int
    ok: bool
    metrics: Metrics | None = None
    error: WorkerError | None = None
    rounds: list[Round] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class PeakRate:
    """The best of one kind of work: `value` in the unit of its name, `how` it was reached."""

    value: float
    how: str


@dataclass(frozen=True)
class PeakRates:
    """What `worker.peak_rates` measured on one device; names as in `roofline.Peaks`.

    `failed` says, by the same names, which way to a rate failed and why; others may have worked.
    """

    device_kind: str
    device_name: str
    torch: str
    rates: dict[str, PeakRate]
    failed: dict[str, str]
    schema_version: int = SCHEMA_VERSION


def encode(value: Any) -> Any:
    """A dataclass tree as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Sparsity):
            return str(value)
        return {_key(f): encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def _key(declared: dataclasses.Field[Any]) -> str:
    """Its JSON key; fields such as `class`, which is no Python name, carry it as metadata."""
    return str(declared.metadata.get("json_key", declared.name))


T = typing.TypeVar("T")


def decode(kind: type[T], data: Any) -> T:
    """Rebuild a dataclass tree from `encode`'s output; unknown keys are ignored.

    Raises:
        FormatError: a key is missing or of the wrong shape.
    """
    try:
        return typing.cast("T", _decode(kind, data))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"not a valid {kind.__name__}: {error!r}") from error


def _decode(kind: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        present = [argument for argument in arguments if argument is not type(None)]
        return None if data is None else _decode(present[0], data)
    if origin is list:
        return [_decode(arguments[0], item) for item in data]
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in data)
    if origin is dict:
        return {key: _decode(arguments[1], item) for key, item in data.items()}
    if kind is Sparsity:
        return Sparsity.parse(data)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {_key(f): f.name for f in dataclasses.fields(kind)}
        values = {
            known[key]: _decode(hints[known[key]], item)
            for key, item in data.items()
            if key in known
        }
        return typing.cast("Any", kind)(**values)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    if kind is float and isinstance(data, int):
        return float(data)
    if kind in (int, float, str, bool) and not isinstance(data, kind):
        raise TypeError(f"{data!r} is not a {kind.__name__}")
    return data


def write_json(path: Path, value: Any, *, durable: bool = True, replace: bool = True) -> None:
    """Write beside, fsync, rename, fsync the folder: a reader never sees half a file.

    `durable=False` leaves the two fsyncs out, for thousands of files with one `os.sync()` after.

    Raises:
        FileExistsError: it is there, and `replace` is False. On file systems without hard links it is
            replaced all the same.
    """
    text = json.dumps(encode(value), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", durable=durable, replace=replace)


def write_text(path: Path, text: str, *, durable: bool = True, replace: bool = True) -> None:
    """The same for any text; of a path that is not UTF-8 it has escapes, which JSON reads back."""
    # Two lanes are two threads, and may write the same file at once.
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with beside.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        (_rename if replace else _rename_if_new)(beside, path)
    except BaseException:  # a full disk, most of all: half a file takes what little is left
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def _rename(beside: Path, path: Path) -> None:
    beside.replace(path)


def _rename_if_new(beside: Path, path: Path) -> None:
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:
        beside.replace(path)
    else:
        beside.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Read a JSON file of ours and check its version.

    Raises:
        FormatError: unreadable, not JSON, or not ours.
        NewerFormat: of a newer version than this program knows.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise FormatError(f"{path}: has no schema_version; it is not a file of slidesparse-bench")
    check_version(path, version)
    return data


def check_version(path: Path, version: int) -> None:
    """Refuse a file whose `schema_version` this program does not know yet.

    Raises:
        NewerFormat: says what to do.
    """
    if version > SCHEMA_VERSION:
        raise NewerFormat(
            f"{path}: written by a newer slidesparse-bench (schema_version {version}, this one "
            f"reads up to {SCHEMA_VERSION}); upgrade slidesparse-bench"
        )


def last_phase(path: Path) -> str | None:
    """The last phase that a worker wrote to its `phases.jsonl`; None before the first."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(line)["phase"])
    return None
