"""The plan: runs, paths, and what a change makes stale."""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lorebridge import call, config, studies, tables
from lorebridge.errors import ConfigError, InputError
from lorebridge.plan import artifact, cost, due
from lorebridge.plan.stage import WILDCARDS, File, Stage, constraints
from lorebridge.plan.wanted import expression, refuse_unknown_paths
from lorebridge.records import file_digest
from lorebridge.studies.bridge import study as bridge
from lorebridge.tokens.arms import ARMS


@pytest.fixture(scope="module")
def paper(root):
    return studies.plan(config.load(root / "config" / "config.yaml"))


def recipes(configuration):
    plan = studies.plan(config.check(configuration))
    return {a: plan.task(a[0], **dict(a[1])).recipe for a in plan.walk()}


def stale(before, after):
    """The artifacts whose recipe a change alters."""
    old, new = recipes(before), recipes(after)
    return {a for a in new if old.get(a) != new[a]}


def stages(artifacts):
    return {stage for stage, _ in artifacts}


def test_only_the_runs_whose_embeddings_are_moved_depend_on_what_was_read_before(root):
    before = config.load(root / "config" / "articles.yaml")
    kept, moved = copy.deepcopy(before), copy.deepcopy(before)
    kept["training"]["continual"]["unseen_tokens"] = "kept"
    moved["training"]["continual"]["unseen_tokens"] = "mean"
    assert stages(stale(before, kept)) == {"page"}  # which prints the configuration
    assert {"train_continual", "score"} <= stages(stale(before, moved))
    assert not {"train_base", "order", "token_store"} & stages(stale(before, moved))
    plan = studies.plan(config.check(moved))
    run = plan.study.of_phase("continual")[0].name
    read = plan.task("train_continual", run=run).call["inputs"]["read_before"]
    assert [key[0] for key in read["keys"]] == ["mono-en"]


def test_a_language_may_be_trained_in_fewer_arms(root):
    before = config.load(root / "config" / "articles.yaml")
    after = copy.deepcopy(before)
    after["languages"]["bo"]["arms"] = ["no_bridge", "bridge"]
    plan = studies.plan(config.check(after))
    trained = {(model.lang, model.arm) for model in plan.study.of_phase("continual")}
    assert trained == {("ko", "bridge"), ("ko", "no_bridge"), ("ko", "placebo"), ("bo", "bridge"), ("bo", "no_bridge")}
    assert not {"train_base", "train_continual", "order", "score"} & stages(stale(before, after))


def test_the_paper_has_sixteen_runs_of_1500_steps(paper):
    models = paper.study.of_phase("continual")
    assert len(models) == 16
    assert {model.lang for model in models} == {"ko", "zh", "bo", "mn"}
    assert {model.arm for model in models} == {"bridge", "no_bridge"}
    assert {(model.steps, model.tokens) for model in models} == {(1500, 1500 * 524288)}
    assert all(model.checkpoints == (0, 2, 4, 8, 16, 32, *range(50, 1501, 50)) for model in models)


def test_parameters_are_those_of_qwen(paper):
    """Qwen2.5-0.5B has 494,032,768 parameters, 357,898,112 of them outside the embedding."""
    model, length = paper.config["model"], paper.config["training"]["sequence_length"]
    everything, in_matrices = cost.parameter_count(model, 151936)
    assert everything == 494_032_768
    assert everything - 151936 * 896 == 357_898_112
    # 2.964 GFLOP of matrix products a token, 0.264 of causal attention at 2,048 positions
    assert cost.flops_per_token(model, length, 151936) == pytest.approx(6 * in_matrices + 0.2642e9, rel=1e-4)
    assert 6 * in_matrices == pytest.approx(2.964e9, rel=1e-3)


