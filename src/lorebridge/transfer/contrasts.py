"""Contrasts of two arms on the same questions, in both directions, and what they are divided by.

The two directions have different ceilings: what a model does not know in one language cannot cross to the other, and
what it answers in the other already need not. So a gap is given on three scales. On the scale :data:`ALL` it is a mean
over questions. On the others it is divided by what could have crossed. :data:`AT_RISK` is

    sum_q k_q (y_q - r_q) / sum_q k_q (1 - r_q)

with y and r the credits of the two arms in the target language and k the credit in the source language, which no arm
of the two is favoured by: for en->xx the credit of the model that both start from (step 0), for xx->en the mean of
the two arms' at their last checkpoints, since only continual pretraining teaches that language. It is the normalised
gain (Hake 1998) among questions known in the source: 1 if the first arm answers all of them that the second does not,
0 if the arms are alike. What the first arm loses counts against it, so the gap is 0 in the mean where arms are
exchangeable; the share of C.4's transferred items in their risk set (:mod:`lorebridge.transfer.items`) is not.

It is not 0 where the first arm merely prefers in the target language what it prefers in the source, guesses included:
k holds guesses that were right, and these come along. But then wrong guesses come along as well. So :data:`BEYOND`
takes from each question what its wrong options show when each is scored as if it were the answer:

    sum_q [k_q (y_q - r_q) - mean_d k_qd (y_qd - r_qd)] / sum_q k_q (1 - r_q)

over the distractors d of q. One denominator, that of the answer, so that the ratio is defined where the source is known
throughout, and no distractor is ever preferred there. Whoever guesses prefers each option of four alike, whichever is
the answer, so that preferences which become alike add as much to one term as to the other. What is left is the share of
what was at risk that crossed as a fact. Right guesses in the source are at risk too, and cannot cross: with the share g
of what is at risk known by guessing alone and a share c of the rest crossing, the scale shows (1 - g) c.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lorebridge.transfer.credits import Credits, directions
from lorebridge.transfer.inference import Sample, linearised

log = logging.getLogger("lorebridge.transfer")

ALL, AT_RISK = "all questions", "risk set"
BEYOND = "risk set, gold - distractors"
"""The headline of the risk set: what crossed beyond preferences that became alike."""
SCALES = (ALL, BEYOND, AT_RISK)

STEP0 = "step0"
"""The reference of a contrast that says what an arm has learned or forgotten since continual pretraining began."""


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Two arms, or an arm and its beginning, on one culture's questions in one direction.

    Attributes:
        culture: whose questions; the language learned.
        direction: "en->xx" or "xx->en".
        name: ``{arm} - {reference}``.
        clusters: cluster of each question, shape (n,).
        questions: question ids, n of them.
        seeds: seeds that both arms have.
        steps: checkpoints, ascending.
        first: credits of the arm in the language of the direction, shape (seeds, steps, n).
        second: credits of the reference, same shape.
        known: credits in the source language, shape (seeds, n); None where the reference is the arm's beginning.
        alike: what stands for the numerator of the risk set where a distractor is taken as the answer, the mean over
            the distractors of each question, shape (seeds, n). None where `known` is, or where the distractors'
            credits are not given.
        last: number of final checkpoints pooled.
    """

    culture: str
    direction: str
    name: str
    clusters: np.ndarray
    questions: list[str]
    seeds: list[int]
    steps: list[int]
    first: np.ndarray
    second: np.ndarray
    known: np.ndarray | None
    alike: np.ndarray | None
    last: int

    @property
    def scales(self) -> tuple[str, ...]:
        """The scales that it can be given on."""
        if self.known is None:
            return (ALL,)
        return SCALES if self.alike is not None else (ALL, AT_RISK)

    def final(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean credits of both over the last checkpoints, each of shape (seeds, n)."""
        return self.first[:, -self.last :].mean(axis=1), self.second[:, -self.last :].mean(axis=1)

    def parts(self, scale: str) -> tuple[np.ndarray, np.ndarray]:
        """Return numerator and denominator of the gap over the last checkpoints, each of shape (seeds, n)."""
        first, second = self.final()
        if scale == ALL:
            return first - second, np.ones_like(first)
        assert self.known is not None
        gain, at_risk = self.known * (first - second), self.known * (1 - second)
        if scale == AT_RISK:
            return gain, at_risk
        assert self.alike is not None
        return gain - self.alike, at_risk

    def sample(self, scale: str) -> Sample:
        """Return the values whose mean is the gap over the last checkpoints."""
        bounds = (-1.0, 1.0) if scale == ALL else None
        return Sample(linearised(*self.parts(scale)), self.clusters, self.seeds, bounds)

    def without(self, questions: Collection[str]) -> Contrast | None:
        """Return the contrast without some questions, or None where none are left."""
        kept = np.array([question not in questions for question in self.questions])
        if not kept.any():
            return None
        return dataclasses.replace(
            self,
            clusters=self.clusters[kept],
            questions=[question for question, keep in zip(self.questions, kept, strict=True) if keep],
            first=self.first[..., kept],
            second=self.second[..., kept],
            known=None if self.known is None else self.known[:, kept],
            alike=None if self.alike is None else self.alike[:, kept],
        )


def by_culture(loaded: Iterable[Credits]) -> dict[str, dict[str, Credits]]:
    """Return culture -> language -> credits."""
    cultures: dict[str, dict[str, Credits]] = {}
    for credits in loaded:
        cultures.setdefault(credits.culture, {})[credits.lang] = credits
    return cultures


def form(
    cultures: Mapping[str, Mapping[str, Credits]], *, base: str, contrasts: Sequence[Sequence[str]], last: int
) -> Iterator[Contrast]:
    """Yield the contrasts of every culture and direction, then every arm's against its own step 0.

    Args:
        cultures: culture -> language -> credits.
        base: code of the base language.
        contrasts: pairs of arms; one that a culture has no common seed for is left out there and logged.
        last: number of final checkpoints pooled.
    """
    for culture, by_lang in cultures.items():
        for direction, target in directions(base, culture).items():
            credits, source = by_lang[target], by_lang[base if target == culture else culture]
            shared: dict[str, Any] = {
                "culture": culture,
                "direction": direction,
                "clusters": credits.clusters,
                "questions": credits.questions,
                "steps": credits.steps,
                "last": last,
            }
            for first, second in contrasts:
                seeds = credits.seeds(first, second)
                if not seeds:
                    log.info("%s: no common seed of %s and %s, contrast left out", culture, first, second)
                    continue
                pair = (first, second)
                ends, sources = (_stacked(of.arms, pair, seeds) for of in (credits, source))
                alike = None
                if credits.others and source.others:
                    taken, known_as = (_stacked(of.others, pair, seeds) for of in (credits, source))
                    final, other = (arm[:, -last:].mean(axis=1) for arm in taken)
                    gains = _known(known_as, source.lang == base, last) * (final - other)
                    told = ~np.isnan(gains)
                    among = told.sum(axis=-1)
                    alike = np.divide(
                        np.where(told, gains, 0).sum(axis=-1), among, out=np.zeros(among.shape), where=among > 0
                    )
                yield Contrast(
                    **shared,
                    name=f"{first} - {second}",
                    seeds=seeds,
                    first=ends[0],
                    second=ends[1],
                    known=_known(sources, source.lang == base, last),
                    alike=alike,
                )
            for arm, by_seed in credits.arms.items():
                since = np.stack(list(by_seed.values()))
                yield Contrast(
                    **shared,
                    name=f"{arm} - {STEP0}",
                    seeds=list(by_seed),
                    first=since,
                    second=np.broadcast_to(since[:, :1], since.shape),
                    known=None,
                    alike=None,
                )


def _stacked(of: Mapping[str, Mapping[int, np.ndarray]], arms: Sequence[str], seeds: Sequence[int]) -> list[np.ndarray]:
    """Return the credits of some arms, each of shape (seeds, steps, ...)."""
    return [np.stack([of[arm][seed] for seed in seeds]) for arm in arms]


def _known(arms: Sequence[np.ndarray], before: bool, last: int) -> np.ndarray:
    """Return the credits in the source language, shape (seeds, ...): at step 0, or over the arms' last checkpoints."""
    return arms[1][:, 0] if before else np.mean([arm[:, -last:].mean(axis=1) for arm in arms], axis=0)
