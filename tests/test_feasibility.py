"""What is said of a cell before anything is loaded, and how right it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from script_files import load_script

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cell import DEFAULT_M, Cell, Sparsity, Stage
from slidesparse_bench.errors import UsageError
from slidesparse_bench.feasibility import (
    KNOWN_DEVICES,
    Demand,
    FitVerdict,
    cpu_kv_cache_bytes,
    find_device,
    predict,
    predict_memory,
)
from slidesparse_bench.memory_model import memory_need, weight_bytes
from slidesparse_bench.models import BUILTIN_NAMES, CATALOG
from slidesparse_bench.settings import UTILIZATION_LADDER
from slidesparse_bench.units import GIB, MIB

RTX4090 = find_device("NVIDIA GeForce RTX 4090")
RTX5080 = find_device("NVIDIA GeForce RTX 5080")
H200 = find_device("NVIDIA H200")


def cpu(memory_bytes):
    return DeviceFacts(DeviceKind.CPU, "CPU", memory_bytes)


def judge(cell_id, device, **engine_args):
    cell = Cell.parse(cell_id)
    return predict_memory(cell, CATALOG[cell.model], device, engine_args)


def kv_cache_of(cell_id, device):
    cell = Cell.parse(cell_id)
    demand = Demand.of(cell.workload, {})
    return memory_need(cell, CATALOG[cell.model], device, {}, demand).kv_cache


def test_a_small_cell_fits_and_the_parts_add_up_to_the_total():
    prediction = judge("llama3.2-1b.int8.cutlass.prefill.m4096", RTX4090)

    memory = prediction.memory
    assert prediction.verdict is FitVerdict.FITS
    assert memory is not None
    parts = memory.weights + memory.kv_cache + memory.activations + memory.overhead
    assert memory.total == pytest.approx(parts)
    assert memory.available == pytest.approx(0.8 * 24564 / 1024)


def test_a_model_larger_than_the_gpu_does_not_fit_and_the_numbers_are_in_the_reason():
    prediction = judge("qwen2.5-14b.int8.native.prefill.m512", RTX5080)

    assert prediction.verdict is FitVerdict.DOES_NOT_FIT
    assert "15.21 GiB weights" in prediction.reason
    assert "102.0 MiB KV cache for 1 sequence" in prediction.reason
    assert "even 0.98 of 15.47 GiB is 15.16 GiB" in prediction.reason


def test_a_batch_that_vllm_would_run_in_waves_does_not_fit_and_says_so():
    waves = judge("qwen2.5-14b.int8.native.decode.m512", RTX4090)
    refused = judge("qwen2.5-14b.int8.native.decode.m64", RTX5080)

    assert waves.verdict is refused.verdict is FitVerdict.DOES_NOT_FIT
    assert "vLLM would start, but not hold 512 sequences at once" in waves.reason
    assert "vLLM would start" not in refused.reason


def test_a_tight_cell_says_which_utilization_would_do():
    prediction = judge("qwen2.5-14b.int8.native.prefill.m16384", RTX4090)

    assert prediction.verdict is FitVerdict.TIGHT
    assert "19.19 GiB available at gpu_memory_utilization 0.8; 0.95 would do" in prediction.reason


def test_engine_arguments_move_the_verdict():
    cell = "qwen2.5-14b.int8.native.prefill.m4096"

    assert judge(cell, RTX4090).verdict is FitVerdict.FITS
    assert judge(cell, RTX4090, gpu_memory_utilization=0.7).verdict is FitVerdict.TIGHT


def test_large_steps_are_tight_when_too_little_stays_outside_the_reserved_share():
    prediction = judge("llama3.2-1b.int8.native.prefill.m65536", RTX5080)

    assert prediction.verdict is FitVerdict.TIGHT
    assert "only 3.09 GiB stay outside that share" in prediction.reason
    assert prediction.reason.endswith("can take 3.30 GiB; 0.75 would do")


def test_the_kv_cache_is_that_of_the_whole_batch_plus_the_block_vllm_keeps():
    tokens = (512 * 17 + 1) * 16

    kv_cache = kv_cache_of("qwen2.5-7b.int8.native.decode.m512", H200)

    assert kv_cache == tokens * CATALOG["qwen2.5-7b"].kv_bytes_per_token()


def test_one_short_sequence_still_needs_room_for_max_model_len():
    one_prompt_of_512_and_vllms_minimum_of_513 = 33

    kv_cache = kv_cache_of("qwen2.5-7b.int8.native.prefill.m512", H200)

    tokens = (one_prompt_of_512_and_vllms_minimum_of_513 + 1) * 16
    assert kv_cache == tokens * CATALOG["qwen2.5-7b"].kv_bytes_per_token()


def test_decode_activations_are_those_of_its_prefill_step():
    decode = judge("qwen2.5-7b.int8.native.decode.m512", H200).memory
    prefill = judge("qwen2.5-7b.int8.native.prefill.m8192", H200).memory

    assert decode is not None
    assert prefill is not None
    assert decode.activations == prefill.activations


def test_the_sampler_outweighs_the_step_of_a_small_model_with_a_large_vocabulary():
    memory = judge("llama3.2-1b.int8.native.decode.m512", H200, max_num_batched_tokens=512).memory

    assert memory is not None
    assert memory.activations * GIB == pytest.approx(12 * 512 * 128256)


# GiB resident on the GPU in the public runs; A on the RTX 4090, B for FP8 on the RTX 5080.
@pytest.mark.parametrize(
    ("model", "sparsity", "a", "b"),
    [
        ("llama3.2-1b", 4, 1.17, 1.06),
        ("llama3.2-3b", 6, 3.36, 2.92),
        ("qwen2.5-7b", 8, 8.87, 7.73),
        ("qwen2.5-14b", 10, 17.67, 15.21),
    ],
)
def test_compressed_weights_agree_with_the_public_runs(model, sparsity, a, b):
    def resident(quantization, device):
        cell = Cell.parse(f"{model}.{quantization}.cusparselt-2_{sparsity}.prefill.m512")
        return weight_bytes(cell, CATALOG[model], device) / GIB

    assert resident("int8", RTX4090) == pytest.approx(a, abs=0.02)
    assert resident("fp8", RTX5080) == pytest.approx(b, abs=0.02)


@pytest.mark.parametrize("model", ["llama3.2-1b", "llama3.2-3b", "qwen2.5-7b", "qwen2.5-14b"])
def test_the_index_warning_marks_the_7b_model_at_65536_only(model):
    prediction = judge(f"{model}.fp8.cutlass.prefill.m65536", H200)

    expected = ["65,536 x 37,888 = 2,483,027,968 elements"] if model == "qwen2.5-7b" else []
    assert len(prediction.warnings) == len(expected)
    assert all(text in prediction.warnings[0] for text in expected)


def test_a_sparse_model_must_fit_dense_before_it_is_packed():
    """15.2 GiB of Qwen2.5-14B are 12.1 GiB at 2:4, but only once they have been loaded."""
    small = replace(H200, memory_bytes=int(15.47 * GIB))
    cell = "qwen2.5-14b.int8.cusparselt-2_4.prefill.m512"
    prediction = judge(cell, small)
    assert prediction.verdict is FitVerdict.DOES_NOT_FIT
    assert "before the weights are packed they and CUDA take 15.8" in prediction.reason
    larger = replace(H200, memory_bytes=20 * GIB)
    assert judge(cell, larger).verdict is FitVerdict.FITS


def test_a_small_share_of_the_card_does_not_bound_what_loading_takes():
    card = replace(H200, memory_bytes=24 * GIB)
    cell = Cell.parse("qwen2.5-14b.fp8.cusparselt-2_4.prefill.m512")
    share = {"gpu_memory_utilization": 0.57}
    prediction = predict_memory(cell, CATALOG[cell.model], card, share, utilization_ladder=(0.57,))
    assert prediction.verdict is not FitVerdict.DOES_NOT_FIT


def test_tensor_parallelism_divides_what_one_gpu_holds():
    cell = "qwen2.5-14b.int8.native.prefill.m16384"
    one = judge(cell, H200).memory
    two = judge(cell, H200, tensor_parallel_size=2).memory

    assert one is not None
    assert two is not None
    assert two.weights == pytest.approx(one.weights / 2, rel=0.01)
    assert two.kv_cache == pytest.approx(one.kv_cache / 2)


def test_an_fp8_kv_cache_takes_half():
    cell = "qwen2.5-14b.int8.native.decode.m512"
    whole, half = judge(cell, H200).memory, judge(cell, H200, kv_cache_dtype="fp8_e4m3").memory

    assert whole is not None
    assert half is not None
    assert half.kv_cache == pytest.approx(whole.kv_cache / 2)


def test_without_graphs_the_overhead_is_smaller():
    cell = "llama3.2-1b.int8.native.decode.m64"
    graphs, eager = judge(cell, H200).memory, judge(cell, H200, enforce_eager=True).memory

    assert graphs is not None
    assert eager is not None
    assert graphs.overhead - eager.overhead == pytest.approx(0.3)


def test_a_fixed_kv_cache_that_is_too_small_does_not_fit_whatever_the_utilization():
    prediction = judge("tiny-llama.int8.native.decode.m64", cpu(GIB), kv_cache_memory_bytes=8 * MIB)

    assert prediction.verdict is FitVerdict.DOES_NOT_FIT
    assert prediction.reason == (
        "kv_cache_memory_bytes fixes the KV cache at 8.0 MiB; 64 sequences of 271 tokens at "
        "max_model_len 272 need 96.5 MiB"
    )


def test_a_larger_max_model_len_raises_what_vllm_insists_on():
    cell = "tiny-llama.int8.native.prefill.m512"

    assert judge(cell, cpu(16 * MIB)).verdict is FitVerdict.FITS
    assert judge(cell, cpu(16 * MIB), max_model_len=4096).verdict is FitVerdict.DOES_NOT_FIT


def test_on_a_cpu_overhead_and_activations_do_not_count_against_the_budget():
    memory = judge("tiny-llama.int8.native.prefill.m65536", cpu(GIB)).memory

    assert memory is not None
    assert (memory.activations, memory.overhead) == (0, 0)


@given(
    memory_bytes=st.integers(1, 512 * MIB),
    utilization=st.floats(0.05, 0.98),
    cell_id=st.sampled_from(
        [
            "tiny-llama.int8.native.prefill.m512",
            "tiny-llama.fp8.native.prefill.m4096",
            "tiny-qwen.int8.native.decode.m64",
        ]
    ),
)
def test_a_cpu_cell_fits_exactly_when_the_harness_gives_it_a_large_enough_cache(
    memory_bytes, utilization, cell_id
):
    device = cpu(memory_bytes)
    weights = CATALOG[Cell.parse(cell_id).model].weight_bytes

    verdict = judge(cell_id, device, gpu_memory_utilization=utilization).verdict

    given_bytes = cpu_kv_cache_bytes(memory_bytes, utilization, weights)
    assert (verdict is FitVerdict.FITS) == (given_bytes >= kv_cache_of(cell_id, device))


def test_the_cpu_cache_is_never_negative():
    assert cpu_kv_cache_bytes(10 * MIB, 0.8, 9 * MIB) == 0
    assert cpu_kv_cache_bytes(100, 0.5, 20) == 30


def test_the_fake_device_is_predicted_like_a_gpu():
    fake = DeviceFacts(DeviceKind.FAKE, "fake", RTX5080.memory_bytes)

    on_fake = judge("qwen2.5-7b.int8.cutlass.prefill.m16384", fake)

    assert on_fake == judge("qwen2.5-7b.int8.cutlass.prefill.m16384", RTX5080)


def test_what_the_device_cannot_run_is_unsupported_and_its_need_stays_on_record():
    cell = Cell.parse("qwen2.5-14b.int8.cutlass.prefill.m65536")

    prediction = predict(cell, CATALOG[cell.model], RTX5080, {})

    assert prediction.verdict is FitVerdict.UNSUPPORTED
    assert "supports compute capability below 10.0" in prediction.reason
    assert prediction.memory is not None
    assert prediction.memory.total > prediction.memory.available


def test_an_unknown_architecture_is_tried_and_says_why_nothing_is_predicted():
    prediction = predict(Cell.parse("mine.int8.native.prefill.m512"), None, H200, {})

    assert prediction.verdict is FitVerdict.TIGHT
    assert prediction.reason.startswith("memory cannot be predicted")


def test_a_shorter_ladder_makes_certain_what_a_longer_one_leaves_open():
    cell = Cell.parse("qwen2.5-14b.int8.native.prefill.m16384")

    def with_ladder(*ladder):
        return predict(cell, CATALOG[cell.model], RTX4090, {}, utilization_ladder=ladder).verdict

    assert with_ladder(*UTILIZATION_LADDER) is FitVerdict.TIGHT
    assert with_ladder(0.8) is FitVerdict.DOES_NOT_FIT


RANK = {FitVerdict.FITS: 0, FitVerdict.TIGHT: 1, FitVerdict.DOES_NOT_FIT: 2}
SPARSITIES = [None, *map(Sparsity, Sparsity.GROUPS)]


@st.composite
def series(draw):
    """A cell with its device and utilization; the M is the test's to choose."""
    sparsity = draw(st.sampled_from(SPARSITIES))
    backend = "cusparselt" if sparsity else draw(st.sampled_from(["native", "cublaslt"]))
    label = f"{backend}-{sparsity.path_form}" if sparsity else backend
    model, quantization = (
        draw(st.sampled_from(BUILTIN_NAMES)),
        draw(st.sampled_from(["int8", "fp8"])),
    )
    stage = draw(st.sampled_from(list(Stage)))
    utilization = draw(st.floats(0.3, 0.98))
    return f"{model}.{quantization}.{label}.{stage}", stage, utilization


