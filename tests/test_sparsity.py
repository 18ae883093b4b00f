"""Pruning to 2:L, sliding windows, 2:4 compression and the reference GEMM they are compared by."""

# ruff: noqa: E402 (what needs torch is imported once it is known to be there)

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

torch = pytest.importorskip("torch", reason="comes with the vllm and cpu extras")

from oracles import scaled_matmul, unslide

from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage
from slidesparse_bench.memory_model import stretched_elements
from slidesparse_bench.models.catalog import CATALOG
from slidesparse_bench.vllm_plugin.compress24 import compress, decompress
from slidesparse_bench.vllm_plugin.reference_gemm import (
    EXACT_K,
    accumulate,
    quantize_per_token,
)
from slidesparse_bench.vllm_plugin.sparsity import (
    prune,
    satisfies,
    slide,
    stretch,
    stretch_index,
    stretched_k,
)

FP8 = torch.float8_e4m3fn
DTYPES = (torch.int8, FP8, torch.float16, torch.bfloat16, torch.float32)
BITS = {1: np.int8, 2: np.int16, 4: np.int32}
SPARSITIES = [Sparsity(group) for group in Sparsity.GROUPS]
EVERY_SPARSITY = pytest.mark.parametrize("sparsity", SPARSITIES, ids=str)
INT8 = st.sampled_from([-128, -127, -1, 0, 1, 127]) | st.integers(-128, 127)


@st.composite
def matrices(draw, dtype, rows=None, k=None):
    """`[rows, k]` of any finite values; for floats any bit pattern that is neither NaN nor inf."""
    shape = (rows or draw(st.integers(1, 4)), k or draw(st.integers(1, 70)))
    if dtype == torch.int8:
        return torch.from_numpy(draw(hnp.arrays(np.int8, shape, elements=INT8)))
    drawn = draw(hnp.arrays(BITS[dtype.itemsize], shape))
    values = torch.from_numpy(drawn).view(dtype)
    return torch.where(values.float().isfinite(), values.float(), 1.0).to(dtype)


@st.composite
def gemms(draw, dtype):
    """Quantized `x: [m, k]` and `w: [n, k]` of one k."""
    k = draw(st.integers(1, 70))
    return draw(matrices(dtype, k=k)), draw(matrices(dtype, k=k))


ANY_MATRIX = st.sampled_from(DTYPES).flatmap(matrices)
ANY_GEMM = st.sampled_from([torch.int8, FP8]).flatmap(gemms)
ANY_SPARSITY = st.sampled_from(SPARSITIES)


def same(one, other):
    """Equal values of one shape and dtype; torch.equal knows no float8. -0.0 equals 0.0."""
    return one.dtype == other.dtype and torch.equal(one.float(), other.float())


def nonzeros_per(group, weight):
    """Non-zeros of each group of `group` along k, the tail completed with zeros."""
    nonzero = torch.nn.functional.pad(weight.float() != 0, (0, -weight.shape[1] % group))
    return nonzero.reshape(weight.shape[0], -1, group).sum(-1)


def pruned_by_sorting(row, group):
    """What `prune` says it does, one group after the other in plain Python."""
    pruned = list(row)
    for start in range(0, len(row), group):
        virtual = row[start : start + group] + [0] * (start + group - len(row))
        order = sorted(range(group), key=lambda i: (abs(virtual[i]), -i))
        for index in order[:2]:
            if start + index < len(row):
                pruned[start + index] = 0
    return pruned


# Pruning


@given(ANY_MATRIX, ANY_SPARSITY)
def test_pruning_zeros_the_two_least_of_each_group_and_the_later_of_equals(weight, sparsity):
    expected = [pruned_by_sorting(row, sparsity.group) for row in weight.float().tolist()]
    assert prune(weight, sparsity).float().tolist() == expected


@given(ANY_MATRIX, ANY_SPARSITY)
def test_pruned_weights_satisfy_the_pattern_and_stay_as_they_are(weight, sparsity):
    pruned = prune(weight, sparsity)
    assert satisfies(pruned, sparsity)
    assert same(prune(pruned, sparsity), pruned)


