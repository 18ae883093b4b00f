"""Whole logs, as they are printed: the first cause wins, wrappers never do."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slidesparse_bench.errors import HarnessVerdict, UsageError
from slidesparse_bench.failures import CLASSES, classify, classify_log_file
from slidesparse_bench.failures.log import split_prefixes
from slidesparse_bench.records import Attempt, Failure, Verdict
from slidesparse_bench.wire import Result, WorkerError, decode, encode, write_json

OOM = (
    "CUDA out of memory. Tried to allocate 2.31 GiB. GPU 0 has a total capacity of 15.47 GiB of "
    "which 1.28 GiB is free. Including non-PyTorch memory, this process has 14.02 GiB memory in "
    "use. Of the allocated memory 12.80 GiB is allocated by PyTorch, and 601.02 MiB is reserved by "
    "PyTorch but unallocated."
)
KV_TOO_SMALL = (
    "ValueError: To serve at least one request with the model's max seq len (1025), (1.20 GiB KV "
    "cache is needed, which is larger than the available KV cache memory (0.31 GiB). Try "
    "increasing `gpu_memory_utilization`"
)
CHUNKED = (
    "WARNING 01-26 10:00:00 [arg_utils.py:1869] This model does not officially support disabling "
    "chunked prefill. Disabling this manually may cause the engine to crash or produce incorrect "
    "outputs."
)
WRAPPERS = (
    (
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
        "{}"
    ),
    (
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace "
        "(above) for the root cause."
    ),
    (
        "Exception: WorkerProc initialization failed due to an exception in a background process. See "
        "stack trace for root cause."
    ),
    "RuntimeError: Worker proc VllmWorker-1 died unexpectedly, shutting down executor.",
    (
        "ERROR 01-26 10:00:00 [multiproc_executor.py:134] Worker proc VllmWorker-1 died, exit code: "
        "-15"
    ),
)


def traceback(error: str, *functions: str) -> list[str]:
    """A Python traceback through these functions of vLLM, with the source lines it echoes."""
    lines = ["Traceback (most recent call last):"]
    for number, function in enumerate(functions, start=100):
        lines += [
            f'  File "/opt/vllm/v1/worker/gpu_worker.py", line {number}, in {function}',
            "    raise ValueError('No available memory for the cache blocks. CUDA error: 1')",
            "    ^^^^^^^^^^^^^^^^",
        ]
    return [*lines, error]


def logged(lines: list[str], process: str = "EngineCore_DP0", pid: int = 4242) -> list[str]:
    """The lines as vLLM's logger prints an exception of one of its processes."""
    return [f"({process} pid={pid}) ERROR 01-26 10:00:00 [core.py:866] {line}" for line in lines]


def printed(lines: list[str], process: str = "EngineCore_DP0", pid: int = 4242) -> list[str]:
    """The lines as the interpreter of a child process prints them at its end."""
    return [f"({process} pid={pid}) {line}" for line in lines]


def engine_death(error: str, *functions: str) -> list[str]:
    """All that vLLM 0.13 prints when its engine process dies while starting."""
    died = traceback(error, "run_engine_core", *functions)
    parent = traceback(WRAPPERS[0], "wait_for_engine_startup")
    return [
        "When dataset path is not set, it will default to random dataset",
        CHUNKED,
        *logged(["EngineCore failed to start.", *died]),
        *printed(["Process EngineCore_DP0:", *died]),
        (
            "[rank0]:[W126 10:00:00.205467624 ProcessGroupNCCL.cpp:1524] Warning: WARNING: "
            "destroy_process_group() was not called before program exit, which can leak resources."
        ),
        *parent,
    ]


def chained(*tracebacks: list[str]) -> list[str]:
    """Tracebacks as one chain of causes."""
    joint = "The above exception was the direct cause of the following exception:"
    lines: list[str] = []
    for number, each in enumerate(tracebacks):
        lines += ["", joint, "", *each] if number else each
    return lines


def cause(lines: list[str], **known: object) -> str:
    return classify(lines, **{"exit_code": 1, **known}).failure_class


