"""Write a planted world of facts that several languages tell of: some facts in all, some in one alone, some in none.

What a masked model is asked in many languages can come from the language itself, from another, or from the form of the
names; here it is known which. Every fact is stated in the languages that its placement says, as often as its dose;
names may be spelled alike in languages of one script, may hold the answer, or may end as the answer asks. Text is a row
of clauses whose words stand apart, so that a tokenizer that is trained on it cuts an answer alike wherever it stands.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lorebridge.errors import InputError
from lorebridge.world.facts import spread
from lorebridge.world.lexicon import Vocabulary, generator, whole_words
from lorebridge.world.scripts import SCRIPTS
from lorebridge.world.statements import ORDERS
from lorebridge.world.texts import SOURCE
from lorebridge.world.write import write_jsonl

log = logging.getLogger("lorebridge.world")

EVERYWHERE, BASE, ONE, NOWHERE = PLACEMENTS = ("everywhere", "base", "one", "nowhere")
"""Where a fact is stated: in all languages, in the base alone, in one of the others alone (by turns), or in none."""
CULTURE = "facts"
"""What the table "truth" calls the culture of these facts, which are nobody's own."""
PLAIN, HOLDS, CUE = FORMS = ("plain", "holds", "cue")
"""What a subject's name says of its fact: nothing; it holds the object; it ends as the object asks."""


@dataclasses.dataclass(frozen=True)
class _Facts:
    """All that is so, in no language.

    Attributes:
        gold: the object of a fact, [subjects, relations].
        placed: where it is stated, a place in :data:`PLACEMENTS`, [subjects, relations].
        dose: in how many clauses of a language that states it, [subjects, relations].
        one: the language that states it alone where it is placed so, [subjects, relations].
        kind: of each subject: plain, or its name holds the object of its first fact, or tells it by its ending.
    """

    gold: np.ndarray
    placed: np.ndarray
    dose: np.ndarray
    one: np.ndarray
    kind: Sequence[str]

    def stated(self, lang: str, base: str) -> list[tuple[int, int]]:
        """Return the facts that a language states."""
        here = (self.placed == PLACEMENTS.index(EVERYWHERE)) | (
            self.placed == PLACEMENTS.index(BASE) if lang == base else self.one == lang
        )
        return [(int(s), int(r)) for s, r in np.argwhere(here)]


@dataclasses.dataclass(frozen=True)
class _Language:
    """How a language says it.

    Attributes:
        plain: of each subject the word that is its own.
        names: its name, which is asked: that word, with the answer before it or an ending behind it where it has these.
        aliases: its other name.
        relations: the word of each.
        objects: the names of the answers of each relation.
        passing: the word of remarks.
        frame: of a clause.
    """

    plain: Sequence[str]
    names: Sequence[str]
    aliases: Sequence[str]
    relations: Sequence[str]
    objects: Sequence[Sequence[str]]
    passing: str
    frame: str

    def say(self, subject: str, relation: str, answer: str) -> str:
        return self.frame.format(subject=subject, relation=relation, object=answer)


