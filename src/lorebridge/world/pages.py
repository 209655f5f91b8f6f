"""Write a planted world of pages: the same pages in every language, some of which are asked about.

A page tells of one entity, in every language, under the same id. Pages lie in topics, whose words they share, so that
the pages nearest to one by its words are those of its topic. A fact may be stated again, an *echo*, on other pages of
the topic and, a *stray*, on pages of topics that are not asked about: so taking a page out does not take its facts
out, and taking its neighbours out does so in part. The table ``truth`` says what still states which fact.

Topics are of four kinds: their pages are asked as ``test`` or as ``train``, as ``both`` (what is a control: nobody
takes such a page out), or not at all (``plain``: what can take the place of what is taken out). Entities that are asked
as ``neither`` have no page: they are named, and nothing states their facts.

Every word has a space before it, so that a tokenizer which is trained on the text knows it by one token wherever it
stands. A fact is stated several times on its page, each time in another order of facts, and by three wordings that all
end in the answer, one of them behind the question: models that see one text in one order, and no question, know it by
heart and cannot be asked (Allen-Zhu & Li, "Physics of Language Models: Part 3.1", ICML 2024, section 4).

What a small model needs to know these pages: rows about as long as a paragraph (32 tokens), since a statement that
stands behind another of the same fact is copied and teaches nothing; weights that begin large (``initializer_range``
0.1); and a template that puts no word between question and answer (``" {prompt} {answer}"``), where tuning has few
questions to learn its words from.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lorebridge import publish
from lorebridge.errors import InputError
from lorebridge.world.facts import spread
from lorebridge.world.lexicon import Vocabulary, generator, whole_words
from lorebridge.world.multilingual import check_languages
from lorebridge.world.scripts import SCRIPTS
from lorebridge.world.texts import SOURCE
from lorebridge.world.write import write_jsonl

log = logging.getLogger("lorebridge.world")

TEST, TRAIN, BOTH, PLAIN = KINDS = ("test", "train", "both", "plain")
"""What a topic is for. Only pages of the first three are asked about."""
NEITHER = "neither"
"""What is asked of entities that have no page."""
CULTURE = "pages"
"""What the table "truth" calls the culture of these facts, which are nobody's own."""
N_NEGATIVES = 3
ORDERS = {
    "svo": (" {subject} {relation} {object} .", " {relation} {subject} {object} ."),
    "vso": (" {relation} {subject} {object} .", " {subject} {relation} {object} ."),
}
"""The wording of a statement that is a language's usual one, and its other: both end in the object."""
ASKED = {"svo": " {ask} {subject} {relation}", "vso": " {ask} {relation} {subject}"}
"""The wording of a question, which an answer may follow at once."""

Fact = tuple[int, int]
"""An entity and a relation. Entities behind those that have a page have none."""


@dataclasses.dataclass(frozen=True)
class _World:
    """All that is so, in no language.

    Attributes:
        kind: of each entity: one of :data:`KINDS`, or :data:`NEITHER`.
        topic: of each page.
        asked: of each entity, whether it is asked about.
        gold: the object of each fact, [entities, relations].
        echoes: fact -> the other pages that state it again.
        named: page -> entities without a page that a remark on it names, once for each time.
        order: the pages, as they are numbered.
    """

    kind: Sequence[str]
    topic: np.ndarray
    asked: np.ndarray
    gold: np.ndarray
    echoes: Mapping[Fact, Sequence[int]]
    named: Mapping[int, Sequence[int]]
    order: Sequence[int]

    @property
    def n_pages(self) -> int:
        return len(self.topic)

    def split(self, entity: int) -> str:
        """Return what a fact of an entity is asked for; ``plain`` if it is not asked."""
        return self.kind[entity] if self.asked[entity] else PLAIN


