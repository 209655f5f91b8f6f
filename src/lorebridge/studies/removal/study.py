"""The rows of a study of removal: models of every level, trained jointly from scratch, tuned on questions and asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora import stages as corpora
from lorebridge.plan.cost import parameter_count
from lorebridge.plan.stage import Arguments, File, Item, Stage, item, many, one
from lorebridge.plan.study import Model, Reading, Study, Text, rows
from lorebridge.probes import stages as probes
from lorebridge.studies.checks import not_a_language
from lorebridge.studies.removal.rows import ALARMS, FIGURES, TABLES
from lorebridge.studies.shared import SHARED
from lorebridge.tokens import stages as tokens
from lorebridge.tokens.levels import NOTHING, STATED, check_room
from lorebridge.train import stages as train
from lorebridge.work import read_json
from lorebridge.world.stages import PAGES

HERE = "lorebridge.studies.removal"
AGAIN = "again"
"""What models are called that read what those of level ``f0`` read, in another order and from other weights."""
AGAIN_SEED = 10_000
"""How far their seeds lie from those of the models that they are compared with."""
TRUTH = "truth"


def text_name(lang: str) -> str:
    """Return the name of the text of a language."""
    return f"mono-{lang}"


def _found(*names: str) -> Arguments:
    """Return tables that a stage of the same name makes."""
    return {name: one(item(name, name)) for name in names}


def tasks(study: Study) -> list[str]:
    """Return the tasks that questions are asked as."""
    return list(study.config["qa"]["tasks"])


def _asked(study: Study) -> list[Model]:
    """Return the models that are asked: those that are tuned, at step 0 as they were before."""
    return study.of_phase("sft")


def _answers(study: Study, file: str) -> list[Item]:
    return [item("qa_answers", file, run=model.name) for model in _asked(study)]


def _seed(study: Study, model: Model) -> int:
    """Return the seed by which a model is compared with those of other levels."""
    seed = int(model.seed or 0)
    return seed - AGAIN_SEED if _level(study, model) == AGAIN else seed


def _level(study: Study, model: Model) -> str:
    origin = study.origin(model)
    return AGAIN if origin.arm == AGAIN else str((origin.mixture or {})["level"])


def compared(study: Study) -> list[dict[str, Any]]:
    """Return what each model is that is compared: before it was tuned, and after the last epoch.

    A model is asked each task once untuned, as step 0 of the model that is tuned on it.
    """
    found = []
    for model in _asked(study):
        said = {"run": model.name, "level": _level(study, model), "seed": _seed(study, model), "size": None}
        found.append({**said, "tuned": None, "step": 0})
        found.append({**said, "tuned": model.arm, "step": model.steps})
    return found


def _compares(study: Study) -> dict[str, Any]:
    return {"models": compared(study), "base": study.base}


def _scores(study: Study) -> Arguments:
    return {"scores": many(_answers(study, "qa_scores")), **_found("qa")}


def _inference(study: Study, *names: str) -> dict[str, Any]:
    return {name: study.config["inference"][name] for name in names}


STAGES = SHARED | {
    stage.name: stage
    for stage in (
        *corpora.QA_STAGES,
        *corpora.QA_TUNING_STAGES,
        *tokens.REMOVAL_STAGES,
        *probes.QA_STAGES,
        *probes.QA_MADE_STAGES,
        Stage(
            "page_subjects",
            "Say what is looked for in texts on behalf of the test's questions in a language.",
            f"{HERE}.subjects:page_subjects",
            files={"subjects": File("removal/subjects/{lang}.parquet", table="subjects", argument="out")},
            record="removal/subjects/{lang}.parquet.record.json",
            literals=lambda study, w: {"lang": w["lang"], "script": study.script(w["lang"])},
            inputs=lambda study, w: _found("qa", "pages"),
        ),
        train.stage("joint", "Train a model from scratch on text in all languages."),
        train.stage("sft", "Tune a model on prompts and answers."),
        Stage(
            "qa_power",
            "Say what questions on pages can show, before any model is trained.",
            "lorebridge.transfer.qa_power:qa_power",
            files={"qa_power": File("qa/power.parquet", table="qa_power", argument="out")},
            record="qa/power.parquet.record.json",
            literals=lambda study, w: {
                "tasks": tasks(study),
                "base": study.base,
                "seeds": len(study.config["seeds"]),
                **_inference(study, "discordance", "seed_sd", "alpha"),
            },
            inputs=lambda study, w: _found("qa"),
        ),
        Stage(
            "equivalence",
            "Test of every level whether it differs from removing nothing, and whether it does not.",
            "lorebridge.transfer.removal:equivalences",
            files={"equivalence": File("removal/equivalence.parquet", table="equivalence", argument="out")},
            record="removal/equivalence.parquet.record.json",
            literals=lambda study, w: {**_compares(study), **_inference(study, "margin", "alpha")},
            inputs=lambda study, w: {**_scores(study), "overlap": one(item("qa_overlap", "qa_overlap"))},
        ),
        Stage(
            "qa_accuracy",
            "Reckon how right the models of each level are, with intervals.",
            "lorebridge.transfer.removal:accuracies",
            files={"qa_accuracy": File("removal/accuracy.parquet", table="qa_accuracy", argument="out")},
            record="removal/accuracy.parquet.record.json",
            literals=lambda study, w: {**_compares(study), **_inference(study, "resamples", "seed")},
            inputs=lambda study, w: {**_scores(study), "overlap": one(item("qa_overlap", "qa_overlap"))},
        ),
        Stage(
            "qa_correlation",
            "Say how answers in the two languages go together.",
            "lorebridge.transfer.removal:correlations",
            files={"qa_correlation": File("removal/correlation.parquet", table="qa_correlation", argument="out")},
            record="removal/correlation.parquet.record.json",
            literals=lambda study, w: {
                **_compares(study),
                "target": study.config["removal"]["target"],
                **_inference(study, "resamples", "seed"),
            },
            inputs=lambda study, w: _scores(study),
        ),
        ALARMS,
    )
}


def problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with a configuration."""
    base, target, languages = config["base_language"], config["removal"]["target"], config["languages"]
    removal, training, world = config["removal"], config["training"], config["world"] or {}
    for key, lang in (("base_language", base), ("removal.target", target)):
        if lang not in languages:
            yield key, f"{lang!r} is not among the languages", f"Choose one of {', '.join(languages)}."
    if base == target:
        yield "removal.target", "is the base language, from which nothing is removed", "Name another."
    if NOTHING not in removal["levels"]:
        yield "removal.levels", f"has no {NOTHING}, which all others are compared with", f"Add {NOTHING}."
    if len(removal["levels"]) == 1 and not removal["again"]:
        yield "removal.levels", "is one level, which there is nothing to compare with", "Name more, or set again."
    if removal["again"] and max(config["seeds"]) >= AGAIN_SEED:
        what = f"{max(config['seeds'])}: with removal.again seeds are less than {AGAIN_SEED:,}"
        yield "seeds", what, "Take a smaller one."
    planted = world.get("kind") == PAGES
    if (removal["stated_by"] == TRUTH) and not planted:
        yield "removal.stated_by", "is the truth, and no world of pages is planted", "Set it to mentions."
    if not planted and any(said["kind"] == "planted" for said in config["qa"]["files"]):
        yield "qa.files", "asks for the questions of a planted world", f"Give `world` of the kind {PAGES}."
    for number, said in enumerate(config["qa"]["files"]):
        if said["kind"] == "local" and said["shape"] == "squad" and said["lang"] is None:
            yield f"qa.files.{number}.lang", "is not said, and such a file holds one language", "Say which."
        if said.get("lang") is not None and said["lang"] not in languages:
            yield not_a_language(f"qa.files.{number}.lang", said["lang"], list(languages))
    made = [said["name"] for said in config["qa"]["files"] if said["kind"] == "made"]
    if len(set(made)) < len(made):
        yield "qa.files", f"has two that are called {max(made, key=made.count)}", "Call one otherwise."
    used: dict[str, str] = {}
    for name, said in config["tuning"]["sets"].items():
        if said["task"] not in config["qa"]["tasks"]:
            what = f"is {said['task']}, which is not among qa.tasks"
            yield f"tuning.sets.{name}.task", what, f"Choose of {', '.join(config['qa']['tasks'])}, or add it there."
        if used.setdefault(said["task"], name) != name:
            what = f"is that of {used[said['task']]}, too, and a model is asked a task untuned once"
            yield f"tuning.sets.{name}.task", what, "Leave out either."
    for task in config["qa"]["tasks"]:
        if task not in used:
            mend = "Give tuning.sets one of it, or leave it out."
            yield "qa.tasks", f"has {task}, which no model is tuned on", mend
    shares = training["shares"]
    for lang in shares or {}:
        if lang not in languages:
            yield not_a_language("training.shares", lang, list(languages))
    if shares and (lost := [lang for lang in languages if lang not in shares]):
        yield "training.shares", f"has none for {lost[0]!r}", "Give each language its share."
    if shares and training["temperature"] is not None:
        yield "training.temperature", "does nothing beside training.shares", "Give one of them."
    if config["model"].get("kind") == "bert":
        yield "model.kind", "is a masked model, which writes no answer", "Give llama or qwen2."
    examples = training["sft"]["examples"]
    if examples % len(languages):
        what = f"is {examples}, which the {len(languages)} languages cannot share alike"
        yield "training.sft.examples", what, f"Give a multiple of {len(languages)}."
    if not config["inference"]["margin"]:
        yield "inference.margin", "names no metric, and nothing would be tested", "Name one, such as em_folded."
    if expected := removal["expected"]:
        total, gone = expected["tokens"], expected["removed"]
        if 2 * gone > total:
            yield (
                "removal.expected",
                f"says that {gone:,.0f} of {total:,.0f} tokens of {target} go ({100 * gone / total:.1f} %), and at "
                "most half can: as many are kept as the reserve that replaces them",
                "Lower neighbours.top, ask of fewer pages, or give more text.",
            )


