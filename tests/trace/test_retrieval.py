import math

import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace import retrieval
from lorebridge.trace.analysis import analyse
from lorebridge.trace.bm25 import build_index
from lorebridge.trace.hits import read_queries
from lorebridge.trace.retrieval import retrieve

# Lucene and the one-pass scan find the same.
ENGINES = ["lucene", "scan"]
SETTINGS = {"top_k": 50, "method": "bm25", "k1": 1.2, "b": 0.75, "threads": 1}


@pytest.fixture(params=ENGINES)
def search(request, tmp_path, write_chunks, write_questions):
    def run(texts, items, *, lang, script, **changes):
        corpus = chunks = write_chunks(tmp_path / "chunks.parquet", texts)
        if request.param == "lucene":
            corpus = tmp_path / "index"
            build_index(chunks=chunks, script=script, index=corpus, threads=1)
        questions = write_questions(tmp_path / "questions.parquet", "xx", {lang: items})
        retrieve(
            corpus=corpus,
            questions=questions,
            lang=lang,
            script=script,
            out=tmp_path / "hits.parquet",
            engine=request.param,
            **SETTINGS | changes,
        )
        return tables.read(tmp_path / "hits.parquet")

    return run


@pytest.mark.parametrize(
    ("script", "stated", "other", "question", "gold"),
    [
        (
            "Latin",
            "Its anthem is the Patriotic Song.",
            "His river flows on.",
            "The anthem is ____.",
            "the Patriotic Song",
        ),
        ("Hangul", "애국가는 네 절로 되어 있다.", "강은 길다.", "국가는 ____이다.", "애국가"),
        ("Han", "漢族的發源地是中原地區。", "他坐著。", "汉族起源于____。", "中原地区"),
        ("Tibetan", "བོད་རིགས་ཁམས་པའི་མི།", "ཆུ་རིང་།", "ཁོང་_____ཞེས་འབོད།", "ཁམས་པ"),
        ("Mongolian", "ᠥᠪᠥᠷ ᠮᠣᠩᠭᠣᠯ ᠤᠨ ᠭᠠᠵᠠᠷ ᠃", "ᠤᠰᠤ ᠃", "ᠡᠨᠡ ______ ᠭᠠᠵᠠᠷ\u202fᠲᠤ", "ᠥᠪᠥᠷ ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ"),
    ],
)
def test_bm25_finds_the_text_that_states_the_fact_in_every_script(search, script, stated, other, question, gold):
    texts = {"s/a#0": other, "s/b#0": stated, "s/b#1": other}
    hits = search(texts, [(question, [gold, "x"], gold)], lang="xx", script=script)
    assert hits["chunk_id"].tolist() == ["s/b#0"]
    assert hits["doc_id"].tolist() == ["s/b"]
    assert hits["rank"].tolist() == [1]
    assert hits["method"].tolist() == ["bm25"]


def test_scores_are_those_of_bm25(search):
    """Okapi BM25 with Lucene's inverse document frequency; Lucene leaves out the constant factor k1 + 1."""
    texts = {f"s/{i}#0": text for i, text in enumerate(["a b", "a c", "b b", "d e"])}
    hits = search(texts, [("b ____", ["a", "c"], "a")], lang="xx", script="Latin").set_index("chunk_id")["score"]

    def score(term: str, text: str) -> float:
        # All texts are two words long, so the length normalisation is 1.
        holding = sum(term in other.split() for other in texts.values())
        frequency = text.split().count(term)
        return math.log(1 + (4 - holding + 0.5) / (holding + 0.5)) * frequency / (frequency + 1.2)

    expected = {i: score("a", text) + score("b", text) for i, text in texts.items() if {"a", "b"} & {*text.split()}}
    # Anserini rounds scores to four decimals before it breaks ties.
    assert hits.to_dict() == pytest.approx(expected, abs=1e-4)


def test_ranks_run_from_the_best_and_ties_follow_the_chunk_id(search):
    texts = {f"s/{i}#0": "same words" for i in (3, 1, 2)} | {"s/0#0": "same words and more"}
    hits = search(texts, [("same ____", ["words", "x"], "words")], lang="xx", script="Latin", top_k=3)
    assert hits["chunk_id"].tolist() == ["s/1#0", "s/2#0", "s/3#0"]
    assert hits["rank"].tolist() == [1, 2, 3]
    assert hits["score"].is_monotonic_decreasing


