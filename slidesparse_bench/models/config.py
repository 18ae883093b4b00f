"""`config.json`: written for the built-in models, read from checkpoints.

The keys are those of the published files (transformers 4 and 5 both read them); the
`quantization_config` is what llm-compressor writes for W8A8, and vLLM 0.25 to 0.32 run it for
INT8 and FP8, on GPUs and on the CPU.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from slidesparse_bench.cell import Quantization
from slidesparse_bench.models.catalog import Architecture, Family

_FORMATS = {
    Quantization.INT8: ("int", "int-quantized"),
    Quantization.FP8: ("float", "float-quantized"),
}
_SCALED_BY_ROW = frozenset({"channel", "token", "tensor"})
"""compressed-tensors' `strategy`; scales by block or group need other kernels. Without one, a
`group_size` means `group` and a `block_structure` means `block`."""
_FAMILIES = {"llama": Family.LLAMA, "mistral": Family.LLAMA, "qwen2": Family.QWEN2}
"""transformers' `model_type` to the family with the same layers and shapes."""


def config_json(architecture: Architecture, quantization: Quantization) -> dict[str, Any]:
    """The `config.json` of a W8A8 checkpoint of this architecture.

    Token ids are 1 and 2 whatever the vocabulary: EOS is ignored and prompts are random.
    """
    config: dict[str, Any] = {
        "architectures": [architecture.family.model_class],
        "model_type": architecture.family.value,
        "hidden_size": architecture.hidden_size,
        "intermediate_size": architecture.intermediate_size,
        "num_hidden_layers": architecture.num_hidden_layers,
        "num_attention_heads": architecture.num_attention_heads,
        "num_key_value_heads": architecture.num_key_value_heads,
        "head_dim": architecture.head_dim,
        "vocab_size": architecture.vocab_size,
        "max_position_embeddings": architecture.max_position_embeddings,
        "rms_norm_eps": architecture.rms_norm_eps,
        "rope_theta": architecture.rope_theta,
        "tie_word_embeddings": architecture.tie_word_embeddings,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if architecture.rope_scaling is not None:
        scaling = dataclasses.asdict(architecture.rope_scaling)
        config["rope_scaling"] = {"rope_type": "llama3", **scaling}
    if architecture.family is Family.QWEN2:
        config["use_sliding_window"] = False
    else:
        config["attention_bias"] = architecture.attention_bias
    config["quantization_config"] = quantization_config(quantization)
    return config


def quantization_config(quantization: Quantization) -> dict[str, Any]:
    """compressed-tensors W8A8: symmetric per-channel weights, dynamic per-token activations."""
    number_type, checkpoint_format = _FORMATS[quantization]
    weights = {"num_bits": 8, "type": number_type, "symmetric": True, "strategy": "channel"}
    activations = {**weights, "strategy": "token", "dynamic": True}
    return {
        "quant_method": "compressed-tensors",
        "format": checkpoint_format,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {**weights, "dynamic": False},
                "input_activations": activations,
                "output_activations": None,
            }
        },
    }


def architecture_from(config: dict[str, Any], name: str, source: str) -> Architecture | None:
    """The architecture a `config.json` describes; None when its `model_type` is not known here.

    Absent keys get transformers' defaults.

    Raises:
        ValueError: a key of a known `model_type` is absent or not of its type.
    """
    family = _FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return None
    heads, hidden_size = _integer(config, "num_attention_heads"), _integer(config, "hidden_size")
    rope = config.get("rope_parameters") or config
    return Architecture(
        name=name,
        family=family,
        hidden_size=hidden_size,
        intermediate_size=_integer(config, "intermediate_size"),
        num_hidden_layers=_integer(config, "num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_integer(config, "num_key_value_heads", heads),
        head_dim=_integer(config, "head_dim", hidden_size // heads),
        vocab_size=_integer(config, "vocab_size"),
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        attention_bias=bool(config.get("attention_bias", family is Family.QWEN2)),
        rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        rope_theta=float(rope.get("rope_theta", 10000.0)),
        max_position_embeddings=_integer(config, "max_position_embeddings", 4096),
        source=source,
    )


def _integer(config: dict[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"config.json: {key} is {value!r}, not a positive integer")
    return value


def describe_quantization(config: dict[str, Any]) -> tuple[Quantization | None, str]:
    """What a checkpoint's `quantization_config` amounts to: W8A8 INT8 or FP8, or None; and words.

    Understood are compressed-tensors and the `fp8` methods with one scale per tensor or channel.
    """
    found = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(found, dict):
        return None, "not quantized"
    method = str(found.get("quant_method", "unknown"))
    if method == "compressed-tensors":
        return _compressed_tensors(found)
    if method in {"fp8", "fbgemm_fp8"} and not found.get("weight_block_size"):
        return Quantization.FP8, f"FP8 W8A8 ({method})"
    return None, f"quantized with {method}"


def _compressed_tensors(found: dict[str, Any]) -> tuple[Quantization | None, str]:
    groups = found.get("config_groups")
    schemes = {
        (_number(group.get("weights")), _number(group.get("input_activations")))
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict)
    }
    for quantization, (number_type, _) in _FORMATS.items():
        if schemes == {(f"{number_type}8", f"{number_type}8")}:
            return quantization, f"{quantization.upper()} W8A8 (compressed-tensors)"
    words = ", ".join(f"{weights} weights, {inputs} inputs" for weights, inputs in sorted(schemes))
    return None, f"compressed-tensors with {words or 'no scheme'}"


def _number(arguments: Any) -> str:
    """`int8`, `float8`, `int4`, `float8 by block`; 16-bit where nothing is said.

    A scale per row, per token or per tensor, which all W8A8 kernels here take, is not named.
    """
    if not isinstance(arguments, dict):
        return "16-bit"
    number = f"{arguments.get('type', 'int')}{arguments.get('num_bits', '?')}"
    size = arguments.get("group_size")
    unsaid = "group" if isinstance(size, int) and size > 0 else "channel"
    unsaid = "block" if arguments.get("block_structure") else unsaid
    strategy = str(arguments.get("strategy") or unsaid).lower()
    return number if strategy in _SCALED_BY_ROW else f"{number} by {strategy}"
