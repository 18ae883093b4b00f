"""cuBLASLt dense GEMMs: plans kept, the best of the algorithms that its heuristic offers.

`torch._int_mm` takes the heuristic's first choice; a dense reference that nobody tuned would make
every sparse kernel look good.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from nvmath.bindings import cublasLt

from slidesparse_bench.vllm_plugin.algorithms import AlgorithmCache, Problem
from slidesparse_bench.vllm_plugin.event_timing import fastest
from slidesparse_bench.vllm_plugin.gemm import (
    CUDA_TYPES,
    WORKSPACE_BYTES,
    Number,
    Operands,
    PlannedGemm,
    padded_columns,
)

_TRANSPOSE = 1
_COMPUTE_32F, _COMPUTE_32I = 68, 72
"""`cublasComputeType_t` (cublas_api.h of CUDA 12 and 13)."""
_REQUESTED = 32
"""Algorithms asked of the heuristic; it returns fewer when it knows fewer."""
_ALGORITHM_BYTES = 64
"""`cublasLtMatmulAlgo_t` is eight 64-bit words (cublasLt.h)."""
_RESULT_BYTES = 96
"""`cublasLtMatmulHeuristicResult_t`: algorithm 64, workspace 8, state 4, waves 4, reserved 16."""


class CublasltGemm(PlannedGemm["_Plan"]):
    """Dense GEMMs on one device; arguments as for `CusparseltGemm`."""

    name = "cublaslt"
    emulated = False

    def __init__(self, device: torch.device, cache_folder: Path | None) -> None:
        with torch.cuda.device(device):
            self._handle = cublasLt.create()
        self.version = str(cublasLt.get_version())
        kind, library = torch.cuda.get_device_name(device), f"cublaslt-{self.version}"
        super().__init__(device, AlgorithmCache(cache_folder, library, kind, _is_algorithm))

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights `[n, k]`, k padded with zeros to a multiple of 16 if need be."""
        return padded_columns(weight)

    def raw_dtype(self, input_dtype: torch.dtype, out_dtype: torch.dtype) -> torch.dtype:
        """cuBLASLt writes sums of int8 as int32 (or int8) only."""
        if input_dtype == torch.int8:
            return torch.int32
        return torch.bfloat16 if out_dtype == torch.bfloat16 else torch.float32

    def _search(
        self,
        problem: Problem,
        input_dtype: torch.dtype,
        raw_dtype: torch.dtype,
        operands: Operands,
    ) -> dict[str, Any] | str:
        try:
            with contextlib.closing(_Plan(self._handle, problem, input_dtype, raw_dtype)) as plan:
                found = plan.search(operands)
        except (cublasLt.cuBLASLtError, ValueError) as error:
            return str(error)
        return {"opaque": found.hex()} if found else "none of those offered runs"

    def _plan(
        self,
        problem: Problem,
        input_dtype: torch.dtype,
        raw_dtype: torch.dtype,
        algorithm: dict[str, Any],
    ) -> _Plan:
        plan = _Plan(self._handle, problem, input_dtype, raw_dtype)
        if algorithm and not plan.accepts(bytes.fromhex(algorithm["opaque"])):
            print(f"slidesparse: the heuristic's algorithm for {problem.key}", flush=True)
        return plan


