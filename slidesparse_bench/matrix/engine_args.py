"""vLLM engine arguments in a matrix: passed through, except those that the harness decides.

vLLM has some 250 of them and changes them with every version, so unknown names are vLLM's to
refuse; here stand those that would make a cell lie about itself.
"""

from __future__ import annotations

from typing import Any

from slidesparse_bench.matrix.words import nearest, seen

OWNED = {
    "model": "the matrix key `models` decides it",
    "tokenizer": "prompts are random token ids and need no tokenizer",
    "skip_tokenizer_init": "prompts are random token ids and need no tokenizer",
    "quantization": "the matrix key `quantization` decides it",
    "load_format": "it follows from the model: random weights for built-in ones, files otherwise",
    "seed": "the matrix key `seed` decides it",
    "linear_backend": "the matrix key `backends` decides it",
    "enable_prefix_caching": "a cached prompt would be measured as a computed one; it stays off",
    "enable_chunked_prefill": "a step must be exactly M tokens; it stays off where vLLM allows",
}
"""Arguments that a matrix must not set, and who decides them."""

CHECKED = ("gpu_memory_utilization", "tensor_parallel_size")
COUNTS = (
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "kv_cache_memory_bytes",
)
"""What the memory model calculates with: vLLM's `auto` and `32k` would have to mean the same there."""
_SPELLING = 0.85
"""How similar a name is to be a misspelling; `data_parallel_size`, another argument, is at 0.79."""


def refusal(name: str, value: Any) -> str:
    """Why this engine argument cannot be set so, "" if it can."""
    if name in OWNED:
        return f"engine argument '{name}' cannot be set: {OWNED[name]}"
    if not name.isidentifier():
        advice = name.lstrip("-").replace("-", "_")
        hint = f"; write {advice}" if advice.isidentifier() else ""
        return f"'{name}' is not the name of an engine argument{hint}"
    if name not in (*CHECKED, *COUNTS):
        return _misspelling(name)
    if name == "gpu_memory_utilization":
        allowed = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1
        return "" if allowed else f"{name} must be above 0 and at most 1, not {seen(value)}"
    allowed = (type(value) is int and value >= 1) or (value is None and name in COUNTS)
    return "" if allowed else f"{name} must be a whole number from 1, not {seen(value)}"


def _misspelling(name: str) -> str:
    meant = nearest(name, (*CHECKED, *OWNED), at_least=_SPELLING)
    return f"unknown engine argument '{name}'; did you mean {meant}?" if meant else ""
