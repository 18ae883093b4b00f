"""The Chinese of sentences that other modules put on record in English.

They stand in `status.json`, `plan.json` and `environment.json` with their numbers filled in, so they
are recognized by their template (`recorded.translator`). Classes and hints of failures have to be
complete: `tests/test_report_languages.py` compares. Any other sentence that is not here is shown in
English.
"""

from __future__ import annotations

from slidesparse_bench.report.recorded import translator

RECORDED = {
    # failures/classes.py: what a class is, and its advice
    "the GPU allocator ran out while profiling, warming up, capturing or running": (
        "GPU 分配器在 profile、预热、捕获或运行时显存耗尽"
    ),
    "Measure a smaller M; if the KV cache was reserved already, a lower gpu_memory_utilization "
    "helps too.": ("请测量更小的 M；若 KV cache 已经预留，降低 gpu_memory_utilization 也有帮助。"),
    "out of memory while creating or loading weights: they alone do not fit": (
        "创建或加载权重时显存不足：仅权重就放不下"
    ),
    "Use a GPU with more memory, a smaller model, a sparser checkpoint or "
    "tensor_parallel_size; gpu_memory_utilization does not matter here.": (
        "请使用显存更大的 GPU、更小的模型、更稀疏的 checkpoint 或 tensor_parallel_size；gpu_mem"
        "ory_utilization 在此不起作用。"
    ),
    "the weights fit, but there is no or too little room for the KV cache": (
        "权重放得下，但留给 KV cache 的空间没有或不足"
    ),
    "Raise gpu_memory_utilization or measure a smaller M.": (
        "请提高 gpu_memory_utilization 或测量更小的 M。"
    ),
    "somebody else holds the memory, or free memory moved during profiling": (
        "显存被他人占用，或空闲显存在 profile 期间发生变化"
    ),
    "End the other processes on the device, or lower gpu_memory_utilization to what is free; a "
    "desktop or WSL2 never gives all of it.": (
        "请结束该设备上的其他进程，或把 gpu_memory_utilization 降到空闲显存以内；桌面系统或 WSL"
        "2 从不会让出全部显存。"
    ),
    "host memory: the kernel's OOM killer, ENOMEM, /dev/shm, a process gone with signal 9 and "
    "nothing else printed": (
        "主机内存不足：内核 OOM killer、ENOMEM、/dev/shm，或进程被信号 9 杀死而没有其他输出"
    ),
    "Free host memory or raise the limit of the container or job (docker: --memory, --shm-size).": (
        "请释放主机内存，或提高容器或作业的上限（docker：--memory、--shm-size）。"
    ),
    "an illegal address on the GPU, without evidence of an overflow": (
        "GPU 上的非法地址，没有溢出的证据"
    ),
    "CUDA reports it late, so the frames above it say little; run once with "
    "CUDA_LAUNCH_BLOCKING=1 to find the kernel.": (
        "CUDA 报告此错误有延迟，因此其上的栈帧参考意义不大；请用 CUDA_LAUNCH_BLOCKING=1 运行一"
        "次以找到该 kernel。"
    ),
    "a 32-bit index or size was exceeded": "超出了 32 位索引或尺寸的范围",
    "Measure a smaller M: the largest tensor of a step must stay below 2^31 elements for this "
    "kernel.": ("请测量更小的 M：对于该 kernel，一步中最大的张量必须少于 2^31 个元素。"),
    "an assertion in GPU code failed": "GPU 代码中的断言失败",
    "The assertion names the check that failed; an index out of range usually means token ids "
    "beyond the vocabulary or positions beyond the model's length.": (
        "断言指明了失败的检查；索引越界通常意味着 token id 超出词表，或位置超出模型长度。"
    ),
    "a launch failure, a misaligned address, an execution or internal error of cuBLAS, "
    "cuSPARSELt or CUTLASS, a crash in native code": (
        "启动失败、地址未对齐、cuBLAS、cuSPARSELt 或 CUTLASS 的执行错误或内部错误、原生代码崩溃"
    ),
    "If it comes back, report it upstream with GPU, driver, library versions and the shape.": (
        "若再次出现，请连同 GPU、驱动、库版本和形状上报给上游。"
    ),
    "the GPU's compute capability is not supported by the build, dtype or quantization": (
        "该构建、数据类型或量化方式不支持 GPU 的计算能力"
    ),
    "Install a build for this GPU, or leave this quantization or backend out of the matrix.": (
        "请安装支持该 GPU 的构建，或从矩阵中去掉该量化方式或后端。"
    ),
    "refused on any GPU: shapes, quantization, engine arguments": (
        "在任何 GPU 上都会被拒绝：形状、量化方式、引擎参数"
    ),
    "Correct the engine arguments, the model's config.json or the matrix.": (
        "请改正引擎参数、模型的 config.json 或测试矩阵。"
    ),
    "path, repository or access is missing, or the machine is offline": (
        "路径、仓库或权限缺失，或机器处于离线状态"
    ),
    "Check the path or repository name, log in for gated models, or download the model before "
    "running offline.": ("请检查路径或仓库名称，为受限模型登录，或在离线运行之前下载模型。"),
    "keys or shapes of the checkpoint do not match the model": "checkpoint 的键或形状与模型不符",
    "Convert or download the checkpoint again; it must match its config.json and this vLLM "
    "version.": ("请重新转换或下载 checkpoint；它必须与其 config.json 和该 vLLM 版本相符。"),
    "the tokenizer cannot be built or used": "tokenizer 无法构建或使用",
    "Add the tokenizer files to the model folder, match the transformers version, or set "
    "skip_tokenizer_init: true (prompts here are random token ids).": (
        "请把 tokenizer 文件加入模型目录，使 transformers 版本匹配，或设置 skip_tokenizer_init:"
        " true（这里的提示是随机 token id）。"
    ),
    "driver, runtime, library, ABI, device visibility or a missing package": (
        "驱动、运行时、库、ABI、设备可见性，或缺失的软件包"
    ),
    "Repair the installation; `slidesparse doctor` shows what is found.": (
        "请修复安装；`slidesparse doctor` 会显示所发现的情况。"
    ),
    "torch.compile, Inductor, Triton, ptxas or a JIT build failed; Triton's `OutOfResources: "
    "shared memory` is here": (
        "torch.compile、Inductor、Triton、ptxas 或 JIT 构建失败；Triton 的 `OutOfResources: sha"
        "red memory` 属于此类"
    ),
    "Run the cell with enforce_eager: true (slower, no compilation), or change the torch, "
    "Triton or vLLM version.": (
        "请以 enforce_eager: true 运行该单元（较慢，不编译），或更换 torch、Triton 或 vLLM 版本。"
    ),
    "setting up a communicator or a collective operation failed": "建立通信组或集合通信操作失败",
    "Run once with NCCL_DEBUG=INFO; check that all ranks run, the network interface "
    "(NCCL_SOCKET_IFNAME) and /dev/shm.": (
        "请用 NCCL_DEBUG=INFO 运行一次；检查所有 rank 是否都在运行、网络接口（NCCL_SOCKET_IFNAM"
        "E）和 /dev/shm。"
    ),
    "a time limit or watchdog fired, or there was no output for too long": (
        "达到时限或看门狗触发，或过长时间没有输出"
    ),
    "If it comes back, raise timeouts.attempt_s or timeouts.silence_s, or look with py-spy at "
    "what the process waits for.": (
        "若再次出现，请提高 timeouts.attempt_s 或 timeouts.silence_s，或用 py-spy 查看进程在等"
        "待什么。"
    ),
    "the device failed: Xid, uncorrectable ECC, fallen off the bus": (
        "设备故障：Xid、无法纠正的 ECC 错误、从总线掉线"
    ),
    "Look into dmesg and nvidia-smi -q; reset or replace the device before using it again.": (
        "请查看 dmesg 和 nvidia-smi -q；再次使用之前先重置或更换设备。"
    ),
    "no space left on a disk, or a quota reached": "磁盘空间耗尽，或达到配额",
    "Free space (compile caches under ~/.cache/vllm and ~/.triton are good candidates), then "
    "run the same command again: it resumes.": (
        "请释放空间（~/.cache/vllm 和 ~/.triton 下的编译缓存是不错的选择），然后再次运行同一命"
        "令：它会继续。"
    ),
    "stopped from outside: Ctrl-C, SIGTERM, preemption, reboot, a killed run": (
        "从外部被停止：Ctrl-C、SIGTERM、抢占、重启、运行被强制终止"
    ),
    "Run the same command again: it resumes with this cell.": (
        "请再次运行同一命令：它会从该单元继续。"
    ),
    "a Python exception in the engine, none of the others": "引擎中的 Python 异常，不属于其他类别",
    "Read the traceback at the line named here; report it upstream.": (
        "请阅读所指行处的回溯；上报给上游。"
    ),
    "it ran, but not with the M that was asked for": "运行了，但 M 不是所要求的",
    "The engine split or merged steps: check max_num_batched_tokens, max_num_seqs and chunked "
    "prefill of this vLLM version.": (
        "引擎拆分或合并了步：请检查该 vLLM 版本的 max_num_batched_tokens、max_num_seqs 和 chunk"
        "ed prefill。"
    ),
    "it ran, but not with the kernel that was asked for": "运行了，但 kernel 不是所要求的",
    "vLLM fell back to another kernel; its log says why the wanted one was refused. Use "
    "backend native to measure whatever it picks.": (
        "vLLM 回退到了另一个 kernel；其日志说明了为何拒绝所需的 kernel。要测量它自行选择的 kern"
        "el，请使用后端 native。"
    ),
    "the process ended well but left no usable result": "进程正常结束，但没有留下可用的结果",
    "If it comes back, report it with the attempt folder.": (
        "若再次出现，请连同该次尝试的目录上报。"
    ),
    "no signature matched; the log's last error is shown": (
        "没有匹配的特征；显示的是日志中最后的错误"
    ),
    "Read the log around the line named here; CONTRIBUTING.md says how to add a signature for "
    "it.": ("请阅读所指行附近的日志；CONTRIBUTING.md 说明了如何为其添加特征。"),
    "(`classify` on a log of a run that worked) alarming words, no failure": (
        "（对成功运行的日志执行 `classify`）看似告警的词句，并非失败"
    ),
    "Nothing failed in this log.": "该日志中没有失败。",
    # failures/signatures.py: hints
    "The batch needs {needed} of KV cache, {available} are available: {missing} short.": (
        "该批次需要 {needed} 的 KV cache，可用 {available}：缺 {missing}。"
    ),
    "{asked} are needed to start, {free} of {total} are free: {holders}.": (
        "启动需要 {asked}，{total} 中空闲 {free}：{holders}。"
    ),
    "The recorded steps disprove it: {message}.": "所记录的各步否定了它：{message}。",
    "The kernels that ran are known: {message}.": "实际运行的 kernel 已知：{message}。",
    "The worker found nothing to report: {message}.": "工作进程没有可报告的结果：{message}。",
    "The driver reported Xid {xid}: the device failed, whatever was printed after it.": (
        "驱动报告 Xid {xid}：设备出现故障，与其后打印的内容无关。"
    ),
    "The NVSwitch reported SXid {sxid}: the link to the devices failed.": (
        "NVSwitch 报告 SXid {sxid}：到设备的链路发生故障。"
    ),
    "The driver no longer reaches the device.": "驱动已无法访问该设备。",
    "The device's memory or link returned data that could not be corrected.": (
        "设备的显存或链路返回了无法纠正的数据。"
    ),
    "GPU code checked `{assertion}` and found it false.": (
        "GPU 代码检查了 `{assertion}`，结果为假。"
    ),
    "The kernel killed process {pid} ({process}), which held {resident} of host memory.": (
        "内核杀死了进程 {pid}（{process}），它占用 {resident} 主机内存。"
    ),
    "Shared memory (/dev/shm) is full; it is host memory with a limit of its own.": (
        "共享内存（/dev/shm）已满；它是有单独上限的主机内存。"
    ),
    "Host memory could not be pinned.": "无法锁定主机内存（pinned memory）。",
    "{asked} of host memory were asked for and not available.": (
        "请求了 {asked} 主机内存，但没有可用的。"
    ),
    "A mapped page could not be given: nearly always /dev/shm or host memory ran out.": (
        "无法提供一个已映射的页：几乎总是 /dev/shm 或主机内存耗尽。"
    ),
    "A process was killed with signal 9 and printed nothing: as a rule the kernel ran out of "
    "host memory.": (
        "一个进程被信号 9 杀死且没有打印任何内容：通常是主机内存耗尽，被内核终止（OOM killer）。"
    ),
    "A download did not fit on the disk.": "磁盘放不下所下载的内容。",
    "{asked} were asked for, {free} of {total} were free: {short} short.": (
        "请求 {asked}，{total} 中空闲 {free}：缺 {short}。"
    ),
    "The {what} was tried with {dummy_requests} requests at once and ran out of memory.": (
        "以 {dummy_requests} 个请求同时尝试了{what}，显存耗尽。"
    ),
    "NCCL found no device memory for its own buffers.": "NCCL 没有找到可供自身缓冲区使用的显存。",
    "A GPU library found no device memory for its workspace.": (
        "某个 GPU 库没有找到可供其工作区使用的显存。"
    ),
    "One request of {max_model_len} tokens needs {needed} of KV cache, {available} are "
    "available: {missing} short.": (
        "一个 {max_model_len} token 的请求需要 {needed} 的 KV cache，可用 {available}：缺 {miss"
        "ing}。"
    ),
    "Weights and the largest step leave nothing of the engine's share of the memory for the KV "
    "cache.": ("权重和最大的一步用尽了引擎的显存份额，没有给 KV cache 留下任何空间。"),
    "One request has {max_model_len} tokens, the KV cache has room for {available_tokens}.": (
        "一个请求有 {max_model_len} 个 token，而 KV cache 只能容纳 {available_tokens} 个。"
    ),
    "{max_num_seqs} sequences were asked for, the cache has room for {available_sequences}.": (
        "要求 {max_num_seqs} 条序列，而 cache 只能容纳 {available_sequences} 条。"
    ),
    "Weights and runtime already use more than the engine's share of the memory.": (
        "权重和运行时占用的显存已经超过引擎的份额。"
    ),
    "gpu_memory_utilization {utilization} means {asked}, {free} of {total} were free: up to "
    "{highest_utilization} could start.": (
        "gpu_memory_utilization {utilization} 意味着 {asked}，而 {total} 中空闲 {free}：最高 {h"
        "ighest_utilization} 可以启动。"
    ),
    "gpu_memory_utilization {utilization} means {asked} of host memory, {free} of {total} were "
    "free: up to {highest_utilization} could start.": (
        "gpu_memory_utilization {utilization} 意味着 {asked} 主机内存，而 {total} 中空闲 {free}"
        "：最高 {highest_utilization} 可以启动。"
    ),
    "{asked} of host memory were asked for the KV cache, {free} of {total} were free.": (
        "KV cache 请求了 {asked} 主机内存，而 {total} 中空闲 {free}。"
    ),
    "Free memory went from {initial_free} to {current_free} while the engine measured its own "
    "use: another process released memory.": (
        "引擎测量自身占用期间，空闲显存从 {initial_free} 变为 {current_free}：另一个进程释放了"
        "显存。"
    ),
    "A tensor of this step has more elements than a 32-bit index can reach (2,147,483,647).": (
        "这一步中有一个张量的元素数超过 32 位索引所能表示的范围（2,147,483,647）。"
    ),
    "The driver reported Xid {xid}: a kernel of this program touched an address that is not "
    "its own.": ("驱动报告 Xid {xid}：本程序的一个 kernel 访问了不属于它的地址。"),
    "The installed build has no machine code for this GPU.": "所安装的构建没有该 GPU 的机器码。",
    "The quantization needs compute capability {needed_capability} (as one number), the GPU "
    "has {capability}.": (
        "该量化需要计算能力 {needed_capability}（写作一个数），而 GPU 为 {capability}。"
    ),
    "bfloat16 needs compute capability {needed_capability}, the {gpu} has {capability}; dtype: "
    "float16 works.": (
        "bfloat16 需要计算能力 {needed_capability}，而 {gpu} 为 {capability}；可用 dtype: float16。"
    ),
    "This vLLM build has no {kernel} for compute capability {capability} (as one number).": (
        "该 vLLM 构建没有适用于计算能力 {capability}（写作一个数）的 {kernel}。"
    ),
    "This GPU has no FP8 arithmetic (compute capability 8.9 or newer has).": (
        "该 GPU 没有 FP8 运算能力（计算能力 8.9 或更新者才有）。"
    ),
    "The compiler in this build does not generate code for this GPU.": (
        "该构建中的编译器不为这种 GPU 生成代码。"
    ),
    "The installed library does not support this GPU.": "所安装的库不支持该 GPU。",
    "The script that started the benchmark left it out: sm_{sm} is beyond this kernel.": (
        "启动基准测试的脚本跳过了它：sm_{sm} 超出该 kernel 的支持范围。"
    ),
    "The installed PyTorch has no machine code for sm_{sm}.": (
        "所安装的 PyTorch 没有 sm_{sm} 的机器码。"
    ),
    "{model} is neither a folder here nor a model on the hub.": (
        "{model} 既不是本地目录，也不是 hub 上的模型。"
    ),
    "The hub refused: the model does not exist there, or this account has no access.": (
        "hub 拒绝访问：模型不存在，或该账户没有权限。"
    ),
    "The hub cannot be reached and the files are not in the local cache.": (
        "无法连接 hub，且文件不在本地缓存中。"
    ),
    "The model folder is incomplete.": "模型目录不完整。",
    "The checkpoint lacks weights of the model, such as {parameter}.": (
        "checkpoint 缺少模型的权重，例如 {parameter}。"
    ),
    "The checkpoint has {parameter}, which the model does not know.": (
        "checkpoint 含有 {parameter}，而模型不认识它。"
    ),
    "A weight has shape {found}, the model expects {expected}.": (
        "某个权重的形状为 {found}，而模型期望 {expected}。"
    ),
    "A weight file is damaged or was not downloaded completely.": (
        "某个权重文件损坏或没有下载完整。"
    ),
    "The NVIDIA driver is older than the installed CUDA build needs.": (
        "NVIDIA 驱动早于所安装的 CUDA 构建的要求。"
    ),
    "No usable GPU is visible to this process.": "该进程看不到可用的 GPU。",
    "CUDA does not work on this system: {message}.": "CUDA 在该系统上无法工作：{message}。",
    "This system does not offer it: {message}": "该系统不提供所需的功能：{message}",
    "A package could not be built: {header} is not installed.": (
        "某个包无法构建：没有安装 {header}。"
    ),
    "Two installed packages do not fit each other: importing one raised {exception}.": (
        "两个已安装的包互不匹配：导入其中一个时引发了 {exception}。"
    ),
    "Not even a CUDA context fitted: others hold the memory.": (
        "连 CUDA 上下文都放不下：显存被其他进程占用。"
    ),
    "The host has less memory free than the program wants.": "主机的空闲内存少于程序所需。",
    "A node of the cluster disappeared; its own log lines were not found.": (
        "集群的一个节点消失；没有找到它自己的日志行。"
    ),
    "The ranks did not reach one another.": "各 rank 之间无法连通。",
    "A compiled library does not fit the others that are installed.": (
        "某个编译好的库与其他已安装的库不匹配。"
    ),
    "The Python package {package} is not installed.": "没有安装 Python 包 {package}。",
    "A compiled operator is missing: the extension was not built or not loaded.": (
        "缺少一个编译好的算子：扩展没有构建或没有加载。"
    ),
    "A compiler or its headers are not installed, and kernels are built at run time.": (
        "没有安装编译器或其头文件，而 kernel 需要在运行时构建。"
    ),
    "This PyTorch was built without cuSPARSELt.": "该 PyTorch 构建时未包含 cuSPARSELt。",
    "A compiler was killed: as a rule the kernel ran out of host memory; fewer parallel jobs "
    "(MAX_JOBS) need less.": (
        "编译器被终止：通常是内核耗尽了主机内存；减少并行任务数（MAX_JOBS）可降低需求。"
    ),
    "The container did not start.": "容器未能启动。",
    "The shell did not find {program}.": "shell 找不到 {program}。",
    "A pass of Triton's compiler refused a kernel.": "Triton 编译器的某个 pass 拒绝了一个 kernel。",
    "The engine knows no {key}.": "引擎不认识 {key}。",
    "The system does not let this process have a file or thread it needs.": (
        "系统不允许该进程使用它所需的文件或线程。"
    ),
    "vLLM could not import its own implementation of the model.": (
        "vLLM 无法导入它自己的模型实现。"
    ),
    "No kernel of this vLLM accepts the layer; the reasons follow in the log.": (
        "该 vLLM 没有 kernel 接受这一层；理由见日志后文。"
    ),
    "The quantization of the checkpoint is not one that vLLM runs.": (
        "该 checkpoint 的量化方式不在 vLLM 支持之列。"
    ),
    "This vLLM does not know the architecture named in config.json.": (
        "该 vLLM 不认识 config.json 中的架构。"
    ),
    "max_model_len {asked} was asked for, the model allows {allowed}.": (
        "要求 max_model_len {asked}，而模型只允许 {allowed}。"
    ),
    "The sizes of model, GPUs and engine arguments do not divide as asked.": (
        "模型尺寸、GPU 数量与引擎参数无法按要求整除。"
    ),
    "vLLM knows no engine argument {argument}.": "vLLM 没有引擎参数 {argument}。",
    "vLLM refused an engine argument: {message}": "vLLM 拒绝了一个引擎参数：{message}",
    "vLLM refused its {config}; the next lines of the log say why.": (
        "vLLM 拒绝了其 {config}；理由见日志的后续各行。"
    ),
    "The GEMM library does not accept this shape, layout or type (8-bit cuSPARSELt wants every "
    "dimension in multiples of 16 or 32).": (
        "GEMM 库不接受该形状、布局或类型（8 位 cuSPARSELt 要求每一维都是 16 或 32 的倍数）。"
    ),
    "A Triton kernel asks for {needed_bytes} bytes of {resource}, this GPU has {limit_bytes} "
    "per block.": (
        "某个 Triton kernel 请求 {needed_bytes} 字节的 {resource}，而该 GPU 每个 block 只有 {li"
        "mit_bytes}。"
    ),
    "The PTX assembler refused a generated kernel.": "PTX 汇编器拒绝了一个生成的 kernel。",
    "A kernel that is built at run time did not compile.": "一个在运行时构建的 kernel 编译失败。",
    "The script starts processes while it is imported: its calls belong below "
    "`if __name__ == '__main__':`.": (
        "脚本在被导入时启动了进程：其中的调用应放在 `if __name__ == '__main__':` 之下。"
    ),
    "A kernel that is built at run time did not compile: {message}.": (
        "一个在运行时构建的 kernel 编译失败：{message}。"
    ),
    "The ptxas of this build does not know {arch}; TRITON_PTXAS_PATH may name a newer one.": (
        "该构建中的 ptxas 不认识 {arch}；可用 TRITON_PTXAS_PATH 指定更新的版本。"
    ),
    "The compiler stopped; the next line of the log says what it raised.": (
        "编译器停止；它抛出的内容见日志的下一行。"
    ),
    "A collective {collective} did not end within {waited_ms} ms: a rank hangs or died.": (
        "集合通信 {collective} 在 {waited_ms} ms 内没有结束：某个 rank 挂起或已死亡。"
    ),
    "One process of the engine waited for another and gave up.": (
        "引擎的一个进程等待另一个进程，最终放弃。"
    ),
    "Another rank disappeared; its own log lines were not found.": (
        "另一个 rank 消失了；没有找到它自己的日志行。"
    ),
    "The network between the ranks failed.": "各 rank 之间的网络发生故障。",
    "NCCL reported: {message}.": "NCCL 报告：{message}。",
    "NCCL warned: {message}": "NCCL 警告：{message}",
    "A child process ended with `{signal}`: as a rule host memory or /dev/shm ran out.": (
        "子进程以 `{signal}` 结束：通常是主机内存或 /dev/shm 耗尽。"
    ),
    "Native code of a child process crashed: {signal}.": "子进程的原生代码崩溃：{signal}。",
    "The compiler of a kernel language failed.": "kernel 语言的编译器失败。",
    "A kernel asks for more shared memory than a block of this GPU has.": (
        "kernel 请求的共享内存超过了该 GPU 一个 block 的上限。"
    ),
    "The driver of the GPU ended the process; the next line of the log names its source.": (
        "GPU 驱动结束了进程；日志的下一行指出其源文件。"
    ),
    "The accelerator reported: {message}": "加速器报告：{message}",
    "Compiling failed: {message}": "编译失败：{message}",
    "The compiled extension {extension} does not fit the libraries that are installed.": (
        "已编译的扩展 {extension} 与所安装的库不匹配。"
    ),
    "Native code crashed; the frames below the line name the library.": (
        "原生代码崩溃；该行之下的栈帧指明了所在的库。"
    ),
    "A library was built for a newer processor than this one.": (
        "某个库是为比本机更新的处理器构建的。"
    ),
    "The GEMM library answered {status}.": "GEMM 库返回 {status}。",
    "cuSPARSELt refused a call; shapes of x and of the weight that differ in k are one cause.": (
        "cuSPARSELt 拒绝了一次调用；x 与权重的 k 不一致是原因之一。"
    ),
    "A CUTLASS kernel could not be set up or run.": "某个 CUTLASS kernel 无法设置或运行。",
    "CUDA reported: {message}.": "CUDA 报告：{message}。",
    "The driver reported Xid {xid}: it stopped this program's work on the GPU.": (
        "驱动报告 Xid {xid}：它停止了本程序在 GPU 上的工作。"
    ),
    "Only some GPUs are accepted: {message}": "只接受某些 GPU：{message}",
    "A package is missing or has another version than is needed: {message}": (
        "某个软件包缺失，或版本不符合要求：{message}"
    ),
    "The hub or its local cache did not give the model: {message}": (
        "hub 或其本地缓存没有给出模型：{message}"
    ),
    "The hub did not give the model: {message}": "hub 没有给出模型：{message}",
    "Building the tokenizer raised {exception}.": "构建 tokenizer 时抛出 {exception}。",
    "Using the tokenizer raised {exception}.": "使用 tokenizer 时抛出 {exception}。",
    "A weight of the checkpoint has another name or shape than the model expects.": (
        "checkpoint 中某个权重的名称或形状与模型所期望的不同。"
    ),
    "Setting up or using the process group failed: {message}": "建立或使用进程组失败：{message}",
    "It was refused, on any GPU: {message}": "在任何 GPU 上都会被拒绝：{message}",
    "Compiling raised {exception}.": "编译时抛出 {exception}。",
    "vLLM refused the engine arguments: {message}": "vLLM 拒绝了引擎参数：{message}",
    "The configuration was refused: {message}": "配置被拒绝：{message}",
    "The engine does not implement this: {message}": "引擎没有实现这一功能：{message}",
    "Something was waited for in vain: {message}": "等待落空：{message}",
    "The batch system ended the job at its time limit.": "批处理系统在时限到达时结束了作业。",
    "The agent that started the ranks was told to stop.": "启动各 rank 的代理被要求停止。",
    "A process of the engine ended without a word.": "引擎的一个进程无声无息地结束了。",
    "The engine raised {exception}.": "引擎抛出 {exception}。",
    "The engine refused it: {message}": "引擎拒绝了它：{message}",
    "The engine's native code refused it: {message}": "引擎的原生代码拒绝了它：{message}",
    "The hub did not give the model: {exception}": "hub 没有给出模型：{exception}",
    "NCCL could not set up CUDA for itself: {message}.": "NCCL 无法为自身设置 CUDA：{message}。",
    "A Triton kernel did not compile; the reason stands below its source.": (
        "某个 Triton kernel 编译失败；原因见其源代码下方。"
    ),
    "{module} could not be imported; the next line of the log says why.": (
        "无法导入 {module}；原因见日志的下一行。"
    ),
    "The log names {exception}, without its traceback.": "日志提到 {exception}，但没有其回溯。",
    "The engine refused it while it was being built: {message}": "引擎在构建过程中拒绝了它：{message}",
    # failures/explain.py: what follows from the numbers
    "max_model_len up to {length} would do.": "max_model_len 不超过 {length} 即可。",
    "gpu_memory_utilization {utilization} would do.": (
        "gpu_memory_utilization {utilization} 即可。"
    ),
    "max_model_len up to {length} or gpu_memory_utilization {utilization} would do.": (
        "max_model_len 不超过 {length}，或 gpu_memory_utilization {utilization} 即可。"
    ),
    "No gpu_memory_utilization would: it would take {utilization} of this memory.": (
        "任何 gpu_memory_utilization 都不够：需要该显存的 {utilization} 倍。"
    ),
    "{asked} were asked for, {free} of {total} were free: enough in all, but not in one piece or "
    "not for this process.": (
        "请求 {asked}，{total} 中空闲 {free}：总量足够，但不是连续的一块，或不能供该进程使用。"
    ),
    "This process held {held}": "该进程占用 {held}",
    "This process held {held} ({tensors} in tensors)": ("该进程占用 {held}（其中张量 {tensors}）"),
    "This process held {held} ({unused} reserved by PyTorch and unused)": (
        "该进程占用 {held}（其中 PyTorch 已预留但未使用 {unused}）"
    ),
    "This process held {held} ({tensors} in tensors, {unused} reserved by PyTorch and unused)": (
        "该进程占用 {held}（其中张量 {tensors}，PyTorch 已预留但未使用 {unused}）"
    ),
    "other processes held {others}": "其他进程占用 {others}",
    "Likely a 32-bit index: M x 2 x intermediate_size = {m} x 2 x {width} = {elements} elements of "
    "the gate_up output, more than 2^31 - 1 = {limit}; M up to {most} stays below it.": (
        "很可能是 32 位索引：gate_up 输出有 M x 2 x intermediate_size = {m} x 2 x {width} = {ele"
        "ments} 个元素，超过 2^31 - 1 = {limit}；M 不超过 {most} 则低于此值。"
    ),
    "The gate_up output stays below 2^31 elements (M x 2 x intermediate_size = {m} x 2 x {width} "
    "= {elements}).": (
        "gate_up 输出低于 2^31 个元素（M x 2 x intermediate_size = {m} x 2 x {width} = {elements"
        "}）。"
    ),
    "The GPU has compute capability {capability}.": "该 GPU 的计算能力为 {capability}。",
    "This PyTorch has code for {architectures}.": "该 PyTorch 含有 {architectures} 的机器码。",
    "{capability} is needed, and no other build changes that.": (
        "需要 {capability}，换用其他构建也无法改变这一点。"
    ),
    "PyTorch {torch} or newer for CUDA {cuda} or newer supports it.": (
        "用于 CUDA {cuda} 或更新版本的 PyTorch {torch} 或更新版本支持它。"
    ),
    "PyTorch {torch} or newer for CUDA {cuda} or newer supports it (vLLM {vllm} or newer).": (
        "用于 CUDA {cuda} 或更新版本的 PyTorch {torch} 或更新版本支持它（vLLM {vllm} 或更新版本）。"
    ),
    "PyTorch built for CUDA {cuda} still supports it.": (
        "为 CUDA {cuda} 构建的 PyTorch 仍支持它。"
    ),
    # failures/, feasibility.py, backends.py, retry.py, telemetry.py, roofline.py, importers/
    "The KV cache had been reserved: a lower gpu_memory_utilization leaves more beside it.": (
        "KV cache 已经预留：降低 gpu_memory_utilization 会在其之外留下更多显存。"
    ),
    "The KV cache was not yet reserved, so gpu_memory_utilization does not help: measure a "
    "smaller M, or use a GPU with more memory.": (
        "KV cache 尚未预留，因此 gpu_memory_utilization 没有帮助：请测量更小的 M，或使用显存更"
        "大的 GPU。"
    ),
    "a class that this version of slidesparse-bench does not know": (
        "本版本 slidesparse-bench 不认识的类别"
    ),
    "Read the log at the line named here.": "请阅读所指行处的日志。",
    "The attempt reached its time limit in phase {phase}; this was its last output.": (
        "该次尝试在阶段 {phase} 达到时限；这是其最后的输出。"
    ),
    "The attempt reached its time limit; this was its last output.": (
        "该次尝试达到时限；这是其最后的输出。"
    ),
    "There was no output for too long in phase {phase}; this was the last.": (
        "在阶段 {phase} 过长时间没有输出；这是最后的输出。"
    ),
    "There was no output for too long; this was the last.": "过长时间没有输出；这是最后的输出。",
    "The run that had started it ended first in phase {phase}; how it went on is not known.": (
        "启动它的运行在阶段 {phase} 先行结束；其后情况未知。"
    ),
    "The run that had started it ended first; how it went on is not known.": (
        "启动它的运行先行结束；其后情况未知。"
    ),
    "It was stopped from outside in phase {phase}.": "它在阶段 {phase} 被外部停止。",
    "It was stopped from outside.": "它被外部停止。",
    "The process ended with {signal} in phase {phase} and printed no cause.": (
        "进程在阶段 {phase} 因 {signal} 结束，没有打印原因。"
    ),
    "The process ended with {signal} and printed no cause.": (
        "进程因 {signal} 结束，没有打印原因。"
    ),
    "The process ended with exit code 0 and left no usable result.": (
        "进程以退出码 0 结束，没有留下可用的结果。"
    ),
    "The log ends in phase {phase} without a known cause.": (
        "日志在阶段 {phase} 结束，没有已知的原因。"
    ),
    "The log ends without a known cause.": "日志结束，没有已知的原因。",
    "The process ended with exit code {code} in phase {phase}.": (
        "进程在阶段 {phase} 以退出码 {code} 结束。"
    ),
    "The process ended with exit code {code}.": "进程以退出码 {code} 结束。",
    "memory cannot be predicted: the model's architecture is not one slidesparse-bench knows "
    "(llama, mistral, qwen2)": (
        "无法预测显存：slidesparse-bench 不认识该模型的架构（仅 llama、mistral、qwen2）"
    ),
    "needs {total}: {weights} weights + {kv_cache} KV cache for {n} sequences + {activations} "
    "activations + {overhead} overhead": (
        "需要 {total}：权重 {weights} + {n} 条序列的 KV cache {kv_cache} + 激活 {activations} +"
        " 开销 {overhead}"
    ),
    "needs {total}: {weights} weights + {kv_cache} KV cache for 1 sequence + {activations} "
    "activations + {overhead} overhead": (
        "需要 {total}：权重 {weights} + 1 条序列的 KV cache {kv_cache} + 激活 {activations} + "
        "开销 {overhead}"
    ),
    "needs {total}: {weights} weights + {kv_cache} KV cache for {n} sequences": (
        "需要 {total}：权重 {weights} + {n} 条序列的 KV cache {kv_cache}"
    ),
    "needs {total}: {weights} weights + {kv_cache} KV cache for 1 sequence": (
        "需要 {total}：权重 {weights} + 1 条序列的 KV cache {kv_cache}"
    ),
    "{given} available at gpu_memory_utilization {utilization}": (
        "gpu_memory_utilization {utilization} 时可用 {given}"
    ),
    "{certain} of the need are certain, and even {top} of {memory} is {most}": (
        "其中 {certain} 是必不可少的，而即使 {memory} 的 {top} 也只有 {most}"
    ),
    "vLLM would start, but not hold {sequences} at once, so no step would have exactly M tokens": (
        "vLLM 可以启动，但无法同时容纳 {sequences}，因此没有一步恰好为 M 个 token"
    ),
    "{utilization} would do": "{utilization} 即可",
    "even {utilization} may be too little": "即使 {utilization} 也可能不够",
    "only {outside} stay outside that share for graphs, autotuning copies and other processes, "
    "which can take {taken}": (
        "该份额之外只剩 {outside}，而 CUDA graph、自动调优副本和其他进程可能占用 {taken}"
    ),
    "kv_cache_memory_bytes fixes the KV cache at {fixed}": (
        "kv_cache_memory_bytes 把 KV cache 固定为 {fixed}"
    ),
    "{sequences} of {tokens} tokens at max_model_len {length} need {needed}": (
        "max_model_len {length} 时，{tokens} token 的 {sequences} 需要 {needed}"
    ),
    "32-bit index risk: the gate_up output has M x 2 x intermediate_size = {rows} x {columns} "
    "= {elements} elements, more than 2^31 - 1": (
        "32 位索引风险：gate_up 输出有 M x 2 x intermediate_size = {rows} x {columns} = {elemen"
        "ts} 个元素，超过 2^31 - 1"
    ),
    "a kernel with 32-bit offsets ends in an illegal memory access or in wrong numbers": (
        "使用 32 位偏移的 kernel 会以非法内存访问或错误的数值告终"
    ),
    "backend {backend} needs an NVIDIA GPU": "后端 {backend} 需要 NVIDIA GPU",
    "this device is {device}": "本设备为 {device}",
    "{what} needs compute capability {needed}; {device} has {capability}": (
        "{what} 需要计算能力 {needed}；{device} 为 {capability}"
    ),
    "{what} supports compute capability below {needed}; {device} has {capability}": (
        "{what} 支持的计算能力须低于 {needed}；{device} 为 {capability}"
    ),
    "imported: this program predicted nothing before it ran": "导入：运行之前本程序没有作任何预测",
    "max_attempts ({n}) are used up": "max_attempts（{n}）已用完",
    "stopped from outside {n} times in a row": "连续 {n} 次被外部停止",
    "stopped from outside, which counts as no attempt": "被外部停止，不算一次尝试",
    "the device is taken out of the run": "该设备退出本次运行",
    "the run pauses": "运行暂停",
    "no setting makes the weights smaller": "没有任何设置能使权重变小",
    "another attempt would end the same way": "再次尝试也会同样结束",
    "it came back when tried again": "重试后再次出现",
    "tried once more, in a process of its own": "在独立进程中再试一次",
    "it failed with enforce_eager as well": "使用 enforce_eager 同样失败",
    "tried without compilation and CUDA graphs (enforce_eager)": (
        "不编译、不用 CUDA graph 再试（enforce_eager）"
    ),
    "gpu_memory_utilization {now} is the top of the ladder": (
        "gpu_memory_utilization {now} 已是阶梯的最高一级"
    ),
    "what is free allows gpu_memory_utilization {ceiling}, {now} was too low": (
        "空闲显存只允许 gpu_memory_utilization {ceiling}，而 {now} 已嫌太低"
    ),
    "{now} leaves too little KV cache and {high} runs out of memory: no gpu_memory_utilization "
    "works": (
        "{now} 留给 KV cache 的空间太少，{high} 则显存耗尽：没有可行的 gpu_memory_utilization"
    ),
    "even gpu_memory_utilization {top} would give about {given} of the {needed} needed": (
        "即使 gpu_memory_utilization {top} 也只能提供约 {given}，而需要 {needed}"
    ),
    "even gpu_memory_utilization {top} would give about {given} for the KV cache": (
        "即使 gpu_memory_utilization {top} 也只能给 KV cache 约 {given}"
    ),
    "no KV cache was reserved that a lower gpu_memory_utilization would give back": (
        "没有预留 KV cache，降低 gpu_memory_utilization 也无可归还"
    ),
    "{now} runs out of memory and {low} leaves too little KV cache": (
        "{now} 显存耗尽，而 {low} 留给 KV cache 的空间太少"
    ),
    "the KV cache does not hold what is missing, so no lower gpu_memory_utilization helps": (
        "KV cache 不足以补上缺口，因此降低 gpu_memory_utilization 没有帮助"
    ),
    "waiting for device memory": "等待显存",
    "refused with the lowered gpu_memory_utilization {now} as well": (
        "降低后的 gpu_memory_utilization {now} 同样被拒绝"
    ),
    "what is free does not change and allows gpu_memory_utilization {startable} only": (
        "空闲显存没有变化，只允许 gpu_memory_utilization {startable}"
    ),
    "gpu_memory_utilization {now} -> {then}: more room for the KV cache": (
        "gpu_memory_utilization {now} -> {then}：给 KV cache 更多空间"
    ),
    "gpu_memory_utilization {now} -> {then}: {given} of KV cache instead of {room}": (
        "gpu_memory_utilization {now} -> {then}：KV cache 为 {given}，而不是 {room}"
    ),
    "gpu_memory_utilization {now} -> {then}: less KV cache, more memory beside it": (
        "gpu_memory_utilization {now} -> {then}：减少 KV cache，在其之外留出更多显存"
    ),
    "gpu_memory_utilization {now} -> {then}: what is free does not change": (
        "gpu_memory_utilization {now} -> {then}：空闲显存没有变化"
    ),
    "throttled ({reason}) in {n} of {samples} samples": (
        "{samples} 个采样中有 {n} 个降频（{reason}）"
    ),
    "throttled ({reason})": "降频（{reason}）",
    "{process} (pid {pid}) used the GPU as well": "{process}（pid {pid}）也在使用该 GPU",
    "SM clock below {clock} MHz in {n} of {samples} samples, with a median of {median} MHz": (
        "{samples} 个采样中有 {n} 个 SM 频率低于 {clock} MHz，中位数为 {median} MHz"
    ),
    "the mean step takes {share} of the least possible time: either the peak rates are too low "
    "(a data sheet's clock is below the card's highest; `slidesparse doctor --measure` "
    "measures them) or the measurement is wrong": (
        "平均每步只用了最短可能时间的 {share}：要么峰值速率偏低（数据手册的频率低于该卡的最高频"
        "率；`slidesparse doctor --measure` 可测量），要么测量有误"
    ),
    "imported from {source}": "导入自 {source}",
    "not recorded: imported": "未记录：导入的结果",
    "never started: {source}": "从未启动：{source}",
    "time zone": "时区",
    "the logs give local times without a zone": "日志只给出不带时区的当地时间",
    "CPU, host memory, operating system": "CPU、主机内存、操作系统",
    "no file names them": "没有文件提到它们",
    "no file names it": "没有文件提到它",
    "GPU serial, clocks, power limit": "GPU 序列号、频率、功耗上限",
    "commit of the benchmark scripts": "基准测试脚本的提交",
    "M of the engine steps": "引擎各步的 M",
    "vllm bench throughput does not record steps": "vllm bench throughput 不记录各步",
    "kernel that ran": "实际运行的 kernel",
    "vllm bench throughput does not record it": "vllm bench throughput 不记录它",
    "step times and their interval": "单步时间及其置信区间",
    "vllm bench throughput times the whole batch, once": (
        "vllm bench throughput 只对整个批次计时一次"
    ),
    "output_tokens_per_second in decode": "decode 的 output_tokens_per_second",
    "theirs includes the prefill step; ours counts pure decode steps, which nobody timed": (
        "其值包含预填充步；我们的只计纯解码步，而没有人对它计时"
    ),
    "power, clocks, temperature": "功耗、频率、温度",
    "not recorded": "未记录",
    "duration of attempts without a printed one": "没有打印时长的尝试的时长",
    "from the first to the last time in their output, so at least that long": (
        "取其输出中第一个到最后一个时间，因此至少有这么长"
    ),
    "{file}: passed over: {why}": "{file}：已略过：{why}",
    "files of vllm bench do not name it": "vllm bench 的文件没有提到它",
    "as stated on the command line; the files do not say it": "按命令行所述；文件没有说明",
    "quantization": "量化",
    "backend": "后端",
    "stage": "阶段",
    "versions, driver, CPU, operating system": "版本、驱动、CPU、操作系统",
    "engine arguments": "引擎参数",
    "failed attempts": "失败的尝试",
    "a failed vllm bench writes no file": "失败的 vllm bench 不写文件",
    "vllm bench does not record steps": "vllm bench 不记录各步",
    "vllm bench does not record it": "vllm bench 不记录它",
    "vllm bench times requests, not steps": "vllm bench 对请求计时，不对步计时",
    "ours counts pure decode steps, which nobody timed": "我们的只计纯解码步，而没有人对它计时",
}

translated = translator(RECORDED, "；", "。")
