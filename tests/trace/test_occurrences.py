"""Exact counts and the leak report, against the planted world's own record."""

import gzip
import json

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.leaks import leak_report, leaked, leaks
from lorebridge.trace.mentions import find_mentions
from lorebridge.trace.occurrences import occurrences, stands_out
from lorebridge.trace.subjects import find_subjects
from lorebridge.world.planting import generate

SCRIPTS = {"en": "Latin", "ko": "Hangul", "mn": "Mongolian"}
STREAMS = {
    ("mono", "en", "mn"): "mono-en",
    ("mono", "mn", "mn"): "mono-mn",
    ("mono", "en", "ko"): "mono-en",
    ("mono", "ko", "ko"): "mono-ko",
    ("pairs", "en", "mn"): "pairs-mn-en",
    ("pairs", "mn", "mn"): "pairs-mn-xx",
    ("pairs", "en", "ko"): "pairs-ko-en",
    ("pairs", "ko", "ko"): "pairs-ko-xx",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, passages, released, write_questions):
    """A planted world with leaks, up to its mentions; the truth; and what "occurrences" and "leaks" read."""
    out = tmp_path_factory.mktemp("world")
    generate(
        out=out,
        base="en",
        languages={lang: {"script": script} for lang, script in SCRIPTS.items()},
        questions=30,
        doses=(1, 4),
        articles=30,
        pairs=600,
        pairs_per_entity=6,
        leak_rate=0.4,
    )
    for lang in SCRIPTS:
        texts = passages(out / "corpora" / f"{lang}.jsonl.gz")
        rows = [
            {"doc_id": c[:-2], "title": "", "text": t, "source": "planted", "n_chars": len(t)} for c, t in texts.items()
        ]
        half = len(rows) // 2
        for shard, part in enumerate((rows[:half], rows[half:])):
            tables.write("documents", part, out / f"{lang}-{shard}.parquet")
    for culture in ("ko", "mn"):
        asked = {lang: released(out / "questions", culture, lang) for lang in ("en", culture)}
        write_questions(out / f"questions-{culture}.parquet", culture, asked)
        with gzip.open(out / "parallel" / f"en-{culture}.jsonl.gz", "rt", encoding="utf-8") as file:
            pairs = [json.loads(line) for line in file]
        rows = [
            {"pair_id": f"planted/{i:07d}", "en": p["en"], "xx": p[culture], "source": "planted"}
            for i, p in enumerate(pairs)
        ]
        tables.write("pairs", rows, out / f"pairs-{culture}.parquet")
    for lang, script in SCRIPTS.items():
        find_subjects(
            lang=lang,
            script=script,
            max_chars=5000,
            documents=[out / f"{lang}-{shard}.parquet" for shard in (0, 1)],
            questions={c: out / f"questions-{c}.parquet" for c in (["ko", "mn"] if lang == "en" else [lang])},
            out=out / f"subjects-{lang}.parquet",
        )
    texts = []
    for (text, lang, culture), stream in STREAMS.items():
        mono = text == "mono"
        sources = [out / f"{lang}-{s}.parquet" for s in (0, 1)] if mono else [out / f"pairs-{culture}.parquet"]
        find_mentions(
            stream=stream,
            script=SCRIPTS[lang],
            window=1,
            max_chars=5000,
            texts=sources,
            cultures=["ko", "mn"] if stream == "mono-en" else [culture],
            column="text" if mono else "en" if lang == "en" else "xx",
            subjects=out / f"subjects-{lang}.parquet",
            out=out / f"mentions-{stream}.parquet",
        )
        (out / stream).mkdir(exist_ok=True)
        (out / stream / "store.json").write_text(json.dumps({"n_documents": 7, "n_tokens": 70}))
        texts.append(
            {
                "corpus": lang,
                "culture": culture,
                "text": text,
                "tokens": out / stream,
                "subjects": out / f"subjects-{lang}.parquet",
                "mentions": out / f"mentions-{stream}.parquet",
            }
        )
    return out, tables.read(out / "truth.parquet").set_index(["question_id", "corpus"]), texts


def test_every_planted_statement_is_counted_and_no_other(world, tmp_path):
    _, truth, texts = world
    occurrences(texts=texts, out=tmp_path / "occurrences.parquet")
    table = tables.read(tmp_path / "occurrences.parquet")
    assert len(table) == 8 * 30
    assert not table.duplicated(["question_id", "corpus", "text"]).any()
    assert set(table["n_documents"]) == {7} and set(table["n_tokens"]) == {70}
    told = table.dropna(subset="n_both").set_index(["question_id", "corpus"])
    assert len(told) >= 0.9 * len(table)
    for text, column in (("mono", "n_statements"), ("pairs", "n_leak_pairs")):
        counted = told[told["text"] == text]
        expected = truth.loc[counted.index, column].tolist()
        assert sum(expected) > 50
        for unit in ("n_both", "n_chunks", "n_statements"):
            assert counted[unit].tolist() == expected, (text, unit)
        assert (counted["n_subject"] >= counted["n_both"]).all() and (counted["n_object"] >= counted["n_both"]).all()
        # No distractor is ever stated of a subject.
        assert (counted["distractor_documents"] == 0).all() and (counted["distractor_chunks"] == 0).all()
    # A number cannot be told for an answer; its subject is counted all the same.
    untold = table[table["n_both"].isna()]
    assert untold["n_object"].isna().all() and untold["n_subject"].notna().all()
    # A subject with a term that the corpus lacks is named nowhere in it.
    mono = table[table["text"] == "mono"]
    assert (mono.loc[mono["absent"], "n_subject"] == 0).all()


