"""What must hold of every study beyond the schema."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora.specs import check_sources


def problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what a schema cannot say and what is true of all studies."""
    languages = config["languages"]
    for section in ("corpora", "parallel"):
        for lang, entry in config[section].items():
            if lang not in languages:
                yield not_a_language(section, lang, list(languages))
            elif entry["simplify"] and languages[lang]["script"] != "Han":
                yield f"{section}.{lang}.simplify", "is for a language that Han writes", "Leave it out."
    if "training" in config:
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
    if planted and not config["world"]:
        yield planted[0], "asks for the planted world", "Give the section `world`."
    if config["world"] and config["world"]["kind"] == "statements":
        yield from _statement_problems(config)


def _statement_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Filters that a planted world of statements does not outlive: its documents are short."""
    languages, world = config["languages"], config["world"]
    base = config.get("base_language", next(iter(languages)))
    for lang, entry in config["corpora"].items():
        if entry["min_chars"] and any(source["kind"] == "planted" for source in entry["sources"]):
            yield (
                f"corpora.{lang}.min_chars",
                f"is {entry['min_chars']}, and would drop the short documents of a world of statements",
                "Set it to 0.",
            )
        own = {"names": "transliterated", "anchored": 0, **world, **world.get("languages", {}).get(lang, {})}
        kept = entry["filter"] == "none" or languages[lang]["script"] == languages[base]["script"]
        if lang != base and (own["names"] == "shared" or own["anchored"]) and not kept:
            yield (
                f"corpora.{lang}.filter",
                "deletes the names that the world writes in the base language's script",
                "Set it to none.",
            )


def _trained_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with the text and the training of models from scratch."""
    for lang in config["languages"]:
        if lang not in config["corpora"]:
            yield "corpora", f"has nothing for the language {lang!r}", f"Add corpora.{lang}."
    training, model = config["training"], config["model"]
    for phase, settings in training.items():
        if isinstance(settings, Mapping) and "steps" in settings:
            yield from _phase_problems(config, phase, settings)
    for whole, part in (("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads")):
        if model[whole] % model[part]:
            yield f"model.{whole}", f"{model[whole]} is not a multiple of {part} ({model[part]})", "Mend either."
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
    key, length = f"training.{phase}", config["training"]["sequence_length"]
    if steps % every:
        yield (
            f"{key}.checkpoints.every",
            f"{steps} steps are not a multiple of the interval {every}",
            f"Choose a divisor of {steps}, or steps: {steps - steps % every}.",
        )
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
    if any(step >= steps for step in settings["checkpoints"]["early"]):
        yield f"{key}.checkpoints.early", "has a step beyond the last", f"Steps run from 0 to {steps}."
