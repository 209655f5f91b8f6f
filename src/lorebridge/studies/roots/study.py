"""The rows of a study of roots: models that are given or trained jointly, and asked facts in many languages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora import stages as corpora
from lorebridge.corpora.facts import FACTS, PLANTED
from lorebridge.figures import stages as figures
from lorebridge.plan.stage import Arguments, Drawing, File, Stage, Wildcards, item, many, one
from lorebridge.plan.study import Model, Reading, Study, Text, rows
from lorebridge.probes.manners import named_objective
from lorebridge.studies.checks import not_a_language
from lorebridge.studies.shared import SHARED
from lorebridge.train import stages as train
from lorebridge.transfer import stages as transfer
from lorebridge.work import read_json
from lorebridge.world.stages import MULTILINGUAL

HERE = "lorebridge.studies.roots"


def _of(stage: str) -> Callable[[Study], Arguments]:
    return lambda study: {stage: one(item(stage, stage))}


def _origins(study: Study) -> Arguments:
    return {name: one(item("origins", name)) for name in ("origins", "origin_recovery")}


def _shares(study: Study) -> Arguments:
    return {"pattern_shares": one(item("fact_patterns", "pattern_shares"))}


def _published_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    return transfer.csv_identity(study, "published")


def _measures_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    return {key: transfer.csv_identity(study, key) for key in ("volumes", "published")}


def _planted(study: Study) -> bool:
    return study.planted


def _has_neurons(study: Study) -> bool:
    return study.config["neurons"] is not None


def _silences(study: Study) -> bool:
    return _has_neurons(study) and study.config["neurons"]["ablation"] is not None


def _overlap_of(file: str) -> Callable[[Study], Arguments]:
    return lambda study: {file: one(item("neuron_overlap", file))}


def _trained(study: Study) -> bool:
    return "training" in study.config


def _traced(study: Study) -> bool:
    return bool(study.config["corpora"])


def _sized(study: Study) -> bool:
    return study.config["volumes"] is not None


def _beside(study: Study) -> bool:
    return study.config["published"] is not None


STAGES = SHARED | {
    "train_joint": train.stage("joint", "Train a model from scratch on text in all languages."),
    "published": Stage(
        "published",
        "Compute anew what the paper prints, from what it publishes by language and from the facts.",
        f"{HERE}.published:published",
        files={
            "published": File(
                "facts/published.parquet", "what the paper prints beside what its data give", argument="out"
            )
        },
        record="facts/published.parquet.record.json",
        literals=lambda study, w: {"base": study.base},
        identity=_published_identity,
        inputs=lambda study, w: {"facts": one(item("facts", "facts"))},
        sources=lambda study, w: {"languages": transfer.csv_path(study, "published")},
    ),
    "language_measures": Stage(
        "language_measures",
        "Tell the precision, objects and size of each language, beside what the paper prints.",
        f"{HERE}.measures:language_measures",
        files={
            "language_measures": File(
                "facts/language_measures.parquet",
                "precision, objects and size of each language, and what the paper prints of it",
                argument="out",
            )
        },
        record="facts/language_measures.parquet.record.json",
        literals=lambda study, w: {"columns": transfer.csv_columns(study, "volumes")},
        identity=_measures_identity,
        inputs=lambda study, w: {"scores": many(transfer.fact_scores(study)), "facts": one(item("facts", "facts"))},
        sources=lambda study, w: {
            "volumes": transfer.csv_path(study, "volumes"),
            "languages": transfer.csv_path(study, "published"),
        },
    ),
}

FIGURES = (
    Drawing(
        "precision",
        f"{HERE}.drawings:precision",
        _of("p_at_1"),
        ("languages",),
        "Results",
        "Precision by language",
        "How often each model gives the fact's own object (P@1), by language, with intervals of 95 % over clusters of "
        "facts. The bar is the answer that most other facts of a relation have, which needs no model.",
        f"{HERE}.page:above",
    ),
    Drawing(
        "volumes",
        f"{HERE}.drawings:volumes",
        _of("language_measures"),
        ("languages",),
        "Results",
        "Precision by the size of a language",
        "How often each model gives the fact's own object (P@1), by how large the language is, on a logarithmic scale; "
        "each measure of `volumes` is a panel. Where the paper's numbers are given, what its Table 2 prints stands "
        "beside it (hollow): the paper's Figure 2.",
        when=_sized,
    ),
    *(
        Drawing(
            f"overlap_by_{what}",
            f"{HERE}.drawings:overlap_by_{what}",
            _of("fact_overlap"),
            ("languages",),
            "Results",
            f"Shared facts, by {what}",
            "Of the facts that are right in one of two languages, those that are right in both (below the diagonal), "
            "and how far that lies above what two independent languages would share within a relation, an object and "
            f"numbers of masks (above it). Languages stand by {what}.",
            f"{HERE}.page:shared" if what == "family" else "",
        )
        for what in ("family", "script")
    ),
    Drawing(
        "neurons",
        f"{HERE}.drawings:neurons",
        _overlap_of("neuron_overlap"),
        ("languages",),
        "Results",
        "Shared neurons",
        "Of the neurons that tell a fact from others of its relation, those that two languages share, on average over "
        "the facts that are right in both (below the diagonal), and how far that lies above what they share of another "
        "fact of the relation with another object (above it). Languages stand by family.",
        f"{HERE}.page:neurons",
        when=_has_neurons,
    ),
    Drawing(
        "neuron_kin",
        f"{HERE}.drawings:neuron_kin",
        _overlap_of("neuron_kin"),
        (),
        "Results",
        "Shared neurons of related languages",
        "Neurons that two languages share of a fact, of others with its object, of others of its relation, and of "
        "unrelated ones, by whether the languages are of one family and of one script; with intervals of 95 % over "
        "clusters of facts, these languages given.",
        when=_has_neurons,
    ),
    Drawing(
        "neuron_cases",
        f"{HERE}.drawings:neuron_cases",
        lambda study: {"neuron_bins": many(item("neurons", "neuron_bins", run=run) for run in study.models)},
        ("languages",),
        "Results",
        "Neurons of one fact",
        "How far the neurons of a fact lie from those of other facts of its relation, by layer and bin (the highest "
        "score of each), in languages in which it is right: of each model the fact that is right in most.",
        when=_has_neurons,
    ),
    Drawing(
        "transfer",
        f"{HERE}.drawings:transfer",
        _of("fact_transfer"),
        ("languages",),
        "Results",
        "What crosses",
        "How often a model is right on facts of a planted world that the language itself states, that only another one "
        "states, and that none does, with intervals of 95 % over subjects. What is stated nowhere is answered by its "
        "form alone.",
        f"{HERE}.page:crosses",
        when=_planted,
    ),
    Drawing(
        "present",
        f"{HERE}.drawings:present",
        _of("absent_facts"),
        ("languages",),
        "Results",
        "What is known, by whether the text holds it",
        "How many facts a model has right in a language whose text holds subject and object together in a stretch of "
        "tokens, and how many in one whose text does not; beside it the share that is absent, of all facts and of the "
        "right ones: the paper's Figure 6, which prints no numbers.",
        when=_traced,
    ),
    Drawing(
        "absent_counts",
        f"{HERE}.drawings:absent_counts",
        _of("absent_facts"),
        ("languages",),
        "Results",
        "What is known although the text does not hold it, counted by the paper's rules",
        "How many facts a model has right in a language whose text does not hold subject and object together in a "
        "stretch of tokens, by the paper's classes: its Figure 7.",
        f"{HERE}.page:classes",
        when=_traced,
    ),
    Drawing(
        "absent",
        f"{HERE}.drawings:absent",
        _of("absent_facts"),
        ("languages",),
        "Results",
        "What is known although the text does not hold it",
        "Facts that a model has right in a language whose text does not hold subject and object together: the share "
        "that the form of the names may tell, by class, with intervals of 95 % over subjects. The bar is the class "
        "among all facts; of a planted world, the cross is what was planted.",
        f"{HERE}.page:absent",
        when=_traced,
    ),
    *(dataclasses.replace(drawing, when=_trained) for drawing in figures.FIGURES if drawing.name == "losses"),
)
TABLES = (
    Drawing("precision", f"{HERE}.drawings:precision_table", _of("p_at_1"), ("languages",)),
    Drawing("correlates", f"{HERE}.drawings:correlates_table", _of("correlates"), ()),
    Drawing("one_token", f"{HERE}.drawings:one_token_table", _of("language_measures"), ("languages",)),
    Drawing(
        "printed_precision",
        f"{HERE}.drawings:printed_precision_table",
        _of("language_measures"),
        ("languages",),
        when=_beside,
    ),
    Drawing("overlap", f"{HERE}.drawings:overlap_table", _of("fact_overlap"), ("languages",)),
    Drawing("overlap_distances", f"{HERE}.drawings:distances_table", _of("overlap_distances"), ()),
    Drawing(
        "neuron_overlap",
        f"{HERE}.drawings:neurons_table",
        _overlap_of("neuron_overlap"),
        ("languages",),
        when=_has_neurons,
    ),
    Drawing("neuron_kin", f"{HERE}.drawings:kin_table", _overlap_of("neuron_kin"), (), when=_has_neurons),
    Drawing("ablations", f"{HERE}.drawings:ablations_table", _of("ablations"), ("languages",), when=_silences),
    Drawing("transfer", f"{HERE}.drawings:transfer_table", _of("fact_transfer"), ("languages",), when=_planted),
    Drawing("rank_consistency", f"{HERE}.drawings:rankings_table", _of("rank_consistency"), ("languages",)),
    Drawing("corpus_alarms", f"{HERE}.drawings:alarms_table", _of("corpus_alarms"), ("languages",), when=_traced),
    Drawing("origins", f"{HERE}.drawings:origins_table", _origins, ("languages",), when=_traced),
    Drawing("absent", f"{HERE}.drawings:absent_table", _of("absent_facts"), ("languages",), when=_traced),
    Drawing(
        "printed_classes",
        f"{HERE}.drawings:printed_classes_table",
        _of("absent_facts"),
        (),
        when=lambda study: _traced(study) and not study.planted,
    ),
    Drawing("patterns", f"{HERE}.drawings:patterns_table", _shares, ("languages",), when=_traced),
    Drawing("published", f"{HERE}.drawings:published_table", _of("published"), (), when=_beside),
)


def problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with a configuration."""
    base, languages, asking = config["base_language"], config["languages"], config["asking"]
    if base and base not in languages:
        yield "base_language", f"{base!r} is not among the languages", f"Choose one of {', '.join(languages)}."
    if not config["given"] and "training" not in config:
        yield "given", "names no model, and none is trained", "Give a folder, a commit of the hub, or `training`."
    facts, world = config["facts"], config["world"] or {}
    if facts["shape"] == PLANTED and world.get("kind") != MULTILINGUAL:
        yield "facts.shape", "asks for the facts of a planted world", f"Give `world` of the kind {MULTILINGUAL}."
    elif (facts["path"] is None) != (facts["shape"] == PLANTED):
        yield "facts.path", "and facts.shape do not go together", "Give the folder, but of planted facts none."
    for lang in config.get("training", {}).get("shares") or {}:
        if lang not in languages:
            yield not_a_language("training.shares", lang, list(languages))
    if (shares := config.get("training", {}).get("shares")) and (
        lost := [lang for lang in languages if lang not in shares]
    ):
        yield "training.shares", f"has none for {lost[0]!r}", "Give each language its share."
    training = config.get("training", {})
    if training.get("shares") and training["temperature"] is not None:
        yield "training.temperature", "does nothing beside training.shares", "Give one of them."
    if facts["shape"] == PLANTED and facts["obtain"] is not None:
        yield "facts.obtain", "is of a data set, and the facts are those of the planted world", "Leave it out."
    neurons = config["neurons"] or {"languages": None, "reference": "right"}
    for lang in neurons["languages"] or ():
        if lang not in languages:
            yield not_a_language("neurons.languages", lang, list(languages))
    if neurons["reference"] == "common" and neurons["references"] < neurons["least"]:
        yield "neurons.references", f"is below neurons.least ({neurons['least']})", "Raise it, or lower the other."
    if asking["decode"] == "pll" and asking["space"] == "vocabulary":
        yield "asking.decode", "pll scores strings and writes none", "Set asking.space to candidates."
    asked = config["compute"]["estimate"]["asking"]
    for name in asked["parameters"] if asked else ():
        if name not in config["given"]:
            mend = f"Name a model of `given`: {', '.join(config['given']) or 'it has none'}."
            yield f"compute.estimate.asking.parameters.{name}", "is of no given model", mend
    for name, said in config["given"].items():
        if asking["space"] == "vocabulary" and "path" in said:
            folder = configuration.local_path(config, said["path"])
            if named_objective((read_json(folder / "config.json") or {}).get("architectures")) == "causal":
                mend = "Set asking.space to candidates, or give a masked language model."
                yield f"given.{name}", "is a causal language model, which fills no masks", mend