def study(config: Mapping[str, Any], digest: Callable[[str], str]) -> Study:
    """Return the study that a configuration describes.

    Raises:
        ConfigError: neighbours that have been found remove more than can be replaced.
    """
    languages, removal = config["languages"], config["removal"]
    found = Study(
        config=config,
        digest=digest,
        stages=dict(STAGES),
        account=f"{HERE}.page:account",
        base=config["base_language"],
        langs=[lang for lang in languages if lang != config["base_language"]],
        letters={
            lang: {"keep": languages[lang]["script"]} if corpus["filter"] == "letters" else {}
            for lang, corpus in config["corpora"].items()
        },
        named_by="page_subjects",
        reading={"window": removal["window"], "max_chars": removal["chunk_chars"]},
        settings={
            "names": {lang: language["name"] for lang, language in languages.items()},
            "base": config["base_language"],
            "target": config["removal"]["target"],
            "arms": [],
        },
        local=[said for said in config["qa"]["files"] if "path" in said],
    )
    mentioned = (PAGES,) if removal["stated_by"] != TRUTH else ()
    found.texts |= {
        text_name(lang): Text(
            text_name(lang),
            lang,
            "text",
            tuple(corpora.shard_files(found, lang, "documents")),
            (corpora.sound(lang),),
            mentioned,
        )
        for lang in languages
    }
    joint = list(_joint(found))
    found.add(joint)
    sets = {
        name: [(lang, item("qa_rows", "tuning", task=said["task"], lang=lang)) for lang in languages]
        for name, said in config["tuning"]["sets"].items()
    }
    texts, tuned = train.tuned_models(config, "sft", joint, sets, own_seed=True)
    found.texts |= {text.name: text for text in texts}
    found.add(tuned)
    found.readings = list(_readings(found))
    found.figures |= rows(drawing for drawing in FIGURES if drawing.when is None or drawing.when(found))
    found.tables |= rows(drawing for drawing in TABLES if drawing.when is None or drawing.when(found))
    _refuse_known(found)
    return found


