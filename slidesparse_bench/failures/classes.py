"""The failure classes: what each one is, who can do something about it, what is tried by itself.

A class names the first cause of a failed attempt. Ids are final: they stand in `status.json`,
`results.csv` and on the command line (`retry --class`). `docs/failures.md` shows this table;
a test keeps the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from slidesparse_bench.records import Verdict


@dataclass(frozen=True)
class FailureClass:
    """One class of failures.

    `retry` says what is tried by itself, in words; `slidesparse_bench.retry` carries it out.
    `advice` is what a person can do, one or two sentences.
    """

    id: str
    what: str
    verdict: Verdict
    retry: str
    advice: str

    @property
    def retryable(self) -> bool:
        """Whether an automatic retry can help at all; the facts of one attempt may say no."""
        return not self.retry.startswith("none")


CLASSES: dict[str, FailureClass] = {
    entry.id: entry
    for entry in (
        FailureClass(
            id="oom_device",
            what="the GPU allocator ran out while profiling, warming up, capturing or running",
            verdict=Verdict.CAPACITY,
            retry="lower `gpu_memory_utilization` step by step when the engine had reserved KV "
            "cache, else none",
            advice="Measure a smaller M; if the KV cache was reserved already, a lower "
            "gpu_memory_utilization helps too.",
        ),
        FailureClass(
            id="oom_weights",
            what="out of memory while creating or loading weights: they alone do not fit",
            verdict=Verdict.HARDWARE_LIMIT,
            retry="none",
            advice="Use a GPU with more memory, a smaller model, a sparser checkpoint or "
            "tensor_parallel_size; gpu_memory_utilization does not matter here.",
        ),
        FailureClass(
            id="kv_cache_insufficient",
            what="the weights fit, but there is no or too little room for the KV cache",
            verdict=Verdict.CAPACITY,
            retry="raise `gpu_memory_utilization` along the ladder (0.80, 0.90, 0.95, 0.98), "
            "leaving out steps that cannot suffice",
            advice="Raise gpu_memory_utilization or measure a smaller M.",
        ),
        FailureClass(
            id="gpu_memory_busy",
            what="somebody else holds the memory, or free memory moved during profiling",
            verdict=Verdict.TRANSIENT,
            retry="wait for memory, same settings; if what is free does not change, once with "
            "`gpu_memory_utilization` lowered to just under it",
            advice="End the other processes on the device, or lower gpu_memory_utilization to "
            "what is free; a desktop or WSL2 never gives all of it.",
        ),
        FailureClass(
            id="oom_host",
            what="host memory: the kernel's OOM killer, ENOMEM, /dev/shm, a process gone with "
            "signal 9 and nothing else printed",
            verdict=Verdict.CAPACITY,
            retry="once",
            advice="Free host memory or raise the limit of the container or job "
            "(docker: --memory, --shm-size).",
        ),
        FailureClass(
            id="illegal_memory_access",
            what="an illegal address on the GPU, without evidence of an overflow",
            verdict=Verdict.UPSTREAM_BUG,
            retry="once, in a process of its own",
            advice="CUDA reports it late, so the frames above it say little; run once with "
            "CUDA_LAUNCH_BLOCKING=1 to find the kernel.",
        ),
        FailureClass(
            id="int32_index_overflow",
            what="a 32-bit index or size was exceeded",
            verdict=Verdict.UPSTREAM_BUG,
            retry="none",
            advice="Measure a smaller M: the largest tensor of a step must stay below 2^31 "
            "elements for this kernel.",
        ),
        FailureClass(
            id="device_assert",
            what="an assertion in GPU code failed",
            verdict=Verdict.UPSTREAM_BUG,
            retry="none",
            advice="The assertion names the check that failed; an index out of range usually "
            "means token ids beyond the vocabulary or positions beyond the model's length.",
        ),
        FailureClass(
            id="cuda_misc",
            what="a launch failure, a misaligned address, an execution or internal error of "
            "cuBLAS, cuSPARSELt or CUTLASS, a crash in native code",
            verdict=Verdict.UPSTREAM_BUG,
            retry="once",
            advice="If it comes back, report it upstream with GPU, driver, library versions and "
            "the shape.",
        ),
        FailureClass(
            id="unsupported_arch",
            what="the GPU's compute capability is not supported by the build, dtype or "
            "quantization",
            verdict=Verdict.ENVIRONMENT,
            retry="none",
            advice="Install a build for this GPU, or leave this quantization or backend out of "
            "the matrix.",
        ),
        FailureClass(
            id="unsupported_config",
            what="refused on any GPU: shapes, quantization, engine arguments",
            verdict=Verdict.CONFIGURATION,
            retry="none",
            advice="Correct the engine arguments, the model's config.json or the matrix.",
        ),
        FailureClass(
            id="model_not_found",
            what="path, repository or access is missing, or the machine is offline",
            verdict=Verdict.CONFIGURATION,
            retry="none",
            advice="Check the path or repository name, log in for gated models, or download the "
            "model before running offline.",
        ),
        FailureClass(
            id="weights_mismatch",
            what="keys or shapes of the checkpoint do not match the model",
            verdict=Verdict.CONFIGURATION,
            retry="none",
            advice="Convert or download the checkpoint again; it must match its config.json and "
            "this vLLM version.",
        ),
        FailureClass(
            id="tokenizer_error",
            what="the tokenizer cannot be built or used",
            verdict=Verdict.CONFIGURATION,
            retry="none",
            advice="Add the tokenizer files to the model folder, match the transformers version, "
            "or set skip_tokenizer_init: true (prompts here are random token ids).",
        ),
        FailureClass(
            id="driver_or_env",
            what="driver, runtime, library, ABI, device visibility or a missing package",
            verdict=Verdict.ENVIRONMENT,
            retry="none",
            advice="Repair the installation; `slidesparse doctor` shows what is found.",
        ),
        FailureClass(
            id="compile_failure",
            what="torch.compile, Inductor, Triton, ptxas or a JIT build failed; Triton's "
            "`OutOfResources: shared memory` is here",
            verdict=Verdict.UPSTREAM_BUG,
            retry="once with `enforce_eager: true`, recorded",
            advice="Run the cell with enforce_eager: true (slower, no compilation), or change "
            "the torch, Triton or vLLM version.",
        ),
        FailureClass(
            id="nccl_or_distributed",
            what="setting up a communicator or a collective operation failed",
            verdict=Verdict.ENVIRONMENT,
            retry="once",
            advice="Run once with NCCL_DEBUG=INFO; check that all ranks run, the network "
            "interface (NCCL_SOCKET_IFNAME) and /dev/shm.",
        ),
        FailureClass(
            id="timeout_hang",
            what="a time limit or watchdog fired, or there was no output for too long",
            verdict=Verdict.TRANSIENT,
            retry="once",
            advice="If it comes back, raise timeouts.attempt_s or timeouts.silence_s, or look "
            "with py-spy at what the process waits for.",
        ),
        FailureClass(
            id="gpu_lost",
            what="the device failed: Xid, uncorrectable ECC, fallen off the bus",
            verdict=Verdict.HARDWARE_FAULT,
            retry="none; the device is taken out of the run",
            advice="Look into dmesg and nvidia-smi -q; reset or replace the device before using "
            "it again.",
        ),
        FailureClass(
            id="disk_full",
            what="no space left on a disk, or a quota reached",
            verdict=Verdict.ENVIRONMENT,
            retry="none; the run pauses",
            advice="Free space (compile caches under ~/.cache/vllm and ~/.triton are good "
            "candidates), then run the same command again: it resumes.",
        ),
        FailureClass(
            id="interrupted",
            what="stopped from outside: Ctrl-C, SIGTERM, preemption, reboot, a killed run",
            verdict=Verdict.TRANSIENT,
            retry="always",
            advice="Run the same command again: it resumes with this cell.",
        ),
        FailureClass(
            id="python_bug",
            what="a Python exception in the engine, none of the others",
            verdict=Verdict.UPSTREAM_BUG,
            retry="none",
            advice="Read the traceback at the line named here; report it upstream.",
        ),
        FailureClass(
            id="m_mismatch",
            what="it ran, but not with the M that was asked for",
            verdict=Verdict.INVALID_MEASUREMENT,
            retry="once, in a process of its own",
            advice="The engine split or merged steps: check max_num_batched_tokens, "
            "max_num_seqs and chunked prefill of this vLLM version.",
        ),
        FailureClass(
            id="wrong_kernel",
            what="it ran, but not with the kernel that was asked for",
            verdict=Verdict.INVALID_MEASUREMENT,
            retry="none",
            advice="vLLM fell back to another kernel; its log says why the wanted one was "
            "refused. Use backend native to measure whatever it picks.",
        ),
        FailureClass(
            id="no_result",
            what="the process ended well but left no usable result",
            verdict=Verdict.HARNESS,
            retry="once",
            advice="If it comes back, report it with the attempt folder.",
        ),
        FailureClass(
            id="unknown",
            what="no signature matched; the log's last error is shown",
            verdict=Verdict.UNKNOWN,
            retry="once",
            advice="Read the log around the line named here; CONTRIBUTING.md says how to add a "
            "signature for it.",
        ),
        FailureClass(
            id="success_noise",
            what="(`classify` on a log of a run that worked) alarming words, no failure",
            verdict=Verdict.NONE,
            retry="none",
            advice="Nothing failed in this log.",
        ),
    )
}


def classes_table() -> str:
    """The table of `docs/failures.md`, in Markdown."""
    head = "| class | what it is | verdict | default retry |\n|---|---|---|---|\n"
    rows = (
        f"| `{entry.id}` | {entry.what} | {entry.verdict} | {entry.retry} |"
        for entry in CLASSES.values()
    )
    return head + "\n".join(rows) + "\n"
