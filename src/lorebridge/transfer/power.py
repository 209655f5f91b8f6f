"""How large a gap must be to be seen: over questions, given the models at hand; and where seeds differ, too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from scipy import optimize, stats

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.questions import counted
from lorebridge.transfer.clusters import question_clusters

_DRAWS = 400
"""Points at which the distribution of the seeds' variance is taken."""


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

    >>> round(detectable_effect(598, discordance=0.2), 3)
    0.051
    """
    return (NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)) * math.sqrt(discordance / n)


def power_with_seeds(
    effect: float, n: float, *, discordance: float, seed_sd: float, seeds: int, languages: int, alpha: float = 0.05
) -> float:
    """Return how often the test of a gap over questions and seeds finds a true gap of `effect`.

    The test is that of the table "gaps" (:func:`lorebridge.transfer.inference.infer`): the variance between seeds is
    pooled over languages and so has languages x (seeds - 1) degrees of freedom, those of the whole by Satterthwaite
    (1946). How large that variance comes out is a matter of luck, and the power is the mean over its distribution.
    Questions count as if one seed had answered them: whether seeds differ on different questions, which would help,
    is not assumed.

    Args:
        effect: the true gap, in 0..1.
        n: number of independent questions, more than one.
        discordance: share of discordant questions, in 0..1.
        seed_sd: standard deviation of the gap between seeds, in 0..1.
        seeds: of each language; at least two.
        languages: whose seeds are pooled.
        alpha: level of the test.

    >>> round(power_with_seeds(0.05, 598, discordance=0.2, seed_sd=0.0, seeds=2, languages=4), 2)
    0.78
    >>> round(power_with_seeds(0.05, 598, discordance=0.2, seed_sd=0.04, seeds=2, languages=4), 2)
    0.27
    """
    freedom = languages * (seeds - 1)
    of_questions, of_seeds = discordance / n, seed_sd**2 / seeds
    # The estimate of the seeds' part, at the midpoints of equal shares of its distribution.
    found = of_seeds * stats.chi2.ppf((np.arange(_DRAWS) + 0.5) / _DRAWS, freedom) / freedom
    variance = of_questions + found
    df = variance**2 / (of_questions**2 / (n - 1) + found**2 / freedom)
    threshold, error = stats.t.ppf(1 - alpha / 2, df) * np.sqrt(variance), math.sqrt(of_questions + of_seeds)
    return float((stats.norm.sf((threshold - effect) / error) + stats.norm.sf((threshold + effect) / error)).mean())


def detectable_with_seeds(
    n: float, *, discordance: float, seed_sd: float, seeds: int, languages: int, power: float = 0.8
) -> float:
    """Return the smallest gap that the test over questions and seeds finds with probability `power`.

    Args:
        n: as the others of :func:`power_with_seeds`.
        discordance: share of discordant questions, in 0..1.
        seed_sd: standard deviation of the gap between seeds, in 0..1.
        seeds: of each language.
        languages: whose seeds are pooled.
        power: wanted power.

    Returns:
        NaN with one seed or one question, where there is no such test.

    >>> round(detectable_with_seeds(598, discordance=0.2, seed_sd=0.04, seeds=2, languages=4), 3)
    0.109
    """
    if seeds < 2 or n <= 1:
        return math.nan

    def lack(effect: float) -> float:
        found = power_with_seeds(effect, n, discordance=discordance, seed_sd=seed_sd, seeds=seeds, languages=languages)
        return power - found

    highest = detectable_effect(n, discordance=discordance, power=power) + seed_sd
    while lack(highest) > 0:
        highest *= 2
    return float(optimize.brentq(lack, 0.0, highest))


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
        detectable_effect_seeds (questions independent, seeds differing; NaN with one seed); effects in 0..1.

    Raises:
        InputError: a culture has no question in the subset; no seed; a standard deviation that is not in 0..1.
    """
    if not 0 <= seed_sd <= 1:
        raise InputError("seed_sd", f"is {seed_sd:g}, which no standard deviation of a gap is", "Take one in 0..1.")
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
                    n, discordance=discordance, seed_sd=seed_sd, seeds=seeds, languages=len(questions)
                ),
            }
        )
    return pd.DataFrame(rows)
