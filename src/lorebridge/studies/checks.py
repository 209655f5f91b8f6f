"""What must hold of every study beyond the schema."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora.specs import check_sources
from lorebridge.tokens.templates import parts
from lorebridge.train.schedule import KEPT
from lorebridge.world import stages as world
from lorebridge.world.stages import cloned

MOST_CHECKPOINTS = 10_000
"""Of a model. Each is a folder that the workflow looks at whenever it plans."""


def problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what a schema cannot say and what is true of all studies."""
    languages = config["languages"]
    yield from _folder_problems(config)
    yield from _idle_problems(config)
    names: dict[str, str] = {}
    for lang, language in languages.items():
        if language["name"] in names:
            yield (
                f"languages.{lang}.name",
                f"{language['name']!r} is the name of {names[language['name']]!r}, too",
                "Give each language its own: labels and figures know it by that.",
            )
        names[language["name"]] = lang
    for lang in (config["world"] or {}).get("languages", {}):
        if lang not in languages:
            yield not_a_language("world.languages", lang, list(languages))
    for lang in config.get("tracing", {}).get("retrieval", {}):
        if lang not in ("default", *languages):
            yield not_a_language("tracing.retrieval", lang, ["default", *languages])
    for section in ("corpora", "parallel"):
        for lang, entry in config[section].items():
            if lang not in languages:
                yield not_a_language(section, lang, list(languages))
            elif entry["simplify"] and languages[lang]["script"] != "Han":
                yield f"{section}.{lang}.simplify", "is for a language that Han writes", "Leave it out."
    if "training" in config:
        tuned = {
            phase: said for phase, said in config["training"].items() if isinstance(said, Mapping) and "epochs" in said
        }
        for phase, settings in tuned.items():
            yield from _tuned_problems(config, phase, settings)
        if "model" in config:
            yield from _trained_problems(config)
    for section in ("corpora", "parallel"):
        for lang, entry in config[section].items():
            yield from check_sources(section, lang, config.get("base_language", lang), entry["sources"])
    for culture, entry in config["questions"].items():
        of_facts = [file for file in entry["files"].values() if file["kind"] == "facts"]
        if of_facts and any(file != of_facts[0] for file in entry["files"].values()):
            yield (
                f"questions.{culture}.files",
                "are not all of the same facts",
                "The files of a culture are parallel by row: say the same of each.",
            )
    planted = [
        f"{section}.{lang}"
        for section in ("corpora", "parallel")
        for lang, entry in config[section].items()
        for source in entry["sources"]
        if source["kind"] == "planted"
    ]
    asked = [
        f"questions.{culture}.files.{lang}"
        for culture, entry in config["questions"].items()
        for lang, file in entry["files"].items()
        if file["kind"] == "planted"
    ]
    for key in [*planted, *asked]:
        if not config["world"]:
            yield key, "asks for the planted world", "Give the section `world`."
    people = (config.get("people") or {}).get("source", {}).get("kind") == "planted"
    if config["world"] and not (planted or asked or people or config.get("facts", {}).get("shape") == "planted"):
        yield (
            "world",
            "is planted nowhere: no source and no file of questions is of it",
            "Set it to null, or name it as one.",
        )
    if config["world"] and (kind := config["world"]["kind"]) in (world.MULTILINGUAL, world.PAGES):
        for key in planted:
            if key.startswith("parallel"):
                yield key, f"asks for pairs, which a world of the kind {kind} has none of", "Take it out."
        for key in asked:
            what = "facts" if kind == world.MULTILINGUAL else "pages"
            yield key, f"asks for questions, which a world of the kind {kind} has none of", f"Ask its {what}."
    if config["world"] is not None:
        yield from world.problems(config["world"], languages, config.get("base_language", next(iter(languages))))
    if config["world"] and config["world"]["kind"] == "statements":
        yield from _statement_problems(config)


