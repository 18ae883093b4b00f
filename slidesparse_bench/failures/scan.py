"""Finding the first cause in a log."""

from __future__ import annotations

import io
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from slidesparse_bench.failures.classes import CLASSES
from slidesparse_bench.failures.facts import facts_of, log_facts
from slidesparse_bench.failures.folded import unfolded
from slidesparse_bench.failures.log import Line, LogReader, Prefixed, Prefixes, any_of
from slidesparse_bench.failures.signature import Signature, Tier
from slidesparse_bench.failures.signatures import SIGNATURES
from slidesparse_bench.failures.trace import NOWHERE, Place, Tracebacks

_PROVED = re.compile(r"^slidesparse: (?P<failure_class>[a-z0-9_]+): (?P<message>.*)")

_WRAPPER = re.compile(
    r"Engine core initialization failed|EngineDeadError|EngineCore encountered an issue"
    r"|EngineCore failed to start|EngineCore encountered a fatal error|Failed core proc"
    r"|Engine process failed to start|Background loop has errored|Engine loop is not running"
    r"|WorkerProc (?:failed|initialization failed|hit an exception)|Worker failed with error"
    r"|[Dd]ied unexpectedly|died, exit code|Executor failed|Ray workers have not started"
    r"|ActorDiedError|RayTaskError|RayActorError|ChildFailedError|ProcessRaisedException"
    r"|Error executing method|Exception in worker|Executor worker returned error|shutting down executor|ENGINE_CORE_DEAD"
    r"|terminate called after throwing|Engine loop has died|Engine process \(pid \d+\) died"
    r"|Task finished unexpectedly|CalledProcessError|ProcessExitedException|WorkerCrashedError"
    r"|Engine core proc(?:ess)? \S+ died|[Cc]hild (?:process|job).*failed|Failed to start (?:engine|server)"
    r"|DPEngineCore proc|ExecutorDied|leader process.*died|Server process (?:exited|died)"
    # An exception that could not be raised again, for want of its arguments.
    r"|(?:Error|Failed|Exception)\.__init__\(\) missing \d+ required"
)
"""What parents print when a child is gone: never a cause, at most a quotation of one."""

_NOISE = re.compile(
    r"destroy_process_group\(\) was not called|resource_tracker|leaked (?:shared_memory|semaphore)"
    r"|Exception ignored in|Ignoring this choice|for benchmark choice|<frozen os>"
    r"|does not officially support disabling chunked prefill|nanobind: leaked"
    r"|No available shared memory broadcast block|some potential root causes|Cannot use FA version"
    r"|^frame #\d+: |^Exception raised from \w+ at "
)
"""What runs that work print as well; a stack of C++ belongs to the message above it."""

_HELD = re.compile(
    r"<(?:Task|Future)\b.*\bexception=(?P<type>[\w.]+)\((?P<quote>['\"])(?P<message>.*)(?P=quote)\)"
)
"""An exception that asyncio found in a task nobody waited for."""

_LOADING_FAILED = re.compile(r"(?:error|failed|unable) (?:loading|to load) (?:the )?model\b")
"""How engines without Python's tracebacks tell that it was while they loaded weights."""

_WORKED = re.compile(
    r"Throughput: [\d.]+ requests/s|^Avg latency: [\d.]+ seconds"
    r"|^Request throughput \(req/s\): +(?!0\.0+ *$)\d"
    r"|^=+ (?!.*\b(?:failed|errors?)\b).*\b\d+ passed\b.* in [\d.]+s|^# Out of bounds values : 0 OK"
)
"""The results of `vllm bench throughput`, `latency` and `serve`, of pytest and of nccl-tests."""
_RESULTS = ("Throughput", "Avg latency", "Request throughput", "=", "# Out of bounds")
_READY = ("Application startup complete", "The server is fired up and ready to roll")
"""A server that waited for its engine: what was printed before did not stop it."""
_ANSWERED = "Processed prompts: 100%"
_GONE_AT_EXIT = re.compile(r"Engine core proc \S+ died unexpectedly")
"""What a client prints as well of an engine that ended before it did, when all was answered."""
_ERROR_LIKE = re.compile(
    r"\b(?:error|ERROR|fatal|FATAL|[Ff]ailed|FAILED|[Aa]borted|panic|core dumped)\b"
    r"|(?:\b|[a-z])(?:Error|Exception)\b|[Ee]xit code:? (?!0\b)-?\d"
)
_HARMLESS_LEVELS = frozenset({"DEBUG", "INFO", "WARNING"})

_AT_EXIT = frozenset(
    {"_exitfunc", "_run_exitfuncs", "_exit_function", "__del__", "resource_tracker.py"}
)
"""Functions and files of Python that run while an interpreter ends: what they raise has another
cause."""