def test_engine_death_of_vllm_0_13_names_the_first_of_two_printed_causes():
    log = engine_death(KV_TOO_SMALL, "_initialize_kv_caches", "get_kv_cache_configs")
    failure = classify(log, exit_code=1, evidence_file="cells/x/attempt-1/worker.log")
    assert failure.failure_class == "kv_cache_insufficient"
    assert failure.verdict is Verdict.CAPACITY
    assert failure.retryable
    assert failure.evidence.file == "cells/x/attempt-1/worker.log"
    assert failure.evidence.line == 1 + next(n for n, line in enumerate(log) if "1.20 GiB" in line)
    assert failure.root_cause == f"{logged([''])[0]}{KV_TOO_SMALL}"
    assert failure.facts["needed_gib"] == 1.20
    assert failure.facts["available_gib"] == 0.31
    assert failure.facts["missing_gib"] == pytest.approx(0.89)
    assert failure.hint.startswith("One request of 1025 tokens needs 1.20 GiB of KV cache, 0.31")


def test_in_process_traceback_of_vllm_0_25_in_profiling_is_oom_device():
    log = [
        (
            "(MainProcess pid=11) INFO 11-21 10:53:18 [gpu_model_runner.py:5307] Model loading took "
            "8.11 GiB memory and 3.210000 seconds"
        ),
        *traceback(
            f"torch.OutOfMemoryError: {OOM}", "determine_available_memory", "profile_run", "forward"
        ),
    ]
    failure = classify(log, exit_code=1)
    assert failure.failure_class == "oom_device"
    assert failure.facts["kv_cache_reserved"] is False
    assert failure.facts["model_memory_gib"] == 8.11
    assert failure.facts["short_gib"] == pytest.approx(1.03)
    assert not failure.retryable
    assert "not yet reserved" in failure.hint


def test_out_of_memory_beside_the_kv_cache_is_retryable():
    log = [
        "INFO 11-21 10:53:18 [gpu_worker.py:760] Available KV cache memory: 3.20 GiB",
        *chained(
            traceback(f"torch.OutOfMemoryError: {OOM}", "_dummy_sampler_run", "apply_top_k_top_p"),
            traceback(
                "RuntimeError: CUDA out of memory occurred when warming up sampler with 512 dummy "
                "requests. Please try lowering `max_num_seqs`",
                "compile_or_warm_up_model",
                "_dummy_sampler_run",
            ),
        ),
    ]
    failure = classify(log, exit_code=1)
    assert failure.failure_class == "oom_device"
    assert failure.facts["kv_cache_reserved"] is True
    assert failure.facts["kv_cache_gib"] == 3.2
    assert failure.facts["asked_gib"] == 2.31
    assert failure.retryable


def test_out_of_memory_that_inductor_wraps_is_no_compile_failure():
    error = (
        "torch._inductor.exc.InductorError: RuntimeError: Failed to run autotuning code block: "
        f"{OOM}"
    )
    log = engine_death(error, "determine_available_memory", "profile_run", "compile_to_module")
    assert cause(log) == "oom_device"


@pytest.mark.parametrize("function", ["create_weights", "load_weights"])
def test_out_of_memory_while_weights_are_made_is_oom_weights(function):
    failure = classify(engine_death(f"torch.OutOfMemoryError: {OOM}", "load_model", function))
    assert failure.failure_class == "oom_weights"
    assert failure.verdict is Verdict.HARDWARE_LIMIT
    assert not failure.retryable


def test_outer_part_of_a_chain_tells_that_weights_were_being_loaded():
    log = chained(
        traceback(f"torch.OutOfMemoryError: {OOM}", "empty", "_dispatch"),
        traceback("RuntimeError: layer 31 could not be built", "load_model", "build"),
    )
    failure = classify(logged(log), exit_code=1)
    assert failure.failure_class == "oom_weights"
    assert failure.root_cause.endswith(OOM)


