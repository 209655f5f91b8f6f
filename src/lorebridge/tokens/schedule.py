"""The schedule: which pieces of text come in which optimizer step, the same in every arm.

Monolingual text is an endless stream of packed rows. Parallel text is laid out by super-batches (two optimizer steps):
as many units as fit both batches in each of :data:`lorebridge.tokens.arms.ARRANGEMENTS`. Documents with labels are
laid out with room for a fixed number of label tokens, whatever the template's labels need, so that the schedule depends
on the pairs and the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lorebridge.errors import InputError
from lorebridge.kernels import compiled
from lorebridge.tokens.arms import ARRANGEMENTS, EN, LABEL, XX, Document, Unit
from lorebridge.tokens.packing import best_fit, cut
from lorebridge.tokens.units import Units

MONO, REPLAYED = 3, 4  # beside EN, XX and LABEL: monolingual text of the language learned, of the base language

# How many units in a row may fail to fit before a super-batch is taken for full.
PATIENCE = 32

BLOCK = 1 << 16  # units that are laid out at a time

Ints = npt.NDArray[np.integer[Any]]


class Segments(NamedTuple):
    """Segments of documents in rows, in reading order; each of integers [n].

    Attributes:
        sequence: the row of the run.
        document: the document's place in the row.
        kind: `EN`, `XX`, `LABEL`, `MONO` or `REPLAYED`.
        piece: the pair, the label's number or the document of the monolingual store.
        part: which part of the piece, where its document is cut.
        start: the first of the piece's tokens that is a target here.
        n_tokens: how many are; 0 for a label, whose own length the schedule does not know.
    """

    sequence: npt.NDArray[Any]
    document: npt.NDArray[Any]
    kind: npt.NDArray[Any]
    piece: npt.NDArray[Any]
    part: npt.NDArray[Any]
    start: npt.NDArray[Any]
    n_tokens: npt.NDArray[Any]


def rank(key: Ints) -> Ints:
    """Return each element's place in its run of equal keys.

    >>> rank(np.array([4, 4, 7, 7, 7])).tolist()
    [0, 1, 0, 1, 2]
    """
    index = np.arange(len(key))
    begins = np.diff(key, prepend=-1) != 0
    return index - np.maximum.accumulate(np.where(begins, index, 0))


class MonolingualRows:
    """An endless stream of packed rows of monolingual text.

    Each epoch packs every document once and shuffles the rows.
    """

    def __init__(self, lengths: Ints, width: int, rng: np.random.Generator) -> None:
        """Cut the documents (`lengths`: tokens of each) for rows of `width` positions."""
        short = np.flatnonzero((lengths > 0) & (lengths < width))
        nothing = np.zeros_like(short)
        columns = [np.stack([short, nothing, nothing, lengths[short]], axis=1)]
        sizes = [lengths[short] + 1]
        for piece in np.flatnonzero(lengths >= width).tolist():
            parts = cut([int(lengths[piece])], width)
            sizes.append(np.array([size for size, _ in parts]))
            columns.append(np.array([(piece, s.part, s.start, s.n_tokens) for _, (s,) in parts]))
        self._parts: Ints = np.concatenate(columns)  # piece, part, start, n_tokens
        self._sizes: Ints = np.concatenate(sizes)
        self._width = width
        self._rng = rng
        self._packed = np.zeros(0, np.int64)  # parts, row after row
        self._bounds = np.zeros(1, np.int64)
        self._shuffled = np.zeros(0, np.int64)  # rows of the epoch that are still to come

    def take(self, sequences: Ints) -> Segments:
        """Return the next rows, one for each of `sequences` (ascending)."""
        parts, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        left = sequences
        while len(left):
            if not len(self._shuffled):
                drawn = self._rng.permutation(len(self._parts))
                packed, self._bounds = best_fit(self._sizes[drawn], self._width)
                self._packed = drawn[packed]
                self._shuffled = self._rng.permutation(len(self._bounds) - 1)
            taken, self._shuffled = self._shuffled[: len(left)], self._shuffled[len(left) :]
            n = self._bounds[taken + 1] - self._bounds[taken]
            within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
            parts.append(self._packed[np.repeat(self._bounds[taken], n) + within])
            rows.append(np.repeat(left[: len(taken)], n))
            left = left[len(taken) :]
        sequence = np.concatenate(rows)
        piece, part, start, n_tokens = self._parts[np.concatenate(parts)].T
        document = rank(sequence)
        return Segments(sequence, document, np.full_like(document, MONO), piece, part, start, n_tokens)


class _Pattern(NamedTuple):
    """A document of an arm, as positions in its unit: what it is made of for every unit of one shape."""

    batch: int  # 2 * arm + (0 for the odd batch, 1 for the even one)
    document: Document


class ParallelSchedule:
    """Super-batches of parallel text: units that fit both batches in every arrangement.

    A document that is too long for a row is cut into parts. All documents of all units are laid out beforehand: the
    parts of unit u are ``_ends[u]`` to ``_ends[u + 1]``, in the order of ``ARRANGEMENTS``.

    Attributes:
        epoch: how often all units have been drawn, by the end of the last super-batch.
    """

    def __init__(
        self, units: Units, n_en: Ints, n_xx: Ints, label_tokens: int, width: int, rng: np.random.Generator
    ) -> None:
        """Lay out the documents of `units` in every arrangement.

        Args:
            units: what is scheduled together.
            n_en: tokens of each English half.
            n_xx: tokens of each xx half.
            label_tokens: positions that a pair keeps free for the template's labels, half of them for each.
            width: positions of a row.
            rng: shuffles the units, epoch by epoch.
        """
        self._lengths = {EN: n_en, XX: n_xx}
        self._room = label_tokens // 2
        self._width = width
        self._rng = rng
        self._members = np.maximum(units.members, 0)
        self._n_members = units.n_members
        self._patterns: list[_Pattern] = []
        self._lay_out(units)
        self._batches = np.array([pattern.batch for pattern in self._patterns], np.int8)[self._pattern]
        longest = self._cut_numbers.shape[1]
        self._kinds = np.full((len(self._patterns), longest), -1)  # of each pattern's segments
        self._places = np.zeros((len(self._patterns), longest), np.int64)  # member, or number of the label
        for number, pattern in enumerate(self._patterns):
            for segment, (kind, place) in enumerate(pattern.document):
                self._kinds[number, segment] = kind
                self._places[number, segment] = place
        self.epoch = 0
        self._scheduled = np.arange(len(units))
        self._row_of = np.zeros(np.diff(self._ends).max(initial=0), np.int64)  # room for the rows of a unit's parts
        self._waiting = np.zeros(0, np.int64)
        self._current = np.zeros(0, np.int64)
        self._next = np.zeros(0, np.int64)

    @property
    def n_units(self) -> int:
        """How many units are scheduled."""
        return len(self._scheduled)

    @property
    def n_pairs(self) -> int:
        """How many pairs are scheduled."""
        return int(self._n_members[self._scheduled].sum())

    def _lay_out(self, units: Units) -> None:
        """Cut the documents of all units into parts: their sizes and what they are made of.

        Units of one shape (members, halves, parity of the number) have the same documents but for the pieces.
        """
        codes = (units.n_members * 8 + units.in_a @ [4, 2, 1]) * 2 + np.arange(len(units)) % 2
        present, first = np.unique(codes, return_index=True)
        shapes = sorted(
            (units[index].in_a, index % 2, code) for code, index in zip(present, first.tolist(), strict=True)
        )
        n_parts = np.zeros(len(units), np.int64)
        laid = []
        for in_a, parity, code in shapes:
            first_pattern = len(self._patterns)
            shape = Unit(parity, tuple(range(len(in_a))), in_a)
            for arm, arrange in enumerate(ARRANGEMENTS.values()):
                for batch, documents in enumerate(arrange(shape)):
                    self._patterns += [_Pattern(2 * arm + batch, document) for document in documents]
            patterns = self._patterns[first_pattern:]
            of_shape = np.flatnonzero(codes == code)
            for which in np.split(of_shape, range(BLOCK, len(of_shape), BLOCK)):
                sizes = np.stack(
                    [self._positions(pattern.document, which).sum(axis=1) + 1 for pattern in patterns],
                    axis=1,
                    dtype=np.int32,
                    casting="same_kind",
                )
                cuts = {}
                counts = np.ones_like(sizes)
                for row, column in np.argwhere(sizes > self._width).tolist():
                    document = patterns[column].document
                    labels = [i for i, (kind, _) in enumerate(document) if kind == LABEL]
                    lengths = self._positions(document, which[row : row + 1])[0].tolist()
                    cuts[row, column] = parts = cut(lengths, self._width, labels)
                    counts[row, column] = len(parts)
                n_parts[which] = counts.sum(axis=1)
                laid.append((which, first_pattern, sizes, counts, cuts))
        self._ends = np.concatenate([np.zeros(1, np.int64), n_parts.cumsum()])
        self._sizes = np.zeros(self._ends[-1], np.int32)
        self._pattern = np.zeros(self._ends[-1], np.int16)
        longest = max((len(pattern.document) for pattern in self._patterns), default=0)
        found = []
        for which, first_pattern, sizes, counts, cuts in laid:
            first = self._ends[which][:, None] + counts.cumsum(axis=1) - counts
            self._sizes[first] = sizes
            self._pattern[first] = first_pattern + np.arange(sizes.shape[1])
            for (row, column), parts in cuts.items():
                begin = 0
                for number, (size, stretches) in enumerate(parts):
                    part = int(first[row, column]) + number
                    self._sizes[part], self._pattern[part] = size, first_pattern + column
                    numbers = {stretch.segment: stretch.part for stretch in stretches}
                    found.append((part, begin, begin + size, [numbers.get(i, 0) for i in range(longest)]))
                    begin += size
        # Parts of documents that are cut: which, the positions of the document that they hold, and for each segment
        # the number of its part.
        found.sort()
        self._cut = np.array([part for part, *_ in found], np.int64)
        self._cut_span = np.array([span for _, *span, _ in found], np.int64).reshape(-1, 2)
        self._cut_numbers = np.array([numbers for *_, numbers in found], np.int64).reshape(len(found), longest)

    def _positions(self, document: Document, units: Ints) -> Ints:
        """Return the positions of each segment of a document, [units, segments]; labels take their room."""
        return np.stack(
            [
                np.full(len(units), self._room) if kind == LABEL else self._lengths[kind][self._members[units, place]]
                for kind, place in document
            ],
            axis=1,
        )

    def drop_too_long(self, n_rows: int) -> int:
        """Leave out the units that do not fit an empty super-batch of `n_rows` rows; return how many pairs they had."""
        fits = _fit_alone(self._ends, self._sizes, self._batches, n_rows, self._width, self._row_of)
        self._scheduled = np.flatnonzero(fits)
        return int(self._n_members[~fits].sum())

    def super_batch(self, n_rows: int, arrangement: str, sequences: Sequence[int]) -> tuple[Segments, int]:
        """Take the next units that fit in `n_rows` rows of each of two batches.

        Args:
            n_rows: rows of a batch.
            arrangement: the one whose rows are wanted.
            sequences: what the first row of the odd batch, and of the even one, is in the run.

        Returns:
            The segments of both batches, labels included as segments without tokens, and the content tokens.

        Raises:
            InputError: all pairs fit at once, so that one would come twice within a super-batch.
        """
        if not len(self._current):
            self._current = self._rng.permutation(self.n_units)
        if not len(self._next):
            self._next = self._rng.permutation(self.n_units)
        wanted = list(ARRANGEMENTS).index(arrangement)
        parts, rows, taken, waiting, popped = _fill(
            self._waiting,
            self._current,
            self._next,
            self._scheduled,
            self._ends,
            self._sizes,
            self._batches,
            np.full((2 * len(ARRANGEMENTS), n_rows), self._width, np.int32),
            self._row_of,
            wanted,
            PATIENCE,
        )
        if len(taken) == self.n_units:
            raise InputError(
                "parallel text",
                f"only {self.n_pairs} usable pairs, which all fit in two batches",
                "Give more pairs (or a larger training.pair_supply), or lower training.continual.batch_tokens: a pair "
                "may not come twice within two batches.",
            )
        beyond = popped - len(self._waiting) - len(self._current)
        if beyond >= 0:
            self._waiting, self._current, self._next = waiting, self._next[beyond:], np.zeros(0, np.int64)
            self.epoch += 1
        elif popped >= len(self._waiting):
            self._current = self._current[popped - len(self._waiting) :]
            self._waiting = waiting
        else:
            self._waiting = np.concatenate([waiting, self._waiting[popped:]])
        sequence = np.array(sequences)[self._batches[parts] - 2 * wanted] + rows
        by_row = np.argsort(sequence, kind="stable")
        members = self._members[taken]
        present = np.arange(3) < self._n_members[taken][:, None]
        content = int(((self._lengths[EN][members] + self._lengths[XX][members]) * present).sum())
        return self._segments(parts[by_row], sequence[by_row]), content

    def _segments(self, parts: Ints, sequence: Ints) -> Segments:
        """Return the segments of some parts, in the order given."""
        unit = np.searchsorted(self._ends, parts, side="right") - 1
        pattern = self._pattern[parts]
        kind, place = self._kinds[pattern], self._places[pattern]
        piece = np.where(kind == LABEL, place, self._members[unit[:, None], place])
        length = np.where(kind == LABEL, self._room, 0)
        for side, lengths in self._lengths.items():
            length = np.where(kind == side, lengths[np.where(kind == side, piece, 0)], length)
        at = length.cumsum(axis=1) - length
        begin, end, number = np.zeros((len(parts), 1), np.int64), at[:, -1:] + length[:, -1:], np.zeros_like(length)
        if len(self._cut):
            found = np.searchsorted(self._cut, parts).clip(max=len(self._cut) - 1)
            is_cut = self._cut[found] == parts
            begin[is_cut], end[is_cut] = np.split(self._cut_span[found[is_cut]], 2, axis=1)
            number[is_cut] = self._cut_numbers[found[is_cut], : length.shape[1]]
        low, high = np.maximum(begin, at), np.minimum(end, at + length)
        # A label is never cut: it stands where its room is, be it empty.
        there = np.where(kind == LABEL, (begin <= at) & (at < end), low < high) & (kind >= 0)
        row, _ = np.nonzero(there)
        return Segments(
            sequence[row],
            rank(sequence)[row],
            kind[there],
            piece[there],
            number[there],
            np.where(kind == LABEL, 0, low - at)[there],
            np.where(kind == LABEL, 0, high - low)[there],
        )


@compiled
def _place(begin, end, sizes, batches, free, row_of):
    """Place the parts of a unit by best fit in the rows of every batch, or none; return whether they fit.

    Args:
        begin: the unit's first part.
        end: one past its last.
        sizes: positions of each part.
        batches: the batch of each part.
        free: free positions of each row of each batch, changed in place.
        row_of: where the row of each part is written.
    """
    for part in range(begin, end):
        rows = free[batches[part]]
        best = -1
        for row in range(len(rows)):
            if rows[row] >= sizes[part] and (best < 0 or rows[row] < rows[best]):
                best = row
        if best < 0:
            for placed in range(begin, part):
                free[batches[placed], row_of[placed - begin]] += sizes[placed]
            return False
        rows[best] -= sizes[part]
        row_of[part - begin] = best
    return True


@compiled
def _fit_alone(ends, sizes, batches, n_rows, width, row_of):
    """Say of each unit whether it fits empty rows."""
    fits = np.ones(len(ends) - 1, np.bool_)
    free = np.empty((batches.max() + 1 if len(batches) else 0, n_rows), np.int32)
    for unit in range(len(ends) - 1):
        begin, end = ends[unit], ends[unit + 1]
        if sizes[begin:end].sum() > width:  # else it would fit one row in all arms together
            free[:] = width
            fits[unit] = _place(begin, end, sizes, batches, free, row_of)
    return fits


@compiled
def _fill(waiting, current, following, scheduled, ends, sizes, batches, free, row_of, arm, patience):
    """Take units from a queue (`waiting`, then `current`, then `following`) as long as they fit.

    Returns:
        The parts of `arm` that were placed and the rows of each, the units taken, those that must wait, and how many
        the queue gave.
    """
    n_units = len(scheduled)
    status = np.zeros(n_units, np.int8)  # 1: in this super-batch, or refused
    parts = [np.int64(0) for _ in range(0)]
    rows = [np.int64(0) for _ in range(0)]
    taken = [np.int64(0) for _ in range(0)]
    left = [np.int64(0) for _ in range(0)]
    n_refused = 0
    popped = 0
    while n_refused < patience and len(taken) + n_refused < n_units:
        if popped < len(waiting):
            number = waiting[popped]
        elif popped < len(waiting) + len(current):
            number = current[popped - len(waiting)]
        else:
            number = following[popped - len(waiting) - len(current)]
        popped += 1
        if status[number]:
            left.append(number)
            continue
        status[number] = 1
        unit = scheduled[number]
        begin, end = ends[unit], ends[unit + 1]
        if not _place(begin, end, sizes, batches, free, row_of):
            n_refused += 1
            left.append(number)
            continue
        taken.append(unit)
        for part in range(begin, end):
            if batches[part] // 2 == arm:
                parts.append(np.int64(part))
                rows.append(row_of[part - begin])
    return np.array(parts), np.array(rows), np.array(taken), np.array(left), popped