@given(st.integers(1, 8), ANY_SPARSITY)
def test_full_groups_lose_the_share_of_weights_that_the_sparsity_names(groups, sparsity):
    weight = torch.ones((3, groups * sparsity.group), dtype=torch.int8)
    zeros = (prune(weight, sparsity) == 0).double().mean().item()
    assert zeros == pytest.approx(sparsity.zero_share)


@EVERY_SPARSITY
def test_tail_shorter_than_a_group_loses_only_what_exceeds_the_pattern(sparsity):
    for tail in range(1, sparsity.group):
        weight = torch.ones((1, sparsity.group + tail), dtype=torch.int8)
        kept = nonzeros_per(sparsity.group, prune(weight, sparsity))[0].tolist()
        assert kept == [sparsity.group - 2, min(tail, sparsity.group - 2)]


def test_minus_128_is_the_largest_magnitude_of_int8():
    weight = torch.tensor([[-128, 127, 126, -127]], dtype=torch.int8)
    assert prune(weight, Sparsity(4)).tolist() == [[-128, 127, 0, 0]]


def test_pruning_leaves_its_argument_alone():
    weight = torch.ones((1, 8), dtype=torch.int8)
    prune(weight, Sparsity(8))
    assert weight.tolist() == [[1] * 8]


def test_pruning_takes_a_transposed_weight():
    weight = torch.arange(1, 33, dtype=torch.int8).reshape(8, 4).t()
    assert same(prune(weight, Sparsity(8)), prune(weight.contiguous(), Sparsity(8)))


def test_one_weight_too_many_breaks_the_pattern():
    weight = torch.tensor([[1, 1, 0, 0, 1, 1, 1, 0]], dtype=torch.int8)
    assert satisfies(weight, Sparsity(8))
    assert not satisfies(weight, Sparsity(4))


def test_integers_are_weights_only_as_int8():
    with pytest.raises(ValueError, match="int64"):
        prune(torch.ones((1, 8), dtype=torch.int64), Sparsity(8))


# Sliding


def all_patterns(sparsity):
    """`[2^L, L]` int8: every pattern of zeros of one group, its non-zeros numbered from 1."""
    group = sparsity.group
    patterns = torch.arange(2**group).unsqueeze(1) >> torch.arange(group) & 1
    return (patterns * torch.arange(1, group + 1)).to(torch.int8)


@EVERY_SPARSITY
def test_every_pattern_of_a_group_slides_to_2_4_and_back(sparsity):
    patterns = all_patterns(sparsity)
    allowed = patterns[(patterns != 0).sum(1) <= sparsity.group - 2]
    slid = slide(allowed, sparsity)
    assert nonzeros_per(4, slid).max() == 2
    assert torch.equal(unslide(slid, sparsity.group, sparsity), allowed)


@EVERY_SPARSITY
def test_every_pattern_with_too_many_weights_is_refused(sparsity):
    patterns = all_patterns(sparsity)
    for excessive in patterns[(patterns != 0).sum(1) > sparsity.group - 2]:
        with pytest.raises(ValueError, match="row 0, columns 0 to"):
            slide(excessive.unsqueeze(0), sparsity)


def test_the_first_group_with_too_many_weights_is_named():
    weight = torch.zeros((3, 20), dtype=torch.int8)
    weight[1, 8:15] = 1
    weight[2, :8] = 1
    with pytest.raises(ValueError, match=r"row 1, columns 8 to 15: 7 non-zeros, but 2:8 allows 6"):
        slide(weight, Sparsity(8))


def test_refusal_in_a_later_block_of_rows_names_the_row_of_the_matrix(monkeypatch):
    monkeypatch.setattr("slidesparse_bench.vllm_plugin.bit_patterns.BLOCK_ELEMENTS", 16)
    weight = torch.zeros((9, 8), dtype=torch.int8)
    weight[7] = 1
    with pytest.raises(ValueError, match="row 7, columns 0 to 7: 8 non-zeros"):
        slide(weight, Sparsity(8))
    with pytest.raises(ValueError, match="row 7, columns 0 to 3"):
        compress(weight)


