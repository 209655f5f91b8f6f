"""Articles, parallel sentences and questions of one planted culture."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lorebridge.errors import InputError
from lorebridge.world.facts import Fact, Knobs, spread
from lorebridge.world.lexicon import BLANK, Concept, Lexicon, generator
from lorebridge.world.scripts import Script

SOURCE = "planted"


class Clause(NamedTuple):
    """What a sentence says, in no language: each part is one or two concepts."""

    subject: tuple[Concept, ...]
    verb: Concept
    object: tuple[Concept, ...]


@dataclasses.dataclass(frozen=True)
class Culture:
    """One culture's part of the world; all its texts are functions of what stands here.

    Attributes:
        base: code of the base language.
        code: code of the culture and of its language.
        scripts: both languages' scripts by code.
        knobs: of this culture.
        lexicon: its concepts.
        facts: its facts, in the order of its questions.
    """

    base: str
    code: str
    scripts: dict[str, Script]
    knobs: Knobs
    lexicon: Lexicon
    facts: Sequence[Fact]

    def say(self, clause: Clause, lang: str) -> str:
        """Return a clause in one language."""
        script = self.scripts[lang]
        subject, obj = (script.space.join(c[lang] for c in part) for part in (clause.subject, clause.object))
        return script.clause(subject, clause.verb[lang], obj)

    def statement(self, fact: Fact, answer: Concept, wording: int = 0) -> Clause:
        """Return the clause that gives `answer` to what `fact` is about."""
        return Clause((fact.subject,), self.lexicon.relations[fact.relation][wording], (answer,))

    def remark(self, rng: np.random.Generator, name: Concept, other: Concept | None = None) -> Clause:
        """Return a clause on `name` that states no fact; it may mention `other`."""
        return Clause((name,), _zipf(rng, self.lexicon.verbs), (other,) if other else self._noun_phrase(rng))

    def filler(self, rng: np.random.Generator) -> Clause:
        """Return a clause of common words."""
        verb = _zipf(rng, self.lexicon.verbs)
        return Clause((_zipf(rng, self.lexicon.nouns),), verb, self._noun_phrase(rng))

    def background(self, rng: np.random.Generator, relation: int, answer: Concept, wording: int) -> Clause:
        """Return a clause that gives `answer` to a name that no question asks about."""
        name = self.lexicon.background[int(rng.integers(len(self.lexicon.background)))]
        return Clause((name,), self.lexicon.relations[relation][wording], (answer,))

    def _noun_phrase(self, rng: np.random.Generator) -> tuple[Concept, Concept]:
        return _zipf(rng, self.lexicon.adjectives), _zipf(rng, self.lexicon.nouns)

    def articles(self, lang: str) -> tuple[list[dict[str, str]], list[list[str]]]:
        """Write the articles in one language.

        An article tells of about `subjects_per_article` subjects, drawn at random; each fact's subject is in `dose`
        articles, in both languages. Where the fact is placed a clause states it; elsewhere a remark stands there, so
        that the subject is met as often.
        Background articles state each answer of a relation, of names that no question asks about, until all answers
        of the relation are stated equally often in this corpus: the answers' frequencies give nothing away.

        Args:
            lang: the base language or the culture's own.

        Returns:
            The rows ``id, title, text, source``, shuffled; for each fact the ids of the articles that state it.
        """
        rng = generator(self.knobs.seed, self.code, lang, "articles")
        written: list[tuple[list[int], str, str]] = []  # the stated facts, title, text
        seen: set[str] = set()
        mentioned = [self._co_mentions(rng, fact) for fact in self.facts]
        for members in self._group(rng):
            clauses: list[Clause] = []
            stated = []
            for i in members:
                fact = self.facts[i]
                if lang in fact.languages:
                    clauses.append(self.statement(fact, fact.gold, int(rng.integers(self.knobs.paraphrases))))
                    stated.append(i)
                else:
                    clauses.append(self.remark(rng, fact.subject))
                if (option := mentioned[i].pop()) is not None:
                    clauses.append(self.remark(rng, fact.subject, option))
            written.append((stated, self.facts[members[0]].subject[lang], self._fill(rng, lang, clauses, seen)))
        for title, clauses in self._background(rng, lang):
            written.append(([], title, self._fill(rng, lang, clauses, seen)))
        rows = []
        stating: list[list[str]] = [[] for _ in self.facts]
        for number, index in enumerate(rng.permutation(len(written))):
            stated, title, text = written[index]
            identity = f"{self.code}-{number:06d}"
            rows.append({"id": identity, "title": title, "text": text, "source": SOURCE})
            for i in stated:
                stating[i].append(identity)
        return rows, stating

    def _group(self, rng: np.random.Generator) -> list[list[int]]:
        """Return for each article the facts (indices) whose subjects it tells of, each at most once."""
        doses = np.array([fact.dose for fact in self.facts])
        n_articles = max(-(-doses.sum() // self.knobs.subjects_per_article), doses.max())
        groups: list[list[int]] = [[] for _ in range(n_articles)]
        for i in np.argsort(-doses, kind="stable"):
            # The least filled articles take it, at random among equals.
            fill = np.array([len(group) for group in groups]) + rng.random(n_articles)
            for article in np.argsort(fill)[: doses[i]]:
                groups[article].append(int(i))
        return [[group[k] for k in rng.permutation(len(group))] for group in groups]

    def _co_mentions(self, rng: np.random.Generator, fact: Fact) -> list[Concept | None]:
        """Return the option that one more remark on the subject mentions, or None, for each of its articles.

        A share `co_mentions` of the articles has one; the gold is mentioned as often as the others.
        """
        n = int(np.floor(self.knobs.co_mentions * fact.dose + rng.random()))
        mentioned: list[Concept | None] = [fact.options[o] for o in spread(rng, len(fact.options), n)]
        mentioned += [None] * (fact.dose - n)
        return [mentioned[k] for k in rng.permutation(fact.dose)]

    def _background(self, rng: np.random.Generator, lang: str) -> list[tuple[str, list[Clause]]]:
        """Return title and opening clauses of the background articles."""
        clauses = []
        for relation, answers in enumerate(self.lexicon.objects):
            times = [
                sum(
                    fact.dose
                    for fact in self.facts
                    if fact.relation == relation and fact.gold is answer and lang in fact.languages
                )
                for answer in answers
            ]
            for answer, count in zip(answers, times, strict=True):
                for k in range(max(times) - count):
                    clauses.append(self.background(rng, relation, answer, k % self.knobs.paraphrases))
        order = rng.permutation(len(clauses))
        articles = []
        for j in range(self.knobs.articles):
            opening = [clauses[c] for c in order[j :: self.knobs.articles]]
            name = self.lexicon.background[int(rng.integers(len(self.lexicon.background)))]
            articles.append((name[lang], opening or [self.remark(rng, name)]))
        return articles

    def _fill(self, rng: np.random.Generator, lang: str, clauses: Sequence[Clause], seen: set[str]) -> str:
        """Return the clauses followed by filler, at least `min_chars` long and unlike any text in `seen`."""
        between = self.scripts[lang].between
        text = between.join(self.say(clause, lang) for clause in clauses)
        # One filler clause at least: without it two articles could be equal.
        while True:
            text += between + self.say(self.filler(rng), lang)
            if len(text) >= self.knobs.min_chars and text not in seen:
                seen.add(text)
                return text

    def pairs(self) -> tuple[list[dict[str, str]], list[int], list[int]]:
        """Write the parallel sentences.

        Each covered subject has `pairs_per_entity` pairs with a remark on it (or, at the `leak_rate`, the fact
        itself); each answer of a covered relation has as many with a background statement, which shows the
        relation's words and the answer's name in both languages; the rest are common words. No two pairs are equal.

        Returns:
            The rows, keyed by the two language codes and ``source``, shuffled; for each fact how many pairs mention
            its subject, and how many of those state it.

        Raises:
            InputError: the pairs are fewer than coverage needs.
        """
        knobs = self.knobs
        rng = generator(knobs.seed, self.code, "pairs")
        n_relations = len(self.lexicon.relations)
        rows: list[dict[str, str]] = []
        seen: set[str] = set()

        def add(opening: Sequence[Clause], more: bool) -> None:
            while True:
                clauses = [*opening, *(self.filler(rng) for _ in range(int(more) or not opening))]
                if not more and rng.random() < 0.5:
                    clauses.append(self.filler(rng))
                row = {
                    lang: self.scripts[lang].between.join(self.say(clause, lang) for clause in clauses)
                    for lang in (self.base, self.code)
                }
                if row[self.base] not in seen:
                    seen.add(row[self.base])
                    rows.append({**row, "source": SOURCE})
                    return

        covering, leaking = [0] * len(self.facts), [0] * len(self.facts)
        for i, fact in enumerate(self.facts):
            for k in range(knobs.pairs_per_entity if fact.covered else 0):
                leaks = bool(rng.random() < knobs.leak_rate)
                covering[i] += 1
                leaking[i] += leaks
                add(
                    [
                        self.statement(fact, fact.gold, k % knobs.paraphrases)
                        if leaks
                        else self.remark(rng, fact.subject)
                    ],
                    more=True,
                )
        for relation in rng.permutation(n_relations)[: round(knobs.relation_coverage * n_relations)]:
            for answer in self.lexicon.objects[relation]:
                for k in range(knobs.pairs_per_entity):
                    add([self.background(rng, int(relation), answer, k % knobs.paraphrases)], more=True)
        if len(rows) > knobs.pairs:
            raise InputError(
                f"world.languages.{self.code}.pairs",
                f"{knobs.pairs} pairs cannot hold the {len(rows)} that coverage needs",
                "Give more pairs, or lower pairs_per_entity, entity_coverage or relation_coverage.",
            )
        while len(rows) < knobs.pairs:
            add([], more=False)
        return [rows[i] for i in rng.permutation(len(rows))], covering, leaking

    def questions(self, lang: str) -> list[dict[str, Any]]:
        """Return the questions in one language, as the released files hold them."""
        blank = {lang: BLANK}
        return [
            {
                "question": self.say(self.statement(fact, blank), lang),
                "options": [option[lang] for option in fact.options],
                "answer": fact.gold[lang],
            }
            for fact in self.facts
        ]


@functools.cache
def _cumulative(n: int) -> np.ndarray:
    weights = 1 / np.arange(1, n + 1)
    return np.cumsum(weights / weights.sum())


def _zipf(rng: np.random.Generator, concepts: Sequence[Concept]) -> Concept:
    """Draw a concept, the k-th with a probability that goes as 1/k."""
    return concepts[int(np.searchsorted(_cumulative(len(concepts)), rng.random()).clip(max=len(concepts) - 1))]
