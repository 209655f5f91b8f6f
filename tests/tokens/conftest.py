"""A small bilingual study of token stores: mono-ko, pairs-ko-en and pairs-ko-xx, from sentences of invented words."""

from __future__ import annotations

import pytest
from invented import Study, invented_texts, make_study


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    """A study of 71 documents and 151 pairs."""
    return make_study(tmp_path_factory.mktemp("study"), *invented_texts(0))