def _folder_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Folders for what is made, which can be made and are two."""
    for key in ("results", "work"):
        path = Path(config[key])
        file = next((part for part in (path, *path.parents) if part.exists() and not part.is_dir()), None)
        if file is not None:
            yield key, f"{config[key]!r} cannot be a folder: {file} is a file", "Name a folder."
    if Path(config["results"]).resolve() == Path(config["work"]).resolve():
        yield "work", f"{config['work']!r} is the folder of results, too", "Name another: what is in work is deleted."


def default(config: Mapping[str, Any], *path: str) -> Any:
    """Return the default of a key; ``*`` stands for any name. What is not given is filled in by now."""
    node = configuration.schema(config["kind"])
    for key in path:
        node = node["additionalProperties"] if key == "*" else node["properties"][key]
    return node["default"]


def _idle_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Keys that are set, and that cannot matter beside another."""
    corpora = config["corpora"]
    for lang, entry in corpora.items():
        usual = default(config, "corpora", "*", "max_deleted")
        if entry["filter"] == "none" and entry["max_deleted"] != usual:
            yield (
                f"corpora.{lang}.max_deleted",
                "does nothing beside filter: none, which deletes no letter",
                "Leave it out, or set filter to letters.",
            )
    base = config.get("base_language")
    for lang, entry in config["parallel"].items():
        unfiltered = all(corpora.get(code, {}).get("filter") == "none" for code in (base, lang))
        if unfiltered and entry["max_lost"] != default(config, "parallel", "*", "max_lost"):
            yield (
                f"parallel.{lang}.max_lost",
                f"does nothing where corpora.{base} and corpora.{lang} have filter: none",
                "Leave it out, or set filter to letters in either.",
            )
    for name, model in config["given"].items():
        for key in sorted({"hub", "revision"} & model.keys()) if "path" in model else ():
            yield f"given.{name}.{key}", "says nothing beside path, which is what is asked", "Leave out either."
    compute = config["compute"]
    if compute["gpus"] and compute["processes"] != default(config, "compute", "processes"):
        yield "compute.processes", "are of training on the CPU, and compute.gpus asks for GPUs", "Leave out either."
    if not compute["gpus"] and compute["nodes"] != default(config, "compute", "nodes"):
        yield "compute.nodes", "are of training on GPUs, and compute.gpus is 0", "Leave it out, or set compute.gpus."
    tracing = config.get("tracing", {})
    hubs = {"tokenizer": (config.get("tokenizer") or {}, "source")}
    hubs |= {f"tracing.retrieval.{lang}": (said, "model") for lang, said in tracing.get("retrieval", {}).items()}
    hubs["tracing.judge"] = (tracing.get("judge", {}), "model")
    for place, (said, name) in hubs.items():
        if said.get("revision") and Path(said[name]).is_dir():
            yield f"{place}.revision", f"is of the hub, and {said[name]} is a folder", "Leave it out."
    for culture, entry in config["questions"].items():
        kinds = {file["kind"] for file in entry["files"].values()}
        if entry["made"] is not None and "made" not in kinds:
            yield (
                f"questions.{culture}.made",
                "makes questions that no file of the culture is written from",
                f"Leave it out, or give questions.{culture}.files of the kind made.",
            )


def _statement_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What a planted world of statements does not outlive: filters, since its documents are short, and a tokenizer."""
    languages, world = config["languages"], config["world"]
    if cloned(world) and config["tokenizer"]["kind"] == "pretrained":
        yield "tokenizer.kind", "is pretrained, and cuts a clone into other tokens than its original", "Train one."
    base = config.get("base_language", next(iter(languages)))
    if not {base, *config["corpora"]} <= languages.keys():
        return  # said elsewhere
    for lang, entry in config["corpora"].items():
        if entry["min_chars"] and any(source["kind"] == "planted" for source in entry["sources"]):
            yield (
                f"corpora.{lang}.min_chars",
                f"is {entry['min_chars']}, and would drop the short documents of a world of statements",
                "Set it to 0.",
            )
        own = {
            "names": "transliterated",
            "anchored": 0,
            "switched": 0,
            **world,
            **world.get("languages", {}).get(lang, {}),
        }
        if lang in cloned(world):
            continue  # all that it writes is in letters of its own
        if lang != base and own["names"] == "shared" and own["anchored"]:
            key = "anchored" if "anchored" in world else f"languages.{lang}.anchored"
            yield f"world.{key}", "does nothing where names are shared, as all are anchored", "Leave out either."
        kept = entry["filter"] == "none" or languages[lang]["script"] == languages[base]["script"]
        if lang != base and (own["names"] == "shared" or own["anchored"] or own["switched"]) and not kept:
            yield (
                f"corpora.{lang}.filter",
                "deletes the words that the world writes in the base language's script",
                "Set it to none.",
            )


def _tuned_problems(
    config: Mapping[str, Any], phase: str, settings: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with a phase that tunes models."""
    key = f"training.{phase}"
    yield from _batch_problems(config, key, settings)
    if settings["batch_examples"] > settings["examples"]:
        what = f"is {settings['batch_examples']}, and an epoch has {settings['examples']}"
        yield f"{key}.batch_examples", what, "Lower it, or give more examples."
    try:
        parts(settings["template"])
    except ValueError as error:
        yield f"{key}.template", str(error), "Write it as '{prompt} {answer}'."


