"""Algorithms that a search has found, kept on disk so that it is paid for once per machine.

One small JSON file per problem, in a folder per library, its version and the GPU. Of processes that
search the same problem at once, such as tensor-parallel ranks, the first to write decides for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slidesparse_bench.errors import SlideSparseError
from slidesparse_bench.wire import SCHEMA_VERSION, read_json, write_json

SEARCH = 3
"""Which search found an algorithm; raised when a later one may find a better. A folder of its own, so
that of several processes the first decides for all from the beginning."""
M_STEP = 16
"""cuSPARSELt takes dense matrices of 8 bits whose sides are multiples of 16 only (status 10 otherwise)."""


@dataclass(frozen=True)
class Problem:
    """One GEMM: `x: [m, k]`, `w: [n, k]`, both of `input_type`, to `[m, n]` of `output_type`.

    `k` is the stretched one where weights slide; types are torch's names, such as `int8`.
    """

    m: int
    n: int
    k: int
    input_type: str
    output_type: str

    @property
    def searched(self) -> Problem:
        """The problem that is searched in its place: m up to the next power of two.

        One search serves all m in between, and always finds for the same m, whatever came first.
        """
        return replace(self, m=max(M_STEP, 1 << (self.m - 1).bit_length()))

    @property
    def key(self) -> str:
        wide = self.searched
        return f"m{wide.m}-n{self.n}-k{self.k}-{self.input_type}-{self.output_type}"


class AlgorithmCache:
    """What searches found for one library on one kind of GPU.

    Args:
        folder: of all libraries; None keeps results in memory only.
        library: name and version, such as `cusparselt-0.8.0`.
        device: name of the GPU.
        is_valid: whether the library can make sense of an algorithm that it reads.
    """

    def __init__(
        self,
        folder: Path | None,
        library: str,
        device: str,
        is_valid: Callable[[dict[str, Any]], bool],
    ) -> None:
        self._folder = folder / f"search-{SEARCH}" / library / _slug(device) if folder else None
        self._is_valid = is_valid
        self._known: dict[str, dict[str, Any]] = {}

    def get(self, problem: Problem) -> dict[str, Any] | None:
        """The algorithm as the library wrote it; whatever cannot be read counts as none."""
        key = problem.key
        if key not in self._known and self._folder is not None:
            algorithm = self._valid(self._folder / f"{key}.json")
            if algorithm is None:
                return None
            self._known[key] = algorithm
        return self._known.get(key)

    def put(self, problem: Problem, algorithm: dict[str, Any]) -> dict[str, Any]:
        """Keep an algorithm; returns the one to use: another process may have been first.

        A disk that cannot be written costs the next process a search.
        """
        path = self._folder / f"{problem.key}.json" if self._folder else None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                algorithm = self._kept(path, algorithm)
            except OSError as error:
                print(f"slidesparse: cannot keep a searched algorithm: {error}", flush=True)
        self._known[problem.key] = algorithm
        return algorithm

    def _kept(self, path: Path, algorithm: dict[str, Any]) -> dict[str, Any]:
        """What the file holds now: this algorithm, or that of whoever was first."""
        content = {"schema_version": SCHEMA_VERSION, "algorithm": algorithm}
        try:
            write_json(path, content, replace=False)
        except FileExistsError:
            if (known := self._valid(path)) is not None:
                return known
            write_json(path, content)
        return algorithm

    def _valid(self, path: Path) -> dict[str, Any] | None:
        algorithm = _read(path)
        return algorithm if algorithm is not None and self._is_valid(algorithm) else None

    def keep_for_this_process(self, problem: Problem, algorithm: dict[str, Any]) -> None:
        """For a fallback: the next process shall search again."""
        self._known[problem.key] = algorithm


def _read(path: Path) -> dict[str, Any] | None:
    try:
        algorithm = read_json(path)["algorithm"]
    except (SlideSparseError, KeyError):
        return None
    return algorithm if isinstance(algorithm, dict) else None


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
