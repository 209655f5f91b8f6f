"""A study of roots: planned without torch or data, made of a masked model in a folder, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import hand_set
from lorebridge import config, studies, tables
from lorebridge.errors import InputError
from lorebridge.plan.stage import artifact
from lorebridge.trace.origins import UNITS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
REAL = {lang: {"sources": [{"kind": "local", "name": "text", "path": "text.jsonl"}]} for lang in ("en", "it")}
CITIES = {"en": ["paris", "rome", "oslo"], "de": ["paris", "rom", "oslo"]}
PLANNED = {
    "facts": 1,
    "given_model": 1,
    "fact_scores": 1,
    "p_at_1": 1,
    "correlates": 1,
    "language_measures": 1,
    "fact_overlap": 1,
    "overlap_distances": 1,
    "fact_rankings": 1,
    "rank_consistency": 1,
    "neurons": 1,
    "silenced_facts": 1,
    "neuron_overlap": 1,
    "ablations": 1,
    "table": 9,
    "draw_precision": 1,
    "draw_neurons": 1,
    "draw_neuron_kin": 1,
    "draw_neuron_cases": 1,
    "draw_overlap_by_family": 1,
    "draw_overlap_by_script": 1,
    "page": 1,
}


def write_facts(folder, n=12):
    for lang, cities in CITIES.items():
        (folder / lang).mkdir(parents=True)
        template = {"relation": "P19", "template": "[X] was born in [Y] ."}
        (folder / lang / "templates.jsonl").write_text(json.dumps(template) + "\n")
        rows = [
            {
                "sub_uri": f"Q{i}",
                "obj_uri": f"C{i % 3}",
                "sub_label": f"p{i}",
                "obj_label": cities[i % 3],
                "uuid": f"u{i}",
            }
            for i in range(n)
        ]
        (folder / lang / "P19.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def give(folder):
    """A model that knows all of it, by one neuron a person, the same in both languages."""
    answers = {f"p{i}": CITIES["en"][i % 3] for i in range(12)}
    hand_set.give_model(folder, answers, ["was", "born", "in", ".", "rom"])


def roots(tiny):
    return {
        "study": "roots",
        "kind": "roots",
        "base_language": "en",
        "languages": {"en": {"name": "English", "script": "Latin"}, "de": {"name": "German", "script": "Latin"}},
        "facts": {"shape": "mlama", "path": "mlama"},
        "given": {"bert": {"path": "bert"}},
        "precision": {"resamples": 100, "seed": 0},
        "neurons": {"top": 2, "ablation": {"n_facts": 2, "draws": 1}},
        "compute": tiny["compute"],
    }


@pytest.fixture(scope="module")
def made(new_study, tmp_path_factory):
    study = new_study(tmp_path_factory.mktemp("roots") / "study")
    study.config = roots(study.config)
    study.write()
    write_facts(study.folder / "mlama")
    give(study.folder / "bert")
    assert study.planned() == PLANNED
    study.run()
    return study


def test_a_model_in_a_folder_is_asked_and_shown(made):
    assert made.planned() == {}
    scores = tables.read(made.results / "facts/scores/bert.parquet")
    assert len(scores) == 24 and scores["step"].isna().all() and set(scores["decode"]) == {"simultaneous"}
    found = tables.read(made.results / "facts/p_at_1.parquet")
    whole = found[found["lang"].isna() & (found["mean_over"] == "facts") & (found["rule"] == "gold")].iloc[0]
    assert whole["p1"] == pytest.approx(scores["exact"].mean()) and whole["chance"] == pytest.approx(1 / 3)
    [shared, _] = tables.read(made.results / "facts/overlap.parquet").to_dict("records")
    right = {lang: set(rows.loc[rows["exact"] == 1, "fact_id"]) for lang, rows in scores.groupby("lang")}
    assert shared["shared"] == len(right["en"] & right["de"]) and shared["n_a"] == len(right[shared["lang_a"]])
    page = (made.results / "report/summary.html").read_text(encoding="utf-8")
    assert "<h1>Which facts does a multilingual model know in which language?</h1>" in page
    assert "points from the majority answer of the relation" in page and "in the shape of mlama" in page


def test_neurons_are_found_compared_and_silenced(made):
    """The right facts of either language: those whose city is spelt alike, in both by one neuron each."""
    pairs = tables.read(made.results / "facts/neuron_pairs.parquet")
    assert (
        len(pairs) == 8
        and pairs["same_fact"].between(0.3, 1).all()
        and (pairs["same_fact"] > pairs["same_relation"]).all()
    )
    best = tables.read(made.results / "facts/neurons/bert.parquet").query("rank == 1").set_index(["lang", "fact_id"])
    assert len(best) == 8 + 12 and (best["layer"] == hand_set.CARRIES).all()
    assert all(best.loc[("en", fact), "neuron"] == best.loc[("de", fact), "neuron"] for fact in pairs["fact_id"])
    lost = tables.read(made.results / "facts/ablations.parquet").set_index(["lang_cut", "lang_asked", "silenced"])[
        "drop"
    ]
    assert lost["en", "de", "own"] == 1 and lost["en", "de", "random"] == 0 and lost["en", "de", "other"] == 0
    page = (made.results / "report/summary.html").read_text(encoding="utf-8")
    assert "bert loses 100.0 points of the facts that it has right when another language" in page
    assert "Shared neurons of related languages" in page and "Neurons of one fact" in page


def test_a_model_in_a_folder_elsewhere_is_given_on_the_command_line(made, tmp_path):
    """As docs/roots.md says. What a model holds says whether it is another one, and not where it lies."""
    study = made.copy(tmp_path / "study")
    (study.folder / "bert").rename(tmp_path / "elsewhere")
    assert study.planned("--config", f"given={{bert: {{path: {tmp_path / 'elsewhere'}}}}}") == {}


def test_a_given_folder_that_cannot_be_asked_stops_a_plan(made, tmp_path):
    def refused(said, config_, **changed):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        if config_ is not None:
            (folder / "config.json").write_text(json.dumps(config_))
        study = made.config | {"given": {"bert": {"path": str(folder)}}} | changed
        with pytest.raises(InputError, match=said) as error:
            studies.plan(config.check(study)).recipe(artifact("given_model", run="bert"))
        assert "\n" not in str(error.value)

    (tmp_path / "model").mkdir()
    (tmp_path / "model/notes.txt").touch()
    refused(r"key given\.bert: .*model is no model folder \(no config\.json\)", None)
    refused(r"key given\.bert: .*model has no weights as safetensors", {"architectures": ["BertForMaskedLM"]})
    (tmp_path / "model/model.safetensors").touch()
    causal = {"architectures": ["GPT2LMHeadModel"]}
    refused(r"given\.bert: is a causal language model, which fills no masks\. Set asking.space to candidates", causal)
    wide = {"given": {"bert": {"path": str(tmp_path / "model")}}, "asking": {"space": "candidates"}}
    assert studies.plan(config.check(made.config | wide)).recipe(artifact("given_model", run="bert"))


def test_a_study_without_neurons_plans_none(made, tmp_path):
    study = made.copy(tmp_path / "study")
    study.config["neurons"] = None
    study.write()
    assert not {"neurons", "silenced_facts", "neuron_overlap", "ablations"} & set(study.planned("--forceall"))
    study.config["neurons"] = {"ablation": None}
    study.write()
    planned = study.planned("--forceall")
    assert planned["neuron_overlap"] == 1 and "ablations" not in planned and planned["table"] == 8


def test_another_manner_asks_again_and_reads_no_facts_again(made, tmp_path):
    study = made.copy(tmp_path / "study")
    study.config["asking"] = {"space": "candidates", "lengths": "any"}
    study.write()
    # Rankings are of all candidates, whatever a fact is compared with.
    kept = ("facts", "given_model", "fact_rankings", "rank_consistency")
    assert study.planned() == {k: n - (k == "table") for k, n in PLANNED.items() if k not in kept}


def demo():
    """The study that ships, cut down: two languages, few facts, four steps."""
    found = yaml.safe_load((ROOT / "config/roots-demo.yaml").read_text(encoding="utf-8"))
    for section in ("languages", "corpora"):
        del found[section]["ko"]
    del found["world"]["languages"]["ko"]
    for corpus in found["corpora"].values():
        corpus["heldout"] = 0.3  # of few documents
    found["world"] |= {"subjects": 12, "relations": 2, "objects": 4, "doses": [2], "remarks": 2}
    found["tokenizer"] |= {"vocab_size": 400, "bytes_per_group": 5000}
    found["origins"] = {"tokens": 16}  # as long as a clause or two
    found["training"]["joint"] |= {"steps": 4, "batch_tokens": 512, "checkpoints": {"every": 4, "early": []}}
    found["precision"]["resamples"] = 100
    found["neurons"] = None  # the other study here has them
    return found


def test_a_masked_model_is_trained_on_a_planted_world_and_its_truth_stands_beside(new_study, tmp_path):
    study = new_study(tmp_path / "study")
    study.config = demo()
    study.write()
    study.run()
    assert study.planned() == {}
    scores = tables.read(study.results / "facts/scores/joint-s0.parquet")
    assert len(scores) == 2 * 2 * 24 and set(scores["step"]) == {0, 4}
    order = tables.read(study.results / "order/joint-s0.parquet")
    assert set(order["stream"]) == {"mono-en", "mono-it"}
    found = tables.read(study.results / "facts/transfer.parquet")
    assert set(found["place"]) == {"here", "elsewhere", "nowhere", "transfer"}
    counted = found[(found["step"] == 4) & (found["lang"] == "it")].set_index("place")["n"]
    assert counted.to_dict() == {"here": 12, "elsewhere": 6, "nowhere": 6, "transfer": 12}
    traced(study.results)
    page = (study.results / "report/summary.html").read_text(encoding="utf-8")
    assert "What crosses" in page and "joint-s0 (trained here)" in page
    assert "facts are right in a language whose text does not hold them" in page


def traced(results):
    """Check where facts are traced to: what the truth says, by every unit."""
    recovered = tables.read(results / "facts/origin_recovery.parquet").set_index(["unit", "lang"])
    assert (recovered.loc[["tokens", "window"], "recall"] == 1).all()
    assert set(recovered.index) == {(unit, lang) for unit in UNITS for lang in ("en", "it")}
    origins = tables.read(results / "facts/origins.parquet")
    assert len(origins) == 3 * 2 * 24 and set(origins["run"].dropna()) == {"joint-s0"}
    by_unit = origins.pivot(index=["fact_id", "lang"], columns="unit", values="present").astype(bool)
    # What a run consumed is some of the text.
    assert not (by_unit["presentation"] & ~by_unit["window"]).any()
    found = tables.read(results / "facts/absent.parquet")
    whole = found[found["lang"].isna() & (found["step"] == 4) & (found["unit"] == "window")]
    assert whole.groupby("rules")["n"].sum().to_dict() == {"paper": 48, "house": 48}
    assert (whole["stated"] == 0).all() and (whole["recall"] == 1).all()
    ranks = tables.read(results / "facts/rank_consistency.parquet")
    assert ranks["n_facts"].tolist() == [24] and ranks["candidates"].tolist() == [4]
    alarms = tables.read(results / "facts/corpus_alarms.parquet")
    assert len(alarms) == 5 and not (alarms["verdict"] == "rings").any()


def test_a_study_of_its_own_models_says_what_it_lacks():
    def refused(said, change):
        config_ = demo()
        change(config_)
        with pytest.raises(InputError, match=said):
            config.check(config_)

    refused("tokenizer.mask: is not set, and a masked model needs", lambda c: c["tokenizer"].pop("mask"))
    refused("facts.shape: asks for the facts of a planted world", lambda c: c.update(world=None, corpora=REAL))
    refused("facts.path: and facts.shape do not go together", lambda c: c["facts"].update(path="here"))
    refused("training.shares: has none for 'it'", lambda c: c["training"].update(shares={"en": 1.0}))
    refused("training.shares.fr: is not a language", lambda c: c["training"].update(shares={"en": 0.5, "fr": 0.5}))
    refused("tokenizer", lambda c: c.pop("tokenizer"))


def test_a_wrong_configuration_stops_a_plan(made):
    def refused(said, **changed):
        with pytest.raises(InputError, match=said):
            studies.plan(config.check(made.config | changed)).task("facts")

    refused("asking.decode: pll scores strings", asking={"decode": "pll"})
    refused(
        "asking.decode: 'left-to-right' is unknown. Did you mean 'left_to_right'", asking={"decode": "left-to-right"}
    )
    refused("base_language: 'fr' is not among the languages", base_language="fr")
    refused("given: names no model", given={})
    refused(
        "neurons.languages: 'fr' is not among|neurons.languages.fr: is not a language", neurons={"languages": ["fr"]}
    )
    refused("neurons.references: is below neurons.least", neurons={"references": 4})
    refused("facts: there is no file of the shape mlama in nowhere", facts={"shape": "mlama", "path": "nowhere"})