def test_phase_tells_where_memory_ran_out_when_no_traceback_does():
    log = ["terminate called after throwing an instance of 'c10::Error'", f"  what():  {OOM}"]
    assert cause(log, signal="SIGABRT", phase="load_weights") == "oom_weights"
    failure = classify(log, signal="SIGABRT", phase="capture_graphs")
    assert failure.failure_class == "oom_device"
    assert failure.facts["kv_cache_reserved"] is True


def test_two_workers_print_at_once_and_the_one_that_failed_is_found():
    first = traceback(
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        "execute_model",
        "forward",
    )
    other = traceback(
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, remote "
        "process exited or there was a network error, NCCL version 2.27.5",
        "all_reduce",
    )
    pairs = zip(logged(other, "Worker_TP0", 51), logged(first, "Worker_TP1", 52), strict=False)
    log = [
        *(line for pair in pairs for line in pair),
        *logged(other, "Worker_TP0", 51)[-1:],
        *logged(first, "Worker_TP1", 52)[len(other) :],
        *logged(
            traceback(
                "RuntimeError: Worker failed with error 'CUDA error: an illegal memory "
                "access was encountered', please check the stack trace above for the "
                "root cause",
                "step",
            )
        ),
        WRAPPERS[1],
    ]
    failure = classify(log, exit_code=1)
    assert failure.failure_class == "illegal_memory_access"
    assert "Worker_TP1 pid=52" in failure.root_cause


def test_worker_counts_before_the_engine_that_waited_for_it():
    log = [
        *logged(traceback("TimeoutError: RPC call to sample_tokens timed out.", "step")),
        *logged(traceback("RuntimeError: Error Internal", "cutlass_scaled_mm"), "Worker_TP1", 52),
    ]
    assert cause(log) == "cuda_misc"


def test_cause_quoted_by_a_parent_counts_when_the_child_left_no_lines():
    log = traceback(f"RuntimeError: Worker failed with error '{OOM}', please check", "step")
    assert cause(log) == "oom_device"
    assert cause([*log, *traceback("KeyError: 'x'", "schedule")]) == "oom_device"


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_never_causes(wrapper):
    failure = classify([CHUNKED, *traceback(wrapper, "wait_for_engine_startup")], exit_code=1)
    assert failure.failure_class == "unknown"
    assert failure.root_cause == wrapper
    real = [*engine_death(KV_TOO_SMALL), wrapper]
    assert cause(real) == "kv_cache_insufficient"


def test_illegal_access_after_a_watchdog_timeout_is_the_timeout():
    log = [
        (
            "[rank1]:[E126 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank 1] Watchdog caught "
            "collective operation timeout: WorkNCCL(SeqNum=1580, OpType=ALLREDUCE, NumelIn=4096, "
            "NumelOut=4096, Timeout(ms)=600000) ran for 600004 milliseconds before timing out."
        ),
        *logged(
            traceback("torch.AcceleratorError: CUDA error: an illegal memory access", "step"),
            "Worker_TP1",
            52,
        ),
    ]
    failure = classify(log, signal="SIGABRT", ending="signalled")
    assert failure.failure_class == "timeout_hang"
    assert failure.facts["collective"] == "ALLREDUCE"


def test_watchdog_that_reports_another_error_is_that_error():
    log = [
        (
            "[rank1]:[E126 02:07:08.408271257 ProcessGroupNCCL.cpp:1414] [PG 1 Rank 1] Process group "
            "watchdog thread terminated with exception: CUDA error: an illegal memory access was "
            "encountered"
        ),
    ]
    assert cause(log, signal="SIGABRT") == "illegal_memory_access"


def test_xid_counts_before_the_timeout_it_provoked():
    log = [
        "TimeoutError: RPC call to execute_model timed out.",
        (
            "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the "
            "bus."
        ),
    ]
    failure = classify(log, ending="timed_out", signal="SIGKILL")
    assert failure.failure_class == "gpu_lost"
    assert failure.facts["xid"] == 79
    assert not failure.retryable


def test_xid_of_a_page_fault_does_not_cost_the_device():
    line = "NVRM: Xid (PCI:0000:3b:00): 31, pid=4242, name=python3, MMU Fault"
    assert cause([line]) == "illegal_memory_access"


