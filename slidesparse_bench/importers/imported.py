"""What an importer found, in our words, before it is a run: cells, attempts, numbers, doubts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slidesparse_bench.backends import DeviceFacts
from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.wire import Metrics, ObservedM

COPIED_BYTES = 1 << 20
_AGREE = 1e-3
"""Relative difference up to which a rate is the quotient that it claims to be."""


@dataclass(frozen=True)
class Excerpt:
    """A part of a foreign file: bytes from `begin` up to `end`, the first of them on `line`."""

    file: Path
    begin: int
    end: int
    line: int

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, in bounded pieces; fewer when the file has become shorter."""
        left = self.end - self.begin
        with self.file.open("rb") as stream:
            stream.seek(self.begin)
            while left > 0 and (block := stream.read(min(left, COPIED_BYTES))):
                left -= len(block)
                yield block

    @classmethod
    def whole(cls, file: Path) -> Excerpt:
        return cls(file, 0, file.stat().st_size, 1)


@dataclass(frozen=True)
class Lengths:
    """Tokens of one request, and how many requests run at once."""

    prompt_len: int
    output_len: int
    max_num_seqs: int

    @classmethod
    def of(cls, cell: Cell) -> Lengths:
        """Those of the public method, which is ours as well."""
        work = cell.workload
        return cls(work.prompt_len, work.output_len, work.max_num_seqs)


@dataclass(frozen=True)
class Numbers:
    """The five numbers of `vllm bench throughput --output-json`; tokens are prompt and output."""

    elapsed_time: float
    num_requests: int
    total_num_tokens: int
    requests_per_second: float
    tokens_per_second: float

    @property
    def problem(self) -> str:
        """Why these are no result (a dry run writes zeros), "" when they are one."""
        for name, value in vars(self).items():
            if not math.isfinite(value) or value <= 0:
                return f"{name} is {value:g}, which no measurement gives"
        return ""

    def rates_problem(self, decimals: int = 17) -> str:
        """Which rate contradicts the counts and the time, "" when both follow from them.

        `decimals` are those to which the rates were written.
        """
        rounding = 0.51 * 10.0**-decimals
        for count, rate in (
            ("num_requests", "requests_per_second"),
            ("total_num_tokens", "tokens_per_second"),
        ):
            expected, found = getattr(self, count) / self.elapsed_time, getattr(self, rate)
            if not math.isclose(found, expected, rel_tol=_AGREE, abs_tol=rounding):
                return (
                    f"{rate} is {found:g}, but {count} {getattr(self, count)} in elapsed_time "
                    f"{self.elapsed_time:g} s are {expected:g}"
                )
        return ""

    def lengths_problem(self, lengths: Lengths) -> str:
        """Why requests of these lengths cannot have run, "" when the tokens add up."""
        expected = self.num_requests * (lengths.prompt_len + lengths.output_len)
        if self.total_num_tokens == expected:
            return ""
        return (
            f"total_num_tokens is {self.total_num_tokens}, but {self.num_requests} requests of "
            f"{lengths.prompt_len} + {lengths.output_len} tokens are {expected}"
        )

    def metrics(self, cell: Cell, lengths: Lengths) -> Metrics:
        """As metrics of the cell.

        `vllm bench` times requests, not steps: no step times, no M, no kernel, no interval. Its
        output rate of a decode cell includes the prefill, ours does not: left out.
        """
        per_request = self.num_requests / self.elapsed_time
        is_prefill = cell.stage is Stage.PREFILL
        return Metrics(
            **vars(self),
            prompt_tokens_per_second=per_request * lengths.prompt_len if is_prefill else None,
            output_tokens_per_second=per_request * lengths.output_len if is_prefill else None,
            step_time_ms=None,
            iterations=max(1, self.num_requests // lengths.max_num_seqs),
            m_requested=cell.m,
            m_observed=ObservedM(0, 0, 0),
            kernel="",
            precision_reached=False,
            warmup_iterations=0,
        )


@dataclass(frozen=True)
class ImportedAttempt:
    """One try, as far as foreign files tell of it.

    `started` and `ended` are ISO 8601 without a zone when the file names none, "" and None when
    it names no time. `outcome` is `passed`, `failed` or `interrupted`. `invalid` says why numbers
    that are there must not count. `excerpts` are copied into `worker.log`, one after the other.
    """

    outcome: str
    engine_args: dict[str, Any]
    excerpts: tuple[Excerpt, ...] = ()
    numbers: Numbers | None = None
    lengths: Lengths | None = None
    invalid: str = ""
    started: str = ""
    ended: str | None = None
    duration_s: float | None = None
    exit_code: int | None = None
    gpu_index: int | None = None
    sources: tuple[str, ...] = ()


@dataclass
class ImportedCell:
    """A cell with its attempts, oldest first; `refusal` are the lines that say why it has none."""

    cell: Cell
    attempts: list[ImportedAttempt] = field(default_factory=list)
    refusal: tuple[str, ...] = ()
    refusal_source: str = ""


@dataclass
class ImportedRun:
    """Everything that becomes one run.

    `gpu_indices` are those of the attempts, on cards of one kind; `facts` are what the files say of the
    machine, `unknown` what they do not say, each with its reason; `warnings` are doubts about
    single files. Records name files relative to `root`.
    """

    name: str
    format: str
    source: str
    device: DeviceFacts | None
    gpu_indices: list[int]
    cells: list[ImportedCell]
    root: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def relative(self, file: Path) -> str:
        """A foreign file as records name it: no path of one machine."""
        return file.name if self.root is None else file.relative_to(self.root).as_posix()

    @property
    def span(self) -> tuple[str, str]:
        """The first and the last time that any attempt names, "" where none names one."""
        attempts = [attempt for each in self.cells for attempt in each.attempts]
        times = [t for each in attempts for t in (each.started, each.ended or "") if t]
        return min(times, default=""), max(times, default="")
