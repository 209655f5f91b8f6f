import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.corpora.released import read_released
from lorebridge.errors import InputError
from lorebridge.probes.decisions import baselines
from lorebridge.probes.questions import build_questions, counted, in_subset

SCRIPTS = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}

# The audit of the released files: what the clean rule must drop, to the item.
CLEAN_DROP = {
    "ko": [146, 161, 296, 353, 486],
    "zh": [306],
    "bo": [],
    "mn": [17, 23, 32, 69, 88, 98, 99, 153, 174, 191, 223],
}
# What always answering with the first option scores, in English and in the other language.
FIRST_OPTION = {"ko": (0.376, 0.376), "zh": (0.890, 0.890), "bo": (0.560, 0.560), "mn": (0.616, 0.620)}
SIZES = {"ko": 598, "zh": 328, "bo": 268, "mn": 276}
# 14 English and 34 Korean texts; one item is in both.
FOREIGN = {"ko": 47, "zh": 0, "bo": 0, "mn": 0}

EN = [
    {"question": "The capital is ____.", "options": ["Seoul", "Busan", "Jeju", "Daegu"], "answer": "Seoul"},
    {"question": "Rice is eaten with __.", "options": ["spoons", "forks", "knives", "hands"], "answer": "spoons"},
]
KO = [
    {"question": "수도는 ____이다.", "options": ["서울", "부산", "제주", "대구"], "answer": "서울"},
    {"question": "밥은 _로 먹는다.", "options": ["숟가락", "포크", "칼", "손"], "answer": "숟가락"},
]


def build(folder: Path, en: list, ko: list, known_missing_gold: list[int] | None = None) -> dict:
    files = {}
    for lang, rows in (("en", en), ("ko", ko)):
        files[lang] = folder / f"ko-culture-cloze_{lang}.json"
        files[lang].write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return build_questions(
        culture="ko",
        langs=["en", "ko"],
        known_missing_gold=known_missing_gold or [],
        files=files,
        scripts=SCRIPTS,
        out=folder / "ko.parquet",
    )


def item(base: dict, **changes: object) -> dict:
    return {**base, **changes}


def data_folder() -> Path:
    folder = os.environ.get("LOREBRIDGE_DATA")
    if not folder:
        pytest.skip("LOREBRIDGE_DATA is not set: no real question files")
    return Path(folder) / "probes"


def test_rows_and_ids(tmp_path):
    notes = build(tmp_path, EN, KO)
    table = tables.read(tmp_path / "ko.parquet")
    assert notes["questions"] == {"reference": 2, "clean": 2, "strict": 2}
    assert len(table) == 2 * 2 * 4
    assert set(table["question_id"]) == {"ko-0000", "ko-0001"}
    gold = table[table["is_gold"]]
    assert list(gold["option"]) == ["Seoul", "spoons", "서울", "숟가락"]
    assert table["n_blanks"].eq(1).all()


def test_same_input_same_bytes(tmp_path):
    build(tmp_path, EN, KO)
    first = (tmp_path / "ko.parquet").read_bytes()
    build(tmp_path, EN, KO)
    assert (tmp_path / "ko.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("en", "ko", "missing", "reason"),
    [
        ([item(EN[0], question="The capital."), EN[1]], KO, [], "not one blank"),
        (EN, [item(KO[0], question="____의 수도는 ____이다."), KO[1]], [], "not one blank"),
        ([item(EN[0], options=["Seoul", "Busan", "Busan", "Daegu"]), EN[1]], KO, [], "duplicate options"),
        ([item(EN[0], answer="Incheon"), EN[1]], KO, [0], "gold not in options"),
    ],
)
def test_clean_drops_by_rule_in_either_language(tmp_path, en, ko, missing, reason):
    notes = build(tmp_path, en, ko, missing)
    assert notes["dropped"]["clean"] == {reason: [0]}
    table = tables.read(tmp_path / "ko.parquet")
    assert {id_: list(names) for id_, names in zip(table["question_id"], table["subset"], strict=True)} == {
        "ko-0000": ["reference"],
        "ko-0001": ["reference", "clean", "strict"],
    }


def test_the_later_of_two_equal_items_is_dropped(tmp_path):
    other_options = item(EN[0], options=["Seoul", "Ulsan", "Jeju", "Daegu"])
    korean = [item(KO[0], question=f"{i} ____") for i in range(4)]
    notes = build(tmp_path, [EN[0], EN[1], other_options, EN[0]], [korean[0], KO[1], *korean[2:]])
    assert notes["dropped"]["clean"] == {"duplicate item": [3]}


@pytest.mark.parametrize(
    ("en", "ko", "reason"),
    [
        (item(EN[0], question="The 首都 is ____."), KO[0], "foreign letters"),
        (EN[0], item(KO[0], question="KTX는 ____에 간다."), "foreign letters"),
        (EN[0], item(KO[0], options=["서울", "부산", "제주", "Ｄ구"]), "foreign letters"),
        (item(EN[0], question="____ is not the capital."), KO[0], "negated"),
        (item(EN[0], question="It isn't ____."), KO[0], "negated"),
        (
            item(EN[0], options=["1,392", "30%", "7, 8", "4.5"], answer="30%"),
            item(KO[0], answer="부산"),
            "numeric options",
        ),
    ],
)
def test_strict_drops_by_rule(tmp_path, en, ko, reason):
    notes = build(tmp_path, [en, EN[1]], [ko, KO[1]])
    assert notes["questions"] == {"reference": 2, "clean": 2, "strict": 1}
    assert notes["dropped"]["strict"] == {reason: [0]}


