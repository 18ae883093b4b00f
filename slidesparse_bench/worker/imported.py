"""What this process has imported and compiled: facts for a result's `provenance`.

Nothing here imports anything: it looks at what is loaded already, after the measurement.
"""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

WARM, COLD, OFF, UNKNOWN = "warm", "cold", "off", "unknown"

_COUNTERS = "vllm.compilation.counter"
_COMPILED = ("num_inductor_compiles",)
_LOADED = ("num_aot_artifacts_loaded", "num_compiled_artifacts_loaded")
_TRACED = ("num_aot_compiles",)


def versions_of_everything_imported() -> dict[str, str]:
    """Version by distribution name, of each one that a loaded top-level module may come from.

    Parts of a namespace cannot be told apart from outside: with `nvidia` loaded, every `nvidia-*`
    distribution is listed. Reads the metadata of the whole environment (0.2 s with 180
    distributions), so call it once, not while measuring.
    """
    provided = importlib.metadata.packages_distributions()
    loaded = {name.partition(".")[0] for name in list(sys.modules)}
    names = {each for module in loaded for each in provided.get(module, ()) if each}
    found = {name: version_of(name) for name in sorted(names, key=str.lower)}
    return {name: version for name, version in found.items() if version}


def version_of(distribution: str) -> str | None:
    """Of an installed distribution; None when it is not there."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_facts() -> dict[str, Any]:
    """How the loaded torch was built and what it runs on; empty when torch is not loaded.

    `cuda` is the toolkit it was built with, None for a CPU build. The device is asked for only
    where CUDA is in use already: a look must not create a context.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    facts = {
        "version": str(torch.__version__),
        "commit": torch.version.git_version,
        "cuda": torch.version.cuda,
        "cudnn": _ask(torch, "backends", "cudnn", "version"),
        "cusparselt": _ask(torch, "backends", "cusparselt", "version"),
        "nccl": _ask(torch, "cuda", "nccl", "version") if torch.version.cuda else None,
        "arch_list": torch.cuda.get_arch_list(),
        "num_threads": torch.get_num_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_initialized() else None,
    }
    return {name: _plain(value) for name, value in facts.items()}


def _ask(value: Any, *path: str) -> Any:
    """The answer of `value.a.b.c()`; None when this torch has no such thing, or cannot tell."""
    for name in path:
        value = getattr(value, name, None)
    try:
        return None if value is None else value()
    except Exception:  # noqa: BLE001 - a library that torch was built for need not be installed
        return None


def _plain(value: Any) -> Any:
    """(2, 27, 5) as `2.27.5`."""
    return ".".join(map(str, value)) if isinstance(value, tuple) else value


def compile_cache_state(vllm_config: Any) -> str:
    """Whether vLLM found its torch.compile cache filled when this engine was started.

    `warm`: everything compiled was loaded from the cache. `cold`: something had to be compiled, so
    `load_time_s` contains it. `off`: nothing is compiled (`enforce_eager`, mode NONE). `unknown`:
    vLLM did not count, as the model is in another process (tensor parallel: ask there, with the
    worker's own `vllm_config`) or torch compiles without vLLM's cache.

    Call it once the engine is up. It reads vLLM's own `CompilationCounter`
    (vllm/compilation/counter.py, the same in 0.25.1 and 0.32.0): an Inductor graph or an
    ahead-of-time artifact counts as loaded or as compiled (compiler_interface.py, decorators.py).
    Looking whether the cache folder existed would not do: vLLM makes it before it looks for
    artifacts, and refuses artifacts of a changed source.
    """
    if _is_eager(vllm_config):
        return OFF
    counter = getattr(sys.modules.get(_COUNTERS), "compilation_counter", None)
    if _count(counter, _COMPILED):
        return COLD
    if _count(counter, _LOADED):
        return WARM
    # Ahead of time by torch's own backend (CPU, DYNAMO_TRACE_ONCE): only the whole is counted.
    return COLD if _count(counter, _TRACED) else UNKNOWN


def _is_eager(vllm_config: Any) -> bool:
    mode = getattr(getattr(vllm_config, "compilation_config", None), "mode", None)
    eager = getattr(getattr(vllm_config, "model_config", None), "enforce_eager", False)
    return bool(eager) or getattr(mode, "name", mode) == "NONE"


def _count(counter: Any, names: tuple[str, ...]) -> int:
    return sum(int(getattr(counter, name, 0)) for name in names)
