from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lorebridge.tokens.arms import shortest_row
from lorebridge.tokens.packing import best_fit, cut

room = st.integers(0, 30)
piece = st.integers(1, 200)
documents = st.one_of(
    st.tuples(piece).map(lambda lengths: (lengths, [])),
    st.tuples(piece, piece, piece).map(lambda lengths: (lengths, [])),
    st.tuples(room, piece).map(lambda lengths: (lengths, [0])),
    st.tuples(room, piece, piece).map(lambda lengths: ((lengths[0], lengths[1], lengths[0], lengths[2]), [0, 2])),
)


@given(document=documents, more=st.integers(0, 60))
def test_parts_fit_and_hold_each_token_once(document, more):
    lengths, whole = document
    width = shortest_row(sum(lengths[i] for i in whole)) + more
    parts = cut(lengths, width, whole)
    tokens = [[] for _ in lengths]
    for number, (positions, stretches) in enumerate(parts):
        last = number == len(parts) - 1
        assert positions == sum(s.n_tokens for s in stretches) + last <= width
        assert [s.segment for s in stretches] == sorted({s.segment for s in stretches})
        assert all(s.n_tokens > 0 for s in stretches)
        # a later part goes on inside a segment; only the last part ends one
        assert (stretches[0].start > 0) == (number > 0)
        assert (stretches[-1].start + stretches[-1].n_tokens == lengths[stretches[-1].segment]) == last
        for s in stretches:
            assert s.part == sum(t.segment == s.segment for _, earlier in parts[:number] for t in earlier)
            assert s.segment not in whole or s.n_tokens == lengths[s.segment]
            tokens[s.segment] += range(s.start, s.start + s.n_tokens)
        assert {s.segment for s in stretches} - set(whole)
    assert tokens == [list(range(length)) for length in lengths]


def best_fit_by_definition(sizes, width):
    """From large to small, each item to the fullest row that it fits, the one last changed among equals."""
    rows, free, changed = [], [], []
    for time, item in enumerate(sorted(range(len(sizes)), key=lambda i: -sizes[i])):
        fitting = [row for row in range(len(rows)) if free[row] >= sizes[item]]
        if not fitting:
            fitting = [len(rows)]
            rows.append([])
            free.append(width)
            changed.append(0)
        row = min(fitting, key=lambda r: (free[r], -changed[r]))
        rows[row].append(item)
        free[row] -= sizes[item]
        changed[row] = time
    return rows


@given(sizes=st.lists(st.integers(1, 30), max_size=80), width=st.integers(30, 60))
def test_best_fit_packs_each_item_once_and_no_two_rows_could_be_one(sizes, width):
    array = np.array(sizes, np.int64)
    items, bounds = best_fit(array, width)
    rows = [items[begin:end].tolist() for begin, end in pairwise(bounds)]
    assert rows == best_fit_by_definition(sizes, width)
    assert sorted(item for row in rows for item in row) == list(range(len(sizes)))
    filled = [int(array[row].sum()) for row in rows]
    assert all(count <= width for count in filled)
    assert all(a + b > width for i, a in enumerate(filled) for b in filled[:i])