def test_han_letters_are_no_stranger_to_korean_text(tmp_path):
    notes = build(tmp_path, EN, [item(KO[0], question="수도(首都)는 ____이다."), KO[1]])
    assert notes["questions"]["strict"] == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"question": "x"}, "not a list of questions"),
        ([], "not a list of questions"),
        ([EN[0], "text"], "row 1: not an object"),
        ([{"question": "x ____", "options": ["a", "b"]}], "row 0: no `answer`"),
        ([item(EN[0], question=None)], "row 0: `question` is not a string"),
        ([item(EN[0], options=["Seoul"])], "row 0: `options`"),
        ([item(EN[0], options="Seoul")], "row 0: `options`"),
        ([item(EN[0], options=["Seoul", ""])], "row 0: `options`"),
        ([EN[0], item(EN[1], answer="chopsticks")], "row 1: the answer 'chopsticks' is not among the options"),
    ],
)
def test_a_bad_row_is_named(tmp_path, rows, message):
    path = tmp_path / "cloze_en.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_released(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"), [(b'[{"question": ', "not JSON (line 1"), (b"[\xff]", "not UTF-8 (byte 1)")]
)
def test_a_broken_file_is_named(tmp_path, content, message):
    path = tmp_path / "cloze_en.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_released(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_released(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_released(tmp_path)


def test_a_missing_gold_that_is_known_may_pass(tmp_path):
    path = tmp_path / "cloze_en.json"
    path.write_text(json.dumps([item(EN[0], answer="Incheon")]), encoding="utf-8")
    assert len(read_released(path, [0])) == 1


def test_files_that_are_not_parallel_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"1 questions, but .* has 2"):
        build(tmp_path, EN, KO[:1])
    with pytest.raises(InputError, match="row 1: the options do not match"):
        build(tmp_path, EN, [KO[0], item(KO[1], answer="손")])
    with pytest.raises(InputError, match="row 0: the options do not match"):
        build(tmp_path, EN, [item(KO[0], options=["서울", "부산"]), KO[1]])
    assert not (tmp_path / "ko.parquet").exists()


def test_an_unknown_subset_is_an_error(tmp_path):
    build(tmp_path, EN, KO)
    with pytest.raises(ValueError, match="no subset 'celan'"):
        in_subset(tables.read(tmp_path / "ko.parquet"), "celan")


@pytest.mark.parametrize("culture", ["ko", "zh", "bo", "mn"])
def test_the_released_files(tmp_path, culture):
    folder = data_folder()
    files = {lang: folder / f"{culture}-culture-cloze_{lang}.json" for lang in ("en", culture)}
    notes = build_questions(
        culture=culture,
        langs=["en", culture],
        known_missing_gold=[69] if culture == "mn" else [],
        files=files,
        scripts=SCRIPTS,
        out=tmp_path / "q.parquet",
    )
    dropped = sorted({index for indices in notes["dropped"]["clean"].values() for index in indices})
    assert dropped == CLEAN_DROP[culture]
    assert notes["questions"]["reference"] == SIZES[culture]
    assert notes["questions"]["clean"] == SIZES[culture] - len(dropped)
    assert len(notes["dropped"]["strict"].get("foreign letters", [])) == FOREIGN[culture]
    assert notes["questions"]["strict"] < notes["questions"]["clean"]

    table = tables.read(tmp_path / "q.parquet")
    assert len(table) == SIZES[culture] * 2 * 4
    first = baselines(table, subset="reference").set_index(["baseline", "lang"])["accuracy"].round(3)["first_option"]
    assert dict(first) == dict(zip(("en", culture), FIRST_OPTION[culture], strict=True))
    # Not a character of the release is changed.
    for lang, path in files.items():
        rows = json.loads(path.read_text(encoding="utf-8"))
        assert list(table[table["lang"] == lang]["option"]) == [option for row in rows for option in row["options"]]
        assert list(table[table["lang"] == lang]["text"][::4]) == [row["question"] for row in rows]


def test_a_missing_gold_in_the_released_files_is_named():
    path = data_folder() / "mn-culture-cloze_en.json"
    with pytest.raises(InputError, match=r"row 69: the answer 'precise script' is not .* `known_missing_gold`"):
        read_released(path)


def test_a_culture_without_a_question_that_counts_is_named_with_its_own_number():
    rows = [(lang, f"{lang}-{i}", ["reference", "clean"]) for lang in ("bo", "mn") for i in range(3)]
    rows += [("ko", f"ko-{i // 2}", ["reference"]) for i in range(4)]  # two options each
    questions = pd.DataFrame(rows, columns=["culture", "question_id", "subset"])
    assert len(counted(questions, "reference")) == 10
    with pytest.raises(InputError, match="questions of ko: none of the 2 is in the subset 'clean'"):
        counted(questions, "clean")
