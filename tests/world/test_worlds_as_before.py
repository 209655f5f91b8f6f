"""Worlds that studies were made of stay what they were, to the byte."""

import hashlib
import json
from pathlib import Path

import pytest

from lorebridge.world.planting import generate

BEFORE = json.loads((Path(__file__).parents[1] / "data" / "worlds.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", BEFORE)
def test_a_world_of_articles_is_to_the_byte_what_it_was(name, tmp_path):
    """The worlds of the first demo (three languages) and of the first dose study, file by file."""
    generate(out=tmp_path, **BEFORE[name]["arguments"])
    written = {
        str(path.relative_to(tmp_path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert written == BEFORE[name]["sha256"]
