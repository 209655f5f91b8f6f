"""Sets of open questions: what is read of each in its published shape, and what is refused in one line."""

import json
import shutil

import pytest

from lorebridge import tables
from lorebridge.cli import main
from lorebridge.corpora.openqa import files_read, known_languages, read_open
from lorebridge.errors import InputError
from lorebridge.probes.openqa import build_open_questions

LANGS = ["de", "en", "hi"]


def eclektic_rows(n=6):
    return [
        {
            "q_id": i,
            "original_lang": LANGS[i % 3],
            "title": f"page {i}",
            "url": f"https://{LANGS[i % 3]}.wikipedia.org/wiki/{i}",
            "content": "text",
            "question": "q",
            "answer": "a",
            **{f"{lang}_{part}": f"{part} {i} in {lang}" for lang in LANGS for part in "qac"},
        }
        for i in range(n)
    ]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_eclektic_has_each_question_in_every_language(tmp_path):
    path = write(tmp_path / "eclektic_main.jsonl", eclektic_rows())
    found = read_open("eclektic", path, LANGS)
    assert len(found.questions) == 18 and found.left_out == {}
    one = next(q for q in found.questions if q.question_id == "1" and q.lang == "hi")
    assert (one.source_lang, one.question, one.answers, one.context) == ("en", "q 1 in hi", ("a 1 in hi",), "c 1 in hi")
    assert one.page == "https://en.wikipedia.org/wiki/1"
    fewer = read_open("eclektic", path, ["de", "en"])
    assert len(fewer.questions) == 8 and fewer.left_out == {"written in hi": 2}


def broken_eclektic(change):
    rows = eclektic_rows()
    change(rows)
    return rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[2].pop("hi_q"), "row 3, key hi_q: is missing"),
        (lambda rows: rows[1].update(de_a=" "), "row 2, key de_a: is blank"),
        (lambda rows: rows[1].update(de_a=3), "row 2, key de_a: is 3, no text"),
        (lambda rows: rows[4].update(q_id=1), "row 5, key q_id: 1 stands in row 2, too"),
        (lambda rows: rows[0].pop("original_lang"), "row 1, key original_lang: is missing"),
    ],
)
def test_a_broken_row_of_eclektic_is_one_line(tmp_path, change, said):
    path = write(tmp_path / "eclektic_main.jsonl", broken_eclektic(change))
    with pytest.raises(InputError, match=said) as error:
        read_open("eclektic", path, LANGS)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_what_is_no_set_is_said(tmp_path):
    path = write(tmp_path / "eclektic_main.jsonl", eclektic_rows())
    for shape, where, langs, said in (
        ("eclektic", tmp_path, LANGS, "is no file"),
        ("eclektic", path, ["de", "ko"], "row 1, key ko_q: is missing"),
        ("eklektic", path, LANGS, "Shapes: eclektic, multiloko, klar"),
        ("multiloko", tmp_path, LANGS, "german: is no folder"),
        ("multiloko", tmp_path, ["de", "hi"], "Add 'en' to the languages"),
        ("multiloko", tmp_path, ["en", "ca"], "MultiLoKo has none of this code"),
    ):
        with pytest.raises(InputError, match=said):
            read_open(shape, where, langs)
    (tmp_path / "bad.jsonl").write_text("{]\n")
    with pytest.raises(InputError, match=r"bad\.jsonl, row 1: is not JSON"):
        read_open("eclektic", tmp_path / "bad.jsonl", LANGS)


def loko_rows(what, pages=("0_A", "1_B", "1_B")):
    return [
        {
            "text": f"{what} text",
            "question": f"{what} {i}",
            "targets": [f"{what} answer {i}", "other"],
            "target": "long",
            "id": page,
            "output_type": "word",
        }
        for i, page in enumerate(pages)
    ]


def write_multiloko(folder):
    for lang, others in (("english", ("german", "hindi")), ("german", ("english",)), ("hindi", ("english",))):
        write(folder / lang / "dev.jsonl", loko_rows(lang))
        write(folder / lang / "knowledge_fewshot.jsonl", loko_rows("shots"))
        for other in others:
            for way in ("human", "machine"):
                write(folder / lang / f"dev_translated_{way}_{other}.jsonl", loko_rows(f"{lang}>{other} {way}"))
    return folder


def test_multiloko_is_a_star_in_either_translation(tmp_path):
    folder = write_multiloko(tmp_path / "benchmark_data")
    for way in ("human", "machine"):
        found = read_open("multiloko", folder, LANGS, translation=way).questions
        assert len(found) == 3 * 3 + 2 * 3 * 2
        assert {(q.source_lang, q.lang) for q in found} == {
            *((lang, lang) for lang in LANGS), ("en", "de"), ("en", "hi"), ("de", "en"), ("hi", "en"),
        }  # fmt: skip
        again = [q for q in found if q.question_id == "hi/1_B#2"]
        assert [(q.lang, q.question, q.translation) for q in again] == [
            ("hi", "hindi 2", None),
            ("en", f"hindi>english {way} 2", way),
        ]
        assert again[1].answers == (f"hindi>english {way} answer 2", "other") and again[1].output_type == "word"
    read = files_read("multiloko", folder, LANGS, "human")
    assert len(read) == 7 and not any("fewshot" in file or "machine" in file for file in read)


