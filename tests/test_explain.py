"""Explanations compute: who holds the memory, what would do, which limit was passed."""

from __future__ import annotations

from typing import Any

import pytest

from slidesparse_bench.failures import classify
from slidesparse_bench.failures.facts import capability_of

KV = (
    "ValueError: To serve at least one request with the model's max seq len (1025), (1.20 GiB KV "
    "cache is needed, which is larger than the available KV cache memory (0.31 GiB). Try increasing"
)
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.45 GiB. GPU 0 has a total "
    "capacity of 15.46 GiB of which 0.93 GiB is free. Process 4711 has 3.20 GiB memory in use. "
    "Including non-PyTorch memory, this process has 11.31 GiB memory in use. Of the allocated "
    "memory 10.94 GiB is allocated by PyTorch, and 8.86 MiB is reserved by PyTorch but unallocated."
)
ILLEGAL = "RuntimeError: CUDA error: an illegal memory access was encountered"
SM_120 = (
    "NVIDIA GeForce RTX 5080 with CUDA capability sm_120 is not compatible with the current PyTorch "
    "installation."
)
BUILT_FOR = "The current PyTorch install supports CUDA capabilities sm_50 sm_60 sm_90."
NO_IMAGE = "RuntimeError: CUDA error: no kernel image is available for execution on the device"


def hint(*lines: str, **known: Any) -> str:
    return classify(list(lines), exit_code=1, known=known).hint


def test_out_of_memory_says_how_much_was_asked_free_and_held_by_whom():
    text = hint(OOM)
    assert "1.45 GiB were asked for, 0.93 GiB of 15.46 GiB were free: 0.52 GiB short." in text
    assert "This process held 11.31 GiB (10.94 GiB in tensors, 8.9 MiB reserved" in text
    assert "other processes held 3.20 GiB (process 4711)." in text


@pytest.mark.parametrize(
    ("others", "own", "failure_class"),
    [
        ("11.31 GiB", "this process has 3.20 GiB", "gpu_memory_busy"),
        ("7.00 GiB", "this process has 7.20 GiB", "oom_device"),
        # Its own pid means nothing in a container, and it is the one process that torch sees.
        ("14.31 GiB", "it", "oom_device"),
    ],
)
def test_out_of_memory_is_somebody_elses_doing_where_others_hold_most(others, own, failure_class):
    message = OOM.replace("3.20 GiB memory", f"{others} memory", 1)
    message = message.replace("this process has 11.31 GiB", own)
    assert classify([message], exit_code=1).failure_class == failure_class


def test_out_of_memory_with_enough_free_in_all_has_no_negative_shortage():
    text = hint(OOM.replace("0.93 GiB is free", "1.47 GiB is free"))
    assert (
        "1.45 GiB were asked for, 1.47 GiB of 15.46 GiB were free: enough in all, but not in one "
        "piece or not for this process. This process held 11.31 GiB"
    ) in text
    assert "short" not in text


def test_kv_cache_shortage_names_the_length_and_the_share_that_would_do():
    failure = classify([KV], exit_code=1, known={"gpu_memory_utilization": 0.8, "total_gib": 15.5})
    assert failure.facts["enough_max_model_len"] == 264
    assert failure.facts["enough_utilization"] == 0.86
    assert "max_model_len up to 264 or gpu_memory_utilization 0.86 would do." in failure.hint


def test_kv_cache_shortage_that_no_share_covers_says_so():
    text = hint(KV, gpu_memory_utilization=0.95, total_gib=15.5)
    assert "No gpu_memory_utilization would: it would take 1.01 of this memory." in text


def test_share_and_memory_of_the_device_are_read_from_the_log():
    stated = (
        "INFO 02-01 10:00:00 worker.py:266] the current vLLM instance can use total_gpu_memory "
        "(15.50GiB) x gpu_memory_utilization (0.80) = 12.40GiB"
    )
    assert "gpu_memory_utilization 0.86 would do." in hint(stated, KV)


def test_length_that_vllm_estimates_is_taken_as_it_stands():
    estimated = f"{KV}. Based on the available memory, the estimated maximum model length is 256."
    assert "max_model_len up to 256 would do." in hint(estimated)


def test_illegal_access_beyond_the_32_bit_limit_shows_the_product():
    text = hint(ILLEGAL, m=65536, intermediate_size=18944)
    assert "Likely a 32-bit index: M x 2 x intermediate_size = 65,536 x 2 x 18,944" in text
    assert "2,483,027,968 elements of the gate_up output, more than 2^31 - 1" in text
    assert "M up to 56,679 stays below it." in text


def test_illegal_access_within_the_32_bit_limit_says_that_it_is_none():
    text = hint(ILLEGAL, m=512, intermediate_size=18944)
    assert "Likely" not in text
    assert "stays below 2^31 elements" in text


def test_nothing_is_computed_from_what_is_not_known():
    assert "2^31" not in hint(ILLEGAL)
    assert "would do" not in hint("ValueError: No available memory for the cache blocks.")


def test_unsupported_gpu_names_its_capability_the_build_and_what_to_install():
    text = hint(SM_120, BUILT_FOR, NO_IMAGE)
    assert "The GPU has compute capability 12.0." in text
    assert "This PyTorch has code for sm_50, sm_60, sm_90." in text
    assert "PyTorch 2.7 or newer for CUDA 12.8 or newer supports it (vLLM 0.9 or newer)." in text


def test_capability_of_the_device_is_used_when_the_log_names_none():
    assert "The GPU has compute capability 12.0." in hint(NO_IMAGE, capability="12.0")
    assert "PyTorch built for CUDA 12.6 still supports it." in hint(NO_IMAGE, capability="6.1")


def test_quantization_that_needs_another_gpu_is_not_helped_by_a_build():
    text = hint(
        "RuntimeError: ('Quantization scheme is not supported for ', 'the current GPU. Min "
        "capability: 89. ', 'Current capability: 75.')"
    )
    assert "compute capability 7.5. 8.9 is needed, and no other build changes that." in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(120, (12, 0)), (89, (8, 9)), (7.5, (7, 5)), ("9.0", (9, 0)), ("120a", (12, 0))],
)
def test_capability_is_read_in_every_way_it_is_written(value, expected):
    assert capability_of(None, value) == expected


@pytest.mark.parametrize("value", ["", "none", 7, "sm", 12345])
def test_what_is_no_capability_is_none(value):
    assert capability_of(value) is None
