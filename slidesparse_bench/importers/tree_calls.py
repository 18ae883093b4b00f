"""Run logs `logs/<GPU>/benchmark_*.log` of a SlideSparse tree: one per call of its script.

They hold what `benchmark.log` lacks: the arguments of the call, exit codes, durations, the device,
and what was left out. In Chinese, or in the English of later versions; a killed one stops anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage
from slidesparse_bench.importers.foreign_lines import PlacedLine, placed_lines
from slidesparse_bench.importers.imported import Excerpt
from slidesparse_bench.importers.tree_logs import iso
from slidesparse_bench.importers.tree_names import known_sparsity, our_model, quantization_of
from slidesparse_bench.importers.tree_tries import Try

QUICK_M = (16, 128, 256)
"""Their `--M quick`."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TITLE = re.compile(
    r"  (?P<model>\S+) \| (?P<backend>CUTLASS|cuBLASLt|cuSPARSELt)(?: \((?P<sparsity>2_\d+)\))?"
    r" \| (?P<stage>prefill|decode)$"
)
_CELL = re.compile(r"\[\d+/\d+\] (?:测试|Testing) M=(?P<m>\d{1,8})$")
_ARGUMENT = re.compile(r"  --(?P<name>[\w-]+): (?P<value>.*)$")
_MACHINE = re.compile(r"  (?P<name>GPU|Compute Capability|VRAM|CUDA|Python): (?P<value>.+)$")
_FLAG = re.compile(
    r"│\s+(?:(?:编译模式|Compile Mode): )?--(?P<name>[\w-]+)(?:\s+= (?P<value>\d+))?"
)
_DONE = re.compile(r"\[SUCCESS\] .*(?:耗时|Duration): (?P<seconds>[\d.]+)s")
_FAILED = re.compile(r"\[ERROR\] (?:测试失败|Test failed): M=\d+ \(exit code: (?P<code>-?\d+)\)")
_RAISED = re.compile(r"\[ERROR\] (?:执行异常|Execution (?:error|exception)): ")
_SKIPPED = re.compile(
    r"\[WARNING\] .*?(?:跳过|skipping): (?P<model>\S+)(?: \+ (?P<backend>\w+)| \((?P<sparsity>2_\d+)\))?"
)
_INTERRUPTED = re.compile(r"(?:测试被中断|Test interrupted)!")
_TELLING = re.compile(
    rb"  |\[|\xe2\x94\x82|Created: |Throughput: |Total num |\xe6\xb5\x8b\xe8\xaf\x95\xe8\xa2\xab|Test interrupted|\x1b"
)
"""How lines begin that can matter: all others are passed over undecoded."""


@dataclass(frozen=True)
class Skip:
    """What a call left out, with the lines that say why."""

    model: str
    backend: str | None
    sparsity: Sparsity | None
    lines: tuple[str, ...]
    place: str


@dataclass
class Call:
    """One call of their script; `finished` unless its log stops in the middle."""

    path: Path
    created: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    tries: list[Try] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def gpu_index(self) -> int | None:
        text = self.arguments.get("gpu-id", "")
        return int(text) if text.isdecimal() else None

    @property
    def is_dry_run(self) -> bool:
        return self.arguments.get("dry-run") == "True"

    def planned(self) -> Iterator[Cell]:
        """Every cell that its arguments name, of the models that it is known to mean."""
        for model in dict.fromkeys(self.models):
            quantization = quantization_of(model)
            if quantization is not None:
                yield from self._of_model(our_model(model), quantization)

    def _of_model(self, model: str, quantization: Quantization) -> Iterator[Cell]:
        for backend in self._listed("backend", list(BACKENDS)):
            known = BACKENDS.get(backend)
            if known is None or known.name == "native":
                continue
            found = [known_sparsity(text) for text in self._listed("sparsity", [])]
            sparsities = [each for each in found if each] if known.needs_sparsity else [None]
            for sparsity in sparsities:
                for stage in self._stages():
                    for m in self._ms():
                        yield Cell(model, quantization, backend, sparsity, stage, m)

    def _listed(self, name: str, everything: list[str]) -> list[str]:
        text = self.arguments.get(name, "None")
        if text in ("None", "all"):
            return everything
        return [part.strip().lower() for part in text.split(",")]

    def _stages(self) -> list[Stage]:
        return [stage for stage in Stage if stage in self._listed("stage", list(Stage))]

    def _ms(self) -> list[int]:
        text = self.arguments.get("M", "None")
        if text == "quick":
            return list(QUICK_M)
        return [int(part) for part in text.split(",") if part.strip().isdecimal()]


