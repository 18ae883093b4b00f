"""One try at a cell as the logs of a SlideSparse tree tell of it, and what both of them tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.importers.imported import Excerpt, ImportedAttempt, Lengths, Numbers

UTILIZATION = "gpu_memory_utilization"
_RESULT = re.compile(
    r"Throughput: (?P<requests>[\d.]+) requests/s, (?P<tokens>[\d.]+) total tokens/s"
)
_COUNT = re.compile(r"Total num (?P<kind>prompt|output) tokens:\s+(?P<count>\d+)")
_ENGINE_FLAGS = ("max-num-seqs", "max-model-len", "max-num-batched-tokens")
_PRINTED_DECIMALS = 2
_STORED_DECIMALS = 4
"""Of the rates in their CSV files; the JSON files have all."""
_PRINTED_TO = 0.00501
"""vLLM prints rates with two decimals."""
_STAMP = re.compile(
    rb"\b(?:(?P<year>20\d\d)-)?(?P<month>[01]\d)-(?P<day>[0-3]\d) (?P<time>[0-2]\d:[0-5]\d:[0-5]\d)\b"
)


@dataclass
class Try:
    """A try; `flags` are those of its `vllm bench throughput`, without the dashes.

    `rates` are requests and tokens per second as printed, `counts` its prompt and output tokens.
    """

    cell: Cell
    excerpt: Excerpt
    outcome: str = "interrupted"
    started: str = ""
    flags: dict[str, str] = field(default_factory=dict)
    rates: tuple[float, float] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    duration_s: float | None = None
    exit_code: int | None = None
    gpu_index: int | None = None

    def take(self, text: str) -> None:
        """Note what a line of the child's output says of the result."""
        if match := _RESULT.match(text):
            self.rates = (float(match["requests"]), float(match["tokens"]))
        elif match := _COUNT.match(text):
            self.counts[match["kind"]] = int(match["count"])

    @property
    def engine_args(self) -> dict[str, Any]:
        """vLLM's engine arguments, by its names, as far as the log shows them."""
        shown: dict[str, Any] = {
            name.replace("-", "_"): int(self.flags[name])
            for name in _ENGINE_FLAGS
            if self.flags.get(name, "").isdecimal()
        }
        if "no-enable-chunked-prefill" in self.flags:
            shown["enable_chunked_prefill"] = False
        if self.utilization is not None:
            shown[UTILIZATION] = self.utilization
        if "enforce-eager" in self.flags:
            shown["enforce_eager"] = True
        return shown

    @property
    def utilization(self) -> float | None:
        try:
            # Their retries subtract 0.05 again and again: 0.35000000000000003 is 0.35.
            return round(float(self.flags["gpu-memory-utilization"]), 6)
        except (KeyError, ValueError):
            return None

    @property
    def lengths(self) -> Lengths:
        """Of its requests; where the log does not show them, those of the method."""
        method = Lengths.of(self.cell)
        return Lengths(
            self._flag("input-len", method.prompt_len),
            self._flag("output-len", method.output_len),
            self._flag("max-num-seqs", method.max_num_seqs),
        )

    def _flag(self, name: str, otherwise: int) -> int:
        text = self.flags.get(name, "")
        return int(text) if text.isdecimal() and int(text) else otherwise

    @property
    def printed(self) -> Numbers | None:
        """The result as far as it was printed: rates to two decimals, the time following from it."""
        if self.rates is None or len(self.counts) < 2 or not all(self.rates):
            return None
        tokens = sum(self.counts.values())
        lengths = self.lengths
        requests = self.counts["output"] // lengths.output_len
        numbers = Numbers(tokens / self.rates[1], requests, tokens, *self.rates)
        return None if numbers.problem else numbers

    def printed_these(self, numbers: Numbers) -> bool:
        """Whether this try's output shows these very numbers."""
        if self.rates is None:
            return False
        stored = (numbers.requests_per_second, numbers.tokens_per_second)
        return all(
            abs(mine - other) <= _PRINTED_TO for mine, other in zip(self.rates, stored, strict=True)
        )