def test_windows_of_a_full_2_8_group_stand_side_by_side():
    weight = torch.tensor([[1, 2, 3, 4, 5, 6, 0, 0]], dtype=torch.int8)
    slid = slide(weight, Sparsity(8), align=4)
    assert slid.tolist() == [[1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0]]


@given(ANY_MATRIX, ANY_SPARSITY)
def test_sliding_loses_nothing_and_gives_2_4(weight, sparsity):
    pruned = prune(weight, sparsity)
    slid = slide(pruned, sparsity)
    assert slid.shape == (weight.shape[0], stretched_k(weight.shape[1], sparsity))
    assert nonzeros_per(4, slid).max() <= 2
    assert same(unslide(slid, weight.shape[1], sparsity), pruned)


@given(ANY_GEMM, ANY_SPARSITY)
@example(gemm=(torch.full((1, 64), -128, dtype=torch.int8),) * 2, sparsity=Sparsity(8))
def test_stretched_product_equals_the_dense_one_to_the_last_bit(gemm, sparsity):
    q_x, q_w = gemm
    pruned = prune(q_w, sparsity)
    dense = accumulate(q_x, pruned)
    stretched = accumulate(stretch(q_x, sparsity), slide(pruned, sparsity))
    assert torch.equal(stretched, dense)


@EVERY_SPARSITY
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_layer_in_several_blocks_of_rows_slides_as_its_rows_do(monkeypatch, sparsity, dtype):
    weight = torch.randn((13, 50), generator=torch.Generator().manual_seed(0)).mul(20).to(dtype)
    whole = slide(prune(weight, sparsity), sparsity)
    monkeypatch.setattr("slidesparse_bench.vllm_plugin.bit_patterns.BLOCK_ELEMENTS", 100)
    assert same(slide(prune(weight, sparsity), sparsity), whole)
    assert same(unslide(whole, 50, sparsity), prune(weight, sparsity))
    assert same(decompress(*compress(whole)), whole)


@given(st.integers(1, 50_000), ANY_SPARSITY)
def test_k_grows_by_the_stretch_of_the_sparsity_and_its_padding(k, sparsity):
    width = stretched_k(k, sparsity)
    assert width % 32 == 0
    assert 0 <= width - k * sparsity.k_stretch < 2 * sparsity.group - 4 + 32


@EVERY_SPARSITY
def test_the_memory_model_knows_the_stretched_size_of_the_built_in_models(sparsity):
    # It stretches a tail by its share instead of as a whole group; only 2:14 shows it.
    columns_short = 32 if sparsity == Sparsity(14) else 0
    cell = Cell("any", Quantization.INT8, "cusparselt", sparsity, Stage.DECODE, 64)
    for architecture in CATALOG.values():
        layers, linears = architecture.num_hidden_layers, architecture.layer_linears
        real = layers * sum(linear.n * stretched_k(linear.k, sparsity) for linear in linears)
        tolerance = layers * sum(linear.n * columns_short for linear in linears)
        assert 0 <= real - stretched_elements(cell, architecture) <= tolerance


@pytest.mark.parametrize(
    ("column", "complaint"),
    [(2, "two windows"), (11, "beyond column 7"), (13, "beyond column 7")],
)
def test_what_no_slide_gives_is_not_taken_back(column, complaint):
    slid = slide(torch.tensor([[1, 2, 3, 4, 5, 6, 0]], dtype=torch.int8), Sparsity(8))
    slid[0, column] = 1
    with pytest.raises(ValueError, match=complaint):
        unslide(slid, 7, Sparsity(8))


def test_too_few_columns_are_not_taken_back():
    with pytest.raises(ValueError, match="slide to 12 columns, not to 8"):
        unslide(torch.zeros((1, 8), dtype=torch.int8), 8, Sparsity(8))


