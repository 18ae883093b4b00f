"""What the GEMM libraries have in common: the numbers CUDA knows types by, plans kept, workspace.

Row-major `x: [m, k]`, `w: [n, k]` and `out: [m, n]` are, column-major as the libraries see them,
`[k, m]`, `[k, n]` and `[n, m]`: `out = op_T(w) @ x`. cuSPARSELt was exact to the last bit in this
orientation for int8 (H200, 0.8.0), and cuBLASLt supports FP8 in no other before Blackwell.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch

from slidesparse_bench.vllm_plugin.algorithms import M_STEP, Problem

CUDA_TYPES = {
    torch.float32: 0,
    torch.float16: 2,
    torch.int8: 3,
    torch.int32: 10,
    torch.bfloat16: 14,
    torch.float8_e4m3fn: 28,
}
"""torch dtype -> `cudaDataType` (library_types.h of CUDA 12 and 13)."""

K_STEP = 16

MAX_PLANS = 1024
"""Plans kept per library and device: 4 shapes of a model x 256 different m."""

WORKSPACE_BYTES = 64 * 2**20
"""Most that an algorithm may use; NVIDIA advises 32 MiB on Hopper."""


class GemmLibrary(Protocol):
    """A GEMM of `x: [m, k]` and packed weights, on one device.

    `multiply` gives the sums without scales: `raw: [m, n]` of `raw_dtype`.
    """

    name: str
    version: str
    emulated: bool

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights `[n, k]` as `multiply` wants them."""

    def raw_dtype(self, input_dtype: torch.dtype, out_dtype: torch.dtype) -> torch.dtype:
        """What the sums come out as when the layer's output is `out_dtype`."""

    def multiply(
        self, q_x: torch.Tensor, packed: torch.Tensor, n: int, raw_dtype: torch.dtype
    ) -> torch.Tensor:
        """`q_x: [m, k]`, m a multiple of `M_STEP`, times packed `[n, k]`: `[m, n]`."""

    def algorithm_of(self, problem: Problem) -> str:
        """The algorithm that ran a problem last, for evidence."""


def padded_rows(m: int) -> int:
    """m rounded up to what the libraries take. Works on symbolic sizes as well."""
    return (m + M_STEP - 1) // M_STEP * M_STEP


def padded_columns(weight: torch.Tensor) -> torch.Tensor:
    """Weights `[n, k]` of 8 bits, with k padded with zeros to a multiple of 16 if need be.

    Rows that do not begin at multiples of 16 bytes keep cuBLASLt from the tensor cores.
    """
    padding = -weight.shape[1] % K_STEP
    if not padding:
        return weight.contiguous()
    padded = torch.nn.functional.pad(weight.view(torch.uint8), (0, padding))
    return padded.view(weight.dtype)


def problem_of(m: int, n: int, k: int, input_dtype: torch.dtype, raw_dtype: torch.dtype) -> Problem:
    return Problem(m, n, k, _name(input_dtype), _name(raw_dtype))


def current_stream(device: torch.device) -> int:
    """The `cudaStream_t` of this thread: CUDA graphs are captured on streams of their own."""
    return int(torch._C._cuda_getCurrentRawStream(device.index))


def capturing() -> bool:
    """Whether a CUDA graph is being captured: no search then, it synchronizes."""
    return bool(torch.cuda.is_current_stream_capturing())


class Workspace:
    """Scratch memory shared by all plans of a stream; kept for ever, as CUDA graphs point to it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._by_stream: dict[int, torch.Tensor] = {}

    def pointer(self, stream: int) -> int:
        memory = self._by_stream.get(stream)
        if memory is None:
            memory = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=self._device)
            self._by_stream[stream] = memory
        return int(memory.data_ptr())


class Operands(NamedTuple):
    """Addresses of what one call reads and writes, and its `cudaStream_t`."""

    q_x: int
    packed: int
    raw: int
    workspace: int
    stream: int


class Plan(Protocol):
    """One problem, ready to run.

    `provisional`: made while a CUDA graph was captured, when nothing can be searched.
    """

    algorithm: str
    provisional: bool

    def run(self, operands: Operands) -> None:
        """Launch it."""

    def close(self) -> None:
        """Give the library's handles back. Captured graphs do not need them."""


PlanT = TypeVar("PlanT", bound=Plan)


class Plans(Generic[PlanT]):
    """The plans used last, by problem."""

    def __init__(self) -> None:
        self._plans: OrderedDict[tuple[object, ...], PlanT] = OrderedDict()

    def get(self, key: tuple[object, ...], make: Callable[[], PlanT]) -> PlanT:
        """The plan of `(m, n, k, input dtype, raw dtype)`; a provisional one is made anew."""
        plan = self._plans.get(key)
        if plan is not None and not (plan.provisional and not capturing()):
            self._plans.move_to_end(key)
            return plan
        if plan is not None:
            plan.close()
        plan = self._plans[key] = make()
        if len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)[1].close()
        return plan

    def algorithm_of(self, problem: Problem) -> str:
        for key, plan in self._plans.items():
            if problem_of(*key) == problem:  # type: ignore[arg-type]
                return plan.algorithm
        return "of a plan no longer kept"


class PlannedGemm(ABC, Generic[PlanT]):
    """What both libraries do for a call: find the plan of its problem, or make it, and run it."""

    def __init__(self, device: torch.device) -> None:
        self._plans: Plans[PlanT] = Plans()
        self._workspace = Workspace(device)

    def multiply(
        self, q_x: torch.Tensor, packed: torch.Tensor, n: int, raw_dtype: torch.dtype
    ) -> torch.Tensor:
        """`[m, n]` sums of `q_x: [m, k]` and the packed weights; m a multiple of 16."""
        m, k = q_x.shape
        raw = torch.empty((m, n), dtype=raw_dtype, device=q_x.device)
        stream = current_stream(q_x.device)
        operands = Operands(
            q_x.data_ptr(),
            packed.data_ptr(),
            raw.data_ptr(),
            self._workspace.pointer(stream),
            stream,
        )
        key = (m, n, k, q_x.dtype, raw_dtype)
        plan = self._plans.get(key, lambda: self._plan(problem_of(*key), *key[3:], operands))
        plan.run(operands)
        return raw

    def algorithm_of(self, problem: Problem) -> str:
        """The algorithm that ran a problem last."""
        return self._plans.algorithm_of(problem)

    @abstractmethod
    def _plan(
        self,
        problem: Problem,
        input_dtype: torch.dtype,
        raw_dtype: torch.dtype,
        operands: Operands,
    ) -> PlanT:
        """A plan with the best algorithm that is known, or that a search on the operands finds."""


class Number:
    """One C number that lives at an address."""

    def __init__(self, kind: Any, value: float) -> None:
        self._number = kind(value)
        self.address = ctypes.addressof(self._number)
        self.size = ctypes.sizeof(self._number)

    @property
    def value(self) -> int:
        return int(self._number.value)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
