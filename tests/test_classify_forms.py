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
        ("2025-04-23 20:35:34.618070: F xla/autotuner.cc:1099] x", "", "FATAL", "x"),
        ("[11/18/2025-09:33:30] [TRT-LLM] [RANK 0] [E] x", "", "ERROR", "x"),
        ("[04/23/2022-10:11:03] [W] [TRT] x", "", "WARNING", "[TRT] x"),
        ("-->RuntimeError: x", "", "", "RuntimeError: x"),
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


def test_exception_of_a_task_that_nobody_awaited_is_read_from_its_repr():
    line = (
        "future: <Task finished name='Task-5' coro=<loop() done, defined at m.py:84> "
        "exception=CompilationError('at 38:4:\\ndef kernel(\\n    ^')>"
    )
    failure = found(["Task exception was never retrieved", line])
    assert (failure.failure_class, failure.root_cause) == ("compile_failure", line)


def test_kernel_log_counts_before_the_worker_that_felt_the_failure():
    xid = "[1830221.004411] NVRM: Xid (PCI:0000:66:00): 145, RLW_CTRL Nonfatal XC1 i0 Link 04"
    felt = "(Worker_TP0 pid=4) ERROR 09-10 21:50:03 [w.py:9] CUDA error: uncorrectable NVLink error"
    assert found([xid, felt]).root_cause == xid


def test_library_missing_in_a_warning_explains_the_operator_missing_in_a_worker():
    warning = (
        "WARNING 07-17 20:03:10 _custom_ops.py:14] Failed to import from vllm._C with ImportError("
        '"libcudart.so.12: cannot open shared object file: No such file or directory")'
    )
    error = "AttributeError: '_OpNamespace' '_C' object has no attribute 'rotary_embedding'"
    lines = [START, *FRAMES, error]
    failure = found([warning, *(f"[rank0]: {line}" for line in lines)])
    assert (failure.failure_class, failure.root_cause) == ("driver_or_env", warning)
    assert found(lines).root_cause == error


@pytest.mark.parametrize(
    ("frame", "error", "expected"),
    [
        (
            '  File "/opt/tilelang/jit/kernel.py", line 205, in _compile_and_create_adapter',
            "tvm.error.InternalError: stod",
            "compile_failure",
        ),
        (
            '  File "/opt/vllm/compilation/decorators.py", line 583, in aot_compile',
            "AttributeError: <function f at 0x7b8cf8> does not have the attribute 'FakeTensorMode'",
            "compile_failure",
        ),
        (
            '  File "/opt/flashinfer/decode.py", line 2466, in run',
            "tvm.error.InternalError: Check failed: output.size(0) == num_tokens (84 vs. 83) : ",
            "python_bug",
        ),
    ],
)
def test_function_that_compiles_tells_what_an_exception_below_it_is(frame, error, expected):
    inner = '  File "python/tvm_ffi/cython/function.pxi", line 758, in __call__'
    assert found([START, frame, inner, error]).failure_class == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/opt/torch/_inductor/codegen/triton.py", "compile_failure"),
        ("/opt/triton/language/semantic.py", "compile_failure"),
        ("/opt/vllm/attention/selector.py", "unsupported_config"),
    ],
)
def test_refusal_of_a_compiler_is_a_failure_to_compile(file: str, expected: str):
    lines = [START, f'  File "{file}", line 9, in f', "    raise NotImplementedError(", REFUSED]
    assert found(lines).failure_class == expected


REFUSED = "NotImplementedError: arguments of this type are not supported"


@pytest.mark.parametrize(
    "result",
    [
        "======================== 3 passed in 61.27s (0:01:01) =========================",
        "# Out of bounds values : 0 OK",
    ],
)
def test_error_before_the_result_of_a_test_run_is_noise(result: str, tmp_path: Path):
    log = tmp_path / "some.log"
    log.write_text(f"ERROR 05-31 01:03:58 [prometheus.py:77] Error during cleanup\n{result}\n")
    assert classify_log_file(log)["class"] == "success_noise"


