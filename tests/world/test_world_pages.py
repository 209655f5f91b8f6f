"""The planted world of pages: what states which fact, in which order, and what is asked of it."""

import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.corpora.qa import build_qa
from lorebridge.errors import InputError
from lorebridge.world.pages import generate_pages

LANGUAGES = {"en": {"script": "Latin"}, "hi": {"script": "Devanagari", "order": "vso"}, "it": {"script": "Latin"}}
SMALL = {"topics": {"test": 2, "train": 2, "both": 1, "plain": 3}, "pages": 6, "neither": 4, "relations": 3}
SMALL |= {
    "asked": 0.5,
    "echo_repetitions": 2,
    "objects": 8,
    "echoes": [0, 2],
    "strays": 0.5,
    "repetitions": 3,
    "topic_words": 2,
}


def written(folder, **knobs):
    generate_pages(out=folder, base="en", **{"languages": LANGUAGES, **SMALL, **knobs})
    return folder


def documents(folder, lang):
    with gzip.open(folder / "corpora" / f"{lang}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def asked(folder):
    return [json.loads(line) for line in (folder / "qa.jsonl").read_text(encoding="utf-8").splitlines()]


def clauses(text):
    assert text.startswith(" ") and "  " not in text
    return [tuple(clause.split()[-3:]) for clause in text.split(" .")[:-1]]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return written(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def truth(world):
    return tables.read(world / "truth.parquet")


def stating(folder, lang, subject, answer):
    """Return how often each document has a clause of the subject that ends in the answer."""
    found = Counter()
    for row in documents(folder, lang):
        n = sum(clause[-1] == answer and subject in clause[:2] for clause in clauses(row["text"]))
        found |= {f"planted/{row['id']}": n}
    return +found


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_fact_is_stated_where_the_truth_says_and_nowhere_else(world, truth, lang):
    by_clause = defaultdict(Counter)
    for row in documents(world, lang):
        for one, other, last in clauses(row["text"]):
            by_clause[frozenset((one, other)), last][f"planted/{row['id']}"] += 1
    words = truth[truth["corpus"] == lang]
    pairs = {(row.subject, row.gold): row for row in words.itertuples()}
    seen = defaultdict(Counter)
    for (pair, last), where in by_clause.items():
        for subject in pair:
            if (subject, last) in pairs:
                seen[subject, last] += where
    for key, row in pairs.items():
        assert set(seen[key]) == set(row.doc_ids) and seen[key].total() == row.n_statements == row.dose
    stated = words.groupby("placed")["n_statements"].agg(["min", "max"])
    assert stated.loc["neither"].max() == 0 and (stated.drop("neither")["min"] >= 3).all()


def test_pages_are_the_same_in_every_language(world, truth):
    every = {lang: documents(world, lang) for lang in LANGUAGES}
    ids = {lang: [row["id"] for row in rows] for lang, rows in every.items()}
    assert ids["en"] == ids["hi"] == ids["it"] == [f"page-{n:05d}" for n in range(48)]
    wide = truth.pivot_table(index="question_id", columns="corpus", values="n_statements")
    assert wide["en"].equals(wide["hi"].rename("en")) and wide["en"].equals(wide["it"].rename("en"))
    assert truth.groupby("question_id")["doc_ids"].agg(lambda of: len({tuple(ids) for ids in of})).eq(1).all()
    titles = {lang: [row["title"] for row in rows] for lang, rows in every.items()}
    assert len({*titles["en"], *titles["hi"], *titles["it"]}) == 3 * 48


def test_a_page_states_its_facts_in_every_paragraph_in_other_orders(world):
    for row in documents(world, "en"):
        own = [clause for clause in clauses(row["text"]) if row["title"] in clause[:2]]
        relation = [clause[1] if clause[0] == row["title"] else clause[0] for clause in own]
        assert set(Counter(relation).values()) == {3} and len(set(relation)) == 3 + 1
    orders = {
        tuple(clause[1] if clause[0] == row["title"] else clause[0] for clause in clauses(row["text"])[:4])
        for row in documents(world, "en")
    }
    assert len(orders) > 12
    every = [row["text"].split(" .")[:-1] for row in documents(world, "en")]
    stated = [words for text in every for words in map(str.split, text) if words[-1] != words[-1].lower()]
    assert abs(np.mean([len(words) == 4 for words in stated]) - 0.2) < 0.05
    assert abs(np.mean([words[0] != words[0].lower() for words in stated if len(words) == 3]) - 0.5) < 0.1


def test_words_hold_no_other_word_and_are_letters_alone(world):
    for script in (("en", "it"), ("hi",)):
        text = " ".join(row["text"] for lang in script for row in documents(world, lang))
        words = sorted({word.casefold() for word in text.split()} - {"."})
        assert all(word.isalpha() for word in words)
        joined = " ".join(words)
        assert all(len(re.findall(re.escape(word), joined)) == 1 for word in words)


def test_echoes_and_strays_stand_where_they_are_asked_for(world, truth):
    english = truth[truth["corpus"] == "en"]
    kinds = {row["page_id"]: row["split"] for row in asked(world)}
    other = [
        (row.placed, row.question_id.rpartition("-")[0], doc)
        for row in english.itertuples()
        for doc in row.doc_ids
        if doc != f"planted/{row.question_id.rpartition('-')[0]}"
    ]
    n_other = english["doc_ids"].map(len) - english["n_statements"].gt(0)
    assert set(n_other) == {0, 2}
    for _, of in english[english["placed"].isin(["test", "train", "both"])].groupby("placed"):
        assert abs((n_other[of.index] > 0).sum() - len(of) / 2) < 1
    topics = {doc: topic for topic, of in _topics(world).items() for doc in of}
    away = Counter((placed, topics[doc] != topics[f"planted/{page}"]) for placed, page, doc in other)
    assert away["both", True] == 0 and 0.2 < away["test", True] / (away["test", True] + away["test", False]) < 0.8
    assert not any(kinds.get(doc) for placed, page, doc in other if topics[doc] != topics[f"planted/{page}"])


def _topics(folder):
    """Return the pages of each topic: those whose remarks share words."""
    rows = documents(folder, "en")
    count = Counter(word for row in rows for clause in clauses(row["text"]) for word in clause)
    passing = max(
        (word for word in count if word.islower()),
        key=lambda word: sum(
            any(clause[1] == word and clause[2].islower() for clause in clauses(row["text"])) for row in rows
        ),
    )
    groups = []
    for row in rows:
        words = {clause[2] for clause in clauses(row["text"]) if clause[1] == passing}
        same = [group for group in groups if group[0] & words]
        groups = [group for group in groups if group not in same]
        groups.append((words.union(*(g[0] for g in same)), [f"planted/{row['id']}", *(d for g in same for d in g[1])]))
    assert len(groups) == 8 and all(len(docs) == 6 for _, docs in groups)
    return {number: docs for number, (_, docs) in enumerate(groups)}


def test_questions_are_rows_of_the_paper_and_of_the_four_splits(world, truth, tmp_path):
    rows = asked(world)
    assert Counter(row["split"] for row in rows) == {"test": 18, "train": 18, "both": 9, "neither": 12}
    golds = {(row.question_id, row.corpus): row for row in truth.itertuples()}
    texts = {(f"planted/{row['id']}", lang): row["text"] for lang in LANGUAGES for row in documents(world, lang)}
    stated = Counter()
    for row in rows:
        for lang in LANGUAGES:
            known = golds[row["id"], lang]
            assert (row["answer"][lang], row["split"]) == (known.gold, known.placed)
            ask, *words = row["question"][lang].split()
            assert known.subject in words and len(words) == 2 and ask == rows[0]["question"][lang].split()[0]
            if row["page_id"]:
                usual = f" {row['question'][lang]} {known.gold} ."
                stated[row["split"]] += usual in texts[row["page_id"], lang]
            negatives = row["negatives"][lang]
            assert len(set(negatives)) == 3 and row["answer"][lang] not in negatives
            if row["page_id"]:
                context = row["context"][lang]
                assert context in texts[row["page_id"], lang] and row["answer"][lang] in context.split()
        assert (row["page_id"] is None) == (row["split"] == "neither")
    assert 0.3 < stated["test"] / (3 * 18) < 0.7  # 1 - 0.8 ** 3, the text of a question and its answer
    notes = build_qa(
        files=[{"shape": "paper", "split": None}],
        paths=[world / "qa.jsonl"],
        langs=list(LANGUAGES),
        base="en",
        out=tmp_path / "qa.parquet",
    )
    assert notes["questions"] == {"test": 18, "train": 18, "both": 9, "neither": 12} and not notes["left_out"]
    assert not notes["negatives_out"]


def test_what_has_no_page_is_named_as_often_as_the_others(world):
    rows = [row for row in asked(world) if row["split"] == "neither"]
    for lang in LANGUAGES:
        said = Counter(word for row in documents(world, lang) for word in row["text"].split())
        for row in rows:
            (name,) = {word for word in row["question"][lang].split() if said[word] and word[0] == word[0].upper()} & {
                truth_name for truth_name in said if said[truth_name] == 3
            }
            assert name not in {document["title"] for document in documents(world, lang)}


def test_some_answers_are_right_for_no_question_of_training(world):
    rows = asked(world)
    answers = defaultdict(set)
    for row in rows:
        answers[row["split"], row["id"].rpartition("-")[2]].add(row["answer"]["en"])
    for relation in ("r0", "r1", "r2"):
        assert len(answers["train", relation]) <= 6
    assert any(answers["test", r] - answers["train", r] for r in ("r0", "r1", "r2"))


def test_names_may_be_those_of_the_base(tmp_path):
    folder = written(tmp_path, shared_spelling=1.0)
    titles = {lang: [row["title"] for row in documents(folder, lang)] for lang in LANGUAGES}
    assert titles["en"] == titles["hi"] == titles["it"]
    for row in asked(folder):
        assert len(set(row["answer"].values())) == 1 and len(set(row["question"].values())) == 3


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(world, tmp_path):
    assert digests(written(tmp_path / "same")) == digests(world)
    other = digests(written(tmp_path / "other", seed=1))
    assert other.keys() == digests(world).keys() and not set(other.values()) & set(digests(world).values())


@settings(max_examples=15, deadline=None)
@given(
    kinds=st.fixed_dictionaries(
        {"test": st.integers(1, 2), "train": st.integers(0, 2), "both": st.integers(0, 1), "plain": st.integers(1, 2)}
    ),
    pages=st.integers(2, 5),
    share=st.sampled_from([0.0, 0.4, 1.0]),
    echo=st.integers(0, 1),
    repetitions=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_counts_are_those_of_the_knobs(tmp_path_factory, kinds, pages, share, echo, repetitions, seed):
    folder = tmp_path_factory.mktemp("world")
    two = {lang: LANGUAGES[lang] for lang in ("en", "hi")}
    more = {"pages": pages, "asked": share, "echoes": [echo], "repetitions": repetitions, "seed": seed}
    written(folder, languages=two, topics=kinds, neither=1, **more)
    assert len(documents(folder, "hi")) == pages * sum(kinds.values())
    of = max(1, round(share * pages)) * 3
    wanted = {kind: of * kinds[kind] for kind in ("test", "train", "both") if kinds[kind]} | {"neither": 3}
    assert Counter(row["split"] for row in asked(folder)) == wanted
    stated = tables.read(folder / "truth.parquet").query("placed != 'neither'")
    assert stated["n_statements"].eq(repetitions + 2 * echo).all()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"topics": {"dev": 1}}, "there is no topic 'dev'. There are test, train, both, plain"),
        ({"topics": {"test": 0}}, "world.topics.test: 0 is too small. Give at least 1"),
        ({"topics": {"train": 1}}, "Give at least one of `test`"),
        ({"echoes": [6]}, "world.echoes: 6 other pages of a topic of 6. Give 5 at most"),
        ({"echoes": []}, "world.echoes: -1 is too small"),
        ({"topics": {"test": 1}}, "Give a plain topic and remarks, or 0 of them"),
        ({"remarks": 0}, "Give a plain topic and remarks, or 0 of them"),
        ({"strays": 2}, "world.strays: 2 is no share"),
        ({"objects": 3}, "world.objects: 3 is too small. Give at least 4"),
        ({"languages": {"en": {"script": "Latin"}}}, "Give at least one more"),
        ({"languages": {**LANGUAGES, "ko": {"script": "Hangul", "order": "sov"}}}, "It is one of svo, vso"),
    ],
)
def test_a_world_that_cannot_be_is_refused(tmp_path, knobs, message):
    with pytest.raises(InputError, match=message):
        written(tmp_path, **knobs)
