"""One line of a log that holds several: JSON records and escaped tracebacks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.failures import classify
from slidesparse_bench.failures.folded import unfolded
from slidesparse_bench.failures.log import Prefixes, split_prefixes

TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "/opt/vllm/v1/worker/gpu_worker.py", line 9, in load_model\n'
    "    self.model_runner.load_model()\n"
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB."
)
LAST_LINE = TRACEBACK.splitlines()[-1]


def record(**fields: object) -> str:
    return json.dumps({"time": "2026-01-26T10:00:00Z", **fields})


@pytest.mark.parametrize(
    "line",
    [
        record(level="ERROR", message="EngineCore failed to start.", exc_info=TRACEBACK),
        record(severity="ERROR", jsonPayload={"message": TRACEBACK}),
        record(levelname="ERROR", message="failed", exception={"traceback": TRACEBACK}),
        record(level="error", msg="failed", stack_trace=TRACEBACK.splitlines(keepends=False)),
        "stderr F " + record(log=TRACEBACK + "\n", stream="stderr"),
        'level=error msg="' + TRACEBACK.replace('"', '\\"').replace("\n", "\\n") + '"',
    ],
    ids=["python", "google-cloud", "nested", "list", "kubernetes", "logfmt"],
)
def test_traceback_folded_into_one_line_tells_its_place_and_its_last_line(line: str):
    failure = classify([line], exit_code=1)
    assert failure.failure_class == "oom_weights"
    assert failure.root_cause == LAST_LINE
    assert failure.evidence.line == 1


def test_traceback_over_the_records_of_a_container_is_one_traceback():
    lines = [record(log=line + "\n", stream="stderr") for line in TRACEBACK.splitlines()]
    failure = classify(lines, exit_code=1)
    assert (failure.failure_class, failure.evidence.line) == ("oom_weights", 4)


def test_record_of_level_info_is_not_a_cause():
    line = record(level="INFO", message="ValueError: this option is not supported, ignored")
    assert classify([line], exit_code=1).failure_class == "unknown"


def test_line_that_only_looks_like_a_record_stays_as_it_is():
    line = 'ValueError: Cannot parse {"a": 1, broken}'
    assert list(unfolded(line)) == [line]


@given(st.text(max_size=300))
def test_any_line_unfolds_into_at_least_one(line: str):
    assert list(unfolded(line))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "",
                    "(Worker_TP0 pid=1) ERROR 01-26 10:00:00 [a.py:1] ",
                    "(EngineCore_DP0 pid=2) ",
                    "[rank0]: ",
                    "2026-01-26 10:00:00 ",
                    "[2026-01-26 10:00:00 TP1] ",
                    "vllm-1  | (Worker pid=3) ",
                ]
            ),
            st.sampled_from(
                ['  File "a.py", line 1', "[rank1]: x", "ERROR 01-26 10:00:00 [b.py:2] y", "z", ""]
            ),
        ),
        max_size=12,
    )
)
def test_prefixes_of_the_line_before_change_nothing(pieces):
    prefixes = Prefixes()
    lines = [prefix + text for prefix, text in pieces]
    assert [prefixes.split(line) for line in lines] == [split_prefixes(line) for line in lines]
