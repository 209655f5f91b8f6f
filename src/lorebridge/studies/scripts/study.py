"""The rows of a study of scripts: models that are asked, judged answers, and what they say of script and family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora.openqa import files_read
from lorebridge.corpora.stages import TRANSLITERATION, tuning_table
from lorebridge.plan.stage import Arguments, Drawing, File, Item, Stage, Wildcards, by, item, many, one
from lorebridge.plan.study import Reading, Study, rows
from lorebridge.probes.wording import ENDPOINT, OFF, PLAIN, PROMPTS, TARGET, VLLM, contradictions
from lorebridge.records import fingerprint
from lorebridge.studies.checks import default, not_a_language
from lorebridge.studies.shared import SHARED
from lorebridge.train import stages as train
from lorebridge.transfer.stages import csv_columns, csv_identity, csv_path

HERE = "lorebridge.studies.scripts"


def _judged_paths(study: Study) -> list[str]:
    return [str(configuration.local_path(study.config, path)) for path in study.config["judged"]["files"]]


def _judged_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    # A file without a column `dataset` is called by its name.
    obtain = study.config["judged"]["obtain"]
    return {"sha256": [[Path(path).stem, study.known(path, "judged.files", obtain)] for path in _judged_paths(study)]}


def _set(study: Study, w: Wildcards) -> Mapping[str, Any]:
    return study.config["sets"][w["dataset"]]


def _set_path(study: Study, w: Wildcards) -> str:
    return str(configuration.local_path(study.config, _set(study, w)["path"]))


def _set_langs(study: Study, w: Wildcards) -> list[str]:
    return list(_set(study, w)["langs"] or study.languages)


def _set_files(study: Study, w: Wildcards) -> list[str]:
    said = _set(study, w)
    return files_read(said["shape"], _set_path(study, w), _set_langs(study, w), said["translation"])


def _set_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    """Return what tells the files of a set from others.

    Raises:
        ConfigError: there are none, and nothing says how to get them.
    """
    files, folder = _set_files(study, w), Path(_set_path(study, w))
    if files:
        named = {Path(file).relative_to(folder).as_posix() or folder.name: study.digest(file) for file in files}
        return {"sha256": fingerprint(named)}
    if _set(study, w)["obtain"]:
        return {"sha256": "absent"}
    what = f"there is nothing of the shape {_set(study, w)['shape']} at {folder}"
    raise configuration.ConfigError(f"key sets.{w['dataset']}", what, "Mend the path, or `data`.")


MANNER = (
    "form",
    "prompt",
    "max_tokens",
    "stop",
    "samples",
    "temperature",
    "seed",
    "thinking",
    "thinking_tokens",
    "marks",
)
"""What of `answering` is part of an answer."""
REACHED = ("base_url", "key_env", "concurrency", "timeout")
"""How an endpoint is reached: no part of a recipe."""
TRUSTED = {"model": None, "em strict": "em strict", "em folded": "em folded"}
"""`grading.judge` -> what the table calls it; a model by its own name."""


def _questions(study: Study) -> list[Item]:
    return [item("open_questions", "open_questions", dataset=name) for name in study.config["sets"]]


def asked(study: Study) -> list[str]:
    """Return the models that are asked: those that are given, and those behind endpoints."""
    return [] if study.config["answering"] is None else [*study.config["given"], *study.config["served"]]


def _answers(study: Study) -> list[Item]:
    return [item("answers", "answers", run=name) for name in asked(study)]


def asks_tuned(study: Study) -> bool:
    """Say whether models that are tuned are asked, too, at each of their checkpoints."""
    return study.config["tuning"] is not None and study.config["answering"] is not None


def _tuned(study: Study) -> list[dict[str, Any]]:
    """Return the models that are tuned, each by the name that its answers after the last epoch go by."""
    return [
        {
            "start": model.start,
            "arm": model.arm,
            "seed": model.seed,
            "run": f"{model.name} step {model.steps}" if asks_tuned(study) else model.name,
        }
        for model in study.of_phase("sft")
    ]


def _answers_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    answering, served = study.config["answering"], study.config["served"].get(w["run"])
    who = (
        {"engine": answering["engine"]}
        if served is None
        else {"engine": ENDPOINT, **{key: served[key] for key in ("model", "extra", "answers_as")}}
    )
    # What is tuned is asked in the tokens of its rows, which are cut apart from the words around them.
    tuned = w["run"] in study.models and study.model(w["run"]).tuning is not None
    return {
        "run": w["run"],
        **who,
        "manner": {key: answering[key] for key in MANNER}
        | ({"apart": True} if tuned and answering["form"] == PLAIN else {}),
        "names": {lang: language["name"] for lang, language in study.languages.items()},
    }


def _answers_settings(study: Study, w: Wildcards) -> dict[str, Any]:
    served = study.config["served"].get(w["run"])
    if served is not None:
        return {key: served[key] for key in REACHED} | {"section": f"served.{w['run']}"}
    answering = study.config["answering"]
    return {key: answering[key] for key in ("gpus", "max_model_len")} if answering["engine"] == VLLM else {}


def _answers_inputs(study: Study, w: Wildcards) -> Arguments:
    given = study.models.get(w["run"])
    models = {} if given is None else {"checkpoints": by("step", [train.checkpoints(given)], first=True)}
    hints = {} if study.config["hints"] is None else {"hints": one(item("hints", "hints"))}
    return {"questions": many(_questions(study)), **models, **hints}


def _reader(section: str) -> Callable[[Study, Wildcards], dict[str, Any]]:
    """Return what says which language model a section names."""

    def named(study: Study, w: Wildcards) -> dict[str, Any]:
        model = study.config[section]["model"]
        return {} if model is None else {key: model.get(key) for key in ("kind", "model", "revision")}

    return named


def _reached(section: str) -> Callable[[Study, Wildcards], dict[str, Any]]:
    """Return what says how a section's language model is reached."""

    def said(study: Study, w: Wildcards) -> dict[str, Any]:
        model = study.config[section]["model"] or {}
        keys = ("base_url", "key_env", "concurrency", "gpus", "max_model_len")
        return {key: model[key] for key in keys if key in model} | {"section": f"{section}.model"}

    return said


