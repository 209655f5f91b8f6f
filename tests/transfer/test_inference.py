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
    holm,
    infer,
    linearised,
    of_seeds,
    permuted,
    question_variance,
    sign_flip,
)


def test_variance_over_questions_is_the_cluster_robust_one_of_statsmodels():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 20, 70)
    values = rng.normal(size=70) + rng.normal(size=20)[clusters]
    fit = sm.OLS(values, np.ones(70)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}, use_t=False
    )
    k = len(np.unique(clusters))
    assert question_variance(values, clusters) == pytest.approx(k / (k - 1) * fit.bse[0] ** 2)


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
