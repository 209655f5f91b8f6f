"""Packing: whole documents into rows of a fixed number of positions, none cut at a row's end.

A document of n tokens takes n + 1 positions: its targets are its tokens and a closing ``<|endoftext|>``, its inputs an
opening ``<|endoftext|>`` and its tokens. A document that is too long for a row is cut beforehand into *parts* that
fit; the first input of a later part is the last token of the part before, so that every token is a target once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SHORTEST_ROW = 16
"""The fewest positions of a row for which :func:`cut` always finds a place to cut."""


class Stretch(NamedTuple):
    """A stretch of one segment of a document that is a target in one part."""

    segment: int
    part: int
    start: int
    n_tokens: int


def cut(lengths: Sequence[int], width: int) -> list[tuple[int, list[Stretch]]]:
    """Cut a document into parts of at most `width` positions.

    Parts are filled from the left. A cut never falls between two segments, nor before the closing token alone: so the
    input that a later part begins with is a token of the same segment, and each part has a token for a target.

    Args:
        lengths: tokens of each segment of the document; segments of fewer than 8 tokens (labels) may not follow each
            other.
        width: positions of a row, at least :data:`SHORTEST_ROW`.

    Returns:
        For each part, its positions and its stretches in order.

    >>> cut([5], 16)
    [(6, [Stretch(segment=0, part=0, start=0, n_tokens=5)])]
    >>> [(positions, [tuple(s) for s in stretches]) for positions, stretches in cut([3, 20], 16)]
    [(16, [(0, 0, 0, 3), (1, 0, 0, 13)]), (8, [(1, 1, 13, 7)])]
    """
    n_tokens = sum(lengths)
    if n_tokens < width:
        return [(n_tokens + 1, [Stretch(i, 0, 0, length) for i, length in enumerate(lengths)])]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    refused = {*starts, n_tokens}
    parts: list[tuple[int, list[Stretch]]] = []
    numbers = [0] * len(lengths)
    begin = 0
    while begin <= n_tokens:
        end = n_tokens + 1
        if end - begin > width:
            end = begin + width
            while end in refused:
                end -= 1
            if end <= begin:
                raise ValueError(f"no place to cut a document of segments {list(lengths)} for rows of {width}")
        stretches = []
        for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            low, high = max(begin, start), min(end, start + length)
            if low < high:
                stretches.append(Stretch(i, numbers[i], low - start, high - low))
                numbers[i] += 1
        parts.append((end - begin, stretches))
        begin = end
    return parts


def best_fit(sizes: npt.NDArray[np.int64], width: int) -> list[list[int]]:
    """Pack items into rows by best-fit decreasing.

    Items go from large to small, each to the fullest row that it fits; items of one size in the order given (Ding et
    al., "Fewer Truncations Improve Language Modeling", ICML 2024, section 3).

    Args:
        sizes: positions of each item, 1 to `width`, int64 [n].
        width: positions of a row.

    Returns:
        The rows: indices of their items.
    """
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(width + 1)]  # by free positions
    has_open = 0  # bit f is set where some row has f free positions
    for item in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[item])
        fitting = has_open >> size
        if fitting:
            free = size + (fitting & -fitting).bit_length() - 1
            row = open_rows[free].pop()
            if not open_rows[free]:
                has_open ^= 1 << free
        else:
            free, row = width, len(rows)
            rows.append([])
        rows[row].append(item)
        free -= size
        if free:
            open_rows[free].append(row)
            has_open |= 1 << free
    return rows


class Rows:
    """Rows that are filled online by best fit, with the last placements undone at will.

    >>> rows = Rows(2, 10)
    >>> rows.place(7), rows.place(4), rows.place(3), rows.place(8)
    (0, 1, 0, None)
    """

    def __init__(self, n_rows: int, width: int) -> None:
        """Open `n_rows` rows of `width` free positions."""
        self._n = n_rows
        self._keys = [width * n_rows + row for row in range(n_rows)]  # free * n + row, ascending
        self._done: list[tuple[int, int]] = []

    def place(self, size: int) -> int | None:
        """Place an item in the fullest row with `size` free positions; return the row, or None where none has."""
        at = bisect_left(self._keys, size * self._n)
        if at == len(self._keys):
            return None
        old = self._keys.pop(at)
        new = old - size * self._n
        insort(self._keys, new)
        self._done.append((old, new))
        return old % self._n

    def keep(self) -> None:
        """Make the placements since the last call final."""
        self._done.clear()

    def undo(self) -> None:
        """Take back the placements since the last :meth:`keep`."""
        while self._done:
            old, new = self._done.pop()
            del self._keys[bisect_left(self._keys, new)]
            insort(self._keys, old)
