"""What `vllm.LLM` is told, beside the environment, when GEMMs of this plugin are to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slidesparse_bench import __version__
from slidesparse_bench.vllm_plugin.fusion import INDUCTOR_HOOK, GemmFusion


def with_own_gemm(arguments: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Engine arguments with what a backend label such as `cusparselt-2_8` needs.

    `additional_config` is part of the key of vLLM's compile cache, which knows nothing of plugins:
    another sparsity would get the graph of this one. `compilation_config` gets our pass.
    """
    return {
        **arguments,
        "additional_config": {
            **(arguments.get("additional_config") or {}),
            "slidesparse_gemm": label,
            "slidesparse_bench": __version__,
        },
        "compilation_config": _with_fusion(arguments.get("compilation_config")),
    }


def _with_fusion(compilation_config: Any) -> Any:
    """A number is vLLM's compilation mode. A pass that is there already stays, and is the only one."""
    given = {} if compilation_config is None else compilation_config
    if isinstance(given, int):
        given = {"mode": given}
    if not isinstance(given, dict):
        return given
    inductor = given.get("inductor_compile_config") or {}
    return {**given, "inductor_compile_config": {INDUCTOR_HOOK: GemmFusion(), **inductor}}
