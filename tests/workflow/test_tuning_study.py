"""A study that tunes a given model: rows of transliteration and rows of one's own, to tuned models and a page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest
from test_scripts_study import scripts, write_judged, write_set

from lorebridge import config, studies, tables
from lorebridge.errors import InputError
from lorebridge.plan import Plan, artifact
from lorebridge.plan.cost import Cost
from lorebridge.plan.stage import item
from lorebridge.tokens.order import read_notes
from lorebridge.tokens.tokenizer import load_tokenizer, n_ids, train_tokenizer
from lorebridge.train import stages as train
from lorebridge.train.model import build, qwen2_config
from lorebridge.train.tensors import write_checkpoint

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "vocab_size": None,
}
SETS = {
    "reasoned": {"kind": "transliteration", "trace": "reasoned"},
    "own": {"kind": "rows", "files": {"hi": "hi.jsonl", "en": "en.jsonl"}},
}
RUNS = ["tiny.sft.reasoned.s0", "tiny.sft.own.s0"]


def tuned(tiny):
    return scripts(tiny) | {
        "sets": {"small": {"shape": "eclektic", "path": "set.jsonl", "langs": ["de", "en", "hi"]}},
        "judged": {"files": ["small.csv"]},
        "answering": {"engine": "own", "form": "plain", "max_tokens": 2},
        "regression": {"methods": []},
        "seeds": [0],
        "given": {"tiny": {"path": "model"}},
        "training": {
            "sequence_length": 256,
            "packing": "concatenated",
            "precision": "float32",
            "checkpoint_dtype": "float32",
            "optimizer": {"betas": [0.9, 0.95], "eps": 1.0e-8, "weight_decay": 0.1, "clip": 1.0},
            "sft": {"epochs": 2, "examples": 6, "batch_examples": 3, "batch_tokens": 1024, "lr": 1.0e-3},
        },
        "tuning": {
            "models": ["tiny"],
            "sets": SETS,
            "controls": ["own"],
            "transliteration": {"lang": "hi", "asked_in": "en", "path": "lexicon.tsv", "heldout": 0.3},
        },
    }


def write_inputs(folder):
    """Write a model as one gives it, a lexicon of invented spellings, rows, and judged answers."""
    text = [
        {"doc_id": "t", "title": "", "text": "Which word is Answer: Candidates कखग " * 9, "source": "t", "n_chars": 9}
    ]
    tables.write("documents", text, folder / "text.parquet")
    own = folder / "tokenizer"
    train_tokenizer(tables=[("x", "text", folder / "text.parquet")], vocab_size=280, bytes_per_group=500, out=own)
    bpe = load_tokenizer(own)
    write_checkpoint(build(qwen2_config(SIZES, n_ids(bpe), 0), 3), own, folder / "model", "float32")
    (folder / "model" / "README.md").write_text("of its maker")
    words = [chr(0x915 + i) + chr(0x93E) for i in range(20)]
    lexicon = [f"{word}\tw{i}\t3\n{word}\tv{i // 2}\t{1 + i % 2}\n" for i, word in enumerate(words)]
    (folder / "lexicon.tsv").write_text("".join(lexicon), encoding="utf-8")
    for lang in ("hi", "en"):
        rows = [{"prompt": f"What is {i} in {lang}?", "answer": str(i)} for i in range(5)]
        (folder / f"{lang}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_judged(folder / "small.csv")  # of the set that is asked: where nobody is right nothing can be regressed
    write_set(folder / "set.jsonl")


def rated(training, lr):
    return training | {"sft": training["sft"] | {"lr": lr}}


@pytest.mark.slow
def test_a_given_model_is_tuned_and_compared(new_study, tmp_path):
    study = new_study(tmp_path / "study")
    study.config = tuned(study.config)
    study.write()
    write_inputs(study.folder)
    made = {"transliteration": 1, "tuning_rows": 2, "given_model": 1, "token_store": 6, "order": 2, "train_sft": 2}
    study.run()
    plan = studies.plan(config.load(study.folder / "study.yaml") | {"data": str(study.folder)})
    walked = Counter(stage for stage, _ in plan.walk())
    assert {stage: walked[stage] for stage in made} == made
    assert study.planned() == {}
    for run, langs in zip(RUNS, (1, 2), strict=True):
        folder = study.results / "models/sft" / run
        assert sorted(path.name for path in folder.glob("step*")) == ["step0", "step2", "step4"]
        given = study.folder / "model" / "model.safetensors"
        assert (folder / "step0" / "model.safetensors").read_bytes() == given.read_bytes()
        notes = read_notes(study.results / "order" / f"{run}.parquet")
        assert notes["packing"] == "isolated" and len(notes["examples"]) == langs
        card = (folder / "step4" / "README.md").read_text()
        assert "`tiny`" in card and "of its maker" not in card and not list((folder / "step4").glob("*record*"))
        metrics = tables.read(folder / "metrics.parquet")
        assert metrics["target_tokens"].sum() == notes["targets"]
    heldout = tables.read(study.results / "tuning/transliteration/heldout.parquet")
    rows = tables.read(study.results / "tuning/transliteration/reasoned.parquet")
    asked = {text.split(" is ")[1] for text in heldout["question"]}
    assert len(heldout) and not asked & {text.split(" is ")[1] for text in rows["prompt"]}
    # Each is asked at each of its checkpoints, the last of which is compared; the headline is of models as they are.
    answers = tables.read(study.results / f"scripts/answers/{RUNS[0]}.parquet")
    assert answers.groupby("step").size().to_dict() == {0: 27, 2: 27, 4: 27}
    asked = tables.read(study.results / "scripts/tuned.parquet")
    assert {f"{run} step 4" for run in RUNS} < set(asked["model"])
    assert set(tables.read(study.results / "scripts/judged.parquet")["model"]) == {"m0", "m1", "tiny"}
    effects = tables.read(study.results / "scripts/tuning_effects.parquet")
    said = effects[["start", "arm", "minus"]].fillna("").to_numpy().tolist()
    assert said == [["tiny", "own", ""], ["tiny", "reasoned", ""], ["tiny", "reasoned", "own"]]
    page = (study.results / "report/summary.html").read_text(encoding="utf-8")
    assert "tiny tuned on reasoned: the gap between scripts is" in page and "more than own" in page
    for command, shown in ((("verify",), "step4"), (("show-batch", "--step", "0"), "Which word is")):
        done = subprocess.run(
            [sys.executable, "-m", "lorebridge.cli", command[0], RUNS[0], *command[1:], "--config", "study.yaml"],
            cwd=study.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and shown in done.stdout, done.stdout + done.stderr
    # Another rate trains again, and reads the same order.
    changed = {"training": rated(study.config["training"], 2.0e-3), "data": str(study.folder)}
    faster = studies.plan(config.check(study.config | changed))
    for stage, same in (("order", True), ("train_sft", False)):
        assert (plan.recipe(artifact(stage, run=RUNS[0])) == faster.recipe(artifact(stage, run=RUNS[0]))) == same


def test_what_a_configuration_of_tuning_must_say(tmp_path):
    compute = config.load("config/scripts-judged.yaml")["compute"]
    write_inputs(tmp_path)
    whole = tuned({"compute": compute}) | {"data": str(tmp_path)}

    def refused(said, **changed):
        with pytest.raises(InputError, match=said):
            config.check(whole | changed)

    def section(**changed):
        return whole["tuning"] | changed

    def phase(**changed):
        return whole["training"] | {"sft": whole["training"]["sft"] | changed}

    cost = Cost(studies.plan(config.check(whole)).study)
    weights = build(qwen2_config(SIZES, 280, 0), 3)
    assert cost.totals["parameters"] == sum(p.numel() for p in weights.parameters())
    assert (
        cost.totals["tokens"] == 2 * 4 * 1024 and cost.totals["flops"] == 6 * cost.totals["parameters"] * 2 * 4 * 1024
    )
    assert cost.wall_hours(1) > 0
    hub = {"hub": "a/b", "revision": "0" * 40}
    refused("given.tiny.parameters: is not said of a model of the hub", given={"tiny": hub})
    config.check(whole | {"given": {"tiny": hub | {"parameters": 5}}})
    refused("'tinny' is not among the given models", tuning=section(models=["tinny"]))
    refused("tuning.controls: 'nothing' is no set", tuning=section(controls=["nothing"]))
    refused("transliteration that is not said", tuning=section(transliteration=None))
    told = whole["tuning"]["transliteration"]
    refused("asked_in.fr: is not a language", tuning=section(transliteration=told | {"asked_in": "fr"}))
    refused("Write {name} once", tuning=section(transliteration=told | {"question": "Which?"}))
    refused("which the 2 languages of own cannot share alike", training=phase(examples=7))
    refused("sft.template: needs {prompt} once", training=phase(template="{prompt}{answer}"))
    refused("sft.batch_tokens: 1000 is not a multiple", training=phase(batch_tokens=1000))
    refused("sft.batch_examples: is 9, and an epoch has 6", training=phase(batch_examples=9))
    refused("sft.min_lr", training=phase(min_lr=1.0))
    refused("Let it begin with 'Q: {prompt}", training=phase(template="{prompt} {answer}"))
    refused("Name JSONL or Parquet", tuning=section(sets={"own": {"kind": "rows", "files": {"hi": "a.csv"}}}))
    without = {key: value for key, value in whole.items() if key != "seeds"}
    with pytest.raises(InputError, match="seeds: are not there"):
        config.check(without)
    with pytest.raises(InputError, match=r"training.sft: is not there"):
        config.check({key: value for key, value in whole.items() if key != "training"})


def test_a_model_of_the_same_study_is_tuned_from_its_last_checkpoint(root):
    """In a study of another kind: rows of models and texts, and no word on kinds anywhere."""
    study = studies.plan(config.load(root / "config/articles.yaml")).study
    start = next(model for model in study.trained if model.start is not None)
    before = Cost(study).wall_hours(1)
    said = {"template": "Q {prompt} A {answer}", "turns": "mixed", "epochs": 2, "examples": 10, "batch_examples": 4}
    said |= {
        "lr": 1e-5,
        "min_lr": 0,
        "schedule": "linear",
        "warmup_ratio": 0.0,
        "weight_decay": 0,
        "batch_tokens": 4096,
    }
    study.config = {**study.config, "training": {**study.config["training"], "open": said}}
    rows = [(lang, item("tuning_rows", "tuning", tuning="nq", lang=lang)) for lang in ("en", start.lang)]
    texts, models = train.tuned_models(study.config, "open", [start], {"nq": rows})
    study.stages = {**study.stages, "train_open": train.stage("open", "Tune on open questions.")}
    study.texts |= {text.name: text for text in texts}
    study.models |= {model.name: model for model in models}
    plan, run = Plan(study), models[0].name
    assert [text.name for text in texts[:2]] == ["open.nq.en.prompt", "open.nq.en.answer"] and texts[0].lead == " "
    read = plan.reads("train_open", run=run)
    assert f"models/{start.phase}/{start.name}/step{start.checkpoints[-1]}" in read["start"][-1]
    assert read["tokenizer"] == plan.reads("token_store", stream=texts[0].name)["tokenizer"]
    assert read["tokenizer"][0].endswith("tokenizer/tokenizer.json")
    assert models[0].checkpoints == (0, 3, 6) and plan.literals("train_open", run=run)["model"] is None
    assert plan.outputs("train_open", run=run)["checkpoints"][1].endswith(f"models/open/{run}/step3")
    assert Cost(study).hours(models[0]) > 0 and Cost(study).wall_hours(1) > before
