"""Hints: which names stand in questions, what is said of them, and by how much more that helps across scripts."""

import csv
import itertools
import json

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.corpora.openqa import known_languages
from lorebridge.errors import InputError
from lorebridge.probes import serving
from lorebridge.probes.answering import Reply
from lorebridge.probes.hints import build_hints, find_entities, read_labels, romaniser
from lorebridge.transfer.hints import hint_effects

LANGS = ("de", "en", "he", "hi", "id", "ja", "zh")
SCRIPTED = {lang: known_languages()[lang] for lang in LANGS}

QUESTIONS = {
    "0": ("de", "Wer baute die Veste Oberhaus?", "https://de.wikipedia.org/wiki/Veste_Oberhaus", ["Ulrich"]),
    "1": ("de", "Wo liegt Passau?", "https://de.wikipedia.org/wiki/Passau_(Stadt)", ["Bayern"]),
    "2": ("de", "Wie alt war das Kind?", "https://de.wikipedia.org/wiki/Anna", ["90"]),
    "3": ("ko", "서울의 강은?", "0_%EC%84%9C%EC%9A%B8", ["한강"]),
}


@pytest.fixture
def questions(tmp_path):
    rows = [
        {"dataset": "set", "question_id": name, "source_lang": source, "lang": lang, "question": question}
        | {"answers": answers, "context": "", "page": page, "translation": None, "output_type": None}
        for name, (source, question, page, answers) in QUESTIONS.items()
        for lang in ("de", "en", "ko")
    ]
    tables.write("open_questions", rows, tmp_path / "questions.parquet")
    return [tmp_path / "questions.parquet"]


class Reader:
    """Names what a table says."""

    def __init__(self, said):
        self.said, self.asked = said, 0

    def __call__(self, asked):
        for place, one in enumerate(asked):
            self.asked += 1
            text = next(said for part, said in self.said.items() if part in one.text)
            yield {place: Reply(text, "", "end", False, 1, 0, None)}


@pytest.fixture
def find(tmp_path, questions, monkeypatch):
    def find(said=None, **changes):
        reader = Reader(said or {})
        monkeypatch.setattr(serving, "endpoint", lambda *_, **__: reader)
        how = {"kind": "endpoint", "model": "m", "base_url": "http://127.0.0.1/v1"} if said else {}
        how |= {"out": tmp_path / "entities.parquet", "sheet_out": tmp_path / "sheet.csv", "work": tmp_path / "work"}
        notes = find_entities(questions=questions, **how | changes)
        table = tables.read(tmp_path / "entities.parquet")
        return notes, {key: rows["entity"].tolist() for key, rows in table.groupby("question_id")}, reader

    return find


def test_a_title_is_an_entity_where_it_stands_in_the_question(find):
    notes, found, _ = find()
    assert found == {"0": ["Veste Oberhaus"], "1": ["Passau"], "3": ["서울"]}
    assert notes == {"title": 3, "none": 1}


SAID = {
    "Veste": '```json\n["Veste Oberhaus", "Ulrich", "Veste Oberhaus"]\n```',
    "Passau": "Passau, of course.",
    "alt": "[]",
    "서울": '["서울"]',
}


def test_a_model_names_what_stands_there_and_a_title_is_taken_where_it_names_nothing(find):
    notes, found, reader = find(SAID)
    assert found == {"0": ["Veste Oberhaus"], "1": ["Passau"], "3": ["서울"]} and reader.asked == 4
    assert notes == {"not stand": 1, "no list": 1, "model": 2, "title": 1, "none": 1}
    assert find(SAID)[2].asked == 0  # each is bought once