def read_call(path: Path) -> Call:
    """Read one run log; whatever of it can be understood."""
    reader = _Reader(path)
    for line in placed_lines(path):
        if _TELLING.match(line.raw):
            reader.take(line, _COLOUR.sub("", line.text))
    reader.close(path.stat().st_size)
    return reader.call


class _Reader:
    """Takes the lines of a run log: arguments, then titles, cells and their ends."""

    def __init__(self, path: Path) -> None:
        self.call = Call(path)
        self._title: re.Match[str] | None = None
        self._open: Try | None = None

    def take(self, line: PlacedLine, text: str) -> None:
        if self._open is None and self._title is None and self._take_head(text):
            return
        if match := _TITLE.match(text):
            self.close(line.begin)
            self._title = match
            self.call.models.append(match["model"])
        elif match := _CELL.match(text):
            self.close(line.begin)
            self._begin(line, int(match["m"]))
        elif _INTERRUPTED.match(text):
            self.close(line.end)
            self.call.interrupted = True
        elif self._open is not None:
            self._take_output(self._open, line, text)
        else:
            self._take_skip(line, text)

    def _take_head(self, text: str) -> bool:
        if text.startswith("Created: "):
            self.call.created = iso(text.removeprefix("Created: "))
        elif match := _ARGUMENT.match(text):
            self.call.arguments[match["name"]] = match["value"].strip()
        elif match := _MACHINE.match(text):
            self.call.machine[match["name"]] = match["value"].strip()
        else:
            return False
        return True

    def _take_skip(self, line: PlacedLine, text: str) -> None:
        place = f"{self.call.path.name}:{line.number}"
        if match := _SKIPPED.match(text):
            backend = match["backend"] or ("cusparselt" if match["sparsity"] else None)
            sparsity = known_sparsity(match["sparsity"]) if match["sparsity"] else None
            self.call.skips.append(Skip(match["model"], backend, sparsity, (text,), place))
            self.call.models.append(match["model"])
        elif re.match(r"\[WARNING\]\s+(?:原因|Reason): ", text) and self.call.skips:
            last = self.call.skips[-1]
            if len(last.lines) == 1:
                self.call.skips[-1] = replace(last, lines=(*last.lines, text))

    def _begin(self, line: PlacedLine, m: int) -> None:
        title, call = self._title, self.call
        quantization = quantization_of(title["model"]) if title else None
        if title is None or quantization is None:
            return
        sparsity = known_sparsity(title["sparsity"]) if title["sparsity"] else None
        backend, stage = title["backend"].lower(), Stage(title["stage"])
        cell = Cell(our_model(title["model"]), quantization, backend, sparsity, stage, m)
        self._open = Try(
            cell,
            Excerpt(call.path, line.begin, 0, line.number),
            # Only the first cell of a call begins when the call does.
            started="" if call.tries else call.created,
            flags=self._flags_of_call(),
            gpu_index=call.gpu_index,
        )

    def _flags_of_call(self) -> dict[str, str]:
        flags = {}
        if "gpu-mem" in self.call.arguments:
            flags["gpu-memory-utilization"] = self.call.arguments["gpu-mem"]
        if self.call.arguments.get("eager") == "True":
            flags["enforce-eager"] = ""
        return flags

    def _take_output(self, tried: Try, line: PlacedLine, text: str) -> None:
        if match := _FLAG.match(text):
            tried.flags[match["name"]] = match["value"] or ""
        elif match := _DONE.match(text):
            tried.duration_s, tried.exit_code = float(match["seconds"]), 0
            self._finish(tried, "passed", line)
        elif match := _FAILED.match(text):
            tried.exit_code = int(match["code"])
            self._finish(tried, "failed", line)
        elif _RAISED.match(text):
            self._finish(tried, "failed", line)
        else:
            tried.take(text)

    def _finish(self, tried: Try, outcome: str, line: PlacedLine) -> None:
        tried.outcome = outcome
        self.close(line.end)

    def close(self, end: int) -> None:
        if self._open is not None:
            self._open.excerpt = replace(self._open.excerpt, end=end)
            self.call.tries.append(self._open)
            self._open = None
