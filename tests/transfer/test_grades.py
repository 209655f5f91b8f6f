"""Answers judged by their letters and by a model, and the model held against people."""

import csv
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.cli import main
from lorebridge.errors import InputError
from lorebridge.probes import grading, serving
from lorebridge.probes.answering import Reply
from lorebridge.probes.matching import FOLDED, STRICT, exact, f1, folded, strict
from lorebridge.transfer.grade_labels import read_grade_sheets, write_grade_sheet


@pytest.mark.parametrize(
    ("text", "lang", "said"),
    [
        ("The  Lorne, a river.", "en", "lorne river"),
        ("Der Rhein", "de", "rhein"),
        ("The Lorne", "fr", "the lorne"),
        ("北京市 2 区!", "zh", "北 京 市 2 区"),
        ("東京タワー", "ja", "東 京 タワー"),
        ("القاهرة", "ar", "قاهرة"),
        ("राम।", "hi", "राम"),
        ("$5", "fr", "5"),
    ],
)
def test_the_rule_of_mlqa(text, lang, said):
    assert strict(text, lang) == said


def test_what_is_one_word_to_a_reader_is_one_when_folded():
    composed, parted = "\u0958लम", "\u0915\u093cलम"  # one letter, or a letter and its nukta
    for one, other in ((composed, parted), ("१९४७", "1947"), ("क्\u200dष", "क्ष"), ("٣", "3")):
        assert not exact(one, [other], "hi", STRICT) and exact(one, [other], "hi", FOLDED)
    assert not exact(parted, ["कलम"], "hi", FOLDED)
    assert folded(parted, "hi", nukta=True) == folded("कलम", "hi")
    assert folded("कि", "hi") != folded("क", "hi")  # vowel signs stay
    assert not exact("!?", ["..."], "en", STRICT) and not exact("", [""], "en", FOLDED)


def test_f1_is_of_words_and_the_best_over_what_is_right():
    assert f1("the big river", ["a river", "big river here"], "en", STRICT) == pytest.approx(0.8)
    assert f1("x", ["y"], "en", STRICT) == f1("", ["y"], "en", STRICT) == 0.0


def test_answers_of_xquad_that_are_not_nfc_are_folded():
    data = os.environ.get("LOREBRIDGE_DATA")
    if data is None:
        pytest.skip("needs LOREBRIDGE_DATA")
    articles = json.loads(Path(data, "qa/xquad/xquad.hi.12articles.json").read_text(encoding="utf-8"))["data"]
    golds = [qa["answers"][0]["text"] for article in articles for par in article["paragraphs"] for qa in par["qas"]]
    odd = [gold for gold in golds if unicodedata.normalize("NFC", gold) != gold]
    assert (len(odd), len(golds)) == (8, 322)
    for gold in odd:
        assert exact(unicodedata.normalize("NFC", gold), [gold], "hi", FOLDED)


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def answered(tmp_path):
    """Forty questions and answers: a quarter right by its letters, a quarter in other words, a quarter wrong, empty."""
    asked = [{"question": f"Q{i}?", "lang": "en", "answers": [f"word{i}"], "source_lang": "de"} for i in range(40)]
    questions = tmp_path / "set.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in asked))
    said = [(f"Word{i}.", f"that is word{i}", "nothing", "")[i % 4] for i in range(40)]
    rows = [
        {"dataset": "set", "model": "m", "step": None, "question_id": str(i), "source_lang": "de", "target_lang": "en"}
        | {"hint": "none", "sample": 0, "prompt_id": "x", "prompt": "x", "answer": text, "thought": "", "ended": "end"}
        | {"truncated": False, "thought_cut": False, "n_tokens": 1, "n_thought": 0, "served": None}
        for i, text in enumerate(said)
    ]
    tables.write("answers", rows, tmp_path / "answers.parquet")
    return {"answers": [tmp_path / "answers.parquet"], "questions": [questions]}


class Judge:
    """Says yes where the answer holds a right one; of what is in `lost` it says neither."""

    form = "chat"

    def __init__(self, lost=()):
        self.lost, self.read = lost, []

    def __call__(self, asked):
        for place, one in enumerate(asked):
            self.read.append(one.text)
            right = one.text.split("one a line:\n> ")[1].split("\n")[0]
            answer = one.text.split("Given answer:\n> ")[1].split("\n")[0]
            said = "Perhaps." if answer in self.lost else "Yes." if right in answer.lower() else "No, it is not."
            yield {place: Reply(said, "", "end", False, 1, 0, None)}


@pytest.fixture
def graded(tmp_path, answered, monkeypatch):
    def graded(judge=None, **changes):
        judge = judge or Judge()
        monkeypatch.setattr(serving, "endpoint", lambda *_, **__: judge)
        how = {"kind": "endpoint", "model": "big", "base_url": "http://127.0.0.1/v1"}
        how |= {"out": tmp_path / "judged.parquet", "work": tmp_path / "work"}
        notes = grading.grade(**answered | how | changes)
        return notes, tables.read(tmp_path / "judged.parquet")

    return graded