class _Plan:
    """Descriptors of one problem and the algorithm it runs; at first the heuristic's choice.

    Raises:
        ValueError: cuBLASLt has no algorithm for the problem.
    """

    def __init__(
        self, handle: int, problem: Problem, input_dtype: torch.dtype, output_dtype: torch.dtype
    ) -> None:
        self._handle, self.provisional = handle, False
        with contextlib.ExitStack() as opened:
            self._open(opened, problem, input_dtype, output_dtype)
            self._choices = self._offered()
            if not self._choices:
                raise ValueError(f"cuBLASLt has no algorithm for {problem.key}")
            self.close = opened.pop_all().close
        self._use(self._choices[0])

    def _open(
        self,
        opened: contextlib.ExitStack,
        problem: Problem,
        input_dtype: torch.dtype,
        output_dtype: torch.dtype,
    ) -> None:
        m, n, k = problem.m, problem.n, problem.k
        integer = input_dtype == torch.int8
        number = ctypes.c_int32 if integer else ctypes.c_float
        self._one, self._zero = Number(number, 1), Number(number, 0)
        self._operation = cublasLt.matmul_desc_create(
            _COMPUTE_32I if integer else _COMPUTE_32F,
            CUDA_TYPES[torch.int32 if integer else torch.float32],
        )
        opened.callback(cublasLt.matmul_desc_destroy, self._operation)
        self._set_up_operation(fast_accumulation=not integer)

        def layout(dtype: torch.dtype, rows: int, columns: int) -> int:
            made: int = cublasLt.matrix_layout_create(CUDA_TYPES[dtype], rows, columns, rows)
            opened.callback(cublasLt.matrix_layout_destroy, made)
            return made

        self._weight = layout(input_dtype, k, n)
        self._x = layout(input_dtype, k, m)
        self._out = layout(output_dtype, n, m)

    def run(self, operands: Operands) -> None:
        q_x, packed, raw, workspace, stream = operands
        cublasLt.matmul(
            self._handle,
            self._operation,
            self._one.address,
            packed,
            self._weight,
            q_x,
            self._x,
            self._zero.address,
            raw,
            self._out,
            raw,
            self._out,
            self._algorithm_address,
            workspace,
            WORKSPACE_BYTES,
            stream,
        )

    def accepts(self, algorithm: bytes) -> bool:
        """Use an algorithm found earlier, if this problem can run with it."""
        checked = cublasLt.MatmulHeuristicResult()
        self._use(algorithm)
        try:
            cublasLt.matmul_algo_check(
                self._handle,
                self._operation,
                self._weight,
                self._x,
                self._out,
                self._out,
                self._algorithm_address,
                checked.ptr,
            )
            fits = int(checked.workspace_size) <= WORKSPACE_BYTES
        except cublasLt.cuBLASLtError:
            fits = False
        if not fits:
            self._use(self._choices[0])
        return fits

    def search(self, operands: Operands) -> bytes | None:
        """The fastest algorithm on the data at hand, the heuristic's own unless clearly beaten.

        Overwrites `raw`. None if none of them runs.
        """
        running: list[bytes] = []
        for algorithm in self._choices:
            with contextlib.suppress(cublasLt.cuBLASLtError):
                self._run_with(algorithm, operands)
                running.append(algorithm)
        calls = [partial(self._run_with, algorithm, operands) for algorithm in running]
        return running[fastest(calls)] if running else None

    def _run_with(self, algorithm: bytes, operands: Operands) -> None:
        self._use(algorithm)
        self.run(operands)

    def _set_up_operation(self, *, fast_accumulation: bool) -> None:
        attributes = cublasLt.MatmulDescAttribute
        transpose = Number(ctypes.c_int32, _TRANSPOSE)
        self._set(attributes.TRANSA, transpose.address, transpose.size)
        if fast_accumulation:  # as vLLM's CUTLASS and torch kernels do for FP8
            on = ctypes.c_int8(1)
            self._set(attributes.FAST_ACCUM, ctypes.addressof(on), 1)

    def _set(self, attribute: int, address: int, size: int) -> None:
        cublasLt.matmul_desc_set_attribute(self._operation, attribute, address, size)

    def _use(self, algorithm: bytes) -> None:
        self._opaque = ctypes.create_string_buffer(algorithm, len(algorithm))
        self._algorithm_address = ctypes.addressof(self._opaque)
        self.algorithm = algorithm.hex()

    def _offered(self) -> list[bytes]:
        """The heuristic's algorithms, best guess first, as the 64 opaque bytes each is."""
        preference = cublasLt.matmul_preference_create()
        limit = ctypes.c_uint64(WORKSPACE_BYTES)
        results = cublasLt.MatmulHeuristicResult(_REQUESTED)
        count = ctypes.c_int32(0)
        try:
            cublasLt.matmul_preference_set_attribute(
                preference,
                cublasLt.MatmulPreferenceAttribute.MAX_WORKSPACE_BYTES,
                ctypes.addressof(limit),
                8,
            )
            cublasLt.matmul_algo_get_heuristic(
                self._handle,
                self._operation,
                self._weight,
                self._x,
                self._out,
                self._out,
                preference,
                _REQUESTED,
                results.ptr,
                ctypes.addressof(count),
            )
        except cublasLt.cuBLASLtError:
            return []
        finally:
            cublasLt.matmul_preference_destroy(preference)
        return [
            ctypes.string_at(results.ptr + number * _RESULT_BYTES, _ALGORITHM_BYTES)
            for number in range(count.value)
        ]


def _is_algorithm(content: dict[str, Any]) -> bool:
    opaque = content.get("opaque")
    return isinstance(opaque, str) and bool(
        re.fullmatch(f"[0-9a-f]{{{2 * _ALGORITHM_BYTES}}}", opaque)
    )
