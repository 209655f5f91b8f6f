"""The asymmetry as one test, on studies whose truth is known."""

import numpy as np
import pytest

from lorebridge.transfer.asymmetry import DIFFERENCE, HIGH, INTERACTION, LOW, asymmetry_table
from lorebridge.transfer.contrasts import ALL, Contrast
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY

RESOURCE = {"ko": HIGH, "zh": HIGH, "bo": LOW, "mn": LOW}
N = 60


def contrast(culture, direction, gap, seeds=2, rng=None, n=N):
    """A contrast in which `gap` of the questions are answered by the first arm alone."""
    first = np.zeros((seeds, 1, n))
    for s in range(seeds):
        first[s, 0, : round(gap * n)] = 1
    if rng is not None:
        first = (rng.random((seeds, 1, n)) < gap).astype(float)
    names = [f"{culture}-{i:04d}" for i in range(n)]
    return Contrast(
        culture,
        direction,
        "bridge - no_bridge",
        np.arange(n),
        names,
        list(range(seeds)),
        [0],
        first,
        np.zeros_like(first),
        np.ones((seeds, n)),
        np.zeros((seeds, n)),
        1,
    )


def study(gaps, **more):
    return [
        contrast(culture, direction, gap, **more)
        for culture, pair in gaps.items()
        for direction, gap in zip(("en->xx", "xx->en"), pair, strict=True)
    ]


def table(formed, resamples=199):
    rows = asymmetry_table(formed, RESOURCE, unleaked=False, resamples=resamples, seed=0)
    return rows[rows["scale"] == ALL].set_index(["interval", "direction", "group"]).sort_index()


def test_the_interaction_is_a_difference_of_differences():
    rows = table(study({"ko": (0.5, 0.6), "zh": (0.4, 0.3), "bo": (0.1, 0.5), "mn": (0.2, 0.6)}))
    given = rows.loc[QUESTIONS_ONLY, "estimate"]
    assert given["en->xx", HIGH] == pytest.approx(0.45) and given["xx->en", HIGH] == pytest.approx(0.45)
    assert given["en->xx", LOW] == pytest.approx(0.15) and given["xx->en", LOW] == pytest.approx(0.55)
    assert given[DIFFERENCE, HIGH] == pytest.approx(0) and given[DIFFERENCE, LOW] == pytest.approx(0.4)
    assert given[DIFFERENCE, "ko"] == pytest.approx(0.1)
    assert given[DIFFERENCE, INTERACTION] == pytest.approx(0.4)
    both = rows.loc[(QUESTIONS_AND_SEEDS, DIFFERENCE, INTERACTION)]
    assert both["langs"] == ["bo", "mn", "ko", "zh"] and both["n_questions"] == 4 * N and both["n_seeds"] == 2
    assert both["p"] < 0.001 and rows.loc[(QUESTIONS_ONLY, DIFFERENCE, INTERACTION), "p"] == 1 / 200
    # Holm goes over the four readings and nothing else.
    assert rows["p_holm"].notna().sum() == 8


def test_directions_are_compared_question_by_question():
    """The same questions are answered in both directions: their difference is known far better than either."""
    rows = table(study({"ko": (0.5, 0.5), "zh": (0.5, 0.5), "bo": (0.5, 0.5), "mn": (0.5, 0.5)})).loc[QUESTIONS_ONLY]
    assert rows.loc[(DIFFERENCE, INTERACTION), "se"] == 0 < rows.loc[("en->xx", HIGH), "se"]
    assert rows.loc[(DIFFERENCE, INTERACTION), "p"] == 1


def test_one_level_has_no_interaction():
    rows = table(study({"ko": (0.5, 0.6), "zh": (0.4, 0.3)}))
    assert set(rows.index.get_level_values("group")) == {HIGH, "ko", "zh"}


def test_one_seed_has_no_row_of_seeds():
    rows = table(study({"ko": (0.5, 0.6), "bo": (0.4, 0.3)}, seeds=1))
    assert set(rows.index.get_level_values("interval")) == {QUESTIONS_ONLY}


def test_the_test_over_questions_holds_its_level_where_languages_differ_within_a_level():
    rng = np.random.default_rng(0)
    gaps = {"ko": (0.2, 0.6), "zh": (0.3, 0.3), "bo": (0.1, 0.3), "mn": (0.5, 0.7)}
    rejected = [
        table(study(gaps, seeds=1, rng=rng), resamples=99).loc[(QUESTIONS_ONLY, DIFFERENCE, INTERACTION), "p"] <= 0.05
        for _ in range(150)
    ]
    assert np.mean(rejected) <= 0.1
