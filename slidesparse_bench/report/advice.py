"""What failure classes and verdicts mean to a reader, and what to do about them.

The only place of the report that knows `failures.classes`.
"""

from __future__ import annotations

from slidesparse_bench.failures.classes import CLASSES, FailureClass
from slidesparse_bench.feasibility import FitVerdict
from slidesparse_bench.records import Verdict
from slidesparse_bench.report.words import Said, say

VERDICTS = {
    Verdict.CAPACITY: say("too little memory at these settings; other settings may do"),
    Verdict.HARDWARE_LIMIT: say("this device cannot do it at any setting"),
    Verdict.TRANSIENT: say("the circumstances, not the cell; the same attempt may pass later"),
    Verdict.UPSTREAM_BUG: say("a defect in vLLM or in a library below it"),
    Verdict.ENVIRONMENT: say("the installation or the machine has to be repaired first"),
    Verdict.CONFIGURATION: say("the matrix or the model asks for something that cannot work"),
    Verdict.HARDWARE_FAULT: say("the device is faulty"),
    Verdict.INVALID_MEASUREMENT: say("it ran, but not what was asked for, so there is no number"),
    Verdict.HARNESS: say("a defect of slidesparse-bench"),
    Verdict.UNKNOWN: say("the cause was not recognized"),
    Verdict.NONE: say("not a failure"),
}

CONCLUSIONS = {
    Verdict.CAPACITY: say("**capacity**, to be settled by settings or by a smaller M"),
    Verdict.HARDWARE_LIMIT: say("**hardware limit**: no setting helps, another GPU does"),
    Verdict.TRANSIENT: say("**circumstances**: nothing is known of the cell; try again"),
    Verdict.UPSTREAM_BUG: say("**bug upstream**, no limit of the hardware: it needs a fix there"),
    Verdict.ENVIRONMENT: say("**environment**: repair the machine, then try again"),
    Verdict.CONFIGURATION: say("**configuration**: correct what was asked for"),
    Verdict.HARDWARE_FAULT: say("**hardware fault**: do not use the device before it is replaced"),
    Verdict.INVALID_MEASUREMENT: say("**invalid measurement**: it ran, the number does not count"),
    Verdict.HARNESS: say("**bug of slidesparse-bench**: report it with the attempt's folder"),
    Verdict.UNKNOWN: say("**open**: somebody has to read the log"),
    Verdict.NONE: say("not a failure"),
}
"""What follows from a verdict."""

PLAN_VERDICTS: dict[str, Said] = {
    FitVerdict.DOES_NOT_FIT: say("by the plan it needs more memory than there is"),
    FitVerdict.UNSUPPORTED: say("the device or this version cannot run it"),
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