# Stretching


def test_stretched_activations_repeat_the_columns_that_windows_share():
    x = torch.arange(8, dtype=torch.float32).unsqueeze(0)
    assert stretch(x, Sparsity(8), align=4).tolist() == [[0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7]]


def test_padding_is_zero():
    assert stretch_index(3, Sparsity(4), align=8).tolist() == [0, 1, 2, 3, 3, 3, 3, 3]
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert stretch(x, Sparsity(4), align=8).tolist() == [[1, 2, 3, 0, 0, 0, 0, 0]]


@given(st.integers(1, 300), ANY_SPARSITY)
def test_every_column_is_read_and_none_out_of_bounds(k, sparsity):
    index = stretch_index(k, sparsity)
    assert index.shape == (stretched_k(k, sparsity),)
    assert sorted(set(index.tolist()) - {k}) == list(range(k))


@given(matrices(torch.bfloat16), ANY_SPARSITY, st.sampled_from([torch.int8, FP8]))
def test_quantizing_and_stretching_may_change_places(x, sparsity, dtype):
    q, scale = quantize_per_token(x, dtype)
    q_of_stretched, scale_of_stretched = quantize_per_token(stretch(x, sparsity), dtype)
    assert same(q_of_stretched, stretch(q, sparsity))
    assert torch.equal(scale_of_stretched, scale)


# Compression


@given(ANY_MATRIX, ANY_SPARSITY)
def test_compression_halves_the_values_and_loses_nothing(weight, sparsity):
    slid = slide(prune(weight, sparsity), sparsity)
    values, metadata = compress(slid)
    assert values.shape == (slid.shape[0], slid.shape[1] // 2)
    assert metadata.shape == (slid.shape[0], slid.shape[1] // 8)
    assert same(decompress(values, metadata), slid)


def test_metadata_has_a_nibble_per_group_the_even_one_low():
    weight = torch.tensor([[0, 5, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0]], dtype=torch.int8)
    values, metadata = compress(weight)
    assert values.tolist() == [[5, 7, 0, 9, 0, 0]]
    assert metadata.tolist() == [[(1 | 3 << 2) | (0 | 3 << 2) << 4, 0 | 1 << 2]]
    assert same(decompress(values, metadata), weight)


def test_positions_rise_within_every_group():
    patterns = [pattern for pattern in itertools.product((0, 1), repeat=4) if sum(pattern) <= 2]
    _, metadata = compress(torch.tensor(patterns, dtype=torch.int8))
    assert ((metadata & 3) < (metadata >> 2)).all()


def test_weights_that_are_not_2_4_are_not_compressed():
    with pytest.raises(ValueError, match="row 1, columns 4 to 7: more than two"):
        compress(torch.tensor([[0] * 8, [1, 0, 0, 1, 1, 0, 1, 1]], dtype=torch.int8))
    with pytest.raises(ValueError, match="k = 6 is no multiple of 4"):
        compress(torch.zeros((1, 6), dtype=torch.int8))


# Reference GEMM


def test_int8_halves_round_to_even():
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5]])
    q, scale = quantize_per_token(x, torch.int8)
    assert q.tolist() == [[127, 0, 2, 2, 0, -2, -126]]
    assert scale.tolist() == [[1.0]]


def test_fp8_rounds_to_the_nearest_e4m3_and_its_largest_is_448():
    x = torch.tensor([[448.0, 17.0, 19.0, -447.0, 2.0**-10, 2.0**-9]])
    q, scale = quantize_per_token(x, FP8)
    assert q.float().tolist() == [[448.0, 16.0, 20.0, -448.0, 0.0, 2.0**-9]]
    assert scale.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("dtype", "largest", "least_scale"), [(torch.int8, 127, 0.0), (FP8, 448, 1 / (448 * 512))]
)
def test_a_row_of_zeros_stays_zero_beside_others(dtype, largest, least_scale):
    q, scale = quantize_per_token(torch.tensor([[0.0, -0.0], [1.0, 0.0]]), dtype)
    assert q.float().tolist() == [[0, 0], [largest, 0]]
    assert scale[0].item() == pytest.approx(least_scale)


