"""Every place of the package that gives advice is met by a case that follows it, or says where that is done."""

from __future__ import annotations

import importlib
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from advised import Met, meet, sites
from lorebridge.corpora import readers

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS / "corpora"))
FILES = (
    "advice",
    *(
        f"advice_{name}"
        for name in ("config", "worlds", "questions", "tokens", "tables", "facts", "runs", "cli", "probes")
    ),
)
CASES = [case for name in FILES for case in importlib.import_module(f"test_{name}").CASES]

ELSEWHERE: dict[tuple[str, str], str] = {}
"""(Module, a part of the advice as the source has it) -> the test that follows it."""

CANNOT: dict[tuple[str, str], str] = {}
"""(Module, a part of the advice as the source has it) -> why no test follows it."""

NOT_YET: dict[str, int] = {}
"""Module -> how many places no case meets so far. Of a module that is not here every place is met."""


def test_every_advice_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_BOMB_BYTES", 1 << 20)
    met = Met(monkeypatch)
    meet(CASES, tmp_path, met)
    said = {**ELSEWHERE, **CANNOT}
    missing = [site for site in sites() if not met.has(site)]
    used = {key for key in said for site in missing if key[0] == site.module and key[1] in site.advice}
    missing = [s for s in missing if not any(module == s.module and part in s.advice for module, part in said)]
    listed = "\n".join(f"{site.module}:{site.lines.start} {site.advice}" for site in missing)
    assert Counter(site.module for site in missing) == NOT_YET, listed
    assert used == said.keys(), "met, or gone: take it off the tables"


def test_the_tests_that_follow_an_advice_elsewhere_are_there() -> None:
    for name in set(ELSEWHERE.values()):
        file, _, test = name.partition("::")
        assert re.search(rf"^ *def {test}\\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE), name
