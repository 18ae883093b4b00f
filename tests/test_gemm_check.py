"""The check of every GEMM: what is right passes whatever the blocks, what is wrong is caught."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slidesparse_bench.vllm_plugin.reference_gemm import accumulate
from slidesparse_bench.worker.gemm_check import WrongResult, check

M, N, K = 19, 23, 64
blocks = st.integers(5, 30)
few = settings(max_examples=25)


def build_operands(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.int8:
        return tuple(
            torch.randint(-127, 128, (rows, K), generator=generator, dtype=dtype) for rows in (M, N)
        )
    return tuple((100 * torch.randn(rows, K, generator=generator)).to(dtype) for rows in (M, N))


@few
@given(blocks, st.sampled_from([torch.int32, torch.float32, torch.bfloat16]))
def test_exact_int8_sums_pass_in_blocks_of_any_size(block, out_dtype):
    x, w = build_operands(torch.int8)
    assert check(accumulate(x, w).to(out_dtype), x, w, block) == 0.0


@few
@given(st.integers(0, M - 1), st.integers(0, N - 1), blocks)
def test_one_int8_sum_that_is_off_by_one_is_found(row, column, block):
    x, w = build_operands(torch.int8)
    out = accumulate(x, w)
    out[row, column] += 1
    with pytest.raises(WrongResult, match=rf"1 of \d+ sums .* row {row}, column {column}: "):
        check(out, x, w, block)


def test_int8_sums_in_bfloat16_that_are_rounded_down_are_found():
    x, w = build_operands(torch.int8)
    sums = accumulate(x, w)
    truncated = (sums.to(torch.float32).view(torch.int32) & -65536).view(torch.float32)
    with pytest.raises(WrongResult, match="sums differ"):
        check(truncated.to(torch.bfloat16), x, w)


@few
@given(blocks)
def test_the_error_of_fp8_sums_in_bfloat16_is_its_rounding(block):
    x, w = build_operands(torch.float8_e4m3fn)
    error = check(accumulate(x, w).to(torch.bfloat16), x, w, block)
    assert 1e-4 < error < 2**-8


@few
@given(st.integers(0, M - 1), st.integers(0, N - 1), blocks)
def test_one_fp8_sum_that_is_wrong_altogether_is_found(row, column, block):
    x, w = build_operands(torch.float8_e4m3fn)
    out = accumulate(x, w)
    out[row, column] += out[row].square().mean().sqrt()
    with pytest.raises(WrongResult, match=rf"1 of \d+ rows, the first is row {row}: "):
        check(out, x, w, block)


def test_an_fp8_row_that_is_two_percent_too_large_is_found():
    x, w = build_operands(torch.float8_e4m3fn)
    out = accumulate(x, w)
    out[5] *= 1.02
    with pytest.raises(WrongResult, match=r"row 5: relative error 0\.02 \(allowed 0\.01\)"):
        check(out, x, w)


def test_nan_is_wrong():
    x, w = build_operands(torch.float8_e4m3fn)
    out = accumulate(x, w)
    out[3, 4] = torch.nan
    with pytest.raises(WrongResult, match="row 3: relative error nan"):
        check(out, x, w)


def test_sums_of_another_shape_are_wrong():
    x, w = build_operands(torch.int8)
    with pytest.raises(WrongResult, match=r"\(19, 22\) instead of \(19, 23\)"):
        check(accumulate(x, w)[:, :-1], x, w)


def test_rows_of_zeros_are_right():
    x, w = build_operands(torch.float8_e4m3fn)
    x = torch.zeros_like(x)
    assert check(accumulate(x, w), x, w) == 0.0