def test_wall_time_falls_with_gpus_and_ends_at_one_base_and_one_run(paper):
    """On eight GPUs runs follow each other; on a thousand a base and then a continual run are all that takes time."""
    reckoned = cost.Cost(paper.study)
    hours = {model.name: reckoned.hours(model) / 8 for model in paper.study.models.values()}
    assert reckoned.wall_hours(8) == pytest.approx(sum(hours.values()))
    assert reckoned.wall_hours(1000) == pytest.approx(hours["base-s0"] + hours["ko-bridge-s0"])
    assert reckoned.wall_hours(1000) < reckoned.wall_hours(32) < reckoned.wall_hours(8)
    assert reckoned.wall_hours(1) == pytest.approx(8 * reckoned.wall_hours(8))


def test_what_asking_public_models_costs_is_reckoned(root):
    """Of roots.yaml, counted out: a fact once, and for five numbers of masks; neurons in 30 languages; ablation."""
    roots = config.load(root / "config" / "roots.yaml")
    reckoned = cost.Cost(studies.plan(roots).study)
    reads = 843143 * (1 + 5 + 30 / 53) + 30**2 * 50 * (2 + 3)
    mbert = reckoned.asking["mbert"]
    assert mbert["tokens"] == pytest.approx(16 * reads) and reckoned.totals["gpu_hours"] == 0
    assert mbert["flops"] == pytest.approx(2 * 177e6 * 16 * reads)
    assert mbert["gpu_hours"] == pytest.approx(mbert["flops"] / (0.3 * 312e12) / 3600)
    assert mbert["disk_bytes"] == pytest.approx(4 * 177e6 + 843143 * (100 + 5 * 100))
    roots["neurons"], roots["asking"]["lengths"] = None, "any"
    assert cost.Cost(studies.plan(roots).study).asking["mbert"]["tokens"] == pytest.approx(16 * 843143 * (5 + 5))
    roots["compute"]["estimate"]["asking"]["parameters"]["bert"] = 1.0
    with pytest.raises(
        ConfigError, match=r"asking\.parameters\.bert: is of no given model\. Name a model of `given`: mbert"
    ):
        config.check(roots)


def test_the_plan_imports_no_heavy_library(root):
    """Nor does what the rules import when a dry run reads them. (Snakemake has pandas of its own.)"""
    files = [root / "Snakefile", *(root / "workflow" / "rules").glob("*.smk"), *(root / "src").rglob("*.smk")]
    imports = {line for file in files for line in re.findall(r"^(?:from|import) lorebridge.*$", file.read_text(), re.M)}
    script = "\n".join(
        [
            "import sys, lorebridge.cli",
            *sorted(imports),
            "lorebridge.studies.stages()",
            "print([m for m in ('torch', 'transformers', 'pandas', 'numpy', 'pyarrow') if m in sys.modules])",
        ]
    )
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_inputs_stand_before_what_is_made_from_them(paper):
    seen = set()
    for name in paper.walk():
        assert set(paper.inputs(name[0], **dict(name[1]))) <= seen
        seen.add(name)
    further = {"given_model", "selected_questions", "made_questions", "facts", "fact_scores"}
    further |= {"p_at_1", "correlates", "fact_overlap", "overlap_distances", "fact_transfer"}
    further |= {
        "fact_subjects",
        "corpus_alarms",
        "stretches",
        "origins",
        "fact_classes",
        "absent_facts",
        "fact_patterns",
    }
    further |= {"fact_rankings", "rank_consistency"}
    further |= {"tuning_rows", "transliteration"}
    further |= {"neurons", "silenced_facts", "neuron_overlap", "ablations"}
    assert stages(seen) == set(paper.study.stages) - {
        "world",
        "recovery",
        "mechanism",
        "sample_questions",
        "bundle",
        *further,
    }


def test_every_input_is_an_edge_of_the_graph(paper, demo):
    """What a stage reads has at least one file of each artifact in `inputs`, and none of another."""
    for plan in (paper, studies.plan(demo), studies.plan(config.check(with_variants(demo)))):
        for stage, wildcards in plan.walk():
            read = {path for paths in plan.reads(stage, **dict(wildcards)).values() for path in paths}
            for name, w in dict.fromkeys(plan.inputs(stage, **dict(wildcards))):
                files = plan.outputs(name, **dict(w))
                made = {p for key, f in files.items() if key != "record" for p in ([f] if isinstance(f, str) else f)}
                assert read & made, (stage, wildcards, name, w)
                read -= made
            assert not read, (stage, wildcards)