@given(series(), st.sampled_from(KNOWN_DEVICES), st.booleans())
def test_a_larger_m_is_never_easier(drawn, known, on_cpu):
    name, stage, utilization = drawn
    device = cpu(known.cuda_mib * 4096) if on_cpu else known.facts

    verdicts = [
        judge(f"{name}.m{m}", device, gpu_memory_utilization=utilization).verdict
        for m in DEFAULT_M[stage]
    ]

    ranks = [RANK[verdict] for verdict in verdicts]
    assert ranks == sorted(ranks)


@given(series(), st.integers(0, 7), st.integers(1, 400), st.integers(0, 400))
def test_more_memory_never_makes_a_verdict_worse(drawn, position, memory_gib, more_gib):
    name, stage, utilization = drawn
    cell = f"{name}.m{DEFAULT_M[stage][position % len(DEFAULT_M[stage])]}"

    def rank(size):
        device = DeviceFacts(DeviceKind.CUDA, "a GPU", size * GIB // 4, (9, 0))
        return RANK[judge(cell, device, gpu_memory_utilization=utilization).verdict]

    assert rank(memory_gib + more_gib) <= rank(memory_gib)


@pytest.mark.parametrize("known", KNOWN_DEVICES, ids=lambda known: known.name)
def test_a_gpu_is_found_by_the_name_nvml_prints(known):
    assert find_device(known.name) == known.facts
    assert known.source


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("h200", "NVIDIA H200"),
        ("a100 sxm4 80gb", "NVIDIA A100-SXM4-80GB"),
        ("L4", "NVIDIA L4"),
    ],
)
def test_a_short_name_is_enough_when_one_gpu_has_it(short, name):
    assert find_device(short).name == name


