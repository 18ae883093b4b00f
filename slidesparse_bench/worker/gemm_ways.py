"""The ways to run one GEMM: our libraries, vLLM's CUTLASS, and torch as it comes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from slidesparse_bench.cell import Quantization
from slidesparse_bench.gemm_wire import TORCH, Task
from slidesparse_bench.vllm_plugin.algorithms import M_STEP
from slidesparse_bench.vllm_plugin.gemm import WORKSPACE_BYTES, GemmLibrary
from slidesparse_bench.vllm_plugin.ops import library_of, quantize
from slidesparse_bench.vllm_plugin.packing import DENSE_GROUP, pack
from slidesparse_bench.vllm_plugin.reference_gemm import FP8_MAX
from slidesparse_bench.vllm_plugin.sparsity import prune

DTYPES = {Quantization.INT8: torch.int8, Quantization.FP8: torch.float8_e4m3fn}
FILL_ELEMENTS = 2**24
OUT_DTYPE = torch.bfloat16
"""Of the layers of all models here; what a library's sums come out as follows from it."""

LibraryOf = Callable[[str, torch.device], GemmLibrary]


class Refused(Exception):
    """This way cannot run the task here; the message is the reason."""


@dataclass(frozen=True)
class Data:
    """`x: [m, k]` bfloat16 and `weight: [n, k]` of 8 bits, dense, without zeros."""

    x: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True)
class Way:
    """One GEMM, ready to be called.

    `multiply` gives sums of at least m rows and n columns. `q_x: [m, k]` and `weight: [n, k]` are
    the operands that they must be the product of, neither stretched nor packed. `dequantize` takes
    what `multiply` gives. `algorithm` is known after the first call.
    """

    multiply: Callable[[], torch.Tensor]
    q_x: torch.Tensor
    weight: torch.Tensor
    library: str
    emulated: bool
    weight_bytes: int
    algorithm: Callable[[], str]
    quantize: Callable[[], object] | None = None
    quantize_bytes: int | None = None
    dequantize: Callable[[torch.Tensor], object] | None = None
    workspace_bytes: int | None = None


