"""Facts from the shapes that data sets of them come in."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from lorebridge import call, cli, config, studies, tables
from lorebridge.corpora.facts import files_of, read_facts, write_clozes
from lorebridge.corpora.released import check_questions
from lorebridge.errors import InputError
from lorebridge.plan.stage import artifact
from lorebridge.probes.facts import build_facts, told

PLACES = {"Q1": ("Paris", "Paris"), "Q2": ("Rome", "Rom"), "Q3": ("Oslo", "Oslo"), "Q4": ("Vienna", "Wien")}
PLACES_DE = dict(PLACES.values())
PEOPLE = ["Ada", "Bea", "Cai", "Dov"]


def jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def row(n, subject, place, lang):
    label = PLACES[place][lang == "de"]
    return {
        "sub_uri": f"S{subject}",
        "obj_uri": place,
        "sub_label": subject,
        "obj_label": label,
        "uuid": f"u{n}",
        "lineid": n,
    }


@pytest.fixture
def mlama(tmp_path):
    """Two languages, one relation with facts, one without, one without a template."""
    for lang, template in (("en", "[X] was born in [Y] ."), ("de", "[X] wurde in [Y] geboren .")):
        folder = tmp_path / "mlama" / lang
        jsonl(folder / "templates.jsonl.gz", [{"relation": "P19", "template": template}])
        facts = [row(n, who, place, lang) for n, (who, place) in enumerate(zip(PEOPLE, PLACES, strict=True))]
        facts.append(row(4, "Ada", "Q2", lang))  # a second gold of one prompt
        facts.append(row(5, "Bea", "Q2", lang))  # a fact again, under another id
        jsonl(folder / "P19.jsonl.gz", facts)
        jsonl(folder / "P20.jsonl", [])
        jsonl(folder / "P99.jsonl", [row(9, "Ada", "Q1", lang)])
    return tmp_path / "mlama"


def test_mlama_is_one_table(mlama, tmp_path):
    notes = build_facts(shape="mlama", folder=mlama, langs=["en", "de"], out=tmp_path / "f.parquet")
    table = tables.read(tmp_path / "f.parquet")
    assert notes == {
        "facts": {"en": 5, "de": 5},
        "prompts": 8,
        "prompts with several golds": 2,
        "empty files": ["en/P20", "de/P20"],
        "facts without a template": {"en/P99": 1, "de/P99": 1},
        "repeated": 2,
    }
    ada = table[(table["subject"] == "Ada") & (table["lang"] == "de")]
    assert ada["fact_id"].tolist() == ["u0", "u4"] and ada["object"].tolist() == ["Paris", "Rom"]
    assert [list(g) for g in ada["golds"]] == [["Paris", "Rom"]] * 2
    assert ada["template"].iloc[0] == "[X] wurde in [Y] geboren ." and table["candidates"].isna().all()
    assert table["subject_id"].iloc[0] == "SAda" and table["object_id"].iloc[0] == "Q1"


def test_repeated_facts_can_be_kept(mlama):
    found = read_facts("mlama", mlama, ["en"], repeats="keep")
    assert len(found.facts) == 6 and found.left_out["repeated, kept"] == 1


def test_what_is_said_is_of_the_relations_that_are_kept(mlama):
    assert read_facts("mlama", mlama, ["en"], relations=["P19"]).left_out == {"repeated": 1}


def test_lama_is_english_and_has_its_templates_apart(tmp_path):
    jsonl(tmp_path / "relations.jsonl", [{"relation": "P19", "template": "[X] was born in [Y] .", "label": "born"}])
    jsonl(tmp_path / "TREx" / "P19.jsonl", [row(0, "Ada", "Q1", "en") | {"masked_sentences": ["x"]}])
    [fact] = read_facts("lama", tmp_path, ["en"]).facts
    assert (fact.prompt, fact.object) == ("Ada was born in [Y] .", "Paris")
    with pytest.raises(InputError, match="the shape lama has one language"):
        read_facts("lama", tmp_path, ["en", "de"])


def bmlama(folder, lang, rows):
    lines = ["\t".join(["Prompt", "Ans", "Candidate Ans", "Subject"]), *("\t".join(r) for r in rows)]
    folder.mkdir(exist_ok=True)
    (folder / f"{lang}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_bmlama_is_parallel_by_line(tmp_path):
    bmlama(tmp_path, "en", [["Ada died in <mask>.", "Rome", "Venice, Rome", "Ada"]])
    bmlama(tmp_path, "ru", [["Ады не стало в <mask>.", "Риме", "Венеции, Риме", "Ада"]])
    found = read_facts("bmlama", tmp_path, ["en", "ru"])
    en, ru = found.facts
    assert (en.fact_id, en.relation, en.template) == ("00000", "[X] died in [Y].", "[X] died in [Y].")
    assert (ru.fact_id, ru.relation, ru.template) == ("00000", "[X] died in [Y].", "Ады не стало в [Y].")
    assert en.candidates == ("Venice", "Rome") and ru.subject_id == "Ada" and ru.object_id == "Rome"
    assert found.left_out == {"prompts that do not hold their subject, kept": {"ru": 1}}
    bmlama(tmp_path, "ru", [])
    with pytest.raises(InputError, match=r"ru.tsv: has 0 facts, and en has 1. Line i must be the same fact"):
        read_facts("bmlama", tmp_path, ["en", "ru"])


def test_a_blank_label_is_no_fact(mlama):
    facts = [row(n, who, "Q1", "en") for n, who in enumerate(PEOPLE)]
    jsonl(mlama / "en" / "P19.jsonl.gz", [facts[0], facts[1] | {"sub_label": " "}, facts[2] | {"obj_label": ""}])
    found = read_facts("mlama", mlama, ["en"], relations=["P19"])
    assert [fact.subject for fact in found.facts] == ["Ada"]
    assert found.left_out["blank labels"] == {"en": 2}


def test_long_lists_of_what_is_left_out_are_cut():
    files = [f"f{i}" for i in range(6)]
    assert told({"empty files": files[:5]}) == ["empty files: 5 (f0, f1, f2, f3, f4)"]
    assert told({"empty files": files}) == ["empty files: 6 (f0, f1, f2, f3, f4, …)"]


def test_candidates_of_a_set_are_options_place_by_place(tmp_path):
    """They are no answers of other facts."""
    bmlama(tmp_path, "en", [["Ada died in <mask>.", "Rome", "Venice, Rome, Oslo", "Ada"]])
    bmlama(tmp_path, "ru", [["Ада жила в <mask>.", "Риме", "Венеции, Риме, Осло", "Ада"]])
    asked = {}
    for lang in ("en", "ru"):
        out = tmp_path / f"{lang}.json"
        write_clozes(shape="bmlama", lang=lang, langs=["en", "ru"], folder=tmp_path, options=3, out=out)
        [asked[lang]] = json.loads(out.read_text())
    ru = {"Venice": "Венеции", "Rome": "Риме", "Oslo": "Осло"}
    assert sorted(asked["en"]["options"]) == sorted(ru)
    assert [ru[option] for option in asked["en"]["options"]] == asked["ru"]["options"]


def test_klar_has_its_templates_in_each_file(tmp_path):
    said = {
        "relation_name": "capital",
        "prompt_templates": ["The capital of <subject> is <mask>"],
        "samples": [{"subject": "Peru", "object": "Lima", "index": 7}],
    }
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "capital.json").write_text(json.dumps(said))
    [fact] = read_facts("klar", tmp_path, ["en"]).facts
    assert (fact.fact_id, fact.relation, fact.prompt) == ("capital-7", "capital", "The capital of Peru is [Y]")


def broken(mlama, name, text):
    (mlama / "en" / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "templates.jsonl",
            '{"relation": "P19", "template": "[X] was born ."}\n',
            r"row 1 \(P19\): its template '\[X\] was born .' has not one \[Y\]. Write \[Y\] for the object.",
        ),
        ("templates.jsonl", '{"relation": "P19", "template": "born in [Y]"}\n', r"has not one \[X\]"),
        ("templates.jsonl", '{"relation": "P19"}\n', "row 1: has no `relation` and `template`"),
        ("templates.jsonl", '{"relation": "P19", "template": "[X] [Y]"}\n' * 2, "row 2: P19 has a template already"),
        ("P19.jsonl", "[]\n", "P19.jsonl, row 1: is no JSON object"),
        ("P19.jsonl", "{\n", "P19.jsonl, row 1: is not JSON"),
        ("P19.jsonl", '{"sub_label": "Ada"}\n', "P19.jsonl, row 1: has no `sub_label` and `obj_label`"),
    ],
)
def test_what_is_malformed_is_named(mlama, name, text, said):
    for packed in (mlama / "en").glob(f"{name}.gz"):
        packed.unlink()
    broken(mlama, name, text)
    with pytest.raises(InputError, match=said) as error:
        read_facts("mlama", mlama, ["en"])
    assert "\n" not in str(error.value)


def test_gzip_is_read_whatever_the_name_says_and_damage_is_told(mlama):
    whole = read_facts("mlama", mlama, ["en"])
    packed = mlama / "en" / "P19.jsonl.gz"
    content = packed.rename(packed.with_suffix("")).read_bytes()
    assert read_facts("mlama", mlama, ["en"]) == whole
    for place in range(12, len(content), 7):
        packed.with_suffix("").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"P19\.jsonl"):
            read_facts("mlama", mlama, ["en"])


def test_what_the_folder_lacks_is_said(mlama):
    with pytest.raises(InputError, match=r"has no relation 'P7'. It has: P19"):
        read_facts("mlama", mlama, ["en"], relations=["P7"])
    with pytest.raises(InputError, match=r"fr: is no folder. The shape mlama has a folder for each language, fr too"):
        read_facts("mlama", mlama, ["en", "fr"])
    jsonl(mlama / "en" / "P19.jsonl.gz", [row(0, "Ada", "Q1", "en"), row(0, "Bea", "Q1", "en")])
    with pytest.raises(InputError, match="the fact u0 stands twice"):
        read_facts("mlama", mlama, ["en"])


def test_the_command_writes_the_table_and_counts(mlama, tmp_path, capsys):
    out = tmp_path / "f.parquet"
    assert cli.main(["facts", "mlama", str(mlama), "--langs", "en", "de", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "facts: 5 en, 5 de\n" in said and "empty files: 2 (en/P20, de/P20)\n" in said and "repeated: 2\n" in said
    assert len(tables.read(out)) == 10


def test_clozes_of_two_languages_are_parallel(mlama, tmp_path):
    files = {lang: tmp_path / f"{lang}.json" for lang in ("en", "de")}
    for lang, out in files.items():
        notes = write_clozes(shape="mlama", lang=lang, langs=["en", "de"], folder=mlama, options=2, out=out)
    assert notes["questions"] == 5 and notes["facts not in all languages"] == 0
    rows = {lang: json.loads(path.read_text()) for lang, path in files.items()}
    assert rows["de"][0]["question"] == "Ada wurde in ____ geboren ."
    for en, de in zip(rows["en"], rows["de"], strict=True):
        assert [PLACES_DE[option] for option in en["options"]] == de["options"]
        if en["question"].startswith("Ada"):
            assert set(en["options"]) & {"Oslo", "Vienna"}  # the other gold is no option
    found = check_questions(
        culture="de",
        langs=["en", "de"],
        known_missing_gold=[],
        files=files,
        scripts={"en": "Latin", "de": "Latin"},
        subset="clean",
    )
    assert len(found.items) == 5
    few = write_clozes(
        shape="mlama", lang="en", langs=["en", "de"], folder=mlama, options=3, questions=2, out=files["en"]
    )
    assert few["questions"] == 2
    with pytest.raises(InputError, match="gives no question in en, de"):
        write_clozes(shape="mlama", lang="en", langs=["en", "de"], folder=mlama, options=9, out=files["en"])


@pytest.mark.skipif("LOREBRIDGE_DATA" not in os.environ, reason="no LOREBRIDGE_DATA with the published facts")
def test_published_facts_are_read_whole():
    folder = Path(os.environ["LOREBRIDGE_DATA"]) / "facts"
    found = read_facts("mlama", folder / "mlama", ["en", "zh"])
    assert sum(fact.lang == "en" for fact in found.facts) > 13_800
    assert found.left_out["empty files"] and len(files_of("mlama", folder / "mlama", ["en"])) == 44
    parallel = read_facts("bmlama", folder / "bmlama53", ["en", "zh", "th"])
    n = [sum(fact.lang == lang for fact in parallel.facts) for lang in ("en", "zh", "th")]
    assert n[0] == n[1] == n[2] or "repeated" in parallel.left_out


def test_a_study_asks_facts_as_clozes(mlama, tmp_path, root):
    (mlama / "de").rename(mlama / "ko")
    study = config.load(root / "config" / "articles.yaml")
    said = {"kind": "facts", "shape": "mlama", "path": str(mlama), "options": 2}
    study["questions"]["ko"]["files"] = {"en": dict(said), "ko": dict(said)}
    plan = studies.plan(config.check(study))
    for lang in ("en", "ko"):
        task = plan.task("question_file", culture="ko", lang=lang)
        call.make(task, inputs={}, outputs={"questions": str(tmp_path / f"{lang}.json")})
    assert [len(json.loads((tmp_path / f"{lang}.json").read_text())) for lang in ("en", "ko")] == [5, 5]
    before = plan.recipe(artifact("question_file", culture="ko", lang="en"))
    jsonl(mlama / "ko" / "P20.jsonl", [row(7, "Ada", "Q1", "de")])
    changed = studies.plan(config.check(study))
    assert changed.recipe(artifact("question_file", culture="ko", lang="en")) != before
    study["questions"]["ko"]["files"]["ko"]["options"] = 3
    with pytest.raises(InputError, match=r"questions.ko.files: are not all of the same facts"):
        config.check(study)
    study["questions"]["ko"]["files"] = {lang: said | {"path": "nowhere"} for lang in ("en", "ko")}
    with pytest.raises(InputError, match=r"key questions.ko: there is no file of the shape mlama in nowhere"):
        studies.plan(config.check(study)).task("question_file", culture="ko", lang="en")


def test_a_key_that_stands_twice_in_a_fact_is_refused(mlama):
    file = max((mlama / "de").glob("P*.jsonl"), key=lambda file: file.stat().st_size)
    file.write_text(re.sub(r"^\{(.+)\}$", r"{\1, \1}", file.read_text(), count=1, flags=re.MULTILINE))
    with pytest.raises(
        InputError, match=rf"{file.name}, row \d+: the key '\w+' stands twice\. Take one of the two out"
    ):
        read_facts("mlama", mlama, ["en", "de"])
