"""`scripts/bench_raw_gemm.py`: which raw call ours is compared with, and what is said of it."""

import pytest

torch = pytest.importorskip("torch", reason="comes with the vllm and cpu extras")

from script_files import load_script  # noqa: E402 - it imports torch


@pytest.fixture(scope="module")
def script():
    return load_script("bench_raw_gemm")


def test_a_lucky_measurement_of_a_raw_call_is_not_what_ours_is_compared_with(script):
    """Each of the three is 1.0; the first time that one is looked at it seems to take 0.8."""
    seen = []

    def time_ms(number):
        seen.append(number)
        return 0.8 if number == 7 and seen.count(7) <= 2 else 1.0

    first_ms = {5: 1.0, 6: 1.0, 7: 0.8}
    ours_ms, raw_ms, algorithm = script.compare(first_ms, 5, time_ms, 2)
    assert (ours_ms, raw_ms, algorithm) == (1.0, 1.0, 7)


def test_the_algorithm_of_ours_is_looked_at_again_however_it_seemed_at_first(script):
    first_ms = {1: 1.0, 2: 1.1, 3: 1.2, 8: 9.0}
    times_ms = {script.OURS: 0.9, 1: 1.0, 2: 1.1, 3: 1.2, 8: 0.9}
    assert script.compare(first_ms, 8, times_ms.__getitem__, 3) == (0.9, 0.9, 8)
    assert script.compare(first_ms, 99, times_ms.__getitem__, 3) == (0.9, 1.0, 1)


def test_algorithms_that_do_not_suit_are_passed_over_and_a_full_device_is_not(script):
    def raw(alg_id):
        if alg_id in (1, 2) or alg_id > 4:
            raise RuntimeError("not for this problem")

    assert script.algorithms_of(raw) == [0, 3, 4]

    def full(alg_id):
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        script.algorithms_of(full)


def test_a_page_that_still_grows_says_so(script, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU")
    pair = script.Pair(1.0, 1.0, 8, 8)
    row = script.Compared("qkv_proj", script.Quantization.INT8, script.Sparsity(4), 512, pair, pair)
    assert "Not complete: 7 GEMMs" in script.page("x", [row], missing=7)
    assert "Not complete" not in script.page("x", [row], missing=0)


def test_the_worst_ratio_is_named(script):
    told = script.told("Rested", {"qkv_proj": 1.01, "o_proj": 1.063, "down_proj": 0.99})
    assert told == "- Rested: 2 of 3 are within it; worst 1.063 (o_proj)"