def test_failed_tests_are_no_success(tmp_path: Path):
    log = tmp_path / "some.log"
    log.write_text(f"{ERROR}\n============ 1 failed, 3 passed in 61.27s ============\n")
    assert classify_log_file(log)["class"] == "python_bug"


def test_engine_that_ends_before_its_client_is_noise_when_all_was_answered(tmp_path: Path):
    gone = "ERROR 11-17 15:41:33 [core_client.py:598] Engine core proc EngineCore_DP0 died unexpectedly"
    log = tmp_path / "some.log"
    log.write_text(f"Processed prompts: 100%|██████████| 2/2\n{gone}\n", encoding="utf-8")
    assert classify_log_file(log)["class"] == "success_noise"
    log.write_text(f"Processed prompts:  50%|█████     | 1/2\n{gone}\n", encoding="utf-8")
    assert classify_log_file(log)["class"] == "unknown"


def assertions(count: int) -> list[str]:
    own = "IndexKernel.cu:402: f: block: [{n},0,0], thread: [{n},0,0] Assertion `a <= b` failed."
    return [own.format(n=n) for n in range(count)]


def test_assertion_that_every_thread_prints_is_its_first_line():
    failure = found(assertions(3000))
    assert (failure.failure_class, failure.root_cause) == ("device_assert", assertions(1)[0])


def test_what_stands_behind_a_flood_of_one_cause_is_read():
    lost = "NVRM: Xid (PCI:0000:3b:00): 79, pid=4243, GPU has fallen off the bus."
    assert found([*assertions(50), lost]).failure_class == "gpu_lost"
    between = [*assertions(50), lost, *assertions(50)]
    assert found(between).root_cause == lost


UNKNOWN_ERROR = 'ERROR 05-31 01:03:58 [client.py:7] Error Occurs: "Request timed out." Retry ...'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK', "success_noise"),
        ("Training Batches Processed: 100%|██████████| 2/2 [01:48<00:00]", "success_noise"),
        ('INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 500 Error', "unknown"),
        ("Loading safetensors checkpoint shards: 100%|██████████| 2/2 [00:08<00:00]", "unknown"),
        ("Training Batches Processed:  50%|█████     | 1/2 [01:00<01:00]", "unknown"),
    ],
)
def test_work_that_goes_on_tells_that_an_unknown_error_did_no_harm(line, expected, tmp_path: Path):
    log = tmp_path / "some.log"
    log.write_text(f"{UNKNOWN_ERROR}\n{line}\n", encoding="utf-8")
    assert classify_log_file(log)["class"] == expected
    log.write_text(f"{line}\n{UNKNOWN_ERROR}\n", encoding="utf-8")
    assert classify_log_file(log)["class"] == "unknown"


def test_what_a_server_survives_on_its_way_up_is_noise(tmp_path: Path):
    log = tmp_path / "some.log"
    ready = "INFO:     Application startup complete."
    log.write_text("\n".join([START, *FRAMES, ERROR, ready, ""]))
    assert classify_log_file(log)["class"] == "success_noise"
    log.write_text("\n".join([ready, START, *FRAMES, ERROR, ""]))
    assert classify_log_file(log)["class"] == "python_bug"


def test_device_that_is_lost_is_lost_whatever_starts_afterwards():
    lost = "NVRM: Xid (PCI:0000:3b:00): 79, pid=4243, GPU has fallen off the bus."
    assert found([lost, "INFO:     Application startup complete."]).failure_class == "gpu_lost"


def test_compilers_own_words_count_before_those_of_the_build():
    error = 'cutlass/half.h(15): error: identifier "_castu32_f32" is undefined'
    failure = found(["RuntimeError: Ninja build failed. Ninja output:", error])
    assert (failure.failure_class, failure.root_cause) == ("compile_failure", error)


def test_what_the_compiler_backend_raised_stands_below_its_wrapper():
    wrapper = "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:"
    frame = '  File "/opt/torch/_dynamo/output_graph.py", line 9, in _call_user_compiler'
    raised = "AttributeError: module 'torch._tensor' has no attribute 'split'"
    failure = found(["Traceback (most recent call last):", frame, "    call()", wrapper, raised])
    assert (failure.failure_class, failure.root_cause) == ("compile_failure", raised)


