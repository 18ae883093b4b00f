"""Finding the first cause in a log."""

from __future__ import annotations

import io
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from slidesparse_bench.failures.classes import CLASSES
from slidesparse_bench.failures.facts import facts_of, log_facts
from slidesparse_bench.failures.folded import unfolded
from slidesparse_bench.failures.log import Line, LogReader, Prefixed, Prefixes, split_prefixes
from slidesparse_bench.failures.needles import Needles
from slidesparse_bench.failures.noise import (
    HARMLESS_LEVELS,
    is_all_answered,
    is_clean_shutdown,
    is_end_of_driver,
    is_end_of_engine,
    is_end_of_run,
    is_noise,
    is_raised_at_exit,
    is_ready,
    is_result,
    is_stop,
    is_taken_away,
    is_warned_of,
    states_its_level,
)
from slidesparse_bench.failures.reason import Reason, is_header
from slidesparse_bench.failures.signature import Signature, Tier
from slidesparse_bench.failures.signatures import SIGNATURES
from slidesparse_bench.failures.trace import IMPORTS_ANOTHER, NOWHERE, Place, Tracebacks
from slidesparse_bench.failures.tuning import Tuning

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
    r"|died with exit code|API server (?:process )?\S+ (?:exited|closed)|Worker \S+ failed to initialize"
    r"|Error raised in subprocess|See root cause above|(?:Coordinator process|thread) (?:failed|died) during startup"
    r"|DPEngineCore proc|ExecutorDied|leader process.*died|Server process (?:exited|died)"
    r"|ExceptionGroup: "
    # An exception that could not be raised again, for want of its arguments.
    r"|(?:Error|Failed|Exception)\.__init__\(\) missing \d+ required"
)
"""What parents print when a child is gone: never a cause, at most a quotation of one."""

_HELD = re.compile(
    r"<(?:Task|Future)\b.*\bexception=(?P<type>[\w.]+)\((?P<quote>['\"])(?P<message>.*)(?P=quote)\)"
)
"""An exception that asyncio found in a task nobody waited for."""

_LOADING_FAILED = re.compile(r"(?:error|failed|unable) (?:loading|to load) (?:the )?model\b")
"""How engines without Python's tracebacks tell that it was while they loaded weights."""

_ERROR_LIKE = re.compile(
    r"\b(?:error|ERROR|fatal|FATAL|[Ff]ailed|FAILED|[Aa]borted|panic|core dumped)\b"
    r"|(?:\b|[a-z])(?:Error|Exception)\b|[Ee]xit code:? (?!0\b)-?\d"
)
_NCCL_SAYS_LITTLE = re.compile(
    r"unhandled (?:system|cuda) error|invalid usage|internal error|ncclSystemError|ncclInternalError"
)
_NCCL_GIVES_A_REASON = re.compile(
    r"NCCL WARN .*(?:[Ff]ail|[Ee]rror|[Cc]annot|[Cc]ould not|[Uu]nable|No such|refused|[Ii]nvalid|mismatch|denied|Duplicate GPU|no socket interface)"
)
_PARDONED = (Tier.CLUE, Tier.STATED)
"""What is nothing in a run that goes on."""

_LINK = re.compile(r" {4,}(?:\d+: )?(?P<message>\S.*)")
_LINKED = "InternalError: "
_MOST_LINKS = 20
"""What stands below `Caused by:`, and how many lines of the log may."""

_HANDLED = "During handling of the above exception"

_INSTALLS = "uilding wheel"
_INSTALLED = re.compile(r"\bdone'?\s*$")
_INSTALLING = "<installing>"
"""What pip says before and after, and the name that signatures know it by."""

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


