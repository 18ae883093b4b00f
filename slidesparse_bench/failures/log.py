"""Reading a log: any size, any bytes, several processes in one file.

A log of a run is hundreds of MB of progress bars around a few lines that matter. A line counts
from 1 by newline; carriage returns split a line into parts that share its number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

BLOCK_BYTES = 1 << 20
LONGEST_LINE_BYTES = 1 << 16
LONGEST_LEAD_BYTES = 1 << 12
"""A longer line, or one with more before its keyword, is cut: memory and time stay bounded."""

_KEYWORDS = (
    # What exceptions, loggers and tracebacks are made of.
    *("rror", "ERROR", "FATAL", "CRITICAL", "FAILED", "xception", "Traceback", 'File "', "ailed"),
    *("atal ", "ssert", "imeout", "imed out", "nterrupt", "illed", "died", "erminat"),
    *("SIG", "ignal", "xit code", "xitcode", "core proc", "fault", "CANCELLED", "reempt", "[type="),
    "ailure",
    "nsufficient",
    "bort",
    "denied",
    "ismatch",
    "nable to",
    "annot ",
    "ould not",
    "nvalid",
    *("exceed", "ot found", "non-zero status"),
    # Memory, disks and devices.
    "emory",
    "bad_alloc",
    "oom_kill",
    "oom-kill",
    "o space left",
    "ot enough",
    "quota",
    "is full",
    "ENOSPC",
    "StorageFull",
    "Xid",
    "XID",
    "NVRM",
    "ncorrectable",
    "ouble bit",
    "fallen off",
    "GPU is lost",
    *("requires reset", "row remap", "GPU Hang", "GPU hang", "GPU reset", "HSA_STATUS"),
    "device driver",
    "Invalid __",
    "CUDA_EXCEPTION",
    "low on resource",
    "onflict",
    "no runtime for",
    *("llegal", "orrupt", "smashing", "reakpoint", "free()", "alloc()", "chunk()"),
    # Configuration, files, libraries and networks.
    *("not exist", "upported", "not support", "ompatible", "CUDA capab", "too old", "required by"),
    *("shared object", "undefined symbol", "o such file", "ffline mode", "OfflineMode"),
    *("NCCL", "NET/IB", "onnection", "roken pipe", "going down"),
    # What the engine and the worker state.
    "KV cache",
    "gpu_memory_util",
    "Model loading took",
    "Throughput: ",
    "Avg latency: ",
    "Request throughput",
    "assed in ",
    "# Out of bounds values",
    "Processed prompts: 100%",
    "Application startup complete",
    "fired up and ready",
    "start a new process before",
    # What other programs state, how servers end, and containers that `docker ps` lists.
    *("± ", "[BENCHMARK]", "Result is : ", "shutdown complete", "number of requests"),
    *("other process", "Exited (137)", "xit Code", "getpwuid()"),
    *("slidesparse:",),
    # Chinese, `does not support` and `interrupted`, as the public SlideSparse scripts print them.
    *("不支持", "中断"),
    # What an exception of C++ says, and llama.cpp of what does not go together.
    *("what():", "requires flash_attn", "requires Flash", "does not divide"),
    # Launchers, networks, templates, Rust; and the end of what Inductor says of a choice.
    "MPI_ABORT",
    "ORTE was unable",
    "UCX  ERROR",
    "NIXL_ERR",
    "jinja2.exceptions",
    "did not start",
    "panicked at",
    "Ignoring this choice",
    # Compilers, which name their exceptions and aborts as they like, and device code that was not built.
    "torch._dynamo.exc",
    "torch._inductor.exc",
    "UNREACHABLE exec",
    "crash backtrace",
    "Attempting to use ",
    "out of registers",
    # Messages of drivers and networks that stand alone, and the chain of causes below an error of Rust.
    *("kernel image", "device code", "compute cap", "CUDA-capable", "NVIDIA driver", "OUT_OF_"),
    "RESOURCE_EXHAUSTED",
    "already in use",
    "uplicate GPU",
    "endezvous",
    "open files",
    "ead-only",
    *("No route to", "nreachable", "aused by:", "uilding wheel", "UVA "),
    "eval time =",
    "Finished server",
    *("TERM_", "PBS: job"),
)
"""Every line that can matter holds one of these; `tests/test_signatures.py` checks the examples."""


def any_of(words: Sequence[bytes]) -> bytes:
    """A pattern for any of these words that shares their beginnings: three times as fast."""
    if b"" in words:
        return b""
    following: dict[bytes, list[bytes]] = {}
    for word in words:
        following.setdefault(word[:1], []).append(word[1:])
    ways = [re.escape(first) + any_of(rest) for first, rest in following.items()]
    return ways[0] if len(ways) == 1 else b"(?:" + b"|".join(ways) + b")"


KEYWORDS = re.compile(any_of([word.encode() for word in _KEYWORDS]))
_WORK = (
    re.compile(rb'"POST /\S* HTTP/[\d.]+" 200\b'),
    # Ray Serve, transformers' trainer, llama.cpp, Ollama.
    re.compile(rb"__CALL__ OK [\d.]+ms"),
    re.compile(rb"'train_runtime': [\d.]+"),
    re.compile(rb"request: POST /\S* \S+ 200\b"),
    re.compile(rb'\[GIN\] [^\n|]{1,40}\| 200 \|[^\n]{1,100}POST +"/api/(?:chat|generate|embed)'),
)
"""Requests that were answered, in the words of servers, and what trainers end with; each begins with a literal, to be fast."""
_MOST_AFTER_WORK = 16384
"""Bytes: a run that is done prints less before it ends."""
_UNFINISHED_BAR = re.compile(rb"Processed prompts:\s+\d{1,2}%")
_FULL_BAR = re.compile(rb"100%\|(?:\xe2\x96\x88)+\| (?P<count>\d+)/(?P=count) ")
_START_UP = re.compile(rb"Captur|Load|Compil|Fetch|Download")
_TITLE_BYTES = 100
"""Of a progress bar, before its percentage."""
_BREAK = re.compile(rb"[\r\n]")
_NEWLINE = ord("\n")
_BREAKS = re.compile(rb"[\r\n]+")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL"
_LEVEL_OF_LETTER = {
    "V": "DEBUG",
    "D": "DEBUG",
    "I": "INFO",
    "W": "WARNING",
    "E": "ERROR",
    "F": "FATAL",
}
_COLLECTOR = re.compile(
    r"\s*│ ?|(?:> ?)+(?=\S)|-->|[A-Za-z][\w.-]* +\| "  # a terminal's table, quotations, docker compose
    r"|\[(?!rank\d)[a-z][\w.-]{1,40}\]: |rank\d+: (?=\s*\S)"  # a launcher's name of the service or process
    r"|(?: {2})+\| ?| *\+ Exception Group (?=Traceback)"  # a group of exceptions
    r"|\[(?:default\d+|pod/[^\]]+|\d+,\d+)\](?:<std\w+>)?:? ?"  # torchrun, kubectl, mpirun
    r"|\d{1,4}: "  # srun
    r"| {0,4}\| (?=\[\d{4}-|\(|[A-Z]{4,8} )"  # Buildkite
)
"""What collects the output of several programs puts first."""
_PREFIX = re.compile(
    r"(?:\[\d{4}-\d\d-\d\d [\d:,]+ (?P<ray>[DIWEF])(?: \d+)+\] (?:\(\w+\) )?\w+\.cc:\d+: "  # Ray's core
    r"|\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?P<scheduler>(?:[DTPE]P\d+ ?)+)\] "  # SGLang
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: (?P<absl>[IWEF]) \S+:\d+\] "  # TensorFlow, XLA
    r"|\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?(?: [DTP]+\d+)*\]?\s+(?:>+ )?"  # a time
    r"|\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] (?:\[TRT-LLM\] )?(?:\[RANK \d+\] )?(?:\[TRT\] )?\[(?P<trt>[VIWEF])\] "
    r"|std(?:out|err) [FP] "  # Kubernetes
    r"|[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \S+ [\w./-]+\[\d+\]: "  # journald
    r"|\((?P<process>raylet(?:, ip=[^()]*)?|EngineCore\w*|Worker\w*|APIServer\w*|(?:[A-Za-z_][^()]*?)?pid=\d+[^()]*)\)[ ]?"  # vLLM, Ray
    r"|\[(?P<rank>rank\d+)\]: ?"  # torch.distributed
    r"|[\w.-]+:\d+:\d+ (?P<nccl>\[\d+\]) (?=\S+:\d+ NCCL |NCCL )"  # NCCL
    rf"|(?P<level>{_LEVELS}) \d\d-\d\d \d\d:\d\d:\d\d \[?[\w./<>-]+:\d+\][ ]?"  # vLLM
    rf"|(?P<plain_level>{_LEVELS}) [\w./-]+\.py:\d+(?:: |[ ])"
    rf"|(?:- )?(?:[\w.]+ )?(?:- )?(?P<python_level>{_LEVELS}) +- (?:\[[^\]]*\] )?"  # logging
    rf"|\| (?P<loguru_level>{_LEVELS}) +\| (?:[\w.<>:-]+ - |std\w+ \| ?)"
    rf"|(?P<basic_level>{_LEVELS}):(?:[\w.]+:|(?=\s)) *"
    r"|\"failed to load '[^']*' version \d+: [A-Z][a-z]+(?: [a-z]+)?: "  # Triton Inference Server
    r"|(?:ERROR: )?Failed to (?:create instance|process the request\(s\)[^:]*, message|initialize \w+): (?=\w+Error: )"
    r"|\[?(?P<glog>[IWEF])\d{3,4} \d\d:\d\d:\d\d[^\]]*\](?: \[\d+/\d+[_\d]*\])?[ ]?)"  # glog: torch, absl
)
_REPEATED = re.compile(r" \[repeated \d+x across cluster\]$")
"""What Ray puts behind a line that several workers printed."""
_ENDS_WITH_TIME = re.compile(r"│|\d\d:\d\d[.,\d]*\] $")
_PROCESS_GROUPS = ("process", "rank", "scheduler", "nccl")
_RANKS = ("rank", "TP", "DP", "PP", "EP", "[")
_LETTER_GROUPS = ("glog", "ray", "absl", "trt")


class Line(NamedTuple):
    """One line, or one part of a line between carriage returns."""

    number: int
    raw: str


class Prefixed(NamedTuple):
    """A line without its prefixes. `process` is "" where none is named."""

    process: str
    level: str
    text: str

    @property
    def depth(self) -> int:
        """How far its process is from the first one: 2 worker, 1 engine, 0 the rest."""
        if "Worker" in self.process or self.process.startswith(_RANKS):
            return 2
        return 1 if "Engine" in self.process else 0


class Prefixes:
    """Takes colours and prefixes (time, process, level and source line) off lines.

    Neighbours mostly begin alike: the prefixes of the line before are tried first.
    """

    def __init__(self) -> None:
        self._before = "\n"
        self._same = Prefixed("", "", "")

    def split(self, raw: str) -> Prefixed:
        if raw.startswith(self._before) and raw[-1] not in "]M" and "\x1b" not in raw:
            text = raw[len(self._before) :]
            if text[:1] == " " or _PREFIX.match(text) is None:
                return Prefixed(self._same.process, self._same.level, text)
        prefixed = split_prefixes(raw)
        if len(prefixed.text) == len(raw):
            return prefixed
        before = raw.removesuffix(prefixed.text)
        # A name ends the prefixes, not a time, which takes all blanks that follow it.
        if prefixed.text and before.endswith((") ", "] ")) and not _ENDS_WITH_TIME.search(before):
            self._before, self._same = before, prefixed
        return prefixed


def split_prefixes(raw: str) -> Prefixed:
    """Take colours and prefixes off one line."""
    text = _COLOUR.sub("", raw) if "\x1b" in raw else raw
    text = text.removesuffix("^M")
    text = _REPEATED.sub("", text) if text.endswith("cluster]") else text
    process = level = ""
    collector = _COLLECTOR.match(text)
    position = collector.end() if collector else 0
    if collector and "│" in collector[0]:
        text = text.rstrip(" │")
    while match := _PREFIX.match(text, position):
        kind = match.lastgroup  # each alternative names one group at most
        if kind in _PROCESS_GROUPS:
            process = match[kind]
        elif kind in _LETTER_GROUPS:
            level = _LEVEL_OF_LETTER[match[kind]]
        elif kind is not None:
            level = match[kind]
        position = match.end()
    return Prefixed(process, level, text[position:])


class LogReader:
    """The lines of a log that hold a keyword, or all of them while `everything()` says so.

    `unfinished_at` is the number of the last line with a progress bar of prompts that is not full.
    After the last line, `last` is the log's last line that is not blank, and `worked_at` the number
    of the last one that shows work being done, 0 for none: a request that was answered, or a progress
    bar that is full, but for those of the start-up. Such lines hold no keyword. `after_work` is
    what follows it, without what is beyond `_MOST_AFTER_WORK`.
    """

    def __init__(self, stream: BinaryIO, everything: Callable[[], bool]) -> None:
        self._stream = stream
        self._everything = everything
        self._number = 1
        self.last: Line | None = None
        self.worked_at = 0
        self.after_work = b""
        self.unfinished_at = 0

    def __iter__(self) -> Iterator[Line]:
        rest = b""
        while block := self._stream.read(BLOCK_BYTES):
            block = rest + block
            end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
            if not end and len(block) <= BLOCK_BYTES:
                rest = block
                continue
            end = end or len(block)
            yield from self._lines(block[:end])
            rest = block[end:]
        yield from self._lines(rest)

    def _lines(self, block: bytes) -> Iterator[Line]:
        position, first_number = 0, self._number
        has_parts = b"\r" in block
        while position < len(block):
            everything = self._everything()
            if everything and not has_parts:  # one step of what follows, faster
                start = position + (block[position] == _NEWLINE)
                end = block.find(b"\n", start, start + LONGEST_LINE_BYTES)
                if end > start:
                    self._number += start - position
                    yield Line(self._number, block[start:end].decode("utf-8", "replace"))
                    position = end
                    continue
            if has_parts or everything:
                start, end = self._next(block, position, everything)
            else:
                start, end = self._next_of_lines(block, position)
            if start < 0:
                break
            self._number += block.count(b"\n", position, start)
            yield Line(self._number, block[start:end].decode("utf-8", "replace"))
            position = end
        self._number += block.count(b"\n", position)
        self._remember_last(block, first_number)
        self._remember_work(block, first_number)

    def _next_of_lines(self, block: bytes, position: int) -> tuple[int, int]:
        """The same as `_next` where nothing is longer than usual and no line has parts: faster."""
        match = KEYWORDS.search(block, position)
        if match is None:
            return -1, -1
        hit = match.end()
        start = block.rfind(b"\n", position, hit) + 1 or position
        end = block.find(b"\n", hit, hit + LONGEST_LINE_BYTES)
        if end <= start or hit - start > LONGEST_LEAD_BYTES:
            return self._next(block, position, everything=False)
        return start, end

    def _next(self, block: bytes, position: int, everything: bool) -> tuple[int, int]:
        """Where the next wanted line starts and ends; (-1, -1) when there is none."""
        if everything:
            breaks = _BREAKS.match(block, position)
            start = hit = breaks.end() if breaks else position
            if start == len(block):
                return -1, -1
        else:
            match = KEYWORDS.search(block, position)
            if match is None:
                return -1, -1
            hit = match.end()
            earliest = max(position, match.start() - LONGEST_LEAD_BYTES)
            start = max(earliest, block.rfind(b"\n", earliest, hit) + 1)
            start = max(start, block.rfind(b"\r", start, hit) + 1)
        latest = min(len(block), hit + LONGEST_LINE_BYTES)
        following = _BREAK.search(block, hit, latest)
        return start, following.start() if following else latest

    def _remember_last(self, block: bytes, first_number: int) -> None:
        content = block.rstrip()
        if content:
            start = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1
            number = first_number + block.count(b"\n", 0, start)
            self.last = Line(number, _decode(content[start:][-LONGEST_LINE_BYTES:]))

    def _remember_work(self, block: bytes, first_number: int) -> None:
        ends = [match.end() for work in _WORK for match in work.finditer(block)]
        ends += [match.end() for match in _FULL_BAR.finditer(block) if _is_of_work(match)]
        if ends:
            end = max(ends)
            self.worked_at = first_number + block.count(b"\n", 0, end)
            self.after_work = block[end : end + _MOST_AFTER_WORK]
        elif self.worked_at:
            self.after_work += block[: max(0, _MOST_AFTER_WORK - len(self.after_work))]
        if bars := [match.end() for match in _UNFINISHED_BAR.finditer(block)]:
            self.unfinished_at = first_number + block.count(b"\n", 0, bars[-1])

    def between_work_and(self, number: int) -> list[str] | None:
        """The parts of the lines after the last work and before the line of this number; None where
        there are too many."""
        lines = self.after_work.split(b"\n", number - self.worked_at)
        if len(lines) <= number - self.worked_at:
            return None
        _bar, *others = _BREAK.split(b"\n".join(lines[:-1]))
        return [_decode(part) for part in others]


def _is_of_work(bar: re.Match[bytes]) -> bool:
    """Whether a full progress bar is none of those of the start-up."""
    title = bar.string[max(0, bar.start() - _TITLE_BYTES) : bar.start()]
    return _START_UP.search(_BREAK.split(title)[-1]) is None


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
