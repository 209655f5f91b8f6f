"""What the stages of transfer make: gaps between arms, items that crossed, and which questions are asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lorebridge import config as configuration
from lorebridge.plan.stage import Argument, Arguments, File, Item, Stage, by, item, many, one
from lorebridge.plan.study import Model, Study
from lorebridge.probes.prefixes import BARE
from lorebridge.trace.stages import asks_facts, judgments, pieces_by, traced, truth_of
from lorebridge.transfer.standard import contrasts


def scores(models: Iterable[Model], stage: str = "score", file: str = "scores") -> list[Item]:
    """Return what was measured on some models."""
    return [item(stage, file, run=model.name) for model in models]


def compared(study: Study) -> list[Model]:
    """Return the models that arms are compared on: those that go on from a base model."""
    return study.of_phase("continual")


def exposure(models: Iterable[Model]) -> list[Item]:
    """Return what some models have read."""
    return scores(models, "exposure", "exposure")


def _settings(study: Study, *names: str) -> dict[str, Any]:
    """Return settings of the statistics, with what questions count and how options are compared."""
    c = study.config
    shared = {"base": study.base, "subset": c["probing"]["subset"], "rule": c["probing"]["rule"]}
    known = {**c["transfer"], "contrasts": contrasts(c)}
    return shared | {name: known[name] for name in ("last", *names)}


def _headline(study: Study) -> dict[str, Any]:
    """Return the prefix of the headline numbers, of which alone some tables are."""
    return {"prefix": study.config["probing"].get("prefix", BARE)}


def _answers(study: Study) -> dict[str, Any]:
    return {"scores": many(scores(compared(study))), "questions": by("culture", study.asked.values())}


def fact_scores(study: Study) -> list[Item]:
    """Return what all models of a study answer when they are asked facts."""
    return scores(study.models.values(), "fact_scores", "fact_scores")


def _asked_and_traced(study: Study) -> Arguments:
    """What is known of facts that models are asked: their answers, and where text holds them."""
    return {
        "scores": many(fact_scores(study)),
        "facts": one(item("facts", "facts")),
        "origins": one(item("origins", "origins")),
        **truth_of(study),
    }


def _paired(study: Study) -> Arguments:
    """How alike the neurons of each fact are in two languages, where the study reads neurons."""
    return {"neuron_pairs": one(item("neuron_overlap", "neuron_pairs"))} if study.config["neurons"] else {}


def _drawn(study: Study) -> dict[str, Any]:
    return {key: study.config["precision"][key] for key in ("resamples", "seed")}


def _of_facts(study: Study, stage: str) -> dict[str, Argument]:
    """Return what a stage of the probes found of every model on facts, and the facts."""
    return {stage: many(scores(study.models.values(), stage, stage)), "facts": one(item("facts", "facts"))}


def _alike(study: Study) -> dict[str, dict[str, str]]:
    """Return what languages may have in common."""
    return {lang: {key: language[key] for key in ("family", "script")} for lang, language in study.languages.items()}


def csv_columns(study: Study, key: str) -> list[str]:
    """Return the columns that are taken of a CSV file which the configuration may name."""
    return list((study.config[key] or {"columns": []})["columns"])


def csv_path(study: Study, key: str) -> str | None:
    """Return the path of a CSV file which the configuration may name; None where it does not."""
    said = study.config[key]
    return None if said is None else str(configuration.local_path(study.config, said["path"]))


def csv_identity(study: Study, key: str) -> dict[str, Any]:
    """Return what tells a CSV file which the configuration may name from others."""
    said, path = study.config[key], csv_path(study, key)
    return {} if path is None else {"sha256": study.known(path, key, said["obtain"])}


def _asks_where(study: Study) -> bool:
    """Return whether a declared test is of facts that stand in some place of a planted world."""
    return any(test["among"] not in ("all", "unleaked") for test in (study.declared or {"tests": []})["tests"])


def _same_facts(study: Study) -> dict[str, bool]:
    """Say, where a declared test is of several languages, whether these are asked the same facts."""
    several = any(
        len(test["languages"]) + len(test["minus"]) > 1 for test in (study.declared or {"tests": []})["tests"]
    )
    return {"same_facts": True} if several and (study.config["world"] or {}).get("kind") == "statements" else {}


STAGES = (
    Stage(
        "sample_questions",
        "Choose the questions that models are asked by how often the corpora state their facts.",
        "lorebridge.transfer.sample:sample_questions",
        files={
            "questions": File(
                "probes/sampled/{culture}.parquet",
                "those that models are asked, where `questions.{culture}.sample` asks for a sample",
                table="questions",
                argument="out",
            )
        },
        record="probes/sampled/{culture}.parquet.record.json",
        literals=lambda study, w: {
            "culture": w["culture"],
            "base": study.base,
            "subset": study.config["probing"]["subset"],
            "n_questions": study.config["questions"][w["culture"]]["sample"]["questions"],
        },
        inputs=lambda study, w: {
            "questions": one(item("questions", "questions", culture=w["culture"])),
            "occurrences": one(item("occurrences", "occurrences")),
        },
    ),
    Stage(
        "accuracies",
        "Reckon the accuracy of every model at every checkpoint, with its interval.",
        "lorebridge.transfer.accuracies:accuracies",
        version=5,
        files={"accuracies": File("transfer/accuracies.parquet", table="accuracies", argument="out")},
        record="transfer/accuracies.parquet.record.json",
        literals=lambda study, w: {
            "base": study.base,
            **{name: study.config["transfer"][name] for name in ("last", "resamples", "seed")},
        },
        inputs=lambda study, w: {
            "scores": many(scores(study.models.values())),
            "questions": by("culture", study.asked.values()),
        },
    ),
    Stage(
        "gaps",
        "Estimate the gaps between arms and test the asymmetry of the directions.",
        "lorebridge.transfer.gaps:gaps",
        version=4,
        files={
            "gaps": File("transfer/gaps.parquet", table="gaps", argument="out"),
            "asymmetry": File("transfer/asymmetry.parquet", table="asymmetry"),
        },
        record="transfer/gaps.parquet.record.json",
        literals=lambda study, w: {
            **_settings(study, "contrasts", "resamples", "seed"),
            "resource": {lang: study.languages[lang]["resource"] for lang in study.langs},
        },
        inputs=lambda study, w: {**_answers(study), "leaks": one(item("leaks", "leaks"))},
    ),
    Stage(
        "matched_gaps",
        "Estimate the gaps between arms where they predict held-out text equally well.",
        "lorebridge.transfer.matched:matched_gaps",
        version=2,
        files={"matched_gaps": File("transfer/matched_gaps.parquet", table="matched_gaps", argument="out")},
        record="transfer/matched_gaps.parquet.record.json",
        literals=lambda study, w: _settings(study, "contrasts"),
        inputs=lambda study, w: {**_answers(study), "perplexity": many(scores(compared(study), "score", "perplexity"))},
    ),
    Stage(
        "verdicts",
        "Give a verdict on every test that the study declared, in one family.",
        "lorebridge.transfer.verdicts:verdicts",
        version=2,
        files={"verdicts": File("transfer/verdicts.parquet", table="verdicts", argument="out")},
        record="transfer/verdicts.parquet.record.json",
        literals=lambda study, w: {"base": study.base, **(study.declared or {}), **_same_facts(study)},
        settings=lambda study, w: {"first": study.first_declared},
        inputs=lambda study, w: {
            **_answers(study),
            "leaks": one(item("leaks", "leaks")),
            **({"truth": one(item("world", "truth"))} if _asks_where(study) else {}),
        },
    ),
    Stage(
        "items",
        "List every question with whether it was transferred (appendix C.4) and how often the corpora state its fact.",
        "lorebridge.transfer.items:items",
        version=3,
        files={
            # Snakemake keeps the name `items` for itself.
            "transferred": File("transfer/items.parquet", table="items", argument="out")
        },
        record="transfer/items.parquet.record.json",
        literals=lambda study, w: {**_settings(study), **_headline(study)},
        inputs=lambda study, w: {
            **_answers(study),
            "judgments": by(("corpus", "culture"), judgments(study.cells)),
            "exposure": many(exposure(model for model in compared(study) if model.arm == "bridge")),
        },
    ),
    Stage(
        "item_effects",
        "Estimate what crosses of what is known, guesses taken off, and how that goes with how often a fact was read.",
        "lorebridge.transfer.item_model:item_effects",
        version=3,
        files={"item_effects": File("transfer/item_effects.parquet", table="item_effects", argument="out")},
        record="transfer/item_effects.parquet.record.json",
        literals=lambda study, w: {**_settings(study), **_headline(study)},
        inputs=lambda study, w: {
            **_answers(study),
            "transferred": one(item("items", "transferred")),
            "leaks": one(item("leaks", "leaks")),
        },
    ),
    Stage(
        "people_gaps",
        "Estimate the gaps between arms on the questions on people, and compare them with those on culture.",
        "lorebridge.transfer.people:people_gaps",
        version=4,
        files={"people_gaps": File("transfer/people_gaps.parquet", table="people_gaps", argument="out")},
        record="transfer/people_gaps.parquet.record.json",
        literals=lambda study, w: {**_settings(study, "contrasts"), **_headline(study)},
        inputs=lambda study, w: {
            **_answers(study),
            "people_questions": by("lang", people_questions(study)),
            "people_scores": many(scores(compared(study), "people_score", "people_scores")),
        },
    ),
    Stage(
        "p_at_1",
        "Estimate how often models are right on facts, beside what needs no model.",
        "lorebridge.transfer.precision:precision",
        version=2,
        files={"p_at_1": File("facts/p_at_1.parquet", table="p_at_1", argument="out")},
        record="facts/p_at_1.parquet.record.json",
        literals=lambda study, w: dict(study.config["precision"]),
        inputs=lambda study, w: {"scores": many(fact_scores(study)), "facts": one(item("facts", "facts"))},
    ),
    Stage(
        "correlates",
        "Say what goes with precision on facts over the languages.",
        "lorebridge.transfer.correlates:correlates",
        version=2,
        files={"correlates": File("facts/correlates.parquet", table="correlates", argument="out")},
        record="facts/correlates.parquet.record.json",
        literals=lambda study, w: {"base": study.base, "columns": csv_columns(study, "volumes")},
        identity=lambda study, w: csv_identity(study, "volumes"),
        inputs=lambda study, w: {"scores": many(fact_scores(study))},
        sources=lambda study, w: {"volumes": csv_path(study, "volumes")},
    ),
    Stage(
        "fact_transfer",
        "Say what models know of planted facts that the language states, that only another states, that none does.",
        "lorebridge.transfer.stated:fact_transfer",
        version=3,
        files={"fact_transfer": File("facts/transfer.parquet", table="fact_transfer", argument="out")},
        record="facts/transfer.parquet.record.json",
        literals=lambda study, w: {key: study.config["precision"][key] for key in ("resamples", "seed")},
        inputs=lambda study, w: {
            "scores": many(fact_scores(study)),
            "facts": one(item("facts", "facts")),
            "truth": one(item("world", "truth")),
        },
    ),
    Stage(
        "fact_classes",
        "Say of each fact what may tell its object of its subject's label alone.",
        "lorebridge.transfer.absent:fact_classes",
        files={"fact_classes": File("facts/classes.parquet", table="fact_classes", argument="out")},
        record="facts/classes.parquet.record.json",
        literals=lambda study, w: {
            "scripts": {text.lang: study.script(text.lang) for text in traced(study)},
            "naming": study.config["origins"]["naming"],
        },
        inputs=lambda study, w: {"facts": one(item("facts", "facts")), "tokenizer": one(pieces_by(study))},
    ),
    Stage(
        "absent_facts",
        "Count the facts that models have right although text does not hold them, by class.",
        "lorebridge.transfer.absent:absent_facts",
        version=2,
        files={"absent_facts": File("facts/absent.parquet", table="absent_facts", argument="out")},
        record="facts/absent.parquet.record.json",
        literals=lambda study, w: {**_drawn(study), **asks_facts(study)},
        inputs=lambda study, w: {
            **_asked_and_traced(study),
            "classes": one(item("fact_classes", "fact_classes")),
            **({"forms": one(item("world", "forms"))} if study.planted else {}),
        },
    ),
    Stage(
        "fact_patterns",
        "Say of each fact and pair of languages whether it is independent, shared or transferred.",
        "lorebridge.transfer.patterns:fact_patterns",
        version=2,
        files={
            "fact_patterns": File("facts/patterns.parquet", table="fact_patterns", argument="out"),
            "pattern_shares": File("facts/pattern_shares.parquet", table="pattern_shares", argument="shares"),
        },
        record="facts/patterns.parquet.record.json",
        literals=lambda study, w: {**_drawn(study), **asks_facts(study), "unit": study.config["origins"]["unit"]},
        inputs=lambda study, w: {**_asked_and_traced(study), **_paired(study)},
    ),
    Stage(
        "rank_consistency",
        "Say how alike models rank the candidates of a fact in two languages, beside what unrelated rankings get.",
        "lorebridge.transfer.rankings:consistency",
        version=2,
        files={"rank_consistency": File("facts/rank_consistency.parquet", table="rank_consistency", argument="out")},
        record="facts/rank_consistency.parquet.record.json",
        literals=lambda study, w: _drawn(study),
        inputs=lambda study, w: {
            "rankings": many(scores(study.models.values(), "fact_rankings", "fact_rankings")),
            "facts": one(item("facts", "facts")),
        },
    ),
    Stage(
        "fact_overlap",
        "Count the facts that models have right in two languages, beside what independent languages would share.",
        "lorebridge.transfer.overlap:fact_overlap",
        files={"fact_overlap": File("facts/overlap.parquet", table="fact_overlap", argument="out")},
        record="facts/overlap.parquet.record.json",
        inputs=lambda study, w: {"scores": many(fact_scores(study)), "facts": one(item("facts", "facts"))},
    ),
    Stage(
        "overlap_distances",
        "Say whether languages that are further apart share fewer facts.",
        "lorebridge.transfer.distances:overlap_distances",
        files={"overlap_distances": File("facts/overlap_distances.parquet", table="overlap_distances", argument="out")},
        record="facts/overlap_distances.parquet.record.json",
        literals=lambda study, w: {
            **study.config["overlap"],
            "columns": csv_columns(study, "distances"),
            "languages": _alike(study),
        },
        identity=lambda study, w: csv_identity(study, "distances"),
        inputs=lambda study, w: {"fact_overlap": one(item("fact_overlap", "fact_overlap"))},
        sources=lambda study, w: {"distances": csv_path(study, "distances")},
    ),
    Stage(
        "neuron_overlap",
        "Say how much of a fact's neurons two languages share, beside what they share of other facts.",
        "lorebridge.transfer.neurons:neuron_overlap",
        version=2,
        files={
            "neuron_overlap": File("facts/neuron_overlap.parquet", table="neuron_overlap", argument="out"),
            "neuron_pairs": File("facts/neuron_pairs.parquet", table="neuron_pairs", argument="pairs_out"),
            "neuron_kin": File("facts/neuron_kin.parquet", table="neuron_kin", argument="kin_out"),
        },
        record="facts/neuron_overlap.parquet.record.json",
        literals=lambda study, w: {
            **{key: study.config["precision"][key] for key in ("resamples", "seed")},
            "permutations": study.config["overlap"]["permutations"],
            "languages": _alike(study),
        },
        inputs=lambda study, w: _of_facts(study, "neurons"),
    ),
    Stage(
        "ablations",
        "Say what models lose of facts in one language without the facts' neurons of another.",
        "lorebridge.transfer.neurons:ablations",
        files={"ablations": File("facts/ablations.parquet", table="ablations", argument="out")},
        record="facts/ablations.parquet.record.json",
        literals=lambda study, w: {key: study.config["precision"][key] for key in ("resamples", "seed")},
        inputs=lambda study, w: _of_facts(study, "silenced_facts"),
    ),
)


def people_questions(study: Study) -> list[Item]:
    """Return the questions on people, by the language that is learned."""
    return [item("people_questions", "people_questions", lang=lang) for lang in study.langs]
