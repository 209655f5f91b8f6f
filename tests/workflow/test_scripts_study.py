"""A study of scripts: planned without data, made of a judged table and a set of questions, and shown."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from lorebridge import config, studies, tables
from lorebridge.corpora.openqa import known_languages
from lorebridge.errors import InputError

LANGS = ("de", "en", "he", "hi", "id", "ja", "zh")
SCRIPTED = {lang: {key: known_languages()[lang][key] for key in ("name", "script", "family")} for lang in LANGS}
PLANNED = {
    "judged": 1,
    "script_effects": 1,
    "open_questions": 1,
    "script_power": 1,
    "table": 4,
    "draw_effects": 1,
    "draw_influence": 1,
    "page": 1,
}


def write_judged(path, gain=0.4, models=2, n=10):
    rng = np.random.default_rng(0)
    rows = []
    for model, source, number, target in itertools.product(range(models), LANGS, range(n), LANGS):
        same = SCRIPTED[source]["script"] == SCRIPTED[target]["script"]
        chance = 0.9 if source == target else 0.3 + gain * same
        rows.append((f"m{model}", f"{source}{number}", source, target, int(rng.random() < chance)))
    pd.DataFrame(rows, columns=["model", "question_id", "source_lang", "target_lang", "correct"]).to_csv(
        path, index=False
    )


def write_set(path):
    rows = [
        {"q_id": f"{lang}{i}", "original_lang": lang, "title": "t", "url": "u"}
        | {f"{other}_{part}": f"{part} {lang}{i} {other}" for other in LANGS for part in "qac"}
        for lang in LANGS
        for i in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def scripts(tiny):
    return {
        "study": "scripts",
        "kind": "scripts",
        "languages": SCRIPTED,
        "judged": {"files": ["judged.csv"]},
        "sets": {"small": {"shape": "eclektic", "path": "set.jsonl"}},
        "compute": tiny["compute"],
    }


@pytest.mark.slow
def test_a_judged_table_becomes_a_page(new_study, tmp_path):
    study = new_study(tmp_path / "study")
    study.config = scripts(study.config)
    study.write()
    write_judged(study.folder / "judged.csv")
    write_set(study.folder / "set.jsonl")
    assert study.planned() == PLANNED
    study.run()
    assert study.planned() == {}
    effects = tables.read(study.results / "scripts/effects.parquet")
    first = effects.iloc[0]
    assert (first["dataset"], first["term"], first["method"]) == ("judged", "same script", "permutation")
    assert first["lo"] < 0.4 < first["hi"] and first["labelings"] <= 35
    assert set(effects["method"]) == {"permutation", "logit", "gee", "rows"}
    power = tables.read(study.results / "scripts/power.parquet").iloc[0]
    assert (power["dataset"], power["n_questions"], power["n_languages"]) == ("small", 21, 7) and power["effect"] > 0
    page = (study.results / "report/summary.html").read_text(encoding="utf-8")
    assert "<h1>Does knowledge stay within a script?</h1>" in page and "if the two languages have one script" in page
    assert "a regression of rows would say" in page and "stands in pairs with" in page
    # Another judged table makes all of it again but the set; another method the regression and what shows it.
    write_judged(study.folder / "judged.csv", gain=0.0)
    kept = {"open_questions": 0, "script_power": 0, "table": 3}
    assert study.planned() == {rule: n for rule, n in (PLANNED | kept).items() if n}


def test_a_wrong_configuration_stops_a_plan(tmp_path):
    compute = config.load("config/scripts-judged.yaml")["compute"]
    whole = scripts({"compute": compute})

    def refused(said, **changed):
        with pytest.raises(InputError, match=said):
            plan = studies.plan(config.check(whole | {"data": str(tmp_path)} | changed))
            for name in plan.walk():
                plan.recipe(name)

    refused("judged.files: there is no file")
    (tmp_path / "judged.csv").write_text("")
    refused("key sets.small: there is nothing of the shape eclektic")
    (tmp_path / "set.jsonl").write_text("")
    refused(
        "sets.small.langs.fr: is not a language",
        sets={"small": {**whole["sets"]["small"], "langs": ["fr", "de", "en"]}},
    )
    refused("languages: are two", languages={lang: SCRIPTED[lang] for lang in ("de", "en")}, sets={})
    refused("logitt", regression={"methods": ["logitt"]})
    refused("Name CSV or Parquet files", judged={"files": ["judged.json"]})
    refused("family", languages=SCRIPTED | {"fr": {"name": "French", "script": "Latin"}})


def test_what_ships_is_planned_without_data():
    found = config.load("config/scripts-judged.yaml")
    assert {lang: dict(said) for lang, said in found["languages"].items()} == {
        lang: {key: said[key] for key in ("name", "script", "family")}
        for lang, said in known_languages().items()
        if "multiloko" in said
    }
    plan = studies.plan(found)
    assert len(plan.study.absent_sources()) == 3
    assert all(plan.recipe(name) for name in plan.walk())
