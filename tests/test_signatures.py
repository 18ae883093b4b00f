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
    ("oom_host", "ERROR: The Pod was evicted: Container vllm exceeded its local memory limit"),
    ("oom_host", "Container killed on request. Exit code is 137"),
    (
        "driver_or_env",
        "NVRM: API mismatch: the client has the version 535.104.05, but this kernel module has 535.129.03.",
    ),
    ("driver_or_env", "Error: Failed to initialize CUDA: CUDA_ERROR_UNKNOWN"),
    ("driver_or_env", "RuntimeError: Unable to open /dev/nvidia0"),
    ("driver_or_env", "exec /usr/bin/vllm: exec format error"),
    ("driver_or_env", "ERROR: Could not find a version that satisfies the requirement torch==2.9"),
    ("nccl_or_distributed", "*** An error occurred in MPI_Init_thread"),
    ("timeout_hang", "RuntimeError: DeepEP error: timeout (dispatch CPU)"),
    ("oom_host", "Error: model requires more system memory (9.1 GiB) than is available (7.6 GiB)"),
    (
        "oom_host",
        "ray.exceptions.ObjectStoreFullError: Failed to put object ffff in object store because it is full.",
    ),
    ("oom_host", "memory allocation of 17179869184 bytes failed"),
    (
        "oom_host",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 68719476736",
    ),
    (
        "oom_host",
        "ValueError: Too large swap space. 16.00 GiB out of the 15.51 GiB total CPU memory is allocated for the swap space.",
    ),
    (
        "oom_host",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
    ),
    (
        "oom_host",
        "systemd-oomd[612]: Killed /user.slice/app.scope due to memory pressure for /user.slice being 67.1%",
    ),
    (
        "oom_host",
        "node1:1:1 [0] misc/shmutils.cc:72 NCCL WARN Call to posix_fallocate failed : No space left on device",
    ),
    ("unsupported_arch", "no kernel image is available for execution on the device"),
    (
        "unsupported_arch",
        "RuntimeError: Unable to load ragged_device_ops op due to no compute capabilities remaining after filtering",
    ),
    (
        "unsupported_arch",
        "RuntimeError: No supported CUDA architectures found for major versions [9, 10].",
    ),
    (
        "unsupported_arch",
        "RuntimeError: Device 0 has compute capability 6.1, which is below the minimum 7.0",
    ),
    ("unsupported_arch", "RuntimeError: marlin_gemm(..) requires CUDA_ARCH >= 8.0"),
    (
        "unsupported_arch",
        'time=2025-01-01 level=ERROR source=gpu.go:1 msg="CUDA GPU is too old. Compute Capability detected: 3.5"',
    ),
    (
        "unsupported_arch",
        "ERROR: Detected NVIDIA Thor GPU, which is not yet supported in this version of the container",
    ),
    (
        "driver_or_env",
        "RuntimeError: CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server",
    ),
    ("driver_or_env", "RuntimeError: Engram CPU offload requires UVA support"),
    ("driver_or_env", "AssertionError: cumem allocator is not available"),
    (
        "driver_or_env",
        "docker: Error response from daemon: unknown or invalid runtime name: nvidia.",
    ),
    ("driver_or_env", "AssertionError: libcuda.so cannot found!"),
    ("driver_or_env", "FileNotFoundError: nvcc not found at '/usr/local/cuda/bin/nvcc'."),
    ("driver_or_env", "OSError: [Errno 116] Stale file handle"),
    ("driver_or_env", "pkg_resources.DistributionNotFound: The 'ray' distribution was not found"),
    (
        "driver_or_env",
        "AttributeError: module 'pkgutil' has no attribute 'ImpImporter'. Did you mean: 'zipimporter'?",
    ),
    ("gpu_memory_busy", "RuntimeError: Not enough GPU memory: another process is using 20 GiB"),
    ("nccl_or_distributed", "ncclCommInitRank failed: unhandled system error"),
    ("nccl_or_distributed", "RuntimeError: NVSHMEM failed to initialize"),
    ("nccl_or_distributed", "ray.exceptions.LocalRayletDiedError: The task's local raylet died."),
    ("nccl_or_distributed", "ssh: connect to host node2 port 22: Connection refused"),
    (
        "nccl_or_distributed",
        "An ORTE daemon has unexpectedly failed after launch and before communicating back to mpirun.",
    ),
    ("interrupted", "\tthe actor's node was preempted: spot reclaim"),
    ("interrupted", "\tthe actor's node was terminated expectedly: received SIGTERM"),
    (
        "timeout_hang",
        "RuntimeError: [/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation to complete",
    ),
    (
        "oom_host",
        (
            "Jun 28 08:06:31 nixos systemd[1]: ollama.service: A process of this unit has been killed by "
            "the OOM killer."
        ),
    ),
    ("oom_host", "vllm.service: Failed with result 'oom-kill'."),
    (
        "unsupported_arch",
        (
            "python: AccelerateMatmul.cpp:36: int getMMAVersionSafe(int, DotOp): Assertion `false && "
            '"computeCapability not supported"\' failed.'
        ),
    ),
    ("int32_index_overflow", "OverflowError: signed integer is greater than maximum"),
    (
        "gpu_lost",
        "amdgpu 0000:0a:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=3, emitted seq=5",
    ),
    ("gpu_lost", "amdgpu 0000:dd:00.0: {1}uncorrectable hardware error(ERREVENT_ATHUB) detected!"),
    (
        "gpu_lost",
        "RuntimeError: level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
    ),
    ("gpu_lost", "  what():  vk::Queue::submit: ErrorDeviceLost"),
    (
        "gpu_lost",
        "NVRM: GPU0 _issueRpcAndWait: rpcSendMessage failed with status 0x0000000f for fn 10!",
    ),
    ("illegal_memory_access", "========= Invalid __global__ write of size 16 bytes"),
    ("illegal_memory_access", "CUDA Exception: Warp Out-of-range Address"),
    ("illegal_memory_access", "Segmentation fault from GPU at 0xff000006, ctx_id: 1 (CCS) type: 0"),
    (
        "illegal_memory_access",
        "errorStr: The DDR address of the MTE instruction is out of range. subErrType:4.",
    ),
    ("oom_host", "RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. It is"),
    (
        "oom_host",
        "E tensorflow/cuda_driver.cc:802] failed to alloc 8192 bytes on host: CUDA_ERROR_UNKNOWN",
    ),
    ("cuda_misc", "RuntimeError: DataLoader worker (pid 7) is killed by signal: Aborted."),
    ("cuda_misc", "Process finished with exit code -1073741819 (0xC0000005)"),
    (
        "cuda_misc",
        "RuntimeError: [TensorRT-LLM][ERROR] Assertion failed: Error occurred when running GEMM!",
    ),
    (
        "cuda_misc",
        "cutlass.base_dsl.common.DSLCudaRuntimeError: DSLCudaRuntimeError: CUDA_ERROR_ILLEGAL_INSTRUCTION",
    ),
    (
        "device_assert",
        "IndexKernel.hip:94: operator(): Device-side assertion `index < sizes[i]' failed.",
    ),
    ("unsupported_arch", "RuntimeError: Unsupported architecture"),
    ("unsupported_config", "ValueError: Unsupported architecture: LlamaForVision"),
    (
        "unsupported_arch",
        "RuntimeError: Sparse Attention Forward Kernel is only supported on SM90a and SM100f architectures.",
    ),
    (
        "unsupported_arch",
        "ERROR: CUDA kernel mul_mat has no device code compatible with CUDA arch 600.",
    ),
    (
        "unsupported_arch",
        "RuntimeError: Assertion error (csrc/apis/layout.hpp:59): Unknown SF transformation",
    ),
    ("compile_failure", "RuntimeError: Failed to compile the kernel for head_dim 576"),
    ("python_bug", "RuntimeError: Failed to compile grammar from the JSON schema"),
    (
        "compile_failure",
        "ValueError: Mosaic failed to compile TPU kernel: Not Implemented: last dim",
    ),
    ("compile_failure", "[aiter] failed jit build [module_aiter_core]"),
    (
        "compile_failure",
        "RuntimeError: RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used",
    ),
    (
        "oom_device",
        "XlaRuntimeError: RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used",
    ),
    ("driver_or_env", "RuntimeError: No GPU found. A GPU is needed for quantization."),
    (
        "driver_or_env",
        "RuntimeError: The `_qutlass_C` extension is not loaded. Make sure your library",
    ),
    ("driver_or_env", "RuntimeError: PyTorch was compiled without CUDA support"),
    (
        "nccl_or_distributed",
        "RuntimeError: Failed, NCCL error ../ncclCommunicator.cpp:90 'invalid usage'",
    ),
    ("unsupported_config", "ValueError: remaining_argv: ['--vllm_gpu_memory_utilization', '0.5']"),
    ("int32_index_overflow", "RuntimeError: integer out of range"),
    (
        "int32_index_overflow",
        (
            "RuntimeError: THCudaTensor sizes too large for THCDeviceTensor conversion at "
            "/pytorch/aten/src/THC/THCDeviceTensorUtils.cuh:71"
        ),
    ),
    (
        "int32_index_overflow",
        "InvalidArgumentError: Number of elements was larger than representable by 32-bit output type",
    ),
    (
        "int32_index_overflow",
        "InvalidArgumentError: Shape output type is 32-bit  but dim 0 is 3187957444",
    ),
    ("int32_index_overflow", "RuntimeError: index out of range: 3000000000, max is 2147483647"),
    ("int32_index_overflow", "ValueError: array is too big; total size exceeds max_int"),
    (
        "unsupported_arch",
        (
            "ptxas /tmp/k.ptx, line 40; error   : Instruction 'tcgen05.alloc' not supported on .target "
            "'sm_120'"
        ),
    ),
    (
        "unsupported_arch",
        (
            "RuntimeError: Expected dprops->major >= 8 to be true, but got false.  (Could this error "
            "message be improved?  If so, please report an enhancement request to PyTorch.)"
        ),
    ),
    (
        "unsupported_arch",
        "RuntimeError: Assertion error (csrc/apis/hyperconnection.hpp:56): Unsupported architecture",
    ),
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
    ("oom_host", "Evicted: The node was low on resource: memory."),
    ("disk_full", "Evicted: The node was low on resource: ephemeral-storage. Threshold error"),
    ("interrupted", "Signal Received: 15 (Terminated)"),
    (
        "int32_index_overflow",
        "RuntimeError: CUDA kernel launch blocks must be positive, but got N=-2147483648",
    ),
    (
        "oom_host",
        "torch.multiprocessing.spawn.ProcessExitedException: process 1 terminated with signal SIGKILL",
    ),
    (
        "oom_host",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=123.0. Some of the step tasks have been OOM Killed.",
    ),
    (
        "oom_host",
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=4587.batch. Some of your processes may have been killed by the cgroup out-of-memory handler.",
    ),
    (
        "oom_host",
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
    ),
    (
        "oom_host",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 12.5 GiB for an array with shape (1000,) and data type float64",
    ),
    (
        "oom_host",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes.",
    ),
    ("oom_host", "Memory cgroup out of memory: Killed process 4242 (python3) total-vm:1kB"),
    ("oom_host", "exitcode  : -9 (pid: 4242)"),
    (
        "oom_host",
        "subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGKILL: 9>.",
    ),
    (
        "oom_device",
        "RuntimeError: CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:62",
    ),
    ("oom_device", "RuntimeError: CUDA driver error: out of memory"),
    (
        "oom_device",
        "torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)",
    ),
    (
        "oom_device",
        "RuntimeError: Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:368 'out of memory'",
    ),
    (
        "oom_device",
        "HSA_STATUS_ERROR_OUT_OF_RESOURCES: The runtime failed to allocate the necessary resources. ",
    ),
    ("int32_index_overflow", "OverflowError: Python integer 4294967296 out of bounds for int32"),
    (
        "int32_index_overflow",
        "RuntimeError: Trying to create tensor with negative dimension -2145910784: [-2145910784]",
    ),
    (
        "int32_index_overflow",
        "RuntimeError: upsample_nearest2d only supports output tensors with less than INT_MAX elements, but got [1, 2]",
    ),
    (
        "int32_index_overflow",
        "RuntimeError: integer out of range: the index does not fit into a 32-bit integer",
    ),
    (
        "int32_index_overflow",
        "AssertionError: M * N must be smaller than 2**31 for 32-bit indexing",
    ),
    (
        "int32_index_overflow",
        "RuntimeError: value cannot be converted to type int without overflow",
    ),
    (
        "int32_index_overflow",
        "RuntimeError: Expected input.numel() <= std::numeric_limits<int32_t>::max() to be true, but got false.",
    ),
    ("unsupported_arch", "RuntimeError: FlashMLA is only supported on Hopper devices."),
    ("unsupported_arch", "ValueError: FP8 quantization requires compute capability >= 8.9"),
    (
        "unsupported_arch",
        "NotImplementedError: FlashMLA is not supported on this device: FlashMLA only supports sm_90a",
    ),
    ("unsupported_arch", "RuntimeError: Only Blackwell SM100 GPUs are supported for NVFP4"),
    ("unsupported_arch", "RuntimeError: DeepGEMM requires SM90 or newer"),
    (
        "unsupported_arch",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ),
    (
        "unsupported_arch",
        "ValueError: torch.compile requires GPU compute capability of at least 7.0",
    ),
    (
        "unsupported_arch",
        "RuntimeError: NVIDIA GeForce GTX 1080 with CUDA capability sm_61 is not supported",
    ),
    (
        "unsupported_arch",
        "AssertionError: MXFP4 kernels need a GPU with compute capability 9.0 or higher",
    ),
    ("unsupported_arch", "RuntimeError: Unsupported CUDA architecture: sm_75"),
    ("unsupported_arch", "RuntimeError: GPU architecture gfx1030 is not supported"),
    (
        "unsupported_config",
        "ValueError: The number of required GPUs exceeds the total number of available GPUs in the placement group.",
    ),
    (
        "unsupported_config",
        "NotImplementedError: FlashAttention V1 with FP8 KV cache not yet supported",
    ),
    ("unsupported_config", "ValueError: Unsupported kv_cache_dtype: int4"),
    ("unsupported_config", "AssertionError: Prefix caching is not supported with sliding window"),
    (
        "unsupported_config",
        "ValueError: The output_size of gate's and up's weight = 192 is not divisible by weight quantization block_n = 128.",
    ),
    (
        "unsupported_config",
        "ValueError: The input size is not aligned with the quantized weight shape. This can be caused by too large tensor parallel size.",
    ),
    (
        "unsupported_config",
        "ValueError: torch.bfloat16 is not supported for quantization method awq. Supported dtypes: [torch.float16]",
    ),
    ("unsupported_config", "ValueError: Cannot use FlashAttention-2 backend for head size 80"),
    (
        "unsupported_config",
        "ValueError: Head size 160 is not supported by PagedAttention. Supported head sizes are: [64, 80, 96].",
    ),
    ("unsupported_config", "TypeError: LLM.__init__() got an unexpected keyword argument 'foo'"),
    (
        "unsupported_config",
        "ValueError: Unrecognized configuration class <class 'x'> for this kind of AutoModel: AutoModelForCausalLM.",
    ),
    (
        "unsupported_config",
        "ValueError: Model architectures ['FooForCausalLM'] are not supported for now.",
    ),
    ("unsupported_config", "ValueError: rope_scaling should have a 'rope_type' key"),
    (
        "unsupported_config",
        "api_server.py: error: argument --dtype: invalid choice: 'foo' (choose from 'auto')",
    ),
    (
        "unsupported_config",
        "ValueError: The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens.",
    ),
    (
        "unsupported_config",
        "ValueError: Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
    ),
    ("unsupported_config", "ValueError: Cannot find the config file for awq"),
    (
        "unsupported_config",
        "ValueError: Quantization method specified in the model config (fp8) does not match the quantization method specified in the `quantization` argument (awq).",
    ),
    ("unsupported_config", "RuntimeError: \"addmm_impl_cpu_\" not implemented for 'Half'"),
    ("unsupported_config", "ValueError: `max_num_seqs` must be greater than 0, got 0"),
    (
        "unsupported_config",
        "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=80, dtype=torch.bfloat16). Reasons: {FLASH_ATTN: [kv_cache_dtype not supported]}.",
    ),
    ("unsupported_config", "ValueError: Pipeline parallelism is not supported for this model"),
    (
        "unsupported_config",
        "AssertionError: Speculative decoding is not supported with pipeline parallelism",
    ),
    ("unsupported_config", "RuntimeError: size_k = 1000 is not divisible by tile_k_size = 16"),
    ("unsupported_config", "NotImplementedError: Unsupported quantization scheme"),
    (
        "model_not_found",
        "OSError: Can't load the configuration of 'foo/bar'. If you were trying to load it from 'https://huggingface.co/models', make sure",
    ),
    ("model_not_found", "huggingface_hub.utils._errors.EntryNotFoundError: 404 Client Error."),
    (
        "model_not_found",
        "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://huggingface.co/foo/resolve/main/config.json",
    ),
    (
        "model_not_found",
        "OSError: Error no file named pytorch_model.bin, model.safetensors found in directory /models/x.",
    ),
    (
        "model_not_found",
        "huggingface_hub.errors.LocalTokenNotFoundError: Token is required (`token=True`), but no token found.",
    ),
    (
        "model_not_found",
        "OSError: PermissionError at /models: access to model meta-llama/Llama-2-7b is restricted and you are not in the authorized list",
    ),
    (
        "model_not_found",
        "requests.exceptions.ConnectionError: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /x (Caused by NewConnectionError\"))",
    ),
    (
        "model_not_found",
        "FileNotFoundError: [Errno 2] No such file or directory: '/models/llama-7b'",
    ),
    ("model_not_found", "ValueError: No supported config format found in /models/foo"),
    ("model_not_found", "httpx.ConnectError: [Errno -3] Temporary failure in name resolution"),
    (
        "model_not_found",
        "ValueError: Invalid repository ID or local directory specified: '/models/foo'.",
    ),
    (
        "model_not_found",
        "OSError: Incorrect path_or_model_id: '/models/foo'. Please provide either the path to a local folder or the repo_id of a model on the Hub.",
    ),
    (
        "model_not_found",
        "OSError: meta-llama/Foo is not a valid git identifier (branch name, tag name or commit id) that exists for this model name.",
    ),
    ("model_not_found", "modelscope.hub.errors.NotExistError: <Response [404]>"),
    ("model_not_found", "FileNotFoundError: Could not find any weights in /data/model"),
    (
        "weights_mismatch",
        "RuntimeError: Error(s) in loading state_dict for LlamaForCausalLM: size mismatch",
    ),
    (
        "weights_mismatch",
        "ValueError: There is no module or parameter named 'lm_head.weight' in Foo",
    ),
    (
        "weights_mismatch",
        "RuntimeError: shape mismatch: checkpoint weight has shape [4096] but the parameter expects [2048]",
    ),
    (
        "weights_mismatch",
        "AssertionError: transformer.h.39.attn.c_attn.weight shape mismatch between model and checkpoint: torch.Size([1600, 6144]) != torch.Size([1792, 6144])",
    ),
    ("weights_mismatch", "_pickle.UnpicklingError: invalid load key, 'v'."),
    (
        "weights_mismatch",
        "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
    ),
    (
        "weights_mismatch",
        "ValueError: weight shape mismatch: parameter has (2,), checkpoint has (3,)",
    ),
    (
        "weights_mismatch",
        "OSError: Unable to load weights from pytorch checkpoint file for '/x/pytorch_model.bin'",
    ),
    (
        "tokenizer_error",
        "ValueError: Tokenizer class Qwen2Tokenizer does not exist or is not currently imported.",
    ),
    (
        "tokenizer_error",
        "RuntimeError: Internal: could not parse ModelProto from /models/tokenizer.model",
    ),
    ("tokenizer_error", "OSError: Can't load tokenizer for '/models/foo'."),
    ("tokenizer_error", "AttributeError: 'MistralTokenizer' object has no attribute 'vocab'"),
    ("tokenizer_error", "AttributeError: Qwen2Tokenizer has no attribute lower"),
    ("tokenizer_error", "ValueError: Failed to load the tokenizer. Please set trust_remote_code"),
    (
        "tokenizer_error",
        "TypeError: TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]",
    ),
    (
        "tokenizer_error",
        "ValueError: As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the tokenizer does not define one.",
    ),
    (
        "tokenizer_error",
        "AttributeError: 'CachedChatGLM4Tokenizer' object has no attribute 'vocab'",
    ),
    (
        "tokenizer_error",
        "ValueError: Cannot instantiate this tokenizer from a slow version. If it's based on sentencepiece, make sure you have sentencepiece installed.",
    ),
    (
        "tokenizer_error",
        "ValueError: Converting from Tiktoken failed, if a converter for SentencePiece is available, provide a model path",
    ),
    (
        "driver_or_env",
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already set an error? Error 804: forward compatibility was attempted on non supported HW",
    ),
    (
        "driver_or_env",
        "ImportError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by /opt/vllm/_C.so)",
    ),
    ("driver_or_env", "AttributeError: module 'torch.library' has no attribute 'register_fake'"),
    ("driver_or_env", "RuntimeError: Found no NVIDIA driver on your system."),
    (
        "driver_or_env",
        "NotImplementedError: Could not run '_C::silu_and_mul' with arguments from the 'CUDA' backend.",
    ),
    (
        "driver_or_env",
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
    ),
    (
        "driver_or_env",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
    ),
    ("driver_or_env", "RuntimeError: Device string must not be empty"),
    ("driver_or_env", "AssertionError: FlashInfer is not installed. Please install it."),
    ("driver_or_env", "PermissionError: [Errno 13] Permission denied: '/.cache'"),
    ("driver_or_env", "OSError: [Errno 24] Too many open files"),
    ("driver_or_env", "/usr/bin/ld: cannot find -lcuda: No such file or directory"),
    (
        "driver_or_env",
        "RuntimeError: cuDNN version incompatibility: PyTorch was compiled  against (9, 1, 0) but found runtime version (8, 9, 2).",
    ),
    ("driver_or_env", "RuntimeError: CUDA error: system not yet initialized"),
    (
        "driver_or_env",
        "importlib.metadata.PackageNotFoundError: No package metadata was found for bitsandbytes",
    ),
    (
        "driver_or_env",
        "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment",
    ),
    ("driver_or_env", "RuntimeError: Cannot re-initialize CUDA in forked subprocess."),
    ("compile_failure", "torch._dynamo.exc.Unsupported: call_function BuiltinVariable(print)"),
    ("compile_failure", "triton.compiler.errors.CompilationError: at 1:0: def kernel"),
    ("compile_failure", "RuntimeError: Error compiling objects for extension"),
    ("compile_failure", "torch._dynamo.exc.TorchRuntimeError: Failed running call_function"),
    ("compile_failure", "error: failed to legalize operation 'tt.dot'"),
    ("compile_failure", "RuntimeError: NVCC compilation failed"),
    ("compile_failure", "RuntimeError: NVRTC compilation failed: error: identifier undefined"),
    ("compile_failure", "AssertionError: expected size 4096==2048, stride 1==1 at dim=1"),
    ("compile_failure", "torch._inductor.exc.LoweringException: NotImplementedError: x"),
    (
        "nccl_or_distributed",
        "ray.exceptions.RaySystemError: System error: Failed to connect to GCS",
    ),
    (
        "nccl_or_distributed",
        "ConnectionError: Could not find any running Ray instance. Please specify the one to connect to",
    ),
    (
        "nccl_or_distributed",
        "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.",
    ),
    (
        "nccl_or_distributed",
        "RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
    ),
    (
        "nccl_or_distributed",
        "RuntimeError: Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 50000",
    ),
    ("nccl_or_distributed", "node:1:1 [0] NCCL WARN Bootstrap : no socket interface found"),
    (
        "nccl_or_distributed",
        "RuntimeError: Gloo connectFullMesh failed with [../third_party/gloo/gloo/transport/tcp/pair.cc:144] no error",
    ),
    (
        "nccl_or_distributed",
        "ValueError: Default process group has not been initialized, please make sure to call init_process_group.",
    ),
    ("nccl_or_distributed", "AssertionError: tensor model parallel group is already initialized"),
    (
        "nccl_or_distributed",
        "RuntimeError: nvshmem setup failed: nvshmemi_init_thread: unable to open shared object",
    ),
    (
        "nccl_or_distributed",
        "RuntimeError: The server socket has failed to listen on any local network address. The server socket has failed to bind to [::]:29500",
    ),
    ("nccl_or_distributed", "RuntimeError: Connecting to TCPStore failed: Connection refused"),
    (
        "nccl_or_distributed",
        "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1333, unhandled cuda error, NCCL version 2.18.1",
    ),
    ("timeout_hang", "asyncio.exceptions.TimeoutError"),
    (
        "timeout_hang",
        "ERROR 05-01 10:00:00 async_llm_engine.py:154] Engine iteration timed out. This should never happen!",
    ),
    (
        "timeout_hang",
        "TimeoutError: Timed out waiting for engine core processes to start. Waited 600s",
    ),
    ("timeout_hang", "Timeout (0:10:00)!"),
    ("timeout_hang", "timeout: sending signal TERM to command 'python'"),
    (
        "timeout_hang",
        "slurmstepd: error: *** JOB 1 ON n CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***",
    ),
    ("timeout_hang", "RuntimeError: Server failed to start in time."),
    ("timeout_hang", "RuntimeError: Timed out: engine did not respond in 600 seconds"),
    (
        "timeout_hang",
        "[rank0]:[E1 ProcessGroupNCCL.cpp:1] [PG 0 Rank 0] ProcessGroupNCCL's watchdog got stuck for 480 seconds without making progress in monitoring enqueued collectives.",
    ),
    ("timeout_hang", "subprocess.TimeoutExpired: Command 'x' timed out after 600 seconds"),
    ("gpu_lost", "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error"),
    ("gpu_lost", "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x26:0x56:1463)"),
    ("gpu_lost", "NVRM: Xid (PCI:0000:01:00): 119, pid=1, Timeout waiting for RPC from GSP!"),
    ("gpu_lost", "NVRM: Xid (PCI:0000:01:00): 94, pid=1, Contained: SM"),
    ("gpu_lost", "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered"),
    ("gpu_lost", "HW Exception by GPU node-2 (Agent handle: 0x1) reason :GPU Hang"),
    (
        "disk_full",
        "RuntimeError: Data processing error: CAS service error : IO Error: No space left on device (os error 28)",
    ),
    ("disk_full", "OSError: [Errno 122] Disk quota exceeded: '/home/x'"),
    ("disk_full", "UserWarning: Not enough free disk space to download the file."),
    (
        "disk_full",
        "RuntimeError: [enforce fail at inline_container.cc:595] . unexpected pos 64 vs 0",
    ),
    (
        "interrupted",
        "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15",
    ),
    ("interrupted", "INFO 05-01 10:00:00 [launcher.py:80] Received SIGTERM, shutting down"),
    (
        "interrupted",
        "slurmstepd: error: *** STEP 1.0 ON n CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE FAILURE ***",
    ),
    ("interrupted", "Received signal 15, exiting"),
    ("oom_host", "a1b2c3  vllm/vllm-openai  5 minutes ago  Exited (137) 2 minutes ago  vllm"),
    ("oom_host", "      Exit Code:    137"),
    ("oom_host", "clang: error: unable to execute command: Killed"),
    ("gpu_memory_busy", "GPU 0 is in use by other processes (see nvidia-smi): refusing to start"),
    ("driver_or_env", "AttributeError: `np.float_` was removed in the NumPy 2.0 release."),
    ("driver_or_env", "TypeError: Descriptors cannot be created directly."),
    ("driver_or_env", "KeyError: 'getpwuid(): uid not found: 1000'"),
    ("driver_or_env", "ValueError: invalid literal for int() with base 10: 'MIG-7a1b2c3d-0000'"),
    ("driver_or_env", "/bin/sh: 1: nvcc: not found"),
    ("driver_or_env", "bash: /opt/bin/vllm: /opt/bin/python3: bad interpreter: No such file"),
    (
        "nccl_or_distributed",
        "RuntimeError: Every node should have a unique IP address. Got 2 nodes",
    ),
    (
        "nccl_or_distributed",
        "RuntimeError: [/p/third_party/gloo/gloo/transport/tcp/device.cc:83] ifa != nullptr.",
    ),
    ("nccl_or_distributed", "ValueError: Global rank 0 is not part of group <object>"),
    ("unsupported_arch", "    PyTorch no longer supports this GPU because it is too old."),
    ("interrupted", "Terminated"),
    ("interrupted", "KeyboardInterrupt"),
    ("cuda_misc", "double free or corruption (!prev)"),
    ("cuda_misc", "RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ("cuda_misc", "torch.AcceleratorError: CUDA error: an illegal instruction was encountered"),
    (
        "cuda_misc",
        "RuntimeError: CUDA error: operation failed due to a previous error during capture",
    ),
    ("cuda_misc", "RuntimeError: CUDA error: invalid configuration argument"),
    ("cuda_misc", "RuntimeError: CUDA error: invalid argument"),
    ("cuda_misc", "RuntimeError: CUDA driver error: unknown error"),
    ("cuda_misc", "Segmentation fault (core dumped)"),
    ("cuda_misc", "exit code: -11"),
    ("cuda_misc", "RuntimeError: cutlass_gemm_caller: Error Internal"),
    ("cuda_misc", "RuntimeError: Failed to run cutlass kernel: Error Internal at line 5"),
    (
        "cuda_misc",
        "RuntimeError: [SymmDeviceMemory] Device does not support multicasting / CUDA_ERROR_INVALID_VALUE",
    ),
    (
        "device_assert",
        "/opt/x.cu:1: operator(): block: [0,0,0], thread: [0,0,0] Assertion `input[0] != 0` failed.",
    ),
    (
        "device_assert",
        "kernel.py:12: unknown: block: [0,0,0], thread: [3,0,0] Assertion `index out of bounds: 0 <= tmp4 < 32000` failed.",
    ),
    (
        "gpu_memory_busy",
        "ValueError: Free memory on device cuda:0 (2.1/23.65 GiB) on startup is less than desired GPU memory utilization (0.9, 21.28 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
    ),
    (
        "gpu_memory_busy",
        "AssertionError: Error in memory profiling. Initial free memory 23000000000, current free memory 23100000000. This happens when the GPU memory was not properly cleaned up before initializing the vLLM instance.",
    ),
    (
        "gpu_memory_busy",
        "ValueError: Free memory on device (3.31/23.99 GiB) on startup is less than desired GPU memory utilization (0.9, 21.59 GiB).",
    ),
    (
        "gpu_memory_busy",
        "AssertionError: Error in memory profiling. This happens when the GPU memory was not properly cleaned up before initializing the vLLM instance.",
    ),
    (
        "kv_cache_insufficient",
        "ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (26064). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
    ),
    ("kv_cache_insufficient", "RuntimeError: Insufficient KV cache: 2 blocks"),
    ("kv_cache_insufficient", "ValueError: Not enough memory for KV cache"),
    (
        "kv_cache_insufficient",
        "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
    ),
    ("illegal_memory_access", "RuntimeError: CUDA error: an illegal memory access was encountered"),
    (
        "illegal_memory_access",
        "Memory access fault by GPU node-4 (Agent handle: 0x1) on address 0x7f. Reason: Page not present or supervisor privilege.",
    ),
    ("illegal_memory_access", "what():  CUDA error: an illegal memory access was encountered"),
    ("illegal_memory_access", "CUDA_EXCEPTION_14, Warp Illegal Address"),
    ("python_bug", "TypeError: 'NoneType' object is not subscriptable"),
    ("python_bug", "RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
    ("python_bug", "AttributeError: 'Qwen3Config' object has no attribute 'num_experts'"),
    ("python_bug", "RuntimeError: expected scalar type Half but found BFloat16"),
    (
        "python_bug",
        "RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    ),
    ("python_bug", "IndexError: list index out of range"),
    (
        "python_bug",
        "UnboundLocalError: cannot access local variable 'x' where it is not associated with a value",
    ),
    ("python_bug", "ValueError: not enough values to unpack (expected 2, got 1)"),
    ("python_bug", "RuntimeError: shape '[1, 2]' is invalid for input of size 7"),
    (
        "python_bug",
        "RuntimeError: The size of tensor a (4) must match the size of tensor b (5) at non-singleton dimension 1",
    ),
    ("python_bug", "ZeroDivisionError: integer division or modulo by zero"),
    (
        "python_bug",
        "TypeError: forward() got an unexpected keyword argument 'intermediate_tensors'",
    ),
    (
        "unsupported_config",
        ("AttributeError: Model Qwen2ForCausalLM does not support BitsAndBytes quantization yet."),
    ),
    ("unsupported_config", "RuntimeError: Only support head size 64, 128, and 256 for now"),
    (
        "unsupported_config",
        (
            "RuntimeError: [TensorRT-LLM][ERROR] Assertion failed: maxNumTokens.value"
            "() % tokensPerBlock == 0 (cacheTransBuffer.cpp:206)"
        ),
    ),
    (
        "unsupported_config",
        (
            "[TensorRT-LLM][ERROR] Assertion failed: mpiSize == tp * pp (/app/tensorr"
            "t_llm/runtime/worldConfig.cpp:80)"
        ),
    ),
    (
        "unsupported_config",
        (
            "llama_init_from_model: quantized V cache was requested, but this require"
            "s Flash Attention"
        ),
    ),
    (
        "unsupported_config",
        ("llama_context: K cache type q4_0 with block size 32 does not divide n_embd_head_k=80"),
    ),
    (
        "unsupported_config",
        ('Error: NotEnoughCUDADevices("`sharded` is true but only found 1 CUDA devices")'),
    ),
    ("unsupported_config", "vllm serve: error: the following arguments are required: model"),
    (
        "unsupported_config",
        (
            "launch_server.py: error: ambiguous option: --max could match --max-total"
            "-tokens, --max-running-requests"
        ),
    ),
    ("unsupported_config", "Error: No such option: --tensor-paralel-size"),
    (
        "unsupported_config",
        ("RuntimeError: Tensor parallel size (8) is larger than the number of available GPUs (4)"),
    ),
    (
        "unsupported_config",
        (
            "RuntimeError: Expected b.size(0) % 16 == 0 && b.size(1) % 16 == 0 to be "
            "true, but got false."
        ),
    ),
    (
        "unsupported_config",
        ("RuntimeError: Number of heads in key/value must divide number of heads in query"),
    ),
    (
        "unsupported_config",
        (
            "RuntimeError: Invalid thread config: thread_m_blocks = 1, thread_k = -1,"
            " thread_n = -1 for MKN = [16, 100, 4096]"
        ),
    ),
    ("unsupported_config", "ValueError: Unknown RoPE scaling type yarn2"),
    ("unsupported_config", "ValueError: At most 1 image(s) may be provided in one prompt."),
    ("unsupported_config", "AssertionError: DCP not support sliding window."),
    ("unsupported_config", "AssertionError: last dim has to be multiple of 16, but got 24."),
    ("unsupported_config", "RuntimeError: LoRA is not enabled. Use --enable-lora to enable LoRA."),
    ("python_bug", "AssertionError: hidden_states must be 2D"),
    ("python_bug", "AssertionError: ndim must be 3"),
    (
        "python_bug",
        (
            "RuntimeError: Sizes of tensors must match except in dimension 1. Expecte"
            "d size 5 but got size 4"
        ),
    ),
    (
        "unsupported_arch",
        (
            "  what():  [TensorRT-LLM][ERROR] Assertion failed: Unsupported architect"
            "ure (/src/fmhaRunner.cpp:89)"
        ),
    ),
    (
        "unsupported_arch",
        (
            "RuntimeError: [CutlassFpAIntBGemmRunner][GEMM Dispatch] Arch unsupported"
            " for CUTLASS mixed type GEMM"
        ),
    ),
    ("unsupported_arch", "AssertionError: FlashAttention v3 Backend requires SM>=80 and SM<=90."),
    ("unsupported_arch", "ValueError: For NVFP4 quantization the GPU must be Blackwell"),
    ("unsupported_arch", "RuntimeError: GPU capability 75 not supported"),
    (
        "unsupported_arch",
        (
            "ERROR : Arch conditional MMA instruction used without targeting appropri"
            "ate compute capability. Aborting."
        ),
    ),
    (
        "unsupported_arch",
        (
            "rocBLAS error: Cannot read /opt/rocm/lib/rocblas/library/TensileLibrary."
            "dat: Illegal seek for GPU arch : gfx1103"
        ),
    ),
    (
        "unsupported_arch",
        ("hipErrorNoBinaryForGpu: Unable to find code object for all current devices!"),
    ),
    (
        "unsupported_arch",
        (
            "[TRT] [E] Error Code 9: API Usage Error (Target GPU SM 70 is not support"
            "ed by this TensorRT release.)"
        ),
    ),
    (
        "compile_failure",
        (
            "python: /project/lib/Analysis/Allocation.cpp:40: std::pair<llvm::SmallVe"
            "ctor<unsigned int>> getCvtOrder(): Assertion `!(src && dst)' failed."
        ),
    ),
    (
        "compile_failure",
        (
            "python: ../include/triton/Dialect/TritonGPU/IR/Dialect.h:10: foo: Assert"
            'ion `x && "y"\' failed.'
        ),
    ),
    (
        "compile_failure",
        (
            "UNREACHABLE executed at /project/lib/Dialect/TritonGPU/IR/LinearLayoutCo"
            "nversions.cpp:620!"
        ),
    ),
    (
        "compile_failure",
        (
            'loc("/tmp/kernel.ttadapter.mlir":2:3): error: ub overflow, requires 2106'
            "368 bits while 1572864 bits avaliable!"
        ),
    ),
    (
        "compile_failure",
        ("/opt/vllm/kernel.py:80:20: error: operation scheduled before its operands"),
    ),
    ("compile_failure", "clang: error: unsupported option '--offload-arch=gfx1201'"),
    (
        "compile_failure",
        (
            "subprocess.CalledProcessError: Command '['/usr/bin/gcc', '/tmp/a/main.c'"
            ", '-O3']' returned non-zero exit status 1."
        ),
    ),
    ("compile_failure", "FAILED: batch_prefill.cuda.o"),
    (
        "compile_failure",
        ("torch._dynamo.exc.FailOnRecompileLimitHit: recompile_limit reached with one_graph=True."),
    ),
    (
        "compile_failure",
        ("torch._inductor.select_algorithm.NoValidChoicesError: No choices to select."),
    ),
    (
        "compile_failure",
        ("torch._subclasses.fake_tensor.DynamicOutputShapeException: aten.nonzero.default"),
    ),
    ("driver_or_env", "RuntimeError: CUDA error: initialization error"),
    (
        "driver_or_env",
        (
            "RuntimeError: Attempting to deserialize object on a CUDA device but torc"
            "h.cuda.is_available() is False."
        ),
    ),
    (
        "driver_or_env",
        ("Could not load library libcudnn_cnn_infer.so.8. Error: libnvrtc.so: version mismatch"),
    ),
    ("driver_or_env", "nvrtc: error: failed to open libnvrtc-builtins.so.12.1."),
    (
        "driver_or_env",
        (
            "docker: Error response from daemon: OCI runtime create failed: unable to"
            " start container process"
        ),
    ),
    (
        "cuda_misc",
        (
            "  what():  inclusive_scan failed to synchronize: cudaErrorMisalignedAddr"
            "ess: misaligned address"
        ),
    ),
    (
        "cuda_misc",
        (
            "[TensorRT-LLM][ERROR] CUDA runtime error in cudaDeviceSynchronize(): uns"
            "pecified launch failure"
        ),
    ),
    (
        "oom_device",
        (
            "[TensorRT-LLM][ERROR] CUDA runtime error in cudaMallocAsync(ptr, n, pool"
            ", stream): out of memory"
        ),
    ),
    ("oom_device", ("cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 1,000,000 bytes")),
    ("kv_cache_insufficient", "RuntimeError: No enough gpu memory for runtime."),
    (
        "oom_host",
        ("OSError: The paging file is too small for this operation to complete. (os error 1455)"),
    ),
    ("disk_full", "write /var/tmp/container_images_storage1/17: no space left on device"),
    ("disk_full", "OSError: Not enough disk space. Needed: 15 GB"),
    (
        "weights_mismatch",
        ("RuntimeError: weight model.layers.0.mlp.gate_proj.weight does not exist"),
    ),
    (
        "weights_mismatch",
        (
            "ValueError: While loading /lora, expected target modules in ['q_proj'] b"
            "ut received ['x']."
        ),
    ),
    (
        "weights_mismatch",
        ("llama_model_load: error loading model: missing tensor 'token_embd.weight'"),
    ),
    (
        "tokenizer_error",
        (
            "llama_model_load: error loading model: error loading model vocabulary: u"
            "nknown pre-tokenizer type: 'x'"
        ),
    ),
    (
        "tokenizer_error",
        (
            "jinja2.exceptions.TemplateError: Conversation roles must alternate user/"
            "assistant/user/assistant/..."
        ),
    ),
    ("model_not_found", "ValueError: The model path /models/x does not exist"),
    ("nccl_or_distributed", "RuntimeError: nixl_cu12 agent creation failed: NIXL_ERR_BACKEND"),
    ("nccl_or_distributed", "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD"),
    (
        "nccl_or_distributed",
        (
            "node:1:2 [3] NCCL WARN NET/OFI Request 0x7f completed with error. RC: 11"
            "3. Error: 2 (UNDELIVERABLE)."
        ),
    ),
    ("timeout_hang", "Server did not start within 600 seconds"),
    ("timeout_hang", "=>> PBS: job killed: walltime 3605 exceeded limit 3600"),
    ("unsupported_config", "error: unexpected argument '--max-input-len' found"),
    ("unsupported_config", "AssertionError: prefill CUDA graph does not work with LoRA"),
    ("unsupported_config", "ValueError: Cannot set both --max-model-len and --context-length"),
    ("compile_failure", '1 error detected in the compilation of "/tmp/batch_prefill.cu".'),
    ("compile_failure", "nvcc error   : 'ptxas' died due to signal 11 (Invalid memory reference)"),
    ("compile_failure", "error: couldn't allocate output register for constraint 'h'"),
    ("cuda_misc", "/src/llama.cpp:12: GGML_ASSERT(n_tokens <= n_batch) failed"),
    ("cuda_misc", "RuntimeError: CUDART error: invalid device context"),
    ("oom_device", "RuntimeError: CUDART error: out of memory"),
    ("driver_or_env", "RuntimeError: 0 active drivers ([]). There should only be one."),
    ("driver_or_env", "AssertionError: Invalid device id"),
    (
        "driver_or_env",
        "torch.cuda.DeferredCudaCallError: CUDA call failed lazily at initialization with error: x",
    ),
    ("driver_or_env", "OSError: Could not find any NVRTC library"),
    ("driver_or_env", "RuntimeError: No GPU or XPU found. A GPU or XPU is needed for FP8."),
    ("driver_or_env", "RuntimeError: NIXL is not available"),
    (
        "driver_or_env",
        "AssertionError: DeepEP kernels not found. Please follow the README to install DeepEP kernels.",
    ),
    (
        "driver_or_env",
        "RuntimeError: EPLB communicator 'nixl' requested but NIXL is unavailable.",
    ),
    ("driver_or_env", "ValueError: SparseIndexer requires DeepGEMM >= 2.8 (symbol not there)."),
    (
        "driver_or_env",
        (
            "AssertionError: libcudart is not loaded in the current process, try setting "
            "VLLM_CUDART_SO_PATH"
        ),
    ),
    ("nccl_or_distributed", "AssertionError: world group is not initialized"),
    ("nccl_or_distributed", "AssertionError: No GPU found in Ray cluster."),
    ("nccl_or_distributed", "RuntimeError: NIXL EPLB init failed: timeout in agent"),
    ("nccl_or_distributed", "HandshakeError: Eager MoRIIO handshake failed for 10.0.0.7"),
    (
        "nccl_or_distributed",
        (
            "torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection to the "
            "C10d store has failed. See inner exception for details."
        ),
    ),
    (
        "timeout_hang",
        (
            "RuntimeError: DP Coordinator process failed to report ZMQ addresses within timeout=120 "
            "seconds during startup."
        ),
    ),
    (
        "weights_mismatch",
        "RuntimeError: NVFP4 weight_scale for layer model.layers.3.mlp was never loaded (still NaN).",
    ),
    (
        "model_not_found",
        "FileNotFoundError: Weight files referenced in index but missing: ['model-2-of-2.safetensors']",
    ),
    ("model_not_found", "RuntimeError: Cannot find any model weights with 'me/model'"),
    (
        "compile_failure",
        "ValueError: numel (2097152) exceeds triton maximum tensor numel (1048576)",
    ),
    ("unsupported_arch", "ValueError: indexer_kv_dtype='mxfp4' on ROCm requires CDNA4 (MI355X)."),
    ("unsupported_config", "AssertionError: FlyDSL supports kv_block_size 16 or 32, got 8"),
    ("unsupported_config", "AssertionError: out_features = 96 is indivisible by min_thread_n = 64"),
    ("unsupported_config", "ValueError: Unknown load_format: dumy"),
    ("unsupported_config", "argparse.ArgumentTypeError: Value 8x cannot be converted to int."),
    (
        "unsupported_config",
        "AssertionError: VLLM_RAY_BUNDLE_INDICES must have the same size as the world size, but got 2",
    ),
    (
        "unsupported_config",
        "AssertionError: DP adjusted local rank 4 is out of bounds for 4 devices.",
    ),
    ("unsupported_config", "NotImplementedError: MRV2 PCP + DCP with dense models"),
    ("python_bug", "NotImplementedError: Subclasses should implement this method"),
    ("python_bug", "AssertionError: The block already has a hash. This should not happen."),
    ("python_bug", "ValueError: too many values to unpack (expected 2)"),
    (
        "unsupported_arch",
        "AssertionError: Device compute capability 9.x required for FP8 execution.",
    ),
    (
        "unsupported_arch",
        "cutlass.cute.nvgpu.common.OpError: OpError: expects arch to be at least sm_90a, but got sm_89",
    ),
    ("unsupported_arch", "ValueError: Unsupported FA version: None"),
    (
        "unsupported_arch",
        (
            "flashinfer.utils.BackendSupportedError: fp4_moe does not support backend trtllm with "
            "capability 120"
        ),
    ),
    (
        "unsupported_arch",
        "AssertionError: MXFP8 for all gemm layouts is not supported on 12.0+ architectures yet.",
    ),
    ("unsupported_config", "RuntimeError: size_k must divisible by BLOCK_SIZE_K"),
    ("unsupported_config", "RuntimeError: No suitable kernel. h_in=16 h_out=79360 dtype=Float"),
    ("unsupported_config", "RuntimeError: No applicable algorithm for this GEMM problem"),
    ("compile_failure", "LLVM ERROR: Cannot select: intrinsic %llvm.nvvm.redux.sync.fmax"),
    ("unsupported_arch", "LLVM ERROR: Cannot select: intrinsic %llvm.nvvm.shfl.sync.bfly.i32"),
    (
        "compile_failure",
        "nvcc error   : 'cudafe++' died due to signal 11 (Invalid memory reference)",
    ),
    (
        "compile_failure",
        "error: <unknown>:0:0: ran out of registers during register allocation in function 'red'",
    ),
    ("compile_failure", "numba.core.errors.TypingError: Failed in cuda mode pipeline"),
    ("compile_failure", "Fatal error: nvJitLink error: ERROR_PTX_COMPILE"),
    (
        "oom_device",
        (
            'RuntimeError: NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/c10/cuda/CUDACachingAllocator.cpp"'
            ":1131, please report a bug to PyTorch."
        ),
    ),
    (
        "oom_device",
        (
            "tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating tensor "
            "with shape[4096,4096]"
        ),
    ),
    ("oom_weights", "llama_model_load: error loading model: unable to allocate CUDA0 buffer"),
    (
        "oom_weights",
        (
            "ValueError: Some modules are dispatched on the CPU or the disk. Make sure you have enough "
            "GPU RAM to fit the quantized model."
        ),
    ),
    ("kv_cache_insufficient", "RuntimeError: No enough gpu memory for kv cache."),
    ("kv_cache_insufficient", "ValueError: Not enough memory to allocate KV cache: 0 tokens"),
    (
        "oom_host",
        "RuntimeError: unable to write to file </torch_4211_2>: No space left on device (28)",
    ),
    ("device_assert", "CUDA_EXCEPTION_12: Warp Assert"),
    (
        "device_assert",
        "TensorCompare.cu:110: _assert_async_cuda_kernel: Assertion `probability < 0` failed.",
    ),
    ("cuda_misc", "cuBLAS error 15 at /src/ggml-cuda.cu:7091"),
    ("cuda_misc", "RuntimeError: cuFFT error: CUFFT_INTERNAL_ERROR"),
    (
        "model_not_found",
        (
            "OSError: We have no connection or you passed local_files_only, so force_download is not an "
            "accepted option."
        ),
    ),
    (
        "model_not_found",
        (
            "botocore.exceptions.ClientError: An error occurred (404) when calling the HeadObject "
            "operation: Not Found"
        ),
    ),
    ("weights_mismatch", "ValueError: Parameter layers.0.weight not found in the model."),
    (
        "tokenizer_error",
        "ValueError: Cannot use chat template functions because tokenizer.chat_template is not set",
    ),
    (
        "tokenizer_error",
        "thread '<unnamed>' panicked at tokenizers-lib/src/models/bpe/trainer.rs:1:",
    ),
    (
        "driver_or_env",
        (
            "RuntimeError: Detected that PyTorch and torchvision were compiled with different CUDA major "
            "versions."
        ),
    ),
    ("driver_or_env", "RuntimeError: Failed to load library libcusparseLt.so.0"),
    ("driver_or_env", "modprobe: FATAL: Module nvidia not found in directory /lib/modules/6.8.0"),
    ("driver_or_env", "pkg_resources.ContextualVersionConflict: (protobuf 5.0 (/x), {'x'})"),
    (
        "nccl_or_distributed",
        (
            "RuntimeError: CUDASymmetricMemoryAllocator::rendezvous: detected allocations from "
            "overlapping devices"
        ),
    ),
    (
        "nccl_or_distributed",
        "RuntimeError: CUDA error: peer access is not supported between these two devices",
    ),
    (
        "timeout_hang",
        (
            "F0712 10:11:12 ProcessGroupNCCL.cpp:1413] [PG 0 Rank 1] Terminating the process after "
            "attempting to dump debug info, due to ProcessGroupNCCL watchdog hang."
        ),
    ),
    (
        "gpu_lost",
        "2020/08/10 19:09:42 XidCriticalError: Xid=69 on Device=GPU-75, the device will go unhealthy.",
    ),
    ("gpu_lost", "I0102 10:11:12.000000 1 health.go:77] XidCriticalError: Xid=79 on Device=GPU-75"),
    ("gpu_lost", 'level=error msg="XID error detected on GPU 3: 79"'),
    ("interrupted", "aws: EC2 Spot Instance interruption notice"),
]


@pytest.mark.parametrize(("failure_class", "line"), WORDINGS, ids=lambda value: str(value)[:60])
def test_wordings_of_other_versions_and_libraries(failure_class: str, line: str, tmp_path: Path):
    log = tmp_path / "worker.log"
    log.write_text(f"loading\n{line}\n", encoding="utf-8")
    failure = classify(log, exit_code=1)
    assert (failure.failure_class, failure.root_cause) == (failure_class, line)
    assert failure.evidence.line == 2


HARMLESS = [
    "INFO:     It may have been killed by the OOM killer, see dmesg for more",
    "ggml_cuda_host_malloc: failed to allocate 1900.00 MiB of pinned memory: invalid argument",
    "2022-06-28 17:20:07.861732: W device_host_allocator.h:46] could not allocate pinned host memory",
    "[11/07/2024-12:28:19] [TRT] [W] CUDA error: lazy loading is not enabled",
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
    "node:1:1 [0] misc/ibvwrap.cc:63 NCCL WARN Failed to open libibverbs.so[.1]",
    "RuntimeError: Process ApiServer_0 (PID: 4242) died with exit code 1",
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
    "Triton is installed, but doesn't include CPU backend. Disabling Triton.",
    ("If you get `CUDA error: invalid device function` errors, the above might be the cause"),
    (
        "node:1:1 [0] NCCL INFO dlerror=libnccl-net.so: cannot open shared object"
        " file: No such file or directory"
    ),
    (
        "libibverbs: Warning: couldn't load driver 'libefa.so': libefa.so: cannot"
        " open shared object file: No such file"
    ),
]


@pytest.mark.parametrize("line", HARMLESS, ids=lambda line: line[:50])
def test_alarming_words_of_good_runs_are_no_cause(line: str):
    assert scan_log([line]).cause is None


ORDINARY = [
    ("python_bug", "OSError: [Errno 113] No route to host"),
    ("python_bug", "OSError: [Errno 101] Network is unreachable"),
    ("unknown", "Error: GPU 0: only 2.1 GiB of 80 GiB free on NVIDIA H100 80GB HBM3"),
    ("unknown", "Error: only 2 of 8 H100 GPUs are available on this node"),
    ("unknown", "Error: only 2 of 8 Hopper GPUs are available on this node"),
    ("unknown", "Error: this GPU is not in CUDA_VISIBLE_DEVICES"),
    ("unknown", "CUDA arch list only used when TORCH_CUDA_ARCH_LIST is set"),
    ("python_bug", "ValueError: Cannot bind: another process is using port 8000"),
    (
        "python_bug",
        "RuntimeError: Cannot lock: another process is holding the lock file of the device",
    ),
    ("unknown", "WARNING Sequence group 0 on node was preempted by PreemptionMode.RECOMPUTE"),
    (
        "unsupported_config",
        "ValueError: Data parallel size 4 requires CUDA IPC handle list of length 4",
    ),
    ("python_bug", "BlockingIOError: [Errno 11] Resource temporarily unavailable"),
    ("python_bug", "RuntimeError: Could not find CUDA kernel for head size 96"),
    ("python_bug", "RuntimeError: Cannot find a CUDA graph for this device batch"),
    ("python_bug", "ValueError: The compiler option not found in config"),
    ("python_bug", "AttributeError: _ARRAY_API not found"),
    ("unknown", "weights take 16.00 GiB out of system memory 64.00 GiB"),
    ("unknown", "cudaGetDeviceCount returned 8"),
    ("unknown", "libGL: failed to open /dev/dri/card0: Permission denied"),
    ("unknown", "DeepEP buffer: timeout 100 s, error checks on"),
]


@pytest.mark.parametrize(("failure_class", "line"), ORDINARY)
def test_lines_that_only_share_words_with_a_failure_are_not_taken_for_it(
    failure_class: str, line: str
):
    assert classify([line], exit_code=1).failure_class == failure_class


def test_what_pmix_reports_and_goes_on_without_counts_less_than_an_exception():
    pmix = "PMIX ERROR: ERROR in file gds_ds12_lock_pthread.c at line 168"
    frame = '  File "/home/me/run.py", line 3, in main'
    lines = [
        pmix,
        "Traceback (most recent call last):",
        frame,
        "IndexError: list index out of range",
    ]
    assert classify(lines, exit_code=1).failure_class == "python_bug"