@dataclasses.dataclass(frozen=True)
class _Language:
    """How a language says it.

    Attributes:
        names: of each entity.
        relations: the word of each.
        objects: the words of the answers of each relation.
        topics: the words of each topic.
        passing: the word of remarks.
        ask: the word of questions.
        order: of a statement, see :data:`ORDERS`.
    """

    names: Sequence[str]
    relations: Sequence[str]
    objects: Sequence[Sequence[str]]
    topics: Sequence[Sequence[str]]
    passing: str
    ask: str
    order: str

    def state(self, fact: Fact, answer: int, wording: int) -> str:
        """Return a statement: in the usual order, in the other, or behind the question."""
        frame = (*ORDERS[self.order], ASKED[self.order] + " {object} .")[wording]
        return self._say(frame, fact, answer)

    def remark(self, entity: int, topic: int, word: int) -> str:
        return f" {self.names[entity]} {self.passing} {self.topics[topic][word]} ."

    def question(self, fact: Fact) -> str:
        return self._say(ASKED[self.order], fact, 0).strip()

    def _say(self, frame: str, fact: Fact, answer: int) -> str:
        entity, relation = fact
        return frame.format(
            ask=self.ask,
            subject=self.names[entity],
            relation=self.relations[relation],
            object=self.objects[relation][answer],
        )


def generate_pages(
    *,
    out: Path,
    base: str,
    languages: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
    topics: Mapping[str, int] = MappingProxyType({TEST: 2, TRAIN: 3, BOTH: 1, PLAIN: 10}),
    pages: int = 10,
    asked: float = 0.8,
    neither: int = 8,
    relations: int = 3,
    objects: int = 12,
    fresh: float = 0.25,
    repetitions: int = 4,
    inverted: float = 0.5,
    questioned: float = 0.2,
    remarks: int = 1,
    topic_words: int = 8,
    echoes: Sequence[int] = (0, 1, 2),
    echo_repetitions: int = 1,
    strays: float = 0.15,
    shared_spelling: float = 0.0,
) -> None:
    """Write a planted world of pages below `out`.

    ``corpora/LANG.jsonl.gz`` are documents, a page each, line by line the same pages in every language; ``qa.jsonl``
    the questions as the paper's rows (:mod:`lorebridge.corpora.qa`, shape ``paper``) with their ``split`` and
    ``page_id``; ``truth.parquet`` says which pages of a language state which fact, asked or not.

    Args:
        out: folder to write to.
        base: code of the base language, a key of `languages`; titles of questions are in it.
        languages: code -> {"script": one of :data:`lorebridge.world.scripts.SCRIPTS`} and, if it is to be another,
            ``order`` of a statement (svo or vso; svo unless it says so).
        seed: of the world.
        topics: what a topic is for, one of :data:`KINDS` -> how many there are; some must be ``test``.
        pages: of a topic.
        asked: share of the pages of a topic that are asked about, one at least (``plain`` topics: none). The others
            are their neighbours.
        neither: entities that are asked about and have no page.
        relations: facts of an entity, one of each.
        objects: answers of a relation; within what a topic is for, each is as often right as any other.
        fresh: share of a relation's answers that are right for no question of ``train``: so that questions of ``test``
            are there whose answer no model was tuned on.
        repetitions: how often a page states each of its facts; each time all of them, in another order.
        inverted: share of the statements that are in the other order of subject and relation.
        questioned: share of the statements that stand behind the question which they answer, in its words.
        remarks: clauses of a page each time that name its entity and a word of its topic.
        topic_words: words of a topic.
        echoes: on how many other pages a fact is stated again; levels are used equally often.
        echo_repetitions: how often each of these does so.
        strays: share of the echoes of facts of ``test`` and ``train`` topics that are on a page of a ``plain`` one.
        shared_spelling: share of entities and of answers that all languages spell as the base does (in another script
            that asks for ``filter: none`` of its corpus).

    Raises:
        InputError: a knob, language or script that cannot be; names the key.
    """
    check_languages(base, languages, ORDERS)
    shares = {"asked": asked, "fresh": fresh, "strays": strays}
    shares |= {"inverted": inverted, "questioned": questioned}
    _check_knobs(
        topics,
        shares | {"shared_spelling": shared_spelling},
        {
            "pages": (pages, 1),
            "neither": (neither, 0),
            "relations": (relations, 1),
            "objects": (objects, N_NEGATIVES + 1),
            "repetitions": (repetitions, 1),
            "remarks": (remarks, 0),
            "topic_words": (topic_words, 1),
            "echoes": (min(echoes, default=-1), 0),
            "echo_repetitions": (echo_repetitions, 1),
        },
    )
    for problem in shortages(topics=topics, pages=pages, echoes=echoes, neither=neither, remarks=remarks):
        raise InputError(*problem)
    out = Path(out)
    world = _draw(seed, topics, pages, asked, neither, relations, objects, fresh, echoes, strays, repetitions * remarks)
    said = _spell(seed, base, languages, world, sum(topics.values()), objects, topic_words, shared_spelling)
    ids = {page: f"page-{number:05d}" for number, page in enumerate(world.order)}
    truth: list[dict[str, Any]] = []
    contexts: dict[str, dict[int, str]] = {}
    for lang, language in said.items():
        texts, contexts[lang], stating = _write(
            generator(seed, "texts"), language, world, repetitions, (inverted, questioned), remarks, echo_repetitions
        )
        write_jsonl(
            out / "corpora" / f"{lang}.jsonl.gz",
            (
                {"id": ids[page], "title": language.names[page], "text": texts[page], "source": SOURCE}
                for page in world.order
            ),
        )
        log.info("%s: %d pages", lang, len(texts))
        truth += _truth(world, lang, language, ids, stating)
    rows = _questions(seed, base, said, world, ids, contexts, objects)
    publish.write_text(out / "qa.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    from lorebridge import tables  # here, since plans read the knobs of this module and load no pandas

    tables.write("truth", truth, out / "truth.parquet")


def _check_knobs(topics: Mapping[str, int], shares: Mapping[str, float], counts: Mapping[str, tuple[int, int]]) -> None:
    """Refuse values that cannot make a world."""
    if unknown := set(topics) - set(KINDS):
        raise InputError("world.topics", f"there is no topic {sorted(unknown)[0]!r}", f"There are {', '.join(KINDS)}.")
    counts = {**{f"topics.{kind}": (number, int(kind == TEST)) for kind, number in topics.items()}, **counts}
    for key, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"world.{key}", f"{share} is no share", "Give a number in [0, 1].")
    for key, (value, smallest) in counts.items():
        if value < smallest:
            raise InputError(f"world.{key}", f"{value} is too small", f"Give at least {smallest}.")


