"""Neighbours: equal to those of scikit-learn at equal words, however the text is sharded."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from lorebridge import tables
from lorebridge.corpora.neighbours import BM25, K1, TFIDF, B, Corpus, Counts, Index, nearest, neighbours
from lorebridge.corpora.pieces import KEY, numbering
from lorebridge.errors import InputError

WORDS = ["an", "Ab", "été", "हिन्दी", "की", "x", "42", "tree", "stone", "bird"]


def words_of(text):
    return regex.findall(r"[\p{L}\p{M}\p{N}]+", text.lower())


def write_documents(path, texts):
    rows = [
        {"doc_id": f"web/{i}", "title": f"title {i}", "text": text, "source": "web", "n_chars": len(text)}
        for i, text in enumerate(texts)
    ]
    tables.write("documents", rows, path)


def by_definition(texts, method, query_terms, queries, top):
    """Return (query, page, score) by scikit-learn, or by the formula of BM25 over its counts."""
    vectorizer = TfidfVectorizer(analyzer=words_of, sublinear_tf=True)
    weights = vectorizer.fit_transform(texts).toarray()
    names = vectorizer.get_feature_names_out()
    counts = np.array([[words_of(text).count(name) for name in names] for text in texts])
    asked = np.zeros_like(weights)
    for query in queries:
        heaviest = sorted(np.flatnonzero(weights[query]), key=lambda i: (-round(weights[query, i], 12), names[i]))
        chosen = heaviest[:query_terms]
        asked[query, chosen] = (weights if method == TFIDF else counts)[query, chosen]
        if method == TFIDF and chosen:
            asked[query] /= np.linalg.norm(asked[query])
    if method == BM25:
        n_with = (counts > 0).sum(axis=0)
        rarity = np.log(1 + (len(texts) - n_with + 0.5) / (n_with + 0.5))
        lengths = counts.sum(axis=1, keepdims=True)
        weights = rarity * counts / (counts + K1 * (1 - B + B * lengths / lengths.mean()))
    found = []
    for number, query in enumerate(queries):
        scores = (weights @ asked[query]).round(9)
        order = [i for i in np.argsort(-scores, kind="stable") if i != query and scores[i] > 0][:top]
        found += [(number, i, scores[i]) for i in order]
    return found


texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ,".join), min_size=2, max_size=30).filter(
    lambda some: any(words_of(text) for text in some)
)


@settings(max_examples=25, deadline=None)
@given(
    texts=texts,
    method=st.sampled_from([TFIDF, BM25]),
    query_terms=st.sampled_from([None, 1, 2, 5]),
    top=st.integers(1, 6),
    shard=st.integers(1, 12),
    data=st.data(),
)
def test_neighbours_are_those_of_scikit_learn(tmp_path_factory, texts, method, query_terms, top, shard, data):
    folder = tmp_path_factory.mktemp("neighbours")
    queries = sorted(data.draw(st.sets(st.integers(0, len(texts) - 1), min_size=1, max_size=4)))
    # Documents that are no pages lie between: they are not read, and not counted.
    strangers = data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    rows = [row for text, has in zip(texts, strangers, strict=True) for row in ([(text, 1)] + [("stone an", 0)] * has)]
    pieces = np.flatnonzero([own for _, own in rows])
    half = len(rows) // 2
    paths = [folder / "a.parquet", folder / "b.parquet"]
    write_documents(paths[0], [text for text, _ in rows[:half]])
    write_documents(paths[1], [text for text, _ in rows[half:]])
    corpus = Corpus(paths, pieces, folder, shard)
    found = nearest(corpus, Index.of(corpus, method), np.array(queries), query_terms=query_terms, top=top)
    expected = by_definition(texts, method, query_terms, queries, top)
    assert list(zip(*(column.tolist() for column in found[:2]), strict=True)) == [each[:2] for each in expected]
    assert found[2] == pytest.approx([score for *_, score in expected], abs=2e-9)


def test_equal_pages_are_ties_in_the_order_of_the_pages_whatever_the_shards(tmp_path):
    rng = np.random.default_rng(0)
    said = [" ".join(rng.choice(WORDS, 6)) for _ in range(40)]
    pages = [said[i] for i in rng.integers(0, 40, 400)]
    write_documents(tmp_path / "a.parquet", pages)
    answers = set()
    for shard in (1, 7, 64, 1000):
        corpus = Corpus([tmp_path / "a.parquet"], np.arange(400), tmp_path, shard)
        found = nearest(corpus, Index.of(corpus, TFIDF), np.array([3, 200]), query_terms=None, top=30)
        answers.add(str([column.tolist() for column in found]))
    assert len(answers) == 1
    frame = pd.DataFrame(dict(zip(("query", "page", "score"), found, strict=True)))
    assert frame.groupby("query")["score"].apply(lambda of: of.is_monotonic_decreasing).all()
    assert frame.groupby(["query", "score"])["page"].apply(lambda of: of.is_monotonic_increasing).all()
    assert frame["score"].duplicated().sum() > 10


def test_words_keep_their_marks_and_repeats_are_counted():
    import pyarrow as pa

    counts = Counts.of([pa.array(["", "हिन्दी में, हिन्दी!", "?? A a_b"]), pa.array(["…", "b"])])
    by_text = [
        dict(zip(counts.words[counts.word[a:b]], counts.n[a:b].tolist(), strict=True))
        for a, b in zip(counts.begins[:-1], counts.begins[1:], strict=True)
    ]
    assert by_text == [{}, {"हिन्दी": 2, "में": 1}, {"a": 2, "b": 1}, {}, {"b": 1}]
    assert counts.lengths.tolist() == [0, 3, 3, 0, 1]


@pytest.fixture
def given_pages(tmp_path):
    """Six pages in en and hi; document 2 of en is none. Pages 0 and 1 are asked about, and 4 is a control."""
    write_documents(
        tmp_path / "en.parquet", ["tree bird", "tree bird stone", "tree", "stone", "bird tree x", "x", "42"]
    )
    rows = [
        {"page_id": str(page), "lang": lang, "doc_id": "", "title": "", "piece": piece, "n_tokens": 10 + page + extra}
        for lang, pieces, extra in (("en", (0, 1, 3, 4, 5, 6), 0), ("hi", range(6), 100))
        for page, piece in enumerate(pieces)
    ]
    numbered = {"en": numbering([tmp_path / "en.parquet"]), "hi": "0"}
    tables.write("pages", rows, tmp_path / "pages.parquet", {KEY: json.dumps(numbered)})
    qa = [("q0", "test", "0"), ("q1", "train", "1"), ("q2", "both", "3"), ("q3", "neither", None), ("q4", "test", "9")]
    pd.DataFrame(qa, columns=["question_id", "split", "page_id"]).to_parquet(tmp_path / "qa.parquet")
    return {
        "lang": "en",
        "method": TFIDF,
        "query_terms": None,
        "top": 2,
        "documents": [tmp_path / "en.parquet"],
        "pages": tmp_path / "pages.parquet",
        "qa": tmp_path / "qa.parquet",
        "out": tmp_path / "neighbours.parquet",
    }


def test_the_stage_writes_ranks_and_the_sizes_of_the_levels(given_pages):
    notes = neighbours(**given_pages)
    frame = tables.read(given_pages["out"])
    assert frame[["page_id", "rank", "neighbour"]].to_numpy().tolist() == [
        ["0", 1, "1"],
        ["0", 2, "3"],
        ["1", 1, "0"],
        ["1", 2, "2"],
    ]
    assert notes["n_pages"] == 6 and notes["n_queries"] == 2 and notes["n_words"] == 5 and notes["n_rows"] == 4
    # f1: page 0; f2: with 1, which 3 is not as it is a control; f3: the same; f4: with 2. Left: 4 and 5.
    assert notes["sizes"] == {
        "en": {"total": 75, "f1": 10, "f2": 21, "f3": 21, "f4": 33, "available": 29},
        "hi": {"total": 675, "f1": 110, "f2": 221, "f3": 221, "f4": 333, "available": 229},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "dense"}, "'dense' is unknown"),
        ({"top": 0}, "neighbours.top: 0 is less than 1"),
        ({"query_terms": 0}, "neighbours.query_terms: 0 is less than 1"),
        ({"lang": "fr"}, "has no page of fr"),
    ],
)
def test_bad_arguments(given_pages, changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        neighbours(**given_pages | changes)


def test_pages_of_other_documents_and_questions_without_pages(given_pages, tmp_path):
    frame = pd.DataFrame([("q", "both", "0")], columns=["question_id", "split", "page_id"])
    frame.to_parquet(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="no question of split test or train has a page of en"):
        neighbours(**given_pages | {"qa": tmp_path / "none.parquet"})
    write_documents(tmp_path / "other.parquet", ["tree"] * 8)
    with pytest.raises(InputError, match="numbers other pieces"):
        neighbours(**given_pages | {"documents": [tmp_path / "other.parquet"]})