def test_a_stage_reads_what_it_takes(demo):
    plan = studies.plan(demo)
    assert {path.split("/")[-1] for path in plan.reads("figure", figure="losses")["metrics"]} == {"metrics.parquet"}
    assert set(plan.reads("figure", figure="learning")) == {"perplexity", "alignment"}
    filtering = plan.reads("table", table="filtering")["audits"]
    assert sorted(path.removeprefix("results/articles/") for path in filtering) == [
        "corpora/bo/audit.json",
        "corpora/en/audit.json",
        "corpora/ko/audit.json",
        "parallel/bo.audit.json",
        "parallel/ko.audit.json",
    ]
    scored = plan.reads("score", run="ko-bridge-s0")
    assert set(scored) == {"checkpoints", "questions", "heldout", "pairs"}
    # The rule names one checkpoint, and the task all: an edge of Snakemake's graph costs as much as a small job.
    steps = plan.study.model("ko-bridge-s0").checkpoints
    every = [f"results/articles/models/continual/ko-bridge-s0/step{step}" for step in steps]
    assert scored["checkpoints"] == every[:1]
    task = plan.task("score", run="ko-bridge-s0")
    found = call.shaped(task, "checkpoints", scored["checkpoints"])
    assert found == {str(step): Path(path) for step, path in zip(steps, every, strict=True)}


def test_no_two_artifacts_share_a_file(paper, demo):
    for plan in (paper, studies.plan(demo), studies.plan(config.check(with_variants(demo)))):
        files = [
            path
            for stage, wildcards in plan.walk()
            for value in plan.outputs(stage, **dict(wildcards)).values()
            for path in ([value] if isinstance(value, str) else value)
        ]
        assert len(files) == len(set(files))


def test_no_two_artifacts_share_a_recipe(paper, demo):
    """Else one could stand for the other: swapped question files would look fresh."""
    for plan in (paper, studies.plan(demo), studies.plan(config.check(with_variants(demo)))):
        found = [plan.task(stage, **dict(wildcards)).recipe for stage, wildcards in plan.walk()]
        assert len(found) == len(set(found))


def test_arms_of_the_schema_are_those_that_exist():
    assert set(config.schema()["properties"]["arms"]["items"]["enum"]) == set(ARMS)


def test_hardware_and_paths_never_enter_a_recipe(demo):
    demo["tracing"]["judge"] = {"kind": "vllm", "model": "judge", "gpus": 8}
    other = copy.deepcopy(demo)
    other["compute"] |= {"gpus": 8, "micro_batch": 2, "threads": 16, "train_minutes": 5, "score_tokens": 999999}
    other |= {"results": "elsewhere", "work": "/scratch"}
    other["tracing"]["judge"]["gpus"] = 4
    assert stale(demo, other) == set()


def everything_after(plan, *roots):
    """All that is made from some artifacts, themselves included."""
    found = set(roots)
    for name in plan.walk():
        if found & set(plan.inputs(name[0], **dict(name[1]))):
            found.add(name)
    return found


@pytest.mark.parametrize(
    ("change", "roots"),
    [
        # What is signed has passed the filter, and so depends on its settings.
        (
            lambda c: c["corpora"]["bo"].update(min_chars=300),
            [("signatures", {"shard": "00000-of-00001"}), ("filter_corpus", {"shard": "00000-of-00001"})],
        ),
        (lambda c: c["parallel"]["bo"].update(max_lost=0.2), [("filter_pairs", {})]),
    ],
    ids=["a corpus", "pairs"],
)
def test_a_change_of_one_text_remakes_what_is_made_of_it_and_no_more(demo, change, roots):
    other = copy.deepcopy(demo)
    change(other)
    expected = everything_after(studies.plan(demo), *(artifact(stage, lang="bo", **w) for stage, w in roots))
    assert stale(demo, other) == expected | {artifact("page")}


