"""Subjects are the entities that questions ask about, whatever else the question says of them."""

import gzip
import json

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.trace.asked import read_asked
from lorebridge.trace.leaks import coverage_found, leak_report, leaks
from lorebridge.trace.mentions import find_mentions
from lorebridge.trace.occurrences import stands_out
from lorebridge.trace.subjects import find_subjects
from lorebridge.world.planting import generate

SCRIPTS = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}
CULTURES = [lang for lang in SCRIPTS if lang != "en"]
MAX_CHARS = 5000


@pytest.fixture(scope="module")
def world(tmp_path_factory, released, write_questions):
    """A world whose articles word each fact in three ways and mention other options beside its entity."""
    out = tmp_path_factory.mktemp("hard")
    generate(
        out=out,
        base="en",
        languages={lang: {"script": script} for lang, script in SCRIPTS.items()},
        questions=72,
        doses=(1, 4, 16),
        articles=72,
        pairs=1000,
        pairs_per_entity=6,
        leak_rate=0.3,
        paraphrases=3,
        co_mentions=0.3,
    )
    for lang in SCRIPTS:
        with gzip.open(out / "corpora" / f"{lang}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        documents = [
            {
                "doc_id": f"{row['source']}/{row['id']}",
                "title": row["title"],
                "text": row["text"],
                "source": row["source"],
                "n_chars": len(row["text"]),
            }
            for row in rows
        ]
        tables.write("documents", documents, out / f"documents-{lang}.parquet")
    for culture in CULTURES:
        asked = {lang: released(out / "questions", culture, lang) for lang in ("en", culture)}
        write_questions(out / f"questions-{culture}.parquet", culture, asked)
        with gzip.open(out / "parallel" / f"en-{culture}.jsonl.gz", "rt", encoding="utf-8") as file:
            pairs = [json.loads(line) for line in file]
        rows = [
            {"pair_id": f"p/{i}", "en": p["en"], "xx": p[culture], "source": "planted"} for i, p in enumerate(pairs)
        ]
        tables.write("pairs", rows, out / f"pairs-{culture}.parquet")
    for lang, script in SCRIPTS.items():
        cultures = CULTURES if lang == "en" else [lang]
        find_subjects(
            lang=lang,
            script=script,
            base="en",
            max_chars=MAX_CHARS,
            documents=[out / f"documents-{lang}.parquet"],
            questions={culture: out / f"questions-{culture}.parquet" for culture in cultures},
            pairs=[] if lang == "en" else [out / f"pairs-{lang}.parquet"],
            out=out / f"subjects-{lang}.parquet",
        )
    return out, tables.read(out / "truth.parquet")


def mentions_of(out, lang, culture, stream):
    mono = stream.startswith("mono")
    path = out / f"mentions-{stream}-{lang}-{culture}.parquet"
    find_mentions(
        stream=stream,
        script=SCRIPTS[lang],
        window=1,
        max_chars=MAX_CHARS,
        cultures=[culture],
        texts=[out / (f"documents-{lang}.parquet" if mono else f"pairs-{culture}.parquet")],
        column="text" if mono else "en" if lang == "en" else "xx",
        subjects=out / f"subjects-{lang}.parquet",
        out=path,
    )
    return path


@pytest.mark.parametrize("lang", SCRIPTS)
def test_other_wordings_and_co_mentions_hide_no_statement(world, lang):
    """Recall of the documents that state a fact, and precision of the mentions of entities."""
    out, truth = world
    for culture in CULTURES if lang == "en" else [lang]:
        mentions = tables.read(mentions_of(out, lang, culture, "mono"))
        doc_ids = tables.read(out / f"documents-{lang}.parquet")["doc_id"].to_numpy()
        asked = {one.question_id for one in read_asked(out / f"subjects-{lang}.parquet", [culture]) if one.gold}
        stating = mentions[mentions["n_chunks"] > 0]
        found = set(zip(stating["question_id"], doc_ids[stating["piece"]], strict=True))
        of_truth = truth[(truth["corpus"] == lang) & truth["question_id"].isin(asked)]
        stated = {(row.question_id, doc) for row in of_truth.itertuples() for doc in row.doc_ids}
        assert len(stated) > 100
        assert len(found & stated) >= 0.95 * len(stated)
        # Whatever else is found mentions the answer beside the entity without saying so, as it does each distractor.
        assert len(found & stated) >= 0.88 * len(found)
        sums = mentions.assign(stated=mentions["n_chunks"] > 0).groupby("question_id")
        sums = sums.agg({"stated": "sum", "distractor_documents": "sum"})
        apart = stands_out(sums["stated"], sums["distractor_documents"])
        kept = {pair for pair in found if apart[pair[0]]}
        assert len(kept & stated) >= 0.95 * len(stated)
        assert len(kept & stated) >= 0.97 * len(kept)


