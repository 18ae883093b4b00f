"""vLLM's scaled-mm linear kernels for `cublaslt` and `cusparselt`, INT8 and FP8.

vLLM (0.25 to 0.33) asks its kernel classes in turn whether they can do a layer and takes the first
that can; `register_linear_kernel` appends ours. `VLLM_DISABLED_KERNELS` takes the others out, so
that a layer which ours cannot do is an error and never a silent replacement.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from vllm.model_executor.kernels import linear as vllm_linear
from vllm.model_executor.kernels.linear.scaled_mm import (
    FP8ScaledMMLinearKernel,
    FP8ScaledMMLinearLayerConfig,
    Int8ScaledMMLinearKernel,
    Int8ScaledMMLinearLayerConfig,
)
from vllm.platforms import PlatformEnum, current_platform

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.vllm_plugin.dequantize import scaled
from slidesparse_bench.vllm_plugin.ops import library_of, w8a8_gemm
from slidesparse_bench.vllm_plugin.packing import pack


@dataclass(frozen=True)
class Choice:
    """What this process was asked to run: a library and, for cuSPARSELt, a sparsity."""

    library: str
    sparsity: Sparsity | None

    @classmethod
    def parse(cls, label: str) -> Choice:
        """Of a backend label such as `cublaslt` or `cusparselt-2_8`.

        Raises:
            ValueError: neither.
        """
        library, _, sparsity = label.partition("-")
        choice = cls(library, Sparsity.parse(sparsity) if sparsity else None)
        if (library, choice.sparsity is not None) not in {
            ("cublaslt", False),
            ("cusparselt", True),
        }:
            raise ValueError(f"'{label}' is neither cublaslt nor cusparselt-2_L")
        return choice


class _SlideSparseLinear:
    """What the INT8 and the FP8 kernel share. All that differs between layers is decided when
    weights are processed: torch.compile freezes branches of `apply_weights`."""

    choice: ClassVar[Choice]

    def _take_weight(
        self, layer: torch.nn.Module, weight: torch.Tensor, out_dtype: torch.dtype
    ) -> None:
        """Prune, slide and pack `weight: [n, k]` in place of the layer's own.

        One layer at a time. Beside the dense weight, which the caller still holds, there are the
        pruned copy and the stretched one for a moment: up to 2.8 times the layer at 2:16.
        """
        library = library_of(self.choice.library, weight.device)
        self._n, self._k = weight.shape
        first_column = _first_column(layer, self._k)
        packed, self._layout = pack(weight, library, self.choice.sparsity, first_column)
        self._q_dtype, self._out_dtype = weight.dtype, out_dtype
        self._raw_dtype = library.raw_dtype(weight.dtype, out_dtype)
        layer.weight = torch.nn.Parameter(packed, requires_grad=False)

    def _take_scales(self, layer: torch.nn.Module, weight_scale: torch.Tensor) -> None:
        """One scale per row of the weight, whatever the checkpoint had: `[1, n]`."""
        scales = weight_scale.to(torch.float32).flatten()
        if scales.numel() != self._n:
            widths = torch.tensor(layer.logical_widths, device=scales.device)
            scales = (
                scales.expand(self._n)
                if scales.numel() == 1
                else torch.repeat_interleave(scales, widths)
            )
        layer.weight_scale = torch.nn.Parameter(
            scales.reshape(1, self._n).contiguous(), requires_grad=False
        )

    def _apply(
        self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        rows = x.reshape(-1, self._k)
        raw, x_scale = w8a8_gemm(
            rows,
            layer.weight,
            layer.input_scale,
            self.choice.library,
            self._layout.n,
            self._layout.k_out,
            self._layout.group,
            self._layout.phase,
            self._q_dtype,
            self._raw_dtype,
        )
        out = scaled(raw, x_scale, layer.weight_scale, bias, self._out_dtype)
        return out.reshape(*x.shape[:-1], self._n)


def _first_column(layer: torch.nn.Module, k: int) -> int:
    """Where in the rows of the whole matrix those of this rank begin."""
    if getattr(layer, "input_size", k) == k:
        return 0
    return int(getattr(layer, "tp_rank", 0)) * k


class _Int8Linear(_SlideSparseLinear, Int8ScaledMMLinearKernel):
    def __init__(self, c: Int8ScaledMMLinearLayerConfig, layer_param_names: Sequence[str]) -> None:
        super().__init__(c, layer_param_names)
        # Its configuration does not say; while layers are built this is the model's.
        self._layer_dtype = torch.get_default_dtype()

    @classmethod
    def is_supported(cls, compute_capability: int | None = None) -> tuple[bool, str | None]:
        return _supported(cls.choice.library, Quantization.INT8, compute_capability)

    @classmethod
    def can_implement(cls, c: Int8ScaledMMLinearLayerConfig) -> tuple[bool, str | None]:
        if not c.input_symmetric:
            return False, "takes symmetric activations only (the checkpoint has zero points)"
        return True, None

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        self._take_weight(layer, layer.weight.data, self._layer_dtype)
        self._take_scales(layer, layer.weight_scale.data)
        if layer.input_scale is not None:
            layer.input_scale = _largest(layer.input_scale)

    def apply_weights(
        self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._apply(layer, x, bias)


class _Fp8Linear(_SlideSparseLinear, FP8ScaledMMLinearKernel):
    @classmethod
    def is_supported(cls, compute_capability: int | None = None) -> tuple[bool, str | None]:
        return _supported(cls.choice.library, Quantization.FP8, compute_capability)

    @classmethod
    def can_implement(cls, c: FP8ScaledMMLinearLayerConfig) -> tuple[bool, str | None]:
        scale = c.activation_quant_key.scale
        if not scale.static and not scale.group_shape.is_per_token():
            return False, "takes dynamic activations per token, or static ones per tensor"
        return True, None

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        # The scheme hands over [k, n], a transposed view of the checkpoint's [n, k].
        self._take_weight(layer, layer.weight.data.t(), self.config.out_dtype)
        self._take_scales(layer, layer.weight_scale.data)

    def apply_weights(
        self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._apply(layer, x, bias)

    def apply_scaled_mm(self, **_: Any) -> torch.Tensor:
        """Part of the base class's own `apply_weights`, which ours replaces."""
        raise AssertionError("never called")