def test_module_without_the_attribute_outside_of_a_compiler_is_of_another_version():
    raised = "AttributeError: module 'torch._tensor' has no attribute 'split'"
    assert found([raised]).failure_class == "driver_or_env"


def test_kernel_that_fails_while_many_are_tried_is_noise(tmp_path: Path):
    log = tmp_path / "some.log"
    failed = "No valid triton configs. OutOfResources: out of resource: shared memory, Required: 9, Hardware limit: 8"
    log.write_text(f"Runtime error during autotuning: \n{failed}. \nIgnoring this choice.\nready\n")
    assert classify_log_file(log)["class"] == "success_noise"
    log.write_text(f"{failed}\n")
    assert classify_log_file(log)["class"] == "compile_failure"


def test_after_the_choice_that_failed_errors_count_again():
    tuning = ["Runtime error during autotuning: ", "no config", "Ignoring this choice."]
    assert found([*tuning, START, *FRAMES, ERROR]).root_cause == ERROR


@pytest.mark.parametrize(
    "line", ["Failed requests:            0", "errors=0", "0 failed, 12 passed"]
)
def test_counts_of_no_errors_are_none(line: str, tmp_path: Path):
    log = tmp_path / "some.log"
    log.write_text(f"loading\n{line}\n")
    assert classify_log_file(log)["class"] == "success_noise"


def test_error_that_is_only_named_before_requests_are_answered_is_noise(tmp_path: Path):
    log = tmp_path / "some.log"
    named = "node:1:1 [0] misc/ibvwrap.cc:190 NCCL WARN Call to ibv_open_device failed"
    answered = 'INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK'
    log.write_text(f"{named}\n{answered}\n")
    assert classify_log_file(log)["class"] == "success_noise"
    log.write_text(f"{answered}\n{named}\n")
    assert classify_log_file(log)["class"] == "nccl_or_distributed"


def test_memory_that_ends_while_a_layer_is_made_is_that_of_the_weights():
    oom = "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    made = '  File "/opt/fairscale/nn/model_parallel/layers.py", line 349, in __init__'
    ran = '  File "/opt/llama/model.py", line 12, in forward'
    start = "Traceback (most recent call last):"
    assert found([start, made, "    empty()", oom]).failure_class == "oom_weights"
    assert found([start, ran, "    self()", made, "    empty()", oom]).failure_class == "oom_device"


def test_exception_of_a_kernel_that_is_compiled_ahead_to_try_it_is_noise(tmp_path: Path):
    log = tmp_path / "some.log"
    frame = '  File "/opt/torch/_inductor/select_algorithm.py", line 4397, in {}'
    raised = "RuntimeError: No valid triton configs. OutOfMemoryError: out of resource: triton_mm"
    lines = [START, frame.format("precompile_with_captured_stdout"), "    precompile()", raised]
    log.write_text("\n".join([*lines, "AUTOTUNE mm(2048x4096, 4096x4096)", "done"]))
    assert classify_log_file(log)["class"] == "success_noise"
    lines[1] = frame.format("autotune_select_algorithm")
    assert found(lines).failure_class == "compile_failure"


def test_exception_that_a_warning_announced_is_the_line_of_the_cause():
    said = "CUDA unknown error - this may be due to an incorrectly set up environment."
    warning = f"/opt/torch/cuda/__init__.py:138: UserWarning: CUDA initialization: {said} (Triggered internally at x)"
    frame = '  File "/opt/torch/cuda/__init__.py", line 298, in _lazy_init'
    raised = f"RuntimeError: {said}"
    assert found([warning, START, frame, "    init()", raised]).root_cause == raised
    assert found([warning]).root_cause == warning


def test_assertion_of_an_engine_that_runs_is_its_bug():
    asserted = "AssertionError: Workspace growth is not allowed after locking."
    frame = '  File "/opt/vllm/v1/worker/{}.py", line 4102, in {}'
    running = [START, frame.format("gpu_model_runner", "execute_model"), "    forward()", asserted]
    starting = [START, frame.format("gpu_worker", "init_device"), "    allocate()", asserted]
    assert found(running).failure_class == "python_bug"
    assert found(starting).failure_class == "unsupported_config"