def _hint_file(study: Study, key: str) -> str | None:
    """Return the path of a file of hints, if there is one."""
    said = study.config["hints"][key]
    path = said["path"] if isinstance(said, Mapping) else said
    return None if path is None else str(configuration.local_path(study.config, path))


def _hint_identity(study: Study, key: str) -> dict[str, Any]:
    path, said = _hint_file(study, key), study.config["hints"][key]
    obtain = said["obtain"] if isinstance(said, Mapping) else None
    return {} if path is None else {f"{key}_sha256": study.known(path, f"hints.{key}", obtain)}


def _hint_source(argument: str, key: str) -> Callable[[Study, Wildcards], dict[str, Any]]:
    def source(study: Study, w: Wildcards) -> dict[str, Any]:
        path = _hint_file(study, key)
        return {} if path is None else {argument: path}

    return source


def _has_hints(study: Study) -> bool:
    return study.config["answering"] is not None and study.config["hints"] is not None


def _judge(study: Study) -> str:
    """Return whose verdicts the regression reads."""
    grading = study.config["grading"]
    model = grading["model"] or {}
    return TRUSTED[grading["judge"]] or f"{model['kind']}:{model['model']}"


def _readings(study: Study) -> list[Reading]:
    """Return what is asked of the models that are read here, where the configuration says how much it is."""
    if study.config["answering"] is None:
        return []
    answering, n = study.config["answering"], 0
    for said in study.config["sets"].values():
        if said["questions"] is None:
            return []
        langs = len(said["langs"] or study.languages)
        # Of MultiLoKo each language's own, and each but English translated to English and back.
        n += said["questions"] * (langs + 2 * (langs - 1) if said["shape"] == "multiloko" else langs)
    n *= answering["samples"] * (1 + len((study.config["hints"] or {"kinds": ()})["kinds"]))
    thought = answering["thinking_tokens"] if answering["thinking"] != OFF else 0
    tokens = answering["prompt_tokens"] + answering["max_tokens"] + thought
    # What is tuned is asked at each of its checkpoints, whose disk is reckoned with their training.
    return [
        Reading(model.name, float(n * tokens * len(model.checkpoints)), float(size), 2.0 * size if model.given else 0.0)
        for model in study.models.values()
        if (size := (study.origin(model).given or {}).get("parameters")) is not None
    ]


def _alike(study: Study) -> dict[str, dict[str, str]]:
    """Return what languages may have in common."""
    return {lang: {key: language[key] for key in ("script", "family")} for lang, language in study.languages.items()}


