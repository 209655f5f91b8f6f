"""Clusters of questions, and whether the bootstrap over them covers."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.transfer.clusters import LOOK_ALIKE, NEAR_DUPLICATE, ClusterBootstrap, question_clusters, similarity


def test_near_duplicates_and_siblings_share_a_cluster(write_questions):
    texts = [
        "The three-day festival of the herders begins in the month of ____.",
        "The three-day festival of the herders begins in month ____.",  # near-duplicate of 0
        "The sacred mountain north of the old capital is called ____.",
        "The old capital Karakum, south of the sacred mountain, was built by ____.",  # prints the gold of 4
        "The old capital south of the river was named ____.",
        "Butter tea is churned with ____.",
        "ཇ་སྲུབ་མ་ནི་____ཡིས་བཟོ།",
    ]
    golds = ["seven", "eight", "Burkhan", "Ogedei", "Karakum", "salt", "མར"]
    labels = question_clusters(tables.read(write_questions("mn", {"en": texts}, golds))).to_numpy()
    assert labels[0] == labels[1]
    assert labels[3] == labels[4]
    assert len(set(labels)) == 5


@pytest.mark.parametrize(("gold", "linked"), [("7", False), ("宋", False), ("77", True), (" 7 ", False)])
def test_a_gold_of_one_character_makes_no_siblings(write_questions, gold, linked):
    """A digit, or one Han, is printed everywhere by chance; texts that look alike are siblings by a longer one."""
    texts = [
        f"The old capital north of the sacred river had {gold.strip()} gates, and its palace was called ____.",
        "The old capital north of the sacred river had a wall, and the number of its towers was ____.",
        *(
            "Butter tea is churned with ____.",
            "A saddle is made of ____.",
            "Whoever wins at wrestling dances like ____.",
        ),
    ]
    alike = similarity(texts)[0, 1]
    assert LOOK_ALIKE < alike < NEAR_DUPLICATE, alike
    labels = question_clusters(tables.read(write_questions("mn", {"en": texts}, ["Karakum", gold, "a", "b", "c"])))
    assert (labels.iloc[0] == labels.iloc[1]) == linked


def test_a_gold_with_brackets_is_printed_as_it_stands(write_questions):
    """And not as a pattern: "Karakum (old" is none, and "K.r.kum" prints "Karakum" nowhere."""
    asked = "The old capital south of the long river was named ____."
    others = [
        "Butter tea is churned with ____.",
        "A saddle is made of ____.",
        "Who wins at wrestling dances like ____.",
    ]
    for gold, prints, linked in (("Karakum (old", "Karakum (old", True), ("K.r.kum", "Karakum", False)):
        texts = [f"The old capital {prints} south of the sacred mountain was built by ____.", asked, *others]
        assert LOOK_ALIKE < similarity(texts)[0, 1] < NEAR_DUPLICATE
        questions = write_questions("mn", {"en": texts}, ["Ogedei", gold, "salt", "wood", "eagles"])
        labels = question_clusters(tables.read(questions))
        assert (labels.iloc[0] == labels.iloc[1]) == linked


def test_questions_of_one_template_are_not_siblings(write_questions):
    names = ["Tamboro", "Keluvi", "Sanaret", "Miduso", "Polgana", "Ruvesti", "Bakelo", "Dinorma", "Fustige", "Hobalin"]
    texts = [f"The founder of {name} was ____." for name in names]
    labels = question_clusters(tables.read(write_questions("ko", {"en": texts})))
    assert labels.nunique() == len(names)


def test_a_link_in_either_language_counts(write_questions, unlike):
    texts = unlike(4)
    labels = question_clusters(
        tables.read(write_questions("ko", {"en": texts, "ko": [texts[0], *unlike(3, 9)[1:], texts[0]]}))
    )
    assert labels.iloc[0] == labels.iloc[3] and labels.nunique() == 3


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_similarity_is_a_symmetric_share(texts):
    alike = similarity(texts)
    assert np.allclose(alike, alike.T) and np.allclose(np.diag(alike), 1)
    assert alike.min() >= 0 and alike.max() <= 1 + 1e-9


@pytest.mark.skipif("LOREBRIDGE_DATA" not in os.environ, reason="real questions: set LOREBRIDGE_DATA to their folder")
def test_known_siblings_of_the_released_questions():
    # Repeated items of the released files: zh 41/306, ko 577/581 and 578/582, bo 61/62/63, mn 217/218 and 245/252.
    probes = Path(os.environ["LOREBRIDGE_DATA"]) / "probes"
    known = {
        "zh": [(41, 306)],
        "ko": [(577, 581), (578, 582)],
        "bo": [(61, 62), (62, 63)],
        "mn": [(217, 218), (245, 252)],
    }
    for culture, pairs in known.items():
        frames = []
        for lang in ("en", culture):
            raw = pd.read_json(probes / f"{culture}-culture-cloze_{lang}.json")
            frames.append(
                pd.DataFrame(
                    {
                        "question_id": [f"{culture}-{i:04d}" for i in raw.index],
                        "lang": lang,
                        "text": raw["question"],
                        "option": raw["answer"].astype(str),
                        "is_gold": True,
                    }
                )
            )
        labels = question_clusters(pd.concat(frames))
        for a, b in pairs:
            assert labels.iloc[a] == labels.iloc[b], (culture, a, b)
        # Most questions are on their own, and no chain of links swallows the set.
        assert labels.nunique() > 0.75 * len(labels)
        assert labels.value_counts().max() < 0.1 * len(labels)


def test_bootstrap_covers_clustered_answers():
    # 60 clusters of 1 to 5 questions, all of a cluster answered alike: the question-wise bootstrap would cover ~80 %.
    rng = np.random.default_rng(7)
    sizes = rng.integers(1, 6, 60)
    clusters = np.repeat(np.arange(60), sizes)
    trials = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=(400, 60))
    clustered = ClusterBootstrap(clusters, resamples=600, seed=1, stream="ko")
    lo, hi = clustered.interval(np.repeat(trials, sizes, axis=1))
    assert 0.91 <= ((lo <= 0.2) & (hi >= 0.2)).mean() <= 0.98
    naive = ClusterBootstrap(np.arange(len(clusters)), resamples=600, seed=1, stream="ko")
    lo, hi = naive.interval(np.repeat(trials, sizes, axis=1))
    assert ((lo <= 0.2) & (hi >= 0.2)).mean() < 0.88


def test_bootstrap_is_seeded_by_culture_and_seed():
    values = np.random.default_rng(0).random(50)

    def draw(**changed):
        return ClusterBootstrap(np.arange(50), **{"resamples": 50, "seed": 0, "stream": "ko", **changed}).interval(
            values
        )

    assert np.array_equal(draw(), draw())
    assert not np.array_equal(draw(), draw(seed=1)) and not np.array_equal(draw(), draw(stream="zh"))


def test_one_cluster_has_no_interval():
    lo, hi = ClusterBootstrap(np.zeros(5), resamples=10, seed=0, stream="ko").interval(np.ones((2, 5)))
    assert np.isnan(lo).all() and np.isnan(hi).all() and lo.shape == (2,)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6), st.integers(2, 40), st.integers(1, 300), st.integers(0, 99), st.sampled_from([0.02, 0.3, 1.0])
)
def test_the_band_holds_the_intervals_and_stays_within_the_bounds(rows, n, resamples, seed, right):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((rows, n)) < right, rng.choice([0.5, 1.0], size=(rows, n)), 0)
    bootstrap = ClusterBootstrap(rng.integers(0, n, n), resamples=resamples, seed=seed, stream="ko")
    (lo, hi), (band_lo, band_hi) = bootstrap.band(values, (0, 1))
    for one, other in zip((lo, hi), bootstrap.interval(values, bounds=(0, 1)), strict=True):
        np.testing.assert_array_equal(one, other)
    if bootstrap.n_clusters < 2:
        assert np.isnan([band_lo, band_hi]).all()
        return
    assert (band_lo >= 0).all() and (band_lo <= lo).all() and (hi <= band_hi).all() and (band_hi <= 1).all()
    # What is wrong is told as what is right is, and another unit changes nothing.
    for turned, bounds, ends in (
        (1 - values, (0, 1), (1 - band_hi, 1 - band_lo)),
        (100 * values - 50, (-50, 50), (100 * band_lo - 50, 100 * band_hi - 50)),
    ):
        _, band = bootstrap.band(turned, bounds)
        assert np.stack(band) == pytest.approx(np.stack(ends), abs=1e-9)


def test_the_band_of_one_checkpoint_is_about_its_interval():
    bootstrap = ClusterBootstrap(np.arange(80), resamples=2000, seed=0, stream="ko")
    values = np.random.default_rng(0).random((1, 80))
    (lo, hi), one = bootstrap.band(values, (0, 1))
    assert np.stack(one) == pytest.approx(np.stack([lo, hi]), abs=0.01)
    _, band = bootstrap.band(np.repeat(values, 5, axis=0), (0, 1))
    assert np.stack(band) == pytest.approx(np.repeat(np.stack(one), 5, axis=1))  # five times the same says no more


SHAPES = {"flat": np.full(36, 0.4), "rising": np.linspace(0.25, 0.7, 36), "falls at once": np.r_[0.6, np.full(35, 0.3)]}


@pytest.mark.parametrize("n", [60, 250])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_band_covers_a_whole_curve_as_often_as_it_says(shape, n):
    """And the intervals of single checkpoints do not. Answers are mostly kept from one checkpoint to the next."""
    rng = np.random.default_rng(3)
    studies, covered, pointwise = 150, 0, 0
    bootstrap = ClusterBootstrap(np.arange(n), resamples=400, seed=0, stream="ko")
    for _ in range(studies):
        (lo, hi), (band_lo, band_hi) = bootstrap.band(curve(SHAPES[shape], n, rng), (0, 1))
        truth = SHAPES[shape]
        covered += bool(((band_lo <= truth) & (truth <= band_hi)).all())
        pointwise += bool(((lo <= truth) & (truth <= hi)).all())
    # 95 %, and twice the Monte-Carlo error: of sixty questions, percentiles would hold 80 to 87 %.
    assert abs(covered / studies - 0.95) < 2 * np.sqrt(0.95 * 0.05 / studies), covered
    assert pointwise / studies < 0.85


def curve(chances, n, rng):
    """Answers at each checkpoint, shape (steps, n): right with these chances, and three of four as before."""
    ease = rng.random((len(chances), n))
    for step in range(1, len(chances)):
        ease[step] = np.where(rng.random(n) < 0.75, ease[step - 1], ease[step])
    return (ease < np.asarray(chances)[:, None]).astype(float)


def test_all_right_is_not_right_for_certain():
    """The rule of three, and no step to the first mistake."""
    n = 60
    bootstrap = ClusterBootstrap(np.arange(n), resamples=2000, seed=0, stream="ko")
    values = np.vstack([np.ones((3, n)), np.random.default_rng(0).integers(0, 2, (9, n))])
    values[1, 0], values[2] = 0, 0.25
    values[3] = np.arange(n) % 2
    (lo, hi), (band_lo, band_hi) = bootstrap.band(values, (0, 1))
    unseen = 1 - 0.025 ** (1 / n)
    assert (lo[0], hi[0]) == pytest.approx((1 - unseen, 1))
    assert lo[1] < lo[0] and hi[1] == pytest.approx(1, abs=1e-3)
    assert (lo[2], hi[2]) == pytest.approx((0.25 * (1 - unseen), 0.25 + 0.75 * unseen))  # ties everywhere
    assert (band_lo <= lo).all() and (hi <= band_hi).all() and band_lo[0] < lo[0]
    plain = bootstrap.interval(values)
    assert np.isnan(plain[0][[0, 2]]).all() and plain[0][3] == lo[3] and plain[1][3] == hi[3]
    # Sixty siblings of one size in thirty pairs are thirty.
    pairs = ClusterBootstrap(np.arange(n) // 2, resamples=10, seed=0, stream="ko")
    assert pairs.interval(np.ones((1, n)), bounds=(0, 1))[0] == pytest.approx(0.025 ** (1 / 30))
