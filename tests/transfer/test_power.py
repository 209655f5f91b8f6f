"""Power: the half-widths and smallest detectable effects of the released question sets."""

import math

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.inference import Sample, infer
from lorebridge.transfer.power import (
    ALIKE,
    APART,
    detectable_effect,
    detectable_effects,
    detectable_with_seeds,
    effective_questions,
    half_width,
    power_with_seeds,
)

SEEDS = {"seed_sd": 0.02, "seeds": 2}


@pytest.mark.parametrize(
    ("n", "half", "effect"), [(598, 0.036, 0.051), (328, 0.048, 0.069), (268, 0.054, 0.076), (276, 0.053, 0.075)]
)
def test_released_sets_at_discordance_a_fifth(n, half, effect):
    assert half_width(n, discordance=0.2) == pytest.approx(half, abs=0.0006)
    assert detectable_effect(n, discordance=0.2) == pytest.approx(effect, abs=0.0006)


def test_power_is_what_a_simulation_finds():
    rng = np.random.default_rng(0)
    n, effect = 300, detectable_effect(300, discordance=0.2)
    signs = rng.choice([1, 0, -1], p=[0.1 + effect / 2, 0.8, 0.1 - effect / 2], size=(4000, n))
    z = signs.mean(axis=1) / np.sqrt(signs.var(axis=1) / n)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.03)


def test_siblings_count_as_one_question():
    assert effective_questions(pd.Series([0, 1, 2, 3])) == 4
    assert effective_questions(pd.Series([0, 0, 1, 1])) == 2


def test_table_of_a_study(write_questions, unlike):
    texts = unlike(20)
    table = detectable_effects(
        questions={"ko": write_questions("ko", {"en": [*texts, texts[0]]})}, subset="clean", discordance=0.5, **SEEDS
    )
    row = table.iloc[0]
    assert (row["n_questions"], row["n_clusters"]) == (21, 20)
    assert row["detectable_effect"] == detectable_effect(21, discordance=0.5) < row["detectable_effect_clustered"]


def test_no_question_of_the_subset_is_one_line(write_questions, unlike):
    path = write_questions("ko", {"en": unlike(3)})
    table = tables.read(path)
    table["subset"] = [["reference"]] * len(table)
    tables.write("questions", table, path)
    with pytest.raises(InputError, match=r"questions of ko: none of the 3 is in the subset 'clean'.*probing\.subset"):
        detectable_effects(questions={"ko": path}, subset="clean", discordance=0.2, **SEEDS)
    # What the message advises, done.
    assert (
        detectable_effects(questions={"ko": path}, subset="reference", discordance=0.2, **SEEDS)["n_questions"].item()
        == 3
    )


def test_a_table_without_questions_is_one_line(write_questions):
    with pytest.raises(InputError, match="questions: there are none"):
        detectable_effects(
            questions={"ko": write_questions("ko", {"en": []})}, subset="clean", discordance=0.2, **SEEDS
        )


@pytest.mark.parametrize("alike", [ALIKE, APART])
@pytest.mark.parametrize(("seed_sd", "seeds"), [(0.0, 3), (0.02, 4), (0.04, 5)])
def test_power_with_seeds_is_what_the_test_of_the_gaps_finds(seed_sd, seeds, alike):
    """On the same questions from each seed, or on others."""
    n, studies, shared = 300, 700, {"discordance": 0.4, "seed_sd": seed_sd, "seeds": seeds}
    rng, effect = np.random.default_rng(0), detectable_with_seeds(n, **shared)
    chances = [0.2 + effect / 2, 0.6, 0.2 - effect / 2]
    found = 0
    for _ in range(studies):
        signs = rng.choice([1.0, 0.0, -1.0], p=chances, size=(1 if alike else seeds, n))
        sample = Sample(signs + seed_sd * rng.normal(size=(seeds, 1)), np.arange(n), range(seeds))
        found += infer([sample], [1.0], over_seeds=True).p <= 0.05
    power = power_with_seeds(effect, n, alike=alike, **shared)
    assert found / studies == pytest.approx(power, abs=0.05)  # standard error 0.015
    assert power >= 0.8 - 1e-6


def test_more_seeds_and_less_spread_show_smaller_gaps():
    usual = {"n": 300, "discordance": 0.2, "seed_sd": 0.02, "seeds": 4}

    def effect(**changes):
        return detectable_with_seeds(**(usual | changes))

    assert effect(seeds=8) < effect() < effect(seed_sd=0.04) and effect(n=900) < effect()
    assert effect(seed_sd=0.0) >= detectable_effect(300, discordance=0.2) - 1e-3
    assert math.isnan(effect(seeds=1)) and math.isnan(effect(n=1))
    # A gap is not larger than the share of questions that the arms differ on.
    assert math.isnan(effect(seeds=2, seed_sd=0.08))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed_sd": -0.01}, r"seed_sd: is -0.01.*Take one in 0\.\.1"),
        ({"seed_sd": 4}, "seed_sd: is 4"),
        ({"seed_sd": math.nan}, "seed_sd: is nan"),
        ({"seeds": 0}, "seeds: are 0.*1 or more"),
    ],
)
def test_what_no_seeds_can_be_is_one_line(write_questions, unlike, changes, message):
    study = {"questions": {"ko": write_questions("ko", {"en": unlike(5)})}, "subset": "clean", "discordance": 0.2}
    with pytest.raises(InputError, match=message):
        detectable_effects(**study, **(SEEDS | changes))
    assert len(detectable_effects(**study, seed_sd=0.0, seeds=1)) == 1
