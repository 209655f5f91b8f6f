"""The whole workflow on a tiny planted world: what it makes, and what it makes again after a change."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorebridge import cli, declared, studies, tables
from lorebridge.plan import artifact
from lorebridge.records import read_record
from lorebridge.studies import record_of

pytestmark = pytest.mark.slow


def test_every_artifact_is_there_with_its_record(finished):
    plan = studies.plan(finished.config)
    for stage, wildcards in plan.walk():
        for value in plan.outputs(stage, **dict(wildcards)).values():
            for path in [value] if isinstance(value, str) else value:
                assert (finished.folder / path).exists(), path


def test_what_runs_need_to_resume_is_freed_when_they_are_published(finished):
    runs = list(studies.plan(finished.config).study.models)
    assert runs
    left = [path for run in runs for path in (finished.folder / "work" / "tiny" / run).glob("*")]
    assert not left


def test_explain_finds_the_record_of_every_file(finished):
    plan = studies.plan(finished.config)
    for stage, wildcards in plan.walk():
        record = finished.folder / plan.record(stage, wildcards)
        for value in plan.outputs(stage, **dict(wildcards)).values():
            for path in [value] if isinstance(value, str) else value:
                if path != plan.record(stage, wildcards):
                    assert record_of(finished.folder / path) == record, path


def test_tables_hold_the_contract(finished):
    for path, name in {
        "corpora/ko/documents-00000-of-00001": "documents",
        "parallel/bo": "pairs",
        "order/ko-bridge-s0": "order",
        "models/continual/ko-bridge-s0/metrics": "metrics",
        "probes/questions/bo": "questions",
        "probes/scores/bo-no_bridge-s0": "scores",
        "probes/perplexity/ko-bridge-s0": "perplexity",
        "probes/alignment/ko-bridge-s0": "alignment",
        "probes/copying/base-s0": "copying",
        "probes/mechanism/bo": "mechanism",
        "probes/scorer": "scorer",
        "corpora/en/heldout-00000-of-00001": "documents",
        "parallel/ko.heldout": "pairs",
        "trace/subjects/en": "subjects",
        "trace/mentions/mono-ko": "mentions",
        "trace/exposure/bo-bridge-s0": "exposure",
        "trace/occurrences": "occurrences",
        "trace/leaks": "leaks",
        "trace/chunks/en": "chunks",
        "trace/hits/en/ko": "hits",
        "trace/judgments/ko/ko": "judgments",
        "trace/density": "density",
        "trace/recovery": "recovery",
        "transfer/accuracies": "accuracies",
        "transfer/gaps": "gaps",
        "transfer/asymmetry": "asymmetry",
        "transfer/matched_gaps": "matched_gaps",
        "transfer/verdicts": "verdicts",
        "transfer/items": "items",
        "transfer/item_effects": "item_effects",
    }.items():
        table = tables.read(finished.results / f"{path}.parquet")
        assert list(table.columns) == tables.SCHEMAS[name].names, path
        assert len(table), path


def test_checkpoints_are_models_that_transformers_loads(finished):
    folder = finished.results / "models" / "continual" / "bo-bridge-s0" / "step6"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("བོད་", return_tensors="pt").input_ids
    assert model(ids).logits.shape[-1] == model.config.vocab_size


def test_a_checkpoint_is_handed_on_with_what_it_answers(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(finished.folder)
    out = tmp_path / "handed"
    assert cli.main(["publish", "bo-bridge-s0", "--config", "study.yaml", "--out", str(out)]) == 0
    source = finished.results / "models" / "continual" / "bo-bridge-s0" / "step6"
    assert {path.name for path in out.iterdir()} == {p.name for p in source.iterdir() if not p.name.startswith(".")}
    assert (out / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    card = (out / "README.md").read_text(encoding="utf-8")
    accuracies = tables.read(finished.results / "transfer" / "accuracies.parquet").query(
        "model == 'bo-bridge-s0' and step == 6 and subset == 'clean' and rule == 'mean' and prefix == 'bare'"
    )
    assert len(accuracies) == 2
    for row in accuracies.itertuples():
        assert f"| bo | {row.lang} | {row.n_questions} (clean) | mean | bare | {100 * row.accuracy:.1f} %" in card
    assert "| `pairs-bo-xx` | bo |" in card and "bits a byte" in card
    assert (source / "README.md").read_text(encoding="utf-8") != card  # the study's own stays as its record knows it
    assert cli.main(["verify", "--config", "study.yaml"]) == 0
    assert cli.main(["publish", "bo-bridge-s0", "--config", "study.yaml", "--out", str(out), "--step", "5"]) == 1
    assert "Its checkpoints: 0, 2, 4, 6." in capsys.readouterr().err
    inside = str(source.parent / "copy")
    assert cli.main(["publish", "bo-bridge-s0", "--config", "study.yaml", "--out", inside]) == 1
    assert "whose files are made by the study" in capsys.readouterr().err


def test_tracing_recovers_what_was_planted(finished):
    """Where the wording is unchanged, the co-occurrence judge finds every planted statement and no other."""
    recovery = tables.read(finished.results / "trace" / "recovery.parquet")
    judged = recovery[recovery["stage"] == "judged"]
    judged = judged[judged["dose"].isna()]
    exact = recovery[(recovery["stage"] == "exact") & recovery["dose"].isna()]
    assert len(judged) == len(exact) == 4
    assert (exact["recall"] == 1).all(), exact
    assert (judged["true_documents"] > 0).all()
    assert (judged["recall"] == 1).all(), judged
    assert (judged["precision"] == 1).all(), judged


def test_the_declaration_is_in_the_records_of_runs_and_what_changes_is_told(finished, tmp_path):
    plan = studies.plan(finished.config)
    for run in plan.study.models:
        for name in (plan.study.model(run).artifact, artifact("score", run=run)):
            assert read_record(finished.folder / plan.record(*name))["declared"] == plan.study.declared
    page = finished.results / "report" / "summary.html"
    assert "was declared before the runs and is as it was then" in page.read_text(encoding="utf-8")
    assert tables.read(finished.results / "transfer" / "verdicts.parquet")["declared"].tolist() == [declared.BEFORE]
    study = finished.copy(tmp_path / "study")
    study.config["prereg"]["tests"][0]["margin"] = 0.1
    study.write()
    study.run()
    page = study.results / "report" / "summary.html"
    assert "was changed since the runs began" in page.read_text(encoding="utf-8")
    study.config["prereg"] = None
    study.write()
    assert study.planned() == {"page": 1}
    study.run()
    assert "Nothing was declared before the runs" in page.read_text(encoding="utf-8")


def test_a_finished_study_has_nothing_to_do(finished):
    assert finished.planned() == {}


def test_touching_every_file_plans_nothing(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    for path in study.results.rglob("*"):
        path.touch()
    assert study.planned() == {}


def of_runs(**counts):
    """What any change of one language's runs redraws."""
    return {
        "accuracies": 1,
        "gaps": 1,
        "matched_gaps": 1,
        "verdicts": 1,
        "items": 1,
        "item_effects": 1,
        "draw_figure3": 1,
        "draw_declared": 1,
        "draw_gaps": 1,
        "draw_occurrences": 1,
        "draw_losses": 1,
        "draw_learning": 1,
        "draw_asymmetry": 1,
        "draw_dose_response": 1,
        "draw_mechanism": 1,
    } | counts