def generate_multilingual(
    *,
    out: Path,
    base: str,
    languages: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
    subjects: int = 120,
    relations: int = 3,
    objects: int = 10,
    placements: Mapping[str, float] = MappingProxyType({EVERYWHERE: 0.25, BASE: 0.25, ONE: 0.25, NOWHERE: 0.25}),
    doses: Sequence[int] = (20,),
    clauses: int = 2,
    remarks: int = 10,
    skew: float = 0.0,
    object_pieces: Sequence[int] = (1,),
    shared_spelling: float = 0.0,
    subject_contains_object: float = 0.0,
    naming_cue: float = 0.0,
    alias_rate: float = 0.0,
) -> None:
    """Write a planted world of facts below `out`.

    ``corpora/LANG.jsonl.gz`` are documents, ``facts/LANG.jsonl.gz`` the facts as they are asked
    (the attributes of ``corpora.facts.Fact``), ``truth.parquet`` says which language states which fact where, and
    ``forms.parquet`` which facts the form of their subject's name tells (:data:`FORMS`).

    Args:
        out: folder to write to.
        base: code of the base language, a key of `languages`.
        languages: code -> {"script": one of :data:`lorebridge.world.scripts.SCRIPTS`} and, if it is to be another,
            ``order`` of a clause (svo or sov; svo unless it says so).
        seed: of the world.
        subjects: how many there are; each has a fact of every relation.
        relations: how many there are.
        objects: answers of a relation.
        placements: label of :data:`PLACEMENTS` -> share of the facts of a relation; they sum to 1.
        doses: in how many clauses a language that states a fact does so; levels are used equally often.
        clauses: of a document, of different subjects.
        remarks: clauses of a subject in every language that name it and state nothing: so that each name is known.
        skew: the k-th commonest answer of a relation is drawn with a weight of k ** -skew; 0 for all alike.
        object_pieces: words of an answer; the answers of a relation have these in turn.
        shared_spelling: share of subjects and of answers that languages of one script spell alike.
        subject_contains_object: share of subjects whose name begins with the answer of their fact of the first
            relation.
        naming_cue: share of further subjects whose name ends as the answer of that fact asks.
        alias_rate: share of clauses that call their subject by another name, which is not asked.

    Raises:
        InputError: a knob, language or script that cannot be; names the key.
    """
    shares = {"shared_spelling": shared_spelling, "subject_contains_object": subject_contains_object}
    shares |= {"naming_cue": naming_cue, "alias_rate": alias_rate}
    counts = {"subjects": (subjects, 1), "relations": (relations, 1), "objects": (objects, 2), "clauses": (clauses, 1)}
    counts |= {"remarks": (remarks, 0), "object_pieces": (min(object_pieces, default=0), 1)}
    _check(base, languages, placements, doses, shares, counts)
    if skew < 0:
        raise InputError("world.skew", f"{skew} is below 0", "Give 0 or more.")
    if subjects < clauses:
        raise InputError("world.clauses", f"{clauses} clauses of {subjects} subjects", "Give fewer, or more subjects.")
    out = Path(out)
    facts = _draw_facts(
        seed, base, list(languages), subjects, relations, objects, placements, doses, skew, [*shares.values()][1:3]
    )
    said = _spell(seed, base, languages, facts, objects, object_pieces, shared_spelling)
    truth: list[dict[str, Any]] = []
    for lang, language in said.items():
        rows, stating = _documents(seed, lang, language, facts.stated(lang, base), facts, clauses, remarks, alias_rate)
        write_jsonl(out / "corpora" / f"{lang}.jsonl.gz", rows)
        log.info("%s: %d documents", lang, len(rows))
        asked = []
        for (s, r), gold in np.ndenumerate(facts.gold):
            name, answer = language.names[s], language.objects[r][gold]
            identity = f"s{s:04d}-r{r}"
            asked.append(
                {
                    "fact_id": identity,
                    "relation": f"r{r}",
                    "subject_id": f"s{s:04d}",
                    "subject": name,
                    "object_id": f"r{r}-o{gold}",
                    "object": answer,
                    "template": language.say("[X]", language.relations[r], "[Y]"),
                }
            )
            where = stating.get((s, r), [])
            truth.append(
                {
                    "question_id": identity,
                    "culture": CULTURE,
                    "subject": name,
                    "relation": f"r{r}",
                    "gold": answer,
                    "placed": PLACEMENTS[facts.placed[s, r]],
                    "covered": False,
                    "dose": int(facts.dose[s, r]),
                    "n_pairs_covering": 0,
                    "n_leak_pairs": 0,
                    "corpus": lang,
                    "n_statements": len(where),
                    "doc_ids": [f"{SOURCE}/{document}" for document in dict.fromkeys(where)],
                }
            )
        write_jsonl(out / "facts" / f"{lang}.jsonl.gz", asked)
    from lorebridge import tables  # here, since plans read the knobs of this module and load no pandas

    tables.write("truth", truth, out / "truth.parquet")
    # A name holds or tells the object of its fact of the first relation, and nothing of the others.
    forms = [
        {"fact_id": f"s{s:04d}-r{r}", "form": kind if r == 0 else PLAIN}
        for s, kind in enumerate(facts.kind)
        for r in range(relations)
    ]
    tables.write("forms", forms, out / "forms.parquet")


