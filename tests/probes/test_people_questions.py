"""Questions on people: one true answer among four, the same in each language, and nobody else's when one is added."""

from __future__ import annotations

import collections
import random
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import cli, config, tables
from lorebridge.errors import InputError
from lorebridge.probes.people import (
    build_people_questions,
    distractors,
    person_and_attribute,
    person_clusters,
    question_id,
    true_of,
)
from lorebridge.probes.questions import in_subset
from lorebridge.records import Task

LANGS = ["en", "ko"]
TEMPLATES = {
    lang: {
        "occupation": f"{{name}} {lang} is ____.",
        "birth_year": f"____ {lang} {{name}}",
        "citizenship": f"{{name}} {lang} from ____.",
    }
    for lang in LANGS
}
JOBS = ["actor", "film actor", "poet", "nurse", "diver", "judge", "film judge", "Poet", "baker", "rower"]

values = st.lists(st.sampled_from(JOBS), min_size=1, max_size=3, unique=True)
years = st.integers(1850, 2000).map(lambda year: [str(year)])


@st.composite
def drawings(draw):
    timed = draw(st.booleans())
    own = draw(years if timed else values)
    others = draw(st.dictionaries(st.integers(1, 99).map("Q{}".format), years if timed else values, max_size=30))
    return own, others, timed, draw(st.integers(0, 5))


@settings(max_examples=150, deadline=None)
@given(drawings())
def test_no_second_answer_is_true(drawing):
    """Whatever people do: three different options, none of them true of the person, nor the same as another."""
    own, others, timed, seed = drawing
    found = distractors((seed, "Q0", "a"), own[0], own, others, years=timed)
    offered = {value for of_person in others.values() for value in of_person}
    if found is None:
        assert not timed or len(offered - set(own)) < 3, "three other years are always enough"
        return
    assert len(found) == len({value.casefold() for value in found}) == 3
    assert set(found) <= offered
    for index, option in enumerate(found):
        assert not true_of(option, own)
        assert not true_of(option, found[:index])


@settings(max_examples=60, deadline=None)
@given(drawings(), st.sampled_from(JOBS))
def test_one_person_more_enters_at_one_place(drawing, job):
    """Options change only where the newcomer's own value is now among them; one that says nothing new changes none."""
    own, others, timed, seed = drawing
    before = distractors((seed, "Q0", "a"), own[0], own, others, years=timed)
    newcomer = own[0] if timed else job
    after = distractors((seed, "Q0", "a"), own[0], own, {**others, "Q100": [newcomer]}, years=timed)
    if true_of(newcomer, own):
        assert after == before
    elif before is not None:
        assert after == before or newcomer in after


def test_years_are_near_and_the_gold_is_anywhere_among_them():
    rng = random.Random(0)
    others = {f"Q{n}": [str(rng.randrange(1800, 2000))] for n in range(1, 1500)}
    place = collections.Counter()
    for n in range(400):
        gold = str(rng.randrange(1850, 1950))
        found = distractors((0, f"P{n}", "birth_year"), gold, [gold], others, years=True)
        assert all(abs(int(year) - int(gold)) <= 20 for year in found)
        place[sum(int(year) < int(gold) for year in found)] += 1
    # A window around the gold would put it in the middle: second or third of four in 75 % of questions.
    assert all(count > 60 for count in place.values()), place


def people_table(path: Path, people: dict[str, dict[str, list[str]]]) -> Path:
    """Write table "people": person -> attribute -> values, each an item of its own."""
    rows = [
        {
            "person_id": person,
            "name": f"Name {person}",
            "attribute": attribute,
            "items": [f"Q9{value}" for value in found],
            "values": found,
        }
        for person, attributes in people.items()
        for attribute, found in attributes.items()
    ]
    tables.write("people", rows, path)
    return path


def many(n: int) -> dict[str, dict[str, list[str]]]:
    """Return people with two attributes, some of them with three."""
    rng = random.Random(1)
    return {
        f"Q{i}": {
            "occupation": rng.sample([f"job {letter}" for letter in "abcdefghijklmnop"], 1 + i % 2),
            "birth_year": [str(rng.randrange(1900, 1960))],
            **({"citizenship": [rng.choice("ABCDE") + "land"]} if i % 3 else {}),
        }
        for i in range(n)
    }


