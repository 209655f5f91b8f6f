"""Question files as they come: each fault is refused with file and row, or named in a warning; nothing is lost."""

import bz2
import codecs
import gzip
import json
import logging
import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.corpora.released import check_questions, fill_blanks, read_released, remarks, warn
from lorebridge.errors import InputError
from lorebridge.probes.questions import build_questions

SEOUL = {"question": "The capital is ____.", "options": ["Seoul", "Busan", "Jeju", "Daegu"], "answer": "Seoul"}
SPOON = {"question": "Rice is eaten with __.", "options": ["spoons", "forks", "knives", "hands"], "answer": "spoons"}
KOREAN = [
    {"question": "수도는 ____이다.", "options": ["서울", "부산", "제주", "대구"], "answer": "서울"},
    {"question": "밥은 _로 먹는다.", "options": ["숟가락", "포크", "칼", "손"], "answer": "숟가락"},
]


def write(path, rows):
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


@given(
    st.lists(st.sampled_from(["_", "__", "<mask>", "<mask", "mask>", "a", " ", "གནས", "<", "\\1", "\u202f"])).map(
        "".join
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_filling_equals_the_published_two_steps(question, option):
    published = re.sub(r"_+", "<mask>", question).replace("<mask>", option)
    assert fill_blanks(question, option) == published


@pytest.mark.parametrize("blank", ["_", "____", "<mask>"])
def test_either_spelling_of_a_blank_is_one(tmp_path, blank):
    rows = [
        {**SEOUL, "question": SEOUL["question"].replace("____", blank)},
        {**SPOON, "question": f"{blank} are used."},
    ]
    read = read_released(write(tmp_path / "q.json", rows))
    assert not remarks(read)
    assert fill_blanks(read[0].text, "Seoul") == "The capital is Seoul."
    assert fill_blanks(read[1].text, "spoons") == "spoons are used."


def test_a_file_without_any_blank_is_refused(tmp_path):
    rows = [{**SEOUL, "question": "The capital is [MASK]."}, {**SPOON, "question": "Rice is eaten with (  )."}]
    path = write(tmp_path / "q.json", rows)
    with pytest.raises(InputError, match=r"q\.json: none of its 2 questions has a blank.*____"):
        read_released(path)
    # What the message advises, done.
    assert len(read_released(write(path, [{**row, "question": row["question"] + " ____"} for row in rows]))) == 2


def test_rows_that_cannot_be_answered_as_asked_are_counted_and_named(tmp_path, caplog):
    rows = [
        SEOUL,
        {**SEOUL, "question": "The capital."},
        {**SEOUL, "question": "____ and ____."},
        {**SEOUL, "question": "Two ____", "options": ["Seoul", "Busan", "Busan", "Daegu"]},
        {**SEOUL, "question": "Space ____", "options": ["Seoul", "Busan", "Busan ", "Daegu"]},
        {**SEOUL, "question": "Form ____", "options": ["Seoul", "caf\u00e9", "cafe\u0301", "Daegu"]},
        {**SEOUL, "question": "Width ____", "options": ["Seoul", "３０", "30", "Daegu"]},
        {**SEOUL, "question": "Line\r\nbreak ____"},
        {**SEOUL, "options": SEOUL["options"][::-1]},
        {**SPOON, "answer": "chopsticks"},
    ]
    path = write(tmp_path / "q.json", rows)
    with caplog.at_level(logging.WARNING, "lorebridge.probes"):
        found = warn(path, read_released(path, [9]))
    assert found == {
        "no blank": [1],
        "several blanks": [2],
        "equal options": [3],
        "options that differ in white space or normal form only": [4, 5, 6],
        "control characters": [7],
        "repeats an earlier question and its options": [8],
        "answer not among the options": [9],
    }
    assert "q.json: 1 of 10 questions: no blank (row 1)" in caplog.text
    assert "rows 4, 5, 6" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "  "}, "`question` is not a string with text"),
        ({"question": "\u200b\ufeff"}, "`question` is not a string with text"),
        ({"question": 5}, "`question` is not a string with text"),
        ({"options": ["Seoul", " "]}, "option 1 is not a string with text"),
        ({"options": ["Seoul", "\u180e"]}, "option 1 is not a string with text"),
        ({"options": ["Seoul", None]}, "option 1 is not a string with text"),
        ({"options": ["Seoul", 1392]}, "option 1 is not a string with text"),
        ({"options": ["Seoul"]}, "`options` is not a list of two or more"),
        ({"options": ["Seoul", "Seoul"]}, "all its options are equal"),
        ({"options": {"a": "Seoul", "b": "Busan"}}, "`options` is not a list of two or more"),
        ({"answer": None}, "`answer` is not a string with text"),
        ({"answer": []}, "`answer` is not a string with text"),
        ({"answer": ["Seoul", "Busan"]}, "`answer` lists 2 answers"),
        ({"answer": "Seoul "}, "is option 0 but for white space or normal form"),
        ({"answer": "A"}, "the answer 'A' is not among the options"),
        ({"answer": "Seoul\ud800"}, "half of a surrogate pair"),
        ({"question": "____ \udc00"}, "half of a surrogate pair"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, message):
    path = tmp_path / "q.json"
    path.write_text(json.dumps([SPOON, {**SEOUL, **change}]), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_released(path)
    assert f"{path}, row 1: " in str(error.value)
    assert "\n" not in str(error.value)


def test_one_answer_in_a_list_is_that_answer(tmp_path):
    assert read_released(write(tmp_path / "q.json", [{**SEOUL, "answer": ["Seoul"]}]))[0].answers == ["Seoul"]
    several = write(tmp_path / "q.json", [{**SEOUL, "answer": ["Seoul", "Busan"]}])
    assert read_released(several, several_answers=True)[0].answers == ["Seoul", "Busan"]
    with pytest.raises(InputError, match=r"row 0: `answer` lists 2 answers.*--mode reference"):
        read_released(several)


def test_a_key_that_stands_twice_is_named(tmp_path):
    path = tmp_path / "q.json"
    path.write_text(
        f'[{json.dumps(SPOON)}, {{"question": "a ____", "options": ["b", "c"], "answer": "b", "answer": "c"}}]'
    )
    with pytest.raises(InputError, match=r"row 1: the key `answer` stands twice"):
        read_released(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (gzip.compress, "gzip"),
        (bz2.compress, "bzip2"),
        (lambda text: text.decode().encode("utf-16"), "not UTF-8"),
        (lambda text: b"", "is empty"),
        (lambda text: b" \n", "is empty"),
        (lambda text: text[:-20], "not JSON"),
        (lambda text: b"\n".join(json.dumps(row).encode() for row in (SEOUL, SPOON)), "an object a line"),
        (lambda text: b"\r\n".join(json.dumps(row).encode() for row in (SEOUL, SPOON)), "an object a line"),
        (lambda text: json.dumps(SEOUL).encode(), "not a list of questions"),
        (lambda text: json.dumps({"data": [SEOUL]}).encode(), "not a list of questions"),
        (lambda text: b"[" * 100_000, "not JSON"),
        (lambda text: b"[" + b"9" * 5000 + b"]", "not JSON"),
        (lambda text: b"[null]", "row 0: not an object"),
        (lambda text: b"[NaN]", "row 0: not an object"),
    ],
)
def test_another_kind_of_file_is_refused_in_one_line(tmp_path, make, message):
    path = tmp_path / "q.json"
    path.write_bytes(make(json.dumps([SEOUL, SPOON]).encode()))
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_released(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_what_the_refusal_of_a_packed_file_advises_works(tmp_path):
    path = tmp_path / "q.json"
    path.write_bytes(gzip.compress(json.dumps([SEOUL]).encode()))
    with pytest.raises(InputError) as error:
        read_released(path)
    command = re.search(r"`(.*?)`", str(error.value))[1].replace("OUT", str(tmp_path / "out.json"))
    subprocess.run(command, shell=True, check=True)
    assert len(read_released(tmp_path / "out.json")) == 1


def test_what_the_refusal_of_lines_advises_works(tmp_path):
    path = tmp_path / "q.json"
    path.write_text("\n".join(json.dumps(row) for row in (SEOUL, SPOON)))
    with pytest.raises(InputError) as error:
        read_released(path)
    command = re.search(r"`(.*)`", str(error.value))[1].replace("OUT", str(tmp_path / "out.json"))
    subprocess.run(command.replace("python3", sys.executable), shell=True, check=True)
    assert len(read_released(tmp_path / "out.json")) == 2


@pytest.mark.parametrize("change", [lambda b: codecs.BOM_UTF8 + b, lambda b: b.replace(b"\n", b"\r\n")])
def test_a_byte_order_mark_and_crlf_between_rows_are_no_text(tmp_path, change):
    plain = json.dumps([SEOUL, SPOON], indent=1).encode()
    (tmp_path / "plain.json").write_bytes(plain)
    (tmp_path / "other.json").write_bytes(change(plain))
    assert read_released(tmp_path / "other.json") == read_released(tmp_path / "plain.json")


def settings_of(folder, en=(SEOUL, SPOON), ko=tuple(KOREAN), **changes):
    return {
        "culture": "ko",
        "langs": ["en", "ko"],
        "files": {"en": write(folder / "en.json", list(en)), "ko": write(folder / "ko.json", list(ko))},
        "scripts": {"en": "Latin", "ko": "Hangul"},
        "known_missing_gold": [],
    } | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ko": KOREAN[:1]}, r"ko\.json: 1 questions, but .*en\.json has 2"),
        ({"ko": KOREAN[::-1], "en": [SEOUL, {**SPOON, "answer": "forks"}]}, r"row 1: the options do not match"),
        ({"en": KOREAN, "ko": [SEOUL, SPOON]}, r"en\.json: .*% of its letters are Latin.*questions\.ko\.files\.en"),
        ({"ko": [SEOUL, SPOON]}, r"ko\.json: 0% of its letters are Hangul.*questions\.ko\.files\.ko"),
        ({"known_missing_gold": [2]}, r"known_missing_gold: names row 2, and there are rows 0 to 1"),
        ({"known_missing_gold": [0]}, r"known_missing_gold: names row 0, whose answer is among its options"),
    ],
)
def test_files_that_do_not_belong_together_are_refused_before_anything_runs(tmp_path, changes, message):
    arguments = settings_of(tmp_path, **changes)
    for refuse in (
        lambda: check_questions(**arguments, subset="clean"),
        lambda: build_questions(**arguments, out=tmp_path / "q.parquet"),
    ):
        with pytest.raises(InputError, match=message) as error:
            refuse()
        assert "\n" not in str(error.value)
    assert not (tmp_path / "q.parquet").exists()