def test_a_name_of_several_gpus_lists_them():
    with pytest.raises(UsageError) as caught:
        find_device("H100")

    assert str(caught.value) == (
        "'H100' is more than one GPU: NVIDIA H100 PCIe, NVIDIA H100 80GB HBM3; another one is "
        "planned for with --gpu-memory-gib and --compute-capability"
    )


def test_an_unknown_gpu_gets_its_nearest_names_first():
    with pytest.raises(UsageError, match="'RTX 4900' is known: NVIDIA GeForce RTX 4090"):
        find_device("RTX 4900")


@pytest.mark.parametrize("name", ["", "NVIDIA"])
def test_a_name_that_says_nothing_lists_every_gpu(name):
    with pytest.raises(UsageError, match="NVIDIA GB10"):
        find_device(name)


@pytest.fixture(scope="module")
def scored():
    """All cells of the public runs with their predictions; skipped where the data are absent."""
    script = load_script("score_feasibility")
    folder = script.corpus_folder()
    if not (folder / "cells_rtx4090.csv").is_file():
        pytest.skip("the public results are not here (SLIDESPARSE_CORPUS)")
    return script.score(folder)


def outcomes(scored, verdict):
    return Counter(item.outcome for item in scored if item.public.verdict is verdict)


def test_no_public_cell_that_passed_is_called_impossible(scored):
    assert set(outcomes(scored, FitVerdict.DOES_NOT_FIT)) == {"failed for memory"}


def test_public_memory_failures_were_foreseen(scored):
    assert outcomes(scored, FitVerdict.FITS)["failed for memory"] <= 2
    assert outcomes(scored, FitVerdict.DOES_NOT_FIT)["failed for memory"] == 120


def test_few_public_passes_are_called_tight(scored):
    assert outcomes(scored, FitVerdict.FITS)["passed"] >= 815
    assert outcomes(scored, FitVerdict.TIGHT)["passed"] <= 14


def test_public_passes_that_cannot_hold_their_m_are_decode_cells(scored):
    impossible = [
        item.cell
        for item in scored
        if item.outcome == "passed" and item.ours.verdict is FitVerdict.DOES_NOT_FIT
    ]

    assert {cell.stage for cell in impossible} == {Stage.DECODE}
    assert {cell.model for cell in impossible} <= {"llama3.2-3b", "qwen2.5-7b", "qwen2.5-14b"}
