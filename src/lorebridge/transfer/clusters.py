"""Questions that stand or fall together, and the bootstrap that resamples them together.

Cultural questions come from the same paragraphs: some differ by a word, some print the answer of another. A
bootstrap that draws such siblings independently is too sure of itself, so clusters of questions are drawn.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import scipy
from scipy.special import expit, logit

from lorebridge.unseen import FEW_CLUSTERS, ends, resting

NEAR_DUPLICATE = 0.5
"""Similarity from which two questions are the same question in other words."""
LOOK_ALIKE = 0.2
"""Similarity from which a question that prints another's gold is its sibling."""


def similarity(texts: list[str]) -> np.ndarray:
    """Return the weighted Jaccard similarity of every two texts, shape (n, n), in 0..1.

    Shingles are character trigrams, which need no word boundary and so serve every script. A shingle weighs
    log(n / number of texts that have it): what all questions of a template share says nothing about kinship.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    shingles = CountVectorizer(analyzer="char", ngram_range=(3, 3), binary=True)
    # Three marks in front give even an empty text a shingle; every text shares it, so it weighs nothing.
    present = shingles.fit_transform("^^^" + re.sub("_+", "_", text.strip()) for text in texts).astype(float)
    weights = np.log(present.shape[0] / np.asarray(present.sum(axis=0)).ravel())
    weighted = present.multiply(weights).tocsr()
    shared = (weighted @ present.T).toarray()
    own = np.asarray(weighted.sum(axis=1)).ravel()
    either = own[:, None] + own[None, :] - shared
    return np.divide(shared, either, out=np.ones_like(shared), where=either > 1e-12)


def question_clusters(questions: pd.DataFrame) -> pd.Series:
    """Return the cluster of each question of one culture: question_id -> cluster number from 0.

    Two questions share a cluster when, in any language, they are near-duplicates (:func:`similarity` of at least
    :data:`NEAR_DUPLICATE`), or one prints the gold of the other, does not print it of itself, and looks alike
    (:data:`LOOK_ALIKE`); and whenever a chain of such links joins them.

    Args:
        questions: rows of the table "questions" of one culture.
    """
    ids = sorted(questions["question_id"].unique())
    linked = np.zeros((len(ids), len(ids)), dtype=bool)
    for _, rows in questions.groupby("lang", sort=True):
        texts = rows.drop_duplicates("question_id").set_index("question_id")["text"].reindex(ids, fill_value="")
        golds = rows[rows["is_gold"]].drop_duplicates("question_id").set_index("question_id")["option"]
        golds = golds.reindex(ids, fill_value="").str.strip()
        alike = similarity(texts.tolist())
        linked |= alike >= NEAR_DUPLICATE
        for i, gold in enumerate(golds):
            # A gold of one character (a digit, one Han) is printed everywhere by chance.
            if len(gold) > 1 and gold not in texts.iloc[i]:
                linked[i] |= (alike[i] >= LOOK_ALIKE) & texts.str.contains(gold, regex=False).to_numpy()
    _, labels = scipy.sparse.csgraph.connected_components(linked, directed=False)
    return pd.Series(labels, index=pd.Index(ids, name="question_id"), name="cluster")


class ClusterBootstrap:
    """Resamples clusters of questions, the same draws for everything measured on the same questions.

    The statistic is a mean over questions, so a draw in which large clusters come up often has more questions; the
    mean is then the ratio of the two sums (Davison & Hinkley 1997, section 2.4).

    Attributes:
        n_clusters: number of clusters drawn in each resample.
    """

    def __init__(self, clusters: np.ndarray, *, resamples: int, seed: int, stream: str) -> None:
        """Draw the resamples.

        Args:
            clusters: cluster of each question, shape (n,).
            resamples: number of resamples R.
            seed: of the draws.
            stream: a name (a culture) that gives each set its own draws, so that one set more changes no other.
        """
        names, cluster = np.unique(clusters, return_inverse=True)
        self.n_clusters = len(names)
        self._order = np.argsort(cluster, kind="stable")
        self._starts = np.searchsorted(cluster[self._order], np.arange(len(names)))
        rng = np.random.default_rng([seed, *stream.encode()])
        drawn = rng.multinomial(self.n_clusters, np.full(self.n_clusters, 1 / self.n_clusters), size=resamples)
        self._weights = drawn[:, cluster].T.astype(np.float64)  # (n questions, R): how often each is drawn

    def ratio(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the resampled ratios of sums of `values` and `counts`, each (..., n questions); shape (..., R).

        The mean over a subset of the questions: `counts` is 1 inside, `values` 0 outside. NaN where a resample has
        nothing to count.
        """
        total = counts @ self._weights
        return np.divide(values @ self._weights, total, out=np.full(total.shape, np.nan), where=total > 0)

    def interval(
        self,
        values: np.ndarray,
        counts: np.ndarray | None = None,
        level: float = 0.95,
        bounds: tuple[float, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the percentile interval of the mean of `values` (..., n questions), or of their ratio to `counts`.

        No draw has what no question has shown: where all answers are right, all means are 1, and where one of a hundred
        is wrong, hardly any draw has three. So where the error of a mean rests on few clusters
        (:func:`lorebridge.unseen.resting`) and its values have bounds, the ends are as far out at least as clusters
        allow that were never seen to hold anything else (:meth:`unseen`).

        Args:
            values: shape (..., n questions).
            counts: what they are divided by; ones by default.
            level: of the interval.
            bounds: of the values, or of their ratio, if there are any.

        Returns:
            NaN with fewer than 2 clusters, and where a resample has nothing to count; without bounds, where all
            resamples are alike.
        """
        if self.n_clusters < 2:
            nothing = np.full(values.shape[:-1], np.nan)
            return nothing, nothing
        drawn = self.ratio(values, np.ones_like(values) if counts is None else counts)
        return self._ends(values, drawn, level, bounds, counts)

    def _ends(
        self,
        values: np.ndarray,
        drawn: np.ndarray,
        level: float,
        bounds: tuple[float, float] | None,
        counts: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of intervals from what the resamples say."""
        lo, hi = _percentiles(drawn, level)
        if bounds is None:
            alike = np.ptp(drawn, axis=-1) <= 1e-12
            return np.where(alike, np.nan, lo), np.where(alike, np.nan, hi)
        least, most = self.unseen(values, bounds, (1 - level) / 2, counts)
        return np.fmin(lo, least), np.fmax(hi, most)

    def unseen(
        self, values: np.ndarray, bounds: tuple[float, float], tail: float, counts: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends that means have because of what no cluster has shown (:mod:`lorebridge.unseen`).

        Args:
            values: shape (..., n questions).
            bounds: of the values, or of their ratio to `counts`.
            tail: how probable it is that a mean lies further out, on either side.
            counts: what the values are divided by, the same shape; ones by default.

        Returns:
            NaN where the error rests on more than a few clusters.
        """
        counts = np.ones(values.shape[-1:]) if counts is None else counts
        sizes = np.add.reduceat(counts[..., self._order], self._starts, axis=-1)
        whole = counts.sum(axis=-1)
        means = values.sum(axis=-1) / whole
        totals = np.add.reduceat((values - means[..., None] * counts)[..., self._order], self._starts, axis=-1)
        rest = whole[..., None] - sizes
        moved = np.divide(totals, rest, out=np.zeros(totals.shape), where=rest > 0)
        few = resting(moved) < FEW_CLUSTERS
        least, most = ends(means, whole**2 / (sizes**2).sum(axis=-1), bounds, tail)
        return np.where(few, least, np.nan), np.where(few, most, np.nan)

    def band(
        self, values: np.ndarray, bounds: tuple[float, float], level: float = 0.95
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Return the interval of the mean of each row of `values` (rows, n questions), and the band of all rows.

        The band holds all of the rows' means at once: a studentised bootstrap (Davison & Hinkley 1997, section 5.2) of
        the largest deviation of any row (the sup-t band: Montiel Olea & Plagborg-Moller 2019), in log-odds of the place
        between the bounds. Each replicate is measured by its own error over its clusters, and the band reaches as many
        errors from the means as `level` of the joint replicates reach at most in any row. Percentiles so far out would
        be those of a handful of replicates, and their spread is too small where clusters are few. The band holds the
        intervals, lies within the bounds, and goes out as the intervals do for what no cluster has shown
        (:meth:`interval`), to the depth that it has in a single row.

        Args:
            values: rows are statistics of the same questions, such as the checkpoints of a model.
            bounds: of the values.
            level: of each interval, and of the band.

        Returns:
            (lo, hi) of the intervals, (lo, hi) of the band, each of shape (rows,); NaN with fewer than 2 clusters.
        """
        if self.n_clusters < 2 or not len(values):
            nothing = np.full(len(values), np.nan)
            return (nothing, nothing), (nothing, nothing)
        drawn = self.ratio(values, np.ones_like(values))
        lo, hi = self._ends(values, drawn, level, bounds)
        least, most, tail = self._all_at_once(values, drawn, bounds, level)
        unseen = self.unseen(values, bounds, min(tail, (1 - level) / 2))
        return (lo, hi), (np.fmin(np.minimum(least, lo), unseen[0]), np.fmax(np.maximum(most, hi), unseen[1]))

    def _all_at_once(
        self, values: np.ndarray, drawn: np.ndarray, bounds: tuple[float, float], level: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the ends of the studentised band, and the share of a row's replicates beyond one of them.

        Args:
            values: (rows, n questions), between the bounds.
            drawn: the resampled means, (rows, R).
            bounds: of the values.
            level: of the band.
        """
        width = bounds[1] - bounds[0]
        means, shares = ((of - bounds[0]) / width for of in (values.mean(axis=1), drawn))
        error, errors = (of / width for of in self._errors(values, drawn))
        told = error > 1e-12
        places = np.stack([means, means])
        tail = np.inf
        if told.any():
            means, shares, error, errors = means[told], shares[told], error[told], errors[told]
            slope = 1 / (means * (1 - means))
            within = np.abs(shares - 0.5) < 0.5 - 1e-12
            odds = np.where(within, shares, 0.5)
            # A replicate whose clusters are all alike has no error of its own, and takes the sample's. (Its squares are
            # a difference of sums, of which rounding leaves something.)
            alike = errors <= 1e-6 * error[:, None]
            measure = np.where(alike, (error * slope)[:, None], errors / (odds * (1 - odds)))
            # One at a bound is infinitely far in log-odds. They are not rare only where few clusters differ, whose
            # ends are those of what no cluster has shown.
            far = np.where(within, np.abs(logit(odds) - logit(means)[:, None]) / measure, 0)
            n = far.shape[1]
            reach = np.sort(far.max(axis=0))[min(int(np.ceil(level * (n + 1))), n) - 1]
            places[:, told] = expit(logit(means) + np.stack([-reach, reach])[:, None] * error * slope)
            tail = (far >= reach * (1 - 1e-9)).mean() / 2
        least, most = bounds[0] + width * places
        return least, most, float(tail)

    def _errors(self, values: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the errors over clusters of the rows' means, (rows,), and those of each replicate, (rows, R)."""
        mean = values.mean(axis=1, keepdims=True)
        sizes = np.diff(self._starts, append=len(self._order)).astype(np.float64)
        totals = np.add.reduceat((values - mean)[:, self._order], self._starts, axis=1)
        times = self._weights[self._order[self._starts]]  # (clusters, R)
        shift = drawn - mean
        # Of the totals about the replicate's own mean, the squares.
        squares = totals**2 @ times - 2 * shift * ((totals * sizes) @ times) + shift**2 * (sizes**2 @ times)
        return np.sqrt((totals**2).sum(axis=1)) / sizes.sum(), np.sqrt(np.maximum(squares, 0)) / (sizes @ times)


def _percentiles(drawn: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval of each row of replicates."""
    tail = (1 - level) / 2
    lo, hi = np.quantile(drawn, [tail, 1 - tail], axis=-1)
    return lo, hi