def test_another_languages_pairs_touch_no_base_model(demo):
    """They are asked for alignment on the held-out pairs of every language; they are not trained anew."""
    other = copy.deepcopy(demo)
    other["parallel"]["bo"]["max_lost"] = 0.2
    found = stale(demo, other)
    assert "train_base" not in stages(found)
    assert {dict(w)["run"].split("-")[0] for stage, w in found if stage == "train_continual"} == {"bo"}
    assert {dict(w)["run"].split("-")[0] for stage, w in found if stage == "order"} == {"bo"}
    assert {dict(w)["run"].split("-")[0] for stage, w in found if stage == "score"} == {"base", "bo"}


def test_a_sample_of_questions_costs_no_training_and_no_counting(demo):
    """Models are asked fewer questions; what is counted, and what they read, stays."""
    other = copy.deepcopy(demo)
    other["questions"]["ko"]["sample"] = {"questions": 5}
    found = stale(demo, other)
    assert artifact("sample_questions", culture="ko") in found
    assert {"score", "retrieve", "judge", "gaps"} <= stages(found)
    kept = {"train_continual", "train_base", "order", "mentions", "subjects", "occurrences", "questions"}
    assert not kept & stages(found)
    assert not any(stage in ("retrieve", "sample_questions") and dict(w)["culture"] == "bo" for stage, w in found)
    other["questions"]["ko"]["sample"] = {"questions": 6}
    assert {"sample_questions", "score"} <= stages(stale(demo, other))


def test_a_template_changes_the_labelled_arms_of_its_language_alone(demo):
    other = copy.deepcopy(demo)
    other["languages"]["bo"]["template"] = "{en} = {xx}"
    runs = {dict(w)["run"] for stage, w in stale(demo, other) if stage == "order"}
    assert runs == {f"bo-{arm}-s{seed}" for arm in ("bridge", "placebo") for seed in (0, 1)}


def with_variants(demo):
    demo = copy.deepcopy(demo)
    demo["arms"] += ["xx_first", "bridge_leak_free", "bridge_english_matched", "bridge_replay"]
    demo["training"] |= {"english_share": 0.1, "replay_share": 0.2}
    return demo


def orders(artifacts):
    return {dict(w)["run"] for stage, w in artifacts if stage == "order"}


@pytest.mark.parametrize(
    ("change", "arms", "langs"),
    [
        (lambda c: c["training"].update(english_share=0.2), ["bridge_english_matched"], ["ko", "bo"]),
        (lambda c: c["training"].update(replay_share=0.1), ["bridge_replay"], ["ko", "bo"]),
        (lambda c: c["tracing"].update(window=2), ["bridge_leak_free"], ["ko", "bo"]),
        (
            lambda c: c["languages"]["bo"].update(template="{en} = {xx}"),
            ["bridge", "placebo", "xx_first", "bridge_leak_free", "bridge_english_matched", "bridge_replay"],
            ["bo"],
        ),
    ],
    ids=["english_share", "replay_share", "window", "template"],
)
def test_a_setting_of_some_arms_redraws_those_alone(demo, change, arms, langs):
    other = with_variants(demo)
    change(other)
    assert orders(stale(with_variants(demo), other)) == {
        f"{lang}-{arm}-s{seed}" for lang in langs for arm in arms for seed in (0, 1)
    }


def test_another_languages_pairs_leave_a_leak_free_order_alone(demo):
    before, other = with_variants(demo), with_variants(demo)
    other["parallel"]["bo"]["max_lost"] = 0.2
    redrawn = orders(stale(before, other))
    assert "bo-bridge_leak_free-s0" in redrawn and not any(run.startswith("ko-") for run in redrawn)
    plan = studies.plan(config.check(before))
    mentions = {w for stage, w in plan.inputs("order", run="ko-bridge_leak_free-s0") if stage == "mentions"}
    assert {dict(w)["stream"] for w in mentions} == {"pairs-ko-en", "pairs-ko-xx"}
    assert not any(stage == "mentions" for stage, _ in plan.inputs("order", run="ko-bridge-s0"))


