"""GPUs that planning knows without having them: name, memory, compute capability.

`cuda_mib` is what CUDA calls the total (`cudaMemGetInfo`, torch's `total_memory`): the number
`gpu_memory_utilization` is multiplied by. NVML's total is up to 3 % larger, because the driver
keeps a part (16303 against 15840 MiB on the RTX 5080). Where drivers differ, the largest total
seen stands here, so that "does not fit" stays certain.

Peak rates are the vendor's, without sparsity (half of a data sheet's figure "with sparsity"). FP8
and BF16 with accumulation in float32, as vLLM's kernels do: GeForce cards run FP8 at half the rate
then, and 16 bit too, while INT8 is whole. Clocks are those of the document, which a card may exceed;
`peak_clock_mhz` is the one that the rates follow from, SMs x operations per SM and clock x clock, where
it is known: an H200 has 132 SMs of 8192 8-bit operations, which is 1979 TOP/s at 1830 MHz.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.errors import UsageError
from slidesparse_bench.roofline import Peaks
from slidesparse_bench.units import MIB


@dataclass(frozen=True)
class KnownDevice:
    """A GPU under the name NVML prints; `source` says where its memory size was read.

    `peaks` is None where the vendor has published no dense rates.
    """

    name: str
    cuda_mib: int
    compute_capability: tuple[int, int]
    source: str
    peaks: Peaks | None = None
    peak_clock_mhz: int | None = None

    @property
    def facts(self) -> DeviceFacts:
        return DeviceFacts(DeviceKind.CUDA, self.name, self.cuda_mib * MIB, self.compute_capability)


_TORCH = "torch device properties in public logs"

_GA102 = "NVIDIA Ampere GA102 GPU Architecture white paper V2.0, appendix A"
_ADA = "NVIDIA Ada GPU Architecture white paper V2.01, appendix A"
_RTX_BLACKWELL = "NVIDIA RTX Blackwell GPU Architecture white paper V1.1, appendices A and B"
_A100 = "NVIDIA A100 Tensor Core GPU data sheet"
_H100 = "NVIDIA H100 Tensor Core GPU data sheet"

# Peaks: INT8, FP8 and BF16 in 10^12 operations per second, memory in TB/s, source. Then their clock.
KNOWN_DEVICES: tuple[KnownDevice, ...] = (
    KnownDevice(
        "NVIDIA GeForce RTX 3090",
        24259,
        (8, 6),
        _TORCH,
        Peaks(284.0, None, 71.0, 0.936, _GA102),
        1695,
    ),
    KnownDevice(
        "NVIDIA GeForce RTX 4090",
        24564,
        (8, 9),
        "public SlideSparse logs (WSL2, driver 581.80); Linux drivers show 24080 to 24217",
        Peaks(660.6, 330.3, 165.2, 1.008, _ADA),
        2520,
    ),
    KnownDevice(
        "NVIDIA GeForce RTX 5080",
        15840,
        (12, 0),
        "public SlideSparse logs",
        Peaks(450.2, 225.1, 112.6, 0.960, _RTX_BLACKWELL),
        2617,
    ),
    KnownDevice(
        "NVIDIA GeForce RTX 5090",
        32120,
        (12, 0),
        _TORCH,
        Peaks(838.0, 419.0, 209.5, 1.792, _RTX_BLACKWELL),
        2407,
    ),
    KnownDevice(
        "NVIDIA A100-PCIE-40GB",
        40377,
        (8, 0),
        _TORCH,
        Peaks(624.0, None, 312.0, 1.555, _A100),
        1410,
    ),
    KnownDevice(
        "NVIDIA A100-SXM4-40GB",
        40339,
        (8, 0),
        "deviceQuery, bottlerocket PR 3873",
        Peaks(624.0, None, 312.0, 1.555, _A100),
        1410,
    ),
    KnownDevice(
        "NVIDIA A100 80GB PCIe",
        81154,
        (8, 0),
        _TORCH,
        Peaks(624.0, None, 312.0, 1.935, _A100),
        1410,
    ),
    KnownDevice(
        "NVIDIA A100-SXM4-80GB",
        81153,
        (8, 0),
        _TORCH,
        Peaks(624.0, None, 312.0, 2.039, _A100),
        1410,
    ),
    KnownDevice(
        "NVIDIA H100 PCIe",
        81008,
        (9, 0),
        _TORCH,
        Peaks(1513.0, 1513.0, 756.5, 2.0, _H100),
        1620,
    ),
    KnownDevice(
        "NVIDIA H100 80GB HBM3",
        81090,
        (9, 0),
        _TORCH,
        Peaks(1979.0, 1979.0, 989.5, 3.35, _H100),
        1830,
    ),
    KnownDevice(
        "NVIDIA H200",
        143165,
        (9, 0),
        "out-of-memory messages in public logs",
        Peaks(1979.0, 1979.0, 989.5, 4.8, "NVIDIA H200 Tensor Core GPU data sheet"),
        1830,
    ),
    KnownDevice(
        "NVIDIA B200",
        182630,
        (10, 0),
        "pytorch/ao PR 4002",
        Peaks(
            4500.0,
            4500.0,
            2250.0,
            8.0,
            "NVIDIA Blackwell Architecture technical brief, HGX B200",
        ),
    ),
    KnownDevice(
        "NVIDIA L4",
        22693,
        (8, 9),
        _TORCH,
        Peaks(242.5, 242.5, 121.0, 0.3, "NVIDIA L4 Tensor Core GPU data sheet"),
    ),
    KnownDevice(
        "NVIDIA L40S",
        45589,
        (8, 9),
        _TORCH,
        Peaks(733.0, 733.0, 362.05, 0.864, "NVIDIA L40S data sheet"),
    ),
    KnownDevice(
        "NVIDIA A10",
        23028,
        (8, 6),
        "NVML; the CUDA total is smaller",
        Peaks(250.0, None, 125.0, 0.6, "NVIDIA A10 Tensor Core GPU data sheet"),
    ),
    # Published of GB10 is FP4 with sparsity only: no rates to compare with, until measured.
    KnownDevice("NVIDIA GB10", 124610, (12, 1), "vLLM start-up messages; shared with the host"),
)


def published_peaks(name: str) -> Peaks | None:
    """The vendor's peak rates of exactly this GPU; None for another, a MIG instance included."""
    return next((known.peaks for known in KNOWN_DEVICES if known.name == name), None)


