"""The planted facts of a culture: who is asked about, where it is stated, how often, and what else could answer.

Facts are crossed: where they are stated x whether parallel text covers their entity x how often they are stated
(the dose). Relations, answers and gold positions are spread evenly over that crossing by permutation, so that none of
them tells where a fact was planted.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from lorebridge.errors import InputError
from lorebridge.world.lexicon import Concept, Lexicon, generator

# Where a fact is stated: (label, in the base corpus, in the culture's own corpus).
PLACEMENTS = (("en_only", True, False), ("xx_only", False, True), ("both", True, True), ("neither", False, False))
N_OPTIONS = 4


@dataclasses.dataclass(frozen=True)
class Knobs:
    """What a culture's part of the world is made of; :func:`lorebridge.world.generate` documents each."""

    seed: int
    questions: int
    doses: Sequence[int]
    subjects_per_article: int
    articles: int
    pairs: int
    pairs_per_entity: int
    relations: int
    objects: int
    entity_coverage: float
    relation_coverage: float
    paraphrases: int
    co_mentions: float
    numeric_share: float
    anchor_share: float
    leak_rate: float
    min_chars: int

    def check(self, where: str) -> None:
        """Refuse values that cannot make a world.

        Raises:
            InputError: names the knob below `where`.
        """
        least = {
            "questions": 1,
            "subjects_per_article": 1,
            "articles": 1,
            "pairs": 0,
            "pairs_per_entity": 0,
            "relations": 1,
            "objects": N_OPTIONS,
            "paraphrases": 1,
            "min_chars": 0,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise InputError(f"{where}.{name}", f"{getattr(self, name)} is too small", f"Give at least {value}.")
        for name in (
            "entity_coverage",
            "relation_coverage",
            "co_mentions",
            "numeric_share",
            "anchor_share",
            "leak_rate",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{where}.{name}", f"{getattr(self, name)} is no share", "Give a number in [0, 1].")
        if not self.doses or min(self.doses) < 1 or len(set(self.doses)) < len(self.doses):
            raise InputError(f"{where}.doses", f"{list(self.doses)} are no doses", "Give different numbers from 1 up.")


@dataclasses.dataclass(frozen=True)
class Fact:
    """One planted fact, which one question asks for.

    Attributes:
        subject: the entity.
        relation: index of the relation.
        options: what the question offers, in its order.
        gold: the option that answers.
        placed: label of :data:`PLACEMENTS`.
        languages: where articles state it.
        covered: whether parallel text mentions the subject.
        dose: how many articles tell of the subject in each language, whether they state the fact or not; where the
            fact is placed, each states it once.
    """

    subject: Concept
    relation: int
    options: Sequence[Concept]
    gold: Concept
    placed: str
    languages: Sequence[str]
    covered: bool
    dose: int


def spread(rng: np.random.Generator, n_values: int, size: int) -> np.ndarray:
    """Return `size` indices below `n_values` in random order, each as often as any other (or once more)."""
    whole, rest = divmod(size, n_values)
    extra = rng.choice(n_values, rest, replace=False)
    return rng.permutation(np.concatenate([np.tile(np.arange(n_values), whole), extra]).astype(int))


def shares(rng: np.random.Generator, share: float, size: int) -> np.ndarray:
    """Return `size` booleans in random order, `share` of them true, the broken remainder rounded by chance."""
    flags = np.zeros(size, bool)
    flags[: int(np.floor(share * size + rng.random()))] = True
    return rng.permutation(flags)


def draw_facts(knobs: Knobs, base: str, culture: str, lexicon: Lexicon) -> list[Fact]:
    """Draw the facts of one culture, in the order of its questions.

    Args:
        knobs: of this culture.
        base: code of the base language.
        culture: code of the culture's language.
        lexicon: names; gives one subject for each question.
    """
    rng = generator(knobs.seed, culture, "facts")
    cells = list(itertools.product(PLACEMENTS, knobs.doses))
    cell_of = spread(rng, len(cells), knobs.questions)
    covered = np.zeros(knobs.questions, bool)
    relation = np.zeros(knobs.questions, int)
    for cell in range(len(cells)):
        members = np.flatnonzero(cell_of == cell)
        covered[members] = shares(rng, knobs.entity_coverage, len(members))
        relation[members] = spread(rng, knobs.relations, len(members))
    if knobs.numeric_share:
        relation[shares(rng, knobs.numeric_share, knobs.questions)] = knobs.relations
    placed_base, placed_own = np.array([cells[c][0][1:] for c in cell_of]).T
    dose = np.array([cells[c][1] for c in cell_of])
    gold = np.zeros(knobs.questions, int)
    placement = np.array([PLACEMENTS.index(cells[c][0]) for c in cell_of])
    for r, p in itertools.product(range(len(lexicon.objects)), range(len(PLACEMENTS))):
        members = np.flatnonzero((relation == r) & (placement == p))
        gold[members] = balance(rng, dose[members], knobs.objects)
    gold_position = spread(rng, N_OPTIONS, knobs.questions)
    facts = []
    for i in range(knobs.questions):
        (label, *_), _ = cells[cell_of[i]]
        others = np.delete(np.arange(knobs.objects), gold[i])
        options = list(rng.choice(others, N_OPTIONS - 1, replace=False))
        options.insert(gold_position[i], gold[i])
        pool = lexicon.objects[relation[i]]
        facts.append(
            Fact(
                subject=lexicon.subjects[i],
                relation=int(relation[i]),
                options=[pool[o] for o in options],
                gold=pool[gold[i]],
                placed=label,
                languages=[lang for lang, here in ((base, placed_base[i]), (culture, placed_own[i])) if here],
                covered=bool(covered[i]),
                dose=int(dose[i]),
            )
        )
    return facts


def balance(rng: np.random.Generator, doses: np.ndarray, n_objects: int) -> np.ndarray:
    """Give each fact of one relation and placement an answer, so that answers are stated about equally often.

    Greedy, heaviest fact first (Graham 1969, longest processing time), ties by chance. Each placement is balanced by
    itself: a fact's gold then says nothing of the facts placed elsewhere, and in a corpus that does not state the fact
    its gold cannot be told from the other options.

    Returns:
        The answer of each fact, [facts].
    """
    order = rng.permutation(len(doses))
    total = np.zeros(n_objects)
    answer = np.zeros(len(doses), int)
    for i in order[np.argsort(-doses[order], kind="stable")]:
        answer[i] = np.lexsort((rng.random(n_objects), total))[0]
        total[answer[i]] += doses[i]
    return answer
