"""What runs that work print as well: none of it is a cause."""

from __future__ import annotations

import re

from slidesparse_bench.failures.trace import Place

HARMLESS_LEVELS = frozenset({"DEBUG", "INFO", "WARNING"})
"""Levels of loggers at which only warnings that explain a failure count, none of its messages."""

_NOISE = re.compile(
    r"destroy_process_group\(\) was not called|resource_tracker|leaked (?:shared_memory|semaphore)"
    r"|Exception ignored in|Ignoring this choice|for benchmark choice|<frozen os>"
    r"|does not officially support disabling chunked prefill|nanobind: leaked"
    r"|No available shared memory broadcast block|some potential root causes|Cannot use FA version"
    r"|Unable to register cu\w+ factory|together with your error trace|Failed to send usage data"
    r"|Failed to import (?:Triton kernels|DeepGemm)|pip's dependency resolver"
    # What a compiler remarks, and candidates that were tried.
    r"|: remark: |[Aa]utotun\w*:? (?:config|choice|candidate)\b"
    # Networks that NCCL looks for and does without.
    r"|NCCL WARN (?:Failed to open lib(?:ibverbs|mlx5|rdma)|NET/Plugin|NET/OFI (?:Failed to initialize|aws-ofi))"
    # What is tried again; if that fails as well, an exception says so.
    r"|Trying to resume download|thrown while requesting (?:HEAD|GET) "
)
_NOISE_FROM_THE_START = re.compile(
    # A stack of C++ belongs to the message above it, the source of a `raise` to the one below it.
    r"frame #\d+: |\s+(?:-+> ?)?(?:\d+ +)?raise [A-Za-z_]\w*\(|Exception raised from \w+ at |Error in cpuinfo|Error while fetching .HF_TOKEN"
    r"|Error while downloading from |Search for [`'](?:cuda|hip)Error"
    # Advice on errors that did not happen.
    r"|\W*(?:If|When|In case) you (?:get|see|encounter|run into|receive|are (?:seeing|getting))\b"
)
_NO_ERRORS = re.compile(
    r"\b(?:[Ee]rrors?|[Ff]ail(?:ed|ures?))(?:[ _]requests?)?[\s\"']*[:=]\s*0\b(?![.x])"
    r"|\b0 (?:errors?|fail(?:ed|ures?))\b"
)
"""Counts of zero."""

_WARNS = re.compile(
    r"(?:[\w./-]+(?::\d+)?: )?(?:\w*Warning|[Ww]arning|WARNING)\b:? (?!CUDA initialization)|NCCL INFO "
)
"""Lines that state their level themselves, but for one that is as good as an error."""

_WORKED = re.compile(
    r"Throughput: [\d.]+ requests/s|^Avg latency: [\d.]+ seconds"
    r"|^Request throughput \(req/s\): +(?!0\.0+ *$)\d"
    r"|^=+ (?!.*\b(?:failed|errors?)\b).*\b\d+ passed\b.* in [\d.]+s|\b[1-9]\d* passed, 0 failed\b|^# Out of bounds values : 0 OK"
    r"|^\|.{1,300}± *\|? *[\d.]+ *\|$|^\[BENCHMARK\] .*\blatency\b|^Result is : VALID$"
    r"|^llama_(?:perf_context_print|print_timings): +eval time = +[\d.]+ ms"
)
"""The results of `vllm bench throughput`, `latency` and `serve`, of pytest, nccl-tests, llama-bench, llama.cpp,
lm-eval, TensorRT-LLM and MLPerf."""
_RESULTS = (
    "Throughput",
    "Avg latency",
    "Request throughput",
    "=",
    "# Out of bounds",
    "|",
    "[BENCHMARK]",
    "Result is",
    "llama_p",
)
_READY = ("Application startup complete", "The server is fired up and ready to roll")
"""A server that waited for its engine: what was printed before did not stop it."""
_ANSWERED = "Processed prompts: 100%"
_STOP = re.compile(r"^KeyboardInterrupt$|\bSIG(?:TERM|INT)\b")
_STOPPED = re.compile(
    r"^Application shutdown complete\.?$|^Finished server process(?: \[\d+\])?\.?$"
    r"|^Gracefully exiting\W+[Rr]emaining number of requests:? 0\b"
)
"""What a person's Ctrl-C or SIGTERM is called, and the end of a server that had finished its work: whole
lines of uvicorn and SGLang, as any part of a program may be "stopped gracefully"."""
_SHUTDOWNS = ("shutdown complete", "Finished server", "number of requests")
"""One of them is in each of the latter."""
_TAKEN_AWAY = re.compile(
    r"\bCANCELLED (?:AT|DUE TO)\b|\bDUE TO (?:TIME LIMIT|PREEMPTION|NODE FAILURE)\b|\bjob is (?:being )?preempted\b"
    r"|\bTERM_(?:RUNLIMIT|PREEMPT|OWNER|ADMIN)\b|=>> PBS: job killed|[Ss]pot (?:[Ii]nstance )?[Ii]nterruption"
    r"|[Pp]reemption (?:notice|signal)|\b(?:[Ii]nstance|[Nn]ode|VM|[Pp]od|[Mm]achine)\b.{0,20} (?:preempted|reclaimed)\b"
)
"""Schedulers and clouds that end what is not done."""
_TAKES_AWAY = ("CANCELLED", "DUE TO", "reempt", "TERM_", "PBS: job", "nterruption", "reclaimed")
_END_OF_RUN = re.compile(
    # What drivers print of their answers and results, an exception of a thread and its traceback.
    r"\s*$|Prompt: |Generated text: |Throughput: |Total num |[-=]+$|Exception (?:in thread|ignored in)|Traceback \("
    r"|  File \"| {4}\S| {4}[ ~^]+$|PC: @ |@ +0x"
)
_ENDS = re.compile(
    r"\*\*\* SIGTERM received at time=\d+|^zmq\.error\.(?:ContextTerminated|ZMQError: (?:Context was"
    r" terminated|Socket operation on non-socket))"
)
"""What Ray's own processes, and threads with sockets, print when a driver that is done takes them along."""
_GONE_AT_EXIT = re.compile(r"Engine core proc \S+ died unexpectedly")
"""What a client prints as well of an engine that ended before it did, when all was answered."""

