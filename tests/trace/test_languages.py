"""Alarms of corpora: text of another language or script, and one text under two names."""

import gzip
import itertools
import json
from collections import Counter

import pytest

from lorebridge import tables
from lorebridge.corpora.facts import OBJECT, SUBJECT, read_facts
from lorebridge.trace.languages import (
    ALIKE,
    CANNOT_TELL,
    LANGUAGE,
    RINGS,
    SCRIPT,
    SILENT,
    TO_DO,
    alarms_of,
    corpus_alarms,
)
from lorebridge.world.multilingual import generate_multilingual

SCRIPTS = {"en": "Latin", "it": "Latin", "ko": "Hangul"}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    languages = {lang: {"script": script} for lang, script in SCRIPTS.items()}
    generate_multilingual(
        out=folder, base="en", languages=languages, subjects=40, objects=8, doses=[5], shared_spelling=0.3
    )
    facts = {lang: set() for lang in SCRIPTS}
    for fact in read_facts("planted", folder / "facts", list(SCRIPTS)).facts:
        facts[fact.lang] |= {fact.template.replace(SUBJECT, " ").replace(OBJECT, " "), fact.object, fact.subject}
    corpora = {}
    for lang in SCRIPTS:
        with gzip.open(folder / "corpora" / f"{lang}.jsonl.gz", "rt", encoding="utf-8") as file:
            corpora[lang] = [json.loads(line)["text"] for line in file]
    return corpora, {lang: sorted(texts) for lang, texts in facts.items()}


def ringing(corpora, facts):
    found = list(alarms_of(corpora, facts, SCRIPTS))
    assert all((row["to_do"] == TO_DO[row["alarm"]]) == (row["verdict"] == RINGS) for row in found)
    return {(row["alarm"], row["lang"], row["other"]) for row in found if row["verdict"] == RINGS}


def test_nothing_rings_where_all_is_as_it_should_be(said):
    assert not ringing(*said)


def test_text_of_another_language_rings_for_both(said):
    corpora, facts = said
    found = ringing({**corpora, "it": corpora["en"]}, facts)
    assert found == {(LANGUAGE, "it", "en"), (ALIKE, "en", "it")}
    found = ringing({**corpora, "ko": corpora["it"]}, facts)
    assert found == {(SCRIPT, "ko", None), (LANGUAGE, "ko", "it"), (ALIKE, "it", "ko")}


def test_few_documents_of_another_corpus_ring(said):
    corpora, facts = said
    mixed = corpora["it"] + corpora["en"][: len(corpora["it"]) // 20]
    assert ringing({**corpora, "it": mixed}, facts) == {(ALIKE, "en", "it")}


def test_an_empty_corpus_is_not_called_right(said):
    corpora, facts = said
    found = {(row["alarm"], row["lang"]): row["verdict"] for row in alarms_of({**corpora, "it": []}, facts, SCRIPTS)}
    assert found[SCRIPT, "it"] == found[LANGUAGE, "it"] == found[ALIKE, "it"] == CANNOT_TELL


def test_the_table_names_what_rings_and_how_many(said, tmp_path):
    """English under two names: of the templates, objects and subjects of the facts, each language's own count."""
    corpora, facts = said
    rows = [
        dict.fromkeys(tables.SCHEMAS["facts"].names)
        | {"fact_id": f"{lang}-{i}", "lang": lang, "subject": text, "object": text, "template": f"{SUBJECT} {OBJECT}"}
        for lang, texts in facts.items()
        for i, text in enumerate(texts)
    ]
    tables.write("facts", rows, tmp_path / "facts.parquet")
    paths = {}
    for lang, texts in {**corpora, "it": corpora["en"]}.items():
        documents = [
            {"doc_id": str(i), "title": "", "text": text, "source": "s", "n_chars": len(text)}
            for i, text in enumerate(texts)
        ]
        paths[lang] = [tmp_path / f"{lang}-0.parquet", tmp_path / f"{lang}-1.parquet"]
        tables.write("documents", documents[:3], paths[lang][0])
        tables.write("documents", documents[3:], paths[lang][1])
    arguments = {"facts": tmp_path / "facts.parquet", "corpora": paths, "scripts": SCRIPTS}
    assert corpus_alarms(**arguments, out=tmp_path / "alarms.parquet") == {"ring": 2}
    found = tables.read(tmp_path / "alarms.parquet").set_index(["alarm", "lang", "other"])
    assert set(found.index[found["verdict"] == RINGS]) == {(LANGUAGE, "it", "en"), (ALIKE, "en", "it")}
    same = "cosine of their trigrams 1.00; 100 % of the documents stand in both word for word"
    assert found.loc[(ALIKE, "en", "it"), "why"] == same


REAL = {"en": "Latin", "de": "Latin", "id": "Latin", "af": "Latin", "ru": "Cyrillic", "ja": "Japanese", "zh": "Han"}
REAL |= {"ko": "Hangul", "ar": "Arabic", "fa": "Arabic", "hi": "Devanagari", "ta": "Tamil"}


def test_real_languages_are_told_apart_and_one_text_under_two_names_is_not(data):
    """Half of the facts of mLAMA tell what a language looks like, the other half, filled in, are its corpus."""
    facts, corpora = {}, {}
    for lang in REAL:
        some = read_facts("mlama", data / "facts/mlama", [lang]).facts[::4]
        facts[lang] = {text for fact in some[::2] for text in (fact.template, fact.object, fact.subject)}
        corpora[lang] = [fact.prompt.replace(OBJECT, fact.object) for fact in some[1::2]]
    among = Counter(text for texts in facts.values() for text in texts)
    facts = {
        lang: [text.replace(SUBJECT, " ").replace(OBJECT, " ") for text in sorted(texts) if among[text] == 1]
        for lang, texts in facts.items()
    }
    found = list(alarms_of(corpora, facts, REAL))
    assert not [row for row in found if row["verdict"] == RINGS]
    # Of a family (de and en, af and de) and others.
    assert 0.3 < max(row["value"] for row in found if row["alarm"] == ALIKE) < 0.6
    with gzip.open(data / "corpora/en.jsonl.gz", "rt", encoding="utf-8") as file:
        english = [json.loads(line)["text"] for line in itertools.islice(file, 300)]
    halves = {"en": english[:150], "af": english[150:]}
    found = {(row["alarm"], row["lang"]): row for row in alarms_of(halves, facts, REAL)}
    assert found[LANGUAGE, "en"]["verdict"] == SILENT and found[LANGUAGE, "af"]["other"] == "en"
    assert found[LANGUAGE, "af"]["verdict"] == found[ALIKE, "en"]["verdict"] == RINGS
