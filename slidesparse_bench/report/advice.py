"""What failure classes and verdicts mean to a reader, and what to do about them.

The only place of the report that knows `failures.classes`.
"""

from __future__ import annotations

from slidesparse_bench.failures.classes import CLASSES, FailureClass
from slidesparse_bench.feasibility import FitVerdict
from slidesparse_bench.records import Verdict

VERDICTS = {
    Verdict.CAPACITY: "too little memory at these settings; other settings may do",
    Verdict.HARDWARE_LIMIT: "this device cannot do it at any setting",
    Verdict.TRANSIENT: "the circumstances, not the cell; the same attempt may pass later",
    Verdict.UPSTREAM_BUG: "a defect in vLLM or in a library below it",
    Verdict.ENVIRONMENT: "the installation or the machine has to be repaired first",
    Verdict.CONFIGURATION: "the matrix or the model asks for something that cannot work",
    Verdict.HARDWARE_FAULT: "the device is faulty",
    Verdict.INVALID_MEASUREMENT: "it ran, but not what was asked for, so there is no number",
    Verdict.HARNESS: "a defect of slidesparse-bench",
    Verdict.UNKNOWN: "the cause was not recognized",
    Verdict.NONE: "not a failure",
}

PLAN_VERDICTS: dict[str, str] = {
    FitVerdict.DOES_NOT_FIT: "by the plan it needs more memory than there is",
    FitVerdict.UNSUPPORTED: "the device or this version cannot run it",
}
"""Verdicts with which the plan keeps a cell from being started."""


def explain(failure_class: str) -> FailureClass:
    """What is known of a class id; ids of other versions get an entry that says so."""
    unknown = FailureClass(
        id=failure_class,
        what="a class that this version of slidesparse-bench does not know",
        verdict=Verdict.UNKNOWN,
        retry="none",
        advice="Read the log at the line named here.",
    )
    return CLASSES.get(failure_class, unknown)
