"""Questions on people (Zhang et al., ACL 2025, appendix D): each on one attribute, the same in every language.

Whatever is drawn is drawn for the person and the attribute alone (:func:`lorebridge.corpora.people.lot`), so that a
person more among them changes no more than the questions that the newcomer's own value enters.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.corpora.people import lot, read_people, within
from lorebridge.corpora.wikidata import TIMES
from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.probes")

CULTURE = "people"
N_OPTIONS = 4
YEARS = (20, 40, 80, 10_000)
"""Widths of the window of years that the options of a year of birth are from; the first that holds enough."""


def question_id(person: str, attribute: str) -> str:
    """Return the identity of a question.

    >>> question_id("Q42", "birthplace")
    'people-Q42-birthplace'
    """
    return f"{CULTURE}-{person}-{attribute}"


def person_and_attribute(question: str) -> tuple[str, str]:
    """Return what a question is on.

    >>> person_and_attribute("people-Q42-birth_year")
    ('Q42', 'birth_year')
    """
    _, person, attribute = question.split("-")
    return person, attribute


def true_of(label: str, own: Collection[str]) -> bool:
    """Return whether a value could be true of a person with the values `own`: it is one, or holds or is held by one.

    >>> true_of("actor", ["film actor"]), true_of("painter", ["film actor"])
    (True, False)
    """
    return any(within(label, value) or within(value, label) for value in own)


def _year(time: str) -> int:
    """Return the year of a year or of a date in English words.

    >>> _year("1960"), _year("5 March 1960")
    (1960, 1960)
    """
    return int(time.split()[-1])


def distractors(
    key: tuple[object, ...], gold: str, own: Collection[str], others: Mapping[str, Sequence[str]], *, years: bool
) -> list[str] | None:
    """Return three wrong answers, all different, or None where other people's values do not give them.

    Other people are gone through in an order by lot, and each gives one of their values, so that what is often an
    answer is often offered. No option may be true of the person (:func:`true_of`), nor of another option. Years are
    from a window around the gold (:data:`YEARS`) that is shifted by lot, so that the gold is as likely the first of
    them as the last.

    Args:
        key: what is drawn for; with the same key the same is drawn.
        gold: the answer.
        own: all values of the attribute that the person has.
        others: other person -> values of the attribute.
        years: whether the values are years, or dates that end in one.
    """
    gold_year = _year(gold) if years else 0
    order = sorted(others, key=lambda person: (lot(*key, person), person))
    for width in YEARS if years else (0,):
        first = gold_year - lot(*key, "window") % (width + 1)
        found: list[str] = []
        for person in order:
            value = min(others[person], key=lambda value: (lot(*key, value), value))
            near = not years or first <= _year(value) <= first + width
            if near and not true_of(value, [*own, *found]):
                found.append(value)
                if len(found) == N_OPTIONS - 1:
                    return found
    return None


def build_people_questions(
    *,
    langs: Sequence[str],
    templates: Mapping[str, Mapping[str, str]],
    questions: int,
    seed: int,
    people: Path,
    mentions: Sequence[Path],
    out: Path,
) -> dict[str, Any]:
    """Write the ``questions`` table of the people in the base language and one other.

    Which attributes are asked for: everybody's attributes are put in an order by lot; everybody's first is taken, then
    everybody's second, and so on, within a round by lot, until there are `questions`. Of several values the
    answer is drawn by lot, and none of the others is offered.

    All questions are in the subset ``reference``; in ``clean`` are those on people whom no text in the other language
    names. None is in ``strict``: names and most answers are in Latin letters in every language, as in the paper.

    Args:
        langs: the base language and the other.
        templates: language -> attribute -> wording with ``{name}`` and a blank.
        questions: how many are wanted.
        seed: of the lots.
        people: table "people".
        mentions: tables "people_mentions" of the texts in the other language.
        out: the table.

    Returns:
        notes for the record: number of questions by subset and by attribute, and of people named in the other language.

    Raises:
        InputError: no attribute of anybody has three wrong answers.
    """
    known = read_people(people)
    named = set()
    for path in mentions:
        counts = tables.read(path, ["person_id", "n_documents"])
        named |= set(counts["person_id"][counts["n_documents"] > 0])
    asked: list[tuple[int, int, str, str, list[str], int]] = []
    for person, (_, attributes) in known.items():
        drawn = sorted(attributes, key=lambda attribute: lot(seed, person, attribute))
        turn = 0
        for attribute in drawn:
            own = attributes[attribute]
            key = (seed, person, attribute)
            gold = own[min(own, key=lambda item: lot(*key, item))]
            others = {
                other: list(found[attribute].values())
                for other, (_, found) in known.items()
                if other != person and attribute in found
            }
            wrong = distractors(key, gold, own.values(), others, years=attribute in TIMES)
            if wrong is not None:
                place = lot(*key, "place") % N_OPTIONS
                options = [*wrong[:place], gold, *wrong[place:]]
                asked.append((turn, lot(*key, "turn"), person, attribute, options, place))
                turn += 1
    if not asked:
        raise InputError(people, "nobody's attribute has three wrong answers", "Give more people.")
    chosen = sorted(sorted(asked)[:questions], key=lambda one: one[2:4])
    if len(chosen) < questions:
        log.warning("%s: gives %d questions, %d are wanted", people, len(chosen), questions)
    rows = [
        {
            "question_id": question_id(person, attribute),
            "culture": CULTURE,
            "lang": lang,
            "text": templates[lang][attribute].replace("{name}", known[person][0]),
            "option_index": index,
            "option": option,
            "is_gold": index == place,
            "subset": ["reference"] if person in named else ["reference", "clean"],
            "n_blanks": 1,
        }
        for lang in langs
        for _, _, person, attribute, options, place in chosen
        for index, option in enumerate(options)
    ]
    tables.write("questions", rows, out)
    clean = sum(person not in named for _, _, person, *_ in chosen)
    return {
        "questions": {"reference": len(chosen), "clean": clean},
        "by_attribute": dict(sorted(Counter(attribute for _, _, _, attribute, *_ in chosen).items())),
        "people": len({person for _, _, person, *_ in chosen}),
        "named": len(named),
    }


def person_clusters(questions: pd.DataFrame) -> pd.Series:
    """Return the cluster of each question on people: question_id -> number of its person.

    Args:
        questions: rows of the table "questions".
    """
    ids = sorted(questions["question_id"].unique())
    codes = pd.factorize(pd.Series([person_and_attribute(question)[0] for question in ids]))[0]
    return pd.Series(codes, index=pd.Index(ids, name="question_id"), name="cluster")