def test_device_assert_counts_before_the_cublas_error_even_when_printed_later():
    blas = "RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx("
    assertion = (
        "/pytorch/aten/src/ATen/native/cuda/Indexing.cu:1553: indexSelectLargeIndex: block: "
        "[983,0,0], thread: [28,0,0] Assertion `srcIndex < srcSelectDimSize` failed."
    )
    assert cause([assertion, *engine_death(blas, "forward")]) == "device_assert"
    assert cause([*engine_death(blas, "forward"), assertion]) == "device_assert"


def test_advice_below_cuda_errors_is_no_device_assert():
    log = [
        *traceback("torch.AcceleratorError: CUDA error: unspecified launch failure", "forward"),
        (
            "CUDA kernel errors might be asynchronously reported at some other API call, so the "
            "stacktrace below might be incorrect."
        ),
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
    ]
    assert cause(log) == "cuda_misc"


def test_colours_and_progress_bars_do_not_hide_the_line(tmp_path):
    coloured = (
        "\x1b[1;36m(EngineCore_DP0 pid=7)\x1b[0;0m \x1b[31mERROR\x1b[0m 01-26 10:00:00 "
        f"[core.py:700] {KV_TOO_SMALL}"
    )
    log = tmp_path / "worker.log"
    bars = "".join(f"\rAdding requests:  {n}%|███" for n in range(50))
    log.write_bytes(f"one\r\n{bars}\r{coloured}\rdone\nlast\n".encode())
    failure = classify(log, exit_code=1)
    assert failure.failure_class == "kv_cache_insufficient"
    assert failure.root_cause == coloured
    assert failure.evidence.line == 2


def test_lines_count_by_newline_across_blocks(tmp_path):
    log = tmp_path / "worker.log"
    filler = "error in nothing\r" + "x" * 100 + "\n\n"
    log.write_text(filler * 40_000 + KV_TOO_SMALL + "\n", newline="")
    assert classify(log, exit_code=1).evidence.line == 80_001


def test_warning_with_a_whole_traceback_is_not_the_cause():
    warning = [
        f"(MainProcess pid=5538) WARNING 11-21 10:53:19 [base.py:380] {line}"
        for line in [
            "Chat template warmup failed",
            *traceback(
                "ValueError: Tokenizer not available when `skip_tokenizer_init=True`",
                "render_chat",
                "get_tokenizer",
            ),
        ]
    ]
    assert cause([*warning, *traceback(KV_TOO_SMALL, "check")]) == "kv_cache_insufficient"
    assert cause(warning) == "unknown"
    assert (
        cause(
            traceback(
                "ValueError: Tokenizer not available when `skip_tokenizer_init=True`",
                "get_tokenizer",
            )
        )
        == "tokenizer_error"
    )


def test_source_lines_in_a_traceback_are_not_causes():
    log = traceback("KeyError: 'request-17'", "free", "remove")
    failure = classify(log, exit_code=1)
    assert failure.failure_class == "python_bug"
    assert failure.root_cause == "KeyError: 'request-17'"


def test_error_in_a_destructor_is_not_a_cause():
    log = [
        "Exception ignored in: <function Communicator.__del__ at 0x7f0>",
        *traceback("RuntimeError: CUDA error: driver shutting down", "__del__"),
    ]
    assert cause(log) == "unknown"
    assert cause([*log, *traceback(KV_TOO_SMALL, "check")]) == "kv_cache_insufficient"


def test_first_exception_of_a_chain_is_the_cause():
    log = chained(
        traceback("ModuleNotFoundError: No module named 'nvmath'", "load"),
        traceback("RuntimeError: the plugin cannot be used", "register"),
    )
    failure = classify(log, exit_code=1)
    assert failure.failure_class == "driver_or_env"
    assert failure.facts["package"] == "nvmath"


def test_refused_argument_is_explained_by_its_own_line():
    log = [
        *traceback(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
            "create_model_config",
        ),
        "  Value error, Invalid repository ID or local directory specified: './qwen'",
        (
            "Please verify the following requirements: [type=value_error, input_value=ArgsKwargs(()), "
            "input_type=ArgsKwargs]"
        ),
    ]
    assert cause(log) == "model_not_found"


