"""Models: what is built in, where the others come from, how all are prepared."""

from __future__ import annotations

from slidesparse_bench.models.catalog import (
    BUILTIN_NAMES,
    CATALOG,
    Architecture,
    find_architecture,
)
from slidesparse_bench.models.prepare import Action, Prepared, materialize, prepare
from slidesparse_bench.models.sources import ModelEntry, ModelSource, SourceKind, resolve

__all__ = [
    "BUILTIN_NAMES",
    "CATALOG",
    "Action",
    "Architecture",
    "ModelEntry",
    "ModelSource",
    "Prepared",
    "SourceKind",
    "find_architecture",
    "materialize",
    "prepare",
    "resolve",
]