def _trained_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with the text and the training of models from scratch."""
    for lang in config["languages"]:
        if lang not in config["corpora"]:
            yield "corpora", f"has nothing for the language {lang!r}", f"Add corpora.{lang}."
    for phase, settings in config["training"].items():
        if isinstance(settings, Mapping) and "steps" in settings:
            yield from _phase_problems(config, phase, settings)
    training, model = config["training"], config["model"]
    for whole, part in (("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads")):
        if part in model and model[whole] % model[part]:
            yield f"model.{whole}", f"{model[whole]} is not a multiple of {part} ({model[part]})", "Mend either."
    width, heads = model["hidden_size"], model["num_attention_heads"]
    if "rope_theta" in model and not width % heads and width // heads % 2:
        yield (
            "model.hidden_size",
            f"makes heads of {width // heads} dimensions, and rotary positions turn them in pairs",
            f"Choose a multiple of {2 * heads}, or other num_attention_heads.",
        )
    tokenizer = config["tokenizer"]
    if model.get("kind") == "bert" and tokenizer["kind"] == "trained" and not tokenizer.get("mask"):
        yield "tokenizer.mask", "is not set, and a masked model needs a mask", "Set it to true."
    if tokenizer["kind"] == "trained" and (model["vocab_size"] or tokenizer["vocab_size"]) < tokenizer["vocab_size"]:
        yield (
            "model.vocab_size",
            f"{model['vocab_size']} is less than the tokenizer's {tokenizer['vocab_size']}",
            "Raise it, or leave it out.",
        )
    for phase in ("base", "joint"):
        if training.get(phase, {}).get("unseen_tokens", KEPT) != KEPT:
            yield (
                f"training.{phase}.unseen_tokens",
                "is set, and a model that is trained first starts from nothing",
                "Leave it out; it is of a phase that goes on from another model, such as training.continual.",
            )
    if training["sequence_length"] > model["max_position_embeddings"]:
        yield "training.sequence_length", "exceeds model.max_position_embeddings", "Mend either."


def not_a_language(section: str, lang: str, known: list[str]) -> tuple[str, str, str]:
    """Return the problem of a section that names a language which it does not take."""
    close = difflib.get_close_matches(lang, known, n=1, cutoff=0.5)
    return (
        f"{section}.{lang}",
        "is not a language of the study that this section takes",
        (f"Did you mean {close[0]!r}? " if close else "") + f"It takes: {', '.join(known)}.",
    )


def _phase_problems(
    config: Mapping[str, Any], phase: str, settings: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with the schedule of a phase of training."""
    steps, every = settings["steps"], settings["checkpoints"]["every"]
    key = f"training.{phase}"
    if steps // every > MOST_CHECKPOINTS:
        yield (
            f"{key}.checkpoints.every",
            f"keeps {steps // every + 1:,} checkpoints of {steps:,} steps, and a plan of more than "
            f"{MOST_CHECKPOINTS:,} a model is not made",
            f"Raise it to {-(-steps // MOST_CHECKPOINTS):,} or more, or train fewer steps.",
        )
        return
    if steps % every:
        yield (
            f"{key}.checkpoints.every",
            f"{steps} steps are not a multiple of the interval {every}",
            f"Choose a divisor of {steps}, or steps: {steps - steps % every}.",
        )
    yield from _batch_problems(config, key, settings)
    if any(step >= steps for step in settings["checkpoints"]["early"]):
        yield f"{key}.checkpoints.early", "has a step beyond the last", f"Steps run from 0 to {steps}."


def _batch_problems(config: Mapping[str, Any], key: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with the batches and the learning rate of a phase."""
    length = config["training"]["sequence_length"]
    if settings["batch_tokens"] % length:
        yield (
            f"{key}.batch_tokens",
            f"{settings['batch_tokens']} is not a multiple of training.sequence_length",
            f"Choose a multiple of {length}.",
        )
    rows, processes = settings["batch_tokens"] // length, configuration.training_processes(config)
    if rows % processes:
        yield (
            f"{key}.batch_tokens",
            f"makes batches of {rows} rows, which {processes} training processes cannot share evenly",
            "Change compute.gpus, compute.nodes or compute.processes, or the batch.",
        )
    if settings["min_lr"] > settings["lr"]:
        yield f"{key}.min_lr", f"{settings['min_lr']} exceeds lr, {settings['lr']}", "Give a smaller one."
