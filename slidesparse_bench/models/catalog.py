"""Decoder architectures: the facts that shapes, parameter counts and memory follow from.

The built-in ones carry the numbers of the published `config.json` named by `source`; `tiny-llama`
and `tiny-qwen` are synthetic and exist so that a campaign runs on a laptop in minutes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from slidesparse_bench.errors import UsageError

UNQUANTIZED_BYTES = 2
"""bfloat16: embeddings, head, norms, biases, activations and, unless told otherwise, the KV cache."""
SCALE_BYTES = 4
"""float32, one per output channel (vLLM 0.25 compressed_tensors_w8a8_int8.py and _fp8.py)."""


class Family(StrEnum):
    """Which vLLM model class runs it; the value is transformers' `model_type`."""

    LLAMA = "llama"
    QWEN2 = "qwen2"

    @property
    def model_class(self) -> str:
        return {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[self.value]


@dataclass(frozen=True)
class LinearShape:
    """A weight `w: [n, k]` of `y = x @ w.T`, `x: [m, k]`; `bias` adds n values."""

    name: str
    n: int
    k: int
    bias: bool = False

    @property
    def elements(self) -> int:
        return self.n * self.k


@dataclass(frozen=True)
class Llama3Rope:
    """transformers' `rope_scaling` of type llama3; the numbers are those of all Llama 3.2."""

    factor: float = 32.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


@dataclass(frozen=True)
class Architecture:
    """A dense decoder with gated MLP and grouped-query attention; field names as in `config.json`.

    `attention_bias` is the bias of q, k and v (Qwen2 has it, Llama has not). `source` says where
    the numbers come from.
    """

    name: str
    family: Family
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool
    attention_bias: bool
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    source: str
    rope_scaling: Llama3Rope | None = None

    @property
    def layer_linears(self) -> tuple[LinearShape, ...]:
        """The four GEMMs of one layer as vLLM runs them: q, k, v merged, gate and up merged."""
        attention = self.num_attention_heads * self.head_dim
        key_value = self.num_key_value_heads * self.head_dim
        hidden, intermediate = self.hidden_size, self.intermediate_size
        return (
            LinearShape("qkv_proj", attention + 2 * key_value, hidden, bias=self.attention_bias),
            LinearShape("o_proj", hidden, attention),
            LinearShape("gate_up_proj", 2 * intermediate, hidden),
            LinearShape("down_proj", hidden, intermediate),
        )

    @property
    def linear_parameters(self) -> int:
        """Weights of all quantized linear layers: all but embeddings, head, norms and biases."""
        return self.num_hidden_layers * sum(linear.elements for linear in self.layer_linears)

    @property
    def unquantized_parameters(self) -> int:
        """Embeddings, head (once when tied), norms and biases."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        biases = sum(linear.n for linear in self.layer_linears if linear.bias)
        norms = 2 * self.hidden_size
        return embeddings + self.num_hidden_layers * (norms + biases) + self.hidden_size

    @property
    def num_parameters(self) -> int:
        return self.linear_parameters + self.unquantized_parameters

    @property
    def unquantized_bytes(self) -> int:
        """What 8-bit quantization leaves: bfloat16 parameters and the float32 channel scales."""
        scales = self.num_hidden_layers * sum(linear.n for linear in self.layer_linears)
        return self.unquantized_parameters * UNQUANTIZED_BYTES + scales * SCALE_BYTES

    @property
    def weight_bytes(self) -> int:
        """Resident bytes of the dense W8A8 model, INT8 and FP8 alike."""
        return self.linear_parameters + self.unquantized_bytes

    def kv_bytes_per_token(self, element_bytes: int = UNQUANTIZED_BYTES) -> int:
        """Keys and values of one token in all layers."""
        per_layer = 2 * self.num_key_value_heads * self.head_dim
        return self.num_hidden_layers * per_layer * element_bytes

    def refuses_split(self, tensor_parallel_size: int) -> str:
        """Why vLLM does not run it on so many GPUs, and which numbers it takes; empty where it does.

        As vLLM 0.25 has it: attention heads and intermediate size divide, and key-value heads
        divide or are repeated a whole number of times (config/model.py, models/llama.py and
        qwen2.py, distributed/utils.py). The vocabulary is padded.
        """
        reason = self._does_not_split(tensor_parallel_size)
        if not reason:
            return ""
        candidates = range(1, self.num_attention_heads + 1)
        allowed = [str(size) for size in candidates if not self._does_not_split(size)]
        return f"{reason}; use {', '.join(allowed)}"

    def _does_not_split(self, gpus: int) -> str:
        key_value = self.num_key_value_heads
        parts = {
            f"{self.num_attention_heads} attention heads do": self.num_attention_heads % gpus,
            f"{key_value} key-value heads do": key_value % gpus and gpus % key_value,
            f"intermediate size {self.intermediate_size} does": self.intermediate_size % gpus,
        }
        words = next((words for words, rest in parts.items() if rest), "")
        return f"{words} not split over {gpus} GPUs" if words else ""

    def shard(self, tensor_parallel_size: int) -> Architecture:
        """What one GPU of a tensor-parallel group holds, itself an architecture.

        vLLM splits heads, intermediate size and vocabulary; key-value heads are repeated when
        there are fewer of them than GPUs. The hidden size stays whole. Parts are rounded up where
        `refuses_split` has a reason.
        """
        return replace(
            self,
            intermediate_size=-(-self.intermediate_size // tensor_parallel_size),
            num_attention_heads=-(-self.num_attention_heads // tensor_parallel_size),
            num_key_value_heads=max(1, self.num_key_value_heads // tensor_parallel_size),
            vocab_size=-(-self.vocab_size // tensor_parallel_size),
        )


def _llama32(size: str, hidden_size: int, layers: int, heads: int, head_dim: int) -> Architecture:
    return Architecture(
        name=f"llama3.2-{size.lower()}",
        family=Family.LLAMA,
        hidden_size=hidden_size,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=head_dim,
        vocab_size=128256,
        tie_word_embeddings=True,
        attention_bias=False,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        max_position_embeddings=131072,
        source=f"meta-llama/Llama-3.2-{size}",
        rope_scaling=Llama3Rope(),
    )


def _qwen25(
    size: str,
    hidden_size: int,
    intermediate_size: int,
    *,
    layers: int,
    heads: int,
    kv_heads: int,
    vocab_size: int = 151936,
    rms_norm_eps: float = 1e-6,
    max_position_embeddings: int = 32768,
) -> Architecture:
    return Architecture(
        name=f"qwen2.5-{size.lower()}",
        family=Family.QWEN2,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=hidden_size // heads,
        vocab_size=vocab_size,
        # The sizes with the larger vocabulary have a head of their own.
        tie_word_embeddings=vocab_size == 151936,
        attention_bias=True,
        rms_norm_eps=rms_norm_eps,
        rope_theta=1000000.0,
        max_position_embeddings=max_position_embeddings,
        source=f"Qwen/Qwen2.5-{size}",
    )


def _tiny(
    family: Family,
    *,
    intermediate_size: int,
    kv_heads: int,
    tie_word_embeddings: bool,
    rope_theta: float,
) -> Architecture:
    """Every dimension is a multiple of 64: the int8 and fp8 CPU kernels refuse odd ones."""
    return Architecture(
        name=f"tiny-{family.removesuffix('2')}",
        family=family,
        hidden_size=256,
        intermediate_size=intermediate_size,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        head_dim=64,
        vocab_size=2048,
        tie_word_embeddings=tie_word_embeddings,
        attention_bias=family is Family.QWEN2,
        rms_norm_eps=1e-5,
        rope_theta=rope_theta,
        max_position_embeddings=131072,
        source="synthetic",
    )


_ARCHITECTURES = (
    _llama32("1B", hidden_size=2048, layers=16, heads=32, head_dim=64),
    _llama32("3B", hidden_size=3072, layers=28, heads=24, head_dim=128),
    _qwen25("0.5B", 896, 4864, layers=24, heads=14, kv_heads=2),
    _qwen25("1.5B", 1536, 8960, layers=28, heads=12, kv_heads=2, max_position_embeddings=131072),
    _qwen25("3B", 2048, 11008, layers=36, heads=16, kv_heads=2),
    _qwen25(
        "7B",
        3584,
        18944,
        layers=28,
        heads=28,
        kv_heads=4,
        vocab_size=152064,
        max_position_embeddings=131072,
    ),
    _qwen25(
        "14B",
        5120,
        13824,
        layers=48,
        heads=40,
        kv_heads=8,
        vocab_size=152064,
        rms_norm_eps=1e-5,
        max_position_embeddings=131072,
    ),
    # Llama's way (every head has its own keys, tied head, no bias) and Qwen's (shared keys, own
    # head, bias, wider MLP): half the KV cache, twice the embeddings.
    _tiny(
        Family.LLAMA,
        intermediate_size=704,
        kv_heads=4,
        tie_word_embeddings=True,
        rope_theta=500000.0,
    ),
    _tiny(
        Family.QWEN2,
        intermediate_size=1024,
        kv_heads=2,
        tie_word_embeddings=False,
        rope_theta=1000000.0,
    ),
)

CATALOG: dict[str, Architecture] = {
    architecture.name: architecture for architecture in _ARCHITECTURES
}
BUILTIN_NAMES: tuple[str, ...] = tuple(CATALOG)


def find_architecture(name: str) -> Architecture:
    """The built-in architecture of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    if name not in CATALOG:
        raise UsageError(
            f"model '{name}' is not built in; built-in models: {', '.join(BUILTIN_NAMES)}. "
            f"Another model needs a path or a Hub id: {{name: {name}, path: ./folder}}"
        )
    return CATALOG[name]
