"""Who is named where: the isolation of the people who are asked about."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lorebridge import config, tables
from lorebridge.corpora.documents import filter_file
from lorebridge.corpora.people import merge_people
from lorebridge.probes.people import build_people_questions, person_and_attribute
from lorebridge.probes.questions import in_subset
from lorebridge.trace.people import count_names
from lorebridge.world.planting import generate


def count(folder: Path, texts: list[str], names: dict[str, str], workers: int = 1) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"person_id": p, "name": n, "attribute": "occupation", "items": ["Q1"], "values": ["poet"]}
        for p, n in names.items()
    ]
    tables.write("people", rows, folder / "people.parquet")
    half = len(texts) // 2
    paths = [folder / "a.parquet", folder / "b.parquet"]
    for path, part in zip(paths, (texts[:half], texts[half:]), strict=True):
        tables.write(
            "documents",
            [{"doc_id": str(i), "title": "", "text": t, "source": "s", "n_chars": len(t)} for i, t in enumerate(part)],
            path,
        )
    notes = count_names(
        stream="mono-en",
        lang="en",
        pairs=None,
        column="text",
        people=folder / "people.parquet",
        texts=paths,
        out=folder / "m.parquet",
        workers=workers,
    )
    assert notes["n_texts"] == len(texts)
    found = tables.read(folder / "m.parquet")
    assert (found["lang"] == "en").all() and found["pairs"].isna().all()
    assert notes["n_named"] == (found["n_documents"] > 0).sum()
    return dict(zip(found["person_id"], found["n_documents"], strict=True))


NAMES = {"Q1": "Ada Moor", "Q2": "Ada Moore", "Q3": "Élise\u200e Fen", "Q4": "Bo Li-Wren", "Q5": "Nobody Here"}
TEXTS = [
    "Ada Moor met Ada Moor.",
    "A\u00adda Moo\u200bre, too.",
    "Of Ada Moors nothing is known.",
    "Élise Fen! (Bo Li-Wren)",
    "ada moor in small letters",
    "GrAda Moor",
    "Ada Moor",
    "Bo Li-Wren's boat",
    "",
]


@pytest.mark.parametrize("workers", [1, 2])
def test_names_are_counted_as_whole_words_once_a_text(workers: int, tmp_path: Path) -> None:
    assert count(tmp_path, TEXTS, NAMES, workers) == {"Q1": 2, "Q2": 1, "Q3": 1, "Q4": 2, "Q5": 0}


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    """A world with people, of whom one is also put into a Korean article."""
    folder = tmp_path_factory.mktemp("planted")
    templates = config.people_templates({"people": {"templates": {}}}, "en")
    generate(
        out=folder,
        base="en",
        languages={"en": {"script": "Latin"}, "ko": {"script": "Hangul"}},
        seed=3,
        questions=16,
        doses=[1, 2],
        articles=10,
        pairs=200,
        pairs_per_entity=2,
        relations=2,
        people={"number": 12, "properties": config.people_properties(), "templates": templates},
    )
    merge_people(
        number=12,
        seed=0,
        script="Latin",
        properties=config.people_properties(),
        response=folder / "people.json",
        out=folder / "people.parquet",
        audit=folder / "people.audit.json",
    )
    articles = folder / "corpora" / "ko.jsonl.gz"
    with gzip.open(articles, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    name = tables.read(folder / "people.parquet")["name"].iloc[0]
    rows[5]["text"] = f"{name} {rows[5]['text']}"
    (folder / "ko.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def named(folder: Path, texts: Path, stream: str) -> set[str]:
    out = folder / f"{stream}.mentions.parquet"
    people = folder / "people.parquet"
    count_names(stream=stream, lang="ko", pairs=None, column="text", people=people, texts=[texts], out=out)
    found = tables.read(out)
    return set(found["person_id"][found["n_documents"] > 0])


@pytest.mark.slow
def test_the_filter_keeps_people_out_of_the_other_language(planted: Path) -> None:
    """Somebody stands in a Korean article: the filter takes the name out; without it, they are left out."""
    everybody = set(tables.read(planted / "people.parquet")["person_id"])
    first = tables.read(planted / "people.parquet")["person_id"].iloc[0]
    for lang, letters, source in (
        ("en", {"keep": "Latin"}, planted / "corpora" / "en.jsonl.gz"),
        ("ko", {"drop": "Latin"}, planted / "ko.jsonl"),
    ):
        filter_file(
            lang=lang, letters=letters, source=source, out=planted / f"{lang}.parquet", min_chars=1, max_deleted=1.0
        )
    with (planted / "ko.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    unfiltered = [{"doc_id": r["id"], "title": "", "text": r["text"], "source": "s", "n_chars": 1} for r in rows]
    tables.write("documents", unfiltered, planted / "unfiltered.parquet")
    assert named(planted, planted / "en.parquet", "mono-en") == everybody
    assert named(planted, planted / "ko.parquet", "mono-ko") == set()
    assert named(planted, planted / "unfiltered.parquet", "mono-raw") == {first}
    assert ask(planted, planted / "mono-ko.mentions.parquet")["questions"] == {"reference": 36, "clean": 36}
    notes = ask(planted, planted / "mono-raw.mentions.parquet")
    assert notes["questions"] == {"reference": 36, "clean": 33}
    table = tables.read(planted / "questions.parquet")
    left_out = set(table["question_id"]) - set(in_subset(table, "clean")["question_id"])
    assert {person_and_attribute(question)[0] for question in left_out} == {first}


def ask(folder: Path, mentions: Path) -> dict:
    """Ask three questions of each of twelve people."""
    langs = ["en", "ko"]
    templates = {lang: config.people_templates({"people": {"templates": {}}}, lang) for lang in langs}
    return build_people_questions(
        langs=langs,
        templates=templates,
        questions=36,
        seed=0,
        people=folder / "people.parquet",
        mentions=[mentions],
        out=folder / "questions.parquet",
    )
