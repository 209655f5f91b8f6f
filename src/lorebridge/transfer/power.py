"""How large a gap must be to be seen: over questions, given the models at hand; and where seeds differ, too."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import scipy

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.questions import counted
from lorebridge.transfer.clusters import question_clusters
from lorebridge.transfer.inference import behrens_fisher, quantile

_DRAWS = 60
"""Points at which the distribution of the variance between seeds is taken."""
ALIKE, APART = 1.0, 0.0
"""Share of the discordance that seeds have on the same questions: all, none."""


def half_width(n: float, *, discordance: float, level: float = 0.95) -> float:
    """Return the half-width of the interval of a paired gap near zero.

    With a share `discordance` of questions that one model of two answers and the other does not, the difference of
    credits has variance `discordance` (its mean near zero), as in McNemar's test.

    Args:
        n: number of independent questions.
        discordance: share of discordant questions, in 0..1.
        level: of confidence.

    >>> round(half_width(598, discordance=0.2), 3)
    0.036
    """
    return NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(discordance / n)


def detectable_effect(n: float, *, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest paired gap that a two-sided test at `alpha` finds with probability `power`.

    Args:
        n: number of independent questions (:func:`effective_questions` for clustered ones).
        discordance: share of discordant questions, in 0..1.
        alpha: level of the test.
        power: wanted power.

    Returns:
        NaN where it would be larger than `discordance`, which no gap is.

    >>> round(detectable_effect(598, discordance=0.2), 3), detectable_effect(20, discordance=0.2)
    (0.051, nan)
    """
    effect = (NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)) * math.sqrt(discordance / n)
    return effect if effect <= discordance else math.nan