_AFTER_KV_CACHE = frozenset(
    {
        "compile_or_warm_up_model",
        "capture_model",
        "initialize_from_config",
        "initialize_kv_cache",
        "execute_model",
        "capture_graphs",
        "warm_up",
        "measure",
        "verify",
    }
)
"""Functions of vLLM, and phases of the worker, that run with the KV cache in place."""
_BEFORE_KV_CACHE = frozenset({"profile_run", "determine_available_memory", "profile_memory"})


@dataclass(frozen=True)
class Finding:
    """A line that tells a cause, and where it stood."""

    line: Line
    prefixed: Prefixed
    signature: Signature
    facts: dict[str, Any]
    place: Place = NOWHERE
    quoted: bool = False

    @property
    def tier(self) -> Tier:
        return max(Tier.QUOTED, self.signature.tier) if self.quoted else self.signature.tier

    @property
    def rank(self) -> tuple[int, bool, int]:
        """Smaller is nearer to the first cause; equals are decided by the earlier line."""
        # The kernel's own log, and warnings before the start, are no parents of what fails later.
        anywhere = self.tier in (Tier.HARDWARE, Tier.CLUE)
        depth = 0 if anywhere else self.prefixed.depth
        return self.tier, self.quoted, -depth


@dataclass
class Scan:
    """What a whole log says.

    `proved` is the worker's own verdict, `cause` the best finding, `log_facts` what the engine
    stated of its memory before it. `worked` says that a result was printed and no cause after it.
    `last_error`, `alarm` and `last` are lines to show when there is no cause.
    """

    proved: Finding | None = None
    cause: Finding | None = None
    log_facts: dict[str, Any] = field(default_factory=dict)
    worked: bool = False
    last_error: Line | None = None
    alarm: Line | None = None
    last: Line | None = None


def scan_log(log: Path | Iterable[str], *, phase: str | None = None) -> Scan:
    """Read a log once, in bounded memory; `phase` helps where no traceback tells the place."""
    scanner = _Scanner(phase)
    if isinstance(log, Path):
        with log.open("rb") as stream:
            return scanner.run(stream)
    return scanner.run(_as_stream(log))


def _as_stream(lines: Iterable[str]) -> BinaryIO:
    text = lines if isinstance(lines, str) else "\n".join(line.rstrip("\n") for line in lines)
    return io.BytesIO(text.encode("utf-8", "replace"))


class _Needles:
    """The literals of some signatures, each with the place of its signature in the table."""

    def __init__(self, limit: Tier, *, of_warnings: bool = False) -> None:
        of_places = [
            (needle, place)
            for place, signature in enumerate(SIGNATURES)
            if signature.tier <= limit and (signature.counts_as_warning or not of_warnings)
            for needle in signature.needles
        ]
        literals = sorted({needle for needle, _ in of_places if needle}, key=len)
        self._everywhere = [place for needle, place in of_places if not needle]
        self._of_beginning: dict[str, set[int]] = {}
        self._longer: dict[str, list[tuple[str, int]]] = {}
        for needle, place in of_places:
            if needle:
                beginning = next(each for each in literals if needle.startswith(each))
                same = self._of_beginning.setdefault(beginning, set())
                longer = self._longer.setdefault(beginning, [])
                if needle == beginning:
                    same.add(place)
                else:
                    longer.append((needle, place))
        beginnings = any_of([each.encode() for each in self._of_beginning]).decode()
        self._any = re.compile(beginnings)

    def places(self, text: str, place: Place) -> list[int]:
        """Which signatures can match, in their order. The empty needle is for ends of tracebacks."""
        hit = self._any.search(text) if self._of_beginning else None
        if hit is None and not place.ends_traceback:
            return []
        found = set(self._everywhere) if place.ends_traceback else set()
        beginnings: set[str] = set()
        while hit:
            beginnings.add(hit[0])
            hit = self._any.search(text, hit.start() + 1)  # overlapping ones count
        for beginning in beginnings:
            found |= self._of_beginning[beginning]
            for needle, longer in self._longer[beginning]:
                if needle in text:
                    found.add(longer)
        return sorted(found & _admitted(place.file, place.ends_traceback, place.deliberate))


@lru_cache(maxsize=4096)
def _admitted(file: str, ends_traceback: bool, deliberate: bool) -> frozenset[int]:
    """The places of the signatures that may match a line that stands there."""
    place = Place(frozenset(), file, ends_traceback, deliberate)
    return frozenset(index for index, signature in enumerate(SIGNATURES) if signature.admits(place))


