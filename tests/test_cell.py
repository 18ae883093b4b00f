"""Cells: ids, workloads, sparsities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.cell import Cell, Quantization, Sparsity, Stage, m_is_possible

MODELS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
CELLS = st.builds(
    Cell,
    model=MODELS,
    quantization=st.sampled_from(Quantization),
    backend=st.sampled_from(["native", "cutlass", "cusparselt"]),
    sparsity=st.none() | st.sampled_from([Sparsity(group) for group in Sparsity.GROUPS]),
    stage=st.sampled_from(Stage),
    m=st.integers(1, 10**6),
)


@given(CELLS)
def test_every_id_parses_back_to_its_cell(cell):
    assert Cell.parse(cell.id) == cell


def test_id_is_written_as_the_contract_says():
    cell = Cell("qwen2.5-7b", Quantization.INT8, "cusparselt", Sparsity(8), Stage.PREFILL, 16384)
    assert cell.id == "qwen2.5-7b.int8.cusparselt-2_8.prefill.m16384"


@pytest.mark.parametrize("text", ["", "a.int8.native.prefill", "a.int4.native.prefill.m1"])
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError):
        Cell.parse(text)


@pytest.mark.parametrize(
    ("m", "prompt_len", "seqs", "max_model_len", "batched"),
    [
        (16, 16, 1, 17, 17),
        (512, 512, 1, 513, 513),
        (1024, 1024, 1, 1025, 1025),
        (4096, 1024, 4, 1025, 4096),
        (65536, 1024, 64, 1025, 65536),
    ],
)
def test_prefill_workload_is_the_public_method(m, prompt_len, seqs, max_model_len, batched):
    workload = Cell.parse(f"a.int8.native.prefill.m{m}").workload
    assert (workload.prompt_len, workload.max_num_seqs) == (prompt_len, seqs)
    assert (workload.max_model_len, workload.max_num_batched_tokens) == (max_model_len, batched)
    assert workload.output_len == 1
    assert workload.prompt_len * workload.max_num_seqs == m


@pytest.mark.parametrize(("m", "batched"), [(4, 272), (64, 1024), (512, 8192)])
def test_decode_workload_prefills_its_batch_in_one_step(m, batched):
    workload = Cell.parse(f"a.fp8.native.decode.m{m}").workload
    assert (workload.prompt_len, workload.output_len, workload.max_num_seqs) == (16, 256, m)
    assert (workload.max_model_len, workload.max_num_batched_tokens) == (272, batched)


@pytest.mark.parametrize("text", ["2:5", "2:3", "1:4", "2:18", "2-8", "2:08x", ""])
def test_sparsities_that_do_not_exist_are_refused_with_the_list(text):
    with pytest.raises(ValueError, match="is not one of 2:4, 2:6, 2:8, 2:10"):
        Sparsity.parse(text)


def test_sparsity_counts_zeros():
    shares = [round(Sparsity.parse(text).zero_share, 3) for text in ("2:4", "2:6", "2_8", "2:10")]
    assert shares == [0.5, 0.333, 0.25, 0.2]


def test_sliding_windows_stretch_k_as_in_the_paper():
    stretches = [round(Sparsity(group).k_stretch, 3) for group in (4, 6, 8, 10)]
    assert stretches == [1.0, 1.333, 1.5, 1.6]


def test_prefill_m_that_no_step_can_have_is_explained():
    possible, reason = m_is_possible(Stage.PREFILL, 1500)
    assert not possible
    assert "the nearest are 1024 and 2048" in reason
    assert m_is_possible(Stage.DECODE, 1500) == (True, "")
