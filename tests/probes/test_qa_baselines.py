"""Answers that need no model: what is exact is compared with what is counted one by one."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.corpora.qa_tasks import CONTEXT, MCQ, OPEN
from lorebridge.probes import qa_baselines as module
from lorebridge.probes.matching import FOLDED, STRICT, exact, f1
from lorebridge.probes.qa_baselines import CHANCE, LETTERS, MAJORITY, SHUFFLED, TITLE, qa_baselines, shuffled

WORDS = st.lists(st.sampled_from(["a", "Rome", "rome", "the", "é", "e\u0301", "x", "."]), max_size=3).map(" ".join)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=2, max_size=6), st.sampled_from([STRICT, FOLDED]))
def test_shuffled_answers_are_the_mean_over_all_derangements(golds, rule):
    answers = [of[0] for of in golds]
    n = len(golds)
    deals = [deal for deal in itertools.permutations(range(n)) if all(at != to for at, to in enumerate(deal))]
    for score, value in zip((exact, f1), shuffled(answers, golds, "en", rule), strict=True):
        means = [np.mean([score(answers[to], golds[at], "en", rule) for at, to in enumerate(deal)]) for deal in deals]
        assert value == pytest.approx(np.mean(means))


def test_many_questions_are_compared_in_parts(monkeypatch):
    golds = [[f"w{at % 7} of", f"w{at % 5} x y"] for at in range(40)]
    whole = shuffled([of[0] for of in golds], golds, "en", STRICT)
    monkeypatch.setattr(module, "_CHUNK", 7)
    assert shuffled([of[0] for of in golds], golds, "en", STRICT) == pytest.approx(whole)


def test_baselines_of_planted_questions(tmp_path):
    rows = [
        {
            "question_id": f"{split}{at}",
            "lang": "en",
            "split": split,
            "page_id": f"{split}{at}",
            "title": f"Rome {at}",
            "question": "Where?",
            "answers": answers,
            "negatives": ["x", "y", "z"],
            "context": "",
        }
        for split, listed in (
            ("train", [["Paris"], ["Rome"], ["paris."]]),
            ("test", [["Paris"], ["Paris"], ["Rome 2", "Rome"], ["Oslo"]]),
            ("both", [["Bonn"]]),
        )
        for at, answers in enumerate(listed)
    ]
    tables.write("qa", pd.DataFrame(rows), tmp_path / "qa.parquet")
    out = tmp_path / "b.parquet"
    notes = qa_baselines(qa=tmp_path / "qa.parquet", tasks=[OPEN, MCQ, CONTEXT], base="en", seed=0, out=out)
    assert notes == {"questions": {OPEN: 5, MCQ: 5, CONTEXT: 0}}
    found = tables.read(out).set_index(["task", "split", "baseline", "metric"])["value"]
    assert found[OPEN, "test", MAJORITY, "em_strict"] == 0.5 == found[OPEN, "test", MAJORITY, "correct"]
    assert found[OPEN, "test", TITLE, "em_folded"] == 0.25  # the page Rome 2
    assert found[OPEN, "test", SHUFFLED, "em_strict"] == pytest.approx(2 / 12)
    # By letters: of Paris twice, Rome and Oslo.
    words = {"Paris": 2, "Rome": 1, "Oslo": 1}
    pairs = [(a, b, n * (m - (a == b))) for a, n in words.items() for b, m in words.items()]
    # the first right answer is "Rome 2", the others are as they stand
    letters = {"Paris": "paris", "Rome": "rome2", "Oslo": "oslo"}
    mean = sum(
        n
        * max(f1(" ".join(letters[a]), [" ".join(g) for g in ([letters[b]] + ["rome"] * (b == "Rome"))], "", STRICT), 0)
        for a, b, n in pairs
    )
    assert found[OPEN, "test", SHUFFLED, LETTERS] == pytest.approx(mean / 12)
    assert (OPEN, "test", TITLE, LETTERS) not in found
    assert found[MCQ, "test", CHANCE, "correct"] == 0.25
    assert (OPEN, "both", SHUFFLED, "f1_strict") not in found and found[OPEN, "both", MAJORITY, "f1_folded"] == 0
    assert 0 <= found[MCQ, "test", SHUFFLED, "correct"] <= 1 and (MCQ, "test", MAJORITY, "correct") in found
