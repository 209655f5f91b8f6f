"""The planted world of several languages: what is stated where, and how names are alike."""

import gzip
import json
import re

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.corpora.facts import read_facts
from lorebridge.errors import InputError
from lorebridge.world.multilingual import generate_multilingual

LANGUAGES = {"en": {"script": "Latin"}, "it": {"script": "Latin", "order": "sov"}, "ko": {"script": "Hangul"}}
KNOBS = {"base": "en", "languages": LANGUAGES, "subjects": 40, "relations": 2, "objects": 6, "doses": [2, 5]}
KNOBS |= {"shared_spelling": 0.5, "subject_contains_object": 0.25, "naming_cue": 0.25, "object_pieces": [1, 2]}


def texts(folder, lang):
    with gzip.open(folder / "corpora" / f"{lang}.jsonl.gz", "rt", encoding="utf-8") as file:
        return {f"planted/{row['id']}": row["text"] for row in map(json.loads, file)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    generate_multilingual(out=folder, **KNOBS)
    return folder


def test_facts_are_stated_where_the_truth_says_and_nowhere_else(world):
    truth = tables.read(world / "truth.parquet")
    facts = {(fact.lang, fact.fact_id): fact for fact in read_facts("planted", world / "facts", list(LANGUAGES)).facts}
    assert len(truth) == len(facts) == 3 * 40 * 2
    said = {lang: texts(world, lang) for lang in LANGUAGES}
    for row in truth.to_dict("records"):
        fact = facts[row["corpus"], row["question_id"]]
        clause = fact.prompt.replace("[Y]", fact.object)
        found = [
            identity for identity, text in said[row["corpus"]].items() for _ in re.findall(re.escape(clause), text)
        ]
        assert len(found) == row["n_statements"] and set(found) == set(row["doc_ids"])
        assert row["n_statements"] in (0, row["dose"])
    stated = truth.assign(here=truth["n_statements"] > 0).pivot_table(
        index=["question_id", "placed"], columns="corpus", values="here", aggfunc="first"
    )
    pattern = {placed: {tuple(row) for row in of.to_numpy()} for placed, of in stated.groupby("placed")}
    assert pattern == {
        "everywhere": {(True, True, True)},
        "base": {(True, False, False)},
        "one": {(False, True, False), (False, False, True)},
        "nowhere": {(False, False, False)},
    }
    assert truth.groupby(["corpus", "relation", "placed"]).size().eq(10).all()


def test_names_are_as_alike_as_is_asked(world):
    facts = read_facts("planted", world / "facts", list(LANGUAGES)).facts
    by_lang = {lang: {fact.fact_id: fact for fact in facts if fact.lang == lang} for lang in LANGUAGES}
    first = [name for name in by_lang["en"] if name.endswith("-r0")]
    held = [by_lang["en"][name].object in by_lang["en"][name].subject for name in first]
    assert sum(held) == 10 and held == [by_lang["ko"][name].object in by_lang["ko"][name].subject for name in first]
    for lang in LANGUAGES:
        # A name's ending tells one answer.
        endings = {}
        for name, holds in zip(first, held, strict=True):
            fact = by_lang[lang][name]
            if not holds and " " in fact.subject:
                endings.setdefault(fact.subject.split()[-1], set()).add(fact.object_id)
        assert sum(len(objects) for objects in endings.values()) == len(endings) > 0
        assert {len(fact.object.split()) for fact in by_lang[lang].values()} == {1, 2}
    second = [name for name in by_lang["en"] if name.endswith("-r1")]
    plain = [name for name in second if " " not in by_lang["en"][name].subject]
    alike = np.mean([by_lang["en"][name].subject == by_lang["it"][name].subject for name in plain])
    assert 0.2 < alike < 0.8
    assert not any(by_lang["en"][name].subject == by_lang["ko"][name].subject for name in second)


def test_the_same_knobs_give_the_same_bytes_and_skew_and_aliases_do_what_they_say(world, tmp_path):
    generate_multilingual(out=tmp_path / "again", **KNOBS)
    for path in sorted(world.rglob("*.gz")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(world)).read_bytes()
    generate_multilingual(out=tmp_path / "skewed", **KNOBS | {"skew": 2.0, "alias_rate": 0.5})
    skewed, even = (read_facts("planted", f / "facts", ["en"]).facts for f in (tmp_path / "skewed", world))
    most = [np.unique([fact.object for fact in facts], return_counts=True)[1].max() for facts in (skewed, even)]
    assert most[0] > 1.5 * most[1]
    truth = tables.read(tmp_path / "skewed/truth.parquet")
    [fact] = [fact for fact in skewed if fact.fact_id == truth["question_id"].iloc[0]]
    said = "".join(texts(tmp_path / "skewed", "en").values())
    whole = sum(len(re.findall(re.escape(f" {fact.subject} "), said)) for fact in skewed if fact.relation == "r1")
    assert whole < 0.75 * sum(
        len(re.findall(re.escape(f" {f.subject} "), "".join(texts(world, "en").values())))
        for f in even
        if f.relation == "r1"
    )
    assert fact.object


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"placements": {"both": 1.0}}, "world.placements: there is no placement 'both'"),
        ({"placements": {"base": 0.4}}, "world.placements: .* are no shares of all facts"),
        ({"naming_cue": 0.9}, "world.naming_cue: and subject_contains_object are more"),
        ({"skew": -1.0}, "world.skew: -1.0 is below 0"),
        ({"objects": 1}, "world.objects: 1 is too small"),
        ({"languages": {"en": {"script": "Latin"}}}, "world.languages: no language beside"),
        ({"languages": LANGUAGES | {"it": {"script": "Latin", "order": "vso"}}}, "world.languages.it.order: 'vso'"),
    ],
)
def test_impossible_worlds_are_refused(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        generate_multilingual(out=tmp_path, **KNOBS | change)