def study(config: Mapping[str, Any], digest: Callable[[str], str]) -> Study:
    """Return the study that a configuration describes."""
    languages = config["languages"]
    found = Study(
        config=config,
        digest=digest,
        stages=dict(STAGES),
        account=f"{HERE}.page:account",
        base=config["base_language"],
        langs=list(languages),
        named_by="fact_subjects",
        reading={"window": config["origins"]["window"], "max_chars": config["origins"]["chunk_chars"]},
        settings={
            "names": {lang: language["name"] for lang, language in languages.items()},
            "base": config["base_language"],
            "arms": [],
            "languages": {
                lang: {key: language[key] for key in ("name", "script", "family")}
                for lang, language in languages.items()
            },
        },
        local=[
            said
            for key in ("facts", "volumes", "distances", "published")
            if (said := config[key]) and said["path"] is not None
        ],
    )
    found.letters |= {
        lang: {"keep": languages[lang]["script"]} if corpus["filter"] == "letters" else {}
        for lang, corpus in config["corpora"].items()
    }
    found.texts |= {text.name: text for text in _texts(found)}
    if "training" in config:
        found.add(_joint(found))
    found.add(train.given_models(config))
    found.readings = list(_readings(found))
    found.figures |= rows(drawing for drawing in FIGURES if drawing.when is None or drawing.when(found))
    found.tables |= rows(drawing for drawing in TABLES if drawing.when is None or drawing.when(found))
    return found


