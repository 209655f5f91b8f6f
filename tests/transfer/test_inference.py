"""Errors of estimates: against closed forms, statsmodels and simulation."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lorebridge.transfer.inference import (
    Sample,
    behrens_fisher,
    common_seeds,
    equivalence,
    few_clusters,
    holm,
    infer,
    linearised,
    of_seeds,
    permuted,
    question_variance,
    sign_flip,
)


def test_variance_over_questions_is_the_cluster_robust_one_of_statsmodels():
    """Where clusters are of one size."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 4)
    values = rng.normal(size=80) + rng.normal(size=20)[clusters]
    fit = sm.OLS(values, np.ones(80)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}, use_t=False
    )
    assert question_variance(values, clusters) == pytest.approx(20 / 19 * fit.bse[0] ** 2)


def test_variance_over_questions_is_that_of_leaving_each_cluster_out():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 20, 70)
    values = rng.normal(size=70) + rng.normal(size=20)[clusters]
    means = np.array([values[clusters != one].mean() for one in np.unique(clusters)])
    codes = np.unique(clusters, return_inverse=True)[1]
    k = len(means)
    assert question_variance(values, codes) == pytest.approx((k - 1) / k * ((means - values.mean()) ** 2).sum())


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_cluster_of_half_of_the_questions_is_no_certainty(share):
    """The sandwich covers 90 % and 68 % here."""
    clusters = np.r_[np.zeros(round(share / (1 - share) * 59), int), np.arange(1, 60)]
    rng, covered = np.random.default_rng(3), 0
    for _ in range(400):
        values = (rng.normal(size=60)[clusters] + rng.normal(size=len(clusters))) / np.sqrt(2)
        found = infer([Sample(values[None], clusters)], [1.0])
        covered += found.lo <= 0 <= found.hi
    assert covered / 400 > 0.91


def test_who_differs_nowhere_is_not_known_to_differ_nowhere():
    """The rule of three: a kind that none of K clusters is of may be 1 - tail^(1/K) of all."""
    n = 60
    nothing = Sample(np.zeros((2, n)), np.arange(n), [0, 1], (-1.0, 1.0))
    found = infer([nothing], [1.0])
    assert (found.lo, found.hi) == pytest.approx((-(1 - 0.025 ** (1 / n)), 1 - 0.025 ** (1 / n)))
    assert found.p == 1 and infer([nothing], [1.0], over_seeds=True).hi == pytest.approx(1 - 0.025**0.5)  # two seeds
    assert equivalence([nothing], [1.0], margin=0.05) == pytest.approx(0.95**n)
    all_of_them = Sample(np.ones((1, 5)), np.arange(5), (), (-1.0, 1.0))
    assert infer([all_of_them], [1.0]).p == pytest.approx(2 / 2**5)  # the sign test
    assert infer([all_of_them], [0.5]).hi == pytest.approx(0.5)
    siblings = Sample(np.zeros((1, n)), np.zeros(n, int), (), (-1.0, 1.0))
    assert np.isnan(infer([siblings], [1.0]).p)
    unbounded = infer([dataclasses.replace(nothing, bounds=None)], [1.0])
    assert np.isnan([unbounded.lo, unbounded.hi]).all() and unbounded.p == 1
    assert np.isnan(equivalence([dataclasses.replace(nothing, bounds=None)], [1.0], margin=0.05))


def test_an_error_that_rests_on_few_clusters_says_so():
    n = 200
    rare = np.zeros(n)
    rare[[3, 50]] = 1
    assert few_clusters([Sample(rare[None], np.arange(n))], [1.0]) == "error from about 2 clusters: may be too small"
    usual = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=n, p=[0.1, 0.8, 0.1])
    assert few_clusters([Sample(usual[None], np.arange(n))], [1.0]) == ""
    giant = np.r_[np.zeros(n, int), np.arange(1, 100)]
    said = few_clusters([Sample(np.random.default_rng(0).normal(size=(1, len(giant))), giant)], [1.0])
    assert said == "" or said.startswith("error from about")


def test_one_seed_and_single_questions_give_the_t_test():
    values = np.random.default_rng(1).normal(0.3, 1, 25)
    found = infer([Sample(values[None], np.arange(25))], [1.0])
    expected = stats.ttest_1samp(values, 0)
    assert (found.p, found.df) == (pytest.approx(expected.pvalue), pytest.approx(24))
    assert (found.lo, found.hi) == pytest.approx(tuple(expected.confidence_interval()))


def test_two_languages_give_welch():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, 30), rng.normal(0.4, 3, 12)
    samples = [Sample(values[None], np.arange(len(values))) for values in (a, b)]
    expected = stats.ttest_ind(a, b, equal_var=False)
    found = infer(samples, [1.0, -1.0])
    assert (found.p, found.df) == (pytest.approx(expected.pvalue), pytest.approx(expected.df))


