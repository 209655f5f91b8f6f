"""Overlap of neurons: what is planted comes back, and the null is another fact of the relation."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lorebridge.transfer.neurons import compared, jaccards, overlaps_of


def test_jaccards_are_counted_out():
    a = sparse.csr_array(np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]]))
    b = sparse.csr_array(np.array([[1.0, 0, 1, 0], [0, 0, 1, 1]]))
    np.testing.assert_allclose(jaccards(a, b), [[1 / 3, 0], [1 / 3, 1]])


def test_each_fact_is_compared_with_its_own_kin():
    tops = sparse.csr_array(np.eye(5))
    relation, answer = np.array([0, 0, 0, 1, 1]), np.array([7, 7, 8, 9, 9])
    shifted = sparse.csr_array(np.eye(5)[[1, 0, 2, 3, 4]])  # the first two have each other's neuron
    found = compared(tops, shifted, relation, answer)
    np.testing.assert_array_equal(found[:, 0], [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found[:2, 1], [1, 1])
    assert np.isnan(found[2, 1]) and np.isnan(found[3:, 2]).all() and (found[:, 3] == 0).all()
    np.testing.assert_array_equal(found[:3, 2], [0, 0, 0])


def planted(share, n=120, k=10, seed=0):
    """Neurons of facts in three relations: half are the relation's, the others the fact's own or drawn by language."""
    rng = np.random.default_rng(seed)
    of_relation = [rng.choice(1000, k // 2, replace=False) for _ in range(3)]
    rows, facts = [], []
    for fact in range(n):
        own = 1000 + rng.choice(5000, k // 2, replace=False)
        for lang in ("en", "de"):
            drawn = own if rng.random() < share else 6000 + rng.choice(5000, k // 2, replace=False)
            units = [*of_relation[fact % 3], *drawn]
            rows += [("m", None, f"f{fact}", f"r{fact % 3}", lang, 0, int(u), 1.0, i + 1) for i, u in enumerate(units)]
            facts.append((f"f{fact}", lang, f"s{fact // 2}", f"o{fact % 9}"))
    columns = ["run", "step", "fact_id", "relation", "lang", "layer", "neuron", "score", "rank"]
    return pd.DataFrame(rows, columns=columns), pd.DataFrame(
        facts, columns=["fact_id", "lang", "subject_id", "object_id"]
    )


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_planted_shares_come_back_above_the_relation(share):
    found = pd.DataFrame(overlaps_of(*planted(share), 300, 0)).set_index("compared")
    assert found["n_facts"].eq(120).all() and found["n_clusters"].eq(60).all()
    # Half of the neurons are the relation's: 5 of 15 are shared by any two of its facts.
    assert found.loc["same relation", "jaccard"] == pytest.approx(1 / 3, abs=0.01)
    assert found.loc["unrelated", "jaccard"] < 0.01
    # A fact whose own neurons are used in both languages has all ten; that is so of share^2 of them.
    expected = 1 / 3 + share**2 * 2 / 3
    assert found.loc["same fact", "jaccard"] == pytest.approx(expected, abs=0.1)
    above = found.loc["above"]
    assert above["lo"] <= expected - 1 / 3 + 0.02 and (above["lo"] > 0.05) == (share > 0)
    assert abs(above["jaccard"]) < 0.02 if share == 0 else above["jaccard"] > 0.1


def test_tied_neurons_overlap_wholly_and_a_language_alone_says_nothing():
    neurons, facts = planted(1.0)
    found = pd.DataFrame(overlaps_of(neurons, facts, 100, 0)).set_index("compared")
    assert found.loc["same fact", "jaccard"] == 1
    assert list(overlaps_of(neurons[neurons["lang"] == "en"], facts, 100, 0)) == []
