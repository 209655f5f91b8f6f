"""Errors of estimates: against closed forms, statsmodels and simulation."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lorebridge.transfer.inference import (
    Sample,
    holm,
    infer,
    linearised,
    permuted,
    question_variance,
    seed_variance,
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


def test_seed_variance_leaves_out_what_questions_explain():
    rng = np.random.default_rng(4)

    def component(sd):
        samples = [
            Sample(rng.normal(0, 0.5, (2, 150)) + rng.normal(0, sd, (2, 1)), np.arange(150) // 2) for _ in range(2000)
        ]
        return seed_variance(samples)

    none, some = component(0.0), component(0.05)
    assert none.freedom == 2000 and none.gross == pytest.approx(0.25 / 150, rel=0.1) and none.net < 0.0002
    assert some.net == pytest.approx(0.05**2, rel=0.15)
    assert seed_variance([Sample(np.zeros((1, 9)), np.arange(9))]) is None


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
