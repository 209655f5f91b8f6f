"""Estimates with their errors: questions that come in clusters, seeds that are few, languages that are given.

Every quantity here is a mean over questions and seeds, or a ratio of two such means that is made linear first
(:func:`linearised`), and then a weighted sum over languages. Its error has two sources. Which questions were asked:
clusters of questions are the units. Which seeds the models were trained with: what the estimates of single seeds differ
by. A seed's models of all languages go on from one base model, so that languages are no repetitions of a seed: a sum
over languages is reckoned for each seed, and these sums are compared.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from lorebridge.unseen import FEW_CLUSTERS, alike, resting, unseen_share

QUESTIONS_ONLY = "questions only, given these seeds"
QUESTIONS_AND_SEEDS = "questions and seeds"

FEW_SEEDS = 5
"""Below so many seeds, what is said of other seeds is said with a note."""

_CHUNK = 256  # resamples held in memory at once


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the questions of one language say of a quantity: the mean of `values` estimates it.

    Attributes:
        values: shape (seeds, n questions).
        clusters: cluster of each question, shape (n,).
        seeds: the seeds; those of the same number went on from the same base model, whatever their language. Where they
            are not told, nothing can be said of other seeds.
        bounds: between which values lie, where there are bounds: what no cluster has shown can then be no further away.
    """

    values: npt.NDArray[np.float64]
    clusters: npt.NDArray[np.int64]
    seeds: Sequence[int] = ()
    bounds: tuple[float, float] | None = None

    @property
    def estimate(self) -> float:
        """The mean over questions and seeds."""
        return float(self.values.mean())

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """Number of each question's cluster, from 0, shape (n,)."""
        return np.unique(self.clusters, return_inverse=True)[1]

    @functools.cached_property
    def n_clusters(self) -> int:
        """Number of clusters of questions."""
        return int(self.codes.max(initial=-1)) + 1

    @property
    def alike(self) -> float:
        """How many clusters of one size weigh as these do (:func:`lorebridge.unseen.alike`)."""
        return alike(np.bincount(self.codes))

    def minus(self, other: Sample) -> Sample:
        """Return the differences, question by question, to a sample of the same questions and seeds."""
        both = None
        if self.bounds is not None and other.bounds is not None:
            both = (self.bounds[0] - other.bounds[1], self.bounds[1] - other.bounds[0])
        return dataclasses.replace(self, values=self.values - other.values, bounds=both)

    def totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum over each cluster of the mean over seeds, and the cluster sizes, both (n clusters,)."""
        return np.bincount(self.codes, self.values.mean(axis=0)), np.bincount(self.codes).astype(np.float64)


Parts = Sequence[tuple[Sample, float]]
"""Samples of different questions with the weights with which their means are summed, such as 1 and -1."""


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


def left_out(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return how far the mean of `values` (n,) moves if a cluster is left out, up to its sign, shape (n clusters,).

    Args:
        values: one a question.
        codes: number of each question's cluster, from 0; two clusters or more.
    """
    totals = np.bincount(codes, values - values.mean())
    return totals / (len(values) - np.bincount(codes))


def question_variance(values: np.ndarray, codes: np.ndarray) -> float:
    """Return the variance of the mean of `values` (n,) over the choice of clusters of questions; NaN for one cluster.

    The jackknife over clusters: (K - 1) / K times the sum of squares of what the mean moves by if one of the K clusters
    is left out (Bell & McCaffrey 2002). Where clusters are of one size this is the sandwich of Liang & Zeger (1986)
    with K / (K - 1). A cluster that holds much of the questions draws the mean to itself, and the sandwich takes it for
    less unlike the others than it is: with half of all questions in one cluster its intervals of 95 % cover 55 to 80 %
    (``benchmarks/calibration.py --scenario clusters``).

    Args:
        values: one a question.
        codes: number of each question's cluster, from 0.
    """
    k = int(codes.max(initial=-1)) + 1
    return float((k - 1) / k * (left_out(values, codes) ** 2).sum()) if k > 1 else np.nan


