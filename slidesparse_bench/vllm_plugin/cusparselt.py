"""cuSPARSELt 2:4 GEMMs: plans kept, algorithms searched once per problem and machine.

`torch._cslt_sparse_mm` builds descriptors and plan at every call, 0.16 to 0.3 ms of host time, and
runs the default algorithm, which takes up to 1.8 times as long as the best (H200, FP8, m = 4096).
The library's own search is followed by a contest of what it found with its other configurations: alone
it was more than 5 % off in one to three of 48 GEMMs on a rested device, others from run to run (H200,
Qwen2.5-7B, scripts/bench_raw_gemm.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from nvmath.bindings import cusparseLt

from slidesparse_bench.vllm_plugin.algorithms import AlgorithmCache, Problem
from slidesparse_bench.vllm_plugin.event_timing import fastest
from slidesparse_bench.vllm_plugin.gemm import (
    CUDA_TYPES,
    WORKSPACE_BYTES,
    Number,
    Operands,
    PlannedGemm,
    current_stream,
)

_NON_TRANSPOSE, _TRANSPOSE = 0, 1
_COLUMN_MAJOR = 1
_ALIGNMENT = 16
_REFUSALS = (cusparseLt.cuSPARSELtError, ValueError)
"""Of an algorithm: by the library, or because it wants more workspace than there is."""
_CONFIG_MAX_ID = cusparseLt.MatmulAlgAttribute.CONFIG_MAX_ID
_ATTRIBUTES = {
    "config_id": cusparseLt.MatmulAlgAttribute.CONFIG_ID,
    "split_k": cusparseLt.MatmulAlgAttribute.SPLIT_K,
    "split_k_mode": cusparseLt.MatmulAlgAttribute.SPLIT_K_MODE,
    "split_k_buffers": cusparseLt.MatmulAlgAttribute.SPLIT_K_BUFFERS,
}
_ONE, _ZERO = Number(ctypes.c_float, 1.0), Number(ctypes.c_float, 0.0)


class CusparseltGemm(PlannedGemm["_Plan"]):
    """2:4 sparse GEMMs on one device.

    Args:
        device: a CUDA device with its index.
        cache_folder: where searched algorithms are kept; None: nowhere.
    """

    name = "cusparselt"
    emulated = False

    def __init__(self, device: torch.device, cache_folder: Path | None) -> None:
        with torch.cuda.device(device):
            self._handle = cusparseLt.init()
        self.version = _version(cusparseLt.get_version(self._handle))
        kind = torch.cuda.get_device_name(device)
        library = f"cusparselt-{self.version}"
        super().__init__(device, AlgorithmCache(cache_folder, library, kind, _is_algorithm))

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        """Compress weights that are 2:4.

        Args:
            weight: `[n, k]` contiguous, int8 or float8_e4m3fn; n and k multiples of 32.

        Returns:
            uint8, one dimension; its layout is cuSPARSELt's own and differs by GPU.

        Raises:
            ValueError: not 2:4, which compression would silently turn into other weights.
            cuSPARSELtError: a shape that cuSPARSELt refuses.
        """
        n, k = weight.shape
        description = _structured(self._handle, n, k, weight.dtype)
        stream = current_stream(weight.device)
        try:
            self._check_pattern(weight, description, stream)
            size, buffer_size = cusparseLt.sp_mma_compressed_size2(self._handle, description)
            packed = torch.empty(size, dtype=torch.uint8, device=weight.device)
            buffer = torch.empty(max(1, buffer_size), dtype=torch.uint8, device=weight.device)
            cusparseLt.sp_mma_compress2(
                self._handle,
                description,
                1,
                _TRANSPOSE,
                weight.data_ptr(),
                packed.data_ptr(),
                buffer.data_ptr(),
                stream,
            )
        finally:
            cusparseLt.mat_descriptor_destroy(description)
        return packed

    def raw_dtype(self, input_dtype: torch.dtype, out_dtype: torch.dtype) -> torch.dtype:
        """bfloat16 for bfloat16 layers: faster than 32 bits (2.41 against 3.07 ms on the H200).

        Sums of int8 products leave float16, so float16 layers take them in 32 bits.
        """
        if out_dtype == torch.bfloat16:
            return torch.bfloat16
        return torch.int32 if input_dtype == torch.int8 else torch.float32

    def _search(
        self,
        problem: Problem,
        input_dtype: torch.dtype,
        raw_dtype: torch.dtype,
        operands: Operands,
    ) -> dict[str, Any] | str:
        plan_of = partial(_Plan, self._handle, problem, input_dtype, raw_dtype)
        try:
            with contextlib.closing(plan_of({})) as plan:
                candidates = plan.search(operands)
            with contextlib.ExitStack() as opened:
                plans: list[_Plan] = []
                for candidate in candidates:
                    with contextlib.suppress(*_REFUSALS):
                        plan = opened.enter_context(contextlib.closing(plan_of(candidate)))
                        plan.check_workspace()
                        plan.run(operands)
                        plans.append(plan)
                if not plans:
                    return "none of its algorithms runs"
                return plans[fastest([partial(plan.run, operands) for plan in plans])].selected()
        except _REFUSALS as error:
            return str(error)

    def _plan(
        self,
        problem: Problem,
        input_dtype: torch.dtype,
        raw_dtype: torch.dtype,
        algorithm: dict[str, Any],
    ) -> _Plan:
        try:
            return self._checked(_Plan(self._handle, problem, input_dtype, raw_dtype, algorithm))
        except _REFUSALS as error:
            if not algorithm:
                raise
            print(f"slidesparse: the default algorithm for {problem.key}: {error}", flush=True)
            return self._checked(_Plan(self._handle, problem, input_dtype, raw_dtype, {}))

    def _checked(self, plan: _Plan) -> _Plan:
        with contextlib.ExitStack() as opened:
            opened.callback(plan.close)
            plan.check_workspace()
            opened.pop_all()
        return plan

    def _check_pattern(self, weight: torch.Tensor, description: int, stream: int) -> None:
        wrong = torch.zeros(1, dtype=torch.int32, device=weight.device)
        cusparseLt.sp_mma_prune_check2(
            self._handle,
            description,
            1,
            _TRANSPOSE,
            weight.data_ptr(),
            wrong.data_ptr(),
            stream,
        )
        if int(wrong):
            raise ValueError(f"weights {tuple(weight.shape)} are not 2:4; prune and slide them")


class _Plan:
    """Descriptors and plan of one problem with one algorithm.

    Raises:
        cuSPARSELtError: the algorithm cannot run the problem.
        ValueError: it wants more workspace than there is.
    """

    def __init__(
        self,
        handle: int,
        problem: Problem,
        input_dtype: torch.dtype,
        output_dtype: torch.dtype,
        algorithm: dict[str, Any],
    ) -> None:
        self._handle, self.provisional = handle, False
        with contextlib.ExitStack() as opened:
            self._open(opened, problem, input_dtype, output_dtype, algorithm)
            self.algorithm = json.dumps(self.selected(), sort_keys=True)
            self.close = opened.pop_all().close

    def _open(
        self,
        opened: contextlib.ExitStack,
        problem: Problem,
        input_dtype: torch.dtype,
        output_dtype: torch.dtype,
        algorithm: dict[str, Any],
    ) -> None:
        handle, m, n, k = self._handle, problem.m, problem.n, problem.k
        compute = cusparseLt.ComputeType
        weight = _structured(handle, n, k, input_dtype)
        opened.callback(cusparseLt.mat_descriptor_destroy, weight)
        x = _dense(handle, k, m, input_dtype)
        opened.callback(cusparseLt.mat_descriptor_destroy, x)
        out = _dense(handle, n, m, output_dtype)
        opened.callback(cusparseLt.mat_descriptor_destroy, out)
        operation = cusparseLt.matmul_descriptor_init(
            handle,
            _TRANSPOSE,
            _NON_TRANSPOSE,
            weight,
            x,
            out,
            out,
            compute.COMPUTE_32I if input_dtype == torch.int8 else compute.COMPUTE_32F,
        )
        opened.callback(cusparseLt.matmul_descriptor_destroy, operation)
        self._selection = cusparseLt.matmul_alg_selection_init(
            handle, operation, cusparseLt.MatmulAlg.DEFAULT
        )
        opened.callback(cusparseLt.matmul_alg_selection_destroy, self._selection)
        for name, value in algorithm.items():
            self._set(_ATTRIBUTES[name], value)
        self.plan = cusparseLt.matmul_plan_init(handle, operation, self._selection)
        opened.callback(cusparseLt.matmul_plan_destroy, self.plan)

    def run(self, operands: Operands) -> None:
        self._call(cusparseLt.matmul, operands)

    def search(self, operands: Operands) -> list[dict[str, Any]]:
        """The algorithm that the library finds for the data at hand, then all its configurations.

        These split k as what was found does, and as the library does by default.

        Raises:
            cuSPARSELtError: none of them runs.
        """
        default = self.selected()
        self._call(cusparseLt.matmul_search, operands)
        found = self.selected()
        candidates = [found]
        for split, config_id in product((found, default), range(self._get(_CONFIG_MAX_ID))):
            candidate = {**split, "config_id": config_id}
            if candidate not in candidates:
                candidates.append(candidate)
        return candidates

    def check_workspace(self) -> None:
        """Raise ValueError where the selected algorithm wants more workspace than is kept."""
        wanted = cusparseLt.matmul_get_workspace(self._handle, self.plan)
        if wanted > WORKSPACE_BYTES:
            raise ValueError(
                f"the algorithm wants {wanted} bytes of workspace, {WORKSPACE_BYTES} are kept"
            )

    def _call(self, function: Callable[..., None], operands: Operands) -> None:
        """`matmul` or `matmul_search`, which take the same."""
        q_x, packed, raw, workspace, stream = operands
        streams = ctypes.c_void_p(stream)
        function(
            self._handle,
            self.plan,
            _ONE.address,
            packed,
            q_x,
            _ZERO.address,
            raw,
            raw,
            workspace,
            ctypes.addressof(streams),
            1,
        )

    def selected(self) -> dict[str, Any]:
        """What is selected now, as the next plan can ask for it."""
        return {name: self._get(attribute) for name, attribute in _ATTRIBUTES.items()}

    def _set(self, attribute: int, value: int) -> None:
        number = Number(ctypes.c_int32, value)
        cusparseLt.matmul_alg_set_attribute(
            self._handle, self._selection, attribute, number.address, number.size
        )

    def _get(self, attribute: int) -> int:
        number = Number(ctypes.c_int32, 0)
        cusparseLt.matmul_alg_get_attribute(
            self._handle, self._selection, attribute, number.address, number.size
        )
        return number.value


def _is_algorithm(content: dict[str, Any]) -> bool:
    values = content.values()
    return set(content) == set(_ATTRIBUTES) and all(
        type(value) is int and -(2**31) <= value < 2**31 for value in values
    )


def _structured(handle: int, n: int, k: int, dtype: torch.dtype) -> int:
    """Row-major weights `[n, k]`."""
    return int(
        cusparseLt.structured_descriptor_init(
            handle,
            k,
            n,
            k,
            _ALIGNMENT,
            CUDA_TYPES[dtype],
            _COLUMN_MAJOR,
            cusparseLt.Sparsity.SPARSITY_50_PERCENT,
        )
    )


def _dense(handle: int, rows: int, columns: int, dtype: torch.dtype) -> int:
    """Column-major `[rows, columns]`, which is row-major `[columns, rows]`."""
    return int(
        cusparseLt.dense_descriptor_init(
            handle, rows, columns, rows, _ALIGNMENT, CUDA_TYPES[dtype], _COLUMN_MAJOR
        )
    )


def _version(number: int) -> str:
    """`801` is 0.8.1 (cusparseLt.h: 1000 x major + 100 x minor + patch)."""
    return f"{number // 1000}.{number % 1000 // 100}.{number % 100}"