def test_layer_that_another_stage_has_is_no_weight_of_the_checkpoint():
    key = "KeyError: 'language_model.model.layers.20.linear_attn'"
    frame = '  File "/opt/vllm/v1/worker/gpu_model_runner.py", line 9, in initialize_attn_backend'
    assert found([START, frame, "    layers[layer_name]", key]).failure_class == "python_bug"


def test_what_a_server_dies_of_counts_before_a_request_that_it_refused():
    refused = "vllm.exceptions.VLLMValidationError: The prompt cannot be empty"
    assert found([START, *FRAMES, refused]).failure_class == "unsupported_config"
    assert found([START, *FRAMES, refused, START, *FRAMES, ERROR]).root_cause == ERROR


def test_task_that_ray_names_counts_before_the_number_that_it_killed():
    counted = f"{RAYLET[:-1]}1 Workers (tasks / actors) killed due to memory pressure (OOM)"
    named = (
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory."
    )
    assert found([counted, START, *FRAMES, named]).root_cause == named
    assert found([counted]).root_cause == counted


HEADER = "triton.compiler.errors.CompilationError: at 19:12:"
KERNEL = ["    z = tl.dot(x, y)", "        ^"]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (HEADER, "NameError('foo is not defined')"),
        (
            "torch._inductor.exc.InductorError: CompilationError: at 7:22:",
            "IncompatibleTypeErrorImpl('x')",
        ),
        (HEADER, "Cannot make_shape_compatible"),
    ],
)
def test_reason_below_the_source_of_a_kernel_is_the_line(header: str, reason: str):
    failure = found([START, *FRAMES, header, *KERNEL, reason])
    assert (failure.failure_class, failure.root_cause) == ("compile_failure", reason)


def test_place_in_a_kernel_is_the_line_when_nothing_stands_below():
    assert found([START, *FRAMES, HEADER, *KERNEL, "", "bye"]).root_cause == HEADER
    assert found([START, *FRAMES, HEADER, *KERNEL]).failure_class == "compile_failure"


def test_assertion_that_a_place_in_a_kernel_was_raised_from_is_the_line():
    frame = '  File "/opt/triton/language/semantic.py", line 1355, in dot'
    asserted = "AssertionError: both shapes must be >= 16!"
    chain = "The above exception was the direct cause of the following exception:"
    failure = found([START, frame, asserted, "", chain, "", START, *FRAMES, HEADER, *KERNEL])
    assert (failure.failure_class, failure.root_cause) == ("compile_failure", asserted)


def test_warning_of_nccl_gives_the_reason_of_an_error_that_has_none():
    warned = (
        "n1:1:9 [0] misc/shmutils.cc:93 NCCL WARN Call to open failed: No such file or directory"
    )
    error = "torch.distributed.DistBackendError: NCCL error in: x.cpp:77, {}, NCCL version 2.25.1"
    little = error.format("unhandled system error")
    remote = error.format("remote process exited or there was a network error")
    assert found([warned, START, *FRAMES, little]).root_cause == warned
    assert found([START, *FRAMES, little]).root_cause == little
    assert found([warned, START, *FRAMES, remote]).failure_class == "nccl_or_distributed"


def test_last_link_of_a_chain_that_stopped_a_container_is_the_line():
    daemon = "docker: Error response from daemon: OCI runtime create failed: error running hook #0"
    last = "nvidia-container-cli: initialization error: driver rpc error: failed to process request"
    assert found([daemon, last]).root_cause == last
    assert found([daemon]).root_cause == daemon


def test_logger_of_the_file_that_tries_kernels_prints_noise(tmp_path: Path):
    log = tmp_path / "some.log"
    error = "RuntimeError: No valid triton configs. OutOfMemoryError: out of resource: triton_mm"
    logger = "E0731 18:22:10.114000 5512 torch/_inductor/{}.py:2620] [0/0] "
    log.write_text(f"{logger.format('select_algorithm')}{error}\n")
    assert classify_log_file(log)["class"] == "success_noise"
    log.write_text(f"{logger.format('graph')}{error}\n")
    assert classify_log_file(log)["class"] != "success_noise"


