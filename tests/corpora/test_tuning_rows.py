"""Rows of a tuning: what a file may say, and that a bad row is named."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.corpora.tuning import tuning_rows
from lorebridge.errors import InputError

ROWS = [{"prompt": " Where? ", "answer": "Here", "more": 1}, {"row_id": "b", "prompt": "Who?", "answer": "क"}]


def write(path, rows=ROWS):
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_texts_stand_as_they_are(tmp_path, name):
    assert tuning_rows(file=write(tmp_path / name), lang="hi", out=tmp_path / "out.parquet") == {"rows": 2}
    found = tables.read(tmp_path / "out.parquet").to_numpy().tolist()
    assert found == [["1", " Where? ", "Here"], ["b", "Who?", "क"]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS, {"prompt": "x", "answer": " \n"}], "row 3, key answer: is empty. Fill it in, or drop the row"),
        ([*ROWS, {"prompt": "", "answer": "x"}], "row 3, key prompt: is empty"),
        ([*ROWS, {"prompt": "x"}], "row 3: has no text `answer`"),
        ([{"prompt": "x", "answer": 3}], "row 1: has no text `answer`"),
        ([*ROWS, ROWS[1]], "row 3, key row_id: 'b' is the name of row 2, too"),
        ([], "has no row"),
    ],
)
def test_a_bad_row_is_named(tmp_path, rows, said):
    with pytest.raises(InputError, match=said):
        tuning_rows(file=write(tmp_path / "rows.jsonl", rows), lang="hi", out=tmp_path / "out.parquet")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,answer\n")
    (tmp_path / "rows.parquet").write_text("no table")
    for name, said in (("rows.csv", "neither JSONL nor Parquet"), ("rows.parquet", "cannot be read")):
        with pytest.raises(InputError, match=said):
            tuning_rows(file=tmp_path / name, lang="hi", out=tmp_path / "out.parquet")
