"""What the planted world's stage makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorebridge import config as configuration
from lorebridge.plan.stage import File, Stage, Wildcards
from lorebridge.plan.study import Study


def plants_people(study: Study) -> bool:
    """Whether the study asks about people whom its planted world invents."""
    people = study.config.get("people")
    return people is not None and people["source"]["kind"] == "planted"


def told_in(study: Study) -> str:
    """Return the language that a planted world tells of every culture in: the study's base, or its first language."""
    return study.base or next(iter(study.languages))


def carrying(config: Mapping[str, Any]) -> list[str]:
    """Return the languages of a configuration in which a bridge is to carry: planted, their names by a rule."""
    world = config["world"] or {}
    if world.get("kind") != "statements":
        return []
    base = config.get("base_language", next(iter(config["languages"])))
    own = world.get("languages", {})
    return [
        lang
        for lang in config["languages"]
        if lang != base and own.get(lang, {}).get("names", world.get("names", "transliterated")) != "opaque"
    ]


def planted_cultures(study: Study) -> list[str]:
    """Return the languages that a planted world has a culture of: the others."""
    return [lang for lang in study.languages if lang != told_in(study)]


_GENERATORS = {"articles": "planting:generate", "statements": "statements:generate_statements"}
"""The function that writes a world, by its kind."""


def _literals(study: Study, w: Wildcards) -> Mapping[str, Any]:
    c, languages = study.config, study.languages
    own = c["world"].get("languages", {})
    literals = {
        **{key: value for key, value in c["world"].items() if key != "kind"},
        "base": told_in(study),
        "languages": {lang: {"script": languages[lang]["script"], **own.get(lang, {})} for lang in languages},
    }
    if plants_people(study):
        literals["people"] = {
            "number": c["people"]["number"],
            "properties": configuration.people_properties(c["people"]["birth"]),
            "templates": configuration.people_templates(c, told_in(study)),
        }
    return literals


def _kind(study: Study, w: Wildcards) -> Mapping[str, Any]:
    kind = study.config["world"]["kind"]
    return {} if kind == "articles" else {"kind": kind}


STAGES = (
    Stage(
        "world",
        "Write the planted world in the formats of real sources, and the truth about it.",
        lambda study, w: f"lorebridge.world.{_GENERATORS[study.config['world']['kind']]}",
        files={
            "corpora": File(
                "world/corpora/{lang}.jsonl.gz",
                "monolingual text",
                each=lambda study, w: [{"lang": lang} for lang in study.languages],
                argument="",
            ),
            "parallel": File(
                "world/parallel/{base}-{lang}.jsonl.gz",
                "sentence pairs",
                each=lambda study, w: [{"base": told_in(study), "lang": lang} for lang in planted_cultures(study)],
                argument="",
            ),
            "cloze": File(
                "world/questions/{culture}-culture-cloze_{lang}.json",
                "questions in the released shape",
                each=lambda study, w: [
                    {"culture": culture, "lang": lang}
                    for culture in planted_cultures(study)
                    for lang in (told_in(study), culture)
                ],
                argument="",
            ),
            "truth": File("world/truth.parquet", table="truth", argument="out", given="folder"),
            "people_file": File(
                "world/people.json",
                "people and their attributes, as a query service gives them",
                when=plants_people,
                argument="",
            ),
        },
        record="world/record.json",
        literals=_literals,
        identity=_kind,
    ),
)