PAGE = {"page": 1}  # the page of the report tells of everything

CHANGES = {
    "a bridge's template": (
        lambda c: c["languages"]["bo"].update(template="{en} = {xx}"),
        # Every model of the language is asked behind the label that the template has.
        of_runs(order=1, train_continual=1, score=3, mechanism=1, exposure=1, draw_exposure=1, table=19),
    ),
    "a learning rate": (
        lambda c: c["training"]["continual"].update(lr=1e-3),
        of_runs(train_continual=4, score=4, mechanism=2, table=16),
    ),
    "the length of chunks": (
        lambda c: c["tracing"].update(chunk_chars=400),
        {
            "chunks": 3,
            "retrieve": 4,
            "judge": 4,
            "subjects": 3,
            "mentions": 7,
            "exposure": 5,
            "occurrences": 1,
            "leaks": 1,
            "density": 1,
            "recovery": 1,
            "gaps": 1,
            "verdicts": 1,
            "items": 1,
            "item_effects": 1,
            "draw_recovery": 1,
            "draw_declared": 1,
            "draw_gaps": 1,
            "draw_asymmetry": 1,
            "draw_occurrences": 1,
            "draw_exposure": 1,
            "table": 12,
        },
    ),
    "a declaration": (
        lambda c: c["prereg"]["tests"][0].update(margin=0.1),
        {"verdicts": 1, "draw_declared": 1, "table": 1},
    ),
    "a moving average": (lambda c: c["transfer"].update(ema=0.5), {"draw_figure3": 1}),
    "a new seed": (
        lambda c: c["seeds"].append(1),
        of_runs(
            order=5,
            train_base=1,
            train_continual=4,
            score=5,
            copying=1,
            mechanism=2,
            exposure=5,
            draw_exposure=1,
            table=20,
        ),
    ),
}