def build(folder: Path, people, questions=10_000, named=(), seed=0, langs=LANGS) -> tuple[pd.DataFrame, dict]:
    folder.mkdir(parents=True, exist_ok=True)
    path = people_table(folder / "people.parquet", people)
    counts = [
        {"person_id": p, "stream": "mono-ko", "lang": "ko", "pairs": None, "n_documents": int(p in named)}
        for p in people
    ]
    tables.write("people_mentions", counts, folder / "mentions.parquet")
    notes = build_people_questions(
        langs=langs,
        templates=TEMPLATES,
        questions=questions,
        seed=seed,
        people=path,
        mentions=[folder / "mentions.parquet"],
        out=folder / "questions.parquet",
    )
    return tables.read(folder / "questions.parquet"), notes


def test_both_languages_ask_the_same(tmp_path):
    table, notes = build(tmp_path, many(60), questions=100)
    assert notes["questions"] == {"reference": 100, "clean": 100}
    by_lang = [table[table["lang"] == lang].reset_index(drop=True) for lang in LANGS]
    shared = ["question_id", "culture", "option_index", "option", "is_gold"]
    pd.testing.assert_frame_equal(by_lang[0][shared], by_lang[1][shared])
    assert (table.groupby(["lang", "question_id"])["is_gold"].sum() == 1).all()
    assert (table.groupby(["lang", "question_id"]).size() == 4).all()
    for row in table.to_dict("records"):
        person, attribute = person_and_attribute(row["question_id"])
        assert row["question_id"] == question_id(person, attribute)
        assert row["text"] == TEMPLATES[row["lang"]][attribute].replace("{name}", f"Name {person}")


def test_gold_is_one_of_the_values_and_the_others_are_not_offered(tmp_path):
    people = many(60)
    table, _ = build(tmp_path, people)
    english = table[table["lang"] == "en"]
    for question, options in english.groupby("question_id"):
        person, attribute = person_and_attribute(question)
        own = people[person][attribute]
        assert [option in own for option in options["option"]] == options["is_gold"].tolist()


def test_the_place_of_the_gold_tells_nothing(tmp_path):
    """A quarter each, and within two standard errors of it for each attribute."""
    table, _ = build(tmp_path, many(300), langs=["en"])
    golds = table[table["is_gold"]]
    for _, of_attribute in golds.groupby(golds["question_id"].map(lambda q: person_and_attribute(q)[1])):
        n = len(of_attribute)
        assert abs(of_attribute["option_index"].value_counts(normalize=True) - 0.25).max() < 2.5 * (3 / 16 / n) ** 0.5


def test_everybody_is_asked_about_before_anybody_is_asked_again(tmp_path):
    table, notes = build(tmp_path, many(60), questions=80, langs=["en"])
    asked = table.drop_duplicates("question_id")["question_id"].map(lambda q: person_and_attribute(q)[0]).value_counts()
    assert len(asked) == notes["people"] == 60
    assert asked.value_counts().to_dict() == {1: 40, 2: 20}


def test_one_person_more_leaves_the_questions_of_the_others(tmp_path):
    """But for those whose options the newcomer's own values enter."""
    people = many(61)
    newcomer = {"occupation": ["sword swallower"], "birth_year": ["1650"], "citizenship": ["Farland"]}
    before, _ = build(tmp_path / "before", people, langs=["en"])
    after, _ = build(tmp_path / "after", {**people, "Q1000": newcomer}, langs=["en"])

    def asked(table):
        return {q: list(zip(g["option"], g["is_gold"], strict=True)) for q, g in table.groupby("question_id")}

    old, new = asked(before), asked(after)
    assert {q for q in new if "Q1000" not in q} == set(old)
    new_values = {value for found in newcomer.values() for value in found}
    for question, options in old.items():
        changed = [option for option in new[question] if option not in options]
        assert not changed or (len(changed) == 1 and changed[0][0] in new_values), question
        assert [o for o in options if o[1]] == [o for o in new[question] if o[1]]
        assert [o[1] for o in options] == [o[1] for o in new[question]]


def test_who_is_named_in_the_other_language_is_not_in_the_clean_subset(tmp_path):
    table, notes = build(tmp_path, many(30), named={"Q3", "Q4"})
    assert notes["named"] == 2
    left = {person_and_attribute(q)[0] for q in in_subset(table, "reference")["question_id"]}
    clean = {person_and_attribute(q)[0] for q in in_subset(table, "clean")["question_id"]}
    assert left - clean == {"Q3", "Q4"}
    assert in_subset(table, "strict").empty