def test_a_replay_reads_the_base_language_too_and_is_counted_so(demo):
    plan = studies.plan(config.check(with_variants(demo)))
    streams = ["mono-ko", "pairs-ko-en", "pairs-ko-xx", "mono-en"]
    assert list(plan.study.model("ko-bridge_replay-s0").texts) == streams
    assert list(plan.study.model("ko-bridge-s0").texts) == streams[:3]
    for stage, wildcards in (
        ("order", {"run": "ko-bridge_replay-s0"}),
        ("exposure", {"run": "ko-bridge_replay-s0"}),
        ("train_continual", {"run": "ko-bridge_replay-s0"}),
    ):
        assert artifact("token_store", stream="mono-en") in plan.inputs(stage, **wildcards)
    assert plan.literals("exposure", run="ko-bridge_replay-s0")["scripts"]["mono-en"] == "Latin"
    assert plan.literals("order", run="ko-bridge_replay-s0")["replay"] == {"base": "en", "share": 0.2}


def test_a_new_seed_adds_only_its_runs(demo):
    other = copy.deepcopy(demo)
    other["seeds"].append(2)
    for stage, wildcards in stale(demo, other):
        w = dict(wildcards)
        assert w.get("seed", "2") == "2"
        assert w.get("run", "-s2").endswith("-s2")
        assert stage in {
            "order",
            "train_base",
            "train_continual",
            "score",
            "copying",
            "mechanism",
            "exposure",
            "accuracies",
            "gaps",
            "matched_gaps",
            "verdicts",
            "items",
            "item_effects",
            "table",
            "figure",
            "page",
        }


def test_a_new_arm_leaves_the_others_alone(demo):
    other = copy.deepcopy(demo)
    other["arms"].append("labels_only")
    for stage, wildcards in stale(demo, other):
        if stage in ("order", "train_continual", "score"):
            assert "labels_only" in str(wildcards)
        assert stage not in ("token_store", "tokenizer", "train_base")


def test_a_setting_of_the_drawing_redraws_only(demo):
    other = copy.deepcopy(demo)
    other["transfer"]["ema"] = 0.5
    assert stale(demo, other) == {artifact("figure", figure="figure3"), artifact("page")}


@pytest.mark.parametrize("change", [{"subset": "reference"}, {"rule": "sum"}])
def test_accuracies_know_every_subset_and_rule(demo, change):
    other = copy.deepcopy(demo)
    other["probing"] |= change
    found = stale(demo, other)
    assert artifact("figure", figure="figure3") in found and artifact("table", table="accuracy") in found
    assert "accuracies" not in stages(found)


def test_a_stage_version_makes_its_descendants_stale(demo, monkeypatch):
    before = recipes(demo)
    declared = studies.stages()["judge"]
    monkeypatch.setitem(bridge.STAGES, "judge", dataclasses.replace(declared, version=99))
    after = recipes(demo)
    assert stages({a for a in after if after[a] != before[a]}) == {
        "judge",
        "density",
        "recovery",
        "items",
        "item_effects",
        "figure",
        "table",
        "page",
    }


def test_a_fifth_language_is_a_configuration_edit(demo):
    other = copy.deepcopy(demo)
    other["languages"]["mn"] = {"name": "Mongolian", "script": "Mongolian", "resource": "low"}
    planted = {"sources": [{"kind": "planted", "name": "planted"}]}
    other["corpora"]["mn"] = other["parallel"]["mn"] = planted
    other["questions"]["mn"] = {"files": {"en": {"kind": "planted"}, "mn": {"kind": "planted"}}}
    plan = studies.plan(config.check(other))
    assert set(plan.study.models) - set(studies.plan(demo).study.models) == {
        f"mn-{arm}-s{seed}" for arm in demo["arms"] for seed in demo["seeds"]
    }
    assert artifact("judge", corpus="mn", culture="mn") in set(plan.walk())


