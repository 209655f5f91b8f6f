"""Judged answers, as a person gives them: what is read, and what is refused in one line."""

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.judged import joined, judged, read_judged

ROWS = [
    {"model": "m", "question_id": "010", "source_lang": "de", "target_lang": "de", "correct": "1"},
    {"model": "m", "question_id": "010", "source_lang": "de", "target_lang": "en", "correct": "0"},
    {"model": "NA", "question_id": "11", "source_lang": "", "target_lang": "en", "correct": "True"},
]


def write(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_csv_and_parquet_are_read_alike(tmp_path):
    found = read_judged(write(tmp_path / "set.csv", ROWS))
    assert found["question_id"].tolist() == ["010", "010", "11"] and found["model"].tolist() == ["m", "m", "NA"]
    assert found["correct"].tolist() == [True, False, True] and found["source_lang"].tolist() == ["de", "de", None]
    assert set(found["dataset"]) == {"set"} and set(found["hint"]) == {"none"} and set(found["sample"]) == {0}
    other = pd.DataFrame(ROWS).assign(correct=[1.0, 0.0, 1.0])
    other.to_parquet(tmp_path / "set.parquet")
    pd.testing.assert_frame_equal(read_judged(tmp_path / "set.parquet"), found)
    notes = judged(files=[tmp_path / "set.csv"], out=tmp_path / "out.parquet")
    assert notes == {"answers": 3, "questions": 2, "models": 2}
    pd.testing.assert_frame_equal(read_judged(tmp_path / "out.parquet"), found)
    assert len(tables.read(tmp_path / "out.parquet")) == 3


def test_verdicts_that_a_table_wrote_as_numbers_are_read(tmp_path):
    """As pandas writes a column of 0 and 1 that once lacked a value."""
    rows = [row | {"correct": correct} for row, correct in zip(ROWS, ("1.0", "0.0", "true"), strict=True)]
    assert read_judged(write(tmp_path / "set.csv", rows))["correct"].tolist() == [True, False, True]


def changed(number, **values):
    return [row | (values if i == number else {}) for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (changed(1, correct="0.5"), "row 2, column correct: '0.5' is no verdict"),
        (changed(1, correct=""), "row 2, column correct: '' is no verdict"),
        (changed(2, model=" "), "row 3, column model: is empty"),
        (changed(1, target_lang="de"), "row 2: the answer of m to 010 in de is judged in row 1, too"),
        (changed(1, source_lang="en"), "row 2, column source_lang: the question 010 is of en here and of de above"),
        ([{**row, "sample": "x"} for row in ROWS], "row 1, column sample: 'x' is no number of a sample"),
        ([{k: v for k, v in row.items() if k != "correct"} for row in ROWS], "has no column 'correct'"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path, rows, said):
    path = write(tmp_path / "judged.csv", rows)
    with pytest.raises(InputError, match=said) as error:
        read_judged(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_table_is_said(tmp_path):
    (tmp_path / "judged.parquet").write_text("no")
    (tmp_path / "empty.csv").write_text("model,question_id,source_lang,target_lang,correct\n")
    for name, said in (
        ("judged.parquet", "cannot be read"),
        ("judged.json", "neither CSV nor Parquet"),
        ("nowhere.csv", "cannot be read"),
        ("empty.csv", "has no row"),
    ):
        with pytest.raises(InputError, match=said):
            read_judged(tmp_path / name)
    write(tmp_path / "a.csv", ROWS)
    write(tmp_path / "b.csv", ROWS)
    assert len(joined([tmp_path / "a.csv", tmp_path / "b.csv"])) == 6  # two data sets
    write(tmp_path / "b.csv", [{**row, "dataset": "a"} for row in ROWS])
    with pytest.raises(InputError, match="stands in two of them"):
        joined([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_a_table_in_the_encoding_of_an_old_spreadsheet_is_saved_as_utf_8(tmp_path):
    path = tmp_path / "judged.csv"
    table = pd.DataFrame(ROWS).assign(model="모델")
    table.to_csv(path, index=False, encoding="cp949")
    with pytest.raises(InputError, match=r"is not UTF-8 \(byte \d+\)\. Save it as CSV in UTF-8\.$"):
        read_judged(path)
    table.to_csv(path, index=False, encoding="utf-8")
    assert set(read_judged(path)["model"]) == {"모델"}
