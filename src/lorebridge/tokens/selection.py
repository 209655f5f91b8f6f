"""Which pairs of a large parallel text a run may read: drawn by a digest of their tokens, before anything else is done.

Mined parallel text has many times the pairs that a run can read. What is not drawn costs nothing afterwards.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

from lorebridge.corpora.scripts import compiled
from lorebridge.tokens.store import TOKEN, Store

BLOCK = 1 << 18  # pairs whose tokens are read at a time

_ODD, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


def drawn_pairs(
    en: Store, xx: Store, *names: str | int, label_tokens: int, positions: float
) -> npt.NDArray[np.bool_] | None:
    """Draw the pairs of a text that, with as much monolingual text, fill some positions.

    A pair takes its tokens, `label_tokens` and a closing token in ``bridge``, and as many tokens of monolingual text as
    its own stand beside it. No arm reads more, as all are laid out together. Pairs are drawn in the order of a digest
    of `names` and their tokens, until those drawn take `positions`: so where the rows stand plays no part, pairs of
    equal tokens are drawn together, and what a smaller number of positions draws, a larger one does too.

    Args:
        en: token store of the English halves.
        xx: of the others.
        *names: what the draw depends on beside the pairs.
        label_tokens: positions that a pair keeps free for labels.
        positions: what the pairs drawn are to fill.

    Returns:
        For each pair whether it is drawn, [pairs]; None where all are needed. A pair of which a half has no tokens is
        never drawn where some are left out.
    """
    seed = np.uint64(int.from_bytes(hashlib.sha256(json.dumps(names).encode()).digest()[:8], "little"))
    n = len(en)
    weights, digests = np.zeros(n, np.int32), np.zeros(n, np.uint64)
    for begin in range(0, n, BLOCK):
        block = slice(begin, min(begin + BLOCK, n))
        ends = [store.offsets[block.start : block.stop + 1] for store in (en, xx)]
        n_en, n_xx = (np.diff(some) for some in ends)
        weights[block] = np.where((n_en > 0) & (n_xx > 0), 2 * (n_en + n_xx) + label_tokens + 1, 0)
    if weights.sum() <= positions:
        return None
    for begin in range(0, n, BLOCK):
        block = slice(begin, min(begin + BLOCK, n))
        ends = [np.asarray(store.offsets[block.start : block.stop + 1]) for store in (en, xx)]
        # Read, not mapped: the pages of a map stay with the process.
        tokens = [
            np.fromfile(store.path / "tokens.bin", TOKEN, some[-1] - some[0], offset=int(some[0]) * TOKEN.itemsize)
            for store, some in zip((en, xx), ends, strict=True)
        ]
        digests[block] = _digests(tokens[0], ends[0] - ends[0][0], tokens[1], ends[1] - ends[1][0], seed)
    threshold = _threshold(digests, weights, positions)
    return (weights > 0) & (digests <= threshold)


def _threshold(digests: npt.NDArray[np.uint64], weights: npt.NDArray[np.int32], wanted: float) -> np.uint64:
    """Return the smallest digest such that the pairs with no larger one weigh as much as is wanted.

    By the digests' leading bits first: to sort all of them would take as much memory again.
    """
    sums = np.zeros(1 << 16)
    for begin in range(0, len(digests), BLOCK):
        some = slice(begin, begin + BLOCK)
        sums += np.bincount((digests[some] >> np.uint64(48)).astype(np.int64), weights[some], minlength=len(sums))
    reached = np.cumsum(sums)
    bucket = int(np.searchsorted(reached, wanted))
    low = np.uint64(bucket << 48)
    inside = np.flatnonzero((digests >= low) & (digests <= low + np.uint64((1 << 48) - 1)))
    inside = inside[np.argsort(digests[inside])]
    before = reached[bucket] - sums[bucket]
    return digests[inside[np.searchsorted(before + np.cumsum(weights[inside]), wanted)]]


@compiled
def _digests(en, en_ends, xx, xx_ends, seed):
    """Return a 64-bit digest of each pair: the tokens of each half, and how many they are, mixed into the seed.

    The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    found = np.empty(len(en_ends) - 1, np.uint64)
    for pair in range(len(found)):
        value = seed
        for token in en[en_ends[pair] : en_ends[pair + 1]]:
            value = _mixed(value ^ np.uint64(token))
        value = _mixed(value ^ np.uint64(en_ends[pair + 1] - en_ends[pair]))
        for token in xx[xx_ends[pair] : xx_ends[pair + 1]]:
            value = _mixed(value ^ np.uint64(token))
        found[pair] = _mixed(value ^ np.uint64(xx_ends[pair + 1] - xx_ends[pair]))
    return found


@compiled
def _mixed(value):
    value = value + _ODD
    value = (value ^ value >> _S30) * _MIX_1
    value = (value ^ value >> _S27) * _MIX_2
    return value ^ value >> _S31
