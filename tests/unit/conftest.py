"""What all unit tests share: the repository's root, and its Python files as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load_module(path: str, name: str | None = None) -> ModuleType:
    """Return a Python file of the repository as a module.

    Args:
        path: the file, from the repository's root.
        name: under which others import it; the file's own when it is not given.
    """
    name = name or Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
