"""The recipe of every artifact of the shipped studies, as it was when somebody last changed one on purpose.

A recipe that changes remakes what it names and all that is made from it: thousands of GPU-hours, for a moved line of
code. After a deliberate change: ``python tests/test_recipes.py``, and a line in CHANGELOG.md.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lorebridge import config
from lorebridge import studies as kinds

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "data" / "recipes.json"
MADE = {
    "source": {"kind": "huggingface", "dataset": "EunsuKim/CLIcK", "data_files": "Dataset/Culture/*.json"},
    "lang": "ko",
    "translate": ["en"],
    "model": {"kind": "endpoint", "model": "a-model", "base_url": "http://localhost:1/v1"},
}
PEOPLE = {"source": {"kind": "planted"}, "number": 20, "questions": 60, "seed": 0}


def studies() -> dict[str, dict[str, Any]]:
    """The studies that are held: those shipped, and the planted world of articles with what they lack.

    That is questions on people, every kind of arm, made questions and a given model.
    """
    loaded = {path.stem: config.load(path) for path in (ROOT / "config").glob("*.yaml") if _is_study(path)}
    for with_files in ("mini", "roots-mini"):
        loaded.pop(with_files)
    people = copy.deepcopy(loaded["articles"]) | {"people": copy.deepcopy(PEOPLE)}
    variants = copy.deepcopy(loaded["articles"])
    variants["arms"] += [
        "xx_first",
        "bridge_leak_free",
        "bridge_english_matched",
        "bridge_replay",
        "no_bridge_exchanged",
    ]
    variants["training"] |= {"english_share": 0.1, "replay_share": 0.2}
    variants["questions"]["ko"]["sample"] = {"questions": 5}
    made = copy.deepcopy(loaded["articles"])
    made["questions"]["ko"] = {"files": {"en": {"kind": "made"}, "ko": {"kind": "made"}}, "made": copy.deepcopy(MADE)}
    made["given"] = {"mbert": {"hub": "google-bert/bert-base-multilingual-cased", "revision": "0" * 40}}
    loaded |= {"people": people, "variants": variants, "made": made}
    return {name: config.check(loaded[name]) for name in sorted(loaded)}


def _is_study(path: Path) -> bool:
    return path.name not in ("config.schema.yaml", "people.yaml")


def recipes(configuration: dict[str, Any]) -> dict[str, str]:
    plan = kinds.plan(configuration)
    return {
        " ".join([stage, *(f"{key}={value}" for key, value in wildcards)]): plan.recipe((stage, wildcards))
        for stage, wildcards in plan.walk()
    }


def with_data(folder: Path) -> dict[str, str]:
    """The recipes of the study of real text, which hold what its files contain."""
    return recipes(config.check(config.load(ROOT / "config" / "mini.yaml") | {"data": str(folder)}))


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, str]]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("study", studies())
def test_no_recipe_has_changed(study, golden):
    assert recipes(studies()[study]) == golden[study]


def test_no_recipe_of_real_text_has_changed(data, golden):
    assert with_data(data) == golden["mini"]


if __name__ == "__main__":
    found = {name: recipes(configuration) for name, configuration in studies().items()}
    found["mini"] = with_data(Path(os.environ["LOREBRIDGE_DATA"]))
    GOLDEN.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n", encoding="utf-8")
