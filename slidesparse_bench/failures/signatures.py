"""Every message that tells a cause, in order of precedence on one line.

Adding a failure is one entry: the message's regular expression, its class, an example that must
classify as itself (`tests/test_signatures.py` checks all of them). Wordings were taken from the
sources of vLLM 0.8 to 0.33, PyTorch 2.5 to 2.13, Triton, NCCL, transformers, from issue threads,
and from the logs of the public SlideSparse runs.
"""

from __future__ import annotations

from slidesparse_bench.failures import overflow
from slidesparse_bench.failures.placed import PLACED
from slidesparse_bench.failures.signature import Signature, Tier

_SIZE = r"-?[\d.]+ ?(?:[KMGT]i?B|bytes)"
"""An amount of memory as torch and vLLM print it: `2.31 GiB`, `948.94 MiB`, `512 bytes`."""

LOADING_WEIGHTS = frozenset(
    {
        "load_model",
        "initialize_model",
        "create_weights",
        "load_weights",
        "weight_loader",
        "weight_loader_v2",
        "default_weight_loader",
        "process_weights_after_loading",
        # vLLM before 0.6.
        "get_model",
        # LMDeploy.
        *("_create_weight", "_create_weight_func", "create_shared_weights", "_get_model_params"),
        # transformers and accelerate, and what moves a module of torch to the device.
        *("_load_pretrained_model", "_load_state_dict_into_meta_model", "load_state_dict"),
        *("set_module_tensor_to_device", "load_checkpoint_in_model", "_apply", "from_pretrained"),
        *("load_file", "safetensors_weights_iterator"),
    }
)
"""Functions of engines and of torch that run only while weights are created, read or repacked."""

RUNNING_MODEL = frozenset(
    {
        "forward",
        "_call_impl",
        "_wrapped_call_impl",
        "generate",
        "execute_model",
        "step",
        "backward",
        *("profile_run", "_dummy_run", "capture", "capture_model", "warmup", "warm_up"),
        *("initialize_kv_cache", "initialize_cache", "_allocate_kv_cache"),
    }
)
"""Functions that run when the weights are there."""

_ENGINE_TRACEBACK = """\
(EngineCore_DP0 pid=4242) ERROR 01-26 10:00:00 [core.py:866] EngineCore failed to start.
(EngineCore_DP0 pid=4242) ERROR 01-26 10:00:00 [core.py:866] Traceback (most recent call last):
(EngineCore_DP0 pid=4242) ERROR 01-26 10:00:00 [core.py:866]   File "/opt/vllm/v1/engine/core.py", \
line 857, in run_engine_core
(EngineCore_DP0 pid=4242) ERROR 01-26 10:00:00 [core.py:866]     engine_core = EngineCoreProc(*args)
"""
"""How an engine process of vLLM 0.13 begins its last words."""

_ENGINE = "(EngineCore_DP0 pid=4242) ERROR 01-26 10:00:00 [core.py:866] "

_WORKER_PROVED = (
    # What the worker of this project proves by itself and prints as
    # `slidesparse: <class>: <message>`; the class stands in the line.
    Signature(
        id="worker_kv_cache",
        failure_class="kv_cache_insufficient",
        needles=("of KV cache",),
        pattern=rf"needs (?P<needed_gib>{_SIZE}) of KV cache(?: for (?P<sequences>\d+) sequences "
        rf"of (?P<tokens>\d+) tokens)?, (?P<available_gib>{_SIZE}) (?:are|is) available",
        example="slidesparse: kv_cache_insufficient: a step of M = 64 needs 96.0 MiB of KV cache "
        "for 64 sequences of 272 tokens, 53.1 MiB are available",
        hint="The batch needs {needed} of KV cache, {available} are available: {missing} short.",
    ),
    Signature(
        id="memory_gate",
        failure_class="gpu_memory_busy",
        needles=("free of",),
        pattern=rf"waited .+? for (?P<asked_gib>{_SIZE}) on (?P<device>.+?): (?P<free_gib>{_SIZE}) "
        rf"free of (?P<total_gib>{_SIZE})(?:; (?P<holders>.+))?",
        example="slidesparse: gpu_memory_busy: waited 5 min 00 s for 19.19 GiB on GPU 0: 8.10 GiB "
        "free of 23.99 GiB; python3 (pid 4711) holds 15.10 GiB",
        hint="{asked} are needed to start, {free} of {total} are free: {holders}.",
    ),
    Signature(
        id="worker_m_mismatch",
        failure_class="m_mismatch",
        needles=("slidesparse: m_mismatch: ",),
        pattern=r"^slidesparse: m_mismatch: (?P<message>.+)",
        example="slidesparse: m_mismatch: M = 512 was asked for, the steps had 15 to 497 tokens",
        hint="The recorded steps disprove it: {message}.",
    ),
    Signature(
        id="worker_wrong_kernel",
        failure_class="wrong_kernel",
        needles=("slidesparse: wrong_kernel: ",),
        pattern=r"^slidesparse: wrong_kernel: (?P<message>.+)",
        example="slidesparse: wrong_kernel: cutlass was asked for, "
        "TritonInt8ScaledMMLinearKernel ran in 16 of 16 layers",
        hint="The kernels that ran are known: {message}.",
    ),
    Signature(
        id="worker_no_result",
        failure_class="no_result",
        needles=("slidesparse: no_result: ",),
        pattern=r"^slidesparse: no_result: (?P<message>.+)",
        example="slidesparse: no_result: the engine answered 0 of 64 requests",
        hint="The worker found nothing to report: {message}.",
    ),
)

_HARDWARE = (
    Signature(
        id="xid",
        failure_class="gpu_lost",
        needles=("Xid", "XID"),
        tier=Tier.HARDWARE,
        counts_as_warning=True,
        # 13 and 31 are page faults of the program, 43 and 45 its removal: see below.
        # The device plugin of Kubernetes and DCGM decide themselves which ones are critical.
        pattern=r"\bXid(?: \((?:PCI:)?(?P<pci>[^)]*)\))?:? ?(?P<xid>(?!(?:13|31|43|45|69)\b)\d+)\b"
        r"|\bXidCriticalError: Xid=(?P<critical>\d+)|\b(?:XID|Xid)(?: [Ee]rrors?| code| event)?(?: detected)?(?: on \w+ \d+)?[ :=(#]{1,3}"
        r"(?P<reported>(?!(?:13|31|43|45|69)\b)\d+)\b",
        example="[81234.567890] NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, "
        "GPU has fallen off the bus.",
        hint="The driver reported Xid {xid}: the device failed, whatever was printed after it.",
    ),
    Signature(
        id="nvswitch_error",
        failure_class="gpu_lost",
        needles=("SXid",),
        tier=Tier.HARDWARE,
        pattern=r"\bSXid \((?:PCI:)?(?P<pci>[^)]*)\): (?P<sxid>\d+), (?:Fatal|.*[Ff]atal)",
        example="nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up",
        hint="The NVSwitch reported SXid {sxid}: the link to the devices failed.",
    ),
    Signature(
        id="off_the_bus",
        failure_class="gpu_lost",
        needles=(
            "fallen off the bus",
            "GPU is lost",
            "GPU_IS_LOST",
            "equires reset",
            "mInitAdapter failed",
            "Unable to determine the device handle",
            "GPU Hang",
            "GPU hang",
            "row remap",
            "GPU reset begin",
            "signaled seq",
            "rpcSendMessage failed",
            "rpcRecvPoll",
            "NV_ERR_",
            "DeviceLost",
            "DEVICE_LOST",
            "DEVICE_REMOVED",
        ),
        tier=Tier.HARDWARE,
        pattern=r"fallen off the bus|GPU is lost|GPU_IS_LOST|GPU requires reset|[rR]mInitAdapter failed"
        r"|Unable to determine the device handle for (?:GPU|gpu).*(?:Unknown Error|lost)|GPU [Hh]ang"
        r"|device requires reset|row remap\w* (?:failure|failed)"
        # The driver's calls to the firmware; amdgpu, Vulkan, DirectX and Level Zero.
        r"|NVRM: .*\brpc(?:SendMessage failed|RecvPoll timed ?out)"
        r"|NV_ERR_(?:GPU_IN_FULLCHIP_RESET|GPU_IS_LOST|RESET_REQUIRED)"
        r"|\bring \S+ timeout, signaled seq|GPU reset begin|\bErrorDeviceLost\b"
        r"|[A-Z]_(?:DEVICE_LOST|DEVICE_REMOVED)\b",
        example="pynvml.NVMLError_GpuIsLost: GPU is lost",
        hint="The driver no longer reaches the device.",
    ),
    Signature(
        id="uncorrectable_error",
        failure_class="gpu_lost",
        needles=(
            *("ncorrectable", "ECC_UNCORRECTABLE", "ECCUncorrectable"),
            *("ouble bit", "ouble Bit", "ulti-bit", "ulti-Bit", "ultibit"),
        ),
        tier=Tier.HARDWARE,
        pattern=r"(?i)uncorrectable (?:ECC|NVLink|hardware|memory|HBM|SRAM|DRAM) error|ECC_?UNCORRECTABLE"
        r"|(?:double|multi)[- ]?bit ecc",
        example="RuntimeError: CUDA error: uncorrectable ECC error encountered",
        hint="The device's memory or link returned data that could not be corrected.",
    ),
)

_ASSERTIONS = (
    Signature(
        id="kernel_assertion",
        failure_class="device_assert",
        needles=("thread: [", "evice-side assertion ", ": Assertion `"),
        tier=Tier.ASSERTION,
        # CUDA's, and HIP's.
        pattern=r"\.cu:\d+: \w+: Assertion `(?P<condition>.+?)` failed|(?:block: \[[\d, ]+\], thread: \[[\d, ]+\],? A|[Dd]evice-side a)ssertion "
        r"[`'\"](?P<assertion>.+?)[`'\"] failed",
        example="/pytorch/aten/src/ATen/native/cuda/Indexing.cu:1553: indexSelectLargeIndex: "
        "block: [983,0,0], thread: [28,0,0] Assertion `srcIndex < srcSelectDimSize` failed.",
        hint="GPU code checked `{assertion}` and found it false.",
    ),
    Signature(
        id="device_side_assert",
        failure_class="device_assert",
        # Not `device-side assertions`: that stands in the advice below every CUDA error.
        needles=("device-side assert triggered", "CUDA_ERROR_ASSERT", "Warp Assert"),
        tier=Tier.ASSERTED,
        pattern=r"device-side assert triggered|CUDA_ERROR_ASSERT|CUDA_EXCEPTION_12\b|Warp Assert",
        example="torch.AcceleratorError: CUDA error: device-side assert triggered\n"
        "CUDA kernel errors might be asynchronously reported at some other API call.\n"
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
    ),
)

_HOST_MEMORY = (
    Signature(
        id="kernel_oom_killer",
        failure_class="oom_host",
        needles=(
            "Killed process",
            "oom-kill",
            "oom_kill",
            "roup out of memory",
            "OOMKilled",
            "low on resource: memory",
            *("OOM killer", "OOM-killer", "memory limit"),
        ),
        pattern=r"Killed process (?P<pid>\d+)(?: \((?P<process>[^)]*)\))?(?:.*?anon-rss:"
        r"(?P<resident_gib>\d+ ?kB))?|oom-kill:|oom_kill_process|[Cc]group out of memory"
        r"|oom[-_]kill event|OOMKilled|low on resource: memory|unit has been killed by the OOM killer"
        r"|\bwas killed by the (?:kernel(?:'s)? )?OOM[- ]killer|exceeded its (?:local )?memory limit"
        r"|Failed with result 'oom-kill'",
        example="[90211.113412] Out of memory: Killed process 3120 (VLLM::EngineCor) "
        "total-vm:98304000kB, anon-rss:62014200kB, file-rss:2048kB, shmem-rss:0kB",
        hint="The kernel killed process {pid} ({process}), which held {resident} of host memory.",
    ),
    Signature(
        id="ray_oom_killer",
        failure_class="oom_host",
        needles=("ray.exceptions.OutOfMemoryError",),
        pattern=r"ray\.exceptions\.OutOfMemoryError",
        example="ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on "
        "memory.",
    ),
    Signature(
        id="ray_counts_killed_workers",
        failure_class="oom_host",
        needles=("running low on memory", "memory pressure (OOM)"),
        # The exception says which one.
        tier=Tier.QUOTED,
        pattern=r"(?:(?P<workers>[1-9]\d*) Workers .*)?killed due to memory pressure \(OOM\)"
        r"|node running low on memory",
        example="(raylet) node_manager.cc:3084: 1 Workers (tasks / actors) killed due to memory "
        "pressure (OOM), 0 Workers crashed due to other reasons at node",
    ),
    Signature(
        id="shared_memory",
        failure_class="oom_host",
        needles=("dev/shm", "shared memory", "No space left on device", "nsufficient space in"),
        # The files of NCCL that make segments of it have it in their names.
        pattern=r"\bshm\w*\.cc:\d+ .*No space left on device|write to file </(?:psm_|torch_\d).*No space left on device|No space left on device.*?'?/?(?:psm_|torch_\d|sem[.-]|nccl-|pym-|shm)"
        r"|insufficient shared memory \(shm\)|failed to extend /dev/shm/"
        r"|/dev/shm.*No space left on device|No space left on device.*/dev/shm"
        r"|unable to (?:open|write to|mmap|resize|allocate).*shared memory"
        r"|[Ii]nsufficient space in .*(?:shm|--ipc=host)",
        example="OSError: [Errno 28] No space left on device: '/psm_3f9a1c2b'",
        hint="Shared memory (/dev/shm) is full; it is host memory with a limit of its own.",
    ),
    Signature(
        id="pinned_memory",
        failure_class="oom_host",
        needles=("out of memory", "OutOfMemoryError", "Registering memory failed"),
        within=frozenset({"pin_memory", "_pin_memory", "is_pin_memory_available"}),
        pattern=r"CUDA error: out of memory|OutOfMemoryError|Registering memory failed",
        example='Traceback (most recent call last):\n  File "/opt/vllm/v1/worker/block_table.py", '
        'line 41, in __init__\n    self.cpu = torch.zeros(n).pin_memory()\n  File "/opt/torch/'
        '_tensor.py", line 9, in pin_memory\ntorch.AcceleratorError: CUDA error: out of memory',
        hint="Host memory could not be pinned.",
    ),
    Signature(
        id="pinned_allocation",
        failure_class="oom_host",
        needles=(
            "ostAlloc",
            "MallocHost",
            "AllocHost",
            "ostRegister",
            "HostMalloc",
            "on host",
            "pinned",
        ),
        # TensorFlow tries again with less.
        tier=Tier.PLACED,
        # llama.cpp goes on without pinned memory.
        pattern=r"^(?!ggml_).*?(?:\b(?:cu|hip)\w*(?:HostAlloc|MallocHost|AllocHost|HostRegister|HostMalloc)\b"
        r".*?(?:fail|out of memory|[Ee]rror)|[Ff]ailed to alloc(?:ate)? .{0,60}?(?:on host|pinned|page-locked)"
        r"|(?:[Cc]ould not|[Cc]annot|[Uu]nable to) (?:allocate|pin) .{0,40}?(?:pinned|page-locked|host memory))",
        example="cudaMallocHost failed: cudaErrorMemoryAllocation: out of memory",
        hint="Host memory could not be pinned.",
    ),
    Signature(
        id="child_killed",
        failure_class="oom_host",
        needles=("killed by signal",),
        tier=Tier.PLACED,
        pattern=r"killed by signal:? (?P<signal>Killed|SIGKILL|9\b|Bus error|SIGBUS)",
        example="RuntimeError: DataLoader worker (pid 164244) is killed by signal: Killed.",
        hint="A child process ended with `{signal}`: as a rule host memory or /dev/shm ran out.",
    ),
    Signature(
        id="cpu_allocator",
        failure_class="oom_host",
        needles=("DefaultCPUAllocator",),
        pattern=r"DefaultCPUAllocator: .*?tried to allocate (?P<asked_gib>\d+ bytes)",
        example="RuntimeError: [enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: "
        "can't allocate memory: you tried to allocate 8589934592 bytes. Error code 12 "
        "(Cannot allocate memory)",
        hint="{asked} of host memory were asked for and not available.",
    ),
    Signature(
        id="host_allocation",
        failure_class="oom_host",
        needles=(
            "annot allocate memory",
            "[Errno 12]",
            "MemoryError",
            "std::bad_alloc",
            "Unable to allocate",
            "paging file is too small",
        ),
        pattern=r"[Cc]annot allocate memory|\[Errno 12\]|^(?:[\w.]+\.)?_?(?:Array)?MemoryError\b"
        r"|std::bad_alloc(?!.*CUDA)|paging file is too small|Unable to allocate [\d.]+ \w+ for an array",
        example="OSError: [Errno 12] Cannot allocate memory",
    ),
    Signature(
        id="host_memory_refused",
        failure_class="oom_host",
        needles=(
            "emory",
            " RAM",
            "HOST_MEM",
            "ObjectStoreFull",
            "alloc_buffer",
            "alloc_cpu",
            "MEMLIMIT",
            "systemd-oomd",
        ),
        # Programs that count before they ask: SGLang, Ollama, vLLM's swap space, Ray's object store; compilers,
        # Rust, Go and Node when they did ask.
        pattern=r"(?:(?:[Nn]ot enough|[Ii]nsufficient) (?:available |free |total )?|(?<!B )(?<!% )(?<!\d )\b[Oo]ut of (?:available |free )?|\b[Nn]o (?:available |free ))(?:[Hh]ost|CPU|[Ss]ystem"
        r"|[Pp]hysical|[Mm]ain|[Vv]irtual) (?:memory|RAM)\b|(?:(?:[Nn]ot enough|[Ii]nsufficient)|(?<!B )(?<!% )(?<!\d )\b[Oo]ut of) (?:free )?RAM\b"
        r"|requires? more (?:system|host|CPU) memory|\b(?:[Hh]ost|CPU|[Ss]ystem) (?:memory|RAM) (?:is )?(?:exhausted"
        r"|insufficient|not enough)|exceeds? (?:the )?(?:available|total|free) (?:host|CPU|system) (?:memory|RAM)"
        r"|^[\w.]*Error: (?:[Tt]oo large swap space|.*\bnot enough memory on (?:the )?host\b)|_OUT_OF_HOST_MEMORY\b"
        r"|\bObjectStoreFullError\b|^memory allocation of \d+ bytes failed|^fatal error: runtime: out of memory"
        r"|JavaScript heap out of memory|\bout of memory allocating \d+ bytes after|virtual memory exhausted"
        r"|\bggml_aligned_malloc: insufficient memory|cpu_buffer_type_alloc_buffer: failed to allocate|enforce fail at alloc_cpu"
        r"|systemd-oomd\[\d+\]: Killed|^Killed .* due to memory pressure|\bcondition: \[MemoryPressure\]|unable to allocate CPU\w* buffer"
        r"|[Ee]xceeded (?:job|step) memory limit|\bTERM_MEMLIMIT\b",
        example="ValueError: Not enough host memory available. Requesting 40.00 GB but only have 31.87 GB free. "
        "Please reduce the size of the hierarchical cache.",
        hint="The host has less memory free than the program wants.",
    ),
    Signature(
        id="no_space_for_shared_memory",
        failure_class="oom_host",
        needles=("o space left on device",),
        # What these functions and files make lies in /dev/shm.
        within=frozenset(
            {
                "shared_memory.py",
                "shm_broadcast.py",
                "shm_object_storage.py",
                "synchronize.py",
                *("share_memory_", "_share_filename_cpu_", "_new_shared", "reduce_storage"),
            }
        ),
        pattern=r"[Nn]o space left on device",
        example='Traceback (most recent call last):\n  File "/usr/lib/python3.12/multiprocessing/synchronize.py", '
        "line 57, in __init__\n    sl = self._semlock = _multiprocessing.SemLock(\nOSError: [Errno 28] No space "
        "left on device",
        hint="Shared memory (/dev/shm) is full; it is host memory with a limit of its own.",
    ),
    Signature(
        id="compiler_killed",
        failure_class="oom_host",
        needles=("Killed",),
        pattern=r"error: Killed signal terminated program (?P<process>\w+)"
        r"|error: unable to execute command: Killed|nvcc error +: '(?P<part>\w+)' died due to signal 9\b",
        example="c++: fatal error: Killed signal terminated program cc1plus",
        hint="A compiler was killed: as a rule the kernel ran out of host memory; fewer parallel jobs "
        "(MAX_JOBS) need less.",
    ),
    Signature(
        id="bus_error",
        failure_class="oom_host",
        needles=("Bus error", "SIGBUS"),
        tier=Tier.CONSEQUENCE,
        pattern=r"Bus error|SIGBUS",
        example="Fatal Python error: Bus error",
        hint="A mapped page could not be given: nearly always /dev/shm or host memory ran out.",
    ),
    Signature(
        id="killed",
        failure_class="oom_host",
        needles=("Killed", "ignal 9", "SIGKILL", "-9", " 137", "(137)"),
        tier=Tier.EXIT_CODE,
        pattern=r"(?:^|: line \d+: +\d+ )Killed\b|exit ?code\s*:?\s*\(?-9\b|'[\w.-]+': -9\b"
        r"|[Ss]ignal 9\b|\bSIGKILL\b|[Ee]xit(?:ed with)? (?:[Cc]ode|status):?(?: is)? {1,8}137\b|\bExited \(137\)",
        example="RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {'EngineCore_DP0': -9}",
        hint="A process was killed with signal 9 and printed nothing: as a rule the kernel ran "
        "out of host memory.",
    ),
)

