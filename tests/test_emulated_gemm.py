"""The emulated libraries: sparse products of pruned weights equal the dense ones to the last bit."""

# ruff: noqa: E402 (what needs torch is imported once it is known to be there)

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

torch = pytest.importorskip("torch", reason="comes with the vllm and cpu extras")

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.gemms import tasks
from slidesparse_bench.vllm_plugin.emulated import EmulatedGemm
from slidesparse_bench.vllm_plugin.gemm import padded_columns
from slidesparse_bench.vllm_plugin.reference_gemm import EXACT_K
from slidesparse_bench.vllm_plugin.sparsity import prune, slide, stretch

FP8 = torch.float8_e4m3fn
DENSE = EmulatedGemm("cublaslt", sparse=False)
SPARSE = EmulatedGemm("cusparselt", sparse=True)
SPARSITIES = st.sampled_from([Sparsity(group) for group in Sparsity.GROUPS])
INT8 = st.sampled_from([-128, -127, -1, 0, 1, 127]) | st.integers(-128, 127)
NAN_CODES = (0x7F, 0xFF)
FP8_CODES = st.sampled_from([0x00, 0x80, 0x01, 0x7E, 0xFE]) | st.integers(0, 255).filter(
    lambda code: code not in NAN_CODES
)
"""Both zeros, the least value, both extremes, and everything else that is a number."""


@st.composite
def gemms(draw, dtype):
    """Quantized `x: [m, k]` and `w: [n, k]`; n and k odd as often as not."""
    m, n, k = draw(st.integers(1, 5)), draw(st.integers(1, 7)), draw(st.integers(1, 67))
    elements = INT8 if dtype == torch.int8 else FP8_CODES
    numbers = np.int8 if dtype == torch.int8 else np.uint8
    x, w = (
        torch.from_numpy(draw(hnp.arrays(numbers, (rows, k), elements=elements))).view(dtype)
        for rows in (m, n)
    )
    return x, w


def by_numpy(x, w):
    """`x @ w.T` in int64, or in the floats that hold all sums of FP8 products."""
    wide = np.int64 if x.dtype == torch.int8 else np.float64
    numbers = [tensor.to(torch.float64).numpy().astype(wide) for tensor in (x, w)]
    return numbers[0] @ numbers[1].T


def dense_product(x, w):
    raw_dtype = DENSE.raw_dtype(x.dtype, torch.bfloat16)
    return DENSE.multiply(padded_columns(x), DENSE.pack(w), w.shape[0], raw_dtype)


def sparse_product(x, w, sparsity):
    packed = SPARSE.pack(slide(w, sparsity))
    raw_dtype = SPARSE.raw_dtype(x.dtype, torch.bfloat16)
    return SPARSE.multiply(stretch(x, sparsity), packed, w.shape[0], raw_dtype)


EXTREMES = (
    torch.full((1, 67), -128, dtype=torch.int8),
    torch.full((7, 67), -128, dtype=torch.int8),
)


@given(gemms(torch.int8), SPARSITIES)
@example(EXTREMES, Sparsity(16))
def test_int8_sums_of_pruned_weights_are_the_dense_ones_to_the_last_bit(gemm, sparsity):
    x, w = gemm
    pruned = prune(w, sparsity)
    sparse = sparse_product(x, pruned, sparsity)
    assert sparse.dtype == torch.int32
    assert torch.equal(sparse, dense_product(x, pruned))
    assert sparse.tolist() == by_numpy(x, pruned).tolist()


@given(gemms(FP8), SPARSITIES)
def test_fp8_sums_of_pruned_weights_are_the_dense_ones_to_the_last_bit(gemm, sparsity):
    x, w = gemm
    pruned = prune(w, sparsity)
    sparse = sparse_product(x, pruned, sparsity)
    assert sparse.dtype == torch.float32
    assert torch.equal(sparse, dense_product(x, pruned))
    assert np.array_equal(sparse.numpy(), by_numpy(x, pruned).astype(np.float32))


