"""Other partners in every epoch: what keeps a placebo from teaching one wrong alignment.

In the first epoch of the pairs a placebo joins the members of each unit. In each later one the xx halves of its
documents change places within their batch, so that a half meets a stranger of another unit, and none that it met in the
epoch before. What a batch reads stays the same, and so does what any other arm reads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lorebridge.kernels import compiled
from lorebridge.tokens.arms import EN, LABEL
from lorebridge.tokens.derived import whole_documents
from lorebridge.tokens.schedule import Segments
from lorebridge.tokens.units import REACH, Ints, Strangers, fits


class Partners:
    """Changes the partners in the documents of a placebo, super-batch by super-batch.

    Attributes:
        n_redrawn: documents of later epochs that have another partner than in the first one.
        n_kept: those that have the same: documents that a row does not hold, and those for which no stranger of the
            batch was found whose half leaves every row within its width.
    """

    def __init__(
        self, strangers: Strangers, n_en: Ints, n_xx: Ints, room: int, width: int, n_rows: int, rng: np.random.Generator
    ) -> None:
        """Begin before the first super-batch.

        Args:
            strangers: says which pairs may be joined.
            n_en: tokens of each English half.
            n_xx: tokens of each xx half.
            room: positions that a label is laid out with.
            width: positions of a row.
            n_rows: rows of a batch.
            rng: draws the partners.
        """
        self._strangers = strangers
        self._n_en, self._n_xx = n_en, n_xx
        self._room, self._width, self._n_rows = room, width, n_rows
        self._rng = rng
        self._place = np.full(len(n_en), -1, np.int32)  # of a pair among those that `strangers` knows
        self._place[strangers.pairs] = np.arange(len(strangers.pairs))
        self._read = np.zeros(len(n_en), np.int16)  # how often a pair was read
        self._last = np.full(len(strangers.pairs), -1, np.int32)  # whom its English half met last
        self.n_redrawn = self.n_kept = 0

    def redrawn(self, segments: Segments) -> Segments:
        """Return the rows of the next super-batch with the partners of their epochs.

        Args:
            segments: of the rows of the arrangement ``placebo``, in reading order.
        """
        read = np.unique(segments.piece[segments.kind == EN])  # a pair comes once in a super-batch
        n_later = int((self._read[read] > 0).sum())
        documents = whole_documents(segments, self._n_en, self._n_xx)
        epoch = self._read[segments.piece[documents + 1]]
        self._read[read] += 1
        documents, epoch = documents[epoch > 0], epoch[epoch > 0]
        if not len(documents):
            self.n_kept += n_later
            return segments
        row = segments.sequence % (2 * self._n_rows)
        en, own = (self._place[segments.piece[documents + place]].astype(np.int64) for place in (1, 3))
        holds = np.arange(len(own))  # each document the half that this one has first
        free = self._free(segments, row)
        n_xx = self._n_xx[self._strangers.pairs[own]].astype(np.int64)
        # Batches and epochs apart; then of one source and of like lengths where there are any, as units are made.
        apart = epoch.astype(np.int64) * 2 + row[documents] // self._n_rows
        for key in (self._strangers.group[own], self._strangers.source[own], np.zeros_like(own)):
            kind = np.unique(np.stack([apart, key]), axis=1, return_inverse=True)[1].reshape(-1)
            order = np.lexsort((self._rng.permutation(len(kind)), kind))
            begins = np.searchsorted(kind[order], np.arange(kind.max() + 2))
            _exchange(
                order,
                begins[kind],
                begins[kind + 1],
                en,
                own,
                holds,
                row[documents],
                n_xx,
                free,
                self._last[en],
                self._strangers.relations,
            )
        self._last[en] = own[holds]
        n_redrawn = int((holds != np.arange(len(own))).sum())
        self.n_redrawn += n_redrawn
        self.n_kept += n_later - n_redrawn
        piece, n_tokens = segments.piece.copy(), segments.n_tokens.copy()
        piece[documents + 3] = self._strangers.pairs[own[holds]]
        n_tokens[documents + 3] = n_xx[holds]
        return segments._replace(piece=piece, n_tokens=n_tokens)

    def _free(self, segments: Segments, row: Ints) -> npt.NDArray[np.int64]:
        """Return the free positions of each row of a super-batch, labels as long as they are laid out."""
        used = segments.n_tokens + np.where(segments.kind == LABEL, self._room, 0)
        new = (np.diff(row, prepend=-1) != 0) | (np.diff(segments.document, prepend=-1) != 0)
        in_rows = np.bincount(row, weights=used + new, minlength=2 * self._n_rows)
        return self._width - in_rows.astype(np.int64)


@compiled
def _exchange(order, begins, ends, en, own, holds, row, n_xx, free, last, relations):
    """Let each document that has its own half still exchange halves with the first other that it can.

    Args:
        order: the documents, those of a kind together.
        begins: for each document, where its kind begins in `order`.
        ends: where it ends.
        en: the pair of each document's English half.
        own: that of the xx half that it has in the first epoch.
        holds: whose xx half each document has, changed in place.
        row: of each document.
        n_xx: tokens of the xx half that each document has in the first epoch.
        free: free positions of each row, changed in place.
        last: the pair of the xx half that each English half met last.
        relations: as of :func:`lorebridge.tokens.units.fits`.
    """
    for at in range(len(order)):
        i = order[at]
        if holds[i] != i:
            continue
        begin, n = begins[i], ends[i] - begins[i]
        for step in range(1, min(n, REACH + 1)):
            j = order[begin + (at - begin + step) % n]
            a, b = holds[j], holds[i]  # what i and j would have
            more = n_xx[a] - n_xx[b]
            if own[a] == last[i] or own[b] == last[j]:
                continue
            if row[i] != row[j] and (free[row[i]] < more or free[row[j]] < -more):
                continue
            if fits(en[i], own[a], relations) and fits(en[j], own[b], relations):
                holds[i], holds[j] = a, b
                free[row[i]] -= more  # in one row the two cancel
                free[row[j]] += more
                break
