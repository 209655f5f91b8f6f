"""Invented people: told of by the base language alone, listed as a query service lists people."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from lorebridge import config, tables
from lorebridge.corpora.people import merge_people, read_people
from lorebridge.corpora.wikidata import read_response
from lorebridge.world.people import DOSE
from lorebridge.world.planting import generate

LANGUAGES = {"en": {"script": "Latin"}, "ko": {"script": "Hangul"}, "bo": {"script": "Tibetan"}}
WORDINGS = config.people_templates({"people": {"templates": {}}}, "en")
DATES = {
    "number": 20,
    "properties": config.people_properties("date"),
    "templates": config.people_templates({"people": {"templates": {}, "birth": "date"}}, "en"),
}
PEOPLE = {"number": 20, "properties": config.people_properties(), "templates": WORDINGS}


def plant(out: Path, people: dict | None = None) -> Path:
    generate(
        out=out,
        base="en",
        languages=LANGUAGES,
        seed=2,
        questions=16,
        doses=[1, 2],
        articles=10,
        pairs=200,
        pairs_per_entity=2,
        relations=2,
        people=people,
    )
    return out


def test_people_are_told_of_by_their_date_of_birth(tmp_path: Path) -> None:
    """In English words, as the paper has them; who is known to the year only has none."""
    world = plant(tmp_path / "world", DATES)
    response = world / "people.json"
    told = [v for v in read_response(response, DATES["properties"]) if v.attribute == "birth_date"]
    assert len(told) == 20 and all(re.fullmatch(r"\d{1,2} [A-Z][a-z]+ 19\d\d", v.label) for v in told)
    articles = " ".join(row["text"] for row in rows(world / "corpora" / "en.jsonl.gz"))
    assert all(f"was born on {value.label}." in articles for value in told)
    said = json.loads(response.read_text(encoding="utf-8"))
    for row in said["results"]["bindings"]:
        if "precision" in row:
            row["precision"]["value"] = "9"
    response.write_text(json.dumps(said), encoding="utf-8")
    assert {v.label for v in read_response(response, DATES["properties"]) if v.attribute == "birth_date"} == {None}


def rows(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("worlds")
    return plant(folder / "without"), plant(folder / "with", PEOPLE)


def files(world: Path) -> dict[str, bytes]:
    return {str(p.relative_to(world)): p.read_bytes() for p in world.rglob("*") if p.is_file()}


def test_people_are_added_and_change_nothing_else(worlds: tuple[Path, Path]) -> None:
    without, with_people = map(files, worlds)
    assert set(with_people) - set(without) == {"people.json"}
    assert {name for name in without if without[name] != with_people[name]} == {"corpora/en.jsonl.gz"}
    others = [r for r in rows(worlds[1] / "corpora" / "en.jsonl.gz") if not r["id"].startswith("people-")]
    assert sorted(r["id"] for r in others) == sorted(r["id"] for r in rows(worlds[0] / "corpora" / "en.jsonl.gz"))


def test_the_same_people_are_planted_again(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    assert files(plant(tmp_path / "again", PEOPLE)) == files(worlds[1])


def test_every_value_is_stated_in_each_article_of_the_base_language(worlds: tuple[Path, Path]) -> None:
    listed = list(read_response(worlds[1] / "people.json", PEOPLE["properties"]))
    articles = [r for r in rows(worlds[1] / "corpora" / "en.jsonl.gz") if r["id"].startswith("people-")]
    assert len(articles) == 20 * DOSE
    assert all(len(r["text"]) >= 200 for r in articles)
    for value in listed:
        stated = WORDINGS[value.attribute].replace("{name}", value.name or "").replace("____", value.label or "")
        assert sum(stated in r["text"] for r in articles) == DOSE
    for text in ("corpora/ko.jsonl.gz", "corpora/bo.jsonl.gz", "parallel/en-ko.jsonl.gz", "parallel/en-bo.jsonl.gz"):
        content = "\n".join(json.dumps(r, ensure_ascii=False) for r in rows(worlds[1] / text))
        assert not any(value.name in content for value in listed if value.name)


def test_everybody_can_be_asked_about(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    merge_people(
        number=20,
        seed=0,
        script="Latin",
        properties=PEOPLE["properties"],
        response=worlds[1] / "people.json",
        out=tmp_path / "p.parquet",
        audit=tmp_path / "a.json",
    )
    people = read_people(tmp_path / "p.parquet")
    assert len(people) == 20
    assert all(set(attributes) == set(PEOPLE["properties"]) for _, attributes in people.values())
    assert max(len(found) for _, attributes in people.values() for found in attributes.values()) > 1
    assert tables.read(tmp_path / "p.parquet")["name"].nunique() == 20