def test_a_control_needs_one_distractor_at_least(world, tmp_path):
    """What was never looked for is missing and no 0; without a control an answer has nothing to stand out from."""
    _, _, texts = world
    entry = next(entry for entry in texts if (entry["text"], entry["corpus"]) == ("mono", "ko"))
    subjects = tables.read(entry["subjects"])
    named = subjects.index[subjects["terms"].str.len() > 0][:2]
    for row, kept in zip(named, (0, 1), strict=True):
        subjects.at[row, "distractors"] = list(subjects.at[row, "distractors"])[:kept]
    tables.write("subjects", subjects, tmp_path / "subjects.parquet")
    occurrences(texts=[entry | {"subjects": tmp_path / "subjects.parquet"}], out=tmp_path / "occurrences.parquet")
    found = tables.read(tmp_path / "occurrences.parquet").set_index("question_id")["distractor_documents"]
    assert found[subjects.loc[named, "question_id"]].isna().tolist() == [True, False]
    with_gold = pd.Series([1, 2, 3, 0, None], dtype="Int64")
    with_distractor = pd.Series([None, 1, 1, None, 1], dtype="Float64")
    assert stands_out(with_gold, with_distractor).tolist() == [True, False, True, False, pd.NA]


def test_a_leak_names_its_pairs(world, tmp_path):
    out, truth, _ = world
    halves = [
        {
            "culture": culture,
            "lang": lang,
            "subjects": out / f"subjects-{lang}.parquet",
            "mentions": out / f"mentions-pairs-{culture}-{side}.parquet",
            "pairs": out / f"pairs-{culture}.parquet",
        }
        for culture in ("ko", "mn")
        for lang, side in (("en", "en"), (culture, "xx"))
    ]
    notes = leaks(halves=halves, out=tmp_path / "leaks.parquet")
    table = tables.read(tmp_path / "leaks.parquet")
    told = table.dropna(subset="n_pairs").set_index(["question_id", "lang"])
    expected = truth.loc[told.index, "n_leak_pairs"]
    assert told["n_pairs"].tolist() == expected.tolist()
    assert notes == {"n_rows": 120, "n_leaked": (expected > 0).sum()}
    texts = {culture: tables.read(out / f"pairs-{culture}.parquet").set_index("pair_id") for culture in ("ko", "mn")}
    for (question, lang), row in told.iterrows():
        assert len(row["pair_ids"]) == row["n_pairs"] <= row["n_subject_pairs"]
        fact = truth.loc[question, lang]
        for pair_id in row["pair_ids"]:
            half = texts[row["culture"]].loc[pair_id, "en" if lang == "en" else "xx"]
            assert fact["subject"] in half and fact["gold"] in half
    report = leak_report(table).set_index(["culture", "lang"])
    assert list(report.index) == [
        ("ko", "en"),
        ("ko", "ko"),
        ("ko", "either"),
        ("mn", "en"),
        ("mn", "mn"),
        ("mn", "either"),
    ]
    by_half = expected[expected > 0].groupby(level="question_id").size()
    for culture in ("ko", "mn"):
        either = report.loc[culture, "either"]
        assert either["questions"] == 30
        assert either["leaked"] == by_half.index.str.startswith(culture).sum()
        assert either["pairs"] == report.loc[culture].drop("either")["pairs"].sum()
        assert either["share"] == pytest.approx(either["leaked"] / either["told"])
    assert leaked(table) == set(by_half.index)


def test_a_long_list_of_pairs_is_cut_and_its_count_is_not(tmp_path):
    row = {
        "question_id": "ko-0000",
        "culture": "ko",
        "lang": "en",
        "subject_rule": "terms",
        "terms": ["a", "b"],
        "n_chunks": [1, 1],
        "aliases": [],
        "gold": "x",
        "distractors": [],
    }
    tables.write(
        "subjects", [row, row | {"question_id": "ko-0001", "terms": [], "n_chunks": []}], tmp_path / "s.parquet"
    )
    mentions = [
        {
            "question_id": "ko-0000",
            "piece": i,
            "subject": True,
            "object": True,
            "n_statements": 1,
            "n_chunks": 1,
            "distractor_documents": None,
            "distractor_chunks": None,
        }
        for i in range(25)
    ]
    tables.write("mentions", mentions, tmp_path / "m.parquet")
    pairs = [{"pair_id": f"s/{i}", "en": "", "xx": "", "source": "s"} for i in range(25)]
    tables.write("pairs", pairs, tmp_path / "p.parquet")
    half = {
        "culture": "ko",
        "lang": "en",
        "subjects": tmp_path / "s.parquet",
        "mentions": tmp_path / "m.parquet",
        "pairs": tmp_path / "p.parquet",
    }
    leaks(halves=[half], out=tmp_path / "leaks.parquet")
    first, second = tables.read(tmp_path / "leaks.parquet").to_dict("records")
    assert (first["n_pairs"], list(first["pair_ids"])) == (25, [f"s/{i}" for i in range(20)])
    assert pd.isna(second["n_pairs"]) and pd.isna(second["n_subject_pairs"])
    tables.write("pairs", pairs[:3], tmp_path / "p.parquet")
    with pytest.raises(InputError, match=r"m\.parquet: names more pairs than"):
        leaks(halves=[half], out=tmp_path / "leaks.parquet")


def test_a_text_without_its_store_is_refused(world, tmp_path):
    _, _, texts = world
    with pytest.raises(InputError, match=r"gone.store\.json"):
        occurrences(texts=[texts[0] | {"tokens": tmp_path / "gone"}], out=tmp_path / "occurrences.parquet")
    with pytest.raises(InputError, match="no question of culture 'bo'"):
        occurrences(texts=[texts[0] | {"culture": "bo"}], out=tmp_path / "occurrences.parquet")
