"""Write a planted world of bare statements: short documents, names that a rule spells, text that teaches to copy.

The other planted world (:mod:`lorebridge.world.planting`) resembles an encyclopedia. This one is made so that a bridge
*can* carry: the names of one language may follow from those of the other word by word, the base language's text states
passing things twice (a model learns to copy within a document), and pairs hold passing things too, which nobody can
know by heart and which are cheapest to predict from the other half.

Every text is a row of clauses, each a name, a relation and an object, and before *every* word stands a space, the first
included: so a tokenizer that is trained on it keeps each word whole and knows it by one token wherever it stands, and a
clause has as many tokens in one language as in any other.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from lorebridge.errors import InputError
from lorebridge.world.facts import N_OPTIONS, PLACEMENTS, balance, spread
from lorebridge.world.lexicon import BLANK, Vocabulary, generator
from lorebridge.world.scripts import SCRIPTS, Script, clone_problems, transcribed
from lorebridge.world.texts import SOURCE
from lorebridge.world.write import write_json, write_jsonl

log = logging.getLogger("lorebridge.world")

NAMES = ("transliterated", "opaque", "shared")
ORDERS = {"svo": " {subject} {relation} {object}", "sov": " {subject} {object} {relation}"}
LABELS = tuple(label for label, *_ in PLACEMENTS)
# Keys of a language beside its script, in the base language and in another.
BASE_KEYS = ("order",)
OWN_KEYS = ("order", "names", "anchored", "coverage", "repetition", "pairs", "one_off", "switched")
PASSING = 0.05
"""Share of a language's documents that state one-off clauses once, where none states them twice: so that every word of
the language stands in its own text, which a tokenizer is trained on."""
# Tries for a clause that goes with those before it; one in two goes.
TRIES = 1000


class Clause(NamedTuple):
    """What a clause says, in no language.

    Attributes:
        subject: an entity; below 0 a background name (-1 is the first).
        relation: below R one of facts, from R on one of passing events.
        object: of the relation's pool (of relation modulo R).
    """

    subject: int
    relation: int
    object: int


@dataclasses.dataclass(frozen=True)
class Facts:
    """All that is so in the world; the same for each of its languages.

    Attributes:
        place: where a fact is stated, a place in :data:`LABELS`, [entities, relations].
        gold: its object, [entities, relations].
        dose: in how many documents of each language that states it, [entities, relations].
        asked: the facts that are asked, (entity, relation), in the order of the questions.
        options: the objects that a question offers, [questions, options].
        n_objects: objects of a relation.
    """

    place: np.ndarray
    gold: np.ndarray
    dose: np.ndarray
    asked: Sequence[tuple[int, int]]
    options: np.ndarray
    n_objects: int

    @functools.cached_property
    def offered(self) -> dict[tuple[int, int], frozenset[int]]:
        """The objects that the question on an entity and relation offers."""
        return {fact: frozenset(row) for fact, row in zip(self.asked, self.options.tolist(), strict=True)}

    def stated(self, *labels: str) -> list[tuple[int, int]]:
        """Return the facts that are placed so, (entity, relation)."""
        wanted = np.isin(self.place, [LABELS.index(label) for label in labels])
        return [(int(e), int(r)) for e, r in np.argwhere(wanted)]

    def clause(self, fact: tuple[int, int]) -> Clause:
        """Return the clause that states a fact."""
        return Clause(*fact, int(self.gold[fact]))

    def agree(self, one: Clause, other: Clause) -> bool:
        """Say whether two clauses may stand in one text.

        The object of neither may be one that a question on the other's subject offers: else subject and answer would
        stand together where nothing states the fact. All options of a question are kept apart alike, so that none is
        favoured.
        """
        n_relations = self.gold.shape[1]
        return one.subject != other.subject and not any(
            there.object in self.offered.get((here.subject, there.relation % n_relations), ())
            for here, there in ((one, other), (other, one))
        )

    def passing(self, rng: np.random.Generator, entities: Sequence[int], n_background: int) -> Clause:
        """Draw a one-off clause: an event of an entity, or a fact's relation of a background name, half of each.

        The objects that a question on the entity offers are left out of its events, all of them alike.
        """
        n_relations = self.gold.shape[1]
        relation, n_objects = int(rng.integers(n_relations)), self.n_objects
        if len(entities) and (not n_background or rng.random() < 0.5):
            entity = entities[int(rng.integers(len(entities)))]
            out = self.offered.get((entity, relation), frozenset())
            free = [o for o in range(n_objects) if o not in out]
            return Clause(entity, n_relations + relation, free[int(rng.integers(len(free)))])
        return Clause(-1 - int(rng.integers(n_background)), relation, int(rng.integers(n_objects)))


@dataclasses.dataclass(frozen=True)
class Language:
    """How a language says it.

    Attributes:
        code: its code.
        frame: of a clause, see :data:`ORDERS`.
        names: of each entity, and behind them of each background name.
        n_entities: how many of them are entities.
        relations: the word for each relation of facts, and behind them for each of events.
        objects: the words of each pool.
    """

    code: str
    frame: str
    names: Sequence[str]
    n_entities: int
    relations: Sequence[str]
    objects: Sequence[Sequence[str]]

    def name(self, subject: int) -> str:
        """Return the name of an entity, or (below 0) of a background name."""
        return self.names[subject if subject >= 0 else self.n_entities - 1 - subject]

    def say(self, clause: Clause, given: str | None = None) -> str:
        """Return a clause, with another word for its object if one is given."""
        pool = self.objects[clause.relation % len(self.objects)]
        return self.frame.format(
            subject=self.name(clause.subject),
            relation=self.relations[clause.relation],
            object=pool[clause.object] if given is None else given,
        )

    def switched(self, clauses: Sequence[Clause], base: Language, rng: np.random.Generator, share: float) -> str:
        """Return clauses as a text in which a share of the names, relations and objects stand in the base's words."""
        return "".join(
            self.frame.format(
                subject=(base if in_base[0] else self).name(clause.subject),
                relation=(base if in_base[1] else self).relations[clause.relation],
                object=(base if in_base[2] else self).objects[clause.relation % len(self.objects)][clause.object],
            )
            for clause, in_base in zip(clauses, rng.random((len(clauses), 3)) < share, strict=True)
        )

    def clone(self, code: str, letters: Callable[[str], str]) -> Language:
        """Return the language as it is written in other letters."""
        pools = [[letters(word) for word in pool] for pool in self.objects]
        names, relations = ([letters(word) for word in words] for words in (self.names, self.relations))
        return dataclasses.replace(self, code=code, names=names, relations=relations, objects=pools)

    def words(self) -> set[str]:
        """Return all words that it writes."""
        pools = itertools.chain.from_iterable(self.objects)
        return {*(word for name in self.names for word in name.split(" ")), *self.relations, *pools}

    def text(self, clauses: Sequence[Clause]) -> str:
        """Return clauses as a text."""
        return "".join(self.say(clause) for clause in clauses)


