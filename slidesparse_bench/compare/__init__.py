"""Two runs side by side: cell by cell the ratio of their rates, and what may be said of it.

ratio    a quotient of two rates with its interval
cells    the verdict on one cell
setups   what else differs between the two runs
runs     all cells, their groups, the outcome
tables   the same as JSON, Markdown and rows
"""

from slidesparse_bench.compare.cells import Cause, ComparedCell, Rule, Verdict
from slidesparse_bench.compare.ratio import Ratio, ratio_of_rates
from slidesparse_bench.compare.runs import Comparison, compare_runs

__all__ = [
    "Cause",
    "ComparedCell",
    "Comparison",
    "Ratio",
    "Rule",
    "Verdict",
    "compare_runs",
    "ratio_of_rates",
]
