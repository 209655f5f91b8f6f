import numpy as np
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.density import density, interval


@pytest.fixture
def cell(tmp_path, write_chunks, write_questions):
    """Three questions in a corpus of 4 documents, 6 chunks and 120 tokens; what was judged of each hit."""
    texts = {
        f"s/{name}#{part}": "text" for name, parts in {"a": 3, "b": 1, "c": 1, "d": 1}.items() for part in range(parts)
    }
    write_chunks(tmp_path / "chunks.parquet", texts)
    write_questions(tmp_path / "questions.parquet", "ko", {"en": [("q ____", ["a", "b"], "a")] * 4})
    (tmp_path / "tokens").mkdir()
    np.save(tmp_path / "tokens" / "offsets.npy", np.array([0, 50, 70, 90, 120]))

    def write(judged: dict[tuple[str, str], tuple[str, float | None]], **changes) -> dict:
        hits = [
            {"question_id": q, "chunk_id": c, "doc_id": c[:-2], "rank": 1, "score": 1.0, "method": "bm25"}
            for q, c in judged
        ]
        judgments = [
            {"question_id": q, "chunk_id": c, "entails": verdict, "probability": None, "judge": "cooccurrence",
             "distractor_entails": control}
            for (q, c), (verdict, control) in judged.items()
        ]  # fmt: skip
        tables.write("hits", hits, tmp_path / "hits.parquet")
        tables.write("judgments", judgments, tmp_path / "judgments.parquet")
        names = ("questions", "hits", "judgments", "chunks")
        return {name: tmp_path / f"{name}.parquet" for name in names} | {
            "culture": "ko", "corpus": "en", "tokens": tmp_path / "tokens",
        } | changes  # fmt: skip

    return write


JUDGED = {
    # Two chunks of one document, and another document.
    ("ko-0000", "s/a#0"): ("yes", 0.0),
    ("ko-0000", "s/a#1"): ("yes", 1.0),
    ("ko-0000", "s/b#0"): ("yes", 0.5),
    # Found, not stated.
    ("ko-0001", "s/c#0"): ("no", 0.0),
    # Cannot be told; the fourth question has no hit at all.
    ("ko-0002", "s/a#0"): ("indeterminate", None),
}


def read(tmp_path):
    return tables.read(tmp_path / "density.parquet").set_index("unit")


def test_occurrences_are_counted_by_document_and_chunk_over_the_judged_questions(cell, tmp_path):
    density(top_k=5, corpora=[cell(JUDGED)], out=tmp_path / "density.parquet")
    table = read(tmp_path)
    assert table["n_questions"].tolist() == [3, 3, 3]
    assert table["indeterminate"].tolist() == [1, 1, 1]
    assert table["denominator"].to_dict() == {"document": 4, "chunk": 6, "token": 120}
    assert table["occurrences"].to_dict() == pytest.approx({"document": 2 / 3, "chunk": 1.0, "token": 1.0})
    assert table["density"].to_dict() == pytest.approx({"document": 2 / 12, "chunk": 1 / 6, "token": 1 / 120})
    # Chunks that would state a distractor: 1.5 for the first question, none for the second and the fourth.
    assert table["distractor_occurrences"].tolist() == pytest.approx([0.5] * 3)
    assert not table["capped"].any()
    assert (table["lo"] <= table["density"]).all() and (table["density"] <= table["hi"]).all()
    assert table["method"].unique().tolist() == ["bm25"]
    assert table["judge"].unique().tolist() == ["cooccurrence"]


def test_a_question_that_fills_the_retrieved_list_may_be_cut(cell, tmp_path):
    density(top_k=3, corpora=[cell(JUDGED)], out=tmp_path / "density.parquet")
    assert read(tmp_path)["capped"].all()


def test_nothing_retrieved_at_all(cell, tmp_path):
    density(top_k=3, corpora=[cell({})], out=tmp_path / "density.parquet")
    table = read(tmp_path)
    assert table["occurrences"].tolist() == [0.0, 0.0, 0.0]
    assert table["n_questions"].tolist() == [4, 4, 4]
    assert table["method"].isna().all()


def test_one_judged_question_has_no_interval(cell, tmp_path, write_questions):
    entry = cell({("ko-0000", "s/a#0"): ("yes", None)})
    write_questions(entry["questions"], "ko", {"en": [("q ____", ["a", "b"], "a")]})
    density(top_k=3, corpora=[entry], out=tmp_path / "density.parquet")
    table = read(tmp_path)
    assert table["occurrences"].tolist() == [1.0, 1.0, 1.0]
    assert table[["lo", "hi", "distractor_occurrences"]].isna().all(axis=None)


def test_a_judge_without_a_control_claims_no_control(cell, tmp_path):
    # As the language model judges: distractors are never asked of; two questions have no hit at all.
    judged = {("ko-0000", "s/a#0"): ("yes", None), ("ko-0001", "s/c#0"): ("no", None)}
    density(top_k=5, corpora=[cell(judged)], out=tmp_path / "density.parquet")
    assert read(tmp_path)["distractor_occurrences"].isna().all()


def test_the_control_is_counted_in_the_unit_of_its_row(cell, tmp_path):
    judged = {
        # Every distractor stands in both chunks of one document: two chunks, one document.
        ("ko-0000", "s/a#0"): ("no", 1.0),
        ("ko-0000", "s/a#1"): ("no", 1.0),
        ("ko-0001", "s/b#0"): ("no", 0.5),
        ("ko-0001", "s/c#0"): ("no", 0.5),
    }
    density(top_k=5, corpora=[cell(judged)], out=tmp_path / "density.parquet")
    control = read(tmp_path)["distractor_occurrences"].to_dict()
    assert control == pytest.approx({"document": 2 / 4, "chunk": 3 / 4, "token": 3 / 4})


def test_the_interval_covers_a_mean_and_repeats():
    generator = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        low, high = interval(generator.poisson(3.0, size=80).astype(float), resamples=400, seed=seed)
        covered += low <= 3.0 <= high
    assert 180 <= covered <= 200
    values = generator.poisson(3.0, size=80).astype(float)
    assert interval(values, resamples=400, seed=1) == interval(values, resamples=400, seed=1)


def test_hits_and_judgments_must_belong_together(cell, tmp_path):
    entry = cell(JUDGED)
    tables.write("hits", tables.read(entry["hits"]).iloc[1:], entry["hits"])
    with pytest.raises(InputError, match=r"judgments\.parquet: does not judge"):
        density(top_k=5, corpora=[entry], out=tmp_path / "density.parquet")
    with pytest.raises(InputError, match=r"offsets\.npy"):
        density(top_k=5, corpora=[cell(JUDGED, tokens=tmp_path / "gone")], out=tmp_path / "density.parquet")