class SlideSparseCublasLtInt8LinearKernel(_Int8Linear):
    """cuBLASLt, dense."""


class SlideSparseCusparseLtInt8LinearKernel(_Int8Linear):
    """cuSPARSELt, 2:4, other sparsities slid."""


class SlideSparseCublasLtFP8LinearKernel(_Fp8Linear):
    """cuBLASLt, dense."""


class SlideSparseCusparseLtFP8LinearKernel(_Fp8Linear):
    """cuSPARSELt, 2:4, other sparsities slid."""


_KERNELS: dict[str, tuple[type[_Int8Linear], type[_Fp8Linear]]] = {
    "cublaslt": (SlideSparseCublasLtInt8LinearKernel, SlideSparseCublasLtFP8LinearKernel),
    "cusparselt": (SlideSparseCusparseLtInt8LinearKernel, SlideSparseCusparseLtFP8LinearKernel),
}


def register(label: str) -> None:
    """Make the kernels of a backend label the only ones that vLLM has. Safe to call repeatedly.

    Raises:
        ValueError: an unknown label.
    """
    choice = Choice.parse(label)
    platform = PlatformEnum.CUDA if current_platform.is_cuda() else PlatformEnum.CPU
    for kernel, kind, possible in zip(
        _KERNELS[choice.library],
        ("int8", "fp8"),
        (vllm_linear._POSSIBLE_INT8_KERNELS, vllm_linear._POSSIBLE_FP8_KERNELS),
        strict=True,
    ):
        kernel.choice = choice
        if kernel not in possible[platform]:
            vllm_linear.register_linear_kernel(kernel, platform, kind)
        _disable_all_but(kernel, possible[platform])
    _disable_all_but(None, vllm_linear._POSSIBLE_FP8_BLOCK_KERNELS.get(platform, ()))


def _disable_all_but(kernel: type | None, possible: Iterable[type]) -> None:
    named = os.environ.get("VLLM_DISABLED_KERNELS", "")
    others = [other.__name__ for other in possible if other is not kernel]
    disabled = dict.fromkeys([*filter(None, named.split(",")), *others])
    if kernel is not None:
        disabled.pop(kernel.__name__, None)
    os.environ["VLLM_DISABLED_KERNELS"] = ",".join(disabled)


def _supported(
    library: str, quantization: Quantization, compute_capability: int | None
) -> tuple[bool, str | None]:
    if not current_platform.is_cuda():
        return True, None  # emulated
    if compute_capability is None:
        capability = current_platform.get_device_capability()
        compute_capability = capability.to_int() if capability is not None else 0
    least = (BACKENDS[library].min_sm or {}).get(quantization, 0)
    if compute_capability < least:
        return False, f"needs compute capability {least}, has {compute_capability}"
    try:
        library_of(library, torch.device("cuda", torch.cuda.current_device()))
    except Exception as error:  # noqa: BLE001 - vLLM prints the reason and refuses the layer
        return False, f"cannot use {library}: {error}"
    return True, None


def _largest(scale: torch.Tensor) -> torch.nn.Parameter:
    """Of the scales of merged layers, as vLLM's own kernels take it."""
    return torch.nn.Parameter(scale.data.max().to(torch.float32).reshape(1), requires_grad=False)