def few_clusters(samples: Sequence[Sample], weights: Sequence[float]) -> str:
    """Return what a row has to say if the error over questions of a weighted sum rests on few clusters; else nothing.

    How many it rests on is (sum of r^2)^2 / sum of r^4, with r what the sum moves by if a cluster is left out: all of
    them if all move it alike, those that hold a difference if two models hardly ever differ, one if one outweighs the
    rest. With few, Student's t and the bootstrap cover less than they say if the differences are all on one side.

    >>> few_clusters([Sample(np.array([[1.0, 0, 0, -1, 0, 0]]), np.arange(6))], [1.0])
    'error from about 2 clusters: may be too small'
    >>> few_clusters([Sample(np.zeros((1, 6)), np.arange(6))], [1.0])
    'no cluster differs from another'
    """
    if any(sample.n_clusters < 2 or np.isnan(sample.values).any() for sample in samples):
        return ""
    moved = np.concatenate(
        [weight * left_out(s.values.mean(axis=0), s.codes) for s, weight in zip(samples, weights, strict=True)]
    )
    many = float(resting(moved))
    if not many:
        return "no cluster differs from another"
    return "" if many >= FEW_CLUSTERS else f"error from about {many:.0f} clusters: may be too small"


def notes(*said: str) -> str:
    """Return what a row has to say as one text.

    >>> notes("", "a", "b")
    'a; b'
    """
    return "; ".join(filter(None, said))


def adjusted(table: pd.DataFrame, family: Sequence[str], p: str = "p") -> pd.Series:
    """Return the p-values of a table by Holm's method within each family (:func:`holm`).

    Args:
        table: a row a test.
        family: columns that the tests of one family have in common.
        p: column of the p-values; where it is missing nothing was tested.
    """
    tested = table.loc[table[p].notna(), [*family, p]]
    # By number: grouping by several columns of text takes most of a small study's time.
    of = tested.groupby(list(family), sort=False).ngroup().to_numpy()
    found = [holm(tested[p][of == number]) for number in range(int(of.max(initial=-1)) + 1)]
    return (pd.concat(found) if found else tested[p]).reindex(table.index)


def of_same_questions(samples: Sequence[Sample], weights: Sequence[float]) -> Sample:
    """Return a weighted sum of samples of the same questions, question by question, over the seeds that all have.

    Args:
        samples: of the same facts in the same order, such as those of two languages; the clusters are the first's.
        weights: of each.
    """
    seeds = common_seeds(samples)
    rows = [sample.values[[list(sample.seeds).index(seed) for seed in seeds]] for sample in samples]
    bounds, ends = None, [sample.bounds for sample in samples if sample.bounds is not None]
    if len(ends) == len(samples):
        sides = [sorted((weight * lo, weight * hi)) for (lo, hi), weight in zip(ends, weights, strict=True)]
        bounds = (sum(lo for lo, _ in sides), sum(hi for _, hi in sides))
    return Sample(np.tensordot(np.asarray(weights), np.stack(rows), 1), samples[0].clusters, seeds, bounds)


def common_seeds(samples: Sequence[Sample]) -> list[int]:
    """Return the seeds that all of some samples have: with two of them or more, something is known of seeds."""
    return sorted(set.intersection(*(set(sample.seeds) for sample in samples)))


