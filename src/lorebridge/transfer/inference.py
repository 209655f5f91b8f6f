"""Estimates with their errors: questions that come in clusters, seeds that are few, languages that are given.

Every quantity here is a mean over questions and seeds, or a ratio of two such means that is made linear first
(:func:`linearised`), and then a weighted sum over languages. Its error has two sources. Which questions were asked:
clusters of questions are the units. Which seeds the models were trained with: what seeds differ by beyond what their
questions explain, pooled over languages, because two seeds alone say next to nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

QUESTIONS_ONLY = "questions only, given these seeds"
QUESTIONS_AND_SEEDS = "questions and seeds, seed variance pooled over languages"

_CHUNK = 256  # resamples held in memory at once


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the questions of one language say of a quantity: the mean of `values` estimates it.

    Attributes:
        values: shape (seeds, n questions).
        clusters: cluster of each question, shape (n,).
    """

    values: npt.NDArray[np.float64]
    clusters: npt.NDArray[np.int64]

    @property
    def estimate(self) -> float:
        """The mean over questions and seeds."""
        return float(self.values.mean())

    @property
    def n_clusters(self) -> int:
        """Number of clusters of questions."""
        return len(np.unique(self.clusters))

    def totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum over each cluster of the mean over seeds, and the cluster sizes, both (n clusters,)."""
        codes = np.unique(self.clusters, return_inverse=True)[1]
        return np.bincount(codes, self.values.mean(axis=0)), np.bincount(codes).astype(np.float64)


def linearised(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return values whose mean is the ratio of two means, and whose spread is the ratio's to first order.

    g + (a - g b) / mean(b) for the ratio g = mean(a) / mean(b): Taylor linearisation (Woodruff 1971). With a
    denominator of ones these are the numerators.

    Args:
        numerator: a, shape (seeds, n questions).
        denominator: b, same shape; NaN is returned where its mean is 0.
    """
    mean = denominator.mean()
    if mean == 0:
        return np.full(numerator.shape, np.nan)
    ratio = numerator.mean() / mean
    return ratio + (numerator - ratio * denominator) / mean


def question_variance(values: np.ndarray, clusters: np.ndarray) -> float:
    """Return the variance of the mean of `values` (n,) over the choice of clusters of questions; NaN for one cluster.

    K / (K - 1) times the sum of squared residual totals of the K clusters, over n squared: the cluster-robust variance
    of a mean (Liang & Zeger 1986).
    """
    totals = np.bincount(np.unique(clusters, return_inverse=True)[1], values - values.mean())
    k = len(totals)
    return float(k / (k - 1) * (totals**2).sum() / len(values) ** 2) if k > 1 else np.nan


@dataclasses.dataclass(frozen=True)
class SeedVariance:
    """How much one training run differs from the next, pooled over languages.

    Attributes:
        net: variance between seeds beyond what their questions explain; not below 0.
        gross: variance between the seeds' own estimates.
        freedom: degrees of freedom.
    """

    net: float
    gross: float
    freedom: int