PEOPLE = {
    "source": {"kind": "wikidata", "nations": ["Q408"], "without": ["ko"]},
    "number": 20,
    "questions": 60,
    "seed": 0,
}


def asked_about_people(demo, **more):
    return config.check(demo | {"people": {**copy.deepcopy(PEOPLE), **more}})


def test_questions_on_people_change_no_other_artifact(demo):
    found = stale(demo, asked_about_people(demo))
    assert stages(found) - {"table", "page"} == {
        "people_response",
        "people",
        "people_mentions",
        "people_questions",
        "people_score",
        "people_gaps",
    }
    assert {dict(w)["table"] for stage, w in found if stage == "table"} == {"people", "people_isolation"}


def test_planted_people_are_a_part_of_the_world(demo):
    planted = asked_about_people(demo, source={"kind": "planted"})
    plan = studies.plan(planted)
    assert plan.outputs("world")["people_file"].endswith("world/people.json")
    assert plan.reads("people_response") == {"world": [plan.outputs("world")["people_file"]]}
    assert "people" in plan.task("world").literals
    assert "world" in stages(stale(demo, planted))


def test_how_the_query_service_is_reached_is_no_part_of_a_recipe(demo):
    before = asked_about_people(demo)
    source = PEOPLE["source"] | {"endpoint": "http://localhost:1/sparql", "contact": "me@example.org"}
    assert stale(before, asked_about_people(demo, source=source)) == set()


@pytest.mark.parametrize(
    ("change", "first"),
    [({"number": 30}, "people_response"), ({"seed": 1}, "people"), ({"questions": 61}, "people_questions")],
)
def test_a_change_of_the_questions_on_people_stays_there(demo, change, first):
    found = stale(asked_about_people(demo), asked_about_people(demo, **change))
    order = ["people_response", "people", "people_mentions", "people_questions", "people_score", "people_gaps"]
    expected = order[order.index(first) :]
    assert stages(found) - {"table", "page"} == set(expected)


def test_a_wording_asks_again_in_its_language_alone(demo):
    templates = {"bo": {name: "{name} = ____" for name in config.people_properties()}}
    found = stale(asked_about_people(demo), asked_about_people(demo, templates=templates))
    assert {dict(w)["lang"] for stage, w in found if stage == "people_questions"} == {"bo"}
    assert {dict(w)["run"].split("-")[0] for stage, w in found if stage == "people_score"} == {"bo"}


def test_a_recorded_response_is_known_by_what_it_holds(demo, tmp_path):
    recorded = tmp_path / "response.json"
    settings = {"source": {"kind": "local", "path": str(recorded)}}
    with pytest.raises(ConfigError, match=r"people\.source.*response\.json"):
        recipes(asked_about_people(demo, **settings))
    recorded.write_text("{}")
    before = recipes(asked_about_people(demo, **settings))
    recorded.write_text("{ }")
    after = recipes(asked_about_people(demo, **settings))
    assert before[artifact("people_response")] != after[artifact("people_response")]


def test_a_missing_source_is_an_error_of_the_dry_run(demo):
    demo["corpora"]["ko"]["sources"] = [{"kind": "local", "name": "mine", "path": "nowhere.jsonl"}]
    with pytest.raises(ConfigError, match=r"corpora\.ko.*nowhere\.jsonl"):
        recipes(demo)


def test_what_a_local_file_holds_enters_the_recipe(demo, tmp_path):
    source = tmp_path / "ko.jsonl"
    demo["corpora"]["ko"]["sources"] = [{"kind": "local", "name": "mine", "path": str(source)}]
    source.write_text('{"id": "1", "text": "a"}\n')
    before = recipes(demo)
    source.write_text('{"id": "1", "text": "b"}\n')
    after = recipes(demo)
    name = artifact("filter_corpus", lang="ko", shard="00000-of-00001")
    assert before[name] != after[name]


