"""The numbers of pieces: one rule, and a digest that tells when two have counted other rows."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.corpora.pieces import KEY, check_numbering, numbered_by, numbering
from lorebridge.errors import InputError

IDS = st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=3), max_size=12, unique=True)


def documents(path, ids):
    rows = [{"doc_id": name, "title": "", "text": "a", "source": "s", "n_chars": 1} for name in ids]
    tables.write("documents", rows, path)
    return path


@given(ids=IDS, cut=st.integers(0, 12), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_numbering_tells_what_rows_stand_where_and_not_in_which_table(tmp_path, ids, cut, data):
    whole = numbering([documents(tmp_path / "a.parquet", ids)])
    split = [documents(tmp_path / "b.parquet", ids[:cut]), documents(tmp_path / "c.parquet", ids[cut:])]
    assert numbering(split) == whole
    other = data.draw(st.permutations(ids))
    assert (numbering([documents(tmp_path / "d.parquet", other)]) == whole) == (other == ids)
    assert numbering([documents(tmp_path / "e.parquet", [*ids, "\n1"])]) != whole


def test_a_table_keeps_the_numbering_that_it_was_written_with(tmp_path):
    for metadata, expected in (({KEY: "0123456789abcdef"}, "0123456789abcdef"), ({"other": "a"}, None), ({}, None)):
        tables.write("leaks", [], tmp_path / "leaks.parquet", metadata)
        assert numbered_by(tmp_path / "leaks.parquet") == expected


def test_another_numbering_is_refused_and_a_missing_one_is_not():
    check_numbering("m.parquet", "a", "a")
    check_numbering("m.parquet", None, "a")
    check_numbering("m.parquet", "a", None)
    with pytest.raises(InputError, match=r"m\.parquet: numbers other pieces \(a\).*changed places.*Remake it"):
        check_numbering("m.parquet", "a", "b")
