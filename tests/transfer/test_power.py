"""Power: the half-widths and smallest detectable effects of the released question sets."""

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.power import detectable_effect, detectable_effects, effective_questions, half_width


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
        questions={"ko": write_questions("ko", {"en": [*texts, texts[0]]})}, subset="clean", discordance=0.2
    )
    row = table.iloc[0]
    assert (row["n_questions"], row["n_clusters"]) == (21, 20)
    assert row["detectable_effect"] == detectable_effect(21, discordance=0.2) < row["detectable_effect_clustered"]


def test_no_question_of_the_subset_is_one_line(write_questions, unlike):
    path = write_questions("ko", {"en": unlike(3)})
    table = tables.read(path)
    table["subset"] = [["reference"]] * len(table)
    tables.write("questions", table, path)
    with pytest.raises(InputError, match=r"questions of ko: none of the 3 is in the subset 'clean'.*probing\.subset"):
        detectable_effects(questions={"ko": path}, subset="clean", discordance=0.2)
    # What the message advises, done.
    assert detectable_effects(questions={"ko": path}, subset="reference", discordance=0.2)["n_questions"].item() == 3


def test_a_table_without_questions_is_one_line(write_questions):
    with pytest.raises(InputError, match="questions: there are none"):
        detectable_effects(questions={"ko": write_questions("ko", {"en": []})}, subset="clean", discordance=0.2)