_AT_EXIT = frozenset(
    {"_exitfunc", "_run_exitfuncs", "_exit_function", "__del__", "resource_tracker.py"}
)
"""Functions and files of Python that run while an interpreter ends: what they raise has another
cause."""


def is_noise(text: str) -> bool:
    """Whether runs that work print this line, although it sounds like a failure."""
    return (
        _NOISE.search(text) is not None
        or _NOISE_FROM_THE_START.match(text) is not None
        or ("0" in text and _NO_ERRORS.search(text) is not None)
    )


def states_its_level(text: str) -> bool:
    """Whether a line without a logger's prefix says itself that it is a warning."""
    named = "arning" in text or "WARN" in text or text.startswith("NCCL INFO")
    return named and _WARNS.match(text) is not None


def is_warned_of(message: str, text: str) -> bool:
    """Whether `text` is the warning in which torch says the message of an exception before it."""
    return "Warning: " in text and f"{message} (Triggered internally at" in text


def is_raised_at_exit(place: Place) -> bool:
    """Whether the traceback is of an interpreter that ends."""
    return place.ends_traceback and not _AT_EXIT.isdisjoint(place.frames)


def is_result(text: str) -> bool:
    """Whether a program that did its work ends with this line."""
    return (text.startswith(_RESULTS) or " passed, " in text) and _WORKED.search(text) is not None


def is_ready(text: str) -> bool:
    """Whether a server says that its start is over."""
    return text.startswith(_READY)


def is_all_answered(text: str) -> bool:
    """Whether a client says that every request was answered."""
    return text.startswith(_ANSWERED)


def is_stop(text: str) -> bool:
    """Whether somebody asked the process to end, without preemption or a time limit."""
    return _STOP.search(text) is not None


def is_end_of_driver(text: str) -> bool:
    """Whether a part of a program was told to end, as it is when the program is done."""
    return _ENDS.search(text) is not None


def is_taken_away(text: str) -> bool:
    """Whether a scheduler or a cloud says that it ended the job."""
    return _holds_one_of(_TAKES_AWAY, text) and _TAKEN_AWAY.search(text) is not None


def is_end_of_run(text: str) -> bool:
    """Whether a driver that has all its answers may print this line before it ends."""
    return _END_OF_RUN.match(text) is not None or is_noise(text)


def is_clean_shutdown(text: str) -> bool:
    """Whether a server says that it ended in order."""
    return _holds_one_of(_SHUTDOWNS, text) and _STOPPED.search(text) is not None


def _holds_one_of(words: tuple[str, ...], text: str) -> bool:
    """Asked of every line: `any` takes three times as long."""
    for word in words:  # noqa: SIM110 - see above
        if word in text:
            return True
    return False


def is_end_of_engine(text: str) -> bool:
    """Whether a client says that its engine is gone: nothing, when all was answered."""
    return _GONE_AT_EXIT.search(text) is not None