def seed_variance(samples: Sequence[Sample]) -> SeedVariance | None:
    """Return the variance between seeds, pooled over languages; None where no language has two seeds.

    Questions x seeds is a crossed layout: the variance between the seeds' estimates holds what a seed does to all
    questions, and a share of what it does to each question alone. The latter is part of the variance over questions
    already (:func:`question_variance` of the means over seeds), so it is subtracted here: E = (MS_seed - MS_error) /
    n, the moment estimator of a variance component (Searle, Casella & McCulloch 1992, section 4.4).

    Args:
        samples: one a language; the variance is taken to be the same in all, and the seeds of two languages to be
            independent.
    """
    several = [sample.values for sample in samples if len(sample.values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None
    squares = sum(values.mean(axis=1).var() * len(values) for values in several)
    own = sum(
        question_variance(row, sample.clusters)
        for sample in samples
        if len(sample.values) > 1
        for row in sample.values - sample.values.mean(axis=0)
    )
    return SeedVariance(max(float(squares - own) / freedom, 0.0), float(squares) / freedom, freedom)


@dataclasses.dataclass(frozen=True)
class Inference:
    """An estimate with its standard error, degrees of freedom, 95 % interval and two-sided p-value of 0."""

    estimate: float
    se: float
    df: float
    lo: float
    hi: float
    p: float


def infer(
    samples: Sequence[Sample], weights: Sequence[float], seeds: SeedVariance | None = None, level: float = 0.95
) -> Inference:
    """Return the t inference of a weighted sum of the samples' means (Satterthwaite 1946).

    The languages are those at hand: no variance between languages enters.

    Args:
        samples: one a language, on different questions.
        weights: of each.
        seeds: their seed variance; None for the error over questions alone, given these seeds.
        level: of the interval.

    Returns:
        All NaN but the estimate where a language has one cluster.
    """
    weight = np.asarray(weights, dtype=np.float64)
    parts = weight**2 * [question_variance(sample.values.mean(axis=0), sample.clusters) for sample in samples]
    freedom = np.array([sample.n_clusters - 1 for sample in samples], dtype=np.float64)
    estimate, variance = float(weight @ [sample.estimate for sample in samples]), float(parts.sum())
    if np.isnan(variance) or np.isnan(estimate):
        return Inference(estimate, *[np.nan] * 5)
    spread = float((parts**2 / freedom).sum())
    if seeds is not None and seeds.net > 0:
        share = float((weight**2 / [len(sample.values) for sample in samples]).sum())
        variance += share * seeds.net
        # The gross variance is what was observed with so few degrees of freedom: what is subtracted is known well.
        spread += (share * seeds.gross) ** 2 / seeds.freedom
    if variance == 0:
        return Inference(estimate, 0.0, np.inf, estimate, estimate, 1.0 if estimate == 0 else 0.0)
    df, se = variance**2 / spread, np.sqrt(variance)
    half = stats.t.ppf(0.5 + level / 2, df) * se
    p = 2 * stats.t.sf(abs(estimate) / se, df)
    return Inference(estimate, float(se), float(df), float(estimate - half), float(estimate + half), float(p))


def sign_flip(
    samples: Sequence[Sample], weights: Sequence[float], *, resamples: int, rng: np.random.Generator
) -> float:
    """Return the two-sided p-value of a weighted sum of means being 0, by flipping signs of cluster totals.

    Where two arms are exchangeable, a cluster's gap is as likely to have the other sign; the share of random signs
    under which the sum is as far from 0 as it is, the given signs counted (Phipson & Smyth 2010). With clusters of one
    question and credits of 0 and 1 this is the exact McNemar test. It speaks of these very models: two runs of the
    same arm are two models, too.

    Args:
        samples: one a language; their values are differences whose mean is 0 under the null hypothesis.
        weights: of each language.
        resamples: random draws of signs.
        rng: for the draws.
    """
    totals = np.concatenate([w * s.totals()[0] / s.values.shape[1] for s, w in zip(samples, weights, strict=True)])
    totals = totals[totals != 0]
    if np.isnan(totals).any():
        return np.nan
    observed, scale = abs(totals.sum()), np.abs(totals).sum()
    reached = 0
    for first in range(0, resamples, _CHUNK):
        kept = rng.integers(0, 2, size=(min(_CHUNK, resamples - first), len(totals)), dtype=np.int8)
        sums = 2 * (kept @ totals) - totals.sum()
        reached += int((np.abs(sums) >= observed - 1e-9 * scale).sum())
    return (1 + reached) / (1 + resamples)


def permuted(samples: Sequence[Sample], weights: Sequence[float], *, resamples: int, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of a contrast between languages being 0, by dealing clusters out to languages anew.

    The statistic is the contrast over its cluster-robust standard error. Studentised so, the test is exact where the
    languages have the same distribution of clusters, and right in the limit where only the contrast is 0 while
    spreads and single languages differ (Janssen 1997; Pauly, Brunner & Konietschke 2015). It speaks of these models.

    Args:
        samples: one a language.
        weights: of each language; they sum to 0.
        resamples: random permutations.
        rng: for the draws.

    Returns:
        NaN where a language has one cluster or no estimate.
    """
    sums = [sample.totals() for sample in samples]
    counts = np.array([len(sizes) for _, sizes in sums])
    if counts.min() < 2 or any(np.isnan(total).any() for total, _ in sums):
        return np.nan
    total, size = (np.concatenate(column) for column in zip(*sums, strict=True))
    moments = np.stack([total, size, total**2, total * size, size**2], axis=1)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    weight = np.asarray(weights, dtype=np.float64)

    def statistic(dealt: np.ndarray) -> np.ndarray:
        t, n, tt, tn, nn = np.moveaxis(np.add.reduceat(dealt, starts, axis=1), 2, 0)
        mean = t / n
        variance = counts / (counts - 1) * (tt - 2 * mean * tn + mean**2 * nn) / n**2
        contrast = np.abs(mean @ weight)
        error = np.sqrt(variance.clip(min=0) @ weight**2)
        return np.divide(contrast, error, out=np.where(contrast > 1e-12, np.inf, 0.0), where=error > 1e-12)

    observed = statistic(moments[None])[0]
    reached = 0
    for first in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - first)
        order = rng.permuted(np.tile(np.arange(len(moments)), (rows, 1)), axis=1)
        reached += int((statistic(moments[order]) >= observed * (1 - 1e-9)).sum())
    return (1 + reached) / (1 + resamples)


def holm(p: pd.Series) -> pd.Series:
    """Return the p-values of one family adjusted by Holm (1979); missing ones stay so and do not count.

    As statsmodels' multipletests does, which collects the garbage of the whole process at each call.
    """
    told = p.dropna().sort_values(kind="stable")
    adjusted = (told * np.arange(len(told), 0, -1)).cummax().clip(upper=1)
    return adjusted.reindex(p.index)
