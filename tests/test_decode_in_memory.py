"""`scripts/decode_in_memory.py`: what it says of the engines' answers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from script_files import load_script

from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.records import MemorySnapshot
from slidesparse_bench.units import GIB

DENSE_GIB = 15.42


@pytest.fixture
def script():
    return load_script("decode_in_memory")


def build_answer(**changes):
    answer = {
        "vllm": "0.25.1",
        "device": "a GPU",
        "model_gib": DENSE_GIB,
        "kv_tokens": 30000,
        "most_gib": 21.5,
        "tokens": 16384,
    }
    return {**answer, **changes}


def build_options(tmp_path, **changes):
    options = {"model": "qwen2.5-14b", "m": 512, "output_len": 16, "gib": 23.5, "work": tmp_path}
    return argparse.Namespace(**{**options, **changes})


def test_packed_weights_are_set_beside_the_dense_ones(script, tmp_path):
    linears_gib = find_architecture("qwen2.5-14b").linear_parameters / GIB
    sparse = build_answer(model_gib=DENSE_GIB - 0.375 * linears_gib)
    answers = {"cublaslt": build_answer(), "cusparselt-2_4": sparse}
    text = script.page(build_options(tmp_path), answers)
    assert "| cublaslt | 15.42 | 1.000 | 1 | 30000 | 21.50 | 16384 |" in text
    assert f"| cusparselt-2_4 | {sparse['model_gib']:.2f} | 0.625 | 0.625 |" in text
    assert "Needed: room for 16384 tokens." in text


def test_an_engine_that_failed_is_named_with_its_log(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "__file__", "/nonexistent.py")
    answer = script.answer_of("cublaslt", build_options(tmp_path))
    assert answer == {"error": "exit 2, see qwen2.5-14b-m512-cublaslt.log"}
    assert "| cublaslt | exit 2" in script.page(build_options(tmp_path), {"cublaslt": answer})


def test_an_answer_that_is_there_is_not_asked_for_again(script, tmp_path):
    kept = build_answer(tokens=1)
    (tmp_path / "qwen2.5-14b-m512-cublaslt.json").write_text(json.dumps(kept))
    assert script.answer_of("cublaslt", build_options(tmp_path)) == kept


def test_the_most_that_was_in_use_counts_not_what_is_left_at_the_end(script, monkeypatch):
    used = iter([5.0, 23.6, 20.0])
    running = iter([None, None, None, 0])
    snapshots = (MemorySnapshot(100 * GIB, int((100 - gib) * GIB)) for gib in used)
    device = SimpleNamespace(snapshot=lambda token: next(snapshots))
    monkeypatch.setattr(script, "find_devices", lambda *_: [device])
    monkeypatch.setattr(script, "LOOK_S", 0.0)
    process = SimpleNamespace(poll=lambda: next(running))
    assert script.most_used_gib(process) == pytest.approx(23.6)


def test_an_engine_that_took_more_than_the_card_has_is_no_answer(script, tmp_path, monkeypatch):
    class Child:
        returncode = 0

        def __init__(self, command, **_):
            out = Path(command[command.index("--out") + 1])
            out.write_text(json.dumps(build_answer()))

        def kill(self):
            """It has ended."""

    monkeypatch.setattr(script.subprocess, "Popen", Child)
    monkeypatch.setattr(script, "most_used_gib", lambda process: 23.75)
    answer = script.answer_of("cublaslt", build_options(tmp_path))
    assert answer == {"error": "23.75 GiB were in use, more than 23.5"}
