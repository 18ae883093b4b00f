"""A vLLM model loader for models without weight files: random weights of realistic size.

vLLM's own `load_format="dummy"` cannot be used for timing W8A8 models. It leaves integer weights
as allocated (zeros on a fresh GPU), and its floating-point values, uniform within ±1e-3, round to
zero in FP8 E4M3, whose smallest step is 2^-9 (weight_utils.initialize_single_dummy_weight, vLLM
0.25 and 0.32). Tensor cores draw less power and clock higher on zeros, so kernels look faster
than they are on data.
"""

from __future__ import annotations

import zlib

import torch
from torch import nn
from vllm.model_executor.model_loader import get_model_loader, register_model_loader
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

from slidesparse_bench.vllm_plugin.reference_gemm import FP8_MAX, INT8_MAX

INITIALIZER_STD = 0.02
"""Standard deviation of the effective weights; `initializer_range` of the Llama and Qwen configs."""
QUANTIZED_DTYPES = (torch.int8, torch.float8_e4m3fn)


class RandomWeightsLoader(DummyModelLoader):
    """Fills the model layer by layer, in place, on the device it was created on."""

    def load_weights(self, model: nn.Module, model_config: object) -> None:
        """Fill every parameter; the values depend on the model seed and the parameter's name.

        Layers that vLLM materializes later (online quantization) are left to its dummy loader.
        """
        super().load_weights(model, model_config)
        seed = int(getattr(model_config, "seed", 0) or 0)
        for module_name, module in model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.device.type != "meta":
                    fill(module, name, parameter.data, _seed_of(seed, f"{module_name}.{name}"))


@torch.no_grad()
def fill(module: nn.Module, name: str, data: torch.Tensor, seed: int) -> None:
    """Fill one parameter in place.

    Quantized weights `[n, k]` use the whole 8-bit range without zeros; their scales bring the
    effective weights to `INITIALIZER_STD`. Matrices in 16 bit are normal with that deviation,
    vectors are normal around 0 (biases) or uniform around 1 (norm weights).
    """
    generator = torch.Generator(device=data.device).manual_seed(seed)
    if data.dtype == torch.int8:
        _fill_int8(data, generator)
    elif data.dtype == torch.float8_e4m3fn:
        _fill_fp8(data, generator)
    elif name.endswith("_scale") and _has_quantized_weight(module):
        data.fill_(INITIALIZER_STD / _rms_of_quantized(module))
    elif not data.is_floating_point():
        return
    elif data.dim() >= 2 or name.endswith("bias"):
        data.normal_(0.0, INITIALIZER_STD, generator=generator)
    else:
        data.uniform_(0.9, 1.1, generator=generator)


def _fill_int8(data: torch.Tensor, generator: torch.Generator) -> None:
    data.random_(1, int(INT8_MAX) + 1, generator=generator)
    data.mul_(_random_signs(data, generator))


def _fill_fp8(data: torch.Tensor, generator: torch.Generator) -> None:
    # By row blocks: the detour through float32 would cost four times the layer at once.
    for rows in data.split(max(1, 2**24 // max(1, data[0].numel()))):
        magnitude = torch.empty(rows.shape, device=data.device)
        magnitude.uniform_(FP8_MAX / 256, FP8_MAX, generator=generator)
        signs = _random_signs(rows, generator)
        rows.copy_((magnitude * signs).to(data.dtype))


def _random_signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    bits = torch.empty(like.shape, dtype=torch.int8, device=like.device)
    return bits.random_(0, 2, generator=generator).mul_(2).sub_(1)


def _has_quantized_weight(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.dtype in QUANTIZED_DTYPES


def _rms_of_quantized(module: nn.Module) -> float:
    largest = INT8_MAX if module.weight.dtype == torch.int8 else FP8_MAX
    return float(largest) / 3**0.5  # of a uniform distribution over ±largest


def _seed_of(seed: int, name: str) -> int:
    """Within 32 bits: torch's CPU generator takes no notice of the others (2.13)."""
    return zlib.crc32(f"{seed} {name}".encode())


def register(load_format: str) -> None:
    """Register the loader under `load_format` unless it already is."""
    from vllm.config.load import LoadConfig

    try:
        registered = get_model_loader(LoadConfig(load_format=load_format))
    except ValueError:
        register_model_loader(load_format)(RandomWeightsLoader)
        return
    assert isinstance(registered, RandomWeightsLoader), f"{load_format} belongs to {registered}"