def random_data(task: Task, seed: int, device: torch.device) -> Data:
    """The same for all backends of a point, different for every other point.

    Normal activations; weights as `vllm_plugin.random_weights` fills models, so that power and
    clocks are those of a run: the whole 8-bit range, no zeros.
    """
    point = f"{seed}.{task.model}.{task.layer}.{task.quantization}.{task.m}"
    # 32 bits: torch's generator of the CPU ignores all higher ones (2.13).
    generator = torch.Generator(device=device).manual_seed(zlib.crc32(point.encode()))
    x = torch.empty((task.m, task.k), dtype=torch.bfloat16, device=device)
    weight = torch.empty((task.n, task.k), dtype=DTYPES[task.quantization], device=device)
    # By row blocks: the detour through float32 would cost four times the weight at once.
    for rows in weight.split(max(1, FILL_ELEMENTS // task.k)):
        signs = torch.randint(0, 2, rows.shape, generator=generator, device=device) * 2 - 1
        if task.quantization is Quantization.INT8:
            rows.copy_(
                torch.randint(1, 128, rows.shape, generator=generator, device=device) * signs
            )
        else:
            magnitude = torch.empty(rows.shape, device=device)
            rows.copy_(magnitude.uniform_(FP8_MAX / 256, FP8_MAX, generator=generator) * signs)
    return Data(x.normal_(generator=generator), weight)


def way_of(task: Task, data: Data, libraries: LibraryOf = library_of) -> Way:
    """Pack weights, quantize activations, and have everything at hand for the call.

    Raises:
        Refused: the backend cannot do this task.
        ImportError, ValueError: from the library.
    """
    if task.backend == TORCH:
        return _torch(task, data)
    if task.backend == "cutlass":
        return _cutlass(task, data)
    return _own(task, data, libraries(task.backend, data.x.device))


def _own(task: Task, data: Data, library: GemmLibrary) -> Way:
    """As `vllm_plugin.linear` prepares a layer."""
    dtype, (n, k) = data.weight.dtype, data.weight.shape
    packed, layout = pack(data.weight, library, task.sparsity)
    raw_dtype = library.raw_dtype(dtype, OUT_DTYPE)
    k_out, group = layout.k_out, layout.group
    q, x_scale = quantize(data.x, None, k_out, group, dtype)
    return Way(
        multiply=lambda: library.multiply(q, packed, layout.n, raw_dtype),
        q_x=_quantized(data.x, dtype)[: task.m, :k],
        weight=prune(data.weight, task.sparsity) if task.sparsity else data.weight,
        library=f"{library.name} {library.version}",
        emulated=library.emulated,
        weight_bytes=packed.numel() * packed.element_size(),
        algorithm=lambda: library.last_algorithm,
        quantize=lambda: quantize(data.x, None, k_out, group, dtype),
        quantize_bytes=task.m * (k * data.x.element_size() + k_out + x_scale.element_size()),
        dequantize=_dequantize(x_scale, n, data.x.device),
        workspace_bytes=None if library.emulated else WORKSPACE_BYTES,
    )


def _dequantize(
    x_scale: torch.Tensor, n: int, device: torch.device
) -> Callable[[torch.Tensor], object] | None:
    if device.type != "cuda":
        return None
    from slidesparse_bench.vllm_plugin.dequantize_kernel import dequantize

    w_scale = torch.ones((1, n), device=device)
    return lambda raw: dequantize(raw[: x_scale.shape[0]], x_scale, w_scale, None, OUT_DTYPE)


def _quantized(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`[m up to 16, k up to 16]`, not stretched; rows and columns past m and k are undefined."""
    k = x.shape[1]
    return quantize(x, None, k + -k % M_STEP, DENSE_GROUP, dtype)[0]


def _cutlass(task: Task, data: Data) -> Way:
    """vLLM's own kernel. Scales of one leave its sums as they are."""
    if task.n % 16 or task.k % 16:
        # vLLM 0.25 _custom_ops.cutlass_scaled_mm: anything else goes to its Triton kernel.
        raise Refused("CUTLASS takes n and k in multiples of 16; vLLM would run Triton instead")
    try:
        import vllm
        from vllm._custom_ops import cutlass_scaled_mm
    except ImportError as error:
        raise Refused(f"vLLM is not installed: {error}") from error
    q_x = _quantized(data.x, data.weight.dtype)[: task.m]
    scale_x, scale_w = (torch.ones((rows, 1), device=q_x.device) for rows in (task.m, task.n))
    return _dense_way(
        data,
        q_x,
        lambda: cutlass_scaled_mm(q_x, data.weight.t(), scale_x, scale_w, out_dtype=OUT_DTYPE),
        f"vllm {vllm.__version__}, _custom_ops.cutlass_scaled_mm",
    )


def _torch(task: Task, data: Data) -> Way:
    """cuBLASLt with the algorithm that its heuristic puts first."""
    q_x = _quantized(data.x, data.weight.dtype)
    rows, weight = q_x.shape[0], data.weight
    if task.n % 16 or task.k % 16:
        raise Refused("torch takes n and k in multiples of 16 on CUDA")
    if task.quantization is Quantization.INT8:
        if rows <= 16:
            raise Refused("torch._int_mm takes m above 16 on CUDA")
        return _dense_way(
            data,
            q_x,
            lambda: torch._int_mm(q_x, weight.t()),  # noqa: SLF001 - torch has no public one
            f"torch {torch.__version__}, _int_mm",
        )
    scale_x = torch.ones((rows, 1), device=q_x.device)
    scale_w = torch.ones((1, task.n), device=q_x.device)
    return _dense_way(
        data,
        q_x,
        lambda: torch._scaled_mm(  # noqa: SLF001 - nor for FP8
            q_x, weight.t(), scale_x, scale_w, out_dtype=OUT_DTYPE, use_fast_accum=True
        ),
        f"torch {torch.__version__}, _scaled_mm row-wise",
    )


def _dense_way(
    data: Data, q_x: torch.Tensor, multiply: Callable[[], torch.Tensor], library: str
) -> Way:
    return Way(
        multiply=multiply,
        q_x=q_x[: data.x.shape[0]],
        weight=data.weight,
        library=library,
        emulated=False,
        weight_bytes=data.weight.numel(),
        algorithm=lambda: "its own choice",
    )
