"""A study of scripts: planned without data, made of a judged table and a set of questions, and shown."""

from __future__ import annotations

import http.server
import itertools
import json
import threading

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from lorebridge import config, studies, tables
from lorebridge.corpora.openqa import known_languages
from lorebridge.errors import InputError
from lorebridge.plan import cost

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
        {"q_id": f"{lang}{i}", "original_lang": lang, "title": "t", "url": f"https://x/page_{lang}{i}"}
        | {f"{other}_{part}": f"{part} {lang}{i} {other}" for other in LANGS for part in "ac"}
        | {f"{other}_q": f"q {lang}{i} {other} of page {lang}{i}" for other in LANGS}
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


def test_a_study_that_asks_says_what_does_not_go_together(tmp_path):
    compute = config.load("config/scripts-judged.yaml")["compute"]
    write_set(tmp_path / "set.jsonl")
    served = {"big": {"model": "m", "base_url": "http://127.0.0.1/v1"}}
    hub = {"hub": "a/b", "revision": "0" * 40}
    whole = scripts({"compute": compute}) | {"judged": {}, "served": served, "answering": {}, "data": str(tmp_path)}
    plan = studies.plan(config.check(whole))
    assert all(plan.recipe(name) for name in plan.walk())

    def refused(said, **changed):
        with pytest.raises(InputError, match=said):
            config.check(whole | changed)

    files = {"files": ["judged.csv"]}
    refused("key judged.files: names no file, and no model is asked", answering=None, served={})
    refused("key served: is not asked anything", answering=None, judged={"files": ["judged.csv"]})
    refused("key answering: asks no model", served={})
    refused("key answering: asks nothing", sets={})
    refused("key answering.samples: are equal at temperature 0", answering={"samples": 2})
    refused("key answering.thinking_tokens: is missing", answering={"thinking": "on"})
    refused("key answering.form: an endpoint is asked by messages alone", answering={"form": "plain"})
    refused("key served.big: is a name of `given`, too", given={"big": hub})
    refused("temperature: null leaves it to an endpoint", given={"a": hub}, answering={"temperature": None})
    refused("key hints: are said to nobody", hints={"kinds": ["source"]}, answering=None, served={}, judged=files)
    refused("key hints.kinds: target needs names", hints={"kinds": ["target"]})
    refused("key grading.judge: is a model that is not named", grading={"judge": "model"})
    refused("given.a", given={"a": {"hub": "a/b"}})  # a model of the hub has its commit


def test_the_papers_design_is_planned_with_its_hours():
    found = config.load("config/scripts.yaml")
    assert len(found["sets"]["eclektic"]["langs"]) == 12 and len(found["languages"]) == 31
    plan = studies.plan(found)
    assert all(plan.recipe(name) for name in plan.walk())
    # 384 questions in 12 languages; of MultiLoKo 250 in each of 31, and each of 30 translated to English and back
    answers = 5 * (384 * 12 + 250 * (31 + 2 * 30))  # without a hint, and with four
    asking = cost.Cost(plan.study).asking
    assert {said["tokens"] for said in asking.values()} == {answers * (80 + 128 + 2048)}
    hours = asking["r1-llama-70b"]["gpu_hours"]
    assert hours == pytest.approx(answers * 2256 * 2 * 70_553_706_496 / 989e11 / 3600)


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


def test_what_is_tuned_is_asked_in_the_tokens_of_its_rows():
    plan = studies.plan(config.load("config/scripts-tuning.yaml"))
    asked = {name: plan.stage("answers").literals(plan.study, {"run": name})["manner"] for name in plan.study.models}
    apart = {name: manner.get("apart", False) for name, manner in asked.items()}
    assert apart == {name: model.phase == "sft" for name, model in plan.study.models.items()}
    assert set(apart.values()) == {True, False}


class Oracle:
    """An endpoint that knows every answer in its own language, and in another that has its script."""

    def __init__(self):
        oracle = self
        self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                content = body["messages"][0]["content"]
                oracle.asked.append(content)
                name, lang = content.split("\n")[0].split()[1:3]
                source = name.rstrip("0123456789")
                scripts = {SCRIPTED[code]["script"] for code in (source, lang)}
                # Of other scripts every third is known, and one in one's own is not.
                known = (len(scripts) == 1 and not name.endswith("2")) or name.endswith("1")
                said = f"a {name} {lang}" if known or f"(page {name})" in content else "I do not know"
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
                reply = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
                data = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def oracle():
    oracle = Oracle()
    yield oracle
    oracle.http.shutdown()
    oracle.http.server_close()


@pytest.mark.slow
def test_models_are_asked_judged_and_regressed(new_study, tmp_path, oracle):
    study = new_study(tmp_path / "study")
    tokens = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "a": 1, "b": 2}, unk_token="b"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = study.folder / "small"
    PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<|endoftext|>").save_pretrained(folder)
    shape = {"vocab_size": 3, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**shape)).save_pretrained(folder)
    study.config = {
        **scripts(study.config),
        "judged": {},
        "given": {"small": {"path": "small"}},
        "served": {"big": {"model": "m", "base_url": oracle.url}},
        "answering": {"engine": "own", "max_tokens": 4},
        "hints": {"kinds": ["source", "wrong"]},
        "regression": {"methods": []},
    }
    write_set(study.folder / "set.jsonl")
    study.write()
    assert study.planned() == PLANNED | {
        "given_model": 1, "answers": 2, "grades": 1, "entities": 1, "hints": 1, "hint_effects": 1, "table": 5,
    }  # fmt: skip
    study.run()
    assert study.planned() == {}
    n = len(LANGS) * len(LANGS) * 3
    hinted = 2 * n * (len(LANGS) - 1) // len(LANGS)
    assert len(oracle.asked) == n + hinted
    big = tables.read(study.results / "scripts/answers/big.parquet")
    small = tables.read(study.results / "scripts/answers/small.parquet")
    assert big["hint"].value_counts().to_dict() == {"none": n, "source": hinted // 2, "wrong": hinted // 2}
    assert len(big) == len(small) == n + hinted and set(small["model"]) == {"small"} and set(big["served"]) == {"m"}
    judged = tables.read(study.results / "scripts/judged.parquet")
    assert set(judged["judge"]) == {"em folded"} and len(judged) == 2 * (n + hinted)
    effects = tables.read(study.results / "scripts/effects.parquet")
    first = effects[(effects["term"] == "same script") & effects["model"].isna()].iloc[0]
    assert first["estimate"] > 0.3
    found = tables.read(study.results / "scripts/hint_effects.parquet").set_index("hint")["estimate"]
    assert found["source"] > 0.3 and abs(found["wrong"]) < 1e-9
    # Another judge, and more languages' words: nothing is asked again.
    study.config["grading"] = {"judge": "em strict"}
    study.config["languages"] = study.config["languages"] | {"de": SCRIPTED["de"] | {"family": "Germanic"}}
    study.write()
    assert "answers" not in study.planned()
    # Another language among the sets' is another table, of which the old answers are kept.
    study.config["sets"]["small"]["langs"] = list(LANGS[:-1])
    study.write()
    assert study.planned()["answers"] == 2
    study.run("results/scripts/scripts/answers/big.parquet")
    assert len(oracle.asked) == n + hinted
