"""Labels of languages, and all ways to deal them out anew: what an exact permutation test goes through.

A pair of languages is alike where both have the same label, so that what is dealt out are languages and not pairs, as
in the quadratic assignment procedure (Hubert and Schultz, British Journal of Mathematical and Statistical Psychology
1976). Labels that one language alone has are all the same to this: none makes a pair.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

ALONE = -1
"""The number of every label that one language alone has."""


def numbered(labels: Sequence[str]) -> np.ndarray:
    """Return a number for each label, :data:`ALONE` for one that stands once.

    >>> numbered(["Latin", "Hebrew", "Latin", "Thai"])
    array([ 0, -1,  0, -1])
    """
    counts = Counter(labels)
    known = {label: number for number, label in enumerate(x for x in dict.fromkeys(labels) if counts[x] > 1)}
    return np.array([known.get(label, ALONE) for label in labels], int)


def alike(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return whether the two languages of each pair have one label, of one dealing or of many.

    Args:
        labels: [..., languages], numbers by :func:`numbered`.
        first, second: [pairs], places of the languages.

    Returns:
        [..., pairs], 0 or 1.
    """
    one, other = labels[..., first], labels[..., second]
    return ((one == other) & (one != ALONE)).astype(float)


def n_labelings(labels: np.ndarray, blocks: Sequence[object]) -> int:
    """Return in how many ways labels can be dealt out to languages within their blocks.

    >>> n_labelings(numbered(["Latin"] * 7 + list("abcde")), [0] * 12)
    792
    """
    found = 1
    for places in _places(blocks):
        counts = Counter(labels[places].tolist())
        found *= math.factorial(len(places)) // math.prod(map(math.factorial, counts.values()))
    return found


def labelings(labels: np.ndarray, blocks: Sequence[object], most: int, seed: int) -> np.ndarray:
    """Return the ways to deal out labels to languages within their blocks, the one that is so first.

    Args:
        labels: [languages], numbers by :func:`numbered`.
        blocks: of each language; labels stay within a block.
        most: if there are no more ways than this, all are returned, each once; else so many are drawn, the one that is
            so beside them.
        seed: of the draws.

    Returns:
        [n, languages].
    """
    places = _places(blocks)
    number = n_labelings(labels, blocks)
    if number <= most:
        by_block = [_arrangements(labels[place]) for place in places]
        chosen = np.unravel_index(np.arange(number), [len(dealt) for dealt in by_block])
        found = np.empty((number, len(labels)), int)
        for place, dealt, rows in zip(places, by_block, chosen, strict=True):
            found[:, place] = dealt[rows]
        so = (found == labels).all(axis=1)
        return np.concatenate([found[so], found[~so]])
    rng = np.random.default_rng([seed, len(labels)])
    found = np.repeat(labels[None], 1 + most, axis=0)
    for place in places:
        found[1:, place] = rng.permuted(found[1:, place], axis=1)
    return found


def _places(blocks: Sequence[object]) -> list[np.ndarray]:
    """Return the places of the languages of each block."""
    return [np.array([i for i, own in enumerate(blocks) if own == block]) for block in dict.fromkeys(blocks)]


def _arrangements(values: np.ndarray) -> np.ndarray:
    """Return every different order of some values, once."""
    first, n = values[0], len(values)
    rest = values[values != first]
    chosen = np.array(list(itertools.combinations(range(n), len(rest))), int)
    found = np.full((len(chosen), 1, n), first)
    if len(rest):
        below = _arrangements(rest)
        found = np.repeat(found, len(below), axis=1)
        places = np.broadcast_to(chosen[:, None], (len(chosen), *below.shape))
        np.put_along_axis(found, places, np.broadcast_to(below, places.shape), axis=2)
    return found.reshape(-1, n)
