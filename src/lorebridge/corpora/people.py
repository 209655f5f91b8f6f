"""The people who are asked about: values of a response merged by person, and who is left out for which reason."""

from __future__ import annotations

import hashlib
import json
import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import regex

from lorebridge import publish, tables
from lorebridge.corpora.wikidata import TIMES, read_response
from lorebridge.errors import InputError
from lorebridge.records import file_digest

log = logging.getLogger("lorebridge.corpora")


def lot(*parts: object) -> int:
    """Return a number that is drawn by lot for what it is drawn for, and does not depend on what else is drawn."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def within(phrase: str, text: str) -> bool:
    """Return whether a phrase stands in a text as whole words, whatever the case.

    >>> within("actor", "film actor"), within("actor", "factory worker")
    (True, False)
    """
    return regex.search(rf"\b{regex.escape(phrase.casefold())}\b", text.casefold()) is not None


def merge_people(
    *, number: int, seed: int, script: str, properties: Mapping[str, str], response: Path, out: Path, audit: Path
) -> dict[str, Any]:
    """Write table "people", the values of every attribute of some people, and an audit of who is left out and why.

    A person is left out, for the first reason that holds, who has ``no name`` in the response, a name of ``one word``
    (found everywhere), a name with ``other letters`` than those of the base language's script (which its corpus has
    lost), a ``shared name``, or ``no attribute`` that can be asked for. A value is left out that is ``unknown`` or has
    no label, whose label has ``other letters`` or stands ``in the name`` of the person; a birth where
    the response gives different ones (``contradictory``). Of the rest `number` are drawn by lot, each by itself: a
    person more in the response takes the place of one at most.

    Args:
        number: people wanted.
        seed: of the lots.
        script: Unicode script of the base language.
        properties: attribute -> property.
        response: SPARQL 1.1 JSON (:mod:`lorebridge.corpora.wikidata`).
        out: table "people".
        audit: JSON: counts of people and values by reason, and the response's sha256.

    Returns:
        notes for the record: ``people``, the number written.

    Raises:
        InputError: the response is malformed or names one person in two ways, or fewer than 4 people are left.
    """
    foreign = regex.compile(rf"(?=\p{{L}})[^\p{{Script={script}}}\p{{Script=Common}}\p{{Script=Inherited}}]")
    names: dict[str, str | None] = {}
    values: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    dropped_values: Counter[str] = Counter()
    rows = 0
    for value in read_response(response, properties):
        rows += 1
        name = unicodedata.normalize("NFC", value.name) if value.name else None
        if names.setdefault(value.person, name) != name:
            raise InputError(
                f"{response}, {value.person}",
                f"is called {names[value.person]!r} and {name!r}",
                "Ask for labels in one language.",
            )
        if value.item is None or value.label is None:
            dropped_values["unknown"] += 1
            continue
        label = unicodedata.normalize("NFC", value.label)
        if foreign.search(label):
            dropped_values["other letters"] += 1
        elif name and within(label, name):
            dropped_values["in the name"] += 1
        else:
            values[value.person][value.attribute][value.item] = label
    for attributes in values.values():
        for birth in TIMES:
            if len(attributes[birth]) > 1:
                dropped_values["contradictory"] += len(attributes.pop(birth))
    shared = Counter(name.casefold() for name in names.values() if name)

    def reason(person: str, name: str | None) -> str | None:
        if not name:
            return "no name"
        if len(name.split()) < 2:
            return "one word"
        if foreign.search(name):
            return "other letters"
        if shared[name.casefold()] > 1:
            return "shared name"
        return None if any(values[person].values()) else "no attribute"

    reasons = {person: reason(person, name) for person, name in names.items()}
    usable = [person for person, why in reasons.items() if why is None]
    chosen = sorted(sorted(usable, key=lambda person: (lot(seed, person), person))[:number])
    if len(chosen) < 4:
        raise InputError(response, f"has {len(chosen)} people who can be asked about", "Give a response with more.")
    if len(chosen) < number:
        log.warning("%s: %d people can be asked about, %d are wanted", response, len(chosen), number)
    written = [
        {
            "person_id": person,
            "name": names[person],
            "attribute": attribute,
            "items": sorted(found),
            "values": [found[item] for item in sorted(found)],
        }
        for person in chosen
        for attribute in properties
        if (found := values[person][attribute])
    ]
    tables.write("people", written, out)
    counts = {
        "response": file_digest(response),
        "rows": rows,
        "dropped_values": dict(sorted(dropped_values.items())),
        "people": len(names),
        "dropped": dict(sorted(Counter(why for why in reasons.values() if why).items())),
        "not_drawn": len(usable) - len(chosen),
        "kept": len(chosen),
        "kept_by_attribute": {a: sum(row["attribute"] == a for row in written) for a in properties},
    }
    publish.write_text(audit, json.dumps(counts, ensure_ascii=False, indent=1) + "\n")
    return {"people": len(chosen)}


def read_people(path: Path) -> dict[str, tuple[str, dict[str, dict[str, str]]]]:
    """Return person -> (name, attribute -> item -> value) of table "people".

    Raises:
        InputError: the table cannot be read.
    """
    people: dict[str, tuple[str, dict[str, dict[str, str]]]] = {}
    for row in tables.read(path).to_dict("records"):
        _, attributes = people.setdefault(row["person_id"], (row["name"], {}))
        attributes[row["attribute"]] = dict(zip(row["items"], row["values"], strict=True))
    return people


def name_list(path: Path) -> Sequence[tuple[str, str]]:
    """Return (person, name) of everybody in table "people", in its order."""
    return [(person, name) for person, (name, _) in read_people(path).items()]
