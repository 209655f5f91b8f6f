from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lorebridge.tokens.packing import SHORTEST_ROW, Rows, best_fit, cut

label = st.integers(1, 7)
piece = st.integers(1, 200)
documents = st.one_of(
    st.tuples(piece), st.tuples(label, piece), st.tuples(label, piece, label, piece), st.tuples(piece, piece, piece)
)


@given(lengths=documents, width=st.integers(SHORTEST_ROW, 70))
def test_parts_fit_and_hold_each_token_once(lengths, width):
    parts = cut(lengths, width)
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
            tokens[s.segment] += range(s.start, s.start + s.n_tokens)
    assert tokens == [list(range(length)) for length in lengths]


@given(sizes=st.lists(st.integers(1, 30), max_size=80), width=st.integers(30, 60))
def test_best_fit_packs_each_item_once_and_no_two_rows_could_be_one(sizes, width):
    array = np.array(sizes, np.int64)
    rows = best_fit(array, width)
    assert sorted(item for row in rows for item in row) == list(range(len(sizes)))
    filled = [int(array[row].sum()) for row in rows]
    assert all(count <= width for count in filled)
    assert all(a + b > width for i, a in enumerate(filled) for b in filled[:i])


@given(sizes=st.lists(st.lists(st.integers(1, 12), max_size=4), max_size=20), n_rows=st.integers(1, 4))
def test_rows_are_filled_by_best_fit_and_undone_exactly(sizes, n_rows):
    width = 20
    rows = Rows(n_rows, width)
    free = [width] * n_rows
    for group in sizes:
        before = list(free)
        whole = True
        for size in group:
            fitting = [room for room in free if room >= size]
            row = rows.place(size)
            assert (row is None) == (not fitting)
            if row is None:
                whole = False
                break
            assert free[row] == min(fitting)
            free[row] -= size
        if whole:
            rows.keep()
        else:
            rows.undo()
            free = before
