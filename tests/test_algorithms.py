"""Searched algorithms on disk: what survives, what is shared, and which m share one search."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.vllm_plugin.algorithms import M_STEP, SEARCH, AlgorithmCache, Problem

ALGORITHM = {"config_id": 7, "split_k": 1}
M = st.integers(1, 2**20)


def a_problem(m=512, n=4096, k=3584, input_type="int8", output_type="int32"):
    return Problem(m, n, k, input_type, output_type)


def a_cache(folder, library="cusparselt-0.8.0", device="NVIDIA H200"):
    """As a process that has just begun sees it."""
    return AlgorithmCache(folder, library, device, lambda algorithm: "config_id" in algorithm)


def file_of(folder, problem):
    [path] = folder.rglob(f"{problem.key}.json")
    return path


# Buckets


@given(M)
def test_bucket_is_the_next_power_of_two(m):
    bucket = a_problem(m).searched.m
    assert bucket.bit_count() == 1
    assert m <= bucket
    assert bucket < 2 * m or bucket == M_STEP


@given(M, M)
def test_larger_problems_never_have_smaller_buckets(one, other):
    small, large = sorted((one, other))
    assert a_problem(small).searched.m <= a_problem(large).searched.m


@given(M, M)
def test_one_search_serves_exactly_the_m_of_one_bucket(one, other):
    same_bucket = a_problem(one).searched.m == a_problem(other).searched.m
    assert (a_problem(one).key == a_problem(other).key) == same_bucket


@pytest.mark.parametrize(
    ("m", "bucket"), [(1, 16), (16, 16), (17, 32), (512, 512), (513, 1024), (65536, 65536)]
)
def test_bucket_of_some_sizes(m, bucket):
    assert a_problem(m).searched.m == bucket


@pytest.mark.parametrize(
    "other",
    [
        a_problem(m=1024),
        a_problem(n=4095),
        a_problem(k=3585),
        a_problem(input_type="float8_e4m3fn"),
        a_problem(output_type="bfloat16"),
    ],
    ids=lambda problem: problem.key,
)
def test_problems_that_differ_are_searched_apart(tmp_path, other):
    a_cache(tmp_path).put(a_problem(), ALGORITHM)
    assert a_cache(tmp_path).get(other) is None


# On disk


def test_next_process_finds_what_this_one_searched(tmp_path):
    a_cache(tmp_path).put(a_problem(m=500), ALGORITHM)
    assert a_cache(tmp_path).get(a_problem(m=512)) == ALGORITHM


def test_the_file_holds_the_algorithm_and_its_name_the_m_that_was_searched(tmp_path):
    a_cache(tmp_path).put(a_problem(m=500), ALGORITHM)
    path = file_of(tmp_path, a_problem(m=500))
    assert path.name.startswith("m512-")
    assert json.loads(path.read_text())["algorithm"] == ALGORITHM


@pytest.mark.parametrize(
    "other",
    [{"library": "cusparselt-0.8.1"}, {"library": "cublaslt-0.8.0"}, {"device": "NVIDIA H100"}],
    ids=str,
)
def test_another_library_version_or_gpu_searches_for_itself(tmp_path, other):
    a_cache(tmp_path).put(a_problem(), ALGORITHM)
    assert a_cache(tmp_path, **other).get(a_problem()) is None


def test_any_name_of_a_gpu_makes_one_folder(tmp_path):
    a_cache(tmp_path, device="NVIDIA RTX 5000/6000 (Ada) ../x").put(a_problem(), ALGORITHM)
    [path] = tmp_path.rglob("*.json")
    assert path.relative_to(tmp_path).parts[:-1] == (
        f"search-{SEARCH}",
        "cusparselt-0.8.0",
        "NVIDIA-RTX-5000-6000-Ada-..-x",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe\x00",
        b'{"algorithm": {"config_id": 1}}',
        b'{"schema_version": 2}',
        b'{"schema_version": 2, "algorithm": null}',
        b'{"schema_version": 2, "algorithm": 3}',
        b'{"schema_version": 2, "algorithm": [1, 2]}',
        b'{"schema_version": 2, "algorithm": "config"}',
        b'{"schema_version": 999, "algorithm": {"config_id": 1}}',
    ],
    ids=lambda content: content.decode(errors="replace") or "empty",
)
def test_damaged_file_counts_as_none_and_the_next_search_repairs_it(tmp_path, content):
    a_cache(tmp_path).put(a_problem(), ALGORITHM)
    file_of(tmp_path, a_problem()).write_bytes(content)
    cache = a_cache(tmp_path)
    assert cache.get(a_problem()) is None
    cache.put(a_problem(), ALGORITHM)
    assert a_cache(tmp_path).get(a_problem()) == ALGORITHM


def test_folder_in_place_of_the_file_counts_as_none(tmp_path):
    cache = a_cache(tmp_path)
    cache.put(a_problem(), ALGORITHM)
    path = file_of(tmp_path, a_problem())
    path.unlink()
    path.mkdir()
    assert a_cache(tmp_path).get(a_problem()) is None


def test_what_a_neighbour_finds_meanwhile_is_taken(tmp_path):
    early = a_cache(tmp_path)
    assert early.get(a_problem()) is None
    a_cache(tmp_path).put(a_problem(), ALGORITHM)
    assert early.get(a_problem()) == ALGORITHM


def test_folder_that_cannot_be_written_costs_a_line_and_the_next_process_a_search(tmp_path, capsys):
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = a_cache(tmp_path / "cache")
    cache.put(a_problem(), ALGORITHM)
    assert "cannot keep a searched algorithm" in capsys.readouterr().out
    assert cache.get(a_problem()) == ALGORITHM
    assert a_cache(tmp_path / "cache").get(a_problem()) is None


def test_without_a_folder_results_live_as_long_as_the_process():
    cache = a_cache(None)
    cache.put(a_problem(), ALGORITHM)
    assert cache.get(a_problem()) == ALGORITHM
    assert a_cache(None).get(a_problem()) is None


def test_fallback_of_a_failed_search_is_not_kept_for_others(tmp_path):
    cache = a_cache(tmp_path)
    cache.keep_for_this_process(a_problem(), ALGORITHM)
    assert cache.get(a_problem()) == ALGORITHM
    assert list(tmp_path.rglob("*.json")) == []


WRITE = """
import sys
from pathlib import Path
from slidesparse_bench.vllm_plugin.algorithms import AlgorithmCache, Problem
cache = AlgorithmCache(Path(sys.argv[1]), "cusparselt-0.8.0", "NVIDIA H200", bool)
for _ in range(200):
    cache.put(Problem(512, 4096, 3584, "int8", "int32"), {"config_id": int(sys.argv[2])})
