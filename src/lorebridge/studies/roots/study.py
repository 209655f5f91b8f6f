"""The rows of a study of roots: models that are given, and asked facts in many languages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lorebridge import config as configuration
from lorebridge.plan.stage import Arguments, Drawing, File, Stage, Wildcards, item, one
from lorebridge.plan.study import Study, rows
from lorebridge.studies.shared import SHARED
from lorebridge.train.stages import given_models

HERE = "lorebridge.studies.roots"


def _of(stage: str) -> Callable[[Study], Arguments]:
    return lambda study: {stage: one(item(stage, stage))}


def _published_path(study: Study) -> str:
    return str(configuration.local_path(study.config, study.config["published"]["path"]))


def _published_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    said = study.config["published"]
    return {"sha256": study.known(_published_path(study), "published", said["obtain"])}


STAGES = SHARED | {
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
        sources=lambda study, w: {"languages": _published_path(study)},
    )
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
)
TABLES = (
    Drawing("precision", f"{HERE}.drawings:precision_table", _of("p_at_1"), ("languages",)),
    Drawing("correlates", f"{HERE}.drawings:correlates_table", _of("correlates"), ()),
    Drawing("overlap", f"{HERE}.drawings:overlap_table", _of("fact_overlap"), ("languages",)),
    Drawing("overlap_distances", f"{HERE}.drawings:distances_table", _of("overlap_distances"), ()),
    Drawing(
        "published",
        f"{HERE}.drawings:published_table",
        _of("published"),
        (),
        when=lambda study: study.config["published"] is not None,
    ),
)


def problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with a configuration."""
    base, languages, asking = config["base_language"], config["languages"], config["asking"]
    if base and base not in languages:
        yield "base_language", f"{base!r} is not among the languages", f"Choose one of {', '.join(languages)}."
    if not config["given"]:
        yield "given", "names no model", "Give a folder, or a commit of the hub."
    if asking["decode"] == "pll" and asking["space"] == "vocabulary":
        yield "asking.decode", "pll scores strings and writes none", "Set asking.space to candidates."


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
        settings={
            "languages": {
                lang: {key: language[key] for key in ("name", "script", "family")}
                for lang, language in languages.items()
            }
        },
        local=[said for key in ("facts", "volumes", "distances", "published") if (said := config[key])],
    )
    found.models |= {model.name: model for model in given_models(config)}
    found.figures |= rows(FIGURES)
    found.tables |= rows(drawing for drawing in TABLES if drawing.when is None or drawing.when(found))
    return found