def test_diagnostic_of_a_kernel_before_tests_that_passed_is_noise(tmp_path: Path):
    log = tmp_path / "some.log"
    diagnostic = 'loc("k.py":7:1): error: operation scheduled before its operands'
    log.write_text(f"{diagnostic}\n4 cases, 4 passed, 0 failed\n")
    assert classify_log_file(log)["class"] == "success_noise"
    log.write_text(f"{diagnostic}\n4 cases, 3 passed, 1 failed\n")
    assert classify_log_file(log)["class"] == "compile_failure"


@pytest.mark.parametrize(
    ("file", "key", "expected"),
    [
        (
            "/opt/transformers/models/auto/configuration_auto.py",
            "'qwen3_next'",
            "unsupported_config",
        ),
        ("/opt/vllm/config.py", "'type'", "python_bug"),
        ("/opt/vllm/config/vllm.py", "'model.layers.20.self_attn.attn'", "python_bug"),
    ],
)
def test_key_that_no_registry_was_asked_for_is_a_bug(file: str, key: str, expected: str):
    lines = [START, f'  File "{file}", line 9, in _get_and_verify_max_len', "    scaling[key]"]
    assert found([*lines, f"KeyError: {key}"]).failure_class == expected


def test_bare_assertion_of_a_notebook_is_a_bug():
    title = "AssertionError" + " " * 28 + "Traceback (most recent call last)"
    frame = "File /opt/vllm/model_executor/layers/sampler.py:956, in get_logprobs(logprobs)"
    failure = found([title, frame, "--> 956 assert a == b", "", "AssertionError:"])
    assert (failure.failure_class, failure.root_cause) == ("python_bug", "AssertionError:")


SERVED = [
    "INFO:     Application startup complete.",
    'INFO:     10.0.0.3:41 - "POST /v1/completions HTTP/1.1" 200 OK',
]
SIGTERM = "INFO 09-09 10:00:00 [launcher.py:80] Received SIGTERM, shutting down"
SHUT_DOWN = "INFO:     Application shutdown complete."


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([*SERVED, SIGTERM, SHUT_DOWN], "success_noise"),
        ([*SERVED, SHUT_DOWN, START, *FRAMES, "KeyboardInterrupt"], "success_noise"),
        ([*SERVED, SIGTERM], "interrupted"),
        ([SERVED[0], SIGTERM, SHUT_DOWN], "interrupted"),
        ([*SERVED, "job is being preempted", SHUT_DOWN], "interrupted"),
        ([*SERVED, START, *FRAMES, ERROR, SIGTERM, SHUT_DOWN], "python_bug"),
    ],
)
def test_server_that_answered_and_ended_in_order_did_its_work(
    lines: list[str], expected: str, tmp_path: Path
):
    log = tmp_path / "some.log"
    log.write_text("\n".join(lines))
    assert classify_log_file(log)["class"] == expected


@pytest.mark.parametrize(
    "result",
    [
        "| llama 7B Q4_0 | 3.56 GiB | 6.74 B | CUDA | 99 | pp512 | 5012.11 ± 12.20 |",
        "|gsm8k|      3|flexible-extract|     5|exact_match|↑  |0.3400|±  |0.0130|",
        "[BENCHMARK] batch_size 8 avg_sequence_length 512 latency(ms) 812.11",
        "Result is : VALID",
    ],
)
def test_results_of_other_programs_end_a_run_that_worked(result: str, tmp_path: Path):
    log = tmp_path / "some.log"
    log.write_text(f"ERROR: out of memory, trying again with less\n{result}\n")
    assert classify_log_file(log)["class"] == "success_noise"
    log.write_text("ERROR: out of memory, trying again with less\n")
    assert classify_log_file(log)["class"] != "success_noise"


def test_nccl_error_without_words_is_told_by_the_warning_before_it():
    warning = "n:55:77 [0] init.cc:943 NCCL WARN Duplicate GPU detected : rank 1 and rank 0"
    error = "torch.distributed.DistBackendError: NCCL error in: a.cpp:1331, invalid usage"
    assert found([warning, error]).root_cause == warning


