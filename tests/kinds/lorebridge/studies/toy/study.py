"""The rows of a toy: a model that learns all languages jointly, from scratch, and models that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora import stages as corpora
from lorebridge.figures import stages as figures
from lorebridge.plan.stage import Arguments, Drawing, File, Stage, by, item, many, one
from lorebridge.plan.study import Model, Study, Text, rows
from lorebridge.studies.shared import SHARED
from lorebridge.train import stages as train
from lorebridge.transfer.stages import scores

HERE = "lorebridge.studies.toy"


def _counts(study: Study) -> Arguments:
    return {"counts": one(item("counts", "counts", subset=study.config["probing"]["subset"]))}


STAGES = SHARED | {
    "train_joint": train.stage("joint", "Train a model from scratch on several texts at once."),
    "counts": Stage(
        "counts",
        "Count the right answers of every model at every checkpoint.",
        f"{HERE}.counts:counts",
        files={
            "counts": File("toy/counts/{subset}.parquet", "right answers by model, step and language", argument="out")
        },
        record="toy/counts/{subset}.parquet.record.json",
        literals=lambda study, w: {
            "langs": study.config["counts"]["langs"],
            "subset": w["subset"],
            "rule": study.config["probing"]["rule"],
        },
        inputs=lambda study, w: {
            "scores": many(scores(study.models.values())),
            "questions": by("culture", study.asked.values()),
        },
        wildcards={"subset": "[a-z]+"},
    ),
}

FIGURES = (
    Drawing(
        "right",
        f"{HERE}.drawings:right",
        _counts,
        ("names",),
        "Results",
        "Right answers",
        "Right answers by checkpoint. A model that is given is asked once, and is a dashed line.",
        f"{HERE}.page:best",
    ),
    *(drawing for drawing in figures.FIGURES if drawing.name == "losses"),
)
TABLES = (Drawing("right", f"{HERE}.drawings:table", _counts, ("names",)),)


def problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with a configuration."""
    for lang in config["counts"]["langs"]:
        if lang not in config["languages"]:
            yield "counts.langs", f"{lang!r} is not among the languages", f"Choose of {sorted(config['languages'])}."


def study(config: Mapping[str, Any], digest: Callable[[str], str]) -> Study:
    """Return the study that a configuration describes."""
    languages, phase = config["languages"], config["training"]["joint"]
    found = Study(
        config=config,
        digest=digest,
        stages=STAGES,
        account=f"{HERE}.page:account",
        langs=list(languages),
        letters={lang: _letters(config, lang) for lang in languages},
        asked={culture: item("questions", "questions", culture=culture) for culture in config["questions"]},
        figures=rows(FIGURES),
        tables=rows(TABLES),
        settings={"names": {lang: language["name"] for lang, language in languages.items()}, "base": "", "arms": []},
    )
    asked = tuple(found.asked)
    texts = [
        Text(
            f"mono-{lang}",
            lang,
            "text",
            tuple(corpora.shard_files(found, lang, "documents")),
            (corpora.sound(lang),),
            asked,
        )
        for lang in languages
    ]
    models = [
        Model(
            f"joint-s{seed}",
            "joint",
            texts=tuple(text.name for text in texts),
            seed=seed,
            steps=phase["steps"],
            checkpoints=tuple(configuration.checkpoint_steps(phase)),
            tokens=phase["steps"] * phase["batch_tokens"],
            cultures=asked,
            heldout=tuple(languages),
            mixture={"shares": {text.name: config["training"]["shares"][text.lang] for text in texts}},
        )
        for seed in config["seeds"]
    ]
    found.texts |= {text.name: text for text in texts}
    models += train.given_models(config, cultures=asked, heldout=tuple(languages))
    found.add(models)
    return found


def _letters(config: Mapping[str, Any], lang: str) -> dict[str, str]:
    kept = config["corpora"][lang]["filter"] == "letters"
    return {"keep": config["languages"][lang]["script"]} if kept else {}
