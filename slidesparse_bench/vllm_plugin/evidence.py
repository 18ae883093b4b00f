"""What this process's GEMMs really ran: problem, algorithm, calls.

A replayed CUDA graph calls nothing here: its GEMMs were counted when it was captured.
"""

from __future__ import annotations

from typing import Any

import torch

from slidesparse_bench.vllm_plugin.gemm import GemmLibrary, problem_of

_Key = tuple[str, str, str, int, int, int, torch.dtype, torch.dtype]
"""Library, algorithm, prologue, m, n, k, types of input and sums."""


class Evidence:
    """Counts per problem and algorithm; a new one is a line in the log of the process."""

    def __init__(self) -> None:
        self._calls: dict[_Key, int] = {}
        self._libraries: dict[str, GemmLibrary] = {}

    def record(
        self, library: GemmLibrary, q_x: torch.Tensor, raw: torch.Tensor, prologue: str
    ) -> None:
        """After a GEMM was launched, whose input `prologue` made. On the path of every layer: a
        dictionary, and no more."""
        algorithm = library.last_algorithm
        m, k = q_x.shape
        key = (library.name, algorithm, prologue, m, raw.shape[1], k, q_x.dtype, raw.dtype)
        calls = self._calls.get(key)
        if calls is None:
            calls = 0
            self._libraries[library.name] = library
            problem = problem_of(*key[3:])
            print(
                f"slidesparse {library.name} runs m{problem.m}-n{problem.n}-k{problem.k} "
                f"{problem.input_type} to {problem.output_type} after {prologue}: {algorithm}",
                flush=True,
            )
        self._calls[key] = calls + 1

    def summary(self) -> dict[str, Any] | None:
        """For provenance; None when no GEMM of ours has run in this process.

        Raises:
            RuntimeError: GEMMs of two libraries ran; a process is asked for one.
        """
        if not self._libraries:
            return None
        if len(self._libraries) > 1:
            raise RuntimeError(f"GEMMs of {' and '.join(sorted(self._libraries))} in one process")
        (library,) = self._libraries.values()
        return {
            "library": library.name,
            "version": library.version,
            "emulated": library.emulated,
            "gemms": [_entry(key, self._calls[key]) for key in sorted(self._calls, key=str)],
        }


def _entry(key: _Key, calls: int) -> dict[str, Any]:
    problem = problem_of(*key[3:])
    return {
        "m": problem.m,
        "n": problem.n,
        "k": problem.k,
        "input_type": problem.input_type,
        "output_type": problem.output_type,
        "algorithm": key[1],
        "prologue": key[2],
        "calls": calls,
    }


EVIDENCE = Evidence()
"""Of this process."""


def of_rank(worker: object) -> dict[str, Any] | None:
    """The summary of the process that holds this worker, for vLLM's `collective_rpc`."""
    del worker
    return EVIDENCE.summary()
