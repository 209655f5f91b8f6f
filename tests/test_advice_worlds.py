"""Every advice on the knobs of a planted world is followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advised import Case, follow, name_of
from lorebridge.world.multilingual import generate_multilingual
from lorebridge.world.pages import generate_pages
from lorebridge.world.planting import generate
from lorebridge.world.statements import generate_statements

TWO = {"en": {"script": "Latin"}, "ko": {"script": "Hangul"}}
CLONED = {
    "languages": {"en": TWO["en"], "ru": {"script": "Cyrillic"}, "bo": {"script": "Devanagari"}},
    "clones": {"bo": {"of": "ru"}},
}
LABELS = ("en_only", "xx_only", "both", "neither")
STATEMENTS = {
    "entities": 8,
    "objects": 5,
    "placements": dict.fromkeys(LABELS, 1),
    "questions": dict.fromkeys(LABELS, 4),
    "doses": [1],
    "name_words": 20,
    "background_names": 8,
    "background_words": 20,
    "pairs": 8,
}
MULTILINGUAL = {
    "subjects": 8,
    "relations": 1,
    "objects": 4,
    "placements": dict.fromkeys(("everywhere", "base", "one", "nowhere"), 0.25),
    "doses": [1],
    "remarks": 1,
}
ARTICLES = {"questions": 4, "articles": 4, "pairs": 400, "doses": [1], "relations": 2, "objects": 4, "min_chars": 1}
PAGES = {"topics": {"test": 1, "plain": 1}, "pages": 3, "neither": 1, "relations": 1, "objects": 4, "echoes": [0]}
MADE: dict[Callable, dict[str, Any]] = {
    generate_pages: PAGES,
    generate_statements: STATEMENTS,
    generate_multilingual: MULTILINGUAL,
    generate: ARTICLES,
}


def planted(make: Callable, changes: dict[str, Any]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        make(**{"out": folder / "world", "base": "en", "languages": TWO, "seed": 0, **MADE[make], **changes})

    return run


def both(make: Callable, advice: str, wrong: dict[str, Any], mended: dict[str, Any]) -> Case:
    return Case(advice, planted(make, wrong), None, planted(make, mended))


def languages(**korean: Any) -> dict[str, Any]:
    return {"languages": {**TWO, "ko": {**TWO["ko"], **korean}}}


UNEVEN: dict[str, Any] = {"entities": 7, "doses": [1, 2], "questions": {"both": 7}}

EVERY = [
    case
    for make, order in ((generate_statements, True), (generate_multilingual, True), (generate, False))
    for case in (
        both(make, "Name one of them.", {"base": "fr"}, {"base": "ko"}),
        both(make, "Give at least one more.", {"languages": {"en": TWO["en"]}}, {}),
        both(make, "Use one of ['Latin'", languages(script="Runic"), languages(script="Tibetan")),
        both(make, "Use only script", languages(colour="red"), {}),
        both(make, "Give different numbers from 1 up.", {"doses": [0]}, {"doses": [1]}),
        both(make, "Give at least", {"objects": 1}, {"objects": 5}),
        *([both(make, "It is one of svo, sov", languages(order="vso"), languages(order="sov"))] if order else []),
    )
]
STATED = [
    both(generate_statements, "There are en_only", {"placements": {"nowhere": 1}}, {}),
    both(
        generate_statements,
        "Give numbers of facts, 0 or more, one above 0.",
        {"questions": dict.fromkeys(LABELS, 0)},
        {"questions": {**dict.fromkeys(LABELS, 0), "both": 1}},
    ),
    both(generate_statements, "It is one of ", {"names": "secret"}, {"names": "opaque"}),
    both(generate_statements, "Give a number in [0, 1].", {"coverage": 2}, {"coverage": 1}),
    both(generate_statements, "Give a number below 1.", {"repetition": 1}, {"repetition": 0.5}),
    both(
        generate_statements,
        "Give more words, or longer names.",
        {"name_words": 2, "name_length": 2},
        {"name_words": 3, "name_length": 2},
    ),
    both(
        generate_statements,
        "or longer names.",
        {"name_words": 2, "name_length": 2},
        {"name_words": 2, "name_length": 3},
    ),
    *(
        both(generate_statements, advice, {"questions": {"both": 9}}, mended)
        for advice, mended in (
            ("Ask fewer, or give more entities, or more such facts", {"questions": {"both": 8}}),
            ("or give more entities, or more such facts", {"questions": {"both": 9}, "entities": 9}),
            ("or more such facts of each (placements).", {"questions": {"both": 9}, "placements": {"both": 2}}),
        )
    ),
    # As many as there are, and of an odd number the two doses may have one more each.
    *(
        both(generate_statements, advice, UNEVEN, {**UNEVEN, **mended})
        for advice, mended in (
            ("Ask fewer, or give more entities.", {"questions": {"both": 6}}),
            ("or give more entities.", {"entities": 8}),
        )
    ),
    both(
        generate_statements,
        "Give them to 'ru' alone.",
        {**CLONED, "languages": {**CLONED["languages"], "bo": {"script": "Devanagari", "names": "opaque"}}},
        CLONED,
    ),
    both(generate_statements, "Give fewer clauses, or more objects or entities.", {"clauses": 40}, {"clauses": 2}),
]
TOLD = [
    both(generate_multilingual, "There are everywhere", {"placements": {"somewhere": 1}}, {}),
    both(
        generate_multilingual, "They sum to 1.", {"placements": {"one": 0.5}}, {"placements": {"one": 0.5, "base": 0.5}}
    ),
    both(generate_multilingual, "Give a number in [0, 1].", {"alias_rate": 2}, {"alias_rate": 1}),
    both(
        generate_multilingual,
        "Lower one.",
        {"naming_cue": 0.6, "subject_contains_object": 0.6},
        {"naming_cue": 0.4, "subject_contains_object": 0.6},
    ),
    both(generate_multilingual, "Give 0 or more.", {"skew": -1}, {"skew": 0}),
    both(generate_multilingual, "Give fewer, or more subjects.", {"clauses": 9}, {"clauses": 8}),
]
PAGED = [
    both(generate_pages, "There are test, train", {"topics": {"dev": 1}}, {}),
    both(generate_pages, "Give a number in [0, 1].", {"strays": 2}, {"strays": 1}),
    both(generate_pages, "Give at least 4.", {"objects": 3}, {"objects": 4}),
    both(generate_pages, "Give 2 at most, or more pages.", {"echoes": [3]}, {"echoes": [2]}),
    both(generate_pages, "or more pages.", {"echoes": [3]}, {"echoes": [3], "pages": 4}),
    both(generate_pages, "Give at least one of `test`.", {"topics": {"plain": 1}}, {}),
    both(generate_pages, "Give a plain topic and remarks", {"topics": {"test": 1}}, {}),
    both(generate_pages, "or 0 of them.", {"remarks": 0}, {"remarks": 0, "neither": 0}),
    both(generate_pages, "It is one of svo, vso", languages(order="sov"), languages(order="vso")),
]
WRITTEN = [
    both(generate, "Give a number in [0, 1].", {"leak_rate": 2}, {"leak_rate": 1}),
    both(generate, "Give more pairs, or lower pairs_per_entity", {"pairs": 1}, {"pairs": 400}),
    both(
        generate,
        "or lower pairs_per_entity",
        {"pairs": 1},
        {"pairs": 1, "entity_coverage": 0.0, "relation_coverage": 0.0},
    ),
]
CASES = [*EVERY, *STATED, *TOLD, *PAGED, *WRITTEN]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_world_that_was_mended_as_advised_is_planted(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