@dataclasses.dataclass(frozen=True)
class _Words:
    """The words of a language: what names are built of, and the rest."""

    names: Sequence[str]
    background: Sequence[str]
    relations: Sequence[str]
    objects: Sequence[Sequence[str]]

    def all(self) -> list[str]:
        """Return all of them, case-folded."""
        pools = itertools.chain.from_iterable(self.objects)
        return [word.casefold() for word in (*self.names, *self.background, *self.relations, *pools)]


def _draw_words(
    seed: int, lang: str, script: Script, taken: Sequence[str], name_words: int, background_words: int, n: int, m: int
) -> _Words:
    """Draw the words of a language, none of which holds another or one that is taken."""
    rng, vocabulary = generator(seed, lang, "words"), Vocabulary(taken)

    def word(onsets: Sequence[str], capital: bool) -> str:
        def draw() -> str:
            while True:
                harmony = int(rng.integers(len(script.vowels)))
                found = "".join(script.syllable(rng, onsets, harmony) for _ in range(2))
                # A mark (a Tibetan vowel) is no letter to a tokenizer, which would cut the word there.
                if found.isalpha():
                    return found.capitalize() if capital and script.capitals else found

        return vocabulary.new(draw)

    return _Words(
        names=[word(script.name_onsets, True) for _ in range(name_words)],
        background=[word(script.name_onsets, True) for _ in range(background_words)],
        relations=[word(script.word_onsets, False) for _ in range(2 * n)],
        objects=[[word(script.name_onsets, True) for _ in range(m)] for _ in range(n)],
    )