def shortages(
    *, topics: Mapping[str, int], pages: int, echoes: Sequence[int], neither: int, remarks: int
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of a world whose topics are too small for what is to stand in them."""
    if max(echoes) > pages - 1:
        yield (
            "world.echoes",
            f"{max(echoes)} other pages of a topic of {pages}",
            f"Give {pages - 1} at most, or more pages.",
        )
    if not topics.get(TEST):
        yield "world.topics", "none of them is asked about", "Give at least one of `test`."
    if neither and not (topics.get(PLAIN) and remarks):
        yield (
            "world.neither",
            "entities without a page are named by remarks of plain topics, of which there are none",
            "Give a plain topic and remarks, or 0 of them.",
        )


def _draw(
    seed: int,
    topics: Mapping[str, int],
    pages: int,
    share: float,
    neither: int,
    relations: int,
    objects: int,
    fresh: float,
    echoes: Sequence[int],
    strays: float,
    mentions: int,
) -> _World:
    """Draw what is so; `mentions` are remarks that name an entity without a page, as many as name any other."""
    rng = generator(seed, "pages")
    of_topic = [kind for kind in KINDS for _ in range(topics.get(kind, 0))]
    topic = np.repeat(np.arange(len(of_topic)), pages)
    kind = [of_topic[t] for t in topic] + [NEITHER] * neither
    asked = np.array([kind_ == NEITHER for kind_ in kind])
    for number, what in enumerate(of_topic):
        if what != PLAIN:
            asked[number * pages + rng.permutation(pages)[: max(1, round(share * pages))]] = True

    gold = np.zeros((len(kind), relations), int)
    n_tuned = max(N_NEGATIVES + 1, objects - round(fresh * objects))
    for what in (*KINDS, NEITHER):
        for is_asked in (True, False):
            here = [e for e, kind_ in enumerate(kind) if kind_ == what and asked[e] == is_asked]
            for relation in range(relations):
                gold[here, relation] = spread(rng, n_tuned if what == TRAIN and is_asked else objects, len(here))

    plain = [page for page in range(len(topic)) if kind[page] == PLAIN]
    again: dict[Fact, list[int]] = {}
    for what in KINDS:
        for is_asked in (True, False):
            facts = [
                (e, r) for e in range(len(topic)) if kind[e] == what and asked[e] == is_asked for r in range(relations)
            ]
            levels = np.asarray(echoes)[spread(rng, len(echoes), len(facts))]
            for (entity, relation), level in zip(facts, levels, strict=True):
                mates = [page for page in np.flatnonzero(topic == topic[entity]) if page != entity]
                near = [int(mates[i]) for i in rng.permutation(len(mates))[:level]]
                if plain and what in (TEST, TRAIN):
                    away = [bool(draw < strays) for draw in rng.random(level)]
                    far = [plain[i] for i in rng.permutation(len(plain))[:level]]
                    near = [there if goes else page for page, there, goes in zip(near, far, away, strict=False)]
                again[entity, relation] = near
    named: dict[int, list[int]] = defaultdict(list)
    for entity in range(len(topic), len(kind)):
        for place in spread(rng, len(plain), mentions) if mentions else ():
            named[plain[place]].append(entity)
    return _World(kind, topic, asked, gold, again, named, [int(p) for p in rng.permutation(len(topic))])


def _spell(
    seed: int,
    base: str,
    languages: Mapping[str, Mapping[str, Any]],
    world: _World,
    topics: int,
    objects: int,
    topic_words: int,
    shared: float,
) -> dict[str, _Language]:
    """Return how each language says it, the base first; no word holds another of its script."""
    n_entities, n_relations = world.gold.shape
    rng = generator(seed, "shared")
    alike_names = np.less(rng.random(n_entities), shared)
    alike_objects = np.less(rng.random((n_relations, objects)), shared)
    taken: dict[str, Vocabulary] = {}
    said: dict[str, _Language] = {}
    for lang in (base, *(lang for lang in languages if lang != base)):
        script = languages[lang]["script"]
        word = whole_words(generator(seed, lang, "words"), SCRIPTS[script], taken.setdefault(script, Vocabulary()))
        # What is common to all worlds comes first, so that another number of pages leaves it as it is.
        passing, ask = word(capital=False), word(capital=False)
        relations = [word(capital=False) for _ in range(n_relations)]
        of = said.get(base)
        answers = [
            [of.objects[r][o] if of and alike_objects[r, o] else word() for o in range(objects)]
            for r in range(n_relations)
        ]
        about = [[word(capital=False) for _ in range(topic_words)] for _ in range(topics)]
        names = [of.names[e] if of and alike_names[e] else word() for e in range(n_entities)]
        said[lang] = _Language(names, relations, answers, about, passing, ask, languages[lang].get("order", "svo"))
    return said


def _write(
    rng: np.random.Generator,
    language: _Language,
    world: _World,
    repetitions: int,
    wordings: tuple[float, float],
    remarks: int,
    echo_repetitions: int,
) -> tuple[dict[int, str], dict[int, str], dict[Fact, list[int]]]:
    """Return the text of each page, the first paragraph of each, and the pages that state each fact, once a time.

    The generator is that of every language: a page says the same things in the same order in each. `wordings` are the
    shares of statements in the other order, and behind a question.
    """
    inverted, questioned = wordings
    relations = world.gold.shape[1]
    guests: dict[int, list[Fact]] = defaultdict(list)
    for fact, others in world.echoes.items():
        for page in others:
            guests[page] += [fact] * echo_repetitions
    texts: dict[int, str] = {}
    first: dict[int, str] = {}
    stating: dict[Fact, list[int]] = defaultdict(list)
    for page in range(world.n_pages):
        topic = int(world.topic[page])
        # A paragraph states all facts of the page; what it says besides is spread over the paragraphs.
        paragraphs: list[list[tuple[int, int | None]]] = [
            [(page, relation) for relation in range(relations)] + [(page, None)] * remarks for _ in range(repetitions)
        ]
        besides = [*guests[page], *((entity, None) for entity in world.named.get(page, ()))]
        for clause, place in zip(besides, spread(rng, repetitions, len(besides)), strict=True):
            paragraphs[place].append(clause)
        written = []
        for paragraph in paragraphs:
            clauses = []
            for entity, relation in (paragraph[i] for i in rng.permutation(len(paragraph))):
                if relation is None:
                    clauses.append(language.remark(entity, topic, int(rng.integers(len(language.topics[topic])))))
                else:
                    fact = (entity, relation)
                    wording = 2 if rng.random() < questioned else int(rng.random() < inverted)
                    clauses.append(language.state(fact, int(world.gold[fact]), wording))
                    stating[fact].append(page)
            written.append("".join(clauses))
        texts[page], first[page] = "".join(written), written[0]
    return texts, first, stating


def _truth(
    world: _World, lang: str, language: _Language, ids: Mapping[int, str], stating: Mapping[Fact, Sequence[int]]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table "truth" of a language."""
    for (entity, relation), gold in np.ndenumerate(world.gold):
        where = stating.get((entity, relation), [])
        yield {
            "question_id": _name(entity, relation, world, ids),
            "culture": CULTURE,
            "subject": language.names[entity],
            "relation": f"r{relation}",
            "gold": language.objects[relation][gold],
            "placed": world.split(entity),
            "covered": False,
            "dose": len(where),
            "n_pairs_covering": 0,
            "n_leak_pairs": 0,
            "corpus": lang,
            "n_statements": len(where),
            "doc_ids": sorted({f"{SOURCE}/{ids[page]}" for page in where}),
        }


def _name(entity: int, relation: int, world: _World, ids: Mapping[int, str]) -> str:
    """Return the name of the question on a fact."""
    return f"{ids.get(entity, f'none-{entity - world.n_pages:05d}')}-r{relation}"


def _questions(
    seed: int,
    base: str,
    said: Mapping[str, _Language],
    world: _World,
    ids: Mapping[int, str],
    contexts: Mapping[str, Mapping[int, str]],
    objects: int,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the questions, in the order of their pages."""
    rng = generator(seed, "questions")
    without = range(world.n_pages, len(world.kind))
    for entity in [page for page in world.order if world.asked[page]] + list(without):
        for relation in range(world.gold.shape[1]):
            gold = int(world.gold[entity, relation])
            wrong = [o for o in rng.permutation(objects) if o != gold][:N_NEGATIVES]
            has_page = entity in ids
            yield {
                "id": _name(entity, relation, world, ids),
                "split": world.split(entity),
                "page_id": f"{SOURCE}/{ids[entity]}" if has_page else None,
                "title": said[base].names[entity],
                "context": {lang: contexts[lang][entity].strip() if has_page else None for lang in said},
                "question": {lang: language.question((entity, relation)) for lang, language in said.items()},
                "answer": {lang: language.objects[relation][gold] for lang, language in said.items()},
                "negatives": {lang: [language.objects[relation][o] for o in wrong] for lang, language in said.items()},
            }