def of_seeds(seeds: int) -> str:
    """Return what an interval over so few seeds can tell, for the row that it stands in; empty with five or more.

    Intervals and tests of :func:`infer` keep what they promise with any number of seeds, but with few they are wider
    than they need be where seeds hardly differ (``benchmarks/calibration.py --scenario seeds``).

    >>> of_seeds(2)
    '2 seeds: wide, covers 95 to 99 %'
    """
    return f"{seeds} seeds: wide, covers 95 to {99 if seeds == 2 else 98} %" if seeds < FEW_SEEDS else ""


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
    samples: Sequence[Sample], weights: Sequence[float], *, over_seeds: bool = False, level: float | None = 0.95
) -> Inference:
    """Return the inference of a weighted sum of the samples' means.

    The languages are those at hand: no variance between languages enters.

    Given these seeds it is Student's t with the cluster-robust variance, degrees of freedom by Satterthwaite (1946).

    Over seeds, questions x seeds is a crossed layout, and the variance of the sum is that of its questions, which all
    seeds share, and of its seeds. The latter is seen in the sums of single seeds, language by language with the same
    seed: T_s for S seeds that all languages have. Their variance / S holds what a seed does to all questions, to those
    of several languages alike or not, and what it does to single questions, so that this last part is taken from the
    variance over questions (Searle, Casella & McCulloch 1992, section 4.4; not below 0). So nothing is assumed of how
    seeds of different languages are related, nor that they spread alike. The price is that S - 1 degrees of freedom
    are all there are. Student's t with degrees of freedom by Satterthwaite rejects a true null in up to 13 % of
    studies with two seeds, because a variance of one degree of freedom is often far too small; so error and interval
    are those of the sum of two t variables, each with its own scale and degrees of freedom (Behrens 1929; Fisher 1935),
    which do not reject too often, and with few seeds too seldom where seeds hardly differ.

    Args:
        samples: one a language, on different questions.
        weights: of each.
        over_seeds: whether other seeds are spoken of; `samples` have two in common.
        level: of the interval; None for none, which takes much of the time.

    Returns:
        All NaN but the estimate where a language has one cluster. With seeds, `df` is S - 1. Where nothing differs,
        neither clusters nor seeds, what no cluster has shown decides (:func:`_unseen`).
    """
    weight = np.asarray(weights, dtype=np.float64)
    parts = weight**2 * [question_variance(sample.values.mean(axis=0), sample.codes) for sample in samples]
    freedom = np.array([sample.n_clusters - 1 for sample in samples], dtype=np.float64)
    estimate, variance = float(weight @ [sample.estimate for sample in samples]), float(parts.sum())
    if np.isnan(variance) or np.isnan(estimate):
        return Inference(estimate, *[np.nan] * 5)
    df = variance**2 / float((parts**2 / freedom).sum()) if variance else np.inf
    between, seeds = 0.0, 0
    if over_seeds:
        among = common_seeds(samples)
        seeds = len(among)
        rows = [sample.values[[list(sample.seeds).index(seed) for seed in among]] for sample in samples]
        between = float(np.var(weight @ [row.mean(axis=1) for row in rows], ddof=1)) / seeds
        variance = max(variance - float(weight**2 @ [_own(s) for s in samples]), 0.0)
    se = float(np.sqrt(variance + between))
    if se <= 1e-12 * max(1.0, abs(estimate)):  # but for rounding
        return _unseen(samples, weight, estimate, level, seeds)
    if not over_seeds:
        p = 2 * scipy.stats.t.sf(abs(estimate) / se, df)
        half = np.nan if level is None else scipy.stats.t.ppf(0.5 + level / 2, df) * se
        return Inference(estimate, se, float(df), float(estimate - half), float(estimate + half), float(p))
    error = functools.partial(behrens_fisher, scales=(variance, between), freedom=(df, seeds - 1))
    half = np.nan if level is None else quantile(error, 1 - level, se)
    return Inference(estimate, se, seeds - 1, estimate - half, estimate + half, error(abs(estimate)))


def _unseen(
    samples: Sequence[Sample], weights: np.ndarray, estimate: float, level: float | None, seeds: int
) -> Inference:
    """Return the inference of a weighted sum of means of clusters that are all alike, of K of one size the fewest.

    Over seeds, which are all alike as well, K is no more than these.

    By the rule of three (:mod:`lorebridge.unseen`) a sum of m, below the estimate v, is as probable as
    ((m - a) / (v - a))^K at most, with a the least that the sum can be: a share of clusters of other kinds moves it
    furthest where their values are at a bound.
    Where values have no bounds, nothing is known but that 0 is what a sum of 0 may be.
    """
    if any(sample.bounds is None for sample in samples):
        told = abs(estimate) > 1e-12
        return Inference(estimate, 0.0, np.nan, np.nan, np.nan, np.nan if told else 1.0)
    ends = np.sort([np.multiply(weight, s.bounds or ()) for s, weight in zip(samples, weights, strict=True)], axis=1)
    least, most = ends.sum(axis=0)
    k = min([sample.alike for sample in samples] + ([seeds] if seeds else []))
    nearest = np.nan if level is None else float(unseen_share(k, (1 - level) / 2))
    bound = least if estimate > 0 else most
    p = min(1.0, 2 * (bound / (bound - estimate)) ** k) if least < 0 < most and bound != estimate else float("nan")
    lo, hi = estimate - nearest * (estimate - least), estimate + nearest * (most - estimate)
    return Inference(estimate, 0.0, np.inf, float(lo), float(hi), p)


def one_sided(
    samples: Sequence[Sample], weights: Sequence[float], *, margin: float, over_seeds: bool = False
) -> tuple[float, float]:
    """Return the p-values of a weighted sum of means being at -`margin` or below, and at `margin` or above.

    Two one-sided tests (Schuirmann 1987), each by the distribution of :func:`infer`.

    Args:
        samples: one a language, on different questions.
        weights: of each; the first is not 0.
        margin: above 0.
        over_seeds: as of :func:`infer`.

    Returns:
        NaN where :func:`infer` has no p-value.
    """
    tails = []
    for side in (1, -1):
        # The sum's distance from one end is a sum, too.
        shift = side * margin / weights[0]
        bounds = samples[0].bounds and (samples[0].bounds[0] + shift, samples[0].bounds[1] + shift)
        moved = dataclasses.replace(samples[0], values=samples[0].values + shift, bounds=bounds)
        found = infer([moved, *samples[1:]], weights, over_seeds=over_seeds, level=None)
        tails.append(float(found.p / 2 if side * found.estimate > 0 else 1 - found.p / 2))
    return tails[0], tails[1]