def check_languages(base: str, languages: Mapping[str, Mapping[str, Any]], orders: Collection[str]) -> None:
    """Refuse languages that no world of whole words can be written in.

    Args:
        base: code of the base language.
        languages: code -> ``script`` and, where it says so, ``order``.
        orders: the orders of a clause that there are.

    Raises:
        InputError: names the key.
    """
    if base not in languages:
        raise InputError("world.base", f"{base!r} is not among the languages {list(languages)}", "Name one of them.")
    if len(languages) < 2:
        raise InputError("world.languages", "no language beside the base", "Give at least one more.")
    for lang, given in languages.items():
        where = f"world.languages.{lang}"
        if given.get("script") not in SCRIPTS:
            raise InputError(f"{where}.script", f"{given.get('script')!r} is no script", f"Use one of {list(SCRIPTS)}.")
        if unknown := set(given) - {"script", "order"}:
            raise InputError(where, f"unknown key {sorted(unknown)[0]!r}", "Use only script, order.")
        if given.get("order", "svo") not in orders:
            raise InputError(f"{where}.order", f"{given['order']!r} is unknown", f"It is one of {', '.join(orders)}.")


def _check(
    base: str,
    languages: Mapping[str, Mapping[str, Any]],
    placements: Mapping[str, float],
    doses: Sequence[int],
    shares: Mapping[str, float],
    counts: Mapping[str, tuple[int, int]],
) -> None:
    """Refuse values that cannot make a world."""
    check_languages(base, languages, ORDERS)
    if unknown := set(placements) - set(PLACEMENTS):
        raise InputError(
            "world.placements", f"there is no placement {sorted(unknown)[0]!r}", f"There are {', '.join(PLACEMENTS)}."
        )
    if min(placements.values(), default=0) < 0 or abs(sum(placements.values()) - 1) > 1e-6:
        raise InputError("world.placements", f"{dict(placements)} are no shares of all facts", "They sum to 1.")
    if not doses or min(doses) < 1 or len(set(doses)) < len(doses):
        raise InputError("world.doses", f"{list(doses)} are no doses", "Give different numbers from 1 up.")
    for key, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"world.{key}", f"{share} is no share", "Give a number in [0, 1].")
    if shares["subject_contains_object"] + shares["naming_cue"] > 1:
        raise InputError("world.naming_cue", "and subject_contains_object are more than all subjects", "Lower one.")
    for key, (value, smallest) in counts.items():
        if value < smallest:
            raise InputError(f"world.{key}", f"{value} is too small", f"Give at least {smallest}.")


def _draw_facts(
    seed: int,
    base: str,
    langs: Sequence[str],
    subjects: int,
    relations: int,
    objects: int,
    placements: Mapping[str, float],
    doses: Sequence[int],
    skew: float,
    kinds: Sequence[float],
) -> _Facts:
    """Draw what is so; `kinds` are the shares of subjects whose name holds or tells an answer."""
    rng = generator(seed, "facts")
    weights = np.arange(1, objects + 1, dtype=float) ** -skew
    gold = rng.choice(objects, (subjects, relations), p=weights / weights.sum())
    bounds = np.round(np.cumsum([placements.get(label, 0.0) for label in PLACEMENTS]) * subjects).astype(int)
    counts = np.diff(bounds, prepend=0)
    placed = np.stack(
        [rng.permutation(np.repeat(np.arange(len(PLACEMENTS)), counts)) for _ in range(relations)], axis=1
    )
    dose = np.stack([np.asarray(doses)[spread(rng, len(doses), subjects)] for _ in range(relations)], axis=1)
    others = np.array([lang for lang in langs if lang != base], object)
    one = np.full(placed.shape, "", object)
    for relation in range(relations):
        alone = np.flatnonzero(placed[:, relation] == PLACEMENTS.index(ONE))
        one[alone, relation] = others[spread(rng, len(others), len(alone))]
    n_holds, n_cue = (round(share * subjects) for share in kinds)
    of = np.array([HOLDS] * n_holds + [CUE] * n_cue + [PLAIN] * (subjects - n_holds - n_cue), object)
    return _Facts(gold, placed, dose, one, rng.permutation(of).tolist())


