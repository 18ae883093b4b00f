"""Globs on cell ids: `qwen*.int8.*`. `*`, `?` and `[...]` as in the shell, case counts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from fnmatch import translate

from slidesparse_bench.cell import Cell

_WILDCARDS = re.compile(r"[*?]+|\[[^\]]*\]")
_COMPARED = 2_000
"""Ids that a glob without a match is compared with; all of them would take seconds."""
_LONGEST_GLOB = 200


_compiled = functools.lru_cache(maxsize=8192)(lambda glob: re.compile(translate(glob)))
"""The matrix of an imported run lists its cells one by one; `re` itself remembers 512 patterns."""


def matches(glob: str, cell: Cell) -> bool:
    """Whether the glob covers the whole id."""
    return _compiled(glob).match(cell.id) is not None


def select(cells: Iterable[Cell], globs: Sequence[str]) -> list[Cell]:
    """The cells that at least one glob matches, in their order."""
    ids = {glob for glob in globs if not _WILDCARDS.search(glob)}
    patterns = [glob for glob in globs if glob not in ids]
    return [
        cell for cell in cells if cell.id in ids or any(matches(glob, cell) for glob in patterns)
    ]


def nearest_id(glob: str, cells: Sequence[Cell]) -> str:
    """The id that holds the longest runs of the glob's letters, "" without cells."""
    letters = _WILDCARDS.sub("", glob)[:_LONGEST_GLOB]

    def found(cell_id: str) -> int:
        blocks = SequenceMatcher(None, letters, cell_id, autojunk=False).get_matching_blocks()
        return sum(block.size**2 for block in blocks)

    return max((cell.id for cell in cells[:_COMPARED]), key=found, default="")
