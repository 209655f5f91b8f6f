"""The one-pass scan against its two oracles: the tokens of the analysis, and the scores of Lucene."""

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.trace import bm25, scan
from lorebridge.trace.analysis import analyse, script_of
from lorebridge.trace.hits import read_queries

SCRIPTS = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}
SETTINGS = {"top_k": 50, "k1": 1.2, "b": 0.75, "method": "bm25"}

# What is hard to fold, to compose and to cut, in all scripts.
PIECES = st.sampled_from(
    [
        *"aZ9 .-_ßİıǰJſŉΣςᾳⒶ\u030c\u0345\u0338=<\u0301é\u00adﬁＡ１",
        *"가나는은에서로\u1100\u1161\u11a8 漢汉字着著乾隆〇々⼀豈。，",
        *"བོདའི་། ༔སརྒཱུ\u0f73\u0f39ཨོཾ",
        *"ᠮᠣᠩ\u202f\u180e\u180b\u200d᠃ ",
        "ᠤᠨ",
        "ᠪᠠᠷ",
        " ᠤᠨ",
        "\u202fᠤᠨ",
        "\u202fᠠᠪ",
        "에서는",
        "까지",
        "乾隆",
        "皇后",
        "THE",
        "the",
        "Ǆ",
        "\u0000",
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.characters(exclude_categories=["Cs"])), max_size=40).map("".join)


def counted(texts: list[str], script: str, terms: list[str]) -> list[tuple[int, dict[str, int]]]:
    """Return what the scan counts in each text: its length in tokens, and the frequencies of terms."""
    block = scan._Reader(script_of(script), terms).read(pa.array(texts, type=pa.string()))
    found: list[dict[str, int]] = [{} for _ in texts]
    for term, (start, end) in zip(terms, zip(block.firsts, block.firsts[1:], strict=False), strict=True):
        for text, count in zip(block.chunks[start:end], block.counts[start:end], strict=True):
            found[text][term] = int(count)
    return list(zip(block.lengths.tolist(), found, strict=True))


def expected(texts: list[str], script: str, terms: list[str]) -> list[tuple[int, dict[str, int]]]:
    tokens = [Counter(analyse(text, script)) for text in texts]
    return [(of_text.total(), {term: of_text[term] for term in terms if term in of_text}) for of_text in tokens]


@pytest.mark.parametrize("script", SCRIPTS.values())
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), every=st.integers(1, 3))
@example(texts=["J\u030c J\u030cs", "=\u0338", "İstanbul ǰ", ""], every=1)
@example(texts=["ᠮ. ᠤᠨ ᠤᠨ ᠪᠠᠷ", "ᠤᠨ ᠮ\u202fᠠ  ᠤᠨ", "ᠮ \u200d\u0338"], every=1)
def test_the_scan_counts_the_tokens_of_the_analysis(script, texts, every):
    terms = sorted({token for text in texts for token in analyse(text, script)})[::every]
    assert counted(texts, script, terms) == expected(texts, script, terms)


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_every_character_is_read_as_the_analysis_reads_it(script):
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = ["".join(f"{c} x{c}y " for c in characters[i : i + 500]) for i in range(0, len(characters), 500)][:40]
    terms = sorted({token for text in texts for token in analyse(text, script)})
    assert counted(texts, script, terms) == expected(texts, script, terms)


@pytest.mark.parametrize(("lang", "script"), SCRIPTS.items())
def test_real_text_is_counted_as_the_analysis_counts_it(data, passages, lang, script):
    texts = list(passages(data / "corpora" / f"{lang}.jsonl.gz", limit=150).values())[:300]
    terms = sorted({token for text in texts[:20] for token in analyse(text, script)})
    assert counted(texts, script, terms) == expected(texts, script, terms)


def test_what_is_forgotten_is_learned_anew(monkeypatch):
    texts = [f"단어{i}에서 다른{i % 7}은" for i in range(300)]
    terms = ["단어5", "다른3", "다른3은"]
    reader = scan._Reader(script_of("Hangul"), terms)
    monkeypatch.setattr(scan, "_MOST_WORDS", 100)
    for start in range(0, 300, 50):
        block = reader.read(pa.array(texts[start : start + 50]))
        assert block.lengths.tolist() == [len(analyse(text, "Hangul")) for text in texts[start : start + 50]]
    assert reader._n_known < 300


def test_lengths_are_rounded_as_lucene_rounds_them():
    small_float = bm25._java()("org.apache.lucene.util.SmallFloat")
    lengths = [*range(3000), *range(3000, 2_000_000, 7919), 2**31 - 1]
    kept = [small_float.byte4ToInt(small_float.intToByte4(length)) for length in lengths]
    assert scan.norm(np.array(lengths)).tolist() == kept