def test_last_cause_of_a_chain_below_an_error_of_rust_is_the_line():
    lines = ["Error: Could not create backend", "", "Caused by:", "    0: Could not start backend"]
    reason = "    1: Runtime compute cap 70 is not compatible with compile time compute cap 80"
    failure = found([*lines, reason])
    assert (failure.failure_class, failure.root_cause) == ("unsupported_arch", reason)


def test_unknown_cause_below_an_error_of_rust_is_no_python_bug():
    failure = found(["Error: Could not create backend", "", "Caused by:", "    something odd"])
    assert (failure.failure_class, failure.root_cause) == ("unknown", "    something odd")


def test_exception_inside_of_a_group_is_the_cause():
    lines = [
        "  + Exception Group Traceback (most recent call last):",
        '  |   File "/opt/starlette/_utils.py", line 76, in collapse_excgroups',
        "  |     yield",
        "  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)",
        "  +-+---------------- 1 ----------------",
        *(f"    | {line}" for line in (START, *FRAMES, ERROR)),
        "    +------------------------------------",
    ]
    failure = found(lines)
    assert (failure.failure_class, failure.root_cause) == ("python_bug", f"    | {ERROR}")


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("/opt/site-packages/kernels/layer.py", "driver_or_env"),
        ("/opt/site-packages/transformers/integrations/hub.py", "python_bug"),
        ("/home/me/app/layer.py", "python_bug"),
    ],
)
def test_exception_of_another_package_while_one_is_imported_is_their_mismatch(inner, expected):
    lines = [
        START,
        '  File "/home/me/app/run.py", line 1, in <module>',
        "    import transformers",
        '  File "/opt/site-packages/transformers/integrations/hub_kernels.py", line 89, in <module>',
        '    "cuda": LayerRepository(',
        f'  File "{inner}", line 76, in __init__',
        "    self.version = version.major",
        "AttributeError: 'str' object has no attribute 'major'",
    ]
    assert found(lines).failure_class == expected


SITE = "/opt/site-packages"
INTO_TRANSFORMERS = [
    START,
    '  File "/home/me/app/run.py", line 1, in <module>',
    "    import transformers",
    f'  File "{SITE}/transformers/hub_kernels.py", line 89, in <module>',
    "    x = Layer()",
]
LAYER = [
    f'  File "{SITE}/kernels/layer.py", line 76, in __init__',
    "    self.version = version.major",
]
LINEAR = [
    f'  File "{SITE}/torch/nn/modules/linear.py", line 125, in forward',
    "    return F.linear(x)",
]
MODULE = '  File "{}/{}", line 9, in <module>'


@pytest.mark.parametrize(
    "lines",
    [
        *(
            pytest.param(
                [
                    START,
                    MODULE.format("/opt/bin", runner),
                    "    sys.exit(main())",
                    MODULE.format(SITE, f"{runner}/__main__.py"),
                    "    runpy.run_module(name)",
                    '  File "<frozen runpy>", line 88, in _run_code',
                    MODULE.format(SITE, "vllm/entrypoints/openai/api_server.py"),
                    "    main()",
                    *LINEAR,
                    "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)",
                ],
                id=runner,
            )
            for runner in ("coverage", "debugpy")
        ),
        pytest.param(
            [
                *INTO_TRANSFORMERS,
                *LAYER,
                "AttributeError: 'str' object has no attribute 'major'",
                "",
                "During handling of the above exception, another exception occurred:",
                "",
                START,
                f'  File "{SITE}/vllm/worker.py", line 7, in step',
                "    return self.queue[0]",
                "IndexError: list index out of range",
            ],
            id="handled",
        ),
        pytest.param(
            [
                START,
                MODULE.format(SITE, "lm_eval/__main__.py"),
                "    cli_evaluate()",
                MODULE.format(SITE, "lm_eval/tasks.py"),
                "    x = torch.stack(y)",
                *LINEAR,
                "ValueError: x",
            ],
            id="program of a package",
        ),
        pytest.param([*INTO_TRANSFORMERS, *LINEAR, "ValueError: x"], id="bad input"),
        pytest.param([*INTO_TRANSFORMERS, *LAYER, "IndexError: x"], id="of no version"),
    ],
)
def test_bug_below_a_module_is_no_mismatch_of_packages(lines: list[str]):
    assert found(lines).failure_class == "python_bug"