def clock_of_rates(rates: Mapping[str, Any]) -> int | None:
    """The SM clock, in MHz, at which a vendor's rates of arithmetic hold.

    `rates` are `Peaks` as a run has them on record (`environment.json`). None where they were measured
    or no clock is known.
    """
    published = (each for each in KNOWN_DEVICES if each.peaks and asdict(each.peaks) == rates)
    return next((each.peak_clock_mhz for each in published), None)


def find_device(name: str) -> DeviceFacts:
    """The GPU of that name; the name may be short ("RTX 4090", "h200") as long as one matches.

    Raises:
        UsageError: no GPU, or more than one, goes by that name; the message lists the nearest.
    """
    wanted = _words(name)
    exact = [known for known in KNOWN_DEVICES if _words(known.name) == wanted]
    matches = exact or [known for known in KNOWN_DEVICES if wanted and wanted <= _words(known.name)]
    if len(matches) == 1:
        return matches[0].facts
    candidates = [known.name for known in matches] or _nearest(name)
    what = f"'{name}' is more than one GPU" if matches else f"no GPU called '{name}' is known"
    raise UsageError(
        f"{what}: {', '.join(candidates)}; another one is planned for with "
        "--gpu-memory-gib and --compute-capability"
    )


def _words(name: str) -> frozenset[str]:
    """`NVIDIA A100-SXM4-80GB` and `a100 sxm4 80gb` are the same words; the vendor is none."""
    return frozenset(re.findall(r"[a-z0-9]+", name.lower())) - {"nvidia", "geforce"}


def _nearest(name: str) -> list[str]:
    by_key = {" ".join(sorted(_words(known.name))): known.name for known in KNOWN_DEVICES}
    keys = difflib.get_close_matches(" ".join(sorted(_words(name))), by_key, n=3, cutoff=0.4)
    return [by_key[key] for key in keys] or [known.name for known in KNOWN_DEVICES]
