"""Which messages tell of a size beyond 32 bits, and which only name an integer type."""

from __future__ import annotations

import re

import pytest

from slidesparse_bench.failures import classify
from slidesparse_bench.failures.overflow import NEEDLES, PATTERN

TOO_LARGE = [
    "RuntimeError: 3000000000 is too large to fit into a MKL_INT (int)",
    "RuntimeError: dst/scr size > INT_MAX is not supported",
    "CHECK failed: (value.size()) <= (kint32max): ",
    "ValueError: Tensor exceeds 32-bit indexing",
    "ValueError: num_gpu_blocks (140000) exceeds what int32 offsets can address (131072)",
    "RuntimeError: num_tokens * hidden_size overflows int32",
    "RuntimeError: The size of the tensor exceeds the maximum value of int",
    "RuntimeError: index is too large: must fit in int32",
    "RuntimeError: Tensor too large, use int64 indexing",
    "RuntimeError: index_put: too many elements for 32-bit",
    "RuntimeError: numel needs to be smaller than int32_t max",
    "RuntimeError: MPSGaph does not support tensor dims larger than INT_MAX",
    "Error: product of dimension sizes > 2**31'",
    "[E] tensor volume exceeds (2^31)-1, dimensions are [4,65536,65536])",
    "Error Code 7: tensor volume exceeds 2147483647, dimensions are [num_tokens,4096]",
    "RuntimeError: invalid shape: [-2094967296, 4]",
    "Error: Check failed: (2621440000 vs. 18446744072036024320) : shapes do not match",
    "OverflowError: signed integer is less than minimum",
    "OverflowError: value too large to convert to int32_t",
    "pyarrow.lib.ArrowInvalid: Error: offset overflow while concatenating arrays",
]
OTHER = [
    "ValueError: histogram only supports 32-bit integer input, but got fp32",
    "ValueError: Seed must be between 0 and 2**32 - 1",
    "RuntimeError: expected scalar type int32 but found int64",
    "AssertionError: slot_mapping must be int32",
    "Process finished with exit code -1073741819 (0xC0000005)",
    "ValueError: dim must be greater than 0 and dtype int32",
    "RuntimeError: batch size 70000 exceeds the maximum",
    "ValueError: max_model_len (4097) is greater than the derived max_model_len",
    "RuntimeError: shape '[-1, 16, 56]' is invalid for input of size 36864",
    "IndexError: index -1 is out of bounds for axis 0 with size 0",
    "ValueError: bits must be 32-bit or 16-bit",
    "NotImplementedError: 32-bit ARM is not supported",
    "RuntimeError: The size of tensor a (1059) must match the size of tensor b (376)",
]


@pytest.mark.parametrize("line", TOO_LARGE, ids=lambda line: line[:50])
def test_size_beyond_32_bits_is_an_overflow(line: str):
    assert any(needle in line for needle in NEEDLES)
    assert classify([line], exit_code=1).failure_class == "int32_index_overflow"


@pytest.mark.parametrize("line", OTHER, ids=lambda line: line[:50])
def test_integer_type_or_another_limit_is_no_overflow(line: str):
    assert re.search(PATTERN, line) is None