def test_an_empty_subset_is_refused_before_anything_runs(tmp_path):
    en = [SEOUL, {**SPOON, "question": "Rice is not eaten with ____."}]
    ko = [{**KOREAN[0], "question": "수도."}, KOREAN[1]]
    arguments = settings_of(tmp_path, en=en, ko=ko)
    check_questions(**arguments, subset="clean")
    with pytest.raises(InputError, match=r"no question of ko is in the subset 'strict'.*1 negated.*`clean`"):
        check_questions(**arguments, subset="strict")
    with pytest.raises(InputError, match=r"no question of ko is in the subset 'strict'"):
        build_questions(**arguments, subset="strict", out=tmp_path / "q.parquet")
    build_questions(**arguments, subset="clean", out=tmp_path / "q.parquet")


def rows_of_any_kind():
    text = st.sampled_from(
        ["a", "A ", " a", "ᠪ", "é", "e\u0301", "서", "____", "<mask>", " ", "", "\u200b", "1", "not"]
    )
    cloze = st.lists(text, min_size=1, max_size=4).map("".join)
    value = st.one_of(cloze, st.sampled_from([None, 3, [], ["a"], {}]))
    row = st.fixed_dictionaries(
        {"question": value, "options": st.lists(value, max_size=4), "answer": st.one_of(value, st.just("a"))}
    )
    good = st.tuples(cloze, st.lists(st.sampled_from(["a", "b", "a ", "c", "ｃ"]), min_size=1, max_size=3)).map(
        lambda drawn: {"question": f"{drawn[0]} w", "options": ["z", *drawn[1]], "answer": "z"}
    )
    return st.lists(st.one_of(good, good, good, row), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows_of_any_kind())
