"""Who shares an engine with whom."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.cell import Cell
from slidesparse_bench.engine_groups import Candidate, by_size, groups, halves, shared_args
from slidesparse_bench.feasibility import FitVerdict, MemoryEstimate
from slidesparse_bench.settings import Timeouts

SMALL = MemoryEstimate(
    weights=1.0, kv_cache=1.0, activations=1.0, overhead=1.0, total=4.0, available=20.0
)


def a_candidate(
    cell_id, *, verdict=FitVerdict.FITS, memory=SMALL, timeouts=None, fixed=(), **engine_args
):
    cell = Cell.parse(cell_id)
    work = cell.workload
    limits = {
        "max_model_len": work.max_model_len,
        "max_num_seqs": work.max_num_seqs,
        "max_num_batched_tokens": work.max_num_batched_tokens,
    }
    arguments = {**limits, "gpu_memory_utilization": 0.8, **engine_args}
    fixed = frozenset([*engine_args, *fixed])
    return Candidate(cell, arguments, fixed, timeouts or Timeouts(), verdict, memory)


def ids(grouped):
    return [[cell.id for cell in group] for group in grouped]


A = "a.int8.native"


def test_cells_that_differ_in_m_and_stage_share_an_engine_smallest_step_first():
    given_in = [f"{A}.prefill.m4096", f"{A}.prefill.m512", f"{A}.decode.m64"]
    assert ids(groups(map(a_candidate, given_in))) == [
        [f"{A}.prefill.m512", f"{A}.decode.m64", f"{A}.prefill.m4096"]
    ]


@pytest.mark.parametrize(
    ("other", "changes"),
    [
        ("b.int8.native.prefill.m512", {}),
        ("a.fp8.native.prefill.m512", {}),
        ("a.int8.cutlass.prefill.m512", {}),
        ("a.int8.cusparselt-2_4.prefill.m512", {}),
        (f"{A}.prefill.m512", {"gpu_memory_utilization": 0.9}),
        (f"{A}.prefill.m512", {"max_model_len": 5000}),
        (f"{A}.prefill.m512", {"timeouts": Timeouts(attempt_s=60)}),
        (f"{A}.prefill.m512", {"verdict": FitVerdict.TIGHT}),
        (f"{A}.prefill.m512", {"verdict": FitVerdict.DOES_NOT_FIT}),
    ],
)
def test_another_engine_is_needed_for(other, changes):
    pair = [a_candidate(f"{A}.prefill.m1024"), a_candidate(other, **changes)]
    assert ids(groups(pair)) == [[f"{A}.prefill.m1024"], [other]]


def test_where_nothing_is_known_of_the_memory_the_stages_stay_apart():
    cells = [f"{A}.prefill.m512", f"{A}.prefill.m1024", f"{A}.decode.m64"]
    unknown = [a_candidate(each, verdict=FitVerdict.TIGHT, memory=None) for each in cells]
    assert ids(groups(unknown)) == [cells[:2], cells[2:]]


def test_stages_that_fit_apart_but_not_together_stay_apart():
    much_cache = replace(SMALL, kv_cache=12.0, total=15.0)
    much_activation = replace(SMALL, activations=8.0, total=11.0)
    pair = [
        a_candidate(f"{A}.prefill.m65536", memory=much_activation),
        a_candidate(f"{A}.decode.m512", memory=much_cache),
    ]
    assert ids(groups(pair)) == [[f"{A}.prefill.m65536"], [f"{A}.decode.m512"]]
    roomy = [replace(each, memory_gib=replace(each.memory_gib, available=22.0)) for each in pair]
    assert len(groups(roomy)) == 1


def test_every_device_gets_a_group_while_there_are_cells():
    cells = [a_candidate(f"{A}.prefill.m{m}") for m in (128, 256, 512, 1024)]
    assert [len(group) for group in groups(cells, at_least=2)] == [2, 2]
    assert [len(group) for group in groups(cells, at_least=3)] == [1, 1, 2]
    assert [len(group) for group in groups(cells, at_least=9)] == [1, 1, 1, 1]
    assert groups([], at_least=2) == []


CELLS = st.builds(
    lambda model, quantization, stage, m: f"{model}.{quantization}.native.{stage}.m{m}",
    st.sampled_from(["a", "b"]),
    st.sampled_from(["int8", "fp8"]),
    st.sampled_from(["prefill", "decode"]),
    st.sampled_from([64, 512, 1024, 4096, 65536]),
)


@given(st.lists(CELLS, unique=True), st.integers(1, 4))
def test_every_cell_is_in_exactly_one_group(cell_ids, at_least):
    grouped = ids(groups(map(a_candidate, cell_ids), at_least=at_least))
    assert sorted(cell for group in grouped for cell in group) == sorted(cell_ids)
    assert all(grouped)


@given(st.lists(CELLS, unique=True, min_size=2))
def test_halves_are_smaller_and_lose_nothing(cell_ids):
    cells = by_size(map(Cell.parse, cell_ids))
    lower, upper = halves(cells)
    assert lower + upper == cells
    assert len(upper) <= len(lower) < len(cells)


def test_the_engine_gets_the_largest_limits_and_every_graph_size():
    members = [
        a_candidate(
            cell_id, compilation_config={"mode": 3, "cudagraph_capture_sizes": sizes}
        ).engine_args
        for cell_id, sizes in ((f"{A}.decode.m512", [512]), (f"{A}.prefill.m4096", [1]))
    ]
    merged = shared_args(members)
    assert (merged["max_num_seqs"], merged["max_num_batched_tokens"]) == (512, 8192)
    assert merged["max_model_len"] == 1025
    assert merged["compilation_config"] == {"mode": 3, "cudagraph_capture_sizes": [1, 512]}


def test_a_setting_that_is_no_mapping_is_left_as_it_is():
    members = [
        a_candidate(f"{A}.prefill.m{m}", compilation_config=0).engine_args for m in (64, 128)
    ]
    assert shared_args(members)["compilation_config"] == 0
