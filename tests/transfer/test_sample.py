"""Samples of questions, spread over how often their facts are stated."""

import itertools

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.sample import sample_questions

N = 90


@pytest.fixture
def study(write_questions, unlike, tmp_path):
    """Of 90 questions most are never stated; number 0 to 8 are stated often in English, number 9 cannot be counted."""
    texts = unlike(N)
    texts[1] = texts[0].replace("____", "then ____")  # siblings
    rows = []
    for i in range(N):
        for corpus, n in (("en", 30 if i < 9 else 0), ("ko", i % 3)):
            for text in ("mono", "pairs"):
                rows.append(
                    {
                        "question_id": f"ko-{i:04d}",
                        "culture": "ko",
                        "corpus": corpus,
                        "text": text,
                        "n_documents": 9,
                        "n_tokens": 9,
                        "absent": False,
                        "n_subject": 0,
                        "n_object": 0,
                        "n_both": None if i == 9 else n if text == "mono" else i // 3 % 2,
                        "n_chunks": 0,
                        "n_statements": 0,
                        "distractor_documents": 0.0,
                        "distractor_chunks": 0.0,
                    }
                )
    tables.write("occurrences", rows, tmp_path / "occurrences.parquet")
    questions = write_questions("ko", {"en": texts, "ko": unlike(N, 1)})
    return {
        "questions": questions,
        "occurrences": tmp_path / "occurrences.parquet",
        "culture": "ko",
        "base": "en",
        "subset": "clean",
    }


def chosen(study, n, folder):
    notes = sample_questions(**study, n_questions=n, out=folder / "sample.parquet")
    table = tables.read(folder / "sample.parquet")
    assert (table.groupby(["question_id", "lang"]).size() == 4).all()
    assert set(table["lang"]) == {"en", "ko"}
    return list(dict.fromkeys(table["question_id"])), notes


def test_rare_cells_are_not_drowned(study, tmp_path):
    questions, notes = chosen(study, 12, tmp_path)
    assert len(questions) == 12
    # Stated often or never in English, never or a few times in Korean, or by the parallel text: eight cells.
    cells = [f"{there} / {here}{leak}" for there in ("0", "10+") for here in ("0", "1-9") for leak in ("", ", leaked")]
    assert notes["known"] == 89
    assert set(notes["sample"]) == set(cells)
    assert set(notes["sample"].values()) == {1, 2}
    assert sum(int(question[3:]) < 9 for question in questions) == 4  # of twelve; they are nine of ninety


@pytest.mark.parametrize("n", [1, 2, 3])
def test_leaked_is_what_the_parallel_text_states(study, tmp_path, n):
    questions, notes = chosen(study, n, tmp_path)
    said = sum(number for cell, number in notes["sample"].items() if cell.endswith("leaked"))
    assert said == sum(int(question[3:]) // 3 % 2 for question in questions)


def test_siblings_and_what_cannot_be_counted_stay_out(study, tmp_path):
    questions, _ = chosen(study, 88, tmp_path)
    assert "ko-0009" not in questions
    assert len({"ko-0000", "ko-0001"} & set(questions)) == 1


def test_a_larger_sample_holds_the_smaller_one(study, tmp_path):
    samples = [set(chosen(study, n, tmp_path)[0]) for n in (1, 5, 20, 40)]
    assert all(small < large for small, large in itertools.pairwise(samples))


def test_the_order_of_rows_does_not_matter(study, tmp_path):
    before, _ = chosen(study, 20, tmp_path)
    counted = tables.read(study["occurrences"])
    order = np.random.default_rng(0).permutation(len(counted))
    tables.write("occurrences", counted.iloc[order], study["occurrences"])
    assert chosen(study, 20, tmp_path)[0] == before


def test_too_few_to_choose_from_is_told(study, tmp_path):
    with pytest.raises(InputError, match=r"questions\.ko\.sample: asks for 89 .*only 88 clusters"):
        chosen(study, 89, tmp_path)