@pytest.mark.parametrize("memory", ["with Snakemake's memory", "without it"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_plans_exactly_its_descendants_in_one_invocation(finished, tmp_path, change, memory):
    """Also where .snakemake is lost and every file was touched: the records alone say what is stale."""
    study = finished.copy(tmp_path / "study")
    if memory == "without it":
        shutil.rmtree(study.folder / ".snakemake")
        for path in study.results.rglob("*"):
            path.touch()
    edit, expected = CHANGES[change]
    edit(study.config)
    study.write()
    assert study.planned() == expected | PAGE


def test_variants_are_added_to_a_finished_study(finished, tmp_path):
    """Their orders are drawn and what they read is counted; nothing of the other arms is made again."""
    study = finished.copy(tmp_path / "study")
    added = ["untagged", "bridge_leak_free", "bridge_english_matched", "bridge_replay"]
    study.config["arms"] += added
    study.config["training"] |= {"english_share": 0.01, "replay_share": 0.25}
    study.write()
    wanted = [f"results/tiny/trace/exposure/ko-{arm}-s0.parquet" for arm in added]
    assert study.planned(*wanted) == {"order": 4, "exposure": 4}
    study.run(*wanted)
    assert study.planned(*wanted) == {}
    read = {
        arm: tables.read(path).groupby(["stage", "stream"])["n_tokens"].max()["ct"]
        for arm, path in zip(added, map(study.folder.joinpath, wanted), strict=True)
    }
    assert set(read["bridge_replay"].index) - set(read["untagged"].index) == {"mono-en"}
    assert 0 < read["bridge_replay"]["mono-en"] < read["bridge_replay"]["mono-ko"] < read["untagged"]["mono-ko"]
    assert read["bridge_leak_free"].equals(read["untagged"])  # this world's pairs state nothing
    assert read["bridge_english_matched"]["pairs-ko-en"] <= 0.01 * 6 * 1024
    done = subprocess.run(
        ["lorebridge", "show-batch", "ko-bridge_replay-s0", "--step", "0", "--config", "study.yaml"],
        env=study.environment(),
        cwd=study.folder,
        capture_output=True,
        text=True,
    )
    assert "mono-en" in done.stdout, done.stderr


def test_after_a_change_one_invocation_converges(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    edit, expected = CHANGES["the length of chunks"]
    edit(study.config)
    study.write()
    before = {p: p.stat().st_mtime_ns for p in (study.results / "models").rglob("*")}
    assert study.planned() == expected | PAGE
    study.run()
    assert study.planned() == {}
    assert {p: p.stat().st_mtime_ns for p in (study.results / "models").rglob("*")} == before


def test_remaking_an_input_to_the_same_recipe_does_not_propagate(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    assert study.planned("--forcerun", "tokenizer") == {"tokenizer": 1}


def test_a_missing_checkpoint_is_seen(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    shutil.rmtree(study.results / "models" / "continual" / "ko-bridge-s0" / "step4")
    assert study.planned("models").get("train_continual") == 1


def test_a_stale_input_is_refused_by_the_command_itself(finished, tmp_path):
    """Even if Snakemake is told to leave out the rules that would mend it."""
    study = finished.copy(tmp_path / "study")
    study.config["tracing"]["chunk_chars"] = 400
    study.write()
    output = study.snakemake("--cores", "1", "--allowed-rules", "density", "table", "all", check=False)
    assert "expects recipe" in output
    assert "--forcerun" in output


def test_a_killed_snakemake_goes_on_in_one_invocation(finished, tmp_path):
    """SIGKILL of Snakemake and its jobs in the middle; the next invocation finishes everything, to the same bytes."""
    study = type(finished)(tmp_path / "study", finished.config)
    with subprocess.Popen(
        study.command("--cores", "2"),
        env=study.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        first = study.results / "models" / "base" / "base-s0" / "record.json"
        deadline = time.monotonic() + 600
        while not first.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        assert first.exists()
        os.killpg(process.pid, signal.SIGKILL)
    study.snakemake("--unlock")
    study.run()
    assert study.planned() == {}
    for name in (
        "probes/scores/ko-bridge-s0.parquet",
        "transfer/gaps.parquet",
        "tables/accuracy.csv",
        "figures/figure3.svg",
        "models/continual/bo-no_bridge-s0/step6/model.safetensors",
    ):
        assert (study.results / name).read_bytes() == (finished.results / name).read_bytes(), name


def test_the_commands_that_people_ask_answer(finished):
    def lorebridge(*arguments):
        done = subprocess.run(
            ["lorebridge", *arguments], env=finished.environment(), cwd=finished.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    config = ("--config", "study.yaml")
    assert "English: " in lorebridge("show-batch", "ko-bridge-s0", "--step", "0", *config)
    explained = lorebridge("explain", "results/tiny/models/continual/ko-bridge-s0/step4")
    assert "rule     train" in explained
    assert "torch" in explained
    printed = lorebridge("power", *config, "--seeds", "3", "--seed-sd", "0.04")
    assert "detectable" in printed and "3 seeds, whose gaps spread by 4 points" in printed
    assert "ko-bridge-s0" in lorebridge("plan", *config)
    checked = lorebridge("verify", "ko-bridge-s0", *config)
    assert "step4" in checked
    assert "FAILED" not in checked
