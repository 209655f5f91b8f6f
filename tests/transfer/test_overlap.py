"""Shared facts: planted shares come back, and independent sets share what is expected."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lorebridge.transfer.overlap import WITHIN, overlap, overlaps_of, shared_by_chance


def test_the_number_shared_by_chance_is_counted_out():
    """All ways to choose two and three of four facts, beside a stratum of one and one of three."""
    n, a, b = np.array([4, 3]), np.array([2, 1]), np.array([3, 1])
    counts = np.zeros(4)
    for first in itertools.combinations(range(4), 2):
        for second in range(3):
            counts[len(set(first) & {0, 1, 2}) + (second == 0)] += 1
    np.testing.assert_allclose(shared_by_chance(n, a, b), counts / counts.sum())


def test_independent_sets_share_what_is_expected():
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 20, 4000)
    ease = rng.random(20)[strata] * 0.6
    zs = []
    for _ in range(60):
        found = overlap(rng.random(4000) < ease, rng.random(4000) < ease, strata)
        zs.append(found["z"])
    assert abs(np.mean(zs)) < 0.4 and 0.75 < np.std(zs) < 1.25
    # Without the strata the ease of relations would pass for sharing.
    assert overlap(rng.random(4000) < ease, rng.random(4000) < ease, np.zeros(4000, int))["z"] > 3


def test_planted_shares_come_back():
    rng = np.random.default_rng(0)
    n, p, share = 6000, 0.2, 0.5
    common, own_a, own_b = (rng.random(n) < p for _ in range(3))
    copied = rng.random(n) < share
    a, b = np.where(copied, common, own_a), np.where(copied, common, own_b)
    found = overlap(a, b, rng.integers(0, 30, n))
    both = share * p + (1 - share) * p * p
    assert found["jaccard"] == pytest.approx(both / (2 * p - both), abs=0.02)
    assert found["expected"] == pytest.approx(p * p / (2 * p - p * p), abs=0.01)
    assert found["z"] > 20 and found["p"] < 1e-6


def test_what_says_nothing_is_missing():
    none, some = np.zeros(4, bool), np.array([True, False, False, False])
    assert overlap(none, none, np.zeros(4, int))["jaccard"] is None
    alone = overlap(some, some, np.arange(4))
    assert alone["jaccard"] == 1 and alone["expected"] == 1 and alone["z"] is None


def test_the_majority_answer_is_shared_by_more_than_chance_but_not_within_its_object():
    """Two languages that both answer ``a``, whatever is asked: all that they share is the answer."""
    rng = np.random.default_rng(0)
    objects = rng.choice(["a", "b", "c"], 600, p=[0.4, 0.3, 0.3])
    rows = []
    for lang in ("en", "de"):
        for i, answer in enumerate(objects):
            right = answer == "a" and rng.random() < 0.9
            rows.append((f"f{i}", "r", lang, 1, float(right), answer))
    table = pd.DataFrame(rows, columns=["fact_id", "relation", "lang", "n_masks", "exact", "object_id"])
    table["n_masks"] = table["n_masks"].astype("Int16")
    found = pd.DataFrame(
        overlaps_of(table.drop(columns="object_id"), table[["fact_id", "lang", "object_id"]])
    ).set_index("within")
    plain, within = (found.loc[name] for name in WITHIN)
    assert plain["z"] > 10 and abs(within["z"]) < 3 and plain["jaccard"] == within["jaccard"]
