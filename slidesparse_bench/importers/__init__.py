"""Results of other tools as runs of ours. One file per foreign format, one way to write a run.

A reader (`slidesparse_tree`, `vllm_bench`) turns foreign files into an `imported.ImportedRun`; it
opens them for reading only. `write_run` makes the run folder. `docs/importing.md` says what becomes
of what.
"""

from __future__ import annotations

from slidesparse_bench.importers.imported import ImportedRun
from slidesparse_bench.importers.slidesparse_tree import read_tree
from slidesparse_bench.importers.vllm_bench import Claims, read_bench
from slidesparse_bench.importers.write_run import write_run

__all__ = ["Claims", "ImportedRun", "read_bench", "read_tree", "write_run"]
