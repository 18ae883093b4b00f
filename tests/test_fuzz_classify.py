"""Whatever a log holds, it is classified: bytes, cuts, interleavings, any ending."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.errors import UsageError
from slidesparse_bench.failures import CLASSES, classify, classify_log_file
from slidesparse_bench.failures import log as reading
from slidesparse_bench.failures.log_file import NO_LOGS
from slidesparse_bench.failures.signatures import SIGNATURES
from slidesparse_bench.records import Failure

EXAMPLES = [signature.example for signature in SIGNATURES]
LABELLED = Path(__file__).parent / "labelled"


def is_tune(log: Path) -> bool:
    """As `scripts/score_classifier.py` has it: the held half is for scoring only."""
    name = f"81:{log.parent.name}/{log.name}"
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


LOGS = [log for log in sorted(LABELLED.glob("*/*.log")) if is_tune(log)]
ENDINGS = (None, "exited", "signalled", "timed_out", "silent", "interrupted", "lost", "else")
SIGNALS = (None, "SIGKILL", "SIGSEGV", "9", "11", "RTMIN", "-9", "")

known = st.fixed_dictionaries(
    {},
    optional={
        "exit_code": st.one_of(st.none(), st.integers(-300, 300)),
        "signal": st.sampled_from(SIGNALS),
        "ending": st.sampled_from(ENDINGS),
        "phase": st.sampled_from((None, "load_weights", "measure", "another")),
    },
)
pieces = st.one_of(
    st.sampled_from(EXAMPLES),
    st.sampled_from(EXAMPLES).flatmap(
        lambda text: st.integers(0, len(text)).map(lambda cut: text[cut:])
    ),
    st.text(max_size=80),
    st.sampled_from(["\r", "\n", "\x00", "\x1b[31m", "Traceback (most recent call last):", "  "]),
)


def is_complete(failure: Failure, lines: int | None = None) -> bool:
    known_class = failure.failure_class in CLASSES
    line = failure.evidence.line
    inside = line is None or line >= 1
    if lines is not None and line is not None:
        inside = inside and line <= lines
    return known_class and inside and bool(failure.hint) and isinstance(failure.root_cause, str)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "some.log"


@given(st.binary(max_size=4000), known)
def test_random_bytes_are_classified(log, data, ending):
    log.write_bytes(data)
    assert is_complete(classify(log, **ending), data.count(b"\n") + 1)
    if data.startswith(tuple(NO_LOGS)):
        with pytest.raises(UsageError):
            classify_log_file(log)
    else:
        assert classify_log_file(log)["class"] in CLASSES


@given(st.lists(pieces, max_size=12), known)
def test_cut_and_joined_logs_are_classified(log, parts, ending):
    text = "\n".join(parts)
    log.write_text(text, encoding="utf-8", errors="replace", newline="")
    from_file = classify(log, **ending)
    assert is_complete(from_file, text.count("\n") + 1)
    assert is_complete(classify(text.split("\n"), **ending))


@given(st.randoms(use_true_random=False), st.integers(2, 6))
def test_interleaved_processes_are_classified(source: random.Random, count: int):
    streams = [source.choice(EXAMPLES).split("\n") for _ in range(count)]
    lines = []
    while any(streams):
        lines.append(source.choice([stream for stream in streams if stream]).pop(0))
    assert is_complete(classify(lines, exit_code=1), len(lines))


@given(st.sampled_from(LOGS), st.sampled_from(LOGS), st.randoms(use_true_random=False))
def test_two_logs_in_one_file_are_classified(log, one, other, source):
    """Lines of two whole logs in turn, cut anywhere, with NULs where a disk lost blocks."""
    streams = [path.read_bytes().splitlines(keepends=True) for path in (one, other)]
    lines = []
    while any(streams):
        lines.append(source.choice([stream for stream in streams if stream]).pop(0))
    data = b"".join(lines)
    start, end = sorted(source.randrange(len(data) + 1) for _ in range(2))
    hole = source.randrange(len(data) + 1)
    log.write_bytes(data[:hole] + b"\x00" * source.randrange(300) + data[hole:])
    assert is_complete(classify(log, exit_code=1))
    log.write_bytes(data[start:end])
    assert is_complete(classify(log, signal=source.choice(SIGNALS)))


@pytest.mark.parametrize("filler", [b"\x00", b"x", b" ", b"| ", b"(a pid=1) ", b"error ", b"a."])
def test_line_of_10_mb_is_classified(log, filler):
    """No pattern may look at all of it, least of all more than once."""
    cause = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    log.write_bytes(filler * (10**7 // len(filler)) + b"\n" + cause + b"\n")
    failure = classify(log, exit_code=1)
    assert (failure.failure_class, failure.root_cause) == ("oom_device", cause.decode())
    assert failure.evidence.line == 2


@given(st.sampled_from(SIGNATURES), st.integers(0, 2000), st.integers(1000, 3000))
def test_block_borders_change_nothing(log, signature, before, block):
    """Blocks longer than any line, set against the log at every offset."""
    log.write_text("x" * before + "\n" + signature.example + "\n", encoding="utf-8")
    whole = classify(log, exit_code=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", max(block, len(signature.example)))
        assert classify(log, exit_code=1) == whole


@given(st.binary(max_size=2000), st.integers(1, 50))
def test_lines_longer_than_a_block_are_read_to_the_end(log, data, block):
    log.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", block)
        assert is_complete(classify(log, exit_code=1), data.count(b"\n") + 1)


@given(st.sampled_from(SIGNATURES), st.binary(max_size=300))
def test_cause_is_found_beside_broken_bytes(log, signature, noise):
    junk = noise.replace(b"slidesparse", b"").replace(b"T", b"").replace(b"E", b"")
    example = signature.example.encode()
    log.write_bytes(junk + b"\n" + example + b"\n" + junk)
    found = classify(log, exit_code=1)
    assert is_complete(found)
    assert found.failure_class == signature.failure_class