def test_another_seed_draws_otherwise(tmp_path):
    one, other = (build(tmp_path / str(seed), many(40), questions=60, seed=seed)[0] for seed in (0, 1))
    assert set(one["question_id"]) != set(other["question_id"])
    again = build(tmp_path / "again", many(40), questions=60)[0]
    pd.testing.assert_frame_equal(one, again)


def test_values_that_cannot_be_told_apart_are_an_error(tmp_path):
    same = {f"Q{n}": {"occupation": ["poet"]} for n in range(9)}
    with pytest.raises(InputError, match=r"people\.parquet.*three wrong answers"):
        build(tmp_path, same)


def test_a_cluster_is_a_person(tmp_path):
    table, _ = build(tmp_path, many(20))
    clusters = person_clusters(table)
    assert set(clusters.index) == set(table["question_id"])
    people = pd.Series([person_and_attribute(question)[0] for question in clusters.index], index=clusters.index)
    assert (clusters.groupby(people).nunique() == 1).all()
    assert clusters.nunique() == people.nunique()


def test_dates_are_near_by_their_year():
    rng = random.Random(0)
    others = {f"Q{n}": [f"{rng.randrange(1, 29)} March {rng.randrange(1800, 2000)}"] for n in range(1, 1500)}
    found = distractors((0, "P1", "birth_date"), "2 March 1900", ["2 March 1900"], others, years=True)
    assert all(abs(int(date.split()[-1]) - 1900) <= 20 for date in found)


@pytest.mark.parametrize("birth", ["year", "date"])
def test_shipped_wordings_hold_name_and_blank_in_five_languages(root, birth):
    study = config.load(root / "config" / "config.yaml")
    accepted = config.schema()["$defs"]["people_templates"]
    scripts = {"ko": "가-힣", "zh": "一-鿿", "bo": "ༀ-࿿", "mn": "᠀-ᢪ"}
    for lang in study["languages"]:
        wordings = config.people_templates({"people": study["people"] | {"templates": {}, "birth": birth}}, lang)
        assert set(wordings) == set(config.people_properties(birth)) == {*accepted["required"], f"birth_{birth}"}
        for wording in wordings.values():
            assert wording.count("{name}") == wording.count("____") == 1
            rest = wording.replace("{name}", "").replace("____", "")
            if lang in scripts:
                assert not any("a" <= letter.lower() <= "z" for letter in rest)
                assert pd.Series([rest]).str.contains(f"[{scripts[lang]}]").all()
    assert all("\u202f" in wording for wording in config.people_templates(study, "mn").values())


def test_checkpoints_are_asked_by_the_worker_that_asks_the_other_questions(tmp_path, checkpoints, monkeypatch):
    """`lorebridge probe` without held-out text writes the scores, in the schema that the statistics read."""
    table, _ = build(tmp_path, many(8), questions=6)
    literals = {"run": "ko-bridge-s0", "lang_pair": "en-ko", "learned": "ko", "arm": "bridge", "seed": 0}
    shapes = {
        "checkpoints": {"shape": "by", "folder": [False, False], "keys": [["0"], ["10"]]},
        "questions": {"shape": "many", "folder": [False]},
    }
    outputs = {"people_scores": {"argument": "out", "given": "path"}}
    # What a job reads has a record that says what was written.
    folders, asked = [folder for _, folder in checkpoints], tmp_path / "questions.parquet"
    made = {folders[0].parent / "record.json": {"checkpoints": folders}, tmp_path / "q.json": {"questions": asked}}
    maker = Task("maker", {})
    for place, files in made.items():
        with maker.making(place, writes=files):
            pass
    expects = {str(place): maker.recipe for place in made}
    call = {"inputs": shapes, "outputs": outputs, "given": {}, "withheld": [], "digests": str(tmp_path / "digests")}
    task = Task("people_score", literals, expects, call=call)
    done = cli.main(
        [
            "probe",
            "--task",
            task.dumps(),
            "--record",
            str(tmp_path / "r.json"),
            "--checkpoints",
            *(str(folder) for _, folder in checkpoints),
            "--questions",
            str(tmp_path / "questions.parquet"),
            "--out",
            str(tmp_path / "scores.parquet"),
            "--batch-tokens",
            "2048",
            "--work",
            str(tmp_path / "work"),
        ]
    )
    assert done == 0
    scores = tables.read(tmp_path / "scores.parquet")
    assert len(scores) == 2 * len(table)
    assert set(scores["culture"]) == {"people"}
    assert set(scores["step"]) == {0, 10}
    assert (tmp_path / "r.json").exists()