_DISK = (
    Signature(
        id="no_space_left",
        failure_class="disk_full",
        needles=(
            "o space left on device",
            "ENOSPC",
            "quota exceeded",
            "StorageFull",
            " space ",
            "disk space",
            "disk is full",
            "inline_container",
            "low on resource: ephemeral-storage",
            "PytorchStreamWriter",
        ),
        # Programs in Go begin without a capital.
        pattern=r"[Nn]o space left on device|ENOSPC|[Dd]isk quota exceeded|StorageFull"
        r"|not enough (?:free )?(?:disk )?space (?:on|to)|[Nn]ot enough disk space|\bdisk is full"
        r"|low on resource: ephemeral-storage"
        r"|PytorchStreamWriter failed|inline_container\.cc:\d+\] ?\.? ?unexpected pos|[Nn]o (?:free |usable )disk space",
        example="OSError: [Errno 28] No space left on device: "
        "'/home/me/.cache/vllm/torch_compile_cache/8f1c/rank_0_0/backbone'",
    ),
)

_DISK_CLUES = (
    Signature(
        id="little_space_left",
        failure_class="disk_full",
        needles=("ot enough free disk space",),
        tier=Tier.CLUE,
        counts_as_warning=True,
        pattern=r"[Nn]ot enough free disk space",
        example="UserWarning: Not enough free disk space to download the file. The expected file size "
        "is: 4976.70 MB. The target location only has 1200.00 MB free disk space.",
        hint="A download did not fit on the disk.",
    ),
)

_TORCH_OOM = (
    rf"(?:CUDA|HIP|XPU) out of memory\.(?: Tried to allocate (?P<asked_gib>{_SIZE})\.?)?"
    rf"(?: GPU (?P<device>\d+) has a total capaci?ty of (?P<total_gib>{_SIZE}) of which "
    rf"(?P<free_gib>{_SIZE}) is free\.)?"
    rf"(?:.*?this process has (?P<in_use_gib>{_SIZE}) memory in use\.)?"
    rf"(?:.*?Of the allocated memory (?P<allocated_gib>{_SIZE}) is allocated by PyTorch)?"
    rf"(?:.*?(?P<reserved_unused_gib>{_SIZE}) is reserved by PyTorch but unallocated)?"
)
_OOM_HINT = "{asked} were asked for, {free} of {total} were free: {short} short."
_TORCH_OOM_TEXT = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.45 GiB. GPU 0 has a total "
    "capacity of 15.46 GiB of which 948.94 MiB is free. Including non-PyTorch memory, this "
    "process has 14.31 GiB memory in use. Of the allocated memory 13.94 GiB is allocated by "
    "PyTorch, and 8.86 MiB is reserved by PyTorch but unallocated. If reserved but unallocated "
    "memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid "
    "fragmentation."
)

_DEVICE_MEMORY = (
    Signature(
        id="no_memory_for_a_context",
        failure_class="gpu_memory_busy",
        needles=("out of memory",),
        # A process that has put nothing on the device yet cannot have filled it.
        within=frozenset({"set_device", "_lazy_init"}),
        never_within=LOADING_WEIGHTS | RUNNING_MODEL,
        ends_traceback=True,
        raised_in=r"/torch/cuda/__init__\.py$",
        pattern=r"CUDA error: out of memory",
        example='Traceback (most recent call last):\n  File "/opt/vllm/v1/worker/gpu_worker.py", line 231, in init_device\n'
        "    torch.cuda.set_device(self.device)\n"
        '  File "/opt/torch/cuda/__init__.py", line 567, in set_device\n    torch._C._cuda_setDevice(device)\n'
        "torch.AcceleratorError: CUDA error: out of memory",
        hint="Not even a CUDA context fitted: others hold the memory.",
    ),
    Signature(
        id="load_model_out_of_memory",
        failure_class="oom_weights",
        needles=(
            "Failed to load model - not enough",
            "error loading model: unable to allocate",
            "dispatched on the CPU or the disk",
        ),
        # vLLM, llama.cpp and transformers.
        pattern=r"error loading model: unable to allocate \w+ buffer|modules are dispatched on the CPU or the disk"
        rf"|Failed to load model - not enough (?:GPU )?memory(?:.*?{_TORCH_OOM})?",
        example="(EngineCore_DP0 pid=4242) ERROR 01-26 10:00:00 [gpu_model_runner.py:3657] Failed "
        "to load model - not enough GPU memory. Try lowering --gpu-memory-utilization to free "
        "memory for weights, increasing --tensor-parallel-size, or using --quantization. See "
        "https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more tips. "
        "(original error: CUDA out of memory. Tried to allocate 1.45 GiB. GPU 0 has a total "
        "capacity of 15.46 GiB of which 948.94 MiB is free.)",
        hint=_OOM_HINT,
    ),
    Signature(
        id="out_of_memory_in_weights",
        failure_class="oom_weights",
        needles=("out of memory",),
        within=LOADING_WEIGHTS,
        pattern=rf"{_TORCH_OOM}|(?:CUDA|HIP|[Cc]uda)(?: driver| runtime)? [Ee]rror:? ?(?:\(?\d+\)? ?)?:? ?out of memory"
        r"|cudaMalloc failed: out of memory|exceed allowed memory",
        example=_ENGINE_TRACEBACK
        + _ENGINE
        + '  File "/opt/vllm/v1/worker/gpu_worker.py", line 289, in load_model\n'
        + _ENGINE
        + "    self.model_runner.load_model()\n"
        + _ENGINE
        + '  File "/opt/vllm/model_executor/layers/vocab_parallel_embedding.py", line 46, in '
        "create_weights\n" + _ENGINE + "    torch.empty(\n" + _ENGINE + _TORCH_OOM_TEXT,
        hint=_OOM_HINT,
    ),
    Signature(
        id="out_of_memory_in_constructor",
        failure_class="oom_weights",
        needles=("out of memory",),
        within=frozenset({"__init__"}),
        never_within=RUNNING_MODEL,
        ends_traceback=True,
        # The layers that have weights, in all engines.
        raised_in=r"/(?:\w*layers?|linear|\w*embedding\w*|sparse|parameter|fused_moe|model|modeling_\w+)\.py$"
        r"|/models/|/torch/nn/",
        pattern=rf"{_TORCH_OOM}|(?:CUDA|HIP|[Cc]uda)(?: driver| runtime)? [Ee]rror:? ?out of memory",
        example='Traceback (most recent call last):\n  File "/opt/llama/generation.py", line 119, in build\n'
        "    model = Transformer(model_args)\n"
        '  File "/opt/fairscale/nn/model_parallel/layers.py", line 349, in __init__\n'
        "    self.weight = Parameter(torch.Tensor(self.out_features, self.in_features))\n"
        + _TORCH_OOM_TEXT,
        hint=_OOM_HINT,
    ),
    Signature(
        id="out_of_memory_while_loading",
        failure_class="oom_weights",
        needles=("out of memory",),
        pattern=r"(?:\bload_(?:model|weights?|checkpoint|single_module)\w*|[Ll]oading (?:the )?(?:model|weights?"
        rf"|checkpoint))\b.*?{_TORCH_OOM}",
        example="[TRT-LLM] [RANK 2] [E] Error executing load_single_module with args "
        "('model.layers.9.mlp.gate_up_proj', Linear()): CUDA out of memory. Tried to allocate 40.00 MiB. "
        "GPU 0 has a total capacity of 22.07 GiB of which 20.62 MiB is free.",
        hint=_OOM_HINT,
    ),
    Signature(
        id="out_of_memory",
        failure_class="oom_device",
        needles=("out of memory.",),
        pattern=_TORCH_OOM,
        example=_ENGINE_TRACEBACK
        + _ENGINE
        + '  File "/opt/vllm/v1/worker/gpu_worker.py", line 324, in determine_available_memory\n'
        + _ENGINE
        + "    self.model_runner.profile_run()\n"
        + _ENGINE
        + "torch._inductor.exc.InductorError: RuntimeError: Failed to run autotuning code block: "
        "CUDA out of memory. Tried to allocate 4.62 GiB. GPU 0 has a total capacity of 15.47 GiB "
        "of which 1.53 GiB is free.",
        hint=_OOM_HINT,
    ),
    Signature(
        id="out_of_memory_before_torch_2_2",
        failure_class="oom_device",
        needles=("out of memory",),
        pattern=rf"CUDA out of memory.*?Tried to allocate (?P<asked_gib>{_SIZE}) \(GPU "
        rf"(?P<device>\d+); (?P<total_gib>{_SIZE}) total capacity;(?: (?P<allocated_gib>{_SIZE}) "
        rf"already allocated;)?.*?(?P<free_gib>{_SIZE}) free;",
        example="RuntimeError: CUDA out of memory, Tried to allocate 2.00 GiB (GPU 0; 23.69 GiB "
        "total capacity; 21.10 GiB already allocated; 1.20 GiB free; 21.90 GiB reserved in total "
        "by PyTorch)",
        hint=_OOM_HINT,
    ),
    Signature(
        id="out_of_memory_warming_up_sampler",
        failure_class="oom_device",
        needles=("out of memory occurred when warming up",),
        pattern=r"out of memory occurred when warming up (?P<what>\w+).*? with "
        r"(?P<dummy_requests>\d+) dummy requests",
        example="RuntimeError: CUDA out of memory occurred when warming up sampler with 512 dummy "
        "requests. Please try lowering `max_num_seqs` or `gpu_memory_utilization` when "
        "initializing the engine.",
        hint="The {what} was tried with {dummy_requests} requests at once and ran out of memory.",
    ),
    Signature(
        id="nccl_out_of_memory",
        failure_class="oom_device",
        needles=("uda failure", "uda error"),
        pattern=r"Cuda (?:failure|error) (?:\S+ )?'out of memory'",
        example="node1:4242:4242 [0] transport.cc:152 NCCL WARN Cuda failure 2 'out of memory'",
        hint="NCCL found no device memory for its own buffers.",
    ),
    Signature(
        id="library_allocation_failed",
        failure_class="oom_device",
        needles=("ALLOC_FAILED", "resource allocation failed", "Error Memory Allocation"),
        pattern=r"\bCU(?P<library>BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED"
        r"|resource allocation failed when calling|Error Memory Allocation",
        example="RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling "
        "`cublasCreate(handle)`",
        hint="A GPU library found no device memory for its workspace.",
    ),
    Signature(
        id="cuda_error_out_of_memory",
        failure_class="oom_device",
        needles=(
            "out of memory",
            "OUT_OF_MEMORY",
            "OUT_OF_DEVICE_MEMORY",
            "cudaErrorMemoryAllocation",
            "OutOfMemoryError",
            "OUT_OF_RESOURCES",
            "ailed to allocate",
            "OutOfMemory",
            "in memory space hbm",
            "RESOURCE_EXHAUSTED",
            "out_of_memory",
            "OOM when allocating",
            "NVML_SUCCESS == r",
            "amount of GPU memory",
            "ot enough memory to handle",
        ),
        pattern=r"(?:CUDA|CUDART|HIP|[Cc]uda)(?: driver| runtime)? [Ee]rror:? ?(?:\(?\d+\)? ?)?:? ?(?:in [^\n]{1,120}?: )?\(?'?out of memory"
        r"|OutOfMemoryError: Out of memory allocating|out_of_memory: CUDA error"
        r"|Requested amount of GPU memory \(\d+ bytes\) could not be allocated"
        r"|[Nn]ot enough memory to handle \d+ (?:prefill|total) tokens"
        # TensorFlow; torch, when it asked NVML for the numbers of its own message.
        r"|OOM when allocating tensor|NVML_SUCCESS == r INTERNAL ASSERT FAILED at .*CUDACachingAllocator"
        r"|OUT_OF_DEVICE_MEMORY|HSA_STATUS_ERROR_OUT_OF_RESOURCES|cudaMalloc failed: out of memory"
        r"|Triton Error \[(?:CUDA|HIP)\]: out of memory|CUDA_ERROR_OUT_OF_MEMORY"
        r"|cudaErrorMemoryAllocation|hipErrorOutOfMemory|torch\.(?:cuda\.)?OutOfMemoryError"
        r"|(?:CUDA|HIP|XPU|NPU) out of memory|[Aa]llocation on device \w* ?would exceed"
        r"|[Ff]ailed to allocate (?:CUDA|ROCm|HIP|GPU|device)\w* (?:buffer|memory)"
        r"|[Ee]rror [Cc]ode \d+: (?:OutOfMemory|Cuda Runtime \(out of memory)"
        r"|in memory space hbm|RESOURCE_EXHAUSTED: (?:Out of memory|Failed to allocate|Error (?:alloc|load))",
        example="torch.AcceleratorError: CUDA error: out of memory",
    ),
)

