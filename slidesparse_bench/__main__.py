"""`python -m slidesparse_bench`: the command `slidesparse` of the Python that runs it."""

from slidesparse_bench.cli import main

main()