def _has_sets(study: Study) -> bool:
    return bool(study.config["sets"])


def _has_effects(study: Study) -> bool:
    tuning = study.config["tuning"]
    return tuning is not None and (bool(tuning["judged"]["files"]) or asks_tuned(study))


def _transliterates(study: Study) -> bool:
    tuning = study.config["tuning"]
    return tuning is not None and any(said["kind"] == TRANSLITERATION for said in tuning["sets"].values())


def _tuned_judged(study: Study) -> list[str]:
    return [str(configuration.local_path(study.config, path)) for path in study.config["tuning"]["judged"]["files"]]


def _tuned_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    obtain = study.config["tuning"]["judged"]["obtain"]
    paths = _tuned_judged(study)
    return {"sha256": [[Path(path).stem, study.known(path, "tuning.judged.files", obtain)] for path in paths]}


def _found(file: str) -> Callable[[Study], Arguments]:
    return lambda study: {file: one(item("script_effects", file))}


STAGES = SHARED | {
    stage.name: stage
    for stage in (
        Stage(
            "open_questions",
            "Read a set of open questions in its languages, and put it in one table.",
            "lorebridge.probes.openqa:build_open_questions",
            files={
                "open_questions": File("scripts/questions/{dataset}.parquet", table="open_questions", argument="out")
            },
            record="scripts/questions/{dataset}.parquet.record.json",
            literals=lambda study, w: {
                "dataset": w["dataset"],
                "langs": _set_langs(study, w),
                **{key: _set(study, w)[key] for key in ("shape", "translation")},
            },
            identity=_set_identity,
            sources=lambda study, w: {"files": _set_files(study, w)},
            settings=lambda study, w: {"path": _set_path(study, w)},
            wildcards={"dataset": "[a-z0-9][a-z0-9_.-]*"},
        ),
        Stage(
            "script_power",
            "Say what effect of one script sets of questions can show, before any model is asked.",
            "lorebridge.transfer.scripts:script_power",
            files={"script_power": File("scripts/power.parquet", table="script_power", argument="out")},
            record="scripts/power.parquet.record.json",
            literals=lambda study, w: {"languages": _alike(study), **study.config["power"]},
            inputs=lambda study, w: {"questions": many(_questions(study))},
        ),
        Stage(
            "answers",
            "Ask a model the questions of all sets.",
            "lorebridge.probes.openqa:ask_open",
            files={"answers": File("scripts/answers/{run}.parquet", table="answers", argument="out")},
            record="scripts/answers/{run}.parquet.record.json",
            literals=_answers_literals,
            inputs=_answers_inputs,
            settings=_answers_settings,
        ),
        Stage(
            "grades",
            "Judge the answers of all models: by their letters, and by a language model.",
            "lorebridge.probes.grading:grade",
            files={"grades": File("scripts/grades.parquet", "by every judge", table="judged", argument="out")},
            record="scripts/grades.parquet.record.json",
            literals=_reader("grading"),
            inputs=lambda study, w: {"answers": many(_answers(study)), "questions": many(_questions(study))},
            settings=_reached("grading"),
        ),
        Stage(
            "entities",
            "Find what questions name, and write a sheet for people to check.",
            "lorebridge.probes.hints:find_entities",
            files={
                "entities": File("scripts/entities.parquet", table="entities", argument="out"),
                "sheet": File(
                    "scripts/entities.csv", "to be copied, checked and named as `hints.sheet`", argument="sheet_out"
                ),
            },
            record="scripts/entities.parquet.record.json",
            literals=_reader("hints"),
            identity=lambda study, w: _hint_identity(study, "sheet"),
            inputs=lambda study, w: {"questions": many(_questions(study))},
            sources=_hint_source("checked", "sheet"),
            settings=_reached("hints"),
        ),
        Stage(
            "hints",
            "Say what is told beside questions that are asked in another language than their own.",
            "lorebridge.probes.hints:build_hints",
            files={"hints": File("scripts/hints.parquet", table="hints", argument="out")},
            record="scripts/hints.parquet.record.json",
            literals=lambda study, w: {key: study.config["hints"][key] for key in ("kinds", "seed")},
            identity=lambda study, w: _hint_identity(study, "labels"),
            inputs=lambda study, w: {
                "questions": many(_questions(study)),
                "entities": one(item("entities", "entities")),
            },
            sources=_hint_source("labels", "labels"),
        ),
        Stage(
            "hint_effects",
            "Estimate by how much hints help more where a question is asked in another script.",
            "lorebridge.transfer.hints:hint_effects",
            files={"hint_effects": File("scripts/hint_effects.parquet", table="hint_effects", argument="out")},
            record="scripts/hint_effects.parquet.record.json",
            literals=lambda study, w: {
                "languages": _alike(study),
                **{key: study.config["regression"][key] for key in ("labelings", "seed")},
            },
            inputs=lambda study, w: {"judged": one(item("judged", "judged"))},
        ),
        Stage(
            "tuned_grades",
            "Judge the answers of all models that are tuned, after each epoch, as the others.",
            "lorebridge.probes.grading:grade",
            files={"grades": File("scripts/tuned_grades.parquet", "by every judge", table="judged", argument="out")},
            record="scripts/tuned_grades.parquet.record.json",
            literals=_reader("grading"),
            inputs=lambda study, w: {
                "answers": many(item("answers", "answers", run=model.name) for model in study.of_phase("sft")),
                "questions": many(_questions(study)),
            },
            settings=_reached("grading"),
        ),
        Stage(
            "judged",
            "Read judged answers, and put them in one table.",
            "lorebridge.transfer.judged:judged",
            files={"judged": File("scripts/judged.parquet", table="judged", argument="out")},
            record="scripts/judged.parquet.record.json",
            literals=lambda study, w: {"judge": _judge(study)} if asked(study) else {},
            identity=_judged_identity,
            inputs=lambda study, w: {"grades": many([item("grades", "grades")])} if asked(study) else {},
            sources=lambda study, w: {"files": _judged_paths(study)},
        ),
        Stage(
            "script_effects",
            "Estimate the effects of one script and of one family on what crosses, and say what they rest on.",
            "lorebridge.transfer.scripts:script_effects",
            files={
                "script_effects": File("scripts/effects.parquet", table="script_effects", argument="out"),
                "script_influence": File(
                    "scripts/influence.parquet", table="script_influence", argument="influence_out"
                ),
                "script_predictors": File(
                    "scripts/predictors.parquet", table="script_predictors", argument="predictors_out"
                ),
            },
            record="scripts/effects.parquet.record.json",
            literals=lambda study, w: {
                "languages": _alike(study),
                "hint": study.config["judged"]["hint"],
                **study.config["regression"],
                "distance_columns": csv_columns(study, "distances"),
                "volume_columns": csv_columns(study, "volumes"),
            },
            identity=lambda study, w: {key: csv_identity(study, key) for key in ("distances", "volumes")},
            inputs=lambda study, w: {"judged": one(item("judged", "judged"))},
            sources=lambda study, w: {key: csv_path(study, key) for key in ("distances", "volumes")},
        ),
        train.stage("sft", "Tune a model on prompts and answers."),
        Stage(
            "tuned_judged",
            "Read judged answers of models before and after they were tuned, and put them in one table.",
            "lorebridge.transfer.judged:judged",
            files={"judged": File("scripts/tuned.parquet", table="judged", argument="out")},
            record="scripts/tuned.parquet.record.json",
            literals=lambda study, w: {"judge": _judge(study)} if asks_tuned(study) else {},
            inputs=lambda study, w: (
                {"grades": many([item("grades", "grades"), item("tuned_grades", "grades")])}
                if asks_tuned(study)
                else {}
            ),
            identity=_tuned_identity,
            sources=lambda study, w: {"files": _tuned_judged(study)},
        ),
        Stage(
            "tuning_effects",
            "Estimate by how much tuning narrows the gap between answers in one script and in another.",
            "lorebridge.transfer.tuning:tuning_effects",
            files={"tuning_effects": File("scripts/tuning_effects.parquet", table="tuning_effects", argument="out")},
            record="scripts/tuning_effects.parquet.record.json",
            literals=lambda study, w: {
                "tuned": _tuned(study),
                "scripts": {lang: study.script(lang) for lang in study.languages},
                "controls": study.config["tuning"]["controls"],
                "own": study.config["tuning"]["judged"]["own"],
                "hint": study.config["judged"]["hint"],
                **({} if _transliterates(study) else {"questions": None}),
            },
            inputs=lambda study, w: {
                "judged": one(item("tuned_judged", "judged")),
                **({"questions": one(item(TRANSLITERATION, "heldout"))} if _transliterates(study) else {}),
            },
        ),
    )
}

