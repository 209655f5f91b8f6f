"""Labelling sheets of questions and pairs: unflagged ones are drawn, and labels weighted back to all of them."""

import csv

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.leak_labels import MISSED, NEITHER, STRATA, read_leak_sheets, write_leak_sheet

RECIPE = "0123456789abcdef"
N_QUESTIONS, N_PAIRS = 20, 400


@pytest.fixture
def parallel(tmp_path, write_questions):
    """20 questions (the last cannot be looked for) and 400 pairs.

    Of each: 4 are flagged in the English half alone, 16 name the subject alone, 40 the answer alone.
    """
    names = [f"ko-{i:04d}" for i in range(N_QUESTIONS)]
    pairs = [
        {"pair_id": f"p/{i}", "en": f"english {i}", "xx": f"korean {i}", "source": "planted"} for i in range(N_PAIRS)
    ]
    tables.write("pairs", pairs, tmp_path / "pairs.parquet")
    halves = []
    for lang in ("en", "ko"):
        subjects = [
            {
                "question_id": name,
                "culture": "ko",
                "terms": [f"subject {i}"] if i < N_QUESTIONS - 1 else [],
                "aliases": [],
                "gold": f"gold {i}",
                "distractors": [],
                "lang": lang,
                "subject_rule": "entity",
                "n_chunks": [1],
            }
            for i, name in enumerate(names)
        ]
        mentions = []
        for i, name in enumerate(names):
            for piece in range(60):
                row = {"question_id": name, "piece": (piece + i) % N_PAIRS, "subject": piece < 20, "object": False}
                row |= {"n_statements": 0, "n_chunks": 0, "distractor_documents": None, "distractor_chunks": None}
                row["object"] = piece < 4 or piece >= 20
                row["n_chunks"] = row["n_statements"] = int(piece < 4 and lang == "en")
                mentions.append(row)
        tables.write("subjects", subjects, tmp_path / f"subjects-{lang}.parquet")
        tables.write("mentions", mentions, tmp_path / f"mentions-{lang}.parquet")
        halves.append({"lang": lang, **{n: tmp_path / f"{n}-{lang}.parquet" for n in ("subjects", "mentions")}})
    asked = {
        "en": [(f"The ____ of {i}.", [f"gold {i}", "a", "b", "c"], f"gold {i}") for i in range(N_QUESTIONS)],
        "ko": [(f"{i} ____ 는", [f"금 {i}", "가", "나", "다"], f"금 {i}") for i in range(N_QUESTIONS)],
    }
    write_questions(tmp_path / "questions.parquet", "ko", asked)
    return {"halves": halves, "pairs": tmp_path / "pairs.parquet", "recipe": RECIPE}


def write(parallel, out, n):
    questions = parallel["pairs"].parent / "questions.parquet"
    scripts = {"en": "Latin", "ko": "Hangul"}
    return write_leak_sheet(culture="ko", base="en", scripts=scripts, questions=questions, n=n, out=out, **parallel)


def label(sheet, out, stated):
    """Label a sheet by what is stated: a function of the question's number and the pair's place after it."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        question, piece = int(row["statement"].split()[0]), int(row["chunk"].split()[1])
        row["label"] = "yes" if stated((piece - question) % N_PAIRS) else "no"
        row["translation_ok"] = "yes"
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out


def test_unflagged_pairs_are_drawn_and_the_flag_is_hidden(parallel, tmp_path):
    notes = write(parallel, tmp_path / "sheet.csv", 80)
    told = N_QUESTIONS - 1
    sizes = {"flagged": 4 * told, "subject named": 16 * told, "answer alone": 40 * told}
    assert notes["sizes"] == {**sizes, NEITHER: told * N_PAIRS - sum(sizes.values())}
    assert notes["rows"] == dict.fromkeys(STRATA, 20)
    text = (tmp_path / "sheet.csv").read_text(encoding="utf-8-sig")
    assert not any(hidden in text for hidden in (*STRATA, "ko-00", "p/"))
    rows = pd.read_csv(tmp_path / "sheet.csv", dtype=str, keep_default_na=False)
    english = rows["chunk_translated"].str.replace("english", "korean")
    assert (english == rows["chunk"]).all() and rows["id"].is_unique
    assert list(rows["id"]) == sorted(rows["id"])
    write(parallel, tmp_path / "again.csv", 80)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "sheet.csv").read_bytes()
    with pytest.raises(InputError, match="perhaps with labels"):
        write(parallel, tmp_path / "sheet.csv", 80)
    with pytest.raises(InputError, match="has 7600 questions and pairs, fewer than the 7601"):
        write(parallel, tmp_path / "more.csv", 7601)


def test_labels_are_weighted_back_to_all_questions_and_pairs(parallel, tmp_path):
    """Half of what is flagged is stated, and a quarter of what names the subject alone."""
    write(parallel, tmp_path / "sheet.csv", 400)
    done = label(tmp_path / "sheet.csv", tmp_path / "done.csv", lambda place: place in (0, 1, 4, 8, 12, 16))
    table = read_leak_sheets(sheets=[done], **parallel)
    found = table.set_index("measure")
    # Of 4 flagged 2 are stated, of 16 that name the subject 4: recall 2 of 6.
    assert found.loc["precision", "estimate"] == pytest.approx(0.5, abs=0.1)
    assert found.loc["recall", "estimate"] == pytest.approx(1 / 3, abs=0.1)
    assert found.loc["recall", "lo"] < 1 / 3 < found.loc["recall", "hi"]
    assert found.loc["translation ok", "estimate"] == 1
    assert found.loc[MISSED, "estimate"] == 0 and 0 < found.loc[MISSED, "hi"] < 0.05
    assert found.loc["precision", "n"] + found.loc[MISSED, "n"] == 400
    assert found.loc["precision", "between"] == "rule and done.csv"


def test_a_sheet_of_another_leak_report_is_refused(parallel, tmp_path):
    write(parallel, tmp_path / "sheet.csv", 40)
    done = label(tmp_path / "sheet.csv", tmp_path / "done.csv", lambda place: place < 4)
    formerly = read_leak_sheets(sheets=[done], **(parallel | {"recipe": "f" * 16}), formerly=RECIPE)
    pd.testing.assert_frame_equal(formerly, read_leak_sheets(sheets=[done], **parallel))
    with pytest.raises(InputError, match=f"of recipe {RECIPE}, but .*pairs.parquet has ffff"):
        read_leak_sheets(sheets=[done], **(parallel | {"recipe": "f" * 16}))
