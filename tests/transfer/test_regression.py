"""Regression of transfer on exposure: slopes that were put in come out, and none where there is none."""

import numpy as np
import pandas as pd
import pytest

from lorebridge.transfer.regression import exposure_effects


def simulated(rng, slope, knowing=0.8, n=400, clusters=250):
    """Items of two languages, their odds of crossing with `slope` per doubling; being known goes with frequency."""
    frames = []
    for lang, intercept in (("ko", -1.0), ("bo", -2.0)):
        counts = rng.poisson(rng.lognormal(1, 1, n))
        doublings = np.log2(1 + counts)
        known = rng.random(n) < 1 / (1 + np.exp(1.5 - knowing * doublings))
        crossed = rng.random(n) < 1 / (1 + np.exp(-intercept - slope * (doublings - doublings.mean())))
        frames.append(
            pd.DataFrame(
                {
                    "lang": lang,
                    "question_id": [f"{lang}-{i:04d}" for i in range(n)],
                    "cluster": rng.integers(0, clusters, n),
                    "direction": "en->xx",
                    "seed": 0,
                    "in_risk_set": known,
                    "transferred": known & crossed,
                    "occurrences_source": counts.astype(float),
                    "occurrences_target": rng.poisson(2, n).astype(float),
                    "presentations_source": np.nan,
                    "presentations_target": np.nan,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def effect(items, sample="risk set", side="source"):
    rows = exposure_effects(items, unleaked=False)
    return rows[(rows["sample"] == sample) & (rows["count"] == "occurrences") & (rows["side"] == side)].iloc[0]


def test_a_slope_is_found_in_the_risk_set():
    found = effect(simulated(np.random.default_rng(0), slope=0.6, n=3000, clusters=2500))
    assert found["coefficient"] == pytest.approx(0.6, abs=0.12)
    assert found["odds_ratio"] == pytest.approx(np.exp(found["coefficient"]))
    assert found["lo"] < np.exp(0.6) < found["hi"] and found["p"] < 1e-6
    assert found["langs"] == ["bo", "ko"]


def test_without_an_effect_all_items_show_one_and_the_risk_set_does_not():
    rng = np.random.default_rng(1)
    p = {"risk set": [], "all": []}
    for _ in range(40):
        items = simulated(rng, slope=0.0)
        for sample, values in p.items():
            values.append(effect(items, sample)["p"])
    assert np.mean(np.array(p["all"]) < 0.05) > 0.9
    assert np.mean(np.array(p["risk set"]) < 0.05) < 0.16


def test_errors_are_robust_to_clusters():
    items = simulated(np.random.default_rng(2), slope=0.3)
    tenfold = pd.concat([items] * 10, ignore_index=True)  # the same questions again: nothing more is known
    one, ten = effect(items), effect(tenfold)
    assert ten["coefficient"] == pytest.approx(one["coefficient"], rel=1e-4)
    assert ten["se"] == pytest.approx(one["se"], rel=0.02)


def test_separated_few_and_constant_have_no_slope():
    items = simulated(np.random.default_rng(3), slope=0.0)
    separated = items.assign(transferred=items["in_risk_set"] & (items["occurrences_source"] > 3))
    assert np.isnan(effect(separated)["coefficient"])
    few = items.assign(transferred=items["transferred"] & (items.index < 30))
    assert np.isnan(effect(few)["coefficient"])
    assert np.isnan(effect(items.assign(occurrences_target=2.0))["coefficient"])
    told = effect(items.assign(occurrences_source=items["occurrences_source"].where(items.index % 2 == 0)))
    assert told["indeterminate"] > 0 and told["n_items"] < items["in_risk_set"].sum()