_KV_CACHE = (
    Signature(
        id="kv_cache_too_small",
        failure_class="kv_cache_insufficient",
        needles=("KV cache is needed",),
        pattern=r"max seq len \((?P<max_model_len>\d+)\), \(?(?P<needed_gib>[\d.]+ Gi?B) KV cache "
        r"is needed, .*?available KV cache memory \((?P<available_gib>-?[\d.]+ Gi?B)\)"
        r"(?:.*?estimated maximum model length is (?P<estimated_max_model_len>\d+))?",
        example=_ENGINE + "ValueError: To serve at least one request with the models's max seq "
        "len (1025), (0.19 GiB KV cache is needed, which is larger than the available KV cache "
        "memory (0.18 GiB). Based on the available memory, the estimated maximum model length is "
        "976. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when "
        "initializing the engine.",
        hint="One request of {max_model_len} tokens needs {needed} of KV cache, "
        "{available} are available: {missing} short.",
    ),
    Signature(
        id="kv_cache_none",
        failure_class="kv_cache_insufficient",
        needles=("No available memory for the cache blocks",),
        pattern=r"No available memory for the cache blocks",
        example=_ENGINE + "ValueError: No available memory for the cache blocks. Try increasing "
        "`gpu_memory_utilization` when initializing the engine. See "
        "https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details.",
        hint="Weights and the largest step leave nothing of the engine's share of the memory for "
        "the KV cache.",
    ),
    Signature(
        id="kv_cache_too_few_tokens",
        failure_class="kv_cache_insufficient",
        needles=("can be stored in KV cache",),
        pattern=r"max seq len \((?P<max_model_len>\d+)\) is larger than the maximum number of "
        r"tokens that can be stored in KV cache \((?P<available_tokens>\d+)\)",
        example="ValueError: The model's max seq len (4096) is larger than the maximum number of "
        "tokens that can be stored in KV cache (2048). Try increasing `gpu_memory_utilization` or "
        "decreasing `max_model_len` when initializing the engine.",
        hint="One request has {max_model_len} tokens, the KV cache has room for "
        "{available_tokens}.",
    ),
    Signature(
        id="kv_cache_no_memory",
        failure_class="kv_cache_insufficient",
        needles=(
            *("ot enough", "nsufficient", "o enough gpu memory", "Impossible to fit"),
            *("KV cache", "kv cache"),
        ),
        pattern=r"(?:[Nn]ot enough|[Ii]nsufficient) (?:GPU |device |free )?(?:memory|space|blocks)? ?(?:(?:for|to allocate)"
        r" (?:the )?)?(?:KV|kv|key-value)[ _-]?cache|Not enough memory\. Please try to increase "
        r"--mem-fraction-static|No enough gpu memory for (?:runtime|kv cache)|(?:KV|kv) cache is not enough|Impossible to fit any sequence in kvCache",
        example="RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
    ),
    Signature(
        id="kv_cache_not_one_token",
        failure_class="kv_cache_insufficient",
        needles=("Cannot auto-fit max_model_len",),
        pattern=r"Cannot auto-fit max_model_len",
        example="ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to "
        "serve even a single token. Try increasing `gpu_memory_utilization`.",
    ),
    Signature(
        id="mamba_cache_blocks",
        failure_class="kv_cache_insufficient",
        needles=("exceeds available Mamba cache",),
        pattern=r"max_num_seqs \((?P<max_num_seqs>\d+)\) exceeds available Mamba cache blocks "
        r"\((?P<available_sequences>\d+)\)",
        example="ValueError: max_num_seqs (512) exceeds available Mamba cache blocks (388). Each "
        "decode sequence requires one Mamba cache block, so CUDA graph capture cannot proceed.",
        hint="{max_num_seqs} sequences were asked for, the cache has room for "
        "{available_sequences}.",
    ),
    Signature(
        id="cpu_kv_cache_none",
        failure_class="kv_cache_insufficient",
        needles=("less than requested memory for kv",),
        # A negative or zero share is left: the weights took it all.
        pattern=r"Available memory on node \d+ \((?P<free_gib>[\d.]+)/(?P<total_gib>[\d.]+) GiB\) "
        r"on kv cache allocation is less than requested memory for kv "
        r"\((?P<available_gib>-[\d.]+|0\.0+)/",
        example="ValueError: Available memory on node 0 (5.31/7.59 GiB) on kv cache allocation is "
        "less than requested memory for kv (-0.42/3.04 GiB). Reduce CPU memory used by other "
        "processes.",
        hint="Weights and runtime already use more than the engine's share of the memory.",
    ),
)

_MEMORY_BUSY = (
    Signature(
        id="free_memory_below_share",
        failure_class="gpu_memory_busy",
        needles=("less than desired GPU memory utilization",),
        pattern=r"Free memory on device (?:\S+ )?\((?P<free_gib>[\d.]+)/(?P<total_gib>[\d.]+) GiB\)"
        r" on startup is less than desired GPU memory utilization \((?P<utilization>[\d.]+), "
        r"(?P<asked_gib>[\d.]+) GiB\)",
        example=_ENGINE + "ValueError: Free memory on device (22.39/23.99 GiB) on startup is less "
        "than desired GPU memory utilization (0.95, 22.79 GiB). Decrease GPU memory utilization or "
        "reduce GPU memory used by other processes.",
        hint="gpu_memory_utilization {utilization} means {asked}, {free} of "
        "{total} were free: up to {highest_utilization:.2f} could start.",
    ),
    Signature(
        id="free_memory_below_share_cpu",
        failure_class="gpu_memory_busy",
        needles=("less than desired CPU memory utilization",),
        pattern=r"Available memory on node (?P<node>\d+) \((?P<free_gib>[\d.]+)/"
        r"(?P<total_gib>[\d.]+) GiB\) on startup is less than desired CPU memory utilization "
        r"\((?P<utilization>[\d.]+), (?P<asked_gib>[\d.]+) GiB\)",
        example="ValueError: Available memory on node 0 (5.31/7.59 GiB) on startup is less than "
        "desired CPU memory utilization (0.92, 6.98 GiB). On the CPU backend, the "
        "`--gpu-memory-utilization` flag controls the fraction of CPU memory reserved (despite its "
        "name).",
        hint="gpu_memory_utilization {utilization} means {asked} of host memory, "
        "{free} of {total} were free: up to {highest_utilization:.2f} could "
        "start.",
    ),
    Signature(
        id="free_memory_below_kv_cache_cpu",
        failure_class="gpu_memory_busy",
        needles=("less than requested memory for kv",),
        pattern=r"Available memory on node (?P<node>\d+) \((?P<free_gib>[\d.]+)/"
        r"(?P<total_gib>[\d.]+) GiB\) on kv cache allocation is less than requested memory for kv "
        r"\((?P<asked_gib>[\d.]+)[ /]",
        example="ValueError: Available memory on node 0 (1.20/7.59 GiB) on kv cache allocation is "
        "less than requested memory for kv (4.00 GiB). Decrease --kv-cache-memory-bytes, "
        "VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes.",
        hint="{asked} of host memory were asked for the KV cache, {free} of {total} were free.",
    ),
    Signature(
        id="gpus_unequally_free",
        failure_class="gpu_memory_busy",
        needles=("may be occupied by other processes", "memory capacity is unbalanced"),
        pattern=r"(?:memory capacity is unbalanced|Some GPUs may be occupied by other processes)",
        example="ValueError: The memory capacity is unbalanced. Some GPUs may be occupied by other processes.",
    ),
    Signature(
        id="gpu_held_by_others",
        failure_class="gpu_memory_busy",
        needles=("other process",),
        tier=Tier.PLACED,
        pattern=r"^[\w.]*(?:Error|Exception): (?=.*\b(?:GPU|[Dd]evice)\b)(?!.*\b(?:[Pp]ort|lock|file|socket|address)\b)"
        r".*\b(?:an)?other process(?:es)? (?:is|are) (?:already |currently )?(?:using|holding|occupying)"
        r"|^(?:[\w.]*(?:Error|Exception): .{0,80}?)?(?:The )?(?:GPU|[Dd]evice)(?: \d+)?(?:'s)? (?:memory )?is "
        r"(?:already |currently |still )*(?:in use|used|occupied|held) by (?:an)?other process",
        example="RuntimeError: GPU memory is already in use by other processes: 40.1 GiB of 47.5 GiB",
    ),
    Signature(
        id="memory_moved_while_profiling",
        failure_class="gpu_memory_busy",
        needles=("Error in memory profiling",),
        # vLLM 0.8 to 0.10 print bytes without a unit.
        pattern=r"Error in memory profiling\.(?: Initial free memory (?P<initial_free_gib>[\d.]+)"
        r"(?: GiB)?, (?:current free|used) memory (?P<current_free_gib>[\d.]+))?",
        example="AssertionError: Error in memory profiling. Initial free memory 12.81 GiB, current "
        "free memory 15.02 GiB. This happens when other processes sharing the same container "
        "release GPU memory while vLLM is profiling during initialization.",
        hint="Free memory went from {initial_free} to {current_free} while the "
        "engine measured its own use: another process released memory.",
    ),
)

_ADDRESSES = (
    Signature(
        id="index_exceeds_int32",
        failure_class="int32_index_overflow",
        needles=overflow.NEEDLES,
        pattern=overflow.PATTERN,
        example="RuntimeError: Expected canUse32BitIndexMath(input) && "
        "canUse32BitIndexMath(output) to be true, but got false.",
        hint="A tensor of this step has more elements than a 32-bit index can reach "
        "(2,147,483,647).",
    ),
    Signature(
        id="illegal_address",
        failure_class="illegal_memory_access",
        needles=(
            "llegal memory access",
            "ILLEGAL_ADDRESS",
            "IllegalAddress",
            "access fault by GPU",
            " Address",
            "CUDA_EXCEPTION_",
            "Invalid __",
            "fault from GPU",
            "is out of range",
        ),
        # What cuda-gdb calls its exceptions, compute-sanitizer the accesses, the drivers of Intel and
        # Ascend the fault.
        pattern=r"(?i:illegal memory access)|CUDA_ERROR_ILLEGAL_ADDRESS|ErrorIllegalAddress"
        r"|Memory access fault by GPU|(?:Lane|Warp|Device|Cluster) (?:Illegal|Out-of-range|Invalid) "
        r"Address|CUDA_EXCEPTION_(?:1|5|7|10|14|15|17)\b|Segmentation fault from GPU at"
        r"|Invalid __(?:global|shared|local)__ (?:read|write|atomic)"
        r"|address of the \w+ instruction is out of range",
        example=_ENGINE + "RuntimeError: Triton Error [CUDA]: an illegal memory access was "
        "encountered",
    ),
    Signature(
        id="xid_page_fault",
        failure_class="illegal_memory_access",
        needles=("Xid",),
        pattern=r"\bXid(?: \((?:PCI:)?(?P<pci>[^)]*)\))?:? ?(?P<xid>13|31|69)\b",
        example="[81234.567890] NVRM: Xid (PCI:0000:3b:00): 31, pid=4242, name=VLLM::EngineCor, "
        "Ch 00000008, intr 10000000. MMU Fault: ENGINE GRAPHICS GPC0 GPCCLIENT_T1_0 faulted",
        hint="The driver reported Xid {xid}: a kernel of this program touched an address that is "
        "not its own.",
    ),
)

_ARCHITECTURE = (
    Signature(
        id="no_kernel_image",
        failure_class="unsupported_arch",
        needles=(
            "no kernel image",
            "NO_BINARY_FOR_GPU",
            "NoKernelImage",
            "invalid device function",
            "no device code",
            "NoBinaryForGpu",
            "TensileLibrary",
            "by this TensorRT",
            "Arch conditional MMA",
            "Attempting to use ",
        ),
        pattern=r"no kernel image is available|NO_BINARY_FOR_GPU|ErrorNoKernelImageForDevice|NoBinaryForGpu"
        r"|invalid device function|no device code (?:compatible|for)"
        # rocBLAS, TensorRT, and the device code of CUTLASS.
        r"|rocBLAS error: .*TensileLibrary|Target GPU SM \d+ is not supported by this TensorRT"
        r"|Arch conditional MMA instruction used without|Attempting to use .*(?:without CUTE_ARCH|not compiled for SM|on an architecture)",
        example="torch.AcceleratorError: CUDA error: no kernel image is available for execution on "
        "the device",
        hint="The installed build has no machine code for this GPU.",
    ),
    Signature(
        id="minimum_capability",
        failure_class="unsupported_arch",
        needles=("is not supported for",),
        pattern=r"(?:quantization method (?P<quantization>\S+)|Quantization scheme) is not "
        r"supported for\W+the current GPU\. (?:Minimum|Min|Required) capability: "
        r"(?P<needed_capability>\d+)\.?\W+Current capability: (?P<capability>\d+)?",
        example="RuntimeError: ('Quantization scheme is not supported for ', 'the current GPU. Min "
        "capability: 89. ', 'Current capability: 75.')",
        hint="The quantization needs compute capability {needed_capability} (as one number), the "
        "GPU has {capability}.",
    ),
    Signature(
        id="bfloat16_capability",
        failure_class="unsupported_arch",
        needles=("Bfloat16 is only supported",),
        pattern=r"Bfloat16 is only supported on GPUs with compute capability of at least "
        r"(?P<needed_capability>[\d.]+\d)\. Your (?P<gpu>.+?) GPU (?:has compute capability "
        r"(?P<capability>[\d.]+\d))?",
        example="ValueError: Bfloat16 is only supported on GPUs with compute capability of at "
        "least 8.0. Your Tesla T4 GPU has compute capability 7.5. You can use float16 instead by "
        "explicitly setting the `dtype` flag in CLI, for example: --dtype=half.",
        hint="bfloat16 needs compute capability {needed_capability}, the {gpu} has {capability}; "
        "dtype: float16 works.",
    ),
    Signature(
        id="kernel_not_compiled",
        failure_class="unsupported_arch",
        needles=("No compiled",),
        pattern=r"No compiled (?P<kernel>\w+).*?(?:CUDA device capability: |kernel for SM )"
        r"(?P<capability>\d+)",
        example="RuntimeError: No compiled cutlass_scaled_mm for a compute capability less than "
        "CUDA device capability: 120",
        hint="This vLLM build has no {kernel} for compute capability {capability} (as one number).",
    ),
    Signature(
        id="fp8_not_on_this_gpu",
        failure_class="unsupported_arch",
        needles=(
            "not supported in this architecture",
            "torch._scaled_mm is only supported",
            "CUDA arch <",
        ),
        pattern=r"type (?P<dtype>fp8\w+) not supported in this architecture"
        r"|torch\._scaled_mm is only supported on|fp8\w* (?:data )?type is not supported on CUDA arch",
        example="triton.compiler.errors.CompilationError: at 12:10: type fp8e4nv not supported in "
        "this architecture. The supported fp8 dtypes are ('fp8e4b15', 'fp8e5')",
        hint="This GPU has no FP8 arithmetic (compute capability 8.9 or newer has).",
    ),
    Signature(
        id="compiler_needs_newer_gpu",
        failure_class="unsupported_arch",
        needles=(
            "too old to be supported by the triton",
            "LLVM ERROR: Cannot select",
            "requires .target sm_",
            "not supported on .target",
            "computeCapability",
        ),
        pattern=r"Found (?P<gpu>.+?) which is too old to be supported by the triton"
        r"|requires \.target (?P<needed>sm_\w+)|LLVM ERROR: Cannot select: intrinsic %llvm\.nvvm\.(?!redux\.sync\.f)"
        r"|not supported on \.target '(?P<target>sm_\w+)'"
        r"|[Aa]ssert\w* .*\bcomputeCapability\b[^\"]*\bnot supported",
        example="RuntimeError: Found Tesla P100-PCIE-16GB which is too old to be supported by the "
        "triton GPU compiler, which is used as the backend.",
        hint="The compiler in this build does not generate code for this GPU.",
    ),
    Signature(
        id="library_arch_mismatch",
        failure_class="unsupported_arch",
        needles=(
            "rchitecture mismatch",
            "ARCH_MISMATCH",
            "rch Mismatch",
            "currently supports only SM",
        ),
        pattern=r"architecture mismatch|STATUS_ARCH_MISMATCH|Error Arch Mismatch"
        r"|cusparseLt currently supports only (?P<supported>SM.+)",
        example="RuntimeError: CUDA error: architecture mismatch when calling "
        "`cusparseLtInit(&handle)`",
        hint="The installed library does not support this GPU.",
    ),
    Signature(
        id="attention_capability",
        failure_class="unsupported_arch",
        needles=("only supports Ampere GPUs", "compute capability", "our GPU does not support"),
        pattern=r"FlashAttention only supports Ampere GPUs or newer|\b[Yy]our GPU does not support\b"
        r"|^[\w.]*(?:Error|Exception): .*(?:only supported on|requires?) .*compute capability",
        example="RuntimeError: FlashAttention only supports Ampere GPUs or newer.",
    ),
    Signature(
        id="harness_refuses_capability",
        failure_class="unsupported_arch",
        needles=("不支持", "not support", "nsupported"),
        pattern=r"(?:不支持|[Nn]ot supported|[Uu]nsupported)\W{1,3}sm_(?P<sm>\d+) (?:>=|<) sm_\d+"
        r"|(?:硬件不支持|[Hh]ardware does not support) (?:FP8|INT8)",
        example="[WARNING]   原因: vLLM CUTLASS INT8 不支持: sm_120 >= sm_100",
        hint="The script that started the benchmark left it out: sm_{sm} is beyond this kernel.",
    ),
    Signature(
        id="attention_left_out",
        failure_class="unsupported_arch",
        needles=("CUDA capability", "compute capability"),
        tier=Tier.CLUE,
        counts_as_warning=True,
        # TGI goes on without, until the model has no other implementation.
        pattern=r"(?:Unable to use|Could not import) Flash Attention.*: (?P<message>GPU with CUDA capability .*)",
        example="WARN text_generation_launcher: Unable to use Flash Attention V2: GPU with CUDA capability "
        "7 5 is not supported for Flash Attention V2",
        hint="Only some GPUs are accepted: {message}",
    ),
    Signature(
        id="no_other_implementation",
        failure_class="unsupported_config",
        needles=("is not supported for AutoModel", "Flash Attention enabled models"),
        tier=Tier.CLUE,
        # The reason stands in a warning before, or there is none.
        pattern=r"^NotImplementedError: (?P<message>.*(?:is not supported for AutoModel"
        r"|requires Flash Attention enabled models).*)",
        example="NotImplementedError: Sharded Llama requires Flash Attention enabled models.",
        hint="The engine does not implement this: {message}",
    ),
    Signature(
        id="sm_not_in_build",
        failure_class="unsupported_arch",
        needles=("is not compatible with the current PyTorch", "no longer supports this GPU"),
        tier=Tier.CLUE,
        counts_as_warning=True,
        pattern=r"(?P<gpu>.{1,80}?) with CUDA capability sm_(?P<sm>\w+) is not compatible with the "
        r"current PyTorch|PyTorch no longer supports this GPU because it is too old",
        example="NVIDIA GeForce RTX 5080 with CUDA capability sm_120 is not compatible with the "
        "current PyTorch installation.",
        hint="The installed PyTorch has no machine code for sm_{sm}.",
    ),
)

