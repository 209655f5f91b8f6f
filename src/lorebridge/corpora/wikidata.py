"""People and their attributes from Wikidata: the query, its answer page by page, and a reader of recorded answers.

The query is that of Zhang et al. (ACL 2025), appendix D, in words: citizens of some nations with an article in the
Wikipedia of the base language and none in those of the languages that are learned. An answer is SPARQL 1.1 Query
Results JSON (W3C Recommendation of 21 March 2013) with one row for each value of an attribute, so that two occupations
and two schools make four rows and not a product: ``person``, ``personLabel``, ``property``, ``value``, ``valueLabel``
and, for a time, ``precision`` (9: the year is known).
"""

from __future__ import annotations

import calendar
import json
import logging
import math
import re
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lorebridge import __version__, publish
from lorebridge.corpora.fetch import fetch_answer
from lorebridge.corpora.specs import unique_keys
from lorebridge.errors import InputError
from lorebridge.records import file_digest, fingerprint

log = logging.getLogger("lorebridge.corpora")

VARIABLES = ("person", "personLabel", "property", "value", "valueLabel", "precision")
ENTITY, PROPERTY = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/direct/"
YEAR_KNOWN = 9
"""The precision of Wikidata's times from which on the year is known."""

DAY_KNOWN = 11
"""That from which on the day is known."""

TIMES = {"birth_year": YEAR_KNOWN, "birth_date": DAY_KNOWN}
"""Attributes that are times, and the precision that they need."""

# Some of those who are found have nothing to ask for, or a name that others have too.
_SPARE = 1.5
_ATTEMPTS = 4  # at an answer that is cut short

_QUERY = """\
SELECT ?person ?personLabel ?property ?value ?valueLabel ?precision WHERE {{
  {{ SELECT DISTINCT ?person WHERE {{ ?person wdt:P27 wd:{nation} . }}
    ORDER BY MD5(STR(?person)) LIMIT {limit} OFFSET {offset} }}
  ?person wdt:P31 wd:Q5 .
  ?article schema:about ?person ; schema:isPartOf <https://{base}.wikipedia.org/> .
  FILTER NOT EXISTS {{
    VALUES ?wikipedia {{ {without} }}
    ?other schema:about ?person ; schema:isPartOf ?wikipedia .
  }}
  {{
    VALUES ?property {{ {properties} }}
    ?person ?property ?value .
  }} UNION {{
    ?person p:{time} ?statement .
    ?statement a wikibase:BestRank ; psv:{time} ?node .
    ?node wikibase:timeValue ?value ; wikibase:timePrecision ?precision .
    BIND(wdt:{time} AS ?property)
  }}
  SERVICE wikibase:label {{ bd:serviceParam wikibase:language "{base},mul" . }}
}}
ORDER BY ?person ?property ?value
"""


class Value(NamedTuple):
    """One value of an attribute of a person, as a response states it.

    Attributes:
        person: item of the person, e.g. ``Q42``.
        name: label of the person; None where it has none.
        attribute: which attribute.
        item: item of the value, or its year; None where the value is unknown or the year is not.
        label: label of the value, or its year; None where it has none.
    """

    person: str
    name: str | None
    attribute: str
    item: str | None
    label: str | None


def query(
    *, nation: str, base: str, without: Sequence[str], properties: Mapping[str, str], offset: int, limit: int
) -> str:
    """Return the query (SPARQL 1.1) for some citizens of a nation and the values of their attributes.

    A digest of their items orders the citizens: a sample that nobody's fame enters, and the same for whoever asks.

    Args:
        nation: item of the nation.
        base: Wikipedia that has an article on each person, and language of the labels.
        without: Wikipedias that have none.
        properties: attribute -> property; that of a birth (:data:`TIMES`) is a time.
        offset: citizens to pass over.
        limit: citizens to look at; fewer are found, because not all have and lack the articles.
    """
    return _QUERY.format(
        nation=nation,
        base=base,
        offset=offset,
        limit=limit,
        time=next(properties[attribute] for attribute in TIMES if attribute in properties),
        without=" ".join(f"<https://{code}.wikipedia.org/>" for code in without),
        properties=" ".join(f"wdt:{p}" for attribute, p in properties.items() if attribute not in TIMES),
    )


