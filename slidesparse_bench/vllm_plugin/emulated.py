"""The GEMM libraries emulated in plain torch, for devices that have none of them.

The whole path runs as on a GPU, compression included, and its sums are exact. Its speed says
nothing; whatever it measures is marked `emulated`.
"""

from __future__ import annotations

import torch

from slidesparse_bench.vllm_plugin.compress24 import compress, decompress
from slidesparse_bench.vllm_plugin.gemm import padded_columns
from slidesparse_bench.vllm_plugin.reference_gemm import accumulate


class EmulatedGemm:
    """cuBLASLt or, with `sparse`, cuSPARSELt as far as their callers can tell."""

    emulated = True
    last_algorithm = "float64 product"

    def __init__(self, name: str, *, sparse: bool) -> None:
        self.name, self.version = name, f"emulated with torch {torch.__version__}"
        self._sparse = sparse

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights with k padded, or 2:4 compressed: values, then metadata, as bytes.

        Raises:
            ValueError: sparse weights that are not 2:4.
        """
        if not self._sparse:
            return padded_columns(weight)
        values, metadata = compress(weight)
        return torch.cat([values.view(torch.uint8).flatten(), metadata.flatten()])

    def raw_dtype(self, input_dtype: torch.dtype, out_dtype: torch.dtype) -> torch.dtype:
        """32 bits, whatever the output: nothing is gained by rounding here."""
        del out_dtype
        return torch.int32 if input_dtype == torch.int8 else torch.float32

    def multiply(
        self, q_x: torch.Tensor, packed: torch.Tensor, n: int, raw_dtype: torch.dtype
    ) -> torch.Tensor:
        """The exact sums; FP8 sums are rounded once, to float32.

        Raises:
            ValueError: as `accumulate`; of sparse weights, half of a stretched k counts.
        """
        if not self._sparse:
            return accumulate(q_x, packed).to(raw_dtype)
        k = q_x.shape[1]
        weight = self._unpacked(packed, n, k, q_x.dtype)
        return accumulate(q_x, weight, terms=k // 2).to(raw_dtype)

    @staticmethod
    def _unpacked(packed: torch.Tensor, n: int, k: int, dtype: torch.dtype) -> torch.Tensor:
        values, metadata = packed[: n * k // 2], packed[n * k // 2 :]
        return decompress(values.view(dtype).reshape(n, k // 2), metadata.reshape(n, -1))