def test_out_of_shared_memory_is_not_a_full_disk():
    assert cause(["OSError: [Errno 28] No space left on device: '/psm_1f2e'"]) == "oom_host"
    assert cause(["OSError: [Errno 28] No space left on device: '/data/x'"]) == "disk_full"


def test_shared_memory_of_a_triton_kernel_is_never_out_of_memory():
    error = (
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072, "
        "Hardware limit: 101376. Reducing block sizes or `num_stages` may help."
    )
    failure = classify(engine_death(error, "profile_run"), exit_code=1)
    assert failure.failure_class == "compile_failure"
    assert failure.facts["needed_bytes"] == 131072


def test_worker_verdict_decides_whatever_else_is_printed():
    verdict = HarnessVerdict("m_mismatch", "step 3 ran 511 tokens; 512 were asked for")
    log = [*traceback(f"torch.OutOfMemoryError: {OOM}", "profile_run"), verdict.log_line]
    failure = classify(log, exit_code=1)
    assert failure.failure_class == "m_mismatch"
    assert failure.root_cause == verdict.log_line
    assert failure.evidence.line == len(log)
    assert "511 tokens" in failure.hint


def test_worker_verdict_of_any_class_carries_its_numbers():
    line = (
        "slidesparse: kv_cache_insufficient: needs 96.0 MiB of KV cache for 64 sequences of 272 "
        "tokens, 53.1 MiB are available"
    )
    facts = classify([line], exit_code=1).facts
    assert facts["needed_gib"] == pytest.approx(96 / 1024, abs=1e-6)
    assert facts["available_gib"] == pytest.approx(53.1 / 1024, abs=1e-6)
    assert (facts["sequences"], facts["tokens"]) == (64, 272)
    refused = classify(["slidesparse: unsupported_config: vLLM has no engine argument 'x'"])
    assert refused.hint.startswith("vLLM has no engine argument 'x'.")


def test_words_after_our_name_are_no_verdict_unless_they_name_a_class():
    assert cause(["slidesparse: error: something", "slidesparse: no_such_class: x"]) == "unknown"


def test_verdict_in_the_result_counts_when_the_log_has_lost_it():
    error = WorkerError("verify", "HarnessVerdict", "native was asked for", "wrong_kernel")
    failure = classify([CHUNKED], exit_code=1, worker_error=error)
    assert failure.failure_class == "wrong_kernel"
    assert failure.root_cause == "native was asked for"
    assert failure.evidence.line is None


def test_exception_in_the_result_counts_when_the_log_says_less():
    error = WorkerError("start_engine", "ValueError", KV_TOO_SMALL.removeprefix("ValueError: "))
    failure = classify([CHUNKED], exit_code=1, worker_error=error)
    assert failure.failure_class == "kv_cache_insufficient"
    assert failure.facts["needed_gib"] == 1.2
    wrapped = WorkerError("start_engine", "RuntimeError", "Engine core initialization failed.")
    log = engine_death(f"torch.OutOfMemoryError: {OOM}", "load_model")
    assert cause(log, worker_error=wrapped) == "oom_weights"
    assert cause([], worker_error=wrapped) == "unknown"


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("SIGKILL", "oom_host"),
        ("SIGBUS", "oom_host"),
        ("SIGSEGV", "cuda_misc"),
        ("SIGABRT", "cuda_misc"),
        ("SIGILL", "driver_or_env"),
        ("SIGTERM", "interrupted"),
        ("SIGRTMIN", "unknown"),
    ],
)
def test_signal_decides_when_nothing_was_printed(signal, expected):
    failure = classify([CHUNKED, "loading"], signal=signal, ending="signalled")
    assert failure.failure_class == expected
    assert failure.root_cause == "loading"
    assert failure.evidence.line == 2


@pytest.mark.parametrize("known", [{"signal": "9"}, {"exit_code": -9}, {"exit_code": 137}])
def test_sigkill_is_known_by_any_of_its_names(known):
    assert classify(["loading"], **known).failure_class == "oom_host"


