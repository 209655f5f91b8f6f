"""Sheets as spreadsheets save them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorebridge.errors import InputError
from lorebridge.sheets import read_rows, write_rows

# Line ends of Unicode, a quoted cell with a line end of its own, Mongolian with U+202F, separators, quotes.
ROWS = [
    {"id": "1", "text": "one\u2028two\x85three\x0bfour", "label": "yes"},
    {"id": "2", "text": 'a "b"\nc, d; e\tf', "label": ""},
    {"id": "3", "text": "ᠣᠷᠣᠨ\u202fᠳ᠋ᠤ", "label": "no"},
]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_cells_come_back_as_they_were_written(tmp_path, separator):
    path = tmp_path / "new" / "sheet.csv"
    write_rows(path, ROWS, ["id", "text", "label"])
    assert path.read_bytes().startswith(b"\xef\xbb\xbfid,text,label\r\n")
    if separator != ",":  # as another spreadsheet saves it
        import csv

        with path.open("w", encoding="utf-8-sig", newline="") as file:
            saved = csv.DictWriter(file, ["id", "text", "label"], delimiter=separator)
            saved.writeheader()
            saved.writerows(ROWS)
    assert read_rows(path, {"id", "label"}, what="sheet", mend="Write one.") == ROWS


def test_cells_left_out_at_the_end_of_a_row_are_empty(tmp_path):
    (tmp_path / "sheet.csv").write_text("id,label\n1\n")
    assert read_rows(tmp_path / "sheet.csv", {"id"}, what="sheet", mend="Write one.") == [{"id": "1", "label": ""}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("id,label\n".encode("utf-16"), "not UTF-8"),
        (b"", "is no sheet. Write one."),
        (b"id,text\n1,a\n", "is no sheet. Write one."),
    ],
)
def test_what_is_no_sheet_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(InputError, match=f"sheet.csv: .*{message}"):
        read_rows(tmp_path / "sheet.csv", {"id", "label"}, what="sheet", mend="Write one.")


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_text_comes_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("any") / "sheet.csv"
    rows = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    write_rows(path, rows, ["id", "text"])
    assert read_rows(path, {"id", "text"}, what="sheet", mend="Write one.") == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,label,label\n1,yes,no\n", "row 1: the column 'label' stands twice"),
        ("id,label,note\n1,yes,fine\n2,no,so, and so\n", "row 3: has more cells than the 3 columns"),
    ],
)
def test_no_cell_is_passed_over(tmp_path, content, message):
    (tmp_path / "sheet.csv").write_text(content)
    with pytest.raises(InputError, match=f"sheet.csv, {message}"):
        read_rows(tmp_path / "sheet.csv", {"id", "label"}, what="sheet", mend="Write one.")