def test_a_ratio_is_linear_to_first_order():
    rng = np.random.default_rng(3)
    b = rng.random((1, 400)) + 0.5
    a = 0.3 * b + rng.normal(0, 0.1, b.shape)
    values = linearised(a, b)
    assert values.mean() == pytest.approx(a.mean() / b.mean())
    draws = [np.random.default_rng(i).integers(0, 400, 400) for i in range(2000)]
    spread = np.std([a[0, d].mean() / b[0, d].mean() for d in draws])
    assert question_variance(values[0], np.arange(400)) ** 0.5 == pytest.approx(spread, rel=0.06)
    assert np.allclose(linearised(a, np.ones_like(a)), a)
    assert np.isnan(linearised(a, np.zeros_like(a))).all()


def test_over_seeds_the_sum_over_languages_is_compared_seed_by_seed():
    """Where all languages of a seed move together, four of them say no more of seeds than one does."""
    rng = np.random.default_rng(4)
    seeds, n = 4, 200
    together = rng.normal(0, 0.1, (seeds, 1))
    samples = [Sample(np.repeat(together, n, axis=1), np.arange(n), range(seeds)) for _ in range(4)]
    expected = stats.ttest_1samp(together[:, 0], 0)
    for some in (samples[:1], samples):
        found = infer(some, [1 / len(some)] * len(some), over_seeds=True)
        assert found.p == pytest.approx(expected.pvalue, rel=0.01) and found.df == seeds - 1
        assert (found.lo, found.hi) == pytest.approx(tuple(expected.confidence_interval()), rel=0.01)
    opposed = infer(samples, [0.5, 0.5, -0.5, -0.5], over_seeds=True)
    assert opposed.estimate == pytest.approx(0, abs=1e-12) and opposed.se == pytest.approx(0, abs=1e-12)


def test_seeds_are_paired_by_their_number():
    rng = np.random.default_rng(5)
    first, second = rng.normal(0, 0.1, (2, 3, 1)) + rng.normal(0, 0.3, (2, 1, 90))
    samples = [Sample(first, np.arange(90), [0, 1, 2]), Sample(second[[2, 0, 1]], np.arange(90), [2, 0, 1])]
    in_order = [samples[0], Sample(second, np.arange(90), [0, 1, 2])]
    found, expected = (infer(some, [0.5, 0.5], over_seeds=True) for some in (samples, in_order))
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(expected))
    assert common_seeds([samples[0], Sample(first[:2], np.arange(90), [1, 7])]) == [1]
    assert common_seeds([samples[0], Sample(first, np.arange(90))]) == []


@pytest.mark.parametrize("freedom", [(40.0, 1.0), (9.0, 2.0), (500.0, 4.0)])
def test_behrens_fisher_is_the_sum_of_two_t_variables(freedom):
    rng = np.random.default_rng(6)
    for scales in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        drawn = sum(np.sqrt(scale) * rng.standard_t(df, 200_000) for scale, df in zip(scales, freedom, strict=True))
        for tail in (0.05, 0.005):
            distance = float(np.quantile(np.abs(drawn), 1 - tail))
            found = behrens_fisher(distance, scales=scales, freedom=freedom)
            assert found == pytest.approx(tail, abs=5 * np.sqrt(tail / 200_000))


def test_few_seeds_are_noted():
    assert of_seeds(2) and of_seeds(4) and not of_seeds(5)


def test_sign_flips_of_single_questions_are_mcnemar():
    values = np.array([[1.0] * 12 + [-1.0] * 3 + [0.0] * 50])
    exact = stats.binomtest(3, 15).pvalue
    found = sign_flip([Sample(values, np.arange(65))], [1.0], resamples=20000, rng=np.random.default_rng(0))
    assert found == pytest.approx(exact, abs=0.004)
    nothing = sign_flip([Sample(np.zeros((1, 9)), np.arange(9))], [1.0], resamples=99, rng=np.random.default_rng(0))
    assert nothing == 1


def test_siblings_flip_together():
    values = np.array([[1.0] * 16])
    one, together = (
        sign_flip([Sample(values, clusters)], [1.0], resamples=999, rng=np.random.default_rng(0))
        for clusters in (np.arange(16), np.arange(16) // 8)
    )
    assert one == 1 / 1000 and together == pytest.approx(0.5, abs=0.06)


def test_permutation_finds_a_difference_and_needs_two_clusters():
    rng = np.random.default_rng(5)
    samples = [Sample(rng.normal(mean, 1, (1, 40)), np.arange(40)) for mean in (0, 1)]
    expected = stats.ttest_ind(samples[0].values[0], samples[1].values[0], equal_var=False).pvalue
    assert permuted(samples, [1, -1], resamples=999, rng=rng) == pytest.approx(expected, abs=0.01)
    single = [samples[0], Sample(np.ones((1, 3)), np.zeros(3, dtype=np.int64))]
    assert np.isnan(permuted(single, [1, -1], resamples=9, rng=rng))
    assert np.isnan(infer(single, [1, -1]).lo)


def test_holm_is_that_of_statsmodels():
    p = pd.Series([0.04, 0.001, np.nan, 0.2, 0.012, 0.9, 0.04])
    adjusted = holm(p)
    assert np.isnan(adjusted[2])
    assert adjusted.dropna().tolist() == pytest.approx(multipletests(p.dropna(), method="holm")[1].tolist())
