"""Where things are kept between runs that can be made again: models, searched algorithms."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$SLIDESPARSE_CACHE`, or `~/.cache/slidesparse-bench`."""
    named = os.environ.get("SLIDESPARSE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "slidesparse-bench"
