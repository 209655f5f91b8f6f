"""Gaps on the questions on people beside those on culture: in points, relative to the arm without the bridge, compared.

Facts on people of the Anglosphere are stated in the base language alone (Zhang et al., ACL 2025, appendix D), so that
only the direction en->xx is asked of them. The paper reports one number, 20 %, and not what it is relative to. Three
readings are given: the gap in points, the gap over the accuracy without the bridge, and the gap on people over that
on culture, less one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.people import person_and_attribute, person_clusters
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.contrasts import Contrast, by_culture, form
from lorebridge.transfer.inference import (
    QUESTIONS_AND_SEEDS,
    QUESTIONS_ONLY,
    Inference,
    Parts,
    Sample,
    common_seeds,
    few_clusters,
    infer,
    notes,
    of_seeds,
)

DIRECTION = "en->xx"
PEOPLE, CULTURE, DIFFERENCE = "people", "culture", "people - culture"
EVERY = "all"
"""All attributes, and all languages, which weigh the same."""

_FARTHEST = 2.0**40


def people_gaps(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    people_scores: Sequence[Path],
    people_questions: Mapping[str, Path],
    base: str,
    contrasts: Sequence[Sequence[str]],
    subset: str,
    rule: str,
    last: int,
    out: Path,
    prefix: str,
) -> dict[str, Any]:
    """Write the table "people_gaps": gaps en->xx over the last checkpoints on people, by attribute, and on culture.

    Each gap comes in points (`gap`), and relative to the accuracy of the second arm (`relative`); of the difference
    of the gaps on people and on culture, `relative` is the gap on people over that on culture, less one. For each
    language, and for the mean of all languages.

    Intervals, 95 %, as in the table "asymmetry": with clusters of questions as units (of the questions on people a
    person is a cluster), once given these seeds and once with the variance between seeds, of a mean over languages
    seed by seed (:func:`lorebridge.transfer.inference.infer`). Of ratios by Fieller's method (:func:`fieller`): missing
    where the denominator is not told from 0.

    Args:
        scores: tables "scores" of the questions on culture, one a run.
        questions: culture (= language learned) -> table "questions".
        people_scores: the same of the questions on people.
        people_questions: language learned -> table "questions".
        base: code of the base language.
        contrasts: pairs of arms.
        subset: which questions count; questions on people have no ``strict`` ones, and ``clean`` stands for it.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        out: where to write.
        prefix: what all questions were asked behind.

    Returns:
        notes: number of questions on people and of people by language.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`, or no contrast can be formed at all.
    """
    settings: dict[str, Any] = {"base": base, "rule": rule, "last": last, "prefix": prefix}
    of_culture = credits_.load(scores=scores, questions=questions, subset=subset, **settings)
    of_people = credits_.load(
        scores=people_scores,
        questions=people_questions,
        subset="reference" if subset == "reference" else "clean",
        cluster=person_clusters,
        **settings,
    )
    formed = {
        kind: {
            (c.name, c.culture): c
            for c in form(by_culture(loaded), base=base, contrasts=contrasts, last=last)
            if c.direction == DIRECTION and c.known is not None
        }
        for kind, loaded in ((PEOPLE, of_people), (CULTURE, of_culture))
    }
    if not formed[PEOPLE]:
        raise InputError(
            "contrasts",
            f"none of {[list(c) for c in contrasts]} names two arms that were run with a common seed",
            "Name arms of the study.",
        )
    table = gap_table(formed[PEOPLE], formed[CULTURE]).assign(subset=subset, rule=rule, prefix=prefix)
    tables.write("people_gaps", table, out)
    return {
        c.culture: {"questions": len(c.questions), "people": len(np.unique(c.clusters))}
        for c in formed[PEOPLE].values()
    }


@dataclasses.dataclass(frozen=True)
class Measure:
    """What one language's questions of a kind say.

    Attributes:
        gap: samples whose weighted sum is the gap.
        at: ratio -> samples whose weighted sum is 0 where it is the true one.
        top: the mean that stands above in the ratio that is reported.
        below: the sample whose mean stands below.
        shift: what is taken from that ratio.
        accuracy, accuracy_reference: mean credits of both arms; missing for a difference.
    """

    gap: Parts
    at: Callable[[float], Parts]
    top: float
    below: Sample
    shift: float
    accuracy: float = np.nan
    accuracy_reference: float = np.nan

    @property
    def bottom(self) -> float:
        """What the ratio is divided by."""
        return self.below.estimate


def measure(contrast: Contrast, kept: np.ndarray) -> Measure:
    """Return what some of the questions (a mask, shape (n,)) say of the gap and of its share of the reference."""
    first, second = (part[:, kept] for part in contrast.final())

    def sample(values: np.ndarray, bounds: tuple[float, float] | None = None) -> Sample:
        return Sample(values, contrast.clusters[kept], contrast.seeds, bounds)

    return Measure(
        gap=[(sample(first - second, (-1.0, 1.0)), 1.0)],
        at=lambda ratio: [(sample(first - second - ratio * second), 1.0)],
        top=float((first - second).mean()),
        below=sample(second, (0.0, 1.0)),
        shift=0.0,
        accuracy=float(first.mean()),
        accuracy_reference=float(second.mean()),
    )


def compare(people: Contrast, culture: Contrast) -> Measure | None:
    """Return what both sets of questions say of the difference of their gaps and of the gaps' ratio; None for no seed.

    Seed by seed, because the same models answer both; the questions are others, each set a sample of its own.
    """
    seeds = sorted(set(people.seeds) & set(culture.seeds))
    if not seeds:
        return None
    first, second = (
        Sample(
            np.subtract(*(part[[contrast.seeds.index(seed) for seed in seeds]] for part in contrast.final())),
            contrast.clusters,
            seeds,
            (-1.0, 1.0),
        )
        for contrast in (people, culture)
    )
    return Measure(
        gap=[(first, 1.0), (second, -1.0)],
        at=lambda ratio: [(first, 1.0), (second, -ratio)],
        top=first.estimate,
        below=second,
        shift=1.0,
    )


def gap_table(people: Mapping[tuple[str, str], Contrast], culture: Mapping[tuple[str, str], Contrast]) -> pd.DataFrame:
    """Return the rows of table "people_gaps", without subset and rule.

    Args:
        people: (contrast, language) -> its contrast on the questions on people.
        culture: the same on the questions on culture.
    """
    cells: dict[tuple[str, str, str], dict[str, Measure]] = {}
    for (name, lang), contrast in people.items():
        attributes = np.array([person_and_attribute(question)[1] for question in contrast.questions])
        for attribute in (EVERY, *np.unique(attributes)):
            kept = np.full(len(attributes), True) if attribute == EVERY else attributes == attribute
            cells.setdefault((name, PEOPLE, str(attribute)), {})[lang] = measure(contrast, kept)
    for (name, lang), contrast in culture.items():
        cells.setdefault((name, CULTURE, EVERY), {})[lang] = measure(contrast, np.full(len(contrast.questions), True))
        both = compare(people[name, lang], contrast) if (name, lang) in people else None
        if both is not None:
            cells.setdefault((name, DIFFERENCE, EVERY), {})[lang] = both
    rows = [
        {"contrast": name, "questions": kind, "attribute": attribute, **row}
        for (name, kind, attribute), measures in cells.items()
        for row in _rows(measures)
    ]
    return pd.DataFrame(rows)


def _rows(measures: Mapping[str, Measure]) -> Iterator[dict[str, Any]]:
    """Yield the rows of one contrast and kind of questions: each language, and the mean of several."""
    for langs in [*([lang] for lang in measures), *([list(measures)] if len(measures) > 1 else [])]:
        group = [measures[lang] for lang in langs]
        bottom = sum(one.bottom for one in group)
        ratio = sum(one.top for one in group) / bottom if bottom else np.nan
        asked = [sample for one in group for sample, _ in one.gap]
        seeds = len(common_seeds(asked))
        for interval in (QUESTIONS_ONLY, QUESTIONS_AND_SEEDS) if seeds > 1 else (QUESTIONS_ONLY,):
            over_seeds = interval == QUESTIONS_AND_SEEDS
            gap = _inferred([one.gap for one in group], over_seeds)
            lo, hi = fieller(
                ratio,
                functools.partial(_ratio_test, group, over_seeds),
                _inferred([[(one.below, 1.0)] for one in group], over_seeds),
            )
            yield {
                "lang": langs[0] if len(langs) == 1 else EVERY,
                "langs": langs,
                "n_questions": sum(sample.values.shape[1] for sample in asked),
                "n_clusters": sum(sample.n_clusters for sample in asked),
                "n_seeds": seeds,
                "accuracy": np.mean([one.accuracy for one in group]),
                "accuracy_reference": np.mean([one.accuracy_reference for one in group]),
                "gap": gap.estimate,
                "lo": gap.lo,
                "hi": gap.hi,
                "relative": ratio - group[0].shift,
                "relative_lo": lo - group[0].shift,
                "relative_hi": hi - group[0].shift,
                "interval": interval,
                "note": notes(
                    of_seeds(seeds) if over_seeds else "",
                    few_clusters(asked, [weight / len(group) for one in group for _, weight in one.gap]),
                ),
            }


def _inferred(languages: Sequence[Parts], over_seeds: bool) -> Inference:
    """Return the inference of the mean over some languages."""
    samples, weights = zip(*(part for parts in languages for part in parts), strict=True)
    return infer(samples, [weight / len(languages) for weight in weights], over_seeds=over_seeds)


def _ratio_test(measures: Sequence[Measure], over_seeds: bool, ratio: float) -> Inference:
    """Return the inference of numerator - ratio x denominator, which is 0 where `ratio` is the true one."""
    return _inferred([one.at(ratio) for one in measures], over_seeds)


def fieller(ratio: float, test: Callable[[float], Inference], denominator: Inference) -> tuple[float, float]:
    """Return the interval of a ratio by the method of Fieller (1954): the ratios that a test does not reject.

    Args:
        ratio: the estimate, which the test does not reject.
        test: ratio -> inference of numerator - ratio x denominator.
        denominator: its inference.

    Returns:
        NaN where the denominator's own interval holds 0, or cannot be told: then no ratio is too large to be true.
    """
    if np.isnan(denominator.lo) or denominator.lo <= 0 <= denominator.hi:
        return np.nan, np.nan

    def rejects(value: float) -> float:
        """How far 0 is outside the interval; negative inside."""
        found = test(value)
        return max(found.lo, -found.hi)

    ends = []
    for side in (-1, 1):
        step = 0.01
        while rejects(ratio + side * step) <= 0 and step < _FARTHEST:
            step *= 2
        inside, outside = rejects(ratio), rejects(ratio + side * step)
        if np.isnan(inside) or outside <= 0:
            return np.nan, np.nan
        ends.append(
            ratio if inside >= 0 else float(scipy.optimize.brentq(rejects, ratio, ratio + side * step, xtol=1e-7))
        )
    return ends[0], ends[1]