_MODEL_FILES = (
    Signature(
        id="not_a_repository",
        failure_class="model_not_found",
        needles=("is not a valid model identifier", "Repo id must", "Invalid repository ID"),
        pattern=r"(?P<model>\S{1,300}) is not a local folder and is not a valid model identifier"
        r"|HFValidationError: Repo id must(?:.*'(?P<repository>[^']*)'\.?$)?"
        r"|Invalid repository ID or local directory specified",
        example="OSError: ./qwen2.5-7b-int8 is not a local folder and is not a valid model "
        "identifier listed on 'https://huggingface.co/models'",
        hint="{model} is neither a folder here nor a model on the hub.",
    ),
    Signature(
        id="repository_not_found",
        failure_class="model_not_found",
        needles=(
            "Repository Not Found",
            "RepositoryNotFoundError",
            "gated repo",
            "GatedRepoError",
            "RevisionNotFoundError",
            "EntryNotFoundError",
            "TokenNotFoundError",
            "NotExistError",
            "not a valid git identifier",
            " is restricted",
            "Client Error",
        ),
        pattern=r"Repository Not Found for url: (?P<url>\S+?)\.?$|RepositoryNotFoundError"
        r"|[Yy]ou are trying to access a gated repo|Cannot access gated repo|GatedRepoError"
        r"|RevisionNotFoundError|EntryNotFoundError|TokenNotFoundError|NotExistError"
        r"|is not a valid git identifier|[Aa]ccess to model \S+ is restricted"
        r"|40[134] Client Error.*(?:huggingface|hf\.co|modelscope)",
        example="huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: "
        "Root=1-66146f04)",
        hint="The hub refused: the model does not exist there, or this account has no access.",
    ),
    Signature(
        id="hub_unreachable",
        failure_class="model_not_found",
        needles=(
            "couldn't connect to",
            "local_files_only",
            "LocalEntryNotFound",
            "OfflineModeIsEnabled",
            "Failed to resolve 'huggingface.co'",
            "offline mode is enabled",
        ),
        pattern=r"We couldn't connect to '(?P<url>[^']+)'|LocalEntryNotFoundError"
        r"|OfflineModeIsEnabled|Failed to resolve 'huggingface\.co'|offline mode is enabled"
        r"|no connection or you passed local_files_only",
        example="OSError: We couldn't connect to 'https://huggingface.co' to load the files, and "
        "couldn't find them in the cached files.",
        hint="The hub cannot be reached and the files are not in the local cache.",
    ),
    Signature(
        id="gguf_not_opened",
        failure_class="model_not_found",
        needles=("failed to open",),
        pattern=r"gguf_init_from_file\w*: failed to open (?:GGUF file )?'(?P<file>[^']+)'"
        r"|error loading model: .*failed to open (?P<model>\S+):",
        example="gguf_init_from_file: failed to open GGUF file '/models/gemma-3-12b-it-qat-q4_0.gguf'",
        hint="The model folder is incomplete.",
    ),
    Signature(
        id="model_files_missing",
        failure_class="model_not_found",
        needles=(
            "model weights with",
            "No model weights found",
            "does not appear to have a file named",
            "no config file found",
            "No such file or directory",
            "Could not find checkpoint files",
            "Can't load the ",
            "Error no file named",
            "No supported config format",
            "Incorrect path_or_model_id",
            "find any weights",
            "any model weights",
            "odel path",
            "odel manifest",
            "NoCredentialsError",
            *("HeadObject", "GetObject", "ListObjects", "Transport endpoint"),
            "referenced in index but missing",
            "nor checkpoint files were found",
        ),
        pattern=r"Cannot find any (?:safetensors )?model weights with [`'](?P<model>[^`']+)[`']"
        r"|No model weights found in:? `?(?P<model_folder>[^\s`]+)"
        r"|(?P<repository>\S{1,300}) does not appear to have a file named (?P<file>\S+?)\.?(?: |$)"
        r"|Could not detect config format for no config file found"
        r"|Could not find checkpoint files|Can't load the (?:configuration|model) (?:of|for)"
        r"|Error no file named|No supported config format found|Incorrect path_or_model_id"
        r"|(?:find|found) any (?:model )?weights in|[Mm]odel path .{0,200}(?:does not exist|not found)"
        r"|Weight files referenced in index but missing|Neither a state dict nor checkpoint files were found"
        r"|pull model manifest: |^botocore\.exceptions\.NoCredentialsError"
        # Object stores, and file systems that lost their server.
        r"|ClientError: .*\bcalling the (?:Head|Get|List)Objects?(?:V2)? operation|Transport endpoint is not connected: .*"
        r"(?:model|\.json|\.safetensors|\.bin)"
        r"|^FileNotFoundError: \[Errno 2\] No such file or directory: '(?P<folder>[^']*(?:[Mm]odel|MODEL"
        r"|[Cc]heckpoint|ckpt|weights|huggingface|/hub/|snapshots)[^']*)'"
        r"|No such file or directory: \"?'?(?P<path>[^'\"]*(?:config\.json|\.safetensors|\.bin"
        r"|\.index\.json))",
        example="RuntimeError: Cannot find any model weights with `./qwen2.5-7b-int8`",
        hint="The model folder is incomplete.",
    ),
)

_TOKENIZER = (
    Signature(
        id="tokenizer_files",
        failure_class="tokenizer_error",
        needles=(
            "okenizer",
            "onverting from",
            "untagged enum",
            "ModelProto",
            "model_proto",
            "Text",
            "chat template",
            "not a string",
            "jinja2.exceptions.",
            *("chat_template is not set", "tokenizers", "vocab file"),
            "loading model vocabulary",
        ),
        pattern=r"Couldn't instantiate the backend tokenizer|Can't load tokenizer for"
        r"|Tokenizer class (?P<tokenizer>\S+) does not exist|Failed to load the tokenizer"
        r"|has no attribute '?all_special_tokens_extended"
        r"|Tokenizer not available when `skip_tokenizer_init=True`"
        r"|did not match any variant of untagged enum|could not parse ModelProto"
        r"|model_proto->ParseFrom|Text(?:EncodeInput|InputSequence) must be"
        r"|'?\w*[Tt]okenizer\w*'?(?: object)? has no attribute|chat template is no longer allowed"
        r"|instantiate this tokenizer|[Cc]onverting from (?:Tiktoken|SentencePiece|tiktoken).* failed"
        r"|[Tt]okenizer .{0,80}(?:not found|does not exist|cannot be loaded|could not be loaded)"
        r"|(?:load|find|create|build|initializ\w+) (?:a |the )?(?:fast |slow )?tokenizer\b.{0,40}(?:fail|error)"
        r"|(?:text|tokens) when `skip_tokenizer_init=True`|tokenizer must be a string"
        # The chat template; the vocabulary of a GGUF file.
        r"|^jinja2\.exceptions\.\w+|error loading model vocabulary|chat_template is not set|panicked at \S*tokenizers\b|loading vocab file"
        # SentencePiece, of a vocabulary file that is None.
        r"|^TypeError: not a string$",
        example="ValueError: Couldn't instantiate the backend tokenizer from one of: ",
    ),
)

_CHECKPOINT = (
    Signature(
        id="weights_missing",
        failure_class="weights_mismatch",
        needles=(
            *("not initialized from checkpoint", "in loaded state!", "Missing key(s)"),
            *("annot find weight", "does not exist", "not found in params_dict"),
            "not found in the model",
            *("was never loaded", "were never loaded", "not in the checkpoint"),
        ),
        pattern=r"[Ff]ollowing weights were not initialized from(?: checkpoint)?: "
        r"\{?(?:'(?P<parameter>[^']+)')?|weights are not initialized from checkpoints?"
        r"|^[\w.]*Error: (?:[Cc]annot find weight \S+|[Ww]eight \S+ does not exist|Parameter \S+ not found in (?:params_dict|the model))"
        r"|^[\w.]*Error: .*\b(?:weight|scale|bias|parameter)\w*\b.{0,80}\b(?:was|were) never loaded\b"
        r"|^[\w.]*Error: .*\b(?:parameters?|weights?)\b.{0,80} (?:is|are) not in the checkpoint"
        r"|Missing keys .* in loaded state!|Missing key\(s\) in "
        r"state_dict",
        example=_ENGINE + "ValueError: Following weights were not initialized from checkpoint: "
        "{'model.layers.47.mlp.gate_up_proj.weight', 'model.layers.49.input_layernorm.weight'}",
        hint="The checkpoint lacks weights of the model, such as {parameter}.",
    ),
    Signature(
        id="weights_unknown",
        failure_class="weights_mismatch",
        needles=(
            *("There is no module or parameter named", "Unexpected key(s) in state_dict"),
            "expected target modules in",
        ),
        pattern=r"There is no module or parameter named '(?P<parameter>[^']+)' in (?P<module>\S+)"
        r"|Unexpected key\(s\) in state_dict|expected target modules in \[.*\] but received",
        example=_ENGINE + "ValueError: There is no module or parameter named 'model.layers.0.mlp."
        "gate_up_proj.slide_meta' in LlamaForCausalLM",
        hint="The checkpoint has {parameter}, which the model does not know.",
    ),
    Signature(
        id="weights_shape",
        failure_class="weights_mismatch",
        needles=(
            "Tried to load weights of size",
            "Attempted to load weight",
            "size mismatch for",
            "loading state_dict",
        ),
        pattern=r"Tried to load weights of size torch\.Size\((?P<found>\[[\d, ]*\])\)\s?to a "
        r"parameter of size torch\.Size\((?P<expected>\[[\d, ]*\])\)"
        r"|Attempted to load weight \((?:torch\.Size\()?(?P<weight>\[[\d, ]*\])\)?\) into parameter"
        r"|size mismatch for (?P<parameter>\S+):|Error\(s\) in loading state_dict",
        example="AssertionError: Tried to load weights of size torch.Size([37888, 5376])to a "
        "parameter of size torch.Size([37888, 3584])",
        hint="A weight has shape {found}, the model expects {expected}.",
    ),
    Signature(
        id="gguf_damaged",
        failure_class="weights_mismatch",
        needles=("error loading model: ", "invalid magic", "wrong shape", "has invalid ggml type"),
        pattern=r"error loading model: (?:\w+: )*(?:wrong number of tensors|missing tensor|tensor '.*' (?:has wrong"
        r"|not found|data is not within)|key not found in model|unexpected tensor)|check_tensor_dims: tensor .* wrong"
        r"|gguf_init_from_\w+: (?:invalid magic|failed to read|tensor .* (?:invalid|wrong))"
        r"|unknown \(magic, version\) combination|is this really a GGML file",
        example="llama_model_load: error loading model: done_getting_tensors: wrong number of tensors; "
        "expected 292, got 291",
        hint="A weight of the checkpoint has another name or shape than the model expects.",
    ),
    Signature(
        id="checkpoint_damaged",
        failure_class="weights_mismatch",
        needles=(
            "SafetensorError",
            "deserializing header",
            "PytorchStreamReader failed",
            "UnpicklingError",
            "Unable to load weights",
            "shape mismatch",
            "heckpoint",
            "The file might be corrupted",
        ),
        pattern=r"SafetensorError: (?P<message>.+)|Error while deserializing header"
        r"|The file might be corrupted|PytorchStreamReader failed|UnpicklingError|Unable to load weights from"
        r"|^\w+Error: .*(?:shape mismatch.*(?:checkpoint|parameter)|(?:checkpoint|weight).* shape mismatch)"
        r"|[Cc]heckpoint .*(?:is corrupt|is incomplete|is missing)",
        example="safetensors_rust.SafetensorError: Error while deserializing header: "
        "MetadataIncompleteBuffer",
        hint="A weight file is damaged or was not downloaded completely.",
    ),
)

