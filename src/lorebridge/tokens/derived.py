"""What arms make of a laid-out arrangement: rows moved or changed, text left out or replaced.

Nothing here but :func:`apart` moves a piece of text into another super-batch: what is left out leaves padding at the
end of its row, and the rest stands where the arrangement has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from lorebridge.errors import InputError
from lorebridge.tokens.arms import EN, LABEL, XX
from lorebridge.tokens.schedule import REPLAYED, Ints, MonolingualRows, Segments
from lorebridge.tokens.units import Units

TURNED = 2  # what is added to a label's number in a document that has the xx half first


def apart(
    parallel: Sequence[Segments], n_mono: Sequence[int], epochs: Sequence[int], n_rows: int, rng: np.random.Generator
) -> list[Segments]:
    """Shuffle the parallel rows of a run over it, epoch by epoch: first batches of super-batches among themselves.

    What keeps partners out of one batch is that the first batch of a super-batch holds one half of a pair and the
    second the other, in all super-batches alike. So each row goes to a place drawn among those of the batches of its
    kind in its epoch, all alike, and the guarantee stays as it was. The two halves of a pair are then at two places
    drawn independently: of an epoch of S steps they are x S steps apart with density 2 (1 - x), a third on average.

    A super-batch in which an epoch ends goes with that epoch, the first units of the next included: a piece of these
    may come twice within the epoch, and once less in the next.

    Args:
        parallel: of each super-batch, the segments of both batches' parallel rows.
        n_mono: of each super-batch, the monolingual rows of one batch, which the parallel ones follow.
        epochs: of each super-batch, the epoch of the pairs that it belongs to, ascending.
        n_rows: rows of a batch.
        rng: draws the places.

    Returns:
        The segments of each epoch, in reading order.
    """
    found = []
    for epoch in sorted(set(epochs)):
        some = [number for number, of in enumerate(epochs) if of == epoch]
        begin = 2 * some[0] * n_rows
        moved_to = np.zeros(2 * len(some) * n_rows, np.int32)
        for batch in (0, 1):
            places = [np.arange(n_mono[number], n_rows) + (2 * number + batch) * n_rows for number in some]
            rows = np.concatenate(places)
            moved_to[rows - begin] = rng.permutation(rows)
        segments = Segments(*(np.concatenate(columns) for columns in zip(*(parallel[n] for n in some), strict=True)))
        segments = segments._replace(sequence=moved_to[segments.sequence - begin])
        order = np.argsort(segments.sequence, kind="stable")
        found.append(Segments(*(column[order] for column in segments)))
    return found


def exchanged(segments: Segments, n_rows: int) -> Segments:
    """Give the two steps of each super-batch each other's rows; a batch is `n_rows` rows."""
    first = segments.sequence // n_rows % 2 == 0
    return segments._replace(sequence=np.where(first, segments.sequence + n_rows, segments.sequence - n_rows))


def unlabelled(segments: Segments) -> Segments:
    """Leave the template's labels out."""
    return _some(segments, segments.kind != LABEL)


def whole_documents(segments: Segments, n_en: Ints, n_xx: Ints) -> Ints:
    """Return where the documents begin that hold label, English half, label and xx half, none of them cut.

    Args:
        segments: of the rows of ``bridge`` or ``placebo``, in reading order.
        n_en: tokens of each English half.
        n_xx: tokens of each xx half.
    """
    kind, piece, n_tokens = segments.kind, segments.piece, segments.n_tokens
    en_whole = (kind == EN) & (n_tokens == n_en[np.where(kind == EN, piece, 0)])
    xx_whole = (kind == XX) & (n_tokens == n_xx[np.where(kind == XX, piece, 0)])
    # A label is not cut off its half, so such a pair of labels and whole halves in a row is one document.
    return np.flatnonzero((kind[:-3] == LABEL) & en_whole[1:-2] & (kind[2:-1] == LABEL) & xx_whole[3:])


def xx_first(segments: Segments, n_en: Ints, n_xx: Ints) -> tuple[Segments, int]:
    """Put the xx half of each pair before its English half, in the documents of ``bridge``.

    A document that is cut, because a row does not hold it, stays as it is: its parts stand in rows of their own, and
    where they are cut depends on the order of the halves. The labels of the others are numbered anew (`TURNED`).

    Args:
        segments: of the bridge's rows.
        n_en: tokens of each English half.
        n_xx: tokens of each xx half.

    Returns:
        The segments, and how many cut documents stayed (counted by their xx halves' first tokens).
    """
    at = whole_documents(segments, n_en, n_xx)
    n_documents = int(((segments.kind == XX) & (segments.start == 0)).sum())
    return _turned(segments, at), n_documents - len(at)


def _turned(segments: Segments, at: Ints) -> Segments:
    """Exchange the halves of the documents that begin at some segments, each with its label."""
    order = np.arange(len(segments.kind))
    order[at + 1], order[at + 3] = at + 3, at + 1
    turned = Segments(*(column[order] for column in segments))
    turned.piece[at] += TURNED
    turned.piece[at + 2] += TURNED
    return turned