def test_gpu_error_printed_before_the_kill_counts():
    log = traceback("torch.AcceleratorError: CUDA error: misaligned address", "forward")
    assert cause(log, signal="SIGKILL") == "cuda_misc"


def test_child_killed_with_signal_9_is_oom_host_only_when_nothing_else_is_printed():
    wrapper = "RuntimeError: Engine core initialization failed. Failed core proc(s): {'E_0': -9}"
    assert cause([CHUNKED, wrapper]) == "oom_host"
    assert cause([*traceback("KeyError: 'x'", "load"), wrapper]) == "python_bug"


@pytest.mark.parametrize("ending", ["timed_out", "silent"])
def test_end_by_time_limit_is_a_hang_and_shows_the_last_output(ending):
    log = ["Capturing CUDA graphs:  40%", *traceback("RuntimeError: cancelled", "stop"), "bye"]
    failure = classify(log, ending=ending, signal="SIGKILL", phase="capture_graphs")
    assert failure.failure_class == "timeout_hang"
    assert failure.root_cause == "bye"
    assert failure.facts == {"phase": "capture_graphs"}
    assert "capture_graphs" in failure.hint


def test_hang_after_an_error_that_the_engine_logged_is_that_error():
    log = logged(["EngineCore encountered a fatal error.", *traceback("KeyError: 'x'", "step")])
    assert cause(log, ending="timed_out") == "python_bug"
    nccl = logged(traceback("RuntimeError: NCCL error: unhandled system error", "init_device"))
    assert cause(nccl, ending="silent") == "nccl_or_distributed"


def test_interrupted_stays_interrupted_whatever_stopping_provoked():
    log = [
        *traceback("KeyboardInterrupt", "generate"),
        *logged(traceback(f"torch.OutOfMemoryError: {OOM}", "forward")),
    ]
    failure = classify(log, ending="interrupted", signal="SIGKILL")
    assert failure.failure_class == "interrupted"
    assert failure.retryable
    assert cause(traceback("KeyboardInterrupt", "generate")) == "interrupted"


def test_attempt_that_outlived_its_campaign_is_interrupted_unless_it_had_failed():
    assert cause(["loading"], exit_code=None, ending="lost") == "interrupted"
    failed = engine_death(KV_TOO_SMALL, "check")
    assert cause(failed, exit_code=None, ending="lost") == "kv_cache_insufficient"


def test_exit_0_without_result_is_no_result():
    assert cause([CHUNKED, "done"], exit_code=0, ending="exited") == "no_result"
    assert cause(engine_death(KV_TOO_SMALL), exit_code=0) == "kv_cache_insufficient"


def test_nothing_known_shows_the_last_line_that_looks_like_an_error():
    log = ["loading", "the frobnicator failed: code 7", "cleaning up", ""]
    failure = classify(log, exit_code=3)
    assert failure.failure_class == "unknown"
    assert failure.root_cause == "the frobnicator failed: code 7"
    assert failure.evidence.line == 2
    assert "exit code 3" in failure.hint


def test_missing_log_is_an_empty_one(tmp_path):
    failure = classify(tmp_path / "none.log", exit_code=1)
    assert failure.failure_class == "unknown"
    assert failure.evidence.line is None
    assert failure.root_cause == "(the log is empty)"


