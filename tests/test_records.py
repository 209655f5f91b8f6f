"""Recipes, tasks and records."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorebridge.errors import InputError
from lorebridge.records import DigestCache, Records, Task, file_digest, fingerprint, read_record

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_a_fingerprint_survives_a_trip_through_json(value):
    assert fingerprint(json.loads(json.dumps(value))) == fingerprint(value)


@given(st.dictionaries(st.text(), st.integers(), max_size=6))
def test_key_order_does_not_matter(value):
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


def test_equal_numbers_are_equal_and_others_are_not():
    assert fingerprint({"lr": 1.0}) == fingerprint({"lr": 1})
    assert fingerprint({"lr": 1e-4}) != fingerprint({"lr": 1.0000001e-4})
    assert fingerprint(True) != fingerprint(1)
    assert fingerprint("1") != fingerprint(1)


@pytest.mark.parametrize("value", [object(), {1: 2}, math.nan, math.inf, {"a": {1, 2}}, b"x"])
def test_what_has_no_stable_spelling_is_refused(value):
    with pytest.raises(TypeError):
        fingerprint(value)


def test_inputs_that_change_places_are_another_recipe():
    """Each argument is made of what the other was: nothing else tells the two tasks apart."""
    one, other = "0123456789abcdef", "fedcba9876543210"
    task = Task("gaps", {}, roles={"first": [["scores", one]], "second": [["scores", other]]})
    assert task.recipe != Task("gaps", {}, roles={"first": [["scores", other]], "second": [["scores", one]]}).recipe
    in_order = Task("gaps", {}, roles={"scores": [["scores", one], ["scores", other]]})
    assert in_order.recipe != Task("gaps", {}, roles={"scores": [["scores", other], ["scores", one]]}).recipe


def test_the_recipe_chains():
    inner = Task("tokens", {"column": "text"})
    outer = Task("order", {"seed": 0}, roles={"tokens": [["tokens", inner.recipe]]})
    assert outer.recipe != Task("order", {"seed": 0}, roles={"tokens": [["tokens", "other"]]}).recipe
    assert outer.recipe != Task("order", {"seed": 1}, {"a/record.json": inner.recipe}).recipe
    assert outer.recipe != Task("order", {"seed": 0}, {"a/record.json": inner.recipe}, version=2).recipe


def test_where_an_input_lies_does_not_enter_the_recipe():
    assert Task("order", {}, {"a/record.json": "r"}).recipe == Task("order", {}, {"b/record.json": "r"}).recipe


def test_a_task_survives_the_command_line():
    task = Task("order", {"template": "{en} 'བོད' {xx}", "x": [1, 2.5, None]}, {"a": "r"}, 3)
    again = Task.loads(task.dumps())
    assert again == task
    assert again.recipe == task.recipe


def test_making_writes_a_record_only_when_the_work_is_done(tmp_path):
    task = Task("chunks", {"max_chars": 10})
    record = tmp_path / "x.record.json"
    with pytest.raises(RuntimeError), task.making(record):
        raise RuntimeError
    assert not record.exists()
    with task.making(record, "chunks") as notes:
        notes["n"] = 3
    written = read_record(record)
    assert written["recipe"] == task.recipe
    assert written["notes"] == {"n": 3}
    assert {"git", "source", "packages", "argv", "device", "wall_seconds"} <= set(written)


def test_a_mistake_of_the_user_is_one_line_and_status_1(tmp_path, caplog):
    with pytest.raises(SystemExit) as stop, Task("chunks", {}).making(tmp_path / "r", logfile=tmp_path / "log"):
        raise InputError("ko.jsonl, row 3", "no `text`", "Add it.")
    assert stop.value.code == 1
    text = (tmp_path / "log").read_text()
    assert "ko.jsonl, row 3: no `text`. Add it." in text
    assert "Traceback" not in text


@pytest.mark.parametrize("found", [{"recipe": "old", "rule": "filter_corpus"}, None])
def test_stale_or_lost_inputs_are_refused_with_the_mend(tmp_path, caplog, found):
    record = tmp_path / "in" / "record.json"
    if found:
        record.parent.mkdir()
        record.write_text(json.dumps(found))
    with pytest.raises(SystemExit), Task("tokens", {}, {str(record): "new"}).making(tmp_path / "out.record.json"):
        pytest.fail("worked from a stale input")
    message = caplog.text
    assert str(record) in message
    assert "new" in message
    assert "--forcerun" in message
    if found:
        assert "old" in message
        assert "--forcerun filter_corpus" in message
    assert not (tmp_path / "out.record.json").exists()


def test_the_digest_cache_sees_a_changed_file(tmp_path):
    source, cache = tmp_path / "a.jsonl", tmp_path / "digests.json"
    source.write_text("one")
    assert DigestCache(cache)(str(source)) == file_digest(source)
    source.write_text("three")
    assert DigestCache(cache)(str(source)) == file_digest(source)
    cache.write_text("{torn")
    assert DigestCache(cache)(str(source)) == file_digest(source)


def test_a_record_is_read_once(tmp_path):
    records, path = Records(), tmp_path / "a.record.json"
    assert records(str(path)) is None
    path.write_text('{"recipe": "a"}')
    assert records(str(path)) is None
    assert Records()(str(path)) == {"recipe": "a"}