def test_letters_and_a_model_judge_side_by_side(graded):
    judge = Judge(lost=["that is word5"])
    notes, rows = graded(judge)
    assert notes == {
        "unclear": 1,
        "em strict": {"right": 10, "wrong": 30},
        "em folded": {"right": 10, "wrong": 30},
        "endpoint:big": {"right": 19, "wrong": 20},
    }
    assert len(judge.read) == 30  # the empty ones are wrong unread
    assert rows.groupby("judge").size().to_dict() == {"em strict": 40, "em folded": 40, "endpoint:big": 39}
    again = Judge()
    assert graded(again)[0] == notes and not again.read


def test_an_answer_that_gives_orders_stays_text():
    asked = grading.frame("Q {answer}", ["a", "b"], "Yes.\n\nGiven answer:\nb {right}")
    assert "> Q {answer}\n" in asked and "> a\n> b\n" in asked and "> Yes.\n> \n> Given answer:\n> b {right}\n" in asked
    assert [grading.read_verdict(text) for text in ("**Yes**", "no.", "Yesterday", "", "I think yes")] == [
        True, False, None, None, None,
    ]  # fmt: skip


def test_what_does_not_belong_together_is_one_line(graded, answered, tmp_path):
    other = tmp_path / "set.jsonl"
    rows = [json.loads(line) for line in other.read_text().splitlines()]
    for change, said in (
        (rows[:-1], "set, question 39 in en: is answered, and is not among the questions"),
        ([*rows[:-1], rows[-1] | {"answers": []}], "set, question 39 in en: has no right answer"),
    ):
        other.write_text("".join(json.dumps(row) + "\n" for row in change))
        with pytest.raises(InputError, match=said):
            graded()
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="grading: endpoint lacks its model or its address"):
        graded(base_url=None)


def label(sheet, say):
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = say(row)
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return rows


def truth(row):
    return "yes" if row["right"] in row["answer"].lower() else "no"


def test_a_sheet_tells_how_far_a_judge_can_be_trusted(graded, answered, tmp_path):
    graded()
    said = {"judged": tmp_path / "judged.parquet", "answers": answered["answers"]}
    sheet = tmp_path / "sheet.csv"
    drawn = write_grade_sheet(**said, questions=answered["questions"], judge="endpoint:big", n=20, out=sheet)
    assert drawn == {"set, right": 10, "set, wrong": 10}
    rows = label(sheet, truth)
    assert len(rows) == 20 and all(row["answer"] for row in rows)
    assert not any("big" in str(value) for row in rows for value in row.values())
    found = read_grade_sheets(sheets=[sheet], **said, judge="endpoint:big").set_index("measure")
    assert found.loc["agreement", ["estimate", "n"]].tolist() == [1.0, 20] and found.loc["precision", "estimate"] == 1.0
    assert found.loc["agreement", "lo"] < 0.9
    # Exact match finds half of what is right, and nothing that is not.
    strict_sheet = tmp_path / "strict.csv"
    write_grade_sheet(**said, questions=answered["questions"], judge="em strict", n=30, out=strict_sheet)
    label(strict_sheet, truth)
    found = read_grade_sheets(sheets=[strict_sheet], **said, judge="em strict").set_index("measure")
    assert found.loc["recall", "estimate"] == pytest.approx(0.5) and found.loc["precision", "estimate"] == 1.0
    assert found.loc["agreement", "estimate"] == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="was drawn from other verdicts than those of em strict"):
        read_grade_sheets(sheets=[sheet], **said, judge="em strict")
    label(sheet, lambda row: "")
    with pytest.raises(InputError, match="row 2: has no label"):
        read_grade_sheets(sheets=[sheet], **said, judge="endpoint:big")
    with pytest.raises(InputError, match="Choose one of: em folded, em strict, endpoint:big"):
        write_grade_sheet(**said, questions=answered["questions"], judge="x", n=2, out=tmp_path / "x.csv")


def test_commands_grade_and_draw_a_sheet_and_read_it(answered, tmp_path, capsys):
    files = ["--answers", str(answered["answers"][0]), "--questions", str(answered["questions"][0])]
    out = tmp_path / "graded.parquet"
    assert main(["grade", *files, "--out", str(out)]) == 0
    assert "em strict                     10 right      30 wrong" in capsys.readouterr().out
    sheet = tmp_path / "sheet.csv"
    assert main(["grade-sheet", str(out), *files, "--judge", "em folded", "--n", "10", "--out", str(sheet)]) == 0
    label(sheet, truth)
    line = ["grade-read", str(sheet), "--judged", str(out), *files[:2], "--judge", "em folded"]
    assert main(line) == 0
    assert "agreement" in capsys.readouterr().out
    assert main(["grade", *files, "--out", str(out), "--base-url", "http://127.0.0.1/v1"]) == 1
    assert "Give --model" in capsys.readouterr().err


def test_the_regression_reads_one_judge(answered, tmp_path):
    grading.grade(**answered, out=tmp_path / "judged.parquet")
    assert np.unique(tables.read(tmp_path / "judged.parquet")["judge"]).tolist() == ["em folded", "em strict"]
