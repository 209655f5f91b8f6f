"""Packing: whole documents into rows of a fixed number of positions, none cut at a row's end.

A document of n tokens takes n + 1 positions: its targets are its tokens and a closing ``<|endoftext|>``, its inputs an
opening ``<|endoftext|>`` and its tokens. A document that is too long for a row is cut beforehand into *parts* that
fit; the first input of a later part is the last token of the part before, so that every token is a target once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lorebridge.kernels import compiled


class Stretch(NamedTuple):
    """A stretch of one segment of a document that is a target in one part."""

    segment: int
    part: int
    start: int
    n_tokens: int


def cut(lengths: Sequence[int], width: int, whole: Collection[int] = ()) -> list[tuple[int, list[Stretch]]]:
    """Cut a document into parts of at most `width` positions.

    Parts are filled from the left. A cut never falls between two segments, nor before the closing token alone: so the
    input that a later part begins with is a token of the same segment, and each part has a token for a target.

    Args:
        lengths: tokens of each segment of the document.
        width: positions of a row, at least :func:`lorebridge.tokens.arms.shortest_row` of what the segments in `whole`
            hold together.
        whole: the segments that are not cut (labels); no two may follow each other.

    Returns:
        For each part, its positions and its stretches in order.

    >>> cut([5], 16)
    [(6, [Stretch(segment=0, part=0, start=0, n_tokens=5)])]
    >>> [(positions, [tuple(s) for s in stretches]) for positions, stretches in cut([3, 20], 16, {0})]
    [(16, [(0, 0, 0, 3), (1, 0, 0, 13)]), (8, [(1, 1, 13, 7)])]
    """
    n_tokens = sum(lengths)
    if n_tokens < width:
        return [(n_tokens + 1, [Stretch(i, 0, 0, length) for i, length in enumerate(lengths) if length])]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    refused = {*starts, n_tokens}
    for segment in whole:
        refused.update(range(starts[segment], starts[segment] + lengths[segment]))
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


def best_fit(sizes: npt.NDArray[np.integer[Any]], width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pack items into rows by best-fit decreasing.

    Items go from large to small, each to the fullest row that it fits; items of one size in the order given (Ding et
    al., "Fewer Truncations Improve Language Modeling", ICML 2024, section 3).

    Args:
        sizes: positions of each item, 1 to `width`, int64 [n].
        width: positions of a row.

    Returns:
        The items, row after row, int64 [n], and where each row begins in them, int64 [rows + 1].
    """
    by_size = np.argsort(-sizes, kind="stable")
    row = _rows_of(sizes[by_size], width)
    by_row = np.argsort(row, kind="stable")
    bounds = np.searchsorted(row[by_row], np.arange(row.max(initial=-1) + 2))
    return by_size[by_row], bounds


@compiled
def _rows_of(sizes: npt.NDArray[np.integer[Any]], width: int) -> npt.NDArray[np.int64]:
    """Return the row of each item, in the order given, by best fit; of rows alike, the one last changed is taken."""
    n = len(sizes)
    row_of = np.empty(n, np.int64)
    last = np.full(width + 1, -1, np.int64)  # by free positions: the row that came last to have so many
    before = np.empty(n, np.int64)  # for each such row, the one that came before it
    n_rows = 0
    for item in range(n):
        free = sizes[item]
        while free < width and last[free] < 0:
            free += 1
        row = last[free]
        if free == width:
            row = n_rows
            n_rows += 1
        else:
            last[free] = before[row]
        row_of[item] = row
        left = free - sizes[item]
        if left:
            before[row] = last[left]
            last[left] = row
    return row_of