_NEEDLES = Needles(max(Tier))
_GRAVE_NEEDLES = {tier: Needles(tier) for tier in Tier if tier <= Tier.ASSERTED}
_WARNING_NEEDLES = Needles(max(Tier), of_warnings=True)
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
        self._shut_down = False
        self._taken_away = False
        self._wrapped_by = ""
        self._caused_at: dict[str, int] = {}
        self._tuning = Tuning()
        self._reason = Reason()

    def run(self, stream: BinaryIO) -> Scan:
        reader = LogReader(stream, self._reads_everything)
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
        if not self._taken_away:
            self._pardon_the_end(reader)
        if self._scan.cause is not None:
            self._scan.cause = self._settle(self._scan.cause)
        return self._scan

    def _reads_everything(self) -> bool:
        return self._tracebacks.any_open or self._reason.is_awaited or bool(self._caused_at)

    def _pardon(self, worked_at: int) -> None:
        """What went on after an error that nothing is known of, or that was only named, was not
        stopped by it."""
        cause = self._scan.cause
        if cause is not None and cause.tier in _PARDONED and cause.line.number < worked_at:
            self._survive(cause)
        error = self._scan.last_error
        if self._scan.cause is None and error is not None and error.number < worked_at:
            self._scan.alarm, self._scan.last_error = self._scan.alarm or error, None

    def _survive(self, cause: Finding) -> None:
        """What was taken for the cause did not stop the run: an alarm."""
        self._scan.alarm, self._scan.cause = self._scan.alarm or cause.line, None

    def _pardon_the_end(self, reader: LogReader) -> None:
        """How a program that did its work was ended; what a scheduler takes away was not done."""
        if reader.worked_at and self._shut_down:
            self._pardon_stop()
        elif self._answered and reader.worked_at >= reader.unfinished_at:
            self._pardon_end_of_driver(reader)

    def _pardon_stop(self) -> None:
        """A server that had answered, was asked to stop and ended in order did its work."""
        cause = self._scan.cause
        if cause is not None and cause.tier is Tier.INTERRUPTED and is_stop(cause.prefixed.text):
            self._survive(cause)
            self._scan.worked = True

    def _pardon_end_of_driver(self, reader: LogReader) -> None:
        """A driver whose prompts were all answered, and that began nothing after them, did its work,
        whatever its parts print when it ends."""
        cause = self._scan.cause
        if (
            cause is not None
            and cause.tier in (Tier.INTERRUPTED, Tier.CONSEQUENCE)
            and cause.line.number > reader.worked_at
            and is_end_of_driver(cause.prefixed.text)
            and (between := reader.between_work_and(cause.line.number)) is not None
            and all(is_end_of_run(split_prefixes(each).text) for each in between)
        ):
            self._survive(cause)
            self._scan.worked = True

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
        else:
            prefixed = self._as_exception(printer, line, prefixed)
        if "exception=" in prefixed.text and (held := _HELD.search(prefixed.text)):
            prefixed = prefixed._replace(text=f"{held['type']}: {held['message']}")
        ends_traceback = self._ends_traceback(printer, prefixed.text, ends_traceback)
        place = self._tracebacks.place(printer, ends_traceback=ends_traceback)
        if is_raised_at_exit(place) or self._tuning.passes_over(
            printer, line.raw, prefixed.text, place
        ):
            self._scan.alarm = self._scan.alarm or line
            return
        if not (ends_traceback or prefixed.level) and states_its_level(prefixed.text):
            prefixed = prefixed._replace(level="WARNING")
        self._note(line, prefixed)
        self._look_for_cause(line, prefixed, place)
        if self._reason.is_told_by(printer, line.number, prefixed.text):
            self._take_reason(line, prefixed)

    def _as_exception(self, printer: str, line: Line, prefixed: Prefixed) -> Prefixed:
        """A link of the chain below an error of Rust in the form of an exception that has no place."""
        if self._caused_at:
            self._end_chains(line.number)
        if prefixed.text == "Caused by:":
            self._caused_at[printer] = line.number
        elif printer in self._caused_at:
            if link := _LINK.match(prefixed.text):
                return prefixed._replace(text=f"{_LINKED}{link['message']}")
            if prefixed.text:
                del self._caused_at[printer]
        return prefixed

    def _end_chains(self, number: int) -> None:
        """Forget the chains of causes that began too many lines before this one."""
        too_old = [each for each, at in self._caused_at.items() if number - at > _MOST_LINKS]
        for printer in too_old:
            del self._caused_at[printer]

    def _ends_traceback(self, printer: str, text: str, ends_one: bool) -> bool:
        """Whether the line ends a traceback, or says what the exception on the line before it wraps."""
        if ends_one:
            self._wrapped_by = printer if text.endswith(" raised:") else ""
            return True
        follows = printer == self._wrapped_by
        self._wrapped_by = "" if follows else self._wrapped_by
        return follows

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
        if text.startswith(_HANDLED):
            self._forget_import(prefixed.process)
        if _INSTALLS in text:
            self._phase = (
                self._phase - {_INSTALLING}
                if _INSTALLED.search(text)
                else self._phase | {_INSTALLING}
            )
        if is_result(text):
            self._scan.worked, self._scan.cause = True, None
        self._answered = self._answered or is_all_answered(text)
        if is_ready(text):
            self._forget_the_start()
        self._shut_down = self._shut_down or is_clean_shutdown(text)
        self._taken_away = self._taken_away or is_taken_away(text)
        if "load" in text and self._scan.cause and _LOADING_FAILED.search(text):
            self._loading_failed = True
        if level in HARMLESS_LEVELS:
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

    def _forget_import(self, process: str) -> None:
        """What an import raised and the program handled is an exception like any other."""
        cause = self._scan.cause
        if (
            cause is None
            or IMPORTS_ANOTHER not in cause.place.frames
            or cause.tier is not Tier.PLACED
            or cause.prefixed.process != process
        ):
            return
        place = cause.place._replace(frames=cause.place.frames - {IMPORTS_ANOTHER})
        self._scan.cause = _match(cause.line, cause.prefixed, place, _ANY_TIER)

    def _note_error(self, line: Line, text: str) -> None:
        if is_noise(text) or (self._answered and is_end_of_engine(text)):
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
            self._scan.cause = _with_reason(found, best)
            self._scan.worked = False

    def _take_reason(self, line: Line, prefixed: Prefixed) -> None:
        """Show what is wrong with a kernel instead of the place in it."""
        best = self._scan.cause
        if best is not None and is_header(best.prefixed.text):
            self._scan.cause = replace(best, line=line, prefixed=prefixed)

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
        and (best.prefixed.text.endswith(message) or is_warned_of(message, best.prefixed.text))
        and prefixed.depth >= best.prefixed.depth
    )


def _with_reason(found: Finding, before: Finding | None) -> Finding:
    """An error of NCCL's at the line of the warning that says what failed, if one came before."""
    if (
        before is None
        or before.signature.id != "nccl_warning"
        or not found.signature.id.startswith("nccl_")
        or _NCCL_SAYS_LITTLE.search(found.prefixed.text) is None
        or _NCCL_GIVES_A_REASON.search(before.prefixed.text) is None
    ):
        return found
    return replace(found, line=before.line, prefixed=before.prefixed)


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
    harmless = prefixed.level in HARMLESS_LEVELS
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
        if is_bug and (quoted or text.startswith(_LINKED)):
            continue
        if is_noise(text):
            return None
        found = Finding(line, prefixed, signature, facts_of(match), place, quoted)
        return found if found.tier <= limit else None
    return None
