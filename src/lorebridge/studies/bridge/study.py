"""The rows of a study of bridges: a base model, and what goes on from it in each language, arm by arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora import stages as corpora
from lorebridge.figures import stages as figures
from lorebridge.plan.stage import artifact, item
from lorebridge.plan.study import Model, Study, Text, rows
from lorebridge.studies.bridge.checks import problems
from lorebridge.studies.shared import SHARED
from lorebridge.tokens.arms import BASE, trained_arms
from lorebridge.tokens.stages import replays
from lorebridge.train import stages as train
from lorebridge.transfer.standard import contrasts
from lorebridge.world.stages import carrying

__all__ = ["STAGES", "problems", "study"]

STAGES = dict(SHARED)


def study(config: Mapping[str, Any], digest: Callable[[str], str]) -> Study:
    """Return the study that a configuration describes."""
    base = config["base_language"]
    langs = [lang for lang in config["languages"] if lang != base]
    found = Study(
        config=config,
        digest=digest,
        stages=STAGES,
        account="lorebridge.studies.bridge.page:account",
        base=base,
        langs=langs,
        letters={lang: _letters(config, lang) for lang in config["languages"]},
        cells=[(corpus, culture) for culture in langs for corpus in (base, culture)],
        settings=_settings(config, base),
        declared=declaration(config),
        reading={"window": config["tracing"]["window"], "max_chars": config["tracing"]["chunk_chars"]},
    )
    found.texts |= {text.name: text for text in _texts(found)}
    found.add(_models(found))
    for culture in langs:
        sampled = config["questions"][culture]["sample"] is not None
        found.asked[culture] = item("sample_questions" if sampled else "questions", "questions", culture=culture)
    found.figures |= rows(d for d in figures.FIGURES if d.when is None or d.when(found))
    found.tables |= rows(d for d in figures.TABLES if d.when is None or d.when(found))
    # The base models' own curves and what given models answer, which no drawing shows.
    found.targets += [artifact("score", run=model.name) for model in found.of_phase("base", "given")]
    return found


def declaration(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the study declares, with the settings that the declared numbers rest on; None where it does not."""
    said = config["prereg"]
    if said is None:
        return None
    return {**said, "rule": config["probing"]["rule"], "last": config["transfer"]["last"]}


def _letters(config: Mapping[str, Any], lang: str) -> dict[str, str]:
    """What the filter does to a language: the base keeps its script alone, the others lose the base's (section 2)."""
    if config["corpora"][lang]["filter"] == "none":
        return {}
    script = config["languages"][config["base_language"]]["script"]
    return {"keep": script} if lang == config["base_language"] else {"drop": script}


def _settings(config: Mapping[str, Any], base: str) -> dict[str, Any]:
    probing, transfer_ = config["probing"], config["transfer"]
    return {
        "base": base,
        "names": {lang: language["name"] for lang, language in config["languages"].items()},
        "languages": {
            lang: {key: language[key] for key in ("name", "script", "resource")}
            for lang, language in config["languages"].items()
        },
        "arms": config["arms"],
        "distance": config["no_bridge"]["distance"],
        "subset": probing["subset"],
        "rule": probing["rule"],
        "prefix": probing["prefix"],
        "remark": config["remark"],
        "planted": config["world"] is not None,
        "contrasts": contrasts(config),
        "carrying": carrying(config),
        **{key: transfer_[key] for key in ("last", "resamples", "seed", "discordance", "seed_sd", "ema")},
        "n_seeds": len(config["seeds"]),
    }


def _texts(found: Study) -> list[Text]:
    """Monolingual text in every language, and the two halves of each parallel text."""
    base, langs = found.base, tuple(found.langs)
    mono = [
        Text(
            f"mono-{lang}",
            lang,
            "text",
            tuple(corpora.shard_files(found, lang, "documents")),
            (corpora.sound(lang),),
            langs if lang == base else (lang,),
        )
        for lang in found.languages
    ]
    halves = [
        Text(f"pairs-{lang}-{column}", of, column, (item("filter_pairs", "pairs", lang=lang),), (), (lang,), pairs=lang)
        for lang in langs
        for column, of in (("en", base), ("xx", lang))
    ]
    return mono + halves


def _models(found: Study) -> list[Model]:
    """A base model for each seed, or one for all; and language x arm x seed."""
    config, base = found.config, found.base
    training = config["training"]
    seeds = config["seeds"]
    bases = seeds if training["base_per_seed"] else seeds[:1]

    def shared(phase: str) -> dict[str, Any]:
        said = training[phase]
        return {
            "phase": phase,
            "steps": said["steps"],
            "checkpoints": tuple(configuration.checkpoint_steps(said)),
            "tokens": said["steps"] * said["batch_tokens"],
        }

    models = [
        Model(
            name=f"base-s{seed}",
            texts=(f"mono-{base}",),
            start=None,
            lang=base,
            arm=BASE,
            seed=seed,
            cultures=tuple(found.langs),
            heldout=(base,),
            **shared("base"),
        )
        for seed in bases
    ]
    for lang in found.langs:
        for arm in trained_arms(config, lang):
            replayed = (f"mono-{base}",) if replays(config, arm) else ()
            for seed in seeds:
                models.append(
                    Model(
                        name=f"{lang}-{arm}-s{seed}",
                        texts=(f"mono-{lang}", f"pairs-{lang}-en", f"pairs-{lang}-xx", *replayed),
                        start=f"base-s{seed if seed in bases else bases[0]}",
                        lang=lang,
                        arm=arm,
                        seed=seed,
                        cultures=(lang,),
                        heldout=(base, lang),
                        **shared("continual"),
                    )
                )
    return [*models, *train.given_models(config, cultures=tuple(found.langs), heldout=tuple(found.languages))]
