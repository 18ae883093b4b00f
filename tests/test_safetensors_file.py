"""Headers of safetensors files: read, or refused in words, whatever bytes they are."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.errors import UsageError
from slidesparse_bench.worker.safetensors_file import read_layout

NAME = "a.weight"


def write_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def facts(dtype="I8", shape=(2, 2), data_offsets=(0, 4)):
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets}


def test_tensors_come_in_the_order_they_lie_in(tmp_path):
    header = {"__metadata__": {"format": "pt"}, "b": facts("F4", (9,), (4, 9)), NAME: facts()}
    layout = read_layout(write_file(tmp_path / "f", header, bytes(9)))
    assert [(tensor.name, tensor.bytes) for tensor in layout.tensors] == [(NAME, 4), ("b", 5)]
    assert layout.tensors[0].begin == layout.header_bytes


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (facts(shape=[-2, -2]), r"a.weight has the shape \[-2, -2\] .* integers from 0"),
        (facts(shape=[2.0, 2.0]), r"the shape \[2.0, 2.0\] .* integers from 0"),
        (facts(shape=[2, 2, True]), r"the shape \[2, 2, True\] .* integers from 0"),
        (facts(shape=["4"]), r"the shape \['4'\] .* integers from 0"),
        (facts(shape=None), "not iterable"),
        (facts(data_offsets=[0.0, 4.0]), r"data_offsets \[0.0, 4.0\]; both are integers from 0"),
        (facts(data_offsets=[-4, 0]), r"data_offsets \[-4, 0\]; both are integers from 0"),
        (facts(data_offsets=[0, 4, 8]), "too many values"),
        (facts(dtype=8), "has the dtype 8, which is no name"),
        (facts(dtype="\ud800"), "surrogates not allowed"),
        ([], "list indices"),
    ],
)
def test_facts_that_cannot_be_true_are_named(tmp_path, wrong, words):
    path = write_file(tmp_path / "f", {NAME: wrong}, bytes(4))
    with pytest.raises(UsageError, match=f"f is not a whole safetensors file: .*{words}"):
        read_layout(path)


@pytest.mark.parametrize(
    "header", [b"[" * 10**5, b"{}"[:1], b"null", b"\xff\xfe", b'{"\\ud800": {}}', b"9" * 5000]
)
def test_what_is_no_header_is_refused(tmp_path, header):
    with pytest.raises(UsageError, match="f is not a whole safetensors file"):
        read_layout(write_file(tmp_path / "f", header))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
_NUMBERS = st.lists(st.integers(-3, 9) | st.just(2.0) | st.booleans(), max_size=3)
_FACTS = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["I8", "F32", "U4"]) | _JSON, "shape": _NUMBERS | _JSON},
    optional={"data_offsets": st.just([0, 4]) | _NUMBERS | _JSON},
)


@given(header=st.dictionaries(st.text(max_size=3), _FACTS | _JSON, max_size=3) | _JSON)
def test_any_header_gives_whole_tensors_or_a_refusal(header):
    with tempfile.TemporaryDirectory() as folder:
        path = write_file(Path(folder) / "f", header, bytes(4))
        try:
            layout = read_layout(path)
        except UsageError:
            return
        size = path.stat().st_size
    assert sum(tensor.bytes for tensor in layout.tensors) == size - layout.header_bytes
    assert all(type(n) is int and n >= 0 for tensor in layout.tensors for n in tensor.shape)
