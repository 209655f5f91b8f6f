"""The tables on people: readings of the paper's one number, and who is named where."""

from __future__ import annotations

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.figures.people import isolation, people
from lorebridge.transfer.inference import QUESTIONS_ONLY
from lorebridge.transfer.people import CULTURE, DIFFERENCE, EVERY, PEOPLE

NAMES = {"en": "English", "ko": "Korean"}


@pytest.fixture
def gaps(tmp_path):
    rows = [
        {
            "contrast": "bridge - no_bridge",
            "lang": lang,
            "langs": ["ko"],
            "questions": questions,
            "attribute": attribute,
            "subset": "clean",
            "rule": "mean",
            "n_questions": 30,
            "n_clusters": 10,
            "n_seeds": 1,
            "accuracy": 0.5,
            "accuracy_reference": 0.4,
            "gap": 0.1,
            "lo": 0.05,
            "hi": 0.15,
            "relative": 0.25,
            "relative_lo": None,
            "relative_hi": None,
            "interval": QUESTIONS_ONLY,
        }
        for lang in ("ko", EVERY)
        for questions, attribute in ((PEOPLE, EVERY), (PEOPLE, "birth_year"), (CULTURE, EVERY), (DIFFERENCE, EVERY))
    ]
    tables.write("people_gaps", rows, tmp_path / "gaps.parquet")
    return tmp_path / "gaps.parquet"


def test_the_published_number_stands_beside_every_reading_of_it(gaps, tmp_path):
    people(people_gaps=gaps, names=NAMES, base="en", last=3, planted=False, out=tmp_path / "people")
    table = pd.read_csv(tmp_path / "people.csv")
    assert table["published"].tolist() == pytest.approx([20, float("nan"), float("nan"), 20] * 2, nan_ok=True)
    assert set(table["language"]) == {"Korean", "mean of all"}
    assert set(table["attribute"]) == {"all", "birth year"}
    assert table["gap"].tolist() == [10] * 8
    text = (tmp_path / "people.md").read_text()
    assert "20 %" in text and "Fieller" in text
    assert "25.0 |             – |" in text


def test_invented_people_have_no_published_number(gaps, tmp_path):
    people(people_gaps=gaps, names=NAMES, base="en", last=3, planted=True, out=tmp_path / "people")
    assert "published" not in pd.read_csv(tmp_path / "people.csv").columns


def test_isolation_says_for_each_text_who_is_named(tmp_path):
    counts = {("en", None): [4, 0, 8], ("ko", None): [0, 1, 0], ("en", "ko"): [0, 0, 2], ("ko", "ko"): [0, 0, 0]}
    paths = []
    for (lang, pairs), found in counts.items():
        paths.append(tmp_path / f"{len(paths)}.parquet")
        told = {"stream": f"text {len(paths)}", "lang": lang, "pairs": pairs}
        rows = [{"person_id": f"Q{i}", **told, "n_documents": n} for i, n in enumerate(found)]
        tables.write("people_mentions", rows, paths[-1])
    rows = [
        {
            "question_id": f"people-Q{i}-birthplace",
            "culture": "people",
            "lang": lang,
            "text": "____",
            "option_index": j,
            "option": str(j),
            "is_gold": j == 0,
            "subset": ["reference", "clean"][: 1 + (i != 1)],
            "n_blanks": 1,
        }
        for lang in ("en", "ko")
        for i in range(3)
        for j in range(4)
    ]
    tables.write("questions", rows, tmp_path / "ko.parquet")
    isolation(
        people_mentions=paths,
        people_questions={"ko": tmp_path / "ko.parquet"},
        names=NAMES,
        base="en",
        out=tmp_path / "isolation",
    )
    table = pd.read_csv(tmp_path / "isolation.csv")
    assert table["text"].tolist() == ["English", "Korean", "English–Korean pairs", "English–Korean pairs"]
    assert table["language"].tolist() == ["English", "Korean", "English", "Korean"]
    assert table["named"].tolist() == [2, 1, 1, 0]
    assert table["documents"].tolist() == [12, 1, 2, 0]
    assert table["left_out"].tolist() == pytest.approx([float("nan"), 1, float("nan"), 1], nan_ok=True)
