"""What a run ran on and with: the content of `environment.json`. Facts of the machine, no secrets.

    {"schema_version", "created", "engine", "seed", "slidesparse_bench", "peaks",
     "gpus", "cpu", "platform", "python", "nvml",       device.machine_facts(), of the first sitting
     "command", "versions", "git", "code",              of the first sitting, where version 1 had them
     "sittings": [{"began", "slidesparse_bench", "command", "versions", "git", "code", "driver",
                   "gpus", "cpu", "platform", "python", "environment"}],
     "engines": {NAME: {"cells", "device", "provenance": {KEY: index}}},
     "provenances": {KEY: [value, ...]}}

A sitting is one `run` or `retry` command. What a worker says of itself is nearly the same for all
engines of a run, so each value is stored once, and an engine holds indices
(`sittings.provenance_of`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slidesparse_bench import __version__
from slidesparse_bench.device import machine_facts
from slidesparse_bench.redact import redact_command, redact_json, redact_value
from slidesparse_bench.sittings import OF_SITTING, differences, driver_of, sittings_of
from slidesparse_bench.store import now
from slidesparse_bench.wire import SCHEMA_VERSION

_DISTRIBUTIONS = re.compile(
    r"vllm|vllm-.+|torch|torchao|triton(-kernels)?|transformers|tokenizers|numpy"
    r"|compressed-tensors|llmcompressor|flashinfer-.+|flash-attn.*|xformers|deep-gemm|humming.*"
    r"|quack-kernels|tilelang|apache-tvm-ffi|cuda-.+|nvidia-.+|nvmath-python|cupy.*|ray|psutil"
    r"|intel-.+|mkl|onednn.*|numba"
)
"""Distributions that can move a number. Their metadata is read, nothing is imported."""

_VARIABLES = re.compile(
    r"(?:VLLM|CUDA|CUDNN|CUBLAS|CUBLASLT|CUSPARSELT|NVIDIA|NCCL|TORCH|TORCHINDUCTOR|PYTORCH|TRITON"
    r"|INDUCTOR|FLASHINFER|CUTLASS|CUTE|OMP|GOMP|KMP|MKL|DNNL|ONEDNN|OPENBLAS|MALLOC|RAY"
    r"|SLIDESPARSE|HF_HUB|TRANSFORMERS|TOKENIZERS)_.*"
    r"|LD_PRELOAD|LD_LIBRARY_PATH|PYTHONOPTIMIZE|PYTHONHASHSEED|CUBLAS.*|TORCH.*"
)
"""Environment variables that can move a number, or say which library is loaded."""


def environment(
    engine: str, seed: int | None = None, peaks: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The document for a run that starts now.

    `engine` and `seed` are the matrix's; `peaks` are the peak rates of the device that the
    report's roofline uses, with their source, None where they are not known.
    """
    facts = machine_facts()
    first = sitting(facts)
    return {
        "schema_version": SCHEMA_VERSION,
        "created": first["began"],
        "engine": engine,
        "seed": seed,
        "slidesparse_bench": __version__,
        "command": first["command"],
        "versions": first["versions"],
        "git": first["git"],
        "code": first["code"],
        **facts,
        "peaks": peaks,
        "sittings": [first],
        "engines": {},
        "provenances": {},
    }


def sitting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What can differ when a run goes on another day; `facts` are `device.machine_facts()`."""
    return {
        "began": now(),
        "slidesparse_bench": __version__,
        "command": redact_command(["slidesparse", *sys.argv[1:]]),
        "versions": _versions(),
        "git": _git_state(Path(__file__).parent),
        "code": _code_sha256(Path(__file__).parent),
        "driver": driver_of(facts),
        **{name: facts.get(name) for name in OF_SITTING},
        "environment": relevant_variables(os.environ),
    }


def next_sitting(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The document of a run that goes on now, and what differs from the last sitting."""
    return with_sitting(document, sitting(machine_facts()))


def with_sitting(
    document: Mapping[str, Any], sitting: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The document with one more sitting, and how that differs from the one before it, in words.

    `vllm 0.25.1 -> 0.26.0`, `driver 580.1 -> 580.2`; empty when the numbers can be compared.
    A document of version 1 becomes one of this version.
    """
    earlier = sittings_of(document)
    extended = {**document, "schema_version": SCHEMA_VERSION, "sittings": [*earlier, dict(sitting)]}
    return extended, differences(earlier[-1], sitting)


def with_engine(
    document: Mapping[str, Any],
    name: str,
    cells: Iterable[str],
    device: str | None,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """The document with what one worker process said of itself.

    `name` tells engines apart, `cells` are the ids it measured (added to those known already),
    `device` the label of its device, `provenance` is `wire.Result.provenance`.
    """
    engines = _mapping(document.get("engines"))
    known = _mapping(engines.get(name))
    table = {key: list(values) for key, values in _mapping(document.get("provenances")).items()}
    indices = {
        key: _index(table.setdefault(key, []), redact_json(value, name=key))
        for key, value in provenance.items()
    }
    engine = {
        "cells": list(dict.fromkeys([*known.get("cells", []), *cells])),
        "device": device,
        "provenance": indices,
    }
    return {
        **document,
        "engines": {**engines, name: engine},
        "provenances": table,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    """What should be a mapping, and is not in a file that somebody damaged."""
    return value if isinstance(value, Mapping) else {}


def relevant_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that can move a number, by name, without secrets."""
    relevant = sorted(name for name in variables if _VARIABLES.fullmatch(name))
    return {name: redact_value(name, variables[name]) for name in relevant}


def _index(values: list[Any], value: Any) -> int:
    """Where the value stands in the list; appended when it is new."""
    texts = [json.dumps(each, sort_keys=True) for each in values]  # 1, 1.0 and true are three
    text = json.dumps(value, sort_keys=True)
    if text not in texts:
        values.append(value)
        texts.append(text)
    return texts.index(text)


def _versions() -> dict[str, str]:
    installed = {
        re.sub(r"[-_.]+", "-", str(each.metadata["Name"])).lower(): each.version
        for each in importlib.metadata.distributions()
    }
    return {name: installed[name] for name in sorted(installed) if _DISTRIBUTIONS.fullmatch(name)}


def _code_sha256(package: Path) -> str:
    """Of this program's own modules: what ran, whether it is a checkout or an installed package."""
    digest = hashlib.sha256()
    for path in sorted(each for each in package.rglob("*.py") if each.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout this program runs from, None when it is an installed package."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or _git(folder, "ls-files", "--error-unmatch", __file__) is None:
        return None
    return {"commit": commit, "modified": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
