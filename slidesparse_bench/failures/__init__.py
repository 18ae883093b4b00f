"""Why an attempt failed: classes, signatures, and the search for the first cause."""

from __future__ import annotations

from slidesparse_bench.failures.classes import CLASSES, FailureClass
from slidesparse_bench.failures.classify import classify
from slidesparse_bench.failures.log_file import classify_log_file

__all__ = ["CLASSES", "FailureClass", "classify", "classify_log_file"]