def _draw_names(rng: np.random.Generator, words: int, length: int, count: int) -> list[tuple[int, ...]]:
    """Draw different names, each a sequence of `length` words below `words`."""
    numbers = rng.choice(words**length, count, replace=False)
    return [tuple(int(i) for i in np.unravel_index(number, (words,) * length)) for number in numbers]


def generate_statements(
    *,
    out: Path,
    base: str,
    languages: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
    entities: int = 400,
    objects: int = 16,
    placements: Mapping[str, int] = MappingProxyType({"en_only": 2, "xx_only": 1, "both": 2, "neither": 1}),
    doses: Sequence[int] = (24,),
    questions: Mapping[str, int] = MappingProxyType({"en_only": 320, "xx_only": 160, "both": 160, "neither": 160}),
    name_length: int = 2,
    name_words: int = 40,
    background_names: int = 60,
    background_words: int = 12,
    clauses: int = 2,
    repetition: float = 0.5,
    names: str = "transliterated",
    anchored: float = 0.0,
    coverage: float = 0.7,
    pairs: int = 20000,
    one_off: float = 0.6,
    switched: float = 0.0,
    clones: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> None:
    """Write a planted world of statements below `out`, in the files of :func:`lorebridge.world.planting.generate`.

    All languages tell of one world: the same entities and facts, stated by each language beside the base where the
    fact's placement says so. Each entity has one fact for each relation; which of them only the base states, only the
    other language, both or neither is drawn within the entity. Pairs state facts that both languages state, and
    one-off clauses; never a fact that one language alone states, nor one that none does. In no text do a subject and
    an option of its question stand together, but where the fact is stated.

    What a language writes depends on the seed, the base and that language alone.

    Args:
        out: folder to write to.
        base: code of the base language, a key of `languages`.
        languages: code -> {"script": Latin, Hangul, Han, Tibetan or Mongolian} and, if it is to differ from the world,
            ``order`` (svo or sov; svo unless it says so) and, in a language that is not the base, ``names``,
            ``anchored``, ``coverage``, ``repetition`` (of its own documents; 0 unless it says so), ``pairs``,
            ``one_off`` and ``switched``.
        seed: of the world.
        entities: how many there are.
        objects: answers of a relation; a question offers four of them.
        placements: how many facts of an entity are placed so, by the labels of
            :data:`lorebridge.world.facts.PLACEMENTS`; together they are the relations.
        doses: in how many documents a fact is stated, in each language that states it; levels are used equally often
            within a placement.
        questions: how many facts are asked, by their placement; they are spread over the doses.
        name_length: words of a name.
        name_words: words that the entities' names are built of.
        background_names: names that are no entity's; one-off clauses state facts' relations of them.
        background_words: words that these are built of, and no entity's name.
        clauses: of a document, and of each half of a pair.
        repetition: share of the base's documents that state one-off clauses twice, the second time in any order.
        names: how a language writes an entity: ``transliterated`` (each word of the base's name has its own in the
            language, by one rule for all names), ``opaque`` (by other words, drawn for each name) or ``shared`` (as
            the base does).
        anchored: share of the entities that a language writes as the base does, whatever `names` says.
        coverage: share of the entities that pairs mention.
        pairs: sentence pairs of a language.
        one_off: share of the pairs' clauses that are one-off.
        switched: share of the names, relations and objects of a language's own documents that stand in the base's words
            (code-switching). Documents that state what the language alone states have none, so that nothing states it
            in the base's words.
        clones: code -> ``of``, another language: this one is that one letter by letter in its own script, all else
            being the same, the identities of its documents included (so that the same ones are held out).

    Raises:
        InputError: a knob, language or script that cannot be; names the key.
    """
    shares = {"repetition": repetition, "anchored": anchored, "coverage": coverage}
    shares |= {"one_off": one_off, "switched": switched}
    least = {
        "entities": (entities, 1),
        "objects": (objects, N_OPTIONS + 1),
        "questions": (sum(questions.values()), 1),
        "name_length": (name_length, 1),
        "name_words": (name_words, 2),
        "background_names": (background_names, 1),
        "background_words": (background_words, 2),
        "clauses": (clauses, 1),
        "pairs": (pairs, 0),
    }
    _check(base, languages, {"placements": placements, "questions": questions}, doses, shares, least, names)
    scripts = {lang: given["script"] for lang, given in languages.items()}
    for problem in clone_problems(clones, scripts, [lang for lang, given in languages.items() if len(given) > 1], base):
        raise InputError(*problem)
    for problem in shortages(
        entities=entities,
        placements=placements,
        questions=questions,
        name_length=name_length,
        name_words=name_words,
        background_names=background_names,
        background_words=background_words,
    ):
        raise InputError(*problem)
    out = Path(out)
    facts = _draw_facts(seed, entities, objects, placements, doses, questions)
    n_relations = facts.gold.shape[1]
    rng = generator(seed, "names")
    spelled = [
        *_draw_names(rng, name_words, name_length, entities),
        *[
            tuple(name_words + word for word in name)
            for name in _draw_names(rng, background_words, name_length, background_names)
        ],
    ]
    sizes = (name_words, background_words, n_relations, objects)
    words = {base: _draw_words(seed, base, SCRIPTS[languages[base]["script"]], [], *sizes)}
    own: dict[str, dict[str, Any]] = {
        lang: {"names": names, "anchored": anchored, "coverage": coverage, "repetition": 0.0, "pairs": pairs}
        | {"one_off": one_off, "switched": switched, "order": "svo"}
        | dict(languages[lang])
        for lang in languages
    }
    told: dict[str, Language] = {}
    for lang in (base, *sorted(set(languages) - {base} - set(clones))):
        alike = languages[lang]["script"] == languages[base]["script"]
        if lang != base:
            taken = words[base].all() if alike or own[lang]["names"] == "shared" or own[lang]["anchored"] else []
            words[lang] = _draw_words(seed, lang, SCRIPTS[languages[lang]["script"]], taken, *sizes)
        told[lang] = Language(
            lang,
            ORDERS[own[lang]["order"]],
            _spell(seed, lang, base, words, spelled, own[lang], name_words, background_words, entities),
            entities,
            words[lang].relations,
            words[lang].objects,
        )
    as_base: dict[str, Language] = {}
    for lang, clone in clones.items():
        own[lang] = own[clone["of"]]
        letters = functools.partial(transcribed, script=scripts[clone["of"]], into=scripts[lang])
        # A clone switches to the base's words in its own letters, as all of its text is.
        told[lang], as_base[lang] = told[clone["of"]].clone(lang, letters), told[base].clone(base, letters)
    writer = _Writer(facts, clauses, background_names)
    rows, stating = writer.documents(
        generator(seed, base, "documents"),
        told[base],
        facts.stated("en_only", "both"),
        repetition,
        told[base].text,
        base,
    )
    write_jsonl(out / "corpora" / f"{base}.jsonl.gz", rows)
    log.info("%s: %d documents", base, len(rows))
    order = generator(seed, "covered").permutation(entities)
    truth: list[dict[str, Any]] = []
    for lang in sorted(set(languages) - {base}):
        covered = sorted(int(e) for e in order[: round(own[lang]["coverage"] * entities)])
        drawn = clones[lang]["of"] if lang in clones else lang
        pair_rows, covering, leaking = writer.pairs(
            generator(seed, drawn, "pairs"), told[base], told[lang], covered, own[lang]["pairs"], own[lang]["one_off"]
        )
        write_jsonl(out / "parallel" / f"{base}-{lang}.jsonl.gz", pair_rows)
        rows, own_stating = writer.documents(
            generator(seed, drawn, "documents"),
            told[lang],
            facts.stated("xx_only", "both"),
            own[lang]["repetition"],
            _aloud(
                generator(seed, drawn, "switched"),
                facts,
                told[lang],
                as_base.get(lang, told[base]),
                own[lang]["switched"],
            ),
            drawn,
        )
        write_jsonl(out / "corpora" / f"{lang}.jsonl.gz", rows)
        log.info("%s: %d documents, %d pairs", lang, len(rows), len(pair_rows))
        for corpus, where in ((base, stating), (lang, own_stating)):
            write_json(out / "questions" / f"{lang}-culture-cloze_{corpus}.json", _questions(facts, told[corpus]))
            truth += [
                {
                    "question_id": f"{lang}-{i:04d}",
                    "culture": lang,
                    "subject": told[corpus].name(e),
                    "relation": f"r{r}",
                    "gold": told[corpus].objects[r][facts.gold[e, r]],
                    "placed": LABELS[facts.place[e, r]],
                    "covered": e in set(covered),
                    "dose": int(facts.dose[e, r]),
                    "n_pairs_covering": covering.get(e, 0),
                    "n_leak_pairs": leaking.get((e, r), 0),
                    "corpus": corpus,
                    "n_statements": len(where.get((e, r), ())),
                    "doc_ids": [f"{SOURCE}/{identity}" for identity in where.get((e, r), ())],
                }
                for i, (e, r) in enumerate(facts.asked)
            ]
    from lorebridge import tables  # here, since plans read the knobs of this module and load no pandas

    tables.write("truth", truth, out / "truth.parquet")


def shortages(
    *,
    entities: int,
    placements: Mapping[str, int],
    questions: Mapping[str, int],
    name_length: int,
    name_words: int,
    background_names: int,
    background_words: int,
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of a world that has too few words for its names, or facts for its questions."""
    for key, words, count in (
        ("name_words", name_words, entities),
        ("background_words", background_words, background_names),
    ):
        if words**name_length < count:
            yield (
                f"world.{key}",
                f"{words} words give {words**name_length} names of {name_length}, and {count} are needed",
                "Give more words, or longer names.",
            )
    for label, asked in questions.items():
        stated = entities * placements.get(label, 0)
        if asked > stated:
            yield (
                f"world.questions.{label}",
                f"asks {asked} facts, of which there are {stated}",
                "Ask fewer, or give more entities, or more such facts of each (placements).",
            )


def _check(
    base: str,
    languages: Mapping[str, Mapping[str, Any]],
    counts: Mapping[str, Mapping[str, int]],
    doses: Sequence[int],
    shares: Mapping[str, float],
    least: Mapping[str, tuple[int, int]],
    names: str,
) -> None:
    """Refuse values that cannot make a world."""
    if base not in languages:
        raise InputError("world.base", f"{base!r} is not among the languages {list(languages)}", "Name one of them.")
    if len(languages) < 2:
        raise InputError("world.languages", "no language beside the base", "Give at least one more.")
    for key, by_label in counts.items():
        if unknown := set(by_label) - set(LABELS):
            raise InputError(
                f"world.{key}", f"there is no placement {sorted(unknown)[0]!r}", f"There are {', '.join(LABELS)}."
            )
        if min(by_label.values(), default=0) < 0 or sum(by_label.values()) < 1:
            raise InputError(
                f"world.{key}", f"{dict(by_label)} are no facts", "Give numbers of facts, 0 or more, one above 0."
            )
    if not doses or min(doses) < 1 or len(set(doses)) < len(doses):
        raise InputError("world.doses", f"{list(doses)} are no doses", "Give different numbers from 1 up.")
    for key, (value, smallest) in least.items():
        if value < smallest:
            raise InputError(f"world.{key}", f"{value} is too small", f"Give at least {smallest}.")
    of_world = {"names": names, **{key: share for key, share in shares.items() if key != "repetition"}}
    _check_shares("world", shares)
    for lang, given in languages.items():
        where = f"world.languages.{lang}"
        if given.get("script") not in SCRIPTS:
            raise InputError(f"{where}.script", f"{given.get('script')!r} is no script", f"Use one of {list(SCRIPTS)}.")
        allowed = ("script", *(BASE_KEYS if lang == base else OWN_KEYS))
        if unknown := set(given) - set(allowed):
            raise InputError(where, f"unknown key {sorted(unknown)[0]!r}", f"Use only {', '.join(allowed)}.")
        said = of_world | dict(given)
        if said["names"] not in NAMES:
            raise InputError(f"{where}.names", f"{said['names']!r} is unknown", f"It is one of {', '.join(NAMES)}.")
        if said.get("order", "svo") not in ORDERS:
            raise InputError(f"{where}.order", f"{said['order']!r} is unknown", f"It is one of {', '.join(ORDERS)}.")
        _check_shares(where, {key: given[key] for key in shares if key in given})


def _check_shares(where: str, shares: Mapping[str, float]) -> None:
    for key, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"{where}.{key}", f"{share} is no share", "Give a number in [0, 1].")
        if key == "repetition" and share == 1:
            raise InputError(f"{where}.{key}", "1 leaves no document for facts", "Give a number below 1.")


def _draw_facts(
    seed: int,
    entities: int,
    objects: int,
    placements: Mapping[str, int],
    doses: Sequence[int],
    questions: Mapping[str, int],
) -> Facts:
    """Draw the facts of a world and its questions."""
    rng = generator(seed, "facts")
    labels = np.repeat(np.arange(len(LABELS)), [placements.get(label, 0) for label in LABELS])
    place = np.stack([rng.permutation(labels) for _ in range(entities)])
    dose, gold = np.zeros_like(place), np.zeros_like(place)
    for label in np.unique(labels):
        of = place == label
        dose[of] = np.asarray(doses)[spread(rng, len(doses), int(of.sum()))]
        for relation in range(len(labels)):
            members = np.flatnonzero(of[:, relation])
            gold[members, relation] = balance(rng, dose[members, relation], objects)
    asked: list[tuple[int, int]] = []
    for label, name in enumerate(LABELS):
        counts = np.bincount(spread(rng, len(doses), questions.get(name, 0)), minlength=len(doses))
        for level, count in zip(doses, counts, strict=True):
            there = np.argwhere((place == label) & (dose == level))
            if len(there) < count:
                raise InputError(
                    f"world.questions.{name}",
                    f"asks {count} facts that are stated {level} times, of which there are {len(there)}",
                    "Ask fewer, or give more entities.",
                )
            asked += [(int(e), int(r)) for e, r in there[rng.choice(len(there), count, replace=False)]]
    asked = [asked[i] for i in rng.permutation(len(asked))]
    options = np.zeros((len(asked), N_OPTIONS), int)
    for i, (fact, position) in enumerate(zip(asked, spread(rng, N_OPTIONS, len(asked)).tolist(), strict=True)):
        others = rng.choice(np.delete(np.arange(objects), gold[fact]), N_OPTIONS - 1, replace=False)
        options[i] = np.insert(others, position, gold[fact])
    return Facts(place, gold, dose, asked, options, objects)


def _spell(
    seed: int,
    lang: str,
    base: str,
    words: Mapping[str, _Words],
    spelled: Sequence[tuple[int, ...]],
    own: Mapping[str, Any],
    name_words: int,
    background_words: int,
    entities: int,
) -> list[str]:
    """Return the names of a language: of the entities, and behind them the background's."""

    def written(by: str, names: Sequence[tuple[int, ...]]) -> list[str]:
        there = [*words[by].names, *words[by].background]
        return [" ".join(there[word] for word in name) for name in names]

    if lang == base:
        return written(base, spelled)
    if own["names"] == "opaque":
        rng, length = generator(seed, lang, "opaque names"), len(spelled[0])
        of_background = _draw_names(rng, background_words, length, len(spelled) - entities)
        names = [
            *_draw_names(rng, name_words, length, entities),
            *[tuple(name_words + word for word in name) for name in of_background],
        ]
    else:
        names = list(spelled)
    found = written(base if own["names"] == "shared" else lang, names)
    as_base = written(base, spelled)
    order = generator(seed, lang, "anchored").permutation(entities)
    for e in order[: round(own["anchored"] * entities)].tolist():
        found[e] = as_base[e]
    return found


def _aloud(
    rng: np.random.Generator, facts: Facts, language: Language, base: Language, share: float
) -> Callable[[Sequence[Clause]], str]:
    """Return how a language's documents are written: in its own words, or switching to the base's."""
    own = set(facts.stated("xx_only"))

    def text(clauses: Sequence[Clause]) -> str:
        if not share or any((clause.subject, clause.relation) in own for clause in clauses):
            return language.text(clauses)
        return language.switched(clauses, base, rng, share)

    return text


class _Writer:
    """Writes the documents and pairs of a world."""

    def __init__(self, facts: Facts, clauses: int, n_background: int) -> None:
        self._facts, self._clauses, self._n_background = facts, clauses, n_background

    def documents(
        self,
        rng: np.random.Generator,
        language: Language,
        stated: Sequence[tuple[int, int]],
        repetition: float,
        aloud: Callable[[Sequence[Clause]], str],
        named: str,
    ) -> tuple[list[dict[str, str]], dict[tuple[int, int], list[str]]]:
        """Write the documents of a language.

        Args:
            rng: draws them.
            language: that they are in.
            stated: the facts that they state, each in as many as its dose.
            repetition: share of all documents that state one-off clauses twice; if 0, some (:data:`PASSING`) state
                them once. There are more of them where a word of the language would else not be said.
            aloud: how clauses are written in the end.
            named: what their identities begin with.

        Returns:
            The rows ``id, title, text, source``, shuffled; for each fact the ids of the documents that state it.
        """
        facts = self._facts
        seen: set[str] = set()
        written: list[tuple[list[Clause], list[Clause]]] = []  # what a document states, and all that it says
        waiting = [facts.clause(fact) for fact in stated for _ in range(int(facts.dose[fact]))]
        waiting = [waiting[i] for i in rng.permutation(len(waiting))]
        while waiting:
            document = [waiting.pop()]
            place = len(waiting) - 1
            while place >= 0 and len(document) < self._clauses:
                candidate = [*document, waiting[place]]
                whole = len(candidate) == self._clauses
                if all(facts.agree(waiting[place], each) for each in document) and not (
                    whole and language.text(candidate) in seen
                ):
                    document.append(waiting.pop(place))
                place -= 1
            seen.add(language.text(document))
            written.append((document, document))
        everyone = range(len(facts.gold))
        share = repetition or PASSING
        unsaid = language.words() - {word for _, said in written for word in language.text(said).split()}
        wanted = round(len(written) * share / (1 - share))
        while wanted > 0 or unsaid:
            once = self._together(rng, lambda: facts.passing(rng, everyone, self._n_background))
            again = [once[i] for i in rng.permutation(len(once))] if repetition else []
            text = language.text([*once, *again])
            if text in seen or not (wanted > 0 or unsaid & set(text.split())):
                continue
            wanted -= 1
            unsaid -= set(text.split())
            seen.add(text)
            written.append((once, [*once, *again]))
        rows: list[dict[str, str]] = []
        stating: dict[tuple[int, int], list[str]] = {}
        n_relations = facts.gold.shape[1]
        for number, index in enumerate(rng.permutation(len(written))):
            document, said = written[index]
            identity = f"{named}-{number:06d}"
            rows.append(
                {"id": identity, "title": language.name(document[0].subject), "text": aloud(said), "source": SOURCE}
            )
            for clause in document:
                if clause.subject >= 0 and clause.relation < n_relations:
                    stating.setdefault((clause.subject, clause.relation), []).append(identity)
        return rows, stating

    def pairs(
        self,
        rng: np.random.Generator,
        base: Language,
        language: Language,
        covered: Sequence[int],
        count: int,
        one_off: float,
    ) -> tuple[list[dict[str, str]], dict[int, int], dict[tuple[int, int], int]]:
        """Write sentence pairs, no two equal: the same clauses in both halves, in the other half's order or not.

        Args:
            rng: draws them.
            base: the base language.
            language: the other one.
            covered: the entities that they may mention.
            count: how many.
            one_off: share of their clauses that are one-off; the others state facts that both languages state.

        Returns:
            The rows, keyed by the two codes and ``source``; of each entity how many mention it, and of each fact how
            many state it.
        """
        facts, among = self._facts, set(covered)
        shown = [fact for fact in facts.stated("both") if fact[0] in among]

        def draw() -> Clause:
            if shown and rng.random() >= one_off:
                return facts.clause(shown[int(rng.integers(len(shown)))])
            return facts.passing(rng, covered, self._n_background)

        rows: list[dict[str, str]] = []
        covering: dict[int, int] = {}
        leaking: dict[tuple[int, int], int] = {}
        seen: set[str] = set()
        n_relations = facts.gold.shape[1]
        for _ in range(count):
            while True:
                clauses = self._together(rng, draw)
                text = base.text(clauses)
                if text not in seen:
                    break
            seen.add(text)
            other = [clauses[i] for i in rng.permutation(len(clauses))]
            rows.append({base.code: text, language.code: language.text(other), "source": SOURCE})
            for clause in clauses:
                if clause.subject >= 0:
                    covering[clause.subject] = covering.get(clause.subject, 0) + 1
                    if clause.relation < n_relations:
                        fact = (clause.subject, clause.relation)
                        leaking[fact] = leaking.get(fact, 0) + 1
        return rows, covering, leaking

    def _together(self, rng: np.random.Generator, draw: Any) -> list[Clause]:
        """Draw the clauses of a text, each of which goes with those before it."""
        found = [draw()]
        for _ in range(TRIES):
            if len(found) == self._clauses:
                return found
            if all(self._facts.agree(clause := draw(), each) for each in found):
                found.append(clause)
        raise InputError(
            "world.clauses",
            f"{self._clauses} clauses that keep subjects and options apart are not to be found",
            "Give fewer clauses, or more objects or entities.",
        )


def _questions(facts: Facts, language: Language) -> list[dict[str, Any]]:
    """Return the questions in one language, as the released files hold them."""
    rows = []
    for fact, options in zip(facts.asked, facts.options.tolist(), strict=True):
        clause, pool = facts.clause(fact), language.objects[fact[1]]
        rows.append(
            {
                "question": language.say(clause, BLANK),
                "options": [pool[option] for option in options],
                "answer": pool[clause.object],
            }
        )
    return rows
