"""Invented people of a planted world, of whom only the base language's corpus tells, and a response that lists them."""

from __future__ import annotations

import calendar
import dataclasses
import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lorebridge import publish
from lorebridge.world.facts import spread
from lorebridge.world.lexicon import BLANK, Vocabulary, generator
from lorebridge.world.scripts import Script

# Values that an attribute has in this world, and how many more than one a person has of it at most.
_POOLS = {"citizenship": (6, 1), "birthplace": (24, 0), "occupation": (12, 1), "education": (16, 1)}
_YEARS = range(1900, 2000)
# How well a birth is known, as Wikidata counts.
_PRECISION = {"birth_year": "9", "birth_date": "11"}
DOSE = 4
"""Articles that tell of a person, all that is known of them in each."""
# Items of Wikidata are far from such numbers.
_FIRST_ITEM = 10**12
_ENTITY, _PROPERTY = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/direct/"


@dataclasses.dataclass(frozen=True)
class Person:
    """An invented person.

    Attributes:
        item: what the response calls them, ``Q`` and a number.
        name: their name in the base language.
        values: attribute -> (item, label) of each value; of a year of birth the item is the year.
    """

    item: str
    name: str
    values: Mapping[str, Sequence[tuple[str, str]]]


def draw_people(number: int, *, seed: int, base: str, script: Script, taken: Sequence[str]) -> list[Person]:
    """Draw people; a larger number only adds to a smaller one's names.

    Args:
        number: how many.
        seed: of the world.
        base: code of the base language.
        script: its script.
        taken: words and names of the base language, none of which lies in a new one.
    """
    vocabulary = Vocabulary([word.casefold() for word in taken])
    rng = generator(seed, base, "people", "values")
    word = functools.partial(script.word, rng, 3)
    items = iter(range(_FIRST_ITEM, _FIRST_ITEM + sum(size for size, _ in _POOLS.values())))
    pools = {
        attribute: [(f"Q{next(items)}", _named(vocabulary.new(word), script)) for _ in range(size)]
        for attribute, (size, _) in _POOLS.items()
    }
    rng = generator(seed, base, "people", "names")
    single = functools.partial(script.name, rng)
    names = [script.space.join(vocabulary.new(single) for _ in range(2)) for _ in range(number)]
    rng = generator(seed, base, "people", "lives")
    drawn = {attribute: spread(rng, len(pool), number) for attribute, pool in pools.items()}
    people = []
    for i, name in enumerate(names):
        values: dict[str, list[tuple[str, str]]] = {}
        for attribute, pool in pools.items():
            further = int(rng.integers(_POOLS[attribute][1] + 1)) * int(rng.random() < 0.3)
            places = [int(drawn[attribute][i])]
            places += [int(p) for p in rng.permutation(len(pool)) if p != places[0]][:further]
            values[attribute] = [pool[place] for place in sorted(places)]
        year = str(int(rng.choice(_YEARS)))
        values["birth_year"] = [(year, year)]
        day = datetime.date(int(year), i % 12 + 1, i % 28 + 1)
        values["birth_date"] = [(day.isoformat(), f"{day.day} {calendar.month_name[day.month]} {year}")]
        people.append(Person(f"Q{2 * _FIRST_ITEM + i}", name, values))
    return people


def _named(word: str, script: Script) -> str:
    return word.capitalize() if script.capitals else word


def statements(person: Person, templates: Mapping[str, str]) -> list[str]:
    """Return what there is to say of a person, one sentence for each value.

    Args:
        person: the person.
        templates: attribute -> wording in the base language with ``{name}`` and a blank.
    """
    return [
        templates[attribute].replace("{name}", person.name).replace(BLANK, label)
        for attribute in templates
        for _, label in person.values[attribute]
    ]


def people_articles(
    people: Sequence[Person], templates: Mapping[str, str], *, seed: int, base: str, between: str, min_chars: int
) -> list[tuple[str, str]]:
    """Return title and text of the articles on the people, :data:`DOSE` for each, of at least `min_chars` characters.

    Every article says all that there is to say, in an order of its own, and so often that it is long enough.
    """
    rng = generator(seed, base, "people", "articles")
    articles = []
    for person in people:
        said = statements(person, templates)
        times = -(-min_chars // max(len(between.join(said)), 1))
        for _ in range(DOSE):
            orders = np.concatenate([rng.permutation(len(said)) for _ in range(times)])
            articles.append((person.name, between.join(said[k] for k in orders)))
    return articles


def write_people_response(people: Sequence[Person], properties: Mapping[str, str], path: Path) -> None:
    """Write the people as a query service would: SPARQL 1.1 JSON, one row for each value of an attribute.

    Args:
        people: the people.
        properties: attribute -> property.
        path: where to write.
    """

    def row(person: Person, attribute: str, item: str, label: str) -> dict[str, dict[str, str]]:
        cells = {
            "person": {"type": "uri", "value": _ENTITY + person.item},
            "personLabel": {"type": "literal", "value": person.name},
            "property": {"type": "uri", "value": _PROPERTY + properties[attribute]},
            "value": {"type": "uri", "value": _ENTITY + item},
            "valueLabel": {"type": "literal", "value": label},
        }
        if attribute in _PRECISION:
            day = f"{item}-01-01" if attribute == "birth_year" else item
            cells |= {
                "value": {"type": "literal", "value": f"{day}T00:00:00Z"},
                "precision": {"type": "literal", "value": _PRECISION[attribute]},
            }
        return cells

    bindings = [
        row(person, attribute, item, label)
        for person in people
        for attribute in properties
        for item, label in person.values[attribute]
    ]
    head = {"vars": ["person", "personLabel", "property", "value", "valueLabel", "precision"]}
    response = {"head": head, "results": {"bindings": bindings}}
    publish.write_text(path, json.dumps(response, ensure_ascii=False, indent=0) + "\n")
