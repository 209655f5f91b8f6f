"""What the stages of probing make: question sets, and what models answer."""

from __future__ import annotations

from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora.stages import shard_files
from lorebridge.plan.stage import Arguments, File, Item, Stage, Wildcards, after, by, groups, item, many, one
from lorebridge.plan.study import Model, Study
from lorebridge.tokens.stages import tokenizer, told
from lorebridge.train.stages import checkpoints


def _source(study: Study, w: Wildcards) -> dict[str, Any]:
    return study.config["questions"][w["culture"]]["files"][w["lang"]]


def _question_path(study: Study, w: Wildcards) -> str | None:
    """Return the local file of a question set in one language, or None where it is fetched."""
    source = _source(study, w)
    if source["kind"] == "local":
        return str(configuration.local_path(study.config, source["path"]))
    planted = f"{study.root}/world/questions/{w['culture']}-culture-cloze_{w['lang']}.json"
    return planted if source["kind"] == "planted" else None


def _fetched(study: Study, w: Wildcards) -> bool:
    return _source(study, w)["kind"] == "github"


def _question_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    # Which file of the set it is enters the recipe: swapped files must not look like the same table.
    identity = {"kind": _source(study, w)["kind"], "culture": w["culture"], "lang": w["lang"]}
    if identity["kind"] == "local":
        identity["sha256"] = study.known(str(_question_path(study, w)), f"questions.{w['culture']}")
    return identity


def _question_inputs(study: Study, w: Wildcards) -> Arguments:
    return {"world": after([item("world", "truth")])} if _source(study, w)["kind"] == "planted" else {}


def named(study: Study, model: Model) -> dict[str, Any]:
    """Return what the rows of a model's scores say of it."""
    pair = f"{study.base}-{model.lang}" if study.base and model.lang else None
    return {"run": model.name, "lang_pair": pair, **told(model)}


def _heldout_pairs(study: Study, culture: str) -> list[Item]:
    return [item("filter_pairs", "heldout_pairs", lang=culture)] if study.halves(culture) else []


def _scores_inputs(study: Study, w: Wildcards) -> Arguments:
    model = study.model(w["run"])
    return {
        "checkpoints": by("step", [checkpoints(model)]),
        "questions": many(study.asked[culture] for culture in model.cultures),
        "heldout": groups("lang", [i for lang in model.heldout for i in shard_files(study, lang, "heldout_documents")]),
        "pairs": by("lang", [i for culture in model.cultures for i in _heldout_pairs(study, culture)]),
    }


STAGES = (
    Stage(
        "question_file",
        "Fetch the released questions of a culture in one language, or copy them from a local file.",
        lambda study, w: f"lorebridge.corpora.fetch:{'fetch_released' if _fetched(study, w) else 'copy_file'}",
        files={
            "questions": File(
                "probes/files/{culture}-{lang}.json",
                "questions of a culture in one language, as released",
                argument="out",
            )
        },
        record="probes/files/{culture}-{lang}.json.record.json",
        literals=lambda study, w: (
            {k: v for k, v in _source(study, w).items() if k != "kind"} if _fetched(study, w) else {}
        ),
        identity=_question_identity,
        inputs=_question_inputs,
        sources=lambda study, w: {} if _fetched(study, w) else {"source": _question_path(study, w)},
    ),
    Stage(
        "questions",
        "Check a culture's question files and put them in one table.",
        "lorebridge.probes.questions:build_questions",
        files={"questions": File("probes/questions/{culture}.parquet", table="questions", argument="out")},
        record="probes/questions/{culture}.parquet.record.json",
        literals=lambda study, w: {
            "culture": w["culture"],
            "langs": study.asked_in(w["culture"]),
            "scripts": {lang: study.script(lang) for lang in study.asked_in(w["culture"])},
            "known_missing_gold": study.config["questions"][w["culture"]]["known_missing_gold"],
        },
        inputs=lambda study, w: {
            "files": by(
                "lang",
                [
                    item("question_file", "questions", culture=w["culture"], lang=lang)
                    for lang in study.asked_in(w["culture"])
                ],
            )
        },
    ),
    Stage(
        "score",
        "Ask all checkpoints of a model the questions, and measure it on held-out text and pairs.",
        "lorebridge.probes.scoring:score_run",
        version=3,
        files={
            "scores": File("probes/scores/{run}.parquet", "all checkpoints of a model", table="scores", argument="out"),
            "perplexity": File("probes/perplexity/{run}.parquet", "on held-out documents", table="perplexity"),
            "alignment": File("probes/alignment/{run}.parquet", "on held-out pairs", table="alignment"),
        },
        record="probes/scores/{run}.parquet.record.json",
        literals=lambda study, w: {
            **named(study, study.model(w["run"])),
            "window": study.config["training"]["sequence_length"],
            **{key: study.config["probing"][key] for key in ("perplexity_tokens", "alignment_pairs")},
        },
        inputs=_scores_inputs,
    ),
    Stage(
        "random_models",
        "Ask random models of the study's shape the questions, by the published rule and in float32.",
        "lorebridge.probes.ties:scorer_bias",
        files={"scorer": File("probes/scorer.parquet", table="scorer", argument="out")},
        record="probes/scorer.parquet.record.json",
        literals=lambda study, w: {
            "model": study.config["model"],
            "seeds": list(range(study.config["probing"]["random_models"])),
        },
        inputs=lambda study, w: {"questions": many(study.asked.values()), "tokenizer": one(tokenizer())},
    ),
    Stage(
        "people_questions",
        "Write the questions on people in the base language and one other.",
        "lorebridge.probes.people:build_people_questions",
        files={
            "people_questions": File(
                "people/questions/{lang}.parquet",
                "on people, in the base language and in `lang`",
                table="questions",
                argument="out",
            )
        },
        record="people/questions/{lang}.parquet.record.json",
        literals=lambda study, w: {
            "langs": [study.base, w["lang"]],
            "questions": study.config["people"]["questions"],
            "seed": study.config["people"]["seed"],
            "templates": {lang: configuration.people_templates(study.config, lang) for lang in (study.base, w["lang"])},
        },
        inputs=lambda study, w: {
            "people": one(item("people", "people")),
            "mentions": many(
                item("people_mentions", "people_mentions", stream=text.name)
                for text in study.texts.values()
                if text.lang == w["lang"]
            ),
        },
    ),
    Stage(
        "people_score",
        "Ask all checkpoints of a model the questions on people.",
        "lorebridge.probes.scoring:score_run",
        files={
            "people_scores": File(
                "people/scores/{run}.parquet", "of the questions on people", table="scores", argument="out"
            )
        },
        record="people/scores/{run}.parquet.record.json",
        literals=lambda study, w: named(study, study.model(w["run"])),
        inputs=lambda study, w: {
            "checkpoints": by("step", [checkpoints(study.model(w["run"]))]),
            "questions": many([item("people_questions", "people_questions", lang=study.model(w["run"]).lang)]),
        },
    ),
)