_ENVIRONMENT = (
    Signature(
        id="driver_too_old",
        failure_class="driver_or_env",
        needles=(
            "is insufficient for CUDA runtime",
            "driver on your system is too old",
            "unsupported toolchain",
            "orward compatibility was attempted",
            "device kernel image is invalid",
            "Insufficient Driver",
            "Unexpected error from cuda",
            "unsupported display driver",
        ),
        pattern=r"CUDA driver version is insufficient for CUDA runtime version"
        r"|^\S*Error: .*driver on your system is too old \(found version (?P<found>\d+)\)"
        r"|compiled with an unsupported toolchain|[Ff]orward compatibility was attempted"
        r"|device kernel image is invalid|Error Insufficient Driver"
        r"|Unexpected error from cudaGetDeviceCount|unsupported display driver / cuda driver",
        example="RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime "
        "version",
        hint="The NVIDIA driver is older than the installed CUDA build needs.",
    ),
    Signature(
        id="extension_not_loaded_warning",
        failure_class="driver_or_env",
        needles=("Failed to import from",),
        tier=Tier.CLUE,
        counts_as_warning=True,
        pattern=r"Failed to import from (?P<extension>\S+) with \w+\(.*(?:not found \(required by|undefined symbol"
        r"|cannot open shared object)",
        example="WARNING 07-17 20:03:10 _custom_ops.py:14] Failed to import from vllm._C with ImportError"
        '("libcudart.so.12: cannot open shared object file: No such file or directory")',
        hint="The compiled extension {extension} does not fit the libraries that are installed.",
    ),
    Signature(
        id="driver_too_old_warning",
        failure_class="driver_or_env",
        needles=("driver on your system is too old",),
        tier=Tier.CLUE,
        counts_as_warning=True,
        pattern=r"driver on your system is too old \(found version (?P<found>\d+)\)",
        example="UserWarning: CUDA initialization: The NVIDIA driver on your system is too old "
        "(found version 11040). Please update your GPU driver",
        hint="The NVIDIA driver is older than the installed CUDA build needs.",
    ),
    Signature(
        id="no_gpu_visible",
        failure_class="driver_or_env",
        needles=(
            "Found no NVIDIA driver",
            "No CUDA GPUs are available",
            "no CUDA-capable device",
            "Torch not compiled with CUDA",
            "CUDA unknown error",
            "invalid device ordinal",
            "system not yet initialized",
            "busy or unavailable",
            "Failed to infer device type",
            "NVMLError",
            "NVMLLibraryMismatchError",
            "library version mismatch",
            "Failed to initialize NVML",
            "CUDA driver initialization failed",
            "Device string must not be empty",
            "could not select device driver",
            "nvidia-container-cli",
            "communicate with the NVIDIA driver",
            "No HIP GPUs are available",
            "cuDNN version incompatibility",
            "is_available() is False",
            "initialization error",
            "CUDA_ERROR_",
            "installed CUDA driver",
            "stub library",
            "Invalid device id",
            "failed lazily at initialization",
            "active driver",
            "is not active",
            "_VISIBLE_DEVICES contains more",
            "with base 10: '",
            "API mismatch",
            "find a",
            "cudaGetDeviceCount",
            "/dev/nvidia",
            "/dev/kfd",
            *("compiled without", "built without"),
        ),
        pattern=r"Found no NVIDIA driver|No CUDA GPUs are available|no CUDA-capable device"
        r"|Torch not compiled with CUDA|CUDA unknown error|invalid device ordinal"
        r"|system not yet initialized|busy or unavailable|Failed to infer device type"
        r"|NVMLError_\w+: |NVMLLibraryMismatchError|Driver/library version mismatch|Failed to initialize NVML"
        r"|CUDA driver initialization failed|Device string must not be empty"
        r"|could not select device driver|nvidia-container-cli: .*error|No HIP GPUs are available|cuDNN version incompatibility"
        r"|couldn't communicate with the NVIDIA driver|torch\.cuda\.is_available\(\) is False"
        r"|CUDA (?:driver )?error: (?:initialization error|API call is not supported in the installed CUDA driver"
        r"|CUDA driver is a stub library)"
        # Torch's own checks of an index, and those of Triton, which counts the drivers that work.
        r"|^AssertionError: Invalid device id|CUDA call failed lazily at initialization"
        r"|NVRM: API mismatch|(?:[Uu]nable to|[Cc]annot|[Cc]ould not) find (?:an? |any )(?:CUDA|GPU|NVIDIA)\b(?! (?:kernel|graph|stream|event)).{0,20}(?:device|GPU)"
        r"|cudaGetDeviceCount (?:returned (?:error|cudaError|(?:3|35|46|\d{3})\b)|failed)|(?:initializ\w+ CUDA|\bcuInit\b).{0,40}CUDA_ERROR_UNKNOWN"
        r"|(?:[Uu]nable to|[Cc]ould not|[Cc]annot|[Ff]ailed to) (?:open|access) .{0,40}?/dev/(?:nvidia|kfd)"
        r"|\b(?:PyTorch|[Tt]orch|vLLM|llama\.cpp) was (?:compiled|built) without (?:CUDA|GPU|ROCm)"
        r"|\b\d+ active drivers? \(|Backend device '\w+' is not active|_VISIBLE_DEVICES contains more devices"
        # Devices that are named instead of counted.
        r"|^ValueError: invalid literal for int\(\) with base 10: '(?:MIG|GPU)-"
        r"|CUDA_ERROR_(?:NO_DEVICE|NOT_INITIALIZED|SYSTEM_NOT_READY|SYSTEM_DRIVER_MISMATCH|STUB_LIBRARY"
        r"|COMPAT_NOT_SUPPORTED_ON_DEVICE|UNSUPPORTED_PTX_VERSION|INVALID_DEVICE)\b",
        example="RuntimeError: Failed to infer device type, please set the environment variable "
        "`VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the issue.",
        hint="No usable GPU is visible to this process.",
    ),
    Signature(
        id="cuda_not_on_this_system",
        failure_class="driver_or_env",
        needles=("CUDA error: ", "CUDA driver error: ", "CUDA_ERROR_", "cudaError"),
        # What CUDA says of the operating system, of licences, MPS and libraries that it opens itself.
        pattern=r"CUDA (?:driver |runtime )?error: (?P<message>OS call failed|MPS client |MPS server |the remote procedural call "
        r"between the MPS|the hardware resources required to (?:create MPS|device connections)|device doesn't have valid"
        r"|integrity checks failed|PTX JIT compiler library not found|shared object (?:symbol not found|initialization failed))"
        r"|CUDA_ERROR_(?P<code>OPERATING_SYSTEM|DEVICE_UNAVAILABLE|DEVICE_NOT_LICENSED|SHARED_OBJECT_\w+"
        r"|JIT_COMPILER_NOT_FOUND|MPS_\w+)\b|cudaError(?P<name>OperatingSystem|DevicesUnavailable|NoDevice"
        r"|InsufficientDriver|SystemDriverMismatch|SystemNotReady|DeviceNotLicensed|JitCompilerNotFound|Mps\w+)\b",
        example="torch.AcceleratorError: CUDA error: OS call failed or operation not supported on this OS",
        hint="CUDA does not work on this system: {message}.",
    ),
    Signature(
        id="feature_of_the_system",
        failure_class="driver_or_env",
        needles=("available", "requires "),
        tier=Tier.PLACED,
        pattern=r"^[\w.]*(?:RuntimeError|AssertionError|OSError): (?P<message>(?:UVA|UVM|(?:[Pp]in(?:ned)?|torch\.\w+\.)[ -]?memory\S*"
        r"|(?:Sleep mode|cumem|xpumem) allocator|CUDA IPC|GPUDirect\S*|NVLink|P2P|[Hh]uge ?[Pp]ages|MemPool\S*"
        r"|Fallback Gloo backend|[\w.]+ (?:library|driver|extension)) (?:is |are |APIs are )(?:not |un)available\b.*"
        r"|.*\brequires (?:UVA|CUDA IPC|NVML|GPUDirect\S*)(?: (?:support|access)\b.*|[.,;:(].*|$))",
        example="RuntimeError: UVA is not available",
        hint="This system does not offer it: {message}",
    ),
    Signature(
        id="header_missing_at_installation",
        failure_class="driver_or_env",
        needles=(": fatal error: ",),
        # Of a package that is built to be installed, not of a kernel that is built to run.
        within=frozenset({"<installing>"}),
        pattern=r": fatal error: (?P<header>\S+\.(?:h|hpp|cuh)): No such file or directory",
        example="Building wheel for vllm (pyproject.toml): started\n"
        "/opt/torch/include/ATen/cuda/CUDAContextLight.h:8:10: fatal error: cusparse.h: No such file or directory",
        hint="A package could not be built: {header} is not installed.",
    ),
    Signature(
        id="container_not_created",
        failure_class="driver_or_env",
        needles=("OCI runtime create failed", "failed to create shim", "error running hook"),
        # The last link of the chain may stand on the next line.
        tier=Tier.QUOTED,
        pattern=r"OCI runtime create failed|failed to create shim|error running hook",
        example="docker: Error response from daemon: failed to create shim task: OCI runtime create failed: "
        "runc create failed: unable to start container process",
        hint="The container did not start.",
    ),
    Signature(
        id="library_missing",
        failure_class="driver_or_env",
        needles=(
            *("cannot open shared object file", "undefined symbol", "' not found (required by"),
            *("Could not load library", "Unable to load any of {lib", "libnvrtc-builtins"),
            *("is not loaded in the current process", "Could not find any "),
        ),
        pattern=r"(?P<library>[\w.+/-]{1,300}\.so[\w.]*)(?: \(deleted\))?: (?:cannot open shared object file"
        r"|undefined symbol: (?P<symbol>\w+))"
        r"|version `?(?P<version>[\w.]+)' not found \(required by"
        # cuDNN and NVRTC load their parts when they need them.
        r"|Could not load library (?P<part>lib\S+)|Unable to load any of \{(?P<parts>lib[^,}]+)"
        r"|failed to open (?P<builtins>libnvrtc-builtins\S+)"
        r"|(?P<absent>\blib\w+) is not loaded in the current process|Could not find any (?P<wanted>\w+) library",
        example="ImportError: /opt/vllm/_C.abi3.so: undefined symbol: "
        "_ZN5torch3jit17parseSchemaOrNameERKSsb",
        hint="A compiled library does not fit the others that are installed.",
    ),
    Signature(
        id="package_missing",
        failure_class="driver_or_env",
        needles=(
            "ModuleNotFoundError",
            "PackageNotFoundError",
            "ImportError",
            "numpy.dtype size",
            "VersionConflict",
            "Numpy is not available",
            "Descriptors cannot be created directly",
            " was removed in ",
            *("FATAL: Module nvidia", "no runtime for", "nvidia-ctk", "invalid runtime name"),
            "DistributionNotFound",
            "InvalidVersion: ",
            *("Unable to convert function return value", "failed without raising an exception"),
        ),
        pattern=r"^ModuleNotFoundError: No module named '(?P<package>[\w.]+)'"
        r"|PackageNotFoundError: (?P<missing>.+)|^(?:\w+\.)*ImportError: (?P<message>(?!.*circular import).+)"
        r"|numpy\.dtype size changed|VersionConflict: |Numpy is not available|^TypeError: Descriptors cannot be created directly"
        r"|^AttributeError: `np\.\w+` was removed in "
        # The kernel's module, and what gives GPUs to containers.
        r"|unknown or invalid runtime name|^(?:[\w.]+\.)?(?:DistributionNotFound|InvalidVersion): "
        r"|^TypeError: Unable to convert function return value"
        r"|^SystemError: initialization of \S+ failed without raising"
        r"|FATAL: Module nvidia\S* not found|no runtime for \W?nvidia\W? is configured|nvidia-ctk\W* not found",
        example="ModuleNotFoundError: No module named 'compressed_tensors'",
        hint="The Python package {package} is not installed.",
    ),
    Signature(
        id="module_of_another_version",
        failure_class="driver_or_env",
        needles=("AttributeError: ",),
        # In code that a compiler has generated it is a mistake of the compiler.
        never_within=frozenset({"_call_user_compiler", "call_user_compiler"}),
        pattern=r"^AttributeError: (?:partially initialized )?module '(?P<module>(?:torch\w*|triton|numpy"
        r"|transformers|vllm|flash_attn\w*|flashinfer|tokenizers|cutlass|ray|pynvml|xformers|pydantic\w*|outlines|xgrammar"
        r"|mistral_common|huggingface_hub|safetensors|cupy|numba|jax\w*|amdsmi|sgl_kernel|deep_gemm|deepspeed|accelerate|peft"
        r"|bitsandbytes|cv2|PIL|pkgutil|pkg_resources|setuptools|collections|OpenSSL|google\.protobuf|starlette|fastapi|httpx)[\w.]*)' has no attribute",
        example="AttributeError: module 'torch.library' has no attribute 'infer_schema'",
        hint="A compiled library does not fit the others that are installed.",
    ),
    Signature(
        id="import_failed_reason_follows",
        failure_class="driver_or_env",
        needles=("because of the following error",),
        tier=Tier.QUOTED,
        pattern=r"Failed to import (?P<module>\S+) because of the following error",
        example="RuntimeError: Failed to import transformers.models.auto because of the following "
        "error (look up to see its traceback):\nsomething odd",
        hint="{module} could not be imported; the next line of the log says why.",
    ),
    Signature(
        id="program_missing",
        failure_class="driver_or_env",
        needles=("not found", "bad interpreter", "xec format error", "satisfies the requirement"),
        # Scripts try commands that they can do without.
        tier=Tier.STATED,
        pattern=r"^(?:\S*/)?(?:\S+\.sh|(?:ba|z|da)?sh): (?:(?:line )?\d+: )?(?P<program>[\w./+-]+): "
        r"(?:(?:command )?not found$|(?P<interpreter>\S+): bad interpreter\b)"
        # A program of another architecture; a package that pip does not find.
        r"|\b[Ee]xec format error\b|^(?:ERROR: )?Could not find a version that satisfies the requirement",
        example="run.sh: line 8: vllm: command not found",
        hint="The shell did not find {program}.",
    ),
    Signature(
        id="operator_missing",
        failure_class="driver_or_env",
        needles=("_OpNamespace", "does not exist", "Could not run '"),
        # Why the extension is not there may stand in a warning before.
        tier=Tier.CLUE,
        pattern=r"'_OpNamespace' '(?P<namespace>\w+)' object has no attribute '(?P<operator>\w+)'"
        r"|operator (?P<missing_operator>\w+::\w+) does not exist"
        r"|Could not run '(?P<not_built>\w+::\w+)' with arguments from the '\w+' backend",
        example="AttributeError: '_OpNamespace' '_C' object has no attribute 'cutlass_scaled_mm'",
        hint="A compiled operator is missing: the extension was not built or not loaded.",
    ),
    Signature(
        id="cuda_after_fork",
        failure_class="driver_or_env",
        needles=("Cannot re-initialize CUDA in forked subprocess",),
        pattern=r"Cannot re-initialize CUDA in forked subprocess",
        example="RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with "
        "multiprocessing, you must use the 'spawn' start method",
    ),
    Signature(
        id="compiler_missing",
        failure_class="driver_or_env",
        needles=(
            "Failed to find C compiler",
            "ld: cannot find -l",
            "failed to find NVCC",
            "Could not find nvcc",
            "CUDA_HOME environment variable is not set",
            "Cannot find CUDA_HOME",
            "Python.h: No such file",
            "No such file or directory: '",
            "Ninja is required",
        ),
        pattern=r"Failed to find C compiler|failed to find NVCC|\bld: cannot find -l(?P<missing>\w+)|Could not find nvcc|Python\.h: No such file"
        r"|CUDA_HOME environment variable is not set|Cannot find CUDA_HOME|Ninja is required to load"
        r"|No such file or directory: '(?P<program>(?:[^']*/)?(?:ninja|nvcc|gcc|g\+\+|cc|ptxas))'",
        example="RuntimeError: Failed to find C compiler. Please specify via CC environment "
        "variable or set triton.knobs.build.impl.",
        hint="A compiler or its headers are not installed, and kernels are built at run time.",
    ),
    Signature(
        id="cusparselt_missing",
        failure_class="driver_or_env",
        needles=("cuSPARSELT not supported on your machine", "cuSPARSELt not supported"),
        pattern=r"cuSPARSELT not supported on your machine|cuSPARSELt not supported",
        example="RuntimeError: cuSPARSELT not supported on your machine.",
        hint="This PyTorch was built without cuSPARSELt.",
    ),
    Signature(
        id="limits_of_the_system",
        failure_class="driver_or_env",
        needles=(
            *("Permission denied", "Too many open files", "Read-only file system", "new thread"),
            *("Could not create or locate cache dir", "getpwuid(): uid not found", "[Errno "),
        ),
        # Operations that the system or its file systems refuse, files that they lost.
        pattern=r"^(?:OSError|PermissionError): \[Errno (?:1|5|8|23|26|37|38|40|95|116|121)\]|(?:\[Errno 13\] |^PermissionError.*)Permission denied|Too many open files"
        r"|Could not create or locate cache dir|getpwuid\(\): uid not found"
        r"|Read-only file system|can't start new thread",
        example="PermissionError: [Errno 13] Permission denied: '/root/.cache/vllm'",
        hint="The system does not let this process have a file or thread it needs.",
    ),
    Signature(
        id="model_inspection",
        failure_class="driver_or_env",
        needles=("to be inspected",),
        tier=Tier.CLUE,
        pattern=r"Model architectures .* failed to be inspected",
        example="  Value error, Model architectures ['LlamaForCausalLM'] failed to be inspected. "
        "Please check the logs for more details. [type=value_error, input_value=ArgsKwargs((), "
        "{'model': './llama'}), input_type=ArgsKwargs]",
        hint="vLLM could not import its own implementation of the model.",
    ),
)

