"""Every signature is data with an example, and the example must classify as itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from slidesparse_bench.failures import CLASSES, classify
from slidesparse_bench.failures.classes import classes_table
from slidesparse_bench.failures.scan import scan_log
from slidesparse_bench.failures.signature import Signature, Tier
from slidesparse_bench.failures.signatures import SIGNATURES
from slidesparse_bench.records import Verdict

DOCS = Path(__file__).parents[1] / "docs" / "failures.md"

each_signature = pytest.mark.parametrize("signature", SIGNATURES, ids=lambda entry: entry.id)


@each_signature
def test_example_classifies_as_itself(signature: Signature, tmp_path: Path):
    log = tmp_path / "worker.log"
    log.write_text(signature.example, encoding="utf-8")
    scan = scan_log(log)
    found = scan.proved or scan.cause
    assert found is not None
    assert found.signature.id == signature.id
    assert classify(log, exit_code=1).failure_class == signature.failure_class


@each_signature
def test_example_between_other_lines_gives_the_same_line(signature: Signature):
    example = signature.example.split("\n")
    alone = classify(example, exit_code=1)
    between = classify(["loading", *example, "", "bye"], exit_code=1)
    assert alone.evidence.line is not None
    assert between.evidence.line == alone.evidence.line + 1
    assert between.root_cause == alone.root_cause == example[alone.evidence.line - 1]


@each_signature
def test_every_placeholder_of_the_hint_is_a_fact_of_the_example(signature: Signature):
    failure = classify(signature.example.split("\n"), exit_code=1)
    advice_only = failure.hint == CLASSES[failure.failure_class].advice
    assert advice_only is (signature.hint == "")
    assert "{" not in failure.hint


def test_ids_are_unique():
    ids = [signature.id for signature in SIGNATURES]
    assert len(ids) == len(set(ids))


def test_every_class_with_a_message_of_its_own_has_a_signature():
    covered = {signature.failure_class for signature in SIGNATURES}
    assert set(CLASSES) - covered == {"unknown", "success_noise"}


def test_only_the_worker_states_its_own_verdicts():
    harness = {"m_mismatch", "wrong_kernel", "no_result"}
    for signature in SIGNATURES:
        if signature.failure_class in harness:
            assert signature.pattern.startswith("^slidesparse: ")


@each_signature
def test_signature_names_a_known_class_and_is_prefiltered(signature: Signature):
    assert signature.failure_class in CLASSES
    assert signature.needles
    assert signature.tier is not Tier.PROVED


@pytest.mark.parametrize("entry", CLASSES.values(), ids=lambda entry: entry.id)
def test_class_explains_itself(entry):
    assert entry.what
    assert entry.advice.endswith(".")
    never = {Verdict.HARDWARE_LIMIT, Verdict.CONFIGURATION, Verdict.HARDWARE_FAULT, Verdict.NONE}
    assert not (entry.retryable and entry.verdict in never)


def test_documentation_shows_the_table_of_classes():
    assert classes_table() in DOCS.read_text(encoding="utf-8")


WORDINGS = [
    ("oom_device", "torch.cuda.OutOfMemoryError: HIP out of memory. Tried to allocate 512.00 MiB."),
    ("oom_device", "RuntimeError: Triton Error [CUDA]: out of memory"),
    ("oom_device", "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ("oom_device", "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    ("oom_weights", "Failed to load model - not enough GPU memory. Try lowering"),
    (
        "kv_cache_insufficient",
        (
            "ValueError: To serve at least one request with the models's max seq len (131072), "
            "(16.00 GB KV cache is needed, which is larger than the available KV cache memory (3.5 GB)"
        ),
    ),
    (
        "kv_cache_insufficient",
        (
            "ValueError: No available memory for the cache blocks. Try increasing "
            "`gpu_memory_utilization` when initializing the engine (this flag also controls CPU memory "
            "reservation on the CPU backend, despite its name)."
        ),
    ),
    (
        "gpu_memory_busy",
        (
            "ValueError: Free memory on device cuda:1 (21.4/139.81 GiB) on startup is less than desired "
            "GPU memory utilization (0.8, 111.84 GiB). Decrease GPU memory utilization"
        ),
    ),
    (
        "gpu_memory_busy",
        (
            "AssertionError: Error in memory profiling. Initial free memory 13756268544, current free "
            "memory 16127623168. This happens when the GPU memory was not properly cleaned up"
        ),
    ),
    ("oom_host", "bash: line 12: 31337 Killed                  python -m slidesparse_bench.worker"),
    (
        "oom_host",
        "RuntimeError: unable to open shared memory object </torch_81_2> in read-write mode",
    ),
    (
        "oom_host",
        "node1:1:1 [0] NCCL WARN Error: failed to extend /dev/shm/nccl-Xk2 to 33030532 bytes",
    ),
    ("oom_host", "terminate called after throwing an instance of 'std::bad_alloc'"),
    ("illegal_memory_access", "CUDA Exception: cudaErrorIllegalAddress: an illegal memory access"),
    ("illegal_memory_access", "Memory access fault by GPU node-1 on address 0x7f0000000000."),
    ("int32_index_overflow", "ValueError: Scalar -2779057358 is out of range for type int32"),
    ("int32_index_overflow", "IndexError: index -2142115296 is out of bounds for axis 0"),
    (
        "int32_index_overflow",
        "RuntimeError: value cannot be converted to type int32_t without overflow",
    ),
    (
        "int32_index_overflow",
        "RuntimeError: at::cuda::blas::gemm argument ldc must be less than 2147483647 but got 3e9",
    ),
    (
        "int32_index_overflow",
        "RuntimeError: nonzero is not supported for more than INT_MAX elements",
    ),
    ("int32_index_overflow", "OverflowError: Python int too large to convert to C int"),
    ("device_assert", "RuntimeError: HIP error: device-side assert triggered"),
    ("cuda_misc", "RuntimeError: CUDA error: misaligned address"),
    ("cuda_misc", "CUSPARSE API failed at line 287 with error: internal error (7)"),
    ("cuda_misc", "nvmath.bindings.cusparseLt.cuSPARSELtError: CUSPARSE_STATUS_INTERNAL_ERROR (7)"),
    ("cuda_misc", "RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCr"),
    ("cuda_misc", "!!!!!!! Segfault encountered !!!!!!!"),
    ("cuda_misc", "RuntimeError: Triton Error [CUDA]: unspecified launch failure"),
    ("unsupported_config", "cuSPARSELtError: CUSPARSE_STATUS_NOT_SUPPORTED (10)"),
    ("unsupported_config", "RuntimeError: self.size(0) needs to be greater than 16, but got 16"),
    (
        "unsupported_config",
        "RuntimeError: Expected size of mat1 to be divisible by 16 but got 3585",
    ),
    (
        "unsupported_config",
        (
            "ValueError: --linear-backend=cutlass was requested but no 'cutlass' kernel exists for this "
            "layer type."
        ),
    ),
    ("unsupported_config", "vllm: error: unrecognized arguments: --gpu-memory-utilisation 0.9"),
    (
        "unsupported_arch",
        (
            "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum "
            "capability: 75. Current capability: DeviceCapability(major=7, minor=0)."
        ),
    ),
    ("unsupported_arch", "RuntimeError: CUDA error: invalid device function"),
    (
        "unsupported_arch",
        "torch._scaled_mm is only supported on CUDA devices with compute capability",
    ),
    (
        "unsupported_arch",
        (
            "RuntimeError: Found Tesla P100-PCIE-16GB which is too old to be supported by the triton GPU "
            "compiler"
        ),
    ),
    ("model_not_found", "OSError: You are trying to access a gated repo."),
    ("model_not_found", "huggingface_hub.errors.HFValidationError: Repo id must use alphanumeric"),
    ("model_not_found", "FileNotFoundError: [Errno 2] No such file or directory: 'm/config.json'"),
    ("model_not_found", "OSError: ./m does not appear to have a file named config.json. Checkout"),
    ("model_not_found", "OfflineModeIsEnabled: Cannot reach https://huggingface.co: offline mode"),
    ("weights_mismatch", "RuntimeError: Error(s) in loading state_dict for LlamaForCausalLM:"),
    ("weights_mismatch", "AssertionError: Attempted to load weight ([4]) into parameter ([8])"),
    (
        "tokenizer_error",
        "AttributeError: Qwen2Tokenizer has no attribute all_special_tokens_extended",
    ),
    ("driver_or_env", "OSError: libcuda.so.1: cannot open shared object file: No such file"),
    (
        "driver_or_env",
        "ImportError: cannot import name 'triton_key' from 'triton.compiler.compiler'",
    ),
    ("driver_or_env", "RuntimeError: operator torchvision::nms does not exist"),
    ("driver_or_env", "RuntimeError: No CUDA GPUs are available"),
    ("driver_or_env", "/tmp/x/main.c:4:10: fatal error: Python.h: No such file or directory"),
    (
        "driver_or_env",
        "importlib.metadata.PackageNotFoundError: No package metadata was found for vllm",
    ),
    (
        "driver_or_env",
        "/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by _C.so)",
    ),
    (
        "driver_or_env",
        "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up",
    ),
    (
        "compile_failure",
        "torch._dynamo.exc.Unsupported: Attempted to call function marked as skipped",
    ),
    ("compile_failure", "RuntimeError: `ptxas` failed with error code 255:"),
    ("compile_failure", "RuntimeError: PassManager::run failed"),
    ("compile_failure", "RuntimeError: Error building extension 'cusparselt_gemm'"),
    (
        "nccl_or_distributed",
        "RuntimeError: NCCL Error 2: unhandled system error (run with NCCL_DEB",
    ),
    (
        "nccl_or_distributed",
        "Failed: Cuda error /w/csrc/custom_all_reduce.cuh:455 'invalid argument'",
    ),
    (
        "nccl_or_distributed",
        "RuntimeError: [1] is setting up NCCL communicator: wait timeout after 300ms",
    ),
    ("timeout_hang", "TimeoutError: Timed out waiting for engine core processes to start."),
    ("timeout_hang", "torch.AcceleratorError: CUDA error: the launch timed out and was terminated"),
    ("gpu_lost", "Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost."),
    (
        "gpu_lost",
        "RuntimeError: CUDA error: uncorrectable NVLink error detected during the execution",
    ),
    ("gpu_lost", "kernel: NVRM: Xid (PCI:0000:3b:00): 48, pid=4242, DBE (double bit error)"),
    (
        "disk_full",
        "IoError(Os { code: 28, kind: StorageFull, message: 'No space left on device' })",
    ),
    ("disk_full", "OSError: [Errno 122] Disk quota exceeded"),
    (
        "interrupted",
        "slurmstepd: error: *** STEP 8.0 ON n1 CANCELLED AT 2026-01-26 DUE TO PREEMPTION",
    ),
    ("interrupted", "slidesparse: the campaign is gone; this worker ends"),
    ("interrupted", "测试被中断!"),
]


@pytest.mark.parametrize(("failure_class", "line"), WORDINGS, ids=lambda value: str(value)[:60])
def test_wordings_of_other_versions_and_libraries(failure_class: str, line: str, tmp_path: Path):
    log = tmp_path / "worker.log"
    log.write_text(f"loading\n{line}\n", encoding="utf-8")
    failure = classify(log, exit_code=1)
    assert (failure.failure_class, failure.root_cause) == (failure_class, line)
    assert failure.evidence.line == 2


HARMLESS = [
    "INFO 01-26 10:00:00 [cuda.py:1] CUDA error: handled, trying another kernel",
    "WARNING 01-26 10:00:00 [x.py:2] CUDA out of memory. Tried to allocate 2.00 GiB. Using less",
    (
        "E0126 10:00:00.123000 42 torch/_inductor/select_algorithm.py:2015] Exception out of resource: "
        "shared memory, Required: 131072, Hardware limit: 101376 for benchmark choice TritonTemplate"
    ),
    (
        "[rank0]:[W126 10:00:00.1 ProcessGroupNCCL.cpp:1524] Warning: WARNING: destroy_process_group() "
        "was not called before program exit, which can leak resources."
    ),
    (
        "/usr/lib/python3.12/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: "
        "There appear to be 1 leaked shared_memory objects to clean up at shutdown"
    ),
    (
        "(EngineCore pid=1) INFO 01-26 10:00:00 [shm_broadcast.py:548] No available shared memory "
        "broadcast block found in 60 seconds."
    ),
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
    "Triton is installed, but doesn't include CPU backend. Disabling Triton.",
]


@pytest.mark.parametrize("line", HARMLESS, ids=lambda line: line[:50])
def test_alarming_words_of_good_runs_are_no_cause(line: str):
    assert scan_log([line]).cause is None
