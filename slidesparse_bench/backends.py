"""GEMM backends: what each needs, how vLLM is told to use it, and what proves that it ran.

Adding one is an entry here; a backend with kernels of its own also gets a file in
`vllm_plugin/`. `CONTRIBUTING.md` has the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slidesparse_bench.cell import Cell, Quantization


class DeviceKind(StrEnum):
    CUDA = "cuda"
    CPU = "cpu"
    FAKE = "fake"


@dataclass(frozen=True)
class DeviceFacts:
    """What planning needs to know of a device; it may be one that is not in this machine.

    `compute_capability` is (major, minor), None off CUDA.
    """

    kind: DeviceKind
    name: str
    memory_bytes: int
    compute_capability: tuple[int, int] | None = None

    @property
    def sm(self) -> int:
        """Compute capability as one number: 90 for sm_90."""
        major, minor = self.compute_capability or (0, 0)
        return major * 10 + minor


@dataclass(frozen=True)
class Backend:
    """One way to run the quantized GEMMs.

    `linear_backend` is vLLM's engine argument of that name; `kernel_pattern` matches the class
    name of every linear kernel that counts as this backend ("" accepts whatever vLLM picked).
    `min_sm` is the first compute capability that works, `below_sm` the first that does not, per
    quantization; both come from vLLM's own checks. `own_kernels`: they come from `vllm_plugin`,
    which emulates them where there is no GPU.
    """

    name: str
    summary: str
    needs_sparsity: bool = False
    linear_backend: str | None = None
    kernel_pattern: str = ""
    cuda_only: bool = False
    min_sm: dict[Quantization, int] | None = None
    below_sm: dict[Quantization, int] | None = None
    own_kernels: bool = False


BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(name="native", summary="whatever vLLM picks for this device"),
        Backend(
            name="cutlass",
            summary="vLLM's CUTLASS scaled-mm kernels, dense",
            linear_backend="cutlass",
            kernel_pattern="Cutlass",
            cuda_only=True,
            # vLLM 0.25: scaled_mm/cutlass.py and the sm checks of csrc/.../scaled_mm_entry.cu.
            min_sm={Quantization.INT8: 75, Quantization.FP8: 89},
            below_sm={Quantization.INT8: 100, Quantization.FP8: 121},
        ),
        Backend(
            name="cublaslt",
            summary="cuBLASLt, dense, best algorithm searched",
            kernel_pattern="SlideSparseCublasLt",
            own_kernels=True,
            min_sm={Quantization.INT8: 75, Quantization.FP8: 89},
        ),
        Backend(
            name="cusparselt",
            summary="cuSPARSELt 2:4, other sparsities through the sliding window",
            needs_sparsity=True,
            kernel_pattern="SlideSparseCusparseLt",
            own_kernels=True,
            min_sm={Quantization.INT8: 80, Quantization.FP8: 89},
        ),
    )
}

_NO_LIMITS: dict[Quantization, int] = {}
_FP8_MIN_SM = 89
"""FP8 W8A8 GEMMs need Ada (8.9) or newer; older GPUs fall back to weight-only kernels."""


def can_run(cell: Cell, device: DeviceFacts) -> tuple[bool, str]:
    """Whether this backend and quantization can run on the device at all, else the reason."""
    backend = BACKENDS[cell.backend]
    if device.kind is DeviceKind.FAKE:
        return True, ""
    if backend.cuda_only and device.kind is not DeviceKind.CUDA:
        return False, f"backend {backend.name} needs an NVIDIA GPU; this device is {device.name}"
    if device.kind is DeviceKind.CUDA:
        allowed, reason = _capability_allows(backend, cell.quantization, device)
        if not allowed:
            return False, reason
    return True, ""


def _capability_allows(
    backend: Backend, quantization: Quantization, device: DeviceFacts
) -> tuple[bool, str]:
    default_min = _FP8_MIN_SM if quantization is Quantization.FP8 else 0
    least = (backend.min_sm or _NO_LIMITS).get(quantization, default_min)
    below = (backend.below_sm or _NO_LIMITS).get(quantization)
    what = f"{backend.name} {quantization.upper()}"
    if device.sm < least:
        return (
            False,
            f"{what} needs compute capability {_cc(least)}; {device.name} has {_cc(device.sm)}",
        )
    if below is not None and device.sm >= below:
        return False, (
            f"{what} supports compute capability below {_cc(below)}; "
            f"{device.name} has {_cc(device.sm)}"
        )
    return True, ""


def _cc(sm: int) -> str:
    return f"{sm // 10}.{sm % 10}"