_NEEDLES = _Needles(max(Tier))
_GRAVE_NEEDLES = {tier: _Needles(tier) for tier in Tier if tier <= Tier.ASSERTED}
_WARNING_NEEDLES = _Needles(max(Tier), of_warnings=True)
_ANY_TIER = max(Tier)
_WITHOUT_DIGITS = str.maketrans("", "", string.digits)
"""Every thread of a kernel prints the assertion that failed: lines that differ from the cause just
before them in numbers only say nothing new, and a million of them are passed over."""
_MATCHED_CHARACTERS = 8192
"""How much of a very long line is searched; whole lists of weights stand on one line."""


class _Scanner:
    def __init__(self, phase: str | None) -> None:
        self._scan = Scan()
        self._tracebacks = Tracebacks()
        self._prefixes = Prefixes()
        self._phase = {phase} if phase else set()
        self._loading_failed = False
        self._answered = False

    def run(self, stream: BinaryIO) -> Scan:
        reader = LogReader(stream, lambda: self._tracebacks.any_open)
        flood = None
        for line in reader:
            if flood is not None:
                if line.raw.translate(_WITHOUT_DIGITS) == flood:
                    continue
                flood = None
            self._take(line)
            if self._scan.cause is not None and self._scan.cause.line is line:
                flood = line.raw.translate(_WITHOUT_DIGITS)
        self._scan.last = reader.last
        self._pardon(reader.worked_at)
        if self._scan.cause is not None:
            self._scan.cause = self._settle(self._scan.cause)
        return self._scan

    def _pardon(self, worked_at: int) -> None:
        """What went on after an error that nothing is known of was not stopped by it."""
        error = self._scan.last_error
        if self._scan.cause is None and error is not None and error.number < worked_at:
            self._scan.alarm, self._scan.last_error = self._scan.alarm or error, None

    def _take(self, line: Line) -> None:
        if '{"' in line.raw or "\\n" in line.raw:
            for part in unfolded(line.raw):
                self._take_part(Line(line.number, part))
        else:
            self._take_part(line)

    def _take_part(self, line: Line) -> None:
        prefixed = self._prefixes.split(line.raw)
        # A process that logs a traceback and prints it as well does both at once.
        # What SGLang prints below its first line has no prefix.
        process = prefixed.process
        if process and process.startswith(("TP", "DP", "PP", "EP")):
            process = ""
        printer = f"{process} {prefixed.level}"
        inside, ends_traceback = self._tracebacks.follow(printer, prefixed.text)
        if inside:
            return
        if prefixed.text[:12] == "slidesparse:" and (match := _PROVED.match(prefixed.text)):
            self._prove(line, prefixed, match)
            return
        if ends_traceback:
            prefixed = prefixed._replace(text=prefixed.text.lstrip())
        if "exception=" in prefixed.text and (held := _HELD.search(prefixed.text)):
            prefixed = prefixed._replace(text=f"{held['type']}: {held['message']}")
        place = self._tracebacks.place(printer, ends_traceback=ends_traceback)
        if ends_traceback and not _AT_EXIT.isdisjoint(place.frames):  # its cause came before
            self._scan.alarm = self._scan.alarm or line
            return
        self._note(line, prefixed)
        self._look_for_cause(line, prefixed, place)

    def _prove(self, line: Line, prefixed: Prefixed, match: re.Match[str]) -> None:
        failure_class, message = match["failure_class"], match["message"]
        if failure_class not in CLASSES or self._scan.proved:
            return
        # A worker may quote the engine, or state its own numbers: any wording of the class counts.
        signature = Signature(f"worker_{failure_class}", failure_class, (), "", "", "{message}.")
        facts: dict[str, Any] = {"message": message}
        for known in SIGNATURES:
            of_class = known.failure_class == failure_class
            if of_class and (found := known.regex.search(prefixed.text)):
                signature, facts = known, facts | facts_of(found)
                break
        self._scan.proved = Finding(line, prefixed, signature, facts)

    def _note(self, line: Line, prefixed: Prefixed) -> None:
        """Keep what the report shows beside a cause, or instead of one."""
        text, level = prefixed.text, prefixed.level
        stated = log_facts(text)
        if stated and (self._scan.cause is None or "built_for" in stated):
            self._scan.log_facts |= stated
        if text.startswith(_RESULTS) and _WORKED.search(text):
            self._scan.worked, self._scan.cause = True, None
        self._answered = self._answered or text.startswith(_ANSWERED)
        if text.startswith(_READY):
            self._forget_the_start()
        if "load" in text and self._scan.cause and _LOADING_FAILED.search(text):
            self._loading_failed = True
        if level in _HARMLESS_LEVELS:
            self._scan.alarm = self._scan.alarm or (line if level == "WARNING" else None)
        elif self._scan.cause is None and (level or _ERROR_LIKE.search(text)):
            self._note_error(line, text)

    def _forget_the_start(self) -> None:
        """What a server survived on its way up is no failure, but for that of a device."""
        cause = self._scan.cause
        if cause is not None and cause.tier < Tier.CAUSE:
            return
        survived = cause.line if cause is not None else self._scan.last_error
        self._scan.alarm = self._scan.alarm or survived
        self._scan.cause = self._scan.last_error = None

    def _note_error(self, line: Line, text: str) -> None:
        if _NOISE.search(text) or (self._answered and _GONE_AT_EXIT.search(text)):
            self._scan.alarm = self._scan.alarm or line
        else:
            self._scan.last_error = line

    def _look_for_cause(self, line: Line, prefixed: Prefixed, place: Place) -> None:
        best = self._scan.cause
        limit = _ANY_TIER
        if best is not None:
            if place.ends_traceback and _says_more(prefixed, best):
                self._scan.cause = replace(best, line=line, prefixed=prefixed, place=place)
                return
            deeper = prefixed.depth > best.prefixed.depth
            limit = best.tier if deeper or best.quoted else Tier(best.tier - 1)
        if self._phase and not place.frames:
            place = place._replace(frames=self._phase)
        found = _match(line, prefixed, place, limit)
        if self._scan.worked and found is not None and found.tier >= Tier.STATED:
            return  # what a process prints while it ends
        if found is not None and (best is None or _is_better(found, best)):
            self._scan.cause = found
            self._scan.worked = False

    def _settle(self, cause: Finding) -> Finding:
        """Look at the line again: chained tracebacks named more functions after it."""
        place = cause.place
        if self._loading_failed and not place.frames:
            place = place._replace(frames={"load_model"})
        again = _match(cause.line, cause.prefixed, place, cause.tier)
        settled = again or cause
        if settled.signature.failure_class == "oom_device":
            reserved = self._kv_cache_was_reserved(self._phase | settled.place.frames)
            settled.facts.update({} if reserved is None else {"kv_cache_reserved": reserved})
        return settled

    def _kv_cache_was_reserved(self, places: set[str]) -> bool | None:
        """Whether the KV cache stood in memory already; None when nothing tells."""
        if not places.isdisjoint(_AFTER_KV_CACHE):
            return True
        if not places.isdisjoint(_BEFORE_KV_CACHE):
            return False
        return True if "kv_cache_gib" in self._scan.log_facts else None