@pytest.fixture
def corpus(tmp_path, data, passages, released, write_chunks, write_questions):
    def write(lang: str):
        """Write real chunks and real questions; return their paths."""
        texts = passages(data / "corpora" / f"{lang}.jsonl.gz", limit=700)
        texts |= {"empty/0#0": "...", "same/2#0": "The people of Korea.", "same/1#0": "The people of Korea."}
        items = released(data / "probes", "bo" if lang == "en" else lang, lang)[:120]
        return (
            write_chunks(tmp_path / "chunks.parquet", texts),
            write_questions(tmp_path / "questions.parquet", "xx", {lang: items}),
        )

    return write


def lucene_scores(index, queries: pd.Series, script: str, k1: float, b: float) -> dict[tuple[str, str], float]:
    """Return Lucene's own scores, which Anserini rounds, by query and chunk."""
    autoclass = bm25._java()
    directory = autoclass("org.apache.lucene.store.FSDirectory").open(autoclass("java.io.File")(str(index)).toPath())
    reader = autoclass("org.apache.lucene.index.DirectoryReader").open(directory)
    searcher = autoclass("org.apache.lucene.search.IndexSearcher")(reader.getContext())
    searcher.setSimilarity(autoclass("org.apache.lucene.search.similarities.BM25Similarity")(k1, b))
    generator = autoclass("io.anserini.search.query.BagOfWordsQueryGenerator")()
    analyzer = autoclass("org.apache.lucene.analysis.core.WhitespaceAnalyzer")()
    stored = searcher.storedFields()
    scores = {}
    for question_id, query in queries.items():
        built = generator.buildQuery("contents", analyzer, " ".join(analyse(query, script)))
        for hit in searcher.search(built, 60).scoreDocs:
            scores[question_id, stored.document(hit.doc).get("id")] = hit.score
    reader.close()
    return scores


@pytest.mark.parametrize(("lang", "script"), SCRIPTS.items())
def test_hits_are_lucenes_and_scores_are_equal_to_the_bit(tmp_path, monkeypatch, corpus, lang, script):
    monkeypatch.setattr(scan, "_BLOCK", 300)
    chunks, questions = corpus(lang)
    index = tmp_path / "index"
    bm25.build_index(chunks=chunks, script=script, index=index, threads=1)
    asked = {"questions": questions, "lang": lang, "script": script} | SETTINGS
    notes = bm25.retrieve(index=index, out=tmp_path / "lucene.parquet", **asked)
    assert scan.retrieve(chunks=chunks, out=tmp_path / "scan.parquet", **asked) == notes
    theirs, ours = tables.read(tmp_path / "lucene.parquet"), tables.read(tmp_path / "scan.parquet")
    same = ["question_id", "chunk_id", "doc_id", "rank", "method"]
    assert ours[same].equals(theirs[same])
    assert (ours["score"] - theirs["score"]).abs().max() < 1e-4
    exact = lucene_scores(index, read_queries(questions, lang, script), script, 1.2, 0.75)
    keys = list(zip(ours["question_id"], ours["chunk_id"], strict=True))
    # Where ties cut Lucene's own list short, it holds another of the chunks that tie.
    compared = [(score, exact[key]) for key, score in zip(keys, ours["score"], strict=True) if key in exact]
    assert len(compared) > 0.99 * len(ours)
    assert all(np.float32(score) == np.float32(other) for score, other in compared)


@pytest.mark.parametrize(("k1", "b", "top_k"), [(0.9, 0.4, 3), (1.2, 0.0, 1), (0.0, 1.0, 10)])
def test_other_parameters_give_lucenes_hits_too(tmp_path, corpus, k1, b, top_k):
    chunks, questions = corpus("en")
    bm25.build_index(chunks=chunks, script="Latin", index=tmp_path / "index", threads=1)
    asked = {"questions": questions, "lang": "en", "script": "Latin", "k1": k1, "b": b, "top_k": top_k}
    bm25.retrieve(index=tmp_path / "index", out=tmp_path / "lucene.parquet", method="bm25", **asked)
    scan.retrieve(chunks=chunks, out=tmp_path / "scan.parquet", method="bm25", **asked)
    theirs, ours = tables.read(tmp_path / "lucene.parquet"), tables.read(tmp_path / "scan.parquet")
    assert ours["chunk_id"].tolist() == theirs["chunk_id"].tolist()


def test_the_size_of_a_block_does_not_matter(tmp_path, monkeypatch, corpus):
    chunks, questions = corpus("ko")
    asked = {"chunks": chunks, "questions": questions, "lang": "ko", "script": "Hangul"} | SETTINGS
    scan.retrieve(out=tmp_path / "large.parquet", **asked)
    monkeypatch.setattr(scan, "_BLOCK", 37)
    scan.retrieve(out=tmp_path / "small.parquet", **asked)
    assert (tmp_path / "small.parquet").read_bytes() == (tmp_path / "large.parquet").read_bytes()