def either_first(segments: Segments, n_en: Ints, n_xx: Ints, rng: np.random.Generator) -> tuple[Segments, int]:
    """Put the xx half first in some documents of ``bridge`` or ``placebo``, each with probability one half.

    As :func:`xx_first` turns all of them.

    Args:
        segments: of the arrangement's rows.
        n_en: tokens of each English half.
        n_xx: tokens of each xx half.
        rng: draws which documents are turned.

    Returns:
        The segments, and how many documents are turned.
    """
    at = whole_documents(segments, n_en, n_xx)
    at = at[rng.random(len(at)) < 0.5]
    return _turned(segments, at), len(at)


def without(segments: Segments, left_out: npt.NDArray[np.bool_]) -> Segments:
    """Leave out both halves of some pairs, each with the label before it.

    In a placebo the other half of the document stays, with its own label.

    Args:
        segments: of parallel rows, in reading order.
        left_out: for each pair, whether it goes.
    """
    is_half = (segments.kind == EN) | (segments.kind == XX)
    gone = is_half & left_out[np.where(is_half, segments.piece, 0)]
    gone[:-1] |= gone[1:] & (segments.kind[:-1] == LABEL)
    return _some(segments, ~gone)


def _some(segments: Segments, kept: npt.NDArray[np.bool_]) -> Segments:
    """Return some of the segments, with the documents of each row numbered from 0 again."""
    found = Segments(*(column[kept] for column in segments))
    new_row = np.diff(found.sequence, prepend=-1) != 0
    number = np.cumsum(new_row | (np.diff(found.document, prepend=-1) != 0))
    first = np.maximum.accumulate(np.where(new_row, number, 0))
    return found._replace(document=(number - first).astype(found.document.dtype))


def over_english_share(
    segments: Iterable[Segments],
    units: Units,
    n_pairs: int,
    *,
    share: float,
    positions: int,
    rng: np.random.Generator,
    what: str,
) -> npt.NDArray[np.bool_]:
    """Say which pairs to leave out so that a run reads no more English in its pairs than a share of its positions.

    Units go in the order that `rng` draws, whole, until the English tokens are at most the share: so a placebo keeps
    its documents, what a smaller share leaves out holds what a larger one does, and no arrangement has a part in it.

    Args:
        segments: of the parallel rows of the whole run, in any arrangement.
        units: of the pairs.
        n_pairs: how many pairs there are.
        share: of the positions.
        positions: of the run, padding included.
        rng: orders the units.
        what: the run, for messages.

    Returns:
        For each pair whether it is left out, [n_pairs].

    Raises:
        InputError: the pairs have less English than that.
    """
    english = [(some.piece[some.kind == EN], some.n_tokens[some.kind == EN]) for some in segments]
    piece, n_tokens = (np.concatenate(column) for column in zip(*english, strict=True))
    of_pairs = np.bincount(piece, weights=n_tokens, minlength=n_pairs)
    total = int(of_pairs.sum())
    excess = total - math.floor(share * positions)
    if excess < 0:
        has = math.floor(1e4 * total / positions) / 1e4
        raise InputError(
            "training.english_share",
            f"{share} is more than {what} has: the English halves of its pairs are {has} of its positions",
            f"Set it to what the language with the least English has, {has} or less.",
        )
    members = units.members[units.members >= 0]
    unit_of = np.repeat(np.arange(len(units)), units.n_members)
    order = rng.permutation(len(units))
    of_units = np.bincount(unit_of, weights=of_pairs[members])[order]
    n_gone = int(np.searchsorted(of_units.cumsum(), excess)) + 1 if excess else 0
    goes = np.zeros(len(units), bool)
    goes[order[:n_gone]] = True
    left_out = np.zeros(n_pairs, bool)
    left_out[members] = goes[unit_of]
    return left_out


def replayed(
    monolingual: Sequence[Segments], n_mono: Sequence[int], n_rows: int, share: float, rows: MonolingualRows
) -> tuple[list[Segments], int]:
    """Replace the last monolingual rows of each batch by rows of the base language.

    How many is such that after every batch they are the `share` of all monolingual rows, to the nearest row. The other
    rows stay in their places.

    Args:
        monolingual: of each super-batch, the segments of both batches' monolingual rows.
        n_mono: of each super-batch, the monolingual rows of one batch.
        n_rows: rows of a batch.
        share: of the monolingual rows.
        rows: where the base language's rows are taken from.

    Returns:
        The segments of each super-batch, those of the base language of kind `REPLAYED`, and how many rows they are.
    """
    found = []
    n_read = n_replayed = 0
    for super_batch, (some, n) in enumerate(zip(monolingual, n_mono, strict=True)):
        places = []
        for begin in (2 * super_batch * n_rows, (2 * super_batch + 1) * n_rows):
            n_read += n
            k = math.floor(share * n_read + 0.5) - n_replayed
            n_replayed += k
            places.append(np.arange(begin + n - k, begin + n))
        sequences = np.concatenate(places)
        taken = rows.take(sequences)
        taken = taken._replace(kind=np.full_like(taken.kind, REPLAYED))
        kept = ~np.isin(some.sequence, sequences)
        pairs = zip((column[kept] for column in some), taken, strict=True)
        found.append(Segments(*(np.concatenate([old, new.astype(old.dtype)]) for old, new in pairs)))
    return found, n_replayed