def test_a_second_search_of_the_same_chunks_gives_the_same_bytes_of_hits(search, tmp_path):
    texts = {f"s/{i}#0": f"word{i % 7} word{i % 5} filler" for i in range(200)}
    items = [(f"word{i} ____", [f"word{i + 1}", "x"], f"word{i + 1}") for i in range(6)]
    search(texts, items, lang="xx", script="Latin")
    first = (tmp_path / "hits.parquet").read_bytes()
    search(texts, items, lang="xx", script="Latin")
    assert (tmp_path / "hits.parquet").read_bytes() == first


def test_a_question_without_its_gold_is_asked_without_the_blank(tmp_path, write_questions):
    items = [("The ____ script", ["clear", "old"], "precise"), ("The ____ one", ["first", "x"], "first")]
    questions = write_questions(tmp_path / "q.parquet", "mn", {"en": items})
    assert read_queries(questions, "en", "Latin").tolist() == ["The   script", "The first one"]


def test_a_question_that_shares_no_word_with_the_corpus_has_no_hit(search):
    items = [("nothing ____", ["here", "x"], "here"), ("a ____", ["b", "x"], "b")]
    hits = search({"s/a#0": "a b"}, items, lang="xx", script="Latin")
    assert hits["question_id"].tolist() == ["xx-0001"]
    none = search({"s/a#0": "a b"}, items[:1], lang="xx", script="Latin")
    assert none.empty


def test_bad_input_names_the_place(tmp_path, write_chunks, write_questions):
    questions = write_questions(tmp_path / "q.parquet", "ko", {"en": [("a ____", ["b", "c"], "b")]})
    asked = {"questions": questions, "out": tmp_path / "hits.parquet", "script": "Latin"} | SETTINGS
    with pytest.raises(InputError, match="nowhere"):
        build_index(chunks=tmp_path / "nowhere.parquet", script="Latin", index=tmp_path / "index", threads=1)
    empty = write_chunks(tmp_path / "empty.parquet", {})
    with pytest.raises(InputError, match=r"empty\.parquet: holds no chunk"):
        build_index(chunks=empty, script="Latin", index=tmp_path / "index", threads=1)
    with pytest.raises(InputError, match=r"empty\.parquet: holds no chunk"):
        retrieve(corpus=empty, lang="en", engine="scan", **asked)
    for said, what in (
        ({"engine": "scam"}, "'scam' is unknown"),
        ({"method": "bm52"}, "'bm52' is unknown"),
        ({"method": "dense", "engine": "scan"}, "engine is of bm25"),
    ):
        with pytest.raises(InputError, match=what):
            retrieve(corpus=empty, lang="en", **asked | said)
    with pytest.raises(InputError, match="'bm52' is unknown"):
        retrieval.build_index(method="bm52", chunks=empty, index=empty, work=empty, threads=1)
    with pytest.raises(InputError, match="not a Lucene index"):
        retrieve(corpus=tmp_path, lang="en", **asked)
    with pytest.raises(InputError, match="no question in language 'ko'"):
        read_queries(questions, "ko", "Hangul")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(("lang", "script"), [("ko", "Hangul"), ("zh", "Han"), ("bo", "Tibetan"), ("mn", "Mongolian")])
def test_a_real_question_planted_in_a_real_corpus_is_found_first(data, released, passages, search, lang, script):
    items = [item for item in released(data / "probes", lang, lang) if item[0].count("_")][:40:4]
    texts = passages(data / "corpora" / f"{lang}.jsonl.gz", limit=300)
    for i, (text, _, gold) in enumerate(items):
        texts[f"planted/{i}#0"] = text.replace("_", "", text.count("_") - 1).replace("_", f" {gold} ")
    hits = search(texts, items, lang=lang, script=script)
    best = hits[hits["rank"] == 1].set_index("question_id")["doc_id"]
    found = sum(best[f"xx-{i:04d}"] == f"planted/{i}" for i in range(len(items)))
    assert found == len(items)
    assert all(analyse(text, script) for text, _, _ in items)
