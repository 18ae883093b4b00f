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

from slidesparse_bench.vllm_plugin.algorithms import M_STEP, AlgorithmCache, Problem

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
SEARCH_WORKSPACE_BYTES = 512 * 2**20
"""While cuSPARSELt searches: it is not told how much there is, and tries what it likes."""


class GemmLibrary(Protocol):
    """A GEMM of `x: [m, k]` and packed weights, on one device.

    `multiply` gives the sums without scales: `raw: [m, n]` of `raw_dtype`.
    """

    name: str
    version: str
    emulated: bool
    last_algorithm: str
    """Of the call before, for evidence."""

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights `[n, k]` as `multiply` wants them."""

    def raw_dtype(self, input_dtype: torch.dtype, out_dtype: torch.dtype) -> torch.dtype:
        """What the sums come out as when the layer's output is `out_dtype`."""

    def multiply(
        self, q_x: torch.Tensor, packed: torch.Tensor, n: int, raw_dtype: torch.dtype
    ) -> torch.Tensor:
        """`q_x: [m, k]`, m a multiple of `M_STEP`, times packed `[n, k]`: `[m, n]`."""


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
            self._plans.pop(key).close()
        plan = self._plans[key] = make()
        if len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)[1].close()
        return plan


class PlannedGemm(ABC, Generic[PlanT]):
    """What both libraries do for a call: find the plan of its problem, or make it, and run it.

    Args:
        device: a CUDA device with its index.
        algorithms: what searches have found.
    """

    last_algorithm = ""

    def __init__(self, device: torch.device, algorithms: AlgorithmCache) -> None:
        self._algorithms = algorithms
        self._plans: Plans[PlanT] = Plans()
        self._workspace = Workspace(device)

    def multiply(
        self, q_x: torch.Tensor, packed: torch.Tensor, n: int, raw_dtype: torch.dtype
    ) -> torch.Tensor:
        """`[m, n]` sums of `q_x: [m, k]` and the packed weights; m a multiple of 16."""
        m, k = q_x.shape
        stream = current_stream(q_x.device)
        plan = self._plans.get(
            (m, n, k, q_x.dtype, raw_dtype), lambda: self._make(q_x, packed, n, raw_dtype, stream)
        )
        raw = torch.empty((m, n), dtype=raw_dtype, device=q_x.device)
        workspace = self._workspace.pointer(stream)
        plan.run(Operands(q_x.data_ptr(), packed.data_ptr(), raw.data_ptr(), workspace, stream))
        self.last_algorithm = plan.algorithm
        return raw

    def _make(
        self, q_x: torch.Tensor, packed: torch.Tensor, n: int, raw_dtype: torch.dtype, stream: int
    ) -> PlanT:
        m, k = q_x.shape
        problem = problem_of(m, n, k, q_x.dtype, raw_dtype)
        algorithm = self._algorithms.get(problem)
        if algorithm is None and not capturing():
            algorithm = self._searched(problem, q_x, packed, raw_dtype, stream)
        plan = self._plan(problem, q_x.dtype, raw_dtype, algorithm or {})
        if algorithm is None:
            plan.provisional = True
            plan.algorithm += ", captured without a search"
        return plan

    def _searched(
        self,
        problem: Problem,
        q_x: torch.Tensor,
        packed: torch.Tensor,
        raw_dtype: torch.dtype,
        stream: int,
    ) -> dict[str, Any]:
        """Search on memory of its own; empty, and not for the next process, where that fails."""
        wide = problem.searched
        try:
            x = _repeated_rows(q_x, wide.m)
            raw = torch.empty((wide.m, wide.n), dtype=raw_dtype, device=q_x.device)
            workspace = torch.empty(SEARCH_WORKSPACE_BYTES, dtype=torch.uint8, device=q_x.device)
            found = self._search(
                wide,
                q_x.dtype,
                raw_dtype,
                Operands(
                    x.data_ptr(),
                    packed.data_ptr(),
                    raw.data_ptr(),
                    workspace.data_ptr(),
                    stream,
                ),
            )
        except torch.OutOfMemoryError as error:
            found = str(error).partition("\n")[0]
        if isinstance(found, str):
            print(f"slidesparse: no algorithm found for {wide.key}: {found}", flush=True)
            self._algorithms.keep_for_this_process(problem, {})
            return {}
        return self._algorithms.put(problem, found)

    @abstractmethod
    def _search(
        self,
        problem: Problem,
        input_dtype: torch.dtype,
        raw_dtype: torch.dtype,
        operands: Operands,
    ) -> dict[str, Any] | str:
        """The fastest algorithm on the operands, or why there is none; overwrites raw."""

    @abstractmethod
    def _plan(
        self,
        problem: Problem,
        input_dtype: torch.dtype,
        raw_dtype: torch.dtype,
        algorithm: dict[str, Any],
    ) -> PlanT:
        """A plan with an algorithm, the library's own choice if that is empty or cannot run."""


def _repeated_rows(q_x: torch.Tensor, m: int) -> torch.Tensor:
    """`[m, k]`, the rows of q_x over and over: data that takes the time and power of data."""
    if q_x.shape[0] == m:
        return q_x
    rows = torch.arange(m, device=q_x.device) % q_x.shape[0]
    return q_x.view(torch.uint8).index_select(0, rows).view(q_x.dtype)


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