@pytest.mark.parametrize("culture", CULTURES)
def test_coverage_and_leaks_are_those_that_were_planted(world, tmp_path, culture):
    out, truth = world
    halves = [
        {
            "culture": culture,
            "lang": lang,
            "subjects": out / f"subjects-{lang}.parquet",
            "mentions": mentions_of(out, lang, culture, "pairs"),
            "pairs": out / f"pairs-{culture}.parquet",
        }
        for lang in ("en", culture)
    ]
    leaks(halves=halves, out=tmp_path / "leaks.parquet")
    table = tables.read(tmp_path / "leaks.parquet")
    known = truth[(truth["culture"] == culture) & (truth["corpus"] == culture)].set_index("question_id")
    for lang in ("en", culture):
        rows = table[table["lang"] == lang].set_index("question_id")
        for counted, planted in (("n_subject_pairs", "n_pairs_covering"), ("n_pairs", "n_leak_pairs")):
            told = rows[rows[counted].notna()]
            found = set(told.index[told[counted] > 0])
            real = set(known.index[known[planted] > 0]) & set(told.index)
            assert len(real) > 15
            assert len(found & real) >= 0.9 * len(real), (lang, counted)
            assert len(found & real) >= 0.9 * len(found), (lang, counted)
    told = coverage_found(table, truth)
    assert list(told["lang"]) == ["en", culture] and (told["covered"] == known["covered"].sum()).all()
    assert (told[["recall", "precision"]] >= 0.9).all(axis=None)
    missed = table.assign(n_subject_pairs=table["n_subject_pairs"].where(table["lang"] == "en", 0))
    assert coverage_found(missed, truth)["recall"].tolist() == [told["recall"][0], 0]
    report = leak_report(table).set_index("lang")
    assert report.loc["either", "covered"] == pytest.approx(known["covered"].sum(), abs=3)


def test_a_listed_entity_is_known_by_its_other_names(tmp_path, write_questions):
    text = "The isle of Dokdo is small. Liancourt Rocks lie in the East Sea."
    row = {"doc_id": "s/a", "title": "", "text": text, "source": "s", "n_chars": len(text)}
    tables.write("documents", [row], tmp_path / "documents.parquet")
    asked = [("The isle of Dokdo lies in ____.", ["the East Sea", "the Yellow Sea"], "the East Sea")]
    (tmp_path / "names.csv").write_text("entity,lang,name\nQ1,en,Dokdo\nQ1,en,Liancourt Rocks\nQ1,ko,독도\n")
    find_subjects(
        lang="en",
        script="Latin",
        max_chars=100,
        documents=[tmp_path / "documents.parquet"],
        questions={"ko": write_questions(tmp_path / "questions.parquet", "ko", {"en": asked})},
        aliases=tmp_path / "names.csv",
        out=tmp_path / "subjects.parquet",
    )
    [found] = tables.read(tmp_path / "subjects.parquet").to_dict("records")
    assert (found["subject_rule"], list(found["aliases"])) == ("alias", ["Liancourt Rocks"])
    [one] = read_asked(tmp_path / "subjects.parquet", ["ko"])
    assert one.wordings == [("Dokdo",), ("Liancourt Rocks",)]


def test_shares_of_what_leaks_and_of_what_is_covered():
    columns = ["question_id", "culture", "lang", "n_pairs", "n_subject_pairs"]
    rows = [("q0", "en", 2, 3), ("q0", "ko", 0, 1), ("q1", "en", 0, 0), ("q1", "ko", None, None)]
    rows += [("q2", "en", 0, 2), ("q2", "ko", 1, 0)]
    table = pd.DataFrame([(name, "ko", *rest) for name, *rest in rows], columns=columns)
    report = leak_report(table).set_index("lang")
    assert report["share"].to_dict() == pytest.approx({"en": 1 / 3, "ko": 1 / 2, "either": 2 / 3})
    assert report["covered"].to_dict() == {"en": 2, "ko": 1, "either": 2}
    assert report["pairs"].to_dict() == {"en": 2, "ko": 1, "either": 3}
    truth = pd.DataFrame({"question_id": ["q0", "q1", "q2"], "covered": [True, True, False]})
    found = coverage_found(table, truth).set_index("lang")
    assert found["recall"].to_dict() == {"en": 0.5, "ko": 0.5}
    assert found["precision"].to_dict() == {"en": 0.5, "ko": 1.0}