def merged(section: Try, block: Try) -> Try:
    """A try that both kinds of log tell of; `section` has the command, `block` the exit code."""
    outcome = block.outcome if section.outcome == "interrupted" else section.outcome
    return replace(
        section,
        outcome=outcome,
        flags=block.flags | section.flags,
        rates=section.rates or block.rates,
        counts=section.counts or block.counts,
        duration_s=block.duration_s,
        exit_code=block.exit_code,
        gpu_index=block.gpu_index,
        excerpt=block.excerpt if section.outcome == "interrupted" else section.excerpt,
    )


def same_try(section: Try, block: Try) -> bool:
    """Whether a section and a block of the same cell and call can be one try."""
    outcomes = {section.outcome, block.outcome} - {"interrupted"}
    utilizations = {section.utilization, block.utilization} - {None}
    return len(outcomes) < 2 and len(utilizations) < 2


def as_attempt(tried: Try, stored: Numbers | None, sources: Iterable[str]) -> ImportedAttempt:
    """The attempt of a try; `stored` are the exact numbers of the file that it wrote."""
    numbers = (stored or tried.printed) if tried.outcome == "passed" else None
    began, ended = _span(tried)
    return ImportedAttempt(
        outcome=tried.outcome,
        engine_args=tried.engine_args,
        excerpts=(tried.excerpt,),
        numbers=numbers,
        lengths=tried.lengths,
        invalid=invalid(numbers, tried.lengths, is_stored=stored is not None) if numbers else "",
        started=began,
        ended=ended,
        duration_s=_seconds(began, ended) if tried.duration_s is None else tried.duration_s,
        exit_code=tried.exit_code,
        gpu_index=tried.gpu_index,
        sources=tuple(sources),
    )


def invalid(numbers: Numbers, lengths: Lengths, *, is_stored: bool) -> str:
    """Why numbers must not count, which a file stores or which were only printed; "" if they may."""
    decimals = _STORED_DECIMALS if is_stored else _PRINTED_DECIMALS
    return numbers.lengths_problem(lengths) or numbers.rates_problem(decimals)


def date(tries: Sequence[Try], created: str) -> None:
    """Date the tries of one call, in their order, of which only the duration was printed.

    The first time in its output stands for a start, which it follows by some seconds; no try
    lasts beyond the start of the next. `created` is when the call began.
    """
    following = ""
    for tried in reversed(tries):
        began = tried.started or times_in(tried.excerpt, created)[0] or ""
        if began and not tried.started and tried.duration_s is not None:
            latest = _after(following, -tried.duration_s) if following else began
            began = tried.started = min(began, latest, key=datetime.fromisoformat)
        following = began or following


def _span(tried: Try) -> tuple[str, str | None]:
    """When it began and ended; where nothing states it, the first and last time in its output."""
    if tried.started and tried.duration_s is not None:
        return tried.started, _after(tried.started, tried.duration_s)
    first, last = times_in(tried.excerpt, tried.started)
    began = tried.started or first or ""
    return began, last if last and last >= began else None


def _after(began: str, seconds: float) -> str:
    return (datetime.fromisoformat(began) + timedelta(seconds=seconds)).isoformat()


def _seconds(began: str, ended: str | None) -> float | None:
    if not began or not ended:
        return None
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def times_in(excerpt: Excerpt, began: str) -> tuple[str | None, str | None]:
    """First and last time of day in a log; vLLM's own lines have no year: it is taken from `began`,
    or from a line that names it.
    """
    year = began[:4].encode()
    first = last = None
    for block in excerpt.blocks():
        for match in _STAMP.finditer(block):
            year = match["year"] or year
            moment = _iso(match, year)
            if moment is not None:
                first, last = min(first or moment, moment), max(last or moment, moment)
    return first, last


def _iso(match: re.Match[bytes], year: bytes) -> str | None:
    text = b"%s-%s-%sT%s" % (year, match["month"], match["day"], match["time"])
    try:
        return datetime.fromisoformat(text.decode()).isoformat()
    except ValueError:
        return None
