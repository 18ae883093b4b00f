"""The scales of query, key and value: each for itself against all in one piece, as ratios of one run.

    python scripts/bench_qkv.py --model qwen2.5-7b -m 512,4096,16384 --out qkv.md

For the sums that the qkv GEMM of a backend leaves: scales, bias and rotation as Inductor compiles them,
`whole` as vLLM's graph has them, `parts` as the pass over that graph leaves them
(`vllm_plugin/fusion.py`). Both give the same bytes. They run in turn on the same sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from gpu_bench import LARGEST_M, compiled, medians_ms, random_sums, table_page, write_page

from slidesparse_bench.models.catalog import Architecture, find_architecture
from slidesparse_bench.vllm_plugin.dequantize import scaled

SUMS = {"cublaslt INT8": torch.int32, "every other": torch.bfloat16}
"""What the GEMM leaves."""
POSITIONS = 1024

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Compared:
    """One kind of sums and M; median times in ms."""

    sums: str
    m: int
    whole_ms: float
    parts_ms: float


class Projection:
    """What follows the qkv GEMM of one model, up to the attention."""

    def __init__(self, model: Architecture) -> None:
        self._head = model.head_dim
        kv = model.num_key_value_heads * self._head
        self.sizes = (model.num_attention_heads * self._head, kv, kv)
        n = sum(self.sizes)
        self._scales = torch.rand((1, n), device="cuda") * 1e-3
        self._bias = torch.randn(n, device="cuda").to(torch.bfloat16)
        self._cosines_and_sines = torch.randn(
            (POSITIONS, self._head), device="cuda", dtype=torch.bfloat16
        )

    def whole(self, raw: torch.Tensor, x_scale: torch.Tensor, positions: torch.Tensor) -> Tensors:
        out = scaled(raw, x_scale, self._scales, self._bias, torch.bfloat16)
        return self._rotated(out.split(self.sizes, dim=-1), positions)

    def parts(self, raw: torch.Tensor, x_scale: torch.Tensor, positions: torch.Tensor) -> Tensors:
        pieces = (each.split(self.sizes, dim=-1) for each in (raw, self._scales, self._bias))
        scaled_parts = tuple(
            scaled(part, x_scale, scale, bias, torch.bfloat16)
            for part, scale, bias in zip(*pieces, strict=True)
        )
        return self._rotated(scaled_parts, positions)

    def _rotated(self, parts: Tensors, positions: torch.Tensor) -> Tensors:
        query, key, value = parts
        both = self._cosines_and_sines.index_select(0, positions).unsqueeze(1)
        turned = tuple(_rotated(self._by_head(part), both) for part in (query, key))
        return *turned, self._by_head(value)

    def _by_head(self, part: torch.Tensor) -> torch.Tensor:
        return part.view(part.shape[0], -1, self._head)


def _rotated(x: torch.Tensor, cosine_and_sine: torch.Tensor) -> torch.Tensor:
    cosine, sine = cosine_and_sine.chunk(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def compared(model: str, sizes: list[int]) -> Iterator[Compared]:
    """Both kinds of sums at every M.

    Raises:
        SystemExit: the two differ.
    """
    projection = Projection(find_architecture(model))
    for name, raw_dtype in SUMS.items():
        torch.compiler.reset()
        largest = inputs(LARGEST_M, projection, raw_dtype)
        ways = [compiled(way, largest) for way in (projection.whole, projection.parts)]
        del largest
        for m in sizes:
            given = inputs(m, projection, raw_dtype)
            whole, parts = (way(*given) for way in ways)
            if not all(torch.equal(*pair) for pair in zip(whole, parts, strict=True)):
                raise SystemExit(f"{name}, M = {m}: the parts are not those of the whole")
            del whole, parts
            yield Compared(name, m, *medians_ms([partial(way, *given) for way in ways]))


def inputs(m: int, projection: Projection, raw_dtype: torch.dtype) -> Tensors:
    """Random sums `[m, n]`, their scales `[m, 1]` and positions `[m]`."""
    raw, x_scale = random_sums(m, sum(projection.sizes), raw_dtype)
    return raw, x_scale, torch.arange(m, device="cuda") % POSITIONS


def pages(model: str, sizes: list[int]) -> Iterator[str]:
    """The table."""
    head = ["| sums of | M | whole, ms | parts, ms | parts / whole |", "|:--|--:|--:|--:|--:|"]
    rows = (
        f"| {row.sums} | {row.m} | {row.whole_ms:.4f} | {row.parts_ms:.4f} | "
        f"{row.parts_ms / row.whole_ms:.3f} |"
        for row in compared(model, sizes)
    )
    yield table_page(f"Query, key and value, scaled each for itself: {model}", head, rows)


if __name__ == "__main__":
    write_page(__doc__, "512,4096,16384", pages)
