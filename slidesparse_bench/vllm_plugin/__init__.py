"""What runs inside vLLM's processes. Entry point group `vllm.general_plugins`.

vLLM calls `register` in every process it starts (vllm/plugins/__init__.py); it may be called
more than once. Outside an attempt of this harness it does nothing, so that having the package
installed changes no other use of vLLM.
"""

from __future__ import annotations

import os

from slidesparse_bench.wire import ATTEMPT_VARIABLE, GEMM_VARIABLE, RANDOM_LOAD_FORMAT


def register() -> None:
    """Make our load format and the GEMM kernels that were asked for known to vLLM.

    Safe to call repeatedly. What is raised here vLLM logs and forgets (plugins/__init__.py); the
    proof of the kernel that ran then fails the attempt.
    """
    if ATTEMPT_VARIABLE not in os.environ:
        return
    from slidesparse_bench.vllm_plugin import random_weights

    random_weights.register(RANDOM_LOAD_FORMAT)
    label = os.environ.get(GEMM_VARIABLE)
    if label:
        from slidesparse_bench.vllm_plugin import linear

        linear.register(label)
