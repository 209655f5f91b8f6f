import itertools
from collections import defaultdict

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace import density as module
from lorebridge.trace.density import interval


@pytest.fixture
def cell(tmp_path, write_chunks, write_questions):
    """Three questions in a corpus of 4 documents, 6 chunks and 120 tokens; what was judged of each hit."""
    texts = {
        f"s/{name}#{part}": "text" for name, parts in {"a": 3, "b": 1, "c": 1, "d": 1}.items() for part in range(parts)
    }
    write_chunks(tmp_path / "chunks.parquet", texts)
    write_questions(tmp_path / "questions.parquet", "ko", {"en": [("q ____", ["a", "b"], "a")] * 4})
    for name, offsets in {"tokens": [0, 50, 70, 90, 120], "pair_tokens": [0, 10, 30]}.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "offsets.npy", np.array(offsets))

    def write(judged: dict[tuple[str, str], tuple[str, float | None]], **changes) -> dict:
        ranks = defaultdict(lambda: itertools.count(1))
        hits = [
            {"question_id": q, "chunk_id": c, "doc_id": c[:-2], "rank": next(ranks[q]), "score": 1.0, "method": "bm25"}
            for q, c in judged
        ]
        judgments = [
            {
                "question_id": q,
                "chunk_id": c,
                "entails": verdict,
                "probability": None,
                "judge": "cooccurrence",
                "distractor_entails": control,
            }
            for (q, c), (verdict, control) in judged.items()
        ]
        tables.write("hits", hits, tmp_path / "hits.parquet")
        tables.write("judgments", judgments, tmp_path / "judgments.parquet")
        names = ("questions", "hits", "judgments", "chunks")
        return (
            {name: tmp_path / f"{name}.parquet" for name in names}
            | {"culture": "ko", "corpus": "en", "tokens": tmp_path / "tokens", "pair_tokens": tmp_path / "pair_tokens"}
            | changes
        )

    return write


def write_occurrences(tmp_path, mono, pairs, corpus="en"):
    """Write table "occurrences": for each question (n_both, n_chunks, distractors, absent), or None for it untold."""
    rows = []
    for text, counts in (("mono", mono), ("pairs", pairs)):
        for number, count in enumerate(counts):
            both, chunks, distractors, absent = count or (None, None, None, False)
            rows.append(
                dict.fromkeys(tables.SCHEMAS["occurrences"].names)
                | {
                    "question_id": f"ko-{number:04d}",
                    "culture": "ko",
                    "corpus": corpus,
                    "text": text,
                    "n_both": both,
                    "n_chunks": chunks,
                    "distractor_documents": distractors,
                    "distractor_chunks": distractors,
                    "absent": absent,
                }
            )
    tables.write("occurrences", rows, tmp_path / "occurrences.parquet")


@pytest.fixture
def density(tmp_path):
    """The density of cells, given the exact counts or (as good) none at all."""

    def run(*, corpora, **options):
        if not (tmp_path / "occurrences.parquet").exists():
            n = tables.read(corpora[0]["questions"])["question_id"].nunique()
            write_occurrences(tmp_path, [(0, 0, 0.0, True)] * n, [(0, 0, 0.0, True)] * n)
        return module.density(
            corpora=corpora, occurrences=tmp_path / "occurrences.parquet", out=tmp_path / "density.parquet", **options
        )

    return run


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
    """Return the rows that count hits."""
    table = tables.read(tmp_path / "density.parquet").set_index("unit")
    return table[table["method"] != "exact"]


def test_occurrences_are_counted_by_document_and_chunk_over_the_judged_questions(cell, density, tmp_path):
    density(top_k=5, corpora=[cell(JUDGED)])
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


def test_a_count_may_be_cut_where_the_end_of_a_full_list_still_states_the_fact(cell, density, tmp_path):
    density(top_k=3, corpora=[cell(JUDGED)])
    assert read(tmp_path)["capped"].all()
    assert read(tmp_path)["n_capped"].tolist() == [1, 1, 1]
    # A full list whose end states nothing holds all there is; a list that is not full does, too.
    full = dict(list(JUDGED.items())[:2]) | {("ko-0000", "s/c#0"): ("no", 0.0)}
    density(top_k=3, corpora=[cell(full)])
    assert not read(tmp_path)["capped"].any()
    density(top_k=4, corpora=[cell(JUDGED)])
    assert read(tmp_path)["n_capped"].tolist() == [0, 0, 0]