def test_network_that_a_download_does_not_reach_is_none_of_the_ranks():
    lines = [
        START,
        f'  File "{SITE}/urllib3/connection.py", line 198, in _new_conn',
        "    sock = connection.create_connection(",
        "OSError: [Errno 101] Network is unreachable",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        START,
        f'  File "{SITE}/huggingface_hub/file_download.py", line 1374, in _get_metadata',
        "    r = _request_wrapper(",
        (
            "requests.exceptions.ConnectionError: (MaxRetryError('HTTPSConnectionPool(host='huggingface.co', port=443)"
            ": Max retries exceeded with url: /a/b (Caused by NewConnectionError(': Failed to establish a new connection: "
            "[Errno 101] Network is unreachable'))'))"
        ),
    ]
    assert found(lines).failure_class == "model_not_found"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("requests/adapters.py", "python_bug"),
        ("torch/distributed/rendezvous.py", "nccl_or_distributed"),
    ],
)
def test_route_to_a_host_is_of_the_ranks_where_they_meet(file: str, expected: str):
    frame = f'  File "{SITE}/{file}", line 7, in send'
    assert found([START, frame, "OSError: [Errno 113] No route to host"]).failure_class == expected


def test_source_line_of_one_process_is_no_cause_below_an_error_of_another():
    engine, worker = "(EngineCore pid=1) ", "(Worker pid=2) "
    source, error = '  File "/home/me/a.py", line 3, in f', "IndexError: list index out of range"
    lines = [f"{engine}{START}", f"{engine}{source}", f"{worker}Error: x", f"{worker}Caused by:"]
    failure = found([*lines, f"{engine}    fail('CUDA out of memory')", f"{engine}{error}"])
    assert (failure.failure_class, failure.root_cause) == ("python_bug", f"{engine}{error}")


def test_chain_of_causes_ends_after_some_lines():
    far = "    RuntimeError: CUDA out of memory"
    near = found(["Error: x", "Caused by:", far])
    assert near.failure_class == "oom_device"
    links = [f"    plain {number}" for number in range(30)]
    assert found(["Error: x", "Caused by:", *links, "    last"]).root_cause != "    last"


def test_program_of_a_package_that_calls_another_one_does_not_import_it():
    lines = [
        START,
        '  File "/opt/site-packages/swift/cli/infer.py", line 5, in <module>',
        "    infer_main()",
        '  File "/opt/site-packages/vllm/engine.py", line 7, in step',
        "    return self.queue[0]",
        "IndexError: list index out of range",
    ]
    assert found(lines).failure_class == "python_bug"


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("Building wheel for vllm (pyproject.toml): started", "driver_or_env"),
        ("Building wheel for vllm (setup.py) ... done", "compile_failure"),
        ("", "compile_failure"),
    ],
)
def test_header_missing_is_the_systems_where_a_package_is_installed(first: str, expected: str):
    line = (
        "/opt/ATen/cuda/CUDAContextLight.h:8:10: fatal error: cusparse.h: No such file or directory"
    )
    assert found([first, line]).failure_class == expected


OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. "


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            (
                f"{OUT_OF_MEMORY}GPU 0 has a total capacity of 23.69 GiB of which 12.00 MiB is free. Including "
                "non-PyTorch memory, this process has 500.00 MiB memory in use."
            ),
            "gpu_memory_busy",
        ),
        (
            (
                f"{OUT_OF_MEMORY}GPU 0 has a total capacity of 23.69 GiB of which 12.00 MiB is free. Including "
                "non-PyTorch memory, this process has 23.10 GiB memory in use."
            ),
            "oom_device",
        ),
        (
            (
                f"{OUT_OF_MEMORY}GPU 0 has a total capacity of 79.15 GiB of which 10.81 MiB is free. Process 2034 has "
                "77.10 GiB memory in use. Process 88 has 2.00 GiB memory in use. Of the allocated memory 1.10 GiB is "
                "allocated by PyTorch, and 10.00 MiB is reserved by PyTorch but unallocated."
            ),
            "gpu_memory_busy",
        ),
        (
            (
                f"{OUT_OF_MEMORY}GPU 0 has a total capacity of 79.15 GiB of which 10.81 MiB is free. Process 2034 has "
                "79.10 GiB memory in use. Of the allocated memory 70.10 GiB is allocated by PyTorch, and 10.00 MiB is "
                "reserved by PyTorch but unallocated."
            ),
            "oom_device",
        ),
        (
            (
                "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 23.69 GiB total capacity; 112.00 "
                "MiB already allocated; 11.00 MiB free; 120.00 MiB reserved in total by PyTorch)"
            ),
            "gpu_memory_busy",
        ),
        (
            (
                "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 23.69 GiB total capacity; 21.00 "
                "GiB already allocated; 11.00 MiB free; 22.10 GiB reserved in total by PyTorch)"
            ),
            "oom_device",
        ),
    ],
)
def test_memory_that_is_neither_free_nor_its_own_is_held_by_others(line: str, expected: str):
    assert found([line]).failure_class == expected


RAY_ENDS = "*** SIGTERM received at time=1719989502 on cpu 71 ***"
ALL_ANSWERED = "Processed prompts: 100%|██████████| 4/4 [00:00<00:00, 18.26it/s]"
ROUND_2 = ["round 2: 512 prompts", "Running: 64 reqs, Waiting: 448 reqs"]
TIME_LIMIT = (
    "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2025-01-01T00:00:00 DUE TO TIME LIMIT ***"
)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([ALL_ANSWERED, RAY_ENDS], "success_noise"),
        (
            [ALL_ANSWERED, "Processed prompts:  25%|██▌       | 1/4 [00:00<00:01]", RAY_ENDS],
            "interrupted",
        ),
        ([RAY_ENDS], "interrupted"),
        ([ALL_ANSWERED, START, *FRAMES, "zmq.error.ContextTerminated"], "success_noise"),
        ([ALL_ANSWERED, START, *FRAMES, ERROR], "python_bug"),
        ([ALL_ANSWERED, "", "Prompt: 'Hi', Generated text: ' you'", RAY_ENDS], "success_noise"),
        ([ALL_ANSWERED, *ROUND_2, RAY_ENDS], "interrupted"),
        ([ALL_ANSWERED, RAY_ENDS, TIME_LIMIT], "interrupted"),
        (
            [ALL_ANSWERED, *ROUND_2, START, *FRAMES, "zmq.error.ContextTerminated"],
            "python_bug",
        ),
        ([*SERVED, SIGTERM, TIME_LIMIT, "Metrics logger gracefully stopped"], "interrupted"),
        ([*SERVED, SIGTERM, TIME_LIMIT, SHUT_DOWN], "interrupted"),
        ([*SERVED, SIGTERM, "Metrics logger gracefully stopped"], "interrupted"),
        ([*SERVED, SIGTERM, "Shutdown complete of worker pool 1, 3 left"], "interrupted"),
        (
            [
                "(ServeReplica:a pid=7) INFO replica.py:442 - __CALL__ OK 312.6ms",
                *(START, *FRAMES, "KeyboardInterrupt"),
                "INFO scripts.py:471 -- Got KeyboardInterrupt, shutting down...",  # it begins to
            ],
            "interrupted",
        ),
    ],
)
def test_parts_of_a_program_that_are_ended_when_it_is_done_are_noise(
    lines: list[str], expected: str, tmp_path: Path
):
    log = tmp_path / "some.log"
    log.write_text("\n".join(lines))
    assert classify_log_file(log)["class"] == expected


def test_source_of_a_raise_is_not_the_line_of_its_exception():
    source = '    raise RuntimeError(f"NCCL error: {error_str}")'
    error = "RuntimeError: NCCL error: unhandled system error"
    assert found([source, error]).root_cause == error