def _says_more(prefixed: Prefixed, best: Finding) -> bool:
    """Whether a traceback ends with the exception whose bare message was the best finding.

    Engines log `str(error)` first; the line with its type is the better evidence.
    """
    message = prefixed.text.partition(": ")[2]
    return (
        not best.place.ends_traceback
        and len(message) > 0
        and best.prefixed.text.endswith(message)
        and prefixed.depth >= best.prefixed.depth
    )


def _is_better(found: Finding, best: Finding) -> bool:
    """Whether a later finding is nearer to the first cause than the best one before it."""
    # Stopping provokes exceptions; one that was printed before had other reasons.
    if found.tier is Tier.INTERRUPTED and best.tier is Tier.PYTHON:
        return False
    # What a parent says of a refusal or a time limit is an echo of a worker's own exception.
    shallower = found.prefixed.depth < best.prefixed.depth
    if found.tier is Tier.PLACED and best.tier is Tier.PYTHON and shallower:
        return False
    return found.rank < best.rank


def _match(line: Line, prefixed: Prefixed, place: Place, limit: Tier) -> Finding | None:
    """What the first signature that matches this line says, if its tier is not beyond `limit`."""
    text = prefixed.text[:_MATCHED_CHARACTERS]
    harmless = prefixed.level in _HARMLESS_LEVELS
    # From CAUSE on a signature of a weaker tier may stand first in the table: all are asked.
    needles = _WARNING_NEEDLES if harmless else _GRAVE_NEEDLES.get(limit, _NEEDLES)
    places = needles.places(text, place)
    for signature in (SIGNATURES[each] for each in places):
        match = signature.search(text, place.frames)
        if match is None:
            continue
        is_bug = signature.failure_class == "python_bug"
        if signature.tier > limit and not is_bug:
            return None  # of many equal lines only the first counts
        quoted = _WRAPPER.search(text) is not None
        if quoted and is_bug:
            continue
        if _NOISE.search(text):
            return None
        found = Finding(line, prefixed, signature, facts_of(match), place, quoted)
        return found if found.tier <= limit else None
    return None
