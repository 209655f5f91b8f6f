"""What no cluster has shown: how far a mean may lie from the one seen, where nearly all clusters are alike.

A resample holds nothing that the sample lacks. Where all answers are right, each resample's share is 1, and where one
of a hundred is wrong, hardly any has three. If a share s of all clusters is of some kind, K of them hold none of these
with probability (1 - s)^K. So with a probability of 1 - t no kind has a larger share than 1 - t^(1 / K) that was not
seen (for t of 5 %, about 3 / K: the rule of three, Hanley & Lippman-Hand 1983), and such a share of values, each at a
bound, moves the mean no further.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

FEW_CLUSTERS = 10
"""Where an error rests on fewer clusters than these, what no cluster has shown counts, and its row says so."""

TAIL = 0.025
"""Of an interval of 95 %."""
_AT_ONCE = 1 << 22  # numbers held in memory


def resting(moved: np.ndarray) -> np.ndarray:
    """Return on how many clusters the variance of an estimate rests, shape (...); 0 where it has none.

    Args:
        moved: what the estimate moves by if a cluster is left out, shape (..., clusters).
    """
    # What a mean of equal numbers is away from them by rounding is no difference.
    squares = np.where(np.abs(moved) > 1e-12, moved, 0) ** 2
    fourth = (squares**2).sum(axis=-1)
    return np.divide(squares.sum(axis=-1) ** 2, fourth, out=np.zeros_like(fourth), where=fourth > 0)


def alike(sizes: np.ndarray) -> float:
    """Return how many clusters of one size weigh as those of these sizes do (Kish 1965, section 11.7)."""
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def unseen_share(clusters: npt.ArrayLike, tail: float = TAIL) -> np.ndarray:
    """Return the largest share of clusters of a kind that so many have not shown."""
    return 1 - tail ** (1 / np.asarray(clusters, np.float64))


def ends(means: np.ndarray, clusters: npt.ArrayLike, bounds: tuple[float, float], tail: float = TAIL) -> np.ndarray:
    """Return the least and the most that means can be, (2, ...), by what no cluster has shown.

    Args:
        means: shape (...).
        clusters: of one size (:func:`alike`), of each or of all.
        bounds: between which values lie.
        tail: how probable it is that the mean lies further out, on either side.
    """
    share = unseen_share(clusters, tail)
    return np.stack([means - share * (means - bounds[0]), means + share * (bounds[1] - means)])


def summed_ends(
    sums: npt.ArrayLike | sparse.sparray,
    counts: npt.ArrayLike | sparse.sparray,
    weights: npt.ArrayLike | sparse.sparray,
    bounds: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends that weighted sums of means have because of what no cluster has shown, (sums,) each.

    The end of a sum is the sum of its parts' ends. That holds whether the parts have their clusters in common or not:
    a sum further out has a part that is further out than its end.

    Args:
        sums: [clusters, parts] of the values, such as the right answers of a subject in a language.
        counts: [clusters, parts] of values.
        weights: [parts, sums]; parts without values have none.
        bounds: of a value.

    Returns:
        NaN where the error rests on more than a few clusters (:data:`FEW_CLUSTERS`), which says it better.
    """
    values, sizes, weighed = (sparse.csr_array(part, dtype=np.float64) for part in (sums, counts, weights))
    total, squares = sizes.sum(axis=0), sizes.power(2).sum(axis=0)
    has = total > 0
    means = np.divide(values.sum(axis=0), total, out=np.zeros(len(total)), where=has)
    least, most = ends(means, np.divide(total**2, squares, out=np.ones(len(total)), where=has), bounds)
    up, down = weighed.maximum(0).T, weighed.minimum(0).T
    # What each part's mean moves by if a cluster is left out; without the only one there is none to have moved.
    rest = sizes.copy()
    left = total[rest.indices] - rest.data
    rest.data = np.divide(1.0, left, out=np.zeros_like(left), where=left > 0)
    moved = sparse.csr_array(((values - sizes * means) * rest) @ weighed).T.tocsr()
    step = max(_AT_ONCE // max(moved.shape[1], 1), 1)
    many = [resting(moved[first : first + step].toarray()) for first in range(0, moved.shape[0], step)]
    few = np.concatenate(many) < FEW_CLUSTERS
    return np.where(few, up @ least + down @ most, np.nan), np.where(few, up @ most + down @ least, np.nan)