_CONFIGURATION = (
    Signature(
        id="no_kernel_for_layer",
        failure_class="unsupported_config",
        needles=("Failed to find a kernel that can implement", "kernel exists for"),
        pattern=r"Failed to find a kernel that can implement the (?P<layer>[\w ]+?) layer"
        r"|--linear-backend=(?P<linear_backend>\w+) was requested but no",
        example=_ENGINE + "ValueError: Failed to find a kernel that can implement the ScaledMM "
        "linear layer. Reasons: ",
        hint="No kernel of this vLLM accepts the layer; the reasons follow in the log.",
    ),
    Signature(
        id="quantization_scheme",
        failure_class="unsupported_config",
        needles=(
            "compressed-tensors compatible scheme",
            "nknown quantization method",
            "does not match the quantization",
            "is not supported for quantization method",
            "Invalid quantization method",
            "quantization config",
        ),
        pattern=r"No compressed-tensors compatible scheme was found|[Uu]nknown quantization method"
        r"|does not match the quantization method|is not supported for quantization method"
        r"|Invalid quantization method|[Cc]annot find any of .* in the model's quantization config",
        example=_ENGINE + "NotImplementedError: No compressed-tensors compatible scheme was found.",
        hint="The quantization of the checkpoint is not one that vLLM runs.",
    ),
    Signature(
        id="model_architecture",
        failure_class="unsupported_config",
        needles=(
            "are not supported for now",
            "is not supported anymore",
            "is not supported in-tree anymore",
            "does not recognize this architecture",
            "Unrecognized model in",
        ),
        pattern=r"Model architectures? \[?'?(?P<architecture>\w+).*?not supported"
        r"|does not recognize this architecture|Unrecognized model in",
        example="  Value error, Model architectures ['BitnetSlideForCausalLM'] are not supported "
        "for now. Supported architectures: dict_keys(['LlamaForCausalLM', 'Qwen2ForCausalLM'])",
        hint="This vLLM does not know the architecture named in config.json.",
    ),
    Signature(
        id="max_model_len",
        failure_class="unsupported_config",
        needles=("is greater than the derived max_model_len", "smaller than max_model_len"),
        pattern=r"max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len "
        r"\((?:\w+=)?(?P<allowed>[\d.]+)"
        r"|max_num_batched_tokens \((?P<max_num_batched_tokens>\d+)\) is smaller than "
        r"max_model_len \((?P<max_model_len>\d+)\)",
        example="  Value error, User-specified max_model_len (4097) is greater than the derived "
        "max_model_len (max_position_embeddings=2048 or model_max_length=None in model's "
        "config.json).",
        hint="max_model_len {asked} was asked for, the model allows {allowed}.",
    ),
    Signature(
        id="sizes_do_not_divide",
        failure_class="unsupported_config",
        needles=("be divisible by", "number of available ", "number of GPUs", "needs to be "),
        pattern=r"attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size "
        r"\((?P<tensor_parallel_size>\d+)\)|World size \((?P<world_size>\d+)\) is larger than the "
        r"number of available GPUs \((?P<gpus>\d+)\)|(?:must|to) be divisible by"
        r"|size\(\d\) needs to be (?:greater than|a non-zero multiple of)"
        r"|^[\w.]*Error: .*\b(?:larger|greater|more) than (?:the )?(?:total )?number of (?:available )?(?:GPU|device|NPU)s?",
        example="  Value error, World size (2) is larger than the number of available GPUs (1) in "
        "this node.",
        hint="The sizes of model, GPUs and engine arguments do not divide as asked.",
    ),
    Signature(
        id="unknown_argument",
        failure_class="unsupported_config",
        needles=(
            "got an unexpected keyword argument",
            "unrecognized arguments",
            "error: argument",
            "handling argument",
            ": error: ",
            "No such option",
            "No such command",
            "Invalid value for",
            "Missing option",
            "Missing argument",
            "unexpected extra argument",
            "error: unexpected argument",
            "error: invalid",
            "error: the argument",
            "error: the following",
        ),
        pattern=r"TypeError: (?:Async)?(?:EngineArgs|LLM)\b.*got an unexpected keyword argument "
        r"'(?P<argument>\w+)'|error: unrecognized arguments: (?P<arguments>.+)"
        r"|error(?: while handling|:) argument \"?(?P<option>[^\s\":]+)\"?: "
        # argparse and click.
        r"|^(?:\S+\.py|(?:vllm|sglang|lmdeploy|accelerate|torchrun|trtllm-\w+|llama-\w+)(?: \w+)*): error: "
        r"(?P<usage>.+)|^Error: (?P<click>No such (?:option|command)|Invalid value for|Missing (?:option|argument)"
        r"|Got unexpected extra argument).*"
        # clap, and llama.cpp.
        r"|^error: (?P<clap>unexpected argument '|invalid (?:value '|argument: )|the argument '|the following required).*",
        example="TypeError: EngineArgs.__init__() got an unexpected keyword argument "
        "'gpu_memory_utilisation'. Did you mean 'gpu_memory_utilization'?",
        hint="vLLM knows no engine argument {argument}.",
    ),
    Signature(
        id="argument_value",
        failure_class="unsupported_config",
        needles=("[type=", "Value error, ", "Assertion failed, "),
        pattern=r"^\s+(?P<message>\S.*?) \[type=(?P<type>\w+), input_value="
        r"|^\s+(?P<error>(?:Value error|Assertion failed), .*)",
        example="pydantic_core._pydantic_core.ValidationError: 1 validation error for "
        "SchedulerConfig\n  Value error, max_num_batched_tokens (512) must be greater than or "
        "equal to max_num_seqs (1024). [type=value_error, input_value=ArgsKwargs((), {}), "
        "input_type=ArgsKwargs]",
        hint="vLLM refused an engine argument: {message}",
    ),
    Signature(
        id="validation_error",
        failure_class="unsupported_config",
        needles=("ValidationError",),
        tier=Tier.CLUE,
        pattern=r"ValidationError: \d+ validation errors? for (?P<config>\w+)",
        example="pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig",
        hint="vLLM refused its {config}; the next lines of the log say why.",
    ),
    Signature(
        id="unsupported_by_library",
        failure_class="unsupported_config",
        needles=(
            "not supported when calling `cusparseLt",
            "STATUS_NOT_SUPPORTED",
            "Error Invalid Problem",
            "Error Misaligned Operand",
            "Error Not Supported",
            "Error Invalid Layout",
        ),
        pattern=r"(?:operation )?not supported when calling `(?P<call>cusparseLt\w+)"
        r"|\b(?P<library>CUBLAS|CUSPARSE)_STATUS_NOT_SUPPORTED"
        r"|Error (?:Invalid Problem|Misaligned Operand|Not Supported|Invalid Layout)",
        example="RuntimeError: CUDA error: operation not supported when calling "
        "`cusparseLtMatmulDescriptorInit( &handle, &matmul, CUSPARSE_OPERATION_NON_TRANSPOSE`",
        hint="The GEMM library does not accept this shape, layout or type (8-bit cuSPARSELt wants "
        "every dimension in multiples of 16 or 32).",
    ),
    Signature(
        id="llama_cpp_refuses",
        failure_class="unsupported_config",
        needles=(
            "nknown model architecture",
            "requires flash_attn",
            "requires Flash",
            "does not divide",
            "main_gpu",
        ),
        pattern=r"error loading model.*: (?P<message>[Uu]nknown model architecture: .+)"
        r"|^(?:\w+: )?(?P<cache>.*\bV cache\b.*\brequires (?:flash_attn|Flash Attention).*)"
        r"|(?P<block>[KV] cache type \S+ with block size \d+ does not divide .*)"
        r"|(?P<device>invalid value for main_gpu.*)",
        example="llama_model_load: error loading model: error loading model architecture: unknown model "
        "architecture: 'pangu-embedded'",
        hint="The engine refused it: {message}",
    ),
    Signature(
        id="launcher_refuses",
        failure_class="unsupported_config",
        needles=("ArgumentValidation", "NotEnoughCUDADevices", "NotEnoughGPUs"),
        # The launcher of TGI, in the words of Rust.
        pattern=r"^Error: (?:ArgumentValidation|NotEnough\w+)\(\"(?P<message>.*)\"\)",
        example='Error: ArgumentValidation("`max_input_tokens` must be < `max_total_tokens`")',
        hint="The engine refused it: {message}",
    ),
    Signature(
        id="load_format",
        failure_class="unsupported_config",
        needles=(
            "Load format `",
            "Unknown dtype",
            "does not support float16",
            "Unexpected extra config",
        ),
        pattern=r"Load format `(?P<load_format>\w+)` is not supported|Unknown dtype: "
        r"|does not support float16|Unexpected extra config keys",
        example="ValueError: Load format `dumy` is not supported",
    ),
)

_COMPILATION = (
    Signature(
        id="triton_resources",
        failure_class="compile_failure",
        needles=("out of resource",),
        # Tuning tries configurations that do not fit and goes on; an exception has its type before it.
        pattern=r"(?:^|code block: |OutOfResources\w*(?:: |\('))out of resources?: (?P<resource>[\w ]+), Required: "
        r"(?P<needed_bytes>\d+),? ?,? Hardware limit: (?P<limit_bytes>\d+)",
        example="triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: "
        "131072, Hardware limit: 101376. Reducing block sizes or `num_stages` may help.",
        hint="A Triton kernel asks for {needed_bytes} bytes of {resource}, this GPU has "
        "{limit_bytes} per block.",
    ),
    Signature(
        id="shared_memory_of_kernel",
        failure_class="compile_failure",
        needles=("hared memory", "in memory space"),
        # XLA names the memory of the core.
        pattern=r"Ran out of memory in memory space (?!hbm)\w+|"
        r"[Ss]hared memory\b.{0,60}?\bexceeds? (?:the )?(?:\w+ )?(?:limit|max\w*)"
        r"|bytes of shared memory\b.{0,40}\b(?:only|exceeds?|limit|maximum)",
        example="RuntimeError: Requested shared memory (131072 bytes) exceeds device limit (101376 "
        "bytes). Consider reducing block size or shared memory usage.",
        hint="A kernel asks for more shared memory than a block of this GPU has.",
    ),
    Signature(
        id="ptxas_unknown_gpu",
        failure_class="compile_failure",
        needles=("is not defined for option 'gpu-name'",),
        pattern=r"Value '(?P<arch>sm_\w+)' is not defined for option 'gpu-name'",
        example="ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'",
        hint="The ptxas of this build does not know {arch}; TRITON_PTXAS_PATH may name a newer one.",
    ),
    Signature(
        id="ptxas",
        failure_class="compile_failure",
        needles=("ptxas", "PTXASError", "PTX codegen error"),
        pattern=r"ptxas (?:fatal|error)|ptxas .*; error +:|`?ptxas`? (?:exited|failed) with (?:\S+ )?(?:error|code)"
        r"|PTXASError|PTX codegen error",
        example="triton.runtime.errors.PTXASError: PTXAS error: Internal Triton PTX codegen error",
        hint="The PTX assembler refused a generated kernel.",
    ),
    Signature(
        id="compiler_error",
        failure_class="compile_failure",
        needles=(": error: ", ": fatal error: ", ": catastrophic error: "),
        # nvcc, gcc, clang; MLIR of the source of a kernel.
        pattern=r"\.(?:cuh?|hp?p?|inl|cc|cpp|cxx|c)(?:\(\d+\)|:\d+(?::\d+)?): (?:fatal |catastrophic )?"
        r"error: (?P<message>.+)|\.(?:py|mlir|ttir|ttgir|llir|ll):\d+:\d+: error: (?P<diagnostic>.+)"
        r"|^(?:\S*/)?(?:hipcc|clang(?:\+\+)?|gcc|g\+\+|icpx|nvrtc)(?:-\d+)?: (?:fatal )?error: "
        r"(?P<option>(?!linker command|failed to open).+)",
        example="/opt/torch/include/c10/util/floating_point_utils.h(15): error: identifier "
        '"_castu32_f32" is undefined',
        hint="A kernel that is built at run time did not compile: {message}.",
    ),
    Signature(
        id="jit_build",
        failure_class="compile_failure",
        needles=(
            "compilation",
            "nvcc fatal",
            "nvcc error",
            "NVRTC",
            "jit/",
            "jit build",
            "JIT build",
            "nvJitLink error",
            "nvrtc: error",
        ),
        pattern=r"(?i:failed jit build|jit (?:build|compilation) failed)|nvcc fatal|NVRTC[_ ](?:ERROR|error)|nvJitLink error|nvrtc: error"
        r"|(?:NVCC|NVRTC|nvcc|hipcc) compilation (?:failed|error)|nvcc error +: '[^']+' died"
        # DeepGEMM and its like check their own compiler runs.
        r"|[Aa]ssertion error \(\S*\bjit/",
        example="nvcc fatal   : Value 'c++17' is not defined for option 'std'",
        hint="A kernel that is built at run time did not compile.",
    ),
    Signature(
        id="build_stopped",
        failure_class="compile_failure",
        needles=(
            "compiling objects",
            "inja build",
            "ninja: build stopped",
            "Error building extension",
            "FAILED: ",
            "linker command failed",
            "detected in the compilation of",
            "CalledProcessError: Command",
        ),
        # What the compiler said stands around it.
        tier=Tier.QUOTED,
        pattern=r"Error compiling objects for extension|[Nn]inja build failed|ninja: build stopped"
        r"|Error building extension '(?P<extension>\w+)'|^FAILED: .*\.(?:o|so)\b|linker command failed"
        r"|\d+ errors? detected in the compilation of"
        r"|CalledProcessError: Command '?\[.{0,80}?(?:/|')(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|nvcc|ptxas\S*|hipcc|ninja)'",
        example="RuntimeError: Ninja build failed. Ninja output:",
        hint="A kernel that is built at run time did not compile.",
    ),
    Signature(
        id="triton_compiler_reason_follows",
        failure_class="compile_failure",
        needles=("triton.compiler.errors.",),
        # The kernel's source follows, and then the reason, which may be another failure; or the reason
        # stands before, as the exception that this one was raised from.
        tier=Tier.PLACED,
        pattern=r"triton\.compiler\.errors\.\w+:(?: at \d+:\d+:)?\s*$",
        example="triton.compiler.errors.CompilationError: at 12:28:\ndef kernel(\n^\n"
        "AssertionError('Input shapes should have M >= 16')",
        hint="A Triton kernel did not compile; the reason stands below its source.",
    ),
    Signature(
        id="pipeliner_diagnostic",
        failure_class="compile_failure",
        needles=("scheduled before its operands",),
        # Triton goes on without pipelining, more often than not.
        tier=Tier.CLUE,
        pattern=r"error: operation scheduled before its operands",
        example='loc("/opt/test/kernel.py":76:12): error: operation scheduled before its operands',
        hint="A pass of Triton's compiler refused a kernel.",
    ),
    Signature(
        id="triton_compiler",
        failure_class="compile_failure",
        needles=(
            "triton.",
            "PassManager::run failed",
            "LLVM ERROR",
            "failed to legalize",
            "MLIR pass",
            "/llvm",
            "/mlir/",
            "expected size",
            "CompilationError: at ",
            "Assertion `",
            "loc(",
            "error: '",
            "UNREACHABLE executed",
            "crash backtrace",
            "couldn't allocate",
            "triton maximum tensor numel",
        ),
        pattern=r"^triton\.(?:compiler\.errors|runtime\.errors)\.\w+(?!\w|:\s*$)|PassManager::run failed"
        # Aborts of MLIR, LLVM and Triton's own passes, and their diagnostics.
        r"|(?:\b(?:mlir|llvm)::|/project/(?:lib|include|third_party)/|/lib/(?:Conversion|Dialect|Analysis|Target)/)"
        r".*: Assertion `|\btriton/(?:\w+/)+\w+\.(?:h|cpp):.*: Assertion `|UNREACHABLE executed at "
        r"|llvm-project/issues/ and include the crash backtrace|^error: couldn't allocate \w+ reg|^loc\(.*\)?: error: |^\S+:\d+:\d+: error: '(?:tt|ttg|ttng|triton_\w+|nv\w+|amdgpu|llvm"
        r"|arith|scf|cf|func|builtin|memref|linalg|vector|gpu)\.\w+'"
        r"|LLVM ERROR: |failed to legalize operation|error: .*MLIR pass|/(?:llvm|mlir)[\w-]*/.*: Assertion|^AssertionError: expected size \d+==\d+, stride"
        r"|^triton\.\w+(?:\.\w+)*Error|^CompilationError: at \d+:\d+:|exceeds triton maximum tensor numel",
        example="triton.compiler.errors.CompilationError: at 31:15: arange's range must be a power "
        "of 2",
    ),
    Signature(
        id="kernel_language",
        failure_class="compile_failure",
        needles=("DSL", "nternal compiler error", " ICE ", "numba.c", "out of registers"),
        pattern=r"^numba\.(?:core\.errors|cuda)\.[\w.]*Error\b|ran out of registers during|\bDSL(?!Cuda)\w*Error\b|[Ii]nternal compiler error|\bICE\b.*(?:[Ff]ail|[Ee]rror)",
        example="cutlass.base_dsl.common.DSLRuntimeError: DSLRuntimeError: ICE IR Verification Failed",
        hint="The compiler of a kernel language failed.",
    ),
    Signature(
        id="inductor",
        failure_class="compile_failure",
        needles=(
            *("torch._inductor.", "torch._dynamo.exc", "BackendCompilerFailed", "torch.fx"),
            *("torch._subclasses.", "NoValidChoicesError", "NoTritonConfigsError"),
        ),
        pattern=r"^(?!.*(?:CUDA|HIP|cuda|Triton) [Ee]rror|.*(?:raised|in a subprocess):\s*$|.*__init__\(\) missing).*?(?:"
        r"torch\._inductor\.exc\.(?P<exception>\w+)|torch\._dynamo\.exc\.(?P<error>\w+)"
        r"|BackendCompilerFailed|torch\.fx\.experimental\.symbolic_shapes\.\w+"
        r"|torch\._subclasses\.fake_tensor\.\w+Exception|\bNoValidChoicesError|\bNoTritonConfigsError)",
        example=_ENGINE + "torch._inductor.exc.InductorError: LoweringException: AssertionError: "
        "both a fallback and a decomp for same op: aten.index_add.default",
    ),
    Signature(
        id="compiler_backend_raised",
        failure_class="compile_failure",
        needles=("raised:", "in a subprocess:"),
        tier=Tier.CLUE,
        # What it raised stands on the next line, and may be another failure.
        pattern=r"(?:BackendCompilerFailed|torch\._\w+\.exc\.\w+): .*(?:raised|in a subprocess):\s*$",
        example="torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:\n"
        "LoweringFault: no lowering for aten.foo",
        hint="The compiler stopped; the next line of the log says what it raised.",
    ),
    Signature(
        id="compile_cache",
        failure_class="compile_failure",
        needles=(
            "triton",
            "inductor",
            "compile_cache",
            "_cache/",
            "extensions/",
            "deep_gemm",
            "tilelang",
        ),
        tier=Tier.PLACED,
        # Ranks that build the same kernel at once take the files from one another.
        pattern=r"^(?:[A-Za-z_]\w*\.)*(?:File(?:NotFound|Exists)Error|OSError|JSONDecodeError|EOFError)\b.*"
        r"(?:/\.?triton(?:_cache)?/|torchinductor_\w+/|/torch_compile_cache/|/torch_(?:aot_)?compile\w*/"
        r"|/torch_extensions/|/\.cache/(?:flashinfer|tilelang|deep_gemm|tvm-ffi)/|/\.(?:deep_gemm|tilelang)/)",
        example="FileNotFoundError: [Errno 2] No such file or directory: '/root/.triton/cache/76c5/"
        "_sgmv_expand_kernel.json.tmp.pid_450752_42384ec9'",
        hint="A kernel that is built at run time did not compile.",
    ),
    Signature(
        id="cpp_compile",
        failure_class="compile_failure",
        needles=("CppCompileError", "C++ compile error", "CppWrapperCodegenError"),
        pattern=r"CppCompileError|C\+\+ compile error|CppWrapperCodegenError",
        example="torch._inductor.codecache.CppCompileError: C++ compile error",
    ),
)