def _readings(study: Study) -> Iterator[Reading]:
    """Yield what it costs to ask each given model of which the configuration says how large it is.

    A fact is read once for each number of masks that is tried: for what is written, and for the ranking of candidates.
    Of a causal model and of pll each candidate is read. Neurons read a fact once; an ablation at most all its facts of
    every two languages.
    """
    asking, said = study.config["asking"], study.config["compute"]["estimate"]["asking"]
    if said is None:
        return
    every = said["candidates"] if asking["decode"] == "pll" else 1
    pieces = 1 if asking["decode"] == "simultaneous" else (said["lengths"] + 1) / 2
    tries = 1 if (asking["lengths"], asking["space"]) == ("gold", "vocabulary") else said["lengths"]
    reads = said["facts"] * (tries + said["lengths"]) * pieces * every
    if neurons := study.config["neurons"]:
        n_langs = len(neurons["languages"] or study.languages)
        reads += said["facts"] * n_langs / len(study.languages)
        if cut := neurons["ablation"]:
            reads += n_langs**2 * cut["n_facts"] * (2 + cut["draws"])
    # A row of answers takes some 100 bytes, a value of a ranking 5.
    answers = said["facts"] * (100 + 5 * said["candidates"])
    for name, parameters in said["parameters"].items():
        yield Reading(name, reads * said["tokens"], parameters, 4 * parameters + answers)


def _texts(study: Study) -> list[Text]:
    """Return the monolingual text of every language that has some; its facts are looked for in it."""
    return [
        Text(
            f"mono-{lang}",
            lang,
            "text",
            tuple(corpora.shard_files(study, lang, "documents")),
            (corpora.sound(lang),),
            (FACTS,),
        )
        for lang in study.languages
        if lang in study.config["corpora"]
    ]


def _joint(study: Study) -> list[Model]:
    """Return a model of all languages for each seed."""
    training, texts = study.config["training"], list(study.texts.values())
    phase, shares = training["joint"], training["shares"]
    return [
        Model(
            f"joint-s{seed}",
            "joint",
            texts=tuple(text.name for text in texts),
            seed=seed,
            steps=phase["steps"],
            checkpoints=tuple(configuration.checkpoint_steps(phase)),
            tokens=phase["steps"] * phase["batch_tokens"],
            cultures=(FACTS,),
            mixture={
                "shares": None if shares is None else {text.name: shares.get(text.lang) for text in texts},
                "temperature": training["temperature"],
            },
        )
        for seed in study.config["seeds"]
    ]