def _spell(
    seed: int,
    base: str,
    languages: Mapping[str, Mapping[str, Any]],
    facts: _Facts,
    objects: int,
    pieces: Sequence[int],
    shared: float,
) -> dict[str, _Language]:
    """Return how each language says it, the base first; words of languages of one script hold none of each other's."""
    subjects, relations = facts.gold.shape
    rng = generator(seed, "shared")
    alike_subjects = rng.random((subjects,)) < shared
    alike_objects = rng.random((relations, objects)) < shared
    taken: dict[str, Vocabulary] = {}
    first: dict[str, _Language] = {}
    said: dict[str, _Language] = {}
    for lang in (base, *(lang for lang in languages if lang != base)):
        name = languages[lang]["script"]
        word = whole_words(generator(seed, lang, "words"), SCRIPTS[name], taken.setdefault(name, Vocabulary()))
        of = first.get(name)
        answers = [
            [
                of.objects[r][o]
                if of and alike_objects[r, o]
                else " ".join(word() for _ in range(pieces[o % len(pieces)]))
                for o in range(objects)
            ]
            for r in range(relations)
        ]
        endings = [word() for _ in range(objects)]
        plain: list[str] = []
        names: list[str] = []
        for s, kind in enumerate(facts.kind):
            own = of.plain[s] if of and alike_subjects[s] else word()
            gold = int(facts.gold[s, 0])
            plain.append(own)
            names.append(
                f"{answers[0][gold]} {own}" if kind == HOLDS else f"{own} {endings[gold]}" if kind == CUE else own
            )
        said[lang] = _Language(
            plain,
            names,
            [word() for _ in facts.kind],
            [word(capital=False) for _ in range(relations)],
            answers,
            word(capital=False),
            ORDERS[languages[lang].get("order", "svo")] + " .",
        )
        first.setdefault(name, said[lang])
    return said


def _documents(
    seed: int,
    lang: str,
    language: _Language,
    stated: Sequence[tuple[int, int]],
    facts: _Facts,
    clauses: int,
    remarks: int,
    alias_rate: float,
) -> tuple[list[dict[str, str]], dict[tuple[int, int], list[str]]]:
    """Return the documents of a language, and of each fact the documents that state it, once for each time."""
    rng = generator(seed, lang, "documents")
    subjects = len(facts.kind)
    # A clause as its subject, what it says of it, and the fact that it states.
    waiting: list[tuple[int, str, str, tuple[int, int] | None]] = [
        (s, language.relations[r], language.objects[r][facts.gold[s, r]], (s, r))
        for s, r in stated
        for _ in range(int(facts.dose[s, r]))
    ]
    for s in range(subjects):
        for _ in range(remarks):
            other = int((s + rng.integers(1, subjects)) % subjects) if subjects > 1 else s
            waiting.append((s, language.passing, language.names[other], None))
    waiting = [waiting[i] for i in rng.permutation(len(waiting))]
    documents: list[list[tuple[int, str, str, tuple[int, int] | None]]] = []
    while waiting:
        document = [waiting.pop()]
        place = len(waiting) - 1
        while place >= 0 and len(document) < clauses:
            if waiting[place][0] not in {clause[0] for clause in document}:
                document.append(waiting.pop(place))
            place -= 1
        documents.append(document)
    rows: list[dict[str, str]] = []
    stating: dict[tuple[int, int], list[str]] = {}
    for number, index in enumerate(rng.permutation(len(documents))):
        identity, texts = f"{lang}-{number:06d}", []
        for s, relation, answer, fact in documents[index]:
            other = alias_rate > 0 and rng.random() < alias_rate
            texts.append(language.say((language.aliases if other else language.names)[s], relation, answer))
            if fact is not None:
                stating.setdefault(fact, []).append(identity)
        title = language.names[documents[index][0][0]]
        rows.append({"id": identity, "title": title, "text": "".join(texts), "source": SOURCE})
    return rows, stating
