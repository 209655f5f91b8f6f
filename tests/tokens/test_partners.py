"""A placebo joins other strangers in every epoch: what is joined, and that nothing else moves."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from numbered import HALVES, NumberedText, shapes

from lorebridge import tables
from lorebridge.tokens import order as order_
from lorebridge.tokens.arms import FAR
from lorebridge.tokens.order import read_notes
from lorebridge.tokens.partners import _exchange


def partners_by_epoch(path):
    """Return for each epoch whom each English half is joined with, of documents of one row; with the whole frame."""
    frame = tables.read(path)
    read = frame[frame["stream"].isin(HALVES) & (frame["start"] == 0)].copy()
    read["epoch"] = read.groupby(["stream", "piece"]).cumcount()
    found: dict[int, dict[int, int]] = {}
    for _, document in read.groupby(["sequence", "document"]):
        if set(document["stream"]) == set(HALVES):
            en, xx = (document[document["stream"] == half].iloc[0] for half in HALVES)
            assert en["epoch"] == xx["epoch"]
            found.setdefault(int(en["epoch"]), {})[int(en["piece"])] = int(xx["piece"])
    return found, frame


def undrawn(monkeypatch):
    """Let a placebo keep the partners of the first epoch."""
    monkeypatch.setattr(order_.Partners, "redrawn", lambda self, segments: segments)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(shape=shapes())
def test_each_batch_reads_the_same_halves_joined_otherwise(study, tmp_path_factory, shape):
    assume(sum(shape["mono"]))
    text = NumberedText(tmp_path_factory.mktemp("shape"), study, shape | {"steps": 2 * shape["steps"]})
    bridge, redrawn = text.read("bridge"), text.read("placebo")
    epochs, _ = partners_by_epoch(text.root / "placebo.parquet")
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        cycle = text.read("placebo", out=text.root / "cycle.parquet")
    first, _ = partners_by_epoch(text.root / "cycle.parquet")
    assert redrawn.monolingual == cycle.monolingual == bridge.monolingual
    assert redrawn.sides == cycle.sides and redrawn.super_batches == bridge.super_batches
    assert [len(documents) for documents in redrawn.documents] == [len(documents) for documents in cycle.documents]
    n_redrawn = redrawn.notes.get("partners", {}).get("redrawn", 0)
    assert {key: value for key, value in redrawn.notes.items() if key != "partners"} == cycle.notes
    assert epochs.get(0) == first.get(0)
    n_other = 0
    for epoch, partner in epochs.items():
        assert len(set(partner.values())) == len(partner) and all(en != xx for en, xx in partner.items())
        # One rendering of a sentence never meets the translation of another.
        assert not any(text.english[en] == text.english[xx] for en, xx in partner.items())
        others = {en for en, xx in partner.items() if first[epoch][en] != xx}
        assert all(epochs[epoch - 1].get(en) != partner[en] for en in others)
        n_other += len(others)
    assert n_redrawn == n_other


def test_an_exchange_within_a_row_makes_no_room_in_it():
    """The first two change halves in the full row; then the third may not have the longer half of the fourth."""
    place = np.arange(4)
    holds, free, row = place.copy(), np.array([0, 5]), np.array([0, 0, 0, 1])
    unlike = (np.zeros(0, np.int32), np.zeros(5, np.int64), place, place, 4, np.zeros(0, np.int64))
    order, begins, ends = place, np.zeros(4, np.int64), np.full(4, 4)
    n_xx, last = np.array([3, 3, 3, 4]), np.full(4, -1)
    _exchange(order, begins, ends, place, place, holds, row, n_xx, free, last, unlike)
    assert holds.tolist() == [2, 0, 1, 3] and free.tolist() == [0, 5]
    # Where the other row has room the fourth gets a shorter half, and the room moves.
    holds, free = place.copy(), np.array([1, 5])
    _exchange(order, begins, ends, place, place, holds, row, n_xx, free, last, unlike)
    assert holds.tolist() == [1, 0, 3, 2] and free.tolist() == [0, 6]


def test_every_epoch_has_a_derangement_of_its_own(study):
    """Of a study of ordinary sentences: nearly all documents of each epoch, and nobody twice in a row."""
    shape = {"steps": 120, "sequence_length": 256, "batch_tokens": 1024}
    path = study.draw("placebo", **shape)
    epochs, frame = partners_by_epoch(path)
    notes = read_notes(path)
    whole = [epochs[epoch] for epoch in sorted(epochs) if len(epochs[epoch]) > 0.9 * notes["pairs"]["n_pairs"]]
    assert len(whole) >= 3
    changed = notes["partners"]
    assert changed["redrawn"] > 0.9 * sum(changed.values())
    for before, after in itertools.pairwise(whole):
        assert sum(after.get(en) == xx for en, xx in before.items()) < 0.1 * len(after)
    for partner in whole:
        assert len(set(partner.values())) == len(partner) and all(en != xx for en, xx in partner.items())
    # Over the run a half meets mostly others than it has met, though 150 pairs are few.
    met = Counter(en for partner in whole for en in set(partner))
    strangers = [len({partner[en] for partner in whole if en in partner}) / n for en, n in met.items()]
    assert np.mean(strangers) > 0.9
    bridge = tables.read(study.draw("bridge", **shape))
    tokens = [of.groupby("stream")["n_tokens"].sum() for of in (frame, bridge)]
    assert tokens[0].equals(tokens[1])


def test_partners_are_drawn_from_language_and_seed_and_variants_have_the_same(study):
    paths = {name: study.draw("placebo", seed, name=name, steps=80) for name, seed in (("a", 0), ("b", 1), ("c", 0))}
    assert paths["a"].read_bytes() == paths["c"].read_bytes() != paths["b"].read_bytes()
    longer = tables.read(study.draw("placebo", name="longer", steps=120))
    short = tables.read(paths["a"])
    assert longer[longer["sequence"] <= short["sequence"].max()].equals(short)
    replayed = tables.read(study.draw("placebo_replay", steps=80, replay={"base": "ko", "share": 0.25}))
    parallel = [frame[frame["stream"].isin(HALVES)].reset_index(drop=True) for frame in (short, replayed)]
    assert parallel[0].equals(parallel[1])
    assert joined(study.draw("placebo", name="far", steps=80, distance=FAR)) == joined(paths["a"])


def joined(path):
    """Return how often each two halves stand in one document."""
    frame = tables.read(path)
    read = frame[frame["stream"].isin(HALVES) & (frame["start"] == 0)]
    sides = [read[read["stream"] == half].set_index(["sequence", "document"])["piece"] for half in HALVES]
    both = sides[0].to_frame("en").join(sides[1].rename("xx"), how="inner")
    return Counter(zip(both["en"], both["xx"], strict=True))