def equivalence_margin(n: float, *, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest margin within which two one-sided tests find a true gap of 0 with probability `power`.

    Args:
        n: number of independent questions (:func:`effective_questions` for clustered ones).
        discordance: share of discordant questions, in 0..1.
        alpha: level of each test.
        power: wanted power.

    >>> round(equivalence_margin(1000, discordance=0.02), 3)
    0.013
    """
    # Both tests reject with the probability 1 - 2 (1 - Phi(margin / error - z)).
    reach = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf((1 + power) / 2)
    return reach * math.sqrt(discordance / n)


def power_with_seeds(
    effect: float, n: float, *, discordance: float, seed_sd: float, seeds: int, alike: float, alpha: float = 0.05
) -> float:
    """Return how often the test of a gap over questions and seeds finds a true gap of `effect`.

    The test is that of the table "gaps" (:func:`lorebridge.transfer.inference.infer`), which takes the variance
    between seeds from so many seeds as there are. How large it comes out is a matter of luck, and the power is the mean
    over its distribution.

    Args:
        effect: the true gap, in 0..1.
        n: number of independent questions, more than one.
        discordance: share of discordant questions from one seed, in 0..1.
        seed_sd: standard deviation of the gap between seeds, in 0..1.
        seeds: at least two.
        alike: share of the discordance that seeds have on the same questions (:data:`ALIKE`, :data:`APART`).
        alpha: level of the test.

    >>> round(power_with_seeds(0.051, 598, discordance=0.2, seed_sd=0.0, seeds=5, alike=ALIKE), 1)
    0.8
    """
    thresholds, error = _thresholds(n, discordance, seed_sd, seeds, alike, alpha)
    return float(
        (scipy.stats.norm.sf((thresholds - effect) / error) + scipy.stats.norm.sf((thresholds + effect) / error)).mean()
    )


@functools.lru_cache(maxsize=256)
def _thresholds(
    n: float, discordance: float, seed_sd: float, seeds: int, alike: float, alpha: float
) -> tuple[np.ndarray, float]:
    """Return the gaps from which on the test rejects, one for each estimate of the seeds, and the gap's true error."""
    shared = discordance * alike / n
    spread = seed_sd**2 + discordance * (1 - alike) / n
    luck = scipy.stats.chi2.ppf((np.arange(_DRAWS) + 0.5) / _DRAWS, seeds - 1) / (seeds - 1)
    thresholds = []
    for between in spread * luck / seeds:
        scale = math.sqrt(shared + between)
        tails = functools.partial(behrens_fisher, scales=(shared, between), freedom=(n - 1, seeds - 1))
        thresholds.append(quantile(tails, alpha, scale))
    return np.array(thresholds), math.sqrt(shared + spread / seeds)


def detectable_with_seeds(n: float, *, discordance: float, seed_sd: float, seeds: int, power: float = 0.8) -> float:
    """Return the smallest gap that the test over questions and seeds finds with probability `power`.

    Whether seeds differ on the same questions or on others is not known beforehand, so it is the larger of what the
    two extremes need: on the same ones a second seed says nothing new of the questions; on others the seeds alone tell
    the error.

    Args:
        n: number of independent questions.
        discordance: share of discordant questions, in 0..1.
        seed_sd: standard deviation of the gap between seeds, in 0..1.
        seeds: of each arm.
        power: wanted power.

    Returns:
        NaN where no gap is found so often: with one seed or one question there is no such test, and a gap is not larger
        than the share of discordant questions.
    """
    if seeds < 2 or n <= 1:
        return math.nan
    shared: dict[str, Any] = {"discordance": discordance, "seed_sd": seed_sd, "seeds": seeds}
    needed = []
    for alike in (ALIKE, APART):

        def lack(effect: float, alike: float = alike) -> float:
            return power - power_with_seeds(effect, n, **shared, alike=alike)

        if lack(discordance) > 0:
            return math.nan
        needed.append(float(scipy.optimize.brentq(lack, 0.0, discordance)))
    return max(needed)


def margin_with_seeds(
    n: float, *, discordance: float, seed_sd: float, seeds: int, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest margin within which a true gap of 0 is shown over questions and seeds with this power.

    As of :func:`detectable_with_seeds` it is the larger of what the two extremes need.

    Args:
        n: number of independent questions.
        discordance: share of discordant questions, in 0..1, above 0.
        seed_sd: standard deviation of the gap between seeds, in 0..1.
        seeds: of each arm.
        alpha: level of each of the two tests.
        power: wanted power.

    Returns:
        NaN with one seed or one question: there is no such test.
    """
    if seeds < 2 or n <= 1:
        return math.nan
    needed = []
    for alike in (ALIKE, APART):
        # The interval of level 1 - 2 alpha is to lie within the margin.
        reaches, error = _thresholds(n, discordance, seed_sd, seeds, alike, 2 * alpha)

        def lack(margin: float, reaches: np.ndarray = reaches, error: float = error) -> float:
            room = np.clip((margin - reaches) / error, 0, None)
            return power - float((2 * scipy.stats.norm.cdf(room) - 1).mean())

        end = float(reaches.max()) + 10 * error
        needed.append(float(scipy.optimize.brentq(lack, 0.0, end)))
    return max(needed)


def effective_questions(clusters: pd.Series) -> float:
    """Return how many independent questions weigh as much as these, were those of a cluster all answered alike.

    The worst case of the design effect: n questions in clusters of sizes m give n^2 / sum(m^2) (Kish 1965).
    """
    sizes = clusters.value_counts()
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def detectable_effects(
    *, questions: Mapping[str, Path], subset: str, discordance: float, seed_sd: float, seeds: int
) -> pd.DataFrame:
    """Return what gap each culture's questions can show: one row a culture.

    Args:
        questions: culture -> table "questions".
        subset: which questions count.
        discordance: share of questions that exactly one of two models answers.
        seed_sd: assumed standard deviation of a gap between seeds, in 0..1.
        seeds: number of seeds of each culture's arms.

    Returns:
        columns culture, n_questions, n_clusters, half_width, detectable_effect (questions independent),
        detectable_effect_clustered (those of a cluster answered alike), both given the models at hand, and
        detectable_effect_seeds (questions independent, seeds differing); effects in 0..1, NaN where no gap is found so
        often.

    Raises:
        InputError: a culture has no question in the subset; no seed; a standard deviation that is not in 0..1.
    """
    if not 0 <= seed_sd <= 1:
        raise InputError(
            "seed_sd", f"is {seed_sd:g}, which no standard deviation of a gap is", "Take one in 0..1: 0.02 is 2 points."
        )
    if seeds < 1:
        raise InputError("seeds", f"are {seeds}", "Count the seeds that each arm is trained from: 1 or more.")
    rows = []
    for culture, path in questions.items():
        table = tables.read(path)
        kept = counted(table, subset)["question_id"].unique()
        clusters = question_clusters(table).reindex(sorted(kept))
        n = len(clusters)
        rows.append(
            {
                "culture": culture,
                "n_questions": n,
                "n_clusters": clusters.nunique(),
                "half_width": half_width(n, discordance=discordance),
                "detectable_effect": detectable_effect(n, discordance=discordance),
                "detectable_effect_clustered": detectable_effect(
                    effective_questions(clusters), discordance=discordance
                ),
                "detectable_effect_seeds": detectable_with_seeds(
                    n, discordance=discordance, seed_sd=seed_sd, seeds=seeds
                ),
            }
        )
    return pd.DataFrame(rows)