def equivalence(
    samples: Sequence[Sample], weights: Sequence[float], *, margin: float, over_seeds: bool = False
) -> float:
    """Return the p-value of a weighted sum of means being outside of +- `margin`.

    The larger of the two of :func:`one_sided`. With the level a this is the interval of level 1 - 2a lying within the
    margin.

    Args:
        samples: one a language, on different questions.
        weights: of each; the first is not 0.
        margin: above 0.
        over_seeds: as of :func:`infer`.

    Returns:
        NaN where :func:`infer` has no p-value.
    """
    return float(np.max(one_sided(samples, weights, margin=margin, over_seeds=over_seeds)))


def _own(sample: Sample) -> float:
    """Return what seeds do to single questions: its share of the variance over questions of the mean over seeds."""
    values, n = sample.values, len(sample.values)
    if n < 2:
        return 0.0
    return sum(question_variance(row, sample.codes) for row in values - values.mean(axis=0)) / (n - 1) / n


_NODES = (24, 240)  # of the two chi-square variables; the second has the fewer degrees of freedom, and so the long tail


@functools.lru_cache(maxsize=4096)
def _inverse_chi_squares(freedom: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return values of df / chi-square and how probable each is, both of shape (nodes,), most of them in its tail."""
    edge = (np.arange(nodes + 1) / nodes) ** 4
    middle = ((np.arange(nodes) + 0.5) / nodes) ** 4
    return freedom / scipy.stats.chi2.ppf(middle, freedom), np.diff(edge)


def behrens_fisher(distance: float, *, scales: tuple[float, float], freedom: tuple[float, float]) -> float:
    """Return how probable it is that the sum of two scaled t variables is as far from 0 as `distance`.

    Given the two chi-square variables the sum is normal; they are summed out.

    Args:
        distance: not below 0.
        scales: squares of what each variable is multiplied by.
        freedom: degrees of freedom of each; the second few.
    """
    (first, often), (second, among) = (
        _inverse_chi_squares(max(int(min(df, 10_000)), 1), nodes) for df, nodes in zip(freedom, _NODES, strict=True)
    )
    deviation = np.sqrt(scales[0] * first[:, None] + scales[1] * second)
    return float(often @ (2 * scipy.special.ndtr(-distance / deviation)) @ among)


def quantile(error: Callable[[float], float], tail: float, scale: float) -> float:
    """Return the distance that a two-sided tail probability belongs to.

    Args:
        error: distance -> probability, falling.
        tail: the probability.
        scale: a distance to begin with, above 0.
    """
    end = scale
    while error(end) > tail:
        end *= 4
    return float(scipy.optimize.brentq(lambda distance: error(distance) - tail, 0.0, end, xtol=1e-9 * end, rtol=1e-6))


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


def holm_exclusive(first: pd.Series, second: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return the p-values of two series as one family, of whose pairs no two hypotheses are both true.

    Holm's method (1979) with what is known of the hypotheses (Shaffer 1986, section 3): while either one of a pair is
    not rejected, one of it may be true, and never both. So each step's p-value is multiplied by the number of pairs of
    which something is left. Without the second series it is Holm's. Missing p-values stay so and do not count.

    The pairs of one family are not halves of a level each, but nor does rejecting one of a pair spare the others
    anything: the other one may be true still.

    Args:
        first: p-values, e.g. of no difference.
        second: with the same index, e.g. of a difference as large as the margin.
    """
    pairs = np.stack([first.to_numpy(np.float64), second.to_numpy(np.float64)], axis=1)
    left = (~np.isnan(pairs)).sum(axis=1)
    adjusted, reached = np.full(pairs.shape, np.nan), 0.0
    for place in np.argsort(pairs, axis=None, kind="stable")[: left.sum()]:  # what is missing comes last
        pair, which = divmod(int(place), 2)
        reached = max(reached, min(1.0, float(pairs[pair, which]) * int((left > 0).sum())))
        adjusted[pair, which] = reached
        left[pair] -= 1
    return pd.Series(adjusted[:, 0], first.index), pd.Series(adjusted[:, 1], first.index)
