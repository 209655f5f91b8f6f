"""Pairs drawn by digest: which they are, how many, and what a run then reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import invented_texts, make_study

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.order import read_notes
from lorebridge.tokens.selection import BLOCK, drawn_pairs
from lorebridge.tokens.store import Store

LABELS = 6


def write_store(path, documents):
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / "offsets.npy", np.cumsum([0, *map(len, documents)]).astype(np.int64))
    np.array([token for document in documents for token in document], "<u4").tofile(path / "tokens.bin")
    (path / "store.json").write_text(json.dumps({"tokenizer": "t", "digest": "d"}))
    return Store.open(path)


halves = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def need(pair):
    return 2 * (len(pair[0]) + len(pair[1])) + LABELS + 1 if all(pair) else 0


@settings(deadline=None, max_examples=100)
@given(
    pairs=st.lists(st.tuples(halves, halves), min_size=1, max_size=60),
    share=st.floats(0.01, 1.2),
    seed=st.integers(0, 5),
    chance=st.randoms(use_true_random=False),
)
def test_pairs_are_drawn_by_what_they_hold(tmp_path_factory, pairs, share, seed, chance):
    root = tmp_path_factory.mktemp("pairs")
    pairs = [*pairs, ((1,), (1,))]
    positions = share * sum(map(need, pairs))

    def draw(pairs, positions):
        en, xx = (write_store(root / half, [pair[i] for pair in pairs]) for i, half in enumerate(("en", "xx")))
        return drawn_pairs(en, xx, "order", "ko", seed, label_tokens=LABELS, positions=positions)

    drawn = draw(pairs, positions)
    if share >= 1:
        assert drawn is None
        return
    contents = {pair for pair, is_drawn in zip(pairs, drawn, strict=True) if is_drawn}
    # Whole contents, as many as are needed and not one more, none without tokens; wherever the rows stand.
    assert [pair in contents for pair in pairs] == drawn.tolist()
    assert all(map(need, contents))
    needed = sorted(need(pair) * pairs.count(pair) for pair in contents)
    assert positions <= sum(needed) and sum(needed) - positions < max(needed)
    shuffled = list(pairs)
    chance.shuffle(shuffled)
    assert [pair in contents for pair in shuffled] == draw(shuffled, positions).tolist()
    fewer = draw(pairs, positions / 2)
    assert not (fewer & ~drawn).any()


def test_seeds_draw_apart_and_every_pair_alike(tmp_path):
    n = 2 * BLOCK + 1000  # of several blocks
    chance = np.random.default_rng(0)
    for half in ("en", "xx"):
        (tmp_path / half).mkdir()
        np.save(tmp_path / half / "offsets.npy", np.arange(0, 3 * n + 1, 3))
        chance.integers(0, 2**17, 3 * n).astype("<u4").tofile(tmp_path / half / "tokens.bin")
        (tmp_path / half / "store.json").write_text(json.dumps({"tokenizer": "t", "digest": "d"}))
    stores = [Store.open(tmp_path / half) for half in ("en", "xx")]
    of_each = 2 * 6 + LABELS + 1
    draws = [
        drawn_pairs(*stores, "order", lang, seed, label_tokens=LABELS, positions=of_each * n // 4)
        for lang, seed in (("ko", 0), ("ko", 1), ("zh", 0))
    ]
    for i, drawn in enumerate(draws):
        assert drawn.sum() == (n + 3) // 4 or drawn.sum() == n // 4
        for part in np.array_split(drawn, 10):  # 53,000 each: four standard errors are 0.75 %
            assert part.mean() == pytest.approx(0.25, abs=0.0075)
        for other in draws[:i]:
            assert (drawn & other).mean() == pytest.approx(1 / 16, abs=0.002)


@pytest.fixture(scope="module")
def plenty(tmp_path_factory):
    """A study with many times the pairs that a run of it reads."""
    documents, pairs = invented_texts(0)
    more = [pair for seed in range(1, 9) for pair in invented_texts(seed)[1]]
    return make_study(tmp_path_factory.mktemp("plenty"), documents, pairs + more)


@pytest.mark.parametrize("arm", ["bridge", "no_bridge", "placebo", "glued"])
def test_what_is_drawn_suffices_for_one_epoch(plenty, arm):
    changes = {"steps": 16, "sequence_length": 96, "batch_tokens": 384}
    whole = read_notes(plenty.draw(arm, **changes))
    order = plenty.draw(arm, name="drawn", pair_supply=1.25, **changes)
    notes = read_notes(order)["pairs"]
    assert notes["n_available"] == whole["pairs"]["n_pairs"] == len(tables.read(plenty.pairs))
    assert notes["n_pairs"] < 0.5 * notes["n_available"] and notes["supply"] == 1.25
    read = tables.read(order)
    en = read[(read["stream"] == "pairs-ko-en") & (read["start"] == 0)]["piece"]
    assert en.is_unique and len(en) > 0.6 * notes["n_pairs"]
    assert read_notes(order)["epochs"]["pairs-ko-en"] < 0.5
    assert read_notes(order)["tokens"]["content"] == pytest.approx(whole["tokens"]["content"], rel=0.1)
    # Where all are needed, the order is the one without a draw.
    all_of_them = plenty.draw(arm, name="all", pair_supply=100, **changes)
    assert tables.read(all_of_them).equals(tables.read(plenty.draw(arm, **changes)))


def test_arms_draw_the_same_pairs_and_seeds_others(plenty):
    changes = {"steps": 16, "sequence_length": 96, "batch_tokens": 384, "pair_supply": 1.0}

    def pieces(arm, seed=0):
        read = tables.read(plenty.draw(arm, seed, **changes))
        return set(read[read["stream"] == "pairs-ko-xx"]["piece"])

    assert pieces("bridge") == pieces("no_bridge") == pieces("labels_only") != pieces("bridge", 1)


def test_a_supply_that_cannot_suffice_is_refused(plenty):
    for supply in (0.5, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"training.pair_supply: {supply} is less than .* Give 1 or more"):
            plenty.draw("bridge", pair_supply=supply)