def test_exact_counts_stand_beside_with_and_without_the_parallel_text(cell, density, tmp_path):
    mono = [(2, 3, 0.5, False), (0, 0, 0.0, True), None, (1, 1, 0.0, False)]
    pairs = [(1, 1, 0.0, False), (3, 3, 1.0, True), None, (0, 0, 0.0, False)]
    write_occurrences(tmp_path, mono, pairs)
    density(top_k=5, corpora=[cell(JUDGED)])
    table = tables.read(tmp_path / "density.parquet").set_index(["method", "includes_parallel", "unit"])
    assert len(table) == 9
    alone, together = table.loc["exact", False], table.loc["exact", True]
    assert alone["denominator"].to_dict() == {"document": 4, "chunk": 6, "token": 120}
    assert together["denominator"].to_dict() == {"document": 6, "chunk": 8, "token": 150}
    assert alone["occurrences"].to_dict() == pytest.approx({"document": 1.0, "chunk": 4 / 3, "token": 4 / 3})
    assert together["occurrences"].to_dict() == pytest.approx({"document": 7 / 3, "chunk": 8 / 3, "token": 8 / 3})
    assert together["density"].to_dict() == pytest.approx({"document": 7 / 18, "chunk": 1 / 3, "token": 8 / 450})
    assert together["distractor_occurrences"].to_dict() == pytest.approx(dict.fromkeys(table.index.levels[2], 0.5))
    for rows in (alone, together):
        assert rows["n_questions"].unique().tolist() == [3]
        assert rows["indeterminate"].unique().tolist() == [1]
        assert rows["n_absent"].unique().tolist() == [1]
        assert rows["judge"].unique().tolist() == ["cooccurrence"]
        assert not rows["capped"].any()


def test_occurrences_must_be_of_these_questions(cell, density, tmp_path):
    write_occurrences(tmp_path, [None] * 3, [None] * 3)
    with pytest.raises(InputError, match=r"occurrences\.parquet: lacks 1 questions of 'ko' in the mono text of 'en'"):
        density(top_k=5, corpora=[cell(JUDGED)])


def test_nothing_retrieved_at_all(cell, density, tmp_path):
    density(top_k=3, corpora=[cell({})])
    table = read(tmp_path)
    assert table["occurrences"].tolist() == [0.0, 0.0, 0.0]
    assert table["n_questions"].tolist() == [4, 4, 4]
    assert table["method"].isna().all()
    # A count has no upper bound: that no question was told from another says nothing of others.
    assert table[["lo", "hi"]].isna().all(axis=None)


def test_one_judged_question_has_no_interval(cell, density, tmp_path, write_questions):
    entry = cell({("ko-0000", "s/a#0"): ("yes", None)})
    write_questions(entry["questions"], "ko", {"en": [("q ____", ["a", "b"], "a")]})
    density(top_k=3, corpora=[entry])
    table = read(tmp_path)
    assert table["occurrences"].tolist() == [1.0, 1.0, 1.0]
    assert table[["lo", "hi", "distractor_occurrences"]].isna().all(axis=None)


def test_a_judge_without_a_control_claims_no_control(cell, density, tmp_path):
    # As the language model judges: distractors are never asked of; two questions have no hit at all.
    judged = {("ko-0000", "s/a#0"): ("yes", None), ("ko-0001", "s/c#0"): ("no", None)}
    density(top_k=5, corpora=[cell(judged)])
    assert read(tmp_path)["distractor_occurrences"].isna().all()


def test_the_control_is_counted_in_the_unit_of_its_row(cell, density, tmp_path):
    judged = {
        # Every distractor stands in both chunks of one document: two chunks, one document.
        ("ko-0000", "s/a#0"): ("no", 1.0),
        ("ko-0000", "s/a#1"): ("no", 1.0),
        ("ko-0001", "s/b#0"): ("no", 0.5),
        ("ko-0001", "s/c#0"): ("no", 0.5),
    }
    density(top_k=5, corpora=[cell(judged)])
    control = read(tmp_path)["distractor_occurrences"].to_dict()
    assert control == pytest.approx({"document": 2 / 4, "chunk": 3 / 4, "token": 3 / 4})


def test_two_questions_that_differ_have_an_interval_and_one_or_equal_ones_have_none():
    assert interval(np.array([0.0, 4.0]), resamples=1000, seed=0) == (0, 4)
    for values in ([3.0], [3.0, 3.0]):
        assert np.isnan(interval(np.array(values), resamples=100, seed=0)).all()


def test_the_interval_covers_a_mean_and_repeats():
    generator = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        low, high = interval(generator.poisson(3.0, size=80).astype(float), resamples=400, seed=seed)
        covered += low <= 3.0 <= high
    assert 180 <= covered <= 200
    values = generator.poisson(3.0, size=80).astype(float)
    assert interval(values, resamples=400, seed=1) == interval(values, resamples=400, seed=1)


def test_hits_and_judgments_must_belong_together(cell, density, tmp_path):
    entry = cell(JUDGED)
    tables.write("hits", tables.read(entry["hits"]).iloc[1:], entry["hits"])
    with pytest.raises(InputError, match=r"judgments\.parquet: does not judge"):
        density(top_k=5, corpora=[entry])
    with pytest.raises(InputError, match=r"offsets\.npy"):
        density(top_k=5, corpora=[cell(JUDGED, tokens=tmp_path / "gone")])
