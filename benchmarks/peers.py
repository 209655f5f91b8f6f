"""The libraries that ours are measured against, and their versions.

Two of them are no part of the study's environment: ``make peers`` puts them into ``build/peers``, behind its packages.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "build" / "peers"
sys.path.append(str(FOLDER))


def need(*modules: str) -> None:
    """Stop in one line where a library is not there.

    Args:
        modules: names as they are imported.
    """
    missing = [name for name in modules if not importlib.util.find_spec(name)]
    if missing:
        sys.exit(f"error: {', '.join(missing)}, which ours is measured against: make peers")


def versions(*distributions: str) -> str:
    """Return libraries with their versions, in words.

    >>> versions("pytest").split()[0]
    'pytest'
    """
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in distributions)