def _joint(study: Study) -> Iterator[Model]:
    """Yield a model of all languages for each level and seed."""
    training, texts = study.config["training"], [study.text(text_name(lang)) for lang in study.languages]
    phase, shares = training["joint"], training["shares"]
    levels = [(level, level, 0) for level in study.config["removal"]["levels"]]
    if study.config["removal"]["again"]:
        levels.append((AGAIN, NOTHING, AGAIN_SEED))
    for name, level, more in levels:
        for seed in study.config["seeds"]:
            yield Model(
                f"joint-{name}-s{seed}",
                "joint",
                texts=tuple(text.name for text in texts),
                arm=name,
                seed=seed + more,
                steps=phase["steps"],
                checkpoints=tuple(configuration.checkpoint_steps(phase)),
                tokens=phase["steps"] * phase["batch_tokens"],
                mixture={
                    "shares": None if shares is None else {text.name: shares[text.lang] for text in texts},
                    "temperature": training["temperature"],
                    "level": level,
                },
            )


def _readings(study: Study) -> Iterator[Reading]:
    """Yield what it costs to ask the models, where the configuration says how many questions there are."""
    answering, c = study.config["answering"], study.config
    if answering["questions"] is None:
        return
    vocabulary = c["model"]["vocab_size"] or c["tokenizer"].get("vocab_size", 0)
    _, parameters = parameter_count(c["model"], vocabulary)
    for model in _asked(study):
        tokens = (
            answering["questions"] * (answering["prompt_tokens"] + answering["max_tokens"]) * len(model.checkpoints)
        )
        yield Reading(
            model.name, float(tokens), float(parameters), 200.0 * answering["questions"] * len(model.checkpoints)
        )


def _refuse_known(study: Study) -> None:
    """Refuse at a dry run what neighbours that lie there say has no room for its reserve."""
    record = read_json(Path(study.root) / STAGES["neighbours"].record) or {}
    said = record.get("literals") or {}
    if said != dict(tokens.neighbours_literals(study)):
        return
    target = study.config["removal"]["target"]
    sizes = ((record.get("notes") or {}).get("sizes") or {}).get(target)
    if sizes is None:
        return
    wanted = {level: sizes[level] for level in study.config["removal"]["levels"] if level not in (NOTHING, STATED)}
    check_room("key removal", target, wanted, sizes["available"], sizes["total"])