def fetch_people(
    *,
    nations: Sequence[str],
    without: Sequence[str],
    base: str,
    properties: Mapping[str, str],
    number: int,
    page: int,
    endpoint: str,
    contact: str | None,
    work: Path,
    out: Path,
) -> dict[str, Any]:
    """Ask the query service for people until there are some more than wanted, and write one response.

    The nations give the same number of people, so that the options of a question on citizenship are about equally
    frequent. Requests go out one by one, each for one page of a nation's citizens, and each answer stays in `work`:
    a later try asks for the rest. A page on which nobody is found ends a nation.

    Args:
        nations: their items.
        without: Wikipedias that have no article on a person.
        base: the Wikipedia that has one, and the language of the labels.
        properties: attribute -> property.
        number: people wanted.
        page: citizens looked at in one request.
        endpoint: address of the query service.
        contact: what tells the service who asks.
        work: a folder for the answers.
        out: where to write the response.

    Returns:
        notes for the record: ``sha256`` of the response, ``people`` by nation, ``requests``.

    Raises:
        InputError: the service refuses, does not answer in time, or answers with something else; nobody is found.
    """
    wanted = math.ceil(_SPARE * number / len(nations))
    bindings: list[dict[str, Any]] = []
    found: dict[str, int] = {}
    requests = 0
    for nation in nations:
        people: set[str] = set()
        offset = 0
        while len(people) < wanted:
            text = query(nation=nation, base=base, without=without, properties=properties, offset=offset, limit=page)
            answer = _ask(text, endpoint=endpoint, contact=contact, out=work / f"{nation}-{offset:07d}.json")
            requests += 1
            if not answer:
                break
            bindings += answer
            people.update(row["person"]["value"] for row in answer)
            log.info("%s: %d of %d people after %d citizens", nation, len(people), wanted, offset + page)
            offset += page
        found[nation] = len(people)
    if not bindings:
        raise InputError(endpoint, f"finds no citizen of {', '.join(nations)}", "Check `people.source`.")
    write_response(bindings, out)
    return {"sha256": file_digest(out), "people": found, "requests": requests}


def _ask(text: str, *, endpoint: str, contact: str | None, out: Path) -> list[dict[str, Any]]:
    """Return the rows of an answer, from `out` if an earlier try has asked the same."""
    address = f"{endpoint}?{urllib.parse.urlencode({'query': text, 'format': 'json'})}"
    # Answers to other queries, of an edited configuration, lie under other names.
    out = out.with_name(f"{out.stem}-{fingerprint([endpoint, text])}.json")
    headers = {
        "Accept": "application/sparql-results+json",
        "User-Agent": f"lorebridge/{__version__}" + (f" ({contact})" if contact else ""),
    }
    mend = "Give a smaller `people.source.page`, say who you are in `people.source.contact`, or try again later."
    for attempt in range(_ATTEMPTS):
        if not out.exists():
            fetch_answer(address, out, headers=headers, mend=mend)
        try:
            return _rows(out)
        except InputError as error:
            # The service answers 200 before it knows whether it will be done in time: then an error ends the answer.
            out.unlink()
            seconds = 2.0**attempt
            log.warning("%s; asking again in %g s", error, seconds)
            time.sleep(seconds)
    raise InputError(endpoint, f"cuts its answer short {_ATTEMPTS} times in a row", mend)


def write_response(bindings: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write rows as a response in SPARQL 1.1 JSON; the bytes depend on the rows alone."""
    response = {"head": {"vars": list(VARIABLES)}, "results": {"bindings": list(bindings)}}
    publish.write_text(out, json.dumps(response, ensure_ascii=False, indent=0, sort_keys=True) + "\n")


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a response.

    Raises:
        InputError: the file is missing or is no response.
    """
    try:
        response = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique_keys())
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Mend `people.source.path`.") from error
    except ValueError as error:
        raise InputError(path, f"is not JSON ({error})", "Save the answer of the query service anew.") from error
    try:
        rows = response["results"]["bindings"]
        return [dict(row) for row in rows]
    except (TypeError, KeyError, ValueError):
        raise InputError(
            path, "is no response of a query service", "Save it as SPARQL 1.1 JSON: {head, results: {bindings: [...]}}."
        ) from None