"""


def test_two_processes_that_search_the_same_never_leave_half_a_file(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), str(number)])
        for number in (1, 2)
    ]
    seen = []
    while any(writer.poll() is None for writer in writers):
        found = a_cache(tmp_path).get(a_problem())
        if found is not None or seen:
            seen.append(found)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert all(found in ({"config_id": 1}, {"config_id": 2}) for found in seen)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [
        f"{a_problem().key}.json"
    ]


def test_an_algorithm_that_the_library_cannot_read_counts_as_none(tmp_path):
    a_cache(tmp_path).put(a_problem(), {"tile": 3})
    assert a_cache(tmp_path).get(a_problem()) is None


# Several processes


def test_of_two_that_search_at_once_the_first_decides_for_both(tmp_path):
    first, second = a_cache(tmp_path), a_cache(tmp_path)
    problem = a_problem()
    assert (first.get(problem), second.get(problem)) == (None, None)
    assert first.put(problem, ALGORITHM) == ALGORITHM
    assert second.put(problem, {"config_id": 9}) == ALGORITHM
    assert second.get(problem) == a_cache(tmp_path).get(problem) == ALGORITHM
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"]


@pytest.mark.parametrize("content", ["[" * 100_000, "{}", '{"schema_version": 1, "algorithm": {}}'])
def test_a_file_that_nobody_can_use_is_replaced(tmp_path, content):
    problem = a_problem()
    a_cache(tmp_path).put(problem, ALGORITHM)
    file_of(tmp_path, problem).write_text(content)
    cache = a_cache(tmp_path)
    assert cache.get(problem) is None
    assert cache.put(problem, {"config_id": 9}) == {"config_id": 9}
    assert a_cache(tmp_path).get(problem) == {"config_id": 9}


def test_without_hard_links_what_was_found_is_kept_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert a_cache(tmp_path).put(a_problem(), ALGORITHM) == ALGORITHM
    assert a_cache(tmp_path).get(a_problem()) == ALGORITHM
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
