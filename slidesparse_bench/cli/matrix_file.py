"""The matrix that a command line names."""

from __future__ import annotations

from pathlib import Path

from slidesparse_bench.matrix import Matrix, load_matrix
from slidesparse_bench.store import models_folder


def read_matrix(path: Path) -> Matrix:
    """The matrix; a run's own copy keeps the meaning of its relative model paths.

    Raises:
        MatrixError: as for `load_matrix`.
    """
    return load_matrix(path, folder=models_folder(path))
