"""The work of a step against a count by hand, and what is made of it."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import pytest
from builders import build_metrics
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage
from slidesparse_bench.known_devices import find_device, published_peaks
from slidesparse_bench.models import CATALOG
from slidesparse_bench.roofline import Bound, Peaks, applied, doubt, limit, step_work

DOCS = Path(__file__).parents[1] / "docs"
H200 = find_device("NVIDIA H200")
PEAKS = Peaks(1000.0, 500.0, 250.0, 2.0, "made up")
QWEN = CATALOG["qwen2.5-7b"]
PREFILL = Cell.parse("qwen2.5-7b.int8.cutlass.prefill.m4096")
DECODE = Cell.parse("qwen2.5-7b.int8.cutlass.decode.m64")

CELLS = st.builds(
    Cell,
    model=st.sampled_from(sorted(CATALOG)),
    quantization=st.sampled_from(Quantization),
    backend=st.just("cusparselt"),
    sparsity=st.sampled_from([Sparsity(group) for group in Sparsity.GROUPS]),
    stage=st.sampled_from(Stage),
    m=st.sampled_from([1, 64, 512, 1024, 16384, 65536]),
)


def work_of(cell, architecture=None, device=H200, **engine_args):
    return step_work(cell, architecture or CATALOG[cell.model], device, engine_args)


def steps_of(cell):
    """For each measured step of an iteration, (queries, keys attended to) of every token in it."""
    workload = cell.workload
    if cell.stage is Stage.PREFILL:
        prompt = list(range(1, workload.prompt_len + 1))
        return [prompt * workload.max_num_seqs]
    lengths = range(workload.prompt_len + 1, workload.prompt_len + workload.output_len)
    return [[length] * workload.max_num_seqs for length in lengths]


@pytest.mark.parametrize("cell_id", ["tiny-qwen.int8.native.prefill.m2048",
                                     "tiny-qwen.int8.native.decode.m64"])  # fmt: skip
def test_work_is_what_counting_every_token_gives(cell_id):
    cell = Cell.parse(cell_id)
    # tiny-qwen: 4 layers, 4 query and 2 key-value heads of 64, MLP 256 x 1024, vocabulary 2048,
    # a head of its own.
    per_layer = (256 + 2 * 128) * 256 + 256 * 256 + 2 * 1024 * 256 + 256 * 1024
    steps = steps_of(cell)
    keys = sum(map(sum, steps)) / len(steps)
    sampled = 2 if cell.stage is Stage.PREFILL else 64
    scales_and_biases = 4 * (4 * (512 + 256 + 2048 + 256) + 2 * 512)
    norms = 2 * (4 * 2 * 256 + 256)
    kv_tokens = keys if cell.stage is Stage.DECODE else cell.m

    work = work_of(cell)

    assert all(len(step) == cell.m for step in steps)
    assert work.linear_flops == 2 * cell.m * 4 * per_layer
    assert work.flops_16bit == 4 * 4 * 4 * 64 * keys + 2 * sampled * 256 * 2048
    assert work.linear_weight_bytes == 4 * per_layer
    rows = 2048 + min(cell.m, 2048)
    assert work.other_weight_bytes == scales_and_biases + norms + rows * 256 * 2
    assert work.kv_cache_bytes == kv_tokens * 4 * 2 * 2 * 64 * 2
    assert work.skipped_flops == 0


def test_tied_embeddings_read_their_rows_beside_the_whole_head():
    tied = replace(QWEN, tie_word_embeddings=True)
    assert work_of(PREFILL, tied) == work_of(PREFILL)


def test_an_fp8_cache_is_half_the_traffic():
    half = work_of(DECODE, kv_cache_dtype="fp8_e4m3").kv_cache_bytes
    assert 2 * half == work_of(DECODE).kv_cache_bytes


def test_each_of_two_tensor_parallel_gpus_has_half_of_the_linears():
    whole, shard = work_of(PREFILL), work_of(PREFILL, tensor_parallel_size=2)
    assert 2 * shard.linear_flops == whole.linear_flops
    assert 2 * shard.linear_weight_bytes == whole.linear_weight_bytes
    assert 2 * shard.kv_cache_bytes == whole.kv_cache_bytes


@pytest.mark.parametrize(("group", "share"), [(4, 0.5), (6, 2 / 3), (8, 0.75), (10, 0.8)])
def test_sparse_linears_take_that_share_of_the_dense_time(group, share):
    sparse = replace(PREFILL, backend="cusparselt", sparsity=Sparsity(group))
    only_linears = replace(work_of(sparse), flops_16bit=0)
    dense = replace(work_of(PREFILL), flops_16bit=0)
    least, dense_least = limit(only_linears, sparse, PEAKS), limit(dense, PREFILL, PEAKS)
    assert least.compute_s == pytest.approx(share * dense_least.compute_s)


def test_2_4_weights_are_larger_where_int8_compresses_worse():
    sparse = Cell.parse("qwen2.5-7b.int8.cusparselt-2_4.decode.m64")
    ada = find_device("NVIDIA L40S")
    assert work_of(sparse).linear_weight_bytes == 0.625 * QWEN.linear_parameters
    assert work_of(sparse, device=ada).linear_weight_bytes == 0.75 * QWEN.linear_parameters


def test_the_longer_of_both_limits_is_named():
    assert limit(work_of(PREFILL), PREFILL, PEAKS).bound is Bound.COMPUTE
    assert limit(work_of(DECODE), DECODE, PEAKS).bound is Bound.MEMORY


def test_16_bit_work_is_added_at_its_own_rate():
    work = work_of(PREFILL)
    fp8 = replace(PREFILL, quantization=Quantization.FP8)
    expected_s = work.linear_flops / 500e12 + work.flops_16bit / 250e12
    assert limit(work, fp8, PEAKS).compute_s == pytest.approx(expected_s)


@pytest.mark.parametrize("missing", ["int8_tops", "bf16_tflops"])
def test_no_limit_without_the_rates_it_needs(missing):
    assert limit(work_of(PREFILL), PREFILL, replace(PEAKS, **{missing: None})) is None


@given(CELLS)
def test_skipping_never_makes_a_step_longer(cell):
    dense = replace(cell, backend="cutlass", sparsity=None)
    sparse_limit = limit(work_of(cell), cell, PEAKS)
    dense_limit = limit(work_of(dense), dense, PEAKS)
    assert 0 < sparse_limit.compute_s < dense_limit.compute_s
    assert sparse_limit.least_s > 0
    assert work_of(cell).linear_flops == work_of(dense).linear_flops


@given(CELLS, st.floats(1.01, 100))
def test_a_device_that_is_faster_in_everything_has_a_lower_limit(cell, factor):
    rates = (PEAKS.int8_tops, PEAKS.fp8_tflops, PEAKS.bf16_tflops, PEAKS.memory_tb_per_second)
    faster = Peaks(*(rate * factor for rate in rates), PEAKS.source)
    slow, fast = (limit(work_of(cell), cell, peaks) for peaks in (PEAKS, faster))
    assert fast.least_s * factor == pytest.approx(slow.least_s)
    assert fast.bound is slow.bound


def measured(cell, step_ms):
    metrics = build_metrics(cell.id)
    return replace(metrics, step_time_ms=replace(metrics.step_time_ms, mean=step_ms))


def test_a_step_of_twice_the_least_time_is_half_of_the_roofline():
    work = work_of(PREFILL)
    least_s = limit(work, PREFILL, PEAKS).least_s
    metrics = measured(PREFILL, 2e3 * least_s)

    result = applied(metrics, PREFILL, QWEN, H200, {}, PEAKS)

    assert result.roofline_fraction == pytest.approx(0.5)
    assert result.roofline_bound == "compute"
    assert result.achieved_tflops == pytest.approx(work.linear_flops / (2 * least_s) / 1e12)
    assert result.achieved_tb_per_second == pytest.approx(work.moved_bytes / (2 * least_s) / 1e12)
    assert doubt(result) == ""


def test_the_mean_counts_and_nothing_else_changes():
    metrics = measured(PREFILL, 100.0)
    result = applied(metrics, PREFILL, QWEN, H200, {}, PEAKS)
    untouched = dict.fromkeys(
        ("achieved_tflops", "achieved_tb_per_second", "roofline_fraction", "roofline_bound")
    )
    assert replace(result, **untouched) == metrics


def test_a_fraction_above_one_is_kept_and_doubted():
    least_ms = 1e3 * limit(work_of(PREFILL), PREFILL, PEAKS).least_s
    result = applied(measured(PREFILL, 0.8 * least_ms), PREFILL, QWEN, H200, {}, PEAKS)
    assert result.roofline_fraction == pytest.approx(1.25)
    assert "80.0% of the least possible time" in doubt(result)


def test_nothing_is_known_of_an_unknown_architecture():
    metrics = measured(PREFILL, 100.0)
    assert applied(metrics, PREFILL, None, H200, {}, PEAKS) == metrics
    assert doubt(metrics) == ""


def test_without_peaks_the_rates_are_still_told():
    cpu = DeviceFacts(DeviceKind.CPU, "some CPU", 2**32)
    result = applied(measured(DECODE, 100.0), DECODE, QWEN, cpu, {}, None)
    assert result.achieved_tflops is not None
    assert result.achieved_tb_per_second is not None
    assert (result.roofline_fraction, result.roofline_bound) == (None, None)


def test_fp8_has_no_roofline_where_there_are_no_such_units():
    fp8 = replace(PREFILL, quantization=Quantization.FP8)
    a100 = find_device("NVIDIA A100-SXM4-80GB")
    result = applied(measured(fp8, 100.0), fp8, QWEN, a100, {}, published_peaks(a100.name))
    assert result.roofline_fraction is None


def test_the_example_of_the_documentation_is_true():
    outcome = doctest.testfile(str(DOCS / "roofline.md"), module_relative=False)
    assert outcome.attempted > 10
    assert outcome.failed == 0
