"""What all tests share: the repository, a tiny study, and real data where there is some."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from lorebridge import config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def demo() -> dict[str, Any]:
    """The demo's configuration, validated, free to be changed."""
    return copy.deepcopy(config.load(ROOT / "config" / "demo.yaml"))


@pytest.fixture(scope="session")
def data() -> Path:
    """Real text and questions."""
    folder = os.environ.get("LOREBRIDGE_DATA")
    if not folder:
        pytest.skip("LOREBRIDGE_DATA does not name a folder of real text")
    return Path(folder)