def test_no_row_is_lost_or_uncounted(tmp_path, rows):
    path = write(tmp_path / "q.json", rows)
    out = tmp_path / "q.parquet"
    try:
        notes = build_questions(
            culture="ko", langs=["en"], known_missing_gold=[], files={"en": path}, scripts={"en": "Latin"}, out=out
        )
    except InputError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return
    table = tables.read(out)
    assert list(table["question_id"].drop_duplicates()) == [f"ko-{i:04d}" for i in range(len(rows))]
    asked = [(row["question"], option) for row in rows for option in row["options"]]
    assert list(zip(table["text"], table["option"], strict=True)) == asked
    # Every row is in the subset, or named with the reason why it is not; what is odd about it is named in any case.
    dropped = {
        index for reason in ("clean", "strict") for rows_ in notes["dropped"][reason].values() for index in rows_
    }
    strict = {
        int(name[3:]) for name, subset in zip(table["question_id"], table["subset"], strict=True) if "strict" in subset
    }
    assert strict | dropped == set(range(len(rows))) and not strict & dropped
    odd = {index for found in notes["remarks"]["en"].values() for index in found}
    for index, row in enumerate(rows):
        filled = {fill_blanks(row["question"], option) for option in row["options"]}
        if len(filled) < len(row["options"]) or len(re.findall("_+|<mask>", row["question"])) != 1:
            assert index in odd
