"""What travels between processes: the codec and the atomic files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.errors import FormatError, NewerFormat
from slidesparse_bench.records import Evidence, Failure, Verdict
from slidesparse_bench.settings import Measurement
from slidesparse_bench.wire import (
    CellRequest,
    Phase,
    Request,
    Round,
    Step,
    decode,
    encode,
    last_phase,
    read_json,
    write_json,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
CELL_REQUESTS = st.builds(
    CellRequest,
    cell_id=st.text(),
    attempt=st.integers(1, 99),
    folder=st.text(),
    max_num_seqs=st.integers(1, 512),
    max_num_batched_tokens=st.integers(1, 65536),
    measurement=st.builds(Measurement, fixed_iterations=st.none() | st.integers(1, 128)),
)
REQUESTS = st.builds(
    Request,
    cells=st.lists(CELL_REQUESTS, min_size=1),
    engine=st.sampled_from(["vllm", "fake"]),
    device_kind=st.just("cuda"),
    model_path=st.text(),
    random_weights=st.booleans(),
    engine_args=st.dictionaries(st.text(), SCALARS),
    linear_backend=st.none() | st.text(),
    kernel_pattern=st.text(),
    seed=st.integers(0, 2**31),
)


@given(REQUESTS)
def test_a_request_survives_the_way_through_json(request):
    assert decode(Request, json.loads(json.dumps(encode(request)))) == request


def test_nested_lists_of_steps_survive():
    done = Round(2, 0.5, 2, 1024, 2, [Step(512, 1, 12.5), Step(512, 1, 12.25)])
    assert decode(Round, encode(done)) == done


def test_failure_class_is_called_class_in_json():
    failure = Failure("oom_device", Verdict.CAPACITY, "line", Evidence("a.log", 3), False)
    assert encode(failure)["class"] == "oom_device"
    assert decode(Failure, encode(failure)) == failure


@pytest.mark.parametrize(
    "data",
    [{}, {"tokens": 1}, {"tokens": "x", "requests": 1, "time_ms": 1.0}, [], 3, None],
)
def test_what_has_another_shape_is_a_format_error(data):
    with pytest.raises(FormatError, match="not a valid Step"):
        decode(Step, data)


def test_unknown_keys_of_a_newer_minor_version_are_passed_over():
    step = decode(Step, {"tokens": 1, "requests": 1, "time_ms": 1.0, "colour": "red"})
    assert step == Step(1, 1, 1.0)


def test_written_json_is_read_back_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"schema_version": 1, "text": "größer ± 中文"})
    assert read_json(path)["text"] == "größer ± 中文"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_newer_version_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"schema_version": 99}')
    with pytest.raises(NewerFormat, match="upgrade slidesparse-bench"):
        read_json(path)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1]", "\x00"])
def test_a_file_that_is_not_ours_is_a_format_error(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(FormatError):
        read_json(path)


def test_numbers_that_json_does_not_have_are_never_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"schema_version": 1, "x": float("nan")})


def test_the_last_whole_phase_counts_when_the_file_is_torn(tmp_path):
    path = tmp_path / "phases.jsonl"
    path.write_text('{"phase": "start"}\n{"phase": "load_weights"}\n{"pha')
    assert last_phase(path) == Phase.LOAD_WEIGHTS
    assert last_phase(tmp_path / "missing") is None