def test_a_job_knows_every_source_by_what_the_plan_has_read(demo, root, tmp_path):
    """Files that a stage makes itself are known by their record, others by the sha256 that the recipe has."""
    source = tmp_path / "ko.jsonl"
    source.write_text('{"id": "1", "text": "a"}\n')
    demo["corpora"]["ko"]["sources"].append({"kind": "local", "name": "mine", "path": str(source)})
    roots = config.load(root / "config" / "roots-demo.yaml")
    for plan in (studies.plan(config.check(demo)), studies.plan(roots)):
        made = {path for name in plan.walk() for path in due.paths(plan, name)}
        known = {}
        for name in plan.walk():
            sources = plan.task(name[0], **dict(name[1])).call.get("sources", {})
            assert sources.keys() == set(plan.sources(name[0], **dict(name[1])))
            known |= sources
        assert {path for path, digest in known.items() if digest is None} == known.keys() & made
        assert {path for path in made if "/world/corpora/" in path} <= known.keys()
        assert {path for path in made if "/world/facts/" in path} <= known.keys()
        assert {path for path in made if "/world/questions/" in path} <= known.keys()
    plan = studies.plan(config.check(demo))
    task = plan.task("signatures", lang="ko", shard="00000-of-00001")
    assert task.call["sources"][str(source)] == file_digest(source)


def called(plan, name):
    """The function that a job calls, and the names of the arguments that it is given."""
    call = plan.task(name[0], **dict(name[1])).call
    module, _, function = call["function"].partition(":")
    literals = set(plan.literals(name[0], **dict(name[1]))) - set(call["withheld"])
    further = {call["threads"], call["records"], "work" if call["resumes"] else ""} - {""}
    given = literals | set(call["inputs"]) | set(call["given"]) | further
    return getattr(importlib.import_module(module), function), given | {
        said["argument"] for said in call["outputs"].values()
    }


# What a shell rule says beside the task, as options.
OPTIONS = {
    "train_base": {"init_from", "out", "work", "recipe", "micro_batch", "budget_seconds", "resume_interval", "threads"},
    "score": {"batch_tokens", "threads", "work", "device"},
    "random_models": {"batch_tokens", "threads", "device"},
    "retrieve": {"threads"},
    "index": {"threads"},
    "translate": {"threads"},
}
OPTIONS |= {"train_continual": OPTIONS["train_base"], "people_score": OPTIONS["score"]}


def test_functions_take_what_their_stages_give(paper, demo):
    """Every argument that a function needs is given, and nothing that it does not know."""
    planted = asked_about_people(demo, source={"kind": "planted"})
    for plan in (paper, studies.plan(config.check(with_variants(demo))), studies.plan(planted)):
        for name in plan.walk():
            if name[0] == "bundle":
                continue
            function, given = called(plan, name)
            parameters = inspect.signature(function).parameters
            if name[0] in (
                "train_base",
                "train_continual",
            ):  # the command says the starting point and the folder in its own words
                given -= {"start", "checkpoints", "metrics"}
            needed = {key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}
            needed -= {key for key, p in parameters.items() if p.kind is inspect.Parameter.VAR_KEYWORD}
            taken = (
                set(parameters)
                if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
                else set(parameters) | given
            )
            assert needed <= given | OPTIONS.get(name[0], set()), (name, needed - given)
            assert given <= taken, (name, given - taken)


def test_wildcards_of_every_path_are_constrained():
    """Else Snakemake would let one take in a slash."""
    for stage in studies.stages().values():
        fanned = {"step", "base", "study"}
        found = set(re.findall(r"{(\w+)}", " ".join([stage.record, *(file.path for file in stage.files.values())])))
        assert found - fanned <= set(WILDCARDS) | set(stage.wildcards), stage.name