def read_response(path: Path, properties: Mapping[str, str]) -> Iterator[Value]:
    """Yield the values that a response states, in its order; those of other properties are passed over.

    A label that only repeats the item is none, which is what the service gives where there is none.

    Args:
        path: a response in SPARQL 1.1 JSON with the variables of the query.
        properties: attribute -> property.

    Raises:
        InputError: the file is no response, or a row lacks the person, the property or the value; names the row.
    """
    attributes = {PROPERTY + item: attribute for attribute, item in properties.items()}
    for number, row in enumerate(_rows(path)):
        cell: dict[str, str] = {}
        for name in VARIABLES:
            value = row.get(name)
            if isinstance(value, dict) and isinstance(value.get("value"), str):
                cell[name] = value["value"]
            elif value is not None or name in ("person", "property", "value"):
                raise InputError(
                    f"{path}, row {number}",
                    f"`{name}` is no value of SPARQL JSON" if value is not None else f"no `{name}`",
                    'Give every row {"person": {"type", "value"}, "property": ..., "value": ...}.',
                )
        person = cell["person"].removeprefix(ENTITY)
        if not re.fullmatch(r"Q\d+", person):
            raise InputError(f"{path}, row {number}", f"`person` is no item of {ENTITY}", "Ask for wd: items.")
        attribute = attributes.get(cell["property"])
        if attribute is None:
            continue
        item: str | None
        if attribute in TIMES:
            said = _time(cell["value"], cell.get("precision"), f"{path}, row {number}", TIMES[attribute])
            item = label = said if said is None or attribute == "birth_year" else _date(said)
        else:
            item = cell["value"].removeprefix(ENTITY) if cell["value"].startswith(ENTITY) else None
            label = _label(cell.get("valueLabel"), item) if item else None
        yield Value(person, _label(cell.get("personLabel"), person), attribute, item, label)


def _label(label: str | None, item: str | None) -> str | None:
    return None if label is None or label == item or not label.strip() else " ".join(label.split())


def _date(day: str) -> str:
    """Return a day as it is written in English.

    >>> _date("1960-03-05")
    '5 March 1960'
    """
    year, month, number = day.rsplit("-", 2)
    return f"{int(number)} {calendar.month_name[int(month)]} {year}"


def _time(value: str, precision: str | None, where: str, known: int) -> str | None:
    """Return the year of a time of Wikidata, or the day; None where it is unknown or not known so well.

    Args:
        value: the time, in ISO 8601.
        precision: how well it is known, as Wikidata counts.
        where: for errors.
        known: the precision that is wanted: :data:`YEAR_KNOWN` or :data:`DAY_KNOWN`.
    """
    if not value.lstrip("+-")[:1].isdigit():  # an unknown value is a node without a name
        return None
    year = value[0] * (value[0] == "-") + value.lstrip("+-").split("-")[0].lstrip("0")
    if not year.lstrip("-").isdigit() or (precision is not None and not precision.isdigit()):
        raise InputError(where, f"{value!r} with precision {precision!r} is no time", "Ask for wikibase:timeValue.")
    if precision is not None and int(precision) < known:
        return None
    if known == YEAR_KNOWN:
        return year
    month_day = re.match(r"[+-]?\d+-(\d\d)-(\d\d)", value)
    if month_day is None:
        raise InputError(where, f"{value!r} is no day", "Ask for wikibase:timeValue.")
    is_day = precision is not None and 1 <= int(month_day[1]) <= 12 and int(month_day[2]) > 0
    return f"{year}-{month_day[1]}-{month_day[2]}" if is_day else None
