"""`slidesparse gemm` without its effects: what to measure, what follows from it, how it is shown."""

from slidesparse_bench.gemms.asked import Asked, asked_of_matrix, asked_of_options
from slidesparse_bench.gemms.ratios import Ratios, ratios_of, theoretical_speedup
from slidesparse_bench.gemms.result import GemmResult
from slidesparse_bench.gemms.tasks import plan_rows, select_rows
from slidesparse_bench.gemms.write import write_all

__all__ = [
    "Asked",
    "GemmResult",
    "Ratios",
    "asked_of_matrix",
    "asked_of_options",
    "plan_rows",
    "ratios_of",
    "select_rows",
    "theoretical_speedup",
    "write_all",
]
