"""How large a gap must be to be seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist

import pandas as pd

from lorebridge import tables
from lorebridge.probes.questions import counted
from lorebridge.transfer.clusters import question_clusters


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


def effective_questions(clusters: pd.Series) -> float:
    """Return how many independent questions weigh as much as these, were those of a cluster all answered alike.

    The worst case of the design effect: n questions in clusters of sizes m give n^2 / sum(m^2) (Kish 1965).
    """
    sizes = clusters.value_counts()
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def detectable_effects(*, questions: Mapping[str, Path], subset: str, discordance: float) -> pd.DataFrame:
    """Return what gap each culture's questions can show: one row a culture.

    Args:
        questions: culture -> table "questions".
        subset: which questions count.
        discordance: share of questions that exactly one of two models answers.

    Returns:
        columns culture, n_questions, n_clusters, half_width, detectable_effect (questions independent) and
        detectable_effect_clustered (those of a cluster answered alike); effects in 0..1.

    Raises:
        InputError: a culture has no question in the subset.
    """
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
            }
        )
    return pd.DataFrame(rows)