def test_a_stage_has_wildcards_of_its_own():
    def of(path, **said):
        return Stage("toy", "", "", files={"a": File(path)}, record=f"{path}.json", wildcards=said)

    assert constraints([of("toy/{lang}/{fold}")]) == WILDCARDS | {"fold": "[^/]+"}
    said = of("toy/{lang}/{fold}", fold="[0-9]+")
    assert constraints([said, of("toy/{fold}")])["fold"] == "[0-9]+"
    assert re.fullmatch(expression(said, "toy/{fold}-{fold}"), "toy/12-12")
    assert not re.fullmatch(expression(said, "toy/{fold}-{fold}"), "toy/12-13")
    with pytest.raises(ConfigError, match="the stage toy, wildcard fold"):
        constraints([said, of("toy/{fold}", fold="[a-z]+")])
    with pytest.raises(ConfigError, match="wildcard lang"):
        constraints([of("toy/{lang}", lang="[A-Z]+")])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("models/continual/no-such-run/metrics.parquet", "has no run 'no-such-run'. It has base-s0, base-s1, "),
        ("probes/scores/ko-brigde-s0.parquet", "has no run 'ko-brigde-s0'. Did you mean 'ko-bridge-s0'? It has "),
        ("models/continual/ko-bridge-s7/step0", "has no run 'ko-bridge-s7'. Did you mean "),
        (
            "models/base/ko-bridge-s0/metrics.parquet",
            "has no train_base of run ko-bridge-s0. It has run base-s0; run base-s1.",
        ),
        ("corpora/mn/audit.json", "has no language 'mn'. It has "),
        ("trace/chunks/mn.parquet", "has no corpus 'mn'. It has "),
        ("trace/judgments/ko/bo.parquet", "has no judge of corpus ko, culture bo. It has "),
        (
            "corpora/ko/documents-00007-of-00041.parquet",
            "has no shard '00007-of-00041'. Did you mean '00000-of-00001'? It has ",
        ),
        ("tokens/pairs-ko-zh/tokens.bin", "has no text 'pairs-ko-zh'. Did you mean "),
        ("tables/gap.csv", "has no table 'gap'. Did you mean 'gaps'? It has "),
        ("figures/figure4.svg", "has no figure 'figure4'. Did you mean 'figure3'? It has "),
    ],
)
def test_an_artifact_that_the_study_does_not_have_is_refused(demo, path, said):
    plan = studies.plan(demo)
    word = f"{plan.root}/{path}"
    with pytest.raises(InputError) as error:
        refuse_unknown_paths(plan, [("--until", "score"), ("what Snakemake is asked for", word)])
    assert str(error.value).startswith(f"what Snakemake is asked for, {word}: this study {said}")
    assert "\n" not in str(error.value)


def test_every_planned_path_may_be_asked_for(demo):
    plan = studies.plan(demo)
    for name in plan.walk():
        for paths in plan.outputs(name[0], **dict(name[1])).values():
            refuse_unknown_paths(
                plan, [("--forcerun", path) for path in ([paths] if isinstance(paths, str) else paths)]
            )


def test_every_file_names_its_table_or_what_it_holds():
    for stage in studies.stages().values():
        for name, file in stage.files.items():
            assert file.table or file.says, (stage.name, name)
            assert not file.table or file.table in tables.SCHEMAS, (stage.name, name)


def test_no_class_of_the_plan_grows_past_reading(root):
    sizes = {
        node.name: node.end_lineno - node.lineno + 1
        for path in (root / "src" / "lorebridge" / "plan").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert sizes["Plan"] and max(sizes.values()) <= 200, sizes


@pytest.mark.parametrize("name", ["demo", "roots-demo"])
def test_a_given_model_takes_no_trained_ones_place(root, name):
    """It would be compared as if it had been trained on the study's text."""
    said = config.load(root / "config" / f"{name}.yaml")
    trained = [model.name for model in studies.plan(config.check(copy.deepcopy(said))).study.trained]
    for run in (trained[0], trained[-1]):
        given = copy.deepcopy(said) | {"given": {run: {"path": "a-model"}}}
        with pytest.raises(ConfigError, match=f"key given.{run}: is the name of a model that the study trains"):
            studies.plan(config.check(given))
    plan = studies.plan(config.check(copy.deepcopy(said) | {"given": {"another": {"path": "a-model"}}}))
    assert plan.study.model("another").given and [model.name for model in plan.study.trained] == trained