def test_a_broken_multiloko_is_one_line(tmp_path):
    whole = write_multiloko(tmp_path / "whole")

    def refused(name, rows, said):
        folder = tmp_path / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        if rows is None:
            (folder / name).unlink()
        else:
            write(folder / name, rows)
        with pytest.raises(InputError, match=said):
            read_open("multiloko", folder, LANGS)

    human = "hindi/dev_translated_human_english.jsonl"
    refused(human, None, "english.jsonl: is missing")
    refused(human, loko_rows("x", ("0_A", "1_B")), "english.jsonl, id 1_B: is not translated")
    refused(human, loko_rows("x", ("0_A", "1_B", "1_B", "2_C")), "id 2_C: is no translation of a row of dev.jsonl")
    rows = loko_rows("x")
    refused(human, [rows[0], {**rows[1], "targets": []}, rows[2]], "row 2, key targets: is no list of answers")
    refused("english/dev.jsonl", [{**rows[0], "question": None}], "row 1, key question: is missing")


def test_questions_on_one_page_are_numbered(tmp_path):
    folder = write_multiloko(tmp_path)
    write(folder / "english" / "dev.jsonl", loko_rows("english", ("0_A", "0_A", "0_A", "0_A")))
    found = read_open("multiloko", folder, ["en"]).questions
    assert [q.question_id for q in found] == ["en/0_A", "en/0_A#2", "en/0_A#3", "en/0_A#4"]


def test_a_set_without_a_question_is_refused(tmp_path):
    path = write(tmp_path / "eclektic_main.jsonl", eclektic_rows())
    said = json.loads(path.read_text().splitlines()[0])
    with pytest.raises(InputError, match="has no question for ja"):
        read_open("eclektic", write(tmp_path / "ja.jsonl", [said | {"ja_q": "?", "ja_a": "a"}]), ["ja"])


def test_klar_has_no_source(tmp_path):
    for lang in LANGS:
        (tmp_path / lang).mkdir()
        samples = [{"subject": f"{lang} s{i}", "object": f"{lang} o{i}", "index": i} for i in range(2 + (lang == "de"))]
        said = {"prompt_templates": ["<subject> is in <mask>"], "samples": samples}
        (tmp_path / lang / "place.json").write_text(json.dumps(said))
        (tmp_path / lang / "none.json").write_text(json.dumps({"samples": samples[:2]}))
    found = read_open("klar", tmp_path, LANGS)
    assert len(found.questions) == 6
    assert found.left_out == {"not in every language": 1, "facts without a template": 6}
    first = found.questions[0]
    assert (first.source_lang, first.question, first.answers) == (None, "de s0 is in ____", ("de o0",))


def test_the_table_and_the_command(tmp_path, capsys):
    path, out = write(tmp_path / "eclektic_main.jsonl", eclektic_rows()), tmp_path / "questions.parquet"
    notes = build_open_questions(dataset="e", shape="eclektic", path=path, langs=["de", "en"], out=out)
    assert notes == {"questions": {"de": 2, "en": 2}, "wordings": {"de": 4, "en": 4}, "written in hi": 2}
    table = tables.read(out)
    assert len(table) == 8 and set(table["dataset"]) == {"e"} and list(table["answers"].iloc[0]) == ["a 0 in de"]
    assert main(["open-questions", "eclektic", str(path), "--langs", *LANGS, "--out", str(out)]) == 0
    assert "wordings: 6 de, 6 en, 6 hi" in capsys.readouterr().out
    assert main(["open-questions", "eclektic", str(path), "--langs", "de", "ko", "--out", str(out)]) == 1
    assert "key ko_q: is missing" in capsys.readouterr().err
    assert main(["open-questions", "eclektic", str(path), "--langs", "de", "de", "--out", str(out)]) == 1
    assert "--langs de: is given twice" in capsys.readouterr().err


def test_published_schemas(data):
    """Invented rows with the columns and folders of the real sets."""
    folder = data / "qa"
    langs = ["de", "en", "es", "fr", "he", "hi", "id", "it", "ja", "ko", "pt", "zh"]
    found = read_open("eclektic", folder / "eclektic/eclektic_main.INVENTED.jsonl", langs)
    assert {q.lang for q in found.questions} == set(langs)
    found = read_open("multiloko", folder / "multiloko/benchmark_data.INVENTED", ["en", "hi"])
    assert len(found.questions) == 4 * 5


def test_languages_are_those_of_the_sets():
    known = known_languages()
    assert sum("multiloko" in said for said in known.values()) == 31
    latin = [lang for lang, said in known.items() if said["script"] == "Latin" and "multiloko" in said]
    assert len(latin) == 16  # English and fifteen of the thirty others
