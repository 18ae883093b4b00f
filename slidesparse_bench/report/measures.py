"""The metrics by name, and what it takes to have those that a passed cell may lack.

`docs/metrics.md` defines all metrics; tests keep the two together.
"""

from __future__ import annotations

import dataclasses
import typing

from slidesparse_bench.report.words import say
from slidesparse_bench.wire import Metrics

_NVML = say("telemetry of an NVIDIA GPU (NVML)")
_RECORDED = say("a run of format 2 or later")
_SHAPES = say("a model whose architecture is known")
_RATES = say("known peak rates of the device (`slidesparse doctor --measure`)")

OPTIONAL = {
    "prompt_tokens_per_second": ("1/s", say("prompt tokens counted apart from output tokens")),
    "output_tokens_per_second": ("1/s", say("output tokens counted apart, in decode by step")),
    "step_time_ms": ("ms", say("a worker that timed every step")),
    "model_memory_gib": ("GiB", say("an engine that reports the memory of its weights")),
    "kv_cache_gib": ("GiB", say("an engine that reports its KV cache")),
    "peak_memory_gib": ("GiB", say("an engine that reports its peak")),
    "load_time_s": ("s", say("a worker that timed its start-up")),
    "power_w_mean": ("W", _NVML),
    "sm_clock_mhz_mean": ("MHz", _NVML),
    "temperature_c_max": ("°C", _NVML),
    "throttled": ("", _NVML),
    "energy_j": ("J", _NVML),
    "tokens_per_joule": ("1/J", _NVML),
    "achieved_tflops": ("TFLOP/s", _SHAPES),
    "achieved_tb_per_second": ("TB/s (10^12)", _SHAPES),
    "roofline_fraction": ("share", _RATES),
    "roofline_bound": ("", _RATES),
    "precision": ("share", _RECORDED),
    "outlier_steps": ("", _RECORDED),
    "warmup_steady": ("", say("a version that tells")),
    "host_slowdown": ("", say("an NVIDIA GPU: only there the engine's thread is watched")),
    "host_wait_share": (
        "share",
        say(
            "an NVIDIA GPU, asynchronous scheduling, a single rank, and a version that looks for it"
        ),
    ),
}
"""By name: unit, and what it takes where it is missing."""


def metric_names() -> list[str]:
    """Every metric, parts as `step_time_ms.mean`, in the order of `wire.Metrics`."""
    kinds = typing.get_type_hints(Metrics)
    names = []
    for field in dataclasses.fields(Metrics):
        kind = _without_none(kinds[field.name])
        parts = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        names += [f"{field.name}.{part.name}" for part in parts] or [field.name]
    return names


def _without_none(kind: typing.Any) -> typing.Any:
    """`Spread` of `Spread | None`; any other kind as it is."""
    of = [each for each in typing.get_args(kind) if each is not type(None)]
    return of[0] if len(of) == 1 and dataclasses.is_dataclass(of[0]) else kind