def test_a_person_drops_what_is_no_entity(find, tmp_path):
    find(SAID)
    with (tmp_path / "sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["entity"] for row in rows] == ["Veste Oberhaus", "Passau", "서울"]
    checked = tmp_path / "checked.csv"

    def save(verdicts):
        with checked.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(row | {"verdict": said} for row, said in zip(rows, verdicts, strict=True))

    save(["ok", " Drop", "OK"])
    notes, found, _ = find(SAID, checked=checked)
    assert found == {"0": ["Veste Oberhaus"], "3": ["서울"]} and notes["dropped by the sheet"] == 1
    save(["ok", "maybe", "ok"])
    with pytest.raises(InputError, match=r"checked\.csv, row 3: the verdict 'maybe' is none. Write ok or drop"):
        find(SAID, checked=checked)


LABELS = """item,lang,label
Q1,de,Veste Oberhaus
Q1,en,Oberhaus Fortress
Q2,de,Passau
Q3,de,passau
Q2,en,Passau
Q8684,ko,서울
Q8684,en,Seoul
Q8684,de,Seoul
"""


@pytest.fixture
def hints(find, questions, tmp_path, monkeypatch):
    def hints(kinds, labels=None, **changes):
        find()
        monkeypatch.setattr("lorebridge.probes.hints.romaniser", lambda: lambda text: text.replace("서울", "seoul"))
        how = {"questions": questions, "entities": tmp_path / "entities.parquet", "out": tmp_path / "hints.parquet"}
        if labels is not None:
            (tmp_path / "labels.csv").write_text(labels, encoding="utf-8")
            how["labels"] = tmp_path / "labels.csv"
        notes = build_hints(**how | {"kinds": kinds, "seed": 0} | changes)
        table = tables.read(tmp_path / "hints.parquet")
        return notes, {(row.question_id, row.lang, row.hint): row.text for row in table.itertuples()}

    return hints


def test_hints_are_of_questions_in_other_languages_than_their_own(hints):
    notes, found = hints(["source", "romanised", "wrong", "target"], LABELS)
    assert {key: text for key, text in found.items() if key[2] == "source"} == {
        ("0", "en", "source"): "Veste Oberhaus",
        ("0", "ko", "source"): "Veste Oberhaus",
        ("1", "en", "source"): "Passau",
        ("1", "ko", "source"): "Passau",
        ("3", "de", "source"): "서울",
        ("3", "en", "source"): "서울",
    }
    assert {key[:2]: text for key, text in found.items() if key[2] == "romanised"} == {
        ("3", "de"): "seoul",
        ("3", "en"): "seoul",
    }
    # Passau is two things in German, and the fortress has no name in Korean.
    assert {key[:2]: text for key, text in found.items() if key[2] == "target"} == {
        ("0", "en"): "Oberhaus Fortress",
        ("3", "de"): "Seoul",
        ("3", "en"): "Seoul",
    }
    # Of the other German question; of Korean there is none.
    assert {key[:2]: text for key, text in found.items() if key[2] == "wrong"} == {
        ("0", "en"): "Passau",
        ("0", "ko"): "Passau",
        ("1", "en"): "Veste Oberhaus",
        ("1", "ko"): "Veste Oberhaus",
    }
    assert notes == {
        "source": 6, "romanised: none": 4, "romanised": 2, "wrong": 4, "wrong: none": 2, "target": 3, "target: none": 3,
    }  # fmt: skip


def test_a_hint_gives_no_answer_away(hints, questions):
    table = tables.read(questions[0])
    table["answers"] = [
        ["PASSAU"] if name == "1" else said for name, said in zip(table["question_id"], table["answers"], strict=True)
    ]
    tables.write("open_questions", table, questions[0])
    notes, found = hints(["source", "wrong"])
    assert notes["source: holds an answer"] == 2 and not any(key[::2] == ("1", "source") for key in found)
    assert notes["source"] == 4 and notes["wrong"] == 4  # that name tells nothing of another question


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("item,lang,label\nX1,de,a\n", "row 2, key item: 'X1' is no item of Wikidata"),
        ("item,lang,label\nQ1,de,\n", "row 2, key label: is missing or blank"),
        ("item,lang,label\nQ1,de,a\nQ1,de,b\n", "row 3, key label: Q1 has another label in de above"),
        ("item,lang\nQ1,de\n", "row 2, key label: is missing or blank"),
    ],
)
def test_a_broken_file_of_labels_is_one_line(tmp_path, labels, said):
    path = tmp_path / "labels.csv"
    path.write_text(labels)
    with pytest.raises(InputError, match=said):
        read_labels(path)


def test_labels_are_read_from_either_form(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"item": "Q1", "lang": "de", "label": "München"}) + "\n")
    assert read_labels(path) == ({("de", "münchen"): {"Q1"}}, {("Q1", "de"): "München"})
    path.write_text("{]\n")
    with pytest.raises(InputError, match="is not JSON, a row a line"):
        read_labels(path)
    with pytest.raises(InputError, match="neither CSV nor JSON Lines"):
        read_labels(tmp_path / "labels.tsv")


@pytest.mark.slow
def test_names_are_written_in_latin_letters_by_a_library():
    pytest.importorskip("uroman", reason="this environment is older than envs/cpu.lock: make setup")
    romanise = romaniser()
    assert [romanise(name) for name in ("서울", "Москва", "हैदराबाद")] == ["seoul", "Moskva", "haidaraabaad"]


# What hints do --------------------------------------------------------------------------------------------------------


def judged(path, rng, helps_other, helps_same=0.0, models=3, n=40):
    rows = []
    for model, source, number, target in itertools.product(range(models), LANGS, range(n), LANGS):
        same = SCRIPTED[source]["script"] == SCRIPTED[target]["script"]
        before = source == target or rng.random() < 0.3 + 0.2 * same
        after = before or rng.random() < (helps_same if same else helps_other)
        row = {"dataset": "set", "model": f"m{model}", "question_id": f"{source}{number}", "source_lang": source}
        row |= {"target_lang": target, "sample": 0, "judge": "j"}
        rows.append(row | {"hint": "none", "correct": before})
        if source != target:
            rows.append(row | {"hint": "source", "correct": after})
    tables.write("judged", rows, path)


def test_a_planted_effect_across_scripts_is_found_and_none_where_there_is_none(tmp_path):
    found = {0.0: [], 0.3: []}
    for seed, planted in itertools.product(range(20), found):
        path = tmp_path / "judged.parquet"  # of 40 made tables
        judged(path, np.random.default_rng(seed), helps_other=0.2 + planted, helps_same=0.2, models=1, n=12)
        hint_effects(judged=path, languages=SCRIPTED, labelings=200, seed=0, out=tmp_path / "effects.parquet")
        [row] = tables.read(tmp_path / "effects.parquet").to_dict("records")
        # One that was wrong before, 7 of 10 of other scripts and 5 of 10 of the same, may become right.
        found[planted].append((row["estimate"] - (0.7 * (0.2 + planted) - 0.5 * 0.2), row["lo"], row["hi"], row["p"]))
        assert row["n_answers"] == 7 * 6 * 12 and row["same"] is not None
    for planted, rows in found.items():
        off = np.array([row[0] for row in rows])
        assert abs(off.mean()) < 3 * off.std() / np.sqrt(len(off)) + 0.01, planted


def test_without_hints_nothing_is_told(tmp_path):
    path = tmp_path / "judged.parquet"
    judged(path, np.random.default_rng(0), 0.0, models=1, n=2)
    table = tables.read(path)
    tables.write("judged", table[table["hint"] == "none"], path)
    with pytest.raises(InputError, match="no answer has a hint"):
        hint_effects(judged=path, languages=SCRIPTED, labelings=99, seed=0, out=tmp_path / "effects.parquet")
