"""RankC: the paper's sum, its expectation by chance, and what agreement on common answers is worth."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lorebridge.probes.decisions import rank_consistency, rankc_by_chance
from lorebridge.transfer.rankings import consistencies
from lorebridge.unseen import unseen_share


def by_definition(one, other):
    """Equation 1 of Qi et al., of rankings without ties."""
    n = len(one)
    first, second = (np.argsort(-values) for values in (one, other))
    weights = np.exp(n - np.arange(1, n + 1))
    weights /= weights.sum()
    return sum(w * len(set(first[:j]) & set(second[:j])) / j for j, w in enumerate(weights, 1))


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_it_is_the_sum_of_the_paper(n):
    rng = np.random.default_rng(n)
    one, other = rng.normal(size=(2, 20, n))
    np.testing.assert_allclose(
        rank_consistency(one, other), [by_definition(a, b) for a, b in zip(one, other, strict=True)]
    )
    np.testing.assert_allclose(rank_consistency(one, one), 1.0)


def test_ties_are_worth_the_mean_of_all_orders():
    one, other = np.array([[2.0, 1.0, 1.0, 0.0]]), np.array([[1.0, 1.0, 0.0, 2.0]])
    orders = [
        by_definition(np.array([2, *a, 0.0]), np.array([*b, 0, 2.0]))
        for a, b in itertools.product([(1.0, 0.9), (0.9, 1.0)], [(1.0, 0.9), (0.9, 1.0)])
    ]
    assert rank_consistency(one, other)[0] == pytest.approx(np.mean(orders))


@pytest.mark.parametrize("n, expected", [(2, 0.63), (10, 0.16)])
def test_unrelated_rankings_get_chance(n, expected):
    rng = np.random.default_rng(0)
    found = rank_consistency(*rng.normal(size=(2, 20_000, n))).mean()
    assert rankc_by_chance(n) == pytest.approx(expected, abs=0.005) and found == pytest.approx(
        rankc_by_chance(n), abs=0.006
    )


def rankings(rng, how, facts=300, n=8):
    """Two languages that rank at random, by how common an answer is, or by what they know."""
    common = rng.normal(size=n)
    own = rng.normal(size=(facts, n))
    rows = []
    for lang, order in (("en", np.arange(n)), ("it", rng.permutation(n))):
        noise = rng.normal(size=(facts, n))
        values = {"random": noise, "common": 3 * common + noise, "known": 3 * own + noise}[how]
        for fact in range(facts):
            rows.append(
                {
                    "run": "m", "step": None, "fact_id": f"f{fact:03d}", "relation": "r", "lang": lang,
                    # The candidates stand in another order, and are known by their ids.
                    "candidates": [f"o{o}" for o in order], "values": values[fact][order].tolist(),
                }
            )  # fmt: skip
    about = pd.DataFrame(
        {"fact_id": [f"f{i:03d}" for i in range(facts)], "subject_id": [f"s{i // 2}" for i in range(facts)]}
    ).assign(object_id=[f"o{i % n}" for i in range(facts)])
    return pd.DataFrame(rows), about


def test_only_what_is_known_of_the_fact_lies_above_another_fact():
    found = {}
    for how in ("random", "common", "known"):
        [found[how]] = consistencies(*rankings(np.random.default_rng(1), how), 200, 0)
    random, common, known = found["random"], found["common"], found["known"]
    assert random["lo"] < 0 < random["hi"] and random["own_lo"] < 0 < random["own_hi"]
    assert common["lo"] > 0.1 and common["own_lo"] < 0 < common["own_hi"]
    assert known["lo"] > 0.3 and known["own_lo"] > 0.3
    assert known["chance"] == pytest.approx(rankc_by_chance(8)) and known["n_clusters"] == 150
    assert known["above"] == pytest.approx((known["rankc"] - known["chance"]) / (1 - known["chance"]))


def test_what_no_subject_has_shown_may_yet_be():
    """Two languages that rank all alike: none of 150 subjects differs, which does not say that none does."""
    table, about = rankings(np.random.default_rng(1), "known")
    same = table[table["lang"] == "en"]
    [found] = consistencies(pd.concat([same, same.assign(lang="it")]), about, 100, 0)
    chance = rankc_by_chance(8)
    assert found["above"] == found["hi"] == pytest.approx(1)
    assert found["lo"] == pytest.approx(1 - unseen_share(150) * (1 + chance / (1 - chance)))
    assert found["own_lo"] > 0.3 and found["own_hi"] < 1


def test_another_fact_is_one_of_another_object():
    """Of two facts each is the other's other one; if they have one object, neither has any."""
    table, about = rankings(np.random.default_rng(2), "random", facts=2)
    [found] = consistencies(table, about, 100, 0)
    values = {
        (row["lang"], row["fact_id"]): pd.Series(row["values"], row["candidates"]).sort_index().to_numpy()
        for row in table.to_dict("records")
    }
    across = [
        rank_consistency(values["en", a][None], values["it", b][None])[0]
        for a, b in (("f000", "f001"), ("f001", "f000"))
    ]
    assert found["other_fact"] == pytest.approx(np.mean(across))
    [found] = consistencies(table, about.assign(object_id="o0"), 100, 0)
    assert "other_fact" not in found


def test_a_fact_with_one_candidate_says_nothing():
    table, about = rankings(np.random.default_rng(1), "random", facts=4, n=8)
    assert list(consistencies(table.assign(candidates=[["o0"]] * 8, values=[[0.0]] * 8), about, 100, 0)) == []
