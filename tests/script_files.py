"""The programs of `scripts/` as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SCRIPTS = Path(__file__).parents[1] / "scripts"


def load_script(name: str) -> ModuleType:
    """`scripts/NAME.py`, not run; it may import its neighbours, as when it is run."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # its dataclasses look their module up
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(SCRIPTS))
    return loaded
