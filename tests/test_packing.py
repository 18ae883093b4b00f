"""Packing a layer's weight, also that of one rank of several."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin.emulated import EmulatedGemm
from slidesparse_bench.vllm_plugin.ops import quantize
from slidesparse_bench.vllm_plugin.packing import pack
from slidesparse_bench.vllm_plugin.reference_gemm import accumulate, quantize_per_token
from slidesparse_bench.vllm_plugin.sparsity import prune

SPARSE = EmulatedGemm("cusparselt", sparse=True)


def weights(n, k, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-127, 128, (n, k), generator=generator).to(torch.int8)


def activations(m, k):
    return torch.randn((m, k), generator=torch.Generator().manual_seed(k)).to(torch.bfloat16)


def sums(packed, layout, x, library=SPARSE):
    q, _ = quantize(x, None, layout.k_out, layout.group, torch.int8, layout.phase)
    return library.multiply(q, packed, layout.n, torch.int32)[: x.shape[0]]


@given(
    st.integers(1, 40).map(lambda pairs: 2 * pairs),
    st.sampled_from(Sparsity.GROUPS).map(Sparsity),
    st.integers(2, 4),
)
def test_ranks_lose_nothing_of_a_matrix_that_is_pruned_already(k, sparsity, ranks):
    whole = prune(weights(32, k * ranks), sparsity)
    x = activations(3, k * ranks)
    for rank in range(ranks):
        columns = slice(rank * k, (rank + 1) * k)
        packed, layout = pack(whole[:, columns], SPARSE, sparsity, first_column=rank * k)
        q, _ = quantize_per_token(x[:, columns], torch.int8)
        expected = accumulate(q, whole[:, columns])
        assert torch.equal(sums(packed, layout, x[:, columns]), expected)


def test_groups_of_a_rank_are_those_of_the_whole_matrix():
    _, layout = pack(weights(16, 14), SPARSE, Sparsity(8), first_column=14)
    assert (layout.group, layout.phase) == (8, 6)
    assert layout.k_out == 64  # three groups of 12, up to a multiple of 32


def test_rows_are_padded_to_what_libraries_take():
    dense = EmulatedGemm("cublaslt", sparse=False)
    packed, layout = pack(weights(5, 24), dense, None)
    assert (layout.n, layout.k_out, layout.phase) == (32, 32, 0)
    x = activations(2, 24)
    q, _ = quantize_per_token(x, torch.int8)
    assert torch.equal(sums(packed, layout, x, dense)[:, :5], accumulate(q, weights(5, 24)))


@pytest.mark.parametrize("sparsity", [None, Sparsity(4)])
def test_the_weight_that_is_packed_stays_as_it_is(sparsity):
    library = SPARSE if sparsity else EmulatedGemm("cublaslt", sparse=False)
    weight = weights(16, 32)
    before = weight.clone()
    pack(weight, library, sparsity)
    assert torch.equal(weight, before)
