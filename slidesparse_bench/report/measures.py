"""The metrics that a passed cell may lack: unit, and what it takes to have them.

`docs/metrics.md` defines all metrics; a test keeps the two together.
"""

from __future__ import annotations

OPTIONAL = {
    "prompt_tokens_per_second": ("1/s", "prompt tokens counted apart from output tokens"),
    "output_tokens_per_second": ("1/s", "output tokens counted apart, in decode by step"),
    "model_memory_gib": ("GiB", "an engine that reports the memory of its weights"),
    "kv_cache_gib": ("GiB", "an engine that reports its KV cache"),
    "peak_memory_gib": ("GiB", "an engine that reports its peak"),
    "load_time_s": ("s", "a worker that timed its start-up"),
    "power_w_mean": ("W", "telemetry of an NVIDIA GPU (NVML)"),
    "sm_clock_mhz_mean": ("MHz", "telemetry of an NVIDIA GPU (NVML)"),
    "temperature_c_max": ("°C", "telemetry of an NVIDIA GPU (NVML)"),
    "energy_j": ("J", "telemetry of an NVIDIA GPU (NVML)"),
    "tokens_per_joule": ("1/J", "telemetry of an NVIDIA GPU (NVML)"),
    "achieved_tflops": ("TFLOP/s", "known shapes of all linear layers"),
    "roofline_fraction": ("share", "known peak rates of the device"),
}
