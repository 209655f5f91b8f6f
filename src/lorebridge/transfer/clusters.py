"""Questions that stand or fall together, and the bootstrap that resamples them together.

Cultural questions come from the same paragraphs: some differ by a word, some print the answer of another. A
bootstrap that draws such siblings independently is too sure of itself, so clusters of questions are drawn.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import scipy

from lorebridge.transfer.inference import FEW_CLUSTERS, resting

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
        # As many clusters of one size have the same spread of sizes (Kish 1965, section 11.7).
        self._alike = len(cluster) ** 2 / float((np.bincount(cluster) ** 2).sum())
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
        (:func:`lorebridge.transfer.inference.resting`) and its values have bounds, the ends are as far out at least as
        clusters allow that were never seen to hold anything else (:meth:`_unseen`).

        Args:
            values: shape (..., n questions).
            counts: what they are divided by; ones by default.
            level: of the interval.
            bounds: of the values, if there are any; `counts` are ones.

        Returns:
            NaN with fewer than 2 clusters, and where a resample has nothing to count; without bounds, where all
            resamples are alike.
        """
        if self.n_clusters < 2:
            nothing = np.full(values.shape[:-1], np.nan)
            return nothing, nothing
        drawn = self.ratio(values, np.ones_like(values) if counts is None else counts)
        return self._ends(values, drawn, level, bounds)

    def _ends(
        self, values: np.ndarray, drawn: np.ndarray, level: float, bounds: tuple[float, float] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of intervals from what the resamples say."""
        lo, hi = _percentiles(drawn, level)
        if bounds is None:
            alike = np.ptp(drawn, axis=-1) <= 1e-12
            return np.where(alike, np.nan, lo), np.where(alike, np.nan, hi)
        least, most = self._unseen(values, (1 - level) / 2, bounds)
        return np.fmin(lo, least), np.fmax(hi, most)

    def _unseen(self, values: np.ndarray, tail: float, bounds: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends that means may have because of what no cluster has shown.

        If a share s of all clusters is of some kind, K of them hold none with probability (1 - s)^K. So with a
        probability of 1 - `tail` no kind has a larger share than 1 - tail^(1 / K) that was not seen (for a tail of
        5 %, about 3 / K: the rule of three, Hanley & Lippman-Hand 1983), and such a share of values, each at a bound,
        moves the mean no further. NaN where the error rests on more than a few clusters.
        """
        means = values.mean(axis=-1)
        totals = np.add.reduceat((values - means[..., None])[..., self._order], self._starts, axis=-1)
        moved = totals / (values.shape[-1] - np.diff(self._starts, append=values.shape[-1]))
        share = np.where(resting(moved) < FEW_CLUSTERS, 1 - tail ** (1 / self._alike), np.nan)
        return means - share * (means - bounds[0]), means + share * (bounds[1] - means)

    def band(
        self, values: np.ndarray, level: float = 0.95, bounds: tuple[float, float] | None = None
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Return the interval of the mean of each row of `values` (rows, n questions), and the band of all rows.

        The band holds all of the rows' means at once. It is the narrowest of equally deep percentile intervals, an end
        of which as many of a row's replicates lie beyond as of any other row's, that hold `level` of the joint
        replicates in every row (the quantile-based sup-t band: Montiel Olea & Plagborg-Moller 2019, algorithm 2). No
        row's spread need be estimated, and it holds the intervals. With bounds it goes out as they do
        (:meth:`interval`), to the same depth.

        Args:
            values: rows are statistics of the same questions, such as the checkpoints of a model.
            level: of each interval, and of the band.
            bounds: of the values, if there are any.

        Returns:
            (lo, hi) of the intervals, (lo, hi) of the band, each of shape (rows,); NaN with fewer than 2 clusters.
        """
        if self.n_clusters < 2 or not len(values):
            nothing = np.full(len(values), np.nan)
            return (nothing, nothing), (nothing, nothing)
        drawn = self.ratio(values, np.ones_like(values))
        lo, hi = self._ends(values, drawn, level, bounds)
        ordered = np.sort(drawn, axis=1)
        n = drawn.shape[1]
        # How many replicates of the row lie at each one or further out, on the side where they are fewer.
        above, below = (scipy.stats.rankdata(side, "max", axis=1) for side in (-drawn, drawn))
        depth = np.minimum(above, below).min(axis=0)
        deepest = max(int(np.sort(depth)[int((1 - level) * n)]), 1)
        # Percentiles lie between replicates; an end of the band is one.
        band_lo, band_hi = np.minimum(ordered[:, deepest - 1], lo), np.maximum(ordered[:, n - deepest], hi)
        if bounds is not None:
            least, most = self._unseen(values, min(deepest / n, (1 - level) / 2), bounds)
            band_lo, band_hi = np.fmin(band_lo, least), np.fmax(band_hi, most)
        return (lo, hi), (band_lo, band_hi)


def _percentiles(drawn: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval of each row of replicates."""
    tail = (1 - level) / 2
    lo, hi = np.quantile(drawn, [tail, 1 - tail], axis=-1)
    return lo, hi