_DISTRIBUTED = (
    Signature(
        id="watchdog_timeout",
        failure_class="timeout_hang",
        needles=("Watchdog caught collective operation timeout",),
        pattern=r"Watchdog caught collective operation timeout(?:.*?OpType=(?P<collective>\w+))?"
        r"(?:.*?ran for (?P<waited_ms>\d+) milliseconds)?",
        example="[rank0]:[E126 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog "
        "caught collective operation timeout: WorkNCCL(SeqNum=1580, OpType=ALLREDUCE, "
        "NumelIn=466119168, NumelOut=466119168, Timeout(ms)=600000) ran for 600004 milliseconds "
        "before timing out.",
        hint="A collective {collective} did not end within {waited_ms} ms: a rank hangs or died.",
    ),
    Signature(
        id="engine_timeout",
        failure_class="timeout_hang",
        needles=(
            "RPC call to",
            "Timed out waiting for",
            "Did not receive response from front-end",
            "launch timed out and was terminated",
            "eartbeat monitor timed out",
            "Engine iteration timed out",
            "Timeout (",
            "timeout: sending signal",
            "pytest-timeout",
            "atchdog",
            "heartbeat timed out",
            *("within timeout", "become ready within", "RendezvousTimeoutError"),
            *("imed out waiting ", "DeepEP"),
        ),
        # Gloo's collectives have a limit of their own.
        pattern=r"RPC call to (?P<call>\w+) timed out|Timed out waiting for (?:new )?engine core"
        r"|[Tt]imed out waiting \d+ ?ms for \w+ operation|\bDeepEP (?:error: time ?out|timeout check failed|[\w() /-]{1,60}\btimeout, )"
        r"|Did not receive response from front-end|launch timed out and was terminated"
        r"|[Hh]eartbeat (?:monitor )?timed out|Engine iteration timed out|^Timeout \(\d+:\d\d:\d\d"
        r"|timeout: sending signal|[Ww]atchdog got stuck for"
        r"|[Ww]atchdog (?:timeout|timed out|triggered|expired)(?! ?= ?(?:None|0))|ProcessGroupNCCL watchdog hang"
        r"|pytest-timeout: Timeout >"
        r"|^[\w.]*Error: .*\b(?:within timeout|become ready within)\b|\bRendezvousTimeoutError\b",
        example="TimeoutError: RPC call to sample_tokens timed out.",
        hint="One process of the engine waited for another and gave up.",
    ),
    Signature(
        id="nccl_peer_gone",
        failure_class="nccl_or_distributed",
        needles=(
            "remote process exited",
            "ncclRemoteError",
            "onnection closed by",
            "onnection reset by peer",
            "Broken pipe",
            "Failed to recv, got 0 bytes",
            "Connection was likely closed",
            "communicator was aborted",
            "MPI_ABORT was invoked",
        ),
        tier=Tier.CONSEQUENCE,
        pattern=r"remote process exited|ncclRemoteError|[Cc]onnection closed by (?:remote )?peer"
        r"|[Cc]onnection reset by peer|Broken pipe|Failed to recv, got 0 bytes"
        r"|Connection was likely closed|NCCL communicator was aborted|MPI_ABORT was invoked",
        example="(Worker_TP0 pid=4243) ERROR 01-26 10:00:00 [multiproc_executor.py:700] "
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, remote "
        "process exited or there was a network error, NCCL version 2.27.5",
        hint="Another rank disappeared; its own log lines were not found.",
    ),
    Signature(
        id="host_of_the_group",
        failure_class="nccl_or_distributed",
        needles=("gaierror", "[Errno 1"),
        within=frozenset(
            {"init_process_group", "rendezvous.py", "parallel_state.py", "distributed_c10d.py"}
        ),
        pattern=r"^(?:socket\.gaierror: |OSError: \[Errno 1(?:01|13)\] )(?P<message>.+)",
        example='Traceback (most recent call last):\n  File "/opt/torch/distributed/rendezvous.py", line 189, in '
        "_create_c10d_store\n    return TCPStore(\nsocket.gaierror: [Errno -2] Name or service not known",
        hint="Setting up or using the process group failed: {message}",
    ),
    Signature(
        id="node_of_ray_gone",
        failure_class="nccl_or_distributed",
        needles=(
            "node has died",
            "heartbeats",
            "NodeDied",
            "RayletDied",
            "OwnerDied",
            "node it was running on",
            *("raylet", "Raylet", "GCS", "RaySystemError"),
        ),
        tier=Tier.CONSEQUENCE,
        pattern=r"died because its node has died|missed too many heartbeats|missing too many heartbeats"
        r"|\b(?:NodeDied|LocalRayletDied|OwnerDied)Error\b|the node it was running on (?:is dead|has died|failed)"
        r"|(?:[Uu]nable|[Ff]ailed) to (?:register|connect) (?:\w+ )?(?:with|to) (?:the )?(?:local )?[Rr]aylet|raylet because it is dead"
        r"|(?:[Uu]nable|[Ff]ailed) to connect to (?:the )?GCS|\bGCS (?:server )?(?:is )?(?:unreachable|unavailable|not reachable)"
        r"|\bRaySystemError: System error: .*(?:[Cc]onnect|[Uu]navailable|[Rr]aylet)",
        example="The actor died because its node has died. Node Id: 4f2c01d97b",
        hint="A node of the cluster disappeared; its own log lines were not found.",
    ),
    Signature(
        id="infiniband",
        failure_class="nccl_or_distributed",
        needles=("NET/IB", "NET/Socket", "NET/OFI", "NVLS"),
        pattern=r"NET/IB ?: .*(?:Got completion|error|failed)|NCCL WARN NET/(?:IB|Socket)"
        r"|NET/OFI .*completed with error"
        r"|NCCL WARN .*NVLS.*fail",
        example="NET/IB : Got completion from peer 10.0.0.7<39138> with error 12, opcode 0, len 0, "
        "vendor err 129",
        hint="The network between the ranks failed.",
    ),
    Signature(
        id="nccl_unhandled_cuda_error",
        failure_class="nccl_or_distributed",
        needles=("nhandled cuda error", "ncclUnhandledCudaError"),
        # NCCL names an error of CUDA's that somebody else may have printed in full.
        tier=Tier.QUOTED,
        pattern=r"R?NCCL [Ee]rror.*: ?(?P<message>unhandled cuda error.*)|ncclUnhandledCudaError",
        example="RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for "
        "details)",
        hint="NCCL reported: {message}.",
    ),
    Signature(
        id="nccl_error",
        failure_class="nccl_or_distributed",
        needles=(
            "NCCL error",
            "NCCL Error",
            "ncclSystemError",
            "ncclInternalError",
            "ncclInvalid",
            "ncclUnhandledCudaError",
            "RCCL error",
            "nccl",
        ),
        pattern=r"R?NCCL [Ee]rror(?: \d+)?(?:(?: in)?:| \S+:\d+) ?(?P<message>.*)|RCCL error"
        r"|\bnccl[A-Z]\w*(?:\(.{0,200}\))? (?:has )?failed\b|nccl(?:System|Internal|InvalidUsage|UnhandledCuda)Error",
        example="(VllmWorker rank=1 pid=4244) ERROR 01-26 10:00:00 [multiproc_executor.py:511] "
        "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
        hint="NCCL reported: {message}.",
    ),
    Signature(
        id="nccl_cuda_failure",
        failure_class="nccl_or_distributed",
        needles=("NCCL WARN Cuda failure",),
        pattern=r"NCCL WARN Cuda failure (?:\d+ )?'(?P<message>[^']*)'",
        example="node1:4242:4242 [0] init.cc:416 NCCL WARN Cuda failure 'operation not supported'",
        hint="NCCL could not set up CUDA for itself: {message}.",
    ),
    Signature(
        id="nccl_warning",
        failure_class="nccl_or_distributed",
        needles=("NCCL WARN",),
        tier=Tier.STATED,
        pattern=r"NCCL WARN (?P<message>.+)",
        example="node:1:1 [0] misc/socket.cc:50 NCCL WARN socketProgress: Invalid socket state",
        hint="NCCL warned: {message}",
    ),
    Signature(
        id="process_group",
        failure_class="nccl_or_distributed",
        needles=(
            "DistBackendError",
            "DistNetworkError",
            "DistStoreError",
            "failed to listen",
            "Address already in use",
            "address already in use",
            "gloo",
            "wait timeout after",
            "custom_all_reduce.cu",
            "Failed to connect to GCS",
            "running Ray instance",
            "Duplicate GPU detected",
            *("NVSHMEM", "onnectFullMesh failed", "ORTE daemon"),
            "NCCL WARN Bootstrap",
            "nvshmem",
            "TCPStore",
            "process group has not been initialized",
            *("group is", "group already", "environment is not initialized"),
            *("endezvous", "already in use", "in Ray cluster", "DP master node"),
            "in a placement group",
            "Ray is not initialized",
            "find open port",
            "127.0.0.1 nor ::1",
            "ORTE was unable",
            "MPI_",
            "ibv_",
            "mlx",
            "initializing torch.distributed",
            "UCX  ERROR",
            "NIXL_ERR_",
            "rendezvous",
            "peer access",
            "peer mapping",
            "not part of group",
            "unique IP address",
        ),
        pattern=r"^[\w.]*Error: (?!.*(?:[Tt]imed? ?out|env://)).*\brendezvous\b|peer (?:access|mapping)\b.*\b(?:not supported|exhausted|not enabled)"
        r"|DistBackendError|DistNetworkError|DistStoreError|server socket has failed to "
        r"listen|[Aa]ddress already in use|[Gg]loo connect\w* failed|\bmakeDeviceFor(?:Hostname|Interface)\b|Error: \[\S*/gloo/\S+:\d+\] (?!.*[Tt]imed? ?out)|gloo/transport/.*(?:timed out"
        r"|[Ee]rror)|Failed to connect to GCS|Could not find any running Ray instance"
        r"|Duplicate GPU detected|NCCL WARN Bootstrap|(?:nvshmem\w*.{0,40}fail|NVSHMEM\w*.{0,40}\bfail(?:ed|ure))"
        r"|nvshmem/\S+:\d+: (?:non-zero status|NULL value)|TCPStore.{0,40}(?:fail|refused)"
        r"|process group has not been initialized|\bgroup (?:is )?(?:not|already) initialized"
        r"|distributed environment is not initialized|\bRendezvous(?!Timeout|GracefulExit)\w*Error: "
        r"|\bport:? \S+ (?:is )?already in use\b|^[\w.]*Error: No .{1,40} found in Ray cluster"
        r"|The DP master node .* is missing|driver node id \S+ is not included in a placement group"
        r"|Global rank \d+ is not part of group|Every node should have a unique IP address|Ray is not initialized although|Could not find open port after|Neither 127\.0\.0\.1 nor ::1 are bound"
        r"|\b[Cc]onnectFullMesh failed|An ORTE daemon has unexpectedly failed"
        r"|An error occurred in MPI_|\bmlx\d: .*got completion with error|Error initializing torch\.distributed using"
        r"|\bMPI_Init\w* (?:has )?failed|\bibv_\w+ (?:call )?failed"
        r"|ORTE was unable to|UCX  ERROR|NIXL_ERR_(?!NOT_FOUND)\w+|wait timeout after \d+ms|Cuda error \S*custom_all_reduce\.cuh?:\d+",
        example="torch.distributed.DistNetworkError: The server socket has failed to listen on any "
        "local network address. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: "
        "address already in use",
    ),
    Signature(
        id="socket_of_the_store",
        failure_class="nccl_or_distributed",
        needles=(
            *("client socket has", "server socket", "ssh: connect to host"),
            *("PMIX ERROR", "node_ip_address.json"),
        ),
        tier=Tier.STATED,
        pattern=r"The client socket has timed out|The server socket (?:has failed|cannot be initialized on \S+ \(errno: (?!97\b))"
        # What others do without, or wait for.
        r"|^ssh: connect to host \S+ port \d+: |PMIX ERROR: |find a `node_ip_address\.json` file",
        example="[E socket.cpp:1011] [c10d] The client socket has timed out after 600000ms while trying to connect to "
        "(10.0.0.1, 29500).",
        hint="The ranks did not reach one another.",
    ),
)

