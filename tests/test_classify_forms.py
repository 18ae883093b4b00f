"""The forms that logs and tracebacks come in: collectors, notebooks, lost indentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from slidesparse_bench.failures import classify, classify_log_file
from slidesparse_bench.failures.log import split_prefixes
from slidesparse_bench.records import Failure

FRAMES = [
    '  File "/opt/vllm/v1/engine/core.py", line 857, in run_engine_core',
    "    engine_core = EngineCoreProc(*args)",
    '  File "/opt/vllm/model_executor/models/qwen3.py", line 412, in forward',
    "    hidden = self.layers(hidden)",
]
RAYLET = "(raylet) [2025-04-02 15:02:00,117 E 13 14] (raylet) node_manager.cc:30: x"
ERROR = "TypeError: 'NoneType' object is not subscriptable"
START = "Traceback (most recent call last):"


def found(lines: list[str]) -> Failure:
    return classify(["starting", *lines, "bye"], exit_code=1)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([START, *FRAMES, ERROR], id="plain"),
        pytest.param([f"  {line}" for line in (START, *FRAMES, ERROR)], id="shifted"),
        pytest.param([line.strip() for line in (START, *FRAMES, ERROR)], id="indentation lost"),
        pytest.param([*FRAMES, ERROR], id="beginning cut off"),
        pytest.param(
            [
                "TypeError                        Traceback (most recent call last)",
                "Cell In[4]",
                "----> 7 llm = LLM(model)",
                "",
                "File /opt/vllm/llm.py:240, in LLM.__init__(self)",
                "    239 engine_args)",
                ERROR,
            ],
            id="notebook",
        ),
        pytest.param(
            [
                "╭──────────── Traceback (most recent call last) ────────────╮",
                "│ /opt/vllm/llm.py:240 in __init__                          │",
                "│ ❱ 240 │   self.llm_engine = engine()                      │",
                "╰───────────────────────────────────────────────────────────╯",
                ERROR,
            ],
            id="drawn by rich",
        ),
    ],
)
def test_last_line_of_a_traceback_is_the_cause_in_any_form(lines: list[str]):
    failure = found(lines)
    assert failure.failure_class == "python_bug"
    assert failure.root_cause.strip() == ERROR
    assert failure.evidence.line == len(lines) + 1


@pytest.mark.parametrize(
    "prefix",
    [
        "vllm-1  | ",
        "vllm-1  | (EngineCore pid=7) ERROR 01-26 10:00:00 [core.py:866] ",
        "2026-01-26T10:00:00.123Z stderr F ",
        "[pod/vllm-0/server] ",
        "[default0]:",
        "0: ",
        "│ ",
        "(RayWorkerWrapper pid=6, ip=10.1.0.7) ",
        "2026-01-26 10:00:00,123 - vllm - ERROR - ",
        "2026-01-26 10:00:00.123 | ERROR    | vllm.engine:start:12 - ",
        "ERROR:vllm.engine:",
    ],
)
def test_traceback_is_followed_behind_what_collectors_put_first(prefix: str):
    error = "NotImplementedError: rope type with a long name"
    lines = [f"{prefix}{line}" for line in (START, *FRAMES, error)]
    failure = found(lines)
    assert failure.failure_class == "unsupported_config"
    assert failure.root_cause == lines[-1]


@pytest.mark.parametrize(
    ("raw", "process", "level", "text"),
    [
        (RAYLET, "raylet", "ERROR", "x"),
        ("(EngineCore) ERROR core.py:1177 x", "EngineCore", "ERROR", "x"),
        ("[2025-01-01 12:00:00 DP1 TP0] x", "DP1 TP0", "", "x"),
        ("(W pid=1, ip=10.0.0.1) x [repeated 7x across cluster]", "W pid=1, ip=10.0.0.1", "", "x"),
        ("x^M", "", "", "x"),
        ("WARNING:root:x", "", "WARNING", "x"),
        (
            "E1216 02:12:50.10 9 model_lifecycle.cc:654] \"failed to load 'm' version 1: Internal: x",
            "",
            "ERROR",
            "x",
        ),
    ],
)
def test_prefixes_of_collectors_and_loggers_are_taken_off(raw, process, level, text):
    prefixed = split_prefixes(raw)
    assert (prefixed.process, prefixed.level, prefixed.text) == (process, level, text)


def test_stop_after_an_exception_is_not_its_cause():
    stop = "(APIServer pid=1) INFO 01-26 10:00:00 [launcher.py:80] Received SIGTERM, shutting down"
    assert found([START, *FRAMES, ERROR, stop]).failure_class == "python_bug"
    assert found([stop, START, *FRAMES, ERROR]).failure_class == "interrupted"


def test_preempted_requests_are_no_preemption_of_the_job():
    line = (
        "WARNING 01-26 10:00:00 [scheduler.py:1057] Sequence group cmpl-1 is preempted by "
        "PreemptionMode.RECOMPUTE mode because there is not enough KV cache space."
    )
    assert found([line, START, *FRAMES, ERROR]).failure_class == "python_bug"


def test_what_the_compiler_backend_raised_is_the_cause_when_it_is_known():
    wrapper = "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:"
    missing = "RuntimeError: Failed to find C compiler. Please specify via CC environment variable."
    assert found([START, *FRAMES, wrapper, missing]).failure_class == "driver_or_env"
    unknown = found([START, *FRAMES, wrapper, "AttributeError: 'NoneType' object"])
    assert (unknown.failure_class, unknown.root_cause) == ("compile_failure", wrapper)


def test_cuda_error_that_dynamo_wraps_is_no_compile_failure():
    error = "torch._dynamo.exc.InternalTorchDynamoError: AcceleratorError: CUDA error: misaligned"
    assert found([START, *FRAMES, f"{error} address"]).failure_class == "cuda_misc"


def test_kernels_own_assertion_counts_before_the_deeper_process_that_reports_it():
    own = "IndexKernel.cu:402: f: block: [0,0,0], thread: [0,0,0] Assertion `a <= b` failed."
    worker = "(VllmWorker TP1 pid=3) ERROR 08-30 01:28:29 [x.py:6] "
    report = f"{worker}RuntimeError: CUDA error: device-side assert triggered"
    assert found([report, own]).root_cause == own
    assert found([report]).root_cause == report


@pytest.mark.parametrize(
    ("file", "error", "expected"),
    [
        ("/opt/vllm/config/scheduler.py", "ValueError: chunks of 3", "unsupported_config"),
        ("/opt/vllm/v1/worker/gpu_worker.py", "ValueError: chunks of 3", "python_bug"),
        ("/opt/transformers/tokenization_qwen.py", "TypeError: not a string", "tokenizer_error"),
        ("/opt/sentencepiece/__init__.py", "OSError: Not found", "tokenizer_error"),
        ("/opt/torch/_inductor/scheduler.py", "AssertionError: buf12", "compile_failure"),
        ("/opt/torch/distributed/rendezvous.py", "ValueError: no RANK", "nccl_or_distributed"),
        ("/opt/huggingface_hub/file_download.py", "OSError: consistency", "model_not_found"),
    ],
)
def test_exception_of_unknown_wording_is_known_by_the_file_that_raised_it(file, error, expected):
    frame = [f'  File "{file}", line 12, in run', "    raise error"]
    failure = found([START, *FRAMES, *frame, error])
    assert (failure.failure_class, failure.root_cause) == (expected, error)


def test_file_of_the_first_exception_counts_in_a_chain():
    lines = [
        *(START, '  File "/opt/vllm/transformers_utils/tokenizer.py", line 5, in load', "    x"),
        *("KeyError: 'added_tokens'", "", "The above exception was the direct cause of the "),
        *("following exception:", "", START, *FRAMES, "RuntimeError: the engine did not start"),
    ]
    failure = found(lines)
    assert (failure.failure_class, failure.root_cause) == ("tokenizer_error", lines[3])


def test_workers_own_exception_counts_before_what_its_parent_makes_of_it():
    worker = [f"(Worker_TP1 pid=3) {line}" for line in (START, *FRAMES, ERROR)]
    parent = [START, '  File "/opt/vllm/v1/engine/core_client.py", line 5, in wait', "    raise"]
    lines = [*worker, *parent, "TimeoutError: no answer"]
    assert found(lines).root_cause == worker[-1]
    assert found([*parent, "TimeoutError: no answer"]).failure_class == "timeout_hang"


RESULT = "Throughput: 12.30 requests/s, 3149.02 total tokens/s, 1574.51 output tokens/s"


def test_traceback_of_the_resource_tracker_after_a_result_is_noise(tmp_path: Path):
    log = tmp_path / "worker.log"
    tracker = '  File "/usr/lib/python3.12/multiprocessing/resource_tracker.py", line 241, in main'
    lines = [RESULT, START, tracker, "    cache[rtype].remove(name)", "KeyError: '/psm_12'"]
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert classify_log_file(log)["class"] == "success_noise"


def test_native_stack_below_a_warning_is_noise(tmp_path: Path):
    log = tmp_path / "worker.log"
    lines = [
        "[W523 21:36:39.228028808 TCPStore.cpp:125] [c10d] recvValue failed: got 0 bytes",
        "Exception raised from recvBytes at /pytorch/torch/csrc/Utils.hpp:678 (most recent call first):",
        "frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x98 (0x7fd0 in libc10.so)",
    ]
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert classify_log_file(log)["class"] == "success_noise"
