"""How far apart the halves of pairs stand: what holds near and far alike, and what far is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from invented import invented_texts, make_study
from numbered import HALVES, NumberedText, shapes
from test_derived import write_mentions

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.arms import ARMS, FAR, NEAR, parts_partners
from lorebridge.tokens.order import read_notes
from lorebridge.tokens.reader import OrderReader, show_batch

APART = [arm for arm in ARMS if parts_partners(arm)]


def test_the_arms_that_have_a_distance():
    plain = {"no_bridge", "labels_only", "glued", "placebo", "no_bridge_exchanged", "no_bridge_reseeded"}
    assert {arm for arm in APART if not ARMS[arm].variant} == plain
    assert {arm for arm in APART if ARMS[arm].variant} == {
        arm for arm in ARMS if ARMS[arm].variant and not arm.startswith("bridge")
    }


def over_the_run(reading):
    return sum(reading.super_batches, Counter())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(shape=shapes())
def test_far_moves_whole_rows_and_keeps_partners_out_of_one_batch(study, tmp_path_factory, shape):
    assume(sum(shape["mono"]))
    text = NumberedText(tmp_path_factory.mktemp("shape"), study, shape)
    bridge = text.read("bridge")
    assert (
        text.draw("bridge", out=text.root / "b", distance=FAR).read_bytes()
        == (text.root / "bridge.parquet").read_bytes()
    )
    far = {}
    for arm in ("no_bridge", "labels_only", "glued", "placebo", "no_bridge_exchanged"):
        near = text.read(arm)
        reading = far[arm] = text.read(arm, distance=FAR)
        # Monolingual rows to the byte, in each batch; the same pieces over the run; the same documents as near.
        assert reading.monolingual == bridge.monolingual
        assert over_the_run(reading) == over_the_run(bridge)
        assert Counter(d for step in reading.documents for d in step) == Counter(
            d for step in near.documents for d in step
        )
        assert {k: v for k, v in reading.notes.items() if k != "distance"} == near.notes
        assert reading.notes["distance"] == FAR
        for pieces in reading.sides:
            if arm == "placebo":
                continue
            assert not pieces["pairs-ko-en"] & pieces["pairs-ko-xx"]
            if arm != "glued":  # nor a sentence and its translation by another pair
                texts = {text.english[p] for p in pieces["pairs-ko-en"]}
                assert not any(text.english[p] in texts for p in pieces["pairs-ko-xx"])
    # A/A: the two steps of a super-batch have each other's parallel rows.
    for step, documents in enumerate(far["no_bridge_exchanged"].documents):
        assert documents == far["no_bridge"].documents[step ^ 1]


@pytest.fixture(scope="module")
def plenty(tmp_path_factory):
    """A study whose runs here read a part of its pairs."""
    documents, _ = invented_texts(0)
    pairs = [pair for seed in range(20) for pair in invented_texts(seed)[1][:-3]]
    return make_study(tmp_path_factory.mktemp("plenty"), documents, pairs)


def steps_of(order, rows_per_step):
    """Return stream -> piece -> steps in which it begins, in the order of the run."""
    read = tables.read(order)
    read = read[read["stream"].isin(HALVES) & (read["start"] == 0)]
    read["step"] = read["sequence"] // rows_per_step
    return {stream: of.groupby("piece")["step"].agg(list) for stream, of in read.groupby("stream")}


@pytest.mark.parametrize("arm", ["no_bridge", "labels_only", "glued", "placebo"])
def test_partners_are_spread_over_a_run_of_one_epoch(plenty, arm):
    steps = 200
    distances = {}
    for distance in (NEAR, FAR):
        order = plenty.draw(
            arm, name=f"{arm}-{distance}", steps=steps, distance=distance, sequence_length=80, batch_tokens=480
        )
        assert read_notes(order)["epochs"]["pairs-ko-en"] < 1
        found = steps_of(order, 6)
        en, xx = (found[stream].str[0] for stream in HALVES)
        assert set(en.index) == set(xx.index) and len(en) > 600
        distances[distance] = (xx - en).to_numpy()
    assert np.abs(distances[NEAR]).max() <= 1
    apart = np.abs(distances[FAR]) / steps
    assert apart.mean() == pytest.approx(1 / 3, abs=0.03)
    grid = np.linspace(0, 1, 21)
    reached = np.searchsorted(np.sort(apart), grid, side="right") / len(apart)
    assert np.abs(reached - (1 - (1 - grid) ** 2)).max() < 0.06
    assert (distances[FAR] > 0).mean() == pytest.approx(0.5, abs=0.06)  # neither half comes first
    # Independent places: where one half stands says nothing about the other.
    assert abs(np.corrcoef(en, xx)[0, 1]) < 0.12


def test_halves_come_once_an_epoch_in_a_run_of_several(study):
    near, far = (
        steps_of(study.draw("no_bridge", steps=240, name=f"epochs-{distance}", distance=distance), 8)
        for distance in (NEAR, FAR)
    )
    for stream in HALVES:
        n_near, n_far = near[stream].str.len(), far[stream].str.len()
        pd.testing.assert_series_equal(n_near, n_far)
        assert n_far.min() >= 3
        for step in range(20, 241, 20):
            read = far[stream].map(lambda steps, end=step: sum(at < end for at in steps))
            assert read.max() - read.min() <= 3
            assert (read - read.median()).abs().le(1).mean() > 0.95


def test_seeds_and_arms_shuffle_alike_and_variants_leave_out_the_same(study, tmp_path):
    far = {seed: study.draw("no_bridge", seed, name=f"far-{seed}", distance=FAR) for seed in (0, 1)}
    assert far[0].read_bytes() == study.draw("no_bridge", 0, name="again", distance=FAR).read_bytes()
    assert far[0].read_bytes() != far[1].read_bytes()
    mentions = [write_mentions(tmp_path / "mentions.parquet", [(piece, 1) for piece in range(0, 150, 3)])]
    given = {"no_bridge_leak_free": {"mentions": mentions}, "no_bridge_leak_only": {"mentions": mentions}}
    given["no_bridge_english_matched"] = {"english_share": 0.1}
    whole = tables.read(far[0]).drop(columns=["slot", "document"])
    for arm, arguments in given.items():
        notes = [
            read_notes(study.draw(arm, name=f"{arm}-{distance}", distance=distance, **arguments))
            for distance in (NEAR, FAR)
        ]
        assert notes[0]["derived"] == notes[1]["derived"] and notes[0]["content"] == notes[1]["content"]
        # What is left stands where the arm itself has it.
        left = tables.read(study.root / "order" / f"{arm}-far.parquet").drop(columns=["slot", "document"])
        assert len(left.merge(whole)) == len(left) < len(whole)
    reader = OrderReader.open(far[0], study.stores)
    assert all((reader.batch(step).targets >= 0).any() for step in range(24))
    assert "pairs-ko-xx" in show_batch(order=far[0], stores=study.stores, tokenizer=study.tokenizer, step=5)


def test_another_distance_is_refused(study):
    with pytest.raises(InputError, match=r"no_bridge.distance: 'farther' is unknown. It is one of near, far"):
        study.draw("no_bridge", distance="farther")