_CUDA = (
    Signature(
        id="child_crashed",
        failure_class="cuda_misc",
        needles=("killed by signal",),
        tier=Tier.PLACED,
        pattern=r"killed by signal:? (?P<signal>Segmentation fault|SIGSEGV|11\b|Aborted|SIGABRT|6\b"
        r"|Floating point exception|SIGFPE)",
        example="RuntimeError: DataLoader worker (pid 4243) is killed by signal: Segmentation fault.",
        hint="Native code of a child process crashed: {signal}.",
    ),
    Signature(
        id="native_crash",
        failure_class="cuda_misc",
        needles=(
            "Segmentation fault",
            "Segfault",
            "SIGSEGV",
            "SIGABRT",
            "-11",
            "-6",
            "Aborted",
            "double free",
            "free(): ",
            "malloc",
            "orrupted",
            "stack smashing",
            "Floating point exception",
            "0xC0000",
            "-10737",
            "breakpoint trap",
            "SIGFPE",
        ),
        # Below Python exceptions: interpreters also crash on their way out.
        tier=Tier.CONSEQUENCE,
        pattern=r"Segmentation fault|Segfault encountered|\*\*\* SIG(?:SEGV|ABRT)"
        r"|Fatal Python error: (?:Aborted|Floating)|exit ?code\s*:?\s*\(?-(?:11|6)\b"
        r"|'[\w.-]+': -(?:11|6)\b|double free or corruption|\b(?:free|malloc|munmap_chunk|realloc)\(\): "
        r"|corrupted (?:size|double-linked|unsorted)|stack smashing|^Floating point exception"
        r"|^Aborted\b|^Trace/breakpoint trap"
        # Windows: an access violation, a fast fail, an illegal instruction, a full stack.
        r"|\b0x[cC]0000(?:005|409|01[dD]|0[fF][dD])\b|-1073(?:741819|740791|741795|741571)\b",
        example="Fatal Python error: Segmentation fault",
        hint="Native code crashed; the frames below the line name the library.",
    ),
    Signature(
        id="driver_abort",
        failure_class="cuda_misc",
        needles=("Abort was called",),
        tier=Tier.PLACED,
        pattern=r"^Abort was called at \d+ line in file",
        example="Abort was called at 288 line in file:",
        hint="The driver of the GPU ended the process; the next line of the log names its source.",
    ),
    Signature(
        id="illegal_instruction_host",
        failure_class="driver_or_env",
        needles=("Illegal instruction",),
        tier=Tier.CONSEQUENCE,
        pattern=r"Illegal instruction",
        example="Fatal Python error: Illegal instruction",
        hint="A library was built for a newer processor than this one.",
    ),
    Signature(
        id="blas_status",
        failure_class="cuda_misc",
        needles=("_STATUS_",),
        pattern=r"\b(?P<status>CU(?:BLAS|DNN|SPARSE|SOLVER)_STATUS_\w+)"
        r"(?: when calling `?(?P<call>\w+))?",
        example="RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling "
        "`cublasLtMatmul( ltHandle, computeDesc.descriptor(), &alpha_val, mat1_ptr`",
        hint="The GEMM library answered {status}.",
    ),
    Signature(
        id="cusparselt_status",
        failure_class="cuda_misc",
        needles=("cusparseLt", "cuSPARSELt", "CUSPARSE"),
        pattern=r"CUDA error: (?P<message>[\w ]+) when calling `(?P<call>cusparseLt\w+)"
        r"|cu(?:sparse|SPARSE)L[tT]\w*:? .*?(?:failed|error|status)\D{0,20}(?P<status>\d+)"
        r"|CUSPARSE(?:LT)? API failed at line \d+ with error: (?P<error>[\w ]+)",
        example="RuntimeError: CUDA error: internal error when calling "
        "`cusparseLtMatmulAlgSelectionInit(&handle, &alg_sel, &matmul`",
        hint="cuSPARSELt refused a call; shapes of x and of the weight that differ in k are one "
        "cause.",
    ),
    Signature(
        id="cutlass_internal",
        failure_class="cuda_misc",
        needles=(
            *("cuBLAS error", "CUBLAS error", "cuDNN error", "cuFFT error", "CUFFT_"),
            *("cuSOLVER error", "cusolver error", "cuRAND error", "cutlass cannot"),
            *("Error Internal", "kErrorInternal", "Error Workspace Null", "TMA desc"),
            *("running GEMM", "cutlass", "gemm", "GEMM"),
        ),
        pattern=r"\b(?:cuBLAS|CUBLAS|cuDNN|cuFFT|cuSOLVER|cusolver|cuRAND) error\b|\bCUFFT_(?!SUCCESS)[A-Z_]+|cutlass cannot \w+"
        r"|Error Internal\b|kErrorInternal|Error Workspace Null|initialize the TMA desc"
        r"|[Ee]rror occurred when (?:running|computing|getting) \w*GEMM"
        r"|[Ff]ailed to (?:run|launch|initialize) (?:\w+ ){0,4}(?:cutlass|gemm|GEMM)",
        example="RuntimeError: Error Internal",
        hint="A CUTLASS kernel could not be set up or run.",
    ),
    Signature(
        id="cuda_error",
        failure_class="cuda_misc",
        needles=(
            "CUDA error",
            "CUDA Error",
            "CUDA driver error",
            "HSA_STATUS_ERROR",
            "HIP error",
            "Triton Error",
            "CUDA_ERROR_",
            "Cuda failure",
            "Cuda error",
            "cuda runtime error",
            "CUDA runtime error",
            "THCudaCheck",
            "cudaError",
            "hipError",
            "cuDNN Frontend error",
            "CUDART error",
        ),
        # What NCCL says of CUDA is about its own set-up: see `nccl_cuda_failure`; compute-sanitizer names
        # every error that a call returns.
        pattern=r"^(?!.*NCCL WARN|=+ Program hit).*?(?:(?:CUDA|CUDART|HIP|cuda)(?: driver| runtime)? [Ee]rror(?: \(?\d+\)?)? ?: "
        r"(?P<message>[^(\n]*)|THCudaCheck FAIL .*error=\d+ : (?P<check>.*)"
        r"|\b(?P<hsa>HSA_STATUS_ERROR\w*)"
        r"|Triton Error \[(?:CUDA|HIP)\]: (?P<triton>.*)|CUDA runtime error in \S+: (?P<call>.*)"
        r"|cuDNN Frontend error: (?P<frontend>.*)|\b(?P<code>CUDA_ERROR_[A-Z_]+)"
        r"|Cuda (?:failure|error) (?:\d+ )?'(?P<failure>[^']*)'"
        r"|\b(?P<runtime>(?:cuda|hip)Error(?:MisalignedAddress|HardwareStackError|IllegalInstruction|InvalidPc"
        r"|InvalidAddressSpace|LaunchFailure|LaunchOutOfResources|InvalidConfiguration|InvalidValue"
        r"|InvalidResourceHandle|StreamCapture\w+|Unknown)\b))",
        example=_ENGINE + "torch.AcceleratorError: CUDA error: unspecified launch failure",
        hint="CUDA reported: {message}.",
    ),
    Signature(
        id="xid_removed",
        failure_class="cuda_misc",
        needles=("Xid",),
        tier=Tier.CONSEQUENCE,
        pattern=r"\bXid(?: \((?:PCI:)?(?P<pci>[^)]*)\))?:? ?(?P<xid>43|45)\b",
        example="[81240.120034] NVRM: Xid (PCI:0000:3b:00): 43, pid=4242, name=python3, Ch 00000008",
        hint="The driver reported Xid {xid}: it stopped this program's work on the GPU.",
    ),
)

_STOPPED = (
    Signature(
        id="time_limit_of_the_job",
        failure_class="timeout_hang",
        needles=("DUE TO TIME LIMIT", "walltime"),
        tier=Tier.INTERRUPTED,
        pattern=r"DUE TO TIME LIMIT|\bwalltime \d+ exceeded limit|\bexceeded (?:the |its )?walltime\b",
        example="slurmstepd: error: *** JOB 81234 ON node07 CANCELLED AT 2026-01-26T10:00:00 DUE TO "
        "TIME LIMIT ***",
        hint="The batch system ended the job at its time limit.",
    ),
    Signature(
        id="stopped_from_outside",
        failure_class="interrupted",
        needles=(
            "KeyboardInterrupt",
            "CANCELLED AT",
            "SIGTERM",
            "SIGINT",
            "SIGHUP",
            "SIGUSR",
            "ignal 15",
            "ignal 2",
            "ignal 1",
            "got signal",
            "ignal Received",
            "ignal: 15",
            "ignal: 2",
            "reempt",
            "Terminated",
            "terminated by signal",
            "going down for",
            "was terminated expectedly",
            "pot nterruption",
            "pot interruption",
            "nstance interruption",
            "slidesparse: the campaign is gone",
            "Test interrupted!",
            "测试被中断",
        ),
        tier=Tier.INTERRUPTED,
        counts_as_warning=True,
        pattern=r"^KeyboardInterrupt\b|CANCELLED AT "
        r"|\b(?:[Rr]eceived|[Cc]aught|[Gg]ot|[Hh]andling)\b.{0,40}\bSIG(?:TERM|INT|HUP|USR[12])\b"
        r"|\bSIG(?:TERM|INT|HUP)\b.{0,12}(?:received|caught|signal received)"
        r"|\b(?:[Rr]eceived|[Cc]aught|[Gg]ot) (?:exit |termination )?signal:? ?(?:15|2|1)\b"
        r"|\b[Ss]ignal [Rr]eceived: ?(?:15|2|1)\b|SignalException: Process \d+ got signal: (?P<signal>15|2|1)\b"
        r"|\bjob is (?:being )?preempted|DUE TO PREEMPTION|[Ss]pot (?:[Ii]nstance )?[Ii]nterruption"
        r"|[Pp]reemption (?:notice|signal)|^\W*(?:(?:[Tt]he|[Tt]his|[Yy]our|[Aa]|actor's|VM|GCE|EC2|[Ss]pot|[Cc]ompute|[Cc]loud) )*"
        r"(?:[Ii]nstance|[Nn]ode|VM|[Pp]od|[Mm]achine)(?: [\w.-]*\d[\w.-]*)? (?:was|has been|is being|will be|got)"
        r" (?:preempted|reclaimed)\b|node was terminated expectedly: received SIG"
        r"|going down for (?:reboot|power|system halt|halt|maintenance)|^Terminated\b"
        r"|: line \d+: +\d+ Terminated\b"
        r"|^slidesparse: the campaign is gone|Test interrupted!|测试被中断",
        example='Traceback (most recent call last):\n  File "/opt/vllm/entrypoints/llm.py", line '
        "912, in _run_engine\n    step_outputs = self.llm_engine.step()\nKeyboardInterrupt",
    ),
)

_PYTHON = (
    Signature(
        id="death_signal",
        failure_class="interrupted",
        needles=("death signal",),
        tier=Tier.CONSEQUENCE,
        counts_as_warning=True,
        pattern=r"[Rr]eceived (?P<count>\d+) death signal",
        example="WARNING:torch.distributed.elastic.agent.server.api:Received 1 death signal, "
        "shutting down workers",
        hint="The agent that started the ranks was told to stop.",
    ),
    Signature(
        id="pipe_to_another_process",
        failure_class="python_bug",
        needles=("EOFError", "ConnectionResetError", "BrokenPipeError", "zmq.error"),
        tier=Tier.CONSEQUENCE,
        pattern=r"^(?:EOFError|ConnectionResetError|BrokenPipeError|zmq\.error\.\w+)\b",
        example='Traceback (most recent call last):\n  File "/usr/lib/python3.12/multiprocessing/'
        'connection.py", line 399, in _recv\n    raise EOFError\nEOFError',
        hint="A process of the engine ended without a word.",
    ),
    Signature(
        id="main_is_not_guarded",
        failure_class="python_bug",
        needles=("start a new process before",),
        pattern=r"An attempt has been made to start a new process before the",
        example="        An attempt has been made to start a new process before the",
        hint="The script starts processes while it is imported: its calls belong below "
        "`if __name__ == '__main__':`.",
    ),
    Signature(
        id="python_exception",
        failure_class="python_bug",
        needles=("",),
        tier=Tier.PYTHON,
        ends_traceback=True,
        pattern=r"^(?P<exception>(?!SystemExit|GeneratorExit|StopIteration|asyncio)[A-Za-z_][\w.]*)"
        r"(?::(?: (?P<message>.*))?)?$",
        example=_ENGINE_TRACEBACK
        + _ENGINE
        + '  File "/opt/vllm/v1/core/sched/scheduler.py", line 611, in schedule\n'
        + _ENGINE
        + "    num_new_tokens = request.num_tokens - request.num_computed_tokens\n"
        + _ENGINE
        + "AttributeError: 'NoneType' object has no attribute 'num_tokens'",
        hint="The engine raised {exception}.",
    ),
    Signature(
        id="native_exception",
        failure_class="cuda_misc",
        needles=("what():", "GGML_ASSERT(", "' failed."),
        tier=Tier.CONSEQUENCE,
        # An exception of C++, and assertions of C.
        pattern=r"^\s*what\(\):\s+(?P<message>\S.*)|GGML_ASSERT\(.*\) failed|: Assertion `.+' failed\.$",
        example="terminate called after throwing an instance of 'std::out_of_range'\n"
        "  what():  vector::_M_range_check: __n (which is 3) >= this->size() (which is 3)",
        hint="Native code crashed; the frames below the line name the library.",
    ),
    Signature(
        id="server_not_ready",
        failure_class="timeout_hang",
        needles=("erver did", "erver failed"),
        tier=Tier.STATED,
        pattern=r"^(?:Error: |ERROR: )?(?:The )?[Ss]erver (?:did not|didn't|failed to) (?:start|become|respond)\b.{0,30}"
        r"\b(?:within|in time|after \d)",
        example="Server did not start within 600 seconds",
        hint="One process of the engine waited for another and gave up.",
    ),
    Signature(
        id="panic",
        failure_class="python_bug",
        needles=("panicked at",),
        tier=Tier.STATED,
        pattern=r"^thread '(?P<thread>[^']*)'(?: \(\d+\))? panicked at ",
        example="thread 'main' panicked at router/src/main.rs:95:10:",
    ),
    Signature(
        id="value_refused_without_traceback",
        failure_class="unsupported_config",
        needles=("ValueError: ",),
        tier=Tier.STATED,
        # What Python itself raises as a ValueError is a bug.
        pattern=r"^ValueError: (?P<message>(?!(?:not enough|too many) values).*(?:\bmust\b|\brequires?\b|\bcan only\b|\bonly applicable\b|\bUnknown\b"
        r"|\bInvalid\b|\b[Cc]annot (?:both|set|mix|apply|specify|have)\b|\bat (?:most|least)\b|\bshould (?:not )?be\b"
        r"|has been removed|\bToo many\b|\bis not set\b|not enabled|does not match|not applicable|no longer supported"
        r"|\bnot (?:multimodal|specified|registered)\b|\bnot contain\b|, but (?:got|found)\b|[;,(] ?got\b).*)",
        example="ValueError: dp_shared_memory requires cpu_offload=True",
        hint="It was refused, on any GPU: {message}",
    ),
    Signature(
        id="not_implemented_without_traceback",
        failure_class="unsupported_config",
        needles=("NotImplementedError: ",),
        tier=Tier.STATED,
        # What a base class says of methods that somebody forgot is a bug.
        pattern=r"^NotImplementedError: (?P<message>(?!.*(?:[Ss]ub-? ?class|abstract|(?:should|must) (?:not|never) be"
        r" called)).+)",
        example="NotImplementedError: rope type llama4 with mrope",
        hint="The engine does not implement this: {message}",
    ),
    Signature(
        id="python_exception_without_traceback",
        failure_class="python_bug",
        needles=("Error", "Exception"),
        tier=Tier.STATED,
        pattern=r"^(?P<exception>(?!(?:\w+\.)*CancelledError)(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception))"
        r"(?:: (?P<message>.+)|$)",
        example="AttributeError: 'NoneType' object has no attribute 'num_tokens'",
        hint="The log names {exception}, without its traceback.",
    ),
)

SIGNATURES: tuple[Signature, ...] = (
    *_WORKER_PROVED,
    *_HARDWARE,
    *_ASSERTIONS,
    *_HOST_MEMORY,
    *_DISK_CLUES,
    *_DISK,
    *_DEVICE_MEMORY,
    *_KV_CACHE,
    *_MEMORY_BUSY,
    *_ADDRESSES,
    *_ARCHITECTURE,
    *_MODEL_FILES,
    *_TOKENIZER,
    *_CHECKPOINT,
    *_ENVIRONMENT,
    *_CONFIGURATION,
    *_COMPILATION,
    *_DISTRIBUTED,
    *_CUDA,
    *PLACED,
    *_STOPPED,
    *_PYTHON,
)
"""All signatures; the first that matches a line names it."""
