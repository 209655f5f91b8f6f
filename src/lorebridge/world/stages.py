"""What the planted world's stage makes."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
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
    written = {lang: cloned(world).get(lang, lang) for lang in config["languages"] if lang != base}
    return [
        lang
        for lang, of in written.items()
        if own.get(of, {}).get("names", world.get("names", "transliterated")) != "opaque"
    ]


def cloned(world: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the languages of a planted world that are another in other letters, and which: code -> code."""
    return {lang: clone["of"] for lang, clone in (world or {}).get("clones", {}).items()}


def planted_cultures(study: Study) -> list[str]:
    """Return the languages that a planted world has a culture of: the others."""
    return [lang for lang in study.languages if lang != told_in(study)]


MULTILINGUAL, PAGES = "multilingual", "pages"
_GENERATORS = {
    "articles": "planting:generate",
    "statements": "statements:generate_statements",
    MULTILINGUAL: "multilingual:generate_multilingual",
    PAGES: "pages:generate_pages",
}
"""The function that writes a world, by its kind."""


def problems(
    world: Mapping[str, Any], languages: Mapping[str, Mapping[str, Any]], base: str
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of a world that cannot be planted.

    Args:
        world: the configuration's section.
        languages: code -> what the configuration says of it.
        base: the language that tells of every culture, and has none of its own.
    """
    # A dry run of a study of real text has no use for numpy.
    from lorebridge.world.scripts import SCRIPTS, clone_problems

    scripts = {lang: language["script"] for lang, language in languages.items()}
    yield from clone_problems(world.get("clones", {}), scripts, world.get("languages", {}), base)

    for lang, language in languages.items():
        if language["script"] not in SCRIPTS:
            yield (
                f"languages.{lang}.script",
                f"the planted world has no names in {language['script']}",
                f"Use one of {', '.join(SCRIPTS)}.",
            )
    if world["kind"] in ("statements", PAGES):
        module = importlib.import_module(f"lorebridge.world.{world['kind']}")
        shortages, said = module.shortages, knobs(world, base)
        yield from shortages(**{name: said[name] for name in inspect.signature(shortages).parameters})
    for lang in [lang for lang in languages if lang != base and world["kind"] == "articles"]:
        own = knobs(world, lang)
        needed = fewest_pairs(own)
        if own["pairs"] < needed:
            yield (
                f"world.languages.{lang}.pairs" if lang in world.get("languages", {}) else "world.pairs",
                f"{own['pairs']} pairs cannot hold the {needed} that coverage needs",
                "Give more pairs, or lower pairs_per_entity, entity_coverage or relation_coverage.",
            )


def knobs(world: Mapping[str, Any], lang: str) -> dict[str, Any]:
    """Return the knobs of a culture: its own, those of the world, and for the others their defaults."""
    module, _, name = _GENERATORS[world["kind"]].partition(":")
    generator = getattr(importlib.import_module(f"lorebridge.world.{module}"), name)
    defaults = {name: given.default for name, given in inspect.signature(generator).parameters.items()}
    own = world.get("languages", {}).get(lang, {})
    return {**defaults, **{key: value for key, value in world.items() if key != "languages"}, **own}


def fewest_pairs(knobs: Mapping[str, Any]) -> int:
    """Return how many pairs a culture needs at least to cover what it is to cover.

    Entities are covered in each of the cells of four placements and the doses, the broken remainder by chance, which
    counts here as not covered.
    """
    cells = 4 * len(knobs["doses"])
    sizes = [knobs["questions"] // cells + (index < knobs["questions"] % cells) for index in range(cells)]
    covered = sum(math.floor(knobs["entity_coverage"] * size) for size in sizes)
    relations = round(knobs["relation_coverage"] * knobs["relations"])
    return (covered + relations * knobs["objects"]) * knobs["pairs_per_entity"]


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


def _has_cultures(study: Study) -> bool:
    """Whether a planted world has cultures, with pairs and questions of their own; else facts of all languages."""
    return study.config["world"]["kind"] not in (MULTILINGUAL, PAGES)


def _is(kind: str) -> Callable[[Study], bool]:
    return lambda study: study.config["world"]["kind"] == kind


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
                when=_has_cultures,
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
                when=_has_cultures,
                argument="",
            ),
            "facts": File(
                "world/facts/{lang}.jsonl.gz",
                "facts as they are asked, of a world of the kind `multilingual`",
                each=lambda study, w: [{"lang": lang} for lang in study.languages],
                when=_is(MULTILINGUAL),
                argument="",
            ),
            "forms": File(
                "world/forms.parquet",
                "of a world of the kind `multilingual`",
                table="forms",
                when=_is(MULTILINGUAL),
                argument="",
            ),
            "page_questions": File(
                "world/qa.jsonl",
                "questions on pages as the paper's rows, with `split` and `page_id`, of a world of the kind `pages`",
                when=_is(PAGES),
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