@pytest.mark.parametrize("group", Sparsity.GROUPS)
def test_sums_of_the_longest_k_are_exact_however_far_it_is_stretched(group):
    x = torch.full((1, EXACT_K - 1), -128, dtype=torch.int8)
    pruned = prune(x, Sparsity(group))
    assert sparse_product(x, pruned, Sparsity(group)).tolist() == by_numpy(x, pruned).tolist()


@pytest.mark.parametrize("library", [DENSE, SPARSE], ids=["cublaslt", "cusparselt"])
def test_more_products_than_are_exact_are_refused(library):
    k = EXACT_K * (2 if library is SPARSE else 1)
    w = torch.zeros((1, k), dtype=torch.int8)
    with pytest.raises(ValueError, match="sums of 131072 products; they are exact for k below"):
        library.multiply(w, library.pack(w), 1, torch.int32)


def test_a_k_is_refused_from_where_its_sums_are_not_exact():
    assert tasks.EXACT_K == EXACT_K


@given(gemms(torch.int8))
def test_dense_sums_are_those_of_weights_as_they_came(gemm):
    x, w = gemm
    assert dense_product(x, w).tolist() == by_numpy(x, w).tolist()


@pytest.mark.parametrize("dtype", [torch.int8, FP8], ids=["int8", "fp8"])
def test_weights_that_are_not_2_4_are_refused(dtype):
    weight = torch.zeros((3, 32)).to(dtype)
    weight[1, 4:7] = torch.ones(3).to(dtype)
    with pytest.raises(ValueError, match="row 1, columns 4 to 7: more than two non-zeros"):
        SPARSE.pack(weight)


def test_weights_pruned_to_2_8_are_refused_until_they_slide():
    pruned = prune(torch.arange(1, 33, dtype=torch.int8).reshape(1, 32), Sparsity(8))
    with pytest.raises(ValueError, match="prune to 2:L and slide"):
        SPARSE.pack(pruned)
    assert SPARSE.pack(slide(pruned, Sparsity(8))).dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.int8, FP8], ids=["int8", "fp8"])
def test_packed_weights_take_0_625_bytes_per_element(dtype):
    packed = SPARSE.pack(torch.zeros((48, 64)).to(dtype))
    assert packed.numel() == 0.625 * 48 * 64


@pytest.mark.parametrize("dtype", [torch.int8, FP8], ids=["int8", "fp8"])
def test_dense_weights_are_packed_as_they_are_with_k_up_to_16(dtype):
    weight = torch.arange(1, 52).reshape(17, 3).t().to(torch.float32).to(dtype)
    packed = DENSE.pack(weight)
    assert (packed.shape, packed.dtype) == ((3, 32), dtype)
    assert packed.is_contiguous()
    assert packed[:, :17].float().tolist() == weight.float().tolist()
    assert not packed[:, 17:].float().any()


def test_dense_weights_of_fitting_sizes_are_not_copied():
    weight = torch.zeros((3, 32), dtype=torch.int8)
    assert DENSE.pack(weight).data_ptr() == weight.data_ptr()


@pytest.mark.parametrize("library", [DENSE, SPARSE], ids=["cublaslt", "cusparselt"])
@pytest.mark.parametrize("out_dtype", [torch.bfloat16, torch.float16])
def test_sums_come_out_in_32_bits_whatever_the_layer_gives(library, out_dtype):
    assert library.raw_dtype(torch.int8, out_dtype) == torch.int32
    assert library.raw_dtype(FP8, out_dtype) == torch.float32


@pytest.mark.parametrize("library", [DENSE, SPARSE], ids=["cublaslt", "cusparselt"])
def test_an_emulation_says_that_it_is_one(library):
    assert library.emulated
    assert library.version.startswith("emulated with torch 2")
    assert library.last_algorithm == "float64 product"