FIGURES = (
    Drawing(
        "effects",
        f"{HERE}.drawings:effects",
        _found("script_effects"),
        (),
        "Results",
        "Effect by method",
        "How much more often a model that is right in a question's own language is right in another, if the two have "
        "one script and if they are of one family: average marginal effects with intervals of 95 %. Filled marks are "
        "the headline, whose interval deals out labels over languages. The rows at the bottom are what not to do: "
        "their errors know nothing of languages.",
        f"{HERE}.page:effects",
    ),
    Drawing(
        "influence",
        f"{HERE}.drawings:influence",
        _found("script_influence"),
        ("languages",),
        "Results",
        "What the effect of one script rests on",
        "Left, the share of the information on one script that stands in pairs with each language (together two, as a "
        "pair has two); right, the effect without the language, with intervals of 95 %.",
        f"{HERE}.page:influence",
    ),
)
TABLES = (
    Drawing("effects", f"{HERE}.drawings:effects_table", _found("script_effects"), ()),
    Drawing("influence", f"{HERE}.drawings:influence_table", _found("script_influence"), ("languages",)),
    Drawing("predictors", f"{HERE}.drawings:predictors_table", _found("script_predictors"), ()),
    Drawing(
        "tuning",
        f"{HERE}.drawings:tuning_table",
        lambda study: {"tuning_effects": one(item("tuning_effects", "tuning_effects"))},
        (),
        when=_has_effects,
    ),
    Drawing(
        "tuning_rows",
        f"{HERE}.drawings:tuning_rows_table",
        lambda study: {"audit": one(item(TRANSLITERATION, "audit"))},
        (),
        when=_transliterates,
    ),
    Drawing(
        "hints",
        f"{HERE}.drawings:hints_table",
        lambda study: {"hint_effects": one(item("hint_effects", "hint_effects"))},
        (),
        when=_has_hints,
    ),
    Drawing(
        "power",
        f"{HERE}.drawings:power_table",
        lambda study: {"script_power": one(item("script_power", "script_power"))},
        (),
        when=_has_sets,
    ),
)


def problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with a configuration."""
    answering, served, given = config["answering"], config["served"], config["given"]
    if answering is None and not config["judged"]["files"]:
        yield "judged.files", "names no file, and no model is asked", "Name one, or give `answering`."
    if answering is None and (served or (given and config["tuning"] is None)):
        yield "served" if served else "given", "is not asked anything", "Give `answering`, or take it out."
    if answering is not None:
        yield from ((f"answering.{key}", what, mend) for key, what, mend in contradictions(answering))
        if not served and not given:
            yield "answering", "asks no model", "Name some under `given` or `served`."
        if not config["sets"]:
            yield "answering", "asks nothing", "Name a set of questions under `sets`."
        if served and answering["form"] == "plain":
            yield "answering.form", "an endpoint is asked by messages alone", "Leave it out, or say chat."
        if answering["temperature"] is None and given:
            yield "answering.temperature", "null leaves it to an endpoint", "Say one for the models of `given`."
    if config["hints"] is not None:
        if answering is None:
            yield "hints", "are said to nobody", "Give `answering`, or take them out."
        if TARGET in config["hints"]["kinds"] and config["hints"]["labels"] is None:
            yield "hints.kinds", f"{TARGET} needs names in the languages that are asked", "Give hints.labels."
    for name in served:
        if name in given:
            yield f"served.{name}", "is a name of `given`, too", "Call one of them otherwise."
    if config["grading"]["judge"] == "model" and config["grading"]["model"] is None:
        yield "grading.judge", "is a model that is not named", "Give `grading.model`."
    if len(config["languages"]) < 3:
        yield "languages", "are two, between which nothing can be compared", "Name three or more."
    for name, said in config["sets"].items():
        usual = default(config, "sets", "*", "translation")
        if said["translation"] != usual and said["shape"] != "multiloko":
            yield f"sets.{name}.translation", f"is of multiloko, and the shape is {said['shape']}", "Leave it out."
        for lang in said["langs"] or ():
            if lang not in config["languages"]:
                yield not_a_language(f"sets.{name}.langs", lang, list(config["languages"]))
    if config["tuning"] is not None:
        yield from _tuning_problems(config, config["tuning"])


def _tuning_problems(config: Mapping[str, Any], tuning: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if "sft" not in config.get("training", {}):
        yield "training.sft", "is not there, and `tuning` asks for it", "Say how models are tuned."
        return
    if "seeds" not in config:
        yield "seeds", "are not there, and `tuning` asks for them", "Name one or more: a model is tuned with each."
    for name in tuning["models"]:
        if name not in config["given"]:
            yield "tuning.models", f"{name!r} is not among the given models", "Give it a folder or a commit: given."
        elif "hub" in config["given"][name] and "parameters" not in config["given"][name]:
            mend = "Say how many parameters it has: the plan reckons hours by that."
            yield f"given.{name}.parameters", "is not said of a model of the hub that is tuned", mend
    for name in tuning["controls"]:
        if name not in tuning["sets"]:
            yield "tuning.controls", f"{name!r} is no set of rows", f"Choose of {', '.join(tuning['sets'])}."
    answering, template = config["answering"] or {}, config["training"]["sft"]["template"]
    if answering.get("form") == PLAIN and not isinstance(answering["prompt"], Mapping):
        words = answering["prompt"] or PROMPTS[PLAIN]
        wanted = words.replace("{hint}", "").replace("{question}", "{prompt}")
        if not template.startswith(f"{wanted} ") and not template.startswith(f"{wanted}{{answer}}"):
            what = f"is {template!r}, and what is tuned is asked in the words {words!r}"
            yield "training.sft.template", what, f"Let it begin with {wanted!r}, or mend answering.prompt."
    told = tuning["transliteration"]
    for name, said in tuning["sets"].items():
        if said["kind"] == TRANSLITERATION and told is None:
            yield f"tuning.sets.{name}", "is of a transliteration that is not said", "Give tuning.transliteration."
        langs = said.get("files") or {}
        for lang in langs:
            if lang not in config["languages"]:
                yield not_a_language(f"tuning.sets.{name}.files", lang, list(config["languages"]))
        n, examples = max(len(langs), 1), config["training"]["sft"]["examples"]
        if examples % n:
            what = f"is {examples}, which the {n} languages of {name} cannot share alike"
            yield "training.sft.examples", what, f"Give a multiple of {n}."
    for key in ("lang", "asked_in"):
        if told is not None and told[key] not in config["languages"]:
            yield not_a_language(f"tuning.transliteration.{key}", told[key], list(config["languages"]))


def study(config: Mapping[str, Any], digest: Callable[[str], str]) -> Study:
    """Return the study that a configuration describes."""
    languages, judged = config["languages"], config["judged"]
    found = Study(
        config=config,
        digest=digest,
        stages=dict(STAGES),
        account=f"{HERE}.page:account",
        langs=list(languages),
        settings={
            "languages": {
                lang: {key: language[key] for key in ("name", "script", "family")}
                for lang, language in languages.items()
            }
        },
        local=[
            *({"path": path, "obtain": judged["obtain"]} for path in judged["files"]),
            *config["sets"].values(),
            *([config["hints"]["labels"]] if config["hints"] and config["hints"]["labels"] else []),
            *(said for key in ("distances", "volumes") if (said := config[key])),
            *(_tuning_files(config["tuning"]) if config["tuning"] is not None else ()),
        ],
    )
    given = train.given_models(config)
    found.models |= {model.name: model for model in given}
    if config["tuning"] is not None:
        starts = [model for model in given if model.name in config["tuning"]["models"]]
        tables = {name: tuning_table(found, name) for name in config["tuning"]["sets"]}
        texts, tuned = train.tuned_models(config, "sft", starts, tables)
        found.texts |= {text.name: text for text in texts}
        found.models |= {model.name: model for model in tuned}
        found.targets += [model.artifact for model in tuned]
    found.readings = _readings(found)
    found.figures |= rows(FIGURES)
    found.tables |= rows(drawing for drawing in TABLES if drawing.when is None or drawing.when(found))
    return found


def _tuning_files(tuning: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the files that tuning reads, each with how to obtain it."""
    for said in tuning["sets"].values():
        yield from ({"path": path, "obtain": said["obtain"]} for path in (said.get("files") or {}).values())
    for said in filter(None, (tuning["transliteration"],)):
        paths = (said["path"], said["facts"])
        yield from ({"path": path, "obtain": said["obtain"]} for path in paths if path is not None)
    for said in (tuning["judged"],):
        yield from ({"path": path, "obtain": said["obtain"]} for path in said["files"])