def test_long_line_is_read_in_bounded_memory(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text("no end " * 500_000 + f"error: {OOM}" + " and on" * 500_000)
    failure = classify(log, exit_code=1)
    assert failure.failure_class == "oom_device"
    assert failure.evidence.line == 1
    assert len(failure.root_cause) < 1 << 18


def test_prefixes_of_all_versions_are_taken_off():
    text = "RuntimeError: boom"
    for prefix, process, depth in [
        ("(Worker_TP1 pid=2) ERROR 01-26 10:00:00 [core.py:700] ", "Worker_TP1 pid=2", 2),
        ("(VllmWorker rank=1 pid=5) ERROR 01-26 10:00:00 [x.py:5] ", "VllmWorker rank=1 pid=5", 2),
        (
            "(RayWorkerWrapper pid=6, ip=10.1.0.7) ERROR 06-25 15:28:30 worker_base.py:148] ",
            "RayWorkerWrapper pid=6, ip=10.1.0.7",
            2,
        ),
        ("(EngineCore pid=1) ", "EngineCore pid=1", 1),
        ("[rank1]: ", "rank1", 2),
        ("ERROR 06-01 22:03:49 [core.py:500] ", "", 0),
        ("[2025-05-20T10:47:04Z] ERROR 05-20 03:47:04 [core.py:489] ", "", 0),
        ("Aug 19 18:34:30 vllm vllm[8707]: (APIServer pid=8707) ", "APIServer pid=8707", 0),
        ("", "", 0),
    ]:
        prefixed = split_prefixes(prefix + text)
        assert (prefixed.process, prefixed.depth, prefixed.text) == (process, depth, text)


def test_log_of_a_run_that_worked_is_success_noise(tmp_path):
    log = tmp_path / "bench.log"
    alarming = "(E pid=1) WARNING 01-25 18:06:25 [backends.py:609] Failed to read file <frozen os>"
    log.write_text(
        f"{CHUNKED}\n{alarming}\nThroughput: 77.56 requests/s, 1318.48 total tokens/s, 77.56 output "
        "tokens/s\n[rank0]:[W126 10:00:00.2 ProcessGroupNCCL.cpp:1524] Warning: WARNING: "
        "destroy_process_group() was not called before program exit\n"
    )
    assert classify_log_file(log) == {
        "file": str(log),
        "class": "success_noise",
        "verdict": "none",
        "root_cause": alarming,
        "line": 2,
        "retryable": False,
        "hint": CLASSES["success_noise"].advice,
    }


@pytest.mark.parametrize(
    "result",
    [
        "Throughput: 77.56 requests/s, 1318.48 total tokens/s, 77.56 output tokens/s",
        "Avg latency: 1.2345 seconds",
        "Request throughput (req/s):              12.34     ",
    ],
)
def test_result_of_every_vllm_benchmark_is_one(tmp_path, result):
    log = tmp_path / "bench.log"
    log.write_text(f"ERROR 01-26 10:00:00 [x.py:1] no cache\n{result}\nBroken pipe\n")
    assert classify_log_file(log)["class"] == "success_noise"


def test_benchmark_in_which_no_request_was_served_is_no_result(tmp_path):
    log = tmp_path / "bench.log"
    log.write_text("ERROR 01-26 10:00:00 [x.py:1] no server\nRequest throughput (req/s):   0.00 \n")
    assert classify_log_file(log)["class"] == "unknown"


def test_failure_after_a_printed_result_is_a_failure(tmp_path):
    log = tmp_path / "bench.log"
    log.write_text("Throughput: 77.56 requests/s\n" + "\n".join(engine_death(KV_TOO_SMALL)))
    assert classify_log_file(log)["class"] == "kv_cache_insufficient"


def test_log_alone_with_an_unknown_error_is_unknown(tmp_path):
    log = tmp_path / "server.log"
    log.write_text("starting\nERROR 01-26 10:00:00 [x.py:1] the frobnicator is out of order\n")
    found = classify_log_file(log)
    assert (found["class"], found["line"], found["retryable"]) == ("unknown", 2, True)


def test_log_that_cannot_be_read_is_the_users_problem(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        classify_log_file(tmp_path / "none.log")


def attempt_folder(folder: Path, result: Result | None) -> Path:
    (folder / "request.json").write_text(json.dumps({"schema_version": 1}))
    if result is not None:
        write_json(folder / "result.json", result)
    log = folder / "worker.log"
    log.write_text(f"{CHUNKED}\nloading\n")
    return log


def test_log_of_an_attempt_is_read_with_the_result_beside_it(tmp_path):
    error = WorkerError("verify", "HarnessVerdict", "511 tokens ran", "m_mismatch")
    failed = Result(cell_id="x", attempt=1, ok=False, error=error)
    assert classify_log_file(attempt_folder(tmp_path, failed))["class"] == "m_mismatch"
    worked = Result(cell_id="x", attempt=1, ok=True)
    assert classify_log_file(attempt_folder(tmp_path, worked))["class"] == "success_noise"
    (tmp_path / "result.json").write_text('{"schema_version": 1, "ok": tr')
    assert classify_log_file(attempt_folder(tmp_path, None))["class"] == "unknown"


def test_log_of_an_attempt_is_read_with_the_record_of_its_end(tmp_path):
    ended = Attempt(n=1, started="2026-03-01T12:00:00+00:00", engine_args={}, ending="silent")
    write_json(tmp_path / "attempt.json", {"schema_version": 1, "attempt": ended})
    assert classify_log_file(attempt_folder(tmp_path, None))["class"] == "timeout_hang"


def test_exit_code_that_is_no_signal_is_none():
    for exit_code in (1, 9, 97, 119, 127, 128, 255, 300):
        assert cause(["loading"], exit_code=exit_code) == "unknown"


def corpus() -> Path | None:
    """The public SlideSparse trees, where somebody has them; no test needs them."""
    beside = Path(__file__).parents[2] / "shared" / "corpus"
    folder = Path(os.environ.get("SLIDESPARSE_CORPUS", beside))
    return folder if (folder / "cells_rtx4090.csv").exists() else None


def failed_cells(folder: Path) -> Iterator[dict[str, str]]:
    for table in sorted(folder.glob("cells_*.csv")):
        with table.open(encoding="utf-8") as stream:
            yield from (row for row in csv.DictReader(stream) if row["outcome"] == "failed")


def logs_of(folder: Path, wanted: set[str]) -> Iterator[tuple[str, list[str]]]:
    """The lines of the campaign logs that the cells point to, by their path in the archives."""
    for archive in sorted(folder.glob("*.tar.xz")):
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name.removeprefix("./") in wanted:
                    stream = tar.extractfile(member)
                    assert stream is not None
                    text = stream.read().decode("utf-8", "replace")
                    yield member.name.removeprefix("./"), text.split("\n")


_SECTION = re.compile(r"^=+ M=\d+ =+$|\[\d+/\d+\] (?:测试|Testing) M=|^Attempt:")


def section_around(lines: list[str], number: int) -> tuple[int, list[str]]:
    """The part of a campaign log that one process printed, and the lines before it."""
    starts = [n for n, line in enumerate(lines) if _SECTION.search(line)]
    first = max(start for start in starts if start < number)
    after = min((start for start in starts if start >= number), default=len(lines))
    return first, lines[first:after]


@pytest.mark.skipif(corpus() is None, reason="the public SlideSparse trees are not here")
def test_failed_cells_of_the_public_runs_get_the_cause_found_by_hand():
    folder = corpus()
    assert folder is not None
    cells = list(failed_cells(folder))
    texts = dict(logs_of(folder, {cell["log_path"] for cell in cells}))
    wrong = []
    for cell in cells:
        path, number = cell["log_path"], int(cell["log_line"])
        before, lines = section_around(texts[path], number)
        failure = classify(lines, exit_code=1)
        found = failure.failure_class, before + (failure.evidence.line or 0)
        if found != (cell["reason_class"], number):
            wrong.append((path, number, found))
    assert wrong == []


def test_failure_survives_json():
    failure = classify(engine_death(KV_TOO_SMALL), exit_code=1)
    assert decode(Failure, json.loads(json.dumps(encode(failure)))) == failure


def test_a_line_of_ours_is_no_cause():
    failure = classify(["loading", "slidesparse measures x, attempt 2"], exit_code=7)
    assert failure.failure_class == "unknown"
    assert failure.root_cause == "The process ended with exit code 7."
    assert failure.evidence.line is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"ValueError: no KV cache\n"), "is compressed; unpack it first"),
        ("ValueError: no KV cache\n".encode("utf-16"), "is UTF-16; convert it first"),
    ],
    ids=["gzip", "UTF-16"],
)
def test_a_file_whose_lines_cannot_be_read_is_not_called_a_success(tmp_path, content, message):
    path = tmp_path / "vllm.log"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        classify_log_file(path)