@given(matrices(torch.float32))
def test_int8_uses_its_whole_range_and_errs_by_half_a_step(x):
    x = torch.where((x.abs() > 1e-30) & (x.abs() < 1e30), x, 0.0)
    q, scale = quantize_per_token(x, torch.int8)
    errors = (q.double() * scale.double() - x.double()).abs()
    assert (errors <= scale.double() * 0.5001).all()
    assert torch.equal(q.to(torch.int16).abs().amax(1) == 127, x.abs().amax(1) > 0)


def test_int8_saturates_where_the_factor_leaves_float32():
    q, _ = quantize_per_token(torch.tensor([[1e-40, 0.0, -1e-40]]), torch.int8)
    assert q.tolist() == [[127, 0, -128]]


def test_activations_are_not_quantized_to_anything_else():
    with pytest.raises(ValueError, match=r"not to torch\.int32"):
        quantize_per_token(torch.ones((1, 2)), torch.int32)


def test_int8_sums_are_exact_at_the_extremes_and_refused_where_int32_ends():
    x = torch.full((1, EXACT_K - 1), -128, dtype=torch.int8)
    assert accumulate(x, x).tolist() == [[(EXACT_K - 1) * 2**14]]
    with pytest.raises(ValueError, match="k below 131072"):
        accumulate(*[torch.zeros((1, EXACT_K), dtype=torch.int8)] * 2)


def test_fp8_sums_keep_the_least_product_beside_the_largest():
    x = torch.tensor([[448.0, 2.0**-9, -448.0]]).to(FP8)
    w = torch.tensor([[448.0, 2.0**-9, 448.0]]).to(FP8)
    assert accumulate(x, w).tolist() == [[2.0**-18]]


@pytest.mark.parametrize(
    "q_w", [torch.zeros((1, 5), dtype=torch.int8), torch.zeros((1, 4)).to(FP8)], ids=["k", "dtype"]
)
def test_operands_that_do_not_fit_are_refused(q_w):
    with pytest.raises(ValueError, match="both must agree"):
        accumulate(torch.zeros((1, 4), dtype=torch.int8), q_w)


def test_linear_layer_scales_by_row_and_column_and_adds_the_bias():
    out = scaled_matmul(
        torch.tensor([[1, 2], [3, 4]], dtype=torch.int8),
        torch.tensor([[0.5], [2.0]]),
        torch.tensor([[1, 0], [0, 1], [1, 1]], dtype=torch.int8),
        torch.tensor([[1.0], [10.0], [100.0]]),
        torch.tensor([0.25, 0.0, -1.0], dtype=torch.bfloat16),
        torch.float32,
    )
    assert out.tolist() == [[0.75, 10.0, 149.0], [6.25, 80.0, 1399.0]]


def test_linear_layer_takes_scales_of_one_element_and_gives_bfloat16():
    q = torch.tensor([[3]], dtype=torch.int8)
    out = scaled_matmul(q, torch.tensor([0.5]), q, torch.tensor(2.0))
    assert (out.dtype, out.tolist()) == (torch.bfloat16, [[9.0]])


@given(gemms(torch.bfloat16), ANY_SPARSITY, st.sampled_from([torch.int8, FP8]))
def test_sparse_layer_gives_what_the_dense_one_does(layer, sparsity, dtype):
    x, weight = (tensor.clamp(-1e6, 1e6) for tensor in layer)
    q_w, w_scale = quantize_per_token(weight, dtype)
    q_w = prune(q_w, sparsity)
    q_x, x_scale = quantize_per_token(x, dtype)
    dense = scaled_matmul(q_x, x_scale, q_w, w_scale)
    compressed = compress(slide(q_w, sparsity))
    sparse = scaled_matmul(stretch(q_x, sparsity), x_scale, decompress(*compressed), w_scale)
    assert torch.equal(sparse, dense)
